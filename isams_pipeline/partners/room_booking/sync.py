"""One sync: the store's entries become the dated timetable, and bookings that now clash are cancelled. One transaction.

What is cancelled, and why: an active booking that starts after now and overlaps, in its resource and on its date,
with something in the timetable. Closures and events never cancel. A school's first cancellations, many at once, and
any after the periods' timings changed, wait for a person: what clashes is then held back, the rest is stored.
"""

from __future__ import annotations

import hashlib
from collections.abc import Mapping
from dataclasses import dataclass, field
from datetime import date, datetime, timedelta
from typing import Any
from zoneinfo import ZoneInfo

import pandas as pd

from isams_pipeline.orchestration.mail import MailState
from isams_pipeline.partners.room_booking.matching import Room, RoomMatches, SlotMatches
from isams_pipeline.partners.room_booking.store import ENTRY_COLUMNS, ENTRY_KEY, BookingStore
from isams_pipeline.rules.clock_times import time_in_words
from isams_pipeline.rules.split import rows_of
from isams_pipeline.rules.texts import label
from isams_pipeline.storage.state.bookings import Booking, Notification

MATCH_AGAIN = (
    "the periods' timings have changed since the rooms were matched; run `isams-pipeline rooms match {school}` first"
)


@dataclass(frozen=True)
class Wanted:
    """What a school's store should hold."""

    rooms: list[Room]
    matches: RoomMatches
    slots: SlotMatches
    timings: str
    entries: pd.DataFrame
    """ENTRY_COLUMNS, unique by ENTRY_KEY."""
    content_hash: str
    """Of the timetable that the entries are from."""


@dataclass(frozen=True)
class Circumstances:
    """When and how a sync happens."""

    night: date
    now: datetime
    timezone: ZoneInfo
    max_cancelled: int
    allow_cancellations: bool = False
    mail_domain: str = "localhost"


@dataclass(frozen=True)
class Clash:
    """A booking that clashes with the timetable."""

    booking_id: str
    resource_id: str
    date: date
    start: int
    end: int
    code: str
    kind: str

    @property
    def reason(self) -> str:
        """Why the booking is cancelled, in words that its owner may read."""
        what = f"{self.kind.replace('_', ' ')} {self.code}".strip()
        return f"{what} is timetabled there at that time"


@dataclass
class Synced:
    """What a sync did."""

    inserted: int = 0
    updated: int = 0
    deleted: int = 0
    clashes: list[Clash] = field(default_factory=list[Clash])
    held_back: str | None = None
    """Why the clashes were not acted on; None if they were."""
    unwritten: list[str] = field(default_factory=list[str])
    """Cancelled bookings whose owner has no address, so that nobody was written to."""

    @property
    def cancelled(self) -> int:
        """How many bookings were cancelled."""
        return 0 if self.held_back else len(self.clashes)


def sync(store: BookingStore, wanted: Wanted, when: Circumstances) -> Synced:
    """Bring a school's store up to date, within the caller's transaction."""
    school = store.lock()
    store.remember(wanted.rooms, wanted.matches, wanted.slots, when.now)
    done = Synced(clashes=clashes(wanted.entries, store.open_bookings(when.night), when))
    done.held_back = _held_back(
        store.school,
        done.clashes,
        when,
        first=school.reviewed_at is None,
        timings_changed=_changed(school.timings, wanted),
    )
    school.held_back = done.held_back
    if school.timings is None:
        school.timings = wanted.timings
    if done.held_back:
        done.inserted, done.updated, done.deleted = store.replace_entries(_without(wanted.entries, done.clashes))
        school.timetable = None
        return done
    if school.timetable != wanted.content_hash:
        done.inserted, done.updated, done.deleted = store.replace_entries(wanted.entries)
        school.timetable = wanted.content_hash
    if school.reviewed_at is None and done.clashes:
        school.reviewed_at = when.now
    for clash in done.clashes:
        booking = store.cancel(clash.booking_id, reason=clash.reason, night=when.night)
        if booking.email:
            store.notify(_message(store, booking, when))
        else:
            done.unwritten.append(booking.id)
    return done


def _changed(before: str | None, wanted: Wanted) -> bool:
    return before is not None and before != wanted.timings


def _held_back(
    school: str, found: list[Clash], when: Circumstances, *, first: bool, timings_changed: bool
) -> str | None:
    if not found:
        return None
    count = f"{len(found)} booking{'s' if len(found) > 1 else ''} would be cancelled"
    if timings_changed:
        return f"{count}, but {MATCH_AGAIN.format(school=school)}"
    look = (
        f"check with `isams-pipeline rooms preview {school}`, then run once with --allow-cancellations, or "
        "allow_cancellations: true in the launch pad"
    )
    if when.allow_cancellations:
        return None
    if first:
        return f"{count}, the school's first cancellations; {look}"
    if len(found) > when.max_cancelled:
        return f"{count}, more than max_cancelled ({when.max_cancelled}); {look}"
    return None


