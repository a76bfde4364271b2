"""Which rows of tables, files and reports speak of a person, and what they say. Pure."""

from __future__ import annotations

import csv
import io
from collections.abc import Callable, Iterator, Mapping, Sequence
from typing import cast

import numpy as np
import pandas as pd

from isams_pipeline.datasets.people import COLUMNS, PERSON, PUPIL, STAFF, Person
from isams_pipeline.datasets.people_rows import cells_of
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
        meant |= cells_of(frame[name], person, COLUMNS[name])
    for position in meant.nonzero()[0]:
        row = frame.iloc[int(position)]
        texts = {str(name): str(value) for name, value in row.items() if not pd.isna(value)}
        named = person.naming(texts, {name: COLUMNS[name] for name in columns})
        if any(name in own for name in named):
            yield int(position) + 1, OWN, texts
        elif named:
            key = [name for name in texts if name.endswith("_id") and name not in COLUMNS][:3]
            yield int(position) + 1, NAMED, {name: texts[name] for name in (*key, *named)}


def file_without(
    file: ExportFile | None,
    data: bytes,
    people: Sequence[Person],
    also: Callable[[Mapping[str, str]], bool] = lambda _row: False,
) -> tuple[bytes, list[dict[str, str]]]:
    """A file without the rows of people, and with what names them taken out of others; and the rows that went.

    `also` says of further rows that they are theirs. What is not changed stays as it was, to the byte.
    """
    lines = _Lines(data.decode())
    rows = csv.reader(lines)
    header = next(rows, list[str]())
    made, gone = [lines.taken()], list[dict[str, str]]()
    key = file.key if file else tuple(header)
    telling = [(at, name, COLUMNS[name]) for at, name in enumerate(header) if name in COLUMNS]
    for cells in rows:
        line = lines.taken()
        cells_left = list(cells)
        is_theirs = also(dict(zip(header, cells, strict=False)))
        for person in people:
            for at, name, kind in telling:
                if at < len(cells) and person.is_meant(kind, cells[at]):
                    is_theirs |= name in key
                    cells_left[at] = person.left_of(kind, cells_left[at])
        if is_theirs:
            gone.append(dict(zip(header, cells, strict=False)))
        else:
            made.append(line if cells_left == cells else _line_of(cells_left))
    return "".join(made).encode(), gone


class _Lines:
    """The lines of a text, and those that a row was read from."""

    def __init__(self, text: str) -> None:
        self._lines = iter(io.StringIO(text, newline=""))
        self._taken: list[str] = []

    def __iter__(self) -> _Lines:
        return self

    def __next__(self) -> str:
        line = next(self._lines)
        self._taken.append(line)
        return line

    def taken(self) -> str:
        """The lines since it was asked last."""
        lines = "".join(self._taken)
        self._taken.clear()
        return lines


def _line_of(cells: Sequence[str]) -> str:
    buffer = io.StringIO(newline="")
    csv.writer(buffer, lineterminator="\n").writerow(cells)
    return buffer.getvalue()


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
    if person.is_known_by_hash:
        return True
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
