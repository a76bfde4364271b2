"""What a Dagster run holds while it goes on, and how our errors become its failures."""

import contextlib
import functools
from collections.abc import Callable, Generator, Iterator
from contextlib import ExitStack
from typing import Any, TypeVar

import dagster as dg

from isams_pipeline.datasets import DATASETS, SOURCE
from isams_pipeline.errors import PipelineError, SchoolBusy, Unforeseen
from isams_pipeline.orchestration.environment import Environment
from isams_pipeline.orchestration.partitions import Night
from isams_pipeline.sources.isams.fetch import NightFetcher
from isams_pipeline.sources.isams.night import NightReader
from isams_pipeline.sources.registry import ROADS
from isams_pipeline.sources.shared.night import ReaderContext, RoadReader
from isams_pipeline.storage.locks import Locks

NIGHT = "night"
"""The resource key."""


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
        self._environment = environment
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
        self._road_readers: dict[tuple[str, Night], RoadReader] = {}

    def hold(self, school: str) -> None:
        """Be the only run of a school, until the run ends. Waits for another one; raises SchoolBusy."""
        if school in self._locked:
            return
        if self._busy is not None:
            raise self._busy  # waited for once; the other steps of this run need not wait again
        environment = self._environment
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
            environment = self._environment
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

    def road_reader(self, source: str, night: Night, context: dg.AssetExecutionContext) -> RoadReader:
        """The reader of a night by another road. It reads ahead for the other datasets of the run."""
        self.hold(night.school)
        if (source, night) not in self._road_readers:
            environment = self._environment
            reader_context = ReaderContext(
                road=ROADS[source],
                school=night.school,
                settings=environment.settings.school(night.school),
                lists=environment.lists,
                connections=environment.connections,
                client=lambda: environment.road_client_for(night.school, source),
                clock=environment.clock,
                run_id=context.run.run_id,
                is_intact=environment.tables.is_intact,
            )
            self._road_readers[source, night] = RoadReader(
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
        return self._road_readers[source, night]

    def _passed(self, night: Night, feed: str) -> str | None:
        names = [d.name for d in DATASETS.values() if d.feed == feed]
        stored = [self._environment.tables.find(SOURCE, name, night.school, night.date) for name in names]
        hashes = {table.provenance.get("sha256") for table in stored if table is not None}
        return hashes.pop() if len(hashes) == 1 else None

    def close(self) -> None:
        """Let go."""
        self._readers.clear()
        for reader in self._road_readers.values():
            reader.close()
        self._road_readers.clear()
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


def night_resource(environment: Environment) -> dg.ResourceDefinition:
    """The resource that holds a run's session. `fresh` in the launch pad asks iSAMS even within the cache hours."""

    @dg.resource(
        config_schema={
            "fresh": dg.Field(
                bool,
                default_value=False,
                description="Ask iSAMS even where it may still answer from its cache.",
            ),
            "allow_removals": dg.Field(
                bool,
                default_value=False,
                description="Store and deliver although many rows are gone; counts for this very content only.",
            ),
            "allow_cancellations": dg.Field(
                bool,
                default_value=False,
                description="Cancel bookings that clash, though they are many or the school's first (Room Booking).",
            ),
            "release": dg.Field(
                bool,
                default_value=False,
                description="Deliver the school's first export, which you have looked at (first_delivery: hold).",
            ),
        },
        description="One run's hold on a school, and what it has fetched so far.",
    )
    def night(context: dg.InitResourceContext) -> Generator[NightSession, None, None]:
        config = context.resource_config
        session = NightSession(
            environment,
            fresh=bool(config["fresh"]),
            allow_removals=bool(config["allow_removals"]),
            allow_cancellations=bool(config["allow_cancellations"]),
            release=bool(config["release"]),
        )
        with alive(environment.locks, context.run.run_id if context.run else "none"):
            try:
                yield session
            finally:
                with _said_only():
                    session.close()

    return night


@contextlib.contextmanager
def told_to_dagster(environment: Environment) -> Generator[None, None, None]:
    """Turn errors into failures whose text may stand in the event log.

    A transient error asks for another try, a final one does not; an unforeseen one is named by its type and
    place only, since its own text may quote the data.
    """
    try:
        yield
    except PipelineError as error:
        if error.retryable and environment.retries:
            raise dg.RetryRequested(environment.retries, environment.retry_wait) from error
        raise dg.Failure(str(error), metadata=_where(error), allow_retries=False) from None
    except (dg.Failure, dg.RetryRequested, *_ENDS):
        raise
    except BaseException as error:  # noqa: BLE001  # whatever it is, its text must not reach the event log
        # Of Dagster's own errors too: they quote what was given as metadata or as an output.
        raise dg.Failure(str(Unforeseen(error)), allow_retries=False) from None


_ENDS = (dg.DagsterExecutionInterruptedError, KeyboardInterrupt, GeneratorExit)
"""A person or the machine ends the run; nothing is quoted."""
C = TypeVar("C")
Y = TypeVar("Y")


def told_to_ticks(body: Callable[[C], Iterator[Y]]) -> Callable[[C], Iterator[Y]]:
    """The body of a schedule or sensor, whose errors may stand in the tick: others by type and place only."""

    @functools.wraps(body)
    def tick(context: C) -> Iterator[Y]:
        with _said_only():
            yield from body(context)

    return tick


@contextlib.contextmanager
def _said_only() -> Generator[None, None, None]:
    try:
        yield
    except (PipelineError, dg.Failure, *_ENDS):
        raise
    except BaseException as error:  # noqa: BLE001
        raise Unforeseen(error) from None


def _where(error: PipelineError) -> dict[str, str]:
    return {"error": type(error).__name__, **{name: str(value) for name, value in error.where.items()}}
