"""A school's night by a road → its tables: each list read once, only what has changed, folded into what was there.

Knows no Dagster. A road only knows now: a date is read only while it is today at the school.
"""

from __future__ import annotations

import contextlib
import hashlib
import time
from collections.abc import Callable, Collection, Generator, Iterator, Mapping
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import dataclass, field, replace
from datetime import date
from typing import Any

import pandas as pd

from isams_pipeline.clock import Clock, today_at
from isams_pipeline.config import SchoolSettings
from isams_pipeline.errors import (
    ChangesForgotten,
    FutureDate,
    NoSnapshot,
    NotAuthorised,
    PipelineError,
    RowsMoved,
    ScopesShrunk,
    WrongToken,
    WrongType,
)
from isams_pipeline.isams.datasets import ROAD_DATASETS, DatasetDeclaration
from isams_pipeline.roads.client import RoadClient
from isams_pipeline.roads.connections import Connections, Finding, State
from isams_pipeline.roads.grants import Grant, Json, ListRequest
from isams_pipeline.roads.mapping import VERSION, Absent, Lists, Mapped
from isams_pipeline.roads.road import Road
from isams_pipeline.storage.lists import ListNight, ListStore, StoredList
from isams_pipeline.storage.tables import StoredTable

_READINGS = 3
"""How often a list is read anew because its rows moved between pages."""


@dataclass(frozen=True)
class RoadTable:
    """A dataset of the night. Without a frame, it is that of `same_as`: what it is made from has not changed."""

    frame: pd.DataFrame | None
    same_as: StoredTable | None = None
    absent: str | None = None
    """Why it is empty by this road."""
    provenance: dict[str, Any] = field(default_factory=dict[str, Any])
    folds: tuple[str, ...] = ()
    """Where a full read has shown that the changes since the last one had missed something."""


@dataclass(frozen=True)
class ReaderContext:
    """What the reader needs of the world."""

    road: Road
    school: str
    settings: SchoolSettings
    lists: ListStore
    connections: Connections
    client: Callable[[], contextlib.AbstractContextManager[RoadClient]]
    clock: Clock
    run_id: str = "unknown"
    is_intact: Callable[[StoredTable], bool] = lambda _: True
    """Whether a stored table can still be read, so that a night may have it again."""


