"""Where two sources of the same school differ: people, groups and rooms matched by what identifies them. Pure.

Ids differ from source to source, so a person is who has the same school code, or the same names and birthday. What
comes out names ids and fields, never a value.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Iterable, Iterator, Mapping
from dataclasses import dataclass, field
from typing import Any

import pandas as pd

from isams_pipeline.rules.compare import code, label, mailbox, person
from isams_pipeline.rules.email import read_field
from isams_pipeline.rules.references import Lookup

ONLY_FIRST, ONLY_SECOND = "only in the first", "only in the second"
NEEDED = (
    *("pupils", "contacts", "contact_pupils", "staff", "years", "forms", "subjects", "sets", "set_members"),
    *("set_teachers", "rooms"),
)
"""The datasets that are compared."""

Record = dict[str, Any]
Tables = Mapping[str, pd.DataFrame]


@dataclass(frozen=True)
class Difference:
    """One thing that the second source has otherwise than the first."""

    entity: str
    kind: str
    """ONLY_FIRST, ONLY_SECOND, or the field that differs."""
    first_id: str
    second_id: str


@dataclass
class Compared:
    """An entity by two sources."""

    entity: str
    first: int
    """How many the first source has."""
    second: int
    differences: list[Difference] = field(default_factory=list[Difference])
    untold: list[str] = field(default_factory=list[str])
    """Fields that one of the sources fills for nobody, so that they are not compared."""

    def count(self, kind: str) -> int:
        """How many differences there are of a kind."""
        return sum(one.kind == kind for one in self.differences)

    @property
    def fields(self) -> dict[str, int]:
        """Field → how many differ in it."""
        kinds = [one.kind for one in self.differences if one.kind not in {ONLY_FIRST, ONLY_SECOND}]
        return {kind: kinds.count(kind) for kind in dict.fromkeys(kinds)}

    @property
    def differing(self) -> int:
        """How many are in both, but differ in some field."""
        outer = {ONLY_FIRST, ONLY_SECOND}
        return len({one.first_id for one in self.differences if one.kind not in outer})


@dataclass(frozen=True)
class Entity:
    """What is compared: how records are made of a source's tables, and what identifies one."""

    name: str
    records: Callable[[Tables], dict[str, Record]]
    """Id → record."""
    identities: tuple[tuple[str, ...], ...]
    """Fields that together identify one, the surest first."""
    fields: tuple[str, ...]
    of: Mapping[str, str] = field(default_factory=dict[str, str])
    """Fields that hold ids of another entity, one or several, and which: compared as far as those are matched."""


def reconcile(first: Tables, second: Tables) -> list[Compared]:
    """Compare everything that two sources have; in the order of ENTITIES."""
    matched: dict[str, dict[str, str]] = {}
    return [_compare(entity, entity.records(first), entity.records(second), matched) for entity in ENTITIES]


def _compare(
    entity: Entity, first: dict[str, Record], second: dict[str, Record], matched: dict[str, dict[str, str]]
) -> Compared:
    pairs = _matches(entity, first, second)
    matched[entity.name] = {there: here for here, there in pairs.items()}
    found = Compared(entity.name, len(first), len(second))
    taken = set(pairs.values())
    found.differences += [Difference(entity.name, ONLY_FIRST, one, "") for one in first if one not in pairs]
    found.differences += [Difference(entity.name, ONLY_SECOND, "", one) for one in second if one not in taken]
    # Who belongs to what is compared in any case: there, nothing means nobody.
    told = [name for name in entity.fields if name in entity.of or (_is_told(first, name) and _is_told(second, name))]
    found.untold = [
        name for name in entity.fields if name not in told and (_is_told(first, name) or _is_told(second, name))
    ]
    for here, there in pairs.items():
        for name in told:
            a: Any = first[here].get(name)
            b: Any = second[there].get(name)
            if name in entity.of:
                links = matched[entity.of[name]]
                known = set(links.values())
                a, b = {one for one in a if one in known}, {links[one] for one in b if one in links}
            if a != b:
                found.differences.append(Difference(entity.name, name, here, there))
    return found


def _is_told(records: Mapping[str, Record], name: str) -> bool:
    """Whether a source fills a field at all."""
    return any(record.get(name) for record in records.values())


def _matches(entity: Entity, first: Mapping[str, Record], second: Mapping[str, Record]) -> dict[str, str]:
    """Id in the first → id in the second. An identity that several share identifies nobody."""
    pairs: dict[str, str] = {}
    for identity in entity.identities:
        left = _by_identity(identity, ((key, first[key]) for key in first if key not in pairs))
        taken = set(pairs.values())
        right = _by_identity(identity, ((key, second[key]) for key in second if key not in taken))
        pairs |= {left[one]: right[one] for one in left if one in right}
    return {key: pairs[key] for key in first if key in pairs}


def _by_identity(identity: tuple[str, ...], records: Iterable[tuple[str, Record]]) -> dict[tuple[Any, ...], str]:
    found: dict[tuple[Any, ...], str] = {}
    twice: set[tuple[Any, ...]] = set()
    for key, record in records:
        values = tuple(record.get(name) for name in identity)
        if all(values):
            if values in found:
                twice.add(values)
            found[values] = key
    return {values: key for values, key in found.items() if values not in twice}


