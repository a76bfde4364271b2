"""Lessons on dates → SchoolBooking's timetable, and where each of them is. Pure."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace
from datetime import date

import pandas as pd

from isams_pipeline.partners.schoolbooking.settings import SchoolBookingSettings
from isams_pipeline.rules.account import DELIVERED, INTO_ROW, MERGED, ROW, Account
from isams_pipeline.rules.dated import KINDS, covered, lessons_on_dates, periods_of
from isams_pipeline.rules.dates import year_of
from isams_pipeline.rules.lessons import DATASET_OF, LESSON
from isams_pipeline.rules.references import Lookup, blank_dangling, once, values_of
from isams_pipeline.rules.split import Exclusions, Split
from isams_pipeline.rules.timetable import Timetable, unallocated_days
from isams_pipeline.rules.timetable_places import place_timetable_parts, tally_dates

LESSONS_ONLY = "SchoolBooking takes lessons only"
UNUSED = "no lesson needs it"
_FILE = "timetable.csv"


def timetable_of(tables: Mapping[str, pd.DataFrame], night: date, settings: SchoolBookingSettings) -> Split:
    """The school year's lessons: one row per lesson, date and room.

    `tables` have the sets and the staff that are in the export.
    """
    made: Timetable | None = None
    out = Exclusions()
    if "dated_lessons" in tables:
        lessons, periods = tables["dated_lessons"], tables["periods"]
        split = covered(lessons)
        out.account.leave_out_by("dated_lessons", split.excluded)  # each date has its place, and a lesson is said once
        lessons = out.take("lesson", _each_once(split), "lesson_id")
    else:
        span = year_of(tables["terms"], night)
        lessons, made = lessons_on_dates(tables, *span, settings.unallocated_weeks)
        periods = periods_of(tables)
        out.rows += made.exclusions.rows
        out.join(unallocated_days(made))
    known_rooms = {str(room) for room in values_of(tables["rooms"], "room_id")}
    for column, known, what in (
        ("set_id", values_of(tables["sets"], "set_id"), "the teaching group"),
        ("form_id", values_of(tables["forms"], "form_id"), "the registration group"),
    ):
        lessons = out.take("lesson", _each_once(blank_dangling(lessons, column, known, what=what)), "lesson_id")
    lessons = out.follow(_with_known_staff(lessons, {str(one) for one in values_of(tables["staff"], "staff_id")}))
    names = Lookup.of(periods, "period_id", "name")
    rows = lessons.assign(
        room_id=lessons["room_ids"].fillna("").str.split(),
        period=names.texts(lessons["period_id"]),
        kind=lessons["kind"].map(KINDS).fillna(LESSON),
    ).explode("room_id", ignore_index=True)
    rows["room_id"] = rows["room_id"].astype("str")
    rows = out.follow(_with_known_rooms(rows, known_rooms))
    split = once(rows, ["date", "lesson_id", "start", "room_id"])
    out.account.join(_places_of_dated(tables, split) if made is None else _places(tables, made, split))
    timetable = split.kept.rename(columns={"set_id": "teaching_group_id", "form_id": "registration_group_id"})
    return Split(timetable, said=out)


def _places_of_dated(tables: Mapping[str, pd.DataFrame], split: Split) -> Account:
    """Where lessons that come with their dates are."""
    account = Account.of({name: tables[name] for name in ("dated_lessons", "periods")})
    delivered = split.kept[ROW].unique()
    account.deliver("dated_lessons", delivered, _FILE, file_rows=len(split.kept))
    merged = split.excluded[~split.excluded[ROW].isin(delivered)]
    merged = merged[~merged[ROW].duplicated()]
    account.merge("dated_lessons", merged[ROW], merged["into"])
    periods = tables["periods"]
    used = periods.loc[periods["period_id"].isin(split.kept["period_id"]), ROW]
    account.look_up("periods", used, _FILE, "period", unused=UNUSED)
    return account


def _places(tables: Mapping[str, pd.DataFrame], made: Timetable, split: Split) -> Account:
    """Where the rows of iSAMS's timetable are, and each of their dates."""
    account, theirs = Account.of({name: tables[name] for name in DATASET_OF.values()}), made.exclusions.account
    for kind, dataset in DATASET_OF.items():
        if kind != LESSON:
            account.rest_not_asked(dataset, LESSONS_ONLY)
            continue
        account.adopt(theirs, dataset)
        counts = made.counts.get(kind)
        rows = split.kept[ROW].unique()
        merged = split.excluded[~split.excluded[ROW].isin(rows)]
        merged = merged[~merged[ROW].duplicated()]
        account.merge(dataset, merged[ROW], merged["into"])
        account.deliver(dataset, rows, _FILE, file_rows=len(split.kept))
        if counts is not None:
            placed = {(DELIVERED, _FILE): len(split.kept), (MERGED, INTO_ROW): len(split.excluded)}
            account.join(tally_dates(dataset, counts, placed))
    account.join(place_timetable_parts(tables, made, split.kept, file=_FILE, unused=UNUSED))
    return account


def _each_once(split: Split) -> Split:
    """The same, each lesson said once, however many its dates."""
    excluded, noted = split.excluded, split.noted
    return replace(
        split,
        excluded=excluded[~excluded.duplicated("lesson_id")] if len(excluded) else excluded,
        noted=noted[~noted.duplicated("lesson_id")] if len(noted) else noted,
    )


def _with_known_rooms(rows: pd.DataFrame, known: set[str]) -> Split:
    """Keep all lessons, without the rooms that are not in the export; those that have none for it are warned of."""
    unknown = rows["room_id"].notna() & ~rows["room_id"].isin(known)
    noted = rows[unknown].assign(rule="reference", reason="the room is not in the export; left empty")
    rows = rows.assign(room_id=rows["room_id"].mask(unknown))
    out = Exclusions()
    rows = out.take("lesson", _each_once(Split(rows, noted=noted)), "lesson_id")
    left = set(rows.loc[rows["room_id"].notna(), "lesson_id"])
    for lesson in rows.loc[unknown, "lesson_id"].unique():
        if lesson not in left:
            out.warn("lesson", lesson, "no_room", "it has no room, as none of those that it names is in the export")
    return Split(rows, said=out)


def _with_known_staff(lessons: pd.DataFrame, known: set[str]) -> Split:
    """Keep all lessons, without the teachers who are not in the export."""
    kept = {ids: " ".join(one for one in ids.split() if one in known) for ids in lessons["staff_ids"].dropna().unique()}
    lost = [isinstance(ids, str) and kept[ids] != ids for ids in lessons["staff_ids"]]
    unknown = pd.Series(lost, index=lessons.index, dtype="bool")
    noted = lessons[unknown].assign(rule="reference", reason="a teacher is not in the export; left out")
    out = Exclusions()
    found = lessons.assign(staff_ids=lessons["staff_ids"].map(kept).astype("str"))
    for lesson in found.loc[unknown & (found["staff_ids"] == ""), "lesson_id"].unique():
        out.warn("lesson", lesson, "no_teacher", "it has no teacher, as none of those that it names is in the export")
    return Split(out.take("lesson", _each_once(Split(found, noted=noted)), "lesson_id"), said=out)
