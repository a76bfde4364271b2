"""Rows of a timetable as lessons: what is one thing, whose it is, and on which dates; covers beside their lessons."""

from __future__ import annotations

from datetime import date
from typing import Any

import pandas as pd
import pytest

from isams_pipeline.datasets import LISTED_DATASETS
from isams_pipeline.rules.account import numbered
from isams_pipeline.rules.closures import closures_in_words, events_in_rooms
from isams_pipeline.rules.dated import covered, lessons_on_dates
from isams_pipeline.rules.dates import year_of
from isams_pipeline.rules.timetable import Timetable, dated_timetable
from isams_pipeline_tests.rules.test_timetable import FIRST, LAST, lesson, period_of, published, school, table

SETS = table(
    "sets",
    {"set_id": 201, "code": "8Ar", "subject_id": 4, "year_id": 7, "teacher_user_code": "U11"},
    {"set_id": 202, "code": "8ar", "subject_id": 5, "year_id": 8, "teacher_user_code": "U12"},
)
SUBJECTS = table(
    "subjects",
    {"department_id": 1, "subject_id": 4, "name": "Art"},
    {"department_id": 1, "subject_id": 5, "name": "Arabic"},
)


def on_dates(*lessons: dict[str, Any], **more: Any) -> tuple[pd.DataFrame, Timetable]:
    tables = school(lessons=list(lessons), **more)
    found, made = lessons_on_dates(numbered(tables), FIRST, LAST)
    return found[found["date"] == found["date"].min()], made


def where(found: pd.DataFrame) -> list[tuple[str, str]]:
    return sorted(zip(found["room_ids"], found["staff_ids"], strict=True))


def warned(made: Timetable, rule: str) -> list[tuple[str, str]]:
    return [(entity, identifier) for entity, identifier, found, *_ in made.exclusions.rows if found == rule]


def test_rows_of_one_code_period_and_room_are_one_lesson_with_all_teachers():
    found, _ = on_dates(lesson(1), lesson(2, teacher_user_code="U12", code="8MA1"))
    assert where(found) == [("31", "11 12")]


def test_rows_without_a_code_are_lessons_of_their_own():
    found, _ = on_dates(lesson(1, code=None), lesson(2, code=None, teacher_user_code="U12", room_id=32))
    assert where(found) == [("31", "11"), ("32", "12")] and found["lesson_id"].nunique() == 2
    both, _ = on_dates(lesson(1, code=None), lesson(2, code=None, teacher_user_code="U12"))
    assert where(both) == [("31", "11"), ("31", "12")] and both["lesson_id"].nunique() == 2


def test_an_empty_code_is_no_set_that_is_called_nan():
    nan = table("sets", {"set_id": 201, "code": "nan", "subject_id": 4, "year_id": 7})
    found, _ = on_dates(lesson(1, code=None), sets=nan)
    assert found["set_id"].isna().all()


def test_of_a_split_class_each_teacher_is_in_the_room_where_they_are():
    found, _ = on_dates(lesson(1), lesson(2, teacher_user_code="U12", room_id=32))
    assert where(found) == [("31", "11"), ("32", "12")] and len(set(found["lesson_id"])) == 1


def test_of_two_sets_of_one_code_the_teacher_tells_which_is_taught():
    found, made = on_dates(
        lesson(1, code="8Ar", teacher_user_code="u12"),
        lesson(2, code="8AR", teacher_user_code="U11", room_id=32),
        sets=SETS,
        subjects=SUBJECTS,
    )
    assert sorted(zip(found["set_id"], found["staff_ids"], strict=True)) == [(201, "11"), (202, "12")]
    assert found["lesson_id"].nunique() == 2 and warned(made, "shared_code") == []
    dated = made.dated
    assert set(zip(dated["set_id"], dated["subject"], dated["year_id"], strict=True)) == {
        (201, "Art", 7),
        (202, "Arabic", 8),
    }


