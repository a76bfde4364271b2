"""What Room Booking keeps about a person: bookings that they made, and mails to them, by e-mail address only."""

from __future__ import annotations

from collections.abc import Iterator
from email import message_from_bytes
from email.utils import getaddresses

from sqlalchemy import select

from isams_pipeline.datasets.people import EMAIL, Person
from isams_pipeline.orchestration.environment import Environment
from isams_pipeline.orchestration.partner import Held
from isams_pipeline.rules.compare import mailbox
from isams_pipeline.storage.folder import Folder
from isams_pipeline.storage.state.bookings import Booking, Notification


def holds(environment: Environment, school: str, person: Person) -> Iterator[Held]:
    """Bookings and mails by the person's addresses. An address may be shared, so whose they are is not sure."""
    mine = person.ids.get(EMAIL, frozenset())
    if not mine:
        return
    with environment.state.transaction() as session:
        for booking in session.scalars(select(Booking).where(Booking.school == school)):
            if mailbox(booking.email) in mine:
                said = {"id": booking.id, "date": str(booking.date), "title": booking.title, "email": booking.email}
                yield "bookings", "booking", {**said, "status": booking.status}, False
        for note in session.scalars(select(Notification).where(Notification.school == school)):
            if mailbox(note.recipient) in mine:
                said = {"id": str(note.id), "to": note.recipient, "subject": note.subject, "body": note.body}
                yield "outbox", "notification", {**said, "sent": str(note.changed_at)}, False
    folder = Folder(environment.data_dir).child(f"outbox/{school}")
    for name in folder.names():
        sent_to = message_from_bytes(folder.read(name)).get_all("To", [])
        if any(mailbox(address) in mine for _, address in getaddresses(sent_to)):
            yield "outbox", "file", {"file": folder.location(name)}, False
