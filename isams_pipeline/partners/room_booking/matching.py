"""Which resource a room is, and which timeslot a period. Pure.

Rooms match by what was remembered, then by exact name, then by exact code; periods by exact start and end. What is
left is suggested with a score, for a person to confirm.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field

import pandas as pd
from rapidfuzz import fuzz, process, utils

from isams_pipeline.config import Timeslot
from isams_pipeline.rules.clock_times import minutes_of, time_in_words
from isams_pipeline.rules.compare import label
from isams_pipeline.rules.split import rows_of, surely

BY_NAME, BY_CODE, CONFIRMED, MADE = "name", "code", "confirmed", "made"
_SUGGESTED = 3
_LIKELY = 60
"""Scores go to 100. Below this a suggestion would only distract."""


@dataclass(frozen=True)
class Room:
    """A room of iSAMS."""

    id: int
    name: str
    code: str | None


@dataclass(frozen=True)
class Resource:
    """Something of the partner's that can be booked."""

    id: str
    name: str
    code: str | None
    made: bool = False
    """Made for a room that matched nothing, so it is no match for another."""


@dataclass(frozen=True)
class Suggestion:
    """A resource that a room may be."""

    resource_id: str
    name: str
    score: int
    """0 to 100."""


@dataclass
class RoomMatches:
    """Which rooms are which resources."""

    matched: dict[int, tuple[str, str]] = field(default_factory=dict[int, tuple[str, str]])
    """Room → resource, and how it was found: remembered ones keep their `how`."""
    suggestions: dict[int, list[Suggestion]] = field(default_factory=dict[int, list[Suggestion]])
    """Room without a match → what it may be, the likeliest first; may be empty."""


def made_resource(room_id: int) -> str:
    """The id of the resource that is made for a room without a match."""
    return f"isams-room-{room_id}"


def rooms_of(rooms: pd.DataFrame) -> list[Room]:
    """The dataset's rooms; one without a name goes by its code or number."""
    found: list[Room] = []
    for row in rows_of(rooms):
        code = None if pd.isna(row.code) else str(row.code)
        name = str(row.name) if not pd.isna(row.name) else code or f"Room {row.room_id}"
        found.append(Room(int(row.room_id), name, code))
    return found


def match_rooms(
    rooms: Sequence[Room], resources: Sequence[Resource], remembered: Mapping[int, tuple[str, str]]
) -> RoomMatches:
    """Match rooms with resources; a resource is one room at most.

    `remembered` are earlier matches, room → resource and how. Those made for want of a match give way to a real one.
    """
    found = RoomMatches()
    theirs = {resource.id: resource for resource in resources if not resource.made}
    held: set[str] = set()
    for room in sorted(rooms, key=lambda room: remembered.get(room.id, ("", ""))[1] != CONFIRMED):
        resource_id, how = remembered.get(room.id, ("", ""))
        if resource_id in theirs and how != MADE and resource_id not in held:
            found.matched[room.id] = resource_id, how
            held.add(resource_id)
    for how in (BY_NAME, BY_CODE):
        taken = {resource_id for resource_id, _ in found.matched.values()}
        open_rooms = [room for room in rooms if room.id not in found.matched]
        names = Counter(_label(room, how) for room in open_rooms)
        by_name: dict[str, list[str]] = {}
        for resource in theirs.values():
            if resource.id not in taken:
                by_name.setdefault(_label(resource, how), []).append(resource.id)
        for room in open_rooms:
            name = _label(room, how)
            # Two rooms or two resources of one name: a person has to say which is which.
            if name and names[name] == 1 and len(by_name.get(name, [])) == 1:
                found.matched[room.id] = by_name[name][0], how
    taken = {resource_id for resource_id, _ in found.matched.values()}
    free = {resource.id: resource.name for resource in theirs.values() if resource.id not in taken}
    for room in rooms:
        if room.id not in found.matched:
            found.suggestions[room.id] = _suggested(room, free)
    return found


def _label(thing: Room | Resource, how: str) -> str:
    return label(thing.name if how == BY_NAME else thing.code)


def _suggested(room: Room, free: Mapping[str, str]) -> list[Suggestion]:
    likely = process.extract(
        room.name, free, scorer=fuzz.WRatio, processor=utils.default_process, limit=_SUGGESTED, score_cutoff=_LIKELY
    )
    return [Suggestion(resource_id, name, round(score)) for name, score, resource_id in likely]


