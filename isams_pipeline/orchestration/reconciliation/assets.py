"""The reconciliation of a school's sources as a Dagster asset, and its job."""

import base64

import dagster as dg
from pydantic import Field

from isams_pipeline.config import Settings
from isams_pipeline.orchestration import checks
from isams_pipeline.orchestration.graph import compares_sources, keys_of, sources_in_use
from isams_pipeline.orchestration.partitions import nights_of
from isams_pipeline.orchestration.reconciliation.pictures import reconciliation_picture
from isams_pipeline.orchestration.reconciliation.reconciling import (
    Reconciliation,
    as_rows,
    header,
    reconciled,
    report_path,
    sources_meant,
)
from isams_pipeline.orchestration.runs import NightRun, Results, of_a_night_with
from isams_pipeline.orchestration.source_assets import OWNER
from isams_pipeline.rules.reconciliation import NEEDED
from isams_pipeline.sources.registry import label_of
from isams_pipeline.sources.shared import REPORTS

RECONCILIATION = [REPORTS, "reconciliation"]
RECONCILE_JOB = "reconciliation"
AGREE = {
    "sources_agree": "Warns: the sources differ in who and what is at the school. Ids and fields are in the report."
}


class ReconciliationOptions(dg.Config):
    """What the launch pad asks before sources are compared."""

    sources: list[str] | None = Field(
        default=None,
        description="Which; the first is what the others are compared with. Left out: all that the school has.",
    )


def reconciliation_asset(settings: Settings) -> dg.AssetsDefinition:
    """The comparison of all of a school's sources."""
    partitions = nights_of(settings)

    @dg.asset(
        key=RECONCILIATION,
        description="Where the sources of a school differ: counts, who and what only one of them has, and which fields "
        "differ. Ids and names of fields; no values.",
        partitions_def=partitions,
        group_name=REPORTS,
        owners=[OWNER],
        kinds={"json", "matplotlib"},
        deps=keys_of(dict.fromkeys(sources_in_use(settings), NEEDED)),
        check_specs=checks.check_specs(RECONCILIATION, partitions, AGREE),
    )
    @of_a_night_with(ReconciliationOptions)
    def reconciliation(run: NightRun, options: ReconciliationOptions) -> Results:
        environment, night = run.environment, run.night
        sources = sources_meant(environment, night.school, options.sources)
        found = reconciled(environment, night, sources)
        picture = reconciliation_picture(found)
        environment.reports.write_json(report_path(night, "json"), found.as_json())
        environment.reports.write(report_path(night, "png"), picture)
        report = environment.reports.location(report_path(night, "json"))
        problem = f"{found.said}; see {report}"
        verdict = (
            checks.failed("sources_agree", RECONCILIATION, problem, warn=True)
            if found.differences
            else checks.passed(AGREE, RECONCILIATION)[0]
        )
        yield dg.MaterializeResult(
            metadata={
                "differences": found.differences,
                "report": report,
                "table": dg.MetadataValue.md(as_markdown(found)),
                "picture": dg.MetadataValue.md(
                    f"![reconciliation](data:image/png;base64,{base64.b64encode(picture).decode()})"
                ),
            },
            check_results=[verdict],
        )

    return reconciliation


def reconciliation_definitions(settings: Settings) -> dg.Definitions:
    """The comparison, and its job; none where no school has several sources."""
    if not compares_sources(settings):
        return dg.Definitions()
    return dg.Definitions(assets=[reconciliation_asset(settings)], jobs=[reconciliation_job(settings)])


def reconciliation_job(settings: Settings) -> "dg.UnresolvedAssetJobDefinition":
    """The job that reads a school by all its sources, and compares them."""
    keys = keys_of(dict.fromkeys(sources_in_use(settings), NEEDED))
    return dg.define_asset_job(  # pyright: ignore[reportUnknownMemberType]
        RECONCILE_JOB,
        selection=dg.AssetSelection.assets(*keys, dg.AssetKey(RECONCILIATION)),  # pyright: ignore[reportUnknownMemberType]
        description="Reads a school by all its sources, and compares them.",
        executor_def=dg.in_process_executor,
    )


def as_markdown(found: Reconciliation) -> str:
    """A table for each source."""
    tables: list[str] = []
    for source, entities in found.sources.items():
        head = header(found.first, source)
        lines = [head, tuple("---" for _ in head), *as_rows(entities)]
        table = "\n".join("| " + " | ".join(line) + " |" for line in lines)
        tables.append(f"{label_of(found.first)} / {label_of(source)}\n\n{table}")
    return "\n\n".join(tables)
