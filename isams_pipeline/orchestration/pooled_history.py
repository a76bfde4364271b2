"""Dagster's history in SQLite, with connections that are kept: Dagster opens an engine and a connection for each event.

The files, their tables and what a commit promises are Dagster's own; only who closes a connection differs. One file
holds the events of a run, so that the engines of runs that are over are let go of.
"""

from __future__ import annotations

import contextlib
from collections import OrderedDict
from collections.abc import Generator
from typing import Any, cast

from dagster._core.storage.event_log.sqlite.sqlite_event_log import INDEX_SHARD_NAME, SqliteEventLogStorage
from dagster._core.storage.runs.sqlite.sqlite_run_storage import SqliteRunStorage
from dagster._core.storage.schedules.sqlite.sqlite_schedule_storage import SqliteScheduleStorage
from dagster._core.storage.sqlite import SQLITE_BUSY_TIMEOUT_SECONDS
from dagster._core.storage.sqlite_storage import DagsterSqliteStorage
from dagster._serdes import ConfigurableClassData
from sqlalchemy import Connection, Engine, create_engine
from sqlalchemy.pool import QueuePool

_RUNS = 16
"""Of so many runs the files are held open, besides the index."""


class PooledEvents(SqliteEventLogStorage):
    """The events, one file a run and an index over all."""

    def __init__(self, base_dir: str, inst_data: ConfigurableClassData | None = None) -> None:
        self._engines: OrderedDict[str, Engine] = OrderedDict()
        super().__init__(base_dir, inst_data)

    @contextlib.contextmanager
    def _connect(self, shard: str) -> Generator[Connection, None, None]:
        # Dagster's own lock: one connection at a time, whichever thread asks.
        with self._db_lock:
            engine = self._engine(shard)
            ready = cast("set[str]", self._initialized_dbs)  # pyright: ignore[reportUnknownMemberType]
            if shard not in ready:
                self._initdb(engine)
                ready.add(shard)
            with engine.connect() as connection, connection.begin():
                yield connection

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
    return create_engine(url, poolclass=QueuePool, pool_size=size, max_overflow=-1, connect_args=arguments)


class PooledSqliteStorage(DagsterSqliteStorage):
    """All of an instance's history, as `storage: sqlite` in dagster.yaml has it, by kept connections."""

    def __init__(self, base_dir: str, inst_data: ConfigurableClassData | None = None) -> None:
        super().__init__(base_dir, inst_data)
        # Dagster's own have made or migrated the files, each where Dagster puts it.
        runs, events, schedules = self._run_storage, self._event_log_storage, self._schedule_storage
        self._run_storage = PooledRuns(runs._conn_string)  # noqa: SLF001  # pyright: ignore[reportPrivateUsage]
        self._event_log_storage = PooledEvents(events._base_dir)  # noqa: SLF001  # pyright: ignore[reportPrivateUsage]
        self._schedule_storage = PooledSchedules(schedules._conn_string)  # noqa: SLF001  # pyright: ignore[reportPrivateUsage]

    @classmethod
    def from_config_value(cls, inst_data: ConfigurableClassData, config_value: Any) -> PooledSqliteStorage:
        """The storage that dagster.yaml names."""
        return cls.from_local(inst_data=inst_data, **config_value)
