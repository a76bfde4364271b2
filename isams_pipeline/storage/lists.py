"""What the other sources gave: each list as rows of JSON under the hash of its bytes, and per night what was read.

    lists/<source>/<school>/objects/<sha256>.jsonl.zst
    lists/<source>/<school>/nights/<date>.json          the night's lists, and what a server wants to be reminded of

Rows are written and read one at a time, so a list may be as long as it likes. An unchanged list costs a line.
"""

from __future__ import annotations

import contextlib
import hashlib
from collections.abc import Callable, Generator, Iterable, Iterator, Mapping
from dataclasses import asdict, dataclass, field
from datetime import date, timedelta
from typing import Any

import orjson
import zstandard

from isams_pipeline.datasets.shapes import Json
from isams_pipeline.errors import NotRestData, StorageError
from isams_pipeline.storage.earlier import dates_of, earlier
from isams_pipeline.storage.ending import Ending, files_ending, unnamed
from isams_pipeline.storage.folder import Folder
from isams_pipeline.storage.redacted import opened, stand_in

WithoutRow = Callable[[str, Json], "Json | None"]
"""A list's name and a row of it → the row without some people; None where the row is theirs, itself where it is not."""


@dataclass(frozen=True)
class StoredList:
    """One list as it was on one night."""

    sha256: str
    rows: int
    """As many as the source gave: those of erased people count, too."""
    read_at: str
    """ISO time in UTC."""
    full_on: str
    """The night of the last full read: all since were changes only."""
    asked: str
    """All that the answer hung on, as `ListRequest.asked` says it; another question is another list."""
    token: dict[str, str] = field(default_factory=dict[str, str])
    """What the server wants to be reminded of, in its own words: etag and last_modified, or changed_rows; and its
    freshness then."""

    @property
    def leaves_people_out(self) -> bool:
        """Whether somebody has opted out of it: what was asked ends in a word for whom, after a #."""
        return "#" in self.asked


@dataclass(frozen=True)
class ListNight:
    """What was read of a school by one source on one night."""

    date: str
    scopes: tuple[str, ...]
    subject: str
    """The school's number on the source."""
    freshness: str | None
    """How fresh the source's own copy was, in its own word."""
    lists: dict[str, StoredList]


