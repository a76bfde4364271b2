"""The inbox: files with change requests, each taken once, then moved to `done/` or `refused/` with its reason.

A file is written under another name (`.name`, `name.tmp`, `name.part`) and renamed when it is whole. One that is not,
and cannot be read as JSON, is left for a minute before it is refused. Links are never followed.
"""

from __future__ import annotations

import contextlib
import hashlib
import json
import os
import re
import shutil
import stat
import time
from collections.abc import Generator, Iterator
from dataclasses import dataclass, field, replace
from datetime import datetime
from pathlib import Path
from typing import Any, cast

from isams_pipeline.clock import today_at
from isams_pipeline.config import secret_from
from isams_pipeline.datasets.shapes import Json, JsonValue
from isams_pipeline.errors import PipelineError, StorageError, Unforeseen
from isams_pipeline.orchestration.environment import Environment
from isams_pipeline.partners.my_school_portal.ledger import FILE, Door
from isams_pipeline.partners.my_school_portal.requests import Refused, Tidied, read
from isams_pipeline.partners.my_school_portal.settings import KEY, MySchoolPortalSettings
from isams_pipeline.partners.my_school_portal.store import ID_TAKEN, ChangeStore
from isams_pipeline.rules.texts import label
from isams_pipeline.sources.shared.json_answer import each_once, finite, no_number
from isams_pipeline.storage.folder import Folder

DONE, REFUSED = "done", "refused"
MAX_FILE = 16 << 20
MAX_FILES = 1000
"""Of one round; the next takes the rest."""
SETTLED = 60.0
"""Seconds after which a file that cannot be read is not being written any more."""
MAX_REQUESTS = 20_000
"""Of one file."""
_UNFINISHED = (".tmp", ".part", ".filepart", ".crdownload")
_NOTED, _LONGEST = 100, 200
_ID = re.compile(r"[A-Za-z0-9][A-Za-z0-9._-]{0,99}")
_Version = tuple[int, int, int, int]
"""Device, inode, size, time of change."""


@dataclass
class Taken:
    """How a file ended."""

    file: str
    new: int = 0
    known: int = 0
    approved: int = 0
    problems: dict[str, list[str]] = field(default_factory=dict[str, list[str]])
    """What was refused of it: by request id or place, or "file" for all of it."""


class _Waiting(Exception):
    """The file may still be being written."""


class _Unreadable(Exception):
    """This user may not read the file."""


def store_of(environment: Environment, school: str, door: Door | None = None) -> ChangeStore:
    """The school's change requests; `door` is the one by which what is written comes."""
    return ChangeStore(environment.state, school, environment.clock, door)


def inbox_of(environment: Environment, school: str) -> Folder:
    """The folder in which the school's portal leaves its files."""
    return environment.data.child(f"inbox/{school}")


@contextlib.contextmanager
def _here(environment: Environment, school: str) -> Generator[Path, None, None]:
    """The inbox on this machine's disk: itself, or what lies in one on an object store, and back again.

    If this is broken off, the next round finds the requests known, and moves the files.
    """
    inbox = inbox_of(environment, school)
    folder = environment.data_dir / "inbox" / school
    if not inbox.is_local:
        shutil.rmtree(folder, ignore_errors=True)
    folder.mkdir(mode=0o700, parents=True, exist_ok=True)
    if inbox.is_local:
        yield folder
        return
    try:
        seen: dict[str, datetime] = {}
        for name in inbox.names():
            with contextlib.suppress(FileNotFoundError):  # a folder is no file there
                seen[name] = inbox.modified(name)
                (folder / name).write_bytes(inbox.read(name))
                when = seen[name].timestamp()
                os.utime(folder / name, (when, when))
        yield folder
        for place in (DONE, REFUSED):
            for file in sorted((folder / place).glob("*")):
                inbox.write(f"{place}/{file.name}", file.read_bytes())
        for name, moment in seen.items():
            # One that the portal has replaced since stays, and is taken in the next round.
            if not (folder / name).exists() and inbox.modified(name) == moment:
                inbox.remove(name)
    finally:
        shutil.rmtree(folder, ignore_errors=True)


def take_in(environment: Environment, school: str) -> list[Taken]:
    """Take what lies in the inbox; gives how each file ended. One bad file never stops the others."""
    settings = environment.settings.partner(school, MySchoolPortalSettings)
    taken: list[Taken] = []
    with environment.locks.hold(f"inbox {school}", wait=60), _here(environment, school) as folder:
        for name in _names(folder):
            result = Taken(name)
            door = Door(FILE, Door.here().user, label(name))
            seen: _Version | None = None
            try:
                seen, items, digest = _items(folder / name)
                door = replace(door, sha256=digest)
                _store(environment, school, settings, items, result, door)
            except _Waiting:
                continue
            except _Unreadable:
                result.problems["file"] = ["this user may not read it; it stays in the inbox"]
                taken.append(result)
                continue
            except Refused as refusal:
                result.problems["file"] = refusal.problems
            except PipelineError:
                raise  # of the database or the disk: the file stays where it is
            except Exception as error:  # noqa: BLE001  # whatever it is, the next file is not to wait for it
                result.problems["file"] = [str(Unforeseen(error))]
            _note(store_of(environment, school, door), result)
            _put_away(folder, result, seen)
            taken.append(result)
    return taken


def _names(folder: Path) -> list[str]:
    try:
        with os.scandir(folder) as entries:
            names = [entry.name for entry in entries if entry.name not in {DONE, REFUSED}]
    except FileNotFoundError:
        return []
    except OSError as error:
        raise _trouble(error, folder) from None
    return sorted(n for n in names if not n.startswith(".") and not n.endswith(_UNFINISHED))[:MAX_FILES]


