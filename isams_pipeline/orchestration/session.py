"""What a run of a night holds while it goes on: the school's lock, and the readers of its sources."""

import contextlib
from collections.abc import Generator
from contextlib import ExitStack
from typing import Any

import dagster as dg

from isams_pipeline.datasets import DATASETS, SOURCE
from isams_pipeline.errors import SchoolBusy
from isams_pipeline.orchestration.environment import Environment
from isams_pipeline.orchestration.partitions import Night
from isams_pipeline.sources.isams.fetch import NightFetcher
from isams_pipeline.sources.isams.night import NightReader
from isams_pipeline.sources.registry import LISTED
from isams_pipeline.sources.shared.night import ListReader, ReaderContext
from isams_pipeline.storage.locks import Locks


class NightSession:
    """One run's hold on a school: the lock, and the reader that fetches and parses each snapshot once."""

    def __init__(
        self,
        environment: Environment,
        *,
        fresh: bool,
        allow_removals: bool,
        allow_cancellations: bool = False,
        release: bool = False,
    ) -> None:
        self.environment = environment
        """Settings, clock, stores and secrets."""
        self._fresh = fresh
        self.allow_removals = allow_removals
        """A person says that many people being gone, or other ones, is right."""
        self.allow_cancellations = allow_cancellations
        """A person has looked at the bookings that would be cancelled."""
        self.release = release
        """A person has looked at the school's first export."""
        self._held = ExitStack()
        self._locked: set[str] = set()
        self._busy: SchoolBusy | None = None
        self._readers: dict[Night, NightReader] = {}
        self._list_readers: dict[tuple[str, Night], ListReader] = {}

    def hold(self, school: str) -> None:
        """Be the only run of a school, until the run ends. Waits for another one; raises SchoolBusy."""
        if school in self._locked:
            return
        if self._busy is not None:
            raise self._busy  # waited for once; the other steps of this run need not wait again
        environment = self.environment
        try:
            self._held.enter_context(environment.locks.hold(f"school {school}", wait=environment.lock_wait))
        except SchoolBusy as busy:
            self._busy = busy
            raise
        self._locked.add(school)
        environment.sweep(school)

    def reader(self, night: Night, log: Any) -> NightReader:
        """The reader of a night."""
        self.hold(night.school)
        if night not in self._readers:
            environment = self.environment
            fetcher = NightFetcher(
                night.school,
                environment.settings.school(night.school),
                night.date,
                archive=environment.archive,
                client_for=lambda key: environment.client_for(night.school, key),
                clock=environment.clock,
                fresh=self._fresh,
                ask_again_after=0.9 * environment.retry_wait,
                passed=lambda feed: self._passed(night, feed),
                tell=log.info,
            )
            self._readers[night] = NightReader(fetcher, environment.archive)
        return self._readers[night]

    def list_reader(self, source: str, night: Night, context: dg.AssetExecutionContext) -> ListReader:
        """The reader of a night by another source. It reads ahead for the other datasets of the run."""
        self.hold(night.school)
        if (source, night) not in self._list_readers:
            environment = self.environment
            reader_context = ReaderContext(
                source=LISTED[source],
                school=night.school,
                settings=environment.settings.school(night.school),
                lists=environment.lists,
                connections=environment.connections,
                client=lambda: environment.listed_client_for(night.school, source),
                clock=environment.clock,
                run_id=context.run.run_id,
                is_intact=environment.tables.is_intact,
            )
            self._list_readers[source, night] = ListReader(
                reader_context,
                night.date,
                fresh=self._fresh,
                allow_removals=self.allow_removals,
                ask_again_after=0.9 * environment.retry_wait,
                ahead=[
                    key.path[1] for key in context.job_def.asset_layer.executable_asset_keys if key.path[0] == source
                ],
                tell=context.log.info,
            )
        return self._list_readers[source, night]

    def _passed(self, night: Night, feed: str) -> str | None:
        names = [d.name for d in DATASETS.values() if d.feed == feed]
        stored = [self.environment.tables.find(SOURCE, name, night.school, night.date) for name in names]
        hashes = {table.provenance.get("sha256") for table in stored if table is not None}
        return hashes.pop() if len(hashes) == 1 else None

    def close(self) -> None:
        """Let go."""
        self._readers.clear()
        for reader in self._list_readers.values():
            reader.close()
        self._list_readers.clear()
        self._held.close()


def lock_of(run_id: str) -> str:
    """The name of the lock that a run holds while its process lives."""
    return f"run {run_id}"


@contextlib.contextmanager
def alive(locks: Locks, run_id: str) -> Generator[None, None, None]:
    """Hold a run's lock; who calls the run from the same process may hold it already."""
    with contextlib.ExitStack() as held:
        with contextlib.suppress(SchoolBusy):
            held.enter_context(locks.hold(lock_of(run_id), wait=0, once=True))
        yield
