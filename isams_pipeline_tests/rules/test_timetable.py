"""The timetable on real dates: against a slow and obvious calendar, and every oddity that iSAMS may have."""

from __future__ import annotations

import re
from datetime import date, timedelta
from typing import Any

import pandas as pd
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from isams_pipeline.datasets import DATASETS
from isams_pipeline.rules.clock_times import minutes, time_in_words
from isams_pipeline.rules.closures import closures_in_words, events_in_rooms, used_while_closed
from isams_pipeline.rules.split import rows_of
from isams_pipeline.rules.timetable import Timetable, dated_timetable, rival_timetables, week_numbers

FIRST, LAST = date(2025, 8, 1), date(2026, 7, 31)
Tables = dict[str, pd.DataFrame]


def table(dataset: str, *rows: dict[str, Any]) -> pd.DataFrame:
    empty = DATASETS[dataset].empty()
    frame = pd.DataFrame(
        {
            name: pd.Series([row.get(name) for row in rows], dtype="object").astype(
                "datetime64[ms]" if "datetime" in str(empty[name].dtype) else empty[name].dtype
            )
            for name in empty.columns
        }
    )
    return frame if rows else empty


def period_of(week: int, weekday: int, nth: int) -> int:
    return week * 100 + weekday * 10 + nth


def school(
    *,
    terms: list[tuple[str, str]] | None = None,
    allocations: list[tuple[int, int, int]] | None = None,
    lessons: list[dict[str, Any]] | None = None,
    weeks: int = 2,
    **more: pd.DataFrame,
) -> Tables:
    """Two weeks of five days with two periods; term from September to December; weeks by parity."""
    terms = terms or [("2025-09-01", "2025-12-12")]
    days = [(week, weekday) for week in range(1, weeks + 1) for weekday in range(2, 7)]
    if allocations is None:
        allocations = [(year, week, 1 + week % 2) for year in (2025, 2026) for week in range(1, 55)]
    tables = {name: declaration.empty() for name, declaration in DATASETS.items()}
    tables |= {
        "terms": table(
            "terms",
            *(
                {"term_id": at, "school_year": 2025, "start_date": first, "finish_date": last}
                for at, (first, last) in enumerate(terms, start=1)
            ),
        ),
        "timetable_weeks": table(
            "timetable_weeks", *({"week_id": week, "active": True} for week in range(1, weeks + 1))
        ),
        "timetable_days": table(
            "timetable_days",
            *(
                {"day_id": week * 10 + weekday, "week_id": week, "weekday": weekday, "active": True}
                for week, weekday in days
            ),
        ),
        "timetable_periods": table(
            "timetable_periods",
            *(
                {
                    "period_id": period_of(week, weekday, nth),
                    "day_id": week * 10 + weekday,
                    "week_id": week,
                    "name": f"Period {nth}",
                    "start": f"{8 + nth:02d}:00",
                    "end": f"{8 + nth:02d}:55",
                }
                for week, weekday in days
                for nth in (1, 2)
            ),
        ),
        "week_allocations": table(
            "week_allocations",
            *(
                {"allocation_id": at, "year": year, "week": week, "week_id": of}
                for at, (year, week, of) in enumerate(allocations)
            ),
        ),
        "timetables": table("timetables", published(20)),
        "rooms": table(
            "rooms", *({"room_id": n, "building_id": 1, "name": f"Room {n}", "code": f"C{n}"} for n in (31, 32))
        ),
        "staff": table("staff", *({"staff_id": n, "user_code": f"U{n}"} for n in (11, 12))),
        "subjects": table("subjects", {"department_id": 1, "subject_id": 4, "name": "Maths"}),
        "sets": table("sets", *({"set_id": n, "code": f"8Ma{n}", "subject_id": 4, "year_id": 8} for n in (1, 2))),
        "lessons": table("lessons", *([lesson(1)] if lessons is None else lessons)),
    }
    return tables | more


def published(number: int, **more: Any) -> dict[str, Any]:
    return {"status": "PublishedTimetables", "timetable_id": number, **more}


def lesson(number: int, **more: Any) -> dict[str, Any]:
    """Set 8Ma1 in room 31 in the first period of week 1's Monday, by the teacher U11."""
    return {
        "status": "PublishedTimetables",
        "timetable_id": 20,
        "lesson_id": number,
        "code": "8Ma1",
        "teacher_user_code": "U11",
        "period_id": period_of(1, 2, 1),
        "room_id": 31,
        "set_flag": 1,
        **more,
    }


