"""Xporter's lists → the datasets: which field stands in which column.

Which of these fields Xporter fills for a school with iSAMS is unknown; what it leaves empty is null.
"""

from __future__ import annotations

from array import array
from bisect import bisect_left
from collections.abc import Callable, Collection, Iterator, Mapping
from sys import intern
from typing import Any

import numpy as np
import pandas as pd

from isams_pipeline.datasets.shapes import Json, JsonValue
from isams_pipeline.errors import MembersMissing
from isams_pipeline.rules.compare import code as folded_code
from isams_pipeline.rules.notes import SEVERAL, WITHOUT_MEMBERS
from isams_pipeline.rules.references import Lookup, number_of
from isams_pipeline.sources.shared import XPORTER
from isams_pipeline.sources.shared.mapping import Absent, Lists, Mapped, MappingTable, YearNumbers, at, clock_time
from isams_pipeline.sources.shared.values import whole_number
from isams_pipeline.sources.xporter.answers import plain_id
from isams_pipeline.sources.xporter.lists import ARRAY

ON_ROLL, CURRENT = "OnRoll", "Current"
NO_MARKS = {"-", "#"}
"""No mark, and a session that was closed."""


def _rows(lists: Lists, name: str, array: str) -> Iterator[Json]:
    """The rows of one array of a list: the client writes the array's name first."""
    return lists.beginning(name, f'{{"{ARRAY}":"{array}"'.encode())


def _groups(lists: Lists, kind: str) -> Iterator[Json]:
    return (row for row in _rows(lists, "groups", "Group") if row.get("Type") == kind)


def _flag(value: JsonValue) -> JsonValue:
    """0 and 1, which may come as texts."""
    return int(value) if value in {"0", "1"} else value


def _students(lists: Lists) -> Iterator[Json]:
    """Pupils on roll: leavers and those to come are in the same list."""
    years = YearNumbers(lists.settings)
    codes = {str(group.get("Id")): group.get("Code") for group in _groups(lists, "YearGrp")}
    for student in lists["students"]:
        if student.get("StudentStatus") not in {ON_ROLL, None}:
            continue
        legal, known = student.get("LegalForename"), student.get("Forename")
        code = codes.get(str(student.get("YearGroupId")))
        yield {
            **student,
            "Year": years.of(code),
            "KnownAs": known if legal and known != legal else None,
        }
    years.refuse_unknown()


def _staff(lists: Lists) -> Iterator[Json]:
    """Current staff: former and future ones are in the same list."""
    return (member for member in lists["staff"] if member.get("StaffStatus") in {CURRENT, None})


def _responsible(link: Json) -> str | None:
    """Parental responsibility as iSAMS words it; a flag may come as a number or as a text."""
    return {"1": "Yes", "0": "No", "True": "Yes", "False": "No"}.get(str(link.get("ParResp")))


def _ways(lists: Lists) -> dict[str, dict[tuple[Any, Any], None]]:
    """Contact → the ways in which they are related to some students: kind and parental responsibility."""
    found: dict[str, dict[tuple[Any, Any], None]] = {}
    for link in lists["student_contacts"]:
        ways = found.setdefault(str(link.get("ContactId")), {})
        ways[link.get("Relationship"), _responsible(link)] = None
    return found


def _entries(lists: Lists) -> Iterator[Json]:
    """As iSAMS has them: an entry for each way in which a person is related to some students."""
    ways = _ways(lists)
    for contact in lists["contacts"]:
        emails = dict.fromkeys(str(contact[name]) for name in ("HomeEmail", "WorkEmail") if contact.get(name))
        place = " ".join(str(contact[n]) for n in ("Apartment", "HouseName", "HouseNo", "Street") if contact.get(n))
        for kind, responsible in ways.get(str(contact.get("Id")), {}):
            yield {
                **contact,
                "Entry": number_of(contact.get("Id"), kind, responsible),
                "Relationship": kind,
                "ParResp": responsible,
                "Emails": "; ".join(emails) or None,
                "Place": place or None,
            }


