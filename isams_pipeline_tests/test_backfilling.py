"""Past nights again by the command line are a backfill of Dagster's; the browser test has one by the UI's daemon."""

from __future__ import annotations

import time
from datetime import timedelta

import dagster as dg
import pytest
from dagster._core.execution.backfill import BulkActionStatus, PartitionBackfill
from dagster._core.storage.tags import BACKFILL_ID_TAG, PARTITION_NAME_TAG
from dagster._daemon.daemon import BackfillDaemon
from dagster._daemon.types import DaemonHeartbeat

from isams_pipeline.commands import backfilling
from isams_pipeline.commands.backfilling import DAEMON, Backfill
from isams_pipeline.commands.headless import ORIGIN, Nightly
from isams_pipeline.definitions import build_definitions
from isams_pipeline.delivery.receipts import Outcome
from isams_pipeline.errors import BackfillBroken
from isams_pipeline.orchestration.partitions import Night, key_of
from isams_pipeline.orchestration.session import alive
from isams_pipeline.storage.tables import TableStore
from isams_pipeline_tests.world import FIRST, SCHOOL, World

NIGHTS = [Night(SCHOOL, FIRST + timedelta(days=day)) for day in range(2)]


@pytest.fixture
def past(world: World) -> World:
    """A world whose first nights lie in the archive."""
    for day in range(len(NIGHTS)):
        assert world.night(day).outcome is Outcome.DELIVERED
    world.at_night(9)
    return world


def begin(world: World, **options: object) -> Backfill:
    nightly = Nightly(world.environment, world.instance, "schoolsbuddy")
    return Backfill(nightly, NIGHTS, **options)  # pyright: ignore[reportArgumentType]


def kept(world: World, backfill: Backfill) -> PartitionBackfill:
    found = world.instance.get_backfill(backfill.id)
    assert found is not None
    return found


def runs_of(world: World, backfill: Backfill) -> list[str]:
    runs = world.instance.get_runs(dg.RunsFilter(tags={BACKFILL_ID_TAG: backfill.id}))
    return sorted(run.tags[PARTITION_NAME_TAG] for run in runs)


def beat(world: World, at: float) -> None:
    world.instance.add_daemon_heartbeat(DaemonHeartbeat(at, DAEMON, "1", []))


def test_the_daemons_part_is_called_so():
    assert BackfillDaemon.daemon_type() == DAEMON


def test_it_stands_among_the_backfills_with_its_nights_and_how_they_ended(past: World):
    with begin(past) as backfill:
        assert not backfill.by_daemon
        assert [run.outcome for run in backfill.runs()] == [Outcome.UNCHANGED] * 2
    found = kept(past, backfill)
    assert found.status is BulkActionStatus.COMPLETED_SUCCESS and found.backfill_end_timestamp
    assert found.title == f"{SCHOOL} {NIGHTS[0].date} to {NIGHTS[-1].date}: schoolsbuddy"
    assert runs_of(past, backfill) == found.partition_names == [key_of(night) for night in NIGHTS]


def test_a_night_that_fails_makes_it_failed_and_the_others_run(past: World):
    backfill = Backfill(
        Nightly(past.environment, past.instance, "schoolsbuddy"),
        [NIGHTS[0], Night(SCHOOL, FIRST + timedelta(days=5))],
    )
    with backfill:
        assert [run.outcome for run in backfill.runs()] == [Outcome.UNCHANGED, Outcome.FAILED]
    assert kept(past, backfill).status is BulkActionStatus.COMPLETED_FAILED and not backfill.cancelled


def test_cancelled_in_the_ui_it_stops_before_the_next_night(past: World):
    with begin(past) as backfill:
        runs = backfill.runs()
        next(runs)
        past.instance.update_backfill(kept(past, backfill).with_status(BulkActionStatus.CANCELING))
        assert list(runs) == []
    assert backfill.cancelled and kept(past, backfill).status is BulkActionStatus.CANCELED
    assert runs_of(past, backfill) == [key_of(NIGHTS[0])]


