"""JSON objects → a dataset's frame. A wrong type is an error that names the field and the row, not the value."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from datetime import date, datetime
from typing import Any
from zoneinfo import ZoneInfo

import pandas as pd

from isams_pipeline.arrow import pa
from isams_pipeline.errors import WrongType
from isams_pipeline.isams.datasets.declare import Column, DatasetDeclaration


def frame_of(declaration: DatasetDeclaration, rows: Iterable[Mapping[str, Any]], zone: ZoneInfo) -> pd.DataFrame:
    """The rows as declared, by each column's path (a field's name).

    Blank texts are null, 0 and 1 are booleans where one is declared; moments with an offset become the school's wall
    time in `zone`. Raises WrongType with the field and the number of the row.
    """
    columns: dict[str, list[Any]] = {c.name: [] for c in declaration.columns}
    for number, row in enumerate(rows, start=1):
        for c in declaration.columns:
            try:
                columns[c.name].append(_value(c, row.get(c.path or c.name), zone))
            except (ValueError, TypeError, OverflowError):
                raise WrongType(
                    f"A field of {declaration.name} does not hold {_A[c.kind]}",
                    field=c.path or c.name,
                    row=number,
                    remedy="Correct the record in iSAMS; if iSAMS shows it well, report this as a bug.",
                ) from None
    return declaration.to_pandas(pa.table(columns, schema=declaration.arrow_schema))


_A = {"int": "a whole number", "str": "a text", "bool": "true or false", "date": "a date", "datetime": "a moment"}


def _value(column: Column, value: Any, zone: ZoneInfo) -> Any:
    if value is None or (isinstance(value, str) and not value.strip()):
        if column.nullable:
            return None
        raise ValueError("empty")
    match column.kind:
        case "int":
            return _int(value)
        case "bool":
            return _bool(value)
        case "str":
            return _str(value)
        case "date":
            return date.fromisoformat(value[:10])
        case "datetime":
            moment = datetime.fromisoformat(value)
            return moment.astimezone(zone).replace(tzinfo=None) if moment.tzinfo else moment


def _int(value: Any) -> int:
    if isinstance(value, bool) or not isinstance(value, int | str):
        raise TypeError
    return int(value)


def _bool(value: Any) -> bool:
    if isinstance(value, bool) or value in (0, 1):
        return bool(value)
    raise TypeError


def _str(value: Any) -> str:
    if isinstance(value, bool) or not isinstance(value, str | int):
        raise TypeError
    return str(value).strip()
