"""Mapping tables: which field of a source's lists stands in which column of a dataset.

A table is declared once; reading, the data dictionary and the comparison of sources go by it.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from datetime import date
from typing import Any

import pandas as pd

from isams_pipeline.config import SchoolSettings, SourceSettings
from isams_pipeline.datasets import LISTED_DATASETS, DatasetDeclaration
from isams_pipeline.datasets.json_rows import frame_by
from isams_pipeline.datasets.shapes import Json, JsonObject, JsonValue
from isams_pipeline.errors import WrongType
from isams_pipeline.rules.compare import code as folded_code
from isams_pipeline.sources.shared.values import as_list, as_object

Convert = Callable[[Any], Any]
VERSION = 3
"""Counted up when what a mapping makes of the same lists changes, so that kept tables are made anew."""


class Lists:
    """A school's lists of one night, by name, each row by row."""

    def __init__(
        self, read: Callable[[str, bytes], Iterator[Json]], settings: SourceSettings, night: date | None = None
    ) -> None:
        self._read = read
        self.settings = settings
        self.night = night
        self.notes: list[tuple[int, str, str]] = []
        """What was done to single fields of the rows that come out: row (from 1), column, what."""

        self.leaves_people_out = False
        """Whether people who have opted out are missing in the lists."""
        self.last_day: str | None = None
        self.next_first_day: str | None = None
        """When the groups that run on the night will be others: after the one day, or from the other on."""

    def __getitem__(self, name: str) -> Iterator[Json]:
        return self._read(name, b"")

    def beginning(self, name: str, begin: bytes) -> Iterator[Json]:
        """The rows of a list whose JSON begins so: the others need not be looked into."""
        return self._read(name, begin)


@dataclass(frozen=True)
class Field:
    """Where a column's value stands within a row, its levels separated by dots; what is made of it, if anything."""

    path: str
    convert: Convert | None = None
    also: str | None = None
    """Another place for the same, where the first has nothing."""

    def __str__(self) -> str:
        return f"{self.path}, else {self.also}" if self.also else self.path

    def read(self, rows: Sequence[JsonObject]) -> list[Any]:
        """The values in some rows."""
        values = _at(rows, self.path)
        if self.also is not None:
            values = [
                other if one is None or one == "" else one
                for one, other in zip(values, _at(rows, self.also), strict=True)
            ]
        if self.convert is None:
            return values
        try:
            return [None if value is None else self.convert(value) for value in values]
        except (TypeError, ValueError, AttributeError, KeyError, OverflowError):
            raise WrongType("A field has another shape than expected", field=self.path) from None


def _at(rows: Sequence[JsonObject], path: str) -> list[Any]:
    first, *deeper = path.split(".")
    values = [row.get(first) for row in rows]
    for name in deeper:
        values = [as_object(value).get(name) for value in values]
    return values


def at(path: str, convert: Convert | None = None, *, also: str | None = None) -> Field:
    """A column's place."""
    return Field(path, convert, also)


@dataclass(frozen=True)
class Mapped:
    """A dataset, and where each of its columns comes from. Columns that are not named are null by this source."""

    lists: tuple[str, ...]
    """The lists that it is made from; the first is the one whose rows they are."""
    columns: Mapping[str, Field]
    rows: Callable[[Lists], Iterable[Json]] | None = None
    """How the rows come out of the lists, where they are not just the rows of the first."""
    each: str | None = None
    """A column of which a row has a list: it comes out once for every entry."""

    def frame(self, declaration: DatasetDeclaration, lists: Lists, school: SchoolSettings) -> pd.DataFrame:
        """The dataset as declared. Raises WrongType with the field and the number of the row."""
        rows: Iterable[Json] = self.rows(lists) if self.rows else lists[self.lists[0]]
        columns = {name: (str(field), field.read) for name, field in self.columns.items()}
        return frame_by(declaration, rows, school.timezone, columns, each=self.each, notes=lists.notes)


@dataclass(frozen=True)
class Absent:
    """A dataset that a source does not have, and why."""

    reason: str


@dataclass(frozen=True)
class MappingTable:
    """All datasets of a source."""

    source: str
    datasets: Mapping[str, Mapped | Absent]

    def __post_init__(self) -> None:
        if self.datasets.keys() != LISTED_DATASETS.keys():
            raise ValueError(f"the mapping of {self.source} has other datasets: {self.datasets.keys()}")


# --- what several mappings need ---------------------------------------------------------------------------


def running(lists: Lists, name: str) -> Iterator[Json]:
    """The rows of a list of groups that run on the night, by their own first and last day."""
    for row in lists[name]:
        first, last = (str(row.get(field) or "")[:10] for field in ("start_date", "end_date"))
        night = str(lists.night)
        if last and last >= night:
            lists.last_day = min(last, lists.last_day or last)
        if first and first > night:
            lists.next_first_day = min(first, lists.next_first_day or first)
        if lists.night is None or ((not first or first <= str(lists.night)) and (not last or str(lists.night) <= last)):
            yield row


def members(row: Json, name: str) -> Iterator[Any]:
    """The entries of a list within a row, none where it has no such list. Raises TypeError for anything else."""
    listed = row.get(name)
    if listed is not None and not isinstance(listed, list):
        raise TypeError
    yield from as_list(listed)


_LONGEST_CODE = 12


class YearNumbers:
    """Year groups' codes as numbers. `refuse_unknown` once all rows have been looked at."""

    def __init__(self, settings: SourceSettings) -> None:
        self._codes = {folded_code(name): number for name, number in settings.year_codes.items()}
        self._unknown: dict[str, int] = {}

    def of(self, code: JsonValue) -> JsonValue:
        """The number; None for no code, and for one that nobody knows."""
        if not isinstance(code, str | int) or not str(code).strip():
            return None
        text = str(code).strip()
        found = self._codes.get(folded_code(text), text)
        if re.fullmatch(r"-?\d{1,4}", str(found)):
            return int(found)
        shown = text if len(text) <= _LONGEST_CODE and text.isprintable() else f"one of {len(text)} characters"
        self._unknown[shown] = self._unknown.get(shown, 0) + 1
        return None

    def refuse_unknown(self) -> None:
        """Raise WrongType with every code that is no number and not in `year_codes`, and how many rows have it."""
        if self._unknown:
            listed = ", ".join(f"{name} ({count} rows)" for name, count in sorted(self._unknown.items()))
            raise WrongType(
                f"Year groups have codes that are no numbers: {listed}",
                field="year",
                remedy="Say the National Curriculum year of each under `year_codes` of this source in schools.yaml, "
                "such as `year_codes: {FD: -1}`: nursery years are negative.",
            )


def clock_time(value: JsonValue) -> JsonValue:
    """The time of day in `08:40`, `08:40:00` or `2026-11-20T08:40:00`, as HH:MM; anything else stays what it is."""
    text = value.rpartition("T")[2] if isinstance(value, str) else value
    return text[:5] if isinstance(text, str) else text
