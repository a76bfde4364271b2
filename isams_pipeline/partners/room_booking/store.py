"""The booking store: what Room Booking has of a school. Reads and writes within a transaction that the caller holds."""

from __future__ import annotations

from collections.abc import Collection, Iterable, Sequence
from datetime import date, datetime

import pandas as pd
from sqlalchemy import delete, insert, select, update
from sqlalchemy.exc import IntegrityError
from sqlalchemy.orm import Session

from isams_pipeline.datasets.shapes import Json, JsonObject
from isams_pipeline.partners.room_booking.files import UNASSIGNED
from isams_pipeline.partners.room_booking.matching import (
    MADE,
    Resource,
    Room,
    RoomMatches,
    Slot,
    SlotMatches,
    made_resource,
)
from isams_pipeline.partners.room_booking.states import BOOKING_MOVES, BookingState
from isams_pipeline.storage.state.bookings import (
    Booking,
    BookingCategory,
    BookingResource,
    BookingSchool,
    BookingTimeslot,
    Notification,
    RoomMatch,
    TimetableEntry,
)

ENTRY_KEY = ["resource_id", "date", "start", "end", "code", "kind"]
_ENTRY_REST = ["timeslot_id", "subject", "staff_ids"]
ENTRY_COLUMNS = [*ENTRY_KEY, *_ENTRY_REST]
_WHERE_AND_WHEN = ("resource_id", "date", "start", "end")
_MANY = 10_000
"""Rows of one statement."""


