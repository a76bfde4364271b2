"""Messages on their way: each leaves once. One that may or may not have arrived is in doubt, and waits for a person.

As with any mail here: `queued`, then, just before its text goes over the wire, `sending`, which is committed; then
`sent`, or `failed` where the other side refuses it for good. Whatever ends in between leaves it `sending`, and the next
round calls it `in_doubt`. What could not be handed over at all stays queued, for as long as it takes.
"""

from __future__ import annotations

import contextlib
import json
import time
from collections.abc import Callable, Generator, Sequence
from dataclasses import dataclass
from datetime import timedelta
from email.message import EmailMessage
from email.utils import format_datetime
from enum import StrEnum
from typing import Any
from urllib.parse import urlsplit

import httpx
from sqlalchemy import func, select, update

from isams_pipeline.config import is_loopback, secret_from
from isams_pipeline.config.alerts import AlertSettings
from isams_pipeline.errors import ConfigurationError, MailUnavailable, PipelineError, WrongUse
from isams_pipeline.orchestration import mail
from isams_pipeline.orchestration.alerts.channels import MAIL, Channels, quiet_until
from isams_pipeline.orchestration.alerts.messages import for_webhook
from isams_pipeline.orchestration.environment import Environment
from isams_pipeline.orchestration.mail import ON_THE_WIRE, Refused, SmtpServer
from isams_pipeline.rules.moves import Moves
from isams_pipeline.rules.texts import label, visible
from isams_pipeline.sources.shared.http import Patience, proxy_of, transport_error
from isams_pipeline.sources.shared.transport import SMALL, BoundedTransport
from isams_pipeline.storage.state import claimed
from isams_pipeline.storage.state.alerts import AlertMessage


class AlertState(StrEnum):
    """Where a message to whoever is on call stands."""

    QUEUED = "queued"
    SENDING = "sending"
    """It is being handed over; a round that is broken off leaves it here."""
    SENT = "sent"
    IN_DOUBT = "in_doubt"
    """It may have arrived: only a person sends it again."""
    FAILED = "failed"
    """The other side refused it for good."""
    PUT_AWAY = "put_away"
    """A person has seen to it, or nobody is to get it any more."""


_A_PERSON = frozenset({AlertState.QUEUED, AlertState.PUT_AWAY})
ALERT_MOVES = Moves(
    {
        AlertState.QUEUED: frozenset({AlertState.SENDING, AlertState.FAILED, AlertState.PUT_AWAY}),
        AlertState.SENDING: frozenset({AlertState.SENT, AlertState.QUEUED, AlertState.IN_DOUBT, AlertState.FAILED}),
        AlertState.IN_DOUBT: _A_PERSON,
        AlertState.FAILED: _A_PERSON,
    },
    first=AlertState.QUEUED,
)
"""Where a message may go from where it stands. Sent and put away are ends."""
_HANDED_OVER = (AlertState.QUEUED, AlertState.SENDING)
STUCK = (AlertState.IN_DOUBT, AlertState.FAILED)
SETTLED = (AlertState.SENT, AlertState.PUT_AWAY)
_FIRST_WAIT, _LONGEST_WAIT = timedelta(minutes=1), timedelta(minutes=15)
_WEBHOOK_PATIENCE = Patience(connect=10, read=20, whole=40)
_LATER = {425, 429, 503}
"""The server says that it has not taken the message, and may later."""
_TIMED_OUT = 408
_SMTP_TIMEOUT = 10.0
_ROUND = 40.0
"""Seconds after which a round begins with no further message: a sensor's tick has a minute."""
_FORGOTTEN = timedelta(days=1)
"""So long a message waits whose channel schools.yaml does not name: it may be named again."""
_NO_MAIL, _IMPOSSIBLE = "it cannot be written as a mail", 0


class NotNow(Exception):
    """The message was not handed over; it may be later."""


class InDoubt(Exception):
    """The message may have arrived."""


class _Taken(Exception):
    """Another process hands the message over."""


@dataclass(frozen=True)
class Posted:
    """What a round has sent, and what it could not: in words, without an address."""

    sent: int
    problems: tuple[str, ...]


