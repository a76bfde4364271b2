"""`release`: a school's first export, looked at by a person and then delivered."""

from __future__ import annotations

from typing import Annotated

import typer
from rich.prompt import Confirm

from isams_pipeline.clock import today_at
from isams_pipeline.commands.common import (
    DATA_DIR,
    Config,
    DataDir,
    School,
    console,
    print_run,
    print_table,
    say,
)
from isams_pipeline.commands.headless import Nightly
from isams_pipeline.commands.instance import open_instance
from isams_pipeline.commands.made_up import keep_apart
from isams_pipeline.commands.partner_option import Partner
from isams_pipeline.definitions import environment_from
from isams_pipeline.delivery.first_look import first_look
from isams_pipeline.delivery.receipts import Address, Receipts
from isams_pipeline.errors import WrongUse
from isams_pipeline.orchestration.environment import Environment
from isams_pipeline.orchestration.partitions import Night


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
    held = receipts.last_held(partner, school)
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
            raise WrongUse(
                "Delivery must be confirmed, but there is no terminal to ask on",
                remedy="Check the export printed above, then run again with --yes, or use release: true in the "
                "launch pad.",
            )
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
    for header, rows in look.tables:
        print_table(header, rows)
