"""`demo`: three nights and a day between them, of two made-up schools."""

from __future__ import annotations

import os
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from datetime import UTC, date, datetime, time
from pathlib import Path
from typing import Annotated
from zoneinfo import ZoneInfo

import dagster as dg
import typer
from rich.progress import BarColumn, MofNCompleteColumn, Progress, SpinnerColumn, TextColumn, TimeElapsedColumn
from rich.table import Table

from isams_pipeline.commands.changes import audit_trail, requests_table
from isams_pipeline.commands.common import DATA_DIR, DataDir, add_night, console, outcome_table, print_end, say
from isams_pipeline.commands.headless import Nightly, NightRun, run_job
from isams_pipeline.commands.instance import open_instance
from isams_pipeline.commands.made_up import DEMO_CONFIG, make_room, the_only
from isams_pipeline.commands.reconcile import print_reconciliation
from isams_pipeline.config import load_settings
from isams_pipeline.delivery.receipts import Outcome
from isams_pipeline.orchestration.connector import Connector
from isams_pipeline.orchestration.environment import Environment
from isams_pipeline.orchestration.partitions import Night
from isams_pipeline.orchestration.reconciliation.assets import RECONCILE_JOB
from isams_pipeline.orchestration.tonight import JOB as TONIGHT_JOB
from isams_pipeline.partners import schoolbooking
from isams_pipeline.partners.my_school_portal.desk import ChangeDesk
from isams_pipeline.partners.my_school_portal.intake import inbox_of
from isams_pipeline.partners.my_school_portal.schedules import CHANGES_JOB
from isams_pipeline.partners.my_school_portal.settings import KEY as PORTAL
from isams_pipeline.partners.my_school_portal.states import State
from isams_pipeline.partners.registry import PARTNERS, exporting
from isams_pipeline.partners.room_booking.imports import take
from isams_pipeline.partners.room_booking.night import outbox_of
from isams_pipeline.partners.room_booking.store import BookingStore
from isams_pipeline.partners.schoolsbuddy.attendance.schedules import job_name
from isams_pipeline.partners.schoolsbuddy.attendance.sessions import SESSIONS
from isams_pipeline.sandbox.assembly import AssemblyApi
from isams_pipeline.sandbox.bookings import partner_files
from isams_pipeline.sandbox.change_requests import sample_files
from isams_pipeline.sandbox.demo import (
    DemoSchool,
    demo_nights,
    demo_schools,
    make_sandbox,
    secrets_of,
    write_config,
)
from isams_pipeline.sandbox.school import SchoolDay
from isams_pipeline.sandbox.server import Sandbox, serving
from isams_pipeline.sources.registry import LISTED
from isams_pipeline.sources.shared import ASSEMBLY, XPORTER
from isams_pipeline.sources.shared.connections import Moved

HOURS = {key: PARTNERS[key].hour for key in exporting()}
"""When the demo runs each partner, as their schedules do."""
SESSION_HOURS = {"AM": 11, "PM": 15}
SOURCES_SCHOOL = "riverside"
"""The school that is read by the other sources too."""
PORTAL_SCHOOL = "harbour"
"""The school whose guardians ask for changes: it has joint contacts."""
AFTERNOON, CONFIRMING = 16, 4
SHOWN = ("MSP-1003", "MSP-1004")
"""The requests whose audit trail is printed: that of a joint contact, and the conflict."""


def demo(
    data_dir: DataDir = DATA_DIR,
    scale: Annotated[float, typer.Option(min=0.5, max=50, help="Make the schools larger.")] = 1,
) -> int:
    """Run three nights and a school day of two made-up schools, by every source and for every partner.

    Starts anew each time. Everything lands in the data folder; `isams-pipeline ui` shows its history.
    """
    with the_only("A demo or a UI", data_dir):
        make_room(data_dir)
        return _demo(data_dir, scale)