class BookingStore:
    """The store of one school, in one transaction."""

    def __init__(self, session: Session, school: str) -> None:
        self._session = session
        self.school = school

    def lock(self) -> BookingSchool:
        """The school's row, held until the transaction ends: whoever else wants to write waits."""
        row = self._session.get(BookingSchool, self.school, with_for_update=True)
        if row is None:
            row = BookingSchool(school=self.school, reviewed_at=None, timetable=None, timings=None, held_back=None)
            try:
                with self._session.begin_nested():
                    self._session.add(row)
            except IntegrityError:  # somebody else was first
                return self._session.get_one(BookingSchool, self.school, with_for_update=True)
        return row

    def held_back(self) -> str | None:
        """Why the last sync held something back; None if it did not."""
        row = self._session.get(BookingSchool, self.school)
        return row.held_back if row else None

    # --- resources and timeslots ----------------------------------------------------------------------------

    def resources(self) -> list[Resource]:
        """All resources."""
        rows = self._session.scalars(select(BookingResource).where(BookingResource.school == self.school))
        return [Resource(row.id, row.name, row.code, row.made) for row in rows]

    def categories(self) -> dict[str, str]:
        """Resource → its category."""
        query = select(BookingResource.id, BookingResource.category).where(BookingResource.school == self.school)
        return {row.id: row.category for row in self._session.execute(query)}

    def hidden_categories(self) -> frozenset[str]:
        """The categories whose resources bookers do not see; Unassigned is one, whether or not anything is in it."""
        query = select(BookingCategory.name).where(BookingCategory.school == self.school, BookingCategory.hidden)
        return frozenset({UNASSIGNED, *self._session.scalars(query)})

    def remembered(self) -> dict[int, tuple[str, str]]:
        """Room → resource and how it was matched."""
        rows = self._session.scalars(select(RoomMatch).where(RoomMatch.school == self.school))
        return {row.room_id: (row.resource_id, row.how) for row in rows}

    def slots(self) -> list[Slot]:
        """All timeslots."""
        rows = self._session.scalars(select(BookingTimeslot).where(BookingTimeslot.school == self.school))
        return [Slot(row.id, row.name, row.start, row.end, row.made) for row in rows]

    def put_resources(self, rows: Iterable[JsonObject]) -> int:
        """Store the partner's resources; known ones are brought up to date. Gives how many."""
        count = 0
        for row in rows:
            self._category(row["category"])
            self._session.merge(BookingResource(school=self.school, made=False, **row))
            count += 1
        return count

    def put_slots(self, rows: Iterable[JsonObject]) -> int:
        """Store the partner's timeslots; those made here give way to them. Gives how many."""
        count = 0
        for row in rows:
            self._session.merge(BookingTimeslot(school=self.school, made=False, **row))
            count += 1
        if count:
            self._session.execute(
                delete(BookingTimeslot).where(BookingTimeslot.school == self.school, BookingTimeslot.made)
            )
        return count

    def put_bookings(self, rows: Iterable[JsonObject]) -> int:
        """Store bookings; one that was cancelled stays so unless it has been moved since. Gives how many."""
        known = {row.id: row for row in self._session.scalars(select(Booking).where(Booking.school == self.school))}
        count = 0
        for row in rows:
            count += 1
            booking = known.get(row["id"])
            if booking is None:
                self._session.add(
                    Booking(school=self.school, status=BookingState.ACTIVE, reason=None, cancelled_on=None, **row)
                )
                continue
            if any(getattr(booking, name) != row[name] for name in _WHERE_AND_WHEN):
                booking.status, booking.reason, booking.cancelled_on = BookingState.ACTIVE, None, None
            for name, value in row.items():
                setattr(booking, name, value)
        return count

    def withdraw_others(self, ids: Collection[str], since: date) -> int:
        """Remove active bookings from a date on whose ids are not among these. Gives how many."""
        gone = set(self.open_bookings(since)["booking_id"]) - set(ids)
        for identifier in gone:
            self._session.delete(self.booking(identifier))
        self._session.flush()
        return len(gone)

    def _category(self, name: str) -> None:
        if self._session.get(BookingCategory, (self.school, name)) is None:
            self._session.add(BookingCategory(school=self.school, name=name, hidden=name == UNASSIGNED))
            self._session.flush()

    def categorise(self, resource_id: str, category: str) -> bool:
        """Move a resource into a category; False if there is no such resource."""
        resource = self._session.get(BookingResource, (self.school, resource_id))
        if resource is None:
            return False
        self._category(category)
        resource.category = category
        return True

    def match(self, room_id: int, resource_id: str, how: str, at: datetime) -> None:
        """Remember which resource a room is."""
        row = self._session.get(RoomMatch, (self.school, room_id))
        if row is None:
            self._session.add(RoomMatch(school=self.school, room_id=room_id, resource_id=resource_id, how=how, at=at))
        elif (row.resource_id, row.how) != (resource_id, how):
            row.resource_id, row.how, row.at = resource_id, how, at

    def remember(self, rooms: Sequence[Room], matches: RoomMatches, slots: SlotMatches, at: datetime) -> None:
        """Store matches; a room without one becomes a resource of its own, hidden until a person categorises it."""
        before = self.remembered()
        known_resources = {resource.id: resource for resource in self.resources()}
        for room_id, (resource_id, how) in matches.matched.items():
            if before.get(room_id) != (resource_id, how):
                self.match(room_id, resource_id, how, at)
            # What was booked while the room had a resource of its own is booked in the real one.
            self._move_bookings(made_resource(room_id), resource_id, among=known_resources)
        for room in rooms:
            if room.id in matches.matched:
                continue
            identifier = made_resource(room.id)
            known = known_resources.get(identifier)
            if known is None:
                self._category(UNASSIGNED)
                self._session.add(
                    BookingResource(
                        school=self.school,
                        id=identifier,
                        name=room.name,
                        code=room.code,
                        category=UNASSIGNED,
                        made=True,
                    )
                )
            elif (known.name, known.code) != (room.name, room.code):
                resource = self._session.get_one(BookingResource, (self.school, identifier))
                resource.name, resource.code = room.name, room.code
            if before.get(room.id) != (identifier, MADE):
                self.match(room.id, identifier, MADE, at)
        self._forget_made({made_resource(room_id) for room_id in matches.matched})
        known_slots = {slot.id: slot for slot in self.slots()}
        for slot in slots.slots:
            if slot.made and known_slots.get(slot.id) != slot:
                self._session.merge(
                    BookingTimeslot(
                        school=self.school, id=slot.id, name=slot.name, start=slot.start, end=slot.end, made=True
                    )
                )
        self._session.flush()

    def _move_bookings(self, made: str, to: str, *, among: Collection[str]) -> None:
        if made in among:
            self._session.execute(
                update(Booking)
                .where(
                    Booking.school == self.school, Booking.resource_id == made, Booking.status == BookingState.ACTIVE
                )
                .values(resource_id=to)
            )

    def _forget_made(self, ids: set[str]) -> None:
        """Remove resources made for rooms that have found their match, unless somebody has booked them."""
        made = {resource.id for resource in self.resources() if resource.made} & ids
        if made:
            booked = set(
                self._session.scalars(
                    select(Booking.resource_id).where(Booking.school == self.school, Booking.resource_id.in_(made))
                )
            )
            gone = made - booked
            self._session.execute(
                delete(BookingResource).where(BookingResource.school == self.school, BookingResource.id.in_(gone))
            )

    # --- timetable entries ----------------------------------------------------------------------------------

    def entries(self) -> pd.DataFrame:
        """All timetable entries: id and ENTRY_COLUMNS."""
        columns = [getattr(TimetableEntry, name) for name in ("id", *ENTRY_COLUMNS)]
        rows = self._session.execute(select(*columns).where(TimetableEntry.school == self.school)).all()
        return pd.DataFrame.from_records(list(map(tuple, rows)), columns=["id", *ENTRY_COLUMNS])

    def replace_entries(self, wanted: pd.DataFrame) -> tuple[int, int, int]:
        """Make the entries be those wanted (ENTRY_COLUMNS; dates as `date`); how many were inserted, updated, deleted.

        Entries that are the same stay as they are: their rows are not touched.
        """
        now = {row[1:7]: row for row in self.entries().itertuples(index=False, name=None)}
        new: list[Json] = []
        changed: list[Json] = []
        for row in wanted[ENTRY_COLUMNS].itertuples(index=False, name=None):
            before = now.pop(row[:6], None)
            if before is None:
                new.append({"school": self.school, **dict(zip(ENTRY_COLUMNS, row, strict=True))})
            elif before[7:] != row[6:]:
                changed.append({"id": before[0], **dict(zip(_ENTRY_REST, row[6:], strict=True))})
        gone = [row[0] for row in now.values()]
        for at in range(0, len(gone), _MANY):
            ids = gone[at : at + _MANY]
            self._session.execute(
                delete(TimetableEntry).where(TimetableEntry.id.in_(ids)),
                execution_options={"synchronize_session": False},
            )
        for at in range(0, len(new), _MANY):
            self._session.execute(insert(TimetableEntry), new[at : at + _MANY])
        if changed:
            self._session.execute(update(TimetableEntry), changed)
        return len(new), len(changed), len(gone)

    # --- bookings -------------------------------------------------------------------------------------------

    def open_bookings(self, since: date) -> pd.DataFrame:
        """Active bookings from a date on: booking_id, resource_id, date, start, end."""
        query = select(
            Booking.id.label("booking_id"), Booking.resource_id, Booking.date, Booking.start, Booking.end
        ).where(Booking.school == self.school, Booking.status == BookingState.ACTIVE, Booking.date >= since)
        rows = list(map(tuple, self._session.execute(query).all()))
        return pd.DataFrame.from_records(rows, columns=["booking_id", "resource_id", "date", "start", "end"])

    def booking(self, identifier: str) -> Booking:
        """One booking."""
        found = self._session.get(Booking, (self.school, identifier))
        if found is None:
            raise KeyError(identifier)
        return found

    def cancel(self, identifier: str, *, reason: str, night: date) -> Booking:
        """Cancel a booking."""
        booking = self.booking(identifier)
        BOOKING_MOVES.check(BookingState(booking.status), BookingState.CANCELLED)
        booking.status, booking.reason, booking.cancelled_on = BookingState.CANCELLED, reason, night
        return booking

    def cancelled(self, night: date) -> list[Booking]:
        """Bookings for that night's day or later that were cancelled by then."""
        query = (
            select(Booking)
            .where(
                Booking.school == self.school,
                Booking.status == BookingState.CANCELLED,
                Booking.date >= night,
                Booking.cancelled_on <= night,
            )
            .order_by(Booking.id)
        )
        return list(self._session.scalars(query))

    def resource_name(self, identifier: str) -> str:
        """A resource's name; its id where it is unknown."""
        resource = self._session.get(BookingResource, (self.school, identifier))
        return resource.name if resource else identifier

    def notify(self, notification: Notification) -> None:
        """Put a message into the outbox."""
        self._session.add(notification)
