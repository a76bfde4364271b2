"""The asset `retention`: each week, school by school, what is kept too long ends; in the UI the counts of it plot."""

from collections import Counter
from collections.abc import Iterable, Sequence

import dagster as dg

from isams_pipeline.config import Settings
from isams_pipeline.config.retention import FOREVER, Retention
from isams_pipeline.orchestration.by_the_clock import schedules_of
from isams_pipeline.orchestration.metadata import Metadata
from isams_pipeline.orchestration.partitions import nights_of
from isams_pipeline.orchestration.partner import AnyPartner
from isams_pipeline.orchestration.retention import Pass, pass_over
from isams_pipeline.orchestration.runs import NightRun, Results, of_a_night
from isams_pipeline.orchestration.showing import markdown_table
from isams_pipeline.orchestration.source_assets import OWNER

RETENTION, SCHEDULE = "retention", "retention_weekly"
JOB = "end_what_is_kept_too_long"
_AT = ("0 13 * * 0", "On Sundays at 13:00")
"""By the school's own clock: no night of it is under way, and no session of attendance."""


def retention_definitions(settings: Settings, partners: Iterable[AnyPartner]) -> dg.Definitions:
    """The asset, its job and its schedule; none where there is no school."""
    if not settings.schools:
        return dg.Definitions()
    job = dg.define_asset_job(  # pyright: ignore[reportUnknownMemberType]
        JOB,
        selection=dg.AssetSelection.assets(dg.AssetKey(RETENTION)),  # pyright: ignore[reportUnknownMemberType]
        description="Ends what is kept of a school longer than `retention` in schools.yaml says.",
        executor_def=dg.in_process_executor,
    )
    schedules = schedules_of(settings, settings.schools, job, name=SCHEDULE, when=_AT)
    return dg.Definitions(assets=[_asset(settings, list(partners))], jobs=[job], schedules=schedules)


def _asset(settings: Settings, partners: Sequence[AnyPartner]) -> dg.AssetsDefinition:
    @dg.asset(
        key=[RETENTION],
        description="What of a school came to its end: first the notes of nights that are over, then what no note "
        "names any more; rows of the database; Dagster's runs. The last two nights that a partner got stay, with what "
        "they were made of. What is kept how long is `retention` in schools.yaml; `isams-pipeline retention` shows "
        "what would end now.",
        partitions_def=nights_of(settings),
        owners=[OWNER],
        kinds={"table"},
        group_name=RETENTION,
    )
    @of_a_night
    def retention(run: NightRun) -> Results:
        done = pass_over(run.environment, run.context.instance, run.night.school, partners, for_real=True)
        days = run.environment.settings.retention_of(run.night.school)
        yield dg.MaterializeResult(metadata=shown(done, days))
        for error in done.failed:
            run.log.warning("%s", error)
        if done.failed:
            raise done.failed[0]

    return retention


def shown(done: Pass, days: Retention) -> Metadata:
    """What Dagster shows of a pass: counts that plot, and a table."""
    total = {what: sum(counts[what] for counts in done.counts.values()) for what in ("nights", "files", "rows", "runs")}
    return {**total, "ended": dg.MetadataValue.md(markdown_table(HEADER, table_of(done, days)))}


HEADER = ("kept", "days", "ended")


def table_of(done: Pass, days: Retention) -> list[tuple[str, ...]]:
    """Every kind of what is kept: how many days, and what of it ended, or would."""
    kinds = [*type(days).model_fields, *(kind for kind in done.counts if kind not in type(days).model_fields)]
    found: list[tuple[str, ...]] = []
    for kind in kinds:
        kept = getattr(days, kind, None)
        counts = done.counts.get(kind, Counter[str]())
        told = ", ".join(f"{number} {what}" for what, number in counts.items() if number)
        found.append((kind, FOREVER if kept is None else str(kept), told or "\N{MIDDLE DOT}"))
    return found
