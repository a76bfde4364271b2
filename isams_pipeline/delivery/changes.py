"""How an export differs from the one before: what was added and changed, and of what is gone, what is really lost.

A school year changes nearly every key: new sets, a new timetable, a year that has left. What harms is *fewer*. So the
rows that are gone are told apart: explained by the source, replaced by about as many, and lost without an explanation.
"""

from __future__ import annotations

import csv
import io
from collections import Counter
from collections.abc import Mapping
from dataclasses import dataclass, field
from datetime import date
from typing import Any

from isams_pipeline.delivery.export import Export, ExportFile

Key = tuple[str, ...]
Explained = Mapping[str, Mapping[Any, str]]
"""Kind of people → id → why it is right that this person is gone; and file → key of a row → why it is, likewise."""


COUNTS = ("added", "changed", "removed", "explained", "replaced", "unexplained")
"""What is counted of a file: the last three are what became of those removed."""


@dataclass(frozen=True)
class Change:
    """How a file differs from an earlier one, in rows by key."""

    added: int
    changed: int
    removed: int
    before: int
    """Rows of the earlier file, as far as their dates are still to come."""
    explained: Mapping[str, int] = field(default_factory=dict[str, int])
    """Of those removed: why the source says that it is right → how many."""
    replaced: int = 0
    """Of those removed: how many others came for them."""
    unexplained: int = 0
    """Of those removed: the rest. It is what the removal guard looks at."""
    strangers: int = 0
    """Of people who are gone: those without an explanation, replaced or not."""

    @property
    def counts(self) -> dict[str, int]:
        """What receipts and manifests say."""
        return {
            "added": self.added,
            "changed": self.changed,
            "removed": self.removed,
            "explained": sum(self.explained.values()),
            "replaced": self.replaced,
            "unexplained": self.unexplained,
        }

    @property
    def stayers(self) -> int:
        """Rows of the earlier file that nothing explains away."""
        return self.before - sum(self.explained.values())

    @property
    def in_words(self) -> str:
        """Of the rows that are gone, how many are explained, replaced and unexplained."""
        why = ", ".join(f"{count} {reason}" for reason, count in self.explained.items())
        explained = sum(self.explained.values())
        told = f"{explained} explained ({why})" if why else "0 explained"
        return f"{told}, {self.replaced} replaced, {self.unexplained} unexplained"


def compare(
    file: ExportFile,
    now: Export,
    before: Export | None,
    night: date | None = None,
    explained: Explained | None = None,
) -> Change:
    """Added, changed and removed rows of a file; one that is not there has none.

    Of a file that is dated, only the rows from `night` on count as removed or as having been there before.
    """
    if before is not None and now.hashes.get(file.name) == before.hashes.get(file.name):
        rows = _ahead(file, _by_key(file, now), night)
        return Change(added=0, changed=0, removed=0, before=len(rows))
    new, old = _by_key(file, now), _by_key(file, before)
    changed = sum(new[key] != old[key] for key in new.keys() & old.keys())
    came = {key: row for key, row in new.items() if key not in old}
    old = _ahead(file, old, night)
    gone = {key: row for key, row in old.items() if key not in new}
    away = _away(file, explained or {})
    reasons = {
        key: why for key, row in gone.items() if (why := _why(file, key, row, explained or {}, away)) is not None
    }
    others = {key: row for key, row in gone.items() if key not in reasons}
    if file.people is not None:
        lost = len(others) - _newcomers_for(file, others, came, old, new, (before, now))
    else:
        fresh = _ahead(file, came, night)
        fewer = len(others) - len(fresh)
        lost = max(0, fewer, _kept_ends(file, others, fresh, now), _left_alone(file, others, new, now))
    return Change(
        added=len(came),
        changed=changed,
        removed=len(gone),
        before=len(old),
        explained=dict(sorted(Counter(reasons.values()).items())),
        replaced=len(others) - lost,
        unexplained=lost,
        strangers=len(others) if file.people is not None else 0,
    )


