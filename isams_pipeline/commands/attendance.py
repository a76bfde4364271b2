"""`registers` and `attendance`: which registers there are today, and a session's delivery now."""

from __future__ import annotations

from typing import Annotated

import typer
from rich import box
from rich.table import Table

from isams_pipeline.clock import moment_in_words
from isams_pipeline.commands.common import (
    DATA_DIR,
    Config,
    DataDir,
    School,
    console,
    print_run,
)
from isams_pipeline.commands.headless import Nightly
from isams_pipeline.commands.instance import open_instance
from isams_pipeline.commands.made_up import keep_apart
from isams_pipeline.commands.nights import AllowRemovals, night_meant
from isams_pipeline.definitions import environment_from
from isams_pipeline.errors import ConfigurationError
from isams_pipeline.partners.schoolsbuddy.attendance.schedules import job_name
from isams_pipeline.partners.schoolsbuddy.attendance.sessions import NIGHTLY, SESSIONS, Session
from isams_pipeline.partners.schoolsbuddy.settings import SchoolsBuddySettings
from isams_pipeline.sources.isams.connect import rest_client
from isams_pipeline.sources.isams.registers import divisions, registers_today


def registers(
    school: School,
    client: Annotated[
        str | None,
        typer.Option("--client", help="Which of isams.rest. [default: attendance's]", show_default=False),
    ] = None,
    config: Config = None,
    data_dir: DataDir = DATA_DIR,
) -> int:
    """List today's registers, to choose from for partners.schoolsbuddy.attendance in schools.yaml."""
    environment = environment_from(config, data_dir)
    settings = environment.settings.school(school)
    partner = settings.partners.get(SchoolsBuddySettings)
    name = client or (partner.attendance.client if partner and partner.attendance else None)
    if not settings.need_isams.rest:
        raise ConfigurationError(
            "The school has no REST client",
            school=school,
            remedy=f"Add schools.{school}.isams.rest to schools.yaml; docs/schoolsbuddy.md says how to get one.",
        )
    try:
        settings.need_isams.client_named(name)
    except ValueError as problem:
        raise ConfigurationError(str(problem), school=school, remedy="Say which: --client NAME.") from None
    with rest_client(environment.access(school), name) as rest, console.status(f"asking {school}"):
        known = divisions(rest)
        today = registers_today(rest, known)
    if not today:
        names = ", ".join(division.name for division in known) or "none"
        console.print(f"There are no registers today. Divisions: {names}. Ask again on a school day.", soft_wrap=True)
        return 0
    table = Table(box=box.SIMPLE_HEAD, pad_edge=False)
    for column in ("division", "register", "type", "opens", "late after", "closes"):
        table.add_column(column)
    table.add_column("students", justify="right")
    for register in today:
        times = (register.start, register.late_after, register.finish)
        shown = [moment_in_words(at, settings.timezone)[11:16] for at in times]
        table.add_row(register.division, register.name, register.kind, *shown, str(register.students))
    day = moment_in_words(today[0].start, settings.timezone)
    console.print(f"Registers of {day[:10]}, times in {settings.timezone.key}:")
    console.print(table)
    chosen = settings.need_isams.client_named(name)
    console.print("To choose some, write into schools.yaml, such as:\n")
    console.print(f"    partners:\n      schoolsbuddy:\n        attendance:\n          client: {chosen}")
    for session in SESSIONS:
        fitting = [r for r in today if r.is_called(session)]
        if fitting:
            lines = ", ".join(f"{{division: {r.division}, register: {r.name}}}" for r in fitting)
            console.print(f"          {session.lower()}: [{lines}]", soft_wrap=True)
    return 0


def attendance(
    school: School,
    session: Annotated[str, typer.Argument(help="am or pm.", show_default=False)],
    date: Annotated[
        str | None,
        typer.Option("--date", help="A past date, from what was read then. [default: today]", show_default=False),
    ] = None,
    config: Config = None,
    data_dir: DataDir = DATA_DIR,
    allow_removals: AllowRemovals = False,
) -> int:
    """Read a session's registers now, deliver its attendance to SchoolsBuddy, and print how it ended."""
    sessions: dict[str, Session] = {known.lower(): known for known in SESSIONS}
    wanted = sessions.get(session.lower())
    if wanted is None:
        raise typer.BadParameter(f"{session!r} is no session; write am or pm")
    environment = environment_from(config, data_dir)
    keep_apart(data_dir, environment.settings)
    environment.retries = 0  # a person is waiting; the client's own patience has to do
    night = night_meant(environment, school, NIGHTLY, date)
    label = f"attendance {wanted.lower()}"
    with open_instance(data_dir) as instance, console.status(f"{school} {night.date} {label}"):
        run = Nightly(environment, instance, label, job_name(wanted)).run(night, allow_removals=allow_removals)
    return print_run(run)
