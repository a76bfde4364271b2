"""A school's night by a source → its tables: each list read once, only what has changed, folded into what was there.

Knows no Dagster. A source only knows now: a date is read only while it is today at the school.
"""

from __future__ import annotations

import contextlib
import hashlib
import time
from collections.abc import Callable, Collection, Generator, Iterator, Mapping
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import dataclass
from datetime import date

from isams_pipeline.clock import Clock, today_at
from isams_pipeline.config import SchoolSettings
from isams_pipeline.datasets import LISTED_DATASETS, DatasetDeclaration
from isams_pipeline.datasets.shapes import Json, JsonObject
from isams_pipeline.errors import (
    FutureDate,
    NoSnapshot,
    NotAuthorised,
    PipelineError,
    ScopesShrunk,
    WrongToken,
    WrongType,
)
from isams_pipeline.rules.notes import as_json
from isams_pipeline.sources.shared.client import ListClient
from isams_pipeline.sources.shared.connections import Connections, Finding, State
from isams_pipeline.sources.shared.grants import READING, Grant
from isams_pipeline.sources.shared.keeping import ListKeeper
from isams_pipeline.sources.shared.listed import ListedSource
from isams_pipeline.sources.shared.mapping import VERSION, Absent, Lists, Mapped
from isams_pipeline.sources.shared.source import SourceTable
from isams_pipeline.storage.lists import ListNight, ListStore, StoredList
from isams_pipeline.storage.tables import StoredTable


@dataclass(frozen=True)
class ReaderContext:
    """What the reader needs of the world."""

    source: ListedSource
    school: str
    settings: SchoolSettings
    lists: ListStore
    connections: Connections
    client: Callable[[], contextlib.AbstractContextManager[ListClient]]
    clock: Clock
    run_id: str = "unknown"
    is_intact: Callable[[StoredTable], bool] = lambda _: True
    """Whether a stored table can still be read, so that a night may have it again."""


