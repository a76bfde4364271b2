"""JSON objects → a dataset's frame. A wrong type is an error that names the field and the row, not the value."""

from __future__ import annotations

import re
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from datetime import date, datetime, time
from functools import lru_cache
from itertools import chain, islice
from typing import Any
from zoneinfo import ZoneInfo

import numpy as np
import pandas as pd

from isams_pipeline.datasets.arrow import Array, pa
from isams_pipeline.datasets.declare import Column, DatasetDeclaration, Kind
from isams_pipeline.datasets.shapes import Json, JsonObject, JsonValue
from isams_pipeline.errors import WrongType
from isams_pipeline.rules.notes import CONTROL

_FORBIDDEN = re.compile("[\x00-\x08\x0b\x0c\x0e-\x1f\ufffe\uffff\ud800-\udfff]")
"""What XML forbids, and no person has typed."""
_BATCH = 2_000
"""Rows that are Python objects at a time."""
_REMEDY = "Correct the record in iSAMS; if iSAMS shows the record correctly, report this as a bug."


Rows = Sequence[JsonObject]
Read = Callable[[Rows], list[Any]]
"""Rows → what each has for a column."""


def frame_of(declaration: DatasetDeclaration, rows: Iterable[JsonObject], zone: ZoneInfo) -> pd.DataFrame:
    """The rows as declared, by each column's path (a field's name).

    Blank texts are null, 0 and 1 are booleans where one is declared; moments with an offset become the school's wall
    time in `zone`. Raises WrongType with the field and the number of the row.
    """
    columns = {c.name: (c.path or c.name, _field(c.path or c.name)) for c in declaration.columns}
    return frame_by(declaration, rows, zone, columns)


def _field(name: str) -> Read:
    return lambda rows: [row.get(name) for row in rows]


def frame_by(
    declaration: DatasetDeclaration,
    rows: Iterable[JsonObject],
    zone: ZoneInfo,
    columns: Mapping[str, tuple[str, Read]],
    *,
    each: str | None = None,
    notes: list[tuple[int, str, str]] | None = None,
) -> pd.DataFrame:
    """The same, each column by the place that an error names, and by what reads it; one that is not there is null.

    Of the column `each` a row has a list, and comes out once for every entry. Characters that no text may hold are
    taken out, and `notes` says of which row and column (without `each`). A few thousand rows with their entries
    are Python objects at a time, however many there are.
    """
    arrays: list[list[Array]] = [[] for _ in declaration.columns]
    done, waiting = 0, _shaped(rows, declaration.name)
    while batch := list(islice(waiting, _BATCH)):
        made = _Batch(declaration, zone, batch, done, [] if notes is None or each else notes)
        for column, array in zip(arrays, made.arrays(columns, each), strict=True):
            column.append(array)
        done += len(batch)
    if not done:
        return declaration.empty()
    found: Json = {}
    for at, c in enumerate(declaration.columns):
        # Column after column, so that only one is in memory twice.
        whole = pa.chunked_array(arrays[at]).combine_chunks()
        arrays[at].clear()
        pa.default_memory_pool().release_unused()
        found[c.name] = declaration.series(whole)
    return pd.DataFrame(found, copy=False)


_A = {"int": "a whole number", "str": "a text", "bool": "true or false", "date": "a date", "datetime": "a moment"}


def _shaped(rows: Iterable[JsonObject], dataset: str) -> Iterator[JsonObject]:
    """The rows; what a source sends in another shape than it ever has is a typed error with the row's number."""
    done, waiting = 0, iter(rows)
    while True:
        try:
            row = next(waiting)
        except StopIteration:
            return
        except (TypeError, ValueError, AttributeError, KeyError, OverflowError):
            raise WrongType(f"What {dataset} is made from has another shape than expected", row=done + 1) from None
        done += 1
        yield row


