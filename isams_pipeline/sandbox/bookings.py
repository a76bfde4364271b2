"""The partner's side of the made-up schools: resources, timeslots and bookings as CSV files to import.

Most resources are named as iSAMS names the room, two are named otherwise, one room has none. Bookings stand on
evenings, but for up to four that clash with lessons.
"""

from __future__ import annotations

import csv
import io
from collections.abc import Iterable, Sequence
from datetime import date, timedelta
from random import Random

from isams_pipeline.sandbox import timetable
from isams_pipeline.sandbox.school import SchoolDay

_OWNERS = ("site.team", "drama", "music", "sports")


def partner_files(school: SchoolDay) -> dict[str, str]:
    """By kind, in the order in which they are imported."""
    rooms = timetable.rooms(school)[:-1]
    resources = [(f"R{room.id}", *_their_label(at, room.name, room.code), "Rooms") for at, room in enumerate(rooms)]
    slots = [
        (
            f"S{at}{week.id if week.later else ''}",
            name,
            timetable.bell(start, week.later),
            timetable.bell(end, week.later),
        )
        for week in timetable.weeks(school)
        if week.id != 2  # noqa: PLR2004  # the same bells as week A
        for at, (name, start, end) in enumerate(timetable.PERIODS)
    ]
    return {
        "resources": _csv(("resource_id", "name", "code", "category"), resources),
        "timeslots": _csv(("timeslot_id", "name", "start", "end"), slots),
        "bookings": _csv(("booking_id", "resource_id", "date", "start", "end", "title", "email"), _bookings(school)),
    }


def _their_label(at: int, name: str, code: str) -> tuple[str, str]:
    """The partner's name and code of a room; those of two rooms match nothing exactly."""
    match at:
        case 1:
            return f"Science {name}", ""
        case 2:
            return f"{name} (first floor)", ""
        case _:
            return name, code


def _bookings(school: SchoolDay) -> Iterable[Sequence[object]]:
    """Some twenty for the next weeks: most at times without lessons, four in the way of one."""
    random = Random(f"bookings:{school.plan.seed}")  # noqa: S311  # repeatable, not secret
    rooms = timetable.rooms(school)[:-1]
    number = 0
    for ahead in range(1, 22):
        day = school.date + timedelta(days=ahead)
        room = random.choice(rooms)
        number += 1
        owner = f"{random.choice(_OWNERS)}{school.plan.mark}@staff.example.org"
        yield f"B{number}", f"R{room.id}", day, "18:00", "19:30", f"Rehearsal {number}{school.plan.mark}", owner
    matched = {room.id for at, room in enumerate(rooms) if at not in {1, 2}}
    in_the_way = [lesson for lesson in timetable.lessons(school) if lesson.room in matched][::41][:4]
    for lesson in in_the_way:
        found = _next_day_of(school, lesson.period)
        if found is None:
            continue
        number += 1
        day, start, end = found
        owner = f"{random.choice(_OWNERS)}{school.plan.mark}@staff.example.org"
        yield f"B{number}", f"R{lesson.room}", day, start, end, f"Trial lesson {number}{school.plan.mark}", owner


def _next_day_of(school: SchoolDay, period: int) -> tuple[date, str, str] | None:
    """The next date in term of a period, and its times."""
    allocated = {(year, week): of for year, week, of in timetable.allocations(school) if of != 3}  # noqa: PLR2004
    terms = timetable.term_dates(school.school_year)
    for week in timetable.weeks(school):
        for weekday, _ in timetable.WEEKDAYS:
            for nth, (_, start, end) in enumerate(timetable.PERIODS):
                if timetable.period_id(week, weekday, nth) != period:
                    continue
                for ahead in range(7, 40):
                    day = school.date + timedelta(days=ahead)
                    in_term = any(first <= day <= last for _, first, last in terms)
                    applies = allocated.get((day.year, timetable.week_number(day))) == week.id or week.later
                    if in_term and applies and day.isoweekday() % 7 + 1 == weekday:
                        return day, timetable.bell(start, week.later), timetable.bell(end, week.later)
    return None


def _csv(header: Sequence[str], rows: Iterable[Sequence[object]]) -> str:
    buffer = io.StringIO(newline="")
    writer = csv.writer(buffer, lineterminator="\n")
    writer.writerow(header)
    writer.writerows(rows)
    return buffer.getvalue()
