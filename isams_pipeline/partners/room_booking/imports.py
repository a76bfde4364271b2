"""The partner's side as CSV files: resources, timeslots, bookings. A row that means nothing is refused by itself.

resources   resource_id, name; code and category may be left out (category: Rooms)
timeslots   timeslot_id, name, start, end (HH:MM)
bookings    booking_id, resource_id, date, email; start and end, or timeslot_id; title may be left out

A booking may last until 24:00, or overnight (it ends before it starts); without start and end it is for all of
the day. One whose owner has no address is taken all the same: nobody can be written to if it is cancelled.
"""

from __future__ import annotations

import csv
import io
from collections.abc import Callable, Collection, Iterator, Mapping
from dataclasses import dataclass, field
from datetime import date
from typing import Any

from isams_pipeline.datasets.shapes import Json
from isams_pipeline.errors import ImportRefused
from isams_pipeline.partners.room_booking.files import UNASSIGNED
from isams_pipeline.partners.room_booking.matching import Slot
from isams_pipeline.partners.room_booking.store import BookingStore
from isams_pipeline.rules.clock_times import minutes
from isams_pipeline.rules.email import is_valid

KINDS = ("resources", "timeslots", "bookings")
Row = Json
_CATEGORY = "Rooms"


@dataclass
class Taken:
    """What a file holds."""

    rows: list[Row] = field(default_factory=list[Row])
    """As the store takes them."""
    refused: list[ImportRefused] = field(default_factory=list[ImportRefused])
    """Rows that mean nothing, each with its number and field."""
    refused_ids: set[str] = field(default_factory=set[str])
    has_lost_ids: bool = False
    """Some refused row does not even tell its id."""
    notes: list[str] = field(default_factory=list[str])
    """Rows that were taken otherwise than they stand there."""


Read = Callable[[dict[str, str], int, Taken], Row]


def take(store: BookingStore, kind: str, data: bytes, *, all_since: date | None = None, strict: bool = False) -> Taken:
    """Put a file of a kind into the store. Raises ImportRefused where it is no such file.

    With `strict`, also where one of its rows is refused: nothing of it is taken then. With `all_since` the file has all
    bookings from that date on: active ones that are not in it are withdrawn, but none whose row was refused; none at
    all where a refused row does not tell its id.
    """
    store.lock()
    if kind == "resources":
        found = resources(data)
    elif kind == "timeslots":
        found = timeslots(data)
    else:
        slots = {slot.id: slot for slot in store.slots()}
        found = bookings(data, {resource.id for resource in store.resources()}, slots)
    if strict and found.refused:
        first = found.refused[0]
        raise ImportRefused(
            first.what,
            remedy="Nothing of the file was taken (--strict). Correct the row, or leave --strict out.",
            **first.where,
        )
    put = {"resources": store.put_resources, "timeslots": store.put_slots}.get(kind, store.put_bookings)
    if all_since is not None and found.has_lost_ids:
        found.notes.append(
            "no booking was withdrawn, as the booking_id of a refused row could not be read; correct "
            "the row and import again"
        )
    elif all_since is not None:
        store.withdraw_others({row["id"] for row in found.rows} | found.refused_ids, all_since)
    put(found.rows)
    return found


def resources(data: bytes) -> Taken:
    """Resources as the store takes them."""

    def read(row: dict[str, str], number: int, _: Taken) -> Row:
        if row.get("category") == UNASSIGNED:
            raise _refused(f"{UNASSIGNED} is for rooms that matched nothing", number, "category")
        return {
            "id": _filled(row, "resource_id", number),
            "name": _filled(row, "name", number),
            "code": row.get("code") or None,
            "category": row.get("category") or _CATEGORY,
        }

    return _read(data, read, needed=("resource_id", "name"), key="resource_id")


