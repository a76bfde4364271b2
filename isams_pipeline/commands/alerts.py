"""`status` and `alerts`: how every school stands, and who is told of what needs a person."""

from __future__ import annotations

import json
from typing import Annotated

import typer
from rich import box
from rich.table import Table
from rich.text import Text

from isams_pipeline.commands.common import DATA_DIR, Config, DataDir, console, say
from isams_pipeline.commands.instance import open_instance
from isams_pipeline.definitions import environment_from
from isams_pipeline.errors import WrongUse
from isams_pipeline.orchestration.alerts.channels import channels, is_told_anybody
from isams_pipeline.orchestration.alerts.posting import AlertState, decide, in_line, stuck
from isams_pipeline.orchestration.alerts.rounds import LOCK, go_round, try_out
from isams_pipeline.orchestration.alerts.sensor import hours_of
from isams_pipeline.orchestration.environment import Environment
from isams_pipeline.orchestration.status import Row, Status
from isams_pipeline.orchestration.status import status as status_of
from isams_pipeline.partners.registry import PARTNERS


def status(
    school: Annotated[
        str | None, typer.Argument(help="A school's name in schools.yaml; left out, all.", show_default=False)
    ] = None,
    as_json: Annotated[bool, typer.Option("--json", help="Print JSON.")] = False,
    config: Config = None,
    data_dir: DataDir = DATA_DIR,
) -> int:
    """Show every school and partner: the last night delivered, tonight, and what waits for a person, with the command.

    Exit code 1 where a night should be there and is not. In the UI the asset status shows the same; monitoring reads
    /status.json and /metrics of the UI.
    """
    environment = environment_from(config, data_dir)
    _need_schools(environment)
    with open_instance(environment.data_dir) as instance:
        found = status_of(environment, instance, PARTNERS.values(), None if school is None else [school])
    if as_json:
        console.out(json.dumps(found.as_json(), indent=2, ensure_ascii=False), highlight=False)
    else:
        _print(found)
    return 1 if found.overdue else 0


def _need_schools(environment: Environment) -> None:
    """Raise ConfigurationError where there is no configuration, or no school in it: that all is well nobody knows."""
    if not environment.settings.schools:
        environment.settings.school("any")


def _print(found: Status) -> None:
    table = Table(box=box.SIMPLE_HEAD, pad_edge=False, collapse_padding=True, padding=(0, 1))
    for name in ("school", "partner", "last delivered", "tonight"):
        table.add_column(name, overflow="fold")
    for row in found.rows:
        last = row.last_delivered.isoformat() if row.last_delivered else "\N{MIDDLE DOT}"
        table.add_row(row.school, row.partner, last, Text(row.tonight or "\N{MIDDLE DOT}", style=_colour(row)))
    console.print(table)
    for row in found.rows:
        for one in row.waits:
            say((f"{row.school}, {row.partner}", "yellow"), f": {one.what}")
            console.print(f"  {one.command}", soft_wrap=True)
    if found.alerts_stuck:
        say((f"{found.alerts_stuck} alerts", "yellow"), " have reached nobody for sure")
        console.print("  isams-pipeline alerts")
    if not found.waits:
        console.print("Nothing waits for a person.")


def _colour(row: Row) -> str:
    if row.overdue:
        return "red"
    return {"delivered": "green", "unchanged": "green", "failed": "red", "refused": "yellow", "held": "yellow"}.get(
        row.outcome, "none"
    )


def alerts(
    test: Annotated[
        bool, typer.Option("--test", help="Send a test message to each channel now, whatever its quiet hours.")
    ] = False,
    again: Annotated[
        int | None,
        typer.Option("--send-again", help="Send this message again: you know that it has not arrived.", min=1),
    ] = None,
    away: Annotated[
        int | None, typer.Option("--put-away", help="Let this message be: it has arrived, or need not.", min=1)
    ] = None,
    config: Config = None,
    data_dir: DataDir = DATA_DIR,
) -> int:
    """Look which nights need a person, and tell whom `alerts` in schools.yaml names. The daemon does so every minute.

    For cron, where no daemon runs. Lists messages that are in doubt or were refused for good. Exit code 1 where a
    message could not be sent.
    """
    environment = environment_from(config, data_dir)
    _need_schools(environment)
    if not is_told_anybody(environment.settings):
        raise WrongUse(
            "schools.yaml says of nobody who is to be told",
            remedy="Add alerts, as schools.example.yaml has them; `isams-pipeline status` shows how schools stand.",
        )
    if test:
        return _test(environment)
    with environment.locks.hold(LOCK, wait=60):
        for number, state in ((again, AlertState.QUEUED), (away, AlertState.PUT_AWAY)):
            if number is not None:
                decide(environment, number, state)
    with open_instance(environment.data_dir) as instance:
        done = go_round(environment, instance, hours_of(PARTNERS.values()))
    console.print(
        f"{done.waiting} nights need a person; {done.written} messages written, {done.posted.sent} sent",
        highlight=False,
    )
    for problem in done.posted.problems:
        say(("not sent", "red"), f": {problem}")
    waiting = in_line(environment)
    for one in waiting:
        why = one.error or ("quiet hours" if one.not_before > environment.clock() else "the next round")
        say((f"{one.id} waits", "yellow"), f" until {one.not_before:%Y-%m-%d %H:%M} UTC, {why}; {one.subject}")
    for one in stuck(environment):
        said = one.state.replace("_", " ")
        say((f"{one.id} {said}", "yellow"), f": {one.created_at:%Y-%m-%d %H:%M} UTC, {one.error}; {one.subject}")
    return 1 if done.posted.problems or any(one.error for one in waiting) else 0


def _test(environment: Environment) -> int:
    problems = try_out(environment)
    for name in channels(environment.settings):
        if name in problems:
            say((f"{name}", "red"), f": {problems[name]}. Nothing more is tried: put it right, and test again.")
        else:
            say((f"{name}", "green"), ": sent")
    return 1 if problems else 0
