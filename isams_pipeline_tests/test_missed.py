"""Nights whose hour passed while nothing ran: what Dagster's own scheduler makes of them, and what is begun then."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from collections.abc import Callable
from datetime import UTC, date, datetime, time, timedelta
from pathlib import Path
from typing import Any
from zoneinfo import ZoneInfo

import dagster as dg
import pytest
from hypothesis import given
from hypothesis import strategies as st

from isams_pipeline.definitions import build_definitions
from isams_pipeline.orchestration import broken_off
from isams_pipeline.orchestration.broken_off import AGAIN, BROKEN_OFF
from isams_pipeline.orchestration.due import CAUGHT_UP, begins, spread, too_late
from isams_pipeline.orchestration.partitions import Night, key_of
from isams_pipeline.orchestration.session import alive
from isams_pipeline_tests.world import FIRST, SCHOOL, World, small_school

ROOT = Path(__file__).parent.parent
LONDON = ZoneInfo("Europe/London")
TWO = datetime.combine(FIRST, time(2), LONDON)


@pytest.mark.parametrize(
    ("now", "said"),
    [
        (TWO + timedelta(seconds=20), None),
        (TWO + timedelta(hours=4), None),
        (TWO + timedelta(hours=4, minutes=29), None),
        (TWO + timedelta(hours=4, minutes=31), "past 06:30"),
        (TWO + timedelta(hours=21), f"isams-pipeline sync {SCHOOL}"),
        (TWO + timedelta(hours=23), "cannot be had any more"),
        (TWO + timedelta(days=3), "cannot be had any more"),
    ],
)
def test_until_when_a_missed_night_is_begun(world: World, now: datetime, said: str | None):
    world.moment[0] = now.astimezone(UTC)
    found = too_late(world.environment, Night(SCHOOL, FIRST), LONDON, TWO, again=f"isams-pipeline sync {SCHOOL}")
    assert (found is None) if said is None else (found is not None and said in found and SCHOOL in found)


def test_a_tick_that_comes_after_midnight_begins_no_night_of_the_day_before(world: World):
    """What would be fetched is the next day's: it must not count as the missed one's."""
    assert [begun(world, TWO, now) for now in (TWO, TWO + timedelta(hours=3), TWO + timedelta(hours=8))] == [1, 1, 0]
    assert begun(world, TWO, TWO + timedelta(hours=22, minutes=30)) == 0


def begun(world: World, scheduled: datetime, now: datetime) -> int:
    """How many runs a schedule's tick asks for, that is made at a moment."""
    world.moment[0] = now.astimezone(UTC)
    repository = build_definitions(world.environment).get_repository_def()
    schedule = next(one for one in repository.schedule_defs if one.name.startswith("schoolsbuddy_nightly_europe"))
    with dg.build_schedule_context(
        instance=world.instance,
        scheduled_execution_time=scheduled,
        resources={"environment": world.environment},
        repository_def=repository,
    ) as context:
        requests = schedule.evaluate_tick(context).run_requests or []
    assert all(
        (request.tags.get(CAUGHT_UP) == "yes") == (now - scheduled > timedelta(minutes=15)) for request in requests
    )
    return len(requests)


# --- spread -----------------------------------------------------------------------------------------------------


@given(st.text("abcdefgh-_", min_size=1, max_size=20), st.integers(0, 59))
def test_a_school_has_its_own_minute_always(school: str, minutes: int):
    assert spread(school, minutes) == spread(school, minutes)
    assert 0 <= spread(school, minutes) <= max(0, minutes - 1)


def test_five_hundred_schools_do_not_begin_at_once():
    minutes = [spread(f"school-{number}", 60) for number in range(500)]
    assert max(minutes.count(minute) for minute in range(60)) <= 25


@given(
    own=st.lists(st.integers(0, 59), min_size=1, max_size=30),
    down=st.tuples(st.integers(0, 59), st.integers(0, 59)).map(sorted),
)
def test_every_school_is_begun_once_whichever_ticks_were_missed(own: list[int], down: list[int]):
    """Dagster makes the latest of the ticks that it missed."""
    schools = {f"school-{at}": minute for at, minute in enumerate(own)}
    missed = [minute for minute in sorted(set(own)) if down[0] <= minute < down[1]]
    made = [minute for minute in sorted(set(own)) if minute not in missed[:-1]]
    found: list[str] = []
    for minute in made:
        found += begins(schools, minute, found)
    assert sorted(found) == sorted(schools)


def test_the_schedule_has_the_minutes_of_its_schools(make: Callable[..., World]):
    names = ["harbour", "hillside", SCHOOL]
    world = make(schools={name: small_school(mark=name) for name in names})
    world.configure(lambda config: config.update(spread_minutes=45))
    repository = build_definitions(world.environment).get_repository_def()
    schedule = repository.get_schedule_def("schoolsbuddy_nightly_europe_london")
    minutes = sorted({spread(name, 45) for name in names})
    assert schedule.cron_schedule == f"{','.join(map(str, minutes))} 2 * * *"
    started = [begun(world, TWO + timedelta(minutes=minute), TWO + timedelta(minutes=minute)) for minute in minutes]
    assert started[0] >= 1 and started[-1] == len(names), "none of them has run, so the last stands for all"


