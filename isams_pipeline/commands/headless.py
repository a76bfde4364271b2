"""A school's night now, without the UI: the same Dagster job, in this process, on the same instance."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from datetime import date
from typing import TYPE_CHECKING, Any

import dagster as dg
from dagster._core.definitions.job_base import InMemoryJob
from dagster._core.definitions.repository_definition import SINGLETON_REPOSITORY_NAME
from dagster._core.events import JobFailureData, RunFailureReason
from dagster._core.execution.api import execute_run_iterator
from dagster._core.execution.execute_in_process import merge_run_tags
from dagster._core.remote_origin import RemoteRepositoryOrigin
from dagster._core.utils import make_new_run_id
from dagster._core.workspace.load import location_origin_from_module_name

from isams_pipeline import definitions
from isams_pipeline.datasets.shapes import Json
from isams_pipeline.definitions import build_definitions
from isams_pipeline.delivery.receipts import Outcome, Receipts
from isams_pipeline.errors import StorageError
from isams_pipeline.moved import found_elsewhere
from isams_pipeline.orchestration.environment import Environment
from isams_pipeline.orchestration.failures import together, what_failed
from isams_pipeline.orchestration.partitions import Night, key_of
from isams_pipeline.orchestration.runs import NIGHT
from isams_pipeline.orchestration.selections import selection_of
from isams_pipeline.orchestration.session import alive, lock_of
from isams_pipeline.partners.registry import PARTNERS
from isams_pipeline.sources.registry import SOURCES
from isams_pipeline.storage.state import Delivery


@dataclass(frozen=True)
class NightRun:
    """How a night's run ended."""

    partner: str
    night: Night
    outcome: Outcome
    reason: str | None
    receipt: Delivery | None
    notes: tuple[str, ...]
    """What the run had to say, such as that iSAMS may still answer from its cache."""
    warnings: tuple[tuple[str, str], ...]
    """Asset and check that warned, and what it said; they held nothing back."""
    seconds: float
    run_id: str


def job_of(environment: Environment, name: str) -> dg.JobDefinition:
    """A job by its name, out of its own partner's definitions: a run of one needs those of no other."""
    owners = [partner for key, partner in PARTNERS.items() if name.startswith(f"{key}_")]
    return build_definitions(environment, owners[-1:]).resolve_job_def(name)


class Nightly:
    """Runs one partner's nightly job, or another job of it that delivers."""

    def __init__(
        self,
        environment: Environment,
        instance: dg.DagsterInstance,
        partner: str,
        job: str | None = None,
        see: Callable[[dg.DagsterEvent], None] = lambda _: None,
    ) -> None:
        """`see` is called with each event of a run, as it happens."""
        self._environment = environment
        self._see = see
        self.partner = partner
        self.instance = instance
        self.job = job_of(environment, job or f"{partner}_nightly")

    def run(self, night: Night, tags: Mapping[str, str] | None = None, **told: bool) -> NightRun:
        """Run a night, and say how it ended by its receipt.

        `told`: the options of the night, which the launch pad has, too: fresh, allow_removals, allow_cancellations.
        """
        return self._run(night, told, self.chosen(night.school), tags)

    def release(self, night: Night) -> NightRun:
        """Deliver a school's first export, which was staged and held."""
        return self._run(night, {"release": True}, [dg.AssetKey([self.partner, "delivery"])])

    def lives(self, run_id: str) -> bool:
        """Whether a process carries a run on."""
        return not self._environment.locks.is_free(lock_of(run_id))

    def chosen(self, school: str) -> list[dg.AssetKey] | None:
        """The assets that a run of the school's takes; None: all that the job has."""
        return selection_of(self._environment.settings.school(school), self.partner, self.job)

    def ended(self, night: Night, run_id: str) -> NightRun:
        """How a run ended that another process carried out, such as Dagster's daemon."""
        record = self.instance.get_run_record_by_id(run_id)
        seconds = ((record.end_time or 0) - (record.start_time or record.end_time or 0)) if record else 0
        events = [entry.dagster_event for entry in self.instance.all_logs(run_id) if entry.dagster_event]
        return self._told(night, _Executed(run_id, events, seconds))

    def _run(
        self,
        night: Night,
        told: Mapping[str, bool],
        chosen: list[dg.AssetKey] | None,
        tags: Mapping[str, str] | None = None,
    ) -> NightRun:
        return self._told(
            night,
            _execute(
                self._environment, self.job, self.instance, night, config_of(told), chosen, tags=tags, see=self._see
            ),
        )

    def _told(self, night: Night, done: _Executed) -> NightRun:
        receipt, failures = self._receipt(done.run_id), done.failures
        if receipt is not None:
            outcome, reason = Outcome(receipt.outcome), receipt.reason
        else:
            run = self.instance.get_run_by_id(done.run_id)
            ended = "cancelled" if run is not None and run.status is dg.DagsterRunStatus.CANCELED else "broken off"
            outcome, reason = Outcome.FAILED, "\n".join(failures) or f"The run was {ended}; run it again."
        notes = together(self._said(done.run_id))
        if outcome in (Outcome.DELIVERED, Outcome.UNCHANGED):
            notes += [f"not part of the export, but failed: {failure}" for failure in failures]
        return NightRun(
            self.partner, night, outcome, reason, receipt, tuple(notes), done.warnings, done.seconds, done.run_id
        )

    def _receipt(self, run_id: str) -> Delivery | None:
        try:
            return Receipts(self._environment.state).of_run(run_id)
        except StorageError:
            return None

    def _said(self, run_id: str) -> Iterator[str]:
        for entry in self.instance.all_logs(run_id):
            if not entry.is_dagster_event and entry.user_message.startswith(_TOLD):
                yield entry.user_message


