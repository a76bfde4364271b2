"""Schedules by each school's own clock: one for each time zone in use, and a run for each school."""

from collections.abc import Iterable, Iterator, Sequence
from zoneinfo import ZoneInfo

import dagster as dg

from isams_pipeline.config import Settings
from isams_pipeline.orchestration.environment import Environment
from isams_pipeline.orchestration.nightly import in_a_name
from isams_pipeline.orchestration.partitions import key_of, night_at
from isams_pipeline.orchestration.runs import told_to_ticks


def schedules_of(
    settings: Settings,
    schools: Iterable[str],
    job: "dg.UnresolvedAssetJobDefinition",
    *,
    name: str,
    when: tuple[str, str],
) -> list[dg.ScheduleDefinition]:
    """A schedule for each time zone, on from the start, whose runs are of the date at the school.

    `when`: as cron has it, and in words.
    """
    by_zone: dict[str, list[str]] = {}
    for school in schools:
        by_zone.setdefault(settings.school(school).timezone.key, []).append(school)
    return [_schedule(zone, names, job, name, when) for zone, names in sorted(by_zone.items())]


def _schedule(
    zone: str, schools: Sequence[str], job: "dg.UnresolvedAssetJobDefinition", name: str, when: tuple[str, str]
) -> dg.ScheduleDefinition:
    cron, words = when

    @dg.schedule(  # pyright: ignore[reportUnknownMemberType]
        name=f"{name}_{in_a_name(zone)}",
        job=job,
        cron_schedule=cron,
        execution_timezone=zone,
        default_status=dg.DefaultScheduleStatus.RUNNING,
        description=f"{words} in {zone}, for {', '.join(schools)}.",
    )
    @told_to_ticks
    def tick(
        context: dg.ScheduleEvaluationContext, environment: dg.ResourceParam[Environment]
    ) -> Iterator[dg.RunRequest | dg.SkipReason]:
        begun = 0
        for school in schools:
            night = night_at(school, ZoneInfo(zone), context.scheduled_execution_time)
            if night.date >= environment.settings.first_night_of(school):
                begun += 1
                yield dg.RunRequest(run_key=f"{name}:{school}:{night.date}", partition_key=key_of(night))
        if not begun:
            yield dg.SkipReason("no school has had its first night")

    return tick
