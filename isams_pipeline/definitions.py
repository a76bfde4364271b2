"""The one Definitions that Dagster loads. Reads schools.yaml if there is one; no secret, no network, no disk else.

Only with `history_years` it asks Dagster's own storage for backfills under way, and does without where that is silent.
"""

from __future__ import annotations

import os
from dataclasses import replace
from pathlib import Path

import dagster as dg

from isams_pipeline.config import Settings, load_settings
from isams_pipeline.orchestration.broken_off import again_sensor
from isams_pipeline.orchestration.connection_assets import connection_assets, connection_sensors, connections_job
from isams_pipeline.orchestration.environment import Environment
from isams_pipeline.orchestration.history import with_history
from isams_pipeline.orchestration.isams_assets import isams_assets
from isams_pipeline.orchestration.reconciliation.assets import reconciliation_asset, reconciliation_job
from isams_pipeline.orchestration.removal_windows import allow_removals_job
from isams_pipeline.orchestration.road_assets import road_assets
from isams_pipeline.orchestration.runs import NIGHT, night_resource
from isams_pipeline.partners.my_school_portal.assets import my_school_portal_assets
from isams_pipeline.partners.my_school_portal.schedules import (
    my_school_portal_jobs,
    my_school_portal_schedules,
    my_school_portal_sensors,
)
from isams_pipeline.partners.room_booking.assets import room_booking_assets
from isams_pipeline.partners.room_booking.schedules import room_booking_job, room_booking_schedules
from isams_pipeline.partners.schoolbooking.assets import schoolbooking_assets
from isams_pipeline.partners.schoolbooking.schedules import schoolbooking_job, schoolbooking_schedules
from isams_pipeline.partners.schoolsbuddy.assets import schoolsbuddy_assets
from isams_pipeline.partners.schoolsbuddy.schedules import schoolsbuddy_job, schoolsbuddy_schedules
from isams_pipeline.partners.schoolsbuddy_attendance.assets import attendance_assets
from isams_pipeline.partners.schoolsbuddy_attendance.schedules import attendance_jobs, attendance_schedules


def build_definitions(environment: Environment) -> dg.Definitions:
    """All assets, jobs and schedules over an environment: Dagster's, the command line's, or a test's."""
    schoolsbuddy, room_booking, attendance = schoolsbuddy_job(), room_booking_job(), attendance_jobs()
    writing, confirming = my_school_portal_jobs()
    schoolbooking = schoolbooking_job()
    connections = connections_job()
    jobs = [
        schoolsbuddy,
        room_booking,
        *attendance.values(),
        writing,
        confirming,
        schoolbooking,
        connections,
        reconciliation_job(),
    ]
    windows = allow_removals_job(environment)
    return dg.Definitions(
        assets=[
            *isams_assets(environment),
            *road_assets(environment),
            *connection_assets(environment),
            reconciliation_asset(environment),
            *schoolsbuddy_assets(environment),
            *attendance_assets(environment),
            *room_booking_assets(environment),
            *my_school_portal_assets(environment),
            *schoolbooking_assets(environment),
        ],
        jobs=[*jobs, windows],
        schedules=[
            *schoolsbuddy_schedules(environment, schoolsbuddy),
            *room_booking_schedules(environment, room_booking),
            *attendance_schedules(environment, attendance),
            *my_school_portal_schedules(environment, confirming),
            *schoolbooking_schedules(environment, schoolbooking),
        ],
        sensors=[
            *my_school_portal_sensors(environment, writing),
            *connection_sensors(environment, connections),
            *again_sensor(environment, jobs),
        ],
        resources={NIGHT: night_resource(environment)},
        executor=dg.in_process_executor,
    )


def environment_from(
    config: str | os.PathLike[str] | None = None, data_dir: str | os.PathLike[str] | None = None
) -> Environment:
    """The environment of a command or of Dagster: schools.yaml and data/, as told or as found."""
    settings: Settings = load_settings(config)
    found = Environment(settings, data_dir=Path(data_dir)) if data_dir else Environment(settings)
    return replace(found, settings=with_history(settings, found.data_dir))


@dg.definitions
def defs() -> dg.Definitions:
    """What Dagster loads, when it loads it: importing this module reads nothing."""
    return build_definitions(environment_from())