@dataclass
class _Demo:
    """A demo under way."""

    environment: Environment
    instance: dg.DagsterInstance
    schools: dict[str, DemoSchool]
    sandbox: Sandbox
    moment: datetime
    nights: list[date]
    runs: list[NightRun] = field(default_factory=list[NightRun])
    failures: list[str] = field(default_factory=list[str])

    def at(self, school: str, day: date, hour: int) -> None:
        """Let it be that hour at a school."""
        zone = ZoneInfo(self.schools[school].timezone)
        self.moment = datetime.combine(day, time(hour), zone).astimezone(UTC)

    def steps(self, nights: list[date]) -> Iterator[tuple[str, Callable[[], str]]]:
        """What happens, in its order: what it is, and the function that does it and says how it ended."""
        nightly = {name: Nightly(self.environment, self.instance, name) for name in HOURS}
        sessions = {
            name: Nightly(self.environment, self.instance, f"attendance {name.lower()}", job_name(name))
            for name in SESSIONS
        }
        for source, connect in (("assembly", self._connect_assembly), ("xporter", self._connect_xporter)):
            yield f"{SOURCES_SCHOOL} {nights[0]} connector {source}", lambda connect=connect: connect(nights[0])
        for day in nights:
            for school in self.schools:
                for partner, runner in nightly.items():
                    if partner not in self.environment.settings.school(school).partners.exporting:
                        continue
                    # A school's first cancellations wait for a person; here it is taken that one has looked.
                    allowed = partner == "room_booking" and day == nights[0]
                    yield self._run(
                        f"{school} {day} {partner}", runner, Night(school, day), HOURS[partner], allowed=allowed
                    )
            if day == nights[1]:
                for school in self.schools:
                    for session, runner in sessions.items():
                        what = f"{school} {day} attendance {session.lower()}"
                        yield self._run(what, runner, Night(school, day), SESSION_HOURS[session])
                yield f"{PORTAL_SCHOOL} {day} change requests", lambda day=day: self._changes(day)
            yield f"all schools {day} tonight", lambda day=day: self._tonight(day)
        yield f"{PORTAL_SCHOOL} {nights[-1]} confirmation", lambda: self._confirm(nights[-1])
        yield f"{SOURCES_SCHOOL} {nights[-1]} reconciliation", lambda: self._reconcile(nights[-1])

    def _run(
        self, what: str, runner: Nightly, night: Night, hour: int, *, allowed: bool = False
    ) -> tuple[str, Callable[[], str]]:
        def run() -> str:
            self.at(night.school, night.date, hour)
            done = runner.run(night, allow_cancellations=allowed)
            self.runs.append(done)
            return f"{done.outcome.value} in {done.seconds:.1f} s"

        return what, run

    def _connect_assembly(self, day: date) -> str:
        """The guide's source: iSAMS → Xporter → Assembly → app. What the school does is done at the sandbox."""
        self.at(SOURCES_SCHOOL, day, 1)
        side = self.sandbox.schools[SOURCES_SCHOOL].at_assembly
        connector = Connector(self.environment, SOURCES_SCHOOL, ASSEMBLY, who="demo")
        way = [connector.look()]
        for side.connector in ("not_authorised", "not_installed", "connected"):
            way.append(connector.look())
        code = self.sandbox.of(AssemblyApi).codes(SOURCES_SCHOOL, set(LISTED[ASSEMBLY].scopes))
        return _way([*way, connector.take_code(code)])

    def _connect_xporter(self, day: date) -> str:
        """The direct source: invited, authorised by the school, installed, taken into use."""
        self.at(SOURCES_SCHOOL, day, 1)
        side = self.sandbox.schools[SOURCES_SCHOOL].at_xporter
        connector = Connector(self.environment, SOURCES_SCHOOL, XPORTER, who="demo")
        way = [connector.look(), connector.invite()]
        side.is_authorised = True
        way.append(connector.look())
        side.status = "OK"
        return _way([*way, connector.look(), connector.choose(None)])

    def _reconcile(self, day: date) -> str:
        self.at(SOURCES_SCHOOL, day, HOURS[schoolbooking.PARTNER.key])
        run = run_job(self.environment, self.instance, RECONCILE_JOB, Night(SOURCES_SCHOOL, day), {})
        self.failures += run.failures
        return f"{len(self.environment.settings.school(SOURCES_SCHOOL).sources)} sources in {run.seconds:.1f} s"

    def _tonight(self, day: date) -> str:
        """All schools at one glance; a real night's is made by a sensor."""
        run = run_job(self.environment, self.instance, TONIGHT_JOB, day, {})
        self.failures += run.failures
        return f"looked at in {run.seconds:.1f} s"

    def _changes(self, day: date) -> str:
        """A handful of requests arrive from the portal; the approved ones are written."""
        self.at(PORTAL_SCHOOL, day, AFTERNOON)
        inbox = inbox_of(self.environment, PORTAL_SCHOOL)
        for name, text in sample_files(self.sandbox.day_of(PORTAL_SCHOOL), self.moment).items():
            inbox.write(name, text.encode())
        run = run_job(self.environment, self.instance, CHANGES_JOB, Night(PORTAL_SCHOOL, day), {})
        self.failures += run.failures
        counts = ChangeDesk(self.environment, PORTAL_SCHOOL).store.counts()
        return f"{', '.join(f'{n} {state}' for state, n in sorted(counts.items()))} in {run.seconds:.1f} s"

    def _confirm(self, day: date) -> str:
        self.at(PORTAL_SCHOOL, day, CONFIRMING)
        run = run_job(self.environment, self.instance, f"{PORTAL}_nightly", Night(PORTAL_SCHOOL, day), {})
        self.failures += run.failures
        counts = ChangeDesk(self.environment, PORTAL_SCHOOL).store.counts()
        return f"{counts.get(State.CONFIRMED, 0)} confirmed in {run.seconds:.1f} s"


def _way(moves: list[Moved]) -> str:
    """The states that a connection went through."""
    return " → ".join(dict.fromkeys(move.now.words for move in moves))