def _entry_students(lists: Lists) -> Iterator[Json]:
    for link in lists["student_contacts"]:
        number = number_of(link.get("ContactId"), link.get("Relationship"), _responsible(link))
        yield {**link, "Entry": number}


def _years(lists: Lists) -> Iterator[Json]:
    years = YearNumbers(lists.settings)
    for group in _groups(lists, "YearGrp"):
        yield {**group, "Year": years.of(group.get("Code"))}
    years.refuse_unknown()


def _of(kind: str) -> Callable[[Lists], Iterator[Json]]:
    return lambda lists: _groups(lists, kind)


def _sets(lists: Lists) -> Iterator[Json]:
    """Teaching groups, each with its subject: by the group's own code, else by the one that its lessons name.

    A code that several subjects have means none of them.
    """
    rows = list(_rows(lists, "timetable_structure", "TTSubjects"))
    frame = pd.DataFrame({name: [row.get(name) for row in rows] for name in ("Code", "Id")})
    subjects = Lookup.of(frame, "Code", "Id", fold=folded_code)
    of_group: dict[str, set[str]] = {}
    for lesson in _rows(lists, "timetable", "Lessons"):
        if lesson.get("SubjectCode"):
            of_group.setdefault(str(lesson.get("ClassId")), set()).add(str(lesson["SubjectCode"]))
    having = {str(plain_id(link.get("GroupId"))) for link in _rows(lists, "groups", "StudentMembers")}
    for row, group in enumerate(_groups(lists, "TeachingGrp"), start=1):
        found = of_group.get(str(group.get("Id")), set())
        if not group.get("SubjectCode") and len(found) > 1:
            lists.notes.append((row, "subject_id", SEVERAL))
        code = group.get("SubjectCode") or (next(iter(found)) if len(found) == 1 else None)
        if _came_without(group, having):
            lists.notes.append((row, "set_id", WITHOUT_MEMBERS))
        yield {**group, "SubjectId": subjects.get(code)}


def _came_without(group: Json, having: Collection[str]) -> bool:
    """Whether a group that has students by its own count came without any."""
    return bool(whole_number(group.get("NumStudents"))) and str(group.get("Id")) not in having


def _in_sets(array: str, field: str) -> Callable[[Lists], Iterator[Json]]:
    """Members or teachers of teaching groups, each once."""

    def rows(lists: Lists) -> Iterator[Json]:
        groups = {str(group.get("Id")): group for group in _groups(lists, "TeachingGrp")}
        done: set[tuple[str, str]] = set()
        for link in _rows(lists, "groups", array):
            group, one = plain_id(link.get("GroupId")), plain_id(link.get(field))
            pair = str(group), str(one)
            if pair[0] in groups and pair not in done:
                done.add(pair)
                yield {**link, "GroupId": group, field: one, "Link": number_of(*pair)}
        if array == "StudentMembers":
            most = 1.0 if lists.leaves_people_out else _MOST
            _refuse_without_members(groups, {group for group, _ in done}, most)

    return rows


_MOST = 0.5


def _refuse_without_members(groups: Mapping[str, Json], having: Collection[str], most: float) -> None:
    """Raise MembersMissing where all groups, or more than `most`, that have students by their own count have none.

    Counts are of all students, members only of those who have not opted out.
    """
    full = {name for name, group in groups.items() if whole_number(group.get("NumStudents"))}
    empty = {name for name in full if _came_without(groups[name], having)}
    if empty and (len(empty) == len(full) or len(empty) > most * len(full)):
        raise MembersMissing(
            f"{len(empty)} of {len(full)} teaching groups that have students by their own count came without any",
            list="groups",
            remedy="Nothing of it is stored. Xporter gives members only on request; ask Groupcall's support why it did "
            "not, with the time of this run.",
        )


def _array(name: str, array: str, **more: Any) -> Callable[[Lists], Iterator[Json]]:
    return lambda lists: ({**row, **more} for row in _rows(lists, name, array))