def test_where_the_hour_does_not_exist_every_school_begins_with_the_one_tick_after_it(make: Callable[..., World]):
    names = ["harbour", "hillside", SCHOOL]
    world = make(schools={name: small_school(mark=name) for name in names})

    def paris(config: dict[str, Any]) -> None:
        config["spread_minutes"] = 45
        for school in config["schools"].values():
            school["timezone"] = "Europe/Paris"

    world.configure(paris)
    after = datetime(2026, 3, 29, 3, 0, tzinfo=ZoneInfo("Europe/Paris"))
    assert begun(world, after, after) == len(names)


# --- Dagster's own scheduler --------------------------------------------------------------------------------------


def zone_of_noon() -> str:
    """A zone in which it is about noon now, so that today began some hours ago and has some to go."""
    ahead = 12 - datetime.now(UTC).hour
    return f"Etc/GMT{-ahead:+d}" if ahead else "Etc/GMT"


@pytest.mark.parametrize(
    ("until", "away", "runs"),
    [("23:59", 1, 1), ("23:59", 4, 1), ("00:01", 1, 0)],
    ids=["a day", "four days", "too late"],
)
def test_a_daemon_that_comes_back_begins_the_missed_night_once(world: World, until: str, away: int, runs: int):
    zone = zone_of_noon()

    def change(config: dict[str, Any]) -> None:
        config["catch_up_until"] = until
        config["schools"][SCHOOL]["timezone"] = zone
        config["schools"][SCHOOL]["partners"].pop("room_booking")

    world.configure(change)
    variables = {"ISAMS_CONFIG": str(world.config), "ISAMS_DATA_DIR": str(world.data), "PYTHONPATH": str(ROOT)}
    command = [sys.executable, "-m", "isams_pipeline_tests.scheduler_back", str(world.data), str(away)]
    done = subprocess.run(
        command, env={**os.environ, **variables}, cwd=world.folder, capture_output=True, text=True, timeout=120
    )
    assert done.returncode == 0, done.stderr[-2000:]
    found = json.loads(next(line for line in done.stdout.splitlines() if line.startswith("{")))
    assert found["counts"] == [0, runs, runs]
    today = datetime.now(UTC).astimezone(ZoneInfo(zone)).date()
    assert [tags["dagster/partition"] for tags in found["tags"]] == [str(key_of(Night(SCHOOL, today)))] * runs
    assert all(tags[CAUGHT_UP] == "yes" for tags in found["tags"])
    ((status, why),) = found["ticks"]
    assert status == ("SUCCESS" if runs else "SKIPPED") and (runs or "past 00:01" in why)


# --- a run whose process is gone while the daemon lives ----------------------------------------------------------


def test_a_run_that_lost_its_process_is_ended_by_the_evidence_of_its_lock_and_run_again(
    world: World, monkeypatch: pytest.MonkeyPatch
):
    monkeypatch.setattr(broken_off, "_TO_BEGIN", timedelta(0))
    world.moment[0] = datetime.now(UTC)
    today = world.moment[0].astimezone(LONDON).date()
    environment = world.environment
    repository = build_definitions(environment).get_repository_def()
    job = repository.get_job("schoolsbuddy_nightly")

    def run_of(day: date) -> dg.DagsterRun:
        tags = {"dagster/partition": key_of(Night(SCHOOL, day))}
        return world.instance.create_run_for_job(job, tags=tags, status=dg.DagsterRunStatus.STARTED)

    lives, gone = run_of(today), run_of(today)
    quick = world.instance.create_run_for_job(repository.get_job("look_at_status"), status=dg.DagsterRunStatus.STARTED)

    def tick(cursor: str | None) -> tuple[Any, dict[str, dg.DagsterRunStatus]]:
        with dg.build_sensor_context(
            instance=world.instance, resources={"environment": environment}, cursor=cursor, repository_def=repository
        ) as context:
            found = repository.get_sensor_def(broken_off.SENSOR).evaluate_tick(context)
        return found, {run.run_id: run.status for run in world.instance.get_runs()}

    with alive(environment.locks, lives.run_id):
        first, states = tick(None)
        assert states[gone.run_id] is dg.DagsterRunStatus.STARTED, "seen once it may be just ending"
        second, states = tick(first.cursor)
        assert states[gone.run_id] is dg.DagsterRunStatus.FAILURE
        assert states[lives.run_id] is states[quick.run_id] is dg.DagsterRunStatus.STARTED, (
            "of this one nothing is known"
        )
    requests = [*(first.run_requests or []), *(second.run_requests or [])]
    assert [request.tags[AGAIN] for request in requests] == [gone.run_id]
    ended = world.instance.get_run_by_id(gone.run_id)
    assert ended is not None and ended.tags[BROKEN_OFF] == "yes"
