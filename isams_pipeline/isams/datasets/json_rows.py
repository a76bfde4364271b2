"""JSON objects → a dataset's frame. A wrong type is an error that names the field and the row, not the value."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence
from datetime import date, datetime, time
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


def frame_of(declaration: DatasetDeclaration, rows: Iterable[Mapping[str, Any]], zone: ZoneInfo) -> pd.DataFrame:
    """The rows as declared, by each column's path (a field's name).

    Blank texts are null, 0 and 1 are booleans where one is declared; moments with an offset become the school's wall
    time in `zone`. Raises WrongType with the field and the number of the row.
    """
    fields = [c.path or c.name for c in declaration.columns]
    return frame_of_values(declaration, ([row.get(f) for f in fields] for row in rows), zone, fields)


def frame_of_values(
    declaration: DatasetDeclaration, rows: Iterable[Sequence[Any]], zone: ZoneInfo, fields: Sequence[str]
) -> pd.DataFrame:
    """The same, of rows whose values stand in the order of the columns; `fields` names them in an error.

    A few thousand rows are Python objects at a time, however many there are.
    """
    arrays: list[list[Array]] = [[] for _ in declaration.columns]
    types = [declaration.arrow_schema.field(c.name).type for c in declaration.columns]
    done, waiting = 0, iter(rows)
    while batch := list(islice(waiting, _BATCH)):
        for at, (c, values) in enumerate(zip(declaration.columns, zip(*batch, strict=True), strict=True)):
            arrays[at].append(pa.array(_converted(declaration, c, values, zone, (fields[at], done)), types[at]))
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
