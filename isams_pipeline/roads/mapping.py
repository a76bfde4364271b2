"""Mapping tables: which field of a road's lists stands in which column of a dataset.

A table is declared once; reading, the data dictionary and the comparison of roads go by it.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Mapping
from dataclasses import dataclass
from functools import cached_property
from typing import Any

import pandas as pd

from isams_pipeline.config import RoadSettings, SchoolSettings
from isams_pipeline.isams.datasets import ROAD_DATASETS, DatasetDeclaration
from isams_pipeline.isams.datasets.json_rows import frame_of_values

Json = dict[str, Any]
Convert = Callable[[Any], Any]
VERSION = 1
"""Counted up when what a mapping makes of the same lists changes, so that kept tables are made anew."""


class Lists:
    """A school's lists of one night, by name, each row by row."""

    def __init__(self, read: Callable[[str], Iterator[Json]], settings: RoadSettings) -> None:
        self._read = read
        self.settings = settings

    def __getitem__(self, name: str) -> Iterator[Json]:
        return self._read(name)


@dataclass(frozen=True)
class Field:
    """Where a column's value stands within a row, its levels separated by dots; what is made of it, if anything."""

    path: str
    convert: Convert | None = None
    also: str | None = None
    """Another place for the same, where the first has nothing."""

    def __str__(self) -> str:
        return f"{self.path}, else {self.also}" if self.also else self.path

    def of(self, row: Json) -> Any:
        """The value in a row."""
        value = _at(row, self.path)
        if value is None and self.also is not None:
            value = _at(row, self.also)
        return value if value is None or self.convert is None else self.convert(value)


def _at(row: Any, path: str) -> Any:
    for name in path.split("."):
        if not isinstance(row, dict):
            return None
        row = row.get(name)  # pyright: ignore[reportUnknownMemberType, reportUnknownVariableType]
    return row  # pyright: ignore[reportUnknownVariableType]


def at(path: str, convert: Convert | None = None, *, also: str | None = None) -> Field:
    """A column's place."""
    return Field(path, convert, also)


@dataclass(frozen=True)
class Mapped:
    """A dataset, and where each of its columns comes from. Columns that are not named are null by this road."""

    lists: tuple[str, ...]
    """The lists that it is made from; the first is the one whose rows they are."""
    columns: Mapping[str, Field]
    rows: Callable[[Lists], Iterable[Json]] | None = None
    """How the rows come out of the lists, where they are not just the rows of the first."""

    def frame(self, declaration: DatasetDeclaration, lists: Lists, school: SchoolSettings) -> pd.DataFrame:
        """The dataset as declared. Raises WrongType with the field and the number of the row."""
        fields = [self.columns.get(c.name) for c in declaration.columns]
        rows: Iterable[Json] = self.rows(lists) if self.rows else lists[self.lists[0]]
        values = ([field.of(row) if field else None for field in fields] for row in rows)
        places = [str(field) if field else "" for field in fields]
        return frame_of_values(declaration, values, school.timezone, places)


@dataclass(frozen=True)
class Absent:
    """A dataset that a road does not have, and why."""

    reason: str


@dataclass(frozen=True)
class MappingTable:
    """All datasets of a road."""

    source: str
    datasets: Mapping[str, Mapped | Absent]

    def __post_init__(self) -> None:
        if self.datasets.keys() != ROAD_DATASETS.keys():
            raise ValueError(f"the mapping of {self.source} has other datasets: {self.datasets.keys()}")

    @cached_property
    def lists(self) -> tuple[str, ...]:
        """All lists that some dataset is made from."""
        found = {name: None for one in self.datasets.values() if isinstance(one, Mapped) for name in one.lists}
        return tuple(found)


# --- what several mappings need ---------------------------------------------------------------------------


def members(row: Json, name: str) -> Iterator[Any]:
    """The entries of a list within a row, none where it has no such list."""
    yield from row.get(name) or ()


def year_number(code: Any, settings: RoadSettings) -> Any:
    """A year group's code as a number; a code that nobody knows stays what it is, and is refused as no number."""
    text = str(code).strip().upper() if isinstance(code, str | int) else code
    return settings.year_codes.get(text, text)


def clock_time(value: Any) -> Any:
    """The time of day in `08:40`, `08:40:00` or `2026-11-20T08:40:00`, as HH:MM; anything else stays what it is."""
    text = value.rpartition("T")[2] if isinstance(value, str) else value
    return text[:5] if isinstance(text, str) else text
