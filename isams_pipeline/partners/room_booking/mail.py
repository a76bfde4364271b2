"""The outbox: messages leave it once. One that may or may not have gone is in doubt, and waits for a person.

A message is `queued`; just before its text goes over the wire it becomes `sending`, and that is committed; then it is
`sent`, or `failed` if the server refuses it for good. Whatever ends in between, a crash or a dead line, leaves it
`sending`: nobody knows whether it arrived, so the next round calls it `in_doubt`.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from email.message import EmailMessage
from email.utils import format_datetime
from typing import TYPE_CHECKING, Any

from sqlalchemy import func, select

from isams_pipeline.clock import Clock
from isams_pipeline.errors import WrongUse
from isams_pipeline.moved import found_elsewhere
from isams_pipeline.orchestration.mail import MAIL_MOVES, ON_THE_WIRE, Mailer, MailState, Refused
from isams_pipeline.rules.texts import label, visible
from isams_pipeline.storage.state import StateDatabase, claimed
from isams_pipeline.storage.state.bookings import Notification

MAX_ATTEMPTS = 10
"""A message that the server puts off this often has failed."""
_NO_MAIL = "it cannot be written as a mail"


@dataclass
class Posted:
    """How a round through the outbox ended."""

    counts: dict[str, int] = field(default_factory=dict[str, int])
    """State → messages in it, all of the school's."""


class Outbox:
    """A school's outbox. One process at a time goes through it: the caller holds the school's lock."""

    def __init__(self, state: StateDatabase, school: str, clock: Clock) -> None:
        self._state, self._school, self._clock = state, school, clock

    def post(self, mailer: Mailer, sender: str) -> Posted:
        """Send what is queued, each once; raises MailUnavailable if the server cannot be used."""
        self._settle(mailer)
        for identifier in self._ids(MailState.QUEUED):
            self._send(identifier, mailer, sender)
        return Posted(self.counts())

    def _settle(self, mailer: Mailer) -> None:
        """What a round that was broken off left: it went, or it did not, or nobody knows."""
        for identifier in self._ids(MailState.SENDING):
            with self._state.transaction() as session:
                arrived = mailer.has(session.get_one(Notification, identifier).message_id)
            self._set(
                identifier,
                state=MailState.IN_DOUBT if arrived is None else MailState.SENT if arrived else MailState.QUEUED,
            )

    def counts(self) -> dict[str, int]:
        """Messages by state."""
        query = select(Notification.state, func.count()).where(Notification.school == self._school)
        with self._state.transaction() as session:
            return {state: int(count) for state, count in session.execute(query.group_by(Notification.state))}

    def waiting(self) -> list[Notification]:
        """Messages that have not gone for sure, oldest first."""
        query = select(Notification).where(Notification.school == self._school, Notification.state != MailState.SENT)
        with self._state.transaction() as session:
            return list(session.scalars(query.order_by(Notification.id)))

    def send_again(self, identifier: int) -> None:
        """Queue a message that is in doubt or has failed: a person says so. Raises WrongUse for any other."""
        with self._state.transaction() as session:
            found = session.get(Notification, identifier)
            if (
                found is None
                or found.school != self._school
                or found.state == MailState.QUEUED
                or not MAIL_MOVES.allows(MailState(found.state), MailState.QUEUED)
            ):
                raise WrongUse(
                    f"There is no message {identifier} in doubt",
                    school=self._school,
                    remedy=f"`isams-pipeline rooms mail {self._school}` lists them.",
                )
            found.state, found.attempts, found.changed_at = MailState.QUEUED, 0, self._clock()

    def _ids(self, state: str) -> list[int]:
        query = select(Notification.id).where(Notification.school == self._school, Notification.state == state)
        with self._state.transaction() as session:
            return list(session.scalars(query.order_by(Notification.id)))

    def _send(self, identifier: int, mailer: Mailer, sender: str) -> None:
        with self._state.transaction() as session:
            note = session.get_one(Notification, identifier)
        try:
            # Before it counts as sending: what no mail can be is this message's matter alone.
            data = _message(note, sender).as_bytes(policy=ON_THE_WIRE)
        except Exception:  # noqa: BLE001  # the mail library's errors are of many kinds
            self._set(identifier, state=MailState.FAILED, error=_NO_MAIL)
            return
        try:
            mailer.envelope(sender, note.recipient)
            if not self._is_mine(identifier):
                return  # another round hands it over
            mailer.text(data)
        except ValueError:
            # An address that no server can be told; it must not stand in the way of the others.
            self._set(identifier, state=MailState.FAILED, error=_NO_MAIL)
        except Refused as refusal:
            attempts = note.attempts + 1
            over = refusal.for_good or attempts >= MAX_ATTEMPTS
            self._set(
                identifier,
                state=MailState.FAILED if over else MailState.QUEUED,
                attempts=attempts,
                error=f"the server said {refusal.code}",
            )
        else:
            self._set(identifier, state=MailState.SENT, error=None)

    def _is_mine(self, identifier: int) -> bool:
        with self._state.transaction() as session:
            moves = (MailState.QUEUED, MailState.SENDING)
            return claimed(session, Notification, identifier, moves, now=self._clock())

    def _set(self, identifier: int, **values: Any) -> None:
        with self._state.transaction() as session:
            note = session.get_one(Notification, identifier)
            if "state" in values:
                MAIL_MOVES.check(MailState(note.state), values["state"])
            for name, value in {**values, "changed_at": self._clock()}.items():
                setattr(note, name, value)


def counts_by_school(state: StateDatabase) -> dict[str, dict[str, int]]:
    """School → state → messages in it."""
    query = select(Notification.school, Notification.state, func.count())
    found: dict[str, dict[str, int]] = {}
    with state.transaction() as session:
        for school, name, count in session.execute(query.group_by(Notification.school, Notification.state)):
            found.setdefault(school, {})[name] = int(count)
    return found


def _message(note: Notification, sender: str) -> EmailMessage:
    message = EmailMessage()
    message["Message-ID"] = note.message_id
    message["Date"] = format_datetime(note.created_at)
    message["From"], message["To"], message["Subject"] = sender, note.recipient, label(note.subject)
    message["Auto-Submitted"] = "auto-generated"
    message.set_content(visible(note.body))
    return message


if not TYPE_CHECKING:  # who checks types sees what is there

    def __getattr__(name: str) -> object:
        """Names of before, with a warning."""
        return found_elsewhere(__name__, name)
