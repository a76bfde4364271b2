"""What is delivered: files of rows, to the byte."""

from __future__ import annotations

import csv
import hashlib
import io
import re
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from functools import cached_property

import pandas as pd

from isams_pipeline.rules.columns import Column
from isams_pipeline.rules.texts import is_formula, shown

MANIFEST = "manifest.json"
REDACTING = "redacting.json"
"""Beside a manifest while a person is taken out of the export's files."""


@dataclass(frozen=True)
class ExportFile:
    """One file of a partner's export."""

    name: str
    columns: tuple[str, ...]
    key: tuple[str, ...]
    """The columns that tell rows apart."""
    must_have_rows: bool = False
    optional: bool = False
    """It may be missing from an export."""
    may_be_empty: tuple[str, ...] = ()
    """Columns of the key whose cells may be empty."""
    listed_by: tuple[str, ...] = ()
    """Columns by which a list of changes names a row, where the key has what a person wrote; else the key."""
    guarded: bool = True
    """The removal guard looks at it. Not at lists that shorten as time goes by."""
    dated_by: str | None = None
    """A column with an ISO date: rows whose day is over are gone in the way of things, not removed."""
    people: str | None = None
    """Its rows are people of this kind (student, contact or staff), each by the first column of its key."""
    pictures: str | None = None
    """Each of its rows names a picture of the export: how that is called, with the key's first column in braces. The
    column sha256 has its hash."""
    year: str | None = None
    """Of students: the column with their year group. Who joins another year is nobody's replacement."""
    ends: tuple[tuple[str, str | None], ...] = ()
    """What its rows join: a column, and the file whose key's first column it names; None where that is in no file."""


@dataclass(frozen=True)
class Export:
    """The bytes of all data files, as they will be delivered."""

    files: Mapping[str, bytes]
    pictures: Mapping[str, bytes] = field(default_factory=dict[str, bytes], repr=False)
    """What rows of a file name by its hash, so that the files' own hashes cover them: `photos/501.jpg`."""

    @cached_property
    def hashes(self) -> dict[str, str]:
        """SHA-256 of each file."""
        return {name: hashlib.sha256(data).hexdigest() for name, data in sorted(self.files.items())}

    @cached_property
    def content_hash(self) -> str:
        """One hash over all data files, by name and bytes."""
        return content_hash_of(self.hashes)

    @cached_property
    def _read(self) -> dict[str, list[dict[str, str]]]:
        return {}

    def with_file(self, name: str, data: bytes) -> Export:
        """The same export with one more file; what was read of the others stays read."""
        more = Export({**self.files, name: data}, self.pictures)
        more._read.update(self._read)
        return more

    def row_count(self, name: str) -> int:
        """How many rows a file has."""
        return len(self.rows(name))

    def rows(self, name: str) -> list[dict[str, str]]:
        """The rows of a file, read back from its bytes (once)."""
        if name not in self._read:
            self._read[name] = list(read_csv(self.files[name]))
        return self._read[name]


def content_hash_of(hashes: Mapping[str, str]) -> str:
    """One hash over files, by their names and hashes."""
    lines = "".join(f"{name} {digest}\n" for name, digest in sorted(hashes.items()))
    return hashlib.sha256(lines.encode()).hexdigest()


def to_csv(frame: pd.DataFrame, file: ExportFile) -> bytes:
    """The frame as a file: sorted by key, UTF-8, comma, LF, header, empty for null, ISO dates, true and false."""
    ordered = frame.sort_values(list(file.key), kind="stable")[list(file.columns)]
    columns = [_texts(ordered[name]) for name in file.columns]
    buffer = io.StringIO(newline="")
    writer = csv.writer(buffer, lineterminator="\n")
    writer.writerow(file.columns)
    writer.writerows(zip(*columns, strict=True))
    return buffer.getvalue().encode()


def to_csv_for_people(frame: pd.DataFrame, file: ExportFile) -> bytes:
    """The same for a person's spreadsheet, which runs nothing of it."""
    safe = {name: frame[name].map(shown, na_action="ignore") for name in frame.columns if frame[name].dtype == "str"}
    return to_csv(frame.assign(**safe), file)


def formulas(export: Export) -> dict[str, int]:
    """File → how many cells a spreadsheet would run instead of showing. A partner gets them as they are."""
    found = {
        name: sum(is_formula(cell) for row in csv.reader(io.StringIO(data.decode(), newline="")) for cell in row)
        for name, data in export.files.items()
        if name.endswith(".csv") and _MAY_RUN.search(data)
    }
    return {name: count for name, count in found.items() if count}


_MAY_RUN = re.compile(rb"(?:^|[,\n\"])\s*[=+\-@\t\r]")