class RoadReader:
    """All datasets of one school and night by one road. `close` it."""

    def __init__(
        self,
        context: ReaderContext,
        night: date,
        *,
        fresh: bool = False,
        allow_removals: bool = False,
        ask_again_after: float = 0,
        ahead: Collection[str] = (),
        tell: Callable[[str], None] = lambda _: None,
    ) -> None:
        """`ahead` are the datasets that will be asked for: while one is made, the lists of the next are read."""
        self._context, self._night = context, night
        self._source, self._school = context.road.source, context.school
        self._store = context.lists
        self._road_settings = context.settings.road(context.road.source)
        self._fresh, self._allow_removals, self._tell = fresh, allow_removals, tell
        self._ask_again_after = ask_again_after
        self._held = contextlib.ExitStack()
        self._client: RoadClient | None = None
        self._grant: Grant | None = None
        self._of_night: ListNight | None = None
        self._before: ListNight | None = None
        self._folds: dict[str, str] = {}
        self._ahead = [name for name in ahead if name in ROAD_DATASETS]
        self._reading: dict[str, Future[StoredList]] = {}
        self._pool: ThreadPoolExecutor | None = None
        self._broken: PipelineError | None = None
        self._said: list[str] = []
        self._failed: tuple[PipelineError, float] | None = None
        # Once for all datasets: midnight may pass while they are read.
        self._today = today_at(context.settings.timezone, context.clock)

    def close(self) -> None:
        """Let go of the connection, and of what was still to be read."""
        if self._pool is not None:
            self._pool.shutdown(wait=True, cancel_futures=True)
        self._held.close()

    # --- tables -------------------------------------------------------------------------------------------

    def table(self, dataset: str, before: StoredTable | None) -> RoadTable:
        """A dataset, unchecked; `before` is the newest table that there is of an earlier night, or of this one.

        Raises what the road said, NotAuthorised, ScopesShrunk, WrongType, NoSnapshot or FutureDate.
        """
        declaration, mapped = ROAD_DATASETS[dataset], self._context.road.mapping.datasets[dataset]
        if isinstance(mapped, Absent):
            return RoadTable(declaration.empty(), absent=mapped.reason)
        found = self._lists_for(mapped, must_have=declaration.must_have_rows)
        if mapped.lists[0] not in found:
            scope = self._context.road.lists[mapped.lists[0]].scope
            return RoadTable(declaration.empty(), absent=f"the school has not authorised {scope}")
        assert self._of_night is not None
        provenance = self._provenance(declaration, mapped, found)
        folds = tuple(self._folds[name] for name in mapped.lists if name in self._folds)
        if (
            before is not None
            and before.provenance.get("sha256") == provenance["sha256"]
            and not self._fresh
            and self._context.is_intact(before)
        ):
            return RoadTable(None, before, provenance=provenance, folds=folds)
        lists = Lists(lambda name, begin: self._rows(found, name, begin), self._road_settings)
        try:
            frame = mapped.frame(declaration, lists, self._context.settings)
        except WrongType as error:
            error.remedy = _remedy(error, self._context.road.label, self._source)
            raise error.at(school=self._school, source=self._source, dataset=dataset) from None
        except PipelineError as error:
            raise error.at(school=self._school, source=self._source, dataset=dataset) from None
        return RoadTable(frame, provenance=provenance, folds=folds)

    def _rows(self, found: Mapping[str, StoredList], name: str, begin: bytes) -> Iterator[Json]:
        if name in found:
            yield from self._store.rows(self._source, self._school, found[name].sha256, begin)

    def _provenance(
        self, declaration: DatasetDeclaration, mapped: Mapped, found: Mapping[str, StoredList]
    ) -> dict[str, Any]:
        assert self._of_night is not None
        # All that a table is made from: with the same of it, the table is the same.
        lines = [f"{VERSION} {self._context.settings.timezone}", repr(sorted(self._road_settings.year_codes.items()))]
        lines += [f"{c.name} {c.kind} {mapped.columns.get(c.name)}" for c in declaration.columns]
        lines += [f"{name} {stored.sha256}" for name, stored in sorted(found.items())]
        return {
            "key": self._source,
            "sha256": hashlib.sha256("\n".join(lines).encode()).hexdigest(),
            "fetched_at": min(stored.read_at for stored in found.values()),
            "freshness": self._of_night.freshness,
            "lists": {name: found[name].sha256 for name in mapped.lists if name in found},
        }

    # --- lists --------------------------------------------------------------------------------------------

    def _lists_for(self, mapped: Mapped, *, must_have: bool) -> dict[str, StoredList]:
        """The lists that a dataset is made from; those that are not authorised are missing."""
        today = self._today
        if self._night > today:
            raise FutureDate(
                f"It is not yet {self._night} at the school",
                school=self._school,
                remedy=f"There it is {today}; run this date when it has come.",
            )
        if self._night < today:
            return self._kept(mapped)
        grant = self._open()
        wanted = [self._context.road.lists[name] for name in mapped.lists]
        if must_have:
            grant.request(wanted[0], self._night)
        return {one.name: self._list(one.name) for one in wanted if grant.allows(one)}

    def _kept(self, mapped: Mapped) -> dict[str, StoredList]:
        if self._of_night is None:
            self._of_night = self._store.find(self._source, self._school, self._night)
        if self._of_night is None:
            raise NoSnapshot(
                f"Nothing of that night was kept, and {self._context.road.label} only knows today",
                school=self._school,
                source=self._source,
                date=self._night,
                remedy="Choose a night that was run: others cannot be had any more.",
            )
        lists = self._of_night.lists
        missing = [
            name
            for name in mapped.lists
            if name not in lists and self._context.road.lists[name].scope in self._of_night.scopes
        ]
        if missing:
            raise NoSnapshot(
                f"That night was broken off before {', '.join(missing)} could be read",
                school=self._school,
                source=self._source,
                date=self._night,
                remedy="What was not read then cannot be had any more; choose another night.",
            )
        return {name: lists[name] for name in mapped.lists if name in lists}

    def _open(self) -> Grant:
        """Prove the authorisation once, before anything else is asked."""
        if self._grant is not None:
            return self._grant
        if self._failed is not None:
            error, at = self._failed
            if not error.retryable or time.monotonic() - at < self._ask_again_after:
                raise error
        try:
            self._grant = self._proven()
        except PipelineError as error:
            error.at(school=self._school, source=self._source)
            self._failed = error, time.monotonic()
            raise
        return self._grant

    def _proven(self) -> Grant:
        connections = self._context.connections
        if self._client is None:
            self._client = self._held.enter_context(self._context.client())
        with self._noticed():
            grant = self._client.grant(connections.current(self._school, self._source))
        said = f"read by {self._context.road.label}"
        finding = Finding(State.AUTHORISED, scopes=grant.scopes, said=said)
        connections.found(self._school, self._source, finding, who=f"run {self._context.run_id}")
        self._before = self._store.latest(self._source, self._school, self._night)
        lost = sorted(set(self._before.scopes) - grant.scopes) if self._before else []
        if lost and not self._allow_removals:
            raise ScopesShrunk(
                f"The school has taken back {', '.join(lost)}",
                remedy="Nothing was read, and the tables stay. If that is right, run once with --allow-removals; else "
                f"`isams-pipeline connector authorise {self._school} --road {self._source}`.",
            )
        freshness = self._client.freshness()
        of_night = ListNight(self._night.isoformat(), tuple(sorted(grant.scopes)), grant.subject, freshness, {})
        before = self._before
        if before and (before.date, before.scopes, before.subject) == (of_night.date, of_night.scopes, grant.subject):
            of_night.lists.update(before.lists)  # an earlier run of this very night
        self._of_night = of_night
        return grant

    @contextlib.contextmanager
    def _noticed(self) -> Generator[None, None, None]:
        """Where a call shows that the connection is not what it was, look again and note that."""
        try:
            yield
        except (NotAuthorised, WrongToken):
            connections = self._context.connections
            with contextlib.suppress(PipelineError):
                assert self._client is not None
                finding = self._client.look(connections.current(self._school, self._source))
                connections.found(self._school, self._source, finding, who=f"run {self._context.run_id}")
            raise

    def _list(self, name: str) -> StoredList:
        """A list of the night, read once; one request at a time goes to the server, whoever waits for it."""
        if self._pool is None:
            self._pool = self._start()
        if name not in self._reading:
            self._reading[name] = self._pool.submit(self._kept_list, name)
        try:
            return self._reading[name].result()
        except BaseException:
            del self._reading[name]  # a step that is tried again asks again
            raise
        finally:
            while self._said:  # from this thread: Dagster's log wants to know whose step it is
                self._tell(self._said.pop(0))

    def _start(self) -> ThreadPoolExecutor:
        assert self._grant is not None
        pool = ThreadPoolExecutor(1, thread_name_prefix=self._source)
        for dataset in self._ahead:
            mapped = self._context.road.mapping.datasets[dataset]
            for name in mapped.lists if isinstance(mapped, Mapped) else ():
                if name not in self._reading and self._grant.allows(self._context.road.lists[name]):
                    self._reading[name] = pool.submit(self._kept_list, name)
        return pool

    def _kept_list(self, name: str) -> StoredList:
        assert self._grant is not None
        assert self._of_night is not None
        if self._broken is not None:
            raise self._broken
        request = self._grant.request(self._context.road.lists[name], self._night)
        try:
            with self._noticed():
                stored = self._read(request)
        except (NotAuthorised, WrongToken) as error:
            self._broken = error  # what is refused for one list is not asked for again with the next
            raise error.at(school=self._school, source=self._source, list=name) from None
        except PipelineError as error:
            raise error.at(school=self._school, source=self._source, list=name) from None
        self._of_night.lists[name] = stored
        self._store.remember(self._source, self._school, self._of_night)
        return stored

    def _read(self, request: ListRequest) -> StoredList:
        """The list as it is now: unchanged, folded, or read whole."""
        before = self._usable(request)
        if before is None or self._fresh:
            return self._whole(request)
        assert self._of_night is not None
        wanted = request.wanted
        due = (self._night - date.fromisoformat(before.full_on)).days >= self._road_settings.full_every
        freshness = self._of_night.freshness
        is_that_copy = freshness is not None and before.token.get("freshness") == freshness
        if is_that_copy and not due and (self._context.road.freshness_is_sure or not wanted.tells_changes):
            return replace(before, read_at=self._context.clock().isoformat())
        if not wanted.tells_changes:
            return self._whole(request)
        try:
            now = self._changed(request, before)
        except ChangesForgotten:
            self._say(f"{wanted.name}: the server no longer knows the last night's state; read anew")
            return self._whole(request)
        if not due:
            return now
        whole = self._whole(request)
        return self._proved(request, now, whole)

    def _usable(self, request: ListRequest) -> StoredList | None:
        """The list as it was last kept, where the same was asked for and it can still be read."""
        stored = self._before.lists.get(request.wanted.name) if self._before else None
        if stored is None or stored.asked != request.asked:
            return None
        if not self._store.is_intact(self._source, self._school, stored.sha256):
            self._say(f"{request.wanted.name}: the kept copy is lost or damaged; read anew")
            return None
        return stored

    def _changed(self, request: ListRequest, before: StoredList) -> StoredList:
        """What was kept, with what has changed since."""
        assert self._client is not None
        for _ in range(_READINGS):
            reading = self._client.read(request, before.token)
            now = self._context.clock().isoformat()
            if reading is None:
                if self._has_lost_rows(request, before):
                    return self._whole(request)
                return replace(before, read_at=now, token=before.token | self._fresh_token())
            if not reading.only_changes or (reading.expected or 0) > before.rows // 2:
                break  # as after a full sync, when everything counts as changed
            try:
                changed = {request.wanted.key_of(row): row for row in reading.rows}
            except RowsMoved:
                continue
            gone = set(reading.gone) - changed.keys()
            token = reading.token | self._fresh_token()
            if not changed and not gone:
                if self._has_lost_rows(request, before):
                    return self._whole(request)
                return replace(before, read_at=now, token=token)
            old = self._store.rows(self._source, self._school, before.sha256)
            sha256, rows = self._store.write(self._source, self._school, _folded(request, old, changed, gone))
            total = self._client.count(request)
            if total is not None and total != rows:
                # A row that was removed is in no list of changes: the number of rows shows it.
                self._say(f"{request.wanted.name}: {rows} rows after folding in the changes, of {total}; read anew")
                return self._whole(request)
            return replace(before, sha256=sha256, rows=rows, read_at=now, token=token)
        return self._whole(request)

    def _fresh_token(self) -> dict[str, str]:
        assert self._of_night is not None
        return {} if self._of_night.freshness is None else {"freshness": self._of_night.freshness}

    def _has_lost_rows(self, request: ListRequest, before: StoredList) -> bool:
        """Whether an unchanged list has fewer rows by now: a removal alone is told by no list of changes.

        Not asked where the road's own copy is still the one that was read.
        """
        assert self._client is not None
        if before.token.get("freshness") is not None and before.token | self._fresh_token() == before.token:
            return False
        total = self._client.count(request)
        if total is None or total == before.rows:
            return False
        self._say(f"{request.wanted.name}: {before.rows} rows were kept, of {total}; read anew")
        return True

    def _whole(self, request: ListRequest) -> StoredList:
        assert self._client is not None
        assert self._of_night is not None
        for attempt in range(_READINGS):
            reading = self._client.read(request, None)
            assert reading is not None
            try:
                sha256, rows = self._store.write(self._source, self._school, reading.rows)
            except RowsMoved:
                if attempt + 1 == _READINGS:
                    raise
                continue
            token = reading.token | self._fresh_token()
            now = self._context.clock().isoformat()
            return StoredList(sha256, rows, now, self._night.isoformat(), request.asked, token)
        raise AssertionError

    def _proved(self, request: ListRequest, folded: StoredList, whole: StoredList) -> StoredList:
        """The whole list; said aloud where folding the changes of the nights before had come to something else."""
        if folded.sha256 == whole.sha256:
            return whole
        ours, theirs = (self._digests(request, stored) for stored in (folded, whole))
        missing, extra = len(theirs.keys() - ours.keys()), len(ours.keys() - theirs.keys())
        differing = sum(ours[key] != theirs[key] for key in ours.keys() & theirs.keys())
        if not missing and not extra and not differing:
            # The same rows in another order: the order that was there keeps the tables as they are.
            return replace(whole, sha256=folded.sha256)
        problem = (
            f"{request.wanted.name}: reading everything anew found {missing} rows that the changes of the nights "
            f"before had missed, {extra} that were gone and {differing} that differed"
        )
        self._folds[request.wanted.name] = problem
        self._say(problem)
        return whole

    def _digests(self, request: ListRequest, stored: StoredList) -> dict[tuple[str, ...], bytes]:
        rows = self._store.rows(self._source, self._school, stored.sha256)
        return {request.wanted.key_of(row): hashlib.blake2b(repr(row).encode(), digest_size=8).digest() for row in rows}

    def _say(self, what: str) -> None:
        self._said.append(f"{self._context.road.label}: {what}")


def _remedy(error: WrongType, label: str, source: str) -> str:
    if str(error.where.get("field", "")).casefold() == "year":
        return f"If it is a year group named by letters, say its number in {source}.year_codes in schools.yaml."
    return (
        f"Correct the record in iSAMS; if iSAMS shows it well, {label} fills the field otherwise: report it as a bug."
    )


def _folded(
    request: ListRequest,
    old: Iterator[Json],
    changed: Mapping[tuple[str, ...], Json],
    gone: set[tuple[str, ...]],
) -> Iterator[Json]:
    """Old rows in their order, changed ones in their place, new ones at the end; a row that is gone twice is gone."""
    left = dict(changed)
    for row in old:
        key = request.wanted.key_of(row)
        if key in gone:
            continue
        yield left.pop(key, row)
    yield from left.values()
