"""What a run of a night holds while it goes on: the school's lock, and the readers of its sources."""

import contextlib
from collections.abc import Generator
from contextlib import ExitStack
from dataclasses import replace

import dagster as dg

from isams_pipeline.errors import SchoolBusy, StorageError
from isams_pipeline.orchestration.environment import Environment
from isams_pipeline.orchestration.partitions import Night
from isams_pipeline.sources.shared.source import Source, SourceReader
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
        self._readers: dict[tuple[str, Night], SourceReader] = {}

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
        environment.begin(school)

    def reader(self, source: Source, night: Night, context: dg.AssetExecutionContext) -> SourceReader:
        """The reader of a night by a source. What the run's other datasets need can be read ahead."""
        self.hold(night.school)
        if (source.key, night) not in self._readers:
            environment = self.environment
            keys = context.job_def.asset_layer.executable_asset_keys
            needs = replace(
                environment.needs_of(night.school, night.date),
                run_id=context.run.run_id,
                fresh=self._fresh,
                allow_removals=self.allow_removals,
                ask_again_after=0.9 * environment.retry_wait,
                ahead=[key.path[1] for key in keys if key.path[0] == source.key],
                tell=context.log.info,
            )
            self._readers[source.key, night] = source.read(needs)
        return self._readers[source.key, night]

    def close(self) -> None:
        """Let go."""
        for reader in self._readers.values():
            reader.close()
        self._readers.clear()
        for school in self._locked:
            with contextlib.suppress(StorageError):  # else the next run sweeps up, and no more
                self.environment.end(school)
        self._held.close()


def lock_of(run_id: str) -> str:
    """The name of the lock that a run holds while its process lives."""
    return f"run {run_id}"


@contextlib.contextmanager
def alive(locks: Locks, run_id: str) -> Generator[None, None, None]:
    """Hold a run's lock; who calls the run from the same process may hold it already."""
    if run_id in _HELD:
        yield
        return
    with contextlib.ExitStack() as held:
        # Somebody may be looking just now whether it is free.
        with contextlib.suppress(SchoolBusy):
            held.enter_context(locks.hold(lock_of(run_id), wait=_LOOKED_AT, once=True))
        _HELD.add(run_id)
        try:
            yield
        finally:
            _HELD.discard(run_id)


_HELD: set[str] = set()
"""The runs whose locks this process holds."""
_LOOKED_AT = 5.0
