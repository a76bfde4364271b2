"""What the commands share: options, the console, and how a night's outcome is printed."""

from __future__ import annotations

import os
import re
from collections.abc import Mapping, Sequence
from datetime import date, datetime
from itertools import zip_longest
from pathlib import Path
from typing import Annotated, Any

import typer
from rich import box
from rich.table import Table
from rich.text import Text

from isams_pipeline.commands.console import console, say
from isams_pipeline.commands.headless import NightRun
from isams_pipeline.config.places import folder_here, url_of
from isams_pipeline.delivery.changes import COUNTS
from isams_pipeline.delivery.receipts import Outcome
from isams_pipeline.orchestration.environment import DATA_DIR_VARIABLE

School = Annotated[str, typer.Argument(help="A school's name in schools.yaml.", show_default=False)]
Config = Annotated[
    Path | None,
    typer.Option("--config", help="Path of schools.yaml. Else ISAMS_CONFIG, else ./schools.yaml.", show_default=False),
]


def _data_dir(given: str | Path) -> Path:
    """The folder on this machine; where the data lie elsewhere, all that is started from here is to know."""
    given = str(given)  # the default is a path already
    if url_of(given) is not None:
        os.environ[DATA_DIR_VARIABLE] = given
    elif url_of(os.environ.get(DATA_DIR_VARIABLE)) is not None:  # an option says more than a variable
        os.environ[DATA_DIR_VARIABLE] = str(Path(given).resolve())
    return folder_here(given)


DataDir = Annotated[
    Path,
    typer.Option(
        "--data-dir",
        envvar=DATA_DIR_VARIABLE,
        parser=_data_dir,
        metavar="PLACE",
        help="Archive, tables, state, reports and history lie here; a folder, or with Postgres a URL such as s3://bucket.",
    ),
]
DATA_DIR = Path("data")

COLOURS = {
    Outcome.DELIVERED: "green",
    Outcome.UNCHANGED: "cyan",
    Outcome.REFUSED: "yellow",
    Outcome.FAILED: "red",
    Outcome.NO_SESSION: "cyan",
    Outcome.NO_TIMETABLE: "yellow",
    Outcome.HELD: "yellow",
    Outcome.RELEASED: "cyan",
}
GOOD = (Outcome.DELIVERED, Outcome.UNCHANGED, Outcome.NO_SESSION, Outcome.NO_TIMETABLE)
"""Outcomes with exit code 0."""


def a_date(text: str) -> date:
    """A date on the command line."""
    try:
        return datetime.strptime(text, "%Y-%m-%d").date()  # noqa: DTZ007  # a calendar day
    except ValueError:
        raise typer.BadParameter(f"{text!r} is no date; write 2026-11-20") from None


COUNTED = (*COUNTS, "excluded")
"""What is counted of a file."""
_HEADERS = {
    "added": "added",
    "changed": "changed",
    "removed": "gone",
    "explained": "ex-\nplained",
    "replaced": "re-\nplaced",
    "unexplained": "lost",
    "excluded": "left\nout",
}
_IN_SHORT = ("added", "changed", "removed", "unexplained", "excluded")


def changes_table(changes: Mapping[str, Mapping[str, int]], rows: Mapping[str, int] | None = None) -> Table:
    """Files and what changed in them, within 80 columns: of the rows gone, some are explained, replaced or lost.

    `rows`: how many a file has, where that is to be shown.
    """
    table = Table(box=box.SIMPLE_HEAD, pad_edge=False, collapse_padding=True, padding=(0, 1))
    table.add_column("file", overflow="fold", vertical="bottom")
    if rows is not None:
        table.add_column("rows", justify="right", no_wrap=True, vertical="bottom")
    for what in COUNTED:
        table.add_column(_HEADERS[what], justify="right", no_wrap=True, vertical="bottom")
    for name, counts in changes.items():
        here = [] if rows is None else [number(rows.get(name, 0))]
        table.add_row(name.removesuffix(".csv"), *here, *(number(counts.get(what, 0)) for what in COUNTED))
    return table


def outcome_table() -> Table:
    """The table of several nights and what they brought, in short; fits a terminal of 80 columns."""
    table = Table(box=box.SIMPLE_HEAD, pad_edge=False, collapse_padding=True)
    for name, least in (("school\nnight\npartner", 13), ("outcome\nseconds", 9), ("file", 10)):
        table.add_column(name, no_wrap=name != "file", overflow="fold", vertical="bottom", min_width=least)
    for what in _IN_SHORT:
        table.add_column(_HEADERS[what], justify="right", no_wrap=True, vertical="bottom")
    return table


def add_night(table: Table, run: NightRun) -> None:
    """A night's rows, one a file in which something changed; school, night, partner and outcome stand to their left."""
    changes = run.receipt.changes if run.receipt else {}
    left = [run.night.school, run.night.date.isoformat(), Text(run.partner, "dim")]
    middle = [Text(run.outcome.value, COLOURS[run.outcome]), Text(f"{run.seconds:.1f} s", "dim")]
    files = [
        (name.removesuffix(".csv"), *(number(change.get(what, 0)) for what in _IN_SHORT))
        for name, change in changes.items()
        if any(change[what] for what in ("added", "changed", "removed"))
    ] or [("-", *[""] * len(_IN_SHORT))]
    for at, cells in enumerate(zip_longest(left, middle, files)):
        first, second, rest = cells
        last = at == max(len(left), len(files)) - 1
        table.add_row(first or "", second or "", *(rest or ("", *[""] * len(_IN_SHORT))), end_section=last)


def number(value: int) -> str | Text:
    """A count, where none is a dot."""
    return str(value) if value else Text("·", "dim")


def reasons(text: str) -> list[str]:
    """A reason's parts: failures by line, refusals by the check that each is from."""
    return [part for line in text.splitlines() for part in re.split(r"; (?=[a-z_]+: )", line)]


def print_end(run: NightRun) -> None:
    """The outcome by its name, where it went, and what else is to be said."""
    for note in run.notes:
        console.print(f"  {note}", soft_wrap=True)
    night = f"{run.night.school} {run.night.date} {run.partner}"
    say((run.outcome.value, f"{COLOURS[run.outcome]} bold"), f" {night}")
    if run.outcome in (Outcome.DELIVERED, Outcome.UNCHANGED) and run.receipt:
        console.print(f"  {run.receipt.target}", soft_wrap=True)
    elif run.reason:
        for problem in reasons(run.reason):
            console.print(f"  {problem}", soft_wrap=True)


def print_run(run: NightRun) -> int:
    """What a run brought and how it ended; gives the exit code."""
    if run.receipt is not None and run.receipt.changes:
        console.print(changes_table(run.receipt.changes))
    print_table(("warning", "what it says"), run.warnings)
    print_end(run)
    return 0 if run.outcome in GOOD else 1


def print_table(header: tuple[str, ...], rows: Sequence[tuple[Any, ...]]) -> None:
    """A table of texts and counts; nothing where there are no rows."""
    if not rows:
        return
    table = Table(box=box.SIMPLE_HEAD, pad_edge=False)
    for at, name in enumerate(header):
        table.add_column(name, justify="right" if isinstance(rows[0][at], int) else "left", overflow="fold")
    for row in rows:
        table.add_row(*(number(cell) if isinstance(cell, int) else Text(str(cell)) for cell in row))
    console.print(table)
