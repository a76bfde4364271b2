"""`allow` and `rehearse`: the school year's busiest days, allowed for once and looked at before they come."""

from __future__ import annotations

import getpass
from dataclasses import replace
from typing import Annotated

import typer
from rich import box
from rich.table import Table
from rich.text import Text

from isams_pipeline.clock import today_at
from isams_pipeline.commands.common import (
    DATA_DIR,
    Config,
    DataDir,
    School,
    a_date,
    changes_table,
    console,
    reasons,
    say,
)
from isams_pipeline.commands.partner_option import OnePartner, PartnerOrAll
from isams_pipeline.definitions import environment_from
from isams_pipeline.errors import ConfigurationError, NotMaterialised, WrongUse
from isams_pipeline.orchestration.environment import Environment
from isams_pipeline.orchestration.partner import AnyPartner, Behind
from isams_pipeline.orchestration.removal_windows import ALL, open_windows
from isams_pipeline.orchestration.trials import Tried, behind, tried
from isams_pipeline.partners.registry import PARTNERS, exporting
from isams_pipeline.rules.year_end import Turned, turned
from isams_pipeline.storage.state.windows import RemovalWindows


def allow(
    schools: Annotated[str, typer.Option("--schools", help="Schools by commas, or all.")] = "",
    partner: PartnerOrAll = None,
    until: Annotated[
        str, typer.Option("--until", help="The last night, such as 2026-09-05; at most 31 days ahead.")
    ] = "",
    reason: Annotated[str, typer.Option("--reason", help="Why. It stands in receipts and manifests.")] = "",
    close: Annotated[bool, typer.Option("--close", help="Close the windows of --schools and --partner now.")] = False,
    config: Config = None,
    data_dir: DataDir = DATA_DIR,
) -> int:
    """Let files lose more rows than max_removed until a date; without options, list the windows there are and were.

    The window closes by itself. A feed that is gone, another source, or a file of other people is refused all the same.
    In the UI, launch the job allow_removals.
    """
    environment = environment_from(config, data_dir)
    if not (schools or partner or until or reason or close):
        _list(environment)
        return 0
    if not schools or not partner:
        raise WrongUse(
            "Which schools, and which partner?",
            remedy=f"Give --schools and --partner ({', '.join(exporting())} or all).",
        )
    names = [name.strip() for name in schools.split(",")]
    if close:
        return _close(environment, names, partner)
    if not until:
        raise WrongUse("Until when?", remedy="Give --until a date, such as 2026-09-05.")
    for window in open_windows(environment, names, partner, a_date(until), reason, getpass.getuser()):
        say((window.school, "bold"), f", {window.partner}: open {window.in_words}")
    return 0


def _close(environment: Environment, names: list[str], partner: str) -> int:
    known = environment.settings.schools
    windows, closed = RemovalWindows(environment.state), 0
    for name in known if names == [ALL] else names:
        today = today_at(environment.settings.school(name).timezone, environment.clock)
        for one in exporting() if partner == ALL else (partner,):
            closed += windows.close(name, one, who=getpass.getuser(), at=environment.clock(), today=today)
    console.print(f"{closed} window{'s' if closed != 1 else ''} closed.")
    return 0


def _list(environment: Environment) -> None:
    found = RemovalWindows(environment.state).all()
    if not found:
        console.print("No window was ever opened.")
        return
    table = Table(box=box.SIMPLE_HEAD, pad_edge=False)
    for name in ("school\npartner", "from\nuntil", "by whom, and why", "closed"):
        table.add_column(name, overflow="fold", no_wrap=name.startswith("from"))
    for window in found:
        closed = f"{window.closed_at:%Y-%m-%d}\nby {window.closed_by}" if window.closed_at else ""
        nights = f"{window.since}\n{window.until}"
        table.add_row(f"{window.school}\n{window.partner}", nights, f"{window.who}: {window.reason}", closed)
    console.print(table)


# --- rehearse -----------------------------------------------------------------------------------------------


def rehearse(
    school: School,
    year_end: Annotated[
        bool,
        typer.Option(
            "--year-end",
            help="Move the tables up a school year first: leavers gone, sets and timetable anew, next year's terms.",
        ),
    ] = False,
    partner: OnePartner = None,
    date: Annotated[
        str | None, typer.Option("--date", help="The night. [default: the latest there is]", show_default=False)
    ] = None,
    config: Config = None,
    data_dir: DataDir = DATA_DIR,
) -> int:
    """Show what each partner would get of a night's tables, and what the gate would say. Nothing is stored or sent.

    Exit code 0 if all would be delivered, 1 if one would be refused.
    """
    environment = environment_from(config, data_dir)
    settings = environment.settings.school(school)
    mine = settings.partners.exporting
    if partner is not None and partner not in mine:
        raise ConfigurationError(
            f"The school sends nothing to {partner}", school=school, remedy=f"It sends to: {', '.join(mine)}."
        )
    fine, seen = True, False
    for name in [partner] if partner else mine:
        try:
            given = behind(environment, school, PARTNERS[name], a_date(date) if date else None)
        except NotMaterialised as missing:
            say((name, "bold"), f": {missing}")
            continue
        seen = True
        fine = _rehearse(PARTNERS[name], given, year_end=year_end) and fine
    return 0 if fine and seen else 1


def _rehearse(partner: AnyPartner, given: Behind, *, year_end: bool) -> bool:
    """Print one partner's rehearsal; whether it would be delivered."""
    night = given.night.date
    if not year_end:
        say((partner.key, "bold"), f", the tables of {night} as they are")
        return _print_trial(partner, tried(partner, given))
    campuses = list(given.school.campuses.values())
    moved = turned(given.tables, night, campuses)
    if moved is None:
        say((partner.key, "bold"), f": the tables of {night} have no terms, so nobody knows when a school year ends")
        return False
    say((partner.key, "bold"), f", the tables of {night} moved up to {moved.day}{_what_is_known(moved)}")
    return _print_trial(partner, tried(partner, replace(given, tables=moved.tables), moved.day))


def _what_is_known(moved: Turned) -> str:
    leavers = f": {moved.leavers} pupils leave" if moved.leavers else ""
    terms = (
        "the first day of its first term"
        if moved.knows_terms
        else "this year's first day of term, 52 weeks on, as no term of the next year is entered yet"
    )
    return f" ({terms}){leavers}. Who joins, and what is suspended or closed, is not known."


def _print_trial(partner: AnyPartner, found: Tried) -> bool:
    if found.waits is not None or found.judged is None or found.built is None:
        say("  ", ("no_timetable", "yellow"), f": {found.waits}")
        return True
    shown = {
        file: counts
        for file, counts in found.judged.changes.items()
        if file in found.built.export.files or file not in partner.exporting.only_for_real
    }
    rows = {file: found.built.export.row_count(file) for file in found.built.export.files}
    console.print(changes_table(shown, rows))
    if not found.judged.problems and found.held:
        say(
            "  ",
            ("would wait", "yellow"),
            ": first export (first_delivery: hold); deliver it with `isams-pipeline release`",
        )
        return False
    if not found.judged.problems:
        since = found.judged.baseline_date
        compared = f"compared with {since}" if since else "the first delivery"
        say("  ", ("would be delivered", "green"), f", {compared}")
        return True
    say("  ", ("would be refused", "yellow"))
    for problem in reasons("; ".join(found.judged.problems)):
        console.print(Text(f"    {problem}"), soft_wrap=True)
    return False
