"""Staged exports: the bytes of every file by their hash, and per night what was staged and from what.

    staged/<partner>/<school>/objects/<sha256>
    staged/<partner>/<school>/<date>.json            or <date>.<part>.json where a day has several

What was delivered once stays here, so later nights can be compared with it even if the target has changed.
"""

from __future__ import annotations

import contextlib
import hashlib
from collections.abc import Collection, Mapping, Sequence
from dataclasses import asdict, dataclass, field
from datetime import date

from isams_pipeline.datasets.shapes import Json, JsonObject
from isams_pipeline.delivery.export import Export, ExportFile, named_pictures, read_csv
from isams_pipeline.errors import NotMaterialised, StorageError
from isams_pipeline.storage.ending import Ending, files_ending, unnamed
from isams_pipeline.storage.folder import Folder
from isams_pipeline.storage.redacted import opened, stand_in, with_stand_ins


@dataclass(frozen=True)
class Staged:
    """An export that waits for its gate."""

    files: dict[str, str]
    """Name → SHA-256."""
    content_hash: str
    datasets: dict[str, Json]
    """The pinned tables it was made from: name → source, sha256, rows."""
    snapshots: list[Json]
    excluded: dict[str, int]
    """File → how many things are not in it."""
    about: Json = field(default_factory=Json)
    """What else the manifest says of it."""
    unaccounted: list[str] | None = None
    """Rows of the datasets that are in no place, or in two; None where nobody has counted."""
    places: str | None = None
    """SHA-256 of the table of where each row is."""