class ListReader:
    """All datasets of one school and night by one source. `close` it."""

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
        self._source, self._school = context.source.key, context.school
        self._store = context.lists
        self._source_settings = context.settings.settings_of(context.source.key)
        self._fresh, self._allow_removals, self._tell = fresh, allow_removals, tell
        self._ask_again_after = ask_again_after
        self._held = contextlib.ExitStack()
        self._client: ListClient | None = None
        self._of_night: ListNight | None = None
        self._keeper: ListKeeper | None = None
        self._ahead = [name for name in ahead if name in LISTED_DATASETS]
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

    def table(self, dataset: str, before: StoredTable | None) -> SourceTable:
        """A dataset, unchecked; `before` is the newest table that there is of an earlier night, or of this one.

        Raises what the source said, NotAuthorised, ScopesShrunk, WrongType, NoSnapshot or FutureDate.
        """
        declaration, mapped = LISTED_DATASETS[dataset], self._context.source.mapping.datasets[dataset]
        if isinstance(mapped, Absent):
            return _empty(declaration, mapped.reason)
        found = self._lists_for(mapped, must_have=declaration.must_have_rows)
        if mapped.lists[0] not in found:
            scope = self._context.source.lists[mapped.lists[0]].scope
            said = f"the school has not authorised {scope}"
            return _empty(declaration, said, {"lacking": self._lacking(dataset)})
        provenance = self._provenance(declaration, mapped, found)
        folded = self._keeper.folds if self._keeper else {}
        folds = tuple(folded[name] for name in mapped.lists if name in folded)
        if (
            before is not None
            and before.provenance.get("sha256") == provenance["sha256"]
            and not self._fresh
            and self._holds(before)
            and self._context.is_intact(before)
        ):
            of_rows = {name: before.provenance[name] for name in ("notes", "holds") if name in before.provenance}
            whole = provenance | of_rows
            return SourceTable(None, before, provenance=whole, folds=folds, facts=_facts(whole, folds))
        lists = Lists(lambda name, begin: self._rows(found, name, begin), self._source_settings, self._night)
        lists.leaves_people_out = any(stored.leaves_people_out for stored in found.values())
        try:
            frame = mapped.frame(declaration, lists, self._context.settings)
        except WrongType as error:
            error.remedy = _remedy(error, self._context.source.label, self._source)
            raise error.at(school=self._school, source=self._source, dataset=dataset) from None
        except PipelineError as error:
            raise error.at(school=self._school, source=self._source, dataset=dataset) from None
        if lists.notes:
            provenance["notes"] = as_json(lists.notes)
        if lists.last_day or lists.next_first_day:
            provenance["holds"] = [lists.last_day, lists.next_first_day]
        return SourceTable(frame, provenance=provenance, folds=folds, facts=_facts(provenance, folds))

    def _holds(self, before: StoredTable) -> bool:
        """Whether the groups that a table is made from run, or do not, on this night as they did on its own."""
        last_day, next_first_day = before.provenance.get("holds") or (None, None)
        night = self._night.isoformat()
        return (last_day is None or night <= last_day) and (next_first_day is None or night < next_first_day)

    def _rows(self, found: Mapping[str, StoredList], name: str, begin: bytes) -> Iterator[Json]:
        if name in found:
            yield from self._store.rows(self._source, self._school, found[name].sha256, begin)

    def _provenance(self, declaration: DatasetDeclaration, mapped: Mapped, found: Mapping[str, StoredList]) -> Json:
        of_night = self._kept_night()
        lacking = self._lacking(declaration.name)
        # All that a table is made from: with the same of it, the table is the same.
        lines = [f"{VERSION} {self._context.settings.timezone}", repr(sorted(self._source_settings.year_codes.items()))]
        lines += [f"{c.name} {c.kind} {mapped.columns.get(c.name)}" for c in declaration.columns]
        lines += [f"{name} {stored.sha256}" for name, stored in sorted(found.items())]
        clocks = [stored.token["freshness"] for stored in found.values() if "freshness" in stored.token]
        return {
            "key": self._source,
            "sha256": hashlib.sha256("\n".join(lines).encode()).hexdigest(),
            "fetched_at": min(stored.read_at for stored in found.values()),
            # Where lists have clocks of their own, the table is as old as the oldest.
            "freshness": min(clocks) if clocks else of_night.freshness,
            "lists": {name: found[name].sha256 for name in mapped.lists if name in found},
        } | ({"lacking": lacking} if lacking else {})

    def _lacking(self, dataset: str) -> list[list[str]]:
        """The scopes that the school has not authorised, and what of a dataset is missing for want of each."""
        held = self._of_night.scopes if self._of_night else ()
        return [
            [scope, what]
            for scope, given in self._context.source.gives.items()
            for of, what in given
            if of == dataset and scope not in held
        ]

    # --- lists --------------------------------------------------------------------------------------------

    def _lists_for(self, mapped: Mapped, *, must_have: bool) -> dict[str, StoredList]:
        """The lists that a dataset is made from; those that are not authorised are missing."""
        today = self._today
        if self._night > today:
            raise FutureDate(
                f"It is not yet {self._night} at the school",
                school=self._school,
                remedy=f"At the school it is {today}; run this night once its date has come.",
            )
        if self._night < today:
            return self._kept(mapped)
        keeper = self._open()
        wanted = [self._context.source.lists[name] for name in mapped.lists]
        if must_have:
            keeper.grant.request(wanted[0], self._night)
        return {one.name: self._list(keeper, one.name) for one in wanted if keeper.grant.allows(one)}

    def _kept(self, mapped: Mapped) -> dict[str, StoredList]:
        of_night = self._kept_night()
        lists = of_night.lists
        missing = [
            name
            for name in mapped.lists
            if name not in lists and self._context.source.lists[name].scope in of_night.scopes
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

    def _kept_night(self) -> ListNight:
        """What was kept of the night. Raises NoSnapshot where that is nothing."""
        if self._of_night is None:
            self._of_night = self._store.find(self._source, self._school, self._night)
        if self._of_night is None:
            raise NoSnapshot(
                f"Nothing of that night was kept, and {self._context.source.label} only knows today",
                school=self._school,
                source=self._source,
                date=self._night,
                remedy="Choose a night that was run: data of other nights can no longer be read.",
            )
        return self._of_night

    def _open(self) -> ListKeeper:
        """Prove the authorisation once, before anything else is asked."""
        if self._keeper is not None:
            return self._keeper
        if self._failed is not None:
            error, at = self._failed
            if not error.retryable or time.monotonic() - at < self._ask_again_after:
                raise error
        try:
            self._keeper = self._proven()
        except PipelineError as error:
            error.at(school=self._school, source=self._source)
            self._failed = error, time.monotonic()
            raise
        return self._keeper

    def _proven(self) -> ListKeeper:
        connections = self._context.connections
        if self._client is None:
            self._client = self._held.enter_context(self._context.client())
        client = self._client
        with self._noticed(client):
            grant = client.grant(connections.current(self._school, self._source))
        said = f"read by {self._context.source.label}"
        finding = Finding(State.AUTHORISED, scopes=grant.scopes, said=said)
        connections.found(self._school, self._source, finding, who=f"run {self._context.run_id}")
        before = self._store.latest(self._source, self._school, self._night)
        lost = sorted(set(before.scopes) - grant.scopes) if before else []
        if lost and not self._allow_removals:
            raise ScopesShrunk(
                f"The school has taken back {', '.join(lost)}",
                remedy="Nothing was read, and the tables stay. If that is right, run once with --allow-removals, or "
                "allow_removals: true in the launch pad; else run `isams-pipeline connector authorise "
                f"{self._school} --source {self._source}`.",
            )
        self._refuse_unused(grant, before)
        freshness = client.freshness()
        of_night = ListNight(self._night.isoformat(), tuple(sorted(grant.scopes)), grant.subject, freshness, {})
        if before and (before.date, before.scopes, before.subject) == (of_night.date, of_night.scopes, grant.subject):
            of_night.lists.update(before.lists)  # an earlier run of this very night
        self._of_night = of_night
        return ListKeeper(
            self._context.source,
            client,
            grant,
            self._store,
            night=of_night,
            before=before,
            settings=self._source_settings,
            clock=self._context.clock,
            fresh=self._fresh,
            say=self._say,
        )

    def _refuse_unused(self, grant: Grant, before: ListNight | None) -> None:
        """Raise ScopesShrunk where fields came before that now need a scope which nobody has taken into use."""
        is_first = before is not None and not any(stored.asked.startswith(READING) for stored in before.lists.values())
        if is_first and grant.unused and not self._allow_removals:
            raise ScopesShrunk(
                f"The school has authorised {', '.join(sorted(grant.unused))}, but the app does not use these scopes "
                "yet, and fields that were read before need them",
                remedy=f"Run `isams-pipeline connector authorise {self._school} --source {self._source}` to use the "
                "scopes; or run once with --allow-removals, or allow_removals: true in the launch pad, to go "
                "without.",
            )

    @contextlib.contextmanager
    def _noticed(self, client: ListClient) -> Generator[None, None, None]:
        """Where a call shows that the connection is not what it was, look again and note that."""
        try:
            yield
        except (NotAuthorised, WrongToken):
            connections = self._context.connections
            with contextlib.suppress(PipelineError):
                finding = client.look(connections.current(self._school, self._source))
                connections.found(self._school, self._source, finding, who=f"run {self._context.run_id}")
            raise

    def _list(self, keeper: ListKeeper, name: str) -> StoredList:
        """A list of the night, read once; one request at a time goes to the server, whoever waits for it."""
        if self._pool is None:
            self._pool = self._start(keeper)
        if name not in self._reading:
            self._reading[name] = self._pool.submit(self._kept_list, keeper, name)
        try:
            return self._reading[name].result()
        except BaseException:
            del self._reading[name]  # a step that is tried again asks again
            raise
        finally:
            while self._said:  # from this thread: Dagster's log wants to know whose step it is
                self._tell(self._said.pop(0))

    def _start(self, keeper: ListKeeper) -> ThreadPoolExecutor:
        pool = ThreadPoolExecutor(1, thread_name_prefix=self._source)
        for dataset in self._ahead:
            mapped = self._context.source.mapping.datasets[dataset]
            for name in mapped.lists if isinstance(mapped, Mapped) else ():
                if name not in self._reading and keeper.grant.allows(self._context.source.lists[name]):
                    self._reading[name] = pool.submit(self._kept_list, keeper, name)
        return pool

    def _kept_list(self, keeper: ListKeeper, name: str) -> StoredList:
        if self._broken is not None:
            raise self._broken
        request = keeper.grant.request(self._context.source.lists[name], self._night)
        try:
            with self._noticed(keeper.client):
                stored = keeper.now(request)
        except (NotAuthorised, WrongToken) as error:
            self._broken = error  # what is refused for one list is not asked for again with the next
            raise error.at(school=self._school, source=self._source, list=name) from None
        except PipelineError as error:
            raise error.at(school=self._school, source=self._source, list=name) from None
        of_night = self._kept_night()
        of_night.lists[name] = stored
        self._store.remember(self._source, self._school, of_night)
        return stored

    def _say(self, what: str) -> None:
        self._said.append(f"{self._context.source.label}: {what}")


def _empty(declaration: DatasetDeclaration, why: str, provenance: JsonObject | None = None) -> SourceTable:
    """A dataset that this source does not have, or not for this school."""
    return SourceTable(declaration.empty(), absent=why, provenance=provenance or {}, facts={"empty because": why})


def _facts(provenance: JsonObject, folds: tuple[str, ...]) -> dict[str, object]:
    facts: dict[str, object] = {"lists": provenance["lists"], "read_at": provenance["fetched_at"]}
    if provenance.get("freshness"):
        facts["the source's own copy is of"] = provenance["freshness"]
    if folds:
        facts["missed by changes"] = "; ".join(folds)
    return facts


def _remedy(error: WrongType, label: str, source: str) -> str:
    if str(error.where.get("field", "")).casefold() == "year":
        return f"Say the National Curriculum year of each under {source}.year_codes in schools.yaml, such as FD: -1."
    return (
        f"Correct the record in iSAMS; if iSAMS shows the field correctly, {label} fills the field otherwise: report "
        "this as a bug."
    )
