"""A partner's nightly job, and its schedules: one for each time zone in use."""

import re
from collections.abc import Iterator
from datetime import datetime
from typing import TYPE_CHECKING
from zoneinfo import ZoneInfo

import dagster as dg
from dagster._core.storage.dagster_run import RunsFilter

from isams_pipeline.config import Settings
from isams_pipeline.moved import found_elsewhere
from isams_pipeline.orchestration.due import CAUGHT_UP, begins, is_late, minute_of, spread, too_late
from isams_pipeline.orchestration.environment import Environment
from isams_pipeline.orchestration.graph import keys_of, used_for
from isams_pipeline.orchestration.partitions import DATE, SCHOOL_TAG, key_of, night_at
from isams_pipeline.orchestration.partner import AnyPartner
from isams_pipeline.orchestration.runs import told_to_ticks
from isams_pipeline.orchestration.selections import selection_of


def job_name(partner: str) -> str:
    """The name of a partner's nightly job."""
    return f"{partner}_nightly"


def nightly_job(settings: Settings, partner: AnyPartner) -> "dg.UnresolvedAssetJobDefinition":
    """What a partner's night reads, and its own assets, in one process.

    A run takes the datasets of the one source that the school's partner uses (see `selection_of`). Launched whole by
    hand, it shows those of the other sources too, which store nothing and say so.
    """
    if partner.in_its_night is None:
        own = dg.AssetSelection.groups(partner.key)  # pyright: ignore[reportUnknownMemberType]
    else:
        own = dg.AssetSelection.assets(*partner.in_its_night)  # pyright: ignore[reportUnknownMemberType]
    return dg.define_asset_job(  # pyright: ignore[reportUnknownMemberType]
        job_name(partner.key),
        selection=dg.AssetSelection.assets(*keys_of(used_for(settings, partner.key, partner.takes))) | own,  # pyright: ignore[reportUnknownMemberType]
        description=partner.night,
        # One process: the steps are short, a snapshot is fetched and parsed once for all of them, and iSAMS gets
        # one request at a time. Schools run beside each other, as runs.
        executor_def=dg.in_process_executor,
    )


def nightly_schedules(
    settings: Settings, partner: AnyPartner, job: "dg.UnresolvedAssetJobDefinition"
) -> list[dg.ScheduleDefinition]:
    """One schedule for each time zone in use, on from the start, one run for each school."""
    by_zone: dict[str, dict[str, int]] = {}
    for name, school in settings.schools.items():
        if partner.key in school.partners:
            by_zone.setdefault(school.timezone.key, {})[name] = spread(name, settings.spread_minutes)
    when = sorted(by_zone.items())
    return [_schedule(partner, zone, schools, job) for zone, schools in when]


def in_a_name(zone: str) -> str:
    """A time zone as part of a schedule's name."""
    return re.sub(r"[^a-z0-9]+", "_", zone.lower()).strip("_")


def _schedule(
    partner: AnyPartner, zone: str, schools: dict[str, int], job: "dg.UnresolvedAssetJobDefinition"
) -> dg.ScheduleDefinition:
    hour, minutes = partner.hour, sorted({*schools.values()})
    at = f"{hour:02d}:{minutes[0]:02d}" + (f" to {hour:02d}:{minutes[-1]:02d}" if len(minutes) > 1 else "")

    @dg.schedule(  # pyright: ignore[reportUnknownMemberType]
        name=f"{job_name(partner.key)}_{in_a_name(zone)}",
        job=job,
        cron_schedule=f"{','.join(map(str, minutes))} {hour} * * *",
        execution_timezone=zone,
        default_status=dg.DefaultScheduleStatus.RUNNING,
        description=f"Every night at {at} in {zone}, for {', '.join(schools)}.",
    )
    @told_to_ticks
    def nightly(
        context: dg.ScheduleEvaluationContext, environment: dg.ResourceParam[Environment]
    ) -> Iterator[dg.RunRequest | dg.SkipReason]:
        begun = 0
        why: list[str] = []
        resolved = context.repository_def.get_job(job.name) if context.repository_def else None
        scheduled = context.scheduled_execution_time
        late = is_late(environment, scheduled)
        minute = minute_of(scheduled.astimezone(ZoneInfo(zone)), hour)
        begun_before = _begun(context.instance, job.name, scheduled, ZoneInfo(zone)) if len(minutes) > 1 else ()
        for school in begins(schools, minute, begun_before):
            settings = environment.settings.school(school)
            night = night_at(school, ZoneInfo(zone), scheduled)
            if night.date < environment.settings.first_night_of(school):
                why.append(f"{school}: before its first night")
                continue
            by_hand = f"isams-pipeline sync {school} --partner {partner.key}"
            again = by_hand if partner.gets else f"launch the job {job.name} for it in the UI"
            if (reason := too_late(environment, night, ZoneInfo(zone), scheduled, again=again)) is not None:
                why.append(reason)
                continue
            begun += 1
            yield dg.RunRequest(
                # A key is used up for ever, so it names the night: a tick that is tried again starts no second run.
                run_key=f"{partner.key}:{school}:{night.date}",
                partition_key=key_of(night),
                asset_selection=selection_of(settings, partner.key, resolved) if resolved else None,
                tags={CAUGHT_UP: "yes"} if late else None,
            )
        for reason in why:
            context.log.warning("%s", reason)
        if not begun:
            yield dg.SkipReason("; ".join(why) or "no school begins at this minute")

    return nightly


def _begun(instance: dg.DagsterInstance, job: str, scheduled: datetime, zone: ZoneInfo) -> set[str]:
    """The schools that have a run of the job for the date of a tick."""
    tags = {f"dagster/partition/{DATE}": scheduled.astimezone(zone).date().isoformat()}
    return {run.tags.get(SCHOOL_TAG, "") for run in instance.get_runs(RunsFilter(job_name=job, tags=tags))}


if not TYPE_CHECKING:  # who checks types sees what is there

    def __getattr__(name: str) -> object:
        """Names of before, with a warning."""
        return found_elsewhere(__name__, name)
