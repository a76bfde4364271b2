"""What is kept of a school, and what of it has come to its end by `retention` in schools.yaml.

A pass holds the school's lock, drops the notes of nights that are over, then what no note names any more. What later
nights are compared with stays, however old it is: the last two nights that each partner got, with what they were made
of.
"""

from __future__ import annotations

import contextlib
from collections import Counter
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass, field
from datetime import UTC, date, datetime, time, timedelta
from functools import cached_property, partial
from typing import Any

import dagster as dg
from dagster._core.storage.dagster_run import RunsFilter
from dagster._core.storage.event_log.schema import AssetCheckExecutionsTable
from dagster._core.storage.event_log.sql_event_log import SqlEventLogStorage
from sqlalchemy import delete, func, select
from sqlalchemy.orm import DeclarativeBase

from isams_pipeline.clock import today_at
from isams_pipeline.config import IsamsSettings
from isams_pipeline.config.feeds import FEEDS
from isams_pipeline.config.retention import LEAST
from isams_pipeline.delivery.receipts import Receipts
from isams_pipeline.errors import PipelineError, StorageError
from isams_pipeline.orchestration.alerts.posting import SETTLED
from isams_pipeline.orchestration.environment import Environment
from isams_pipeline.orchestration.partitions import SCHOOL_TAG
from isams_pipeline.orchestration.partner import AnyPartner
from isams_pipeline.sources.isams.night import tables_are_stored
from isams_pipeline.storage.archive import Snapshot
from isams_pipeline.storage.earlier import dates_of
from isams_pipeline.storage.ending import Cutoff, Ending, files_ending, nothing_ends, together
from isams_pipeline.storage.state import Delivery
from isams_pipeline.storage.state.alerts import AlertMessage, Problem
from isams_pipeline.storage.state.rights import PersonRequest

Look = Callable[[], Iterable[Ending]]
_OVER = [dg.DagsterRunStatus.SUCCESS, dg.DagsterRunStatus.FAILURE, dg.DagsterRunStatus.CANCELED]
OVER_ALL = "tonight"
"""The folder of reports over all schools: a file a date, which names no person."""
_AT_ONCE = 200
"""Runs that are asked for at a time."""
_LONGEST = timedelta(minutes=4)
"""So long a pass removes runs, well below the time that a night waits for the school's lock; the next one goes on."""


