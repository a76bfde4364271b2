"""The table that attendance's rules make of a session's records."""

from __future__ import annotations

from isams_pipeline.datasets import ATTENDANCE
from isams_pipeline.delivery.rule_tables import Derived, RuleTable, made, rule_table
from isams_pipeline.partners.schoolsbuddy.attendance.sessions import STORED_AS, Session
from isams_pipeline.partners.schoolsbuddy.tables import STUDENTS


def marks_table(session: Session) -> RuleTable:
    """A session's marks, student by student."""
    return rule_table(
        f"marks_{session.lower()}",
        "Marks of the students in the last delivered nightly export, by the Department for Education's codes. Of "
        "several records, one that was taken counts. One row per student in a register.",
        made("date", "str", "The day, ISO", nullable=False),
        made("session", "str", "AM or PM", nullable=False),
        made("student_id", "str", "The student", (ATTENDANCE, "school_id"), (STUDENTS, "student_id"), key=True),
        _text("school_id", "The student's school code", "school_id"),
        _text("mark", "The mark; empty where none is known", *_SAID, "present_code"),
        _text("present", "Whether the student is at school", "present", "out_of_school", "left_at"),
        _text("late", "Whether the student came late", "late"),
        _text("minutes_late", "By how many minutes", "minutes_late"),
        _text("absence_code", "The school's own code", "absence_code"),
        _text("absence_name", "What that means", "absence_name", "left_at"),
        _text("registered", "Whether the register was taken", "registered"),
        left_out={f"{STORED_AS}_{session.lower()}": ("not_in_export",)},
        merges=(f"{STORED_AS}_{session.lower()}",),
    )


_SAID = ("government_code", "absence_code", "registered", "present", "late")


def _text(name: str, description: str, *columns: str) -> list[Derived]:
    return made(name, "str", description, *((ATTENDANCE, column) for column in columns))
