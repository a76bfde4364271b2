"""Contracts of declarations, and that the quick look at a table says what pandera says."""

from __future__ import annotations

import contextlib
from dataclasses import replace
from datetime import date

import pandas as pd
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from pandera.errors import SchemaErrors

from isams_pipeline.commands.schema import as_schema, declared_tables
from isams_pipeline.datasets import DATASETS
from isams_pipeline.datasets.contracts import broken
from isams_pipeline.datasets.declare import PANDAS, TableDeclaration
from isams_pipeline.datasets.rules import check_made, fits, schema_of
from isams_pipeline.errors import WrongType
from isams_pipeline_tests.made_up import NIGHT, frame

TABLES = declared_tables()


@pytest.mark.parametrize(
    ("dataset", "row", "said"),
    [
        ("pupils", {"pupil_id": 1, "date_of_birth": date(2040, 1, 1)}, "date_of_birth is in the future in row 2"),
        (
            "pupils",
            {"pupil_id": 1, "date_of_birth": date(2013, 1, 1), "enrolment_date": date(2012, 1, 1)},
            "date_of_birth is after enrolment_date in row 2",
        ),
        (
            "terms",
            {"term_id": 1, "start_date": date(2026, 4, 1), "finish_date": date(2026, 1, 1)},
            "start_date is after finish_date in row 2",
        ),
        ("timetable_days", {"day_id": 1, "week_id": 1, "weekday": 8}, "weekday is not from 1 to 7 in row 2"),
        (
            "lessons",
            {"status": "x", "timetable_id": 1, "lesson_id": 2, "set_flag": 2},
            "set_flag is not 0 or 1 in row 2",
        ),
        ("week_allocations", {"allocation_id": 1, "week": 55}, "week is not from 1 to 54 in row 2"),
        ("timetables", {"status": "x", "timetable_id": 1, "start_year": 2026, "end_year": 2025}, "start_year is after"),
    ],
)
def test_rows_that_break_a_contract_are_named_by_number(dataset: str, row: dict[str, object], said: str):
    declaration = DATASETS[dataset]
    silent = {column.name: (1 if column.kind == "int" else "x") for column in declaration.columns if column.key}
    found = broken(declaration.contracts, frame(declaration, [silent, row]), NIGHT)
    assert len(found) == 1 and said in found[0].in_words
    assert found[0].rows == (2,)


def test_a_date_of_nothing_breaks_no_contract():
    row = {"pupil_id": 1, "date_of_birth": date(2013, 1, 1), "enrolment_date": date(1900, 1, 1)}
    assert broken(DATASETS["pupils"].contracts, frame(DATASETS["pupils"], [row]), NIGHT) == []


@pytest.mark.parametrize("key", TABLES)
def test_what_schema_shows_is_what_is_checked(key: str):
    space: dict[str, object] = {}
    exec(as_schema(TABLES[key]), space)  # what a reader would do with it
    shown, checked = space[TABLES[key].name], schema_of(TABLES[key])
    assert shown.columns == checked.columns  # pyright: ignore[reportAttributeAccessIssue]
    assert (shown.strict, shown.ordered, shown.name) == (True, True, checked.name)  # pyright: ignore[reportAttributeAccessIssue]


@st.composite
def frames(draw: st.DrawFn) -> tuple[TableDeclaration, pd.DataFrame]:
    """A table's rows as they may come: right, or with columns gone, more, in another order, of other types, empty."""
    declaration = TABLES[draw(st.sampled_from(sorted(TABLES)))]
    count = draw(st.integers(0, 2))
    columns: dict[str, pd.Series] = {}
    for column in declaration.columns:
        kind = draw(st.sampled_from([PANDAS[column.kind]] * 12 + ["object", "float64", PANDAS["int"], PANDAS["str"]]))
        value = {"int": 1, "bool": True, "str": "x"}.get(column.kind, pd.Timestamp(2026, 1, 1))
        values = [None if column.nullable and draw(st.booleans()) else value for _ in range(count)]
        if count and draw(st.integers(0, 11)) == 0:
            values[0] = None
        series = pd.Series(values, dtype="object")
        try:
            columns[column.name] = series.astype(kind)
        except (TypeError, ValueError):
            columns[column.name] = series
    names = list(columns)
    if draw(st.integers(0, 5)) == 0:
        names = draw(st.permutations(names))
    if draw(st.integers(0, 5)) == 0:
        names = names[1:]
    made = pd.DataFrame(columns)[list(names)]
    return declaration, made.assign(extra=1) if draw(st.integers(0, 9)) == 0 else made


@settings(max_examples=300, deadline=None)
@given(frames())
def test_the_quick_look_says_what_pandera_says(given_frame: tuple[TableDeclaration, pd.DataFrame]):
    declaration, made = given_frame
    try:
        schema_of(declaration).validate(made, lazy=True)
        right = True
    except SchemaErrors:
        right = False
    # pandera takes texts in a column of objects for texts; the quick look leaves those to pandera.
    assert right or not fits(declaration, made)
    as_declared = all(made[c.name].dtype == PANDAS[c.kind] for c in declaration.columns if c.name in made)
    if as_declared:
        assert fits(declaration, made) == right
    with contextlib.nullcontext() if right else pytest.raises(WrongType):
        check_made(replace(declaration, columns=tuple(replace(c, key=False) for c in declaration.columns)), made)
