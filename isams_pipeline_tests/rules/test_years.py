"""Year groups' names."""

import pandas as pd
import pytest
from hypothesis import given
from hypothesis import strategies as st

from isams_pipeline.config import YearRange
from isams_pipeline.rules.years import named_with_campus, year_problems

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
