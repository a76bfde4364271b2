"""The outbox: messages leave it once. One that may or may not have gone is in doubt, and waits for a person.

A message is `queued`; just before its text goes over the wire it becomes `sending`, and that is committed; then it is
`sent`, or `failed` if the server refuses it for good. Whatever ends in between, a crash or a dead line, leaves it
`sending`: nobody knows whether it arrived, so the next round calls it `in_doubt`.
"""

from __future__ import annotations

import contextlib
import hashlib
import smtplib
import ssl
from dataclasses import dataclass, field
from email import policy
from email.message import EmailMessage
from email.parser import BytesHeaderParser
from email.utils import format_datetime
from typing import Any, Protocol, Self
from urllib.parse import urlsplit

from sqlalchemy import func, select

from isams_pipeline.clock import Clock
from isams_pipeline.config import is_loopback
from isams_pipeline.errors import MailUnavailable, WrongUse
from isams_pipeline.partners.room_booking.states import MAIL_MOVES, MailState
from isams_pipeline.rules.texts import label, visible
from isams_pipeline.sources.shared.http import Patience, patiently
from isams_pipeline.storage.folder import Folder
from isams_pipeline.storage.state import StateDatabase
from isams_pipeline.storage.state.bookings import Notification

MAX_ATTEMPTS = 10
"""A message that the server puts off this often has failed."""
_TRIES = 3
_ON_THE_WIRE = policy.SMTP.clone(cte_type="7bit")
"""CRLF at the end of lines, which some servers insist on, and nothing that needs an extension."""
_TIMEOUT = 30.0
_TAKEN, _FOR_GOOD = 250, 500
_NO_MAIL = "it cannot be written as a mail"


class Refused(Exception):
    """The server did not take a message. `for_good` unless it may take it later."""

    def __init__(self, code: int, *, for_good: bool) -> None:
        super().__init__(code)
        self.code, self.for_good = code, for_good


class Mailer(Protocol):
    """Takes one message: first the envelope, which may be refused, then the text, after which there is no way back.

    `has` says whether a message has arrived; None where that cannot be known.
    """

    def envelope(self, sender: str, recipient: str) -> None: ...

    def text(self, data: bytes) -> None: ...

    def has(self, message_id: str) -> bool | None: ...


class MailFolder:
    """Messages as `.eml` files, for schools without a mail server."""

    def __init__(self, folder: Folder) -> None:
        self._folder = folder

    def envelope(self, sender: str, recipient: str) -> None:
        """A folder refuses nobody."""

    def text(self, data: bytes) -> None:
        """Write the message; the same message is the same file."""
        message_id = BytesHeaderParser(policy=policy.default).parsebytes(data)["Message-ID"]
        self._folder.write(self._name(str(message_id)), data.replace(b"\r\n", b"\n"))

    def has(self, message_id: str) -> bool:
        """Whether the message is there: a file has its name only when it is whole."""
        return self._folder.exists(self._name(message_id))

    @staticmethod
    def _name(message_id: str) -> str:
        return f"{hashlib.sha256(message_id.encode()).hexdigest()[:32]}.eml"


