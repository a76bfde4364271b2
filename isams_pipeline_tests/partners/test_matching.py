"""Rooms and periods find their resources and timeslots, or a suggestion, or nothing; never a wrong one."""

from __future__ import annotations

import pandas as pd
import pytest
from hypothesis import given
from hypothesis import strategies as st

from isams_pipeline.config import Timeslot
from isams_pipeline.partners.room_booking.matching import (
    Resource,
    Room,
    Slot,
    match_periods,
    match_rooms,
    timing_problems,
    timings,
)


def periods(*rows: tuple[int, str, str, str]) -> pd.DataFrame:
    return pd.DataFrame(rows, columns=["period_id", "name", "start", "end"])


def test_remembered_then_name_then_code():
    rooms = [Room(1, "Hall", "H"), Room(2, " lab  1 ", "L1"), Room(3, "Studio", "ST"), Room(4, "Gym", None)]
    resources = [Resource("a", "Annex", None), Resource("b", "Lab 1", None), Resource("c", "Old studio", "st")]
    found = match_rooms(rooms, resources, {1: ("a", "confirmed"), 4: ("gone", "name")})
    assert found.matched == {1: ("a", "confirmed"), 2: ("b", "name"), 3: ("c", "code")}
    assert list(found.suggestions) == [4]


def test_two_of_one_name_are_left_to_a_person():
    twice = [Resource("a", "Lab", None), Resource("b", "lab", None)]
    assert match_rooms([Room(1, "Lab", None)], twice, {}).matched == {}
    assert match_rooms([Room(1, "Lab", None), Room(2, "Lab", None)], twice[:1], {}).matched == {}


def test_suggestions_have_scores_and_leave_out_what_is_taken():
    resources = [
        Resource("a", "Science Lab 1", None),
        Resource("b", "Hall", None),
        Resource("c", "Swimming pool", None),
    ]
    found = match_rooms([Room(1, "Lab 1", None), Room(2, "Hall", None)], resources, {})
    (best, *_) = found.suggestions[1]
    assert best.resource_id == "a" and 60 <= best.score <= 100
    assert all(s.resource_id != "b" for s in found.suggestions[1])


def test_a_resource_made_for_want_of_a_match_gives_way():
    made = Resource("isams-room-1", "Lab 1", None, made=True)
    remembered = {1: ("isams-room-1", "made")}
    assert match_rooms([Room(1, "Lab 1", None)], [made], remembered).matched == {}
    assert match_rooms([Room(1, "Lab 1", None)], [made, Resource("a", "Lab 1", None)], remembered).matched[1] == (
        "a",
        "name",
    )


@given(
    st.lists(st.sampled_from(["Hall", "Lab 1", "Lab 2", "hall", ""]), max_size=6),
    st.lists(st.sampled_from(["Hall", "Lab 1", "Lab 2", "LAB 2", "Pool"]), max_size=6),
    st.dictionaries(st.integers(0, 5), st.integers(0, 5)),
)
def test_a_resource_is_one_room_at_most(rooms: list[str], resources: list[str], remembered: dict[int, int]):
    known = {room: (str(resource), "confirmed") for room, resource in remembered.items()}
    found = match_rooms(
        [Room(at, name, None) for at, name in enumerate(rooms)],
        [Resource(str(at), name, None) for at, name in enumerate(resources)],
        known,
    )
    chosen = [resource for resource, _ in found.matched.values()]
    assert len(chosen) == len(set(chosen))
    assert set(found.matched) | set(found.suggestions) == set(range(len(rooms)))


def test_periods_match_by_exact_times():
    theirs = [Slot("p1", "Period 1", 540, 595), Slot("p2", "Period 2", 600, 655)]
    found = match_periods(
        periods((11, "P1", "09:00", "09:55"), (21, "P1", "09:00:00", "09:55:00"), (12, "P2", "10:00", "10:50")), theirs
    )
    assert found.periods == {"p1": [11, 21], "p2": []}
    assert found.unmatched == {(600, 650): ([12], [theirs[1], theirs[0]])}
    assert found.by_timing == {(540, 595): "p1", (600, 655): "p2"}


def test_without_timeslots_of_the_partners_periods_become_them():
    found = match_periods(
        periods((11, "Period 1", "09:00", "09:55"), (21, "P1", "09:00", "09:55"), (31, "P1", "09:00", "09:55")), []
    )
    (slot,) = found.slots
    assert (slot.id, slot.name, slot.made) == ("isams-0900-0955", "P1", True) and found.periods[slot.id] == [11, 21, 31]


@pytest.mark.parametrize(
    ("configured", "said"),
    [
        ("Period 1: 09:00 - 09:55", None),
        ("period 1: 9:00-9:55", None),
        ("Period 1: 08:44 - 09:34", "schools.yaml has Period 1: 08:44 - 09:34; iSAMS has Period 1: 09:00 - 09:55"),
        ("Break: 10:40 - 10:55", "schools.yaml has Break: 10:40 - 10:55; iSAMS has no period of that name or time"),
        ("First: 09:00 - 09:55", None),
    ],
)
def test_confirmed_timings_and_isams(configured: str, said: str | None):
    problems = timing_problems(periods((11, "Period 1", "09:00", "09:55")), [Timeslot.parse(configured)])
    assert problems == ([said] if said else [])


def test_timings_to_remember_do_not_depend_on_order():
    assert (
        timings(periods((1, "b", "10:00", "11:00"), (2, "a", "09:00", "10:00"), (3, "c", "10:00", "11:00")))
        == "540-600 600-660"
    )


@pytest.mark.parametrize(
    "text", ["Period 1", "Period 1: 9", "Period 1: 10:00 - 09:00", "25:00 - 26:00", ": 09:00 - 10:00"]
)
def test_what_is_no_timeslot(text: str):
    with pytest.raises(ValueError, match=r"timeslot"):
        Timeslot.parse(text)