def _texts(series: Column) -> list[str]:
    if pd.api.types.is_datetime64_any_dtype(series):
        texts = series.dt.strftime("%Y-%m-%d")
    elif pd.api.types.is_bool_dtype(series):
        texts = series.astype("object").map({True: "true", False: "false"})
    else:
        texts = series.astype("str")
    found: list[str] = texts.fillna("").tolist()
    # A lone carriage return would end a line for some readers, and the csv module would not quote it.
    return [_BREAKS.sub("\n", text) if "\r" in text else text for text in found]


_BREAKS = re.compile(r"\r\n?")


def read_csv(data: bytes) -> Iterator[dict[str, str]]:
    """The rows of a delivered file, all text; a row of another length than the header's lacks the other columns."""
    lines = csv.reader(io.StringIO(data.decode("utf-8"), newline=""))
    header = next(lines, list[str]())
    return (dict(zip(header, line, strict=False)) for line in lines if line)


@dataclass(frozen=True)
class CheckResult:
    """The verdict of one blocking rule on an export."""

    name: str
    problems: tuple[str, ...] = ()
    """In words, with files, row numbers and ids; no value of a person."""

    @property
    def passed(self) -> bool:
        """Whether nothing is wrong."""
        return not self.problems


_SHOWN = 20


def few(problems: Iterable[str]) -> tuple[str, ...]:
    """The first problems, and how many more there are."""
    found = list(problems)
    return tuple(found if len(found) <= _SHOWN else [*found[:_SHOWN], f"and {len(found) - _SHOWN} more"])


def check_files(export: Export, files: Sequence[ExportFile]) -> list[CheckResult]:
    """The blocking rules that hold for every partner: the columns, the keys, and rows where there must be some."""
    columns: list[str] = []
    keys: list[str] = []
    empty: list[str] = []
    for file in files:
        data = export.files.get(file.name)
        if data is None:
            if not file.optional:
                columns.append(f"{file.name} is missing")
            continue
        header = data.decode("utf-8").partition("\n")[0]
        if header != ",".join(file.columns):
            columns.append(f"{file.name} does not have the expected columns")
            continue
        seen: dict[tuple[str, ...], int] = {}
        for number, row in enumerate(export.rows(file.name), start=1):
            if len(row) != len(file.columns):
                columns.append(f"{file.name} row {number} has {len(row)} of {len(file.columns)} cells")
                continue
            key = tuple([row[name] for name in file.key])
            first = seen.setdefault(key, number)
            if "" in key and not _may_be_empty(key, file):
                keys.append(f"{file.name} row {number} has no {' and '.join(file.key)}")
            elif first != number:
                keys.append(f"{file.name} rows {first} and {number} have the same {' and '.join(file.key)}")
        if file.must_have_rows and not seen:
            empty.append(f"{file.name} has no rows")
    extra = sorted(set(export.files) - {file.name for file in files})
    columns += [f"{name} is not a file of this partner" for name in extra]
    return [
        CheckResult("schema", few([*columns, *_check_pictures(export, files)])),
        CheckResult("unique_keys", few(keys)),
        CheckResult("not_empty", few(empty)),
    ]


def _may_be_empty(key: tuple[str, ...], file: ExportFile) -> bool:
    return all(cell or name in file.may_be_empty for cell, name in zip(key, file.key, strict=True))


def named_pictures(export: Export, files: Sequence[ExportFile]) -> Iterator[tuple[str, int, str, str]]:
    """The pictures that rows name: file, row number, the picture's name and its hash."""
    for file in files:
        if file.pictures is not None and file.name in export.files:
            for number, row in enumerate(export.rows(file.name), start=1):
                yield file.name, number, file.pictures.format(row.get(file.key[0], "")), row.get("sha256", "")


def _check_pictures(export: Export, files: Sequence[ExportFile]) -> list[str]:
    """What is wrong with the pictures: each that a row names is there, is that one, and there are no others."""
    problems: list[str] = []
    named: set[str] = set()
    for file, number, name, digest in named_pictures(export, files):
        named.add(name)
        if name not in export.pictures:
            problems.append(f"{file} row {number}: its picture is not there")
        elif hashlib.sha256(export.pictures[name]).hexdigest() != digest:
            problems.append(f"{file} row {number}: its picture is another one")
    return [*problems, *(f"{name} is a picture that no row names" for name in sorted(set(export.pictures) - named))]


def check_references(export: Export, references: Iterable[tuple[str, str, str, str]]) -> CheckResult:
    """Whether what a file's column names stands in another file's: (file, column, target, its column)."""
    problems: list[str] = []
    for file, column, target, target_column in references:
        if file not in export.files:
            continue
        known = {row[target_column] for row in export.rows(target)}
        problems += [
            f"{file} row {number}: {column} is not in {target}"
            for number, row in enumerate(export.rows(file), start=1)
            if row[column] and row[column] not in known
        ]
    return CheckResult("references", few(problems))
