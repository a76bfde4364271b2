"""What an earlier night has is found by its name; all nights are listed only after a gap."""

from __future__ import annotations

from datetime import date, timedelta
from itertools import islice

from hypothesis import given
from hypothesis import strategies as st

from isams_pipeline.storage.earlier import GAP, dates_of, earlier

NIGHT = date(2026, 11, 20)
DAYS = st.sets(st.integers(-400, 5).map(lambda back: NIGHT + timedelta(days=back)))


@given(DAYS, st.integers(1, 40), st.integers(0, 40))
def test_it_gives_what_a_listing_gives(nights: set[date], many: int, gap: int):
    found = earlier(NIGHT, lambda day: day if day in nights else None, lambda: list(nights), gap=gap)
    assert list(islice(found, many)) == sorted((day for day in nights if day < NIGHT), reverse=True)[:many]


def test_the_night_before_is_asked_for_by_its_name_alone():
    asked: list[date] = []

    def look(day: date) -> date:
        asked.append(day)
        return day

    def listed() -> list[date]:
        raise AssertionError("a thousand nights were listed")

    assert next(earlier(NIGHT, look, listed)) == NIGHT - timedelta(days=1) == asked[0] and len(asked) == 1


def test_after_a_long_gap_all_are_listed_once():
    old, counted = NIGHT - timedelta(days=GAP + 30), list[int]()

    def listed() -> list[date]:
        counted.append(1)
        return [old, old - timedelta(days=1)]

    found = earlier(NIGHT, lambda day: day if day <= old else None, listed)
    assert list(islice(found, 2)) == [old, old - timedelta(days=1)] and len(counted) == 1


def test_what_somebody_else_has_put_among_the_nights_is_no_night():
    names = [".DS_Store", "2026-11-19.json", "2026-11-19", "objects", "2026-13-01.json"]
    assert dates_of(names, ".json") == [date(2026, 11, 19)] == dates_of(names)


def test_the_first_and_the_last_day_there_are_make_no_trouble():
    assert list(earlier(date.min, lambda day: day, list[date])) == []
    assert next(earlier(date.max, lambda day: day, list[date])) == date.max - timedelta(days=1)
