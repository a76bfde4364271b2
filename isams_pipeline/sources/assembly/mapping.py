"""Assembly's lists → the datasets: which field stands in which column."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from datetime import date
from typing import Any

from isams_pipeline.datasets.shapes import Json, JsonValue
from isams_pipeline.rules.notes import SEVERAL
from isams_pipeline.rules.references import number_of
from isams_pipeline.sources.shared import ASSEMBLY
from isams_pipeline.sources.shared.mapping import (
    Absent,
    Convert,
    Lists,
    Mapped,
    MappingTable,
    YearNumbers,
    at,
    clock_time,
    members,
    running,
)
from isams_pipeline.sources.shared.values import as_list, as_object, objects_in


def _addresses(emails: Any) -> str | None:
    """The e-mail addresses of a person, the primary one first, as iSAMS writes several."""
    ordered = sorted(objects_in(emails), key=lambda row: not row.get("is_primary"))
    return "; ".join(str(row["email"]) for row in ordered if row.get("email")) or None


def _telephone(kind: str) -> Convert:
    """The first number of a kind, the primary one before others."""

    def of(numbers: Any) -> JsonValue:
        rows = [row for row in objects_in(numbers) if row.get("type") == kind and row.get("telephone_number")]
        rows.sort(key=lambda row: not row.get("is_primary"))
        return rows[0]["telephone_number"] if rows else None

    return of


def _nth(place: int, field: str | None = None) -> Convert:
    """The nth entry of a list, or a field of it; None where it is shorter."""

    def of(values: Any) -> JsonValue:
        listed = as_list(values)
        value = listed[place] if place < len(listed) else None
        return as_object(value).get(field) if field else value

    return of


def _whose(lists: Lists, name: str) -> dict[Any, Json | None]:
    """Student → the group of a list that they are in; None where they are in several."""
    found: dict[Any, Json | None] = {}
    for group in running(lists, name):
        for student in members(group, "student_ids"):
            found[student] = None if student in found else group
    return found


def _students(lists: Lists) -> Iterator[Json]:
    forms, houses = _whose(lists, "registration_groups"), _whose(lists, "house_groups")
    nothing: Json = {}
    years = YearNumbers(lists.settings)
    for row, student in enumerate(lists["students"], start=1):
        form, house = (of.get(student.get("id"), nothing) for of in (forms, houses))
        for column, group in (("form_id", form), ("academic_house_id", house)):
            if group is None:
                lists.notes.append((row, column, SEVERAL))
        legal, known = student.get("legal_first_name"), student.get("first_name")
        yield {
            **student,
            "year": years.of(student.get("year_code")),
            "known_as": known if legal and known != legal else None,
            "registration_group": form or nothing,
            "house": house or nothing,
        }
    years.refuse_unknown()


def _links(contact: Json) -> Iterator[tuple[str | None, bool | None, Any]]:
    """A contact's relationship to each student: its kind, the parental responsibility, the student."""
    for link in members(contact, "students"):
        relationship = as_object(link.get("relationship"))
        yield relationship.get("relationship_type"), relationship.get("parental_responsibility"), link.get("student_id")


_RESPONSIBILITY = {True: "Yes", False: "No", None: None}


def _entries(lists: Lists) -> Iterator[Json]:
    """As iSAMS has them: an entry for each way in which a person is related to some students."""
    for contact in lists["contacts"]:
        for kind, responsible in dict.fromkeys((kind, responsible) for kind, responsible, _ in _links(contact)):
            yield {
                **contact,
                "entry": number_of(contact.get("id"), kind, responsible),
                "relationship_type": kind,
                "parental_responsibility": _RESPONSIBILITY.get(responsible),
            }


def _entry_students(lists: Lists) -> Iterator[Json]:
    for contact in lists["contacts"]:
        person = contact.get("id")
        for kind, responsible, student in _links(contact):
            yield {"entry": number_of(person, kind, responsible), "id": person, "student_id": student}


def _years(lists: Lists) -> Iterator[Json]:
    years = YearNumbers(lists.settings)
    for group in running(lists, "year_groups"):
        yield {**group, "year": years.of(group.get("code"))}
    years.refuse_unknown()


