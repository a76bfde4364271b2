"""When SchoolsBuddy's export is made: 02:00 in each school's own time zone."""

from __future__ import annotations

import re
from collections.abc import Iterator
from zoneinfo import ZoneInfo

import dagster as dg

from isams_pipeline.config import Settings
from isams_pipeline.isams.assets import GROUP
from isams_pipeline.partitions import key_of, night_at
from isams_pipeline.partners.schoolsbuddy import PARTNER

JOB = "schoolsbuddy_nightly"
HOUR = 2


def schoolsbuddy_job() -> dg.UnresolvedAssetJobDefinition:
    """All of iSAMS's datasets, then the export and its delivery, in one process."""
    return dg.define_asset_job(  # pyright: ignore[reportUnknownMemberType]
        JOB,
        selection=dg.AssetSelection.groups(GROUP, PARTNER),  # pyright: ignore[reportUnknownMemberType]
        description="A school's night: fetch, check, apply SchoolsBuddy's rules, deliver.",
        # One process: the steps are short, a snapshot is fetched and parsed once for all of them, and iSAMS gets
        # one request at a time. Schools run beside each other, as runs.
        executor_def=dg.in_process_executor,
    )


def schoolsbuddy_schedules(settings: Settings, job: dg.UnresolvedAssetJobDefinition) -> list[dg.ScheduleDefinition]:
    """One schedule for each time zone in use, on from the start, one run for each school."""
    by_zone: dict[str, list[str]] = {}
    for name, school in settings.schools.items():
        if school.partners.schoolsbuddy is not None:
            by_zone.setdefault(school.timezone.key, []).append(name)
    return [_schedule(zone, schools, job) for zone, schools in sorted(by_zone.items())]


def _schedule(zone: str, schools: list[str], job: dg.UnresolvedAssetJobDefinition) -> dg.ScheduleDefinition:
    @dg.schedule(  # pyright: ignore[reportUnknownMemberType]
        name=f"{JOB}_{re.sub(r'[^a-z0-9]+', '_', zone.lower()).strip('_')}",
        job=job,
        cron_schedule=f"0 {HOUR} * * *",
        execution_timezone=zone,
        default_status=dg.DefaultScheduleStatus.RUNNING,
        description=f"Every night at {HOUR:02d}:00 in {zone}, for {', '.join(schools)}.",
    )
    def nightly(context: dg.ScheduleEvaluationContext) -> Iterator[dg.RunRequest]:
        for school in schools:
            night = night_at(school, ZoneInfo(zone), context.scheduled_execution_time)
            yield dg.RunRequest(
                # A key is used up for ever, so it names the night: a tick that is tried again starts no second run.
                run_key=f"{PARTNER}:{school}:{night.date}",
                partition_key=key_of(night),
            )

    return nightly
