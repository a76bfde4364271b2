"""The tables that Room Booking's rules make, in the order in which they are made: each an asset."""

from __future__ import annotations

from isams_pipeline.datasets import DATASETS
from isams_pipeline.delivery.rule_tables import AnyTable, RuleTable, made, renamed, rule_table, same

_LESSONS, _MEETINGS, _SCHEDULES, _TUTORIALS = (
    DATASETS[name] for name in ("lessons", "staff_meetings", "year_schedules", "tutorials")
)
_ROOMS, _BUILDINGS, _TERMS, _STAFF = (DATASETS[name] for name in ("rooms", "buildings", "terms", "staff"))
_WEEKS, _DAYS, _PERIODS, _ALLOCATIONS, _TIMETABLES = (
    DATASETS[name]
    for name in ("timetable_weeks", "timetable_days", "timetable_periods", "week_allocations", "timetables")
)
_SETS, _FORMS, _SUBJECTS, _TEACHING_FORMS = (DATASETS[name] for name in ("sets", "forms", "subjects", "teaching_forms"))
_SUSPENSIONS, _CLOSURES, _REASONS = (
    DATASETS[name] for name in ("lesson_suspensions", "room_closures", "room_closure_reasons")
)
_ENTRIES: tuple[AnyTable, ...] = (_LESSONS, _MEETINGS, _SCHEDULES, _TUTORIALS)
_BY_CODE: tuple[tuple[AnyTable, str], ...] = ((_LESSONS, "code"), (_SETS, "code"), (_TEACHING_FORMS, "timetable_code"))

DATED = rule_table(
    "lessons",
    "Lessons, staff meetings, year schedules and tutorials of this school year and the next on real dates: weeks x "
    "allocations x terms, without what is suspended. One row per date and entry of the timetable.",
    made(
        "date",
        "date",
        "The day",
        *((_TERMS, "start_date"), (_TERMS, "finish_date"), (_ALLOCATIONS, "week"), (_DAYS, "weekday")),
        nullable=False,
    ),
    made("start", "int", "When it begins, in minutes after midnight", (_PERIODS, "start"), nullable=False),
    made("end", "int", "When it ends, in minutes after midnight", (_PERIODS, "end"), nullable=False),
    same(_PERIODS, "period_id", filled=("period_id",)),
    made("room_id", "int", "The room, if there is one of that number", (_ROOMS, "room_id"), (_LESSONS, "room_id")),
    made("code", "str", "The code of whom it is for", *_BY_CODE),
    made("subject", "str", "The subject, by name", (_SUBJECTS, "name"), (_SETS, "subject_id")),
    made("year_id", "int", "The year group, where it is known", (_SETS, "year_id"), (_SCHEDULES, "year_id")),
    made("set_id", "int", "The set, where the code is a set's", *_BY_CODE[:2]),
    made("form_id", "str", "The form, where the code is a teaching form's", _BY_CODE[2], (_FORMS, "form_id")),
    made(
        "staff_ids",
        "str",
        "Who teaches it, parted by blanks",
        *((_LESSONS, "teacher_user_code"), (_STAFF, "user_code"), (_STAFF, "staff_id")),
        nullable=False,
    ),
    made("kind", "str", "lesson, meeting, year_schedule or tutorial", nullable=False),
    also=(*_ENTRIES, _WEEKS, _TIMETABLES, _SUSPENSIONS),
    steered_by=("unallocated_weeks",),
)
CLOSURES = rule_table(
    "closures",
    "Rooms that are closed, from and to. One row per closure.",
    made("room_id", "int", "The room", (_CLOSURES, "room_id"), (_ROOMS, "room_id"), key=True),
    made("start", "str", "From, ISO", (_CLOSURES, "start"), key=True),
    made("end", "str", "To, ISO; that moment is not among it", (_CLOSURES, "end"), key=True),
    made("reason", "str", "Why", (_CLOSURES, "reason_id"), (_REASONS, "name"), key=True),
    left_out={"room_closures": ("room", "dates")},
    merges=("room_closures",),
)
MATCHES = rule_table(
    "matches",
    "Which resource of Room Booking each room of iSAMS is: remembered, by name, by code, or one of its own. One row "
    "per room.",
    same(_ROOMS, "room_id", key=("room_id",)),
    made("resource_id", "str", "The resource", (_ROOMS, "name"), (_ROOMS, "code"), nullable=False),
    made("how", "str", "name, code, confirmed by a person, or made for want of a match", nullable=False),
)
ROOMS = rule_table(
    "rooms",
    "Rooms as Room Booking gets them, with their resources and categories. One row per room.",
    same(_ROOMS, "room_id", key=("room_id",)),
    made("name", "str", "Its name; else its code or number", (_ROOMS, "name"), (_ROOMS, "code"), nullable=False),
    same(_ROOMS, "code"),
    made("building", "str", "The building, by name", (_ROOMS, "building_id"), (_BUILDINGS, "name")),
    same(MATCHES, "resource_id", filled=("resource_id",)),
    made("category", "str", "The resource's category", (MATCHES, "resource_id"), nullable=False),
    made("bookable", "bool", "Whether bookers see its category", (MATCHES, "resource_id"), nullable=False),
)
TIMESLOTS = rule_table(
    "timeslots",
    "Room Booking's timeslots, and the periods that are in each. One row per timeslot.",
    made("timeslot_id", "str", "The timeslot", (_PERIODS, "start"), (_PERIODS, "end"), key=True),
    made("name", "str", "Its name", (_PERIODS, "name")),
    made("start", "str", "When it begins, HH:MM", (_PERIODS, "start"), nullable=False),
    made("end", "str", "When it ends, HH:MM", (_PERIODS, "end"), nullable=False),
    made("period_ids", "str", "Its periods, parted by blanks", (_PERIODS, "period_id"), nullable=False),
)
TERMS = rule_table(
    "terms",
    "Terms of this school year and the next. One row per term.",
    same(_TERMS, "term_id", "school_year", "name", key=("term_id",)),
    renamed("start", _TERMS, "start_date", filled=True),
    renamed("end", _TERMS, "finish_date", filled=True),
    left_out={"terms": ("term_dates",)},
)
TIMETABLE = rule_table(
    "timetable",
    "What is on in which room: the dated lessons with the partner's resources and timeslots; what has one code in one "
    "room at one time is one thing. One row per date, time, room, code and kind.",
    same(DATED, "date"),
    made("start", "str", "When it begins, HH:MM", (DATED, "start"), nullable=False),
    made("end", "str", "When it ends, HH:MM", (DATED, "end"), nullable=False),
    made("timeslot_id", "str", "The timeslot", (TIMESLOTS, "timeslot_id"), nullable=False),
    same(DATED, "room_id"),
    made("resource_id", "str", "The room's resource", (MATCHES, "resource_id"), (DATED, "room_id")),
    same(DATED, "code", "subject", "staff_ids", "kind"),
)
TABLES: tuple[RuleTable, ...] = (DATED, CLOSURES, MATCHES, ROOMS, TIMESLOTS, TERMS, TIMETABLE)
"""All of them; the export is made from these."""
