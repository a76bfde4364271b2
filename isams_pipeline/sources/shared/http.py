"""What all the APIs have in common on the wire: patience, tokens, and failures of transport as typed errors."""

from __future__ import annotations

import random
import ssl
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from datetime import UTC, datetime
from email.utils import parsedate_to_datetime
from typing import TypeVar

import httpx
import tenacity

from isams_pipeline.errors import (
    PipelineError,
    ServerTimeout,
    TransientIsamsError,
    TruncatedAnswer,
    Unavailable,
    UntrustedServer,
)
from isams_pipeline.sources.shared.transport import Bounds

T = TypeVar("T")


@dataclass(frozen=True)
class Credential:
    """A key's GUID, plain or in braces; or, with `client_id`, an OAuth client's secret."""

    secret: str = field(repr=False)
    client_id: str | None = field(default=None, repr=False)

    @property
    def api_key(self) -> str:
        """What the `apiKey` of a Batch address carries."""
        return self.client_id or self.secret


@dataclass(frozen=True)
class Patience:
    """How long to wait, in seconds, and how often to ask."""

    attempts: int = 4
    timeout_attempts: int = 2
    """After a time-out of the server: once more, then the request is split."""
    first_wait: float = 1.0
    timeout_wait: float = 5.0
    longest_wait: float = 120.0
    """A `Retry-After` beyond this is not waited for here; the run as a whole may try again."""
    connect: float = 10.0
    read: float = 90.0
    """iSAMS itself gives up after about 35 seconds."""
    whole: float = 600.0
    """For one request, from its first byte to the answer's last, however steadily bytes come."""
    least_rate: float = 128.0
    """Bytes a second below which an answer is given up, once it has been so slow for `patient_for` seconds."""
    patient_for: float = 60.0

    def bounds(self, most: int) -> Bounds:
        """The bounds of an answer of at most so many bytes."""
        return Bounds(most, self.whole, self.least_rate, self.patient_for)


def patiently(attempt: Callable[[], T], patience: Patience, sleep: Callable[[float], None] = time.sleep) -> T:
    """Call until it gives something; transient errors are tried again, as long as `patience` and `Retry-After` say."""

    def wait(state: tenacity.RetryCallState) -> float:
        error = state.outcome.exception() if state.outcome else None
        asked = error.retry_after if isinstance(error, TransientIsamsError) else None
        if asked is not None:
            return asked
        if isinstance(error, ServerTimeout):
            return patience.timeout_wait
        return patience.first_wait * 2 ** (state.attempt_number - 1) * random.uniform(0.75, 1.25)  # noqa: S311

    def give_up(state: tenacity.RetryCallState) -> bool:
        error = state.outcome.exception() if state.outcome else None
        most = patience.timeout_attempts if isinstance(error, ServerTimeout) else patience.attempts
        return state.attempt_number >= most or wait(state) > patience.longest_wait

    retrying = tenacity.Retrying(
        retry=tenacity.retry_if_exception_type(TransientIsamsError),
        wait=wait,
        stop=give_up,
        sleep=sleep,
        reraise=True,
    )
    return retrying(attempt)


def transport_error(error: httpx.HTTPError, server: str = "iSAMS", setting: str = "isams.url") -> PipelineError:
    """Httpx's error without its text, which may name the full address."""
    cause: BaseException | None = error
    while cause is not None:
        if isinstance(cause, ssl.SSLCertVerificationError):
            return UntrustedServer(
                "The server's TLS certificate does not prove that it is the school's",
                remedy=f"Check {setting}; a server of the school's own needs a certificate that this machine trusts.",
            )
        cause = cause.__cause__ or cause.__context__
    match error:
        case httpx.ReadTimeout() | httpx.WriteTimeout():
            return ServerTimeout(f"{server} did not answer in time", remedy="It is asked again.")
        case httpx.RemoteProtocolError() | httpx.ReadError() | httpx.DecodingError():
            return TruncatedAnswer(f"{server}'s answer broke off", remedy="It is asked again.")
        case _:
            return Unavailable(
                f"{server} cannot be reached: {type(error).__name__}",
                remedy=f"Check {setting} and this machine's network.",
            )


class HiddenQuery(httpx.BaseTransport):
    """Adds to the address at the last moment, where httpx's logs and exceptions do not see it."""

    def __init__(self, inner: httpx.BaseTransport, query_of: Callable[[httpx.Request], dict[str, str]]) -> None:
        self._inner = inner
        self._query_of = query_of

    def handle_request(self, request: httpx.Request) -> httpx.Response:
        query = self._query_of(request)
        if not query:
            return self._inner.handle_request(request)
        return self._inner.handle_request(
            httpx.Request(
                request.method,
                request.url.copy_merge_params(query),
                headers=request.headers,
                stream=request.stream,
                extensions=request.extensions,
            )
        )

    def close(self) -> None:
        self._inner.close()


def retry_after(headers: Mapping[str, str], now: datetime | None = None) -> float | None:
    """The seconds that a `Retry-After` asks for, written as a number or as a date; None where it is neither."""
    value = headers.get("retry-after", "").strip()
    if value.isascii() and value.isdigit():
        return float(value)
    try:
        moment = parsedate_to_datetime(value)
    except ValueError:
        return None
    if moment.tzinfo is None:
        moment = moment.replace(tzinfo=UTC)
    return max(0.0, (moment - (now or datetime.now(UTC))).total_seconds())
