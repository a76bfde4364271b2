"""A register's records → one mark for each student. Pure.

The marks are the DfE's, from "Working together to improve school attendance" (in force since August 2024).
"""

from __future__ import annotations

from datetime import datetime
from typing import Any

import pandas as pd

from isams_pipeline.rules.account import ROW
from isams_pipeline.rules.compare import code
from isams_pipeline.rules.references import Lookup
from isams_pipeline.rules.split import Split, rows_of

PRESENT, LATE = {"AM": "/", "PM": "\\"}, "L"
AFTER_CLOSING = "U"
OFF_SITE, LEFT = "Off site", "Left the site"
"""What an absence is called where the register knows of one and gives no code."""

DFE_MARKS: dict[str, str] = {
    "/": "present in the morning",
    "\\": "present in the afternoon",
    "L": "late, before the register closed",
    "B": "educated off site",
    "C": "leave for an exceptional circumstance",
    "C1": "regulated performance or employment abroad",
    "C2": "part-time timetable",
    "D": "dual registered, at the other school",
    "E": "suspended or excluded, no provision made",
    "G": "holiday that was not granted",
    "I": "illness",
    "J1": "interview",
    "K": "provision arranged by the local authority",
    "M": "medical or dental appointment",
    "N": "no reason given yet",
    "O": "absent without authorisation",
    "P": "sporting activity",
    "Q": "unable to attend for lack of access arrangements",
    "R": "religious observance",
    "S": "study leave",
    "T": "parent travelling for occupational purposes",
    "U": "came after the register closed",
    "V": "educational visit",
    "W": "work experience",
    "X": "not required to attend: not of compulsory school age",
    "Y1": "transport not available",
    "Y2": "widespread disruption to travel",
    "Y3": "part of the school closed",
    "Y4": "whole school closed",
    "Y5": "in custody",
    "Y6": "public health guidance",
    "Y7": "another unavoidable cause",
    "Z": "not yet on the register",
    "#": "planned closure",
}
"""Mark → what it stands for."""

MARK_COLUMNS = (
    *("date", "session", "student_id", "school_id", "mark", "present", "late", "minutes_late"),
    *("absence_code", "absence_name", "registered"),
)


def of_students(records: pd.DataFrame, students: pd.DataFrame) -> Split:
    """Keep the records of known students, and give them their `student_id`.

    `students` has school_id and student_id: those of the last nightly export, as the partner knows no others. A school
    code that several students have means none of them.
    """
    by_code = Lookup.of(students, "school_id", "student_id", fold=code)
    matches = {text: by_code.find(text) for text in records["school_id"].dropna().unique()}
    found = [matches[text].value if text in matches else None for text in records["school_id"].tolist()]
    joined = records.assign(student_id=pd.Series(found, index=records.index, dtype="str"))
    split = Split.by(
        joined, joined["student_id"].notna(), rule="not_in_export", reason="not in the last nightly export"
    )
    shared = [text in matches and matches[text].is_ambiguous for text in split.excluded["school_id"].tolist()]
    split.excluded.loc[shared, "reason"] = "several students have its school code"
    return split


def one_per_student(records: pd.DataFrame) -> Split:
    """Keep one record of each student: a taken one, then one that knows of an absence, then any.

    Of two taken ones the planned absence gives way; otherwise the first counts, by register and place. Says of each
    other record which register's counts.
    """
    rank = [_rank(row) for row in rows_of(records)]
    order = records.assign(_rank=rank).sort_values(["_rank", "register_id", "position"], kind="stable")
    # By the student, not the school code: that may be spelt in several ways.
    counting = order.groupby("student_id", sort=False)[["register_id", ROW]].transform("first").reindex(records.index)
    keep = ~order.duplicated("student_id").reindex(records.index)
    reasons = [f"the record of register {register} counts" for register in counting.loc[~keep, "register_id"]]
    marked = records.assign(into=counting[ROW])
    return Split.by(marked, keep, rule="several_records", reason=reasons)


def marks(records: pd.DataFrame, *, session: str, date: str, now: datetime) -> pd.DataFrame:
    """One row per student (MARK_COLUMNS, all text but the ids): what the register says at `now` (school's wall time).

    Who was not registered yet has no mark and is neither present nor absent, unless an absence is known. Who is off
    site, or has left, is not present; a mark is the DfE's or empty.
    """
    rows = [_mark(row, session, now) for row in rows_of(records)]
    frame = pd.DataFrame(rows, columns=list(MARK_COLUMNS[4:]), dtype="str")
    frame.insert(0, "school_id", records["school_id"].to_numpy())
    frame.insert(0, "student_id", records["student_id"].to_numpy())
    frame.insert(0, "session", session)
    frame.insert(0, "date", date)
    return frame


def _mark(row: Any, session: str, now: datetime) -> tuple[str | None, ...]:
    registered = _is(row.registered)
    off_site, planned = _is(row.out_of_school), _is(row.future_absence)
    code, name = _text(row.absence_code), _text(row.absence_name)
    said = {mark for mark in (_dfe(row.government_code), _dfe(row.absence_code)) if mark}
    government = _dfe(row.government_code)
    absence = government if government not in {*PRESENT.values(), LATE} else None
    if registered and _is(row.present) and not off_site:
        late = _is(row.late)
        left = not pd.isna(row.left_at) and row.left_at <= now
        minutes = str(int(row.minutes_late)) if late and not pd.isna(row.minutes_late) else None
        mark = LATE if late else _dfe(row.present_code)
        if mark is None or mark in PRESENT.values():
            mark = PRESENT[session]  # a school may use one code for both sessions
        if AFTER_CLOSING in said:
            mark = AFTER_CLOSING  # an absence for the session, whatever the flags say of the person
        return (mark, _word(not left), _word(late), minutes, code, LEFT if left else name, _word(registered))
    if off_site or planned or code or registered:
        return (absence, "false", "false", None, code, name or (OFF_SITE if off_site else None), _word(registered))
    return (None, None, None, None, None, None, "false")


def _rank(row: Any) -> int:
    planned = _is(row.future_absence)
    if _is(row.registered):
        return 1 if planned else 0
    return 2 if planned or _is(row.out_of_school) or _text(row.absence_code) else 3


def _is(value: Any) -> bool:
    return not pd.isna(value) and bool(value)


def _dfe(value: Any) -> str | None:
    """A code as the DfE's mark, whatever its case and width; None where it is none."""
    found = code(value).upper()
    return found if found in DFE_MARKS else None


def _text(value: Any) -> str | None:
    return None if pd.isna(value) else str(value)


def _word(value: bool) -> str:  # noqa: FBT001
    return "true" if value else "false"
