"""After a power cut, or with many processes at once: nothing half, nothing stuck, nothing left behind."""

from __future__ import annotations

import os
import signal
import sqlite3
import subprocess
import sys
import time
from collections.abc import Callable
from datetime import timedelta
from pathlib import Path
from typing import Any

import dagster as dg
import pytest

from isams_pipeline.clock import system_clock
from isams_pipeline.commands.instance import broken_files, open_instance, repair
from isams_pipeline.config import load_settings
from isams_pipeline.definitions import build_definitions
from isams_pipeline.errors import StorageError
from isams_pipeline.orchestration.broken_off import AGAIN, BROKEN_OFF, SENSOR, end_broken_off
from isams_pipeline.orchestration.environment import Environment
from isams_pipeline.orchestration.partitions import Night, key_of
from isams_pipeline.orchestration.session import alive, lock_of
from isams_pipeline.sandbox.demo import secrets_of
from isams_pipeline_tests.test_commands import ROOT
from isams_pipeline_tests.world import FIRST, SCHOOL, World, small_school

RUN = """
import os, signal, sys
from datetime import date, datetime
from pathlib import Path
from isams_pipeline.config import load_settings
from isams_pipeline.orchestration.environment import Environment
from isams_pipeline.commands.headless import Nightly
from isams_pipeline.commands.instance import open_instance
from isams_pipeline.orchestration.partitions import Night
from isams_pipeline.storage import tables

config, data, moment, waits = sys.argv[1:]
if waits == "yes":
    def wait(*_, **__):
        print("under way", flush=True)
        import time
        time.sleep(120)
    tables.TableStore.save = wait
now = datetime.fromisoformat(moment)
environment = Environment(load_settings(config), data_dir=Path(data), clock=lambda: now, retries=0)
with open_instance(Path(data)) as instance:
    print(Nightly(environment, instance, "schoolsbuddy").run(Night("riverside", now.date())).outcome.value)
"""


def started(world: World, *, waits: bool) -> subprocess.Popen[str]:
    """The first night in a process of its own, which may wait in the middle."""
    world.at_night(0)
    words = [str(world.config), str(world.data), world.moment[0].isoformat(), "yes" if waits else "no"]
    env = {"PYTHONPATH": str(ROOT), "PATH": os.environ["PATH"], **secrets_of(world.sandbox)}
    process = subprocess.Popen([sys.executable, "-c", RUN, *words], env=env, stdout=subprocess.PIPE, text=True)
    if waits:
        assert process.stdout is not None and process.stdout.readline() == "under way\n"
    return process


def killed(process: subprocess.Popen[str]) -> None:
    process.send_signal(signal.SIGKILL)
    process.wait(30)
    if process.stdout is not None:
        process.stdout.close()


def test_a_run_that_lives_is_left_alone_and_one_that_does_not_is_ended(world: World):
    process = started(world, waits=True)
    (run,) = world.instance.get_runs()
    assert run.status is dg.DagsterRunStatus.STARTED
    assert end_broken_off(world.instance, world.environment.locks) == [], "somebody carries it on"
    killed(process)
    assert end_broken_off(world.instance, world.environment.locks) == [run.run_id]
    ended = world.instance.get_run_by_id(run.run_id)
    assert ended is not None and ended.status is dg.DagsterRunStatus.FAILURE and ended.tags[BROKEN_OFF] == "yes"
    said = [e.message for e in world.instance.all_logs(run.run_id, of_type=dg.DagsterEventType.RUN_FAILURE)]
    assert len(said) == 1 and "no living process held it" in said[0]
    assert world.run(0).outcome.value == "delivered", "its school is free again"
    assert not list((world.data / "locks").glob("run_*")), "and nothing of its lock stays"


def evaluated(world: World) -> list[dg.RunRequest]:
    repository = build_definitions(world.environment).get_repository_def()
    context = dg.build_sensor_context(
        instance=world.instance, repository_def=repository, resources={"environment": world.environment}
    )
    found: Any = repository.get_sensor_def(SENSOR).evaluate_tick(context)
    return list(found.run_requests)