class StagedExports:
    """The staged exports of one partner and school."""

    def __init__(self, folder: Folder, partner: str, school: str, part: str = "") -> None:
        self._folder = folder.child(f"{partner}/{school}")
        self.partner, self.school = partner, school
        self._end = f".{part}.json" if part else ".json"

    def stage(
        self,
        night: date,
        export: Export,
        *,
        datasets: Mapping[str, Json],
        snapshots: list[Json],
        excluded: Mapping[str, int],
        about: JsonObject | None = None,
        unaccounted: Sequence[str] | None = None,
        places: bytes | None = None,
    ) -> Staged:
        """Keep an export's bytes, and note what they were made from."""
        for name, digest in export.hashes.items():
            # Written anew even if it is there: that is how a damaged one is repaired.
            self._folder.write(f"objects/{digest}", export.files[name])
        for picture in export.pictures.values():
            self._folder.write(f"objects/{hashlib.sha256(picture).hexdigest()}", picture)
        digest = None if places is None else hashlib.sha256(places).hexdigest()
        if places is not None:
            self._folder.write(f"objects/{digest}", places)
        staged = Staged(
            export.hashes,
            export.content_hash,
            dict(datasets),
            snapshots,
            dict(excluded),
            dict(about or {}),
            None if unaccounted is None else list(unaccounted),
            digest,
        )
        self._folder.write_json(f"{night}{self._end}", asdict(staged))
        return staged

    def find(self, night: date) -> Staged:
        """What was staged for a night; raises NotMaterialised where nothing was."""
        try:
            return Staged(**self._folder.read_json(f"{night}{self._end}"))
        except FileNotFoundError:
            raise NotMaterialised(
                "No export was staged",
                partner=self.partner,
                school=self.school,
                date=night,
                remedy="Materialise the export for that night first.",
            ) from None

    def has(self, night: date) -> bool:
        """Whether an export was staged for a night."""
        return self._folder.exists(f"{night}{self._end}")

    def latest(self, until: date) -> date | None:
        """The newest night up to a date for which an export was staged."""
        length = len("2026-11-20")
        nights = [name[:length] for name in self._folder.names() if name[length:] == self._end]
        return max((date.fromisoformat(n) for n in nights if n <= until.isoformat()), default=None)

    def forget(self, source: str) -> tuple[int, set[str]]:
        """Remove what was staged from a source's tables; gives the number of files, and the nights."""
        kept: set[str] = set()
        nights: set[str] = set()
        pointers: list[str] = []
        for name in [name for name in self._folder.names() if name.endswith(".json")]:
            staged = Staged(**self._folder.read_json(name))
            if any(pin.get("source") == source for pin in staged.datasets.values()):
                pointers.append(name)
                nights.add(name[: len("2026-11-20")])
            else:
                kept |= {*staged.files.values(), staged.places or "", *self._pictures_of(staged)}
        if not pointers:
            return 0, nights
        names = self._folder.names("objects")
        stay = with_stand_ins(self._folder, "objects", set(names), kept)
        objects = [name for name in names if name not in stay]
        # The pointers last: while one is there, the next attempt finds what is left.
        for name in (*(f"objects/{name}" for name in objects), *pointers):
            self._folder.remove(name)
        return len(pointers) + len(objects), nights

    def objects_of(self) -> list[tuple[str, str, frozenset[date], frozenset[str]]]:
        """The files of all nights and parts of a day, each once.

        Its name, its hash, the nights that name it, and the sources of what it was made from.
        """
        found: dict[tuple[str, str, frozenset[str]], set[date]] = {}
        for note in self._folder.names():
            night = _night_of(note)
            if night is not None:
                staged = Staged(**self._folder.read_json(note))
                sources = frozenset(str(pin["source"]) for pin in staged.datasets.values() if "source" in pin)
                for name, digest in staged.files.items():
                    found.setdefault((name, digest, sources), set()).add(night)
        return [(name, digest, frozenset(nights), by) for (name, digest, by), nights in found.items()]

    def ending(self, before: date, *, nights: Collection[date], hashes: Collection[str]) -> Ending:
        """What was staged for nights before a date, and the bytes that nothing names any more, of all parts of a day.

        `nights` and `hashes` stay however old they are: later exports are compared with them.
        """
        notes: list[str] = []
        named = set(hashes)
        for name in self._folder.names():
            night = _night_of(name)
            if night is None:
                continue
            if night < before and night not in nights:
                notes.append(name)
            else:
                staged = Staged(**self._folder.read_json(name))
                named |= {*staged.files.values(), staged.places or "", *self._pictures_of(staged)}
        return files_ending("staged", self._folder, notes=notes, objects=unnamed(self._folder, "objects", named))

    def redact(self, digest: str, data: bytes | None, why: Mapping[str, str]) -> None:
        """Let a file without some people stand for a staged one; None where there is nobody to take out of it."""
        new = None
        if data is not None:
            new = f"objects/{hashlib.sha256(data).hexdigest()}"
            self._folder.write(new, data)
        stand_in(self._folder, f"objects/{digest}", new, why)

    def _pictures_of(self, staged: Staged) -> set[str]:
        """The hashes of the pictures that a night's rows name."""
        found: set[str] = set()
        for digest in staged.files.values():
            with contextlib.suppress(StorageError):
                found |= {row["sha256"] for row in read_csv(self.read(digest)) if "sha256" in row}
        return found

    def load(self, files: Mapping[str, str]) -> Export:
        """The bytes of files by their hashes; raises StorageError where one is lost or damaged."""
        return Export({name: self.read(digest) for name, digest in files.items()})

    def load_pictures(self, export: Export, files: Sequence[ExportFile]) -> Export:
        """The export with the pictures that its rows name; raises StorageError where one is lost or damaged."""
        named = {name: digest for _, _, name, digest in named_pictures(export, files)}
        return Export(export.files, {name: self.read(digest) for name, digest in named.items()}) if named else export

    def read(self, digest: str) -> bytes:
        """What was staged under a hash; raises StorageError where it is lost or damaged."""
        data, promised = b"", digest
        with contextlib.suppress(FileNotFoundError):
            file, promised = opened(self._folder, f"objects/{digest}")
            with file:
                data = file.read()
        if hashlib.sha256(data).hexdigest() != promised:
            raise StorageError(
                "A staged file is lost or damaged",
                file=self._folder.location(f"objects/{digest}"),
                remedy="Materialise the export again.",
            )
        return data


def _night_of(name: str) -> date | None:
    """The night of a note, by its name; None for what is none."""
    try:
        return date.fromisoformat(name.partition(".")[0]) if name.endswith(".json") else None
    except ValueError:
        return None
