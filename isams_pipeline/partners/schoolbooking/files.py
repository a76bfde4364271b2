"""The files of SchoolBooking's export, and what refers to what in them."""

from __future__ import annotations

from isams_pipeline.delivery.export import ExportFile
from isams_pipeline.delivery.people_files import CONTACTS, STAFF, STUDENT, STUDENT_COLUMNS

SCHEMA_VERSION = 2
GROUP = ("teaching_group_id", "teaching_groups.csv")
"""What rows of other files join."""

FILES: tuple[ExportFile, ...] = (
    ExportFile(
        "students.csv",
        (
            *STUDENT_COLUMNS,
            "year_group_id",
            "registration_group_id",
        ),
        key=("student_id",),
        must_have_rows=True,
        people="student",
        year="year_group_id",
    ),
    STAFF,
    CONTACTS,
    ExportFile(
        "student_contacts.csv",
        ("student_id", "contact_id", "relationship", "parental_responsibility"),
        key=("student_id", "contact_id"),
        ends=(STUDENT, ("contact_id", "contacts.csv")),
    ),
    ExportFile("year_groups.csv", ("year_group_id", "name"), key=("year_group_id",), must_have_rows=True),
    ExportFile(
        "registration_groups.csv", ("registration_group_id", "name", "tutor_staff_id"), key=("registration_group_id",)
    ),
    ExportFile(
        "registration_group_members.csv",
        ("registration_group_id", "student_id"),
        key=("registration_group_id", "student_id"),
        ends=(("registration_group_id", "registration_groups.csv"), STUDENT),
    ),
    ExportFile("teaching_groups.csv", ("teaching_group_id", "code", "name", "subject"), key=("teaching_group_id",)),
    ExportFile(
        "teaching_group_members.csv",
        ("teaching_group_id", "student_id"),
        key=("teaching_group_id", "student_id"),
        ends=(GROUP, STUDENT),
    ),
    ExportFile(
        "teaching_group_staff.csv",
        ("teaching_group_id", "staff_id"),
        key=("teaching_group_id", "staff_id"),
        ends=(GROUP, ("staff_id", "staff.csv")),
    ),
    ExportFile("rooms.csv", ("room_id", "name", "code"), key=("room_id",)),
    ExportFile(
        "timetable.csv",
        (
            "date",
            "lesson_id",
            "start",
            "end",
            "period",
            "teaching_group_id",
            "registration_group_id",
            "room_id",
            "staff_ids",
            "kind",
        ),
        key=("date", "lesson_id", "start", "room_id"),
        may_be_empty=("start", "room_id"),
        dated_by="date",
        ends=(("room_id", "rooms.csv"), ("date", None)),
    ),
    ExportFile("terms.csv", ("term_id", "name", "start", "end"), key=("term_id",), guarded=False),
)
BY_NAME: dict[str, ExportFile] = {file.name: file for file in FILES}

REFERENCES: tuple[tuple[str, str, str, str], ...] = (
    ("students.csv", "year_group_id", "year_groups.csv", "year_group_id"),
    ("students.csv", "registration_group_id", "registration_groups.csv", "registration_group_id"),
    ("student_contacts.csv", "student_id", "students.csv", "student_id"),
    ("student_contacts.csv", "contact_id", "contacts.csv", "contact_id"),
    ("registration_groups.csv", "tutor_staff_id", "staff.csv", "staff_id"),
    ("registration_group_members.csv", "registration_group_id", "registration_groups.csv", "registration_group_id"),
    ("registration_group_members.csv", "student_id", "students.csv", "student_id"),
    ("teaching_group_members.csv", "teaching_group_id", "teaching_groups.csv", "teaching_group_id"),
    ("teaching_group_members.csv", "student_id", "students.csv", "student_id"),
    ("teaching_group_staff.csv", "teaching_group_id", "teaching_groups.csv", "teaching_group_id"),
    ("teaching_group_staff.csv", "staff_id", "staff.csv", "staff_id"),
    ("timetable.csv", "teaching_group_id", "teaching_groups.csv", "teaching_group_id"),
    ("timetable.csv", "registration_group_id", "registration_groups.csv", "registration_group_id"),
    ("timetable.csv", "room_id", "rooms.csv", "room_id"),
)
"""File and column → file and column. A cell is empty, or it names something that is there."""

ENTITIES: dict[str, str] = {
    "student": "students.csv",
    "staff": "staff.csv",
    "contact": "contacts.csv",
    "student_contact": "student_contacts.csv",
    "registration_group": "registration_groups.csv",
    "teaching_group": "teaching_groups.csv",
    "teaching_group_member": "teaching_group_members.csv",
    "teaching_group_staff": "teaching_group_staff.csv",
    "lesson": "timetable.csv",
}
"""Which file an entity of the exclusions would stand in."""
