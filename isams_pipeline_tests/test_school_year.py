"""Rehearsals of the school year: nights one after the other, over the summer and over January, of four shapes of school.

Nobody is there to allow anything. Every night delivers just who is on the roll, waits for terms, or is refused for a feed
that is lost; and after that it delivers by itself.
"""

from __future__ import annotations

from collections.abc import Callable, Generator, Iterator
from dataclasses import replace
from datetime import date, timedelta
from pathlib import Path
from typing import Any

import pandas as pd
import pytest

from isams_pipeline.delivery.export import read_csv
from isams_pipeline.sandbox.calendars import SchoolCalendar
from isams_pipeline.sandbox.school import SchoolPlan
from isams_pipeline.sandbox.yearly import school_on
from isams_pipeline_tests.rehearsing import SCHOOL, NightAt, Rehearsal


def years(first: int, last: int) -> tuple[tuple[int, str], ...]:
    return tuple((year, f"Year {year}") for year in range(first, last + 1))


EMPTY = tuple(((9, day), "SetLists") for day in (2, 3))
SHAPES = {
    # All on the first of September, as the book says; the lists of sets are empty for two days after it.
    "senior": SchoolPlan("riverside", 70, years(7, 13), subjects=2, calendar=SchoolCalendar(empty=EMPTY)),
    # The years move up as soon as the children are gone.
    "prep": SchoolPlan(
        "riverside",
        60,
        years(3, 8),
        subjects=2,
        calendar=SchoolCalendar(years_move_up=(7, 15), terms_entered=(7, 3), empty=EMPTY),
    ),
    # Half of the school leaves every year, and the terms are entered when term has begun.
    "sixth form": SchoolPlan(
        "riverside", 44, years(12, 13), subjects=3, calendar=SchoolCalendar(terms_entered=(9, 10), empty=EMPTY)
    ),
    # The years move up in the holidays, before the sets of the new year are made.
    "all-through": SchoolPlan(
        "riverside",
        140,
        years(0, 13),
        subjects=1,
        calendar=SchoolCalendar(years_move_up=(8, 15), sets_anew=((9, 4), (1, 12)), empty=EMPTY),
    ),
}
SUMMER, JANUARY = (date(2026, 7, 1), date(2026, 9, 15)), (date(2027, 1, 1), date(2027, 1, 31))


@pytest.fixture
def rehearsal(tmp_path: Path) -> Generator[Callable[..., Rehearsal], None, None]:
    made: list[Rehearsal] = []

    def make(plan: SchoolPlan, **options: Any) -> Rehearsal:
        made.append(Rehearsal(tmp_path / str(len(made)), plan, **options))
        return made[-1]

    yield make
    for one in made:
        one.close()


def delivered(here: Rehearsal, partner: str, day: date, file: str) -> list[dict[str, str]]:
    return list(read_csv((here.folder / "exports" / partner / SCHOOL / str(day) / file).read_bytes()))


def ids(rows: list[dict[str, str]], column: str) -> set[str]:
    return {row[column] for row in rows}


def wrong(here: Rehearsal, nights: list[NightAt]) -> Iterator[str]:
    """What a night delivered that is not who and what is there."""
    for night in nights:
        school = school_on(here.plan, night.day)
        roll = {str(pupil.id) for pupil in school.pupils}
        for partner in ("schoolsbuddy", "schoolbooking"):
            if partner in night.ended and night.ended[partner].outcome == "delivered":
                found = ids(delivered(here, partner, night.day, "students.csv"), "student_id")
                if found != roll:
                    yield f"{night.day} {partner}: {len(roll - found)} lack, {len(found - roll)} too many"
        if night.ended and night.ended["schoolsbuddy"].outcome == "delivered":
            members = delivered(here, "schoolsbuddy", night.day, "class_students.csv")
            expected = {
                (str(group.id), str(pupil.id))
                for group in school.sets
                for pupil in group.members
                if str(pupil.id) in roll
            }
            if {(row["class_id"], row["student_id"]) for row in members} != expected:
                yield f"{night.day}: not the members of the sets"


def others(nights: list[NightAt], partner: str) -> dict[date, str]:
    """Nights that did not simply deliver."""
    ended = {night.day: night.ended[partner].outcome if partner in night.ended else "failed" for night in nights}
    return {day: str(outcome) for day, outcome in ended.items() if outcome != "delivered"}


def days(first: date, last: date) -> set[date]:
    return {first + timedelta(days=n) for n in range((last - first).days + 1)}