def test_a_night_that_was_broken_off_is_run_again_once_and_only_on_its_day(world: World):
    world.at_night(0)
    definitions = build_definitions(world.environment)
    job = definitions.resolve_job_def("schoolsbuddy_nightly")
    partition = {"dagster/partition": key_of(Night(SCHOOL, FIRST))}

    def broken(**tags: str) -> str:
        run = world.instance.create_run_for_job(job, tags={**partition, **tags}, status=dg.DagsterRunStatus.STARTED)
        assert end_broken_off(world.instance, world.environment.locks) == [run.run_id]
        return run.run_id

    world.moment[0] = system_clock()  # the instance's own clock says when a run was
    day = world.moment[0].date()
    partition["dagster/partition"] = key_of(Night(SCHOOL, day))
    first = broken()
    (request,) = evaluated(world)
    assert request.partition_key == key_of(Night(SCHOOL, day)) and request.run_key == f"again {first}"
    assert request.tags[AGAIN] == first
    broken(**{AGAIN: first})
    assert [r.run_key for r in evaluated(world)] == [f"again {first}"], "not a second time"
    partition["dagster/partition"] = key_of(Night(SCHOOL, day - timedelta(days=1)))
    broken()
    assert len(evaluated(world)) == 1, "of a day that is over iSAMS knows nothing"


@pytest.mark.parametrize("status", [dg.DagsterRunStatus.STARTING, dg.DagsterRunStatus.CANCELING])
def test_a_run_that_was_just_starting_or_stopping_is_ended_as_well(world: World, status: dg.DagsterRunStatus):
    job = build_definitions(world.environment).resolve_job_def("schoolsbuddy_nightly")
    tags = {"dagster/partition": key_of(Night(SCHOOL, FIRST))}
    run = world.instance.create_run_for_job(job, tags=tags, status=status)
    with alive(world.environment.locks, run.run_id):
        assert end_broken_off(world.instance, world.environment.locks) == []
    assert end_broken_off(world.instance, world.environment.locks) == [run.run_id]
    assert world.environment.locks.is_free(lock_of(run.run_id))


def test_what_a_killed_run_left_half_written_is_swept_by_the_next(world: World):
    assert world.run(0).outcome.value == "delivered"
    left = [
        world.data / "tables/isams/pupils" / SCHOOL / "objects/.incoming-1",
        world.data / "tables/isams/pupils" / SCHOOL / ".incoming-2",
        world.data / "staged/schoolsbuddy" / SCHOOL / "objects/.incoming-3",
        world.data / "staged/room_booking" / SCHOOL / ".incoming-4",
        world.data / "reports/schoolsbuddy" / SCHOOL / str(FIRST) / ".incoming-5",
        world.data / "lists/assembly" / SCHOOL / "objects/.incoming-6",
        world.data / "archive" / SCHOOL / "nights" / str(FIRST) / ".incoming-7",
        world.exports / SCHOOL / str(FIRST) / ".incoming-8",
    ]
    other = world.data / "tables/isams/pupils/another/objects/.incoming-9"
    world.environment.begin(SCHOOL)  # and then the process is killed
    for file in (*left, other):
        file.parent.mkdir(parents=True, exist_ok=True)
        file.write_bytes(b"half")
    world.at_night(0, hour=8)
    (world.exports / SCHOOL / str(FIRST) / "students.csv").unlink()  # so that it is delivered again
    assert world.run(0, fresh=True).outcome.value == "delivered"
    assert [file for file in left if file.exists()] == [] and other.exists(), "another school's run may be writing it"


def test_a_run_that_follows_one_that_has_ended_looks_through_no_old_nights(
    world: World, monkeypatch: pytest.MonkeyPatch
):
    """They are more every day; a run that ended has left nothing half written in them."""
    swept: list[str] = []
    monkeypatch.setattr(Environment, "sweep", lambda _, school: swept.append(school) or 0)
    assert world.run(0).outcome.value == "delivered"
    assert swept == [SCHOOL], "nothing is noted of what was before"
    assert world.run(0).outcome.value in {"delivered", "unchanged"} and swept == [SCHOOL]
    killed(started(world, waits=True))
    world.run(0)
    assert swept == [SCHOOL] * 2


# --- several at once --------------------------------------------------------------------------------------


