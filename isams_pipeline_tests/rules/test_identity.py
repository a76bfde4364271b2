"""Which pupil a row means: by number, by school code, by both."""

from __future__ import annotations

from typing import Any

import pandas as pd
import pytest

from isams_pipeline.rules.identity import of_pupils, other_pupils, other_staff, shared_codes
from isams_pipeline.rules.references import Lookup, Together, shared_keys
from isams_pipeline.rules.split import Exclusions
from isams_pipeline_tests.rules.test_contacts import frame_of, numbered_of

ROLL = frame_of(
    "pupils",
    {"pupil_id": 101, "school_id": "1000000101"},
    {"pupil_id": 102, "school_id": "1000000102"},
    {"pupil_id": 103, "school_id": "1000000109"},
    {"pupil_id": 104, "school_id": "1000000109"},
    {"pupil_id": 105},
)


@pytest.mark.parametrize(
    ("number", "text", "means"),
    [
        (101, "1000000101", 101),
        (101, None, 101),
        (None, "1000000102", 102),
        (901, "1000000102", 102),  # who came back has a new number
        (105, "1000000777", 105),  # a code that nobody has says nothing
        (101, "1000000102", "two different students"),
        (None, "1000000109", "several students have its school code"),
        (103, "1000000109", 103),
        (901, None, "not on the current roll"),
        (None, None, "not on the current roll"),
    ],
)
def test_a_row_means_a_pupil_or_nobody(number: int | None, text: str | None, means: Any):
    row = {"member_id": 1, "set_id": 201, "pupil_id": number, "school_id": text}
    split = of_pupils(numbered_of("set_members", row), ROLL)
    if isinstance(means, int):
        assert split.kept["pupil_id"].tolist() == [means] and split.excluded.empty
    else:
        assert split.kept.empty and means in split.excluded["reason"].iloc[0]


@pytest.mark.parametrize(
    ("rows", "found"),
    [
        ([{"pupil_id": 9001 + number} for number in range(5)], "none of the 5 rows"),
        ([{"pupil_id": 9001 + number} for number in range(4)], None),  # a few are a school's own mistakes
        ([{"pupil_id": 9001 + number} for number in range(5)] + [{"pupil_id": 105}], None),
        ([{"school_id": "1000000101"}] * 5, None),
        ([{"school_id": "1000000777"}] * 5, "none of the 5 rows"),
        ([{"pupil_id": 101, "school_id": "1000000777"}] * 5, "5 of 5 rows"),
    ],
)
def test_links_of_which_none_or_few_mean_this_schools_pupils_are_a_fault(rows: list[Any], found: str | None):
    members = frame_of("set_members", *({"member_id": at, "set_id": 1, **row} for at, row in enumerate(rows, 1)))
    problems = other_pupils(ROLL, {"set_members": members})
    assert len(problems) == (found is not None) and (found or "") in "".join(problems)


@pytest.mark.parametrize(
    ("wrong", "right", "is_fault"),
    [(5, 0, True), (4, 0, False), (5, 5, False), (6, 5, True), (5, 4, True), (4, 20, False)],
)
def test_most_pairs_of_number_and_code_have_to_be_others_and_five_at_least(wrong: int, right: int, is_fault: bool):
    pairs = [{"pupil_id": 101, "school_id": "1000000777"}] * wrong
    pairs += [{"pupil_id": 101, "school_id": "1000000101"}] * right
    members = frame_of("set_members", *({"member_id": at, "set_id": 1, **row} for at, row in enumerate(pairs, 1)))
    problems = other_pupils(ROLL, {"set_members": members})
    assert [f"{wrong} of {wrong + right} rows" in problem for problem in problems] == ([True] if is_fault else [])


def test_one_list_at_fault_does_not_hide_another():
    """Whether none of its rows means a pupil, or it has no school codes to tell by."""
    strangers = [{"member_id": at, "set_id": 1, "pupil_id": 9000 + at} for at in range(1, 6)]
    mixed = [{"member_id": at, "set_id": 1, "pupil_id": 101, "school_id": "1000000777"} for at in range(1, 6)]
    by_number = frame_of("set_members", *({"member_id": at, "pupil_id": 101} for at in range(5))).drop(
        columns="school_id"
    )
    lists = {
        "first": frame_of("set_members", *strangers),
        "second": by_number,
        "third": frame_of("set_members", *mixed),
    }
    problems = other_pupils(ROLL, lists)
    assert len(problems) == 2 and "rows of first" in problems[0] and "rows of third" in problems[1]


