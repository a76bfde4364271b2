"""Backups: the state database and the stores, encrypted with age, taken while runs go on; and the way back.

    <place>/objects/<for whom>/<path in the data folder>.age    what a hash names: once, whichever backups need it
    <place>/backups/<when>.tar.zst.age      the rest: the database's rows, the notes, schools.yaml
    <place>/backups/<when>.objects          which objects it needs: paths only, so that none need be opened

The database comes first, then the notes, then the objects: each names only what came before it was written, so a backup
that was taken amid a night is the state of some moment of it. One at a time goes to a place. Objects that another key
opens do not count: with other recipients all are brought again.
"""

from __future__ import annotations

import hashlib
import io
import json
import re
import tarfile
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from datetime import UTC, date, datetime
from pathlib import Path, PurePosixPath
from typing import IO, Any, cast

import pyrage as untyped  # pyright: ignore[reportMissingTypeStubs]
import sqlalchemy as sa
import zstandard
from alembic.migration import MigrationContext
from sqlalchemy.exc import SQLAlchemyError

from isams_pipeline.clock import Clock
from isams_pipeline.datasets.shapes import Json
from isams_pipeline.errors import BackupUnreadable, StorageError, WrongUse
from isams_pipeline.storage.folder import Folder
from isams_pipeline.storage.keyed import KEY
from isams_pipeline.storage.redacted import END as REDACTED
from isams_pipeline.storage.state import database

_AGE: Any = untyped
STORES = ("archive", "lists", "tables", "staged", "photos", "reports", "inbox", "rights")
"""What is backed up of a data folder. Not mails that have gone, bundles, and Dagster's own history."""
RESTORED = "restored.json"
"""The note of a data folder that it was restored."""
_UNDER_WAY = "restoring"
_ENDS = (".tar.zst.age", ".objects")
_PACKED = "restored/packed"
_STATE, _SETTINGS, _ABOUT = "state.jsonl", "schools.yaml", "about.json"
_VERSION = 1
_ERASED = "erased_person"
_BY_ITS_HASH = re.compile(r"[0-9a-f]{64}(\.|$)")


@dataclass(frozen=True)
class Backup:
    """A backup in its place."""

    name: str
    """When it was begun."""
    objects: int
    new: int
    """Objects that no earlier backup had."""
    rows: int
    """Of the database."""
    files: int
    """Notes and other files."""


def new_identity() -> tuple[str, str]:
    """A new key, which opens backups and is to be kept elsewhere, and its recipient, for which they are made."""
    made = _AGE.x25519.Identity.generate()
    return str(made), str(made.to_public())


def recipients_of(texts: Sequence[str]) -> list[Any]:
    """Recipients as age writes them; raises WrongUse."""
    try:
        found = [_AGE.x25519.Recipient.from_str(text.strip()) for text in texts if text.strip()]
    except _AGE.RecipientError:
        raise WrongUse("What was given is no recipient of age", remedy="It begins with age1; see --new-key.") from None
    if not found:
        raise WrongUse(
            "Backups are encrypted, and nobody was named who can open them",
            remedy="Make a key with `isams-pipeline backup --new-key FILE`, and give its recipient with --recipient or "
            "ISAMS_BACKUP_RECIPIENTS.",
        )
    return found


def identity_of(file: Path) -> Any:
    """The key in a file, as age-keygen writes it; raises WrongUse, which does not quote it."""
    try:
        lines = [line.strip() for line in file.read_text().splitlines() if line.strip() and not line.startswith("#")]
        return _AGE.x25519.Identity.from_str(lines[0])
    except (OSError, IndexError, UnicodeDecodeError, _AGE.IdentityError):
        raise WrongUse(f"{file} holds no key of age", remedy="It begins with AGE-SECRET-KEY-1.") from None


# --- there ---------------------------------------------------------------------------------------------------


