"""Pupils' photos by the other sources, where their scope is granted."""

from __future__ import annotations

from collections.abc import Callable, Collection, Mapping
from typing import Any, Protocol, TypeVar

from isams_pipeline.datasets.shapes import Json, JsonValue
from isams_pipeline.sources.shared.connections import Connection
from isams_pipeline.sources.shared.grants import Grant

T = TypeVar("T")


class PhotoClient(Protocol):
    """A source's client, as far as photos go."""

    def grant(self, connection: Connection | None) -> Grant: ...

    def photos(self, grant: Grant) -> Mapping[str, tuple[str, Any]]:
        """Pupil → which photo it is, and where it is or what it is."""
        ...

    def photo(self, where: JsonValue) -> bytes | None:
        """A photo's bytes; None where there is none any more."""
        ...


class ListedPhotos:
    """The photos of a school's pupils, by a source's own numbers."""

    def __init__(self, client: PhotoClient, connection: Connection | None) -> None:
        self._client, self._connection = client, connection
        self._where: Json = {}

    def versions(self) -> Mapping[str, str]:
        """Pupil → which photo it is. Raises NotAuthorised without the scope."""
        found = self._client.photos(self._client.grant(self._connection))
        self._where = {pupil: where for pupil, (_, where) in found.items()}
        return {pupil: version for pupil, (version, _) in found.items()}

    def fetch(self, pupil: str) -> bytes | None:
        """A photo's bytes."""
        return self._client.photo(self._where[pupil])

    def each(self, fetch: Callable[[str], T], pupils: Collection[str]) -> list[T]:
        """One after the other."""
        return [fetch(pupil) for pupil in pupils]