def _version(about: os.stat_result) -> _Version:
    return (about.st_dev, about.st_ino, about.st_size, about.st_mtime_ns)


def _items(path: Path) -> tuple[_Version, list[Any], str]:
    """The requests in a file, which version of it they are from, and the file's SHA-256.

    Raises Refused, or _Waiting for one that may not be whole yet.
    """
    try:
        # Not following a link, not waiting at a pipe.
        handle = os.open(path, os.O_RDONLY | os.O_NOFOLLOW | os.O_NONBLOCK)
    except PermissionError:
        raise _Unreadable from None
    except OSError:
        raise Refused(["it is a link, or cannot be read"]) from None
    about = os.fstat(handle)
    if not stat.S_ISREG(about.st_mode):
        os.close(handle)
        raise Refused(["it is no plain file"])
    with os.fdopen(handle, "rb") as file:
        # The file system's own time, not the given clock: it is about the file. A clock may be some seconds off.
        is_young = abs(time.time() - about.st_mtime) < SETTLED
        if path.suffix != ".json":
            if is_young:
                raise _Waiting  # it may be about to get its name
            raise Refused(["its name does not end in .json"])
        if about.st_size > MAX_FILE:
            raise Refused([f"it is larger than {MAX_FILE >> 20} MB"])
        data = file.read(MAX_FILE + 1)
    try:
        found: JsonValue = json.loads(
            data.decode("utf-8"), object_pairs_hook=each_once, parse_constant=no_number, parse_float=finite
        )
    except (ValueError, RecursionError):
        if is_young:
            raise _Waiting from None
        raise Refused(["it is not JSON, or a name stands twice in an object"]) from None
    items = cast("list[Any]", found) if isinstance(found, list) else [found]
    if len(items) > MAX_REQUESTS:
        raise Refused([f"it holds more than {MAX_REQUESTS} requests"])
    return _version(about), items, hashlib.sha256(data).hexdigest()


def _store(  # noqa: PLR0917
    environment: Environment,
    school: str,
    settings: MySchoolPortalSettings,
    items: list[Any],
    result: Taken,
    door: Door,
) -> None:
    today = today_at(environment.settings.school(school).timezone, environment.clock)

    def readable() -> Iterator[Tidied]:
        for place, item in enumerate(items, start=1):
            try:
                yield read(item, school=school, region=settings.phone_region, today=today)
            except Refused as refusal:
                name = _id_of(item) or f"request {place}"
                result.problems[name if name not in result.problems else f"{name} (request {place})"] = refusal.problems

    store = store_of(environment, school, door)
    named = settings.approval_secret
    secret = secret_from(environment.variables, named, school=school) if named else None
    counts = store.take(readable(), trusted=settings.trust_portal_approval, secret=secret)
    result.new, result.known, result.approved = counts.new, counts.known, counts.approved
    result.problems |= counts.refused
    if not items:
        result.problems["file"] = ["there is no request in it"]


def _id_of(item: Any) -> str | None:
    """The id of a refused request, if it has one that could be one."""
    name = cast("Json", item).get("id") if isinstance(item, dict) else None
    return name if isinstance(name, str) and _ID.fullmatch(name) else None


def _note(store: ChangeStore, result: Taken) -> None:
    """Write what was refused of a file into the ledger: under its id, unless that is another request's."""
    for name, problems in list(result.problems.items())[:_NOTED]:
        taken = problems == [ID_TAKEN] or _ID.fullmatch(name) is None or name == "file"
        store.refused(f"{label(result.file)}: {name}" if taken else name, problems)


def _put_away(folder: Path, result: Taken, seen: _Version | None) -> None:
    """Move a file out of the way. If this is broken off, the next round finds its requests known, and moves it.

    A file that is another one by now, than the one that was read, goes back under a name of its own.
    """
    target = folder / (REFUSED if result.problems else DONE)
    try:
        for place in (folder / DONE, folder / REFUSED):
            if os.path.lexists(place) and (place.is_symlink() or not place.is_dir()):
                os.rename(place, folder / f"odd-{time.time_ns()}")  # noqa: PTH104
            place.mkdir(mode=0o700, exist_ok=True)
        name = _free(target, result.file)
        os.rename(folder / result.file, target / name)  # noqa: PTH104
        if seen is not None:
            os.chmod(target / name, 0o600)  # noqa: PTH101
        if seen is not None and _version(os.lstat(target / name)) != seen:
            os.rename(target / name, folder / f"newer-{time.time_ns()}.json")  # noqa: PTH104
        elif result.problems:
            some = dict(list(result.problems.items())[:_NOTED])
            reason = {"file": result.file, "taken": result.new + result.known, "refused": some}
            if len(result.problems) > _NOTED:
                reason["more"] = len(result.problems) - _NOTED
            with contextlib.suppress(FileExistsError), (target / f"{name}.reason.txt").open("x") as note:
                json.dump(reason, note, indent=2)
    except OSError as error:
        raise _trouble(error, folder) from None


def _free(folder: Path, name: str) -> str:
    """A name in a folder that is not taken, and leaves room for an ending."""
    if len(name.encode()) <= _LONGEST and not os.path.lexists(folder / name):
        return name
    return f"{Path(name).stem[:60]}-{time.time_ns()}.json"


def _trouble(error: OSError, folder: Path) -> StorageError:
    return StorageError(
        f"The inbox cannot be used: {type(error).__name__}",
        folder=folder,
        remedy=f"Let this user read it and move files in it. ({KEY})",
    )
