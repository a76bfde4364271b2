"""The busiest days of the year through Dagster; windows and rehearsals, as a person meets them."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from datetime import date, timedelta
from pathlib import Path
from typing import Any

import pytest

from isams_pipeline.commands.common import console
from isams_pipeline.definitions import build_definitions
from isams_pipeline.delivery.receipts import Address, Outcome, Receipts
from isams_pipeline.errors import WrongUse
from isams_pipeline.orchestration.partitions import LAUNCHED_BY
from isams_pipeline.orchestration.removal_windows import JOB, open_windows
from isams_pipeline.sandbox.calendars import SchoolCalendar
from isams_pipeline.sandbox.school import SchoolPlan
from isams_pipeline.storage.state.windows import RemovalWindow, RemovalWindows
from isams_pipeline_tests.test_commands import call_here
from isams_pipeline_tests.world import FIRST, SCHOOL, World, small_school

YEARS = tuple((year, f"Year {year}") for year in range(7, 14))
CALENDAR = SchoolCalendar(terms_entered=(8, 20), empty=(((9, 2), "SetLists"),))
SENIOR = SchoolPlan("riverside", 70, YEARS, subjects=2, calendar=CALENDAR)


def on(day: date) -> int:
    return (day - FIRST).days


@pytest.fixture
def senior(make: Callable[..., World]) -> World:
    return make({SCHOOL: replace(small_school(), plan=SENIOR)})


def test_the_first_of_september_through_dagster_is_as_rehearsed(senior: World):
    august = senior.night(on(date(2026, 8, 31)))
    assert august.outcome is Outcome.DELIVERED
    first = senior.night(on(date(2026, 9, 1)))
    assert first.outcome is Outcome.DELIVERED, first.reason
    assert first.receipt is not None
    students = first.receipt.changes["students.csv"]
    assert (students["removed"], students["explained"]) == (12, 10), "the last year; two of year 11 are replaced"
    assert (students["replaced"], students["unexplained"]) == (2, 0)
    lost = senior.night(on(date(2026, 9, 2)))
    assert lost.outcome is Outcome.REFUSED and "set_members now has no rows" in (lost.reason or "")
    assert senior.night(on(date(2026, 9, 3))).outcome is Outcome.DELIVERED, "by itself"


def test_room_booking_waits_for_the_new_year_s_terms_and_touches_nothing(senior: World):
    july = senior.rooms(on(date(2026, 7, 8)))
    assert july.outcome is Outcome.DELIVERED, july.reason
    calendars = senior.folder / "exports/room_booking" / SCHOOL / "calendars"
    before = sorted(path.name for path in calendars.rglob("*.ics"))
    waiting = senior.rooms(on(date(2026, 8, 10)))
    assert waiting.outcome is Outcome.NO_TIMETABLE
    assert "ended on 2026-07-10" in (waiting.reason or "") and "Enter the terms in iSAMS" in (waiting.reason or "")
    assert before and sorted(path.name for path in calendars.rglob("*.ics")) == before
    (check,) = [
        event.asset_check_evaluation_data
        for event in (entry.dagster_event for entry in senior.instance.all_logs(waiting.run_id))
        if event is not None and event.event_type_value == "ASSET_CHECK_EVALUATION"
        if event.asset_check_evaluation_data.check_name == "not_empty"
    ]
    assert not check.passed and check.severity.value == "WARN"
    assert not (senior.folder / f"exports/room_booking/{SCHOOL}/2026-08-10").exists()
    assert senior.rooms(on(date(2026, 8, 20))).outcome is Outcome.DELIVERED


def test_terms_that_never_come_are_a_fault_in_the_end(make: Callable[..., World]):
    never = replace(SENIOR, calendar=SchoolCalendar(terms_entered=(12, 1)))
    world = make({SCHOOL: replace(small_school(), plan=never)})
    assert world.rooms(on(date(2026, 10, 9))).outcome is Outcome.NO_TIMETABLE
    late = world.rooms(on(date(2026, 10, 12)))
    assert late.outcome is Outcome.REFUSED and "terms.csv has no rows" in (late.reason or "")


# --- windows ------------------------------------------------------------------------------------------------


def lose_half(world: World) -> None:
    """The next answer has half of the pupils."""
    world.sandbox.fail(SCHOOL, "half", key="students")


def test_a_window_lets_a_loss_through_until_it_closes_by_itself(make: Callable[..., World]):
    world = make({SCHOOL: small_school(nightly_joiners=0, pupils=24)})
    assert world.night(0).outcome is Outcome.DELIVERED
    lose_half(world)
    assert world.night(1).outcome is Outcome.REFUSED
    (opened,) = open_windows(world.environment, ["all"], "schoolsbuddy", FIRST + timedelta(days=2), " new year ", "me")
    lose_half(world)
    assert opened.in_words == "until 2026-02-12, by me: new year"
    run = world.night(2)
    assert run.outcome is Outcome.DELIVERED and run.receipt is not None
    assert run.receipt.manifest["removal_window"] == opened.in_words, "the receipt says who let it through, and why"
    assert world.night(3).outcome is Outcome.DELIVERED, "all are back"
    lose_half(world)
    assert world.night(4).outcome is Outcome.REFUSED, "it has closed by itself"
    assert [window.reason for window in RemovalWindows(world.environment.state).all()] == ["new year"]


def test_a_window_from_the_ui_s_job_is_the_same(make: Callable[..., World]):
    world = make({SCHOOL: small_school(nightly_joiners=0, pupils=24)})
    assert world.night(0).outcome is Outcome.DELIVERED
    lose_half(world)
    world.at_night(1)
    job = build_definitions(world.environment).resolve_job_def(JOB)
    told = {"schools": [SCHOOL], "partner": "schoolsbuddy", "until": "2026-02-11", "reason": "half has moved away"}
    config: dict[str, Any] = {"ops": {"open_window": {"config": told}}}
    done = job.execute_in_process(instance=world.instance, run_config=config, tags={LAUNCHED_BY: "registrar"})
    assert done.success
    assert world.night(1).outcome is Outcome.DELIVERED
    (window,) = RemovalWindows(world.environment.state).all()
    assert (window.who, window.reason, str(window.until)) == ("registrar", "half has moved away", "2026-02-11")
    wrong: dict[str, Any] = {"ops": {"open_window": {"config": told | {"until": "soon"}}}}
    failed = job.execute_in_process(instance=world.instance, run_config=wrong, raise_on_error=False)
    assert not failed.success


def test_a_window_lifts_nothing_of_other_schools_partners_and_nights(tmp_path: Path, state_url: str | None):
    from isams_pipeline.storage.state import StateDatabase

    state = StateDatabase.open(tmp_path, state_url)
    windows = RemovalWindows(state)
    first, last = date(2026, 9, 1), date(2026, 9, 5)
    from datetime import UTC, datetime

    moment = datetime(2026, 9, 1, tzinfo=UTC)
    facts: dict[str, Any] = {"reason": "r", "who": "w", "opened_at": moment}
    windows.open(RemovalWindow(school="a", partner="p", since=first, until=last, **facts))
    asked = {
        (school, partner, night, today): windows.on(school, partner, night, today) is not None
        for school, partner, night, today in [
            ("a", "p", first, first),
            ("a", "p", last, last),
            ("a", "p", date(2026, 8, 31), first),
            ("a", "p", date(2026, 9, 6), date(2026, 9, 6)),
            ("a", "p", last, date(2026, 10, 1)),  # a backfill, when it has closed
            ("b", "p", first, first),
            ("a", "q", first, first),
        ]
    }
    assert [key for key, found in asked.items() if found] == [("a", "p", first, first), ("a", "p", last, last)]
    assert windows.close("a", "p", who="me", at=moment, today=first) == 1 and windows.on("a", "p", first, first) is None
    state.close()


@pytest.mark.parametrize(
    ("schools", "partner", "days", "reason", "says"),
    [
        ([SCHOOL], "schoolsbuddy", 60, "x", "no end for a window"),
        ([SCHOOL], "schoolsbuddy", -1, "x", "no end for a window"),
        ([SCHOOL], "schoolsbuddy", 1, "  ", "needs a reason"),
        ([SCHOOL], "schoolbooking", 1, "x", "sends nothing to schoolbooking"),
        (["all"], "schoolbooking", 1, "x", "No school sends anything"),
    ],
)
def test_a_window_that_makes_no_sense_is_not_opened(
    world: World, schools: list[str], partner: str, days: int, reason: str, says: str
):
    with pytest.raises(WrongUse, match=says):
        open_windows(world.environment, schools, partner, FIRST + timedelta(days=days), reason, "me")
    assert not RemovalWindows(world.environment.state).all()


def here(world: World, *words: str) -> tuple[int, str]:
    return call_here(*words, "--config", str(world.config), "--data-dir", str(world.data))


def test_allow_at_the_command_line(world: World):
    until = str(date.today() + timedelta(days=5))
    code, said = here(world, "allow")
    assert (code, "No window was ever opened" in said) == (0, True)
    given = ("--schools", "all", "--partner", "all", "--until", until)
    code, said = here(world, "allow", *given, "--reason", "new school year")
    assert code == 0 and f"{SCHOOL}, room_booking: open until {until}" in said and "new school year" in said
    assert here(world, "allow", *given)[0] == 2, "without a reason"
    assert here(world, "allow", "--schools", "all")[0] == 2
    code, said = here(world, "allow", "--schools", SCHOOL, "--partner", "all", "--close")
    assert code == 0 and "2 windows closed" in said
    assert "new school year" in here(world, "allow")[1], "what was closed is still told"


# --- rehearsals ---------------------------------------------------------------------------------------------


def test_the_year_s_end_is_rehearsed_and_nothing_is_left_of_it(senior: World):
    senior.night(0)
    senior.rooms(0)
    files = sorted(path for path in senior.data.rglob("*") if path.is_file() and "dagster" not in path.parts)
    console.width = 100
    code, said = here(senior, "rehearse", SCHOOL, "--year-end")
    assert code == 0, said
    assert "moved up to 2026-08-31 (" in said and "10 pupils leave" in said and said.count("would be delivered") == 2
    students = next(line.split() for line in said.splitlines() if line.strip().startswith("students"))
    # rows, added, changed, gone, explained, replaced, lost, left out
    assert students[1:] == ["60", "·", "60", "10", "10", "·", "·", "·"]
    state = {path for path in senior.data.rglob("*") if path.is_file() and "dagster" not in path.parts}
    assert {path for path in state if ".sqlite" not in path.name} == {p for p in files if ".sqlite" not in p.name}
    receipts = Receipts(senior.environment.state)
    assert receipts.of_night(Address("schoolsbuddy", SCHOOL, date(2026, 8, 31))) is None


def test_a_rehearsal_says_what_would_be_refused(make: Callable[..., World]):
    world = make({SCHOOL: small_school(nightly_joiners=0)})
    world.night(0)
    world.configure(lambda config: config["schools"][SCHOOL]["partners"]["schoolsbuddy"].update(contact_types=["Aunt"]))
    code, said = here(world, "rehearse", SCHOOL, "--partner", "schoolsbuddy")
    assert code == 1 and "would be refused" in said and "contacts.csv would lose" in said
    assert here(world, "rehearse", SCHOOL, "--partner", "schoolbooking")[0] == 2
