"""What a Dagster run holds while it goes on, and how our errors become its failures."""

import contextlib
import functools
from collections.abc import Callable, Collection, Generator, Iterator
from dataclasses import dataclass
from typing import Any, TypeVar

import dagster as dg
from pydantic import Field, PrivateAttr

from isams_pipeline.clock import today_at
from isams_pipeline.delivery.receipts import Outcome
from isams_pipeline.errors import PipelineError, Unforeseen
from isams_pipeline.orchestration.environment import Environment
from isams_pipeline.orchestration.partitions import LAUNCHED_BY, Night, night_of
from isams_pipeline.orchestration.session import NightSession, alive

Options = TypeVar("Options", bound=dg.Config)
C = TypeVar("C")
Y = TypeVar("Y")
Results = Iterator[dg.MaterializeResult[Any] | dg.AssetCheckResult]
"""What the body of an asset yields."""
NIGHT = "night"
"""The key of the resource that holds a night's run."""
ENVIRONMENT = "environment"
PARTNER_TAG, OUTCOME_TAG = "isams/partner", "isams/outcome"
PART_TAG = "isams/part"
"""Of a job that delivers a part of a day: the partner and the part, as receipts name them, with a blank between."""
"""The key of the resource of settings, clock, stores and secrets."""


class NightResource(dg.ConfigurableResource["NightResource"]):
    """One run's hold on a school, and what it has fetched so far."""

    fresh: bool = Field(
        default=False,
        description="Ask again: iSAMS even within a key's cache hours; Assembly and "
        "Xporter for whole lists, not only changes.",
    )
    allow_removals: bool = Field(
        default=False, description="Store and deliver although many rows are gone; counts for this very content only."
    )
    allow_cancellations: bool = Field(
        default=False,
        description="Cancel clashing bookings even if more than max_cancelled, or the school's first (Room Booking).",
    )
    release: bool = Field(
        default=False, description="Deliver the school's first export, which you have looked at (first_delivery: hold)."
    )
    environment: dg.ResourceDependency[Environment]
    _session: NightSession | None = PrivateAttr(default=None)

    @property
    def session(self) -> NightSession:
        """The run's hold; only while it goes on."""
        if self._session is None:
            raise dg.DagsterInvariantViolationError("a night's session is there in a run only")
        return self._session

    @contextlib.contextmanager
    def yield_for_execution(self, context: dg.InitResourceContext) -> Generator["NightResource", None, None]:
        """Hold the run's lock while it goes on, and let go of everything at its end."""
        environment = self.environment
        session = self._session = NightSession(
            environment,
            fresh=self.fresh,
            allow_removals=self.allow_removals,
            allow_cancellations=self.allow_cancellations,
            release=self.release,
        )
        with alive(environment.locks, context.run.run_id if context.run else "none"):
            try:
                yield self
            finally:
                self._session = None
                with _said_only():
                    session.close()


@dataclass(frozen=True)
class NightRun:
    """What the body of a night's asset is given: which night, what the run holds, and where it tells what it does."""

    context: dg.AssetExecutionContext
    session: NightSession
    night: Night

    @property
    def environment(self) -> Environment:
        """Settings, clock, stores and secrets."""
        return self.session.environment

    @property
    def log(self) -> dg.DagsterLogManager:
        """Dagster's own log of the run."""
        return self.context.log

    @property
    def id(self) -> str:
        """The run's id."""
        return self.context.run.run_id

    @property
    def chosen(self) -> Collection[dg.AssetKey]:
        """Which of the step's assets are to be made: all of them, or those that somebody has selected."""
        return self.context.selected_asset_keys

    def is_to_make(self, asset: dg.AssetKey) -> bool:
        """Whether the run makes an asset, too, in this step or another."""
        return asset in self.context.job_def.asset_layer.executable_asset_keys

    def ends(self, partner: str, outcome: Outcome) -> None:
        """Tag the run with whose night it was and how it ended, so that the UI's list of runs can be filtered by it."""
        self.context.instance.add_run_tags(self.id, {PARTNER_TAG: partner, OUTCOME_TAG: outcome.value})

    @property
    def launched_by(self) -> str | None:
        """Who was logged in at the proxy when the run was launched, if somebody was."""
        return self.context.run.tags.get(LAUNCHED_BY)

    @property
    def is_today(self) -> bool:
        """Whether it is that date at the school now."""
        zone = self.environment.settings.school(self.night.school).timezone
        return self.night.date == today_at(zone, self.environment.clock)


def of_a_night(body: Callable[[NightRun], Results]) -> Callable[..., Results]:
    """A night's asset out of its body: be the school's only run, and turn errors into failures that may be read."""
    return _step(body, holds=True)


def of_a_nights_source(body: Callable[[NightRun], Results]) -> Callable[..., Results]:
    """The same, for a body that holds the school by asking for a reader: it may have nothing to read."""
    return _step(body, holds=False)


def _step(body: Callable[[NightRun], Results], *, holds: bool) -> Callable[..., Results]:
    def step(context: dg.AssetExecutionContext, night: NightResource) -> Results:
        yield from _in_a_night(context, night, body, holds=holds)

    step.__name__ = body.__name__
    return step


def of_a_night_with(
    options: type[Options],
) -> Callable[[Callable[[NightRun, Options], Results]], Callable[..., Results]]:
    """The same, for a body that takes options from the launch pad."""

    def decorate(body: Callable[[NightRun, Options], Results]) -> Callable[..., Results]:
        def step(context: dg.AssetExecutionContext, night: NightResource, config: Any) -> Results:
            yield from _in_a_night(context, night, lambda run: body(run, config), holds=True)

        step.__annotations__["config"] = options
        step.__name__ = body.__name__
        return step

    return decorate


def _in_a_night(
    context: dg.AssetExecutionContext,
    night: NightResource,
    body: Callable[[NightRun], Results],
    *,
    holds: bool,
) -> Results:
    run = NightRun(context, night.session, night_of(context.partition_key))
    with told_to_dagster(run.environment):
        if holds:
            run.session.hold(run.night.school)
        yield from body(run)


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


def told_to_ticks(body: Callable[[C, Environment], Iterator[Y]]) -> Callable[[C, Environment], Iterator[Y]]:
    """The body of a schedule or sensor, whose errors may stand in the tick: others by type and place only."""

    @functools.wraps(body)
    def tick(context: C, environment: Environment) -> Iterator[Y]:
        with _said_only():
            yield from body(context, environment)

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
