"""One holder at a time, across threads, processes and (with Postgres) machines."""

from __future__ import annotations

import contextlib
import hashlib
import re
import time
from collections.abc import Generator
from pathlib import Path

import filelock
from sqlalchemy import Engine, text

from isams_pipeline.errors import SchoolBusy, StorageError


class Locks:
    """Named locks: Postgres advisory locks where there is a Postgres, otherwise files in a folder.

    A lock is let go when its holder dies, whichever way.
    """

    def __init__(self, folder: Path, engine: Engine | None = None) -> None:
        self._folder = folder
        self._engine = engine

    @contextlib.contextmanager
    def hold(self, name: str, *, wait: float, once: bool = False) -> Generator[None, None, None]:
        """Hold a lock; raises SchoolBusy if it is not free within `wait` seconds.

        With `once` its name is never used again, so that nothing of it stays.
        """
        engine = self._engine
        manager = self._in_file(name, wait, once=once) if engine is None else self._in_postgres(engine, name, wait)
        with manager:
            yield

    def is_free(self, name: str) -> bool:
        """Whether nobody holds a lock just now, whose name is used once."""
        try:
            with self.hold(name, wait=0, once=True):
                return True
        except SchoolBusy:
            return False

    @contextlib.contextmanager
    def _in_file(self, name: str, wait: float, *, once: bool = False) -> Generator[None, None, None]:
        try:
            self._folder.mkdir(mode=0o700, parents=True, exist_ok=True)
        except OSError as error:
            raise StorageError(
                f"Could not make a folder for locks: {type(error).__name__}",
                folder=self._folder,
                remedy="Check that the data folder may be written.",
            ) from None
        path = self._folder / (re.sub(r"[^a-z0-9_.-]", "_", name.lower()) + ".lock")
        # Not thread-local: Dagster may let go on another thread than the one that took it.
        lock = filelock.FileLock(path, mode=0o600, thread_local=False)
        try:
            lock.acquire(timeout=wait)
        except filelock.Timeout:
            raise _busy(name, wait) from None
        try:
            yield
        finally:
            if once:  # while it is held: another's new file would be another lock
                path.unlink(missing_ok=True)
            lock.release()

    @contextlib.contextmanager
    def _in_postgres(self, engine: Engine, name: str, wait: float) -> Generator[None, None, None]:
        number = int.from_bytes(hashlib.sha256(name.encode()).digest()[:8], signed=True)
        give_up = time.monotonic() + wait
        with engine.connect().execution_options(isolation_level="AUTOCOMMIT") as connection:
            while not connection.scalar(text("SELECT pg_try_advisory_lock(:n)"), {"n": number}):
                if time.monotonic() >= give_up:
                    raise _busy(name, wait)
                time.sleep(min(0.2, wait))
            try:
                yield
            finally:
                connection.execute(text("SELECT pg_advisory_unlock(:n)"), {"n": number})


def _busy(name: str, wait: float) -> SchoolBusy:
    return SchoolBusy(
        f"Another run holds {name}, and did not finish within {wait:.0f} seconds",
        remedy="Wait for it, or stop it in the Dagster UI.",
    )