@pytest.mark.parametrize(
    ("strangers", "known", "is_fault"),
    [(5, 0, True), (4, 0, False), (9, 1, True), (8, 2, False), (4, 1, False), (5, 1, True), (0, 9, False)],
)
def test_staff_of_whom_less_than_a_fifth_is_here_are_another_schools(strangers: int, known: int, is_fault: bool):
    staff = frame_of("staff", *({"staff_id": at, "user_code": f"Mine{at}"} for at in range(20)))
    said = [f"other{at}" for at in range(strangers)] + [f"MINE{at} " for at in range(known)]
    codes = pd.Series([*said, *said, None], dtype="str")
    problems = other_staff(staff, {"lessons": codes})
    assert bool(problems) is is_fault
    if is_fault:
        assert f"of the {strangers + known} members of staff that lessons name, {known} are" in problems[0]
    assert other_staff(staff.iloc[:0], {"lessons": codes}) == [], "without staff there is nothing to compare with"


def test_links_by_number_alone_are_held_against_the_pupils_too():
    members = frame_of("set_members", *({"member_id": at, "set_id": 1, "pupil_id": 9000 + at} for at in range(6)))
    without = members.drop(columns="school_id")
    assert other_pupils(ROLL.drop(columns="school_id"), {"set_members": without})[0].startswith("none of the 6 rows")
    assert other_pupils(ROLL, {"set_members": without.assign(pupil_id=101)}) == []


def test_who_is_named_by_code_only_is_named_by_it_in_the_exclusions():
    out = Exclusions()
    row = {"member_id": 1, "set_id": 201, "school_id": "1000000777"}
    out.take("class_student", of_pupils(numbered_of("set_members", row), ROLL), ("set_id", "pupil"))
    assert [identifier for _, identifier, *_ in out.rows] == ["201:1000000777"]


def test_two_pupils_of_one_school_code_are_reported():
    out = shared_codes(ROLL)
    assert [(entity, identifier, rule) for entity, identifier, rule, *_ in out.rows] == [
        ("student", "103", "shared_code"),
        ("student", "104", "shared_code"),
    ]
    assert "student 104" in out.rows[0][4]


# --- the one look-up ------------------------------------------------------------------------------------


def test_a_key_that_several_have_is_told_apart_by_what_else_is_known_or_means_nothing():
    sets = frame_of(
        "sets", {"set_id": 201, "code": "8Ar"}, {"set_id": 202, "code": "8Ar"}, {"set_id": 203, "code": "9"}
    )
    lookup = Lookup.of(sets, "code", "set_id", known={"teacher": [{"u11"}, {"u12"}, {"u11"}]})
    assert lookup.get("9") == 203 and lookup.get("9", teacher="u99") == 203
    assert lookup.get("8Ar", teacher="u12") == 202 and lookup.get("8Ar", teacher=frozenset({"u11", "u13"})) == 201
    assert lookup.find("8Ar").is_ambiguous and lookup.find("8Ar", teacher="u99").candidates == (201, 202)
    assert lookup.find("none").candidates == () and lookup.find(None).value is None
    assert lookup.shared == {"8Ar": (201, 202)}


def test_the_same_value_twice_is_no_conflict_and_others_are_noted():
    subjects = frame_of(
        "subjects",
        {"department_id": 1, "subject_id": 4, "name": "Art"},
        {"department_id": 2, "subject_id": 4, "name": "Art"},
        {"department_id": 1, "subject_id": 5, "name": "Maths"},
        {"department_id": 2, "subject_id": 5, "name": "Sums"},
    )
    lookup = Lookup.of(subjects, "subject_id", "name")
    assert lookup.get(4) == "Art" and lookup.get(5) is None
    out = shared_keys(lookup, "subject", "name")
    assert [(entity, identifier) for entity, identifier, *_ in out.rows] == [("subject", "5")]


def test_what_belongs_together():
    links = frame_of("set_teachers", {"set_id": 1, "link_id": 1, "staff_id": 11}, {"set_id": 1, "link_id": 2})
    assert Together.of(links, "set_id", "staff_id").get(1) == {11}
