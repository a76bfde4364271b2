"""What a road's client does, and what the clients of both roads share on the wire."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, Protocol, Self

import httpx
import numpy as np
import orjson

from isams_pipeline.errors import NotRestData, PipelineError
from isams_pipeline.isams.http import Patience, patiently, transport_error, trusted
from isams_pipeline.roads.connections import Connection, Finding
from isams_pipeline.roads.grants import Grant, Json, ListRequest

MAX_ANSWER = 256 << 20


@dataclass
class Reading:
    """A list on its way in. `gone` and `token` are whole when the last row has been taken."""

    rows: Iterator[Json]
    only_changes: bool
    gone: list[tuple[str, ...]] = field(default_factory=list[tuple[str, ...]])
    """Keys of rows that have been removed since."""
    token: dict[str, str] = field(default_factory=dict[str, str])
    """What the server wants to be reminded of next time."""
    expected: int | None = None
    """How many rows there will be, where the server says so at once."""


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
        new = np.array([one is None for one in found], bool)
        every = np.concatenate([self._keys, keys[new]])
        order = np.argsort(every, kind="stable")
        self._keys = every[order]
        self._contents = np.concatenate([self._contents, contents[new]])[order]
        return found


class RoadClient(Protocol):
    """One school by one road."""

    def __enter__(self) -> Self: ...

    def __exit__(self, *_: object) -> None: ...

    def grant(self, connection: Connection | None) -> Grant:
        """What may be read, as a call has shown just now. Raises NotAuthorised or WrongToken."""
        ...

    def freshness(self) -> str | None:
        """How fresh the road's own copy is, in its own word; None where it does not say."""
        ...

    def read(self, request: ListRequest, since: Mapping[str, str] | None) -> Reading | None:
        """A list, or what has changed in it; None where nothing has. Raises ChangesForgotten before any row."""
        ...

    def count(self, request: ListRequest) -> int | None:
        """How many rows the whole list has now; None where the road does not say."""
        ...

    def look(self, connection: Connection | None) -> Finding:
        """How far the connection is, by calls that read nobody's data."""
        ...


class Wire:
    """JSON over HTTP with patience, and failures of transport as typed errors that name the road."""

    def __init__(
        self,
        url: str,
        *,
        server: str,
        setting: str,
        patience: Patience,
        sleep: Callable[[float], None],
        headers: Mapping[str, str],
        error_for: Callable[[httpx.Response], PipelineError | None],
        **where: str,
    ) -> None:
        self._server, self._setting = server, setting
        self._patience, self._sleep = patience, sleep
        self._error_for = error_for
        self.where = where
        self._http = httpx.Client(
            base_url=url,
            timeout=httpx.Timeout(patience.read, connect=patience.connect, pool=None),
            transport=httpx.HTTPTransport(verify=trusted()),
            headers={"User-Agent": "isams-pipeline", "Accept": "application/json", **headers},
            follow_redirects=False,
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
    ) -> httpx.Response:
        """An answer that is no error by its status or its words. Transient errors are tried again."""

        def once() -> httpx.Response:
            try:
                request = self._http.build_request(
                    method, path, params=params or None, headers=headers or None, json=body, data=form
                )
                response = self._http.send(request, auth=auth, stream=True)
                try:
                    self._read(response, path)
                finally:
                    response.close()
            except httpx.HTTPError as error:
                raise transport_error(error, self._server, self._setting).at(**self.where, path=path) from None
            except PipelineError as error:
                raise error.at(**self.where, path=path) from None
            problem = self._error_for(response)
            if problem is not None:
                raise problem.at(**self.where, path=path)
            return response

        return patiently(once, self._patience, self._sleep) if again else once()

    def _read(self, response: httpx.Response, path: str) -> None:
        if int(response.headers.get("content-length") or 0) > MAX_ANSWER:
            raise NotRestData(f"The answer is larger than {MAX_ANSWER >> 20} MB", path=path)
        response.read()

    def json(self, response: httpx.Response, path: str) -> Any:
        """What an answer holds; raises NotRestData where that is not JSON."""
        try:
            return orjson.loads(response.content)
        except ValueError:
            raise self.not_data("The answer is not JSON", path) from None

    def not_data(self, what: str, path: str) -> PipelineError:
        """The error for an answer that is not what the road's documents say."""
        remedy = f"Check {self._setting}; if it is right, the road has changed: report this as a bug."
        return NotRestData(what, remedy=remedy).at(**self.where, path=path)