@pytest.fixture
def eight(make: Callable[..., World]) -> World:
    """Eight schools of today."""
    names = [f"school{n}" for n in range(8)]
    world = make({name: small_school(mark=name) for name in names})
    world.sandbox.clock = system_clock
    return world


@pytest.mark.campaign
def test_eight_schools_at_once_over_a_new_folder(eight: World, state_url: str | None):
    data = eight.folder / "new"
    env = {
        "PYTHONPATH": str(ROOT),
        "PATH": os.environ["PATH"],
        "HOME": str(eight.folder),
        **secrets_of(eight.sandbox),
        **({"ISAMS_POSTGRES_URL": state_url} if state_url else {}),
    }
    command = [sys.executable, "-m", "isams_pipeline.commands", "sync"]
    options = ["--config", str(eight.config), "--data-dir", str(data)]
    processes = [
        subprocess.Popen(
            [*command, name, *options], env=env, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True
        )
        for name in eight.schools
    ]
    said = {name: process.communicate(timeout=300)[0] for name, process in zip(eight.schools, processes, strict=True)}
    assert [process.returncode for process in processes] == [0] * 8, said
    assert all("Traceback" not in text and "delivered" in text for text in said.values()), said
    if not state_url:
        assert broken_files(data) == []
        with open_instance(data) as instance:
            assert instance.get_runs_count() == 8


def test_a_history_with_two_beginnings_is_recognised_and_mended(world: World):
    assert world.run(0).outcome.value == "delivered"
    world.close()
    (file,) = world.data.glob("dagster/history/**/runs.db")
    with sqlite3.connect(file) as connection:
        connection.execute("INSERT INTO alembic_version VALUES ('5771160a95ad')")
    with pytest.raises(StorageError, match=r"several processes at once: runs\.db .*doctor --repair"):
        open_instance(world.data)
    (copy,) = repair(world.data)
    assert copy.parent == file.parent and copy.stat().st_size > 0 and broken_files(world.data) == []
    with open_instance(world.data) as instance:
        assert instance.get_runs_count() == 1, "with all its runs"
    assert repair(world.data) == []


@pytest.mark.campaign
def test_the_ui_ends_what_a_power_cut_left_and_runs_it_again(eight: World, tmp_path: Path):
    """Worker, daemon and server are killed together in the middle of nights; the next start sees to all of them."""
    config = eight.config
    env = {"PYTHONPATH": str(ROOT), "PATH": os.environ["PATH"], "HOME": str(tmp_path), **secrets_of(eight.sandbox)}
    names = list(eight.schools)[:2]
    environment = Environment(load_settings(config), data_dir=eight.data)
    with open_instance(eight.data) as instance:
        job = build_definitions(environment).resolve_job_def("schoolsbuddy_nightly")
        today = system_clock().date()
        for name, status in zip(names, (dg.DagsterRunStatus.STARTED, dg.DagsterRunStatus.STARTING), strict=True):
            tags = {"dagster/partition": key_of(Night(name, today)), "dagster/partition/school": name}
            instance.create_run_for_job(job, tags=tags, status=status)
        command = [sys.executable, "-m", "isams_pipeline.commands", "ui", "--port", "0"]
        command[-1] = str(_free_port())
        ui = subprocess.Popen(
            [*command, "--config", str(config), "--data-dir", str(eight.data)],
            env=env,
            stdout=subprocess.PIPE,
            text=True,
        )
        try:
            assert ui.stdout is not None and "2 runs had been broken off" in ui.stdout.readline()
            give_up = time.monotonic() + 200
            delivered: set[str] = set()
            while time.monotonic() < give_up and delivered < set(names):
                done = instance.get_runs(dg.RunsFilter(statuses=[dg.DagsterRunStatus.SUCCESS]))
                delivered = {run.tags["dagster/partition/school"] for run in done if AGAIN in run.tags}
                time.sleep(1)
            assert delivered == set(names), [(r.status, r.tags) for r in instance.get_runs()]
        finally:
            ui.send_signal(signal.SIGINT)
            ui.wait(60)
            assert ui.stdout is not None
            ui.stdout.close()


def _free_port() -> int:
    import socket

    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return probe.getsockname()[1]