def test_where_nothing_tells_two_sets_apart_neither_is_taken_and_both_are_named():
    found, made = on_dates(lesson(1, code="8Ar", teacher_user_code=None), sets=SETS, subjects=SUBJECTS)
    assert found["set_id"].isna().all() and made.dated["subject"].isna().all()
    assert warned(made, "shared_code") == [("lesson", "1")]
    assert any("set 201 and set 202" in reason for *_, reason in made.exclusions.rows)


def test_two_members_of_staff_with_one_user_code_are_told_apart_by_the_set():
    staff = table("staff", {"staff_id": 11, "user_code": "U1"}, {"staff_id": 12, "user_code": "u1"})
    links = table("set_teachers", {"set_id": 1, "link_id": 1, "staff_id": 12})
    found, _ = on_dates(lesson(1, teacher_user_code="U1"), staff=staff, set_teachers=links)
    assert where(found) == [("31", "12")]
    found, made = on_dates(lesson(1, teacher_user_code="U1"), staff=staff)
    assert where(found) == [("31", "")] and warned(made, "teacher") == warned(made, "no_teacher") == [("lesson", "1")]


def test_a_lesson_that_loses_its_room_says_so():
    _, made = on_dates(lesson(1, room_id=99))
    assert warned(made, "no_room") == [("lesson", "1")]


# --- weeks ------------------------------------------------------------------------------------------------


def test_weeks_that_no_allocation_names_are_named_and_taught_where_a_school_says_so():
    of_two = lesson(2, period_id=period_of(2, 2, 1))
    allocations = [(2025, week, 1) for week in range(36, 40)]
    tables = numbered(school(lessons=[lesson(1), of_two], allocations=allocations))
    ignored = dated_timetable(tables, first=FIRST, last=LAST)
    assert warned(ignored, "no_allocation") == [("timetable_week", "2")]
    assert set(ignored.dated["period_id"]) == {period_of(1, 2, 1)}
    taught = dated_timetable(tables, first=FIRST, last=LAST, unallocated_weeks="teach")
    per = taught.dated.groupby("period_id")["date"].agg(["min", "max", "size"])
    assert per.loc[period_of(1, 2, 1), "size"] == len(ignored.dated)
    own = set(ignored.dated["date"])
    assert own.isdisjoint(taught.dated.loc[taught.dated["period_id"] == period_of(2, 2, 1), "date"])
    for found in (ignored, taught):
        counts = found.counts["lesson"]
        assert counts.astray == [] and counts.total == sum(counts.left_out.values()) + counts.merged + counts.on_dates


def test_a_school_year_is_what_its_terms_say_wherever_it_is():
    terms = [("2026-02-02", "2026-04-10"), ("2026-07-20", "2026-12-15")]
    tables = school(terms=terms, timetables=table("timetables", published(20, start_year=2025, end_year=2025)))
    span = year_of(tables["terms"], date(2026, 11, 1))
    assert span == (date(2026, 2, 2), date(2026, 12, 15))
    dated = dated_timetable(tables, first=span[0], last=span[1]).dated
    assert dated["date"].min() < pd.Timestamp(2026, 4, 1) and dated["date"].max() > pd.Timestamp(2026, 11, 20)
    northern = school()["terms"]
    assert year_of(northern, date(2025, 11, 1)) == (date(2025, 8, 1), date(2026, 7, 31))


def test_dates_of_nothing_are_no_term_and_no_timetable():
    tables = school(terms=[("2025-09-01", "2025-12-12"), ("0001-01-01", "2026-01-01")])
    made = dated_timetable(tables, first=FIRST, last=LAST)
    assert warned(made, "term_dates") == [("term", "2")] and len(made.dated)


# --- rooms of one name ------------------------------------------------------------------------------------

ROOMS = table(
    "rooms",
    {"room_id": 31, "building_id": 4, "name": "Room 1"},
    {"room_id": 32, "building_id": 5, "name": "room 1"},
)
BUILDINGS = table("buildings", {"building_id": 4, "name": "Main"}, {"building_id": 5, "name": "Annexe", "code": "AX"})


