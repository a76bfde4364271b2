"""Who has left, as far as the source says so; and a year's tables moved up."""

from __future__ import annotations

from datetime import date, timedelta
from typing import Any

import pandas as pd
import pytest
from hypothesis import given
from hypothesis import strategies as st

from isams_pipeline.config import YearRange
from isams_pipeline.rules.leaving import (
    YearEnd,
    british_year_end,
    called_former,
    in_last_year,
    last_year_groups,
    moved_up,
    parts_of,
    school_years_of,
    staff_who_left,
    without_students,
    year_end,
)
from isams_pipeline.rules.year_end import next_years, turned
from isams_pipeline.sandbox.calendars import SchoolCalendar
from isams_pipeline.sandbox.school import SchoolPlan
from isams_pipeline_tests.rehearsing import answer


def terms(*rows: tuple[int | None, str, str]) -> pd.DataFrame:
    return pd.DataFrame(
        {
            "term_id": pd.Series(range(len(rows)), dtype="Int64"),
            "school_year": pd.Series([year for year, _, _ in rows], dtype="Int64"),
            "start_date": pd.to_datetime([start for _, start, _ in rows]).astype("datetime64[ms]"),
            "finish_date": pd.to_datetime([finish for _, _, finish in rows]).astype("datetime64[ms]"),
        }
    )


BRITISH = [(2025, "2025-09-03", "2025-12-12"), (2025, "2026-01-06", "2026-03-27"), (2025, "2026-04-20", "2026-07-08")]
NEXT = [(2026, "2026-09-02", "2026-12-11")]
NEW_ZEALAND = [
    *((2026, "2026-02-02", "2026-04-02"), (2026, "2026-04-20", "2026-07-03")),
    *((2026, "2026-07-20", "2026-09-25"), (2026, "2026-10-12", "2026-12-18")),
]


@pytest.mark.parametrize(
    ("given", "night", "ended"),
    [
        (BRITISH, "2026-07-08", None),  # the last day itself
        (BRITISH, "2026-07-09", "2026-07-08"),
        (BRITISH, "2026-10-07", "2026-07-08"),  # 13 weeks, as nobody has entered the next
        (BRITISH, "2026-10-08", None),
        (BRITISH + NEXT, "2026-09-30", "2026-07-08"),  # four weeks into the next
        (BRITISH + NEXT, "2026-10-01", None),
        (BRITISH[:2], "2026-04-10", None),  # nobody has entered the last term yet
        (BRITISH, "2026-01-01", None),
        (NEW_ZEALAND, "2026-12-19", "2026-12-18"),
        (NEW_ZEALAND, "2026-07-10", None),
        (NEW_ZEALAND[:3], "2026-09-28", None),  # the fourth is not entered yet
        ([*NEW_ZEALAND[1:], (None, "2026-02-02", "2026-04-02")], "2026-12-19", None),  # of no year: nothing can be told
        ([], "2026-07-20", None),
    ],
)
def test_a_year_has_ended_after_its_last_term_and_for_a_season(
    given: list[tuple[int | None, str, str]], night: str, ended: str | None
):
    found = year_end([terms(*given)], date.fromisoformat(night))
    assert (found and found.last.isoformat()) == ended


def test_the_old_year_s_terms_may_come_from_an_earlier_night():
    assert year_end([terms(*NEXT)], date(2026, 9, 2)) is None
    assert year_end([terms(*NEXT), terms(*BRITISH)], date(2026, 9, 2)) is not None


def test_of_several_years_that_are_over_the_last_one_has_ended():
    """Whichever comes first, and though a term without dates, or one that ends before it begins, stands before them."""
    odd = [(2025, "NaT", "2026-07-30"), (2025, "2026-07-25", "NaT"), (2025, "2026-07-25", "2026-07-20")]
    earlier = [(year - 1, f"{int(a[:4]) - 1}{a[4:]}", f"{int(b[:4]) - 1}{b[4:]}") for year, a, b in BRITISH]
    for rows in ((*odd, *earlier, *BRITISH), (*odd, *BRITISH, *earlier)):
        assert year_end([terms(*rows)], date(2026, 7, 20)) == YearEnd(date(2025, 9, 3), date(2026, 7, 8))


def test_a_year_is_whole_from_280_days_on():
    for last, found in (("2026-06-10", date(2026, 6, 10)), ("2026-06-09", None)):
        ended = year_end([terms((2025, "2025-09-03", last))], date(2026, 7, 1))
        assert (ended and ended.last) == found


