"""A person's way through the exports that a partner was given: when they joined, what changed, when they left and why.

Reads receipts, staged exports, reports of what was left out, and the tables behind them. Says ids, fields and rules; no
value of anybody.
"""

from __future__ import annotations

import contextlib
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, field
from datetime import date
from typing import Any, TypeVar

from isams_pipeline.delivery.changes import LINKS
from isams_pipeline.delivery.explaining import FILES, SOURCES
from isams_pipeline.delivery.export import read_csv
from isams_pipeline.delivery.receipts import Receipts
from isams_pipeline.errors import StorageError
from isams_pipeline.orchestration.environment import Environment
from isams_pipeline.orchestration.partitions import Night
from isams_pipeline.orchestration.pins import exclusions_path
from isams_pipeline.rules.compare import code, mailbox
from isams_pipeline.rules.split import EXCLUDED
from isams_pipeline.sources.registry import label_of
from isams_pipeline.storage.state import Delivery
from isams_pipeline.storage.tables import StoredTable

T = TypeVar("T")
Rows = Mapping[str, Mapping[str, str]]
JOINED, CHANGED, LEFT, BACK = "joined", "changed", "left", "came back"
_CODES = ("school_id", "user_code")
_OTHER_END = {"student": ("student_id", "contact_id", "contacts"), "contact": ("contact_id", "student_id", "students")}


@dataclass(frozen=True)
class Event:
    """What happened to a person between two delivered nights."""

    night: date
    what: str
    about: str = ""


@dataclass(frozen=True)
class Course:
    """All that happened to a person, the oldest first."""

    entity: str
    id: str
    events: tuple[Event, ...]
    last: date
    """The last delivered night that they are in."""

    @property
    def left(self) -> Event | None:
        """How they left, if they are not in the newest export."""
        return self.events[-1] if self.events and self.events[-1].what == LEFT else None

    @property
    def in_words(self) -> str:
        """Until when they were there, and what then happened."""
        if self.left is None:
            since = next(event.night for event in reversed(self.events) if event.what in {JOINED, BACK})
            return f"has been in the export since {since}, last on {self.last}"
        return f"was in the export until {self.last}; on {self.left.night}: {self.left.about}"


