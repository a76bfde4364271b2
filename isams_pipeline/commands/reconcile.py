"""`reconcile`: a school by several sources, compared."""

from __future__ import annotations

from typing import Annotated

import typer
from rich import box
from rich.table import Table

from isams_pipeline.clock import today_at
from isams_pipeline.commands.common import DATA_DIR, Config, DataDir, School, a_date, console, say
from isams_pipeline.commands.headless import run_job
from isams_pipeline.commands.instance import open_instance
from isams_pipeline.commands.made_up import keep_apart
from isams_pipeline.definitions import environment_from
from isams_pipeline.orchestration.environment import Environment
from isams_pipeline.orchestration.graph import asset_key
from isams_pipeline.orchestration.partitions import Night
from isams_pipeline.orchestration.reconciliation.assets import RECONCILE_JOB, RECONCILIATION
from isams_pipeline.orchestration.reconciliation.reconciling import (
    as_rows,
    header,
    kept_report,
    report_path,
    sources_meant,
)
from isams_pipeline.rules.reconciliation import NEEDED
from isams_pipeline.sources.registry import label_of


def reconcile(
    school: School,
    sources: Annotated[
        str | None,
        typer.Option(
            "--sources",
            help="Which of isams, assembly, xporter, by commas; the first is what the others are compared with. "
            "[default: all that the school has]",
        ),
    ] = None,
    date: Annotated[
        str | None, typer.Option("--date", help="The night. [default: today at the school]", show_default=False)
    ] = None,
    config: Config = None,
    data_dir: DataDir = DATA_DIR,
) -> int:
    """Read a school by its sources, and show where they differ: counts, ids and names of fields; no values.

    Exit code 0 where they agree, 1 where they differ or could not be read.
    """
    environment = environment_from(config, data_dir)
    keep_apart(data_dir, environment.settings)
    environment.retries = 0
    meant = sources_meant(environment, school, [name.strip() for name in sources.split(",")] if sources else None)
    today = today_at(environment.settings.school(school).timezone, environment.clock)
    night = Night(school, a_date(date) if date else today)
    with open_instance(data_dir) as instance, console.status(f"{school} {night.date}"):
        keys = [asset_key(name, source) for source in meant for name in NEEDED]
        ops = {"__".join(RECONCILIATION): {"config": {"sources": meant}}}
        run = run_job(environment, instance, RECONCILE_JOB, night, ops, [*keys, asset_key(*RECONCILIATION[::-1])])
    for failure in run.failures:
        say(("failed", "red"), f" {failure}")
    if run.failures:
        if night.date < today and len(meant) > 2:  # noqa: PLR2004
            console.print(f"Where only some of {', '.join(meant)} were read that night, name those by --sources.")
        return 1
    return print_reconciliation(environment, night)


def print_reconciliation(environment: Environment, night: Night) -> int:
    """The night's reconciliation as a table for each source, and where its report is; gives the exit code."""
    found = kept_report(environment, night)
    for source, entities in found.sources.items():
        title = f"{night.school} on {night.date}: {label_of(found.first)} / {label_of(source)}"
        table = Table(title=title, title_justify="left", box=box.SIMPLE_HEAD, pad_edge=False, collapse_padding=True)
        for name in header(found.first, source):
            table.add_column(name, justify="left" if name in {"", "differing in", "not compared"} else "right")
        for row in as_rows(entities):
            table.add_row(*row)
        console.print(table)
    where = environment.reports.location(report_path(night, "json"))
    console.print(
        f"{found.said.capitalize()}; their ids are in {where}, with a picture in the same folder.", soft_wrap=True
    )
    return 1 if found.differences else 0