@dataclass(frozen=True)
class Taking:
    """What a backup is taken of, and for whom."""

    data: Folder
    here: Folder
    """On this machine, where everything is private: the data themselves, or beside them what may be lost."""
    state: database.StateDatabase
    place: Folder
    recipients: Sequence[Any]
    clock: Clock
    settings: Path | None = None
    """schools.yaml."""

    def take(self) -> Backup:
        """Back up everything; raises StorageError. Nothing of it counts until its last file is written."""
        name = f"{self.clock().astimezone(UTC):%Y%m%dT%H%M%SZ}"
        with self.here.incoming("backup") as incoming:
            packed = Path(self.here.url) / incoming.temporary
            rows, notes = self._pack(packed, name)
            # After all notes have been read: what they name is there.
            objects, new = self._put_objects([path for path in _files(self.data) if is_object(path)])
            needed = "".join(f"{self._for_whom}/{path}\n" for path in objects)
            self.place.write(f"backups/{name}{_ENDS[1]}", needed.encode())
            with packed.open("rb") as plain:
                self._put(plain, f"backups/{name}{_ENDS[0]}")
        return Backup(name, len(objects), new, rows, notes)

    @property
    def _for_whom(self) -> str:
        """Of the recipients: what was encrypted for others is none of theirs."""
        return hashlib.sha256("\n".join(sorted(map(str, self.recipients))).encode()).hexdigest()[:12]

    def _pack(self, packed: Path, name: str) -> tuple[int, int]:
        rows = notes = 0
        with (
            packed.open("wb") as file,
            zstandard.ZstdCompressor(level=6).stream_writer(file) as compressed,
            tarfile.open(fileobj=compressed, mode="w|") as tar,
        ):
            revision, lines = dump(self.state.engine)
            rows = len(lines)
            _add(tar, _STATE, b"".join(lines))
            about = {"version": _VERSION, "made": self.clock().astimezone(UTC).isoformat(), "revision": revision}
            _add(tar, _ABOUT, json.dumps(about | {"name": name}).encode())
            if self.settings is not None:
                _add(tar, _SETTINGS, self.settings.read_bytes())
            for path in (path for path in _files(self.data) if not is_object(path)):
                try:
                    _add(tar, path, self.data.read(path))
                except FileNotFoundError:  # a note that is over by now
                    continue
                notes += 1
        return rows, notes

    def _put_objects(self, objects: Sequence[str]) -> tuple[list[str], int]:
        """Those that are in the place now, and how many are new there."""
        new = 0
        done: list[str] = []
        there: dict[str, set[str]] = {}
        for path in objects:
            folder, _, name = path.rpartition("/")
            known = there.setdefault(folder, set(self.place.names(f"objects/{self._for_whom}/{folder}")))
            if f"{name}.age" not in known:
                try:
                    with self.data.open(path) as plain:
                        self._put(plain, f"objects/{self._for_whom}/{path}.age")
                except FileNotFoundError:
                    continue  # what no note needs any more: it ended meanwhile
                new += 1
            done.append(path)
        return done, new

    def _put(self, plain: IO[bytes], path: str) -> None:
        with self.place.incoming(path) as incoming:
            _AGE.encrypt_io(plain, incoming, self.recipients)
            incoming.publish(path)


def _files(data: Folder) -> list[str]:
    """The files of the stores, as paths in the place of the data."""
    return [path for store in STORES for path in data.below(store)]


def is_object(path: str) -> bool:
    """Whether a file is named by the hash of what it holds. A school may be called objects."""
    folder, _, name = path.rpartition("/")
    is_hash = folder.rpartition("/")[2] == "objects" and _BY_ITS_HASH.match(name) is not None
    return is_hash and not name.endswith(REDACTED)


def _add(tar: tarfile.TarFile, name: str, data: bytes) -> None:
    about = tarfile.TarInfo(name)
    about.size, about.mode = len(data), 0o600
    tar.addfile(about, io.BytesIO(data))


def kept(place: Folder) -> list[str]:
    """The backups in a place, the oldest first."""
    return [name.removesuffix(_ENDS[0]) for name in place.names("backups") if name.endswith(_ENDS[0])]


