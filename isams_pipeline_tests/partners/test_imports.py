"""The partner's files: each row by itself, and what is wrong is named by row and field, never by value."""

from __future__ import annotations

import pytest

from isams_pipeline.errors import ImportRefused
from isams_pipeline.partners.room_booking.imports import bookings, resources, timeslots
from isams_pipeline.partners.room_booking.matching import Slot

SLOTS = {"S1": Slot("S1", "Period 1", 540, 595)}


def test_files_as_the_store_takes_them():
    assert resources(b"\xef\xbb\xbfname,resource_id\nHall,R1\n\n").rows == [
        {"id": "R1", "name": "Hall", "code": None, "category": "Rooms"}
    ]
    assert timeslots(b"timeslot_id,name,start,end\nS1,Period 1,9:00,09:55\n").rows == [
        {"id": "S1", "name": "Period 1", "start": 540, "end": 595}
    ]
    header = b"booking_id,resource_id,date,timeslot_id,start,end,email\n"
    found = bookings(header + b"B1,R1,2026-02-11,S1,,,a@b.org\nB2,R1,2026-02-11,,10:00,11:30,a@b.org\n", {"R1"}, SLOTS)
    assert [(row["id"], row["start"], row["end"]) for row in found.rows] == [("B1", 540, 595), ("B2", 600, 690)]


HEADER = "booking_id,resource_id,date,start,end,email\n"
GOOD = "B0,R1,2026-02-11,10:00,11:00,a@b.org\n"


@pytest.mark.parametrize(
    ("row", "field"),
    [
        ("B1,R9,2026-02-11,10:00,11:00,canary@b.org", "resource_id"),
        ("B1,R1,11/02/2026,10:00,11:00,canary@b.org", "date"),
        ("B1,R1,2026-02-11,ten,11:00,canary@b.org", "start"),
        ("B1,R1,2026-02-11,10:00,,canary@b.org", "end"),
        ("B1,R1,2026-02-11,24:00,01:00,canary@b.org", "start"),
        ("B1,R1,2026-02-11,09:00,09:00,canary@b.org", "end"),
        ("B0,R1,2026-02-11,10:00,11:00,canary@b.org", "booking_id"),
        (",R1,2026-02-11,10:00,11:00,canary@b.org", "booking_id"),
    ],
)
def test_a_wrong_cell_is_named_by_row_and_field(row: str, field: str):
    last = "B7,R1,2026-02-12,10:00,11:00,a@b.org\n"
    found = bookings((HEADER + GOOD + row + "\n" + last).encode(), {"R1"}, SLOTS)
    (refused,) = found.refused
    assert refused.where == {"row": 2, "field": field} and "canary" not in str(refused)
    assert [row["id"] for row in found.rows] == ["B0", "B7"], "the others come in"


@pytest.mark.parametrize(
    ("times", "start", "end"),
    [("22:00,06:00", 1320, 1800), ("18:00,24:00", 1080, 1440), (",", 0, 1440), ("00:00,00:00", 0, 1440)],
)
def test_a_booking_may_last_overnight_until_midnight_or_all_day(times: str, start: int, end: int):
    found = bookings((HEADER + f"B1,R1,2026-02-11,{times},a@b.org\n").encode(), {"R1"}, SLOTS)
    assert [(row["start"], row["end"]) for row in found.rows] == [(start, end)] and not found.refused


@pytest.mark.parametrize("email", ["", "canary", "can\u00e4ry@b.org"])
def test_a_booking_whose_owner_has_no_address_is_taken(email: str):
    found = bookings((HEADER + f"B1,R1,2026-02-11,10:00,11:00,{email}\n").encode(), {"R1"}, SLOTS)
    assert [row["email"] for row in found.rows] == [""] and not found.refused
    assert "row 1: the owner has no address" in found.notes[0]
    assert not email or email.partition("@")[0] not in found.notes[0]


@pytest.mark.parametrize(
    ("data", "said"),
    [
        (b"", "no column"),
        (b"resource_id\nR1\n", "no column name"),
        (b"resource_id,name\n\xff\xfe,x\n", "not UTF-8"),
        (b'resource_id,name\n"R1,x\n', "not CSV"),
    ],
)
def test_a_file_that_cannot_be_taken(data: bytes, said: str):
    with pytest.raises(ImportRefused, match=said):
        resources(data)


def test_rows_that_cannot_be_taken():
    found = resources(b"resource_id,name,category\nR1\nR2,x,Unassigned\nR3,Hall,\n")
    assert ["1 of 3 cells" in str(found.refused[0]), "Unassigned is for rooms" in str(found.refused[1])] == [True, True]
    assert [row["id"] for row in found.rows] == ["R3"] and found.refused_ids == {"R2"}