def test_left_by_ctrl_c_it_is_cancelled_not_under_way_for_ever(past: World):
    with pytest.raises(KeyboardInterrupt), begin(past) as backfill:
        next(backfill.runs())
        raise KeyboardInterrupt
    assert kept(past, backfill).status is BulkActionStatus.CANCELED
    with pytest.raises(KeyboardInterrupt), begin(past) as backfill:
        raise KeyboardInterrupt  # before its first night
    assert kept(past, backfill).status is BulkActionStatus.CANCELED and runs_of(past, backfill) == []


def test_ctrl_c_amid_a_night_ends_the_backfill_with_it(past: World, monkeypatch: pytest.MonkeyPatch):
    """Dagster ends the run in order, and says nothing to who started it."""

    def interrupted(*_: object, **__: object) -> None:
        raise KeyboardInterrupt

    monkeypatch.setattr(TableStore, "need", interrupted)
    with pytest.raises(KeyboardInterrupt), begin(past) as backfill:
        list(backfill.runs())
    assert kept(past, backfill).status is BulkActionStatus.CANCELED and runs_of(past, backfill) == [key_of(NIGHTS[0])]
    assert all(run.is_finished for run in past.instance.get_runs())


def queued(world: World, backfill: Backfill, status: dg.DagsterRunStatus) -> list[dg.DagsterRun]:
    """The backfill's runs as a daemon has queued them, or started them."""
    job = build_definitions(world.environment).resolve_job_def("schoolsbuddy_nightly")
    return [
        world.instance.create_run_for_job(
            job,
            status=status,
            tags={BACKFILL_ID_TAG: backfill.id, PARTITION_NAME_TAG: key_of(night)},
            remote_job_origin=ORIGIN.get_job_origin(job.name),
        )
        for night in NIGHTS
    ]


@pytest.mark.parametrize("status", [dg.DagsterRunStatus.QUEUED, dg.DagsterRunStatus.STARTED])
def test_what_a_daemon_left_queued_or_under_way_is_run_by_the_command(past: World, status: dg.DagsterRunStatus):
    with begin(past, pause=lambda _: pytest.fail("nobody is to be waited for")) as backfill:
        left = queued(past, backfill, status)
        assert [run.outcome for run in backfill.runs()] == [Outcome.UNCHANGED] * 2
    assert kept(past, backfill).status is BulkActionStatus.COMPLETED_SUCCESS
    now = [past.instance.get_run_by_id(run.run_id) for run in left]
    assert all(run is not None and run.status is dg.DagsterRunStatus.CANCELED for run in now)


def test_a_run_that_some_process_carries_on_is_waited_for(past: World):
    looked: list[float] = []

    def pause(seconds: float) -> None:
        looked.append(seconds)
        past.instance.report_run_canceled(left[0])

    with begin(past, pause=pause) as backfill:
        left = queued(past, backfill, dg.DagsterRunStatus.STARTED)[:1]
        with alive(past.environment.locks, left[0].run_id):
            first = next(backfill.runs())
    assert looked and "was cancelled" in (first.reason or "")


def test_nights_that_the_ui_has_cancelled_are_no_failures(past: World):
    with begin(past) as backfill:
        for run in queued(past, backfill, dg.DagsterRunStatus.QUEUED):
            past.instance.report_run_canceled(run)
        past.instance.update_backfill(kept(past, backfill).with_status(BulkActionStatus.CANCELED))
        assert list(backfill.runs()) == [] and backfill.cancelled


def test_a_daemon_that_has_gone_is_stood_in_for(past: World):
    """Its last sign of life is fresh when the command begins; none follows."""
    moment = [1_000_000.0]
    beat(past, moment[0] - 1)
    backfill = begin(past, now=lambda: moment[0], pause=lambda _: moment.append(moment.pop() + 10))
    assert backfill.by_daemon
    with backfill:
        assert [run.outcome for run in backfill.runs()] == [Outcome.UNCHANGED] * 2
    assert moment[0] - 1_000_000 >= backfilling.BEAT - 1, "it was waited for"
    assert kept(past, backfill).status is BulkActionStatus.COMPLETED_SUCCESS


def test_what_the_daemon_cannot_carry_out_is_said(past: World):
    beat(past, time.time())
    backfill = begin(past)
    past.instance.update_backfill(kept(past, backfill).with_status(BulkActionStatus.FAILED))
    with pytest.raises(BackfillBroken, match=backfill.id):
        list(backfill.runs())
