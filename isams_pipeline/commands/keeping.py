"""`retention`: what is kept longer than schools.yaml says, and its end."""

from __future__ import annotations

from typing import Annotated

import typer
from rich import box
from rich.table import Table

from isams_pipeline.clock import today_at
from isams_pipeline.commands.common import DATA_DIR, Config, DataDir, console, say
from isams_pipeline.commands.headless import run_job
from isams_pipeline.commands.instance import open_instance
from isams_pipeline.definitions import environment_from
from isams_pipeline.orchestration.environment import Environment
from isams_pipeline.orchestration.partitions import Night
from isams_pipeline.orchestration.retention import Pass, pass_over
from isams_pipeline.orchestration.retention_asset import HEADER, JOB, table_of
from isams_pipeline.partners.registry import PARTNERS


def retention(
    school: Annotated[
        str | None, typer.Argument(help="A school's name in schools.yaml; left out, all.", show_default=False)
    ] = None,
    apply: Annotated[bool, typer.Option("--apply", help="End it now. Without, only what would end is shown.")] = False,
    config: Config = None,
    data_dir: DataDir = DATA_DIR,
) -> int:
    """Show what is kept of a school longer than `retention` in schools.yaml says, and end it with --apply.

    The daemon does so each Sunday: the asset retention in the UI. What later exports are compared with stays.
    """
    environment = environment_from(config, data_dir)
    names = list(environment.settings.schools) if school is None else [school]
    for name in names or ["any"]:
        environment.settings.school(name)
    failures = 0
    with open_instance(environment.data_dir) as instance:
        for name in names:
            say((name, "bold"))
            if apply:
                today = today_at(environment.settings.school(name).timezone, environment.clock)
                done = run_job(environment, instance, JOB, Night(name, today), {})
                for failure in done.failures:
                    say(("failed", "red"), f": {failure}")
                failures += len(done.failures)
                run = done.run_id[:8]
                say(f"  done in {done.seconds:.0f} s; the asset retention in the UI has the counts (run {run})")
                continue
            with environment.locks.hold(f"school {name}", wait=environment.lock_wait):
                found = pass_over(environment, instance, name, PARTNERS.values(), for_real=False)
            _print(environment, name, found)
            failures += len(found.failed)
    if not apply:
        console.print("Nothing was ended: that needs --apply, or the next Sunday.")
    return 1 if failures else 0


def _print(environment: Environment, school: str, found: Pass) -> None:
    table = Table(box=box.SIMPLE_HEAD, pad_edge=False)
    for name in (*HEADER[:2], "would end"):
        table.add_column(name, overflow="fold", justify="right" if name == "days" else "left")
    for row in table_of(found, environment.settings.retention_of(school)):
        table.add_row(*row)
    console.print(table)
    for error in found.failed:
        say(("cannot be looked at", "red"), f": {error}")