@pytest.mark.parametrize("shape", SHAPES)
def test_the_summer_night_by_night_needs_nobody(shape: str, rehearsal: Callable[..., Rehearsal]):
    plan = SHAPES[shape]
    assert plan.calendar is not None
    # The timetable of SchoolBooking is Room Booking's; its people are SchoolsBuddy's: one shape of it is enough.
    partners = ("schoolsbuddy", "room_booking", *(["schoolbooking"] if shape == "senior" else []))
    here = rehearsal(plan, partners=partners)
    nights = here.nights(*SUMMER)
    assert not list(wrong(here, nights))
    lost = days(date(2026, 9, 2), date(2026, 9, 3))
    for partner in {"schoolsbuddy", "schoolbooking"} & set(partners):
        assert others(nights, partner) == dict.fromkeys(lost, "refused")
    for night in nights:
        if night.day in lost:
            assert "set_members now has no rows" in (night.ended["schoolsbuddy"].reason or "")
    month, of = plan.calendar.terms_entered
    waits = days(date(2026, 8, 1), date(2026, month, of) - timedelta(days=1)) if (month, of) > (8, 1) else set[date]()
    assert others(nights, "room_booking") == dict.fromkeys(waits, "no_timetable")
    told = [night.ended["room_booking"].reason or "" for night in nights if night.day in waits]
    assert all("ended on 2026-07-10" in reason and "School Terms" in reason for reason in told)
    leavers = max(one.ended["schoolsbuddy"].changes.get("students.csv", {}).get("explained", 0) for one in nights)
    assert leavers >= plan.pupils // len(plan.years) - plan.pupils // len(plan.years) // 5, "the last year has left"


@pytest.mark.parametrize("shape", SHAPES)
def test_january_night_by_night_needs_nobody(shape: str, rehearsal: Callable[..., Rehearsal]):
    """Sets are made anew, and later a timetable is published anew."""
    here = rehearsal(SHAPES[shape], partners=("schoolsbuddy", "room_booking"))
    nights = here.nights(*JANUARY)
    assert not list(wrong(here, nights))
    assert not others(nights, "schoolsbuddy") and not others(nights, "room_booking")
    by_day = {night.day: night.ended for night in nights}
    lists = by_day[date(2027, 1, 12)]["schoolsbuddy"].changes["class_students.csv"]
    assert lists["removed"] == lists["replaced"] > 40 and lists["unexplained"] == 0, "all of them are others"
    lessons = by_day[date(2027, 1, 19)]["room_booking"].changes["timetable.csv"]
    assert lessons["replaced"] > 100 and lessons["unexplained"] < lessons["replaced"] / 5


def without(*gone: int) -> Callable[[dict[str, pd.DataFrame], date], None]:
    """The pupils of some year groups are not in the answer."""

    def spoil(tables: dict[str, pd.DataFrame], _: date) -> None:
        pupils = tables["pupils"]
        lost = pupils.loc[pupils["year_id"].isin(gone), "pupil_id"]
        tables["pupils"] = pupils[~pupils["pupil_id"].isin(lost)].reset_index(drop=True)

    return spoil


def nothing(_tables: dict[str, pd.DataFrame], _: date) -> None:
    """All is well."""


@pytest.mark.parametrize(
    ("shape", "first", "lost", "day"),
    [
        ("senior", date(2026, 6, 1), (13,), date(2026, 6, 3)),  # before the last term is over
        ("senior", date(2027, 1, 10), (13,), date(2027, 1, 12)),  # in January
        ("prep", date(2026, 7, 14), (8,), date(2026, 9, 2)),  # moved up in July: these are next year's last year
        ("senior", date(2026, 8, 30), (8,), date(2026, 9, 1)),  # on the very first of September, another year
        ("sixth form", date(2026, 8, 30), (13,), date(2026, 9, 1)),  # as many come as are lost: other people
    ],
)
def test_a_year_group_that_is_lost_is_not_taken_for_leavers(
    shape: str, first: date, lost: tuple[int, ...], day: date, rehearsal: Callable[..., Rehearsal]
):
    plan = SHAPES[shape]
    assert plan.calendar is not None
    calm = replace(plan, calendar=replace(plan.calendar, empty=()))
    # A year group of seven is less than a fifth.
    here = rehearsal(calm, partners=("schoolsbuddy",), max_removed="10%")
    # Two nights are enough to know who was there; then the night that matters.
    for before in sorted({first, first + timedelta(days=1), day - timedelta(days=1)}):
        assert here.night(before).outcomes == {"delivered"}, before
    here.spoil = without(*lost)
    spoilt = here.night(day)
    if shape == "sixth form":
        assert "another school's answer" in (spoilt.failed or "")
    else:
        assert "students.csv would lose" in (spoilt.ended["schoolsbuddy"].reason or "")
    here.spoil = nothing
    assert here.night(day + timedelta(days=1)).outcomes == {"delivered"}, "by itself"
