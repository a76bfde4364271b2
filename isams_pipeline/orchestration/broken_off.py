"""Runs that nobody carries on any more, after a power cut: ended by the evidence of their locks, and run again once.

A run holds a lock of its own as long as its process lives, whichever way it ends. So a run that counts as started while
its lock is free is nobody's: without this it would stay so for hours, hold its school and a slot, and its night would
never be delivered, as its schedule's key is used up.
"""

from collections.abc import Iterator, Sequence
from datetime import timedelta
from typing import Any

import dagster as dg
from dagster._core.storage.dagster_run import RunsFilter

from isams_pipeline.clock import today_at
from isams_pipeline.config import Settings
from isams_pipeline.errors import ConfigurationError
from isams_pipeline.orchestration.environment import Environment
from isams_pipeline.orchestration.partitions import key_of, night_of_tag
from isams_pipeline.orchestration.runs import told_to_ticks
from isams_pipeline.orchestration.session import lock_of
from isams_pipeline.storage.locks import Locks

BROKEN_OFF, AGAIN = "broken_off", "again_after"
"""Tags: of a run that nobody carried on; and of the run that does its work again, with the other's id."""
SENSOR = "run_again_what_was_broken_off"
PARTITION = "dagster/partition"
_UNDER_WAY = [dg.DagsterRunStatus.STARTING, dg.DagsterRunStatus.STARTED, dg.DagsterRunStatus.CANCELING]
_MESSAGE = (
    "Broken off: the run counted as under way, but no living process held it, as after a power cut. If its date is "
    "still today at the school, it is run again once automatically; else use `isams-pipeline backfill`."
)


def end_broken_off(instance: dg.DagsterInstance, locks: Locks) -> list[str]:
    """End what no living process holds; gives the runs' ids. Only where no daemon is just starting runs."""
    ended: list[str] = []
    for run in instance.get_runs(RunsFilter(statuses=_UNDER_WAY)):
        if not locks.is_free(lock_of(run.run_id)):
            continue
        instance.add_run_tags(run.run_id, {BROKEN_OFF: "yes"})
        instance.report_run_failed(run, _MESSAGE)
        ended.append(run.run_id)
    return ended


def again_sensor(settings: Settings, jobs: Sequence[Any]) -> list[dg.SensorDefinition]:
    """The sensor that runs again, once, what was broken off today; none where there is no school."""
    if not settings.schools:
        return []
    names = {job.name for job in jobs}

    @dg.sensor(  # pyright: ignore[reportUnknownMemberType]
        name=SENSOR,
        jobs=jobs,
        minimum_interval_seconds=30,
        default_status=dg.DefaultSensorStatus.RUNNING,
        description="Runs again, once, what a power cut or a killed process has broken off, if it is still that day.",
    )
    @told_to_ticks
    def run_again(
        context: dg.SensorEvaluationContext, environment: dg.ResourceParam[Environment]
    ) -> Iterator[dg.RunRequest | dg.SkipReason]:
        since = environment.clock() - timedelta(days=1)
        broken = context.instance.get_runs(RunsFilter(tags={BROKEN_OFF: "yes"}, updated_after=since), limit=200)
        wanted = [
            run for run in broken if run.job_name in names and AGAIN not in run.tags and _is_today(environment, run)
        ]
        for run in wanted:
            yield dg.RunRequest(
                run_key=f"again {run.run_id}",
                job_name=run.job_name,
                partition_key=key_of(night_of_tag(run.tags[PARTITION])),
                run_config=run.run_config,
                asset_selection=list(run.asset_selection) if run.asset_selection else None,
                tags={AGAIN: run.run_id},
            )
        if not wanted:
            yield dg.SkipReason("nothing was broken off today")

    return [run_again]


def _is_today(environment: Environment, run: dg.DagsterRun) -> bool:
    """ISAMS only knows now: a night that is over is for a backfill."""
    try:
        night = night_of_tag(run.tags[PARTITION])
        zone = environment.settings.school(night.school).timezone
    except (KeyError, ValueError, ConfigurationError):
        return False
    return night.date == today_at(zone, environment.clock)
