"""What a rule returns: every row is kept or excluded, each excluded one with its own reason, and nothing else changes."""

from __future__ import annotations

import pandas as pd
import pytest
from hypothesis import given
from hypothesis import strategies as st

from isams_pipeline.rules.account import ROW
from isams_pipeline.rules.split import EXCLUDED, WARNING, Exclusions, Split, in_an_id, rows_of, surely

PEOPLE = pd.DataFrame({"id": [1, 2, 3], "name": ["a", "b", "c"]}, index=pd.RangeIndex(1, 4)).astype({"name": "str"})


@given(st.lists(st.sampled_from([True, False, None]), min_size=3, max_size=3))
def test_every_row_is_kept_or_excluded_and_what_is_not_known_is_not_kept(wanted: list[bool | None]):
    split = Split.by(PEOPLE, pd.Series(wanted, index=PEOPLE.index, dtype="boolean"), rule="r", reason="why")
    assert list(split.kept["id"]) == [n for n, one in enumerate(wanted, start=1) if one is True]
    assert list(split.excluded["id"]) == [n for n, one in enumerate(wanted, start=1) if one is not True]
    assert list(split.kept.columns) == ["id", "name"], "what is kept says nothing of the rule"
    assert list(split.excluded.columns) == ["id", "name", "rule", "reason"]
    assert set(split.excluded["rule"]) <= {"r"} and set(split.excluded["reason"]) <= {"why"}


def test_reasons_may_be_one_for_each_row():
    keep = pd.Series([False, True, False], index=PEOPLE.index)
    split = Split.by(PEOPLE, keep, rule="r", reason=["first", "third"])
    assert list(zip(split.excluded["id"], split.excluded["reason"], strict=True)) == [(1, "first"), (3, "third")]


@pytest.mark.parametrize("keep", [[True, True, True], [True, False, True]])
def test_the_frame_that_was_given_stays_as_it_was(keep: list[bool]):
    given_frame = PEOPLE.copy()
    split = Split.by(given_frame, pd.Series(keep, index=PEOPLE.index), rule="r", reason="why")
    split.kept["more"] = 1
    split.excluded["more"] = 1
    pd.testing.assert_frame_equal(given_frame, PEOPLE)


def test_what_is_taken_has_its_place_and_what_is_warned_of_stays():
    out = Exclusions()
    frame = PEOPLE.assign(**{ROW: [1, 2, 3]})
    split = Split.by(frame, pd.Series([True, False, True], index=frame.index), rule="r", reason="why")
    out.account.sizes = {"people": 3}
    assert list(out.take("person", split, ("id", "name"), of="people")["id"]) == [1, 3]
    out.account.deliver("people", [1, 3], "people.csv")
    assert out.account.problems({}) == []
    out.take("person", split.as_warnings(), "id", of="people")
    assert out.account.problems({}) == []
    assert out.frame().to_dict("records") == [
        {"entity": "person", "id": "2", "rule": "r", "severity": WARNING, "reason": "why"},
        {"entity": "person", "id": "2:b", "rule": "r", "severity": EXCLUDED, "reason": "why"},
    ]


def test_what_is_not_known_as_something_is_not_taken_for_nothing():
    """A rule's rows that nobody names would be lost without a word."""
    split = Split.by(PEOPLE, PEOPLE["id"] > 1, rule="r", reason="why")
    for one in (split, split.as_warnings()):
        with pytest.raises(ValueError, match="use `take`"):
            Exclusions().follow(one)


def test_what_a_rule_of_rules_has_said_comes_with_it():
    said = Exclusions.of({"people": PEOPLE})
    said.warn("person", 1, "r", "why")
    said.account.deliver("people", [1, 2, 3], "people.csv")
    for out in (one := Exclusions.of({"people": PEOPLE}), other := Exclusions.of({"people": PEOPLE})):
        assert out.rows == []
    one.follow(Split(PEOPLE, said=said))
    other.take("person", Split(PEOPLE, said=said), "id")
    assert one.rows == other.rows == said.rows
    assert one.account.problems({"people.csv": 3}) == other.account.problems({"people.csv": 3}) == []


def test_going_on_from_a_copy_leaves_the_first_as_it_was():
    first = Exclusions()
    first.add("person", 1, "r", "why")
    other = first.copy()
    other.add("person", 2, "r", "why")
    assert len(first.rows) == 1 and len(other.rows) == 2


def test_rows_are_read_by_their_columns_names():
    assert [(row.id, row.name) for row in rows_of(PEOPLE)] == [(1, "a"), (2, "b"), (3, "c")]
    assert not hasattr(next(iter(rows_of(PEOPLE))), "Index")
    assert list(surely(pd.Series([True, None, False], dtype="boolean"))) == [True, False, False]


def test_exclusions_are_in_the_order_in_which_a_person_counts():
    out = Exclusions()
    for identifier in ("10", "9", "-2", "12:3", "9:10", "9:2", "x"):
        out.add("student", identifier, "contact_type", "why")
    out.add("contact", 100, "contact_type", "why")
    found = out.frame()
    assert list(found["id"]) == ["100", "-2", "x", "9", "9:2", "9:10", "10", "12:3"]
    assert {str(dtype) for dtype in found.dtypes} == {"str"}
    assert {str(dtype) for dtype in Exclusions().frame().dtypes} == {"str"}, "without any as well"


def test_a_part_of_an_id_that_is_not_there_is_a_dash():
    assert [in_an_id(part) for part in (12, "a", None, float("nan"), pd.NA)] == ["12", "a", "-", "-", "-"]
