"""Photos at rest: by the hash of their bytes, what there is now of whom, and what there was on a night.

photos/<school>/objects/<sha256>
photos/<school>/now.json                  pupil → version, sha256 (null: cannot be read)
photos/<school>/<date>.json               pupil → sha256
"""

from __future__ import annotations

import contextlib
import hashlib
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from datetime import date, timedelta

from isams_pipeline.errors import StorageError
from isams_pipeline.storage.folder import Folder

KEPT = timedelta(days=30)
"""So long a night's note is kept, so that the night can be made again. An export's own copy is with the export."""


@dataclass(frozen=True)
class KeptPhoto:
    """A pupil's photo as it was fetched last."""

    version: str
    """Which photo it is: the source's name and its word for it."""
    sha256: str | None
    """None where it could not be read: it is not asked for again until there is another version."""


def worded(source: str, version: str) -> str:
    """A photo's version: another source's is another one, whatever it is called there."""
    return f"{source}:{version}"


class PhotoStore:
    """The photos of one school."""

    def __init__(self, folder: Folder) -> None:
        self._folder = folder

    def now(self) -> dict[str, KeptPhoto]:
        """Pupil → the photo that was fetched last; a note that is lost or damaged knows of none: all come anew."""
        try:
            found = self._folder.read_json("now.json")
        except (FileNotFoundError, StorageError):
            return {}
        return {pupil: KeptPhoto(**facts) for pupil, facts in found.items()}

    def put(self, data: bytes) -> str:
        """Keep a photo; gives its hash."""
        digest = hashlib.sha256(data).hexdigest()
        self._folder.write(f"objects/{digest}", data)
        return digest

    def save_now(self, photos: Mapping[str, KeptPhoto]) -> None:
        """Note what there is now, so that it is not fetched again."""
        facts = {pupil: {"version": kept.version, "sha256": kept.sha256} for pupil, kept in sorted(photos.items())}
        self._folder.write_json("now.json", facts)

    def save_night(self, night: date, photos: Mapping[str, KeptPhoto]) -> None:
        """Note what a night has, and remove what no night of late and nothing now needs: leavers' photos go so."""
        note = {pupil: kept.sha256 for pupil, kept in sorted(photos.items()) if kept.sha256 is not None}
        self._folder.write_json(f"{night}.json", note)
        needed = set(note.values())
        needed |= {kept.sha256 for kept in self.now().values() if kept.sha256 is not None}
        for name in self._nights():
            if name < (night - KEPT).isoformat():
                self._folder.remove(f"{name}.json")
            else:
                needed |= set((self.of(date.fromisoformat(name)) or {}).values())
        for digest in self._folder.names("objects"):
            if digest not in needed:
                self._folder.remove(f"objects/{digest}")

    def forget(self, source: str | None = None) -> int:
        """Remove all photos and notes of the school; gives the number of files.

        With a source: only if photos came by it.
        """
        if source is not None and not any(kept.version.startswith(worded(source, "")) for kept in self.now().values()):
            return 0
        return self._folder.remove_tree("")

    def of(self, night: date) -> dict[str, str] | None:
        """Pupil → hash of the photo on a night, or on the last one before of which it is known; None where on none."""
        known = [name for name in self._nights() if name <= night.isoformat()]
        return dict(self._folder.read_json(f"{max(known)}.json")) if known else None

    def pupils(self) -> set[str]:
        """All pupils of whom there is a photo, now or on any night that is noted."""
        found = {pupil for pupil, kept in self.now().items() if kept.sha256 is not None}
        for name in self._nights():
            found |= set(self._folder.read_json(f"{name}.json"))
        return found

    def of_pupil(self, pupil: str) -> list[tuple[str, list[date]]]:
        """A pupil's photos: the hash of each, and the nights that note it; none where it is only the newest."""
        found: dict[str, list[date]] = {}
        kept = self.now().get(pupil)
        if kept is not None and kept.sha256 is not None:
            found[kept.sha256] = []
        for name in self._nights():
            digest = dict(self._folder.read_json(f"{name}.json")).get(pupil)
            if digest is not None:
                found.setdefault(str(digest), []).append(date.fromisoformat(name))
        return list(found.items())

    def take_out(self, is_theirs: Callable[[str], bool]) -> int:
        """Remove some pupils' photos and what notes say of them; gives the number of photos that went."""
        now, gone = self.now(), set[str]()
        left = {pupil: kept for pupil, kept in now.items() if not is_theirs(pupil)}
        gone |= {kept.sha256 for pupil, kept in now.items() if pupil not in left and kept.sha256 is not None}
        needed = {kept.sha256 for kept in left.values()}
        for name in self._nights():
            note: dict[str, str] = dict(self._folder.read_json(f"{name}.json"))
            stays = {pupil: digest for pupil, digest in note.items() if not is_theirs(pupil)}
            gone |= {digest for pupil, digest in note.items() if pupil not in stays}
            needed |= set(stays.values())
        for digest in gone - needed:  # the notes last: while one names it, the next attempt finds it
            self._folder.remove(f"objects/{digest}")
        for name in self._nights():
            note = dict(self._folder.read_json(f"{name}.json"))
            stays = {pupil: digest for pupil, digest in note.items() if not is_theirs(pupil)}
            if stays != note:
                self._folder.write_json(f"{name}.json", stays)
        if left != now:
            self.save_now(left)
        return len(gone)

    def load(self, digest: str) -> bytes:
        """A photo, proven against its hash; raises StorageError where it is lost or damaged."""
        data = b""
        with contextlib.suppress(FileNotFoundError):
            data = self._folder.read(f"objects/{digest}")
        if hashlib.sha256(data).hexdigest() != digest:
            raise StorageError(
                "A photo is lost or damaged",
                file=self._folder.location(f"objects/{digest}"),
                remedy="Remove now.json one folder above this file, and materialise the photos again: all photos "
                "are then fetched anew.",
            )
        return data

    def _nights(self) -> list[str]:
        names = [name.removesuffix(".json") for name in self._folder.names() if name.endswith(".json")]
        return [name for name in names if name != "now"]