def test_terms_of_no_school_year_are_of_the_one_that_their_first_day_is_in():
    """From July on it is the new one; a term of one day is a term."""
    given = [(None, "2025-09-03", "2025-12-12"), (None, "2026-06-30", "2026-06-30"), (None, "2026-07-01", "2026-07-08")]
    spans = school_years_of([terms(*given), terms((2030, "2026-01-01", "2026-01-02"))])
    assert [(str(span.first), str(span.last)) for span in spans] == [
        ("2025-09-03", "2026-06-30"),
        ("2026-07-01", "2026-07-08"),
        ("2026-01-01", "2026-01-02"),
    ]


def test_british_schools_without_terms_have_years_from_september_to_june():
    for night in (date(2026, 7, 1), date(2026, 9, 30)):
        assert british_year_end(night) == YearEnd(date(2025, 9, 1), date(2026, 6, 30))


def test_british_schools_without_terms_end_in_june():
    found = {day for n in range(365) if british_year_end(day := date(2026, 1, 1) + timedelta(days=n)) is not None}
    assert (min(found), max(found), len(found)) == (date(2026, 7, 1), date(2026, 9, 30), 92)


def campuses(*given: str) -> list[YearRange]:
    return [YearRange.parse(text) for text in given]


@pytest.mark.parametrize(
    ("sizes", "of", "last"),
    [
        (dict.fromkeys(range(7, 14), 90), (), {13}),
        (dict.fromkeys([*range(6, 11), *range(20, 25)], 40), ("1-10", "20-30"), {10, 24}),
        # Sections of one school: its pupils move on to the next one.
        (dict.fromkeys(range(-2, 14), 30), ("-2..2", "3-8", "9-13"), {13}),
        (dict.fromkeys(range(10, 14), 50) | {14: 1}, (), {13, 14}),  # one stays on
        ({12: 100}, (), set[int]()),  # all would be leavers
        (dict.fromkeys([1, 2, 20], 40), ("1-2", "20-20"), {2}),  # a campus of one year
        (dict.fromkeys(range(1, 14), 40), ("1-6",), {13}),  # years of no campus
        ({}, (), set[int]()),
        ({7: 10, 8: 10, 9: 100, 10: 100, 11: 100, 12: 20}, (), {12}),  # a fifth of a usual year is a year
        ({7: 10, 8: 10, 9: 100, 10: 100, 11: 100, 12: 19}, (), {11, 12}),
        ({7: 40, 8: 8, 20: 40}, ("7-8", "20-20"), {8}),  # alone on its campus, and no year before it
        ({7: 40, 8: 40, 9: 40, 10: 40}, ("7-8", "9-9", "10-10"), {10}),  # alone, and pupils come up to it
    ],
)
def test_the_last_year_group_is_the_one_after_which_pupils_leave(
    sizes: dict[int, int], of: tuple[str, ...], last: set[int]
):
    assert last_year_groups(sizes, campuses(*of)) == last


@given(
    st.dictionaries(st.integers(-3, 30), st.integers(1, 200)),
    st.lists(st.sampled_from(["-3..5", "6-11", "12-30"]), unique=True),
)
def test_never_are_all_pupils_of_a_school_about_to_leave(sizes: dict[int, int], of: list[str]):
    found = last_year_groups(sizes, campuses(*of))
    assert found <= sizes.keys() and (not sizes or found < sizes.keys())


def pupils(years: dict[int, int | None]) -> pd.DataFrame:
    return pd.DataFrame(
        {
            "pupil_id": pd.Series(list(years), dtype="Int64"),
            "year_id": pd.Series(list(years.values()), dtype="Int64"),
        }
    )


def test_pupils_without_a_year_are_in_no_last_year():
    assert in_last_year(pupils({1: 7, 2: 8, 3: None}), []) == {"2"}
    assert in_last_year(pupils({1: None}), []) == set() == in_last_year(pupils({}), [])


def test_years_have_moved_up_where_most_of_those_who_stay_are_higher():
    before = pupils({n: 7 + n % 3 for n in range(30)})
    assert moved_up(before, pupils({n: 8 + n % 3 for n in range(20)}))
    assert not moved_up(before, pupils({n: (8 if n < 5 else 7) + n % 3 for n in range(30)})), "some skip a year"
    half = pupils({n: 7 + n % 3 + (n < 15) for n in range(30)})
    assert not moved_up(before, half), "half are not most"
    assert moved_up(pupils({1: 7}), pupils({1: 8}))
    assert not moved_up(before, pupils({})) and not moved_up(before, pupils(dict.fromkeys(range(30))))


