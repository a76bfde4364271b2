"""What all the APIs have in common on the wire: patience, tokens, and failures of transport as typed errors."""

from __future__ import annotations

import contextlib
import random
import socket
import ssl
import time
import urllib.request
from collections.abc import Callable, Generator, Mapping
from dataclasses import dataclass, field
from datetime import UTC, datetime
from email.utils import parsedate_to_datetime
from typing import TypeVar
from urllib.parse import urlsplit

import httpx
import tenacity

from isams_pipeline.config.values import is_loopback
from isams_pipeline.errors import (
    ConfigurationError,
    IsamsError,
    PipelineError,
    ServerTimeout,
    TransientIsamsError,
    TruncatedAnswer,
    Unavailable,
    UntrustedServer,
)
from isams_pipeline.sources.shared.statuses import RETRIED
from isams_pipeline.sources.shared.transport import BoundedTransport, Bounds

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

    def wait(self, error: BaseException | None, attempt: int) -> float | None:
        """The seconds to wait after so many attempts, spread so that many do not ask at once; None: no more."""
        most = self.timeout_attempts if isinstance(error, ServerTimeout) else self.attempts
        if attempt >= most:
            return None
        asked = error.retry_after if isinstance(error, TransientIsamsError) else None
        if asked is not None:
            return asked if asked <= self.longest_wait else None
        if isinstance(error, ServerTimeout):
            return self.timeout_wait
        spread = random.uniform(0.75, 1.25)  # noqa: S311
        return min(self.first_wait * 2 ** (attempt - 1) * spread, self.longest_wait)

    def bounds(self, most: int) -> Bounds:
        """The bounds of an answer of at most so many bytes."""
        return Bounds(most, self.whole, self.least_rate, self.patient_for)


def patiently(
    attempt: Callable[[], T],
    patience: Patience,
    sleep: Callable[[float], None] = time.sleep,
    *,
    transient: type[PipelineError] = TransientIsamsError,
) -> T:
    """Call until it gives something; transient errors are tried again, as long as `patience` and `Retry-After` say."""

    def wait(state: tenacity.RetryCallState) -> float | None:
        error = state.outcome.exception() if state.outcome else None
        return patience.wait(error, state.attempt_number)

    retrying = tenacity.Retrying(
        retry=tenacity.retry_if_exception_type(transient),
        wait=lambda state: wait(state) or 0.0,
        stop=lambda state: wait(state) is None,
        sleep=sleep,
        reraise=True,
    )
    return retrying(attempt)


def open_http(  # each source says its own
    url: str,
    patience: Patience,
    *,
    most: int,
    headers: Mapping[str, str],
    auth: httpx.Auth | None = None,
    parallel: int | None = None,
    verify: ssl.SSLContext | None = None,
    query_of: Callable[[httpx.Request], dict[str, str]] | None = None,
) -> httpx.Client:
    """The one HTTP client: bounded in bytes and time, without redirects, with a query that stands in no log."""
    limits = httpx.Limits(max_connections=parallel, max_keepalive_connections=parallel) if parallel else None
    transport = BoundedTransport(patience.bounds(most), verify=verify, limits=limits, proxy=proxy_of(url))
    return httpx.Client(
        base_url=url,
        auth=auth,
        timeout=httpx.Timeout(patience.read, connect=patience.connect, pool=None),
        transport=HiddenQuery(transport, query_of or hidden_query),
        headers={"User-Agent": "isams-pipeline", **headers},
        follow_redirects=False,
    )