def timeslots(data: bytes) -> Taken:
    """Timeslots as the store takes them; times as minutes after midnight."""

    def read(row: dict[str, str], number: int, _: Taken) -> Row:
        start, end = _time(row, "start", number), _time(row, "end", number)
        if end <= start:
            raise _refused("It ends before it starts", number, "end")
        identifier, name = _filled(row, "timeslot_id", number), _filled(row, "name", number)
        return {"id": identifier, "name": name, "start": start, "end": end}

    return _read(data, read, needed=("timeslot_id", "name", "start", "end"), key="timeslot_id")


def bookings(data: bytes, resource_ids: Collection[str], slots: Mapping[str, Slot]) -> Taken:
    """Bookings as the store takes them; an end after 24:00 is the next day's."""

    def read(row: dict[str, str], number: int, found: Taken) -> Row:
        if row.get("timeslot_id"):
            slot = slots.get(row["timeslot_id"])
            if slot is None:
                raise _refused("There is no such timeslot; import the timeslots first", number, "timeslot_id")
            start, end = slot.start, slot.end
        else:
            start, end = _span(row, number)
        if row["resource_id"] not in resource_ids:
            raise _refused("There is no such resource; import the resources first", number, "resource_id")
        email = row["email"]
        if not is_valid(email) or not email.isascii():
            what = "no address that every mail server takes" if email else "no address"
            found.notes.append(f"row {number}: the owner has {what}, so gets no mail if the booking is cancelled")
            email = ""
        return {
            "id": _filled(row, "booking_id", number),
            "resource_id": row["resource_id"],
            "date": _converted(row, "date", number, date.fromisoformat, "a date such as 2026-11-20"),
            "start": start,
            "end": end,
            "title": row.get("title", ""),
            "email": email,
        }

    return _read(data, read, needed=("booking_id", "resource_id", "date", "email"), key="booking_id")


def _read(data: bytes, read: Read, *, needed: Collection[str], key: str) -> Taken:
    """Each row by itself: one that is refused does not take the others with it."""
    found = Taken()
    seen: dict[str, int] = {}
    for number, cells in _rows(data, needed=needed):
        try:
            if isinstance(cells, ImportRefused):
                raise cells
            if cells[key] in seen:
                raise _refused(f"The same id is in row {seen[cells[key]]} already", number, key)
            seen[cells[key]] = number
            found.rows.append(read(cells, number, found))
        except ImportRefused as refused:
            found.refused.append(refused)
            found.refused_ids |= {cells[key]} if not isinstance(cells, ImportRefused) else set()
            found.has_lost_ids |= isinstance(cells, ImportRefused)
    return found


def _rows(data: bytes, *, needed: Collection[str]) -> Iterator[tuple[int, dict[str, str] | ImportRefused]]:
    """Rows with their numbers, counted from 1 below the header; one of another length is refused."""
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
    for number, line in enumerate(lines[1:], start=1):
        if not any(cell.strip() for cell in line):
            continue
        if len(line) != len(header):
            yield number, ImportRefused(f"A row has {len(line)} of {len(header)} cells", row=number, remedy=_MEND)
        else:
            yield number, {name: " ".join(cell.split()) for name, cell in zip(header, line, strict=True)}


_DAY = 24 * 60
_MEND = "Mend that row, and import the file again."


def _time(row: Mapping[str, str], name: str, number: int) -> int:
    found = _DAY if row.get(name) in {"24:00", "24:00:00"} else minutes(row.get(name))
    if found is None:
        raise _refused("Not a time such as 09:55", number, name)
    return found


def _span(row: Mapping[str, str], number: int) -> tuple[int, int]:
    """Start and end: the whole day without either, until the next day where it ends before it starts."""
    if not row.get("start") and not row.get("end"):
        return 0, _DAY
    start, end = _time(row, "start", number), _time(row, "end", number)
    if start >= _DAY:
        raise _refused("Nothing starts at the end of the day", number, "start")
    if start == end != 0:
        raise _refused("Start and end are the same; leave both empty for the whole day", number, "end")
    return start, end if end > start else end + _DAY


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
    return ImportRefused(what, row=row, field=field, remedy=_MEND)
