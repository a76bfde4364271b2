"""What is laid over the timetable: closed rooms and calendar events. They are told of; they change nothing. Pure."""

from __future__ import annotations

from typing import Any

import pandas as pd

from isams_pipeline.rules.clock_times import after_midnight, minutes_of
from isams_pipeline.rules.labels import plain
from isams_pipeline.rules.split import WARNING, Exclusions, rows_of
from isams_pipeline.rules.timetable import whole_days


def closures_in_words(
    closures: pd.DataFrame, reasons: pd.DataFrame, rooms: pd.DataFrame, out: Exclusions
) -> pd.DataFrame:
    """One row per closure of a known room: room_id, start and end (ISO times, the end exclusive), reason.

    A closure from midnight to midnight closes whole days, the last one included.
    """
    names = reasons.set_index("reason_id")["name"].to_dict()
    known = set(rooms["room_id"])
    starts, ends = whole_days(closures["start"], closures["end"])
    rows: list[tuple[int, str, str, str]] = []
    for row, start, end in zip(rows_of(closures), starts, ends, strict=True):
        if row.room_id not in known:
            out.add("room_closure", row.closure_id, "room", "its room does not exist")
        elif pd.isna(start) or end <= start:
            out.add("room_closure", row.closure_id, "dates", "it has no dates that make sense")
        else:
            reason = names.get(row.reason_id)
            text = "" if reason is None or pd.isna(reason) else str(reason)
            rows.append((int(row.room_id), _iso(start), _iso(end), text))
    return pd.DataFrame(sorted(set(rows)), columns=["room_id", "start", "end", "reason"]).astype({"room_id": "Int64"})


def _iso(moment: Any) -> str:
    return str(moment.strftime("%Y-%m-%dT%H:%M"))


def note_lessons_in_closed_rooms(dated: pd.DataFrame, closures: pd.DataFrame, out: Exclusions) -> None:
    """Warn of rooms that the timetable uses while they are closed."""
    for room_id, spans in closures.groupby("room_id"):
        in_room: Any = dated[dated["room_id"].eq(room_id).fillna(False)]  # noqa: FBT003
        begins = in_room["date"] + after_midnight(in_room["start"])
        ends = in_room["date"] + after_midnight(in_room["end"])
        count = 0
        for span in rows_of(spans):
            count += int(((begins < pd.Timestamp(span.end)) & (ends > pd.Timestamp(span.start))).sum())
        if count:
            reason = f"it is closed on {count} occasions when the timetable uses it"
            out.add("room", room_id, "closed", reason, severity=WARNING)


def note_events_in_rooms(dated: pd.DataFrame, events: pd.DataFrame, rooms: pd.DataFrame, out: Exclusions) -> None:
    """Warn of calendar events where the timetable has something: an event's place may be a room's name or code."""
    places: dict[str, int] = {}
    for row in rows_of(rooms):
        for label in (row.name, row.code):
            if isinstance(label, str):
                places.setdefault(plain(label), int(row.room_id))
    timed = events.assign(start=minutes_of(events["start_time"]), end=minutes_of(events["end_time"]))
    for row in rows_of(timed):
        room_id = places.get(plain(row.location)) if isinstance(row.location, str) else None
        if room_id is None:
            continue
        times: Any = pd.isna([row.start, row.end])
        all_day = row.all_day is True or bool(times.any())
        last = row.start_date if pd.isna(row.end_date) else row.end_date
        there: Any = dated["room_id"].eq(room_id).fillna(False) & dated["date"].between(row.start_date, last)  # noqa: FBT003
        if not all_day:
            there &= (dated["start"] < row.end) & (dated["end"] > row.start)
        if count := int(there.sum()):
            reason = f"it is in room {room_id}, which the timetable uses {count} times then"
            out.add("event", row.event_id, "event_in_room", reason, severity=WARNING)