# --- records ----------------------------------------------------------------------------------------------


def _text(value: Any) -> str:
    return label(str(value)) if not pd.isna(value) else ""


def _digits(value: Any) -> str:
    return re.sub(r"\D", "", str(value)) if not pd.isna(value) else ""


def _day(value: Any) -> str:
    return value.date().isoformat() if not pd.isna(value) else ""


def _email(value: Any) -> str:
    found = read_field(value).addresses
    return mailbox(found[0]) if found else ""


_KINDS: dict[str, Callable[[Any], Any]] = {
    **dict.fromkeys(("forename", "surname", "preferred_name"), person),
    **dict.fromkeys(("school_id", "user_code", "code", "person_guid"), code),
    "date_of_birth": _day,
    "email": _email,
    "telephone": _digits,
    "mobile": _digits,
}


def _rows(frame: pd.DataFrame, key: str, names: Iterable[str]) -> Iterator[tuple[str, Record]]:
    columns = [name for name in names if name in frame.columns]
    convert = [_KINDS.get(name, _text) for name in columns]
    for identifier, *values in frame[[key, *columns]].itertuples(index=False, name=None):
        yield str(identifier), {n: made(v) for n, made, v in zip(columns, convert, values, strict=True)}


_PERSON = ("forename", "surname", "preferred_name", "gender", "date_of_birth", "email", "title")
_CONTACT = ("title", "forename", "surname", "email", "telephone", "mobile", "address_1", "town", "county", "postcode")


def _pupils(tables: Tables) -> dict[str, Record]:
    forms = Lookup.of(tables["forms"], "form_id", "name")
    frame = tables["pupils"]
    named = frame.assign(
        preferred_name=frame["preferred_name"].fillna(frame["forename"]),
        form=[forms.get(form) or form for form in frame["form_id"]],
        year=[_text(year) for year in frame["year_id"]],
        house=frame["academic_house"],
    )
    return dict(_rows(named, "pupil_id", (*_PERSON, "school_id", "person_guid", "form", "year", "house")))


def _contacts(tables: Tables) -> dict[str, Record]:
    """People, each once: of several entries the first that fills a field counts."""
    found: dict[str, Record] = {}
    for number, record in _rows(tables["contacts"].sort_values(["person_id", "entry_id"]), "person_id", _CONTACT):
        known = found.setdefault(number, {"pupils": set[str]()})
        for name, value in record.items():
            known[name] = known.get(name) or value
    links = tables["contact_pupils"]
    for number, pupil in zip(links["person_id"], links["pupil_id"], strict=True):
        if str(number) in found:
            found[str(number)]["pupils"].add(str(pupil))
    return found


def _staff(tables: Tables) -> dict[str, Record]:
    return dict(_rows(tables["staff"], "staff_id", (*_PERSON, "user_code", "teaching")))


def _sets(tables: Tables) -> dict[str, Record]:
    found = dict(_rows(tables["sets"], "set_id", ("name", "code")))
    subjects = Lookup.of(tables["subjects"], "subject_id", "name")
    for key, subject in zip(tables["sets"]["set_id"], tables["sets"]["subject_id"], strict=True):
        found[str(key)] |= {"subject": label(subjects.get(subject)), "members": set[str](), "teachers": set[str]()}
    for dataset, column, name in (("set_members", "pupil_id", "members"), ("set_teachers", "staff_id", "teachers")):
        for key, one in zip(tables[dataset]["set_id"], tables[dataset][column], strict=True):
            if str(key) in found and not pd.isna(one):
                found[str(key)][name].add(str(one))
    return found


def _simple(dataset: str, key: str, *names: str) -> Callable[[Tables], dict[str, Record]]:
    return lambda tables: dict(_rows(tables[dataset].assign(number=tables[dataset][key]), key, ("number", *names)))


ENTITIES: tuple[Entity, ...] = (
    Entity(
        "pupils",
        _pupils,
        (("school_id",), ("person_guid",), ("forename", "surname", "date_of_birth")),
        ("forename", "surname", "preferred_name", "gender", "date_of_birth", "email", "form", "year", "house"),
    ),
    Entity(
        "contacts",
        _contacts,
        (("forename", "surname", "postcode"), ("email", "surname"), ("forename", "surname", "mobile")),
        (*_CONTACT, "pupils"),
        {"pupils": "pupils"},
    ),
    Entity(
        "staff",
        _staff,
        (("user_code",), ("email",), ("forename", "surname", "date_of_birth")),
        ("title", "forename", "surname", "email", "teaching"),
    ),
    Entity("years", _simple("years", "year_id", "name"), (("number",), ("name",)), ("name",)),
    Entity("forms", _simple("forms", "form_id", "name"), (("name",),), ()),
    Entity("subjects", _simple("subjects", "subject_id", "name", "code"), (("name",), ("code",)), ("code",)),
    Entity(
        "sets",
        _sets,
        (("name",), ("code",)),
        ("subject", "members", "teachers"),
        {"members": "pupils", "teachers": "staff"},
    ),
    Entity("rooms", _simple("rooms", "room_id", "name", "code"), (("code",), ("name",)), ("name", "code")),
)
