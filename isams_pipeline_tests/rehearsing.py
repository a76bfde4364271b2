"""A school's nights one after the other, without Dagster and HTTP: what iSAMS would answer → tables → gate → target.

It takes the same steps as a night's run: the dataset's own rules, the partner's rules, the gate. `test_school_year.py`
runs some of the same nights through Dagster, and both say the same.
"""

from __future__ import annotations

import io
from collections.abc import Callable
from dataclasses import dataclass, field
from datetime import UTC, date, datetime, timedelta
from pathlib import Path
from typing import Any

import pandas as pd
import yaml

from isams_pipeline.config import load_settings
from isams_pipeline.datasets import DATASETS, SOURCE
from isams_pipeline.datasets import rules as dataset_rules
from isams_pipeline.delivery.deliver import Delivered
from isams_pipeline.delivery.receipts import Address, Outcome
from isams_pipeline.errors import DatasetError
from isams_pipeline.orchestration.deliveries import deliverer
from isams_pipeline.orchestration.environment import Environment
from isams_pipeline.orchestration.partitions import Night
from isams_pipeline.orchestration.partner import Behind
from isams_pipeline.orchestration.pins import as_pins, pinned
from isams_pipeline.orchestration.trials import makes, waits
from isams_pipeline.partners import registry
from isams_pipeline.sandbox import render
from isams_pipeline.sandbox.batch import without_rows
from isams_pipeline.sandbox.demo import KEYS
from isams_pipeline.sandbox.school import SchoolPlan
from isams_pipeline.sandbox.yearly import school_on
from isams_pipeline.sources.isams.parse import ParsedTable, parse

SCHOOL = "riverside"
PARTNERS = ("schoolsbuddy", "room_booking", "schoolbooking")
_PLAIN = [declaration for declaration in DATASETS.values() if not declaration.free_form]
_MEDICAL = "Pupil_GetCurrentPupilsHealth"
_METHODS = [method for method in render.METHODS if method not in {_MEDICAL, "Pupil_GetContacts"}]


def answer(plan: SchoolPlan, day: date) -> dict[str, ParsedTable]:
    """All that a school's keys bring on a day."""
    school = school_on(plan, day)
    plain = without_rows("".join(render.document(school, _METHODS)), school.emptied).encode()
    medical = "".join(render.document(school, [_MEDICAL])).encode()
    return parse(io.BytesIO(plain), _PLAIN) | parse(io.BytesIO(medical), [DATASETS["health"]])


@dataclass
class NightAt:
    """How a night of all partners ended."""

    day: date
    ended: dict[str, Delivered] = field(default_factory=dict[str, Delivered])
    failed: str | None = None
    """The dataset's rule that kept a table from being stored."""

    @property
    def outcomes(self) -> set[str]:
        return {"failed"} if self.failed else {str(one.outcome) for one in self.ended.values()}


@dataclass
class Rehearsal:
    """A school whose nights are run one after the other."""

    folder: Path
    plan: SchoolPlan
    partners: tuple[str, ...] = PARTNERS
    max_removed: str = "20%"
    spoil: Callable[[dict[str, pd.DataFrame], date], None] = lambda _tables, _day: None
    """What is wrong with the answers of a day."""
    moment: list[datetime] = field(default_factory=lambda: [datetime(2026, 7, 1, 2, tzinfo=UTC)])
    environment: Environment = field(init=False)
    before: dict[str, pd.DataFrame] = field(default_factory=dict[str, pd.DataFrame])

    def __post_init__(self) -> None:
        self.folder.mkdir(parents=True, exist_ok=True)
        plain = sorted({feed for name, feeds in KEYS.items() for feed in feeds if name != "medical"})
        keys = {"all": {"secret": "NONE", "feeds": plain}, "medical": {"secret": "NONE", "feeds": ["medical"]}}
        partners: dict[str, Any] = {
            name: {"deliver_to": "exports", "max_removed": self.max_removed} for name in self.partners
        }
        partners["schoolsbuddy"] |= {"medical_fields": ["Allergies"]}
        if "schoolbooking" in partners:
            partners["schoolbooking"] |= {"source": "isams"}
        school = {
            "name": "Riverside School",
            "timezone": "Europe/London",
            "isams": {"url": "https://riverside.example.org", "keys": keys},
            "partners": partners,
        }
        config = self.folder / "schools.yaml"
        config.write_text(yaml.safe_dump({"schools": {SCHOOL: school}}))
        self.environment = Environment(
            load_settings(config), data_dir=self.folder / "data", clock=lambda: self.moment[0], variables={}
        )

    def close(self) -> None:
        self.environment.state.close()

    def night(self, day: date) -> NightAt:
        """Run a night of all partners."""
        self.moment[0] = datetime(day.year, day.month, day.day, 2, tzinfo=UTC)
        try:
            frames = self._store(day)
        except DatasetError as error:
            return NightAt(day, failed=str(error))
        return NightAt(day, {partner: self._deliver(partner, day, frames) for partner in self.partners})

    def nights(self, first: date, last: date) -> list[NightAt]:
        """Run all nights from one to another."""
        return [self.night(first + timedelta(days=n)) for n in range((last - first).days + 1)]

    def _store(self, day: date) -> dict[str, pd.DataFrame]:
        found = answer(self.plan, day)
        frames = {name: table.frame for name, table in found.items()}
        self.spoil(frames, day)
        for name, frame in frames.items():
            declaration = DATASETS[name]
            dataset_rules.check_rows(declaration, frame, container_found=found[name].containers > 0)
            dataset_rules.check_schema(declaration, frame)
            dataset_rules.check_keys(declaration, frame)
            dataset_rules.check_identity(declaration, frame, self.before.get(name))
        for name, frame in frames.items():
            self.environment.tables.save(
                frame, source=SOURCE, dataset=name, school=SCHOOL, night=day, provenance={"key": "all"}
            )
        self.before = frames
        return frames

    def _deliver(self, partner: str, day: date, frames: dict[str, pd.DataFrame]) -> Delivered:
        environment = self.environment
        which = registry.PARTNERS[partner]
        settings = environment.settings.school(SCHOOL).partners.exporting[partner]
        source, names = which.exporting.needed(settings)
        night = Night(SCHOOL, day)
        given = Behind(
            environment, night, pinned(environment, night, names, source), {name: frames[name] for name in names}
        )
        gate = deliverer(
            environment,
            Address(partner, SCHOOL, day),
            which.exporting.files,
            which.exporting.schema_version,
            settings,
            run_id=f"{partner} {day}",
            allow_removals=False,
        )
        waiting = waits(which, given.tables, day)
        if waiting is not None:
            return gate.nothing(Outcome.NO_TIMETABLE, waiting)
        result = makes(which, given)()
        staged = environment.staged(partner, SCHOOL).stage(
            day,
            result.built.export,
            datasets=as_pins(given.pins, result.built),
            snapshots=[],
            excluded=result.built.excluded_per_file(),
            unaccounted=result.built.unaccounted,
            places=result.built.places,
        )
        return gate.deliver(staged, result.built.export, result.verdicts)
