"""Calendars that a client can read: the recurrences give back just the dates of the timetable."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace
from datetime import UTC, date, datetime, timedelta
from pathlib import Path
from typing import Any
from zoneinfo import ZoneInfo

import pandas as pd
from dateutil.rrule import rrulestr
from hypothesis import given
from hypothesis import strategies as st
from icalendar import Calendar

from isams_pipeline.partners.room_booking.calendars import CalendarFile, calendar_files, publish, publish_changed, runs
from isams_pipeline.partners.room_booking.pictures import Picture, draw
from isams_pipeline.storage.folder import Folder

LONDON = ZoneInfo("Europe/London")
MONDAY = date(2025, 9, 1)


def dated(*rows: tuple[date, int, int | None, str, str]) -> pd.DataFrame:
    days, starts, rooms, codes, staff = zip(*rows, strict=True)
    return pd.DataFrame(
        {
            "date": pd.to_datetime(list(days)).astype("datetime64[ms]"),
            "start": pd.array(starts, dtype="Int64"),
            "end": pd.array([start + 55 for start in starts], dtype="Int64"),
            "room_id": pd.array(rooms, dtype="Int64"),
            "code": pd.array(codes, dtype="str"),
            "subject": pd.array(["Maths"] * len(rows), dtype="str"),
            "staff_ids": pd.array(staff, dtype="str"),
            "kind": pd.array(["lesson"] * len(rows), dtype="str"),
        }
    )


def occasions(data: bytes) -> list[datetime]:
    """What a client would show."""
    found: list[datetime] = []
    events: list[Any] = Calendar.from_ical(data).walk("VEVENT")
    for event in events:
        start = event["dtstart"].dt
        if "rrule" not in event:
            found.append(start)
            continue
        rule = rrulestr(event["rrule"].to_ical().decode(), dtstart=start)
        exdates = event.get("exdate", [])
        out = {d.dt for e in (exdates if isinstance(exdates, list) else [exdates]) for d in e.dts}
        found += [at for at in rule if at not in out]
    return sorted(found)


@given(st.lists(st.integers(0, 45), min_size=1, max_size=30, unique=True))
def test_recurrences_give_back_the_dates(weeks: list[int]):
    days = [MONDAY + timedelta(weeks=week) for week in sorted(weeks)]
    covered: list[date] = []
    for run, step in runs(days):
        assert all((day - run[0]).days // 7 % step == 0 for day in run)
        covered += run
    assert covered == days


@given(st.lists(st.tuples(st.integers(0, 300), st.sampled_from([540, 600])), min_size=1, max_size=25, unique=True))
def test_a_client_sees_just_the_lessons_at_their_wall_time(lessons: list[tuple[int, int]]):
    rows = sorted((MONDAY + timedelta(days=day), start, 31, "8Ma1", "11 12") for day, start in lessons)
    files = {file.name: file for file in calendar_files(dated(*rows), {31: "Hall"}, LONDON, "riverside")}
    assert set(files) == {"rooms/31.ics", "staff/11.ics", "staff/12.ics"}
    expected = [
        datetime(day.year, day.month, day.day, start // 60, start % 60, tzinfo=LONDON) for day, start, *_ in rows
    ]
    for file in files.values():
        data = file.make()
        assert [at.astimezone(UTC) for at in occasions(data)] == [at.astimezone(UTC) for at in expected]
        assert data == file.make(), "the same to the byte"


def test_a_calendar_is_valid_and_names_no_person():
    (room, *_) = calendar_files(dated((MONDAY, 540, 31, "8Ma1", "11")), {31: "Hall"}, LONDON, "riverside")
    calendar = Calendar.from_ical(room.make())
    (event,) = calendar.walk("VEVENT")
    assert (
        str(calendar["x-wr-calname"]) == "Hall" and str(event["summary"]) == "8Ma1" and str(event["location"]) == "Hall"
    )
    assert not calendar.errors and not event.errors and calendar.walk("VTIMEZONE")
    assert {"UID", "DTSTAMP", "DTSTART", "DTEND"} <= set(event)


def test_only_what_changed_is_rewritten_and_what_is_gone_is_removed(tmp_path: Path):
    folder = Folder(tmp_path)
    names = {31: "Hall", 32: "Lab"}
    first = [(MONDAY, 540, 31, "8Ma1", "11"), (MONDAY, 540, 32, "8Ma2", "12")]
    done = publish(folder, calendar_files(dated(*first), names, LONDON, "s"))
    assert (done.written, done.kept, done.removed) == (4, 0, 0)
    before = (tmp_path / "rooms/31.ics").stat().st_mtime_ns
    second = [first[0], (MONDAY, 600, 32, "8Ma2", "11")]
    done = publish(folder, calendar_files(dated(*second), names, LONDON, "s"))
    assert (done.written, done.kept, done.removed) == (2, 1, 1), "room 32 and teacher 11 changed; teacher 12 is gone"
    assert (tmp_path / "rooms/31.ics").stat().st_mtime_ns == before and not (tmp_path / "staff/12.ics").exists()
    assert publish(folder, calendar_files(dated(*second), names, LONDON, "s")).written == 0


def test_made_of_the_same_no_calendar_is_looked_at(tmp_path: Path):
    folder, notes = Folder(tmp_path / "target"), Folder(tmp_path / "notes")
    rows = dated((MONDAY, 540, 31, "8Ma1", "11"))

    def files() -> Iterator[CalendarFile]:
        return calendar_files(rows, {31: "Hall"}, LONDON, "s")

    def none_is_made() -> Iterator[CalendarFile]:
        raise AssertionError("a calendar was looked at")
        yield

    assert publish_changed(folder, notes, files(), "lessons 1").written == 2
    again = publish_changed(folder, notes, none_is_made(), "lessons 1")
    assert (again.written, again.kept, again.removed) == (0, 2, 0)
    other = publish_changed(folder, notes, files(), "lessons 2")
    assert (other.written, other.kept, other.removed) == (0, 2, 0), "looked at, and the same"
    assert publish_changed(folder, notes, none_is_made(), "lessons 2").kept == 2
    folder.remove("index.json")
    assert publish_changed(folder, notes, files(), "lessons 2").written == 2, "another folder than was noted"


def test_calendars_of_which_one_failed_are_looked_at_again(tmp_path: Path):
    folder, notes = Folder(tmp_path / "target"), Folder(tmp_path / "notes")
    files = list(calendar_files(dated((MONDAY, 540, 31, "8Ma1", "11")), {31: "Hall"}, LONDON, "s"))
    broken = replace(files[0], make=lambda: (_ for _ in ()).throw(ValueError("no calendar")))
    assert publish_changed(folder, notes, iter([broken, files[1]]), "lessons 1").failed == (files[0].name,)
    assert publish_changed(folder, notes, iter(files), "lessons 1").written == 1


def test_a_picture_is_drawn_once_and_again_when_what_it_shows_has_changed_or_it_is_lost(tmp_path: Path):
    folder, drawn = Folder(tmp_path), list[str]()

    def picture(digest: str) -> dict[str, Picture]:
        return {"week": Picture(digest, lambda: drawn.append(digest) or digest.encode())}

    for day, digest in ((1, "a"), (2, "a"), (3, "b"), (4, "b"), (5, "b")):
        if day == 5:
            (tmp_path / "2026-02-04/week.png").write_bytes(b"another")
        night = date(2026, 2, day)
        assert draw(folder, night, picture(digest)) == {"week": digest.encode()}
        assert (tmp_path / f"{night}/week.png").read_bytes() == digest.encode()
    assert drawn == ["a", "b", "b"]


HOSTILE = "Lab\r\nBEGIN:VALARM\r\n=?utf-8?q?=0d=0a?= [/a] \u202e$x$"


def test_a_name_with_line_breaks_is_one_name_and_takes_no_calendar_away(tmp_path: Path):
    rows = dated((MONDAY, 540, 31, HOSTILE, "7"), (MONDAY, 540, 32, "10[/a]Ma", "8"))
    folder = Folder(tmp_path / "c")
    done = publish(folder, calendar_files(rows, {31: HOSTILE, 32: "R2"}, LONDON, "riverside"))
    assert (done.written, done.failed) == (4, ())
    for name in ("rooms/31.ics", "rooms/32.ics", "staff/7.ics", "staff/8.ics"):
        (event,) = Calendar.from_ical(folder.read(name)).walk("VEVENT")
        assert "\r" not in event["summary"] and "\n" not in event["summary"]
        assert b"BEGIN:VALARM" not in folder.read(name).splitlines()


def test_a_calendar_that_cannot_be_made_takes_no_other_away(tmp_path: Path):
    folder = Folder(tmp_path / "c")
    rows = dated((MONDAY, 540, 31, "A", "7"))
    publish(folder, calendar_files(rows, {31: "R1"}, LONDON, "riverside"))
    before = folder.read("rooms/31.ics")
    broken = [
        replace(file, make=lambda: (_ for _ in ()).throw(ValueError("no calendar")))
        if file.name == "rooms/31.ics"
        else file
        for file in calendar_files(dated((MONDAY, 600, 31, "B", "7")), {31: "R1"}, LONDON, "riverside")
    ]
    done = publish(folder, iter(broken))
    assert done.failed == ("rooms/31.ics",) and done.written == 1 and done.removed == 0
    assert folder.read("rooms/31.ics") == before
    again = publish(folder, calendar_files(dated((MONDAY, 600, 31, "B", "7")), {31: "R1"}, LONDON, "riverside"))
    assert again.written == 1, "what failed is tried again"
