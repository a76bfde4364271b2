"""Past nights again as a backfill of Dagster's: seen, and cancelled, in the UI like one that was launched there.

Where Dagster's daemon lives, it launches the runs, in its queue and within its limits, and the command watches. Where
none does, the command runs the nights itself, each with the backfill's tag. A daemon that starts amid them takes over:
it leaves out the nights that have a run; one that ends amid them is stood in for.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator, Sequence
from typing import Self

import dagster as dg
from dagster._core.execution.backfill import BulkActionStatus, PartitionBackfill
from dagster._core.remote_origin import RemotePartitionSetOrigin
from dagster._core.remote_representation import external_data
from dagster._core.storage.dagster_run import RunsFilter
from dagster._core.storage.tags import BACKFILL_ID_TAG, PARTITION_NAME_TAG
from dagster._core.utils import make_new_backfill_id

from isams_pipeline.commands.headless import ORIGIN, Nightly, NightRun, config_of
from isams_pipeline.errors import BackfillBroken
from isams_pipeline.orchestration.partitions import Night, key_of

DAEMON = "BACKFILL"
"""The part of Dagster's daemon that carries out backfills, by its type."""
BEAT = 75.0
"""Seconds since the daemon's last sign of life after which it counts as gone; it gives one every 30."""
_LOOK = 0.5
"""Seconds between two looks at what the daemon does."""


class Backfill:
    """A backfill of a partner's nights of one school, begun now; left amid, it is cancelled."""

    def __init__(
        self,
        nightly: Nightly,
        nights: Sequence[Night],
        *,
        now: Callable[[], float] = time.time,
        pause: Callable[[float], None] = time.sleep,
        **told: bool,
    ) -> None:
        self._nightly = nightly
        self._instance = nightly.instance
        self._nights = nights
        self._told = told
        self._now = now
        self._pause = pause
        self.id = make_new_backfill_id()
        self.cancelled = self._done = False
        first, last = nights[0], nights[-1]
        self._instance.add_backfill(
            PartitionBackfill(
                backfill_id=self.id,
                status=BulkActionStatus.REQUESTED,
                from_failure=False,
                tags={},
                backfill_timestamp=now(),
                asset_selection=nightly.chosen(first.school),
                title=f"{first.school} {first.date} to {last.date}: {nightly.partner}",
                run_config=config_of(told),
                partition_set_origin=RemotePartitionSetOrigin(
                    repository_origin=ORIGIN,
                    partition_set_name=f"{nightly.job.name}{external_data.PARTITION_SET_SNAP_NAME_SUFFIX}",
                ),
                partition_names=[key_of(night) for night in nights],
            )
        )

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self._end()

    def runs(self) -> Iterator[NightRun]:
        """Each night as it ends, in their order; what is left out once the backfill is cancelled.

        Raises BackfillBroken where Dagster cannot carry it out, and KeyboardInterrupt (Ctrl-C).
        """
        for night in self._nights:
            run = self._one(night)
            if run is None:
                self.cancelled = True
                return
            yield run
        self._done = True

    @property
    def by_daemon(self) -> bool:
        """Whether a daemon lives that launches the runs."""
        beat = self._instance.get_daemon_heartbeats().get(DAEMON)
        return beat is not None and self._now() - beat.timestamp < BEAT

    def _one(self, night: Night) -> NightRun | None:
        """A night's run once it has ended, whoever launched it; None where the backfill was cancelled before it."""
        while True:
            run = self._launched(night)
            status = self._now_is().status
            leaving = status in (BulkActionStatus.CANCELING, BulkActionStatus.CANCELED)
            if run is not None and run.is_finished:
                if leaving and run.status is dg.DagsterRunStatus.CANCELED:
                    return None
                return self._nightly.ended(night, run.run_id)
            if status in (BulkActionStatus.FAILED, BulkActionStatus.FAILING):
                raise BackfillBroken(
                    "Dagster's daemon could not carry out the backfill",
                    school=night.school,
                    remedy=f"Look at backfill {self.id} under Runs, Backfills in the UI, and at the daemon's log.",
                )
            if run is None and status is not BulkActionStatus.REQUESTED:
                return None
            if not self.by_daemon and (run is None or self._is_nobodys(run)):
                return None if leaving else self._nightly.run(night, tags={BACKFILL_ID_TAG: self.id}, **self._told)
            self._pause(_LOOK)

    def _is_nobodys(self, run: dg.DagsterRun) -> bool:
        """Whether a run that a daemon left is carried on by no process; it is ended then."""
        if self._nightly.lives(run.run_id):
            return False
        self._instance.report_run_canceled(run, "Nobody carried it on: the daemon has gone.")
        return True

    def _launched(self, night: Night) -> dg.DagsterRun | None:
        found = self._instance.get_runs(
            RunsFilter(tags={BACKFILL_ID_TAG: self.id, PARTITION_NAME_TAG: key_of(night)}), limit=1
        )
        return found[0] if found else None

    def _end(self) -> None:
        """Let the backfill say how it ended, or that it was left amid; where a daemon lives, that does."""
        found, daemon = self._now_is(), self.by_daemon
        if found.status not in (BulkActionStatus.REQUESTED, BulkActionStatus.CANCELING):
            return
        if self._done and found.status is BulkActionStatus.REQUESTED:
            runs = [self._launched(night) for night in self._nights]
            bad = any(run is None or run.status is not dg.DagsterRunStatus.SUCCESS for run in runs)
            status = BulkActionStatus.COMPLETED_FAILED if bad else BulkActionStatus.COMPLETED_SUCCESS
        else:
            status = BulkActionStatus.CANCELED
        if not daemon:
            self._instance.update_backfill(found._replace(status=status, backfill_end_timestamp=self._now()))
        elif status is BulkActionStatus.CANCELED:  # the daemon ends the runs that are queued or under way
            self._instance.update_backfill(found._replace(status=BulkActionStatus.CANCELING))

    def _now_is(self) -> PartitionBackfill:
        found = self._instance.get_backfill(self.id)
        if found is None:
            raise BackfillBroken("The backfill is gone from Dagster's history", remedy="Run the command again.")
        return found
