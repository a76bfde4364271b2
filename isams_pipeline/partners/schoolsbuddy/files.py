"""The files of SchoolsBuddy's export, and what refers to what in them."""

from __future__ import annotations

from isams_pipeline.delivery.export import ExportFile
from isams_pipeline.delivery.people_files import CONTACTS, STAFF, STUDENT, STUDENT_COLUMNS

SCHEMA_VERSION = 1
CLASS = ("class_id", "classes.csv")
"""What rows of other files join."""

PHOTO_OF = "photos/{}.jpg"
"""Student → the name of the picture."""
PHOTOS = ExportFile(
    "photos.csv",
    ("student_id", "sha256"),
    key=("student_id",),
    optional=True,
    ends=(STUDENT,),
    pictures=PHOTO_OF,
)
FILES: tuple[ExportFile, ...] = (
    ExportFile(
        "students.csv",
        (
            *STUDENT_COLUMNS,
            "year_group",
            "form",
            "academic_house",
            "boarding_house",
            "tutor_staff_id",
        ),
        key=("student_id",),
        must_have_rows=True,
        people="student",
        year="year_group",
    ),
    CONTACTS,
    ExportFile(
        "student_contacts.csv",
        ("student_id", "contact_id", "relationship", "parental_responsibility", "first_contact"),
        key=("student_id", "contact_id"),
        ends=(STUDENT, ("contact_id", "contacts.csv")),
    ),
    STAFF,
    ExportFile("year_groups.csv", ("year_id", "name", "campus"), key=("year_id",), must_have_rows=True),
    ExportFile("classes.csv", ("class_id", "code", "name", "subject", "year_group"), key=("class_id",)),
    ExportFile("class_students.csv", ("class_id", "student_id"), key=("class_id", "student_id"), ends=(CLASS, STUDENT)),
    ExportFile(
        "class_staff.csv",
        ("class_id", "staff_id", "primary"),
        key=("class_id", "staff_id"),
        ends=(CLASS, ("staff_id", "staff.csv")),
    ),
    ExportFile("houses.csv", ("house_id", "name", "type", "house_master_staff_id"), key=("house_id", "type")),
    ExportFile(
        "medical.csv",
        ("student_id", "field", "value"),
        key=("student_id", "field", "value"),
        listed_by=("student_id", "field"),
        optional=True,
        ends=(STUDENT,),
    ),
    PHOTOS,
)
BY_NAME: dict[str, ExportFile] = {file.name: file for file in FILES}

REFERENCES: tuple[tuple[str, str, str, str], ...] = (
    ("students.csv", "year_group", "year_groups.csv", "name"),
    ("students.csv", "academic_house", "houses.csv", "name"),
    ("students.csv", "boarding_house", "houses.csv", "name"),
    ("students.csv", "tutor_staff_id", "staff.csv", "staff_id"),
    ("student_contacts.csv", "student_id", "students.csv", "student_id"),
    ("student_contacts.csv", "contact_id", "contacts.csv", "contact_id"),
    ("classes.csv", "year_group", "year_groups.csv", "name"),
    ("class_students.csv", "class_id", "classes.csv", "class_id"),
    ("class_students.csv", "student_id", "students.csv", "student_id"),
    ("class_staff.csv", "class_id", "classes.csv", "class_id"),
    ("class_staff.csv", "staff_id", "staff.csv", "staff_id"),
    ("houses.csv", "house_master_staff_id", "staff.csv", "staff_id"),
    ("medical.csv", "student_id", "students.csv", "student_id"),
    ("photos.csv", "student_id", "students.csv", "student_id"),
)
"""File and column → file and column. A cell is empty, or it names something that is there."""

ENTITIES: dict[str, str] = {
    "student": "students.csv",
    "contact": "contacts.csv",
    "student_contact": "student_contacts.csv",
    "staff": "staff.csv",
    "class": "classes.csv",
    "class_student": "class_students.csv",
    "class_staff": "class_staff.csv",
    "house": "houses.csv",
    "medical": "medical.csv",
}
"""Which file an entity of the exclusions would stand in."""