@dataclass(frozen=True)
class Keeping:
    """What is kept of a school on a day, and until when."""

    environment: Environment
    school: str
    partners: Iterable[AnyPartner] = field(repr=False)

    @cached_property
    def today(self) -> date:
        """The date at the school."""
        return today_at(self.environment.settings.school(self.school).timezone, self.environment.clock)

    @property
    def before(self) -> Cutoff:
        """What is kept → the first date of it that stays."""
        days = self.environment.settings.retention_of(self.school)

        def first(kind: str) -> date | None:
            found: int | None = getattr(days, kind)
            return None if found is None else self.today - timedelta(days=found)

        return first

    @cached_property
    def standing(self) -> dict[str, list[Delivery]]:
        """Partner → the deliveries that the next ones are compared with."""
        return Receipts(self.environment.state).standing(self.school)

    def looks(self) -> Iterator[Look]:
        """What looks for what ends now, store by store, what others are made of last; asked under the school's lock."""
        for key in self.environment.settings.school(self.school).partners.exporting:
            yield partial(self._exports, key)
        yield self._reports
        yield from self.stores()
        for partner in self.partners:
            yield partial(partner.ends, self.environment, self.school, self.before)
        yield from (self._bundles, self._receipts)

    def stores(self) -> tuple[Look, ...]:
        """The stores whose notes name objects, what others are made of last."""
        return (self._staged, self._tables, self._lists, self._archive)

    def _nights(self, partner: str | None = None) -> set[date]:
        """The nights that stay for the sake of later ones."""
        return {one.date for key, kept in self.standing.items() if partner in (None, key) for one in kept}

    def _exports(self, partner: str) -> Iterator[Ending]:
        before = self.before("exports")
        for name, target in self.environment.targets_of(self.school, partner) if before is not None else ():
            place = f"{name}/{self.school}"
            nights = dates_of(target.names(place))
            # Without receipts the newest one there is what the next is compared with.
            stay = self._nights(name) | {*nights[-1:]}
            gone = [
                f"{place}/{night}" for night in nights if before is not None and night < before and night not in stay
            ]
            yield files_ending("exports", target, trees=gone)

    def _staged(self) -> Iterator[Ending]:
        before = self.before("staged")
        if before is None:
            return
        for staged in self.environment.staged_of(self.school):
            kept = self.standing.get(staged.partner, [])
            hashes = {str(facts["sha256"]) for one in kept for facts in one.manifest.get("files", {}).values()}
            yield staged.ending(before, nights=self._nights(staged.partner), hashes=hashes)

    def _reports(self) -> Iterator[Ending]:
        before, reports = self.before("reports"), self.environment.reports
        if before is None:
            return
        nights = self._nights()
        for of in reports.names():
            # A school's own reports lie in its folder, what was left out for a partner in the partner's.
            place = self.school if of == self.school else f"{of}/{self.school}"
            gone = [day for day in dates_of(reports.names(place)) if day < before and day not in nights]
            yield files_ending("reports", reports, trees=[f"{place}/{day}" for day in gone])

    def _tables(self) -> Iterator[Ending]:
        before, tables = self.before("tables"), self.environment.tables
        if before is None:
            return
        pinned: dict[tuple[str, str], set[str]] = {}
        for one in (one for kept in self.standing.values() for one in kept):
            for name, pin in one.manifest.get("datasets", {}).items():
                pinned.setdefault((str(pin.get("source")), name), set()).add(str(pin.get("sha256")))
        for source, dataset in tables.of_school(self.school):
            hashes = pinned.get((source, dataset), set())
            yield tables.ending(source, dataset, self.school, before, nights=self._nights(), hashes=hashes)

    def _lists(self) -> Iterator[Ending]:
        before, lists = self.before("lists"), self.environment.lists
        if before is not None:
            for source in (source for source, school in lists.schools_of() if school == self.school):
                yield lists.ending(source, self.school, before)

    def _archive(self) -> Iterator[Ending]:
        before, archive = self.before("archive"), self.environment.archive
        isams = self.environment.settings.school(self.school).isams
        if isams is not None:  # what a run that was broken off, or refused, has left
            yield archive.answers_ending(self.school, partial(self._answer_ends, isams))
        # Also where all nights stay: what no note names any more does not.
        yield archive.ending(self.school, before or date.min)

    def _answer_ends(self, isams: IsamsSettings, snapshot: Snapshot) -> bool:
        """Whether an answer's bytes are not to be kept any more, though its night is.

        Until its tables are stored a person may still look at why they are not, for some days.
        """
        key = isams.keys.get(snapshot.key)
        medical = snapshot.covers(FEEDS["medical"].methods)
        if key.keeps_answers if key is not None else not medical:
            return False
        night = date.fromisoformat(snapshot.date)
        is_old = night < self.today - timedelta(days=LEAST)
        return night < self.today and (is_old or tables_are_stored(self.environment.tables, snapshot))

    def _bundles(self) -> Iterator[Ending]:
        if (before := self.before("bundles")) is not None:
            yield old_files("bundles", self.environment, f"bundles/{self.school}", before, folders=True)

    def _receipts(self) -> Iterator[Ending]:
        if (before := self.before("receipts")) is not None:
            yield Receipts(self.environment.state).ending(self.school, before)
            moment = datetime.combine(before, time(), UTC)
            asked = (PersonRequest.school == self.school, PersonRequest.at < moment)
            yield rows_ending("receipts", self.environment, PersonRequest, *asked)


def old_files(kind: str, environment: Environment, place: str, before: date, *, folders: bool = False) -> Ending:
    """The files in a place of the data folder, or with `folders` the folders in it, written before a date."""
    folder, moment = environment.data, datetime.combine(before, time(), UTC)
    old: list[str] = []
    for name in folder.names(place):
        path = f"{place}/{name}"
        with contextlib.suppress(FileNotFoundError):
            if folder.modified(path) < moment:
                old.append(path)
    return files_ending(kind, folder, trees=old) if folders else files_ending(kind, folder, objects=old)


def rows_ending(kind: str, environment: Environment, table: type[DeclarativeBase], *where: Any) -> Ending:
    """The rows of the state database that meet all conditions."""
    with environment.state.transaction() as session:
        rows = session.scalar(select(func.count()).select_from(table).where(*where)) or 0

    def go() -> None:
        with environment.state.transaction() as session:
            session.execute(delete(table).where(*where), execution_options={"synchronize_session": False})

    return Ending(kind, {"rows": rows}, go)


# --- what is Dagster's, and what belongs to no school -----------------------------------------------------------