def clashes(entries: pd.DataFrame, bookings: pd.DataFrame, when: Circumstances) -> list[Clash]:
    """Open bookings that start after now and overlap with an entry; one clash a booking, with its earliest entry."""
    if bookings.empty or entries.empty:
        return []
    local = when.now.astimezone(when.timezone)
    minute = local.hour * 60 + local.minute
    ahead = bookings[[(day, start) > (local.date(), minute) for day, start in _pairs(bookings)]]
    ahead = _with_next_days(ahead)
    places = set(_places(ahead))
    near = entries[[place in places for place in _places(entries)]]
    both = ahead.merge(near[ENTRY_KEY], on=["resource_id", "date"], suffixes=("", "_entry"))
    overlapping = both[(both["start"] < both["end_entry"]) & (both["start_entry"] < both["end"])]
    ordered = overlapping.sort_values(["booking_id", "date", "start_entry", "kind", "code"])
    first = ordered[~ordered.duplicated("booking_id")]
    return [
        Clash(str(row.booking_id), str(row.resource_id), row.date, int(row.start), int(row.end), row.code, row.kind)
        for row in rows_of(first)
    ]


_DAY = 24 * 60


def _with_next_days(bookings: pd.DataFrame) -> pd.DataFrame:
    """Bookings with a row more for the part that is on the next day, where one lasts beyond midnight."""
    over = bookings[bookings["end"] > _DAY]
    if over.empty:
        return bookings
    days = [day + timedelta(days=1) for day in over["date"]]
    return pd.concat([bookings, over.assign(date=days, start=0, end=over["end"] - _DAY)], ignore_index=True)


def _pairs(bookings: pd.DataFrame) -> list[tuple[Any, Any]]:
    return list(zip(bookings["date"].tolist(), bookings["start"].tolist(), strict=True))


def _places(rows: pd.DataFrame) -> list[tuple[Any, Any]]:
    # By tolist: to iterate over a column of Arrow texts takes ten times as long.
    return list(zip(rows["resource_id"].tolist(), rows["date"].tolist(), strict=True))


def _without(entries: pd.DataFrame, found: list[Clash]) -> pd.DataFrame:
    """The entries that clash with none of these bookings."""
    spans: dict[tuple[str, date], list[tuple[int, int]]] = {}
    for clash in found:
        spans.setdefault((clash.resource_id, clash.date), []).append((clash.start, clash.end))
    keep = [
        not any(start < until and since < end for since, until in spans.get((resource, day), ()))
        for resource, day, start, end in entries[["resource_id", "date", "start", "end"]].itertuples(
            index=False, name=None
        )
    ]
    return entries[keep]


def _message(store: BookingStore, booking: Booking, when: Circumstances) -> Notification:
    name = label(store.resource_name(booking.resource_id))
    # Stable: the same cancellation makes the same message, whenever and wherever it is made.
    identity = f"{store.school}\n{booking.id}\n{when.night}\n{booking.resource_id} {booking.date} {booking.start}"
    digest = hashlib.sha256(identity.encode()).hexdigest()[:32]
    day = f"{booking.date:%A} {booking.date.day} {booking.date:%B %Y}"
    body = (
        f"Your booking of {name} on {day}, {time_in_words(booking.start)} to {time_in_words(booking.end)}, "
        "has been cancelled:\n"
        f"{label(booking.reason)}.\n\n"
        f"Booking: {label(booking.title or booking.id)}\n\n"
        "Please choose another room or time. This message was sent by itself after the school's timetable changed.\n"
    )
    return Notification(
        school=store.school,
        booking_id=booking.id,
        message_id=f"<cancelled.{digest}@{when.mail_domain}>",
        recipient=booking.email,
        subject=f"Booking cancelled: {name}, {day}",
        body=body,
        state=MailState.QUEUED.value,
        attempts=0,
        error=None,
        created_at=when.now,
        changed_at=when.now,
    )


def as_entries(dated: pd.DataFrame, resources: Mapping[int, str], slots: SlotMatches) -> pd.DataFrame:
    """The dated timetable as the store's entries: rows without a room cannot be in anyone's way and are left out.

    Rows that differ in their period only are one.
    """
    rows = dated[dated["room_id"].notna()]
    timeslots = slots.by_timing
    pairs = zip(rows["start"].tolist(), rows["end"].tolist(), strict=True)
    return pd.DataFrame(
        {
            "resource_id": [resources[room] for room in rows["room_id"].tolist()],
            "date": rows["date"].dt.date.tolist(),
            "start": rows["start"].astype("int64").to_numpy(),
            "end": rows["end"].astype("int64").to_numpy(),
            "code": rows["code"].tolist(),
            "kind": rows["kind"].tolist(),
            "timeslot_id": [timeslots.get(pair, "") for pair in pairs],
            "subject": rows["subject"].fillna("").tolist(),
            "staff_ids": rows["staff_ids"].tolist(),
        },
        columns=ENTRY_COLUMNS,
    ).drop_duplicates(ENTRY_KEY, ignore_index=True)
