"""What all the APIs have in common on the wire: patience, tokens, and failures of transport as typed errors."""

from __future__ import annotations

import random
import ssl
import threading
import time
from collections.abc import Callable, Generator
from dataclasses import dataclass, field
from typing import TypeVar

import httpx
import tenacity

from isams_pipeline.errors import (
    InvalidKey,
    NotRestData,
    PipelineError,
    ServerTimeout,
    TransientIsamsError,
    TruncatedAnswer,
    Unavailable,
    UntrustedServer,
)
from isams_pipeline.isams import document, messages
from isams_pipeline.isams.json_answer import read_json
from isams_pipeline.isams.transport import MOST, SMALL, Bounds

T = TypeVar("T")
TOKEN_ENDPOINT = "/auth/connect/token"  # noqa: S105
_EARLY = 60.0
"""Seconds before its end that a token is renewed; a tenth of its life if that is less."""
_LIFE = 3600.0
"""A token's, where the answer does not say."""


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


class ClientToken(httpx.Auth):
    """A bearer token by client credentials: fetched once for all threads, renewed before it ends, once more on 401."""

    requires_response_body = False

    def __init__(
        self, url: str, credential: Credential, *, scope: str, clock: Callable[[], float] = time.monotonic
    ) -> None:
        self._url = url.rstrip("/") + TOKEN_ENDPOINT
        self._credential = credential
        self._scope = scope
        # A life in seconds is counted by this machine's own clock, so a server whose clock is wrong does no harm.
        self._clock = clock
        self._token: str | None = None
        self._renew_at = 0.0
        self._lock = threading.Lock()

    def auth_flow(self, request: httpx.Request) -> Generator[httpx.Request, httpx.Response, None]:
        used, fresh = yield from self._current(request, unwanted=None)
        request.headers["Authorization"] = f"Bearer {used}"
        response = yield request
        if response.status_code == 401 and not fresh:  # noqa: PLR2004
            used, _ = yield from self._current(request, unwanted=used)
            request.headers["Authorization"] = f"Bearer {used}"
            yield request

    def _current(
        self, request: httpx.Request, *, unwanted: str | None
    ) -> Generator[httpx.Request, httpx.Response, tuple[str, bool]]:
        """The token, and whether it was fetched just now. One thread at a time fetches; the others wait for it."""
        with self._lock:
            fresh = self._token is None or self._token == unwanted or self._clock() >= self._renew_at
            if fresh:
                yield from self._fetch(request)
            assert self._token is not None
            return self._token, fresh

    def _fetch(self, request: httpx.Request) -> Generator[httpx.Request, httpx.Response, None]:
        form = {
            "grant_type": "client_credentials",
            "scope": self._scope,
            "client_id": self._credential.client_id or "",
            "client_secret": self._credential.secret,
        }
        response = yield httpx.Request("POST", self._url, data=form, extensions={**request.extensions, MOST: SMALL})
        response.read()
        if response.status_code in {400, 401}:
            raise InvalidKey(
                "iSAMS does not accept the client",
                status=response.status_code,
                error=_oauth_error(response),
                remedy="Check both environment variables, and that the client is active in iSAMS.",
            )
        if response.status_code != 200:  # noqa: PLR2004
            raise messages.error_for(
                response.status_code,
                document.read_message(response.content),
                wait=messages.retry_after(response.headers),
            )
        try:
            answer = read_json(response.content)
            self._token = str(answer["access_token"])
            life = float(answer.get("expires_in") or _LIFE)
        except (ValueError, KeyError, TypeError, AttributeError):
            raise NotRestData(
                "The token endpoint did not answer with a token",
                remedy="Check that isams.url is the school's iSAMS, and not a log-in page before it.",
            ) from None
        self._renew_at = self._clock() + life - min(_EARLY, life / 10)


_OAUTH = {"invalid_client", "invalid_grant", "invalid_request", "invalid_scope", "unauthorized_client"}


def _oauth_error(response: httpx.Response) -> str | None:
    """OAuth's own code for what is wrong, where it is one of the standard's."""
    try:
        code = read_json(response.content)["error"]
    except (ValueError, KeyError, TypeError):
        return None
    return code if code in _OAUTH else None
