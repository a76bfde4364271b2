"""When Room Booking's export is made: 03:00 in each school's own time zone."""

from __future__ import annotations

import dagster as dg

from isams_pipeline.orchestration.environment import Environment
from isams_pipeline.orchestration.exports import nightly_job, nightly_schedules
from isams_pipeline.partners.room_booking import PARTNER
from isams_pipeline.partners.room_booking.export import NEEDED

HOUR = 3
DATASETS = ("departments", *NEEDED)
"""What Room Booking's key brings, whether or not the export needs it."""


def room_booking_job() -> dg.UnresolvedAssetJobDefinition:
    """Room Booking's datasets, then the timetable, the bookings, the export, its delivery and the mail."""
    return nightly_job(
        PARTNER, {"isams": DATASETS}, "A school's day: timetable on real dates, clashing bookings, delivery, mail."
    )


def room_booking_schedules(
    environment: Environment, job: dg.UnresolvedAssetJobDefinition
) -> list[dg.ScheduleDefinition]:
    """One schedule for each time zone in use."""
    return nightly_schedules(environment, PARTNER, HOUR, job)
