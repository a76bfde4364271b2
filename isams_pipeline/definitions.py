"""The one Definitions that Dagster loads. Reads schools.yaml if there is one; no secret, no network, no disk else."""

from __future__ import annotations

import os
from pathlib import Path

import dagster as dg

from isams_pipeline.config import Settings, load_settings
from isams_pipeline.environment import Environment
from isams_pipeline.isams.assets import isams_assets
from isams_pipeline.partners.my_school_portal.assets import my_school_portal_assets
from isams_pipeline.partners.my_school_portal.schedules import (
    my_school_portal_jobs,
    my_school_portal_schedules,
    my_school_portal_sensors,
)
from isams_pipeline.partners.room_booking.assets import room_booking_assets
from isams_pipeline.partners.room_booking.schedules import room_booking_job, room_booking_schedules
from isams_pipeline.partners.schoolsbuddy.assets import schoolsbuddy_assets
from isams_pipeline.partners.schoolsbuddy.schedules import schoolsbuddy_job, schoolsbuddy_schedules
from isams_pipeline.partners.schoolsbuddy_attendance.assets import attendance_assets
from isams_pipeline.partners.schoolsbuddy_attendance.schedules import attendance_jobs, attendance_schedules
from isams_pipeline.runs import NIGHT, night_resource


def build_definitions(environment: Environment) -> dg.Definitions:
    """All assets, jobs and schedules over an environment: Dagster's, the command line's, or a test's."""
    settings = environment.settings
    schoolsbuddy, room_booking, attendance = schoolsbuddy_job(), room_booking_job(), attendance_jobs()
    writing, confirming = my_school_portal_jobs()
    return dg.Definitions(
        assets=[
            *isams_assets(environment),
            *schoolsbuddy_assets(environment),
            *attendance_assets(environment),
            *room_booking_assets(environment),
            *my_school_portal_assets(environment),
        ],
        jobs=[schoolsbuddy, room_booking, *attendance.values(), writing, confirming],
        schedules=[
            *schoolsbuddy_schedules(settings, schoolsbuddy),
            *room_booking_schedules(settings, room_booking),
            *attendance_schedules(environment, attendance),
            *my_school_portal_schedules(settings, confirming),
        ],
        sensors=my_school_portal_sensors(environment, writing),
        resources={NIGHT: night_resource(environment)},
        executor=dg.in_process_executor,
    )


def environment_from(
    config: str | os.PathLike[str] | None = None, data_dir: str | os.PathLike[str] | None = None
) -> Environment:
    """The environment of a command or of Dagster: schools.yaml and data/, as told or as found."""
    settings: Settings = load_settings(config)
    return Environment(settings, data_dir=Path(data_dir)) if data_dir else Environment(settings)


@dg.definitions
def defs() -> dg.Definitions:
    """What Dagster loads, when it loads it: importing this module reads nothing."""
    return build_definitions(environment_from())