class ListStore:
    """Lists of all schools and sources, under a folder."""

    def __init__(
        self, folder: Folder, without: Callable[[str, str], WithoutRow | None] = lambda _source, _school: None
    ) -> None:
        self._folder = folder
        self._without = without

    @contextlib.contextmanager
    def _writing(self, base: str) -> Generator[_Writing, None, None]:
        with self._folder.incoming(f"{base}/objects/incoming") as incoming:
            yield _Writing(incoming)

    def write(self, source: str, school: str, name: str, rows: Iterable[Json]) -> tuple[str, int]:
        """Keep a list's rows, without who was erased; gives their hash, and how many there were with them.

        Nothing stays if the iterator fails.
        """
        without = self._without(source, school)
        left_out = 0
        with self._writing(f"{source}/{school}") as writing:
            for row in rows:
                left = row if without is None else without(name, row)
                if left is None:
                    left_out += 1
                else:
                    writing.add(left)
            digest = writing.finish()
            writing.incoming.publish(_object(source, school, digest))
            return digest, writing.rows + left_out

    def redact(self, of: tuple[str, str], name: str, sha256: str, without: WithoutRow, why: Mapping[str, str]) -> int:
        """Let a list without some people stand for one of a source and school; gives how many of its rows changed."""
        source, school = of
        old, new = _object(source, school, sha256), None
        found = 0
        with self._writing(f"{source}/{school}") as writing:
            for row in self.rows(source, school, sha256):
                left = without(name, row)
                found += left is not row
                if left is not None:
                    writing.add(left)
            if found:
                new = _object(source, school, writing.finish())
                writing.incoming.publish(new)
        stand_in(self._folder, old, new, why)
        return found

    def rows(self, source: str, school: str, sha256: str, begin: bytes = b"") -> Iterator[Json]:
        """The rows again, one by one, or those whose line begins so; raises StorageError where they are damaged."""
        path = _object(source, school, sha256)
        hashing = hashlib.sha256()
        try:
            file, promised = opened(self._folder, path)
            with file:
                rest = b""
                for chunk in zstandard.ZstdDecompressor().read_to_iter(file, write_size=1 << 18):
                    hashing.update(chunk)
                    *lines, rest = (rest + chunk).split(b"\n")
                    for line in lines:
                        if line.startswith(begin):
                            yield orjson.loads(line)
        except (FileNotFoundError, zstandard.ZstdError, ValueError):
            raise self._damaged(path) from None
        if hashing.hexdigest() != promised:
            raise self._damaged(path)

    def is_intact(self, source: str, school: str, sha256: str) -> bool:
        """Whether a list is there, and is what it was."""
        hashing = hashlib.sha256()
        try:
            file, promised = opened(self._folder, _object(source, school, sha256))
            with file:
                for chunk in zstandard.ZstdDecompressor().read_to_iter(file):
                    hashing.update(chunk)
        except (FileNotFoundError, zstandard.ZstdError):
            return False
        return hashing.hexdigest() == promised

    def _damaged(self, path: str) -> StorageError:
        return StorageError(
            "A stored list is lost or damaged",
            file=self._folder.location(path),
            remedy="Run the night with --fresh, or fresh: true in the launch pad: the list is then read again in full.",
        )

    def remember(self, source: str, school: str, night: ListNight) -> None:
        """Note what a night has."""
        self._folder.write_json(f"{source}/{school}/nights/{night.date}.json", asdict(night))

    def find(self, source: str, school: str, night: date) -> ListNight | None:
        """What a night has, or None where nothing was read."""
        try:
            found = self._folder.read_json(f"{source}/{school}/nights/{night}.json")
        except FileNotFoundError:
            return None
        lists = {name: StoredList(**facts) for name, facts in found.pop("lists").items()}
        scopes = tuple(found.pop("scopes"))
        return ListNight(**found, scopes=scopes, lists=lists)

    def nights(self, source: str, school: str) -> list[date]:
        """The nights of which a school has lists, the oldest first."""
        return dates_of(self._folder.names(f"{source}/{school}/nights"), ".json")

    def latest(self, source: str, school: str, until: date) -> ListNight | None:
        """The newest night up to a date."""
        found = earlier(
            until + timedelta(days=1), lambda day: self.find(source, school, day), lambda: self.nights(source, school)
        )
        return next(found, None)

    def schools_of(self) -> list[tuple[str, str]]:
        """Every source and school of which there are lists."""
        return [(source, school) for source in self._folder.names() for school in self._folder.names(source)]

    def objects_of(self, source: str, school: str) -> list[tuple[str, str, frozenset[date]]]:
        """A school's lists, each once: its name, its hash, and the nights that name it."""
        found: dict[tuple[str, str], set[date]] = {}
        for night in self.nights(source, school):
            read = self.find(source, school, night)
            for name, stored in read.lists.items() if read is not None else ():
                found.setdefault((name, stored.sha256), set()).add(night)
        return [(name, sha256, frozenset(nights)) for (name, sha256), nights in found.items()]

    def ending(self, source: str, school: str, before: date) -> Ending:
        """The nights before a date, and the lists that no other night names; the newest night that there is stays."""
        base, nights = f"{source}/{school}", self.nights(source, school)
        gone = [night for night in nights[:-1] if night < before]
        named: set[str] = set()
        for night in nights[len(gone) :]:
            found = self.find(source, school, night)
            if found is not None:
                named |= {f"{one.sha256}.jsonl.zst" for one in found.lists.values()}
        notes = [f"{base}/nights/{night}.json" for night in gone]
        return files_ending("lists", self._folder, notes=notes, objects=unnamed(self._folder, f"{base}/objects", named))

    def forget(self, source: str, school: str) -> int:
        """Remove everything of a school by a source; gives the number of files."""
        return self._folder.remove_tree(f"{source}/{school}")


def _object(source: str, school: str, digest: str) -> str:
    return f"{source}/{school}/objects/{digest}.jsonl.zst"


class _Writing:
    """A list on its way in."""

    def __init__(self, incoming: Any) -> None:
        self.incoming = incoming
        self.rows = 0
        self._hash = hashlib.sha256()
        self._compressor = zstandard.ZstdCompressor(level=1).compressobj()
        self._waiting: list[bytes] = []

    def add(self, row: Json) -> None:
        try:
            line = orjson.dumps(row, option=orjson.OPT_APPEND_NEWLINE)
        except orjson.JSONEncodeError:
            raise NotRestData(
                "A row of the answer is nested too deep, or holds a number beyond 64 bits",
                row=self.rows + 1,
                remedy="Report this as a bug, with the list's name.",
            ) from None
        self._waiting.append(line)
        self.rows += 1
        if len(self._waiting) == 500:  # noqa: PLR2004
            self._flush()

    def _flush(self) -> None:
        data = b"".join(self._waiting)
        self._waiting.clear()
        self._hash.update(data)
        self.incoming.write(self._compressor.compress(data))

    def finish(self) -> str:
        self._flush()
        self.incoming.write(self._compressor.flush())
        return self._hash.hexdigest()
