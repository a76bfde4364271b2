"""Opens the state database, and brings its tables up to date first."""

from __future__ import annotations

import contextlib
import sqlite3
from collections.abc import Generator
from pathlib import Path
from typing import Any

from alembic import command
from alembic.config import Config
from sqlalchemy import Engine, create_engine, event, make_url
from sqlalchemy.dialects import postgresql, sqlite
from sqlalchemy.exc import SQLAlchemyError
from sqlalchemy.orm import DeclarativeBase, Session, sessionmaker

from isams_pipeline.errors import StorageError
from isams_pipeline.storage.locks import Locks
from isams_pipeline.storage.state.models import SCHEMA

POSTGRES_VARIABLE = "ISAMS_POSTGRES_URL"
_MIGRATIONS = Path(__file__).parent / "migrations"


def postgres_url(given: str) -> str:
    """The URL with the driver that dagster-postgres can use.

    A bare `postgresql://` means psycopg 3 to SQLAlchemy 2.1. Raises StorageError if it is no Postgres URL.
    """
    try:
        url = make_url(given)
    except SQLAlchemyError:
        url = None
    if url is None or url.get_backend_name() not in {"postgresql", "postgres"}:
        raise StorageError(
            f"{POSTGRES_VARIABLE} is not the URL of a Postgres database",
            remedy="Write postgresql+psycopg2://user:password@host:5432/database.",
        )
    return url.set(drivername="postgresql+psycopg2").render_as_string(hide_password=False)


class StateDatabase:
    """SQLite in a file, or Postgres in a schema of its own, with its tables up to date."""

    def __init__(self, engine: Engine, locks: Locks) -> None:
        self.engine = engine
        self._sessions = sessionmaker(engine, expire_on_commit=False)
        # Two processes may open a new database at once.
        with _explained(), locks.hold("state-migrations", wait=60):
            self._migrate()

    @classmethod
    def open(cls, data_dir: Path, postgres: str | None) -> StateDatabase:
        """The state database of a data folder: Postgres if a URL is given, else `state.sqlite` there."""
        engine = make_engine(data_dir, postgres)
        return cls(engine, Locks(data_dir / "locks", engine if postgres else None))

    def _migrate(self) -> None:
        config = Config()
        config.set_main_option("script_location", str(_MIGRATIONS))
        with self.engine.begin() as connection:
            config.attributes["connection"] = connection
            command.upgrade(config, "head")

    @contextlib.contextmanager
    def transaction(self) -> Generator[Session, None, None]:
        """A session that commits at the end, or leaves everything as it was."""
        with _explained(), self._sessions.begin() as session:
            yield session

    def close(self) -> None:
        """Let go of all connections."""
        self.engine.dispose()


def insert_into(session: Session, table: type[DeclarativeBase]) -> sqlite.Insert | postgresql.Insert:
    """An INSERT that may say what to do on conflict, which SQLAlchemy has for each database by itself."""
    return (postgresql if session.get_bind().dialect.name == "postgresql" else sqlite).insert(table)


def make_engine(data_dir: Path, postgres: str | None) -> Engine:
    """An engine whose statements may name our schema in either database."""
    if postgres:
        return create_engine(postgres_url(postgres), pool_pre_ping=True)
    data_dir.mkdir(mode=0o700, parents=True, exist_ok=True)
    file = data_dir / "state.sqlite"
    if not file.exists():
        with contextlib.suppress(OSError):
            file.touch(mode=0o600)
    engine = create_engine(
        f"sqlite:///{file}",
        connect_args={"timeout": 30},
        execution_options={"schema_translate_map": {SCHEMA: None}},
    )
    event.listen(engine, "connect", _no_implicit_transactions)
    event.listen(engine, "begin", _begin_immediate)
    return engine


def _no_implicit_transactions(connection: sqlite3.Connection, _record: object) -> None:
    # pysqlite begins only before the first write, so a read before it would be outside the transaction.
    connection.isolation_level = None
    connection.execute("PRAGMA foreign_keys = ON")


def _begin_immediate(connection: Any) -> None:
    connection.exec_driver_sql("BEGIN IMMEDIATE")


@contextlib.contextmanager
def _explained() -> Generator[None, None, None]:
    try:
        yield
    except SQLAlchemyError as error:
        # The message of a database error may quote the statement's values.
        raise StorageError(
            f"The state database did not answer: {type(error).__name__}",
            remedy="Check that it runs and may be written, and that the disk is not full.",
        ) from None
