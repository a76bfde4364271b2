"""JSON rows that stand for several, and what is said where one of them is wrong."""

from __future__ import annotations

from typing import Any
from zoneinfo import ZoneInfo

import pandas as pd
import pytest
from hypothesis import given
from hypothesis import strategies as st

from isams_pipeline.datasets import LISTED_DATASETS
from isams_pipeline.datasets.json_rows import Read, frame_by, frame_of
from isams_pipeline.errors import WrongType

LESSONS = LISTED_DATASETS["dated_lessons"]
LONDON = ZoneInfo("Europe/London")
DATES = st.dates().map(str)


def reading(name: str) -> tuple[str, Read]:
    return name, lambda rows: [row.get(name) for row in rows]


COLUMNS = {"date": reading("dates"), "lesson_id": reading("lesson_id"), "start": reading("start")}


def lesson(number: int, dates: list[Any]) -> dict[str, Any]:
    return {"lesson_id": number, "start": f"{number % 24:02}:00", "dates": dates}


@given(st.lists(st.lists(DATES, max_size=4), max_size=12))
def test_a_row_stands_once_for_each_of_its_entries(dates: list[list[str]]):
    rows = [lesson(number, some) for number, some in enumerate(dates)]
    found = frame_by(LESSONS, rows, LONDON, COLUMNS, each="date")
    singly = [{**row, "date": day} for row in rows for day in row["dates"]]
    pd.testing.assert_frame_equal(found, frame_of(LESSONS, singly, LONDON))


def test_more_rows_than_are_read_at_once():
    rows = [lesson(number, ["2026-11-18", "2026-11-25"]) for number in range(4_500)]
    found = frame_by(LESSONS, rows, LONDON, COLUMNS, each="date")
    assert len(found) == 9_000 and list(found["lesson_id"][-3:]) == [4_498, 4_499, 4_499]


@pytest.mark.parametrize(("dates", "row"), [(["2026-11-18", "never"], 2_502), ([None], 2_502)])
def test_an_entry_that_is_no_date_is_named_by_its_row(dates: list[Any], row: int):
    rows = [*(lesson(number, ["2026-11-18"] * 3) for number in range(2_501)), lesson(9, dates)]
    with pytest.raises(WrongType) as caught:
        frame_by(LESSONS, rows, LONDON, COLUMNS, each="date")
    assert (caught.value.where["field"], caught.value.where["row"]) == ("dates", row)
    assert "never" not in str(caught.value)


def test_a_value_beside_the_entries_is_named_by_its_row():
    rows = [lesson(1, ["2026-11-18", "2026-11-19"]), {**lesson(2, ["2026-11-18"]), "lesson_id": "many"}]
    with pytest.raises(WrongType) as caught:
        frame_by(LESSONS, rows, LONDON, COLUMNS, each="date")
    assert (caught.value.where["field"], caught.value.where["row"]) == ("lesson_id", 2)


def test_what_must_be_there_and_has_no_place_is_missed():
    with pytest.raises(WrongType):
        frame_by(LESSONS, [lesson(1, [])], LONDON, {"lesson_id": COLUMNS["lesson_id"]})
