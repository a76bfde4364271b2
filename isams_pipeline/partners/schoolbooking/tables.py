"""The tables that SchoolBooking's rules make, in the order in which they are made: each an asset."""

from __future__ import annotations

from isams_pipeline.datasets import DATASETS, LISTED_DATASETS
from isams_pipeline.delivery.people_tables import (
    ELIGIBLE_CONTACTS,
    contacts_table,
    members_table,
    student_contacts_table,
    teachers_table,
)
from isams_pipeline.delivery.rule_tables import RuleTable, made, renamed, rule_table, same

_PUPILS, _STAFF, _YEARS, _FORMS = (DATASETS[name] for name in ("pupils", "staff", "years", "forms"))
_SUBJECTS, _SETS = DATASETS["subjects"], DATASETS["sets"]
_ROOMS, _TERMS, _LESSONS = (DATASETS[name] for name in ("rooms", "terms", "lessons"))
_PERIODS, _DATED = (LISTED_DATASETS[name] for name in ("periods", "dated_lessons"))
_WEEKS_ON_DATES = tuple(
    DATASETS[name]
    for name in (
        *("timetable_weeks", "timetable_days", "timetable_periods", "week_allocations", "timetables"),
        *("staff_meetings", "year_schedules", "tutorials", "lesson_suspensions", "teaching_forms"),
    )
)

STAFF = rule_table(
    "staff",
    "Members of staff with the first valid e-mail address of theirs. One row per member of staff.",
    same(_STAFF, "staff_id", key=("staff_id",)),
    same(_STAFF, "user_code", "title", "forename", "preferred_name", "surname", "email", "teaching"),
)
YEAR_GROUPS = rule_table(
    "year_groups",
    "Year groups. One row per year group.",
    renamed("year_group_id", _YEARS, "year_id", key=True),
    same(_YEARS, "name"),
)
REGISTRATION_GROUPS = rule_table(
    "registration_groups",
    "Forms with their tutors, as far as those are in the export. One row per form.",
    renamed("registration_group_id", _FORMS, "form_id", key=True),
    same(_FORMS, "name"),
    made("tutor_staff_id", "int", "The tutor", (_FORMS, "tutor_staff_id"), (STAFF, "staff_id")),
)
STUDENTS = rule_table(
    "students",
    "Students with the first valid e-mail address of theirs. One row per pupil on the roll.",
    renamed("student_id", _PUPILS, "pupil_id", key=True),
    same(_PUPILS, "school_id", "forename", "preferred_name", "surname", "gender", "date_of_birth", "email"),
    made("year_group_id", "int", "The year group", (_PUPILS, "year_id"), (YEAR_GROUPS, "year_group_id")),
    made("registration_group_id", "str", "The form", (_PUPILS, "form_id"), (_FORMS, "form_id")),
)
MEMBERS = rule_table(
    "registration_group_members",
    "Who is in which form. One row per student in a form.",
    same(STUDENTS, "registration_group_id", "student_id", key=("registration_group_id", "student_id")),
)
CONTACTS = contacts_table(unique=False)
STUDENT_CONTACTS = student_contacts_table(CONTACTS)
TEACHING_GROUPS = rule_table(
    "teaching_groups",
    "Teaching sets with the names of their subjects. One row per set.",
    renamed("teaching_group_id", _SETS, "set_id", key=True),
    same(_SETS, "code", "name"),
    made("subject", "str", "The subject, by name", (_SETS, "subject_id"), (_SUBJECTS, "name")),
)
_GROUP = "teaching_group_id"
TEACHING_GROUP_MEMBERS = members_table("teaching_group_members", TEACHING_GROUPS, _GROUP, "teaching group")
TEACHING_GROUP_STAFF = teachers_table(
    "teaching_group_staff", TEACHING_GROUPS, _GROUP, "teaching group", staff=STAFF, primary=False
)
ROOMS = rule_table(
    "rooms",
    "Rooms. One row per room.",
    same(_ROOMS, "room_id", "name", "code", key=("room_id",)),
)
TIMETABLE = rule_table(
    "timetable",
    "This school year's lessons on dates: as the source gives them, or iSAMS's weeks put on dates. One row per lesson, "
    "date and room.",
    made("date", "date", "The day", (_DATED, "date"), (_TERMS, "start_date"), (_TERMS, "finish_date"), nullable=False),
    made("lesson_id", "int", "The lesson", (_DATED, "lesson_id"), (_LESSONS, "lesson_id"), nullable=False),
    made("start", "str", "When it begins, HH:MM", (_DATED, "start"), (_PERIODS, "start")),
    made("end", "str", "When it ends, HH:MM", (_DATED, "end"), (_PERIODS, "end")),
    made("period", "str", "The period, by name", (_DATED, "period_id"), (_LESSONS, "period_id"), (_PERIODS, "name")),
    made(_GROUP, "int", "The teaching group", (_DATED, "set_id"), (_LESSONS, "code"), (TEACHING_GROUPS, _GROUP)),
    made("registration_group_id", "str", "The form", (_DATED, "form_id"), (_LESSONS, "code"), (_FORMS, "form_id")),
    made("room_id", "str", "The room", (_DATED, "room_ids"), (_LESSONS, "room_id"), (ROOMS, "room_id")),
    made(
        "staff_ids",
        "str",
        "Who teaches it, parted by blanks",
        *((_DATED, "staff_ids"), (_LESSONS, "teacher_user_code"), (STAFF, "staff_id")),
    ),
    made("kind", "str", "lesson, cover …", (_DATED, "kind")),
    also=_WEEKS_ON_DATES,
    steered_by=("unallocated_weeks",),
    left_out={"dated_lessons": ("covered",)},
)
TERMS = rule_table(
    "terms",
    "Terms. One row per term.",
    same(_TERMS, "term_id", "name", key=("term_id",)),
    renamed("start", _TERMS, "start_date"),
    renamed("end", _TERMS, "finish_date"),
)
TABLES: tuple[RuleTable, ...] = (
    *(ELIGIBLE_CONTACTS, CONTACTS, STUDENT_CONTACTS, STAFF, YEAR_GROUPS, REGISTRATION_GROUPS, STUDENTS, MEMBERS),
    *(TEACHING_GROUPS, TEACHING_GROUP_MEMBERS, TEACHING_GROUP_STAFF, ROOMS, TIMETABLE, TERMS),
)
"""All of them; the export is made from these."""
