"""`sync` and `backfill`: a school's nights, headless, through Dagster."""

from __future__ import annotations

import contextlib
from collections import Counter
from datetime import date, timedelta
from typing import Annotated

import dagster as dg
import typer
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeRemainingColumn
from rich.text import Text

from isams_pipeline.clock import today_at
from isams_pipeline.commands.backfilling import Backfill
from isams_pipeline.commands.common import (
    COLOURS,
    DATA_DIR,
    GOOD,
    Config,
    DataDir,
    School,
    a_date,
    console,
    print_run,
    reasons,
)
from isams_pipeline.commands.first import print_first_look
from isams_pipeline.commands.headless import Nightly
from isams_pipeline.commands.instance import open_instance
from isams_pipeline.commands.made_up import keep_apart
from isams_pipeline.commands.partner_option import Partner
from isams_pipeline.definitions import environment_from
from isams_pipeline.delivery.receipts import Outcome
from isams_pipeline.errors import ConfigurationError, WrongUse
from isams_pipeline.orchestration.environment import Environment
from isams_pipeline.orchestration.partitions import Night

AllowRemovals = Annotated[
    bool, typer.Option("--allow-removals", help="Deliver although many rows are gone; for this content only.")
]


def sync(
    school: School,
    partner: Partner = "schoolsbuddy",
    date: Annotated[
        str | None,
        typer.Option(
            "--date", help="The night, such as 2026-11-20. [default: today at the school]", show_default=False
        ),
    ] = None,
    config: Config = None,
    data_dir: DataDir = DATA_DIR,
    fresh: Annotated[
        bool,
        typer.Option(
            "--fresh",
            help="Ask again: iSAMS even within a key's cache hours; Assembly and Xporter for whole "
            "lists, not only changes.",
        ),
    ] = False,
    allow_removals: AllowRemovals = False,
    allow_cancellations: Annotated[
        bool,
        typer.Option(
            "--allow-cancellations",
            help="Cancel clashing bookings even if more than max_cancelled, or the school's first (Room Booking).",
        ),
    ] = False,
) -> int:
    """Run a school's night now and print how it ended.

    delivered, unchanged or no_timetable: exit code 0. refused, held (the first one waits for a person) or failed: 1.
    """
    environment = environment_from(config, data_dir)
    keep_apart(data_dir, environment.settings)
    environment.retries = 0  # a person is waiting; the client's own patience has to do
    night = night_meant(environment, school, partner, date)
    with open_instance(data_dir) as instance, console.status(f"{school} {night.date}") as status:

        def see(event: dg.DagsterEvent) -> None:
            if event.event_type is dg.DagsterEventType.STEP_START and console.is_terminal:
                status.update(f"{school} {night.date}  {_in_words(event.step_key)}")
            elif event.event_type in _ENDED and not console.is_terminal:
                console.print(f"{night.date} {_in_words(event.step_key)}: {_ENDED[event.event_type]}", soft_wrap=True)

        run = Nightly(environment, instance, partner, see=see).run(
            night, fresh=fresh, allow_removals=allow_removals, allow_cancellations=allow_cancellations
        )
    if run.outcome is Outcome.HELD:
        print_first_look(environment, partner, night)
    return print_run(run)


_ENDED = {
    dg.DagsterEventType.STEP_SUCCESS: "done",
    dg.DagsterEventType.STEP_FAILURE: "failed",
    dg.DagsterEventType.STEP_SKIPPED: "skipped",
}


def _in_words(step: str | None) -> str:
    """A step as the asset or the table that a person looks for."""
    return (step or "").replace("__", "/")


def backfill(
    school: School,
    first: Annotated[str, typer.Option("--from", help="The first night.", show_default=False)],
    last: Annotated[str, typer.Option("--to", help="The last night.", show_default=False)],
    partner: Partner = "schoolsbuddy",
    config: Config = None,
    data_dir: DataDir = DATA_DIR,
    allow_removals: AllowRemovals = False,
) -> int:
    """Run past nights again from the archive, one after the other. A night that the archive lacks ends failed.

    The UI shows it under Runs, Backfills, where it can be cancelled, as by Ctrl-C here. Where the UI's daemon lives, it
    launches the runs, and this command shows how they end; else this command runs them.
    """
    environment = environment_from(config, data_dir)
    keep_apart(data_dir, environment.settings)
    environment.retries = 0
    start = night_meant(environment, school, partner, first).date
    end = night_meant(environment, school, partner, last).date
    if start > end:
        raise WrongUse("--from is later than --to", remedy="Swap them.")
    nights = [Night(school, start + timedelta(days=at)) for at in range((end - start).days + 1)]
    ended: Counter[Outcome] = Counter()
    columns = (TextColumn("{task.description}"), BarColumn(), MofNCompleteColumn(), TimeRemainingColumn())
    with contextlib.ExitStack() as stack:
        instance = stack.enter_context(open_instance(data_dir))
        progress = stack.enter_context(Progress(*columns, console=console))
        nightly = Nightly(environment, instance, partner)
        again = stack.enter_context(Backfill(nightly, nights, allow_removals=allow_removals))
        progress.console.print(
            f"Backfill {again.id}, carried out by {'the daemon of the UI' if again.by_daemon else 'this command'}."
        )
        task = progress.add_task(f"{school} {start}", total=len(nights))
        for run in again.runs():
            night = run.night
            ended[run.outcome] += 1
            reason = "" if run.outcome in GOOD else "\n  " + "\n  ".join(reasons(run.reason or ""))
            progress.console.print(
                Text.assemble(
                    f"{night.date}  ", (run.outcome.value, COLOURS[run.outcome]), f"  {run.seconds:.1f} s{reason}"
                ),
                soft_wrap=True,
            )
            progress.advance(task)
            progress.update(task, description=f"{school} {min(night.date + timedelta(days=1), end)}")
    counts = [f"{count} {outcome.value}" for outcome, count in ended.items()]
    if again.cancelled:
        counts.append(f"cancelled before {len(nights) - ended.total()} of {len(nights)} nights")
    console.print(", ".join(counts))
    return 0 if set(ended) <= set(GOOD) and not again.cancelled else 1


def night_meant(environment: Environment, school: str, partner: str, given: str | None) -> Night:
    """The night that is meant; wrong use if it cannot be a partition."""
    settings = environment.settings.school(school)
    if partner not in settings.partners:
        raise ConfigurationError(
            f"The school sends nothing to {partner}",
            school=school,
            remedy=f"Add schools.{school}.partners.{partner} to schools.yaml.",
        )
    today = today_at(settings.timezone, environment.clock)
    day: date = a_date(given) if given else today
    earliest = environment.settings.first_night_of(school)
    setting = "history_from" if earliest == environment.settings.history_from else f"schools.{school}.first_night"
    if earliest > today:
        raise ConfigurationError(
            f"{setting} has not come yet, so there is no night to run",
            file=environment.settings.file,
            remedy="Write the first of September of the school year that you want to begin with into history_from, and "
            "the school's own first night into first_night, or leave that out.",
        )
    if not earliest <= day <= today:
        raise WrongUse(
            f"{day} is no night that can be run",
            school=school,
            remedy=f"Choose a night from {earliest} ({setting}) to {today} (today at the school).",
        )
    return Night(school, day)
