"""Runs that nobody carries on any more, after a power cut: ended by the evidence of their locks, and run again once.

A run holds a lock of its own as long as its process lives, whichever way it ends. So a run that counts as started while
its lock is free is nobody's: without this it would stay so for hours, hold its school and a slot, and its night would
never be delivered, as its schedule's key is used up.
"""

from collections.abc import Callable, Iterator, Sequence
from datetime import UTC, datetime, timedelta
from functools import cache
from typing import Any

import dagster as dg
from dagster._core.storage.dagster_run import RunsFilter

from isams_pipeline.clock import today_at
from isams_pipeline.config import Settings
from isams_pipeline.errors import ConfigurationError
from isams_pipeline.orchestration.environment import Environment
from isams_pipeline.orchestration.partitions import key_of, night_of_tag
from isams_pipeline.orchestration.runs import NIGHT, told_to_ticks
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
        _end(instance, run)
        ended.append(run.run_id)
    return ended


def _end(instance: dg.DagsterInstance, run: dg.DagsterRun) -> None:
    now = instance.get_run_by_id(run.run_id)
    if now is None or now.is_finished:
        return  # it has said so since
    instance.add_run_tags(run.run_id, {BROKEN_OFF: "yes"})
    instance.report_run_failed(run, _MESSAGE)


def carried_on_by_nobody(
    instance: dg.DagsterInstance, locks: Locks, holds: Callable[[dg.DagsterRun], bool], *, silent: timedelta
) -> list[dg.DagsterRun]:
    """Runs that have started, that would hold a lock, and that nobody holds: their process is gone.

    `holds`: whether a run is one of those that hold a lock; `silent`: so long it must have said nothing besides.
    """
    under_way = [dg.DagsterRunStatus.STARTED, dg.DagsterRunStatus.CANCELING]
    now = datetime.now(UTC)  # by Dagster's own clock
    runs = instance.get_runs(RunsFilter(statuses=under_way, updated_before=now - _TO_BEGIN))
    nobodys = [run for run in runs if holds(run) and locks.is_free(lock_of(run.run_id))]
    return [run for run in nobodys if now.timestamp() - _last_said(instance, run) >= silent.total_seconds()]


_TO_BEGIN = timedelta(seconds=60)
"""So long a run may take from when it counts as started until it holds its lock."""
_SILENT = timedelta(minutes=20)
"""Longer than a source lets a run wait for an answer."""


def _last_said(instance: dg.DagsterInstance, run: dg.DagsterRun) -> float:
    records = instance.get_records_for_run(run.run_id, limit=1, ascending=False).records
    return records[0].timestamp if records else 0.0


def _holding(repository: dg.RepositoryDefinition | None) -> Callable[[dg.DagsterRun], bool]:
    """Whether a run holds a lock of its own as long as it lives: it needs the resource of nights."""
    if repository is None:
        return lambda _: False
    definitions = repository.assets_defs_by_key

    @cache
    def of_job(name: str) -> bool:
        nodes = repository.get_job(name).all_node_defs if repository.has_job(name) else ()
        return any(NIGHT in getattr(node, "required_resource_keys", ()) for node in nodes)

    def of_run(run: dg.DagsterRun) -> bool:
        if not run.asset_selection:
            return of_job(run.job_name)
        chosen = [definitions[key] for key in run.asset_selection if key in definitions]
        return any(NIGHT in one.required_resource_keys for one in chosen)

    return of_run


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
        description="Ends what a power cut or a killed process has broken off, and runs it again, once, if it is still "
        "that day.",
    )
    @told_to_ticks
    def run_again(
        context: dg.SensorEvaluationContext, environment: dg.ResourceParam[Environment]
    ) -> Iterator[dg.RunRequest | dg.SkipReason]:
        holds = _holding(context.repository_def)
        # A file's lock goes with its process and with nothing else; a lock in Postgres goes with its connection, too.
        silent = _SILENT if environment.postgres else timedelta(0)
        nobodys = carried_on_by_nobody(context.instance, environment.locks, holds, silent=silent)
        # Seen twice: a run lets go of its lock a moment before it says that it has ended.
        known = set(context.cursor.split()) if context.cursor else set[str]()
        for run in (one for one in nobodys if one.run_id in known):
            context.log.warning("Run %s of %s was carried on by nobody", run.run_id, run.job_name)
            _end(context.instance, run)
        context.update_cursor(" ".join(run.run_id for run in nobodys if run.run_id not in known))
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
