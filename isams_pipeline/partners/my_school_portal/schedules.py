"""When changes are written: as soon as some are approved."""

import hashlib
from collections.abc import Iterator

import dagster as dg

from isams_pipeline.clock import today_at
from isams_pipeline.config import Settings
from isams_pipeline.errors import PipelineError
from isams_pipeline.orchestration.environment import Environment
from isams_pipeline.orchestration.partitions import Night, key_of
from isams_pipeline.orchestration.runs import told_to_ticks
from isams_pipeline.partners.my_school_portal.assets import CHANGES, my_school_portal_assets
from isams_pipeline.partners.my_school_portal.desk import ChangeDesk, portal_schools
from isams_pipeline.partners.my_school_portal.intake import take_in
from isams_pipeline.partners.my_school_portal.settings import KEY
from isams_pipeline.partners.my_school_portal.states import OPEN

CHANGES_JOB = f"{KEY}_changes"
EVERY = 60
"""Seconds between two looks into the inboxes."""


def more(settings: Settings) -> dg.Definitions:
    """What is written and whether it stuck; the job that writes, and the sensor that starts it."""
    writing = changes_job()
    return dg.Definitions(
        assets=my_school_portal_assets(settings),
        jobs=[writing],
        sensors=my_school_portal_sensors(settings, writing),
    )


def changes_job() -> "dg.UnresolvedAssetJobDefinition":
    """The job that writes."""
    return dg.define_asset_job(  # pyright: ignore[reportUnknownMemberType]
        CHANGES_JOB,
        selection=dg.AssetSelection.assets(CHANGES),  # pyright: ignore[reportUnknownMemberType]
        description="A school's approved change requests, written to iSAMS.",
        executor_def=dg.in_process_executor,
        tags={"dagster/priority": "5"},
    )


def my_school_portal_sensors(settings: Settings, job: "dg.UnresolvedAssetJobDefinition") -> list[dg.SensorDefinition]:
    """The sensor that takes in requests and starts a run where some are approved; none without a school."""
    schools = portal_schools(settings)
    if not schools:
        return []

    @dg.sensor(  # pyright: ignore[reportUnknownMemberType]
        name=f"{KEY}_approved",
        job=job,
        minimum_interval_seconds=EVERY,
        default_status=dg.DefaultSensorStatus.RUNNING,
        description=f"Takes in change requests of {', '.join(schools)}; starts a run where some are approved.",
    )
    @told_to_ticks
    def approved(
        context: dg.SensorEvaluationContext, environment: dg.ResourceParam[Environment]
    ) -> Iterator[dg.RunRequest | dg.SkipReason]:
        started = False
        problems: list[str] = []
        told: list[str] = []
        for school in schools:
            try:
                refused = sum(len(taken.problems) for taken in take_in(environment, school))
                if refused:
                    context.log.warning(
                        "%s: %s change requests were refused: see inbox/%s/refused", school, refused, school
                    )
                    told.append(f"{refused} of {school} were refused: see inbox/{school}/refused")
                request = _request(environment, school)
            except PipelineError as error:
                context.log.warning("%s: %s", school, error)
                problems.append(f"{school}: {error}")  # the others' requests do not wait for it
                continue
            if request is not None:
                started = True
                yield request
        if problems and not started:
            raise dg.Failure("; ".join(problems))
        if not started:
            yield dg.SkipReason("; ".join(["No approved request waits", *told]))

    return [approved]


def _request(environment: Environment, school: str) -> dg.RunRequest | None:
    desk = ChangeDesk(environment, school)
    waiting = desk.store.listed(OPEN)
    if not waiting:
        return None
    now = environment.clock()
    # The same requests are not tried again and again: once for a dry run, once an hour where something kept them.
    hour = f"{now:%Y-%m-%dT%H}" if desk.writes else "dry run"
    ids = " ".join(f"{request.id} {request.approved_at}" for request in waiting)
    today = today_at(environment.settings.school(school).timezone, environment.clock)
    if today < environment.settings.first_night_of(school):
        return None  # they wait until the school's first night
    return dg.RunRequest(
        run_key=f"{KEY}:{school}:{hashlib.sha256(ids.encode()).hexdigest()[:32]}:{hour}",
        partition_key=key_of(Night(school, today)),
        tags={"dagster/priority": "5"},
    )
