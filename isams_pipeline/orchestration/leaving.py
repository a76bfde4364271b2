"""Who is gone from an export and rightly so, by the tables behind it and those behind the export before."""

from __future__ import annotations

import contextlib
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from datetime import date, timedelta
from typing import Any

import pandas as pd

from isams_pipeline.datasets.shapes import JsonObject
from isams_pipeline.delivery.changes import LINKS, Explained, keys_of
from isams_pipeline.delivery.deliver import GUARD_ROWS
from isams_pipeline.delivery.export import Export, ExportFile
from isams_pipeline.errors import StorageError
from isams_pipeline.orchestration.environment import Environment
from isams_pipeline.rules.leaving import (
    BEFORE_IT_ENDS,
    YearEnd,
    british_year_end,
    called_former,
    in_last_year,
    moved_up,
    reasons,
    staff_who_left,
    without_students,
    year_end,
)
from isams_pipeline.sources.registry import LISTED
from isams_pipeline.sources.shared.mapping import Absent
from isams_pipeline.storage.tables import StoredTable

_LAST_YEAR = "of the last year group, whose year has ended"
TIMETABLE = "timetable.csv"
_LAST_YEAR_S_TERMS = timedelta(days=70)
"""So long ago the terms of the year that ended were still there, whatever was entered since."""


@dataclass(frozen=True)
class Leaving:
    """What a school's tables say of those who are gone on a night."""

    environment: Environment
    school: str
    night: date
    tables: Mapping[str, pd.DataFrame] | None = None
    """The tables behind this night's export, where they are not those that its pins name."""
    build: Callable[[Mapping[str, pd.DataFrame]], Export] | None = None
    """Builds the export again from its tables: to tell which lessons are gone because they are suspended."""

    def __call__(
        self,
        files: Mapping[str, ExportFile],
        before: Export,
        now: Export,
        pins: tuple[JsonObject, JsonObject],
    ) -> Explained:
        """Kind of people → id → why; `pins` are the tables behind the export before, and behind this one."""
        gone: dict[str, set[str]] = {}
        for name, file in files.items():
            if file.people is not None and name in before.files and name in now.files:
                key = file.key[0]
                gone[file.people] = _ids(before, name, key) - _ids(now, name, key)
        told: dict[str, Mapping[Any, str]] = {}
        if gone.get("student"):
            told["student"] = reasons(self._students(*pins), gone["student"])
        if gone.get("staff"):
            told["staff"] = reasons(self._staff(pins[0]), gone["staff"])
        if gone.get("contact") and LINKS in before.files:
            here = _ids(now, "students.csv", "student_id")
            links = ((row["student_id"], row["contact_id"]) for row in before.rows(LINKS))
            told["contact"] = reasons(
                [(without_students(links, here), "whose students have all left")], gone["contact"]
            )
        if self.build is not None and (file := files.get(TIMETABLE)) is not None:
            suspended = self._suspended(file, before, now, pins[1])
            if suspended:
                told[TIMETABLE] = suspended
        return told

    def _suspended(
        self, file: ExportFile, before: Export, now: Export, pins: JsonObject
    ) -> Mapping[tuple[str, ...], str]:
        """The lessons that are gone and would be there if none were suspended. Built again only where many are gone."""
        if TIMETABLE not in before.files or TIMETABLE not in now.files or self.build is None:
            return {}
        suspensions = self._now("lesson_suspensions", pins)
        if suspensions is None or suspensions.empty or before.hashes[TIMETABLE] == now.hashes[TIMETABLE]:
            return {}
        gone = keys_of(file, before) - keys_of(file, now)
        if len(gone) < GUARD_ROWS:
            return {}
        tables = {name: frame for name in pins if (frame := self._now(name, pins)) is not None}
        if tables.keys() != pins.keys():
            return {}  # some cannot be read any more: nothing is explained
        unsuspended = self.build({**tables, "lesson_suspensions": suspensions.iloc[:0]})
        return dict.fromkeys(gone & keys_of(file, unsuspended), "of suspended lessons")

    def _students(self, before: JsonObject, now: JsonObject) -> Iterator[tuple[set[str], str]]:
        old, new = self._table("pupils", before), self._now("pupils", now)
        if old is None or new is None:
            return
        campuses = list(self.environment.settings.school(self.school).campuses.values())
        source = str(before["pupils"]["source"])
        if moved_up(old, new):
            yield in_last_year(old, campuses), _LAST_YEAR
        terms = list(self._terms(source, before, now))
        ended = year_end(terms, self.night)
        if _has_no_terms(source) and all(frame.empty for frame in terms):
            ended = british_year_end(self.night)  # such a source has no schools elsewhere
        at_the_end = self._pupils_then(source, ended) if ended is not None else None
        if at_the_end is not None:
            yield in_last_year(at_the_end, campuses), _LAST_YEAR
        links = self._now("contact_pupils", now)
        if links is not None:
            yield called_former(links), "whom the source calls former"

    def _staff(self, before: JsonObject) -> Iterator[tuple[set[str], str]]:
        old = self._table("staff", before)
        if old is not None:
            yield staff_who_left(old, self.night), "whose leaving date has come"

    def _terms(self, source: str, *pins: JsonObject) -> Iterator[pd.DataFrame]:
        before, now = pins
        for frame in (self._table("terms", before), self._now("terms", now)):
            if frame is not None:
                yield frame
        for night in (self.night + timedelta(days=1), self.night - _LAST_YEAR_S_TERMS):
            yield from self._loaded(self.environment.tables.before(source, "terms", self.school, night))

    def _pupils_then(self, source: str, ended: YearEnd) -> pd.DataFrame | None:
        """The pupils of shortly before a school year's end; none where no night of then is left."""
        tables = self.environment.tables
        nights = [n for n in tables.nights(source, "pupils", self.school) if ended.first <= n <= ended.last]
        early = [night for night in nights if night <= ended.last - BEFORE_IT_ENDS]
        chosen = max(early) if early else min(nights, default=None)
        if chosen is None:
            return None
        return next(self._loaded(tables.find(source, "pupils", self.school, chosen)), None)

    def _now(self, name: str, pins: JsonObject) -> pd.DataFrame | None:
        return self._table(name, pins) if self.tables is None else self.tables.get(name)

    def _table(self, name: str, pins: JsonObject) -> pd.DataFrame | None:
        pin = pins.get(name)
        if pin is None:
            return None
        table = StoredTable(
            str(pin["source"]), name, self.school, self.night.isoformat(), str(pin["sha256"]), int(pin["rows"]), {}
        )
        return next(self._loaded(table), None)

    def _loaded(self, table: StoredTable | None) -> Iterator[pd.DataFrame]:
        """The rows, where they can still be read: without them nothing is explained, and a person decides."""
        if table is not None:
            with contextlib.suppress(StorageError):
                yield self.environment.tables.load(table)


def _ids(export: Export, file: str, column: str) -> set[str]:
    """A column's cells. A file whose columns are wrong has none: its own check refuses it."""
    return {row.get(column, "") for row in export.rows(file)} if file in export.files else set()


def _has_no_terms(source: str) -> bool:
    """Whether a source's own documents have no terms at all."""
    return source in LISTED and isinstance(LISTED[source].mapping.datasets["terms"], Absent)
