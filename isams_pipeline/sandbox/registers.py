"""The made-up school's registers: morning and afternoon on weekdays in term, filled while their window is open."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from datetime import date, datetime, time, timedelta
from random import Random
from zoneinfo import ZoneInfo

from isams_pipeline.datasets.shapes import Json
from isams_pipeline.sandbox.people import Pupil
from isams_pipeline.sandbox.render import division_of
from isams_pipeline.sandbox.school import SchoolDay
from isams_pipeline.sandbox.timetable import term_dates

DIVISIONS = {2: "Junior", 3: "Senior"}
_SATURDAY, _SEPTEMBER = 5, 9
_TIMES = {
    # Name and type → when it opens, from when on a mark is late, when it closes.
    ("AM", "AM"): (time(8, 35), time(8, 45), time(9, 15)),
    ("PM", "PM"): (time(13, 40), time(13, 50), time(14, 20)),
    ("Period 1", "LESSON"): (time(9, 0), time(9, 5), time(9, 55)),
}
PRESENT_CODES = {10: "/", 12: "\\", 14: "L"}
ABSENCE_CODES = {
    # Id → the school's code, the government's, and the name.
    21: ("I", "I", "Illness"),
    22: ("MED", "M", "Medical appointment"),
    23: ("HOL", "G", "Holiday, not agreed"),
    24: ("TRIP", "V", "Educational visit"),
    25: ("MUS", "P", "Sports or music fixture"),
    26: ("N", "N", "No reason yet"),
    27: ("?", "-", "Ask the office"),
}


@dataclass(frozen=True)
class Register:
    """One register of one division on one day."""

    id: int
    division: int
    name: str
    kind: str
    start: datetime
    late: datetime
    finish: datetime


def is_school_day(day: date) -> bool:
    """Whether there are registers at all: on weekdays in term."""
    terms = term_dates(day.year if day.month >= _SEPTEMBER else day.year - 1)
    return day.weekday() < _SATURDAY and any(first <= day <= last for _, first, last in terms)


def registers_of(day: SchoolDay, division: int, zone: ZoneInfo) -> list[Register]:
    """The day's registers of a division, in their order."""
    if division not in DIVISIONS or not is_school_day(day.date):
        return []

    def at(moment: time) -> datetime:
        return datetime.combine(day.date, moment, zone)

    base = day.date.toordinal() * 100 + division * 10
    return [
        Register(base + nth, division, name, kind, *map(at, times))
        for nth, ((name, kind), times) in enumerate(_TIMES.items())
    ]


def register_by_id(day: SchoolDay, identifier: int, zone: ZoneInfo) -> Register | None:
    """A register of this very day."""
    return next(
        (r for division in DIVISIONS for r in registers_of(day, division, zone) if r.id == identifier),
        None,
    )


def pupils_in(day: SchoolDay, register: Register) -> list[Pupil]:
    """Who is on it: the division's current pupils, and one who has left and whom nobody has taken off."""
    left = [pupil for pupil in day.everyone if not pupil.current][:1]
    return [pupil for pupil in [*day.pupils, *left] if division_of(day, pupil.year) == register.division]


def statuses(day: SchoolDay, register: Register, now: datetime) -> Iterator[Json]:
    """The register's records as they are at a moment: nobody before it opens, some while it is open, all after."""
    share = min(1.0, max(0.0, (now - register.start) / (register.finish - register.start)))
    for pupil in pupils_in(day, register):
        random = Random(f"{day.plan.seed}:{register.id}:{pupil.school_id}")  # noqa: S311  # repeatable, not secret
        taken = random.random() < share
        record = status(register, pupil, random, taken=taken)
        if pupil.slot % 29 == 3:  # noqa: PLR2004  # a planned absence beside the register's own record
            planned = {**record, "isRegistered": 0, "isPresent": False, "isFutureAbsence": True, "absenceCodeId": 22}
            yield planned | {"presentCodeId": None, "isLate": False, "numberOfMinutesLate": None}
        yield record


def status(register: Register, pupil: Pupil, random: Random, *, taken: bool) -> Json:
    """One pupil's record."""
    record: Json = {
        "absenceCodeId": None,
        "alertSent": False,
        "isFutureAbsence": False,
        "isLate": False,
        "isOutOfSchool": False,
        "isPresent": False,
        "isRegistered": int(taken),
        "leavingOrLeftDateTime": None,
        "numberOfMinutesLate": None,
        "parentNotificationSent": False,
        "presentCodeId": None,
        "registrationComment": None,
        "registrationPeriodId": register.id,
        "schoolId": pupil.school_id,
    }
    fate = random.random()
    if not taken:
        return record
    if fate < 0.86:  # noqa: PLR2004
        return record | {"isPresent": True, "presentCodeId": 12 if register.kind == "PM" else 10}
    if fate < 0.91:  # noqa: PLR2004
        return record | {"isPresent": True, "isLate": True, "numberOfMinutesLate": random.randrange(1, 25)}
    if fate < 0.94:  # noqa: PLR2004
        return record | {"isOutOfSchool": True, "absenceCodeId": random.choice((24, 25))}
    if fate < 0.96:  # noqa: PLR2004
        left = register.late + timedelta(minutes=random.randrange(30, 90))
        return record | {"isPresent": True, "presentCodeId": 10, "leavingOrLeftDateTime": left.isoformat()}
    comment = f"rang in{' ' + pupil.forename if pupil.forename else ''}"
    return record | {"absenceCodeId": random.choice((21, 22, 23, 26, 27)), "registrationComment": comment}
