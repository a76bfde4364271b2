"""Opening a window in which more rows may be gone than usual: what the command and the UI's job both do."""

import getpass
from collections.abc import Sequence
from datetime import date, timedelta

import dagster as dg
from pydantic import Field

from isams_pipeline.clock import today_at
from isams_pipeline.errors import WrongUse
from isams_pipeline.orchestration.environment import Environment
from isams_pipeline.orchestration.partitions import LAUNCHED_BY
from isams_pipeline.orchestration.runs import told_to_dagster
from isams_pipeline.storage.state.windows import RemovalWindow, RemovalWindows

ALL = "all"
LONGEST = timedelta(days=31)
"""A window that is longer would be no window."""
JOB = "allow_removals"


def open_windows(  # noqa: PLR0917  # whose, until when, why and by whom
    environment: Environment, schools: Sequence[str], partner: str, until: date, reason: str, who: str
) -> list[RemovalWindow]:
    """Open a window for each school that sends to the partner (for all partners: `all`); raises WrongUse."""
    settings = environment.settings
    names = list(settings.schools) if list(schools) == [ALL] else list(schools)
    if not reason.strip():
        raise WrongUse("A window needs a reason", remedy="Say why with --reason, or `reason` in the launch pad.")
    wanted: list[tuple[str, str]] = []
    for name in names:
        mine = settings.school(name).partners.exporting
        if partner not in {ALL, *mine} and list(schools) != [ALL]:
            raise WrongUse(f"{name} sends nothing to {partner}", remedy=f"It sends to: {', '.join(mine) or 'nobody'}.")
        wanted += [(name, one) for one in mine if partner in {ALL, one}]
    if not wanted:
        raise WrongUse(f"No school sends anything to {partner}", remedy="Look at `partners` in schools.yaml.")
    opened: list[RemovalWindow] = []
    for name, one in wanted:
        today = today_at(settings.school(name).timezone, environment.clock)
        if not today <= until <= today + LONGEST:
            raise WrongUse(
                f"{until} is no end for a window",
                school=name,
                remedy=f"Choose a date from {today} (today there) to {today + LONGEST}.",
            )
        window = RemovalWindow(
            school=name,
            partner=one,
            since=today,
            until=until,
            reason=reason.strip(),
            who=who,
            opened_at=environment.clock(),
        )
        opened.append(window)
    windows = RemovalWindows(environment.state)
    for window in opened:
        windows.open(window)
    return opened


class WindowOptions(dg.Config):
    """What the launch pad asks before a window is opened."""

    schools: list[str] = Field(description="Names in schools.yaml, or [all].")
    partner: str = Field(description="One that gets files, such as schoolsbuddy, or all.")
    until: str = Field(description="The last night, such as 2026-09-05; at most 31 days ahead.")
    reason: str = Field(description="Why. It stands in the manifests and receipts of these nights.")


@dg.op(
    description="Lets files lose more rows than max_removed until a date: for a new school year, say. A missing "
    "feed, another source or other people are still refused.",
)
def open_window(
    context: dg.OpExecutionContext, config: WindowOptions, environment: dg.ResourceParam[Environment]
) -> None:
    """Open windows, and say which."""
    with told_to_dagster(environment):
        who = context.run.tags.get(LAUNCHED_BY) or getpass.getuser()
        try:
            until = date.fromisoformat(config.until)
        except ValueError:
            raise WrongUse("`until` is no date", remedy="Write it as 2026-09-05.") from None
        opened = open_windows(environment, config.schools, config.partner, until, config.reason, who)
        for window in opened:
            context.log.info("%s, %s: %s", window.school, window.partner, window.in_words)
        context.add_output_metadata({"windows": len(opened), "until": until.isoformat()})


@dg.job(  # pyright: ignore[reportUnknownMemberType]
    name=JOB,
    description="Open a window in which files may lose more rows than usual. It closes by itself.",
    executor_def=dg.in_process_executor,
)
def allow_removals() -> None:
    """The job by which a window is opened from the UI."""
    open_window()