@dataclass(frozen=True)
class _Batch:
    """Some rows, and how many came before them."""

    declaration: DatasetDeclaration
    zone: ZoneInfo
    rows: Rows
    done: int
    notes: list[tuple[int, str, str]]

    def arrays(self, columns: Mapping[str, tuple[str, Read]], each: str | None) -> Iterator[Array]:
        """The columns as they are declared."""
        several: list[list[Any]] = columns[each][1](self.rows) if each is not None else []
        # Which row each that comes out is of: they multiply in Arrow, not as so many Python objects.
        of_rows = pa.array(np.repeat(np.arange(len(several)), [len(one) for one in several])) if several else None
        for c in self.declaration.columns:
            kind = self.declaration.arrow_schema.field(c.name).type
            place, read = columns.get(c.name, ("", None))
            if c.name == each:
                values = [self._converted(c, entries, place, row) for row, entries in enumerate(several)]
                yield pa.array(list(chain.from_iterable(values)), kind)
                continue
            if read is None and c.nullable:
                array = pa.nulls(len(self.rows), kind)
            else:
                array = pa.array(self._converted(c, read(self.rows) if read else [None], place), kind)
            yield array if of_rows is None else array.take(of_rows)

    def _converted(self, c: Column, values: Sequence[Any], place: str, row: int | None = None) -> list[Any]:
        """Values of a column, one a row, or all of one `row`."""
        found = self._typed(c, values, place, row)
        if c.kind != "str":
            return found
        for at, text in enumerate(found):
            # A cheap look first: nearly all texts can be printed.
            if text is not None and not text.isprintable() and (clean := _FORBIDDEN.sub("", text)) != text:
                found[at] = clean.strip() or None
                self.notes.append((self.done + at + 1, c.name, CONTROL))
        return found

    def _typed(self, c: Column, values: Sequence[Any], place: str, row: int | None) -> list[Any]:
        convert = _CONVERTERS[c.kind]
        plain = _AS_THEY_ARE.get(c.kind)
        kinds = set(map(type, values))
        if plain is not None and kinds <= {plain, type(None)} and (c.nullable or kinds == {plain}):
            # Nothing but such values, as nearly always: no look at each one by one.
            ready = list(values) if c.kind != "str" else [(v.strip() or None) if v else None for v in values]
            if (c.kind != "int" or _fit(ready)) and (c.nullable or None not in ready):
                return ready
        found: list[Any] = []
        for value in values:
            try:
                if value is None or (isinstance(value, str) and not value.strip()):
                    if not c.nullable:
                        raise ValueError("empty")  # noqa: TRY301
                    found.append(None)
                else:
                    found.append(convert(value, self.zone))
            except (ValueError, TypeError, OverflowError):
                raise WrongType(
                    f"A field of {self.declaration.name} does not hold {_A[c.kind]}",
                    field=place,
                    row=self.done + (len(found) if row is None else row) + 1,
                    remedy=_REMEDY,
                ) from None
        return found


_AS_THEY_ARE: dict[Kind, type] = {"int": int, "str": str, "bool": bool}


def _fit(values: Sequence[Any]) -> bool:
    """Whether all numbers fit into 64 bits."""
    given = [value for value in values if value is not None]
    return not given or (min(given) >= -(2**63) and max(given) < 2**63)


def _int(value: JsonValue, _: ZoneInfo) -> int:
    if isinstance(value, bool) or not isinstance(value, int | str):
        raise TypeError
    number = int(value)
    if not -(2**63) <= number < 2**63:
        raise OverflowError
    return number


def _bool(value: JsonValue, _: ZoneInfo) -> bool:
    if isinstance(value, bool) or value in (0, 1):
        return bool(value)
    raise TypeError


def _str(value: JsonValue, _: ZoneInfo) -> str:
    if isinstance(value, bool) or not isinstance(value, str | int):
        raise TypeError
    return str(value).strip()


@lru_cache(maxsize=65_536)
def _date(value: JsonValue, _: ZoneInfo) -> datetime:
    # Its midnight, as the column's type is a moment.
    return datetime.combine(date.fromisoformat(value[:10]), time.min)


def _datetime(value: JsonValue, zone: ZoneInfo) -> datetime:
    moment = datetime.fromisoformat(value)
    return moment.astimezone(zone).replace(tzinfo=None) if moment.tzinfo else moment


_CONVERTERS: dict[Kind, Callable[[Any, ZoneInfo], Any]] = {
    "int": _int,
    "bool": _bool,
    "str": _str,
    "date": _date,
    "datetime": _datetime,
}