def post(environment: Environment, to: Channels) -> Posted:
    """Send what is queued and due to the channels that there are; whoever calls holds the lock of alerts."""
    _settle(environment)
    done = send(environment, to, _due(environment, to))
    problems = [problem for problem in done.values() if problem is not None]
    return Posted(len(done) - len(problems), tuple(dict.fromkeys(problems)))


def send(
    environment: Environment, to: Channels, identifiers: Sequence[int], *, again: bool = True
) -> dict[int, str | None]:
    """Send messages; gives what is wrong with each, in words, or None. What there is no time for is not in it.

    `again`: what does not go now is tried again by a later round.
    """
    done: dict[int, str | None] = {}
    until = time.monotonic() + _ROUND
    with contextlib.ExitStack() as stack:
        hands = _Hands(environment, to, stack)
        for identifier in identifiers:
            if time.monotonic() > until:
                break  # it stays in line for the next round
            with contextlib.suppress(_Taken):
                done[identifier] = _send(environment, identifier, hands, again=again)
    return done


def in_line(environment: Environment) -> list[AlertMessage]:
    """Messages that wait to be sent, the oldest first; those with an error have been tried."""
    query = select(AlertMessage).where(AlertMessage.state == AlertState.QUEUED.value)
    with environment.state.transaction() as session:
        return list(session.scalars(query.order_by(AlertMessage.id).limit(200)))


def undelivered(environment: Environment) -> int:
    """How many messages have not reached anybody although they were tried: a person has to see why."""
    tried = (AlertMessage.state == AlertState.QUEUED.value) & AlertMessage.error.is_not(None)
    waits = AlertMessage.state.in_([state.value for state in STUCK])
    query = select(func.count()).select_from(AlertMessage).where(tried | waits)
    with environment.state.transaction() as session:
        return session.scalar(query) or 0


def stuck(environment: Environment) -> list[AlertMessage]:
    """Messages that wait for a person: in doubt, or refused for good; the newest first."""
    query = select(AlertMessage).where(AlertMessage.state.in_([state.value for state in STUCK]))
    with environment.state.transaction() as session:
        return list(session.scalars(query.order_by(AlertMessage.id.desc()).limit(200)))


def decide(environment: Environment, identifier: int, state: AlertState) -> None:
    """Send a message again, or put it away: a person says so. Raises WrongUse for one that does not wait for that."""
    with environment.state.transaction() as session:
        one = session.get(AlertMessage, identifier)
        if one is None or one.state not in {state.value for state in STUCK}:
            raise WrongUse(
                f"There is no message {identifier} in doubt or refused", remedy="`isams-pipeline alerts` lists them."
            )
        now = environment.clock()
        one.state, one.attempts, one.not_before, one.changed_at = state.value, 0, now, now


def put_away(environment: Environment, identifiers: Sequence[int]) -> None:
    """Let messages that have not arrived be."""
    waiting = [AlertState.QUEUED.value, *(state.value for state in STUCK)]
    with environment.state.transaction() as session:
        session.execute(
            update(AlertMessage)
            .where(AlertMessage.id.in_(identifiers), AlertMessage.state.in_(waiting))
            .values(state=AlertState.PUT_AWAY.value, changed_at=environment.clock())
        )


def _settle(environment: Environment) -> None:
    """What a round that was broken off left: nobody knows whether it arrived."""
    with environment.state.transaction() as session:
        for one in session.scalars(select(AlertMessage).where(AlertMessage.state == AlertState.SENDING.value)):
            one.state, one.changed_at = AlertState.IN_DOUBT.value, environment.clock()
            one.error = "the round that sent it was broken off"


def _due(environment: Environment, to: Channels) -> list[int]:
    """The messages that may go now; what was not sent before a channel's quiet hours waits for their end."""
    now = environment.clock()
    query = select(AlertMessage).where(AlertMessage.state == AlertState.QUEUED.value, AlertMessage.not_before <= now)
    found: list[int] = []
    with environment.state.transaction() as session:
        for one in session.scalars(query.order_by(AlertMessage.id)):
            told = to.get(one.channel)
            if told is None:
                if now - one.created_at > _FORGOTTEN:
                    one.state, one.changed_at = AlertState.PUT_AWAY.value, now
                    one.error = "schools.yaml does not name this channel any more"
                continue
            one.not_before = min(quiet_until(each, now) for each in told)
            if one.not_before <= now:
                found.append(one.id)
    return found


