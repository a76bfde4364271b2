"""The REST API client: JSON objects and lists, or a typed error. Knows nothing of Dagster or of partners.

Paths, fields and status codes are from the vendor's OpenAPI of the REST API and from clients in use at schools; what
no source settles is said where it stands. In any error: ids, counts and field names; never iSAMS's own words, which may
quote a value.
"""

from __future__ import annotations

import re
import ssl
import time
from collections.abc import Callable, Iterable, Mapping
from concurrent.futures import ThreadPoolExecutor
from math import ceil
from typing import Any, Self, TypeVar, cast
from urllib.parse import quote

import httpx

from isams_pipeline.datasets.shapes import Json, JsonObject, JsonValue
from isams_pipeline.errors import (
    InvalidKey,
    IsamsError,
    NotAccepted,
    NotFound,
    NotPermitted,
    PipelineError,
    RequestRefused,
    RowsMoved,
)
from isams_pipeline.rules.photos import MOST_BYTES
from isams_pipeline.sources.isams.token import ClientToken
from isams_pipeline.sources.shared.http import Credential, Patience, retry_after
from isams_pipeline.sources.shared.json_answer import read_json
from isams_pipeline.sources.shared.statuses import REPORT, RETRIED, Statuses
from isams_pipeline.sources.shared.wire import Wire

T = TypeVar("T")
S = TypeVar("S")

SCOPE = "restapi"
PAGE_SIZE = 1000
"""Accepted and echoed by a live server; the maximum is unknown, so what the answer says counts."""
_MAX_PAGES = 10_000
_READINGS = 3
"""How often a list is read anew because its rows moved between pages."""
_MAX_ANSWER = 64 << 20
_SEGMENT = re.compile(r"[A-Za-z0-9_.~-]{1,100}")


def address(*segments: object) -> str:
    """The path below `/api`, each segment escaped; raises ValueError for one that could mean another path."""
    parts: list[str] = []
    for segment in segments:
        text = str(segment)
        if not _SEGMENT.fullmatch(text) or set(text) == {"."}:
            raise ValueError("not a segment of a path")
        parts.append(quote(text, safe=""))
    return "/api/" + "/".join(parts)


