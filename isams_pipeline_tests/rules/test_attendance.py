"""Marks: what a register's record means."""

from __future__ import annotations

from datetime import datetime
from typing import Any

import pandas as pd
import pytest
from hypothesis import given
from hypothesis import strategies as st

from isams_pipeline.datasets import ATTENDANCE
from isams_pipeline.rules.attendance import DFE_MARKS, MARK_COLUMNS, marks, of_students, one_per_student
from isams_pipeline.rules.split import rows_of

NOW = datetime(2026, 2, 10, 11)
CLEAR: dict[str, Any] = {
    "register_id": 1,
    "position": 1,
    "school_id": "100",
    "registered": True,
    "present": False,
    "late": False,
    "minutes_late": None,
    "out_of_school": False,
    "future_absence": False,
    "left_at": None,
    "present_code": None,
    "absence_code": None,
    "absence_name": None,
    "government_code": None,
}


def records(*given: dict[str, Any]) -> pd.DataFrame:
    empty = ATTENDANCE.empty()
    rows = [CLEAR | row for row in given]
    frame = pd.DataFrame({name: pd.Series([r[name] for r in rows]).astype(empty[name].dtype) for name in empty.columns})
    return frame.assign(row=range(1, len(frame) + 1))


def none() -> pd.DataFrame:
    return ATTENDANCE.empty().assign(row=[])


def mark(session: str = "AM", **row: Any) -> dict[str, str | None]:
    frame = marks(records(row).assign(student_id="7"), session=session, date="2026-02-10", now=NOW)
    (found,) = frame.astype("object").where(frame.notna(), None).to_dict("records")
    return {str(name): value for name, value in found.items()}


PRESENT = {"present": True, "present_code": "/"}
ILL = {"absence_code": "ILL", "absence_name": "Unwell", "government_code": "I"}


@pytest.mark.parametrize(
    ("row", "expected"),
    [
        (PRESENT, {"mark": "/", "present": "true", "late": "false", "registered": "true"}),
        (PRESENT | {"late": True, "minutes_late": 7}, {"mark": "L", "present": "true", "minutes_late": "7"}),
        (PRESENT | {"late": True}, {"mark": "L", "late": "true", "minutes_late": None}),
        (PRESENT | {"late": True, "government_code": "u"}, {"mark": "U", "present": "true", "late": "true"}),
        (PRESENT | {"absence_code": "U"}, {"mark": "U"}),
        (PRESENT | {"present_code": "l"}, {"mark": "L"}),
        (ILL | {"government_code": "c1"}, {"mark": "C1", "present": "false"}),
        (PRESENT | {"minutes_late": 3}, {"mark": "/", "late": "false", "minutes_late": None}),
        (PRESENT | {"present_code": None}, {"mark": "/"}),
        (PRESENT | {"present_code": "house"}, {"mark": "/"}),
        (ILL, {"mark": "I", "present": "false", "absence_code": "ILL", "absence_name": "Unwell"}),
        (ILL | {"government_code": "-"}, {"mark": None, "present": "false", "absence_code": "ILL"}),
        ({"registered": True}, {"mark": None, "present": "false", "registered": "true"}),
        ({"registered": False}, {"mark": None, "present": None, "late": None, "registered": "false"}),
        (ILL | {"registered": False, "future_absence": True}, {"mark": "I", "present": "false", "registered": "false"}),
        ({"out_of_school": True}, {"present": "false", "absence_name": "Off site"}),
        (
            {"out_of_school": True, "absence_code": "TRIP", "absence_name": "Trip", "government_code": "V"},
            {"mark": "V", "present": "false", "absence_code": "TRIP", "absence_name": "Trip"},
        ),
        (PRESENT | {"registered": False}, {"mark": None, "present": None, "registered": "false"}),
        (ILL | PRESENT | {"registered": False}, {"mark": "I", "present": "false"}),
        (ILL | {"government_code": "/"}, {"mark": None, "present": "false"}),
        (PRESENT | {"out_of_school": True}, {"present": "false", "absence_name": "Off site"}),
        (PRESENT | {"left_at": NOW}, {"mark": "/", "present": "false", "absence_name": "Left the site"}),
        (PRESENT | {"left_at": datetime(2026, 2, 10, 11, 1)}, {"present": "true", "absence_name": None}),
        (
            {"registered": None, "present": None, "late": None, "out_of_school": None, "future_absence": None},
            {"present": None, "registered": "false"},
        ),
    ],
)
def test_a_record_becomes_a_mark(row: dict[str, Any], expected: dict[str, str | None]):
    found = mark(**row)
    assert {name: found[name] for name in expected} == expected
    assert list(found) == list(MARK_COLUMNS)


def test_an_afternoon_has_its_own_mark_for_present():
    assert mark("PM", **PRESENT)["mark"] == "\\" and mark("AM", **(PRESENT | {"present_code": "\\"}))["mark"] == "/"


def test_who_is_not_in_the_nightly_export_is_told_of():
    split = of_students(
        records({"school_id": "100"}, {"school_id": "200"}),
        pd.DataFrame({"school_id": ["100", "300"], "student_id": ["7", "9"]}),
    )
    assert split.kept["student_id"].tolist() == ["7"] and split.excluded["school_id"].tolist() == ["200"]
    assert split.excluded["rule"].tolist() == ["not_in_export"]