def made(tables: Tables) -> Timetable:
    return dated_timetable(tables, first=FIRST, last=LAST)


def said(timetable: Timetable, rule: str) -> list[tuple[str, str, str]]:
    return [
        (entity, identifier, severity)
        for entity, identifier, of, severity, _ in timetable.exclusions.rows
        if of == rule
    ]


# --- weeks and dates ----------------------------------------------------------------------------------------


@given(st.dates(date(1990, 1, 1), date(2060, 12, 31)))
def test_weeks_run_from_sunday_and_week_1_holds_new_year(day: date):
    number = int(week_numbers(pd.Series([pd.Timestamp(day)])).iloc[0])
    sunday = day - timedelta(days=day.isoweekday() % 7)
    first_sunday = date(day.year, 1, 1) - timedelta(days=date(day.year, 1, 1).isoweekday() % 7)
    assert number == (sunday - first_sunday).days // 7 + 1


TERMS = st.lists(
    st.tuples(st.integers(0, 330), st.integers(0, 60)).map(
        lambda pair: (str(FIRST + timedelta(days=pair[0])), str(FIRST + timedelta(days=pair[0] + pair[1])))
    ),
    min_size=1,
    max_size=4,
)
ALLOCATIONS = st.lists(
    st.tuples(st.sampled_from([2025, 2026]), st.integers(1, 54), st.integers(1, 3)), unique=True, max_size=80
)
LESSONS = st.lists(
    st.builds(
        lambda week, weekday, nth, room, code, teacher: {
            "period_id": period_of(week, weekday, nth), "room_id": room, "code": code, "teacher_user_code": teacher,
        },
        st.integers(1, 3), st.integers(1, 7), st.integers(1, 3), st.sampled_from([31, 32, 99, None]),
        st.sampled_from(["8Ma1", "8Ma2", "unknown"]), st.sampled_from(["U11", "U12", "gone"]),
    ),
    max_size=12,
)  # fmt: skip


DAYS = pd.Series(pd.date_range(FIRST, LAST))
WEEK_OF: dict[date, int] = {day.date(): int(week) for day, week in zip(DAYS, week_numbers(DAYS), strict=True)}


@given(TERMS, ALLOCATIONS, LESSONS)
def test_every_dated_lesson_is_in_term_in_an_allocated_week_and_on_its_weekday(
    terms: list[tuple[str, str]], allocations: list[tuple[int, int, int]], rows: list[dict[str, Any]]
):
    tables = school(
        terms=terms, allocations=allocations, lessons=[lesson(at, **row) for at, row in enumerate(rows, start=1)]
    )
    found = made(tables)
    periods = {row.period_id: row for row in tables["timetable_periods"].itertuples(index=False)}
    weeks_of = {(year, week, of) for year, week, of in allocations if of in {1, 2}}
    expected: set[tuple[date, int, Any, str]] = set()
    for day, week in WEEK_OF.items():
        in_term = any(first <= str(day) <= last for first, last in terms)
        for row in rows if in_term else []:
            period: Any = periods.get(row["period_id"])
            applies = period is not None and (day.year, week, period.week_id) in weeks_of
            if applies and period.day_id % 10 == day.isoweekday() % 7 + 1:
                room = row["room_id"] if row["room_id"] in {31, 32} else None
                expected.add((day, int(period.period_id), room, row["code"]))
    dated = found.dated
    got = [
        (row.date.date(), int(row.period_id), None if pd.isna(row.room_id) else int(row.room_id), row.code)
        for row in rows_of(dated)
    ]
    assert set(got) == expected and len(got) == len(expected), "nothing is missing, nothing is there twice"
    assert list(dated["date"]) == sorted(dated["date"])
    no_date = {identifier for _, identifier, severity in said(found, "period") if severity == "excluded"}
    assert no_date == {str(at) for at, row in enumerate(rows, start=1) if row["period_id"] not in periods}


@given(LESSONS)
def test_a_room_with_two_things_at_once_is_as_the_source_has_it_and_reported(rows: list[dict[str, Any]]):
    found = made(school(lessons=[lesson(at, **row) for at, row in enumerate(rows, start=1)]))
    held: dict[tuple[Any, Any, int], set[str]] = {}
    for row in found.dated.dropna(subset=["room_id"]).itertuples(index=False):
        held.setdefault((row.room_id, row.date, row.start), set()).add(row.code)
    double = {str(room) for (room, _, _), codes in held.items() if len(codes) > 1}
    assert {identifier for _, identifier, _ in said(found, "double_booked")} == double


