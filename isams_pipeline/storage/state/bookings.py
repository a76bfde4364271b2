"""The tables of the booking store: what Room Booking has of a school. Times are minutes after midnight there."""

from __future__ import annotations

from datetime import date, datetime

from sqlalchemy import Index, UniqueConstraint
from sqlalchemy.orm import Mapped, mapped_column

from isams_pipeline.storage.state.models import Base, UtcDateTime


class BookingSchool(Base):
    """How far a school's store has come. One row per school; whoever changes its store locks it first."""

    __tablename__ = "booking_school"

    school: Mapped[str] = mapped_column(primary_key=True)
    reviewed_at: Mapped[datetime | None] = mapped_column(UtcDateTime)
    """When a person first let bookings be cancelled; before that, all cancellations wait for one."""
    timetable: Mapped[str | None]
    """SHA-256 of the timetable that the entries are; null while some of it is held back."""
    timings: Mapped[str | None]
    """The periods' timings that were last matched, such as `540-595 600-655`."""
    held_back: Mapped[str | None]
    """Why the last sync held something back; null if it did not."""


class BookingCategory(Base):
    """A category of resources."""

    __tablename__ = "booking_category"

    school: Mapped[str] = mapped_column(primary_key=True)
    name: Mapped[str] = mapped_column(primary_key=True)
    hidden: Mapped[bool]
    """Bookers do not see its resources."""


class BookingResource(Base):
    """Something that can be booked: a room, mostly."""

    __tablename__ = "booking_resource"

    school: Mapped[str] = mapped_column(primary_key=True)
    id: Mapped[str] = mapped_column(primary_key=True)
    name: Mapped[str]
    code: Mapped[str | None]
    category: Mapped[str]
    made: Mapped[bool]
    """Made here for a room that matched nothing; not the partner's own."""


class RoomMatch(Base):
    """Which resource a room of iSAMS is."""

    __tablename__ = "room_match"

    school: Mapped[str] = mapped_column(primary_key=True)
    room_id: Mapped[int] = mapped_column(primary_key=True)
    resource_id: Mapped[str]
    how: Mapped[str]
    """name, code, confirmed (by a person) or made (for want of a match)."""
    at: Mapped[datetime] = mapped_column(UtcDateTime)


class BookingTimeslot(Base):
    """A time of day that can be booked."""

    __tablename__ = "booking_timeslot"

    school: Mapped[str] = mapped_column(primary_key=True)
    id: Mapped[str] = mapped_column(primary_key=True)
    name: Mapped[str]
    start: Mapped[int]
    end: Mapped[int]
    made: Mapped[bool]
    """Made here from iSAMS's periods; not the partner's own."""


class TimetableEntry(Base):
    """A resource in use on a date, as the timetable has it."""

    __tablename__ = "timetable_entry"
    __table_args__ = (
        UniqueConstraint("school", "resource_id", "date", "start", "end", "code", "kind", name="uq_timetable_entry"),
    )

    id: Mapped[int] = mapped_column(primary_key=True)
    school: Mapped[str]
    resource_id: Mapped[str]
    date: Mapped[date]
    start: Mapped[int]
    end: Mapped[int]
    code: Mapped[str]
    kind: Mapped[str]
    timeslot_id: Mapped[str]
    subject: Mapped[str]
    staff_ids: Mapped[str]


class Booking(Base):
    """A booking that somebody has made."""

    __tablename__ = "booking"
    __table_args__ = (Index("ix_booking_open", "school", "status", "date"),)

    school: Mapped[str] = mapped_column(primary_key=True)
    id: Mapped[str] = mapped_column(primary_key=True)
    resource_id: Mapped[str]
    date: Mapped[date]
    start: Mapped[int]
    end: Mapped[int]
    title: Mapped[str]
    email: Mapped[str]
    status: Mapped[str]
    """active or cancelled."""
    reason: Mapped[str | None]
    """Why it was cancelled."""
    cancelled_on: Mapped[date | None]
    """The night whose sync cancelled it."""


class Notification(Base):
    """A message to the owner of a cancelled booking."""

    __tablename__ = "notification"
    __table_args__ = (Index(None, "school", "state"),)

    id: Mapped[int] = mapped_column(primary_key=True)
    school: Mapped[str]
    booking_id: Mapped[str]
    message_id: Mapped[str] = mapped_column(unique=True)
    recipient: Mapped[str]
    subject: Mapped[str]
    body: Mapped[str]
    state: Mapped[str]
    """queued, sending, sent, in_doubt (nobody knows whether it went), or failed (refused for good)."""
    attempts: Mapped[int]
    error: Mapped[str | None]
    created_at: Mapped[datetime] = mapped_column(UtcDateTime)
    changed_at: Mapped[datetime] = mapped_column(UtcDateTime)
