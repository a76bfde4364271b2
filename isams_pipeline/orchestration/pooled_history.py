"""Dagster's history in SQLite, with connections that are kept: Dagster opens an engine and a connection for each event.

The files and their tables are Dagster's own. One file holds the events of a run, so that the engines of runs that are
over are let go of. What belongs together (an event and its copy in the index, all that a run plans) is one transaction.

A commit outlives the process, as before. Of a power cut it is promised that the files stay whole, not that the last
events are in them (`synchronous=NORMAL` of a write-ahead log, sqlite.org/pragma.html#pragma_synchronous): what a night
may depend on after one, receipts and leases, lies in the state database, which waits for the disk.
"""

from __future__ import annotations

import contextlib
import os
import threading
from collections import OrderedDict
from collections.abc import Generator, Sequence
from pathlib import Path
from typing import Any, cast

from dagster._core.events.log import EventLogEntry
from dagster._core.storage.event_log.sqlite.sqlite_event_log import INDEX_SHARD_NAME, SqliteEventLogStorage
from dagster._core.storage.runs.sqlite.sqlite_run_storage import SqliteRunStorage
from dagster._core.storage.schedules.sqlite.sqlite_schedule_storage import SqliteScheduleStorage
from dagster._core.storage.sqlite import SQLITE_BUSY_TIMEOUT_SECONDS
from dagster._core.storage.sqlite_storage import DagsterSqliteStorage
from dagster._serdes import ConfigurableClassData
from sqlalchemy import Connection, Engine, create_engine
from sqlalchemy.event import listen
from sqlalchemy.pool import QueuePool

NO_TELEMETRY = "DAGSTER_DISABLE_TELEMETRY"
"""The variable without which Dagster's daemon sends the files of `logs` in its home to its makers; `telemetry: enabled:
false` in dagster.yaml does not stop that (dagster/_core/telemetry_upload.py)."""
_RUNS = 16
"""Of so many runs the files are held open, besides the index."""


class PooledEvents(SqliteEventLogStorage):
    """The events, one file a run and an index over all."""

    def __init__(self, base_dir: str, inst_data: ConfigurableClassData | None = None) -> None:
        self._engines: OrderedDict[str, Engine] = OrderedDict()
        self._within = threading.local()
        self._tables: set[str] = set()
        super().__init__(base_dir, inst_data)

    def store_event(self, event: EventLogEntry) -> None:
        """Write an event and what the index keeps of it."""
        self.store_event_batch([event])

    def store_event_batch(self, events: Sequence[EventLogEntry]) -> None:
        """Write all events, or, where one of them cannot be written, none."""
        with self._one_transaction():
            for entry in events:
                super().store_event(entry)

    def has_table(self, table_name: str) -> bool:
        """Whether the index has a table; asked of the file until it has."""
        if table_name not in self._tables and super().has_table(table_name):
            self._tables.add(table_name)
        return table_name in self._tables

    @contextlib.contextmanager
    def _one_transaction(self) -> Generator[None, None, None]:
        """What this thread writes within is committed at its end: a run's file first, as Dagster does."""
        with self._db_lock:
            opened: dict[str, Connection] = {}
            self._within.opened = opened
            try:
                yield
                for connection in opened.values():
                    connection.commit()
            finally:
                self._within.opened = None
                for connection in opened.values():
                    connection.close()

    @contextlib.contextmanager
    def _connect(self, shard: str) -> Generator[Connection, None, None]:
        opened: dict[str, Connection] | None = getattr(self._within, "opened", None)
        if opened is not None:
            if shard not in opened:
                opened[shard] = self._ready(shard).connect()
                opened[shard].begin()
            yield opened[shard]
            return
        # Dagster's own lock: one connection at a time, whichever thread asks.
        with self._db_lock, self._ready(shard).connect() as connection, connection.begin():
            yield connection

    def _ready(self, shard: str) -> Engine:
        """The engine of a file that has its tables."""
        engine = self._engine(shard)
        ready = cast("set[str]", self._initialized_dbs)  # pyright: ignore[reportUnknownMemberType]
        if shard not in ready:
            self._initdb(engine)
            engine.dispose()  # the file has its log only now, which a new connection sees
            ready.add(shard)
        return engine

    def _engine(self, shard: str) -> Engine:
        found = self._engines.get(shard)
        if found is None:
            found = self._engines[shard] = _pooled(
                self.conn_string_for_shard(shard), size=1, timeout=SQLITE_BUSY_TIMEOUT_SECONDS
            )
        self._engines.move_to_end(shard)
        runs = [name for name in self._engines if name != INDEX_SHARD_NAME]
        for name in runs[: max(0, len(runs) - _RUNS)]:
            self._engines.pop(name).dispose()
        return found

    def delete_events(self, run_id: str) -> None:
        """Remove a run's events, and their file, which Dagster would leave there empty."""
        super().delete_events(run_id)
        with self._db_lock:
            engine = self._engines.pop(run_id, None)
            if engine is not None:
                engine.dispose()
            cast("set[str]", self._initialized_dbs).discard(run_id)  # pyright: ignore[reportUnknownMemberType]
            for end in ("", "-wal", "-shm"):
                Path(f"{self.path_for_shard(run_id)}{end}").unlink(missing_ok=True)

    def wipe(self) -> None:
        """Remove all events; the files are closed first."""
        self._let_go()
        super().wipe()

    def dispose(self) -> None:
        """Close all files."""
        self._let_go()
        super().dispose()

    def _let_go(self) -> None:
        with self._db_lock:
            while self._engines:
                self._engines.popitem()[1].dispose()