def _each(name: str, field: str) -> Callable[[Lists], Iterator[Json]]:
    """A row for each entry of a list within the rows of a list of groups, each once."""

    def rows(lists: Lists) -> Iterator[Json]:
        for group in running(lists, name):
            for member in dict.fromkeys(members(group, field)):
                yield {"id": group.get("id"), "member": member, "link": number_of(group.get("id"), member)}

    return rows


def _running(name: str) -> Callable[[Lists], Iterator[Json]]:
    return lambda lists: running(lists, name)


def _subjects(lists: Lists) -> Iterator[Json]:
    for subject in lists["subjects"]:
        yield {**subject, "department": 0}


def _rooms(lists: Lists) -> Iterator[Json]:
    for room in lists["rooms"]:
        yield {**room, "building": 0}


def _terms(lists: Lists) -> Iterator[Json]:
    for year in lists["academic_years"]:
        start = year.get("start_date")
        for term in members(year, "terms"):
            yield {**term, "school_year": start[:4] if isinstance(start, str) else None}


def _lessons(lists: Lists) -> Iterator[Json]:
    """Each lesson, with all dates on which its day occurs while it lasts."""
    for period in lists["timetables"]:
        start, end = (clock_time(period.get(name)) for name in ("start_time", "end_time"))
        dates = [str(day) for day in members(as_object(period.get("day")), "occurs_on")]
        for lesson in members(period, "lessons"):
            group = as_object(lesson.get("group"))
            is_form = group.get("type") == "RegistrationGroup"
            row: Json = {
                "lesson": lesson.get("id"),
                "period": period.get("id"),
                "start": start,
                "end": end,
                "type": lesson.get("type"),
                "teaching_group": None if is_form else group.get("id"),
                "registration_group": group.get("id") if is_form else None,
                "rooms": _ids(lesson, "rooms", "id"),
                "supervisors": _ids(lesson, "supervisors", "staff_member_id"),
            }
            first, last = _day(lesson.get("start_date")), _day(lesson.get("end_date"))
            lasts = [d for d in dates if (first is None or first <= d) and (last is None or d <= last)]
            if lasts:  # one that never takes place need not be right
                yield {**row, "occurs_on": lasts}


def _ids(lesson: Json, name: str, field: str) -> str:
    found = {row.get(field) for row in members(lesson, name)} - {None}
    return " ".join(map(str, sorted(found, key=int)))


def _day(value: JsonValue) -> str | None:
    """The date of a moment, as it stands there."""
    return date.fromisoformat(value[:10]).isoformat() if isinstance(value, str) and value else None


