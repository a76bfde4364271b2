"""The partner's side as CSV files: resources, timeslots, bookings. All of a file is taken, or nothing of it.

resources   resource_id, name; code and category may be left out (category: Rooms)
timeslots   timeslot_id, name, start, end (HH:MM)
bookings    booking_id, resource_id, date, email; start and end, or timeslot_id; title may be left out
"""

from __future__ import annotations

import csv
import io
from collections.abc import Callable, Collection, Mapping
from datetime import date
from typing import Any

from isams_pipeline.errors import ImportRefused
from isams_pipeline.partners.room_booking import UNASSIGNED
from isams_pipeline.partners.room_booking.matching import Slot
from isams_pipeline.partners.room_booking.store import BookingStore
from isams_pipeline.rules.clock_times import minutes
from isams_pipeline.rules.email import is_valid

KINDS = ("resources", "timeslots", "bookings")
Row = dict[str, Any]
_CATEGORY = "Rooms"


def take(store: BookingStore, kind: str, data: bytes, *, all_since: date | None = None) -> int:
    """Put a file of a kind into the store; gives how many rows it had. Raises ImportRefused.

    With `all_since` the file has all bookings from that date on: active ones that are not in it are withdrawn.
    """
    store.lock()
    if kind == "resources":
        return store.put_resources(resources(data))
    if kind == "timeslots":
        return store.put_slots(timeslots(data))
    slots = {slot.id: slot for slot in store.slots()}
    found = bookings(data, {resource.id for resource in store.resources()}, slots)
    if all_since is not None:
        store.withdraw_others({row["id"] for row in found}, all_since)
    return store.put_bookings(found)


def resources(data: bytes) -> list[Row]:
    """Resources as the store takes them."""
    rows = _rows(data, needed=("resource_id", "name"), key="resource_id")
    found: list[Row] = []
    for number, row in rows:
        if row.get("category") == UNASSIGNED:
            raise _refused(f"{UNASSIGNED} is for rooms that matched nothing", number, "category")
        found.append(
            {
                "id": _filled(row, "resource_id", number),
                "name": _filled(row, "name", number),
                "code": row.get("code") or None,
                "category": row.get("category") or _CATEGORY,
            }
        )
    return found


def timeslots(data: bytes) -> list[Row]:
    """Timeslots as the store takes them; times as minutes after midnight."""
    found: list[Row] = []
    for number, row in _rows(data, needed=("timeslot_id", "name", "start", "end"), key="timeslot_id"):
        start, end = _span(row, number)
        identifier, name = _filled(row, "timeslot_id", number), _filled(row, "name", number)
        found.append({"id": identifier, "name": name, "start": start, "end": end})
    return found


def bookings(data: bytes, resource_ids: Collection[str], slots: Mapping[str, Slot]) -> list[Row]:
    """Bookings as the store takes them."""
    found: list[Row] = []
    for number, row in _rows(data, needed=("booking_id", "resource_id", "date", "email"), key="booking_id"):
        if row.get("timeslot_id"):
            slot = slots.get(row["timeslot_id"])
            if slot is None:
                raise _refused("There is no such timeslot; import the timeslots first", number, "timeslot_id")
            start, end = slot.start, slot.end
        else:
            start, end = _span(row, number)
        if row["resource_id"] not in resource_ids:
            raise _refused("There is no such resource; import the resources first", number, "resource_id")
        if not is_valid(row["email"]) or not row["email"].isascii():
            raise _refused("Not an e-mail address that every mail server takes", number, "email")
        found.append(
            {
                "id": _filled(row, "booking_id", number),
                "resource_id": row["resource_id"],
                "date": _converted(row, "date", number, date.fromisoformat, "a date such as 2026-11-20"),
                "start": start,
                "end": end,
                "title": row.get("title", ""),
                "email": row["email"],
            }
        )
    return found


def _rows(data: bytes, *, needed: Collection[str], key: str) -> list[tuple[int, dict[str, str]]]:
    """Rows with their numbers, counted from 1 below the header."""
    try:
        text = data.decode("utf-8-sig")
    except UnicodeDecodeError:
        raise ImportRefused("The file is not UTF-8 text", remedy="Save it as CSV (UTF-8).") from None
    try:
        lines = list(csv.reader(io.StringIO(text, newline=""), strict=True))
    except csv.Error:
        raise ImportRefused("The file is not CSV", remedy="Save it as CSV with commas.") from None
    header = [name.strip() for name in lines[0]] if lines else []
    missing = [name for name in needed if name not in header]
    if missing:
        raise ImportRefused(
            f"The file has no column {', '.join(missing)}", remedy="The first line names the columns, with commas."
        )
    found: list[tuple[int, dict[str, str]]] = []
    seen: dict[str, int] = {}
    for number, line in enumerate(lines[1:], start=1):
        if not any(cell.strip() for cell in line):
            continue
        if len(line) != len(header):
            raise ImportRefused(f"A row has {len(line)} of {len(header)} cells", row=number, remedy="Mend that row.")
        row = {name: " ".join(cell.split()) for name, cell in zip(header, line, strict=True)}
        if row[key] in seen:
            raise _refused(f"The same id is in row {seen[row[key]]} already", number, key)
        seen[row[key]] = number
        found.append((number, row))
    return found


def _span(row: Mapping[str, str], number: int) -> tuple[int, int]:
    def at(name: str) -> int:
        found = minutes(row.get(name))
        if found is None:
            raise _refused("Not a time such as 09:55", number, name)
        return found

    start, end = at("start"), at("end")
    if end <= start:
        raise _refused("It ends before it starts", number, "end")
    return start, end


def _filled(row: Mapping[str, str], name: str, number: int) -> str:
    if not row[name]:
        raise _refused("The cell is empty", number, name)
    return row[name]


def _converted(row: Mapping[str, str], name: str, number: int, convert: Callable[[str], Any], what: str) -> Any:
    try:
        return convert(row[name])
    except ValueError:
        raise _refused(f"Not {what}", number, name) from None


def _refused(what: str, row: int, field: str) -> ImportRefused:
    return ImportRefused(what, row=row, field=field, remedy="Nothing of the file was taken; mend that row.")
