"""A school's night → snapshots: from the archive where it has them, from iSAMS where that may be asked.

Knows no Dagster. The Batch API only knows now: a date is fetched only while it is today at the school.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Collection, Iterator
from datetime import date, timedelta

from isams_pipeline.clock import Clock, moment_in_words, today_at
from isams_pipeline.config import IsamsSettings, SchoolSettings
from isams_pipeline.config.feeds import FEEDS, methods_of
from isams_pipeline.errors import FutureDate, MethodsNotAllocated, NoSnapshot, PipelineError, ServerTimeout
from isams_pipeline.sources.isams.batch import BatchClient
from isams_pipeline.storage.archive import Snapshot, SnapshotArchive


class NightFetcher:
    """Gives the snapshots of one school and night; asks each key at most once."""

    def __init__(
        self,
        school: str,
        settings: SchoolSettings,
        night: date,
        *,
        archive: SnapshotArchive,
        client_for: Callable[[str], BatchClient],
        clock: Clock,
        fresh: bool = False,
        ask_again_after: float = 0,
        passed: Callable[[str], str | None] = lambda _: None,
        tell: Callable[[str], None] = lambda _: None,
    ) -> None:
        """`passed(feed)` knows the hash of the night's answer whose tables were last found good, if any."""
        self.school, self.night = school, night
        self._settings = settings
        self._isams: IsamsSettings = settings.need_isams
        self._archive = archive
        self._client_for = client_for
        self._clock = clock
        self._fresh = fresh
        self._tell = tell
        self._by_feed: dict[str, Snapshot] = {}
        self._ask_again_after = ask_again_after
        self._passed = passed
        self._failed: dict[str, tuple[PipelineError, float]] = {}

    def snapshot(self, feed: str) -> Snapshot | None:
        """The snapshot that has a feed; None where the school has no key for it.

        Raises FutureDate, NoSnapshot, or what iSAMS said. That is remembered: a final refusal for good, a transient
        one for `ask_again_after` seconds, so that a server in trouble is not asked for every dataset anew.
        """
        if feed in self._by_feed:
            return self._by_feed[feed]
        today = today_at(self._settings.timezone, self._clock)
        if self.night > today:
            raise FutureDate(
                f"It is not yet {self.night} at the school",
                school=self.school,
                remedy=f"At the school it is {today}; run this night once its date has come.",
            )
        key = self._isams.key_for(feed)
        if self.night < today:
            return self._from_archive(feed, key)
        if key is None:
            return None
        if key in self._failed:
            error, at = self._failed[key]
            if not error.retryable or time.monotonic() - at < self._ask_again_after:
                raise error
        try:
            self._of_today(key)
        except PipelineError as error:
            error.at(school=self.school, key=key)
            self._failed[key] = error, time.monotonic()
            raise
        return self._by_feed[feed]

    def snapshots(self) -> list[Snapshot]:
        """The snapshots that were given so far, each once."""
        return list({snapshot.sha256: snapshot for snapshot in self._by_feed.values()}.values())

    def _from_archive(self, feed: str, key: str | None) -> Snapshot | None:
        found = [s for s in self._archive.of_night(self.school, self.night) if s.covers(FEEDS[feed].methods)]
        if found:
            # A later answer may have been a bad one: it is archived before it is checked. The one that last passed
            # its rules is better than the newest.
            passed = self._passed(feed)
            self._by_feed[feed] = next((s for s in found if s.sha256 == passed), found[0])
            return self._by_feed[feed]
        if key is None:
            return None
        nothing = not self._archive.of_night(self.school, self.night)
        raise NoSnapshot(
            f"The archive has {'nothing of that night' if nothing else f'no snapshot with {feed}'}, and iSAMS only "
            "knows today",
            school=self.school,
            date=self.night,
            remedy="Choose a night that was run: data of other nights can no longer be read.",
        )

    def _of_today(self, key: str) -> None:
        settings = self._isams.keys[key]
        answers = self._within_cache_hours(key)
        if answers:
            since = moment_in_words(min(snapshot.fetched for snapshot in answers), self._settings.timezone)
            cached = f"iSAMS may still answer as of {since} from its cache of {settings.cache_hours:g} h"
            if not self._fresh:
                for snapshot in reversed(answers):
                    self._remember(snapshot, settings.feeds)
                self._tell(
                    f"key {key}: {cached}, so that answer is used; to ask anyway: --fresh, or fresh: true in "
                    "the launch pad"
                )
                return
            self._tell(f"key {key}: asking again, but {cached}")
        elif (since := self._from_last_night(key)) is not None:
            self._tell(
                f"key {key}: iSAMS may still answer as of {since} from its cache of {settings.cache_hours:g} h, so "
                "with an earlier night's data"
            )
        methods = methods_of(settings.feeds)
        with self._client_for(key) as client:
            try:
                snapshots = [self._download(client, key, methods)]
            except ServerTimeout:
                if len(settings.feeds) == 1:
                    raise
                self._tell(f"key {key}: iSAMS ran out of time; asking for its {len(settings.feeds)} feeds one by one")
                snapshots = [self._download(client, key, methods_of([feed])) for feed in settings.feeds]
        for snapshot in snapshots:
            self._remember(snapshot, settings.feeds)

    def _from_last_night(self, key: str) -> str | None:
        """When the key was asked last, if that was on an earlier date but within its cache hours."""
        before = self._archive.latest_before(self.school, self.night, key)
        hours = timedelta(hours=self._isams.keys[key].cache_hours)
        if before is None or self._clock() - before.fetched >= hours:
            return None
        return moment_in_words(before.fetched, self._settings.timezone)

    def _within_cache_hours(self, key: str) -> list[Snapshot]:
        """Archived answers that iSAMS may still give from its cache, newest first; none unless all feeds are there."""
        settings = self._isams.keys[key]
        now = self._clock()
        found = [
            snapshot
            for snapshot in self._archive.of_key(self.school, self.night, key)
            if now - snapshot.fetched < timedelta(hours=settings.cache_hours)
        ]
        whole = all(any(s.covers(FEEDS[feed].methods) for s in found) for feed in settings.feeds)
        return found if whole else []

    def _remember(self, snapshot: Snapshot, feeds: Collection[str]) -> None:
        for feed in feeds:
            if snapshot.covers(FEEDS[feed].methods):
                self._by_feed[feed] = snapshot

    def _download(self, client: BatchClient, key: str, methods: list[str]) -> Snapshot:
        try:
            return self._download_once(client, key, methods)
        except MethodsNotAllocated as error:
            allowed = _allowed(methods, error.methods)
            if allowed is None:
                raise
            lacking = [method for method in methods if method.casefold() in error.methods]
            self._tell(f"key {key}: asking without {', '.join(lacking)}, which the key may not run")
            return self._download_once(client, key, allowed)

    def _download_once(self, client: BatchClient, key: str, methods: list[str]) -> Snapshot:
        def into(chunks: Iterator[bytes]) -> Snapshot:
            with self._archive.receive(self.school) as receiving:
                for chunk in chunks:
                    receiving.write(chunk)
                return self._archive.file(
                    receiving,
                    school=self.school,
                    night=self.night,
                    key=key,
                    methods=methods,
                    fetched_at=self._clock(),
                    cache_hours=self._isams.keys[key].cache_hours,
                )

        return client.download(methods, into, on=self.night)


def _allowed(methods: list[str], refused: frozenset[str]) -> list[str] | None:
    """The methods with every refused one replaced by its fallback or left out; None where one cannot be spared."""
    fallbacks = {feed.method: feed.fallback for feed in FEEDS.values()}
    spare = {method for feed in FEEDS.values() for method in feed.also}
    allowed: list[str] = []
    for method in methods:
        if method.casefold() not in refused:
            allowed.append(method)
        elif (fallback := fallbacks.get(method)) is not None:
            allowed.append(fallback)
        elif method not in spare:
            return None
    return allowed