@pytest.mark.parametrize(
    ("place", "rooms"),
    [("Room 1", (31, 32)), ("Annexe, Room 1", (32,)), ("room 1 AX", (32,)), ("Main Room 1", (31,)), ("Hall", ())],
)
def test_an_event_in_a_room_whose_name_two_buildings_have(place: str, rooms: tuple[int, ...]):
    tables = school(lessons=[lesson(1), lesson(2, room_id=32, code="8Ma2")])
    made = dated_timetable(tables, first=FIRST, last=LAST)
    event = {"event_id": 5, "start_date": made.dated["date"].iloc[0], "location": place, "all_day": True}
    out = events_in_rooms(made.dated, table("calendar_events", event), ROOMS, BUILDINGS)
    assert [identifier for _, identifier, *_ in out.rows] == (["5"] if rooms else [])
    assert all(str(room) in out.rows[0][4] for room in rooms)


# --- covers -----------------------------------------------------------------------------------------------


def dated(*rows: dict[str, Any]) -> pd.DataFrame:
    usual = {"date": pd.Timestamp(2026, 2, 2), "period_id": 1, "set_id": 201, "start": "09:00", "end": "09:55"}
    declared = LISTED_DATASETS["dated_lessons"]
    full = [{name: {**usual, **row}.get(name) for name in declared.names} for row in rows]
    frame = pd.DataFrame({name: [row[name] for row in full] for name in declared.names})
    return frame.astype({n: t for n, t in declared.empty().dtypes.items() if n != "date"}).assign(
        row=range(1, len(rows) + 1)
    )


def test_a_cover_takes_its_lessons_place_on_that_date_only():
    other = {"date": pd.Timestamp(2026, 2, 9)}
    lessons = dated(
        {"lesson_id": 1, "kind": "Scheduled"},
        {"lesson_id": 1, "kind": "Scheduled", **other},
        {"lesson_id": 2, "kind": "Scheduled", "set_id": 202},
        {"lesson_id": 7, "kind": "RoomCover"},
    )
    split = covered(lessons)
    assert split.kept["row"].tolist() == [2, 3, 4] and split.excluded["row"].tolist() == [1]


def test_a_room_cover_and_a_staff_cover_of_one_lesson_are_one():
    lessons = dated(
        {"lesson_id": 1, "kind": "Scheduled", "room_ids": "31", "staff_ids": "11"},
        {"lesson_id": 7, "kind": "RoomCover", "room_ids": "32", "staff_ids": "11"},
        {"lesson_id": 8, "kind": "StaffCover", "room_ids": "31", "staff_ids": "12"},
    )
    split = covered(lessons)
    assert list(split.kept[["room_ids", "staff_ids"]].itertuples(index=False, name=None)) == [("32", "12")]
    assert [rule for _, _, rule, *_ in split.said.rows] == ["cover"]


def test_a_cover_that_names_no_group_stands_beside_and_is_said():
    lessons = dated(
        {"lesson_id": 1, "kind": "Scheduled"}, {"lesson_id": 7, "kind": "InvigilationCover", "set_id": None}
    )
    split = covered(lessons)
    assert len(split.kept) == 2 and [identifier for _, identifier, *_ in split.said.rows] == ["7"]


def test_what_a_cover_leaves_empty_is_the_lessons():
    lessons = dated(
        {"lesson_id": 1, "kind": "Scheduled", "room_ids": "31", "staff_ids": "11"},
        {"lesson_id": 7, "kind": "RoomCover", "room_ids": "32"},
        {"lesson_id": 2, "kind": "Scheduled", "set_id": 202, "room_ids": "33", "staff_ids": "13"},
        {"lesson_id": 8, "kind": "StaffCover", "set_id": 202, "staff_ids": "14"},
    )
    found = covered(lessons).kept[["room_ids", "staff_ids"]]
    assert list(found.itertuples(index=False, name=None)) == [("32", "11"), ("33", "14")]


def test_a_cover_of_a_group_that_has_two_lessons_then_stands_beside_both():
    lessons = dated(
        {"lesson_id": 1, "kind": "Scheduled"},
        {"lesson_id": 2, "kind": "Scheduled"},
        {"lesson_id": 7, "kind": "RoomCover"},
    )
    split = covered(lessons)
    assert len(split.kept) == 3
    assert [(identifier, rule) for _, identifier, rule, *_ in split.said.rows] == [("7", "cover")]


