"""When SchoolBooking's export is made: 05:00 in each school's own time zone, after the roads' own nightly jobs."""

from __future__ import annotations

import dagster as dg

from isams_pipeline.datasets import ROAD_DATASETS
from isams_pipeline.orchestration.environment import Environment
from isams_pipeline.orchestration.exports import nightly_job, nightly_schedules
from isams_pipeline.partners.schoolbooking import PARTNER
from isams_pipeline.partners.schoolbooking.export import NEEDED
from isams_pipeline.sources.registry import ROADS

HOUR = 5
BY_SOURCE = {"isams": NEEDED["isams"], **dict.fromkeys(ROADS, tuple(ROAD_DATASETS))}
"""What a run materialises, whether or not the export needs it."""


def schoolbooking_job() -> dg.UnresolvedAssetJobDefinition:
    """The datasets of the school's road, then the export and its delivery."""
    return nightly_job(PARTNER, BY_SOURCE, "A school's night by the road that it uses: read, check, deliver.")


def schoolbooking_schedules(
    environment: Environment, job: dg.UnresolvedAssetJobDefinition
) -> list[dg.ScheduleDefinition]:
    """One schedule for each time zone in use."""
    return nightly_schedules(environment, PARTNER, HOUR, job)
