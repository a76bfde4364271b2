"""iSAMS's tables and the matches → Room Booking's files. Pure."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import date
from functools import cached_property
from typing import Any

import pandas as pd

from isams_pipeline.config import Timeslot
from isams_pipeline.delivery.export import CheckResult, Export, check_files, check_references, few, to_csv
from isams_pipeline.partners.room_booking import UNASSIGNED
from isams_pipeline.partners.room_booking.files import BY_NAME, ENTITIES, FILES, REFERENCES
from isams_pipeline.partners.room_booking.matching import Room, RoomMatches, SlotMatches, made_resource, timing_problems
from isams_pipeline.rules.clock_times import in_words
from isams_pipeline.rules.closures import closures_in_words, note_events_in_rooms, note_lessons_in_closed_rooms
from isams_pipeline.rules.dates import school_years
from isams_pipeline.rules.split import EXCLUDED, WARNING, Exclusions
from isams_pipeline.rules.timetable import Timetable, dated_timetable

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
}
_FEW_DAYS = 10


@dataclass(frozen=True)
class Read:
    """What iSAMS has, put on real dates: everything that does not depend on the partner's side."""

    timetable: Timetable
    closures: pd.DataFrame
    first: date
    last: date


def read(tables: Mapping[str, pd.DataFrame], night: date) -> Read:
    """Put the timetable of this school year and the next on dates, and lay closures and events over it."""
    first, last = school_years(night, count=2)
    timetable = dated_timetable(tables, first=first, last=last)
    out = timetable.exclusions
    closures = closures_in_words(tables["room_closures"], tables["room_closure_reasons"], tables["rooms"], out)
    note_lessons_in_closed_rooms(timetable.dated, closures, out)
    note_events_in_rooms(timetable.dated, tables["calendar_events"], tables["rooms"], out)
    if timetable.unallocated:
        days = timetable.unallocated
        shown = ", ".join(day.isoformat() for day in days[:_FEW_DAYS])
        more = f" and {len(days) - _FEW_DAYS} more" if len(days) > _FEW_DAYS else ""
        reason = f"no timetable week is allocated to {shown}{more}; there are no lessons on those days"
        out.add("term", "-", "no_allocation", reason, severity=WARNING)
    return Read(timetable, closures, first, last)


@dataclass(frozen=True)
class PartnerSide:
    """How iSAMS's rooms and periods are known to the partner."""

    rooms: Sequence[Room]
    matches: RoomMatches
    slots: SlotMatches
    categories: Mapping[str, str]
    """Resource → category."""

    @cached_property
    def resources(self) -> dict[int, str]:
        """Room → its resource; one of its own where it matches none."""
        matched = self.matches.matched
        return {room.id: matched[room.id][0] if room.id in matched else made_resource(room.id) for room in self.rooms}


@dataclass(frozen=True)
class Built:
    """The files, and what is not in them or not as iSAMS has it."""

    export: Export
    exclusions: pd.DataFrame

    def excluded_per_file(self) -> dict[str, int]:
        """How many things are missing from each file."""
        out = self.exclusions[self.exclusions["severity"] == EXCLUDED]
        counts = out["entity"].map(ENTITIES).value_counts()
        return {str(name): int(count) for name, count in counts.items()}


def build(
    tables: Mapping[str, pd.DataFrame],
    found: Read,
    side: PartnerSide,
    *,
    cancelled: Sequence[tuple[str, str, str, str, str, str]] | None,
) -> Built:
    """Shape the files. Without `cancelled`, the list of cancelled bookings is left out: it is not known yet."""
    out = Exclusions(list(found.timetable.exclusions.rows))
    for room_id in side.matches.suggestions:
        out.add(
            "room", room_id, "unmatched", "it matches no resource; it is in a category of its own", severity=WARNING
        )
    for (start, end), (periods, _) in side.slots.unmatched.items():
        for period in periods:
            reason = f"no timeslot is from {in_words(start)} to {in_words(end)}"
            out.add("period", period, "unmatched", reason, severity=WARNING)
    frames = {
        "rooms.csv": _rooms(tables, side),
        "timeslots.csv": _timeslots(side.slots),
        "terms.csv": _terms(tables["terms"], found),
        "timetable.csv": timetable_rows(found.timetable.dated, side),
        "closures.csv": found.closures,
    }
    if cancelled is not None:
        frames["cancelled_bookings.csv"] = pd.DataFrame(
            cancelled, columns=list(BY_NAME["cancelled_bookings.csv"].columns), dtype="str"
        )
    return Built(Export({name: to_csv(frame, BY_NAME[name]) for name, frame in frames.items()}), out.frame())