class RestClient:
    """One REST client of one school; may be used by several threads.

    `spend` is called before every request, and raises Throttled if the client's requests of the hour are used up.
    """

    def __init__(
        self,
        url: str,
        credential: Credential,
        *,
        patience: Patience | None = None,
        parallel: int = 8,
        spend: Callable[[], None] = lambda: None,
        sleep: Callable[[float], None] = time.sleep,
        clock: Callable[[], float] = time.monotonic,
        verify: ssl.SSLContext | None = None,
        **where: str,
    ) -> None:
        self.parallel = parallel
        self._wire = Wire(
            url,
            server="iSAMS",
            setting="isams.url",
            patience=patience or Patience(),
            sleep=sleep,
            error_for=error_for,
            auth=ClientToken(url, credential, scope=SCOPE, clock=clock),
            most=_MAX_ANSWER,
            spend=spend,
            parallel=parallel,
            verify=verify,
            where=where,
        )

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self._wire.close()

    # --- reading ------------------------------------------------------------------------------------------

    def get(self, path: str, **params: object) -> Json:
        """An object. Transient errors are tried again, with some patience; raises IsamsError or DocumentError."""
        found = self._json(path, params)
        if not isinstance(found, dict):
            raise self._not_data("The answer is no object", path)
        return cast("Json", found)

    def listed(self, path: str, collection: str | None, **params: object) -> list[Json]:
        """The rows of a list that comes in one piece; without a name, of the only list that there is."""
        found = self._json(path, params)
        return self._rows(found, collection, path)

    def pages(
        self,
        path: str,
        collection: str,
        *,
        key: str = "id",
        page_size: int = PAGE_SIZE,
    ) -> list[Json]:
        """All rows of a list that comes in pages, each row once, in the order of the pages.

        The first page says how many rows there are; the others are asked for by our own count, some at a time. If
        rows were added, removed or moved meanwhile, so that one is missing or came twice, the list is read anew.
        Raises RowsMoved if that goes on.
        """

        def page(number: int) -> Json:
            try:
                return self.get(path, page=number, pageSize=page_size)
            except NotFound:
                if number == 1:
                    raise
                return {collection: []}  # past the end by now: rows were removed

        for _ in range(_READINGS):
            first = page(1)
            total = _count(first, "totalCount")
            size = _count(first, "pageSize") or page_size
            number_of_pages = ceil((total or 0) / size)
            if total is None or number_of_pages > _MAX_PAGES:
                raise self._not_data("The first page does not say how many rows there are", path)
            answers = [first, *self.each(page, range(2, number_of_pages + 1))]
            rows = [row for answer in answers for row in self._rows(answer, collection, path)]
            keys = {row.get(key) for row in rows}
            if len(rows) == len(keys) == total and all(_count(a, "totalCount") == total for a in answers):
                return rows
        raise RowsMoved(
            f"Rows of {collection} moved between pages each of {_READINGS} times",
            remedy=RETRIED,
        ).at(**self._wire.where, path=path)

    def image(self, path: str) -> bytes:
        """The bytes of a picture. Raises NotRestData where the answer is something else."""
        answer = self._wire.ask("GET", path, headers={"Accept": "image/*"}, most=MOST_BYTES)
        kind = answer.headers.get("content-type", "").partition(";")[0].strip().lower()
        if not kind.startswith("image/") and kind != "application/octet-stream":
            raise self._not_data("The answer is no picture", path)
        return answer.content

    def each(self, function: Callable[[S], T], items: Iterable[S]) -> list[T]:
        """The function's results, in the order of the items, `parallel` at a time; raises the first error."""
        wanted = list(items)
        if len(wanted) < 2 or self.parallel == 1:  # noqa: PLR2004
            return [function(item) for item in wanted]
        with ThreadPoolExecutor(min(self.parallel, len(wanted)), thread_name_prefix="isams") as pool:
            futures = [pool.submit(function, item) for item in wanted]
            try:
                return [future.result() for future in futures]
            except BaseException:
                pool.shutdown(wait=False, cancel_futures=True)
                raise

    # --- writing ------------------------------------------------------------------------------------------

    def put(self, path: str, body: JsonObject) -> int:
        """Replace a record; gives the status. Never tried again here: what it replaces may have changed by then.

        Raises IsamsError, whose `taken` is False where iSAMS has surely not done it. Otherwise, after a time-out or a
        broken connection, nobody knows: the caller has to read what is there now.
        """
        return self._wire.ask("PUT", path, body=dict(body), again=False).status_code

    # --- the wire -----------------------------------------------------------------------------------------

    def _json(self, path: str, params: Mapping[str, object]) -> JsonValue:
        # Hidden: httpx logs the address of every request.
        asked = {name: str(value) for name, value in params.items()}
        return self._wire.json(self._wire.ask("GET", path, hidden=asked), path)

    def _rows(self, found: JsonValue, collection: str | None, path: str) -> list[Json]:
        """The rows of an answer; a list may also come bare."""
        rows = _list_in(cast("Json", found), collection) if isinstance(found, dict) else found
        if not isinstance(rows, list) or not all(isinstance(row, dict) for row in cast("list[Any]", rows)):
            raise self._not_data(f"The answer has no list {collection or ''}".rstrip(), path)
        return cast("list[Json]", rows)

    def _not_data(self, what: str, path: str) -> PipelineError:
        return self._wire.not_data(what, path)


def _list_in(answer: Json, collection: str | None) -> JsonValue:
    """The list of that name; without a name, the only one."""
    if collection is not None:
        return answer.get(collection)
    lists: list[Any] = [value for value in answer.values() if isinstance(value, list)]
    return lists[0] if len(lists) == 1 else None


def _count(answer: Json, name: str) -> int | None:
    value = answer.get(name)
    return value if isinstance(value, int) and not isinstance(value, bool) and value >= 0 else None


_INVALID = (RequestRefused, "iSAMS found the request invalid", REPORT)
STATUSES = Statuses(
    "iSAMS",
    "isams.url",
    "iSAMS support",
    own={
        405: _INVALID,
        415: _INVALID,
        401: (
            InvalidKey,
            "iSAMS does not accept the client's token",
            "Check that the REST client is active in iSAMS.",
        ),
        403: (
            NotPermitted,
            "The REST client may not do this",
            "Give it the permission in iSAMS; the partner's page in docs/ lists what is needed.",
        ),
        422: (
            NotAccepted,
            "iSAMS does not accept what was sent",
            "`isams-pipeline changes show REQUEST` has iSAMS's own words.",
        ),
    },
)


def error_for(response: httpx.Response) -> IsamsError | None:
    """The typed error for an answer that is no success; its own words in `said`, not in the text.

    400, 404, 422 and 500 with `{"message"}` are declared by the vendor; 401, 403 and 429 are what they mean elsewhere.
    """
    if response.is_success:
        return None
    status = response.status_code
    error = STATUSES.error(status, wait=retry_after(response.headers))
    error.taken = not 300 <= status < 500 or status == 408  # noqa: PLR2004
    try:
        error.said = str(read_json(response.content)["message"])[:500]
    except (ValueError, KeyError, TypeError):
        error.said = None
    return error