def test_a_cover_without_a_period_replaces_the_lesson_of_its_hours_only():
    afternoon = {"start": "14:00", "end": "14:55", "period_id": None}
    lessons = dated(
        {"lesson_id": 1, "kind": "Scheduled", "period_id": None},
        {"lesson_id": 2, "kind": "Scheduled", **afternoon},
        {"lesson_id": 7, "kind": "StaffCover", "staff_ids": "14", "period_id": None},
    )
    assert covered(lessons).kept["lesson_id"].tolist() == [2, 7]


# --- what tells sets apart, and what does not ---------------------------------------------------------------

NOT_ONE = table("sets", {"set_id": 201, "code": "8Ma1"}, {"set_id": 202, "code": "8ma1"})


def of_sets(main: dict[int, str | None]) -> pd.DataFrame:
    return NOT_ONE.assign(teacher_user_code=pd.Series([main[201], main[202]], dtype="str"))


def test_that_neither_lesson_nor_set_has_a_teacher_tells_nothing():
    sets = of_sets({201: "U11", 202: None})
    found, made = on_dates(lesson(1, code="8Ma1", teacher_user_code=None), sets=sets)
    assert found["set_id"].isna().all() and warned(made, "shared_code") == [("lesson", "1")]


@pytest.mark.parametrize("room", [None, 99])
def test_lessons_without_a_room_are_not_beside_each_other(room: int | None):
    sets = of_sets({201: "U11", 202: "U13"})
    rows = (lesson(1, code="8Ma1", room_id=room), lesson(2, code="8Ma1", room_id=room, teacher_user_code="U99"))
    found, made = on_dates(*rows, sets=sets)
    assert len(found) == 2 and sorted(found["set_id"].fillna(0)) == [0, 201]
    assert warned(made, "shared_code") == [("lesson", "2")]


def test_a_lesson_of_another_timetable_is_not_beside_it():
    sets = of_sets({201: "U13", 202: "U12"})
    other = lesson(2, code="8Ma1", teacher_user_code="U12", status="DevelopmentTimetables", timetable_id=5)
    found, made = on_dates(lesson(1, code="8Ma1", teacher_user_code="U99"), other, sets=sets)
    assert found["set_id"].isna().all() and warned(made, "shared_code") == [("lesson", "1")]


def test_a_teaching_forms_code_that_two_forms_have_names_neither():
    forms = table(
        "teaching_forms",
        {"teaching_form_id": 1, "timetable_code": "8En", "form_id": "8X", "subject_id": 4},
        {"teaching_form_id": 2, "timetable_code": "8EN", "form_id": "8Y", "subject_id": 4},
    )
    found, made = on_dates(lesson(1, code="8En"), teaching_forms=forms, subjects=SUBJECTS)
    assert found["form_id"].isna().all() and made.dated["subject"].eq("Art").all()
    assert any("teaching form 8X and teaching form 8Y" in reason for *_, reason in made.exclusions.rows)


def test_a_timetable_that_is_for_no_day_of_the_terms_is_said():
    timetables = table("timetables", published(20, start_year=2023, end_year=2024))
    tables = school(lessons=[lesson(1)], timetables=timetables)
    made = dated_timetable(tables, first=FIRST, last=LAST)
    assert made.dated.empty and warned(made, "timetable") == [("timetable", "20")]


def test_a_closure_without_end_in_the_year_9999_closes_for_good():
    closures = table(
        "room_closures",
        {"closure_id": 1, "room_id": 31, "start": pd.Timestamp(2026, 2, 1), "end": pd.Timestamp(9999, 12, 31)},
    )
    reasons = table("room_closure_reasons")
    found = closures_in_words(numbered({"room_closures": closures})["room_closures"], reasons, ROOMS).kept
    assert found["start"].tolist() == ["2026-02-01T00:00"] and found["end"].iloc[0].startswith("9999-")
