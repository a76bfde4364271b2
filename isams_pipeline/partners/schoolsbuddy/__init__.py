"""SchoolsBuddy: students, contacts, staff, classes, houses; every night. Attendance twice a day."""

import dagster as dg

from isams_pipeline.config import Settings
from isams_pipeline.orchestration.partner import Exporting, Partner
from isams_pipeline.partners.schoolsbuddy.attendance.assets import attendance_assets
from isams_pipeline.partners.schoolsbuddy.attendance.schedules import (
    attendance_jobs,
    attendance_schedules,
    sends_attendance,
    sessions,
)
from isams_pipeline.partners.schoolsbuddy.export import NEEDED
from isams_pipeline.partners.schoolsbuddy.files import FILES, SCHEMA_VERSION
from isams_pipeline.partners.schoolsbuddy.night import make, verdicts
from isams_pipeline.partners.schoolsbuddy.photo_assets import forget, photo_assets, photo_keys, photos_besides
from isams_pipeline.partners.schoolsbuddy.rules import CHECKS
from isams_pipeline.partners.schoolsbuddy.settings import SchoolsBuddySettings
from isams_pipeline.partners.schoolsbuddy.tables import TABLES
from isams_pipeline.sources.registry import LISTED, SOURCES

TAKES = (
    *("pupils", "siblings", "contacts", "contact_pupils", "staff"),
    *("terms", "years", "forms", "academic_houses", "boarding_houses", "divisions", "tutors"),
    *("departments", "subjects", "sets", "set_teachers", "set_members", "teaching_forms", "health"),
)
"""What SchoolsBuddy's keys bring, whether or not the export needs it."""


def _more(settings: Settings) -> dg.Definitions:
    """Attendance, where a school sends it, and photos where a school has them delivered."""
    photos = dg.Definitions(assets=photo_assets(settings))
    if not sends_attendance(settings):
        return photos
    jobs = attendance_jobs()
    attendance = dg.Definitions(
        assets=attendance_assets(settings),
        jobs=list(jobs.values()),
        schedules=attendance_schedules(settings, jobs),
    )
    return dg.Definitions.merge(photos, attendance)


PARTNER = Partner(
    SchoolsBuddySettings,
    hour=2,
    night="A school's night: fetch, check, apply SchoolsBuddy's rules, deliver.",
    # The terms, too: they say when a school year has ended, and so whose leaving needs no person.
    purpose="clubs, trips, fixtures and messages for pupils and their contacts; attendance (attendance.csv), so that a "
    "club knows who is in school.",
    takes={"isams": TAKES, **dict.fromkeys(LISTED, (*NEEDED, "terms"))},
    gets=Exporting(
        files=FILES,
        schema_version=SCHEMA_VERSION,
        checks=CHECKS,
        needs=dict.fromkeys(SOURCES, NEEDED),
        make=make,
        tables=TABLES,
        verdicts=verdicts,
        besides=photos_besides,
        tidy=forget,
        also_behind=photo_keys,
    ),
    more=_more,
    sessions=sessions,
)
