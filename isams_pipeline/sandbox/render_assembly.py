"""The made-up school as Assembly's lists: its objects by name, each field only with its scope."""

from __future__ import annotations

from collections.abc import Callable, Collection
from datetime import UTC, date, datetime, timedelta

from isams_pipeline.datasets.shapes import Json, JsonValue
from isams_pipeline.sandbox import timetable
from isams_pipeline.sandbox.people import StaffMember
from isams_pipeline.sandbox.photos import photo_id
from isams_pipeline.sandbox.source_day import SourceDay

STUDENT, STAFF, CONTACT, FORM, SET, HOUSE, ROOM = 500_000, 60_000, 700_000, 8_000, 30_000, 90, 4_000
"""Assembly's ids are not iSAMS's."""


def moment(day: date, end: bool = False) -> str:  # noqa: FBT001, FBT002
    """A date as Assembly writes it."""
    return f"{day}T23:59:00.000Z" if end else f"{day}T00:00:00.000Z"


class Scoped:
    """Fields by the scopes that were authorised."""

    def __init__(self, scopes: Collection[str]) -> None:
        self._scopes = set(scopes)

    def __call__(self, scope: str, value: JsonValue) -> JsonValue:
        return value if scope in self._scopes else None


def students(day: SourceDay, has: Scoped, params: dict[str, str]) -> list[Json]:
    rows: list[Json] = []
    for pupil in day.pupils:
        row: Json = {
            "object": "student",
            "id": STUDENT + pupil.id,
            "year_code": str(pupil.year),
            "mis_id": has("students.mis_id", pupil.school_id),
            "first_name": pupil.preferred or pupil.forename,
            "legal_first_name": has("students.legal_names", pupil.forename),
            "middle_name": has("students.middle_names", pupil.middle.strip() or None),
            "last_name": pupil.surname,
            "dob": has("students.dob", moment(pupil.born)),
            "start_date": has("students.dates", moment(date(day.day.school_year, 9, 1))),
            "end_date": None,
            "medical": None,
        }
        if params.get("demographics") == "true":
            row["demographics"] = {"object": "student_demographics", "gender": has("students.gender", pupil.gender)}
        if params.get("emails") == "true":
            emails = [] if pupil.email is None else [_email(pupil.id, pupil.email, primary=True)]
            row["emails"] = has("students.emails", emails)
        if params.get("photo") == "true":
            number = photo_id(day.day, pupil)
            url = f"{params['photos at']}/{number}?signature=made-up"
            signed = {"object": "photo", "url": url, "hash": f"h{number}"}
            row["photo"] = has("students.photo", signed if number is not None else None)
        rows.append(row)
    return rows


def _email(number: int, address: str, *, primary: bool) -> Json:
    return {
        "object": "email",
        "id": number,
        "email": address,
        "type": "Work" if primary else "Home",
        "is_primary": primary,
    }


def staff_members(day: SourceDay, has: Scoped, params: dict[str, str]) -> list[Json]:
    def one(member: StaffMember) -> Json:
        emails = [] if member.email is None else [_email(member.id, member.email, primary=True)]
        row: Json = {
            "object": "staff_member",
            "id": STAFF + member.id,
            "mis_id": has("staff_members.mis_id", member.user_code),
            "staff_code": member.surname[:2].upper(),
            "title": member.title,
            "first_name": member.forename,
            "legal_first_name": has("staff_members.legal_names", member.forename),
            "last_name": member.surname,
            "salutation": f"{member.title} {member.surname}",
            "dob": has("staff_members.dob", moment(date(1980, 1, 1))),
            "emails": has("staff_members.emails", emails),
            "is_teaching_staff": member.teaching,
            "end_date": None,
        }
        if params.get("demographics") == "true":
            gender = has("staff_members.gender", "MF"[member.id % 2])
            row["demographics"] = {"object": "staff_demographics", "gender": gender}
        return row

    return [one(member) for member in day.staff]


