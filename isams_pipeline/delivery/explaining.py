"""Why is this person (not) with a partner? Pure: an export, its exclusions and the tables behind it → answers."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass

import numpy as np
import pandas as pd

from isams_pipeline.delivery.export import Export
from isams_pipeline.rules.account import DELIVERED
from isams_pipeline.rules.compare import code, mailbox
from isams_pipeline.rules.email import parts
from isams_pipeline.rules.split import EXCLUDED

SOURCES = {
    "student": ("pupils", "pupil_id"),
    "contact": ("contacts", "person_id"),
    "staff": ("staff", "staff_id"),
}
_CODES = ("school_id", "user_code")
FILES = {
    "student": ("students.csv", "student_id"),
    "contact": ("contacts.csv", "contact_id"),
    "staff": ("staff.csv", "staff_id"),
}


_GROUPS = (
    ("classes", "class_id", "class_students.csv", "class_staff.csv"),
    ("teaching groups", "teaching_group_id", "teaching_group_members.csv", "teaching_group_staff.csv"),
)
"""What a partner calls its groups, their key, and the files of members and teachers."""
_TUTORS = ("students.csv", "registration_groups.csv")


@dataclass(frozen=True)
class Answer:
    """What became of one person."""

    entity: str
    id: str
    included: bool
    lines: tuple[str, ...]
    """Links, reasons and warnings, by ids."""


def explain(
    who: str,
    tables: Mapping[str, pd.DataFrame],
    export: Export,
    exclusions: list[dict[str, str]],
    places: pd.DataFrame,
) -> list[Answer]:
    """Everybody whom an id, a code or an e-mail address means. Empty if the school has nobody of that.

    `places` is the account of the rows: dataset, row, place, by, into.
    """
    return [
        _answer(entity, identifier, export, exclusions, list(_places(entity, identifier, tables, places)))
        for entity, identifier in _found(who.strip(), tables)
    ]


def _places(
    entity: str, identifier: str, tables: Mapping[str, pd.DataFrame], places: pd.DataFrame
) -> Iterator[tuple[str, str]]:
    """Where each row of a person is, and that in words."""
    dataset, key = SOURCES[entity]
    mine = (tables[dataset][key].astype("str") == identifier).to_numpy()
    rows = places[(places["dataset"] == dataset) & places["row"].isin(np.flatnonzero(mine) + 1)]
    for row, place, by, into in rows[["row", "place", "by", "into"]].itertuples(index=False, name=None):
        yield str(place), f"{dataset} row {row}: {place}, {f'row {into}' if into else by}"


def _found(who: str, tables: Mapping[str, pd.DataFrame]) -> Iterator[tuple[str, str]]:
    for entity, (table, key) in SOURCES.items():
        frame = tables[table]
        if "@" in who:
            wanted = mailbox(who)
            matches = frame[[wanted in map(mailbox, parts(field)) for field in frame["email"]]]
        else:
            codes = [name for name in _CODES if name in frame]
            same_code = [any(code(one) == code(who) for one in row) for row in frame[codes].itertuples(index=False)]
            matches = frame[(frame[key].astype("str") == who) | np.array(same_code, dtype=bool)]
        for identifier in matches[key].unique():
            yield entity, str(identifier)


def _answer(
    entity: str, identifier: str, export: Export, exclusions: list[dict[str, str]], places: list[tuple[str, str]]
) -> Answer:
    file, key = FILES[entity]
    included = any(row[key] == identifier for row in export.rows(file))
    about = [row for row in exclusions if row["entity"] == entity and row["id"] == identifier]
    lines = list(_links(entity, identifier, export)) if included else []
    lines += [f"warning, {row['rule']}: {row['reason']}" for row in about if row["severity"] != EXCLUDED]
    if not included:
        reasons = [f"{row['rule']}: {row['reason']}" for row in about if row["severity"] == EXCLUDED]
        lines = [
            *(reasons or ["no rule explains this: the export was made from other tables than those stored now"]),
            *lines,
        ]
    # One row that is simply delivered needs no word of its own.
    if [place for place, _ in places] != [DELIVERED]:
        lines += [line for _, line in places]
    return Answer(entity, identifier, included, tuple(lines))


def _links(entity: str, identifier: str, export: Export) -> Iterator[str]:
    def linked(file: str, mine: str, other: str) -> list[str]:
        return [row[other] for row in export.rows(file) if row[mine] == identifier]

    what, group, members, teachers = next(names for names in _GROUPS if names[2] in export.files)
    if entity == "student":
        contacts = linked("student_contacts.csv", "student_id", "contact_id")
        yield f"contacts: {', '.join(contacts) or 'none'}"
        yield f"{what}: {', '.join(linked(members, 'student_id', group)) or 'none'}"
    elif entity == "contact":
        for row in export.rows("student_contacts.csv"):
            if row["contact_id"] == identifier:
                first = ", first contact" if row.get("first_contact") == "true" else ""
                yield f"through student {row['student_id']}{first}"
    else:
        yield f"{what}: {', '.join(linked(teachers, 'staff_id', group)) or 'none'}"
        for file in (name for name in _TUTORS if name in export.files):
            tutored = sum(row.get("tutor_staff_id") == identifier for row in export.rows(file))
            if tutored:
                yield f"tutor of {tutored} {file.removesuffix('.csv').replace('_', ' ')}"
