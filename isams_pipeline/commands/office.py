"""`office`: a school's report of what to mend in iSAMS, made now."""

from __future__ import annotations

from typing import Annotated

import typer

from isams_pipeline.clock import today_at
from isams_pipeline.commands.common import DATA_DIR, Config, DataDir, School, a_date, console, print_table
from isams_pipeline.commands.headless import run_job
from isams_pipeline.commands.instance import open_instance
from isams_pipeline.definitions import environment_from
from isams_pipeline.errors import WrongUse
from isams_pipeline.orchestration.office.asset import JOB
from isams_pipeline.orchestration.office.report import FACTS, PAGE
from isams_pipeline.orchestration.partitions import Night
from isams_pipeline.rules.mending import ADVICE


def office(
    school: School,
    date: Annotated[
        str | None,
        typer.Option("--date", help="The night. [default: today, by the school's clock]", show_default=False),
    ] = None,
    config: Config = None,
    data_dir: DataDir = DATA_DIR,
) -> int:
    """Make the report of what a school's office is to mend in iSAMS, as a page and a workbook; mail it if it is due.

    The daemon does so each morning at 07:00, for schools with reports in schools.yaml: the asset office in the UI.
    """
    environment = environment_from(config, data_dir)
    settings = environment.settings.school(school)
    if settings.reports is None:
        raise WrongUse(
            "The school has asked for no report", school=school, remedy=f"Add schools.{school}.reports to schools.yaml."
        )
    day = a_date(date) if date is not None else today_at(settings.timezone, environment.clock)
    environment.retries = 0
    with open_instance(environment.data_dir) as instance:
        done = run_job(environment, instance, JOB, Night(school, day), {})
    for failure in done.failures:
        console.print(failure, soft_wrap=True)
    if done.failures:
        return 1
    folder = f"{school}/{day}"
    facts = environment.reports.read_json(f"{folder}/{FACTS}")
    rows = [(_told(key, len(records)), len(records)) for key, records in facts["tasks"].items()]
    print_table(("what to do", "records"), rows)
    console.print(environment.reports.location(f"{folder}/{PAGE}"), soft_wrap=True)
    return 0


def _told(key: str, count: int) -> str:
    entity, _, rule = key.partition("/")
    advice = ADVICE[entity, rule]
    return advice.one if count == 1 else advice.several.format(n=count)