_RESPONSIBLE = {"Yes": True, "No": False, "Default": True}


def contacts(day: SourceDay, has: Scoped, params: dict[str, str]) -> list[Json]:
    rows: list[Json] = []
    for person in day.persons:
        contact, number = person.contact, person.contact.person_id
        numbers = [
            {
                "object": "telephone_number",
                "id": number * 2 + at,
                "type": kind,
                "telephone_number": text,
                "is_primary": not at,
            }
            for at, (kind, text) in enumerate((("Home", contact.telephone), ("Mobile", contact.mobile)))
            if text
        ]
        row: Json = {
            "object": "contact",
            "id": CONTACT + number,
            "mis_id": str(number),
            "first_name": contact.forename,
            "middle_name": has("contacts.middle_names", contact.middle),
            "last_name": contact.surname,
            "title": contact.title,
            "emails": has(
                "contacts.emails",
                [_email(number * 2 + at, text, primary=at == 0) for at, text in enumerate(person.emails)],
            ),
            "telephone_numbers": has("contacts.telephone_numbers", numbers),
            "students": [
                {
                    "object": "contact_student",
                    "student_id": STUDENT + pupil.id,
                    "relationship": {
                        "object": "relationship",
                        "relationship_type": kind,
                        "priority": has("contacts.priority", 1 if contact.first else 2),
                        "parental_responsibility": has(
                            "contacts.parental_responsibility", _RESPONSIBLE[responsibility]
                        ),
                    },
                }
                for pupil, kind, responsibility in person.links
            ],
        }
        if params.get("addresses") == "true":
            row["address"] = {
                "object": "address",
                "address_line_1": contact.address,
                "address_line_2": contact.address_2,
                "town_city": contact.town,
                "county": contact.county,
                "country": contact.country,
                "postcode": contact.postcode,
            }
        rows.append(row)
    return rows


def _span(day: SourceDay) -> Json:
    start = day.day.school_year
    return {"start_date": moment(date(start, 9, 1)), "end_date": moment(date(start + 1, 8, 31), end=True)}


def year_groups(day: SourceDay, _has: Scoped, _params: dict[str, str]) -> list[Json]:
    return [
        {
            "object": "year_group",
            "id": 40 + at,
            "code": str(year),
            "name": name,
            **_span(day),
            "supervisor_ids": [STAFF + day.day.teachers[at % len(day.day.teachers)].id],
            "student_ids": [STUDENT + p.id for p in day.pupils if p.year == year],
        }
        for at, (year, name) in enumerate(day.day.plan.years)
    ]


def _form_id(day: SourceDay, form: str) -> int:
    return FORM + list(day.forms).index(form)


def registration_groups(day: SourceDay, _has: Scoped, _params: dict[str, str]) -> list[Json]:
    return [
        {
            "object": "registration_group",
            "id": _form_id(day, form),
            "name": form,
            **_span(day),
            "supervisor_ids": [STAFF + day.form_tutor(form).id],
            "student_ids": [STUDENT + p.id for p in pupils],
        }
        for form, pupils in day.forms.items()
    ]


def groups(day: SourceDay, _has: Scoped, params: dict[str, str]) -> list[Json]:
    if params.get("type") != "HouseGroup":
        return []
    return [
        {
            "object": "group",
            "id": HOUSE + number,
            "name": name,
            "code": name[:1],
            "type": "HouseGroup",
            **_span(day),
            "supervisors": [{"object": "supervisor", "staff_member_id": STAFF + day.day.staff[at].id, "role": "Head"}],
            "student_ids": [STUDENT + p.id for p in pupils],
        }
        for at, (number, name, pupils) in enumerate(day.houses)
    ]


def _subject(number: int, name: str, code: str) -> Json:
    return {"object": "subject", "id": 70 + number, "code": code, "name": name, "mis_subjects": []}


