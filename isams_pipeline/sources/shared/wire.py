"""What the clients of all JSON APIs share on the wire: patience, tokens, rows that come twice, data of long ago."""

from __future__ import annotations

import contextlib
import functools
import re
import ssl
from collections.abc import Callable, Generator, Iterator, Mapping, Sequence
from datetime import UTC, datetime, timedelta
from typing import ParamSpec, TypeVar
from urllib.parse import parse_qsl, urlsplit, urlunsplit

import httpx
import numpy as np

from isams_pipeline.config.values import is_loopback
from isams_pipeline.datasets.shapes import Json, JsonValue
from isams_pipeline.errors import NotRestData, PipelineError, RowsMoved, StaleSource, place_of
from isams_pipeline.rules.photos import MOST_BYTES
from isams_pipeline.sources.shared.client import Reading
from isams_pipeline.sources.shared.http import HIDDEN_QUERY, Patience, open_http, patiently, typed_errors
from isams_pipeline.sources.shared.json_answer import read_json
from isams_pipeline.sources.shared.statuses import RETRIED
from isams_pipeline.sources.shared.transport import MOST

MAX_ANSWER = 256 << 20


class Seen:
    """Which rows of a list have come: by 16 bytes each, as there may be very many."""

    def __init__(self) -> None:
        self._keys = np.empty(0, np.int64)
        self._contents = np.empty(0, np.int64)

    def take(self, rows: Sequence[tuple[int, int]]) -> list[bool | None]:
        """Note a page's rows, by hashes of key and content. For each: new (None), or as it came before or not."""
        keys = np.fromiter((key for key, _ in rows), np.int64, len(rows))
        contents = np.fromiter((content for _, content in rows), np.int64, len(rows))
        at = np.searchsorted(self._keys, keys)
        found: list[bool | None] = [None] * len(rows)
        here: dict[int, int] = {}
        for n, place in enumerate(at.tolist()):
            key, content = rows[n]
            if place < len(self._keys) and self._keys[place] == key:
                found[n] = bool(self._contents[place] == content)
            elif key in here:
                found[n] = here[key] == content
            here.setdefault(key, content)
        new = np.flatnonzero([one is None for one in found])
        new = new[np.argsort(keys[new], kind="stable")]
        self._keys = np.insert(self._keys, at[new], keys[new])
        self._contents = np.insert(self._contents, at[new], contents[new])
        return found


P = ParamSpec("P")
T = TypeVar("T")
MAX_PAGES = 10_000
"""Of a list: a server that says more would hold the run for days."""
_ANOTHER_SHAPE = (TypeError, ValueError, AttributeError, LookupError, OverflowError, RecursionError)


def typed(method: Callable[P, T]) -> Callable[P, T]:
    """A client's method that says NotRestData where an answer is not of the shape that the method takes it for.

    The error names the place in the code, not what stood there. Of a Reading the rows are typed as well.
    """

    @functools.wraps(method)
    def call(*args: P.args, **options: P.kwargs) -> T:
        with _typed():
            found = method(*args, **options)
        if isinstance(found, Reading):
            found.rows = _typed_rows(found.rows)
        return found

    return call


@contextlib.contextmanager
def _typed() -> Generator[None, None, None]:
    try:
        yield
    except _ANOTHER_SHAPE as error:
        what = f"An answer has another shape than expected, seen at {place_of(error)}"
        raise NotRestData(what, remedy="Report this as a bug, with that place.") from None


def _typed_rows(rows: Iterator[Json]) -> Iterator[Json]:
    while True:
        with _typed():
            row = next(rows, None)
        if row is None:
            return
        yield row


def moment_of(value: JsonValue) -> datetime | None:
    """A moment as both sources write it; None where it is none. One without a zone is taken for UTC (inferred)."""
    try:
        found = datetime.fromisoformat(re.sub(r"(\.\d{6})\d+", r"\1", value))  # of seven digits Python reads six
    except (TypeError, ValueError):
        return None
    return found if found.tzinfo else found.replace(tzinfo=UTC)