def thin_out(place: Folder, most: int) -> tuple[int, int]:
    """Keep the newest backups only, and the objects that they need; gives how many of both went."""
    names = kept(place)
    gone = names[:-most]
    for name in gone:
        for end in _ENDS:
            place.remove(f"backups/{name}{end}")
    if not gone:
        return 0, 0
    needed: set[str] = set()
    for name in kept(place):
        needed |= set(place.read(f"backups/{name}{_ENDS[1]}").decode().splitlines())
    old = [path for path in _objects_in(place) if path not in needed]
    for path in old:
        place.remove(f"objects/{path}.age")
    return len(gone), len(old)


def _objects_in(place: Folder, path: str = "") -> Iterator[str]:
    for name in place.names(f"objects/{path}" if path else "objects"):
        inner = f"{path}/{name}" if path else name
        if name.endswith(".age"):
            yield inner.removesuffix(".age")
        else:
            yield from _objects_in(place, inner)


# --- and back ------------------------------------------------------------------------------------------------


@dataclass(frozen=True)
class Restored:
    """What was brought back."""

    name: str
    made: datetime
    rows: int
    files: int
    settings: Path | None
    """Where schools.yaml lies now, as it was then."""
    erased: frozenset[str]
    """The schools that have erased people since, who are here again: they are to be erased again."""
    unread: tuple[str, ...]
    """Later backups that this key does not open, or that are damaged: who was erased since may stand there only."""


def restore(
    place: Folder, name: str | None, identity: Any, data_dir: Path, postgres: str | None, *, store: str | None = None
) -> Restored:
    """Bring a backup back into an empty data folder and an empty database; broken off, the next call goes on.

    `store` is where the data lie if not in `data_dir`.

    Raises WrongUse where there is something already, BackupUnreadable where it cannot be opened or is damaged.
    """
    names = kept(place)
    chosen = name or (names[-1] if names else "")
    if chosen not in names:
        raise WrongUse(
            f"There is no backup {name!r}" if name else f"There is no backup in {place}",
            remedy=f"There are: {', '.join(names[-5:]) or 'none'}.",
        )
    data, here = Folder(store or data_dir), Folder(data_dir)
    begun = data.read(_UNDER_WAY).decode() if data.exists(_UNDER_WAY) else None
    if begun not in {None, chosen}:
        raise WrongUse(
            f"A restoration of {begun} was begun here and has not ended",
            remedy=f"Finish it with --at {begun}, or empty the data folder and the database first.",
        )
    if begun is None:
        full = [store for store in STORES if data.names(store) and store != "rights"]
        if full:
            raise WrongUse(
                f"There is something in the data folder already: {', '.join(full)}",
                remedy="Restore into an empty folder, and move what is there away first.",
            )
        _need_no_rows(data_dir, postgres)
    _decrypted_to(place, f"backups/{chosen}{_ENDS[0]}", identity, here, _PACKED)
    data.write(_UNDER_WAY, chosen.encode())
    files = _put_back(place, chosen, data, here)
    about, settings = cast("Json", here.read_json(f"restored/{_ABOUT}")), data_dir / "restored" / _SETTINGS
    for path in place.read(f"backups/{chosen}{_ENDS[1]}").decode().splitlines():
        inner = path.partition("/")[2]
        if not data.exists(inner):
            _decrypted_to(place, f"objects/{path}.age", identity, data, inner)
            files += 1
    rows = _put_rows(data_dir, postgres, str(about["revision"]), here.read(f"restored/{_STATE}"))
    here.remove(f"restored/{_STATE}")
    erased, unread = _erased_since(place, names[names.index(chosen) + 1 :], identity, (data, data_dir), postgres)
    made = datetime.fromisoformat(str(about["made"]))
    data.write_json(RESTORED, {"backup": chosen, "made": made.isoformat()})
    data.remove(_UNDER_WAY)
    return Restored(chosen, made, rows, files, settings if settings.exists() else None, erased, unread)


def _erased_since(
    place: Folder, later: Sequence[str], identity: Any, to: tuple[Folder, Path], postgres: str | None
) -> tuple[frozenset[str], tuple[str, ...]]:
    """Note who was erased since, by the newest later backup that can be read: nobody is to come back.

    Gives their schools, and the later ones that cannot be read.
    """
    data, data_dir = to
    unread: list[str] = []
    for name in reversed(later):
        try:
            rows, key = _erased_by(place, name, identity, Folder(data_dir))
        except BackupUnreadable:
            unread.append(name)
            continue
        if rows and key is not None:
            data.write(KEY, key)
        return _noted_again(rows, data_dir, postgres), tuple(unread)
    return frozenset(), tuple(unread)


