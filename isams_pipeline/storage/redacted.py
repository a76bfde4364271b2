"""What stands in an object's place since a person was taken out of it.

    …/objects/<sha256>.parquet                    the object as it was: gone
    …/objects/<sha256>.parquet.redacted.json      which object is read instead, since when, and why

Notes, receipts and provenance go on naming the old hash: what was delivered had it. Whoever asks for an object that is
gone is led on. So nothing else has to be rewritten, and whoever is broken off has lost nothing: first the new object,
then the note, then the old object goes.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import IO

from isams_pipeline.errors import StorageError
from isams_pipeline.storage.folder import Folder

END = ".redacted.json"


def stands_for(folder: Folder, path: str) -> str | None:
    """The path of what is read in the place of an object; None where nothing was taken out of it."""
    seen = {path}
    while (note := _note(folder, path)) is not None:
        path = f"{path.rpartition('/')[0]}/{note['object']}"
        if path in seen:
            raise StorageError(
                "Two objects stand for each other", file=folder.location(path), remedy="Restore them from a backup."
            )
        seen.add(path)
    return path if len(seen) > 1 else None


def _note(folder: Folder, path: str) -> Mapping[str, str] | None:
    try:
        return folder.read_json(f"{path}{END}")
    except FileNotFoundError:
        return None


def opened(folder: Folder, path: str) -> tuple[IO[bytes], str]:
    """An object, or what stands for it, and the hash that its name promises; raises FileNotFoundError."""
    try:
        return folder.open(path), _hash_of(path)
    except FileNotFoundError:
        instead = stands_for(folder, path)
        if instead is None:
            raise
        return folder.open(instead), _hash_of(instead)


def _hash_of(path: str) -> str:
    return path.rpartition("/")[2].partition(".")[0]


def stand_in(folder: Folder, old: str, new: str | None, why: Mapping[str, str]) -> None:
    """Let an object that is there already stand for another, which goes; None: there was nobody to take out of it.

    An object that is there beside a note of what stands for it is either what was broken off before it went, or was
    written anew since, as after an erasure that was lifted. What it holds decides.
    """
    is_there = folder.exists(old)
    if new is not None:
        _put(folder, old if is_there else stands_for(folder, old) or old, new, why)
    elif is_there:
        folder.remove(f"{old}{END}")


def _put(folder: Folder, old: str, new: str, why: Mapping[str, str]) -> None:
    if old != new:
        folder.write_json(f"{old}{END}", {"object": new.rpartition("/")[2], **why})
        folder.remove(old)


def with_stand_ins(folder: Folder, place: str, names: set[str], named: set[str]) -> set[str]:
    """What of a place's names stays where some are named: with the notes of what stands for them, and that itself."""
    stay = set(named)
    waiting = [name for name in named if f"{name}{END}" in names]
    while waiting:
        name = waiting.pop()
        note = _note(folder, f"{place}/{name}")
        if note is not None and note["object"] not in stay | {f"{name}{END}"}:
            stay.add(note["object"])
            if f"{note['object']}{END}" in names:
                waiting.append(note["object"])
        stay.add(f"{name}{END}")
    return stay
