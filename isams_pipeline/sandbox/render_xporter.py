"""The made-up school as Xporter's answers: named arrays, ids as texts, flags as 0 and 1."""

from __future__ import annotations

import base64
import hashlib
from collections.abc import Callable
from datetime import UTC, date, datetime
from typing import Any

from isams_pipeline.datasets.shapes import Json
from isams_pipeline.sandbox import timetable
from isams_pipeline.sandbox.people import Pupil
from isams_pipeline.sandbox.photos import photo, photo_id
from isams_pipeline.sandbox.source_day import SourceDay, SourceLesson

STUDENT, STAFF, CONTACT, GROUP, ROOM = 2_000_000, 2_500_000, 3_000_000, 4_000_000, 5_000
_YEAR, _FORM, _HOUSE, _SET = (GROUP + n * 100_000 for n in range(4))
_UPDATED = "2026-01-05T02:14:47.085"


def _row(**fields: Any) -> Json:
    digest = hashlib.blake2b(repr(fields).encode(), digest_size=20).hexdigest().upper()
    return {**fields, "LastUpdated": _UPDATED, "RowHash": digest}


def _form(day: SourceDay, form: str) -> str:
    return str(_FORM + list(day.forms).index(form))


def students(day: SourceDay, _: Json) -> dict[str, list[Json]]:
    years = {year: str(_YEAR + at) for at, (year, _name) in enumerate(day.day.plan.years)}
    names = {number: name for number, name, _members in day.houses}
    rows = [
        _row(
            Id=str(STUDENT + pupil.id),
            ExternalId=pupil.guid.lower(),
            IdaasId=f"PL-{STUDENT + pupil.id}",
            Forename=pupil.preferred or pupil.forename,
            LegalForename=pupil.forename,
            LegalSurname=pupil.surname,
            Surname=pupil.surname,
            MiddleName=pupil.middle.strip(),
            DisplayName=f"{pupil.forename} {pupil.surname}",
            AdmissionNo=pupil.school_id,
            Gender=pupil.gender,
            RegGroupId=_form(day, pupil.form),
            RegGroup=pupil.form,
            YearGroupId=years[pupil.year],
            YearGroup=f"Year  {pupil.year}",
            HouseGroupId=str(_HOUSE + pupil.house),
            HouseGroup=names[pupil.house],
            WorkEmail=pupil.email,
            DateofBirth=str(pupil.born),
            EntryDate=f"{day.day.school_year}-09-01",
            Boarder="1" if pupil.boarding else "0",
            ServiceChild="0",
            StudentStatus="OnRoll",
        )
        for pupil in day.pupils
    ]
    gone = [p for p in day.day.everyone if not p.current][:1]
    rows += [_row(Id=str(STUDENT + p.id), Forename=p.forename, Surname=p.surname, StudentStatus="Leaver") for p in gone]
    return {"Students": rows}


def staff(day: SourceDay, _: Json) -> dict[str, list[Json]]:
    return {
        "Staff": [
            _row(
                Id=str(STAFF + member.id),
                ExternalId=None,
                Title=member.title,
                StaffCode=member.surname[:2].upper(),
                StaffStatus="Current",
                Forename=member.forename,
                LegalForename=member.forename,
                Surname=member.surname,
                DisplayName=f"{member.title} {member.surname}",
                WorkEmail=member.email,
                Gender="MF"[member.id % 2],
                DateOfBirth="1980-01-01",
                IsTeacher=int(member.teaching),
                IsSupport=int(not member.teaching),
            )
            for member in day.staff
        ]
    }


def contacts(day: SourceDay, _: Json) -> dict[str, list[Json]]:
    rows: list[Json] = []
    for person in day.persons:
        contact = person.contact
        number, _blank, street = contact.address.partition(" ")
        emails = [*person.emails, None, None]
        rows.append(
            _row(
                Id=str(CONTACT + contact.person_id),
                IdaasId=f"PC-{CONTACT + contact.person_id}",
                Title=contact.title,
                Surname=contact.surname,
                Forename=contact.forename,
                DisplayName=f"{contact.title} {contact.surname}",
                HomeEmail=emails[0],
                WorkEmail=emails[1],
                HomePhone=contact.telephone,
                MobilePhone=contact.mobile,
                HouseNo=number,
                Street=street,
                District=contact.address_2,
                TownOrCity=contact.town,
                County=contact.county,
                PostCode=contact.postcode,
                Country=contact.country,
            )
        )
    return {"Contacts": rows}


_RESPONSIBLE = {"Yes": 1, "No": 0, "Default": 1}