class Wire:
    """JSON over HTTP with patience, and failures of transport as typed errors that name the source."""

    def __init__(
        self,
        url: str,
        *,
        server: str,
        setting: str,
        patience: Patience,
        sleep: Callable[[float], None],
        error_for: Callable[[httpx.Response], PipelineError | None],
        headers: Mapping[str, str] | None = None,
        auth: httpx.Auth | None = None,
        most: int = MAX_ANSWER,
        spend: Callable[[], None] = lambda: None,
        parallel: int | None = None,
        verify: ssl.SSLContext | None = None,
        where: Mapping[str, str],
    ) -> None:
        """`spend` is called before every request, and may raise; `parallel` is how many connections there may be."""
        self._server, self._setting = server, setting
        self._patience, self._sleep = patience, sleep
        self._error_for, self._spend = error_for, spend
        self.where = where
        self._http = open_http(
            url,
            patience,
            most=most,
            headers={"Accept": "application/json", **(headers or {})},
            auth=auth,
            parallel=parallel,
            verify=verify,
        )

    def close(self) -> None:
        """Let go of the connection."""
        self._http.close()

    def ask(
        self,
        method: str,
        path: str,
        *,
        params: Mapping[str, str] | None = None,
        headers: Mapping[str, str] | None = None,
        auth: httpx.Auth | None = None,
        body: object = None,
        form: Mapping[str, str] | None = None,
        again: bool = True,
        most: int | None = None,
        hidden: Mapping[str, str] | None = None,
    ) -> httpx.Response:
        """An answer that is no error by its status or its words, of at most so many bytes.

        Transient errors are tried again, if `again`. `hidden` is a query that stands in no log: a signature, say.
        """

        def once() -> httpx.Response:
            with typed_errors(self._server, self._setting, **self.where, path=path):
                self._spend()
                request = self._http.build_request(
                    method,
                    path,
                    params=params or None,
                    headers=headers or None,
                    json=body,
                    data=form,
                    extensions={HIDDEN_QUERY: dict(hidden or {})} | ({MOST: most} if most else {}),
                )
                response = self._http.send(request, auth=auth or httpx.USE_CLIENT_DEFAULT, stream=True)
                try:
                    response.read()
                finally:
                    response.close()
                    # It holds the response, which holds it: pages would pile up until Python looks for such circles.
                    response.stream = httpx.ByteStream(b"")
            problem = self._error_for(response)
            if problem is not None:
                raise problem.at(**self.where, path=path)
            return response

        return patiently(once, self._patience, self._sleep) if again else once()

    def picture(self, url: str) -> bytes:
        """The bytes at a signed address, which is asked without any token of ours, and stands in no log or error."""
        parts = urlsplit(url)
        if parts.scheme != "https" and not is_loopback(parts.hostname):
            raise self.not_data("The address of a picture is not encrypted", "a picture")
        query = dict(parse_qsl(parts.query, keep_blank_values=True))
        plain = urlunsplit((parts.scheme, parts.netloc, parts.path, "", ""))
        try:
            return self.ask("GET", plain, headers={"Accept": "image/*"}, most=MOST_BYTES, hidden=query).content
        except PipelineError as error:
            error.where.pop("path", None)
            raise error.at(what="a picture") from None

    def json(self, response: httpx.Response, path: str) -> JsonValue:
        """What an answer holds; raises NotRestData where that is not JSON."""
        try:
            return read_json(response.content)
        except ValueError:
            raise self.not_data("The answer is not JSON", path) from None

    def not_data(self, what: str, path: str) -> PipelineError:
        """The error for an answer that is not what the source's documents say."""
        remedy = f"Check {self._setting}: a log-in page may stand before it. If it is right, report this as a bug."
        return NotRestData(what, remedy=remedy).at(**self.where, path=path)

    def moved(self, name: str) -> PipelineError:
        """The error for a list whose rows do not stay where they are."""
        what = "Rows moved between pages, or a page came twice"
        return RowsMoved(what, remedy=RETRIED).at(**self.where, list=name)

    def check_age(self, value: JsonValue, now: datetime, *, hours: float, remedy: str, **where: object) -> None:
        """Raise StaleSource where the source's own copy is older than that; one that does not say is not old."""
        moment = moment_of(value)
        if moment is not None and now - moment > timedelta(hours=hours):
            age = (now - moment).total_seconds() / 3600
            raise StaleSource(f"{self._server}'s data is {age:.0f} hours old", remedy=remedy, **where).at(**self.where)
