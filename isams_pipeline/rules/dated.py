"""iSAMS's timetable as the lessons on dates that the other roads bring. Pure."""

from __future__ import annotations

from collections.abc import Mapping
from datetime import date
from typing import Any

import pandas as pd

from isams_pipeline.rules.clock_times import in_words
from isams_pipeline.rules.numbers import number_of
from isams_pipeline.rules.references import lookup
from isams_pipeline.rules.timetable import LESSON, Timetable, dated_timetable

NEEDED = (
    *("rooms", "staff", "terms", "forms", "subjects", "sets", "teaching_forms"),
    *("timetable_weeks", "timetable_days", "timetable_periods", "week_allocations"),
    *("timetables", "lessons", "staff_meetings", "year_schedules", "tutorials", "lesson_suspensions"),
)
"""The datasets of iSAMS's own road that lessons on dates are made from."""


def lessons_on_dates(tables: Mapping[str, pd.DataFrame], first: date, last: date) -> tuple[pd.DataFrame, Timetable]:
    """One row per lesson and date, with the columns of dated_lessons; and the timetable that they are from.

    A lesson is a period and a group; its rooms and teachers are those of all its rows.
    """
    made = dated_timetable(tables, first=first, last=last)
    rows = made.dated[made.dated["kind"] == LESSON]
    sets = lookup(tables["sets"], "code", "set_id")
    forms = lookup(tables["teaching_forms"], "timetable_code", "form_id")
    names = ("date", "period_id", "code", "start", "end", "room_id", "staff_ids")
    columns = zip(*(rows[name].tolist() for name in names), strict=True)
    found: dict[tuple[Any, int, str], dict[str, Any]] = {}
    for day, period, code, start, end, room, staff in columns:
        one = found.setdefault((day, period, code), {"start": start, "end": end, "rooms": set(), "staff": set()})
        if not pd.isna(room):
            one["rooms"].add(int(room))
        one["staff"].update(int(part) for part in staff.split())
    lessons = pd.DataFrame(
        {
            "date": pd.Series([day for day, _, _ in found], dtype="datetime64[ms]"),
            "lesson_id": pd.Series([number_of(period, code) for _, period, code in found], dtype="Int64"),
            "start": pd.Series([in_words(one["start"]) for one in found.values()], dtype="str"),
            "end": pd.Series([in_words(one["end"]) for one in found.values()], dtype="str"),
            "period_id": pd.Series([period for _, period, _ in found], dtype="Int64"),
            "set_id": pd.Series([sets.get(code) for _, _, code in found], dtype="Int64"),
            "form_id": pd.Series([None if code in sets else forms.get(code) for _, _, code in found], dtype="str"),
            "kind": pd.Series([LESSON] * len(found), dtype="str"),
            "room_ids": pd.Series([_ids(one["rooms"]) for one in found.values()], dtype="str"),
            "staff_ids": pd.Series([_ids(one["staff"]) for one in found.values()], dtype="str"),
        }
    )
    return lessons, made


def _ids(numbers: set[int]) -> str:
    return " ".join(map(str, sorted(numbers)))


def periods_of(tables: Mapping[str, pd.DataFrame]) -> pd.DataFrame:
    """The periods of iSAMS's timetable, with the columns of periods."""
    periods = tables["timetable_periods"]
    days = lookup(tables["timetable_days"], "day_id", "name")
    return pd.DataFrame(
        {
            "period_id": periods["period_id"],
            "day": pd.Series([days.get(day) for day in periods["day_id"]], index=periods.index, dtype="str"),
            "name": periods["name"],
            "start": periods["start"].str[:5],
            "end": periods["end"].str[:5],
        }
    )