def _send(environment: Environment, identifier: int, hands: _Hands, *, again: bool) -> str | None:
    """Send one; gives what is wrong, in words, or None."""
    with environment.state.transaction() as session:
        one = session.get_one(AlertMessage, identifier)
    attempts = one.attempts + 1
    whose = _whose(one.channel)

    def ends(state: AlertState, error: str | None, wait: timedelta = timedelta(0)) -> None:
        then = environment.clock() + wait
        _set(environment, identifier, state, attempts=attempts, error=error, not_before=then)

    try:
        with hands.to(one.channel) as hand:
            hand(one, lambda: _claim(environment, identifier))
    except NotNow as later:
        wait = min(_FIRST_WAIT * 2 ** min(attempts - 1, 10), _LONGEST_WAIT)
        ends(AlertState.QUEUED, str(later), wait)
        return f"{whose}: {later}" + (f"; tried again in {round(wait.total_seconds() / 60)} min" if again else "")
    except Refused as refused:
        said = _NO_MAIL if refused.code == _IMPOSSIBLE else f"the server said {refused.code}"
        ends(AlertState.FAILED if refused.for_good else AlertState.QUEUED, said, _LONGEST_WAIT)
        return f"{whose}: {said}"
    except InDoubt as doubt:
        ends(AlertState.IN_DOUBT, str(doubt))
        return f"{whose}: {doubt}; it may have arrived, so it is not sent again by itself"
    ends(AlertState.SENT, None)
    return None


def _claim(environment: Environment, identifier: int) -> None:
    """Say that a message is being handed over, where nobody else does; whoever holds which lock."""
    with environment.state.transaction() as session:
        if not claimed(session, AlertMessage, identifier, _HANDED_OVER, now=environment.clock()):
            raise _Taken


def _set(environment: Environment, identifier: int, state: AlertState, **values: Any) -> None:
    with environment.state.transaction() as session:
        one = session.get_one(AlertMessage, identifier)
        ALERT_MOVES.check(AlertState(one.state), state)
        one.state, one.changed_at = state.value, environment.clock()
        for name, value in values.items():
            setattr(one, name, value)


def _whose(channel: str) -> str:
    """A channel as a problem names it: of an address only that it is one."""
    return MAIL if channel.startswith(f"{MAIL} ") else channel


Hand = Callable[[AlertMessage, Callable[[], None]], None]
"""Gives a message over; calls the second just before there is no way back. Raises NotNow, Refused, InDoubt."""


class _Hands:
    """Who hands messages over, each connected when it is first needed."""

    def __init__(self, environment: Environment, to: Channels, stack: contextlib.ExitStack) -> None:
        self._environment, self._to, self._stack = environment, to, stack
        self._server: SmtpServer | None = None
        self._is_down: dict[str, str] = {}

    @contextlib.contextmanager
    def to(self, channel: str) -> Generator[Hand, None, None]:
        kind, _, rest = channel.partition(" ")
        place = MAIL if kind == MAIL else channel
        if place in self._is_down:  # one dead server does not cost a wait, nor a doubt, for each of its messages
            raise NotNow(self._is_down[place])
        try:
            yield self._mail(rest) if kind == MAIL else self._webhook(rest, channel)
        except (NotNow, InDoubt) as trouble:
            self._is_down[place] = str(trouble)
            raise

    def _mail(self, recipient: str) -> Hand:
        settings = self._environment.settings.alerts

        def hand(one: AlertMessage, no_way_back: Callable[[], None]) -> None:
            if self._server is None:
                self._server = self._stack.enter_context(mail_server(self._environment, settings))
            try:
                data = _mail(one, settings.mail_from, recipient).as_bytes(policy=ON_THE_WIRE)
                self._server.envelope(settings.mail_from, recipient)
            except MailUnavailable as error:
                raise NotNow(error.what) from None
            except ValueError:  # an address that no server can be told
                raise Refused(_IMPOSSIBLE, for_good=True) from None
            no_way_back()
            try:
                self._server.text(data)
            except MailUnavailable as error:
                raise InDoubt(error.what) from None

        return hand

    def _webhook(self, variable: str, channel: str) -> Hand:
        as_whose = next((told.channel.format for told in self._to.get(channel, ())), None)

        def hand(one: AlertMessage, no_way_back: Callable[[], None]) -> None:
            try:
                url = webhook_url(self._environment, variable)
            except ConfigurationError as error:
                raise NotNow(f"{error.what}. {error.remedy}".rstrip(". ")) from None
            sent = for_webhook(one.subject, one.body, one.facts, as_whose=as_whose or "json", message_id=one.message_id)
            no_way_back()
            code = post_json(url, sent, one.message_id)
            if code in range(200, 300):
                return
            if code in _LATER or (code in range(300, 500) and code != _TIMED_OUT):
                raise Refused(code, for_good=code not in _LATER)
            raise InDoubt(f"the server said {code}")  # something on the way may have failed after it was taken

        return hand


