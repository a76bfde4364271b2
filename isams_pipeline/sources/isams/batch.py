"""The Batch API client: a key's methods → bytes, or a typed error. Knows nothing of Dagster or of partners."""

from __future__ import annotations

import contextlib
import ssl
import time
from collections.abc import Callable, Collection, Generator, Iterator
from contextlib import AbstractContextManager
from datetime import date
from typing import Self, TypeVar
from urllib.parse import urlsplit

import httpx
from lxml import etree

from isams_pipeline.config import feeds
from isams_pipeline.errors import NotBatchData, PipelineError, TruncatedAnswer
from isams_pipeline.sources.isams import document, messages
from isams_pipeline.sources.isams.token import ClientToken
from isams_pipeline.sources.shared.http import Credential, Patience, open_http, patiently, retry_after, typed_errors
from isams_pipeline.sources.shared.statuses import RETRIED

__all__ = ["BatchClient", "Credential", "Patience", "request_body"]

T = TypeVar("T")
ENDPOINT = "/api/batch/1.0/xml.ashx"
TOKEN_SCOPE = "apiv1"  # noqa: S105


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
        auth = ClientToken(url, credential, scope=TOKEN_SCOPE) if credential.client_id else None
        self._http = open_http(
            url,
            self._patience,
            most=document.MAX_DOCUMENT,
            headers={"Accept": "application/xml"},
            auth=auth,
            verify=verify,
            query_of=lambda request: {"apiKey": credential.api_key} if request.url.path.endswith(ENDPOINT) else {},
        )

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self._http.close()

    def download(self, methods: Collection[str], into: Callable[[Iterator[bytes]], T], *, on: date | None = None) -> T:
        """Ask for the methods, and give the answer's bytes to `into` as they come.

        Methods that need dates are asked around the date `on`. `into` is called anew for every attempt, and gets to
        the end of the bytes only if they are a whole document with iSAMS's root. Raises IsamsError or DocumentError;
        transient ones after some patience.
        """
        body = request_body(methods, on)

        def attempt() -> T:
            with self._take_turns(self._host):
                return into(self._chunks(body))

        return patiently(attempt, self._patience, self._sleep)

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

    def _chunks(self, body: bytes) -> Iterator[bytes]:
        with self._send(body) as response:
            yield from self._checked(response)

    @contextlib.contextmanager
    def _send(self, body: bytes) -> Generator[httpx.Response, None, None]:
        """The response to a request, with every failure of transport as a typed error."""
        headers = {"Content-Type": "application/xml"}
        with (
            typed_errors("iSAMS", "isams.url", **self._where),
            self._http.stream("POST", ENDPOINT, content=body, headers=headers) as response,
        ):
            yield response

    def _checked(self, response: httpx.Response) -> Iterator[bytes]:
        """The bytes of a data document; raises for anything else, and at the end if the end is missing."""
        stream = response.iter_bytes(document.CHUNK)
        head = b""
        for chunk in stream:
            head += chunk
            if len(head) >= document.HEAD:
                break
        if not 200 <= response.status_code < 300 or document.read_message(head) is not None:  # noqa: PLR2004
            wait = retry_after(response.headers)
            raise messages.error_for(response.status_code, document.read_message(head), wait=wait)
        if not head.strip():
            raise TruncatedAnswer("iSAMS's answer is empty", remedy=RETRIED)
        if document.root_of(head) != document.ROOT:
            raise NotBatchData(
                "The answer has another root element than iSAMS",
                remedy="Check that isams.url is the school's iSAMS, and not a log-in page before it.",
            )
        size, tail = len(head), head[-64:]
        yield head
        for chunk in stream:
            size += len(chunk)
            tail = (tail + chunk)[-64:]
            yield chunk
        if not _ends_whole(head, tail):
            raise TruncatedAnswer("iSAMS's answer breaks off", remedy=RETRIED, bytes=size)


def _ends_whole(head: bytes, tail: bytes) -> bool:
    end = tail.replace(b"\x00", b"").rstrip()
    return end.endswith(b"</iSAMS>") or (len(head) < 64 + 256 and end.endswith(b"/>") and b"<iSAMS" in head)


def request_body(methods: Collection[str], on: date | None = None) -> bytes:
    """The `<Filters>` document that asks for these methods and no others, with the filters they need on a date."""
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
