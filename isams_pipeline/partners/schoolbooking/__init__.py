"""SchoolBooking: people, groups, rooms and the timetable on dates, by whichever source the school has; every night."""

from isams_pipeline.datasets import LISTED_DATASETS
from isams_pipeline.orchestration.partner import Exporting, Partner
from isams_pipeline.partners.schoolbooking.export import CHECKS, NEEDED
from isams_pipeline.partners.schoolbooking.files import FILES, SCHEMA_VERSION
from isams_pipeline.partners.schoolbooking.night import make, verdicts
from isams_pipeline.partners.schoolbooking.settings import SchoolBookingSettings
from isams_pipeline.partners.schoolbooking.tables import TABLES
from isams_pipeline.sources.registry import LISTED

PARTNER = Partner(
    SchoolBookingSettings,
    hour=5,  # after the other sources' own nightly jobs
    night="A school's night by the source that it uses: read, check, deliver.",
    purpose="pupils, contacts and staff, groups and timetable, for bookings that the school takes.",
    takes={"isams": NEEDED["isams"], **dict.fromkeys(LISTED, tuple(LISTED_DATASETS))},
    gets=Exporting(
        files=FILES,
        schema_version=SCHEMA_VERSION,
        checks=CHECKS,
        needs=NEEDED,
        make=make,
        verdicts=verdicts,
        tables=TABLES,
    ),
)
