"""iSAMS's tables and the matches → Room Booking's files. Pure."""

from __future__ import annotations

from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass, replace
from datetime import date
from functools import cached_property
from typing import Any

import pandas as pd

from isams_pipeline.config import Timeslot
from isams_pipeline.datasets.shapes import Json
from isams_pipeline.delivery.built import ACCOUNTED_FOR, Built, by_table
from isams_pipeline.delivery.export import CheckResult, Export, check_files, check_references, few, to_csv
from isams_pipeline.partners.room_booking.files import BY_NAME, ENTITIES, FILES, REFERENCES, UNASSIGNED
from isams_pipeline.partners.room_booking.matching import (
    MADE,
    Room,
    RoomMatches,
    SlotMatches,
    made_resource,
    timing_problems,
)
from isams_pipeline.rules.account import DELIVERED, INTO_ROW, MERGED, ROW, Account, numbered
from isams_pipeline.rules.clock_times import time_in_words
from isams_pipeline.rules.closures import closures_in_words, events_in_rooms, used_while_closed
from isams_pipeline.rules.dates import is_nothing, year_of
from isams_pipeline.rules.lessons import DATASET_OF
from isams_pipeline.rules.notes import Lacking, Note, noted_fields
from isams_pipeline.rules.references import Lookup, once
from isams_pipeline.rules.split import Exclusions, Split
from isams_pipeline.rules.timetable import (
    Timetable,
    UnallocatedWeeks,
    dated_timetable,
    rival_timetables,
    unallocated_days,
)
from isams_pipeline.rules.timetable_places import place_timetable_parts, tally_dates

NEEDED = (
    *("buildings", "rooms", "staff", "terms", "forms", "subjects", "sets", "teaching_forms"),
    *("timetable_weeks", "timetable_days", "timetable_periods", "week_allocations"),
    *("timetables", "lessons", "staff_meetings", "year_schedules", "tutorials"),
    *("lesson_suspensions", "room_closure_reasons", "room_closures", "calendar_events"),
)
"""The datasets that the export is made from."""

CHECKS: dict[str, str] = {
    "schema": "Every file is there with its columns.",
    "unique_keys": "No two rows of a file have the same key.",
    "not_empty": "There are rooms, timeslots and terms.",
    "references": "Every id in a file stands in the file that it refers to.",
    "timings": "The periods' timings are those that the school has confirmed in schools.yaml.",
    "one_timetable": "No two published timetables are for the same dates.",
    **ACCOUNTED_FOR,
}
FILE = "timetable.csv"
UNUSED = "nothing in the timetable needs it"


@dataclass(frozen=True)
class Read:
    """What iSAMS has, put on real dates: everything that does not depend on the partner's side."""

    timetable: Timetable
    closures: pd.DataFrame
    first: date
    last: date
    said: Exclusions
    """What is out of the timetable, or odd about it, closures and events."""


def read(
    tables: Mapping[str, pd.DataFrame],
    night: date,
    *,
    unallocated_weeks: UnallocatedWeeks = "ignore",
    notes: Collection[Note | Lacking] = (),
) -> Read:
    """Put the timetable of this school year and the next on dates, and lay closures and events over it."""
    first, last = year_of(tables["terms"], night, count=2)
    timetable = dated_timetable(tables, first=first, last=last, unallocated_weeks=unallocated_weeks)
    out = timetable.exclusions.copy()
    out.join(noted_fields(notes, tables))
    closures = out.follow(closures_in_words(tables["room_closures"], tables["room_closure_reasons"], tables["rooms"]))
    out.join(used_while_closed(timetable.dated, closures))
    out.join(events_in_rooms(timetable.dated, tables["calendar_events"], tables["rooms"], tables["buildings"]))
    out.join(unallocated_days(timetable))
    return Read(timetable, closures, first, last, out)


@dataclass(frozen=True)
class PartnerSide:
    """How iSAMS's rooms and periods are known to the partner."""

    rooms: Sequence[Room]
    matches: RoomMatches
    slots: SlotMatches
    categories: Mapping[str, str]
    """Resource → category."""
    hidden: frozenset[str] = frozenset({UNASSIGNED})
    """Categories that bookers do not see."""

    @cached_property
    def resources(self) -> dict[int, str]:
        """Room → its resource; one of its own where it matches none."""
        matched = self.matches.matched
        return {room.id: matched[room.id][0] if room.id in matched else made_resource(room.id) for room in self.rooms}


