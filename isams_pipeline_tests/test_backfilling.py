"""Past nights again by the command line are a backfill of Dagster's; the browser test has one by the UI's daemon."""

from __future__ import annotations

import time
from contextlib import closing
from datetime import timedelta

import dagster as dg
import pytest
from dagster._core.execution.backfill import BulkActionStatus, PartitionBackfill
from dagster._core.storage.tags import BACKFILL_ID_TAG, PARTITION_NAME_TAG
from dagster._daemon.daemon import BackfillDaemon
from dagster._daemon.types import DaemonHeartbeat

from isams_pipeline.commands import backfilling
from isams_pipeline.commands.backfilling import DAEMON, Backfill
from isams_pipeline.commands.headless import Nightly
from isams_pipeline.delivery.receipts import Outcome
from isams_pipeline.errors import BackfillBroken
from isams_pipeline.orchestration.partitions import Night, key_of
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
    backfill = begin(past)
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
    assert [run.outcome for run in backfill.runs()] == [Outcome.UNCHANGED, Outcome.FAILED]
    assert kept(past, backfill).status is BulkActionStatus.COMPLETED_FAILED and not backfill.cancelled


def test_cancelled_in_the_ui_it_stops_before_the_next_night(past: World):
    backfill = begin(past)
    with closing(backfill.runs()) as runs:
        next(runs)
        past.instance.update_backfill(kept(past, backfill).with_status(BulkActionStatus.CANCELING))
        assert list(runs) == []
    assert backfill.cancelled and kept(past, backfill).status is BulkActionStatus.CANCELED
    assert runs_of(past, backfill) == [key_of(NIGHTS[0])]


def test_left_by_ctrl_c_it_is_cancelled_not_under_way_for_ever(past: World):
    backfill = begin(past)
    with pytest.raises(KeyboardInterrupt), closing(backfill.runs()) as runs:
        next(runs)
        raise KeyboardInterrupt
    assert kept(past, backfill).status is BulkActionStatus.CANCELED


def test_a_daemon_that_has_gone_is_stood_in_for(past: World):
    """Its last sign of life is fresh when the command begins; none follows."""
    moment = [1_000_000.0]
    beat(past, moment[0] - 1)
    backfill = begin(past, now=lambda: moment[0], pause=lambda _: moment.append(moment.pop() + 10))
    assert backfill.by_daemon
    assert [run.outcome for run in backfill.runs()] == [Outcome.UNCHANGED] * 2
    assert moment[0] - 1_000_000 >= backfilling.BEAT - 1, "it was waited for"
    assert kept(past, backfill).status is BulkActionStatus.COMPLETED_SUCCESS


def test_what_the_daemon_cannot_carry_out_is_said(past: World):
    beat(past, time.time())
    backfill = begin(past)
    past.instance.update_backfill(kept(past, backfill).with_status(BulkActionStatus.FAILED))
    with pytest.raises(BackfillBroken, match=backfill.id):
        list(backfill.runs())
