"""A source's lists as they are kept: unchanged, with the changes folded in, or read whole. Knows no Dagster."""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Iterable, Iterator, Mapping
from dataclasses import replace
from datetime import date

from isams_pipeline.clock import Clock
from isams_pipeline.config import SourceSettings
from isams_pipeline.datasets.shapes import Json
from isams_pipeline.errors import ChangesForgotten, NotRestData, RowsMoved
from isams_pipeline.sources.shared.client import ListClient
from isams_pipeline.sources.shared.grants import Grant, ListRequest
from isams_pipeline.sources.shared.listed import ListedSource
from isams_pipeline.storage.lists import ListNight, ListStore, StoredList

_READINGS = 3
"""How often a list is read anew because its rows moved between pages."""


class ListKeeper:
    """The lists of a night, of what a grant allows. `before` was last kept, of an earlier night or of this one."""

    def __init__(
        self,
        source: ListedSource,
        client: ListClient,
        grant: Grant,
        store: ListStore,
        *,
        night: ListNight,
        before: ListNight | None,
        settings: SourceSettings,
        clock: Clock,
        fresh: bool,
        say: Callable[[str], None],
    ) -> None:
        self.grant = grant
        self._source, self.client, self._store = source, client, store
        self._place = grant.source, grant.school
        self._night, self._before = night, before
        self._settings, self._clock, self._fresh, self._say = settings, clock, fresh, say
        self.folds: dict[str, str] = {}
        """List → what a full read has shown that the changes since the last one had missed."""

    def now(self, request: ListRequest) -> StoredList:
        """The list as it is now: unchanged, folded, or read whole."""
        before = self._usable(request)
        if before is None or self._fresh:
            return self._whole(request)
        wanted = request.wanted
        age = date.fromisoformat(self._night.date) - date.fromisoformat(before.full_on)
        due = age.days >= self._settings.full_every
        # Where a list tells its changes and no clock speaks for it, it is asked for them.
        if not due and (self._source.freshness_is_sure or not wanted.tells_changes):
            is_sure = self._source.freshness_is_sure
            freshness = self._night.freshness if is_sure else self.client.clock_of(request)
            if freshness is not None and before.token.get("freshness") == freshness:
                return replace(before, read_at=self._clock().isoformat())
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
        if not self._store.is_intact(*self._place, stored.sha256):
            self._say(f"{request.wanted.name}: the kept copy is lost or damaged; read anew")
            return None
        return stored

    def _changed(self, request: ListRequest, before: StoredList) -> StoredList:
        """What was kept, with what has changed since."""
        for _ in range(_READINGS):
            reading = self.client.read(request, before.token)
            now = self._clock().isoformat()
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
            old = _Counted(self._store.rows(*self._place, before.sha256))
            sha256, rows = self._store.write(*self._place, request.wanted.name, _folded(request, old, changed, gone))
            # Those of erased people are not kept, and the source still has them.
            rows += max(before.rows - old.count, 0)
            total = self.client.count(request)
            if total is not None and total != rows:
                # A row that was removed is in no list of changes: the number of rows shows it.
                self._say(
                    f"{request.wanted.name}: {rows} rows after applying the changes, but the source has "
                    f"{total}; the whole list was read again"
                )
                return self._whole(request)
            return replace(before, sha256=sha256, rows=rows, read_at=now, token=token)
        return self._whole(request)

    def _fresh_token(self) -> dict[str, str]:
        """The clock that speaks for all lists; a list with a clock of its own has it from its reading."""
        is_there = self._source.freshness_is_sure and self._night.freshness is not None
        return {"freshness": str(self._night.freshness)} if is_there else {}

    def _has_lost_rows(self, request: ListRequest, before: StoredList) -> bool:
        """Whether an unchanged list has fewer rows by now: a removal alone is told by no list of changes.

        Not asked where the source's own copy is still the one that was read.
        """
        if before.token.get("freshness") is not None and before.token | self._fresh_token() == before.token:
            return False
        total = self.client.count(request)
        if total is None or total == before.rows:
            return False
        self._say(
            f"{request.wanted.name}: {before.rows} rows were kept, but the source has {total}; the whole list "
            "was read again"
        )
        return True

    def _whole(self, request: ListRequest) -> StoredList:
        attempt = 0
        while True:
            attempt += 1
            reading = self.client.read(request, None)
            if reading is None:
                raise NotRestData("The whole list was asked for, and the answer says that nothing has changed")
            try:
                sha256, rows = self._store.write(*self._place, request.wanted.name, reading.rows)
            except RowsMoved:
                if attempt == _READINGS:
                    raise
                continue
            token = reading.token | self._fresh_token()
            now = self._clock().isoformat()
            return StoredList(sha256, rows, now, self._night.date, request.asked, token)

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
        self.folds[request.wanted.name] = problem
        self._say(problem)
        return whole

    def _digests(self, request: ListRequest, stored: StoredList) -> dict[tuple[str, ...], bytes]:
        rows = self._store.rows(*self._place, stored.sha256)
        return {request.wanted.key_of(row): hashlib.blake2b(repr(row).encode(), digest_size=8).digest() for row in rows}


class _Counted:
    """Rows, and how many there were."""

    def __init__(self, rows: Iterator[Json]) -> None:
        self._rows, self.count = rows, 0

    def __iter__(self) -> Iterator[Json]:
        for row in self._rows:
            self.count += 1
            yield row


def _folded(
    request: ListRequest,
    old: Iterable[Json],
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
