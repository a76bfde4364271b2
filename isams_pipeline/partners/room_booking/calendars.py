"""iCalendar files: one a room, one a teacher, with recurrences. Pure but for `publish`.

Deterministic to the byte, so that a file changes only when its lessons do. They lie where a calendar client can
subscribe to them: `<deliver_to>/room_booking/<school>/calendars/`, the same address every day.
"""

from __future__ import annotations

import contextlib
import hashlib
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from datetime import UTC, date, datetime, time, timedelta
from itertools import pairwise
from typing import Any
from zoneinfo import ZoneInfo

import orjson
import pandas as pd
from icalendar import Calendar, Event

from isams_pipeline.datasets.shapes import Json, JsonObject
from isams_pipeline.errors import StorageError
from isams_pipeline.rules.texts import label
from isams_pipeline.storage.folder import Folder

_PRODUCT = "-//isams-pipeline//Room Booking//EN"
_INDEX = "index.json"
_NOTE = "calendars.json"
_VERSION = "2"
"""Part of every hash: a new way of writing files makes all of them anew."""
_LONG_GAP = 3
"""A pause of more steps than this, such as holidays, ends one recurrence and begins another."""


@dataclass(frozen=True)
class CalendarFile:
    """One calendar: what it would hold as a hash, and how to make it."""

    name: str
    digest: str
    make: Callable[[], bytes]


def calendar_files(
    dated: pd.DataFrame, room_names: Mapping[int, str], timezone: ZoneInfo, school: str
) -> Iterator[CalendarFile]:
    """The calendars of all rooms and teachers that the timetable uses."""
    rows = dated.assign(
        day=dated["date"].dt.date,
        title=[label(code or kind.replace("_", " ")) for code, kind in zip(dated["code"], dated["kind"], strict=True)],
        subject=[label(subject) if isinstance(subject, str) else subject for subject in dated["subject"].tolist()],
    )
    room_names = {room: label(name) for room, name in room_names.items()}
    in_rooms = rows[rows["room_id"].notna()]
    for room_id, of_room in in_rooms.groupby("room_id"):
        number = int(str(room_id))
        name = room_names.get(number, f"Room {number}")
        yield _file(f"rooms/{number}.ics", name, of_room.assign(place=name), timezone, school)
    places = [room_names.get(room, "") if not pd.isna(room) else "" for room in rows["room_id"].tolist()]
    taught = rows.assign(place=places, staff=rows["staff_ids"].str.split(" ")).explode("staff")
    for staff_id, of_staff in taught[taught["staff"] != ""].groupby("staff"):
        yield _file(f"staff/{staff_id}.ics", f"Staff {staff_id}", of_staff, timezone, school)


def _file(name: str, title: str, rows: pd.DataFrame, timezone: ZoneInfo, school: str) -> CalendarFile:
    kept = rows[["day", "start", "end", "title", "subject", "kind", "place"]]
    text = "\n".join(map(str, kept.fillna("").itertuples(index=False, name=None)))
    digest = hashlib.sha256(f"{_VERSION}\n{timezone.key}\n{title}\n{text}".encode()).hexdigest()
    return CalendarFile(name, digest, lambda: _calendar(f"{school}/{name}", title, kept, timezone))


def _calendar(identity: str, title: str, rows: pd.DataFrame, timezone: ZoneInfo) -> bytes:
    calendar: Any = Calendar()
    calendar.add("prodid", _PRODUCT)
    calendar.add("version", "2.0")
    calendar.add("calscale", "GREGORIAN")
    calendar.add("method", "PUBLISH")
    calendar.add("x-wr-calname", title)
    calendar.add("x-wr-timezone", timezone.key)
    keys = ["title", "subject", "kind", "place", "start", "end"]
    with_weekday = rows.assign(weekday=[day.weekday() for day in rows["day"]])
    for values, group in with_weekday.groupby([*keys, "weekday"], dropna=False, sort=True):
        for days, step in runs(sorted(set(group["day"]))):
            calendar.add_component(_event(identity, dict(zip(keys, values, strict=False)), days, step, timezone))
    # Only the years that count: every clock change since 1970 would be half of the file.
    days_used = rows["day"]
    calendar.add_missing_timezones(first_date=min(days_used), last_date=max(days_used) + timedelta(days=366))
    return calendar.to_ical()