def test_a_long_thing_counts_against_all_that_it_covers():
    tables = school(lessons=[lesson(1), lesson(2, period_id=period_of(1, 2, 2), code="8Ma2")])
    periods = tables["timetable_periods"]
    periods.loc[periods["period_id"] == period_of(1, 2, 1), "end"] = "12:00"
    assert said(made(tables), "double_booked") == [("room", "31", "warning")]


def test_overlapping_terms_count_their_common_days_once():
    found = made(school(terms=[("2025-09-01", "2025-10-10"), ("2025-10-01", "2025-10-31")]))
    assert found.dated["date"].is_unique
    assert said(found, "terms_overlap") == [("term", "2", "warning")]


def test_a_term_that_ends_before_it_starts_is_said():
    found = made(school(terms=[("2025-12-01", "2025-09-01"), ("2025-10-01", "2025-10-31")]))
    assert said(found, "term_dates") == [("term", "1", "excluded")] and found.dated["date"].dt.month.eq(10).all()


def test_a_date_without_an_allocation_has_no_lessons_and_is_named():
    found = made(school(terms=[("2025-09-01", "2025-09-12")], allocations=[(2025, 36, 1)]))
    assert found.unallocated == [date(2025, 9, day) for day in (8, 9, 10, 11, 12)]


def test_an_allocation_to_a_week_that_is_gone_is_said():
    found = made(school(allocations=[(2025, 36, 1), (2025, 37, 9)]))
    assert said(found, "reference") == [("week_allocation", "1", "excluded")]


def test_several_week_sets_apply_at_once():
    found = made(
        school(
            allocations=[(2025, 36, 1), (2025, 36, 2)],
            lessons=[lesson(1), lesson(2, period_id=period_of(2, 2, 1), room_id=32, code="8Ma2")],
        )
    )
    assert sorted(found.dated["code"]) == ["8Ma1", "8Ma2"] and len(set(found.dated["date"])) == 1


def test_the_week_of_new_year_has_a_number_in_each_year():
    found = made(
        school(
            terms=[("2025-12-29", "2026-01-05")],
            allocations=[(2025, 53, 1), (2026, 1, 1)],
            lessons=[lesson(1), lesson(2, period_id=period_of(1, 6, 1), code="8Ma2")],
        )
    )
    assert [(str(row.date.date()), row.code) for row in rows_of(found.dated)] == [
        ("2025-12-29", "8Ma1"),
        ("2026-01-02", "8Ma2"),
    ]


def test_wall_time_stays_when_clocks_change():
    found = made(school(terms=[("2025-10-01", "2025-11-30")]))
    assert found.dated["start"].eq(9 * 60).all() and len(found.dated) > 2


# --- what stands in it --------------------------------------------------------------------------------------


def test_co_taught_rows_are_one_lesson_with_both_teachers():
    found = made(school(lessons=[lesson(1, teacher_user_code="U12"), lesson(2, teacher_user_code="u11")]))
    assert found.dated["staff_ids"].eq("11 12").all() and found.dated["date"].is_unique


def test_unknown_rooms_teachers_and_groups_stay_without_what_is_unknown():
    found = made(school(lessons=[lesson(1, room_id=99, teacher_user_code="gone", code="gone")]))
    row = found.dated.iloc[0]
    assert pd.isna(row["room_id"]) and row["staff_ids"] == "" and pd.isna(row["subject"]) and row["code"] == "gone"
    for rule in ("room", "teacher", "group"):
        assert said(found, rule) == [("lesson", "1", "warning")]


@pytest.mark.parametrize(("start", "end"), [("10:00", "09:00"), ("10:00", "10:00"), ("ten", "11:00"), ("10:00", None)])
def test_a_period_that_makes_no_sense_holds_nothing(start: str, end: str | None):
    tables = school()
    periods = tables["timetable_periods"]
    periods.loc[periods["period_id"] == period_of(1, 2, 1), ["start", "end"]] = [start, end]
    found = made(tables)
    assert found.dated.empty and ("period", str(period_of(1, 2, 1)), "excluded") in said(found, "period")