class _Pooled:
    """A storage of one file, whose connections are kept."""

    _conn_string: str
    _engine: Engine | None = None

    @contextlib.contextmanager
    def connect(self) -> Generator[Connection, None, None]:
        """A connection within a transaction."""
        if self._engine is None:
            self._engine = _pooled(self._conn_string, size=5)
        with self._engine.connect() as connection, connection.begin():
            yield connection

    def dispose(self) -> None:
        """Close the file."""
        if self._engine is not None:
            self._engine.dispose()


class PooledRuns(_Pooled, SqliteRunStorage):
    """The runs, their tags and backfills."""


class PooledSchedules(_Pooled, SqliteScheduleStorage):
    """The ticks of schedules and sensors."""


def _pooled(url: str, *, size: int, timeout: float | None = None) -> Engine:
    """An engine that keeps connections, used by whichever thread; more than `size` are closed again."""
    arguments: dict[str, Any] = {"check_same_thread": False} | ({} if timeout is None else {"timeout": timeout})
    engine = create_engine(url, poolclass=QueuePool, pool_size=size, max_overflow=-1, connect_args=arguments)
    listen(engine, "connect", _leave_the_disk_its_time)
    return engine


def _leave_the_disk_its_time(connection: Any, _: object) -> None:
    """Do not wait for the disk at each commit, where the file has a log that keeps it whole."""
    if connection.execute("PRAGMA journal_mode").fetchone()[0] == "wal":
        connection.execute("PRAGMA synchronous=NORMAL")


class PooledSqliteStorage(DagsterSqliteStorage):
    """All of an instance's history, as `storage: sqlite` in dagster.yaml has it, by kept connections."""

    def __init__(self, base_dir: str, inst_data: ConfigurableClassData | None = None) -> None:
        super().__init__(base_dir, inst_data)
        # Dagster gathers what belongs together where this variable says so, and only there.
        os.environ.setdefault("DAGSTER_EVENT_BATCH_SIZE", "1000")
        os.environ.setdefault(NO_TELEMETRY, "1")
        # Dagster's own have made or migrated the files, each where Dagster puts it.
        runs, events, schedules = self._run_storage, self._event_log_storage, self._schedule_storage
        self._run_storage = PooledRuns(runs._conn_string)  # noqa: SLF001  # pyright: ignore[reportPrivateUsage]
        self._event_log_storage = PooledEvents(events._base_dir)  # noqa: SLF001  # pyright: ignore[reportPrivateUsage]
        self._schedule_storage = PooledSchedules(schedules._conn_string)  # noqa: SLF001  # pyright: ignore[reportPrivateUsage]

    @classmethod
    def from_config_value(cls, inst_data: ConfigurableClassData, config_value: Any) -> PooledSqliteStorage:
        """The storage that dagster.yaml names."""
        return cls.from_local(inst_data=inst_data, **config_value)
