"""iSAMS's timetable as the lessons on dates that the other sources bring, and covers beside their lessons. Pure."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace
from datetime import date
from typing import Any, cast

import pandas as pd

from isams_pipeline.rules.account import ROW
from isams_pipeline.rules.clock_times import time_in_words
from isams_pipeline.rules.columns import Column
from isams_pipeline.rules.compare import code as folded_code
from isams_pipeline.rules.references import Lookup, number_of
from isams_pipeline.rules.split import Exclusions, Split
from isams_pipeline.rules.timetable import LESSON, Timetable, UnallocatedWeeks, dated_timetable

NEEDED = (
    *("rooms", "staff", "terms", "forms", "subjects", "sets", "teaching_forms"),
    *("timetable_weeks", "timetable_days", "timetable_periods", "week_allocations"),
    *("timetables", "lessons", "staff_meetings", "year_schedules", "tutorials", "lesson_suspensions"),
)
"""The datasets of iSAMS's own source that lessons on dates are made from."""
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
    words = {at: time_in_words(at) for at in {*rows["start"].tolist(), *rows["end"].tolist()}}
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


def covered(lessons: pd.DataFrame) -> Split:
    """Keep what takes place where a cover stands beside the lesson that it replaces: the cover, on that date.

    A cover replaces the one scheduled lesson of its date, group, and period or hours (inferred: no document says how a
    source shows both); what it leaves empty, room or teachers, is that lesson's. Of a room cover and a staff cover for
    one lesson, the rooms are the former's, the teachers the latter's. A cover that names no group, or for whose group
    there are several lessons then, may replace anything: it stays beside, with a warning.
    """
    is_cover = lessons["kind"].isin([kind for kind in KINDS if kind not in {LESSON, SCHEDULED}])
    if not bool(is_cover.any()):
        return Split.by(lessons, ~is_cover, rule="covered", reason="")
    lessons = lessons.reset_index(drop=True)
    is_cover = is_cover.reset_index(drop=True)
    place = _places(lessons)
    scheduled: dict[Any, list[int]] = {}
    for at, key in place[~is_cover].items():
        scheduled.setdefault(key, []).append(cast("int", at))
    unnamed = lessons["set_id"].isna() & lessons["form_id"].isna()
    gone: set[int] = set()
    warned: set[tuple[Any, str]] = set()
    columns = {name: lessons[name].fillna("").tolist() for name in ("room_ids", "staff_ids")}
    covers: dict[Any, dict[str, int]] = {}
    numbers, kinds = lessons["lesson_id"].tolist(), lessons["kind"].tolist()
    for at in lessons.index[is_cover].tolist():
        key, kind, number = place[at], kinds[at], numbers[at]
        beside = scheduled.get(key, [])
        if unnamed[at]:
            warned.add((number, "it is a cover that names no group: whether it replaces a lesson is not known"))
            continue
        if len(beside) > 1:
            warned.add((number, f"it is a cover, and its group has {len(beside)} lessons then: which is not known"))
            continue
        for replaced in beside:
            gone.add(replaced)
            for texts in columns.values():
                texts[at] = texts[at] or texts[replaced]
        covers.setdefault(key, {})[kind] = at
    for of_kind in covers.values():
        if {ROOM_COVER, STAFF_COVER} <= of_kind.keys():
            room, staff = of_kind[ROOM_COVER], of_kind[STAFF_COVER]
            columns["staff_ids"][room] = columns["staff_ids"][staff] or columns["staff_ids"][room]
            gone.add(staff)
            reason = (
                "a room cover and a staff cover are for one lesson: it is in the room of the one with the teacher of "
            )
            warned.add((numbers[staff], f"{reason}the other"))
    said = Exclusions()
    for number, reason in sorted(warned, key=repr):
        said.warn("lesson", number, "cover", reason)
    filled = {name: pd.Series(texts, index=lessons.index, dtype="str") for name, texts in columns.items()}
    keep = ~lessons.index.isin(list(gone))
    reason = "a cover takes its place on that date"
    split = Split.by(lessons.assign(**filled), pd.Series(keep, index=lessons.index), rule="covered", reason=reason)
    return replace(split, said=said)


def _places(lessons: pd.DataFrame) -> Column:
    """Where each lesson is: date, period (where that is not said, its hours), and group."""
    columns = (lessons[name].tolist() for name in ("date", "period_id", "start", "end", "set_id", "form_id"))
    return pd.Series(
        [
            (day, (str(start), str(end)) if pd.isna(period) else period, str(set_id), str(form_id))
            for day, period, start, end, set_id, form_id in zip(*columns, strict=True)
        ],
        index=lessons.index,
        dtype=object,
    )