def _by_key(file: ExportFile, export: Export | None) -> dict[Key, dict[str, str]]:
    if export is None or file.name not in export.files:
        return {}
    return {tuple([row.get(name, "") for name in file.key]): row for row in export.rows(file.name)}


def keys_of(file: ExportFile, export: Export) -> set[Key]:
    """The keys of a file's rows."""
    return set(_by_key(file, export))


def _ahead(file: ExportFile, rows: dict[Key, dict[str, str]], night: date | None) -> dict[Key, dict[str, str]]:
    if file.dated_by is None or night is None:
        return rows
    return {key: row for key, row in rows.items() if row.get(file.dated_by, "") >= night.isoformat()}


Rows = Mapping[Key, Mapping[str, str]]


# Rows may lack columns: a file whose columns are wrong is compared, too, before its own check refuses it.


def _newcomers_for(  # noqa: PLR0917  # who is gone, who came, and what is known of both
    file: ExportFile, gone: Rows, came: Rows, old: Rows, new: Rows, exports: tuple[Export | None, Export]
) -> int:
    """For how many people who are gone another came in their place.

    A student's place is in the year group, where it moves up with those who stay: the first year's newcomers must not
    hide that another year is lost. A contact's place is with the students. Staff have one of many.
    """
    if file.people == "contact":
        return _other_contacts(gone, came, *exports)
    if file.year is None:
        return min(len(gone), len(came))
    moved = _moved(file.year, old, new)
    places = Counter(moved[year] for row in gone.values() if (year := row.get(file.year, "")) in moved)
    return (places & Counter(row.get(file.year, "") for row in came.values())).total()


def _moved(column: str, old: Rows, new: Rows) -> dict[str, str]:
    """Year group → where it is now: that of most of its own students, if at least half of them are still there."""
    to: dict[str, Counter[str]] = {}
    for key in old.keys() & new.keys():
        to.setdefault(old[key].get(column, ""), Counter())[new[key].get(column, "")] += 1
    sizes = Counter(row.get(column, "") for row in old.values())
    return {year: of.most_common(1)[0][0] for year, of in to.items() if 2 * of.total() >= sizes[year]}


def _other_contacts(gone: Rows, came: Rows, before: Export | None, now: Export) -> int:
    """How many contacts who are gone have a student who has another contact instead."""
    new = {key[0] for key in came}
    free = Counter(student for student, contact in _links(now) if contact in new)
    of: dict[str, list[str]] = {}
    for student, contact in _links(before):
        of.setdefault(contact, []).append(student)
    found = 0
    for contact in sorted(key[0] for key in gone):
        place = next((student for student in of.get(contact, ()) if free[student]), None)
        if place is not None:
            free[place] -= 1
            found += 1
    return found


def _links(export: Export | None) -> list[tuple[str, str]]:
    if export is None or LINKS not in export.files:
        return []
    return [(row.get("student_id", ""), row.get("contact_id", "")) for row in export.rows(LINKS)]


LINKS = "student_contacts.csv"
"""The file of students and their contacts, of every partner that gets people."""


def _away(file: ExportFile, explained: Explained) -> dict[str, Mapping[str, str]]:
    """Column → the people who are gone, and rightly so: whatever joined them is gone with them."""
    kinds = {column: PEOPLE[column] for column, _ in file.ends if column in PEOPLE}
    return {column: dict.fromkeys(explained.get(kind, ()), f"of a {kind} who left") for column, kind in kinds.items()}


PEOPLE = {"student_id": "student", "contact_id": "contact", "staff_id": "staff"}
"""Columns that name people, in the files of every partner."""


def _why(  # which row, and what is known
    file: ExportFile, key: Key, row: Mapping[str, str], explained: Explained, away: Mapping[str, Mapping[str, str]]
) -> str | None:
    """Why it is right that a row is gone; None where nothing says so."""
    if file.people is not None:
        return explained.get(file.people, {}).get(key[0])
    of_row = explained.get(file.name, {}).get(key)
    return of_row or next((gone[row[column]] for column, gone in away.items() if row.get(column) in gone), None)


