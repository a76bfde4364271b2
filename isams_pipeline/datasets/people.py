"""Whom a row is about, and whom it names: by which columns, of datasets, of tables of rules, and of partners' files."""

from __future__ import annotations

import re
from collections.abc import Callable, Collection, Iterable, Iterator, Mapping
from collections.abc import Set as AbstractSet
from dataclasses import dataclass, field
from typing import Any

import numpy as np
import pandas as pd

from isams_pipeline.datasets.declare import DatasetDeclaration, TableDeclaration
from isams_pipeline.rules.compare import code, mailbox
from isams_pipeline.rules.email import parts

PUPIL, STAFF, PERSON, GUID = "pupil", "staff", "person", "guid"
SCHOOL_CODE, USER_CODE, EMAIL = "school code", "user code", "e-mail"
ENTRY = "entry"
"""A contact's entry, where it is theirs alone: a joint one says nothing of which of its people is meant."""
COLUMNS: dict[str, str] = {
    **dict.fromkeys(("pupil_id", "sibling_id", "student_id"), PUPIL),
    **dict.fromkeys(("school_id", "school_ids", "pupil_school_id", "sibling_school_id"), SCHOOL_CODE),
    **dict.fromkeys(("person_id", "contact_id"), PERSON),
    "person_guid": GUID,
    **dict.fromkeys(("staff_id", "staff_ids", "tutor_staff_id", "house_master_staff_id"), STAFF),
    **dict.fromkeys(("assistant_tutor_staff_id", "second_assistant_tutor_staff_id"), STAFF),
    "assistant_house_master_staff_id": STAFF,
    **dict.fromkeys(("user_code", "tutor_user_code", "teacher_user_code", "teacher_user_codes"), USER_CODE),
}
"""Column, by its name wherever it stands → what kind of number or code of a person it holds.

E-mail addresses are no such: two people may share one.
"""
_OF_THE_ROW = {PUPIL, PERSON, GUID, SCHOOL_CODE, STAFF}


def subjects(table: TableDeclaration) -> dict[str, str]:
    """The columns by which a row is a person's own, or a link of theirs; others only name somebody beside other things.

    These are among what tells rows apart, and what tells one school's people from another's.
    """
    telling = {*table.key, *(table.identity if isinstance(table, DatasetDeclaration) else ())}
    found = {name: kind for name, kind in COLUMNS.items() if name in telling and kind in _OF_THE_ROW}
    return found | ({"user_code": USER_CODE} if "user_code" in telling else {})


def folded(kind: str, value: object) -> str:
    """A number or code to compare by; empty for none."""
    if not isinstance(value, str | int) or isinstance(value, bool):
        return ""
    text = str(value).strip()
    if kind == EMAIL:
        return mailbox(text)
    return code(text) if kind in {SCHOOL_CODE, USER_CODE, GUID} else text


def several(kind: str, value: object) -> Iterator[str]:
    """The numbers or codes in a cell that may hold several, each to compare by."""
    if kind == EMAIL:
        yield from filter(None, (folded(kind, part) for part in parts(value)))
    elif isinstance(value, str):
        yield from filter(None, (folded(kind, part) for part in value.replace(";", " ").split()))
    else:
        yield from filter(None, (folded(kind, value),))


class KnownByHash(AbstractSet[str]):
    """Numbers or codes of which only the keyed hashes are known: whether one is among them can be asked, not which."""

    def __init__(self, hashes: Iterable[str], of: Callable[[str], str]) -> None:
        self._hashes, self._of = frozenset(hashes), of
        self._asked: dict[str, bool] = {}

    def __contains__(self, value: object) -> bool:
        if not isinstance(value, str):
            return False
        known = self._asked.get(value)
        if known is None:
            if len(self._asked) > _REMEMBERED:
                self._asked.clear()
            known = self._asked[value] = self._of(value) in self._hashes
        return known

    def __iter__(self) -> Iterator[str]:
        return iter(self._hashes)

    def __len__(self) -> int:
        return len(self._hashes)

    @classmethod
    def _from_iterable(cls, it: Iterable[str]) -> frozenset[str]:  # pyright: ignore[reportIncompatibleMethodOverride]
        return frozenset(it)  # what two sets have in common


_REMEMBERED = 200_000