def test_the_set_flag_tells_sets_from_forms_under_either_name():
    forms = table("teaching_forms", {"teaching_form_id": 1, "form_id": "8X", "timetable_code": "8Ma1", "subject_id": 5})
    subjects = table(
        "subjects",
        {"department_id": 1, "subject_id": 4, "name": "Maths"},
        {"department_id": 1, "subject_id": 5, "name": "PSHE"},
    )
    for row, subject in (
        ({"set_flag": 1}, "Maths"),
        ({"set_flag": 0}, "PSHE"),
        ({"set_flag": None, "set_flag_earlier": 0}, "PSHE"),
        ({"set_flag": None}, "Maths"),
    ):
        found = made(school(lessons=[lesson(1, **row)], teaching_forms=forms, subjects=subjects))
        assert found.dated["subject"].eq(subject).all(), row


def test_meetings_year_schedules_and_tutorials_are_in_it():
    where = {"status": "PublishedTimetables", "timetable_id": 20, "room_id": 32}
    found = made(
        school(
            staff_meetings=table(
                "staff_meetings",
                *(
                    {
                        **where,
                        "meeting_id": n,
                        "name": "Heads",
                        "teacher_user_code": f"U{10 + n}",
                        "period_id": period_of(1, 3, 1),
                    }
                    for n in (1, 2)
                ),
            ),
            year_schedules=table(
                "year_schedules", {**where, "year_schedule_id": 1, "name": "Assembly", "period_id": period_of(1, 4, 1)}
            ),
            tutorials=table(
                "tutorials",
                {
                    **where,
                    "tutorial_id": 1,
                    "code": "T1",
                    "period_ids": f"{period_of(1, 5, 1)}; {period_of(1, 6, 1)}",
                    "teacher_user_codes": "U11; U12",
                },
            ),
        )
    )
    week = found.dated[found.dated["date"] < "2025-09-20"].drop_duplicates(["kind", "period_id"])
    assert [(row.kind, row.code, row.staff_ids) for row in week.sort_values("period_id").itertuples()] == [
        ("lesson", "8Ma1", "11"),
        ("meeting", "Heads", "11 12"),
        ("year_schedule", "Assembly", ""),
        ("tutorial", "T1", "11 12"),
        ("tutorial", "T1", "11 12"),
    ]


def test_an_empty_timetable_is_empty():
    tables = school()
    tables["lessons"] = DATASETS["lessons"].empty()
    found = made(tables)
    assert found.dated.empty and not found.problems
    assert found.dated.dtypes["staff_ids"] == made(school()).dated.dtypes["staff_ids"]


@pytest.mark.parametrize(
    "years",
    [{"end_year": 2026}, {"end_year": 2026, "start_date": "2025-09-01"}, {"start_year": 2025, "end_year": 2025}],
)
def test_timetables_that_do_not_say_all_their_years(years: dict[str, Any]):
    following = published(21, start_year=2026, end_year=2026)
    found = made(school(timetables=table("timetables", published(20, **years), following)))
    assert not found.problems and len(found.dated) > 3


# --- which timetable ----------------------------------------------------------------------------------------


def covers(years: tuple[int | None, int | None], day: date) -> bool:
    """Whether a day of the school year 2025 or 2026 is one of a timetable for these years, as iSAMS's page has it."""
    start, end = years
    year = 2025 if day < date(2026, 8, 1) else 2026
    return (start is None or year >= start) and (end is None or year <= max(end - 1, start or 0))


@settings(max_examples=30)
@given(
    years=st.lists(
        st.tuples(st.none() | st.integers(2024, 2027), st.none() | st.integers(2024, 2028)), min_size=1, max_size=4
    )
)
def test_two_published_timetables_for_one_day_of_term_are_rivals(years: list[tuple[int | None, int | None]]):
    """Day by day, and the same whether the timetable is put on dates for it or not."""
    terms = [("2025-09-01", "2026-07-10"), ("2026-09-01", "2026-12-11")]
    several = [published(20 + at, start_year=start, end_year=end) for at, (start, end) in enumerate(years)]
    tables = school(terms=terms, timetables=table("timetables", *several))
    tables["terms"]["school_year"] = pd.Series([2025, 2026], dtype=tables["terms"]["school_year"].dtype)
    span = {"first": date(2025, 8, 1), "last": date(2027, 7, 31)}
    days = [date(2025, 9, 1), date(2026, 7, 10), date(2026, 9, 1)]
    expected = {
        (20 + at, 20 + later)
        for later in range(len(years))
        for at in range(later)
        if any(covers(years[at], day) and covers(years[later], day) for day in days)
    }
    found = rival_timetables(tables, **span)
    assert {tuple(map(int, re.findall(r"\d+", problem))) for problem in found} == expected
    assert found == dated_timetable(tables, **span).problems


