"""Lessons on dates → SchoolBooking's timetable, and where each of them is. Pure."""

from __future__ import annotations

from collections.abc import Mapping
from datetime import date

import pandas as pd

from isams_pipeline.partners.schoolbooking.settings import SchoolBookingSettings
from isams_pipeline.rules.account import DELIVERED, INTO_ROW, MERGED, ROW
from isams_pipeline.rules.dated import KINDS, covered, lessons_on_dates, periods_of
from isams_pipeline.rules.dates import year_of
from isams_pipeline.rules.lessons import DATASET_OF, LESSON
from isams_pipeline.rules.references import Lookup, blank_dangling, once, values_of
from isams_pipeline.rules.split import WARNING, Exclusions, Split
from isams_pipeline.rules.timetable import Timetable, note_unallocated_days
from isams_pipeline.rules.timetable_places import place_timetable_parts, tally_dates

LESSONS_ONLY = "SchoolBooking takes lessons only"
UNUSED = "no lesson needs it"
_FILE = "timetable.csv"


def timetable_of(
    tables: Mapping[str, pd.DataFrame], night: date, settings: SchoolBookingSettings, out: Exclusions
) -> pd.DataFrame:
    """The school year's lessons: one row per lesson, date and room.

    `tables` have the sets and the staff that are in the export.
    """
    made: Timetable | None = None
    if "dated_lessons" in tables:
        lessons, periods = tables["dated_lessons"], tables["periods"]
        lessons = out.take("lesson", _once_noted(covered(lessons, out), out), "lesson_id", of=None)
    else:
        span = year_of(tables["terms"], night)
        lessons, made = lessons_on_dates(tables, *span, settings.unallocated_weeks)
        periods = periods_of(tables)
        note_unallocated_days(made)
        out.rows += made.exclusions.rows
    known_rooms = {str(room) for room in values_of(tables["rooms"], "room_id")}
    for column, known, what in (
        ("set_id", values_of(tables["sets"], "set_id"), "the teaching group"),
        ("form_id", values_of(tables["forms"], "form_id"), "the registration group"),
    ):
        lessons, dangling = blank_dangling(lessons, column, known, what=what)
        _note_lessons(dangling, out)
    lessons = _with_known_staff(lessons, {str(one) for one in values_of(tables["staff"], "staff_id")}, out)
    names = Lookup.of(periods, "period_id", "name")
    rows = lessons.assign(
        room_id=lessons["room_ids"].fillna("").str.split(),
        period=names.texts(lessons["period_id"]),
        kind=lessons["kind"].map(KINDS).fillna(LESSON),
    ).explode("room_id", ignore_index=True)
    rows["room_id"] = rows["room_id"].astype("str")
    unknown = rows["room_id"].notna() & ~rows["room_id"].isin(known_rooms)
    _note_lessons(rows[unknown].assign(rule="reference", reason="the room is not in the export; left empty"), out)
    rows["room_id"] = rows["room_id"].mask(unknown)
    _note_unroomed(rows, unknown, out)
    split = once(rows, ["date", "lesson_id", "start", "room_id"])
    if made is None:
        _place_dated(tables, split, out)
    else:
        _place(tables, made, split, out)
    return split.kept.rename(columns={"set_id": "teaching_group_id", "form_id": "registration_group_id"})


def _place_dated(tables: Mapping[str, pd.DataFrame], split: Split, out: Exclusions) -> None:
    """Where lessons that come with their dates are."""
    account = out.account
    delivered = split.kept[ROW].unique()
    account.deliver("dated_lessons", delivered, _FILE, file_rows=len(split.kept))
    merged = split.excluded[~split.excluded[ROW].isin(delivered)]
    merged = merged[~merged[ROW].duplicated()]
    account.merge("dated_lessons", merged[ROW], merged["into"])
    periods = tables["periods"]
    used = periods.loc[periods["period_id"].isin(split.kept["period_id"]), ROW]
    account.look_up("periods", used, _FILE, "period", unused=UNUSED)


def _place(tables: Mapping[str, pd.DataFrame], made: Timetable, split: Split, out: Exclusions) -> None:
    """Where the rows of iSAMS's timetable are, and each of their dates."""
    account, theirs = out.account, made.exclusions.account
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
            tally_dates(
                dataset, counts, {(DELIVERED, _FILE): len(split.kept), (MERGED, INTO_ROW): len(split.excluded)}, out
            )
    place_timetable_parts(tables, made, split.kept, out, file=_FILE, unused=UNUSED)


def _note_lessons(noted: pd.DataFrame, out: Exclusions) -> None:
    """A lesson once, however many its dates."""
    first = noted[~noted.duplicated("lesson_id")]
    out.take("lesson", Split(noted, first), "lesson_id", severity=WARNING)


def _once_noted(split: Split, out: Exclusions) -> Split:
    """Lessons that a cover replaces: each date has its place, and each lesson is said once."""
    out.account.leave_out_by("dated_lessons", split.excluded)
    return Split(split.kept, split.excluded[~split.excluded.duplicated("lesson_id")])


def _note_unroomed(rows: pd.DataFrame, unknown: pd.Series[bool], out: Exclusions) -> None:
    """Warn of lessons that have no room, as none of those that they name is in the export."""
    left = set(rows.loc[rows["room_id"].notna(), "lesson_id"])
    for lesson in rows.loc[unknown, "lesson_id"].unique():
        if lesson not in left:
            reason = "it has no room, as none of those that it names is in the export"
            out.add("lesson", lesson, "no_room", reason, severity=WARNING)


def _with_known_staff(lessons: pd.DataFrame, known: set[str], out: Exclusions) -> pd.DataFrame:
    """Lessons without the teachers who are not in the export."""
    kept = {ids: " ".join(one for one in ids.split() if one in known) for ids in lessons["staff_ids"].dropna().unique()}
    lost = [isinstance(ids, str) and kept[ids] != ids for ids in lessons["staff_ids"]]
    unknown = pd.Series(lost, index=lessons.index, dtype="bool")
    _note_lessons(lessons[unknown].assign(rule="reference", reason="a teacher is not in the export; left out"), out)
    found = lessons.assign(staff_ids=lessons["staff_ids"].map(kept).astype("str"))
    for lesson in found.loc[unknown & (found["staff_ids"] == ""), "lesson_id"].unique():
        reason = "it has no teacher, as none of those that it names is in the export"
        out.add("lesson", lesson, "no_teacher", reason, severity=WARNING)
    return found
