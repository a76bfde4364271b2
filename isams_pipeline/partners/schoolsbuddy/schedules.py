"""When SchoolsBuddy's export is made: 02:00 in each school's own time zone."""

from __future__ import annotations

import dagster as dg

from isams_pipeline.orchestration.environment import Environment
from isams_pipeline.orchestration.exports import nightly_job, nightly_schedules
from isams_pipeline.partners.schoolsbuddy import PARTNER
from isams_pipeline.partners.schoolsbuddy.export import NEEDED
from isams_pipeline.sources.registry import ROADS

HOUR = 2
DATASETS = (
    *("pupils", "siblings", "contacts", "contact_pupils", "staff"),
    *("terms", "years", "forms", "academic_houses", "boarding_houses", "divisions", "tutors"),
    *("departments", "subjects", "sets", "set_teachers", "set_members", "teaching_forms", "health"),
)
"""What SchoolsBuddy's keys bring, whether or not the export needs it."""
BY_SOURCE = {"isams": DATASETS, **dict.fromkeys(ROADS, (*NEEDED, "terms"))}
"""The terms, too: they say when a school year has ended, and so whose leaving needs no person."""


def schoolsbuddy_job() -> dg.UnresolvedAssetJobDefinition:
    """SchoolsBuddy's datasets, then the export and its delivery."""
    return nightly_job(PARTNER, BY_SOURCE, "A school's night: fetch, check, apply SchoolsBuddy's rules, deliver.")


def schoolsbuddy_schedules(
    environment: Environment, job: dg.UnresolvedAssetJobDefinition
) -> list[dg.ScheduleDefinition]:
    """One schedule for each time zone in use."""
    return nightly_schedules(environment, PARTNER, HOUR, job)