def mail_server(environment: Environment, settings: AlertSettings) -> SmtpServer:
    """The mail server of alerts, not yet connected. Raises NotNow where there is none, or its secret is not set."""
    try:
        # Once only: what does not go now is tried again by a later round.
        found = mail.mail_server(settings, environment.variables, timeout=_SMTP_TIMEOUT, tries=1)
    except ConfigurationError as error:
        raise NotNow(error.what) from None
    if found is None:
        raise NotNow("schools.yaml names no mail server any more")
    return found


def webhook_url(environment: Environment, variable: str) -> str:
    """Where a webhook is; raises ConfigurationError, which does not name it."""
    url = secret_from(environment.variables, variable)
    try:
        parts, _ = urlsplit(url), httpx.URL(url)
        is_one = bool(parts.hostname) and (parts.port is None or parts.port > 0)
    except (ValueError, httpx.InvalidURL):
        parts, is_one = urlsplit(""), False
    if not is_one or (parts.scheme != "https" and not (parts.scheme == "http" and is_loopback(parts.hostname))):
        raise ConfigurationError(
            f"{variable} does not hold the address of a webhook",
            remedy="Let it begin with https://, and copy it whole.",
        )
    return url


class _Addressed(httpx.BaseTransport):
    """Sends to an address that no log sees: who knows a webhook's path can write there."""

    def __init__(self, inner: httpx.BaseTransport, url: str) -> None:
        self._inner, self._url = inner, url

    def handle_request(self, request: httpx.Request) -> httpx.Response:
        whole = httpx.Request(
            request.method, self._url, headers=request.headers, stream=request.stream, extensions=request.extensions
        )
        return self._inner.handle_request(whole)

    def close(self) -> None:
        self._inner.close()


def post_json(url: str, body: dict[str, Any], message_id: str) -> int:
    """Post once; gives the status. Raises NotNow where nothing was sent, InDoubt where it may have arrived."""
    parts, patience = urlsplit(url), _WEBHOOK_PATIENCE
    headers = {"User-Agent": "isams-pipeline", "Content-Type": "application/json", "Idempotency-Key": message_id}
    timeout = httpx.Timeout(patience.read, connect=patience.connect)
    try:
        transport = _Addressed(BoundedTransport(patience.bounds(SMALL), proxy=proxy_of(url)), url)
        with httpx.Client(transport=transport, timeout=timeout, headers=headers, follow_redirects=False) as client:
            sent = json.dumps(body, ensure_ascii=False)
            return client.post(f"{parts.scheme}://{parts.netloc}/", content=sent).status_code
    except httpx.HTTPError as error:
        found = transport_error(error, "The webhook's server", "the webhook's address")
        raise (InDoubt if found.taken else NotNow)(found.what) from None
    except ConfigurationError as error:  # the proxy's address
        raise NotNow(error.what) from None
    except PipelineError as error:  # an answer that is too long: the message has arrived
        raise InDoubt(error.what) from None


def _mail(one: AlertMessage, sender: str, recipient: str) -> EmailMessage:
    message = EmailMessage()
    message["Message-ID"] = f"<{one.message_id}@{sender.rpartition('@')[2]}>"
    message["Date"] = format_datetime(one.created_at)
    message["From"], message["To"], message["Subject"] = sender, recipient, label(f"[isams-pipeline] {one.subject}")
    message["Auto-Submitted"] = "auto-generated"
    message.set_content(visible(one.body))
    return message
