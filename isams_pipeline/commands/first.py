"""`release`: a school's first export, looked at by a person and then delivered."""

from __future__ import annotations

from typing import Annotated

import typer
from rich import box
from rich.prompt import Confirm
from rich.table import Table

from isams_pipeline.clock import today_at
from isams_pipeline.commands.common import (
    DATA_DIR,
    Config,
    DataDir,
    Partner,
    School,
    console,
    known_partner,
    number,
    print_run,
    say,
)
from isams_pipeline.commands.made_up import keep_apart
from isams_pipeline.definitions import environment_from
from isams_pipeline.delivery.receipts import Address, Receipts
from isams_pipeline.environment import Environment
from isams_pipeline.errors import WrongUse
from isams_pipeline.headless import Nightly
from isams_pipeline.instance import open_instance
from isams_pipeline.partitions import Night
from isams_pipeline.partners.first_look import FirstLook, first_look


def release(
    school: School,
    partner: Partner = "schoolsbuddy",
    yes: Annotated[bool, typer.Option("--yes", help="Do not ask: you have looked at it.")] = False,
    config: Config = None,
    data_dir: DataDir = DATA_DIR,
) -> int:
    """Look at a school's first export that waits (`first_delivery: hold`), and deliver it.

    Shows rows, e-mail coverage, and by year group the contacts a student, students without any, and campus names.
    """
    environment = environment_from(config, data_dir)
    keep_apart(data_dir, environment.settings)
    timezone = environment.settings.school(school).timezone
    receipts = Receipts(environment.state)
    held = receipts.last_held(known_partner(partner), school)
    if held is None:
        done = receipts.ever_delivered(Address(partner, school, today_at(timezone, environment.clock)))
        raise WrongUse(
            "No first export waits; one was delivered already" if done else "No first export waits",
            school=school,
            partner=partner,
            remedy="With `first_delivery: hold` in schools.yaml, a school's first night makes one.",
        )
    night = Night(school, held.date)
    print_first_look(environment, partner, night)
    if not yes:
        if not console.is_terminal:
            raise WrongUse("There is nobody to ask", remedy="Say that you have looked at it: --yes.")
        if not Confirm.ask(f"Deliver the export of {night.date} to {partner}?", console=console):
            return 1
    environment.retries = 0
    with open_instance(data_dir) as instance, console.status(f"{school} {night.date}"):
        run = Nightly(environment, instance, partner).release(night)
    return print_run(run)


def print_first_look(environment: Environment, partner: str, night: Night) -> None:
    """A first export in numbers."""
    stage = environment.staged(partner, night.school)
    look = first_look(stage.load(stage.find(night.date).files))
    say((partner, "bold"), f", {night.school}, the export of {night.date}")
    _print_look(look)


def _print_look(look: FirstLook) -> None:
    files = Table(box=box.SIMPLE_HEAD, pad_edge=False)
    with_people = any(file.with_email is not None for file in look.files)
    for name in ("file", "rows", "with an e-mail address")[: 3 if with_people else 2]:
        files.add_column(name, justify="left" if name == "file" else "right")
    for file in look.files:
        files.add_row(file.name, number(file.rows), *([file.in_words] if with_people else []))
    console.print(files)
    if not look.years:
        return
    years = Table(box=box.SIMPLE_HEAD, pad_edge=False)
    for name in ("year group", "campus", "students", "contacts a student", "students without any"):
        years.add_column(name, justify="left" if name in {"year group", "campus"} else "right")
    for year in look.years:
        years.add_row(year.year, year.campus, number(year.students), year.contacts_a_student, number(year.without))
    console.print(years)
