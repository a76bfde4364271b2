"""What only the other sources bring as it is: lessons on their real dates, and the marks of a session.

iSAMS's own source has the timetable's weeks instead (see the timetable datasets), and registers by REST.
"""

from __future__ import annotations

import datetime as dt

from isams_pipeline.datasets.declare import Dataset, column


class Periods(Dataset):
    """Periods of the timetable's days. One row per period of a day."""

    feed = ""
    rows = ""

    period_id: int = column("", "The period", key=True)
    day: str | None = column("", "The day of the timetable that it is part of, by name")
    name: str | None = column("", "Name")
    start: str | None = column("", "When it begins, HH:MM")
    end: str | None = column("", "When it ends, HH:MM")


class DatedLessons(Dataset):
    """Lessons on their dates. One row per lesson, date and period."""

    feed = ""
    rows = ""

    date: dt.date = column("", "The day", key=True)
    lesson_id: int = column("", "The lesson", key=True)
    start: str | None = column("", "When it begins, HH:MM")
    end: str | None = column("", "When it ends, HH:MM")
    period_id: int | None = column("", "Its period on that day", key=True)
    set_id: int | None = column("", "The set that is taught; null for a form or another group")
    form_id: str | None = column("", "The form that is taught; null for a set")
    kind: str | None = column(
        "", "What it is, in the source's own word: Scheduled, RoomCover …; null where it has none"
    )
    room_ids: str | None = column("", "Its rooms, separated by spaces")
    staff_ids: str | None = column("", "Its teachers, separated by spaces")


class Attendance(Dataset):
    """Marks of this week's sessions. One row per pupil, date and session."""

    feed = ""
    rows = ""

    pupil_id: int = column("", "The pupil", key=True)
    date: dt.date = column("", "The day", key=True)
    session: str = column("", "AM or PM", key=True)
    mark: str | None = column("", "The mark, by the Department for Education's codes", personal=True)
    minutes_late: int | None = column("", "By how many minutes", personal=True)
