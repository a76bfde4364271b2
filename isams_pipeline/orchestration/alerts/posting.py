"""Messages on their way: each leaves once. One that may or may not have arrived is in doubt, and waits for a person.

As with any mail here: `queued`, then, just before its text goes over the wire, `sending`, which is committed; then
`sent`, or `failed` where the other side refuses it for good. Whatever ends in between leaves it `sending`, and the next
round calls it `in_doubt`. What could not be handed over at all stays queued, for as long as it takes.
"""

from __future__ import annotations

import contextlib
import json
import time
from collections.abc import Callable, Collection, Generator, Sequence
from dataclasses import dataclass
from datetime import timedelta
from email.message import EmailMessage
from email.utils import format_datetime
from typing import Any
from urllib.parse import urlsplit

import httpx
from sqlalchemy import select

from isams_pipeline.config import is_loopback, secret_from
from isams_pipeline.config.alerts import AlertSettings
from isams_pipeline.errors import ConfigurationError, MailUnavailable, PipelineError, WrongUse
from isams_pipeline.orchestration.alerts.messages import for_webhook
from isams_pipeline.orchestration.environment import Environment
from isams_pipeline.orchestration.mail import MAIL_MOVES, ON_THE_WIRE, MailState, Refused, SmtpServer
from isams_pipeline.rules.texts import label, visible
from isams_pipeline.sources.shared.http import Patience, proxy_of, transport_error
from isams_pipeline.sources.shared.transport import SMALL, BoundedTransport
from isams_pipeline.storage.state.alerts import AlertMessage

MAIL, WEBHOOK = "mail", "webhook"
_FIRST_WAIT, _LONGEST_WAIT = timedelta(minutes=1), timedelta(minutes=15)
_WEBHOOK_PATIENCE = Patience(connect=10, read=20, whole=40)
_FOR_GOOD = range(400, 500)
_LATER = {408, 425, 429}
_SMTP_TIMEOUT = 10.0
_ROUND = 40.0
"""Seconds after which a round begins with no further message: a sensor's tick has a minute."""
_NO_MAIL = "it cannot be written as a mail"
_NOBODY = "schools.yaml does not name this channel any more"


class NotNow(Exception):
    """The message was not handed over; it may be later."""


class InDoubt(Exception):
    """The message may have arrived."""


@dataclass(frozen=True)
class Posted:
    """What a round has sent, and what it could not: in words, without an address."""

    sent: int
    problems: tuple[str, ...]


def post(environment: Environment, known: Collection[str]) -> Posted:
    """Send what is queued and due to the channels that are `known`; whoever calls holds the lock of alerts."""
    _settle(environment)
    _drop(environment, known)
    done = send(environment, _due(environment))
    problems = [problem for problem in done.values() if problem is not None]
    return Posted(len(done) - len(problems), tuple(dict.fromkeys(problems)))


def send(environment: Environment, identifiers: Sequence[int]) -> dict[int, str | None]:
    """Send messages; gives what is wrong with each, in words, or None."""
    done: dict[int, str | None] = {}
    until = time.monotonic() + _ROUND
    with contextlib.ExitStack() as stack:
        hands = _Hands(environment, stack)
        for identifier in identifiers:
            if time.monotonic() > until:
                break  # it stays in line for the next round
            done[identifier] = _send(environment, identifier, hands)
    return done


def _drop(environment: Environment, known: Collection[str]) -> None:
    """Take out of the line what is for somebody whom schools.yaml does not name any more."""
    query = select(AlertMessage).where(AlertMessage.state == MailState.QUEUED.value)
    with environment.state.transaction() as session:
        for one in session.scalars(query):
            if one.channel not in known:
                one.state, one.error, one.changed_at = MailState.FAILED.value, _NOBODY, environment.clock()


def stuck(environment: Environment) -> list[AlertMessage]:
    """Messages that wait for a person: in doubt, or refused for good; the newest first."""
    waits = (MailState.IN_DOUBT.value, MailState.FAILED.value)
    query = select(AlertMessage).where(AlertMessage.state.in_(waits)).order_by(AlertMessage.id.desc())
    with environment.state.transaction() as session:
        return list(session.scalars(query.limit(200)))


def send_again(environment: Environment, identifier: int) -> None:
    """Queue a message that is in doubt or was refused for good: a person says so. Raises WrongUse for any other."""
    with environment.state.transaction() as session:
        one = session.get(AlertMessage, identifier)
        if one is None or one.state not in {MailState.IN_DOUBT.value, MailState.FAILED.value}:
            raise WrongUse(
                f"There is no message {identifier} in doubt or refused", remedy="`isams-pipeline alerts` lists them."
            )
        now = environment.clock()
        one.state, one.attempts, one.not_before, one.changed_at = MailState.QUEUED.value, 0, now, now


def _settle(environment: Environment) -> None:
    """What a round that was broken off left: nobody knows whether it arrived."""
    with environment.state.transaction() as session:
        for one in session.scalars(select(AlertMessage).where(AlertMessage.state == MailState.SENDING.value)):
            one.state, one.changed_at = MailState.IN_DOUBT.value, environment.clock()
            one.error = "the round that sent it was broken off"


def _due(environment: Environment) -> list[int]:
    query = select(AlertMessage.id).where(
        AlertMessage.state == MailState.QUEUED.value, AlertMessage.not_before <= environment.clock()
    )
    with environment.state.transaction() as session:
        return list(session.scalars(query.order_by(AlertMessage.id)))


