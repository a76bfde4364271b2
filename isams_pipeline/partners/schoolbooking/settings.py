"""What a school may agree with SchoolBooking."""

from __future__ import annotations

from typing import ClassVar

from isams_pipeline.config.partners import ContactSettings, Delivering
from isams_pipeline.config.sources import SourceName
from isams_pipeline.rules.timetable import UnallocatedWeeks

KEY = "schoolbooking"
"""Its name in schools.yaml, in keys of assets, and on the command line."""


class SchoolBookingSettings(ContactSettings, Delivering):
    """What a school sends to SchoolBooking."""

    label: ClassVar[str] = "SchoolBooking"
    key: ClassVar[str] = KEY
    required_feeds: ClassVar[tuple[str, ...]] = (
        *("pupils", "contacts", "staff", "years", "forms", "sets", "set_lists", "estates", "terms"),
        *("timetable_structure", "week_allocations", "timetables"),
    )
    ruled: ClassVar[tuple[str, ...]] = ("unallocated_weeks",)

    source: SourceName = "assembly"
    unallocated_weeks: UnallocatedWeeks = "ignore"
    """What becomes of iSAMS's timetable weeks that no week of the year is allocated to."""
