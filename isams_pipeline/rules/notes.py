"""What was done to single fields when a source's answer was read. Pure."""

from __future__ import annotations

from collections.abc import Collection, Iterable, Mapping
from dataclasses import dataclass
from typing import Any

import pandas as pd

from isams_pipeline.rules.split import Exclusions, in_an_id

CONTROL, SEVERAL, WITHOUT_MEMBERS = "control", "several", "without_members"
REPEATED, MIXED = "repeated", "mixed"
REASONS = {
    CONTROL: "characters that no text may hold were taken out of its {column}",
    SEVERAL: "the source has several of it for {column}, and nothing tells which counts; left empty",
    REPEATED: "its {column} occurs several times with different contents, and nothing tells which counts; left empty",
    MIXED: "its {column} has further elements inside, and nothing tells what they mean; left empty",
    WITHOUT_MEMBERS: "the source counts students in it, and sent none, or none who may be read of",
}
"""What was done → how it is said."""
RULES = {
    CONTROL: "control_characters",
    SEVERAL: "several",
    REPEATED: "repeated",
    MIXED: "mixed",
    WITHOUT_MEMBERS: "without_members",
}
"""What was done → the rule's name in the exclusions."""
ENTITIES: Mapping[str, tuple[str, tuple[str, ...]]] = {
    "pupils": ("student", ("pupil_id",)),
    "contacts": ("contact", ("person_id",)),
    "contact_pupils": ("student_contact", ("pupil_id", "person_id")),
    "staff": ("staff", ("staff_id",)),
    "years": ("year_group", ("year_id",)),
    "forms": ("form", ("form_id",)),
    "subjects": ("subject", ("subject_id",)),
    "sets": ("class", ("set_id",)),
    "rooms": ("room", ("room_id",)),
    "lessons": ("lesson", ("lesson_id",)),
    "terms": ("term", ("term_id",)),
    "calendar_events": ("event", ("event_id",)),
}
"""Dataset → the entity of its rows in the exclusions, and their id. Others go by dataset and row number."""


@dataclass(frozen=True)
class Note:
    """One field of a stored table that is not as the source's answer had it."""

    dataset: str
    row: int
    """Counted from 1 in the stored table."""
    column: str
    what: str


@dataclass(frozen=True)
class Lacking:
    """What a dataset lacks, as the school has not authorised a scope."""

    dataset: str
    scope: str
    what: str


def as_json(notes: Iterable[tuple[int, str, str]]) -> list[list[Any]]:
    """Row, column and what was done, for the provenance of a table."""
    return [list(note) for note in notes]


def from_json(dataset: str, found: Any) -> list[Note]:
    """The notes in a table's provenance."""
    return [Note(dataset, int(row), str(column), str(what)) for row, column, what in found or ()]


def noted_fields(notes: Collection[Note | Lacking], tables: Mapping[str, pd.DataFrame]) -> Exclusions:
    """Warnings of the fields that were changed when they were read, and of what the source was not allowed to give."""
    out = Exclusions()
    for note in notes:
        if isinstance(note, Lacking):
            reason = f"the school has not authorised {note.scope}: {note.dataset} are without {note.what}"
            out.warn("source", f"{note.dataset}:{note.scope}", "scope", reason)
            out.account.say(note.dataset, f"scope {note.scope}: {note.what}")
            continue
        frame = tables.get(note.dataset)
        if frame is None or not 0 < note.row <= len(frame):
            continue
        entity, key = ENTITIES.get(note.dataset, (note.dataset, ()))
        row = frame.iloc[note.row - 1]
        identifier = ":".join(in_an_id(row[name]) for name in key) if key else f"row {note.row}"
        reason = REASONS[note.what].format(column=note.column)
        out.warn(entity, identifier, RULES[note.what], reason)
    return out