def _demo(data_dir: Path, scale: float) -> int:
    schools = demo_schools(scale)
    nights = demo_nights(datetime.now(UTC).date())
    state: list[_Demo] = []

    def clock() -> datetime:
        return state[0].moment if state else datetime.now(UTC)

    sandbox = make_sandbox(schools, clock)
    with serving(sandbox.app()) as url, open_instance(data_dir) as instance:
        environment = _environment(data_dir, schools, sandbox, url, nights[0])
        environment.clock = clock
        done = _Demo(environment, instance, schools, sandbox, datetime.now(UTC), nights)
        state.append(done)
        console.print(f"A sandbox iSAMS for {' and '.join(schools)}; the nights of {nights[0]} to {nights[-1]}.")
        for name, school in schools.items():
            _bring_in_bookings(environment, name, SchoolDay(school.plan, nights[0]))
        columns = (
            *(SpinnerColumn(), TextColumn("{task.description}"), BarColumn()),
            *(MofNCompleteColumn(), TimeElapsedColumn()),
        )
        with Progress(*columns, console=console, transient=True) as progress:
            steps = list(done.steps(nights))
            task = progress.add_task("", total=len(steps))
            for what, step in steps:
                progress.update(task, description=what)
                progress.console.print(f"{what}: {step()}")
                progress.advance(task)
        return _report(done, data_dir)


def _report(done: _Demo, data_dir: Path) -> int:
    """What came of it; gives the exit code."""
    table = outcome_table()
    for run in done.runs:
        add_night(table, run)
    console.print(table)
    bad = [run for run in done.runs if run.outcome is not Outcome.DELIVERED]
    for run in bad:
        print_end(run)
    for failure in done.failures:
        say(("failed", "red"), f" {failure}")
    if bad or done.failures:
        return 1
    store = ChangeDesk(done.environment, PORTAL_SCHOOL).store
    console.print("Change requests that My School Portal sent to harbour, and what became of them:")
    console.print(requests_table(store.listed(), done.environment, PORTAL_SCHOOL))
    for identifier in SHOWN:
        console.print(audit_trail(identifier, store.ledger(identifier), done.environment, PORTAL_SCHOOL))
    console.print(
        f"{SOURCES_SCHOOL} by its three sources, on the last night, and where they differ (the sandbox sees to it):"
    )
    print_reconciliation(done.environment, Night(SOURCES_SCHOOL, done.nights[-1]))
    places = Table.grid(padding=(0, 2))
    mail = {name: sum(outbox_of(done.environment, name).counts().values()) for name in done.schools}
    sent = ", ".join(f"{count} of {name}" for name, count in mail.items())
    for what, where in (
        ("Exports, attendance among them", _short(data_dir / "exports")),
        ("What is not in them, and why; rooms in use, as pictures", _short(data_dir / "reports")),
        (f"Messages to owners of bookings that clashed ({sent})", _short(data_dir / "outbox")),
        ("Change requests as they came, and one that was refused", _short(data_dir / "inbox")),
    ):
        places.add_row(what, where)
    console.print(places)
    command = "make ui" if data_dir == DATA_DIR else f"isams-pipeline ui --data-dir {data_dir}"
    config = _short(data_dir / DEMO_CONFIG)
    folder = "" if data_dir == DATA_DIR else f"ISAMS_DATA_DIR={data_dir} "
    console.print(
        f"Ask about any of it:  {folder}ISAMS_CONFIG={config} isams-pipeline changes show {PORTAL_SCHOOL} {SHOWN[0]}",
        soft_wrap=True,
    )
    say("Now open the same history in the Dagster UI:  ", (command, "bold"))
    return 0


def _bring_in_bookings(environment: Environment, school: str, day: SchoolDay) -> None:
    """The partner's side of a made-up school, as `rooms import` would bring it in."""
    for kind, text in partner_files(day).items():
        with environment.state.transaction() as session:
            take(BookingStore(session, school), kind, text.encode())


def exports_of(data_dir: Path) -> str:
    """Where a demo delivers."""
    return str((data_dir / "exports").resolve())


def _short(path: Path) -> str:
    resolved = path.resolve()
    return str(resolved.relative_to(Path.cwd())) if resolved.is_relative_to(Path.cwd()) else str(resolved)


def _environment(
    data_dir: Path, schools: dict[str, DemoSchool], sandbox: Sandbox, url: str, first: date
) -> Environment:
    """Write the demo's schools.yaml, and the environment over it."""
    config = data_dir / DEMO_CONFIG
    data_dir.mkdir(mode=0o700, parents=True, exist_ok=True)
    history_from = f"{first.year if first.month >= 9 else first.year - 1}-09-01"  # noqa: PLR2004
    write_config(config, schools, sandbox, url=url, deliver_to=exports_of(data_dir), history_from=history_from)
    return Environment(load_settings(config), data_dir=data_dir, variables={**os.environ, **secrets_of(sandbox)})