def test_who_is_called_former_and_whose_date_has_come():
    links = pd.DataFrame(
        [(1, "Former"), (2, " former "), (3, "Current"), (None, None)], columns=["pupil_id", "status"]
    ).astype({"pupil_id": "Int64", "status": "str"})
    assert called_former(links) == {"1", "2"}
    staff = pd.DataFrame(
        [(1, "2026-08-31"), (2, "2026-09-02"), (3, None), (4, "1900-01-01")], columns=["staff_id", "leaving_date"]
    ).astype({"staff_id": "Int64", "leaving_date": "datetime64[ms]"})
    assert staff_who_left(staff, date(2026, 9, 1)) == {"1"}
    assert staff_who_left(staff, date(2026, 9, 2)) == {"1", "2"}, "on the day itself"


def test_a_contact_is_without_students_when_none_is_left():
    links = [("1", "a"), ("2", "a"), ("2", "b"), ("3", "c")]
    assert without_students(links, {"1"}) == {"b", "c"} and without_students(links, {"1", "2", "3"}) == set()


# --- moved up ---------------------------------------------------------------------------------------------------


def test_after_a_year_comes_the_next_at_its_campus_or_at_another_here():
    assert next_years([1, 2, 3], []) == {1: 2, 2: 3, 3: 1}
    assert next_years(range(1, 5), campuses("1-2", "3-4")) == {1: 2, 2: 3, 3: 4, 4: 3}
    assert next_years([6, 7, 20, 21], campuses("1-10", "20-30")) == {6: 7, 7: 6, 20: 21, 21: 20}


def tables(day: date = date(2026, 3, 3)) -> dict[str, pd.DataFrame]:
    years = tuple((year, f"Year {year}") for year in range(7, 12))
    plan = SchoolPlan("riverside", 50, years, subjects=2, calendar=SchoolCalendar())
    return {name: table.frame for name, table in answer(plan, day).items()}


def test_a_night_s_tables_are_moved_up_to_the_next_school_year():
    now = tables()
    found = turned(now, date(2026, 3, 3))
    assert found is not None and found.leavers == 10 and not found.knows_terms
    assert found.day == date(2026, 8, 31), "52 weeks after the first of September, the same day of the week"
    then = found.tables
    both = now["pupils"].merge(then["pupils"], on="pupil_id", suffixes=("", "_then"))
    assert len(then["pupils"]) == 40 and (both["year_id_then"] == both["year_id"] + 1).all()
    assert not set(then["sets"]["set_id"]) & set(now["sets"]["set_id"])
    assert set(then["set_members"]["pupil_id"]) <= set(then["pupils"]["pupil_id"])
    assert set(then["contact_pupils"]["pupil_id"]) <= set(then["pupils"]["pupil_id"])
    for name in then:
        assert list(then[name].columns) == list(now[name].columns), name
        assert then[name].dtypes.to_dict() == now[name].dtypes.to_dict(), name


def test_members_who_are_named_by_school_code_alone_stay_members():
    given = tables()
    members = given["set_members"]
    unnumbered = members.assign(pupil_id=pd.Series([None] * len(members), dtype="Int64"))
    found = turned({**given, "set_members": unnumbered}, date(2026, 3, 3))
    assert found is not None and len(found.tables["set_members"]) == len(members) > 0


def test_terms_that_are_entered_say_when_the_year_begins():
    found = turned(tables(date(2026, 8, 25)), date(2026, 8, 25))
    assert found is not None and found.knows_terms and found.day == date(2026, 9, 1)


@pytest.mark.parametrize("odd", [0, None, 9_999])
def test_weeks_of_years_that_cannot_be_stop_nothing(odd: Any):
    given = tables()
    weeks = given["week_allocations"]
    weeks = weeks.assign(year=weeks["year"].mask(weeks.index == 0, odd))
    assert turned({**given, "week_allocations": weeks}, date(2026, 3, 3)) is not None


def test_without_terms_nobody_knows_when_a_year_ends():
    given = tables()
    given.pop("terms")
    assert turned(given, date(2026, 3, 3)) is None
    assert turned({**given, "terms": terms()}, date(2026, 3, 3)) is None


def test_year_groups_are_by_campus_and_those_of_none_by_themselves():
    of = campuses("1-3", "7-9")
    assert parts_of([9, 2, 5, 7, 2, 4], of) == [[2], [7, 9], [4, 5]]
    assert parts_of([5, 4], of) == [[4, 5]] and parts_of([], of) == []