def runs_ending(instance: dg.DagsterInstance, school: str | None, before: date) -> Ending:
    """A school's runs that were over before a date, or with None those of no school; with their events and logs."""
    moment = datetime.combine(before, time(), UTC)
    tags = {} if school is None else {SCHOOL_TAG: school}
    asked = RunsFilter(tags=tags, statuses=_OVER, created_before=moment)

    def ids() -> list[str]:
        found: list[str] = []
        cursor: str | None = None
        while True:
            some = instance.get_run_records(asked, limit=_AT_ONCE, cursor=cursor, ascending=True)
            found += [one.dagster_run.run_id for one in some if school or SCHOOL_TAG not in one.dagster_run.tags]
            if len(some) < _AT_ONCE:
                return found
            cursor = some[-1].dagster_run.run_id

    known = ids()

    def go() -> None:
        end = datetime.now(UTC) + _LONGEST
        for run_id in known:
            if datetime.now(UTC) > end:
                break
            try:
                _forget(instance, run_id)
            except Exception as error:  # noqa: BLE001  # whatever Dagster's storage says; its text may quote a row
                raise StorageError(
                    f"Dagster's history did not let go of a run: {type(error).__name__}",
                    run=run_id,
                    remedy="Check that it runs and may be written; the next pass tries again.",
                ) from None

    return Ending("runs", {"runs": len(known)}, go)


def _forget(instance: dg.DagsterInstance, run_id: str) -> None:
    """Remove a run, its events and what it printed."""
    events = instance.event_log_storage
    if isinstance(events, SqlEventLogStorage):
        # Dagster's own way of removing a run leaves the verdicts of its checks.
        with events.index_connection() as connection:
            of_the_run = AssetCheckExecutionsTable.c.run_id == run_id
            connection.execute(AssetCheckExecutionsTable.delete().where(of_the_run))
    instance.delete_run(run_id)
    with contextlib.suppress(NotImplementedError):
        instance.compute_log_manager.delete_logs(prefix=[run_id])


def of_no_school(environment: Environment, instance: dg.DagsterInstance) -> Iterator[Ending]:
    """What ends of what belongs to all schools: runs of no school, problems that are over, and messages about them."""
    days, today = environment.settings.retention, environment.clock().astimezone(UTC).date()
    if days.reports is not None:
        first = today - timedelta(days=days.reports)
        old = [night for night in dates_of(environment.reports.names(OVER_ALL), ".csv") if night < first]
        yield files_ending("reports", environment.reports, notes=[f"{OVER_ALL}/{night}.csv" for night in old])
    if days.runs is not None:
        yield runs_ending(instance, None, today - timedelta(days=days.runs))
    if days.alerts is not None:
        moment = datetime.combine(today - timedelta(days=days.alerts), time(), UTC)
        yield rows_ending("alerts", environment, Problem, Problem.closed_at < moment)
        settled = [state.value for state in SETTLED]
        yield rows_ending(
            "alerts", environment, AlertMessage, AlertMessage.state.in_(settled), AlertMessage.changed_at < moment
        )


@dataclass(frozen=True)
class Pass:
    """How a pass over a school ended."""

    counts: dict[str, Counter[str]]
    """Kind → what → how many ended, or would."""
    failed: Sequence[PipelineError]
    """What could not be looked at or ended; one store that cannot be reached, such as a partner's, keeps no other."""


class _NothingIsOver(Keeping):
    """What is kept, with no night of it over."""

    @property
    def before(self) -> Cutoff:
        return lambda _kind: date.min


def unnamed_of(environment: Environment, school: str, partners: Iterable[AnyPartner]) -> Iterator[Ending]:
    """What of a school no note names any more, though no night is over. Only for who holds the school's lock."""
    kept = _NothingIsOver(environment, school, partners)
    for look in kept.stores():
        yield from look()


def pass_over(
    environment: Environment,
    instance: dg.DagsterInstance,
    school: str,
    partners: Iterable[AnyPartner],
    *,
    for_real: bool,
) -> Pass:
    """End what has come to its end of a school, and of what belongs to none; or only say how much that is.

    Only for who holds the school's lock. Raises ConfigurationError.
    """
    keeping = Keeping(environment, school, partners)
    done: list[Ending] = []
    failed: list[PipelineError] = []
    looks = (*keeping.looks(), partial(_runs, keeping, instance), partial(of_no_school, environment, instance))
    for look in looks:
        try:
            for one in look():
                if for_real and not nothing_ends(one.counts):
                    one.go()
                done.append(one)
        except PipelineError as error:
            failed.append(error)
    return Pass(together(done), failed)


def _runs(keeping: Keeping, instance: dg.DagsterInstance) -> Iterator[Ending]:
    if (before := keeping.before("runs")) is not None:
        yield runs_ending(instance, keeping.school, before)
