"""A made-up world for tests: sandbox schools on loopback, a clock that stands still, a real Dagster instance."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field, replace
from datetime import UTC, date, datetime, timedelta
from pathlib import Path
from typing import Any

import dagster as dg
import yaml

from isams_pipeline.commands.headless import Nightly, NightRun
from isams_pipeline.commands.instance import open_instance
from isams_pipeline.config import load_settings
from isams_pipeline.orchestration.environment import Environment
from isams_pipeline.orchestration.partitions import Night
from isams_pipeline.partners.room_booking.imports import take
from isams_pipeline.partners.room_booking.store import BookingStore
from isams_pipeline.sandbox.bookings import partner_files
from isams_pipeline.sandbox.demo import DemoSchool, make_sandbox, secrets_of, write_config
from isams_pipeline.sandbox.school import SchoolDay, SchoolPlan
from isams_pipeline.sandbox.server import Sandbox
from isams_pipeline.sources.isams.batch import Patience

FIRST = date(2026, 2, 10)
"""Long past, since Dagster's own partitions end at the real today; in winter, since London then is on UTC."""
SCHOOL = "riverside"
HURRIED = Patience(attempts=3, first_wait=0.01, timeout_wait=0.01, longest_wait=2.0, connect=2, read=20)


def small_school(mark: str = "", **plan: Any) -> DemoSchool:
    """A school of a few pupils."""
    made = replace(SchoolPlan(seed="riverside", pupils=24, subjects=2, nightly_joiners=1, mark=mark), **plan)
    return DemoSchool("Riverside School", made, "Europe/London", {}, ("Allergies",))


@dataclass
class World:
    """Everything that a test of a night needs."""

    folder: Path
    schools: dict[str, DemoSchool]
    url: str
    sandbox: Sandbox
    moment: list[datetime]
    cache_hours: float = 2
    _environment: Environment | None = None
    _instance: dg.DagsterInstance | None = None
    variables: dict[str, str] = field(default_factory=dict)

    @property
    def config(self) -> Path:
        return self.folder / "schools.yaml"

    @property
    def data(self) -> Path:
        return self.folder / "data"

    @property
    def exports(self) -> Path:
        return self.folder / "exports" / "schoolsbuddy"

    @property
    def environment(self) -> Environment:
        if self._environment is None:
            self._environment = Environment(
                load_settings(self.config),
                data_dir=self.data,
                clock=lambda: self.moment[0],
                variables={**secrets_of(self.sandbox), **self.variables},
                patience=HURRIED,
                lock_wait=5,
                retries=0,
                retry_wait=60,
            )
        return self._environment

    @property
    def instance(self) -> dg.DagsterInstance:
        if self._instance is None:
            self._instance = open_instance(self.data)
        return self._instance

    def configure(self, change: Callable[[dict[str, Any]], object]) -> None:
        """Change schools.yaml."""
        config = yaml.safe_load(self.config.read_text())
        change(config)
        self.config.write_text(yaml.safe_dump(config))
        self._environment = None

    def at_night(self, day: int, hour: int = 2) -> None:
        """Let it be 02:00 on a night, counted from the first."""
        self.moment[0] = datetime(FIRST.year, FIRST.month, FIRST.day, hour, tzinfo=UTC) + timedelta(days=day)

    def run(self, day: int = 0, school: str = SCHOOL, partner: str = "schoolsbuddy", **options: Any) -> NightRun:
        """Run a night as it is now."""
        night = Night(school, FIRST + timedelta(days=day))
        return Nightly(self.environment, self.instance, partner).run(night, **options)

    def rooms(self, day: int = 0, **options: Any) -> NightRun:
        """Run Room Booking's night at its own time, an hour after SchoolsBuddy's."""
        self.at_night(day, hour=3)
        return self.run(day, partner="room_booking", **options)

    def attendance(self, session: str = "am", day: int = 0, hour: int = 11, **options: Any) -> NightRun:
        """Pull a session's registers at its own time."""
        self.at_night(day, hour=hour)
        runner = Nightly(
            self.environment, self.instance, "schoolsbuddy_attendance", f"schoolsbuddy_attendance_{session}"
        )
        return runner.run(Night(SCHOOL, FIRST + timedelta(days=day)), **options)

    def bring_in_bookings(self, day: int = 0) -> None:
        """The partner's side as the sandbox has it on a day, imported."""
        school = SchoolDay(self.schools[SCHOOL].plan, FIRST + timedelta(days=day))
        for kind, text in partner_files(school).items():
            with self.environment.state.transaction() as session:
                take(BookingStore(session, SCHOOL), kind, text.encode())

    def night(self, day: int = 0, **options: Any) -> NightRun:
        """Run a night at its own time."""
        self.at_night(day)
        return self.run(day, **options)

    def export(self, day: int = 0, school: str = SCHOOL) -> dict[str, bytes]:
        """What was delivered."""
        folder = self.exports / school / str(FIRST + timedelta(days=day))
        there = sorted(folder.iterdir()) if folder.exists() else []
        return {path.name: path.read_bytes() for path in there if path.is_file()}

    def exclusions(self, day: int = 0, school: str = SCHOOL) -> str:
        path = self.data / "reports" / "schoolsbuddy" / school / str(FIRST + timedelta(days=day)) / "exclusions.csv"
        return path.read_text()

    def close(self) -> None:
        if self._instance is not None:
            self._instance.dispose()
        if self._environment is not None and "state" in vars(self._environment):
            self._environment.state.close()


def make_world(
    folder: Path, schools: dict[str, DemoSchool], serve: Callable[[Any], str], cache_hours: float = 2
) -> World:
    moment = [datetime(FIRST.year, FIRST.month, FIRST.day, 2, tzinfo=UTC)]
    sandbox = make_sandbox(schools, lambda: moment[0], cache_hours=cache_hours)
    url = serve(sandbox.app())
    made = World(folder, schools, url, sandbox, moment, cache_hours)
    write_config(
        made.config, schools, sandbox, url=url, deliver_to="exports", history_from="2025-09-01", cache_hours=cache_hours
    )
    return made


def rows(data: bytes) -> list[dict[str, str]]:
    """A delivered file's rows."""
    from isams_pipeline.delivery.export import read_csv

    return list(read_csv(data))
