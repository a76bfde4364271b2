"""The tables that SchoolsBuddy's rules make, in the order in which they are made: each an asset."""

from __future__ import annotations

from isams_pipeline.datasets import DATASETS
from isams_pipeline.delivery.people_tables import (
    ELIGIBLE_CONTACTS,
    contacts_table,
    members_table,
    student_contacts_table,
    teachers_table,
)
from isams_pipeline.delivery.rule_tables import RuleTable, made, renamed, rule_table, same

_PUPILS, _STAFF, _YEARS, _FORMS = (DATASETS[name] for name in ("pupils", "staff", "years", "forms"))
_ACADEMIC, _BOARDING, _HEALTH = (DATASETS[name] for name in ("academic_houses", "boarding_houses", "health"))
_SUBJECTS, _SETS = DATASETS["subjects"], DATASETS["sets"]

STAFF = rule_table(
    "staff",
    "Members of staff who have an e-mail address of their own. One row per member of staff.",
    same(_STAFF, "staff_id", key=("staff_id",)),
    same(_STAFF, "user_code", "title", "forename", "preferred_name", "surname"),
    same(_STAFF, "email", "teaching", filled=("email",)),
    left_out={"staff": ("email", "unique_email")},
)
YEAR_GROUPS = rule_table(
    "year_groups",
    'Year groups by the names that SchoolsBuddy gets: "05" of Campus 1 becomes "05 Campus 1". One row per year group.',
    same(_YEARS, "year_id", key=("year_id",)),
    made("name", "str", "Its name, with its campus's", (_YEARS, "name"), (_YEARS, "code"), (_YEARS, "year_id")),
    made("campus", "str", "Its campus, by number of the year", (_YEARS, "year_id")),
    steered_by=("campuses",),
)
HOUSES = rule_table(
    "houses",
    "Academic and boarding houses together. One row per house and type.",
    made("house_id", "int", "The house", (_ACADEMIC, "house_id"), (_BOARDING, "house_id"), key=True),
    made("name", "str", "Its name", (_ACADEMIC, "name"), (_BOARDING, "name"), nullable=False),
    made("type", "str", "academic or boarding", key=True),
    made(
        "house_master_staff_id",
        "int",
        "House master or mistress, if in the export",
        *((_ACADEMIC, "house_master_staff_id"), (_BOARDING, "house_master_staff_id"), (STAFF, "staff_id")),
    ),
    left_out={"academic_houses": ("name",), "boarding_houses": ("name",)},
)
STUDENTS = rule_table(
    "students",
    "Students with names for numbers, and an e-mail address that no other student has, or none. One row per pupil on "
    "the roll.",
    renamed("student_id", _PUPILS, "pupil_id", key=True),
    same(_PUPILS, "school_id", "forename", "preferred_name", "surname", "gender", "date_of_birth", "email"),
    made("year_group", "str", "The year group, by name", (_PUPILS, "year_id"), (YEAR_GROUPS, "name")),
    made("form", "str", "The form, by name", (_PUPILS, "form_id"), (_FORMS, "name")),
    made(
        "academic_house",
        "str",
        "The academic house, by name",
        *((_PUPILS, "academic_house_id"), (_PUPILS, "academic_house"), (HOUSES, "name")),
    ),
    made(
        "boarding_house",
        "str",
        "The boarding house, by name",
        *((_PUPILS, "boarding_house_id"), (_PUPILS, "boarding_house"), (HOUSES, "name")),
    ),
    made(
        "tutor_staff_id",
        "int",
        "The tutor, if in the export",
        *((_PUPILS, "tutor_user_code"), (_FORMS, "tutor_staff_id"), (_STAFF, "user_code"), (STAFF, "staff_id")),
    ),
)
CONTACTS = contacts_table(unique=True)
STUDENT_CONTACTS = student_contacts_table(CONTACTS)
CLASSES = rule_table(
    "classes",
    "Teaching sets with the names of their subjects and year groups. One row per set.",
    renamed("class_id", _SETS, "set_id", key=True),
    same(_SETS, "code", "name"),
    made("subject", "str", "The subject, by name", (_SETS, "subject_id"), (_SUBJECTS, "name")),
    made("year_group", "str", "The year group, by name", (_SETS, "year_id"), (YEAR_GROUPS, "name")),
)
CLASS_STUDENTS = members_table("class_students", CLASSES, "class_id", "class")
CLASS_STAFF = teachers_table("class_staff", CLASSES, "class_id", "class", staff=STAFF, primary=True)
MEDICAL = rule_table(
    "medical",
    "The fields of health records that the school sends. One row per student, field and value.",
    made(
        "student_id",
        "int",
        "The student",
        (_PUPILS, "pupil_id"),
        (_HEALTH, "pupil_id"),
        (_HEALTH, "school_id"),
        key=True,
    ),
    same(_HEALTH, "field", "value", key=("field", "value")),
    steered_by=("medical_fields",),
    left_out={"health": ("empty", "reference")},
    merges=("health",),
    optional=True,
)
TABLES: tuple[RuleTable, ...] = (
    *(ELIGIBLE_CONTACTS, CONTACTS, STUDENT_CONTACTS, STAFF, YEAR_GROUPS, HOUSES, STUDENTS),
    *(CLASSES, CLASS_STUDENTS, CLASS_STAFF, MEDICAL),
)
"""All of them; the export is made from these."""
