"""The asset `office`: a school's report of what to mend in iSAMS, each morning, for schools that have asked for it."""

import dagster as dg

from isams_pipeline.config import Settings
from isams_pipeline.orchestration.by_the_clock import schedules_of
from isams_pipeline.orchestration.environment import Environment
from isams_pipeline.orchestration.metadata import Metadata
from isams_pipeline.orchestration.office.mailing import mail
from isams_pipeline.orchestration.office.report import PAGE, WORKBOOK, OfficeReport, made
from isams_pipeline.orchestration.partitions import nights_of
from isams_pipeline.orchestration.runs import NightRun, Results, of_a_night
from isams_pipeline.orchestration.showing import markdown_table
from isams_pipeline.orchestration.source_assets import OWNER

OFFICE, JOB = "office", "office_report"
_AT = ("0 7 * * *", "Every morning at 07:00")
"""When all nights of a school are over, by its own clock."""


def office_definitions(settings: Settings) -> dg.Definitions:
    """The asset, its job and its schedules; none where no school has asked for a report."""
    schools = [name for name, school in settings.schools.items() if school.reports is not None]
    if not schools:
        return dg.Definitions()
    job = dg.define_asset_job(  # pyright: ignore[reportUnknownMemberType]
        JOB,
        selection=dg.AssetSelection.assets(dg.AssetKey(OFFICE)),  # pyright: ignore[reportUnknownMemberType]
        description="Tells a school's office what to mend in iSAMS; once a week by mail.",
        executor_def=dg.in_process_executor,
    )
    schedules = schedules_of(settings, schools, job, name=JOB, when=_AT)
    return dg.Definitions(assets=[_asset(settings)], jobs=[job], schedules=schedules)


def _asset(settings: Settings) -> dg.AssetsDefinition:
    @dg.asset(
        key=[OFFICE],
        description="What a school's office is to mend in iSAMS, as a page and a workbook in reports/<school>/<date>/: "
        "by what to do, with numbers, what is new since last time, and the course of the last weeks. Made of what "
        "partners did not get. `reports` of the school in schools.yaml says whether names stand in it, and who gets it "
        "by mail.",
        partitions_def=nights_of(settings),
        owners=[OWNER],
        kinds={"excel"},
        group_name=OFFICE,
    )
    @of_a_night
    def office(run: NightRun) -> Results:
        if run.environment.settings.school(run.night.school).reports is None:
            run.log.info("The school has asked for no report (reports in schools.yaml)")
            return
        report = made(run.environment, run.night)
        said = mail(run.environment, report, run.night.date) if run.is_today else []
        for text in said:
            run.log.warning("%s", text)
        yield dg.MaterializeResult(
            metadata=shown(run.environment, report) | ({"mail": "; ".join(said)} if said else {})
        )

    return office


def shown(environment: Environment, report: OfficeReport) -> Metadata:
    """What Dagster shows: counts that plot, and the tasks; no numbers of anybody."""
    found = report.found
    rows = [(task.what, len(task.records), len(task.new)) for task in found.tasks]
    return {
        "to mend": found.records,
        "new": found.new,
        "for others": found.others,
        "tasks": dg.MetadataValue.md(markdown_table(("what to do", "records", "new"), rows)),
        "page": environment.reports.location(f"{report.folder}/{PAGE}"),
        "workbook": environment.reports.location(f"{report.folder}/{WORKBOOK}"),
    }