def _send(environment: Environment, identifier: int, hands: _Hands) -> str | None:
    """Send one; gives what is wrong, in words, or None."""
    with environment.state.transaction() as session:
        one = session.get_one(AlertMessage, identifier)
    attempts = one.attempts + 1
    try:
        with hands.to(one.channel) as hand:
            hand(one, lambda: _set(environment, identifier, MailState.SENDING, attempts=attempts))
    except NotNow as later:
        wait = min(_FIRST_WAIT * 2 ** min(attempts - 1, 10), _LONGEST_WAIT)
        again = environment.clock() + wait
        _set(environment, identifier, MailState.QUEUED, attempts=attempts, error=str(later), not_before=again)
        return f"{_whose(one.channel)}: {later}; tried again in {round(wait.total_seconds() / 60)} min"
    except Refused as refused:
        state = MailState.FAILED if refused.for_good else MailState.QUEUED
        said = f"the server said {refused.code}"
        again = environment.clock() + _LONGEST_WAIT
        _set(environment, identifier, state, attempts=attempts, error=said, not_before=again)
        return f"{_whose(one.channel)}: {said}"
    except InDoubt as doubt:
        _set(environment, identifier, MailState.IN_DOUBT, attempts=attempts, error=str(doubt))
        return f"{_whose(one.channel)}: {doubt}; it may have arrived, so it is not sent again by itself"
    except ValueError:
        _set(environment, identifier, MailState.FAILED, attempts=attempts, error=_NO_MAIL)
        return f"{_whose(one.channel)}: {_NO_MAIL}"
    _set(environment, identifier, MailState.SENT, attempts=attempts, error=None)
    return None


def _set(environment: Environment, identifier: int, state: MailState, **values: Any) -> None:
    with environment.state.transaction() as session:
        one = session.get_one(AlertMessage, identifier)
        MAIL_MOVES.check(MailState(one.state), state)
        one.state, one.changed_at = state.value, environment.clock()
        for name, value in values.items():
            setattr(one, name, value)


def _whose(channel: str) -> str:
    """A channel as a problem names it: of an address only that it is one."""
    kind, _, rest = channel.partition(" ")
    return "mail" if kind == MAIL else f"webhook {rest.partition(' ')[0]}"


Hand = Callable[[AlertMessage, Callable[[], None]], None]
"""Gives a message over; calls the second just before there is no way back. Raises NotNow, Refused, InDoubt."""


class _Hands:
    """Who hands messages over, each connected when it is first needed."""

    def __init__(self, environment: Environment, stack: contextlib.ExitStack) -> None:
        self._environment, self._stack = environment, stack
        self._server: SmtpServer | None = None
        self._is_down: dict[str, str] = {}

    @contextlib.contextmanager
    def to(self, channel: str) -> Generator[Hand, None, None]:
        kind, _, rest = channel.partition(" ")
        place = MAIL if kind == MAIL else channel
        if place in self._is_down:  # one dead server does not cost a wait for each of its messages
            raise NotNow(self._is_down[place])
        try:
            yield self._mail(rest) if kind == MAIL else self._webhook(rest)
        except NotNow as later:
            self._is_down[place] = str(later)
            raise

    def _mail(self, recipient: str) -> Hand:
        settings = self._environment.settings.alerts

        def hand(one: AlertMessage, no_way_back: Callable[[], None]) -> None:
            if self._server is None:
                self._server = self._stack.enter_context(mail_server(self._environment, settings))
            data = _mail(one, settings.mail_from, recipient).as_bytes(policy=ON_THE_WIRE)
            try:
                self._server.envelope(settings.mail_from, recipient)
            except MailUnavailable as error:
                raise NotNow(error.what) from None
            no_way_back()
            try:
                self._server.text(data)
            except MailUnavailable as error:
                raise InDoubt(error.what) from None

        return hand

    def _webhook(self, channel: str) -> Hand:
        variable, _, as_whose = channel.partition(" ")

        def hand(one: AlertMessage, no_way_back: Callable[[], None]) -> None:
            try:
                url = webhook_url(self._environment, variable)
            except ConfigurationError as error:
                raise NotNow(error.what) from None
            sent = for_webhook(one.subject, one.body, one.facts, as_whose=as_whose, message_id=one.message_id)
            no_way_back()
            code = post_json(url, sent, one.message_id)
            if code not in range(200, 300):
                raise Refused(code, for_good=code in _FOR_GOOD and code not in _LATER)

        return hand


def mail_server(environment: Environment, settings: AlertSettings) -> SmtpServer:
    """The mail server of alerts, not yet connected. Raises NotNow where its secret is not set."""
    password: str | None = None
    try:
        if settings.smtp_secret is not None:
            password = secret_from(environment.variables, settings.smtp_secret)
    except ConfigurationError as error:
        raise NotNow(error.what) from None
    if settings.smtp_url is None:
        raise NotNow("schools.yaml names no mail server any more")
    # Once only: what does not go now is tried again by a later round.
    return SmtpServer(settings.smtp_url, settings.smtp_user, password, timeout=_SMTP_TIMEOUT, tries=1)


def webhook_url(environment: Environment, variable: str) -> str:
    """Where a webhook is; raises ConfigurationError, which does not name it."""
    url = secret_from(environment.variables, variable)
    parts = urlsplit(url)
    if parts.scheme != "https" and not (parts.scheme == "http" and is_loopback(parts.hostname)):
        raise ConfigurationError(
            f"{variable} does not hold the address of a webhook", remedy="Let it begin with https://."
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