def test_two_published_timetables_for_the_same_dates_are_a_problem():
    found = made(school(timetables=table("timetables", published(20), published(21))))
    assert len(found.problems) == 1 and "20 and 21" in found.problems[0]


def test_published_timetables_of_different_years_follow_each_other():
    years = [published(20, start_year=2024, end_year=2025), published(21, start_year=2025, end_year=2026)]
    found = made(
        school(timetables=table("timetables", *years), lessons=[lesson(1), lesson(2, timetable_id=21, code="8Ma2")])
    )
    assert not found.problems
    assert set(found.dated.loc[found.dated["date"] >= "2025-09-01", "code"]) == {"8Ma2"}


def test_a_development_timetable_takes_over_from_its_start_date():
    development = {"status": "DevelopmentTimetables", "timetable_id": 30, "start_date": "2025-11-01"}
    found = made(
        school(
            timetables=table("timetables", published(20), development),
            lessons=[lesson(1), lesson(1, status="DevelopmentTimetables", timetable_id=30, code="8Ma2")],
        )
    )
    before = found.dated["date"] < "2025-11-01"
    assert set(found.dated.loc[before, "code"]) == {"8Ma1"} and set(found.dated.loc[~before, "code"]) == {"8Ma2"}


def test_a_development_timetable_without_a_date_or_lessons_does_not_take_over():
    for development in ({"start_date": None}, {"start_date": "2025-11-01"}):
        rows = table(
            "timetables", published(20), {"status": "DevelopmentTimetables", "timetable_id": 30, **development}
        )
        found = made(school(timetables=rows))
        assert set(found.dated["code"]) == {"8Ma1"} and len(said(found, "timetable")) == 1


# --- suspensions, closures, events --------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("more", "stays"),
    [
        ({}, False),
        ({"period_id": period_of(1, 2, 1)}, False),
        ({"period_id": period_of(1, 2, 2)}, True),
        ({"year_id": 8}, False),
        ({"year_id": 9}, True),
        ({"code": "8Ma2"}, True),
    ],
)
def test_a_suspension_takes_out_what_it_names(more: dict[str, Any], stays: bool):
    monday = next(iter(made(school()).dated["date"]))
    rows = table("lesson_suspensions", {"suspension_id": 1, "start": monday, "end": monday, **more})
    found = made(school(lesson_suspensions=rows))
    assert (monday in set(found.dated["date"])) is stays
    assert bool(said(found, "suspended")) is not stays


def test_a_suspension_of_hours_leaves_the_others():
    monday = next(iter(made(school()).dated["date"]))
    for start, stays in (("10:00", True), ("09:30", False)):
        at = pd.Timestamp(f"{monday.date()}T{start}")
        rows = table("lesson_suspensions", {"suspension_id": 1, "start": at, "end": at + pd.Timedelta(hours=1)})
        assert (monday in set(made(school(lesson_suspensions=rows)).dated["date"])) is stays


def test_a_room_closed_for_a_year_is_told_of_and_its_lessons_stay():
    tables = school(
        room_closures=table(
            "room_closures",
            {"closure_id": 1, "room_id": 31, "reason_id": 1, "start": "2025-08-01", "end": "2026-07-31"},
            {"closure_id": 2, "room_id": 99, "start": "2025-08-01"},
            {"closure_id": 3, "room_id": 31, "start": "2025-08-01", "end": "2025-07-01"},
        ),
        room_closure_reasons=table("room_closure_reasons", {"reason_id": 1, "name": "Works"}),
    )
    found = made(tables)
    split = closures_in_words(tables["room_closures"], tables["room_closure_reasons"], tables["rooms"])
    closures = split.kept
    assert closures.to_dict("records") == [
        {"room_id": 31, "start": "2025-08-01T00:00", "end": "2026-08-01T00:00", "reason": "Works"}
    ]
    used = used_while_closed(found.dated, closures)
    count = len(found.dated)
    assert count and [row[:3] for row in (*split.said.rows, *used.rows)] == [
        ("room_closure", "2", "room"),
        ("room_closure", "3", "dates"),
        ("room", "31", "closed"),
    ]
    assert f"on {count} occasions" in used.rows[-1][-1]


