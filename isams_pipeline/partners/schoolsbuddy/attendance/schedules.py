"""When attendance is pulled: at each school's own times, on weekdays in term."""

from collections.abc import Iterator
from datetime import date, timedelta
from zoneinfo import ZoneInfo

import dagster as dg

from isams_pipeline.clock import today_at
from isams_pipeline.config import Settings
from isams_pipeline.datasets import SOURCE
from isams_pipeline.errors import StorageError
from isams_pipeline.orchestration.environment import Environment
from isams_pipeline.orchestration.nightly import in_a_name
from isams_pipeline.orchestration.partitions import key_of, night_at
from isams_pipeline.orchestration.runs import PART_TAG, told_to_ticks
from isams_pipeline.partners.schoolsbuddy.attendance.assets import WORDS, delivery_key, marks_key, records_key
from isams_pipeline.partners.schoolsbuddy.attendance.sessions import KEY, SESSIONS, Session
from isams_pipeline.partners.schoolsbuddy.settings import AttendanceSettings, SchoolsBuddySettings
from isams_pipeline.rules.clock_times import time_in_words
from isams_pipeline.rules.split import rows_of

PRIORITY = {"dagster/priority": "10"}
"""Before whatever else waits in the queue: a backfill has time, a register has not."""


def job_name(session: Session) -> str:
    """The name of a session's job."""
    return f"{KEY}_{session.lower()}"


def attendance_jobs() -> "dict[Session, dg.UnresolvedAssetJobDefinition]":
    """A job for the morning and one for the afternoon."""
    return {
        session: dg.define_asset_job(  # pyright: ignore[reportUnknownMemberType]
            job_name(session),
            selection=dg.AssetSelection.assets(records_key(session), marks_key(session), delivery_key(session)),  # pyright: ignore[reportUnknownMemberType]
            description=f"A school's {WORDS[session]}: read the registers, deliver the attendance.",
            tags={**PRIORITY, PART_TAG: f"{KEY} {session.lower()}"},
            executor_def=dg.in_process_executor,
        )
        for session in SESSIONS
    }


def attendance_schedules(
    settings: Settings | Environment, jobs: "dict[Session, dg.UnresolvedAssetJobDefinition]"
) -> list[dg.ScheduleDefinition]:
    """One schedule for each session, time zone and time of day in use, on from the start.

    `settings`: or what holds them, as it was until 0.2; gone with version 1.0.
    """
    if not isinstance(settings, Settings):
        settings = settings.settings
    schools: dict[tuple[Session, str, int], list[str]] = {}
    for name, school in settings.schools.items():
        partner = school.partners.get(SchoolsBuddySettings)
        if partner is not None and partner.attendance is not None:
            for session, at in _sessions_of(partner.attendance).items():
                schools.setdefault((session, school.timezone.key, at), []).append(name)
    return [_schedule(when, names, jobs[when[0]]) for when, names in sorted(schools.items())]


def sends_attendance(settings: Settings) -> bool:
    """Whether some school sends attendance; or there is no school yet."""
    found = [school.partners.get(SchoolsBuddySettings) for school in settings.schools.values()]
    return not settings.schools or any(partner is not None and partner.attendance is not None for partner in found)


def sessions(environment: Environment, school: str, day: date) -> dict[str, int]:
    """The sessions that a school sends on a day, as receipts name them, and the minute after midnight of each."""
    partner = environment.settings.school(school).partners.get(SchoolsBuddySettings)
    if partner is None or partner.attendance is None:
        return {}
    if day < environment.settings.first_night_of(school) or is_holiday(environment, school, day):
        return {}
    return {f"{KEY} {session.lower()}": at for session, at in _sessions_of(partner.attendance).items()}


def _sessions_of(settings: AttendanceSettings) -> dict[Session, int]:
    """The sessions that a school sends, and the minute after midnight of each."""
    found: dict[Session, int] = {}
    if settings.am:
        found["AM"] = settings.am_at
    if settings.pm:
        found["PM"] = settings.pm_at
    return found


def _schedule(
    when: tuple[Session, str, int],
    schools: list[str],
    job: "dg.UnresolvedAssetJobDefinition",
) -> dg.ScheduleDefinition:
    session, zone, at = when

    @dg.schedule(  # pyright: ignore[reportUnknownMemberType]
        name=f"{job_name(session)}_{in_a_name(zone)}_{at // 60:02d}{at % 60:02d}",
        job=job,
        # Every day: which days are school days differs from country to country. One without registers costs a question.
        cron_schedule=f"{at % 60} {at // 60} * * *",
        execution_timezone=zone,
        default_status=dg.DefaultScheduleStatus.RUNNING,
        description=f"Every day in term at {time_in_words(at)} in {zone}, for {', '.join(schools)}.",
    )
    @told_to_ticks
    def pull(
        context: dg.ScheduleEvaluationContext, environment: dg.ResourceParam[Environment]
    ) -> Iterator[dg.RunRequest | dg.SkipReason]:
        away: list[str] = []
        for school in schools:
            night = night_at(school, ZoneInfo(zone), context.scheduled_execution_time)
            if night.date < environment.settings.first_night_of(school) or is_holiday(environment, school, night.date):
                away.append(school)
                continue
            if night.date != today_at(ZoneInfo(zone), environment.clock):
                context.log.warning("%s: %s is over there; its registers cannot be read any more", school, night.date)
                away.append(school)
                continue
            yield dg.RunRequest(
                run_key=f"{KEY}:{session}:{school}:{night.date}", partition_key=key_of(night), tags=PRIORITY
            )
        if len(away) == len(schools):
            yield dg.SkipReason(f"Not in term, before the first night, or over: {', '.join(away)}.")

    return pull


def is_holiday(environment: Environment, school: str, day: date) -> bool:
    """Whether a day is outside the terms that were last read. Where none are known, a run finds out by itself."""
    try:
        table = environment.tables.before(SOURCE, "terms", school, day + timedelta(days=1))
        terms = environment.tables.load(table) if table is not None else None
    except StorageError:
        return False
    if terms is None:
        return False
    known = terms.dropna(subset=["start_date", "finish_date"])
    spans = [(row.start_date.date(), row.finish_date.date()) for row in rows_of(known)]
    # Only between two terms that are known: after the last one, the next may not have been entered yet.
    between = any(finish < day for _, finish in spans) and any(start > day for start, _ in spans)
    return between and not any(start <= day <= finish for start, finish in spans)
