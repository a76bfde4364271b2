"""Which rows of tables, files and reports speak of a person, and what they say. Pure."""

from __future__ import annotations

import csv
import io
import re
from collections.abc import Iterator, Mapping, Sequence
from typing import Any, cast

import numpy as np
import pandas as pd

from isams_pipeline.datasets.people import COLUMNS, PERSON, PUPIL, STAFF, Person
from isams_pipeline.delivery.export import ExportFile
from isams_pipeline.sources.isams.people_in import NAMED, OWN


def rows_in(file: ExportFile | None, data: bytes, whom: Sequence[Person]) -> Iterator[tuple[str, dict[str, str], int]]:
    """The rows of a file that are about people, or name them: how, what they say, and their number."""
    people = [person for person in whom if may_speak(data, person)]
    if not people:
        return
    lines = csv.reader(io.StringIO(data.decode(), newline=""))
    header = next(lines, list[str]())
    key = file.key if file else tuple(header)
    telling = [(at, name, COLUMNS[name]) for at, name in enumerate(header) if name in COLUMNS]
    for number, cells in enumerate((line for line in lines if line), start=1):
        for person in people:
            # Nearly no row is about them.
            named = [name for at, name, kind in telling if at < len(cells) and person.is_meant(kind, cells[at])]
            if named:
                row = dict(zip(header, cells, strict=False))
                own = any(name in key for name in named)
                shown = row if own else {name: row[name] for name in (*key, *named) if name in row}
                yield OWN if own else NAMED, shown, number


def rows_about(
    frame: pd.DataFrame, person: Person, own: Mapping[str, str]
) -> Iterator[tuple[int, str, dict[str, str]]]:
    """The rows of a table that are a person's, or name them: number from 1, how, and what they say."""
    columns = [name for name in frame.columns if name in COLUMNS]
    meant = np.zeros(len(frame), dtype=bool)
    for name in columns:
        meant |= _may_be(frame[name], person, COLUMNS[name])
    for position in meant.nonzero()[0]:
        row = frame.iloc[int(position)]
        texts = {str(name): str(value) for name, value in row.items() if not pd.isna(value)}
        named = person.naming(texts, {name: COLUMNS[name] for name in columns})
        if any(name in own for name in named):
            yield int(position) + 1, OWN, texts
        elif named:
            key = [name for name in texts if name.endswith("_id") and name not in COLUMNS][:3]
            yield int(position) + 1, NAMED, {name: texts[name] for name in (*key, *named)}


def _may_be(column: pd.Series[Any], person: Person, kind: str) -> Any:
    """Which cells may hold one of the person's numbers or codes: quickly, and rather too many than too few."""
    mine = person.ids.get(kind, frozenset())
    if not mine:
        return np.zeros(len(column), dtype=bool)
    texts = column.astype("str")
    if pd.api.types.is_numeric_dtype(column):
        return texts.isin(mine).to_numpy()
    pattern = "|".join(re.escape(one) for one in sorted(mine))
    return texts.str.contains(pattern, case=False, regex=True, na=False).to_numpy()


_EXCLUDED: dict[str, Sequence[str | None]] = {
    "student": (PUPIL,),
    "contact": (PERSON,),
    "staff": (STAFF,),
    "medical": (PUPIL,),
    "student_contact": (PUPIL, PERSON),
    "class_student": (None, PUPIL),
    "class_staff": (None, STAFF),
}
"""What a row of a report is of → of which kind the parts of its id are."""


def excluded(row: Mapping[str, str], person: Person) -> bool:
    """Whether a row of a report of what was left out is about a person."""
    parts = row.get("id", "").lstrip("'").split(":")
    kinds = _EXCLUDED.get(row.get("entity", ""), ())
    return any(kind is not None and person.is_meant(kind, part) for kind, part in zip(kinds, parts, strict=False))


def may_speak(data: bytes, person: Person) -> bool:
    """Whether a file of ours may speak of a person at all, so that its rows have to be looked at."""
    lower = data.lower()
    return any(not value.isascii() or value.encode() in lower for values in person.ids.values() for value in values)


def flat(value: object, prefix: str = "") -> dict[str, str]:
    """A value of JSON as path → text; empty ones are left out."""
    made: dict[str, str] = {}
    if isinstance(value, dict):
        for key, inner in cast("dict[str, object]", value).items():
            made |= flat(inner, f"{prefix}.{key}" if prefix else key)
        return made
    if isinstance(value, list):
        for at, inner in enumerate(cast("list[object]", value)):
            made |= flat(inner, f"{prefix}[{at}]")
        return made
    return {} if value is None or value == "" else {prefix: str(value)}
