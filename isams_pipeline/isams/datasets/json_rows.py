"""JSON objects → a dataset's frame. A wrong type is an error that names the field and the row, not the value."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence
from datetime import date, datetime, time
from functools import lru_cache
from itertools import islice
from typing import Any
from zoneinfo import ZoneInfo

import pandas as pd

from isams_pipeline.arrow import Array, pa
from isams_pipeline.errors import WrongType
from isams_pipeline.isams.datasets.declare import Column, DatasetDeclaration, Kind

_BATCH = 2_000
"""Rows that are Python objects at a time."""
_REMEDY = "Correct the record in iSAMS; if iSAMS shows it well, report this as a bug."


Rows = Sequence[Mapping[str, Any]]
Read = Callable[[Rows], list[Any]]
"""Rows → what each has for a column."""


def frame_of(declaration: DatasetDeclaration, rows: Iterable[Mapping[str, Any]], zone: ZoneInfo) -> pd.DataFrame:
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
    rows: Iterable[Mapping[str, Any]],
    zone: ZoneInfo,
    columns: Mapping[str, tuple[str, Read]],
) -> pd.DataFrame:
    """The same, each column by the place that an error names, and by what reads it; one that is not there is null.

    A few thousand rows are Python objects at a time, however many there are.
    """
    arrays: list[list[Array]] = [[] for _ in declaration.columns]
    types = [declaration.arrow_schema.field(c.name).type for c in declaration.columns]
    done, waiting = 0, iter(rows)
    while batch := list(islice(waiting, _BATCH)):
        for at, c in enumerate(declaration.columns):
            if c.name in columns:
                place, read = columns[c.name]
                values = _converted(declaration, c, read(batch), zone, (place, done))
                arrays[at].append(pa.array(values, types[at]))
            elif c.nullable:
                arrays[at].append(pa.nulls(len(batch), types[at]))
            else:
                _converted(declaration, c, [None], zone, ("", done))
        done += len(batch)
    if not done:
        return declaration.empty()
    found: dict[str, Any] = {}
    for at, c in enumerate(declaration.columns):
        # Column after column, so that only one is in memory twice.
        whole = pa.chunked_array(arrays[at]).combine_chunks()
        arrays[at].clear()
        pa.default_memory_pool().release_unused()
        found[c.name] = declaration.series(whole)
    return pd.DataFrame(found, copy=False)


_A = {"int": "a whole number", "str": "a text", "bool": "true or false", "date": "a date", "datetime": "a moment"}


def _converted(
    declaration: DatasetDeclaration, c: Column, values: Sequence[Any], zone: ZoneInfo, place: tuple[str, int]
) -> list[Any]:
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
                found.append(convert(value, zone))
        except (ValueError, TypeError, OverflowError):
            field, done = place
            raise WrongType(
                f"A field of {declaration.name} does not hold {_A[c.kind]}",
                field=field,
                row=done + len(found) + 1,
                remedy=_REMEDY,
            ) from None
    return found


_AS_THEY_ARE: dict[Kind, type] = {"int": int, "str": str, "bool": bool}


def _fit(values: Sequence[Any]) -> bool:
    """Whether all numbers fit into 64 bits."""
    given = [value for value in values if value is not None]
    return not given or (min(given) >= -(2**63) and max(given) < 2**63)


def _int(value: Any, _: ZoneInfo) -> int:
    if isinstance(value, bool) or not isinstance(value, int | str):
        raise TypeError
    number = int(value)
    if not -(2**63) <= number < 2**63:
        raise OverflowError
    return number


def _bool(value: Any, _: ZoneInfo) -> bool:
    if isinstance(value, bool) or value in (0, 1):
        return bool(value)
    raise TypeError


def _str(value: Any, _: ZoneInfo) -> str:
    if isinstance(value, bool) or not isinstance(value, str | int):
        raise TypeError
    return str(value).strip()


@lru_cache(maxsize=65_536)
def _date(value: Any, _: ZoneInfo) -> datetime:
    # Its midnight, as the column's type is a moment.
    return datetime.combine(date.fromisoformat(value[:10]), time.min)


def _datetime(value: Any, zone: ZoneInfo) -> datetime:
    moment = datetime.fromisoformat(value)
    return moment.astimezone(zone).replace(tzinfo=None) if moment.tzinfo else moment


_CONVERTERS: dict[Kind, Callable[[Any, ZoneInfo], Any]] = {
    "int": _int,
    "bool": _bool,
    "str": _str,
    "date": _date,
    "datetime": _datetime,
}
