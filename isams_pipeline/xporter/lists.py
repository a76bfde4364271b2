"""Xporter's lists that are read: where each is, which scope it needs, which fields are asked for."""

from __future__ import annotations

from collections.abc import Mapping
from datetime import date, timedelta

from isams_pipeline.roads.grants import RoadList, Window
from isams_pipeline.rules.dates import week_of

SCOPES: dict[str, bool] = {"School": True, "Student": True, "Staff": True, "Contact": True, "Attendance": False}
"""What is asked of a school; whether it cannot do without."""
ARRAY = "_array"
"""The field in which a kept row says from which array of an answer it is."""
PAGE_SIZE = 1000
"""As the vendor suggests."""
_WEEKS_AHEAD = 13


def _weeks(night: date) -> Mapping[str, str]:
    """Last week to a term ahead, by whole weeks: the same question all week."""
    monday, sunday = week_of(night)
    return {
        "DateFrom": (monday - timedelta(weeks=1)).isoformat(),
        "DateTo": (sunday + timedelta(weeks=_WEEKS_AHEAD)).isoformat(),
    }


def _week(night: date) -> Mapping[str, str]:
    monday, sunday = week_of(night)
    return {"DateFrom": monday.isoformat(), "DateTo": sunday.isoformat()}


def _list(
    name: str,
    path: str,
    scope: str,
    arrays: tuple[str, ...],
    *,
    select: tuple[str, ...] = (),
    options: str = "",
    window: Window | None = None,
    page_size: int = PAGE_SIZE,
) -> RoadList:
    """A list of Xporter's. One of a window of time does not tell its changes: the window moves."""
    params = {name: value for name, value in (("select", ",".join(select)), ("options", options)) if value}
    return RoadList(
        name,
        path,
        scope,
        params,
        datasets=arrays,
        key=(ARRAY, "Id"),
        tells_changes=window is None,
        window=window,
        page_size=page_size,
    )


LISTS: dict[str, RoadList] = {
    found.name: found
    for found in (
        _list(
            "students",
            "Students/",
            "Student",
            ("Students",),
            select=(
                *("Id", "ExternalId", "AdmissionNo", "Forename", "LegalForename", "MiddleName", "Surname", "Gender"),
                *("DateofBirth", "WorkEmail", "RegGroupId", "YearGroupId", "HouseGroupId", "HouseGroup"),
                *("EntryDate", "StudentStatus"),
            ),
        ),
        _list(
            "staff",
            "Staff/",
            "Staff",
            ("Staff",),
            select=(
                *("Id", "ExternalId", "StaffCode", "StaffStatus", "Title", "Forename", "LegalForename", "MiddleName"),
                *("Surname", "Gender", "DateOfBirth", "WorkEmail", "IsTeacher", "EmploymentEnd"),
            ),
        ),
        _list(
            "contacts",
            "Contacts/",
            "Contact",
            ("Contacts",),
            select=(
                *("Id", "ExternalId", "Title", "Forename", "Surname", "HomeEmail", "WorkEmail", "HomePhone"),
                *("MobilePhone", "HouseNo", "HouseName", "Apartment", "Street", "District", "TownOrCity", "County"),
                *("PostCode", "Country"),
            ),
        ),
        _list("student_contacts", "StudentContacts/", "Contact", ("StudentContacts",)),
        _list("groups", "Groups/", "School", ("Group", "StaffMembers", "StudentMembers"), page_size=200),
        _list(
            "timetable_structure",
            "TimetableStructure/",
            "School",
            ("TTPeriods", "TTSubjects", "TTRooms"),
            window=_weeks,
        ),
        _list(
            "timetable",
            "Timetable/",
            "School",
            ("Lessons", "LessonStaff", "LessonRooms"),
            options="includeLessons,includeLessonStaff,includeLessonRooms",
            window=_weeks,
        ),
        _list("calendar", "Calendar/", "School", ("Calendar",), window=_weeks),
        _list("attendance", "AttendanceForDateRange/", "Attendance", ("AttendMarks",), window=_week),
    )
}

PEOPLE: dict[str, tuple[tuple[str, str], ...]] = {
    "Students": (("Student", "Id"),),
    "Staff": (("Staff", "Id"),),
    "Contacts": (("Contact", "Id"),),
    "StudentContacts": (("Student", "StudentId"), ("Contact", "ContactId")),
    "StudentMembers": (("Student", "StudentId"),),
    "StaffMembers": (("Staff", "StaffId"),),
    "LessonStaff": (("Staff", "StaffId"),),
    "AttendMarks": (("Student", "StudentId"),),
}
"""Array → which people its rows speak of, by kind and field."""
BLANKED: dict[str, tuple[tuple[str, str], ...]] = {"Group": (("Staff", "PrimaryStaffId"),)}
"""Array → fields that name a person beside other things: emptied for one who is left out. `Staff`, a list of codes,
is never kept."""
NEVER_KEPT = {"Group": ("Staff",), "Lessons": ("StaffCodes",)}