def student_contacts(day: SourceDay, _: Json) -> dict[str, list[Json]]:
    rows: list[Json] = []
    for person in day.persons:
        contact = CONTACT + person.contact.person_id
        rows += [
            _row(
                Id=f"PL-{STUDENT + pupil.id}.PC-{contact}",
                StudentId=str(STUDENT + pupil.id),
                ContactId=str(contact),
                Relationship=kind,
                Priority=1 if person.contact.first else 2,
                ParResp=_RESPONSIBLE[responsibility],
            )
            for pupil, kind, responsibility in person.links
        ]
    return {"StudentContacts": rows}


BY_SCOPE: dict[str, tuple[str, set[str]]] = {
    "Address": (
        "Contacts",
        {
            *("AddressBlock", "HouseNo", "HouseName", "Apartment", "Street", "District", "TownOrCity", "County"),
            *("PostCode", "Country"),
        },
    ),
    "StudentExtended": ("Students", {"LegalForename", "LegalSurname", "DateofBirth", "MiddleName", "EntryDate"}),
    "StaffExtended": ("Staff", {"LegalForename", "LegalSurname", "MiddleName", "DateOfBirth", "Gender"}),
    "StaffEmployment": ("Staff", {"EmploymentEnd"}),
}
"""Scope → the array and the fields that only it gives. What is not given is absent."""


def groups(day: SourceDay, params: Json) -> dict[str, list[Json]]:
    found: list[Json] = []
    members: list[Json] = []
    teachers: list[Json] = []

    def add(number: int, what: tuple[str, str, str], primary: int | None, pupils: list[Pupil], *staff: int) -> None:
        group, (kind, code, name) = str(number), what
        found.append(
            _row(
                Id=group,
                Type=kind,
                Code=code,
                Name=name,
                PrimaryStaffId=None if primary is None else str(STAFF + primary),
                Staff="AB,CD",
                NumStudents=len(pupils),
            )
        )
        members.extend(
            _row(Id=f"{group}.{STUDENT + p.id}", GroupId=group, StudentId=str(STUDENT + p.id)) for p in pupils
        )
        teachers.extend(_row(Id=f"{group}.{STAFF + one}", GroupId=group, StaffId=str(STAFF + one)) for one in staff)

    there = {member.id for member in day.staff}
    for at, (year, name) in enumerate(day.day.plan.years):
        head = day.day.teachers[at % len(day.day.teachers)].id
        add(_YEAR + at, ("YearGrp", str(year), name), head, [p for p in day.pupils if p.year == year])
    for form, pupils in day.forms.items():
        add(int(_form(day, form)), ("RegGrp", form, form), day.form_tutor(form).id, pupils)
    for at, (number, name, pupils) in enumerate(day.houses):
        add(_HOUSE + number, ("HouseGrp", name[:1], name), day.day.staff[at].id, pupils)
    for group, inside in day.sets:
        staff_ids = [member.id for member in group.teachers if member.id in there]
        add(_SET + group.id, ("TeachingGrp", group.code, group.name), None, inside, *staff_ids)
    # Members come on request only, as recorded: without the options both arrays are empty beside the counts.
    options = str(params.get("options", ""))
    return {
        "Group": found,
        "StaffMembers": teachers if "includeStaffMembers" in options else [],
        "StudentMembers": members if "includeStudentMembers" in options else [],
    }


def _dates(day: SourceDay, params: Json) -> list[tuple[int, date]]:
    """Day of the timetable and date, within what was asked for."""
    first, last = params.get("DateFrom", "0000"), params.get("DateTo", "9999")
    found = [(d, on) for d, dates in day.dates.items() for on in dates if first <= str(on) <= last]
    return sorted(found, key=lambda pair: pair[1])


def _at(on: date, clock: str) -> str:
    return f"{on}T{clock}:00"


def _instance(period: int, on: date) -> str:
    return str(on.toordinal() * 1000 + period)


def timetable_structure(day: SourceDay, params: Json) -> dict[str, list[Json]]:
    periods = [
        _row(
            Id=_instance(day_id * 10 + nth, on),
            EventId=str(nth),
            EventDescription=title,
            StartDateTime=_at(on, start),
            EndDateTime=_at(on, end),
            SessionId="1",
        )
        for day_id, on in _dates(day, params)
        for nth, (title, start, end) in enumerate(timetable.PERIODS)
    ]
    subjects = [_row(Id=str(80 + number), Code=code, Name=name) for number, name, code in day.day.subjects]
    rooms = [_row(Id=str(ROOM + room.id), Code=room.code, Name=room.name) for room in day.rooms]
    days = [
        _row(
            Id=_instance(day_id * 10, on),
            EventId=str(day_id),
            EventDescription=f"{on:%A}",
            StartDateTime=_at(on, "00:00"),
            EndDateTime=_at(on, "23:59"),
        )
        for day_id, on in _dates(day, params)
    ]
    return {"TTDays": days, "TTSessions": [], "TTPeriods": periods, "TTSubjects": subjects, "TTRooms": rooms}


