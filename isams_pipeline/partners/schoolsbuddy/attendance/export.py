"""The records of registers → attendance.csv, and the blocking rules on its bytes. Pure."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import date, datetime

import pandas as pd

from isams_pipeline.delivery.built import Built
from isams_pipeline.delivery.export import CheckResult, Export, ExportFile, check_files, few, to_csv
from isams_pipeline.partners.schoolsbuddy.attendance.sessions import STORED_AS
from isams_pipeline.rules.account import ROW, numbered
from isams_pipeline.rules.attendance import DFE_MARKS, MARK_COLUMNS, marks, of_students, one_per_student
from isams_pipeline.rules.split import Exclusions

SCHEMA_VERSION = 1
ATTENDANCE = ExportFile("attendance.csv", MARK_COLUMNS, key=("student_id",), must_have_rows=True, people="student")
FILES = (ATTENDANCE,)
ENTITIES = {"student": ATTENDANCE.name}
"""The dataset of a session's records, before the session's name."""
_OURS = 0.2
"""Under a fifth of a register's students being known, it is another school's."""
_FEW = 5


@dataclass(frozen=True)
class BuiltAttendance(Built):
    """An export, and how much of it is still to come."""

    without_a_mark: int = 0
    """Students whom no register has taken yet."""


def build(
    records: pd.DataFrame, students: Sequence[Mapping[str, str]], *, session: str, day: date, now: datetime
) -> BuiltAttendance:
    """One row per student who is in the nightly export and in a register.

    `students` are the rows of its students.csv. Raises nothing: what cannot be is left to the checks.
    """
    name = f"{STORED_AS}_{session.lower()}"
    tables = numbered({name: records})
    out = Exclusions.of(tables)
    known = pd.DataFrame(
        {
            "school_id": pd.Series([row["school_id"] for row in students], dtype="str"),
            "student_id": pd.Series([row["student_id"] for row in students], dtype="str"),
        }
    )
    kept = out.take("student", of_students(tables[name], known), "school_id", of=name)
    several = one_per_student(kept)
    kept = out.take("student", several.as_warnings(), "school_id")
    out.account.merge(name, several.excluded[ROW], several.excluded["into"])
    out.account.deliver(name, kept[ROW], ATTENDANCE.name)
    seen = set(kept["student_id"])
    for row in students:
        if row["student_id"] not in seen:
            out.warn("student", row["school_id"], "no_record", "no register of today has a record")
    frame = marks(kept, session=session, date=day.isoformat(), now=now)
    waiting = int((frame["registered"] == "false").sum())
    export = Export({ATTENDANCE.name: to_csv(frame, ATTENDANCE)})
    tables_of_rules = {f"marks_{session.lower()}": frame}
    return BuiltAttendance(export, out.frame(), ENTITIES, out.account, tables_of_rules, waiting)


def check_export(export: Export, records: pd.DataFrame) -> list[CheckResult]:
    """The verdicts of the blocking rules."""
    results = check_files(export, FILES)
    if not results[0].passed:
        return results
    return [*results, CheckResult("marks", few(_wrong_marks(export))), _same_school(export, records)]


def _wrong_marks(export: Export) -> list[str]:
    problems: list[str] = []
    for number, row in enumerate(export.rows(ATTENDANCE.name), start=1):
        if row["mark"] and row["mark"] not in DFE_MARKS:
            problems.append(f"row {number} has a mark that is none of the DfE's")
        if row["minutes_late"] and row["late"] != "true":
            problems.append(f"row {number} has minutes and is not late")
    return problems


def _same_school(export: Export, records: pd.DataFrame) -> CheckResult:
    there, ours = records["school_id"].nunique(), len(export.rows(ATTENDANCE.name))
    if there >= _FEW and ours < _OURS * there:
        problem = (
            f"of {there} students in the registers only {ours} are in the nightly export; check that the REST "
            "client is this school's"
        )
        return CheckResult("same_school", (problem,))
    return CheckResult("same_school")
