"""What is laid over the timetable: closed rooms and calendar events. They are reported, and change nothing. Pure."""

from __future__ import annotations

from typing import Any

import pandas as pd

from isams_pipeline.rules.clock_times import after_midnight, minutes_of
from isams_pipeline.rules.compare import is_text, label
from isams_pipeline.rules.dates import is_nothing
from isams_pipeline.rules.references import Lookup
from isams_pipeline.rules.split import Exclusions, Split, rows_of, surely
from isams_pipeline.rules.timetable import whole_days


def closures_in_words(closures: pd.DataFrame, reasons: pd.DataFrame, rooms: pd.DataFrame) -> Split:
    """Keep the closures of known rooms, in words: one row each: room_id, start, end (exclusive) (ISO times), reason.

    A closure from midnight to midnight closes whole days, the last one included.
    """
    out = Exclusions.of({"room_closures": closures})
    names = Lookup.of(reasons, "reason_id", "name")
    known = set(rooms["room_id"])
    starts, ends = whole_days(closures["start"], closures["end"])
    rows: dict[tuple[int, str, str, str], int] = {}
    left: list[tuple[str, int]] = []
    merged: list[tuple[int, int]] = []
    for at, (row, start, end) in enumerate(zip(rows_of(closures), starts, ends, strict=True), start=1):
        if row.room_id not in known:
            out.add("room_closure", row.closure_id, "room", "its room does not exist")
            left.append(("room", at))
        elif is_nothing(start) or end <= start:
            out.add("room_closure", row.closure_id, "dates", "it has no dates that make sense")
            left.append(("dates", at))
        else:
            reason = names.get(row.reason_id)
            text = "" if reason is None else str(reason)
            closure = (int(row.room_id), _iso(start), _iso(end), text)
            if rows.setdefault(closure, at) != at:
                merged.append((at, rows[closure]))
    for rule, at in left:
        out.account.leave_out("room_closures", [at], rule)
    out.account.merge("room_closures", [at for at, _ in merged], [into for _, into in merged])
    out.account.deliver("room_closures", rows.values(), "closures.csv")
    kept = pd.DataFrame(sorted(rows), columns=["room_id", "start", "end", "reason"]).astype({"room_id": "Int64"})
    return Split(kept, said=out)


def _iso(moment: Any) -> str:
    return str(moment.strftime("%Y-%m-%dT%H:%M"))


def used_while_closed(dated: pd.DataFrame, closures: pd.DataFrame) -> Exclusions:
    """Warnings of rooms that the timetable uses while they are closed."""
    out = Exclusions()
    for room_id, spans in closures.groupby("room_id"):
        in_room: Any = dated[surely(dated["room_id"].eq(room_id))]
        begins = in_room["date"] + after_midnight(in_room["start"])
        ends = in_room["date"] + after_midnight(in_room["end"])
        count = 0
        for span in rows_of(spans):
            count += int(((begins < pd.Timestamp(span.end)) & (ends > pd.Timestamp(span.start))).sum())
        if count:
            out.warn("room", room_id, "closed", f"it is closed on {count} occasions when the timetable uses it")
    return out


def events_in_rooms(
    dated: pd.DataFrame, events: pd.DataFrame, rooms: pd.DataFrame, buildings: pd.DataFrame
) -> Exclusions:
    """Warnings of calendar events where the timetable has something: an event's place may be a room's name or code.

    Where several rooms have that name, the building's beside it tells which is meant; else all of them are looked at,
    and the warning names all that it may be in.
    """
    out = Exclusions()
    places = _places(rooms, buildings)
    timed = events.assign(start=minutes_of(events["start_time"]), end=minutes_of(events["end_time"]))
    for row in rows_of(timed):
        match = places.find(row.location)
        counts = {room: count for room in match.candidates if (count := _overlaps(dated, row, room))}
        if match.is_ambiguous:
            found = "; ".join(f"the timetable uses room {room} {count} times then" for room, count in counts.items())
            which = " or ".join(map(str, match.candidates))
            reason = f"its place is the name of several rooms ({which}); {found or 'none is in use then'}"
            out.warn("event", row.event_id, "event_in_room", reason)
        for room, count in counts.items() if not match.is_ambiguous else ():
            reason = f"it is in room {room}, which the timetable uses {count} times then"
            out.warn("event", row.event_id, "event_in_room", reason)
    return out


def _places(rooms: pd.DataFrame, buildings: pd.DataFrame) -> Lookup:
    """A place as it is typed → rooms: a room's name or code, with or without its building's before or behind it."""
    found: list[tuple[str, int]] = []
    known = Lookup.of(buildings, "building_id", "name"), Lookup.of(buildings, "building_id", "code")
    for row in rows_of(rooms):
        of_building = [one.get(row.building_id) for one in known]
        for text in filter(is_text, (row.name, row.code)):
            ways = [text, *(f"{a} {b}" for one in of_building if is_text(one) for a, b in ((one, text), (text, one)))]
            found += [(way, int(row.room_id)) for way in ways]
    frame = pd.DataFrame(found, columns=["place", "room_id"])
    return Lookup.of(frame, "place", "room_id", fold=_words)


def _words(text: object) -> str:
    """A place by its words: `Annexe, Room 1` is `Annexe Room 1`."""
    return " ".join(label(text).replace(",", " ").replace("-", " ").split())


def _overlaps(dated: pd.DataFrame, row: Any, room_id: int) -> int:
    """How often the timetable uses a room while an event lasts."""
    times: Any = pd.isna([row.start, row.end])
    # By its truth: what a row of a frame holds is NumPy's true, which is not Python's.
    all_day = (not pd.isna(row.all_day) and bool(row.all_day)) or bool(times.any())
    last = row.start_date if pd.isna(row.end_date) else row.end_date
    there: Any = surely(dated["room_id"].eq(room_id)) & dated["date"].between(row.start_date, last)
    if not all_day:
        there &= (dated["start"] < row.end) & (dated["end"] > row.start)
    return int(there.sum())
