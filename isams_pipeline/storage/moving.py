"""Data brought from one place to another, such as from a disk to an object store: whole, and proven.

What a hash names comes first and the notes that name it last, so that whoever reads there meanwhile finds what a note
promises. Each file is read again where it was brought to, so the next call needs no memory of this one: what is there
to the byte is left, and the rest is brought.
"""

from __future__ import annotations

import hashlib
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from functools import partial

from isams_pipeline.errors import StorageError
from isams_pipeline.storage.backup import RESTORED, STORES, is_object
from isams_pipeline.storage.folder import Folder
from isams_pipeline.storage.redacted import END as REDACTED

_ALSO = ("outbox", "bundles")
_AT_ONCE = 8
"""Files on their way side by side: each waits for the store most of its time."""


@dataclass(frozen=True)
class Moved:
    """What was brought."""

    copied: int
    megabytes: float
    same: int
    """Files that were there already, to the byte."""
    others: int
    """Files in these places that the source has not; they were left."""


def move(source: Folder, target: Folder) -> Moved:
    """Bring all data; raises StorageError where a file is not there as it was here.

    Not the state database and Dagster's history, which are no files there: `backup` and `restore` bring the former.
    What is written meanwhile may be missed: call it again until nothing is copied.
    """
    paths = [path for store in (*STORES, *_ALSO) for path in source.below(store)]
    paths += [RESTORED] if source.exists(RESTORED) else []
    there = {path for store in (*STORES, *_ALSO) for path in target.below(store)}
    objects, notes = ([path for path in paths if is_object(path) is wanted] for wanted in (True, False))
    bring = partial(_bring, source, target, there)
    with ThreadPoolExecutor(_AT_ONCE) as pool:
        sizes = [*pool.map(bring, objects)]
        sizes += pool.map(bring, notes)
    for old in {path.removesuffix(REDACTED) for path in notes if path.endswith(REDACTED)} & (there - set(paths)):
        target.remove(old)  # somebody was taken out of it since it was brought
    copied = [size for size in sizes if size is not None]
    return Moved(len(copied), sum(copied) / 1e6, len(sizes) - len(copied), len(there - set(paths)))


def _bring(source: Folder, target: Folder, there: set[str], path: str) -> int | None:
    """Bring a file; its size, or None where it was there."""
    try:
        data = source.read(path)
    except FileNotFoundError:
        return None  # a note that is over by now
    digest = hashlib.sha256(data).digest()
    if path in there and _hash_at(target, path) == digest:
        return None
    target.write(path, data)
    if _hash_at(target, path) != digest:
        raise StorageError(
            "A file is another one where it was brought to", file=target.location(path), remedy="Call it again."
        )
    return len(data)


def _hash_at(folder: Folder, path: str) -> bytes | None:
    try:
        return hashlib.sha256(folder.read(path)).digest()
    except FileNotFoundError:
        return None
