"""The made-up school's rooms and timetable: two weeks, eight periods a day, and one lesson that moves every night."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from datetime import date, timedelta

from isams_pipeline.sandbox.people import StaffMember, TeachingSet
from isams_pipeline.sandbox.school import SchoolDay

PERIODS = (
    ("Assembly", "08:40", "08:55"),
    ("Period 1", "09:00", "09:55"),
    ("Period 2", "10:00", "10:55"),
    ("Period 3", "11:15", "12:10"),
    ("Period 4", "12:15", "13:10"),
    ("Period 5", "14:00", "14:55"),
    ("Period 6", "15:00", "15:55"),
    ("After school", "16:00", "16:45"),
)
_TEACHING = range(1, 7)
"""Which of them are for lessons."""
WEEKDAYS = ((2, "Monday"), (3, "Tuesday"), (4, "Wednesday"), (5, "Thursday"), (6, "Friday"))
_LESSONS_A_WEEK = 3
TIMETABLE = 20


@dataclass(frozen=True)
class Room:
    """A room."""

    id: int
    building: int
    name: str
    initials: str
    code: str


@dataclass(frozen=True)
class Week:
    """A week of the timetable."""

    id: int
    name: str
    later: int = 0
    """Minutes by which its periods are later: another campus, another bell."""


@dataclass(frozen=True)
class Lesson:
    """A row of the timetable."""

    id: int
    code: str
    teacher: str
    period: int
    room: int
    is_set: bool


def rooms(school: SchoolDay) -> list[Room]:
    """A hall, laboratories and classrooms."""
    count = school.plan.rooms or max(8, school.plan.pupils // 8)
    found = [Room(31, 4, "Hall", "H", "HALL")]
    for at in range(1, count):
        is_lab = at % 4 == 1
        number = at // 4 + 1 if is_lab else at
        name = f"Lab {number}" if is_lab else f"Room {number}"
        found.append(Room(31 + at, 4 if is_lab else 5, name, f"{name[0]}{number}", f"C{31 + at}"))
    return found


def weeks(school: SchoolDay) -> list[Week]:
    """Week A and week B; for a school with troubles a third that goes along with both."""
    found = [Week(1, "Week A"), Week(2, "Week B")]
    return [*found, Week(3, "Campus 2", later=20)] if school.plan.troubles else found


def day_id(week: Week, weekday: int) -> int:
    """The number of a week's day."""
    return week.id * 10 + weekday


def period_id(week: Week, weekday: int, period: int) -> int:
    """The number of a day's period."""
    return day_id(week, weekday) * 10 + period


def bell(text: str, later: int) -> str:
    """A time of day, some minutes later."""
    hours, minutes = divmod(int(text[:2]) * 60 + int(text[3:]) + later, 60)
    return f"{hours:02d}:{minutes:02d}"


def lessons(school: SchoolDay) -> list[Lesson]:
    """All rows of the published timetable. No room holds two lessons at once, but for planted troubles."""
    found = list(_lessons(school.timetabled, school.date))
    if school.plan.troubles and len(found) > 4:  # noqa: PLR2004
        one, two, three, four, five = found[:5]
        found[0] = Lesson(one.id, one.code, one.teacher, one.period, 9_999, one.is_set)
        found[1] = Lesson(two.id, two.code, two.teacher, 99_999, two.room, two.is_set)
        found[2] = Lesson(three.id, three.code, "GONE100200300", three.period, three.room, three.is_set)
        found[3] = Lesson(four.id, "no such set", four.teacher, four.period, four.room, is_set=True)
        found.append(Lesson(1, found[5].code, five.teacher, five.period, five.room, found[5].is_set))
    return found


def _lessons(school: SchoolDay, day: date) -> Iterator[Lesson]:
    places = [room.id for room in rooms(school)[1:]]
    taken: set[tuple[int, int]] = set()
    both, other = weeks(school)[:2], weeks(school)[2:]
    later_years = {year for year, _ in school.plan.years[len(school.plan.years) // 2 :]}
    moving = day.toordinal() % max(1, len(school.sets))
    for at, group in enumerate(school.sets):
        away = bool(other) and group.year in later_years
        own = places[len(places) // 2 :] if away else places[: len(places) // 2] if other else places
        for week in other if away else both:
            for nth in range(_LESSONS_A_WEEK):
                slot = at * 7 + nth * 11 + week.id
                weekday = WEEKDAYS[slot % len(WEEKDAYS)][0]
                period = _TEACHING[slot // len(WEEKDAYS) % len(_TEACHING)]
                start = at + nth + school.rooms_moved + (len(places) // 2 if at == moving and nth == 0 else 0)
                room = _free(own, start, period_id(week, weekday, period), taken)
                if room is not None:
                    yield from _rows(group, period_id(week, weekday, period), room, nth)
    for at, (year, _) in enumerate(school.plan.years):
        for week in both:
            period = period_id(week, WEEKDAYS[at % 5][0], 6)
            room = _free(places[: len(places) // 2], at, period, taken)
            if room is not None:
                yield Lesson(
                    900_000 + at * 10 + week.id,
                    f"{year}X/Pd",
                    _teacher(school, at).user_code,
                    period,
                    room,
                    is_set=False,
                )


def _free(places: list[int], start: int, period: int, taken: set[tuple[int, int]]) -> int | None:
    """A room that is free in a period, tried from a place on."""
    for step in range(len(places)):
        room = places[(start + step) % len(places)]
        if (room, period) not in taken:
            taken.add((room, period))
            return room
    return None


def _rows(group: TeachingSet, period: int, room: int, nth: int) -> Iterator[Lesson]:
    """A row for each of its teachers, as iSAMS has them."""
    for at, member in enumerate(group.teachers):
        yield Lesson(
            group.id * 1_000_000 + period * 100 + nth * 10 + at, group.code, member.user_code, period, room, is_set=True
        )


def _teacher(school: SchoolDay, at: int) -> StaffMember:
    return school.teachers[at % len(school.teachers)]


def term_dates(school_year: int) -> list[tuple[str, date, date]]:
    """Name, first and last day of each term."""
    return [
        ("Autumn", date(school_year, 9, 1), date(school_year, 12, 12)),
        ("Spring", date(school_year + 1, 1, 6), date(school_year + 1, 3, 27)),
        ("Summer", date(school_year + 1, 4, 20), date(school_year + 1, 7, 10)),
    ]


def week_number(day: date) -> int:
    """The week of the year as iSAMS counts: Sunday to Saturday, week 1 holds 1 January."""
    yday = day.timetuple().tm_yday
    return (yday - day.isoweekday() % 7 + 12) // 7


def allocations(school: SchoolDay) -> list[tuple[int, int, int]]:
    """Calendar year, week of the year, timetable week. One week of the troubled school has been forgotten."""
    found: dict[tuple[int, int, int], None] = {}
    for name, first, last in (term for year in school.term_years for term in term_dates(year)):
        day = first
        while day <= last:
            parity = (day + timedelta(days=1)).isocalendar().week % 2
            forgotten = school.plan.troubles and name == "Summer" and week_number(day) == week_number(first) + 5
            if not forgotten:
                found[day.year, week_number(day), 1 + parity] = None
                if school.plan.troubles:
                    found[day.year, week_number(day), 3] = None
            day += timedelta(days=1)
    return list(found)
