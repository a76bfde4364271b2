"""Two exports of the same tables, compared: by file, by rule, and by year group. Pure."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass

from isams_pipeline.delivery.built import Built
from isams_pipeline.delivery.changes import LINKS, compare
from isams_pipeline.delivery.export import Export, ExportFile

STUDENTS = "students.csv"
_YEARS = ("year_group", "year_group_id")


@dataclass(frozen=True)
class FileDifference:
    """How a file would change."""

    name: str
    rows: int
    rows_then: int
    added: int
    changed: int
    removed: int


@dataclass(frozen=True)
class YearReach:
    """A year group's students, and who is reached by their contacts."""

    year: str
    students: int
    contacts: int
    """Pairs of student and contact."""
    without: int
    """Students without any contact."""


@dataclass(frozen=True)
class Difference:
    """What other settings would do."""

    files: tuple[FileDifference, ...]
    rules: tuple[tuple[str, str, str, int, int], ...]
    """Entity, rule, severity, how many now and then; where they differ."""
    years: tuple[tuple[YearReach, YearReach], ...]
    """Of each year group in which they differ: now and then."""


def difference(now: Built, then: Built, files: Sequence[ExportFile]) -> Difference:
    """How an export would differ from the one that is."""
    return Difference(
        tuple(_file(file, now.export, then.export) for file in files if _differs(file.name, now, then)),
        tuple(_rules(now, then)),
        tuple(_years(now.export, then.export)),
    )


def _differs(name: str, now: Built, then: Built) -> bool:
    return now.export.hashes.get(name) != then.export.hashes.get(name)


def _file(file: ExportFile, now: Export, then: Export) -> FileDifference:
    change = compare(file, then, now)
    before, after = (len(one.rows(file.name)) if file.name in one.files else 0 for one in (now, then))
    return FileDifference(file.name, before, after, change.added, change.changed, change.removed)


def _rules(now: Built, then: Built) -> Iterable[tuple[str, str, str, int, int]]:
    counts = [Counter(zip(*(one.exclusions[name] for name in _BY), strict=True)) for one in (now, then)]
    for key in sorted({*counts[0], *counts[1]}):
        before, after = counts[0][key], counts[1][key]
        if before != after:
            entity, rule, severity = key
            yield str(entity), str(rule), str(severity), before, after


_BY = ("entity", "rule", "severity")


def _years(now: Export, then: Export) -> Iterable[tuple[YearReach, YearReach]]:
    before, after = reach(now), reach(then)
    for year in sorted({*before, *after}, key=_in_order):
        none = YearReach(year, 0, 0, 0)
        pair = before.get(year, none), after.get(year, none)
        if pair[0] != pair[1]:
            yield pair


def _in_order(year: str) -> tuple[int, str]:
    digits = "".join(ch for ch in year if ch.isdigit())
    return (int(digits) if digits else 0, year)


def reach(export: Export) -> dict[str, YearReach]:
    """Year group → how many students it has, and how many contacts those have; empty where there are no students."""
    if STUDENTS not in export.files:
        return {}
    of: Counter[str] = Counter(row["student_id"] for row in export.rows(LINKS)) if LINKS in export.files else Counter()
    found: dict[str, list[Mapping[str, str]]] = {}
    for row in export.rows(STUDENTS):
        year = next((row[name] for name in _YEARS if name in row), "")
        found.setdefault(year, []).append(row)
    return {
        year: YearReach(
            year,
            len(rows),
            sum(of[row["student_id"]] for row in rows),
            sum(not of[row["student_id"]] for row in rows),
        )
        for year, rows in sorted(found.items(), key=lambda item: _in_order(item[0]))
    }