@dataclass
class Past:
    """The exports that a partner was given of a school."""

    environment: Environment
    partner: str
    school: str
    _deliveries: list[Delivery] = field(init=False)
    _read: dict[tuple[str, str], Any] = field(default_factory=dict[tuple[str, str], Any])

    def __post_init__(self) -> None:
        self._deliveries = Receipts(self.environment.state).delivered(self.partner, self.school)

    def meant(self, who: str) -> set[tuple[str, str]]:
        """Kind and id of everybody whom an id, a code or an e-mail address meant in any export, the newest first."""
        for delivery in reversed(self._deliveries):
            found = set(self._meant_on(delivery, who.strip()))
            if found:
                return found
        return set()

    def _meant_on(self, delivery: Delivery, who: str) -> Iterator[tuple[str, str]]:
        for entity, (file, _) in FILES.items():
            for identifier, row in (self._rows(delivery, file) or {}).items():
                codes = {code(row[name]) for name in _CODES if row.get(name)}
                mine = mailbox(row.get("email") or "") if "@" in who else None
                if identifier == who or code(who) in codes or (mine is not None and mine == mailbox(who)):
                    yield entity, identifier

    def course(self, entity: str, identifier: str) -> Course | None:
        """A person's way through the exports; None for who was in none."""
        file, _ = FILES[entity]
        events: list[Event] = []
        before: Mapping[str, str] | None = None
        linked: frozenset[str] = frozenset()
        last: date | None = None
        for delivery in self._deliveries:
            rows = self._rows(delivery, file)
            if rows is None:
                continue  # not kept any more: what happened then is not known
            row = rows.get(identifier)
            links = self._links(delivery, entity, identifier) if row is not None else linked
            if row is not None and before is None:
                events.append(Event(delivery.date, BACK if last else JOINED))
            elif row is None and before is not None:
                events.append(Event(delivery.date, LEFT, self._why(entity, identifier, delivery, linked)))
            elif row is not None and before is not None:
                told = list(_told(entity, before, row, linked, links))
                if told:
                    events.append(Event(delivery.date, CHANGED, ", ".join(told)))
            if row is not None:
                last, linked = delivery.date, links
            before = row
        return Course(entity, identifier, tuple(events), last) if last is not None else None

    # --- why somebody left --------------------------------------------------------------------------------

    def _why(self, entity: str, identifier: str, now: Delivery, linked: frozenset[str]) -> str:
        rules = [
            f"{row['rule']}: {row['reason']}"
            for row in self._exclusions(now.date)
            if row["entity"] == entity and row["id"] == identifier and row["severity"] == EXCLUDED
        ]
        if rules:
            return f"left out by {'; '.join(rules)}"
        if entity == "contact" and linked:
            students = self._rows(now, "students.csv") or {}
            if linked.isdisjoint(students):
                return "their last student left"
        dataset, key = SOURCES[entity]
        source = label_of(self._source(now, dataset))
        there = self._in_source(now, dataset, key, identifier)
        if there is None:
            return f"gone; the tables of {now.date} are not kept any more, so that nobody knows why"
        if not there:
            roll = {"student": "roll", "contact": "contacts", "staff": "current staff"}[entity]
            return f"no longer on {source}'s {roll}" if entity == "student" else f"no longer among {source}'s {roll}"
        return "still in the source, and no rule of that night's report says why it is not in the export"

    def _exclusions(self, night: date) -> list[dict[str, str]]:
        with contextlib.suppress(FileNotFoundError, StorageError):
            path = exclusions_path(self.partner, Night(self.school, night))
            return list(read_csv(self.environment.reports.read(path)))
        return []

    @staticmethod
    def _source(delivery: Delivery, dataset: str) -> str:
        return str(delivery.manifest["datasets"][dataset]["source"])

    def _in_source(self, delivery: Delivery, dataset: str, key: str, identifier: str) -> bool | None:
        pin = delivery.manifest["datasets"][dataset]
        table = StoredTable(
            str(pin["source"]), dataset, self.school, delivery.date.isoformat(), pin["sha256"], pin["rows"], {}
        )
        try:
            frame = self.environment.tables.load(table)
        except StorageError:
            return None
        return bool((frame[key].astype("str") == identifier).any())

    # --- the files --------------------------------------------------------------------------------------------

    def _rows(self, delivery: Delivery, file: str) -> Rows | None:
        """The rows of a delivered file by their first column; None where its bytes are not kept any more."""
        return self._file(delivery, file, _by_first)

    def _links(self, delivery: Delivery, entity: str, identifier: str) -> frozenset[str]:
        if entity not in _OTHER_END:
            return frozenset()
        mine, other, _ = _OTHER_END[entity]

        def by_person(rows: Iterator[dict[str, str]]) -> dict[str, set[str]]:
            of: dict[str, set[str]] = {}
            for row in rows:
                of.setdefault(row[mine], set()).add(row[other])
            return of

        found = self._file(delivery, LINKS, by_person, mine) or {}
        return frozenset(found.get(identifier, ()))

    def _file(
        self, delivery: Delivery, file: str, read: Callable[[Iterator[dict[str, str]]], dict[str, T]], by: str = ""
    ) -> dict[str, T] | None:
        facts = delivery.manifest["files"].get(file)
        if facts is None:
            return {}
        digest = str(facts["sha256"])
        known = self._read.get((file, by))
        if known is None or known[0] != digest:  # most nights have most files of the night before
            try:
                data = self.environment.staged(self.partner, self.school).read(digest)
            except StorageError:
                return None
            known = self._read[file, by] = (digest, read(read_csv(data)))
        return known[1]


def _by_first(rows: Iterator[dict[str, str]]) -> dict[str, dict[str, str]]:
    return {next(iter(row.values())): row for row in rows}


def _told(
    entity: str, before: Mapping[str, str], row: Mapping[str, str], linked: frozenset[str], links: frozenset[str]
) -> Iterator[str]:
    yield from (name for name in row if row[name] != before.get(name))
    if linked != links:
        what = _OTHER_END[entity][2]
        more = [f"+{one}" for one in sorted(links - linked)] + [f"-{one}" for one in sorted(linked - links)]
        yield f"{what} {' '.join(more)}"
