"""A booking store with little in it, for the tests of matching, syncing and mail."""

from __future__ import annotations

from collections.abc import Iterable
from datetime import UTC, date, datetime
from pathlib import Path
from typing import Any
from zoneinfo import ZoneInfo

import pandas as pd

from isams_pipeline.partners.room_booking.matching import Resource, Room, RoomMatches, Slot, SlotMatches, match_rooms
from isams_pipeline.partners.room_booking.store import ENTRY_COLUMNS, BookingStore
from isams_pipeline.partners.room_booking.sync import Circumstances, Synced, Wanted, sync
from isams_pipeline.storage.state import StateDatabase
from isams_pipeline.storage.state.bookings import Booking, Notification

SCHOOL = "riverside"
NIGHT = date(2026, 2, 10)
NOW = datetime(2026, 2, 10, 3, tzinfo=UTC)
ROOMS = [Room(31, "Hall", "HALL"), Room(32, "Lab 1", "C32")]


def entry(day: date, start: int = 540, resource: str = "R31", **more: Any) -> dict[str, Any]:
    """A lesson of 55 minutes."""
    return {
        "resource_id": resource,
        "date": day,
        "start": start,
        "end": start + 55,
        "code": "8Ma1",
        "kind": "lesson",
        "timeslot_id": "S1",
        "subject": "Maths",
        "staff_ids": "11",
        **more,
    }


class Desk:
    """A state database with a school's resources in it."""

    def __init__(self, folder: Path, url: str | None = None) -> None:
        self.state = StateDatabase.open(folder, url)
        with self.state.transaction() as session:
            store = BookingStore(session, SCHOOL)
            store.lock()
            store.put_resources(
                {"id": f"R{room.id}", "name": room.name, "code": room.code, "category": "Rooms"} for room in ROOMS
            )
            store.put_slots([{"id": "S1", "name": "Period 1", "start": 540, "end": 595}])

    def book(self, *bookings: dict[str, Any]) -> None:
        with self.state.transaction() as session:
            BookingStore(session, SCHOOL).put_bookings(bookings)

    def sync(self, entries: Iterable[dict[str, Any]], *, now: datetime = NOW, **options: Any) -> Synced:
        rows = list(entries)
        frame = pd.DataFrame(rows, columns=ENTRY_COLUMNS)
        timings = options.pop("timings", "540-595")
        when = {"night": NIGHT, "max_cancelled": 20, "timezone": ZoneInfo("Europe/London"), **options}
        with self.state.transaction() as session:
            store = BookingStore(session, SCHOOL)
            slots = SlotMatches([Slot("S1", "Period 1", 540, 595)], {"S1": [1]}, {})
            matches = match_rooms(ROOMS, store.resources(), store.remembered())
            wanted = Wanted(ROOMS, matches, slots, timings, frame, str(hash(str(rows))))
            return sync(store, wanted, Circumstances(now=now, **when))

    def entries(self) -> pd.DataFrame:
        with self.state.transaction() as session:
            return BookingStore(session, SCHOOL).entries()

    def booking(self, identifier: str) -> Booking:
        with self.state.transaction() as session:
            return BookingStore(session, SCHOOL).booking(identifier)

    def notes(self) -> list[Notification]:
        from sqlalchemy import select

        with self.state.transaction() as session:
            return list(session.scalars(select(Notification).order_by(Notification.id)))


def booking(identifier: str, day: date, start: int = 540, end: int = 600, **more: Any) -> dict[str, Any]:
    """A booking of room 31's resource."""
    owner = f"{identifier.lower()}@staff.example.org"
    found = {"id": identifier, "resource_id": "R31", "date": day, "start": start, "end": end}
    return {**found, "title": "Rehearsal", "email": owner, **more}


__all__ = ["NIGHT", "NOW", "ROOMS", "SCHOOL", "Desk", "Resource", "RoomMatches", "booking", "entry"]