class SmtpServer:
    """A mail server, connected when the first message is sent. TLS unless it is on this machine."""

    def __init__(
        self,
        url: str,
        user: str | None = None,
        password: str | None = None,
        *,
        timeout: float = _TIMEOUT,
        wait: float = 1.0,
    ) -> None:
        parts = urlsplit(url)
        self._host, self._implicit = parts.hostname or "", parts.scheme == "smtps"
        self._port = parts.port or (465 if self._implicit else 587)
        self._log_in = (user, password) if user and password else None
        self._timeout = timeout
        self._patience = Patience(attempts=_TRIES, first_wait=wait, longest_wait=30)
        self._connection: smtplib.SMTP | None = None

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self._leave()

    def envelope(self, sender: str, recipient: str) -> None:
        """Say who writes to whom; raises Refused, or MailUnavailable after some tries."""
        patiently(lambda: self._envelope(sender, recipient), self._patience, transient=MailUnavailable)

    def _envelope(self, sender: str, recipient: str) -> None:
        try:
            connection = self._connected()
            code, words = connection.mail(sender)
            if code != _TAKEN:
                # The matter of no one message: the log-in, or mail_from.
                raise smtplib.SMTPResponseException(code, words)
            code, _ = connection.rcpt(recipient)
            if code not in {_TAKEN, 251}:
                with contextlib.suppress(smtplib.SMTPException, OSError):
                    connection.rset()
                raise Refused(code, for_good=code >= _FOR_GOOD)
        except (smtplib.SMTPException, OSError) as error:
            self._leave()
            raise _unavailable(error, self._host) from None

    def has(self, message_id: str) -> None:  # noqa: ARG002
        """A server does not tell."""
        return

    def text(self, data: bytes) -> None:
        """Send the text; raises Refused if the server says no. Any other end leaves the message in doubt."""
        if self._connection is None:
            raise _unavailable(smtplib.SMTPServerDisconnected(), self._host)  # the envelope did not get through
        try:
            code, _ = self._connection.data(data)
        except smtplib.SMTPDataError as error:
            self._leave()
            raise Refused(error.smtp_code, for_good=error.smtp_code >= _FOR_GOOD) from None
        except (smtplib.SMTPException, OSError) as error:
            self._leave()
            raise _unavailable(error, self._host) from None
        if code != _TAKEN:
            raise Refused(code, for_good=code >= _FOR_GOOD)

    def greet(self) -> None:
        """Connect, log in and leave, as before a first message; raises MailUnavailable."""
        try:
            self._connected().noop()
        except (smtplib.SMTPException, OSError) as error:
            raise _unavailable(error, self._host) from None
        finally:
            self._leave()

    def _connected(self) -> smtplib.SMTP:
        if self._connection is None:
            if self._implicit:
                connection: smtplib.SMTP = smtplib.SMTP_SSL(
                    self._host, self._port, timeout=self._timeout, context=ssl.create_default_context()
                )
            else:
                connection = smtplib.SMTP(self._host, self._port, timeout=self._timeout)
                connection.ehlo()
                if not is_loopback(self._host):
                    connection.starttls(context=ssl.create_default_context())
            connection.ehlo()
            if self._log_in is not None:
                connection.login(*self._log_in)
            self._connection = connection
        return self._connection

    def _leave(self) -> None:
        if self._connection is not None:
            with contextlib.suppress(smtplib.SMTPException, OSError):
                self._connection.quit()
            self._connection = None


def _unavailable(error: Exception, host: str) -> MailUnavailable:
    # The server's own words may quote an address.
    code = getattr(error, "smtp_code", None)
    return MailUnavailable(
        f"The mail server cannot be used: {type(error).__name__}",
        host=host,
        code=code,
        remedy="Check smtp_url, smtp_user and the password, and that the server takes mail from this machine. "
        "What was not sent stays in the outbox.",
    )


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
            data = _message(note, sender).as_bytes(policy=_ON_THE_WIRE)
        except Exception:  # noqa: BLE001  # the mail library's errors are of many kinds
            self._set(identifier, state=MailState.FAILED, error=_NO_MAIL)
            return
        try:
            mailer.envelope(sender, note.recipient)
            self._set(identifier, state=MailState.SENDING)
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

    def _set(self, identifier: int, **values: Any) -> None:
        with self._state.transaction() as session:
            note = session.get_one(Notification, identifier)
            if "state" in values:
                MAIL_MOVES.check(MailState(note.state), values["state"])
            for name, value in {**values, "changed_at": self._clock()}.items():
                setattr(note, name, value)


def _message(note: Notification, sender: str) -> EmailMessage:
    message = EmailMessage()
    message["Message-ID"] = note.message_id
    message["Date"] = format_datetime(note.created_at)
    message["From"], message["To"], message["Subject"] = sender, note.recipient, label(note.subject)
    message["Auto-Submitted"] = "auto-generated"
    message.set_content(visible(note.body))
    return message
