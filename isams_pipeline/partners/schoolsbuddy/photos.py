"""Students' photos for SchoolsBuddy: fetched when they have changed, delivered with the export, logged nowhere."""

from __future__ import annotations

from collections.abc import Callable, Collection, Generator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field, replace
from datetime import date
from typing import Protocol, TypeVar

import pandas as pd

from isams_pipeline.clock import today_at
from isams_pipeline.delivery.built import Built
from isams_pipeline.delivery.export import Export, to_csv
from isams_pipeline.errors import PipelineError
from isams_pipeline.orchestration.environment import Environment
from isams_pipeline.orchestration.partitions import Night
from isams_pipeline.partners.schoolsbuddy.files import BY_NAME, PHOTO_OF, PHOTOS
from isams_pipeline.partners.schoolsbuddy.settings import SchoolsBuddySettings
from isams_pipeline.rules.photos import UnreadablePhoto, reencoded
from isams_pipeline.sources.isams.connect import rest_client
from isams_pipeline.sources.isams.photos import RestPhotos
from isams_pipeline.sources.registry import LISTED
from isams_pipeline.sources.shared.photos import ListedPhotos
from isams_pipeline.storage.photos import KeptPhoto, PhotoStore, worded

_AT_ONCE = 64
"""So many are noted together: what a broken-off run has fetched is not fetched again."""
_ENOUGH = 8
"""So many that fail in a row mean that it is not the photos: no more are asked for."""
T = TypeVar("T")


class PhotoSource(Protocol):
    """Where photos come from."""

    def versions(self) -> Mapping[str, str]:
        """Pupil → which photo it is, in the source's word."""
        ...

    def fetch(self, pupil: str) -> bytes | None:
        """A photo's bytes; None where there is none."""
        ...

    def each(self, fetch: Callable[[str], T], pupils: Collection[str]) -> list[T]:
        """What comes of several, some at a time."""
        ...


@dataclass(frozen=True)
class Refreshed:
    """What came of looking for new photos."""

    photos: int
    fetched: int
    unreadable: tuple[str, ...]
    """Pupils whose photo is no picture that can be read, by number."""
    gone: int
    """Pupils who had one before."""
    problem: str | None = None
    """Why it could not be looked for new ones; those of before are delivered again."""
    failed: int = 0
    """Pupils whose photo could not be fetched; those of before are delivered again, and all are asked for again."""


@dataclass
class _Fetching:
    """Fetches photos, and gives the error of one that fails: the others are fetched all the same."""

    source: PhotoSource
    in_a_row: int = 0
    failed: set[str] = field(default_factory=set[str])
    given_up: PipelineError | None = None
    """Many failed in a row, and why."""

    def __call__(self, pupil: str) -> bytes | PipelineError | None:
        if self.given_up is not None:
            return self.given_up
        try:
            data = self.source.fetch(pupil)
        except PipelineError as error:
            self.in_a_row += 1
            self.failed.add(pupil)
            self.given_up = error if self.in_a_row >= _ENOUGH else None
            return error
        self.in_a_row = 0
        return data


def refresh(name: str, source: PhotoSource, store: PhotoStore, roll: Collection[str], night: date) -> Refreshed:
    """Fetch the photos that have changed, of pupils on the roll; note the night's. `name`: the source's."""
    before = store.now()
    versions = {pupil: worded(name, version) for pupil, version in source.versions().items() if pupil in roll}
    now = {pupil: kept for pupil, kept in before.items() if pupil in versions}
    todo = [pupil for pupil, version in versions.items() if pupil not in now or now[pupil].version != version]
    fetched, fetching = 0, _Fetching(source)
    for start in range(0, len(todo), _AT_ONCE):
        some = todo[start : start + _AT_ONCE]
        for pupil, data in zip(some, source.each(fetching, some), strict=True):
            if isinstance(data, PipelineError):
                continue
            if data is None:
                now.pop(pupil, None)
                continue
            fetched += 1
            now[pupil] = KeptPhoto(versions[pupil], _put(store, data))
        store.save_now(now)
        if fetching.given_up is not None:
            raise fetching.given_up
    store.save_now(now)
    store.save_night(night, now)
    unreadable = tuple(pupil for pupil, kept in sorted(now.items()) if kept.sha256 is None)
    gone, failed = len(before.keys() - now.keys()), len(fetching.failed)
    return Refreshed(len(now) - len(unreadable), fetched, unreadable, gone, failed=failed)


def _as_before(store: PhotoStore, roll: Collection[str], night: date, problem: str) -> Refreshed:
    """Let a night have the photos that were fetched last, of those who are still on the roll."""
    before = store.now()
    now = {pupil: kept for pupil, kept in before.items() if pupil in roll}
    store.save_now(now)
    store.save_night(night, now)
    there = sum(kept.sha256 is not None for kept in now.values())
    return Refreshed(there, 0, (), len(before) - len(now), problem)


def _put(store: PhotoStore, data: bytes) -> str | None:
    try:
        return store.put(reencoded(data))
    except UnreadablePhoto:
        return None


@contextmanager
def source_of(environment: Environment, school: str, photos: str, pupils: pd.DataFrame) -> Generator[PhotoSource]:
    """Where a school's photos come from."""
    settings = environment.settings.partner(school, SchoolsBuddySettings)
    if photos == "rest":
        with rest_client(environment.access(school), settings.photos_client) as client:
            yield RestPhotos(client, pupils)
    else:
        with LISTED[photos].connect(environment.access(school)) as client:
            yield ListedPhotos(client, environment.connections.current(school, photos))


def look(environment: Environment, night: Night) -> Refreshed | None:
    """Bring a school's photos up to date; None on another night than today: the sources only know now."""
    settings = environment.settings.partner(night.school, SchoolsBuddySettings)
    zone = environment.settings.school(night.school).timezone
    if settings.photos is None or night.date != today_at(zone, environment.clock):
        return None
    stored = environment.tables.need(settings.source, "pupils", night.school, night.date)
    pupils = environment.tables.load(stored)
    store, roll = environment.photos(night.school), set(pupils["pupil_id"].astype("str"))
    try:
        with source_of(environment, night.school, settings.photos, pupils) as source:
            return refresh(settings.photos, source, store, roll, night.date)
    except PipelineError as error:
        # A photo that is a day old is no reason to keep a new child from being picked up.
        return _as_before(store, roll, night.date, str(error))


def with_photos(built: Built, store: PhotoStore, night: date) -> Built:
    """The export with the photos of its students, as the night has them; without any where nobody asked then."""
    of = store.of(night)
    if of is None:
        return built
    here = {row["student_id"] for row in built.export.rows("students.csv")}
    chosen = {pupil: digest for pupil, digest in of.items() if pupil in here}
    frame = pd.DataFrame(
        {"student_id": pd.Series([int(p) for p in chosen], dtype="Int64"), "sha256": list(chosen.values())}
    ).astype({"sha256": "str"})
    pictures = {PHOTO_OF.format(pupil): store.load(digest) for pupil, digest in chosen.items()}
    files = {**built.export.files, PHOTOS.name: to_csv(frame, BY_NAME[PHOTOS.name])}
    return replace(built, export=Export(files, pictures))