@dataclass(frozen=True)
class Person:
    """A person, by the numbers and codes that a source has for them."""

    entity: str
    """pupil, contact or staff."""
    source: str
    id: str
    """The source's number; empty where only hashes are known."""
    ids: Mapping[str, AbstractSet[str]] = field(default_factory=dict[str, AbstractSet[str]], repr=False)
    """Kind → what holds of that kind, to compare by. E-mail addresses among them."""

    @property
    def is_known_by_hash(self) -> bool:
        """Whether the numbers and codes themselves are not known."""
        return any(isinstance(values, KnownByHash) for values in self.ids.values())

    @property
    def name(self) -> str:
        """How a command names the person, such as `pupil:501`."""
        return f"{self.entity}:{self.id}"

    def is_meant(self, kind: str, value: object) -> bool:
        """Whether a cell holds one of the person's numbers or codes of a kind."""
        mine = self.ids.get(kind)
        if mine is None or value is None or value == "":
            return False
        if isinstance(value, str) and value.isdigit() and value.isascii():
            return value in mine  # nearly all cells
        return any(one in mine for one in several(kind, value))

    def left_of(self, kind: str, value: str) -> str:
        """What is left of a cell that may hold several numbers or codes, without the person's."""
        if kind == EMAIL:
            return "; ".join(part for part in parts(value) if not self.is_meant(kind, part))
        left: list[str] = []
        for between, part in _PART.findall(value):
            if not self.is_meant(kind, part):
                left += [between if left else "", part]
        return "".join(left)

    def naming(self, row: Mapping[str, Any], columns: Mapping[str, str]) -> list[str]:
        """The columns of a row that name the person."""
        return [name for name, kind in columns.items() if name in row and self.is_meant(kind, row[name])]


_PART = re.compile(r"([\s;]*)([^\s;]+)")
WHO: dict[str, tuple[str, str]] = {"pupil": ("pupils", "pupil_id"), "contact": ("contacts", "person_id")} | {
    "staff": ("staff", "staff_id")
}
"""Kind of person → the dataset that has them, and its column with their number."""
_THEIRS = ("pupil_id", "person_id", "staff_id", "person_guid", "school_id", "user_code")


def people_in(entity: str, source: str, frame: pd.DataFrame, who: str) -> list[Person]:
    """The people of a dataset whom a number, code or e-mail address means; `pupil:501` means one by number only."""
    kind, _, number = who.partition(":")
    if number and kind in WHO and kind != entity:
        return []
    exact = number if number and kind == entity else None
    _, key = WHO[entity]
    columns = [name for name in (*_THEIRS, "email") if name in frame]
    if entity == "contact" and "entry_id" in frame:
        is_joint = frame.groupby("entry_id")[key].transform("nunique") > 1
        frame = frame.assign(**{ENTRY: frame["entry_id"].astype("string").mask(is_joint)})
        columns.append(ENTRY)
    if who.isascii():  # most people are others: they need not be looked at one by one
        pattern = re.escape(exact or who)
        near = np.zeros(len(frame), dtype=bool)
        for name in columns:
            near |= frame[name].astype("str").str.contains(pattern, case=False, na=False).to_numpy()
        frame = frame[frame[key].isin(frame.loc[near, key])]
    rows: dict[str, list[Mapping[str, Any]]] = {}
    for row in frame[columns].astype("object").to_dict("records"):
        rows.setdefault(str(row[key]), []).append({str(name): value for name, value in row.items()})
    found: list[Person] = []
    for identifier, theirs in rows.items():
        person = Person(entity, source, identifier, _ids(entity, theirs))
        if identifier == (exact or who) or (exact is None and _means(person, who)):
            found.append(person)
    return found


def _means(person: Person, who: str) -> bool:
    kinds = (EMAIL,) if "@" in who else (SCHOOL_CODE, USER_CODE, GUID)
    return any(folded(kind, who) in person.ids.get(kind, ()) for kind in kinds)


def _ids(entity: str, rows: Iterable[Mapping[str, Any]]) -> dict[str, frozenset[str]]:
    found: dict[str, set[str]] = {}
    for row in rows:
        for name, value in row.items():
            kind = {"email": EMAIL, ENTRY: ENTRY}.get(name) or COLUMNS[name]
            # A contact's own number is that of the person; what else stands there is the entry's.
            if entity != "contact" or kind in {PERSON, EMAIL, ENTRY}:
                found.setdefault(kind, set()).update(several(kind, value))
    return {kind: frozenset(values) for kind, values in found.items() if values}


def together(people: Collection[Person]) -> Person:
    """One person out of what several nights said of them: all numbers, codes and addresses that they ever had."""
    first = next(iter(people))
    kinds = {kind for person in people for kind in person.ids}
    merged = {kind: frozenset(one for person in people for one in person.ids.get(kind, ())) for kind in kinds}
    return Person(first.entity, first.source, first.id, merged)