MAPPING = MappingTable(
    ASSEMBLY,
    {
        "pupils": Mapped(
            ("students", "registration_groups", "house_groups"),
            {
                "pupil_id": at("id"),
                "school_id": at("mis_id"),
                "forename": at("legal_first_name", also="first_name"),
                "middle_names": at("middle_name"),
                "preferred_name": at("known_as"),
                "surname": at("last_name"),
                "gender": at("demographics.gender"),
                "date_of_birth": at("dob"),
                "email": at("emails", _addresses),
                "year_id": at("year"),
                "form_id": at("registration_group.id"),
                "academic_house_id": at("house.id"),
                "academic_house": at("house.name"),
                "enrolment_date": at("start_date"),
            },
            _students,
        ),
        "contacts": Mapped(
            ("contacts",),
            {
                "entry_id": at("entry"),
                "person_id": at("id"),
                "relationship": at("relationship_type"),
                "title": at("title"),
                "forename": at("first_name"),
                "middle_names": at("middle_name"),
                "surname": at("last_name"),
                "email": at("emails", _addresses),
                "telephone": at("telephone_numbers", _telephone("Home")),
                "mobile": at("telephone_numbers", _telephone("Mobile")),
                "address_1": at("address.address_line_1"),
                "address_2": at("address.address_line_2"),
                "town": at("address.town_city"),
                "county": at("address.county"),
                "postcode": at("address.postcode"),
                "country": at("address.country"),
                "parental_responsibility": at("parental_responsibility"),
            },
            _entries,
        ),
        "contact_pupils": Mapped(
            ("contacts",),
            {"entry_id": at("entry"), "person_id": at("id"), "pupil_id": at("student_id")},
            _entry_students,
        ),
        "staff": Mapped(
            ("staff_members",),
            {
                "staff_id": at("id"),
                "user_code": at("mis_id"),
                "initials": at("staff_code"),
                "title": at("title"),
                "forename": at("legal_first_name", also="first_name"),
                "middle_names": at("middle_name"),
                "preferred_name": at("first_name"),
                "surname": at("last_name"),
                "salutation": at("salutation"),
                "gender": at("demographics.gender"),
                "date_of_birth": at("dob"),
                "email": at("emails", _addresses),
                "teaching": at("is_teaching_staff"),
                "leaving_date": at("end_date"),
            },
        ),
        "years": Mapped(
            ("year_groups",),
            {
                "year_id": at("year"),
                "name": at("name"),
                "code": at("code"),
                "tutor_staff_id": at("supervisor_ids", _nth(0)),
                "assistant_tutor_staff_id": at("supervisor_ids", _nth(1)),
            },
            _years,
        ),
        "forms": Mapped(
            ("registration_groups",),
            {
                "form_id": at("id"),
                "name": at("name"),
                "tutor_staff_id": at("supervisor_ids", _nth(0)),
                "assistant_tutor_staff_id": at("supervisor_ids", _nth(1)),
            },
            _running("registration_groups"),
        ),
        "academic_houses": Mapped(
            ("house_groups",),
            {
                "house_id": at("id"),
                "name": at("name"),
                "code": at("code"),
                "house_master_staff_id": at("supervisors", _nth(0, "staff_member_id")),
            },
            _running("house_groups"),
        ),
        "boarding_houses": Absent("Assembly tells no boarding houses from others"),
        "subjects": Mapped(
            ("subjects",),
            {
                "department_id": at("department"),
                "subject_id": at("id"),
                "name": at("name"),
                "code": at("code"),
            },
            _subjects,
        ),
        "sets": Mapped(
            ("teaching_groups",),
            {"set_id": at("id"), "code": at("name"), "name": at("name"), "subject_id": at("subject.id")},
            _running("teaching_groups"),
        ),
        "set_teachers": Mapped(
            ("teaching_groups",),
            {"set_id": at("id"), "link_id": at("link"), "staff_id": at("member")},
            _each("teaching_groups", "supervisor_ids"),
        ),
        "set_members": Mapped(
            ("teaching_groups",),
            {"member_id": at("link"), "set_id": at("id"), "pupil_id": at("member")},
            _each("teaching_groups", "student_ids"),
        ),
        "rooms": Mapped(
            ("rooms",),
            {
                "room_id": at("id"),
                "building_id": at("building"),
                "name": at("name"),
                "code": at("code"),
                "description": at("description"),
            },
            _rooms,
        ),
        "terms": Mapped(
            ("academic_years",),
            {
                "term_id": at("id"),
                "school_year": at("school_year"),
                "name": at("name"),
                "start_date": at("start_date"),
                "finish_date": at("end_date"),
            },
            _terms,
        ),
        "calendar_events": Mapped(
            ("calendar_events",),
            {
                "event_id": at("id"),
                "start_date": at("start_date"),
                "end_date": at("end_date"),
                "start_time": at("start_date"),
                "end_time": at("end_date"),
                "description": at("name"),
            },
        ),
        "health": Absent("medical data is not read by this source"),
        "periods": Mapped(
            ("timetables",),
            {
                "period_id": at("id"),
                "day": at("day.long_name", also="day.short_name"),
                "name": at("long_name", also="short_name"),
                "start": at("start_time", clock_time),
                "end": at("end_time", clock_time),
            },
        ),
        "dated_lessons": Mapped(
            ("timetables",),
            {
                "date": at("occurs_on"),
                "lesson_id": at("lesson"),
                "start": at("start"),
                "end": at("end"),
                "period_id": at("period"),
                "set_id": at("teaching_group"),
                "form_id": at("registration_group"),
                "kind": at("type"),
                "room_ids": at("rooms"),
                "staff_ids": at("supervisors"),
            },
            _lessons,
            each="date",
        ),
        "attendance": Mapped(
            ("attendances",),
            {
                "pupil_id": at("student_id"),
                "date": at("session_date"),
                "session": at("session_name"),
                "mark": at("attendance_mark"),
                "minutes_late": at("minutes_late"),
            },
        ),
    },
)