def proxy_of(url: str) -> str | None:
    """The proxy that requests to an address go through, by HTTPS_PROXY, HTTP_PROXY, ALL_PROXY and NO_PROXY.

    None where they go directly, as to this machine. Raises ConfigurationError for a kind that is not known.
    """
    parts = urlsplit(url)
    with_port = f"{parts.hostname}:{parts.port or {'http': 80}.get(parts.scheme, 443)}"
    if is_loopback(parts.hostname) or urllib.request.proxy_bypass(with_port):
        return None
    named = urllib.request.getproxies()
    found = named.get(parts.scheme) or named.get("all")
    if not found:
        return None
    try:
        httpx.Proxy(found)
        known = httpx.URL(found).scheme in {"http", "https"}
    except (httpx.InvalidURL, ValueError):  # its text may quote the password
        known = False
    if not known:
        raise ConfigurationError(
            "The proxy that the environment names has no address that can be used",
            remedy="Let HTTPS_PROXY be http://HOST:PORT, or http://USER:PASSWORD@HOST:PORT with what is special in the "
            "password as %XX; or name the server in NO_PROXY.",
        )
    return found


@contextlib.contextmanager
def typed_errors(server: str, setting: str, **where: object) -> Generator[None, None, None]:
    """Every failure on the wire as a typed error that says where."""
    try:
        yield
    except httpx.HTTPError as error:
        raise transport_error(error, server, setting).at(**where) from None
    except PipelineError as error:
        raise error.at(**where) from None


_NEVER_SENT = (httpx.ConnectError, httpx.ConnectTimeout, httpx.PoolTimeout)


def transport_error(error: httpx.HTTPError, server: str, setting: str) -> IsamsError:
    """Httpx's error without its text, which may name the full address; whether the server may have been told of it."""
    found = _transport_error(error, server, setting)
    found.taken = not isinstance(error, _NEVER_SENT)
    return found


def _transport_error(error: httpx.HTTPError, server: str, setting: str) -> IsamsError:
    cause: BaseException | None = error
    while cause is not None:
        if isinstance(cause, ssl.SSLCertVerificationError):
            return UntrustedServer(
                "The server's TLS certificate is not valid for this address, or not trusted here",
                remedy=f"Check {setting}; a server of the school's own needs a certificate that this machine trusts.",
            )
        cause = cause.__cause__ or cause.__context__
    match error:
        case httpx.ReadTimeout() | httpx.WriteTimeout():
            return ServerTimeout(f"{server} did not answer in time", remedy=RETRIED)
        case httpx.RemoteProtocolError() | httpx.ReadError() | httpx.DecodingError():
            return TruncatedAnswer(f"{server}'s answer broke off", remedy=RETRIED)
        case _:
            why, remedy = _unreached(error, setting)
            return Unavailable(f"{server} cannot be reached: {why}", remedy=remedy)


def _unreached(error: httpx.HTTPError, setting: str) -> tuple[str, str]:
    """Why no request went out, in words, and what to do; neither names the address."""
    causes: list[BaseException] = [error]
    while (cause := causes[-1].__cause__ or causes[-1].__context__) is not None:
        causes.append(cause)
    proxied = isinstance(error, httpx.ProxyError) or _is_proxied(error)
    whose = "the proxy" if proxied else "the server"
    if isinstance(error, httpx.ProxyError):
        why, look = "the proxy did not let the request through", ""
    elif any(isinstance(one, socket.gaierror) for one in causes):
        why, look = f"the name of {whose} is not known here (DNS)", "and that this machine can look up names"
    elif any(isinstance(one, ConnectionRefusedError) for one in causes):
        why, look = f"{whose} refused the connection", "and that the server is up"
    elif isinstance(error, httpx.ConnectTimeout):
        why, look = f"{whose} did not take the connection in time", "and that no firewall on the way stops it"
    else:
        why, look = type(error).__name__, "and this machine's network"
    if proxied:
        return why, "Check HTTPS_PROXY, and that the proxy lets this server through; or name the server in NO_PROXY."
    return why, f"Check {setting}, {look}."


def _is_proxied(error: httpx.HTTPError) -> bool:
    try:
        return proxy_of(str(error.request.url)) is not None
    except RuntimeError:  # without its request
        return False


HIDDEN_QUERY = "hidden_query"
"""The extension of a request with what is added to its address."""


def hidden_query(request: httpx.Request) -> dict[str, str]:
    """What a request hides."""
    return request.extensions.get(HIDDEN_QUERY, {})


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