def config_of(told: Mapping[str, bool]) -> dict[str, Any]:
    """The configuration of a run that is told the options of a night."""
    return {"resources": {NIGHT: {"config": dict(told)}}}


@dataclass(frozen=True)
class JobRun:
    """How a run ended that leaves no receipt."""

    run_id: str
    failures: tuple[str, ...]
    """What each failed step said."""
    seconds: float


def run_job(  # a run's where, what and how
    environment: Environment,
    instance: dg.DagsterInstance,
    job: str,
    night: Night | date,
    ops: Json,
    chosen: list[dg.AssetKey] | None = None,
) -> JobRun:
    """Run a job now, or only some of its assets; `ops` is the configuration of its steps.

    `night`: a night of a school, or a date of all schools.
    """
    resolved = job_of(environment, job)
    done = _execute(environment, resolved, instance, night, {"ops": ops}, chosen)
    return JobRun(done.run_id, tuple(done.failures), done.seconds)


@dataclass(frozen=True)
class _Executed:
    """A run that has ended."""

    run_id: str
    events: Sequence[dg.DagsterEvent]
    seconds: float

    @property
    def failures(self) -> list[str]:
        """What failed steps said."""
        return together(what_failed(self.events))

    @property
    def warnings(self) -> tuple[tuple[str, str], ...]:
        """Asset and check that warned, and what it said."""
        found: list[tuple[str, str]] = []
        for event in self.events:
            check = event.event_specific_data
            if isinstance(check, dg.AssetCheckEvaluation) and not check.passed and check.severity is _WARN:
                found.append((f"{check.asset_key.to_user_string()}: {check.check_name}", check.description or ""))
        return tuple(found)


_WARN = dg.AssetCheckSeverity.WARN


def _execute(
    environment: Environment,
    job: dg.JobDefinition,
    instance: dg.DagsterInstance,
    night: Night | date,
    config: Json,
    chosen: list[dg.AssetKey] | None = None,
    *,
    tags: Mapping[str, str] | None = None,
    see: Callable[[dg.DagsterEvent], None] = lambda _: None,
) -> _Executed:
    """Run a job in this process. `tags`: of the run, beside those of its job and partition."""
    started = time.monotonic()
    run_id = make_new_run_id()
    partition = night.isoformat() if isinstance(night, date) else key_of(night)
    run_config = {**config, "loggers": {"console": {"config": {"log_level": "CRITICAL"}}}}
    with alive(environment.locks, run_id):  # before there is a run that could be taken for nobody's
        run = instance.create_run_for_job(
            job_def=job.get_subset(asset_selection=frozenset(chosen)) if chosen else job,
            run_id=run_id,
            run_config=run_config,
            tags=merge_run_tags(job, partition, tags, chosen, instance, run_config),
            asset_selection=frozenset(chosen) if chosen else None,
            remote_job_origin=ORIGIN.get_job_origin(job.name),
        )
        events: list[dg.DagsterEvent] = []
        blind = False
        for event in execute_run_iterator(InMemoryJob(job), run, instance):
            events.append(event)
            try:
                if not blind:
                    see(event)
            except (OSError, SystemExit):  # nobody reads any more: that is no reason to end a night
                blind = True
    if any(_was_interrupted(event) for event in events):
        raise KeyboardInterrupt  # Dagster has ended the run in order, and says nothing
    return _Executed(run_id, events, time.monotonic() - started)


def _was_interrupted(event: dg.DagsterEvent) -> bool:
    """Whether a run ended because a person ended this process."""
    data = event.event_specific_data
    return isinstance(data, JobFailureData) and data.failure_reason is RunFailureReason.UNEXPECTED_TERMINATION


ORIGIN = RemoteRepositoryOrigin(
    location_origin_from_module_name(definitions.__name__, attribute=None, working_directory=None),
    repository_name=SINGLETON_REPOSITORY_NAME,
)
"""The code location that workspace.yaml names. A run that has it stands in the UI's timeline, under its job, and can be
launched again from there; without it the UI takes a run for one of code that is gone."""
_TOLD = ("key ", "register: ", "licence: ", "photos: ", *(f"{source.label}: " for source in SOURCES.values()))
"""How a message begins that a person at the command line should see."""


if not TYPE_CHECKING:  # who checks types sees what is there

    def __getattr__(name: str) -> object:
        """Names of before, with a warning."""
        return found_elsewhere(__name__, name)