def _erased_by(place: Folder, name: str, identity: Any, here: Folder) -> tuple[list[Json], bytes | None]:
    """Who was erased by then, and the key by which they are known."""
    _decrypted_to(place, f"backups/{name}{_ENDS[0]}", identity, here, _PACKED)
    rows: list[Json] = []
    key: bytes | None = None
    for member, content in _members(place, name, here):
        if member == _STATE:
            rows = [one["row"] for one in map(json.loads, content.splitlines()) if one["table"] == _ERASED]
        elif member == KEY:
            key = content
    here.remove(_PACKED)
    return rows, key


def _noted_again(rows: Sequence[Json], data_dir: Path, postgres: str | None) -> frozenset[str]:
    """Note erasures of later as such that are to be done; gives their schools."""
    engine = database.make_engine(data_dir, postgres)
    try:
        with engine.begin() as connection:
            table = next(one for one in _tables(connection) if one.name == _ERASED)
            known = {(one.whom, one.source): one.state for one in connection.execute(sa.select(table))}
            here = [_typed(table, row) for row in rows if row["state"] != "lifted"]
            new = [row for row in here if known.get((row["whom"], row["source"])) != "done"]
            for row in new:
                whose = (table.c.whom == row["whom"], table.c.source == row["source"])
                connection.execute(sa.delete(table).where(*whose))
                connection.execute(sa.insert(table), {k: v for k, v in row.items() if k != "id"} | {"state": "begun"})
    finally:
        engine.dispose()
    return frozenset(str(row["school"]) for row in new)


def _decrypted_to(place: Folder, path: str, identity: Any, data: Folder, to: str) -> None:
    try:
        with place.open(path) as sealed, data.incoming(to) as incoming:
            _AGE.decrypt_io(sealed, incoming, [identity])
            incoming.publish(to)
    except FileNotFoundError:
        raise _unreadable(place, path, "is missing") from None
    except (_AGE.DecryptError, OSError):
        raise _unreadable(place, path, "is damaged, or for another key") from None


def _unreadable(place: Folder, path: str, how: str) -> BackupUnreadable:
    return BackupUnreadable(
        f"A file of the backup {how}",
        file=place.location(path),
        remedy="Give the key it was made for with --identity, or restore an earlier backup with --at.",
    )


def _put_back(place: Folder, name: str, data: Folder, here: Folder) -> int:
    """The files of a backup, each where it was; gives their number."""
    files = 0
    ours = {_STATE, _ABOUT, _SETTINGS}
    for path, content in _members(place, name, here):
        if path in ours:
            here.write(f"restored/{path}", content)
        else:
            data.write(path, content)
            files += 1
    here.remove(_PACKED)
    return files


def _members(place: Folder, name: str, here: Folder) -> Iterator[tuple[str, bytes]]:
    """The files in what was decrypted of a backup, in their order."""
    try:
        with (
            here.open(_PACKED) as file,
            zstandard.ZstdDecompressor().stream_reader(file) as plain,
            tarfile.open(fileobj=plain, mode="r|") as tar,
        ):
            for member in tar:
                path = PurePosixPath(member.name)
                content = tar.extractfile(member)
                if content is None or path.is_absolute() or ".." in path.parts:
                    raise _unreadable(place, name, "is none of this project's")
                yield path.as_posix(), content.read()
    except (tarfile.TarError, zstandard.ZstdError, EOFError):
        raise _unreadable(place, name, "is damaged") from None


# --- the database ----------------------------------------------------------------------------------------------