def _lessons(lists: Lists) -> Iterator[Json]:
    kinds = {str(group.get("Id")): group.get("Type") for group in _rows(lists, "groups", "Group")}
    staff, rooms = (
        _PerLesson(_rows(lists, "timetable", name), field)
        for name, field in (("LessonStaff", "StaffId"), ("LessonRooms", "RoomId"))
    )
    for lesson in _rows(lists, "timetable", "Lessons"):
        number, group = str(lesson.get("Id")), str(lesson.get("ClassId"))
        is_form = kinds.get(group) == "RegGrp"
        yield {
            **lesson,
            "Set": None if is_form else lesson.get("ClassId"),
            "Form": lesson.get("ClassId") if is_form else None,
            "StaffIds": staff.of(number),
            "RoomIds": rooms.of(number),
        }


class _PerLesson:
    """Who teaches a lesson, or where it is. By hashes of the lessons' ids, sorted: a dict takes several times that."""

    def __init__(self, rows: Iterator[Json], field: str) -> None:
        lessons: array[int] = array("q")
        ids: list[str] = []
        for row in rows:
            lessons.append(hash(str(row.get("LessonId"))))
            ids.append(intern(str(row.get(field))))
        order: list[int] = np.argsort(lessons, kind="stable").tolist()
        self._lessons = array("q", (lessons[n] for n in order))
        self._ids = [ids[n] for n in order]

    def of(self, lesson: str) -> str | None:
        """The ids of a lesson, separated by spaces; None where there are none."""
        key = hash(lesson)
        first = last = bisect_left(self._lessons, key)
        while last < len(self._lessons) and self._lessons[last] == key:
            last += 1
        return " ".join(self._ids[first:last]) or None


def _marks(lists: Lists) -> Iterator[Json]:
    """Marks of sessions: those of lessons, and what is no mark, stand in the same list."""
    for row in lists["attendance"]:
        if row.get("Type") in {"S", None} and row.get("Mark") not in NO_MARKS:
            yield row