def lessons(day: SourceDay, params: Json) -> dict[str, list[Json]]:
    options = str(params.get("options", ""))
    by_day: dict[int, list[SourceLesson]] = {}
    for lesson in day.lessons:
        by_day.setdefault(lesson.period // 10, []).append(lesson)
    subjects = {number: (code, name) for number, name, code in day.day.subjects}
    rooms, there = {room.id for room in day.rooms}, {member.id for member in day.staff}
    found: list[Json] = []
    of_staff: list[Json] = []
    of_rooms: list[Json] = []
    taught: dict[int, SourceLesson] = {}
    for day_id, on in _dates(day, params):
        for lesson in by_day.get(day_id, []):
            taught[lesson.id] = lesson
            if isinstance(lesson.group, str):
                group, name, subject = _form(day, lesson.group), lesson.group, ("", "")
            else:
                group, name = str(_SET + lesson.group.id), lesson.group.name
                subject = subjects[lesson.group.subject]
            _title, start, end = timetable.PERIODS[lesson.period % 10]
            found.append(
                _row(
                    # The lesson of the timetable's cycle: it comes again on every date; PeriodId is the dated one.
                    Id=str(lesson.id),
                    PeriodId=_instance(lesson.period, on),
                    ClassId=group,
                    JoinedId=None,
                    ClassName=name,
                    Period=f"{on:%a}:{lesson.period % 10}",
                    StartDateTime=_at(on, start),
                    EndDateTime=_at(on, end),
                    StaffCodes="AB",
                    SubjectCode=subject[0],
                    SubjectName=subject[1],
                )
            )
    for number, lesson in taught.items():
        of_staff += [
            _row(Id=f"{number}.{t.id}", LessonId=str(number), StaffId=str(STAFF + t.id))
            for t in lesson.teachers
            if t.id in there
        ]
        if lesson.room in rooms:
            of_rooms.append(_row(Id=f"{number}.r", LessonId=str(number), RoomId=str(ROOM + lesson.room), Code="R"))
    return {
        "Lessons": found if "includeLessons" in options else [],
        "LessonStaff": of_staff if "includeLessonStaff" in options else [],
        "LessonRooms": of_rooms if "includeLessonRooms" in options else [],
    }


def calendar(day: SourceDay, params: Json) -> dict[str, list[Json]]:
    sports = date(day.day.school_year + 1, 6, 12)
    if not str(params.get("DateFrom", "0000")) <= str(sports) <= str(params.get("DateTo", "9999")):
        return {"Calendar": []}
    row = _row(
        Id="5",
        StartDate=str(sports),
        StartTime="09:00",
        EndDate=str(sports),
        EndTime="15:00",
        Category="School",
        Description="Sports day",
        Type="SchoolEvent",
    )
    return {"Calendar": [row]}


def attendance(day: SourceDay, params: Json) -> dict[str, list[Json]]:
    first, last = (date.fromisoformat(str(params[name])) for name in ("DateFrom", "DateTo"))
    now: datetime = params["now"]
    return {
        "AttendMarks": [
            _row(
                Id=f"{STUDENT + pupil.id}.{on}.{session}",
                Date=str(on),
                StudentId=str(STUDENT + pupil.id),
                Mark=mark,
                Type="S",
                Session=session,
            )
            for pupil, on, session, mark, _late in day.marks(first, last, now.astimezone(UTC))
        ]
    }


def photos(day: SourceDay, _params: Json) -> dict[str, list[Json]]:
    """Invented: no page shows a row of this endpoint."""
    rows: list[Json] = []
    for pupil in day.pupils:
        number = photo_id(day.day, pupil)
        if number is not None:
            rows.append(_row(Id=str(STUDENT + pupil.id), Photo=base64.b64encode(photo(number)).decode()))
    return {"Photos": rows}


Renderer = Callable[[SourceDay, Json], dict[str, list[Json]]]
LISTS: dict[str, tuple[str, Renderer]] = {
    # Endpoint → scope, and its arrays, the one that is paged first.
    "Students": ("Student", students),
    "Staff": ("Staff", staff),
    "Contacts": ("Contact", contacts),
    "StudentContacts": ("Contact", student_contacts),
    "Groups": ("School", groups),
    "TimetableStructure": ("School", timetable_structure),
    "Timetable": ("School", lessons),
    "Calendar": ("School", calendar),
    "AttendanceForDateRange": ("Attendance", attendance),
    "Photos": ("Photos", photos),
}
