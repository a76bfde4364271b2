"""The chain of a school's ledger: each line holds the hash of the one before, so that none can be changed or left out.

Whoever may write the database could still cut off the end, or write all of it anew: so the head's hash stands in the
metadata of each run, where it can be compared.
"""

from __future__ import annotations

import getpass
import hashlib
import json
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC
from typing import Any

from isams_pipeline.errors import StorageError
from isams_pipeline.storage.state.changes import ChangeRequest, ChangeStep

APPROVED, REJECTED = "approved", "rejected"
TAKEN_OUT = "values taken out"
"""A line that says so, and vouches for what is left of lines from before values had a hash of their own: its answer has
their numbers and what `outline_of` gives of each."""
COMMAND_LINE, FILE, UI, RUN = "command line", "file", "ui", "run"


@dataclass(frozen=True)
class Door:
    """By which door a line came, and whose it was: what the machine knows, beside what a person says of themselves."""

    name: str
    user: str | None = None
    """The operating system's user; of the UI, who was logged in at the proxy."""
    file: str | None = None
    sha256: str | None = None
    """Of the file."""

    @classmethod
    def here(cls, name: str = RUN) -> Door:
        """A door that this process stands for."""
        try:
            return cls(name, getpass.getuser())
        except (OSError, KeyError):  # a user without a name
            return cls(name)

    def as_json(self) -> dict[str, str]:
        """What is known of it."""
        return {key: value for key, value in vars(self).items() if value is not None}


def hash_of(line: ChangeStep, previous: str) -> str:
    """The hash of a line that follows another: of its values by their own hash, where it has one."""
    said: list[Any] = [previous, line.school, line.request, line.at.astimezone(UTC).isoformat(), line.who, line.step]
    if line.values_hash is None:
        said += [line.fields, line.before, line.after, line.persons, line.answer, line.reason, line.door]
    else:
        said += [line.fields, line.values_hash, line.reason, line.door]
    return _hash(said)


def values_hash_of(line: ChangeStep) -> str:
    """The hash of a line's values and of its salt."""
    return _hash([line.salt, line.before, line.after, line.persons, line.answer])


def outline_of(line: ChangeStep) -> str:
    """The hash of what is left of a line from before values had a hash of their own, when they have been taken out."""
    said: list[Any] = [line.previous, line.hash, line.school, line.request, line.at.astimezone(UTC).isoformat()]
    said += [line.who, line.step, line.fields, line.persons, line.reason, line.door, line.redacted_why]
    return _hash(said)


def _hash(said: list[Any]) -> str:
    return hashlib.sha256(json.dumps(said, sort_keys=True, ensure_ascii=False).encode()).hexdigest()


def _is_as_written(line: ChangeStep, previous: str, outlines: Mapping[str, str]) -> bool:
    """Whether a line says what its hash says it did; of values that were taken out what is left."""
    is_out = line.redacted_at is not None and (line.before, line.after, line.answer, line.salt) == (None,) * 4
    if line.redacted_at is not None and not is_out:
        return False
    if line.values_hash is not None:
        return line.hash == hash_of(line, previous) and (is_out or line.values_hash == values_hash_of(line))
    if is_out:
        return outlines.get(str(line.id)) == outline_of(line)
    return line.hash == hash_of(line, previous)


def beginning(lines: Iterable[ChangeStep]) -> str:
    """What the chain begins from: the hash of all lines that were written before there was one."""
    head = ""
    for line in lines:
        head = hash_of(line, head)
    return head


@dataclass(frozen=True)
class Verified:
    """What the chain of a school comes to."""

    lines: int
    head: str
    """The hash of the last line; empty where there is none."""
    broken_at: int | None = None
    """The number of the first line that is not what its hash says, or does not follow the one before."""
    has: bool = True
    """Whether the head that was asked for is in the chain."""

    @property
    def holds(self) -> bool:
        """Whether the ledger is as it was written."""
        return self.broken_at is None and self.has


def verify(lines: Sequence[ChangeStep], head: str | None = None) -> Verified:
    """Go through a school's lines in their order; `head` is one that was noted earlier."""
    old = [line for line in lines if line.hash is None]
    unchained = lines[: len(old)] == old
    last = beginning(old)
    seen = {last}
    outlines: dict[str, str] = {}
    for line in lines:
        if line.step == TAKEN_OUT and line.answer is not None:
            # What a line was vouched for first counts: who could add a line could vouch for anything.
            outlines = {**line.answer, **outlines}
    for at, line in enumerate(lines):
        if line.hash is None:
            if not unchained:
                return Verified(len(lines), last, line.id)
            continue
        if at < len(old) or line.previous != last or not _is_as_written(line, last, outlines):
            return Verified(len(lines), last, line.id)
        last = line.hash
        seen.add(last)
    return Verified(len(lines), last, has=head is None or head in seen)


def broken(school: str, found: Verified) -> StorageError:
    """The error for a ledger that is not as it was written."""
    return StorageError(
        "The ledger of change requests was altered after it was written, so nothing is written to iSAMS",
        school=school,
        line=found.broken_at,
        remedy=f"`isams-pipeline changes verify {school}` says where. Restore the database from a backup.",
    )


def unapproved(request: ChangeRequest, lines: Sequence[ChangeStep]) -> str | None:
    """Why the ledger does not bear out that just this was approved; None where it does.

    A state in the database could be set by anybody who may write there.
    """
    decided = [line for line in lines if line.step in {APPROVED, REJECTED}]
    if not decided or decided[-1].step != APPROVED:
        return "the ledger has no approval of this request"
    line = decided[-1]
    if line.redacted_at is not None or request.redacted_at is not None:
        return "the values that were approved have been taken out of the ledger"
    if sorted(line.fields) != sorted(request.changes) or line.before != request.seen:
        return "the approval in the ledger does not match the request"
    if line.hash is None:
        return None  # of before lines said more
    if line.after != request.changes or bool((line.answer or {}).get("joint_confirmed")) != request.joint_confirmed:
        return "the approval in the ledger does not match the request"
    return None