def _kept_ends(file: ExportFile, gone: Mapping[Key, Any], came: Mapping[Key, Any], now: Export) -> int:
    """How many rows are gone although all that they joined is still there, and has not about as many others.

    A student who moved from one class to another has as many as before; a class whose list was made anew, too. Where
    neither is so, a list was lost.
    """
    here: dict[str, set[str]] = {}
    for column, target in file.ends:
        if target is not None:
            rows = now.rows(target) if target in now.files else []
            here[column] = {row[_key_of(column, row)] for row in rows}
    kept = [row for row in gone.values() if all(row.get(column, "") in known for column, known in here.items())]
    losses = [Counter(row.get(column, "") for row in kept) for column, _ in file.ends]
    for (column, _), lost in zip(file.ends, losses, strict=True):
        lost.subtract(Counter(row.get(column, "") for row in came.values()))
    return min((sum(count for count in lost.values() if count > 0) for lost in losses), default=0)


def _left_alone(file: ExportFile, gone: Rows, new: Rows, now: Export) -> int:
    """How many rows are gone of people who are still there and now have none at all.

    Classes may all have new numbers: then nothing else tells that a year's lists did not come with them.
    """
    losses: list[int] = []
    for column, target in file.ends:
        if column in PEOPLE and target is not None and target in now.files:
            here = {row.get(_key_of(column, row), "") for row in now.rows(target)}
            with_rows = {row.get(column, "") for row in new.values()}
            losses.append(sum((one := row.get(column, "")) in here and one not in with_rows for row in gone.values()))
    return max(losses, default=0)


def _key_of(column: str, row: Mapping[str, str]) -> str:
    """The column of a file that another file's column names: of the same name, else the file's first."""
    return column if column in row else next(iter(row))


# --- a list of what changed -----------------------------------------------------------------------------------

ADDED, CHANGED, REMOVED = "added", "changed", "removed"


def list_name(file: str) -> str:
    """The name of the list beside a file: students.changes.csv beside students.csv."""
    return f"{file.removesuffix('.csv')}.changes.csv"


def listed(file: ExportFile, now: Export, before: Export | None, night: date | None = None) -> bytes:
    """What was added, changed and removed, a row each: change, what names the row, and the fields that changed.

    A row is named by the file's key, or by the part of it that nobody wrote by hand: what a person wrote stands in the
    file itself only. Of a file that is dated, rows whose day is over are not named as removed. UTF-8, comma, LF,
    sorted.
    """
    by = file.listed_by or file.key
    earlier = _by_key(file, before)
    new, old = _named(by, _by_key(file, now)), _named(by, earlier)
    ahead = _named(by, _ahead(file, earlier, night))
    rows = [(key, ADDED, "") for key in new.keys() - old.keys()]
    rows += [(key, REMOVED, "") for key in ahead.keys() - new.keys()]
    for key in new.keys() & old.keys():
        fields = [name for name in file.columns if name not in by and _said(new[key], name) != _said(old[key], name)]
        if fields:
            rows.append((key, CHANGED, " ".join(fields)))
    buffer = io.StringIO(newline="")
    writer = csv.writer(buffer, lineterminator="\n")
    writer.writerow(("change", *by, "fields"))
    writer.writerows((change, *key, fields) for key, change, fields in sorted(rows))
    return buffer.getvalue().encode()


def _named(by: tuple[str, ...], rows: Rows) -> dict[Key, list[Mapping[str, str]]]:
    named: dict[Key, list[Mapping[str, str]]] = {}
    for row in rows.values():
        named.setdefault(tuple([row.get(name, "") for name in by]), []).append(row)
    return named


def _said(rows: list[Mapping[str, str]], column: str) -> list[str]:
    """What stands in a column of the rows of one name, in no order."""
    return sorted(row.get(column, "") for row in rows)
