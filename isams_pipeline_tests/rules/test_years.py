"""Year groups' names."""

import pandas as pd
import pytest
from hypothesis import given
from hypothesis import strategies as st

from isams_pipeline.config import YearRange
from isams_pipeline.rules.split import Exclusions
from isams_pipeline.rules.years import named_with_campus, of_other_campuses, year_problems

CAMPUSES = {"Campus 1": YearRange.parse("1-10"), "Campus 2": YearRange.parse("20-30")}


def years(*rows: tuple[int, str | None, str | None]) -> pd.DataFrame:
    return pd.DataFrame(rows, columns=["year_id", "name", "code"]).astype({"name": "str", "code": "str"})


def test_two_years_of_one_name_are_told_apart_by_their_campus():
    named = named_with_campus(years((10, "05", None), (20, "05", None)), CAMPUSES)
    assert list(named["name"]) == ["05 Campus 1", "05 Campus 2"]
    assert list(named["campus"]) == ["Campus 1", "Campus 2"]


def test_a_name_that_has_its_campus_gets_it_once():
    named = named_with_campus(years((10, "05 campus 1", None)), CAMPUSES)
    assert list(named["name"]) == ["05 campus 1"]


def test_a_campus_named_like_a_part_of_a_word_is_still_added():
    campuses = {"A": YearRange.parse("1-10"), "2": YearRange.parse("20-30")}
    assert list(named_with_campus(years((5, "Year 5", None), (20, "20", None)), campuses)["name"]) == [
        "Year 5 A",
        "20 2",
    ]


def test_without_a_name_a_year_goes_by_code_or_number():
    assert list(named_with_campus(years((7, None, "Y7"), (8, None, None)), {})["name"]) == ["Y7", "8"]


def test_a_year_with_students_outside_every_campus():
    (problem,) = year_problems([("40", "Six", "")], ["40"], has_campuses=True)
    assert "year 40 has students but no campus" in problem
    assert year_problems([("40", "Six", "")], [], has_campuses=True) == []


def test_two_years_of_one_name_without_campuses():
    groups = [("10", "05", ""), ("20", "05", "")]
    (problem,) = year_problems(groups, ["10", "20"], has_campuses=False)
    assert "years 10 and 20" in problem and "campuses" in problem


@pytest.mark.parametrize(
    ("text", "inside", "outside"),
    [
        ("7-11", [7, 11], [6, 12]),
        ("-2..6", [-2, 0, 6], [-3, 7]),
        ("-2--1", [-2, -1], [0]),
        ("1-3, 9", [3, 9], [4]),
        (7, [7], [8]),
    ],
)
def test_year_ranges(text: object, inside: list[int], outside: list[int]):
    parsed = YearRange.parse(text)
    assert all(year in parsed for year in inside)
    assert not any(year in parsed for year in outside)


@pytest.mark.parametrize("text", ["", "seven", "7-", "11-7", "1.5"])
def test_ranges_that_are_none(text: str):
    with pytest.raises(ValueError, match=r"range|lower year"):
        YearRange.parse(text)


@given(st.integers(-5, 40), st.integers(0, 20), st.integers(-10, 70))
def test_a_range_holds_just_what_lies_between(low: int, length: int, year: int):
    assert (year in YearRange.parse(f"{low}..{low + length}")) == (low <= year <= low + length)


CAMPUS_NAMES = {"1": YearRange.parse("1-5"), "Campus 2": YearRange.parse("10-12"), "Upper North": YearRange.parse("20")}


@pytest.mark.parametrize(
    ("year", "name", "becomes", "other"),
    [
        (1, "Year 1", "Year 1 1", None),  # the 1 is the year's own
        (2, "Year 2 (1)", "Year 2 (1)", None),
        (10, "05 (Campus 2)", "05 (Campus 2)", None),
        (10, "Campus 2: 05", "Campus 2: 05", None),
        (11, "05", "05 Campus 2", None),
        (1, "05 Campus 2", "05 Campus 2", "Campus 2"),
        (12, "05 upper north", "05 upper north", "Upper North"),
        (20, "Upper North 05", "Upper North 05", None),
        (1, "Upper North 05", "Upper North 05", "Upper North"),
        (10, "Campus 2", "Campus 2 Campus 2", None),  # nothing is left that says which year
    ],
)
def test_a_name_carries_its_campus_or_it_does_not(year: int, name: str, becomes: str, other: str | None):
    (row,) = named_with_campus(years((year, name, None)), CAMPUS_NAMES).to_dict("records")
    assert row["name"] == becomes
    assert (None if pd.isna(row["other_campus"]) else row["other_campus"]) == other


def test_a_name_that_carries_another_campus_is_reported():
    out = Exclusions()
    named = named_with_campus(years((1, "05 Campus 2", None), (2, "06", None)), CAMPUS_NAMES)
    assert list(out.take("year_group", of_other_campuses(named), "year_id")["year_id"]) == [1, 2]
    assert [(entity, identifier, rule) for entity, identifier, rule, *_ in out.rows] == [
        ("year_group", "1", "other_campus")
    ]


def test_years_of_two_campuses_with_one_name_block():
    groups = [("1", "05 Campus 2", "1"), ("10", "05 campus 2", "Campus 2")]
    (problem,) = year_problems(groups, ["1", "10"], has_campuses=True)
    assert "years 1 and 10 of several campuses have the same name" in problem


def test_names_are_put_to_their_own_years_whatever_the_rows_are_called():
    """Rows that were filtered, or are in another order, keep their index; names go by row."""
    given_ = years((10, "05", None), (20, "06", None), (21, None, "Y7")).iloc[[2, 0, 1]]
    named = named_with_campus(given_, CAMPUSES)
    assert list(zip(named["year_id"], named["name"], named["campus"], strict=True)) == [
        (21, "Y7 Campus 2", "Campus 2"),
        (10, "05 Campus 1", "Campus 1"),
        (20, "06 Campus 2", "Campus 2"),
    ]
    assert list(named.index) == [2, 0, 1] and {str(named[name].dtype) for name in ("name", "campus")} == {"str"}


def test_of_several_campuses_that_a_name_may_carry_the_longest_counts():
    campuses = {"North": YearRange.parse("1-10"), "North Lower": YearRange.parse("20-30")}
    named = named_with_campus(years((20, "Seven North Lower", None), (21, "North Lower Eight", None)), campuses)
    assert list(named["name"]) == ["Seven North Lower", "North Lower Eight"]
    assert named["other_campus"].isna().all()


def test_a_year_that_carries_another_campus_keeps_its_name_and_says_which():
    named = named_with_campus(years((20, "Campus 1 Seven", None), (30, "Eight", None)).iloc[::-1], CAMPUSES)
    assert list(named["name"]) == ["Eight Campus 2", "Campus 1 Seven"]
    assert list(named["other_campus"].fillna("")) == ["", "Campus 1"]
    split = of_other_campuses(named)
    assert [str(reason) for reason in split.noted["reason"]] == [
        "it is in Campus 2 by `campuses`, but its name carries Campus 1; correct one of the two"
    ]
