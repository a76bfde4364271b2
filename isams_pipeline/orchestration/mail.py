"""Mail on its way: a server or a folder that takes one message at a time, and says what became of it.

First the envelope, which may be refused, then the text, after which there is no way back.
"""

from __future__ import annotations

import contextlib
import hashlib
import smtplib
import socket
import ssl
from collections.abc import Mapping
from email import policy
from email.parser import BytesHeaderParser
from enum import StrEnum
from typing import Any, Protocol, Self
from urllib.parse import urlsplit

from isams_pipeline.config import is_loopback, secret_from
from isams_pipeline.config.values import MailServerSettings
from isams_pipeline.errors import MailUnavailable
from isams_pipeline.rules.moves import Moves
from isams_pipeline.sources.shared.http import Patience, patiently
from isams_pipeline.storage.folder import Folder

ON_THE_WIRE = policy.SMTP.clone(cte_type="7bit")
"""CRLF at the end of lines, which some servers insist on, and nothing that needs an extension."""
_TRIES = 3
_TIMEOUT = 30.0
_TAKEN, _FOR_GOOD = 250, 500


class MailState(StrEnum):
    """Where a message stands."""

    QUEUED = "queued"
    SENDING = "sending"
    """The server has been told whom it is for; a run that is broken off leaves it here."""
    SENT = "sent"
    IN_DOUBT = "in_doubt"
    """It may have arrived: only a person queues it again."""
    FAILED = "failed"


MAIL_MOVES = Moves(
    {
        MailState.QUEUED: frozenset({MailState.SENDING, MailState.FAILED}),
        MailState.SENDING: frozenset({MailState.SENT, MailState.QUEUED, MailState.IN_DOUBT, MailState.FAILED}),
        MailState.IN_DOUBT: frozenset({MailState.QUEUED}),
        MailState.FAILED: frozenset({MailState.QUEUED}),
    },
    first=MailState.QUEUED,
)
"""Where a message may go from where it stands. Sent is the end."""


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
        tries: int = _TRIES,
    ) -> None:
        parts = urlsplit(url)
        self._host, self._implicit = parts.hostname or "", parts.scheme == "smtps"
        self._port = parts.port or (465 if self._implicit else 587)
        self._log_in = (user, password) if user and password else None
        self._timeout = timeout
        self._patience = Patience(attempts=tries, first_wait=wait, longest_wait=30)
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


def _in_words(error: Exception) -> str:
    match error:
        case ConnectionRefusedError():
            return "it refused the connection"
        case socket.gaierror():
            return "its name is not known here (DNS)"
        case TimeoutError():
            return "it did not answer in time"
        case _:
            return type(error).__name__


def _unavailable(error: Exception, host: str) -> MailUnavailable:
    # The server's own words may quote an address.
    code = getattr(error, "smtp_code", None)
    return MailUnavailable(
        f"The mail server cannot be used: {_in_words(error)}",
        host=host,
        code=code,
        remedy="Check smtp_url, smtp_user and the password, and that the server takes mail from this machine. "
        "What was not sent waits, and is tried again.",
    )


def mail_server(
    settings: MailServerSettings, variables: Mapping[str, str], *, school: str | None = None, **options: Any
) -> SmtpServer | None:
    """The mail server that settings name, not yet connected; None where they name none. Raises MissingSecret."""
    if settings.smtp_url is None:
        return None
    secret = settings.smtp_secret
    password = secret_from(variables, secret, school=school) if secret is not None else None
    return SmtpServer(settings.smtp_url, settings.smtp_user, password, **options)
