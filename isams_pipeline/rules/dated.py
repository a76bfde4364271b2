"""iSAMS's timetable as the lessons on dates that the other sources bring, and covers beside their lessons. Pure."""

from __future__ import annotations

from collections.abc import Mapping
from datetime import date
from typing import Any

import pandas as pd

from isams_pipeline.rules.account import ROW
from isams_pipeline.rules.clock_times import in_words
from isams_pipeline.rules.compare import code as folded_code
from isams_pipeline.rules.numbers import number_of
from isams_pipeline.rules.references import Lookup
from isams_pipeline.rules.split import WARNING, Exclusions, Split
from isams_pipeline.rules.timetable import LESSON, Timetable, UnallocatedWeeks, dated_timetable

NEEDED = (
    *("rooms", "staff", "terms", "forms", "subjects", "sets", "teaching_forms"),
    *("timetable_weeks", "timetable_days", "timetable_periods", "week_allocations"),
    *("timetables", "lessons", "staff_meetings", "year_schedules", "tutorials", "lesson_suspensions"),
)
"""The datasets of iSAMS's own road that lessons on dates are made from."""
SCHEDULED, ROOM_COVER, STAFF_COVER = "Scheduled", "RoomCover", "StaffCover"
KINDS = {
    LESSON: LESSON,
    SCHEDULED: LESSON,
    ROOM_COVER: "room_cover",
    STAFF_COVER: "staff_cover",
    "InvigilationCover": "invigilation_cover",
}
"""A source's word for what a lesson is → the partner's. Assembly's enumeration has these four."""


def lessons_on_dates(
    tables: Mapping[str, pd.DataFrame], first: date, last: date, unallocated_weeks: UnallocatedWeeks = "ignore"
) -> tuple[pd.DataFrame, Timetable]:
    """One row per lesson, date and room, with the columns of dated_lessons; and the timetable that they are from.

    `row` is that of the lesson in iSAMS's table. A lesson is a period and a group: its rows in several rooms are one,
    and each has the teachers who are in that room. A row without a code is a lesson of its own.
    """
    made = dated_timetable(tables, first=first, last=last, unallocated_weeks=unallocated_weeks)
    rows = made.dated[made.dated["kind"] == LESSON].reset_index(drop=True)
    numbers = _numbers(rows[~rows.duplicated(ROW)])
    ids = [numbers[row] for row in rows[ROW].tolist()]
    words = {at: in_words(at) for at in {*rows["start"].tolist(), *rows["end"].tolist()}}
    lessons = pd.DataFrame(
        {
            "date": rows["date"],
            "lesson_id": pd.Series(ids, index=rows.index, dtype="Int64"),
            "start": pd.Series([words[at] for at in rows["start"].tolist()], dtype="str"),
            "end": pd.Series([words[at] for at in rows["end"].tolist()], dtype="str"),
            "period_id": rows["period_id"],
            "set_id": rows["set_id"],
            "form_id": rows["form_id"],
            "kind": pd.Series([LESSON] * len(rows), dtype="str"),
            "room_ids": rows["room_id"].astype("str").fillna(""),
            "staff_ids": rows["staff_ids"],
            ROW: rows[ROW],
        }
    )
    return lessons, made


def _numbers(entries: pd.DataFrame) -> dict[int, int]:
    """Row of an entry → the number of its lesson: the same for the same lesson, night by night.

    As far as that can be without the row's own number: a row without a code has nothing else.
    """
    several = {(period, text) for period, text, count in _groups_of(entries) if count > 1}
    spelt: dict[str, str] = {}
    found: dict[int, int] = {}
    columns = (entries[name].tolist() for name in ("period_id", "code", "set_id", "form_id", ROW))
    for period, text, set_id, form, row in zip(*columns, strict=True):
        folded = folded_code(text)
        parts: tuple[Any, ...] = (period, spelt.setdefault(folded, text)) if folded else (period, "row", row)
        if folded and (period, folded) in several:
            parts = (*parts, set_id, form)
        found[row] = number_of(*(None if pd.isna(part) else part for part in parts))
    return found


