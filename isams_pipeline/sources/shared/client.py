"""What the client of a source does that is read list by list, whichever it is."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from typing import Protocol, Self

from isams_pipeline.datasets.shapes import Json
from isams_pipeline.sources.shared.connections import Connection, Finding
from isams_pipeline.sources.shared.grants import Grant, ListRequest
from isams_pipeline.sources.shared.photos import PhotoClient


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


class ListClient(PhotoClient, Protocol):
    """One school by one source."""

    def __enter__(self) -> Self: ...

    def __exit__(self, *_: object) -> None: ...

    def grant(self, connection: Connection | None) -> Grant:
        """What may be read, as a call has shown just now. Raises NotAuthorised or WrongToken."""
        ...

    def freshness(self) -> str | None:
        """How fresh the source's own copy is, in its own word; None where it does not say."""
        ...

    def clock_of(self, request: ListRequest) -> str | None:
        """How fresh one list is, where a source's lists have clocks of their own; None where that is not said."""
        ...

    def read(self, request: ListRequest, since: Mapping[str, str] | None) -> Reading | None:
        """A list, or what has changed in it; None where nothing has. Raises ChangesForgotten before any row."""
        ...

    def count(self, request: ListRequest) -> int | None:
        """How many rows the whole list has now; None where the source does not say."""
        ...

    def look(self, connection: Connection | None) -> Finding:
        """How far the connection is, by calls that read nobody's data."""
        ...
