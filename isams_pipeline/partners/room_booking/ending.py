"""What Room Booking keeps of a school that has come to its end: bookings after their date, and mails that have gone."""

from __future__ import annotations

from collections.abc import Iterator
from datetime import UTC, datetime, time

from sqlalchemy import select

from isams_pipeline.orchestration.environment import Environment
from isams_pipeline.orchestration.mail import MailState
from isams_pipeline.orchestration.retention import old_files, rows_ending
from isams_pipeline.storage.ending import Cutoff, Ending
from isams_pipeline.storage.state.bookings import Booking, Notification

_OPEN = [MailState.QUEUED.value, MailState.SENDING.value, MailState.IN_DOUBT.value]


def ends(environment: Environment, school: str, before: Cutoff) -> Iterator[Ending]:
    """Bookings and messages of which nothing is to be done any more."""
    if (bookings := before("bookings")) is not None:
        written_about = select(Notification.booking_id).where(
            Notification.school == school, Notification.state.in_(_OPEN)
        )
        yield rows_ending(
            "bookings",
            environment,
            Booking,
            Booking.school == school,
            Booking.date < bookings,
            Booking.id.not_in(written_about),
        )
    if (outbox := before("outbox")) is not None:
        yield rows_ending(
            "outbox",
            environment,
            Notification,
            Notification.school == school,
            Notification.state.not_in(_OPEN),
            Notification.changed_at < datetime.combine(outbox, time(), UTC),
        )
        yield old_files("outbox", environment, f"outbox/{school}", outbox)