# --- timeslots ----------------------------------------------------------------------------------------------


@dataclass(frozen=True)
class Slot:
    """A timeslot: the partner's own, or made from periods."""

    id: str
    name: str
    start: int
    """Minutes after midnight."""
    end: int
    made: bool = False


@dataclass
class SlotMatches:
    """Which periods are in which timeslot."""

    slots: list[Slot]
    periods: dict[str, list[int]]
    """Timeslot → its periods."""
    unmatched: dict[tuple[int, int], tuple[list[int], list[Slot]]]
    """Timing of periods that no timeslot has → the periods, and the timeslots that come nearest."""

    @property
    def by_timing(self) -> dict[tuple[int, int], str]:
        """Start and end → timeslot."""
        return {(slot.start, slot.end): slot.id for slot in reversed(self.slots)}


def match_periods(periods: pd.DataFrame, theirs: Iterable[Slot]) -> SlotMatches:
    """Match periods with the partner's timeslots by exact start and end.

    Where the partner has none of its own, each timing becomes a timeslot, named as most of its periods are.
    """
    by_timing: dict[tuple[int, int], list[tuple[int, str]]] = {}
    for row in rows_of(_timed(periods)):
        by_timing.setdefault((int(row.start), int(row.end)), []).append(
            (int(row.period_id), "" if pd.isna(row.name) else str(row.name))
        )
    own = sorted((slot for slot in theirs if not slot.made), key=lambda slot: (slot.start, slot.end, slot.id))
    found = SlotMatches(list(own), {slot.id: [] for slot in own}, {})
    known = {(slot.start, slot.end): slot for slot in reversed(own)}
    for (start, end), members in sorted(by_timing.items()):
        ids = sorted(identifier for identifier, _ in members)
        if (start, end) in known:
            found.periods[known[start, end].id] = ids
        elif own:
            nearest = sorted(own, key=lambda slot: abs(slot.start - start) + abs(slot.end - end))
            found.unmatched[start, end] = ids, nearest[:_SUGGESTED]
        else:
            name = Counter(name for _, name in members).most_common(1)[0][0]
            made = Slot(
                f"isams-{time_in_words(start)}-{time_in_words(end)}".replace(":", ""), name, start, end, made=True
            )
            found.slots.append(made)
            found.periods[made.id] = ids
    return found


def _timed(periods: pd.DataFrame) -> pd.DataFrame:
    """Periods with start and end in minutes; those without sensible ones are left to the calendar's exclusions."""
    timed = periods.assign(start=minutes_of(periods["start"]), end=minutes_of(periods["end"]))
    return timed[surely(timed["end"] > timed["start"])]


def timings(periods: pd.DataFrame) -> str:
    """The distinct timings of periods, to remember and compare: `540-595 600-655`."""
    pairs = {(int(row.start), int(row.end)) for row in rows_of(_timed(periods))}
    return " ".join(f"{start}-{end}" for start, end in sorted(pairs))


def timing_problems(periods: pd.DataFrame, configured: Sequence[Timeslot]) -> list[str]:
    """Where iSAMS disagrees with the timings that the school has confirmed; both are named."""
    timed = _timed(periods)
    by_name: dict[str, set[tuple[int, int]]] = {}
    all_timings: set[tuple[int, int]] = set()
    for row in rows_of(timed):
        pair = int(row.start), int(row.end)
        all_timings.add(pair)
        if not pd.isna(row.name):
            by_name.setdefault(label(str(row.name)), set()).add(pair)
    problems: list[str] = []
    for slot in configured:
        wanted = slot.start, slot.end
        has = by_name.get(label(slot.name))
        if has is None and wanted not in all_timings:
            problems.append(f"schools.yaml has {slot.name}: {_words(wanted)}; iSAMS has no period of that name or time")
        elif has is not None and has != {wanted}:
            theirs = ", ".join(_words(pair) for pair in sorted(has))
            problems.append(f"schools.yaml has {slot.name}: {_words(wanted)}; iSAMS has {slot.name}: {theirs}")
    return problems


def _words(pair: tuple[int, int]) -> str:
    return f"{time_in_words(pair[0])} - {time_in_words(pair[1])}"