def test_a_suspension_that_ends_at_midnight_leaves_the_next_day():
    monday = next(iter(made(school()).dated["date"]))
    start = pd.Timestamp(f"{(monday - pd.Timedelta(days=1)).date()}T13:00")
    rows = table("lesson_suspensions", {"suspension_id": 1, "start": start, "end": monday})
    assert monday in set(made(school(lesson_suspensions=rows)).dated["date"])


def test_a_years_suspension_says_which_lessons_it_cannot_tell():
    monday = next(iter(made(school()).dated["date"]))
    rows = table("lesson_suspensions", {"suspension_id": 1, "start": monday, "end": monday, "year_id": 8})
    found = made(school(lessons=[lesson(1, code="unknown")], lesson_suspensions=rows))
    assert said(found, "year_unknown") == [("lesson_suspension", "1", "warning")] and monday in set(found.dated["date"])


@pytest.mark.parametrize(
    ("place", "start", "end", "all_day", "warned"),
    [
        (" room 31 ", "1900-01-01T09:30:00", "1900-01-01T10:00:00", False, True),
        ("C31", "1900-01-01T10:00:00", "1900-01-01T11:00:00", False, False),
        ("C31", None, None, True, True),
        ("Field", None, None, True, False),
        (None, None, None, True, False),
    ],
)
def test_events_where_the_timetable_has_something_are_reported(
    place: str | None, start: str | None, end: str | None, all_day: bool, warned: bool
):
    tables = school()
    found = made(tables)
    event = {"event_id": 1, "start_date": found.dated["date"].iloc[0], "location": place, "all_day": all_day}
    events = table("calendar_events", {**event, "start_time": start, "end_time": end})
    out = events_in_rooms(found.dated, events, tables["rooms"], tables["buildings"])
    assert bool(out.rows) is warned


DAYS = st.integers(0, 6).map(lambda day: pd.Timestamp("2026-02-09") + pd.Timedelta(days=day))
LESSON = st.tuples(st.sampled_from([31, 32]), DAYS, st.integers(8, 15), st.integers(1, 3))
EVENT = st.tuples(DAYS, st.none() | st.integers(0, 3), st.none() | st.integers(8, 15), st.integers(1, 4), st.booleans())


@given(st.lists(LESSON, max_size=12), EVENT)
def test_an_event_meets_just_the_lessons_that_a_person_would_count(
    lessons: list[tuple[int, pd.Timestamp, int, int]], event: tuple[pd.Timestamp, int | None, int | None, int, bool]
):
    first, more, begins, lasts, all_day = event
    dated = pd.DataFrame(
        {
            "room_id": pd.Series([room for room, *_ in lessons], dtype="Int64"),
            "date": pd.Series([day for _, day, *_ in lessons], dtype="datetime64[ms]"),
            "start": pd.Series([start * 60 for _, _, start, _ in lessons], dtype="Int64"),
            "end": pd.Series([(start + hours) * 60 for _, _, start, hours in lessons], dtype="Int64"),
        }
    )
    last = first if more is None else first + pd.Timedelta(days=more)
    row = {"event_id": 1, "start_date": first, "end_date": None if more is None else last, "location": "C31"}
    if begins is not None:
        ends = time_in_words((begins + lasts) * 60)
        row |= {"start_time": f"1900-01-01T{begins:02d}:00:00", "end_time": f"1900-01-01T{ends}:00"}
    tables = school()
    events = table("calendar_events", row | {"all_day": all_day})
    out = events_in_rooms(dated, events, tables["rooms"], tables["buildings"])
    timed = begins is not None and not all_day
    met = [
        (room, day)
        for room, day, start, hours in lessons
        if room == 31
        and first <= day <= last
        and not (timed and begins is not None and (start >= begins + lasts or start + hours <= begins))
    ]
    said = [text for *_, text in out.rows]
    assert said == ([f"it is in room 31, which the timetable uses {len(met)} times then"] if met else [])


@given(st.integers(0, 24 * 60 - 1))
def test_times_of_day_come_back(at: int):
    for text in (time_in_words(at), f"{time_in_words(at)}:00", f"1900-01-01T{time_in_words(at)}:00.000"):
        assert minutes(text) == at


@pytest.mark.parametrize("text", ["", "9", "24:00", "09:60", "nine", None, "9:5"])
def test_what_is_no_time_of_day(text: str | None):
    assert minutes(text) is None