def test_a_school_code_that_two_students_have_means_neither():
    students = pd.DataFrame({"school_id": ["100", "100"], "student_id": ["7", "9"]})
    split = of_students(records({"school_id": "100"}), students)
    assert split.kept.empty and split.excluded["reason"].tolist() == ["several students have its school code"]


@pytest.mark.parametrize(
    ("rows", "counts"),
    [
        ([{"registered": False}, {"registered": True}], 2),
        ([{"future_absence": True}, {}], 2),
        ([{"registered": False}, {"registered": False, "future_absence": True}], 2),
        ([{"registered": False}, {"registered": False, "absence_code": "I"}], 2),
        ([{"registered": False, "future_absence": True}, {"registered": True}], 2),
        ([{}, {"present": True}], 1),
        ([{"register_id": 9}, {"register_id": 3}], 2),
    ],
)
def test_of_several_records_one_counts(rows: list[dict[str, Any]], counts: int):
    given = records(*({"position": at, **row} for at, row in enumerate(rows, start=1)))
    split = one_per_student(given.assign(student_id="7"))
    assert split.kept["position"].tolist() == [counts] and len(split.excluded) == len(rows) - 1
    assert set(split.excluded["into"]) == {counts}
    assert split.excluded["reason"].str.contains("of register").all()


def test_a_record_says_whose_it_is_and_of_when():
    frame = marks(
        records({"school_id": "100"}, {"school_id": "200"}).assign(student_id=["7", "9"], row=[4, 5]),
        session="PM",
        date="2026-02-10",
        now=NOW,
    )
    assert frame[["date", "session", "student_id", "school_id"]].to_numpy().tolist() == [
        ["2026-02-10", "PM", "7", "100"],
        ["2026-02-10", "PM", "9", "200"],
    ]
    empty = marks(none().assign(student_id=[]), session="AM", date="2026-02-10", now=NOW)
    assert list(empty) == list(MARK_COLUMNS) and {str(kind) for kind in empty.dtypes[4:]} == {"str"}


def test_who_is_not_registered_is_absent_by_any_of_three_signs():
    for sign in ({"out_of_school": True}, {"future_absence": True}, {"absence_code": "TRIP"}):
        assert mark(registered=False, **sign)["present"] == "false"
    assert mark(registered=False, absence_code="TRIP")["absence_name"] is None
    assert mark(registered=False, out_of_school=True)["absence_name"] == "Off site"
    assert mark(registered=True, present=True, out_of_school=None)["present"] == "true"


def test_records_keep_their_places_whatever_their_index():
    """A school code is compared without case; who is unknown, and who has none, is said each by its own record."""
    given = records({"school_id": "b1"}, {"school_id": "A1"}, {"school_id": None}, {"school_id": "zz"})
    given.index = pd.Index([30, 10, 20, 5])
    students = pd.DataFrame({"school_id": ["a1", "B1"], "student_id": ["7", "9"]})
    split = of_students(given, students)
    assert split.kept["student_id"].tolist() == ["9", "7"] and str(split.kept["student_id"].dtype) == "str"
    assert split.excluded["row"].tolist() == [3, 4]
    assert split.excluded["reason"].tolist() == ["not in the last nightly export"] * 2


def test_of_several_records_each_other_one_says_which_counts():
    rows = [{"register_id": 9, "position": 1}, {"register_id": 3, "position": 2}, {"register_id": 3, "position": 1}]
    given = records(*rows, {"register_id": 7, "school_id": "2"}).assign(student_id=["7", "7", "7", "1"])
    given.index = pd.Index([8, 6, 4, 2])
    split = one_per_student(given)
    assert split.kept["row"].tolist() == [3, 4]
    assert split.excluded["row"].tolist() == [1, 2] and split.excluded["into"].tolist() == [3, 3]
    assert split.excluded["rule"].tolist() == ["several_records"] * 2
    assert split.excluded["reason"].tolist() == ["the record of register 3 counts"] * 2


FLAGS = st.fixed_dictionaries(
    {
        "school_id": st.sampled_from(["1", "2", "3"]),
        **{name: st.booleans() for name in ("registered", "present", "late", "out_of_school", "future_absence")},
        "minutes_late": st.none() | st.integers(0, 300),
        "absence_code": st.sampled_from([None, "I", "TRIP"]),
        "government_code": st.sampled_from([None, "I", "V", "-", "??", "u"]),
        "left_at": st.none() | st.datetimes(datetime(2026, 2, 10), datetime(2026, 2, 11)),
    }
)


@given(st.lists(FLAGS, max_size=12), st.sampled_from(["AM", "PM"]))
def test_nobody_is_lost_and_marks_agree_with_themselves(rows: list[dict[str, Any]], session: str):
    given_records = records(*({"position": at, **row} for at, row in enumerate(rows))) if rows else none()
    split = one_per_student(given_records.assign(student_id=given_records["school_id"]))
    assert sorted(split.kept["school_id"]) == sorted(set(given_records["school_id"]))
    assert len(split.kept) + len(split.excluded) == len(rows)
    frame = marks(split.kept.assign(student_id="x"), session=session, date="2026-02-10", now=NOW)
    for row in rows_of(frame):
        assert pd.isna(row.mark) or row.mark in DFE_MARKS
        assert row.late != "true" or row.mark in {"L", "U"}
        assert pd.isna(row.minutes_late) or row.late == "true"
        assert row.present in {"true", "false"} or (pd.isna(row.mark) and row.registered == "false")