MAPPING = MappingTable(
    XPORTER,
    {
        "pupils": Mapped(
            ("students", "groups"),
            {
                "pupil_id": at("Id"),
                "person_guid": at("ExternalId"),
                "school_id": at("AdmissionNo"),
                "forename": at("LegalForename", also="Forename"),
                "middle_names": at("MiddleName"),
                "preferred_name": at("KnownAs"),
                "surname": at("Surname"),
                "gender": at("Gender"),
                "date_of_birth": at("DateofBirth", also="DateOfBirth"),
                "email": at("WorkEmail"),
                "year_id": at("Year"),
                "form_id": at("RegGroupId"),
                "academic_house_id": at("HouseGroupId"),
                "academic_house": at("HouseGroup"),
                "enrolment_date": at("EntryDate"),
            },
            _students,
        ),
        "contacts": Mapped(
            ("contacts", "student_contacts"),
            {
                "entry_id": at("Entry"),
                "person_id": at("Id"),
                "relationship": at("Relationship"),
                "title": at("Title"),
                "forename": at("Forename"),
                "surname": at("Surname"),
                "email": at("Emails"),
                "telephone": at("HomePhone"),
                "mobile": at("MobilePhone"),
                "address_1": at("Place"),
                "address_2": at("District"),
                "town": at("TownOrCity"),
                "county": at("County"),
                "postcode": at("PostCode"),
                "country": at("Country"),
                "parental_responsibility": at("ParResp"),
            },
            _entries,
        ),
        "contact_pupils": Mapped(
            ("student_contacts",),
            {"entry_id": at("Entry"), "person_id": at("ContactId"), "pupil_id": at("StudentId")},
            _entry_students,
        ),
        "staff": Mapped(
            ("staff",),
            {
                "staff_id": at("Id"),
                "person_guid": at("ExternalId"),
                "initials": at("StaffCode"),
                "title": at("Title"),
                "forename": at("LegalForename", also="Forename"),
                "middle_names": at("MiddleName"),
                "preferred_name": at("Forename"),
                "surname": at("Surname"),
                "gender": at("Gender"),
                "date_of_birth": at("DateOfBirth"),
                "email": at("WorkEmail"),
                "teaching": at("IsTeacher", _flag),
                "leaving_date": at("EmploymentEnd"),
            },
            _staff,
        ),
        "years": Mapped(
            ("groups",),
            {
                "year_id": at("Year"),
                "name": at("Name"),
                "code": at("Code"),
                "tutor_staff_id": at("PrimaryStaffId"),
            },
            _years,
        ),
        "forms": Mapped(
            ("groups",),
            {"form_id": at("Id"), "name": at("Name"), "tutor_staff_id": at("PrimaryStaffId")},
            _of("RegGrp"),
        ),
        "academic_houses": Mapped(
            ("groups",),
            {
                "house_id": at("Id"),
                "name": at("Name"),
                "code": at("Code"),
                "house_master_staff_id": at("PrimaryStaffId"),
            },
            _of("HouseGrp"),
        ),
        "boarding_houses": Absent("Xporter tells no boarding houses from others"),
        "subjects": Mapped(
            ("timetable_structure",),
            {
                "department_id": at("Department"),
                "subject_id": at("Id"),
                "name": at("Name"),
                "code": at("Code"),
            },
            _array("timetable_structure", "TTSubjects", Department=0),
        ),
        "sets": Mapped(
            ("groups", "timetable", "timetable_structure"),
            {"set_id": at("Id"), "code": at("Code"), "name": at("Name"), "subject_id": at("SubjectId")},
            _sets,
        ),
        "set_teachers": Mapped(
            ("groups",),
            {"set_id": at("GroupId"), "link_id": at("Link"), "staff_id": at("StaffId")},
            _in_sets("StaffMembers", "StaffId"),
        ),
        "set_members": Mapped(
            ("groups",),
            {"member_id": at("Link"), "set_id": at("GroupId"), "pupil_id": at("StudentId")},
            _in_sets("StudentMembers", "StudentId"),
        ),
        "rooms": Mapped(
            ("timetable_structure",),
            {"room_id": at("Id"), "building_id": at("Building"), "name": at("Name"), "code": at("Code")},
            _array("timetable_structure", "TTRooms", Building=0),
        ),
        "terms": Absent("Xporter has events and holidays, but no terms"),
        "calendar_events": Mapped(
            ("calendar",),
            {
                "event_id": at("Id"),
                "start_date": at("StartDate"),
                "end_date": at("EndDate"),
                "start_time": at("StartTime"),
                "end_time": at("EndTime"),
                "description": at("Description"),
            },
        ),
        "health": Absent("medical data is not read by this source"),
        "periods": Mapped(
            ("timetable_structure",),
            {
                "period_id": at("Id"),
                "day": at("StartDateTime", lambda moment: str(moment)[:10]),
                "name": at("EventDescription"),
                "start": at("StartDateTime", clock_time),
                "end": at("EndDateTime", clock_time),
            },
            _array("timetable_structure", "TTPeriods"),
        ),
        "dated_lessons": Mapped(
            ("timetable", "groups"),
            {
                "date": at("StartDateTime"),
                "lesson_id": at("Id"),
                "start": at("StartDateTime", clock_time),
                "end": at("EndDateTime", clock_time),
                "period_id": at("PeriodId"),
                "set_id": at("Set"),
                "form_id": at("Form"),
                "room_ids": at("RoomIds"),
                "staff_ids": at("StaffIds"),
            },
            _lessons,
        ),
        "attendance": Mapped(
            ("attendance",),
            {
                "pupil_id": at("StudentId"),
                "date": at("Date"),
                "session": at("Session"),
                "mark": at("Mark"),
                "minutes_late": at("MinsLate"),
            },
            _marks,
        ),
    },
)