def subjects(day: SourceDay, _has: Scoped, _params: dict[str, str]) -> list[Json]:
    return [_subject(*subject) for subject in day.day.subjects]


def teaching_groups(day: SourceDay, _has: Scoped, _params: dict[str, str]) -> list[Json]:
    by_number = {subject[0]: subject for subject in day.day.subjects}
    return [
        {
            "object": "teaching_group",
            "id": SET + group.id,
            "name": group.name,
            **_span(day),
            "academic_year_id": day.day.school_year,
            "supervisor_ids": [STAFF + member.id for member in group.teachers],
            "student_ids": [STUDENT + pupil.id for pupil in inside],
            "subject": _subject(*by_number[group.subject]),
            "mis_level": None,
        }
        for group, inside in day.sets
    ]


def _room(room: timetable.Room) -> Json:
    return {"object": "room", "id": ROOM + room.id, "code": room.code, "name": room.name, "description": None}


def rooms(day: SourceDay, _has: Scoped, _params: dict[str, str]) -> list[Json]:
    return [{**_room(room), "maximum_capacity": 30} for room in day.rooms]


def academic_years(day: SourceDay, _has: Scoped, _params: dict[str, str]) -> list[Json]:
    start = day.day.school_year
    terms = [
        {
            "object": "term",
            "id": start * 10 + at,
            "name": name,
            "start_date": moment(first),
            "end_date": moment(last, end=True),
        }
        for at, (name, first, last) in enumerate(timetable.term_dates(start))
    ]
    return [{"object": "academic_year", "id": start, "name": f"{start}/{start + 1}", **_span(day), "terms": terms}]


def calendar_events(day: SourceDay, _has: Scoped, _params: dict[str, str]) -> list[Json]:
    sports = date(day.day.school_year + 1, 6, 12)
    return [
        {
            "object": "calendar_event",
            "id": 5,
            "type": "Event",
            "name": "Sports day",
            "description": None,
            "start_date": moment(sports),
            "end_date": moment(sports, end=True),
        }
    ]


def timetables(_day: SourceDay, _has: Scoped, _params: dict[str, str]) -> list[Json]:
    """The list names the timetables; what stands in them is told one by one."""
    return [
        {"object": "timetable", "id": timetable.TIMETABLE, "name": "Main", "weeks": 2, "days_per_week": 5, "days": []}
    ]


def varied(rows: list[Json], variants: Collection[str]) -> list[Json]:
    """The rows in the reading that is asked of this sandbox."""
    if "legal_empty" in variants:
        rows = [
            {**row, "legal_first_name": ""}
            if "legal_first_name" in row and row["legal_first_name"] == row.get("first_name")
            else row
            for row in rows
        ]
    if "ended_groups" in variants and rows and "start_date" in rows[0] and "student_ids" in rows[0]:
        first = rows[0]
        ended = {"start_date": moment(date(2019, 9, 1)), "end_date": moment(date(2020, 7, 31), end=True)}
        rows = [*rows, {**first, "id": first["id"] + 900_000, "name": f"{first['name']} (ended)", **ended}]
    return rows