def build(
    tables: Mapping[str, pd.DataFrame],
    found: Read,
    side: PartnerSide,
    *,
    cancelled: Sequence[tuple[str, str, str, str, str, str]] | None,
) -> Built:
    """Shape the files. Without `cancelled`, the list of cancelled bookings is left out: it is not known yet."""
    tables = numbered(tables)
    out = Exclusions.of(tables, *NEEDED)
    out.rows += found.said.rows
    for room_id in side.matches.suggestions:
        out.warn("room", room_id, "unmatched", "it matches no resource; it is in a category of its own")
    for (start, end), (periods, _) in side.slots.unmatched.items():
        for period in periods:
            reason = f"no timeslot is from {time_in_words(start)} to {time_in_words(end)}"
            out.warn("period", period, "unmatched", reason)
    terms, dated = out.follow(_terms(tables["terms"], found)), timetable_split(found.timetable.dated, side)
    frames = {
        "rooms.csv": _rooms(tables, side),
        "timeslots.csv": _timeslots(side.slots),
        "terms.csv": terms,
        FILE: dated.kept,
        "closures.csv": found.closures,
    }
    out.account.join(_places(tables, found, dated))
    export = Export({name: to_csv(frame, BY_NAME[name]) for name, frame in frames.items()})
    tables_of_rules = by_table(frames, lessons=found.timetable.dated, matches=_matches(side))
    built = Built(export, out.frame(), ENTITIES, out.account, tables_of_rules)
    return built if cancelled is None else with_cancelled(built, cancelled)


def with_cancelled(built: Built, cancelled: Sequence[tuple[str, str, str, str, str, str]]) -> Built:
    """The same files, and the list of cancelled bookings."""
    file = BY_NAME["cancelled_bookings.csv"]
    frame = pd.DataFrame(cancelled, columns=list(file.columns), dtype="str")
    export = built.export.with_file(file.name, to_csv(frame, file))
    return replace(built, export=export, tables=by_table({file.name: frame}, **built.tables))


def _places(tables: Mapping[str, pd.DataFrame], found: Read, dated: Split) -> Account:
    """Where the rows of all datasets are, but for the terms."""
    account, made, theirs = Account.of({name: tables[name] for name in NEEDED}), found.timetable, found.said.account
    both = pd.concat([dated.kept.assign(into=None), dated.excluded])
    for kind, dataset in DATASET_OF.items():
        account.adopt(theirs, dataset)
        of_kind = both[both["kind"] == kind]
        kept = of_kind[of_kind["into"].isna()]
        rows = kept[ROW].unique()
        merged = of_kind[of_kind["into"].notna() & ~of_kind[ROW].isin(rows)]
        merged = merged[~merged[ROW].duplicated()]
        account.merge(dataset, merged[ROW], merged["into"])
        account.deliver(dataset, rows, FILE, file_rows=len(kept))
        counts = made.counts.get(kind)
        if counts is not None:
            placed = {(DELIVERED, FILE): len(kept), (MERGED, INTO_ROW): len(of_kind) - len(kept)}
            account.join(tally_dates(dataset, counts, placed))
    account.join(place_timetable_parts(tables, made, dated.kept, file=FILE, unused=UNUSED))
    account.adopt(theirs, "room_closures")
    account.deliver("rooms", tables["rooms"][ROW], "rooms.csv")
    rooms, reasons = tables["rooms"], tables["room_closure_reasons"]
    buildings, events = tables["buildings"], tables["calendar_events"]
    used = buildings.loc[buildings["building_id"].isin(rooms["building_id"]), ROW]
    account.look_up("buildings", used, "rooms.csv", "building", unused=UNUSED)
    used = reasons.loc[reasons["reason_id"].isin(tables["room_closures"]["reason_id"].dropna()), ROW]
    account.look_up("room_closure_reasons", used, "closures.csv", "reason", unused=UNUSED)
    account.not_asked("calendar_events", events[ROW], "events are told of, not delivered")
    staff = {one for ids in dated.kept["staff_ids"].unique() for one in ids.split()}
    known = tables["staff"]
    account.look_up(
        "staff", known.loc[known["staff_id"].astype("str").isin(staff), ROW], FILE, "staff_ids", unused=UNUSED
    )
    sets = tables["sets"]
    account.look_up("sets", sets.loc[sets["set_id"].isin(dated.kept["set_id"]), ROW], FILE, "code", unused=UNUSED)
    forms, subjects = tables["forms"], tables["subjects"]
    used = forms.loc[forms["form_id"].isin(set(dated.kept["form_id"].dropna())), ROW]
    account.look_up("forms", used, FILE, "code", unused=UNUSED)
    used = subjects.loc[subjects["name"].isin(set(dated.kept["subject"].dropna())), ROW]
    account.look_up("subjects", used, FILE, "subject", unused=UNUSED)
    return account


def _rooms(tables: Mapping[str, pd.DataFrame], side: PartnerSide) -> pd.DataFrame:
    buildings = Lookup.of(tables["buildings"], "building_id", "name")
    building_of = Lookup.of(tables["rooms"], "room_id", "building_id")
    rooms, resources = side.rooms, side.resources
    categories = [side.categories.get(resources[room.id], UNASSIGNED) for room in rooms]
    return pd.DataFrame(
        {
            "room_id": [room.id for room in rooms],
            "name": [room.name for room in rooms],
            "code": [room.code for room in rooms],
            "building": [buildings.get(building_of.get(room.id)) for room in rooms],
            "resource_id": [resources[room.id] for room in rooms],
            "category": categories,
            "bookable": [category not in side.hidden for category in categories],
        }
    )


