"""The snapshot archive: every Batch answer as it came, under the hash of its bytes, compressed, immutable.

    archive/<school>/objects/<sha256>.xml.zst
    archive/<school>/nights/<date>/<key>/<fetched at>-<hash>.json     one a request: what was asked, what came

An unchanged night costs one small JSON file. Everything else can be recomputed from here.
"""

from __future__ import annotations

import contextlib
import hashlib
import io
from collections.abc import Callable, Collection, Generator, Mapping
from dataclasses import asdict, dataclass, replace
from datetime import date, datetime
from typing import IO, Any

import zstandard

from isams_pipeline.datasets.shapes import Json
from isams_pipeline.errors import StorageError
from isams_pipeline.storage.earlier import dates_of, earlier
from isams_pipeline.storage.ending import Ending, files_ending, unnamed
from isams_pipeline.storage.folder import Folder, Incoming
from isams_pipeline.storage.redacted import opened, stand_in

Without = Callable[[Callable[[], contextlib.AbstractContextManager[IO[bytes]]], Callable[[bytes], None]], int]
"""What opens a document, and what takes the same document without some people → how many places of theirs it had.

Nothing is written where there are none.
"""


@dataclass(frozen=True)
class Snapshot:
    """The answer to one request: one key, some methods, one moment."""

    school: str
    date: str
    """The night, an ISO date in the school's zone."""
    key: str
    methods: tuple[str, ...]
    sha256: str
    size: int
    """Bytes, uncompressed."""
    fetched_at: str
    """ISO time in UTC."""
    cache_hours: float
    identical_to_night_before: bool
    kept: bool = True
    """Its bytes are there; else only the tables that were made of them."""
    first: bool = False
    """No note named its bytes when it came, so that they go with it."""
    erased: int = 0
    """Rows and links of erased people that came with it, and are in no byte of what is kept."""

    @property
    def fetched(self) -> datetime:
        """When it came, as an aware time."""
        return datetime.fromisoformat(self.fetched_at)

    def covers(self, methods: Collection[str]) -> bool:
        """Whether one of these alternatives was asked for."""
        return any(method in self.methods for method in methods)