def runs(days: list[date]) -> Iterator[tuple[list[date], int]]:
    """Dates of one weekday as recurrences: each with the weeks between its dates, and no long pause within."""
    gaps = [(after - before).days // 7 for before, after in pairwise(days)]
    step = min(gaps, default=1)
    run = [days[0]]
    for day in days[1:]:
        weeks = (day - run[0]).days // 7
        if weeks % step or (day - run[-1]).days // 7 > _LONG_GAP * step:
            yield run, step
            run = [day]
        else:
            run.append(day)
    yield run, step


def _event(identity: str, what: JsonObject, days: list[date], step: int, timezone: ZoneInfo) -> Any:
    start, end = int(what["start"]), int(what["end"])

    def at(day: date, minutes: int) -> datetime:
        return datetime.combine(day, time(minutes // 60, minutes % 60), timezone)

    event: Any = Event()
    said = "\n".join(map(str, (identity, *what.values(), days[0], step)))
    event.add("uid", f"{hashlib.sha256(said.encode()).hexdigest()[:32]}@isams-pipeline")
    # It has to be there, and must not change with the night: the first day stands for when it was written.
    event.add("dtstamp", datetime.combine(days[0], time(), UTC))
    event.add("dtstart", at(days[0], start))
    event.add("dtend", at(days[0], end))
    event.add("summary", str(what["title"]))
    if isinstance(what["place"], str) and what["place"]:
        event.add("location", what["place"])
    if isinstance(what["subject"], str) and what["subject"]:
        event.add("description", what["subject"])
    if len(days) > 1:
        rule: Json = {"freq": "weekly", "until": at(days[-1], start).astimezone(UTC)}
        if step > 1:
            rule["interval"] = step
        event.add("rrule", rule)
        every = [days[0] + timedelta(weeks=step * n) for n in range((days[-1] - days[0]).days // 7 // step + 1)]
        missing = [at(day, start) for day in every if day not in set(days)]
        if missing:
            event.add("exdate", missing)
    return event


@dataclass(frozen=True)
class Published:
    """What became of a school's calendars."""

    written: int
    kept: int
    removed: int
    failed: tuple[str, ...] = ()
    """Files that could not be made; what was there of them before stays."""


def publish_changed(folder: Folder, notes: Folder, files: Iterator[CalendarFile], made_of: str) -> Published:
    """Publish the calendars; where all is as it was when they were last written, none is looked at.

    `made_of`: the hashes of all that the calendars are made of. Kept in `notes`, with that of the folder's own note.
    """
    digest = hashlib.sha256(f"{_VERSION}\n{made_of}".encode()).hexdigest()
    with contextlib.suppress(FileNotFoundError, StorageError):
        index = folder.read(_INDEX)
        if notes.read_json(_NOTE) == {"made of": digest, "index": hashlib.sha256(index).hexdigest()}:
            return Published(0, len(orjson.loads(index)), 0)
    done = publish(folder, files)
    if not done.failed:
        index = folder.read(_INDEX) if folder.exists(_INDEX) else b""
        notes.write_json(_NOTE, {"made of": digest, "index": hashlib.sha256(index).hexdigest()})
    return done


def publish(folder: Folder, files: Iterator[CalendarFile]) -> Published:
    """Write the calendars that have changed, remove those of nobody, and note what is there.

    The note comes last: whatever breaks off before it is done again.
    """
    folder.sweep(deep=True)
    try:
        before: dict[str, str] = folder.read_json(_INDEX)
    except (FileNotFoundError, StorageError):
        before = {}
    now: dict[str, str] = {}
    written, failed = 0, list[str]()
    for file in files:
        now[file.name] = file.digest
        if before.get(file.name) != file.digest:
            try:
                data = file.make()
            except Exception:  # noqa: BLE001  # of the calendar library; the other calendars are none the worse
                failed.append(file.name)
                now[file.name] = before.get(file.name, "")
                continue
            folder.write(file.name, data)
            written += 1
    gone = before.keys() - now.keys()
    for name in sorted(gone):
        folder.remove(name)
    if now != before:
        folder.write_json(_INDEX, dict(sorted(now.items())))
    return Published(written, len(now) - written - len(failed), len(gone), tuple(failed))