def _matches(side: PartnerSide) -> pd.DataFrame:
    """Room by room its resource, and how that was found."""
    matched = side.matches.matched
    rows = [(room.id, side.resources[room.id], matched.get(room.id, ("", MADE))[1]) for room in side.rooms]
    return pd.DataFrame(rows, columns=["room_id", "resource_id", "how"])


def licence_of(export: Export, licence: int | None) -> Json:
    """How many rooms can be booked, and how many the school's licence is for where that is known.

    Rooms in a hidden category do not count against it (Room Booking's guide).
    """
    bookable = sum(row["bookable"] == "true" for row in export.rows("rooms.csv"))
    return {"bookable_rooms": bookable, "licence": licence}


def _timeslots(slots: SlotMatches) -> pd.DataFrame:
    rows = [
        (
            slot.id,
            slot.name,
            time_in_words(slot.start),
            time_in_words(slot.end),
            " ".join(map(str, slots.periods[slot.id])),
        )
        for slot in slots.slots
    ]
    return pd.DataFrame(rows, columns=list(BY_NAME["timeslots.csv"].columns))


def _terms(terms: pd.DataFrame, found: Read) -> Split:
    """Keep the terms of these school years. One whose dates make no sense is in the exclusions of the timetable."""
    out = Exclusions()
    nothing = terms["start_date"].map(is_nothing).astype(bool) | terms["finish_date"].map(is_nothing).astype(bool)
    sound = ~nothing & (terms["finish_date"] >= terms["start_date"])
    here = (terms["finish_date"] >= pd.Timestamp(found.first)) & (terms["start_date"] <= pd.Timestamp(found.last))
    out.account.leave_out("terms", terms.loc[~sound, ROW], "term_dates")
    out.account.not_asked("terms", terms.loc[sound & ~here, ROW], "terms of other school years")
    out.account.deliver("terms", terms.loc[sound & here, ROW], "terms.csv")
    return Split(terms[sound & here].rename(columns={"start_date": "start", "finish_date": "end"}), said=out)


def timetable_split(dated: pd.DataFrame, side: PartnerSide) -> Split:
    """The rows of timetable.csv: the dated timetable with the partner's ids, times in words.

    What has the same code and kind in the same room at the same time is one thing there, with all of its teachers:
    several week sets may have periods at one time, and entries may have no code. Merged rows come as excluded.
    """
    resources: Any = dated["room_id"].map(side.resources) if len(dated) else dated["room_id"].astype("str")
    timeslots = side.slots.by_timing
    starts, ends = dated["start"].tolist(), dated["end"].tolist()
    words = {at: time_in_words(at) for at in {*starts, *ends}}
    rows = dated.assign(
        start=[words[at] for at in starts],
        end=[words[at] for at in ends],
        timeslot_id=[timeslots.get(pair, "") for pair in zip(starts, ends, strict=True)],
        resource_id=resources,
    )
    key = list(BY_NAME[FILE].key)
    split = once(rows, key)
    if split.excluded.empty:
        return split
    again = rows.duplicated(key, keep=False)
    staff = rows[again].groupby(key, dropna=False, sort=False)["staff_ids"].transform(_together)
    shown = split.kept.index.intersection(staff.index)
    return Split(
        split.kept.assign(staff_ids=split.kept["staff_ids"].mask(again, staff)) if len(shown) else split.kept,
        split.excluded,
    )


def _together(ids: pd.Series[str]) -> str:
    return " ".join(sorted({one for text in ids for one in text.split()}, key=int))


# --- the blocking rules -------------------------------------------------------------------------------------


def check_export(export: Export) -> list[CheckResult]:
    """The verdicts of the blocking rules on the bytes."""
    results = check_files(export, FILES)
    if not results[0].passed:
        unread = ("the files cannot be compared before their columns are right",)
        return [*results, CheckResult("references", unread)]
    return [*results, check_references(export, REFERENCES)]


def check_source(tables: Mapping[str, pd.DataFrame], night: date, configured: Sequence[Timeslot]) -> list[CheckResult]:
    """The verdicts of the blocking rules on what iSAMS has."""
    first, last = year_of(tables["terms"], night, count=2)
    return [
        CheckResult("timings", few(timing_problems(tables["timetable_periods"], configured))),
        CheckResult("one_timetable", few(rival_timetables(tables, first=first, last=last))),
    ]


def cancelled_rows(bookings: Sequence[Any]) -> list[tuple[str, str, str, str, str, str]]:
    """Cancelled bookings as rows of their file."""
    return [
        (b.id, b.resource_id, b.date.isoformat(), time_in_words(b.start), time_in_words(b.end), b.reason or "")
        for b in bookings
    ]