class SnapshotArchive:
    """Snapshots under a folder."""

    def __init__(self, folder: Folder, without: Callable[[str], Without | None] = lambda _school: None) -> None:
        self._folder = folder
        self._without = without

    @contextlib.contextmanager
    def receive(self, school: str) -> Generator[Receiving, None, None]:
        """Somewhere to stream an answer to; nothing stays unless it is filed."""
        # A school has one run at a time, so what lies there half is nobody's any more.
        self._folder.sweep(f"{school}/objects")
        with self._folder.incoming(f"{school}/objects/incoming") as incoming:
            yield Receiving(incoming)

    def file(
        self,
        receiving: Receiving,
        *,
        school: str,
        night: date,
        key: str,
        methods: Collection[str],
        fetched_at: datetime,
        cache_hours: float,
    ) -> Snapshot:
        """Keep what was received, without who was erased, and note that it is this key's answer for this night."""
        size, digest = receiving.finish()
        erased, first = 0, False
        without = self._without(school)
        if without is not None:
            with self._folder.incoming(f"{school}/objects/incoming") as incoming:
                kept = Receiving(incoming)
                erased = without(lambda: self._proven(receiving.incoming.again(), digest, school), kept.write)
                if erased:
                    size, digest = kept.finish()
                    first = not self._folder.exists(_object(school, digest))
                    incoming.publish(_object(school, digest))
        if not erased:
            first = not self._folder.exists(_object(school, digest))
            # Published even if it is there: that is how a damaged one is repaired.
            receiving.incoming.publish(_object(school, digest))
        before = self.latest_before(school, night, key)
        snapshot = Snapshot(
            school=school,
            date=night.isoformat(),
            key=key,
            methods=tuple(methods),
            sha256=digest,
            size=size,
            fetched_at=fetched_at.isoformat(),
            cache_hours=cache_hours,
            identical_to_night_before=before is not None
            and before.sha256 == digest
            and set(before.methods) == set(methods),
            first=first,
            erased=erased,
        )
        self._note(snapshot)
        return snapshot

    def _note(self, snapshot: Snapshot) -> None:
        said = asdict(snapshot)
        for name, usual in (("kept", True), ("first", False), ("erased", 0)):
            if said[name] == usual:
                del said[name]
        name = f"{snapshot.fetched:%Y%m%dT%H%M%S%f}-{snapshot.sha256[:12]}.json"
        self._folder.write_json(f"{snapshot.school}/nights/{snapshot.date}/{snapshot.key}/{name}", said)

    def let_go(self, snapshot: Snapshot) -> None:
        """Remove an answer's bytes, and note that they are gone.

        Where they were there before it came, another night's note may keep them: then they go with the next pass of
        retention, which looks at all notes. Here only the same night's are looked at, so that it costs the same on
        every night.
        """
        self._note(replace(snapshot, kept=False))
        others = self.of_night(snapshot.school, date.fromisoformat(snapshot.date)) if snapshot.first else ()
        if snapshot.first and not any(other.kept and other.sha256 == snapshot.sha256 for other in others):
            self._folder.remove(_object(snapshot.school, snapshot.sha256))

    def redact(self, snapshot: Snapshot, without: Without, why: Mapping[str, str]) -> int:
        """Let an answer without some people stand for a kept one; gives how many places of theirs it had."""
        old, new = _object(snapshot.school, snapshot.sha256), None
        with self._folder.incoming(f"{snapshot.school}/objects/incoming") as incoming:
            kept = Receiving(incoming)
            found = without(lambda: self.open(snapshot), kept.write)
            if found:
                _, digest = kept.finish()
                new = _object(snapshot.school, digest)
                incoming.publish(new)
        stand_in(self._folder, old, new, why)
        return found

    def answers_ending(self, school: str, ends: Callable[[Snapshot], bool]) -> Ending:
        """The answers whose bytes are not to be kept any more, though their nights are."""
        old = [
            snapshot
            for night in self.nights(school)
            for snapshot in self.of_night(school, night)
            if snapshot.kept and ends(snapshot)
        ]

        def go() -> None:
            for snapshot in old:
                self.let_go(snapshot)

        return Ending("archive", {"files": len({snapshot.sha256 for snapshot in old})}, go)

    def of_night(self, school: str, night: date) -> list[Snapshot]:
        """All snapshots of a school's night, the newest first."""
        keys = self._folder.names(f"{school}/nights/{night}")
        found = [snapshot for key in keys for snapshot in self.of_key(school, night, key)]
        return sorted(found, key=lambda snapshot: snapshot.fetched_at, reverse=True)

    def of_key(self, school: str, night: date, key: str) -> list[Snapshot]:
        """The snapshots of a key's night, the newest first."""
        base = f"{school}/nights/{night}/{key}"
        found = [self._read(f"{base}/{name}") for name in self._folder.names(base)]
        return sorted(found, key=lambda snapshot: snapshot.fetched_at, reverse=True)

    def objects_of(self, school: str) -> list[tuple[Snapshot, frozenset[date]]]:
        """A school's answers that are kept, each once, with the nights that name it."""
        found: dict[str, tuple[Snapshot, set[date]]] = {}
        for night in self.nights(school):
            for snapshot in self.of_night(school, night):
                if snapshot.kept:
                    found.setdefault(snapshot.sha256, (snapshot, set()))[1].add(night)
        return [(snapshot, frozenset(nights)) for snapshot, nights in found.values()]

    def nights(self, school: str) -> list[date]:
        """The nights of which a school has snapshots, the oldest first."""
        return dates_of(self._folder.names(f"{school}/nights"))

    def latest_before(self, school: str, night: date, key: str) -> Snapshot | None:
        """The key's newest snapshot of the newest earlier night that has one."""
        return next(earlier(night, lambda day: self._newest(school, day, key), lambda: self.nights(school)), None)

    def ending(self, school: str, before: date) -> Ending:
        """The nights before a date, and what no other night names; the newest night that there is stays.

        Raises StorageError for a note that cannot be read: what it names is not known.
        """
        nights = self.nights(school)
        gone = [night for night in nights[:-1] if night < before]
        named = {
            f"{snapshot.sha256}.xml.zst"
            for night in nights[len(gone) :]
            for snapshot in self.of_night(school, night)
            if snapshot.kept
        }
        return files_ending(
            "archive",
            self._folder,
            trees=[f"{school}/nights/{night}" for night in gone],
            objects=unnamed(self._folder, f"{school}/objects", named),
        )

    def _newest(self, school: str, night: date, key: str) -> Snapshot | None:
        """The key's newest snapshot of a night."""
        names = self._folder.names(f"{school}/nights/{night}/{key}")
        return self._read(f"{school}/nights/{night}/{key}/{names[-1]}") if names else None

    def _read(self, path: str) -> Snapshot:
        value: Json = self._folder.read_json(path)
        try:
            value["methods"] = tuple(value["methods"])
            return Snapshot(**value)
        except (TypeError, KeyError):
            raise StorageError(
                "Not a snapshot's note", file=self._folder.location(path), remedy="Restore it from a backup."
            ) from None

    @contextlib.contextmanager
    def open(self, snapshot: Snapshot) -> Generator[IO[bytes], None, None]:
        """The bytes as they came; reading to the end proves them against their hash."""
        path = _object(snapshot.school, snapshot.sha256)
        where = self._folder.location(path)
        try:
            compressed, promised = opened(self._folder, path)
        except FileNotFoundError:
            raise StorageError(
                "The archive has lost a snapshot's bytes", file=where, remedy="Restore it from a backup."
            ) from None
        with self._proven(compressed, promised, where) as stream:
            yield stream

    @contextlib.contextmanager
    def _proven(self, compressed: IO[bytes], digest: str, where: str) -> Generator[IO[bytes], None, None]:
        with compressed, zstandard.ZstdDecompressor().stream_reader(compressed) as stream:
            yield io.BufferedReader(_Proven(stream, digest, where))


