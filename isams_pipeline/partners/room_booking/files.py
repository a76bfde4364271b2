"""The files of Room Booking's export, and what refers to what in them."""

from __future__ import annotations

from isams_pipeline.delivery.export import ExportFile

SCHEMA_VERSION = 2
"""2: rooms.csv says which rooms are bookable."""

TIMETABLE = ExportFile(
    "timetable.csv",
    ("date", "start", "end", "timeslot_id", "room_id", "resource_id", "code", "subject", "staff_ids", "kind"),
    key=("date", "start", "end", "room_id", "code", "kind"),
    may_be_empty=("room_id", "code"),
    dated_by="date",
    ends=(("room_id", "rooms.csv"), ("date", None)),
)
CANCELLED = ExportFile(
    "cancelled_bookings.csv",
    ("booking_id", "resource_id", "date", "start", "end", "reason"),
    key=("booking_id",),
    guarded=False,
    optional=True,
)
FILES: tuple[ExportFile, ...] = (
    ExportFile(
        "rooms.csv",
        ("room_id", "name", "code", "building", "resource_id", "category", "bookable"),
        key=("room_id",),
        must_have_rows=True,
    ),
    ExportFile(
        "timeslots.csv",
        ("timeslot_id", "name", "start", "end", "period_ids"),
        key=("timeslot_id",),
        must_have_rows=True,
    ),
    ExportFile("terms.csv", ("term_id", "school_year", "name", "start", "end"), key=("term_id",), must_have_rows=True),
    TIMETABLE,
    ExportFile(
        "closures.csv",
        ("room_id", "start", "end", "reason"),
        key=("room_id", "start", "end", "reason"),
        listed_by=("room_id", "start", "end"),
        may_be_empty=("reason",),
        guarded=False,
    ),
    CANCELLED,
)
BY_NAME: dict[str, ExportFile] = {file.name: file for file in FILES}

REFERENCES: tuple[tuple[str, str, str, str], ...] = (
    ("timetable.csv", "room_id", "rooms.csv", "room_id"),
    ("timetable.csv", "resource_id", "rooms.csv", "resource_id"),
    ("timetable.csv", "timeslot_id", "timeslots.csv", "timeslot_id"),
    ("closures.csv", "room_id", "rooms.csv", "room_id"),
)
"""File and column → file and column. A cell is empty, or it names something that is there."""

ENTITIES: dict[str, str] = {
    "lesson": "timetable.csv",
    "meeting": "timetable.csv",
    "year_schedule": "timetable.csv",
    "tutorial": "timetable.csv",
    "room": "rooms.csv",
    "period": "timeslots.csv",
    "term": "terms.csv",
    "room_closure": "closures.csv",
}
"""Which file an entity of the exclusions would stand in."""
UNASSIGNED = "Unassigned"
"""The category of rooms that matched no resource; hidden from bookers."""
