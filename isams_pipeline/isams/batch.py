"""The Batch API client: a key's methods → bytes, or a typed error. Knows nothing of Dagster or of partners."""

from __future__ import annotations

import contextlib
import random
import ssl
import time
from collections.abc import Callable, Collection, Generator, Iterator
from contextlib import AbstractContextManager
from dataclasses import dataclass, field
from datetime import date
from functools import cache
from typing import Self, TypeVar
from urllib.parse import urlsplit

import httpx
import tenacity
from lxml import etree

from isams_pipeline.errors import (
    InvalidKey,
    NotBatchData,
    PipelineError,
    ServerTimeout,
    TransientIsamsError,
    TruncatedAnswer,
    Unavailable,
    UnsafeDocument,
    UntrustedServer,
)
from isams_pipeline.isams import document, feeds, messages

T = TypeVar("T")
ENDPOINT = "/api/batch/1.0/xml.ashx"
TOKEN_ENDPOINT = "/auth/connect/token"  # noqa: S105
TOKEN_SCOPE = "apiv1"  # noqa: S105


@dataclass(frozen=True)
class Credential:
    """A key's GUID, plain or in braces; or, with `client_id`, an OAuth client's secret."""

    secret: str = field(repr=False)
    client_id: str | None = field(default=None, repr=False)

    @property
    def api_key(self) -> str:
        """What the `apiKey` of the address carries."""
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


@cache
def _trusted() -> ssl.SSLContext:
    """The authorities that httpx trusts, loaded once: that takes longer than a small request."""
    return httpx.create_ssl_context()


def _no_turns(_host: str) -> AbstractContextManager[None]:
    return contextlib.nullcontext()


class BatchClient:
    """One key of one school.

    `take_turns(host)` is held during each request, so that a school's server has one at a time.
    """

    def __init__(
        self,
        url: str,
        credential: Credential,
        *,
        patience: Patience | None = None,
        take_turns: Callable[[str], AbstractContextManager[None]] = _no_turns,
        sleep: Callable[[float], None] = time.sleep,
        verify: ssl.SSLContext | None = None,
        **where: str,
    ) -> None:
        self._patience = patience or Patience()
        self._take_turns = take_turns
        self._sleep = sleep
        self._where = where
        self._host = urlsplit(url).netloc
        auth = _ClientToken(url, credential) if credential.client_id else None
        self._http = httpx.Client(
            base_url=url,
            auth=auth,
            timeout=httpx.Timeout(self._patience.read, connect=self._patience.connect),
            transport=_KeyInAddress(credential.api_key, httpx.HTTPTransport(verify=verify or _trusted())),
            headers={"User-Agent": "isams-pipeline", "Accept": "application/xml"},
            follow_redirects=False,
        )

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self._http.close()

    def download(self, methods: Collection[str], into: Callable[[Iterator[bytes]], T], *, on: date | None = None) -> T:
        """Ask for the methods, and give the answer's bytes to `into` as they come.

        Methods that want dates are asked around the date `on`. `into` is called anew for every attempt, and gets to
        the end of the bytes only if they are a whole document with iSAMS's root. Raises IsamsError or DocumentError;
        transient ones after some patience.
        """
        body = request_body(methods, on)

        def attempt() -> T:
            with self._take_turns(self._host):
                return into(self._chunks(body))

        return self._with_patience(attempt)

    def probe(self, methods: Collection[str]) -> tuple[PipelineError | None, httpx.Headers]:
        """Ask once, read no data: the error that came instead of data (None for data), and the headers."""
        headers = httpx.Headers()
        try:
            with self._take_turns(self._host), self._send(request_body(methods)) as response:
                headers = response.headers
                next(self._checked(response), None)
        except PipelineError as error:
            return error, headers
        return None, headers

    def _with_patience(self, attempt: Callable[[], T]) -> T:
        patience = self._patience

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
            sleep=self._sleep,
            reraise=True,
        )
        return retrying(attempt)

    def _chunks(self, body: bytes) -> Iterator[bytes]:
        with self._send(body) as response:
            yield from self._checked(response)

    @contextlib.contextmanager
    def _send(self, body: bytes) -> Generator[httpx.Response, None, None]:
        """The response to a request, with every failure of transport as a typed error."""
        try:
            with self._http.stream(
                "POST", ENDPOINT, content=body, headers={"Content-Type": "application/xml"}
            ) as response:
                yield response
        except PipelineError as error:
            raise error.at(**self._where) from None
        except httpx.HTTPError as error:
            raise _transport_error(error).at(**self._where) from None

    def _checked(self, response: httpx.Response) -> Iterator[bytes]:
        """The bytes of a data document; raises for anything else, and at the end if the end is missing."""
        stream = response.iter_bytes(document.CHUNK)
        head = b""
        for chunk in stream:
            head += chunk
            if len(head) >= document.HEAD:
                break
        if not 200 <= response.status_code < 300 or document.read_message(head) is not None:  # noqa: PLR2004
            wait = messages.retry_after(response.headers)
            raise messages.error_for(response.status_code, document.read_message(head), wait=wait)
        if not head.strip():
            raise TruncatedAnswer("iSAMS's answer is empty", remedy="It is asked again.")
        if document.root_of(head) != document.ROOT:
            raise NotBatchData(
                "The answer has another root element than iSAMS",
                remedy="Check that isams.url is the school's iSAMS, and not a log-in page before it.",
            )
        size, tail = len(head), head[-64:]
        yield head
        for chunk in stream:
            size += len(chunk)
            if size > document.MAX_DOCUMENT:
                raise UnsafeDocument(f"The answer is larger than {document.MAX_DOCUMENT >> 20} MB")
            tail = (tail + chunk)[-64:]
            yield chunk
        if not _ends_whole(head, tail):
            raise TruncatedAnswer("iSAMS's answer breaks off", remedy="It is asked again.", bytes=size)