def _object(school: str, digest: str) -> str:
    return f"{school}/objects/{digest}.xml.zst"


class Receiving:
    """An answer while it streams in: hashed and compressed as it passes, held nowhere."""

    def __init__(self, incoming: Incoming) -> None:
        self.incoming = incoming
        self._hash = hashlib.sha256()
        self._size = 0
        self._compressor = zstandard.ZstdCompressor(level=3).compressobj()

    def write(self, chunk: bytes) -> None:
        """Take the next bytes."""
        self._hash.update(chunk)
        self._size += len(chunk)
        self.incoming.write(self._compressor.compress(chunk))

    def finish(self) -> tuple[int, str]:
        """No more bytes; size and SHA-256 of all of them."""
        self.incoming.write(self._compressor.flush())
        return self._size, self._hash.hexdigest()


class _Proven(io.RawIOBase):
    """A stream that raises at its end if the bytes were not those that the hash promises."""

    def __init__(self, stream: IO[bytes], sha256: str, where: str) -> None:
        super().__init__()
        self._stream, self._expected, self._where = stream, sha256, where
        self._hash = hashlib.sha256()

    def readable(self) -> bool:
        return True

    def readinto(self, buffer: Any, /) -> int:
        try:
            data = self._stream.read(len(buffer))
        except zstandard.ZstdError:
            raise self._damaged() from None
        self._hash.update(data)
        if not data and self._hash.hexdigest() != self._expected:
            raise self._damaged()
        buffer[: len(data)] = data
        return len(data)

    def _damaged(self) -> StorageError:
        return StorageError(
            "A snapshot in the archive is damaged", file=self._where, remedy="Restore it from a backup."
        )


def unpacked(data: bytes) -> bytes:
    """The bytes of an answer, whether they lie in the archive's compression or not."""
    if not data.startswith(zstandard.MAGIC_NUMBER.to_bytes(4, "little")):
        return data
    try:
        with zstandard.ZstdDecompressor().stream_reader(io.BytesIO(data)) as stream:
            return stream.read()
    except zstandard.ZstdError:
        raise StorageError("The archive's object is damaged", remedy="Take another copy of it.") from None
