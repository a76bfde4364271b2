"""What Room Booking keeps about a person: bookings that they made, and mails to them, by e-mail address only."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator, Mapping
from email import message_from_bytes
from email.utils import getaddresses

from sqlalchemy import select

from isams_pipeline.datasets.people import EMAIL, STAFF, Person
from isams_pipeline.orchestration.environment import Environment
from isams_pipeline.orchestration.partner import Held, TakenOut
from isams_pipeline.partners.room_booking.settings import RoomBookingSettings
from isams_pipeline.rules.compare import mailbox
from isams_pipeline.storage.state.bookings import Booking, Notification, TimetableEntry


def holds(environment: Environment, school: str, person: Person) -> Iterator[Held]:
    """Bookings and mails by the person's addresses. An address may be shared, so whose they are is not sure."""
    yield from _of_staff(environment, school, person)
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
    folder = environment.data.child(f"outbox/{school}")
    for name in folder.names():
        sent_to = message_from_bytes(folder.read(name)).get_all("To", [])
        if any(mailbox(address) in mine for _, address in getaddresses(sent_to)):
            yield "outbox", "file", {"file": folder.location(name)}, False


def erases(environment: Environment, school: str, person: Person, _why: Mapping[str, str]) -> TakenOut:
    """Remove a teacher's calendar and number in the timetable; bookings and mails by an address that is theirs alone.

    A booking that the partner still has comes again with its next file.
    """
    counts: Counter[str] = Counter()
    with environment.state.transaction() as session:
        for entry in session.scalars(select(TimetableEntry).where(TimetableEntry.school == school)):
            if person.is_meant(STAFF, entry.staff_ids):
                entry.staff_ids = person.left_of(STAFF, entry.staff_ids)
                counts["bookings"] += 1
        for booking in session.scalars(select(Booking).where(Booking.school == school)):
            if person.is_meant(EMAIL, booking.email):
                session.delete(booking)
                counts["bookings"] += 1
        for note in session.scalars(select(Notification).where(Notification.school == school)):
            if person.is_meant(EMAIL, note.recipient):
                session.delete(note)
                counts["outbox"] += 1
    folder = environment.data.child(f"outbox/{school}")
    for name in folder.names():
        sent_to = message_from_bytes(folder.read(name)).get_all("To", [])
        if any(person.is_meant(EMAIL, address) for _, address in getaddresses(sent_to)):
            folder.remove(name)
            counts["outbox"] += 1
    for key, target in environment.targets_of(school, RoomBookingSettings.key) if person.entity == "staff" else ():
        place = f"{key}/{school}/calendars/staff"
        for name in target.names(place):
            if name.endswith(".ics") and person.is_meant(STAFF, name.removesuffix(".ics")):
                target.remove(f"{place}/{name}")
                counts["exports"] += 1
    return TakenOut(counts)


def _of_staff(environment: Environment, school: str, person: Person) -> Iterator[Held]:
    """A teacher's lessons in the timetable, and their calendar at the partner."""
    if person.entity != "staff":
        return
    with environment.state.transaction() as session:
        for entry in session.scalars(select(TimetableEntry).where(TimetableEntry.school == school)):
            if person.is_meant(STAFF, entry.staff_ids):
                said = {"date": str(entry.date), "code": entry.code, "subject": entry.subject, "staff": entry.staff_ids}
                yield "bookings", "timetable entry", said, True
    for key, target in environment.targets_of(school, RoomBookingSettings.key):
        path = f"{key}/{school}/calendars/staff/{person.id}.ics"
        if target.exists(path):
            yield "exports", "calendar", {"file": target.location(path)}, True