def _ends_whole(head: bytes, tail: bytes) -> bool:
    end = tail.replace(b"\x00", b"").rstrip()
    return end.endswith(b"</iSAMS>") or (len(head) < 64 + 256 and end.endswith(b"/>") and b"<iSAMS" in head)


def request_body(methods: Collection[str], on: date | None = None) -> bytes:
    """The `<Filters>` document that asks for these methods and no others, with the filters they want on a date."""
    root = etree.Element("Filters")
    to_run = etree.SubElement(root, "MethodsToRun")
    for method in methods:
        etree.SubElement(to_run, "Method").text = method
    for method in methods:
        if method in feeds.REQUIRED_FILTERS:
            wanted = feeds.REQUIRED_FILTERS[method]
            parent = root.find(wanted.module)
            module = etree.SubElement(root, wanted.module) if parent is None else parent
            etree.SubElement(module, wanted.node, wanted.attributes_on(on))
    return etree.tostring(root, encoding="utf-8")


def _transport_error(error: httpx.HTTPError) -> PipelineError:
    """Httpx's error without its text, which may name the full address."""
    cause: BaseException | None = error
    while cause is not None:
        if isinstance(cause, ssl.SSLCertVerificationError):
            return UntrustedServer(
                "The server's TLS certificate does not prove that it is the school's",
                remedy="Check isams.url; a self-hosted iSAMS needs a certificate that this machine trusts.",
            )
        cause = cause.__cause__ or cause.__context__
    match error:
        case httpx.ReadTimeout() | httpx.WriteTimeout():
            return ServerTimeout("iSAMS did not answer in time", remedy="It is asked again.")
        case httpx.RemoteProtocolError() | httpx.ReadError() | httpx.DecodingError():
            return TruncatedAnswer("iSAMS's answer broke off", remedy="It is asked again.")
        case _:
            return Unavailable(
                f"iSAMS cannot be reached: {type(error).__name__}",
                remedy="Check isams.url and this machine's network.",
            )


class _KeyInAddress(httpx.BaseTransport):
    """Puts the key into the address at the last moment, where httpx's logs and exceptions do not see it."""

    def __init__(self, api_key: str, inner: httpx.BaseTransport) -> None:
        self._api_key = api_key
        self._inner = inner

    def handle_request(self, request: httpx.Request) -> httpx.Response:
        if not request.url.path.endswith(ENDPOINT):
            return self._inner.handle_request(request)
        return self._inner.handle_request(
            httpx.Request(
                request.method,
                request.url.copy_merge_params({"apiKey": self._api_key}),
                headers=request.headers,
                stream=request.stream,
                extensions=request.extensions,
            )
        )

    def close(self) -> None:
        self._inner.close()


class _ClientToken(httpx.Auth):
    """A bearer token by client credentials: fetched once, and once more if iSAMS no longer takes it."""

    requires_response_body = False

    def __init__(self, url: str, credential: Credential) -> None:
        self._url = url.rstrip("/") + TOKEN_ENDPOINT
        self._credential = credential
        self._token: str | None = None

    def auth_flow(self, request: httpx.Request) -> Generator[httpx.Request, httpx.Response, None]:
        fresh = self._token is None
        if fresh:
            yield from self._fetch(request)
        request.headers["Authorization"] = f"Bearer {self._token}"
        response = yield request
        if response.status_code == 401 and not fresh:  # noqa: PLR2004
            yield from self._fetch(request)
            request.headers["Authorization"] = f"Bearer {self._token}"
            yield request

    def _fetch(self, request: httpx.Request) -> Generator[httpx.Request, httpx.Response, None]:
        form = {
            "grant_type": "client_credentials",
            "scope": TOKEN_SCOPE,
            "client_id": self._credential.client_id or "",
            "client_secret": self._credential.secret,
        }
        response = yield httpx.Request("POST", self._url, data=form, extensions=request.extensions)
        response.read()
        if response.status_code in {400, 401}:
            raise InvalidKey(
                "iSAMS does not accept the client",
                status=response.status_code,
                remedy="Check both environment variables, and that the client is active in iSAMS.",
            )
        if response.status_code != 200:  # noqa: PLR2004
            raise messages.error_for(
                response.status_code,
                document.read_message(response.content),
                wait=messages.retry_after(response.headers),
            )
        try:
            self._token = str(response.json()["access_token"])
        except (ValueError, KeyError, TypeError):
            raise NotBatchData("The token endpoint did not answer with a token") from None
