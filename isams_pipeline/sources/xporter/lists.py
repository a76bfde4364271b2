"""Xporter's lists that are read: where each is, which scope it needs, which fields are asked for."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace
from datetime import date, timedelta

from isams_pipeline.datasets.people import PERSON, PUPIL, STAFF
from isams_pipeline.rules.dates import week_of
from isams_pipeline.sources.shared.grants import Extra, Given, SourceList, Window
from isams_pipeline.sources.shared.people_in import ListPeople

SCOPES: dict[str, bool] = {
    "School": True,
    "Student": True,
    "Staff": True,
    "Contact": True,
    "Address": False,
    "StudentExtended": False,
    "StaffExtended": False,
    "StaffEmployment": False,
    "Attendance": False,
    "Photos": False,
}
"""What is asked of a school; whether it cannot do without."""
ON_DEMAND = {"Photos"}
"""What is asked for only where a partner of the school is to get it."""
GIVES: dict[str, tuple[Given, ...]] = {
    "Address": (("contacts", "addresses"),),
    "StudentExtended": (
        ("pupils", "legal names, middle names, dates of birth and of entry; the forename is the preferred one"),
    ),
    "StaffExtended": (
        ("staff", "legal names, middle names, genders and dates of birth; the forename is the usual one"),
    ),
    "StaffEmployment": (("staff", "leaving dates"),),
    "Attendance": (("attendance", "marks"),),
}
"""Scope → what is missing without it: dataset, and what of it in words. It is absent then, and no error."""
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
    """Monday to Friday, as the vendor asks for, so that its cache can answer; to the night itself on a weekend."""
    monday, _ = week_of(night)
    last = max(monday + timedelta(days=4), night)
    return {"DateFrom": monday.isoformat(), "DateTo": last.isoformat()}


def _list(
    name: str,
    path: str,
    scope: str,
    arrays: tuple[str, ...],
    *,
    select: tuple[str, ...] = (),
    options: str = "",
    extras: tuple[Extra, ...] = (),
    window: Window | None = None,
    page_size: int = PAGE_SIZE,
    key: tuple[str, ...] = (ARRAY, "Id"),
) -> SourceList:
    """A list of Xporter's. One of a window of time does not tell its changes: the window moves."""
    params = {name: value for name, value in (("select", ",".join(select)), ("options", options)) if value}
    return SourceList(
        name,
        path,
        scope,
        params,
        extras=extras,
        datasets=arrays,
        key=key,
        tells_changes=window is None,
        window=window,
        page_size=page_size,
    )


LISTS: dict[str, SourceList] = {
    found.name: found
    for found in (
        _list(
            "students",
            "Students/",
            "Student",
            ("Students",),
            select=(
                *("Id", "ExternalId", "AdmissionNo", "Forename", "Surname", "Gender", "WorkEmail", "RegGroupId"),
                *("YearGroupId", "HouseGroupId", "HouseGroup", "StudentStatus"),
            ),
            extras=(
                Extra("StudentExtended", {"select": "LegalForename,LegalSurname,MiddleName,DateofBirth,EntryDate"}),
            ),
        ),
        _list(
            "staff",
            "Staff/",
            "Staff",
            ("Staff",),
            select=(
                *("Id", "ExternalId", "Title", "StaffCode", "StaffStatus", "Forename", "Surname", "WorkEmail"),
                "IsTeacher",
            ),
            extras=(
                Extra("StaffExtended", {"select": "LegalForename,LegalSurname,MiddleName,Gender,DateOfBirth"}),
                Extra("StaffEmployment", {"select": "EmploymentEnd"}),
            ),
        ),
        _list(
            "contacts",
            "Contacts/",
            "Contact",
            ("Contacts",),
            select=(*("Id", "Title", "Surname", "Forename", "HomeEmail", "WorkEmail", "HomePhone", "MobilePhone"),),
            extras=(
                Extra(
                    "Address",
                    {"select": "HouseNo,HouseName,Apartment,Street,District,TownOrCity,County,PostCode,Country"},
                ),
            ),
        ),
        _list("student_contacts", "StudentContacts/", "Contact", ("StudentContacts",)),
        _list(
            "groups",
            "Groups/",
            "School",
            ("Group", "StaffMembers", "StudentMembers"),
            options="includeStudentMembers,includeStaffMembers,includeSubjects",
            page_size=200,
        ),
        _list(
            "timetable_structure",
            "TimetableStructure/",
            "School",
            ("TTDays", "TTPeriods", "TTSubjects", "TTRooms"),
            window=_weeks,
        ),
        _list(
            "timetable",
            "Timetable/",
            "School",
            ("Lessons", "LessonStaff", "LessonRooms"),
            options="includeLessons,includeLessonStaff,includeLessonRooms",
            window=_weeks,
            # A lesson's Id is that of the timetable's cycle, and comes again on every date; PeriodId is the dated one.
            key=(ARRAY, "Id", "PeriodId"),
        ),
        _list("calendar", "Calendar/", "School", ("Calendar",), window=_weeks),
        _list("attendance", "AttendanceForDateRange/", "Attendance", ("AttendMarks",), window=_week),
    )
}

PHOTOS = replace(_list("photos", "Photos/", "Photos", ("Photos",), page_size=100), tells_changes=False)
"""People's photos; that a row has Id and Photo, in base64, is inferred: no page shows one."""
ALSO_CALLED: dict[str, tuple[str, ...]] = {"StudentContacts": ("StudentContact",)}
"""Array → other names for it: the vendor's documents have both."""
LINKS = {"StudentId", "StaffId", "ContactId", "GroupId", "ClassId", "LessonId", "PrimaryStaffId"}
"""Fields that name another row, whose number may come with a prefix (`PL-9660`)."""
NAMED_BY_OTHERS = {"Students", "Staff", "Contacts", "Group", "Lessons"}
"""Arrays whose rows are named by others, by their Id: it has the prefix or not, as those have."""

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
_KINDS = {"Student": PUPIL, "Staff": STAFF, "Contact": PERSON}
LIST_PEOPLE = ListPeople(
    own={array: {name: _KINDS[kind] for kind, name in fields} for array, fields in PEOPLE.items()},
    anywhere={name: _KINDS[kind] for fields in BLANKED.values() for kind, name in fields},
    array=ARRAY,
)
