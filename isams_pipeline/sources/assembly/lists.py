"""Assembly's lists that are read: where each is, which scopes it needs, what is asked for with it."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from datetime import date

from isams_pipeline.datasets.people import PERSON, PUPIL, STAFF
from isams_pipeline.datasets.shapes import Json
from isams_pipeline.rules.dates import school_years, week_of
from isams_pipeline.sources.shared.grants import Extra, Given, SourceList
from isams_pipeline.sources.shared.people_in import ListPeople

SCOPES: dict[str, bool] = {
    "students.basic": True,
    "staff_members.basic": True,
    "contacts.basic": True,
    "school": True,
    "registration_groups": True,
    "teaching_groups": True,
    "timetables": True,
    "calendar": True,
    "students.mis_id": False,
    "students.legal_names": False,
    "students.middle_names": False,
    "students.gender": False,
    "students.dob": False,
    "students.dates": False,
    "students.emails": False,
    "students.addresses": False,
    "contacts.emails": False,
    "contacts.telephone_numbers": False,
    "contacts.middle_names": False,
    "contacts.parental_responsibility": False,
    "contacts.priority": False,
    "staff_members.mis_id": False,
    "staff_members.legal_names": False,
    "staff_members.middle_names": False,
    "staff_members.gender": False,
    "staff_members.dob": False,
    "staff_members.dates": False,
    "staff_members.emails": False,
    "groups": False,
    "attendances": False,
    "students.photo": False,
}
"""What the app asks a school for; whether it cannot do without."""
ON_DEMAND = {"students.photo"}
"""What is asked for only where a partner of the school is to get it."""
GIVES: dict[str, tuple[Given, ...]] = {
    "students.mis_id": (("pupils", "school codes"),),
    "students.legal_names": (("pupils", "legal names; the forename is the preferred one"),),
    "students.middle_names": (("pupils", "middle names"),),
    "students.gender": (("pupils", "genders"),),
    "students.dob": (("pupils", "dates of birth"),),
    "students.dates": (("pupils", "dates of entry"),),
    "students.emails": (("pupils", "e-mail addresses"),),
    "students.addresses": (("contacts", "addresses"),),
    "contacts.emails": (("contacts", "e-mail addresses"),),
    "contacts.telephone_numbers": (("contacts", "telephone numbers"),),
    "contacts.middle_names": (("contacts", "middle names"),),
    "contacts.parental_responsibility": (("contacts", "parental responsibility"),),
    "staff_members.mis_id": (("staff", "user codes"),),
    "staff_members.legal_names": (("staff", "legal names; the forename is the usual one"),),
    "staff_members.middle_names": (("staff", "middle names"),),
    "staff_members.gender": (("staff", "genders"),),
    "staff_members.dob": (("staff", "dates of birth"),),
    "staff_members.dates": (("staff", "leaving dates"),),
    "staff_members.emails": (("staff", "e-mail addresses"),),
    "groups": (("academic_houses", "houses"), ("pupils", "houses")),
    "attendances": (("attendance", "marks"),),
}
"""Scope → what is missing without it: dataset, and what of it in words."""


def _year(night: date) -> Mapping[str, str]:
    first, last = school_years(night)
    return {"start_date": first.isoformat(), "end_date": last.isoformat()}


def _on(night: date) -> Mapping[str, str]:
    """Groups that run on that day, with the members of that day."""
    return {"date": night.isoformat()}


def _week(night: date) -> Mapping[str, str]:
    first, last = week_of(night)
    return {"start_date": first.isoformat(), "end_date": last.isoformat()}


def _periods(timetable: Json) -> Iterator[Json]:
    """A timetable as its periods, each with its day and its lessons: a row stays small however long the year is."""
    for day in timetable.get("days") or ():
        of_day = {name: day.get(name) for name in ("id", "short_name", "long_name", "occurs_on")}
        for period in day.get("periods") or ():
            key = f"{timetable.get('id')}:{day.get('id')}:{period.get('id')}"
            yield {**period, "timetable_id": timetable.get("id"), "day": of_day, "key": key}


PHOTOS = SourceList("photos", "/students", "students.photo", {"photo": "true"}, tells_changes=False)
"""Students with the addresses of their photos, signed for an hour, and the photos' hashes."""
LISTS: dict[str, SourceList] = {
    found.name: found
    for found in (
        SourceList(
            "students",
            "/students",
            "students.basic",
            extras=(
                Extra("students.emails", {"emails": "true"}),
                Extra("students.gender", {"demographics": "true"}),
            ),
        ),
        SourceList(
            "staff_members",
            "/staff_members",
            "staff_members.basic",
            extras=(Extra("staff_members.gender", {"demographics": "true"}),),
        ),
        SourceList(
            "contacts",
            "/contacts",
            "contacts.basic",
            # Which scope lets addresses through is unknown (inferred: that of the students' addresses).
            extras=(Extra("students.addresses", {"addresses": "true"}),),
            tells_changes=False,
        ),
        SourceList("year_groups", "/year_groups", "school", window=_on),
        SourceList("registration_groups", "/registration_groups", "registration_groups", window=_on),
        SourceList("house_groups", "/groups", "groups", {"type": "HouseGroup"}, window=_on),
        SourceList("teaching_groups", "/teaching_groups", "teaching_groups", window=_on),
        SourceList("subjects", "/subjects", "teaching_groups", tells_changes=False),
        SourceList("rooms", "/rooms", "timetables"),
        SourceList("academic_years", "/academic_years", "school", tells_changes=False),
        SourceList("calendar_events", "/calendar_events", "calendar"),
        SourceList(
            "timetables",
            "/timetables",
            "timetables",
            window=_year,
            tells_changes=False,
            is_told_one_by_one=True,
            rows_of=_periods,
            key=("key",),
        ),
        SourceList("attendances", "/attendances", "attendances", window=_week),
    )
}
PEOPLE = ListPeople(
    own={
        "students": {"id": PUPIL},
        "staff_members": {"id": STAFF},
        "contacts": {"id": PERSON},
        "attendances": {"student_id": PUPIL},
    },
    anywhere={
        **dict.fromkeys(("student_id", "student_ids"), PUPIL),
        **dict.fromkeys(("staff_member_id", "supervisor_ids"), STAFF),
        "contact_id": PERSON,
    },
)