def _covered(by_period: dict[int, list[Json]], dates: dict[int, list[date]], variants: Collection[str]) -> None:
    """One lesson in another room on one date: beside the lesson that it replaces, or in its place."""
    if {"covers_beside", "covers_instead"}.isdisjoint(variants):
        return
    period, lessons = next((p, of) for p, of in sorted(by_period.items()) if dates.get(p // 10) and of[0]["rooms"])
    on, lesson = dates[period // 10][0], lessons[0]
    other = {"object": "room", "id": ROOM + 1, "code": "X", "name": "Elsewhere", "description": None}
    there = {"start_date": moment(on), "end_date": moment(on, end=True)}
    cover = {**lesson, "id": lesson["id"] + 500_000, "type": "RoomCover", "rooms": [other], **there}
    if "covers_instead" in variants:
        before = {**lesson, "end_date": moment(on - timedelta(days=1), end=True)}
        after = {**lesson, "id": lesson["id"] + 600_000, "start_date": moment(on + timedelta(days=1))}
        lessons[:1] = [before, after]
    lessons.append(cover)


def one_timetable(day: SourceDay, params: dict[str, str], variants: Collection[str] = ()) -> Json:
    first, last = params.get("start_date", "0000"), params.get("end_date", "9999")
    rooms = {room.id: room for room in timetable.rooms(day.day)}
    by_period: dict[int, list[Json]] = {}
    for lesson in day.lessons:
        if isinstance(lesson.group, str):
            group: Json = {
                "object": "group",
                "id": _form_id(day, lesson.group),
                "name": lesson.group,
                "type": "RegistrationGroup",
            }
        else:
            group = {"object": "group", "id": SET + lesson.group.id, "name": lesson.group.name, "type": "TeachingGroup"}
        by_period.setdefault(lesson.period, []).append(
            {
                "object": "lesson",
                "id": lesson.id,
                "type": "Scheduled",
                "group": group,
                **_span(day),
                "supervisors": [{"object": "supervisor", "staff_member_id": STAFF + t.id} for t in lesson.teachers],
                "rooms": [_room(rooms[lesson.room])] if lesson.room in rooms else [],
            }
        )
    _covered(by_period, day.dates, variants)
    days: list[Json] = []
    for week in timetable.weeks(day.day)[:2]:
        for number, name in timetable.WEEKDAYS:
            day_id = timetable.day_id(week, number)
            days.append(
                {
                    "object": "day",
                    "id": day_id,
                    "short_name": f"{week.name[-1]}{name[:3]}",
                    "long_name": f"{week.name} {name}",
                    "display_order": day_id,
                    "occurs_on": [str(d) for d in day.dates.get(day_id, []) if first <= str(d) <= last],
                    "periods": [
                        {
                            "object": "period",
                            "id": period,
                            "short_name": title[:1] + title[-1:],
                            "long_name": title,
                            "start_time": timetable.bell(start, week.later),
                            "end_time": timetable.bell(end, week.later),
                            "display_order": nth,
                            "lessons": by_period.get(period, []),
                        }
                        for nth, (title, start, end) in enumerate(timetable.PERIODS)
                        for period in (timetable.period_id(week, number, nth),)
                    ],
                }
            )
    return {**timetables(day, Scoped(()), {})[0], "days": days}


def attendances(day: SourceDay, now: datetime, params: dict[str, str]) -> list[Json]:
    first, last = (date.fromisoformat(params[name]) for name in ("start_date", "end_date"))
    return [
        {
            "object": "attendance",
            "id": (on.toordinal() * 2 + (session == "PM")) * 100_000 + pupil.id,
            "student_id": STUDENT + pupil.id,
            "session_date": moment(on),
            "session_name": session,
            "attendance_mark": mark,
            "minutes_late": late,
            "comments": None,
        }
        for pupil, on, session, mark, late in day.marks(first, last, now.astimezone(UTC))
    ]


Renderer = Callable[[SourceDay, Scoped, dict[str, str]], list[Json]]
LISTS: dict[str, tuple[str, Renderer, bool]] = {
    # Path → scope, rows, and whether it answers to conditions.
    "students": ("students.basic", students, True),
    "staff_members": ("staff_members.basic", staff_members, True),
    "contacts": ("contacts.basic", contacts, False),
    "year_groups": ("school", year_groups, True),
    "registration_groups": ("registration_groups", registration_groups, True),
    "groups": ("groups", groups, True),
    "teaching_groups": ("teaching_groups", teaching_groups, True),
    "subjects": ("teaching_groups", subjects, False),
    "rooms": ("timetables", rooms, True),
    "academic_years": ("school", academic_years, False),
    "calendar_events": ("calendar", calendar_events, True),
    "timetables": ("timetables", timetables, True),
}