def _groups_of(rows: pd.DataFrame) -> list[tuple[Any, str, int]]:
    """Period, code, and how many groups have it: two sets may have one code."""
    if rows.empty:
        return []
    groups = rows[["period_id", "code", "set_id", "form_id"]].assign(code=rows["code"].map(folded_code))
    groups = groups[~groups.duplicated() & (groups["code"] != "")]
    return [(*key, int(n)) for key, n in groups.groupby(["period_id", "code"], sort=False).size().items()]  # type: ignore[misc]


def periods_of(tables: Mapping[str, pd.DataFrame]) -> pd.DataFrame:
    """The periods of iSAMS's timetable, with the columns of periods."""
    periods = tables["timetable_periods"]
    days = Lookup.of(tables["timetable_days"], "day_id", "name")
    return pd.DataFrame(
        {
            "period_id": periods["period_id"],
            "day": days.texts(periods["day_id"]),
            "name": periods["name"],
            "start": periods["start"].str[:5],
            "end": periods["end"].str[:5],
        }
    )


def covered(lessons: pd.DataFrame, out: Exclusions) -> Split:
    """Keep what takes place where a cover stands beside the lesson that it replaces: the cover, on that date.

    A cover replaces the scheduled lesson of its date, period and group (inferred: no document says how a source shows
    both). Of a room cover and a staff cover for one lesson, the rooms are the former's, the teachers the latter's. A
    cover that names no group may replace anything: it stays beside, with a warning.
    """
    is_cover = lessons["kind"].isin([kind for kind in KINDS if kind not in {LESSON, SCHEDULED}])
    if not bool(is_cover.any()):
        return Split.by(lessons, ~is_cover | True, rule="covered", reason="")
    unnamed = is_cover & lessons["set_id"].isna() & lessons["form_id"].isna()
    for lesson in lessons.loc[unnamed, "lesson_id"].unique():
        reason = "it is a cover that names no group: whether it replaces a lesson is not known; it stands beside"
        out.add("lesson", lesson, "cover", reason, severity=WARNING)
    keys = [tuple(map(str, key)) for key in lessons[["date", "period_id", "set_id", "form_id"]].itertuples(index=False)]
    place = pd.Series(keys, index=lessons.index)
    by_kind = {kind: set(place[is_cover & ~unnamed & (lessons["kind"] == kind)]) for kind in KINDS}
    covers = {one for places in by_kind.values() for one in places}
    both = by_kind[ROOM_COVER] & by_kind[STAFF_COVER]
    gone = ~is_cover & place.isin(covers)
    lessons, doubled = _both_covers(lessons, place, both, out)
    return Split.by(lessons, ~(gone | doubled), rule="covered", reason="a cover takes its place on that date")


def _both_covers(
    lessons: pd.DataFrame, place: pd.Series[Any], both: set[Any], out: Exclusions
) -> tuple[pd.DataFrame, pd.Series[bool]]:
    """Room covers with the teachers of the staff covers beside them, and which rows are now in others."""
    doubled = pd.Series(data=False, index=lessons.index)
    if not both:
        return lessons, doubled
    staff = place.isin(both) & (lessons["kind"] == STAFF_COVER)
    room = place.isin(both) & (lessons["kind"] == ROOM_COVER)
    teachers = lessons.loc[staff, "staff_ids"].fillna("").groupby(place[staff]).agg(" ".join)
    merged = lessons.copy()
    merged.loc[room, "staff_ids"] = place[room].map(teachers)
    for lesson in lessons.loc[staff, "lesson_id"].unique():
        reason = (
            "a room cover and a staff cover are for one lesson: it is in the former's room with the latter's teacher"
        )
        out.add("lesson", lesson, "cover", reason, severity=WARNING)
    return merged, staff