def dump(engine: sa.Engine) -> tuple[str, list[bytes]]:
    """The schema's revision, and all rows as lines of JSON, as they are in one moment."""
    isolation = {"isolation_level": "REPEATABLE READ"} if engine.dialect.name == "postgresql" else {}
    lines: list[bytes] = []
    with engine.connect().execution_options(**isolation) as connection, connection.begin():
        revision = revision_of(connection)
        for table in _tables(connection):
            # JSON as its text: a null of JSON is another thing than none at all.
            columns = [sa.cast(c, sa.Text).label(c.name) if isinstance(c.type, sa.JSON) else c for c in table.columns]
            for row in connection.execute(sa.select(*columns)).mappings():
                said = {"table": table.name, "row": {str(name): _plain(value) for name, value in row.items()}}
                lines.append(json.dumps(said, ensure_ascii=False).encode() + b"\n")
    return revision, lines


def revision_of(connection: sa.Connection) -> str:
    """The revision of the state database's tables; empty where there are none."""
    schema = database.SCHEMA if connection.dialect.name == "postgresql" else None
    return MigrationContext.configure(connection, opts={"version_table_schema": schema}).get_current_revision() or ""


def _tables(connection: sa.Connection) -> list[sa.Table]:
    """The tables as they are in the database, whatever this version would make of them."""
    schema = database.SCHEMA if connection.dialect.name == "postgresql" else None
    found = sa.MetaData()
    found.reflect(connection, schema=schema)
    ours = [table for table in found.sorted_tables if table.name not in {"alembic_version", "lease"}]
    for column in (column for table in ours for column in table.columns):
        if isinstance(column.type, sa.JSON):
            column.type = sa.JSON(none_as_null=True)
    return ours


def _plain(value: Any) -> Any:
    return value.isoformat() if isinstance(value, date) else value


def _need_no_rows(data_dir: Path, postgres: str | None) -> None:
    engine = database.make_engine(data_dir, postgres)
    try:
        with engine.connect() as connection:
            if not revision_of(connection):
                return
            full = [
                t.name for t in _tables(connection) if connection.execute(sa.select(t).limit(1)).first() is not None
            ]
    finally:
        engine.dispose()
    if full:
        raise WrongUse(
            f"There are rows in the database already: {', '.join(full)}",
            remedy="Restore into an empty database: another one in ISAMS_POSTGRES_URL, or without state.sqlite.",
        )


def _put_rows(data_dir: Path, postgres: str | None, revision: str, lines: bytes) -> int:
    """Put rows into a database of the revision that they are of, then bring its tables up to date."""
    engine = database.make_engine(data_dir, postgres)
    rows = [json.loads(line) for line in lines.splitlines()]
    try:
        database.migrate(engine, revision)
        with engine.begin() as connection:
            tables = {table.name: table for table in _tables(connection)}
            for table in tables.values():
                theirs = [_typed(table, one["row"]) for one in rows if one["table"] == table.name]
                if theirs and connection.execute(sa.select(table).limit(1)).first() is None:
                    connection.execute(sa.insert(table), theirs)
                    _set_counter(connection, table)
        database.migrate(engine, "head")
    except SQLAlchemyError as error:
        raise StorageError(
            f"The rows of the backup could not be put into the database: {type(error).__name__}",
            remedy="Check that it may be written and that the disk is not full; then restore again.",
        ) from None
    finally:
        engine.dispose()
    return len(rows)


def _typed(table: sa.Table, row: Json) -> Json:
    made: Json = {}
    for name, value in row.items():
        kind: Callable[[str], object] | None = None
        if isinstance(table.c[name].type, sa.JSON):
            kind = _of_json
        elif isinstance(table.c[name].type, sa.DateTime):
            kind = datetime.fromisoformat
        elif isinstance(table.c[name].type, sa.Date):
            kind = date.fromisoformat
        made[name] = kind(value) if kind is not None and isinstance(value, str) else value
    return made


def _of_json(text: str) -> object:
    value = json.loads(text)
    return sa.JSON.NULL if value is None else value


def _set_counter(connection: sa.Connection, table: sa.Table) -> None:
    """Let Postgres count on from the highest number."""
    if connection.dialect.name != "postgresql":
        return
    for column in table.primary_key:
        if isinstance(column.type, sa.Integer) and column.server_default is not None:
            whole = f"{table.schema}.{table.name}"
            highest = connection.execute(sa.select(sa.func.max(column))).scalar() or 1
            of = sa.func.pg_get_serial_sequence(whole, column.name)
            connection.execute(sa.select(sa.func.setval(of, highest)))