def _rooms(tables: Mapping[str, pd.DataFrame], side: PartnerSide) -> pd.DataFrame:
    buildings = tables["buildings"].set_index("building_id")["name"].to_dict()
    building_of = tables["rooms"].set_index("room_id")["building_id"].to_dict()
    rooms, resources = side.rooms, side.resources
    return pd.DataFrame(
        {
            "room_id": [room.id for room in rooms],
            "name": [room.name for room in rooms],
            "code": [room.code for room in rooms],
            "building": [buildings.get(building_of[room.id]) for room in rooms],
            "resource_id": [resources[room.id] for room in rooms],
            "category": [side.categories.get(resources[room.id], UNASSIGNED) for room in rooms],
        }
    )


def _timeslots(slots: SlotMatches) -> pd.DataFrame:
    rows = [
        (slot.id, slot.name, in_words(slot.start), in_words(slot.end), " ".join(map(str, slots.periods[slot.id])))
        for slot in slots.slots
    ]
    return pd.DataFrame(rows, columns=list(BY_NAME["timeslots.csv"].columns))


def _terms(terms: pd.DataFrame, found: Read) -> pd.DataFrame:
    """Terms of these school years. One whose dates make no sense is in the exclusions."""
    sound = terms["finish_date"] >= terms["start_date"]
    here = (terms["finish_date"] >= pd.Timestamp(found.first)) & (terms["start_date"] <= pd.Timestamp(found.last))
    return terms[sound & here].rename(columns={"start_date": "start", "finish_date": "end"})


def timetable_rows(dated: pd.DataFrame, side: PartnerSide) -> pd.DataFrame:
    """The rows of timetable.csv: the dated timetable with the partner's ids, times in words."""
    resources: Any = dated["room_id"].map(side.resources) if len(dated) else dated["room_id"].astype("str")
    timeslots = side.slots.by_timing
    starts, ends = dated["start"].tolist(), dated["end"].tolist()
    words = {at: in_words(at) for at in {*starts, *ends}}
    rows = dated.assign(
        start=[words[at] for at in starts],
        end=[words[at] for at in ends],
        timeslot_id=[timeslots.get(pair, "") for pair in zip(starts, ends, strict=True)],
        resource_id=resources,
    )
    # The same group in the same room at the same time, by periods of several week sets: one thing.
    return rows.drop_duplicates(list(BY_NAME["timetable.csv"].key), ignore_index=True)


# --- the blocking rules -------------------------------------------------------------------------------------


def check_export(export: Export) -> list[CheckResult]:
    """The verdicts of the blocking rules on the bytes."""
    results = check_files(export, FILES)
    if not results[0].passed:
        unread = ("the files cannot be compared before their columns are right",)
        return [*results, CheckResult("references", unread)]
    return [*results, check_references(export, REFERENCES)]


def check_source(tables: Mapping[str, pd.DataFrame], found: Read, configured: Sequence[Timeslot]) -> list[CheckResult]:
    """The verdicts of the blocking rules on what iSAMS has."""
    return [
        CheckResult("timings", few(timing_problems(tables["timetable_periods"], configured))),
        CheckResult("one_timetable", few(found.timetable.problems)),
    ]


def cancelled_rows(bookings: Sequence[Any]) -> list[tuple[str, str, str, str, str, str]]:
    """Cancelled bookings as rows of their file."""
    return [
        (b.id, b.resource_id, b.date.isoformat(), in_words(b.start), in_words(b.end), b.reason or "") for b in bookings
    ]
