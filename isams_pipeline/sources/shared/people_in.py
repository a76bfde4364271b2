"""Where a row of a list speaks of a person: rows of theirs, links, and fields that only name somebody."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from typing import Any, cast

from isams_pipeline.datasets.people import Person
from isams_pipeline.datasets.shapes import Json

OWN, NAMED = "own", "named"


@dataclass(frozen=True)
class ListPeople:
    """By which fields the rows of a source's lists speak of people."""

    own: Mapping[str, Mapping[str, str]]
    """List, or the array that a row says it is from → field → kind: such a row is a person's, or a link of theirs."""
    anywhere: Mapping[str, str] = field(default_factory=dict[str, str])
    """Field, however deep → kind: it names somebody; of a list in it only that item."""
    array: str | None = None
    """The field in which a row says from which array it is."""

    def of(self, name: str, row: Json) -> Mapping[str, str]:
        """The fields by which a row of a list is somebody's."""
        array = row.get(self.array) if self.array else None
        return self.own.get(str(array) if array is not None else name, {})

    def how(self, name: str, row: Json, person: Person) -> str | None:
        """How a row speaks of a person; None where it does not."""
        if any(person.is_meant(kind, row.get(key)) for key, kind in self.of(name, row).items()):
            return OWN
        return NAMED if any(self._named(row, person)) else None

    def without(self, name: str, row: Json, person: Person) -> Json | None:
        """A row without a person; None where it is theirs, and the same row where it does not name them."""
        how = self.how(name, row, person)
        if how is None:
            return row
        return None if how == OWN else cast("Json", self._left(row, person))

    def _left(self, value: object, person: Person) -> object:
        if isinstance(value, dict):
            made: Json = {}
            for key, inner in cast("dict[str, Any]", value).items():
                kind = self.anywhere.get(key)
                if kind is None:
                    made[key] = self._left(inner, person)
                elif isinstance(inner, list):
                    items = cast("list[object]", inner)
                    made[key] = [item for item in items if not person.is_meant(kind, item)]
                else:
                    made[key] = None if person.is_meant(kind, inner) else inner
            return made
        if isinstance(value, list):
            items = cast("list[object]", value)
            return [self._left(item, person) for item in items if not self._is_theirs(item, person)]
        return value

    def _is_theirs(self, item: object, person: Person) -> bool:
        """Whether an item of a list is a link to a person: it names them itself."""
        if not isinstance(item, dict):
            return False
        fields = cast("dict[str, Any]", item)
        return any(person.is_meant(kind, fields.get(key)) for key, kind in self.anywhere.items())

    def _named(self, value: object, person: Person) -> Iterator[bool]:
        if isinstance(value, dict):
            for key, inner in cast("dict[str, Any]", value).items():
                kind = self.anywhere.get(key)
                if kind is None:
                    yield from self._named(inner, person)
                else:
                    items = cast("list[object]", inner) if isinstance(inner, list) else [inner]
                    yield from (
                        True for item in items if not isinstance(item, dict | list) and person.is_meant(kind, item)
                    )
        elif isinstance(value, list):
            for item in cast("list[object]", value):
                yield from self._named(item, person)
