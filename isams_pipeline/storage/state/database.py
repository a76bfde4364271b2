"""Opens the state database, and brings its tables up to date first."""

from __future__ import annotations

import contextlib
import sqlite3
import ssl
from collections.abc import Generator
from datetime import datetime
from pathlib import Path
from typing import Any

from alembic import command
from alembic.config import Config
from alembic.migration import MigrationContext
from alembic.script import ScriptDirectory
from alembic.util import CommandError
from sqlalchemy import URL, Engine, create_engine, event, make_url, update
from sqlalchemy.dialects import postgresql, sqlite
from sqlalchemy.exc import SQLAlchemyError
from sqlalchemy.orm import DeclarativeBase, Session, sessionmaker

from isams_pipeline.config.values import is_loopback
from isams_pipeline.errors import StorageError
from isams_pipeline.storage.locks import Locks
from isams_pipeline.storage.state.models import SCHEMA

POSTGRES_VARIABLE = "ISAMS_POSTGRES_URL"
_MIGRATIONS = Path(__file__).parent / "migrations"


def postgres_url(given: str) -> str:
    """The URL with the driver that dagster-postgres can use, and with proof of who the server is.

    A bare `postgresql://` means psycopg 3 to SQLAlchemy 2.1. Off this machine `sslmode=verify-full` is asked for unless
    the URL names another mode. Raises StorageError if it is no Postgres URL.
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
    url = url.set(drivername="postgresql+psycopg2")
    if "sslmode" not in url.query and not _is_here(url):
        url = url.update_query_dict({"sslmode": VERIFIED})
        if "sslrootcert" not in url.query and (authorities := _authorities()) is not None:
            url = url.update_query_dict({"sslrootcert": authorities})
    return url.render_as_string(hide_password=False)


def _authorities() -> str | None:
    """The file of the authorities that this machine trusts; None where libpq has one of its own by default."""
    if (Path.home() / ".postgresql/root.crt").exists():
        return None
    known = (ssl.get_default_verify_paths().cafile, "/etc/ssl/certs/ca-certificates.crt", "/etc/ssl/cert.pem")
    return next((file for file in known if file and Path(file).exists()), "system")


def _is_here(url: URL) -> bool:
    """Whether the server is on this machine: by its name, or by a socket in a folder."""
    asked = url.query.get("host", url.host or "")
    hosts = [asked] if isinstance(asked, str) else list(asked)
    return all(not host or host.startswith("/") or is_loopback(host) for host in hosts)


def protection(given: str) -> tuple[str, bool]:
    """How the way to a Postgres is protected, in words; whether that is enough."""
    url = make_url(postgres_url(given))
    mode = str(url.query.get("sslmode", ""))
    if _is_here(url):
        return "on this machine", True
    if mode == VERIFIED:
        return f"encrypted, and proven to be {url.host} (sslmode={VERIFIED})", True
    return f"sslmode={mode}, as the URL says: not proven to be {url.host}, or not encrypted", False


VERIFIED = "verify-full"


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
        migrate(self.engine, "head")

    @contextlib.contextmanager
    def transaction(self) -> Generator[Session, None, None]:
        """A session that commits at the end, or leaves everything as it was."""
        with _explained(), self._sessions.begin() as session:
            yield session

    def scrub(self) -> None:
        """Let nothing of rows that went stay in the database's file; Postgres sees to that in its own time."""
        if self.engine.dialect.name != "sqlite":
            return
        connection = self.engine.raw_connection()  # an engine's own begins a transaction, and this runs in none
        try:
            connection.cursor().execute("VACUUM")
        except sqlite3.Error as error:
            raise StorageError(
                f"The state database could not be written anew: {type(error).__name__}",
                remedy="Check that the disk has room for it once more, and that nothing else holds it; then try again.",
            ) from None
        finally:
            connection.close()

    def close(self) -> None:
        """Let go of all connections."""
        self.engine.dispose()


def migrate(engine: Engine, revision: str) -> None:
    """Bring the tables to a revision. Raises StorageError for one that this version does not know."""
    config = Config()
    config.set_main_option("script_location", str(_MIGRATIONS))
    with engine.begin() as connection:
        config.attributes["connection"] = connection
        try:
            command.upgrade(config, revision)
        except CommandError:
            raise StorageError(
                f"The state database is of a revision ({revision}) that this version does not know",
                remedy="Take a version of isams-pipeline that is at least as new.",
            ) from None


def pending(engine: Engine) -> list[tuple[str, str]]:
    """The migrations that the next opening would run: revision and what it is about. Changes nothing."""
    config = Config()
    config.set_main_option("script_location", str(_MIGRATIONS))
    scripts = ScriptDirectory.from_config(config)
    with engine.connect() as connection:
        schema = SCHEMA if connection.dialect.name == "postgresql" else None
        now = MigrationContext.configure(connection, opts={"version_table_schema": schema}).get_current_revision()
    return [(one.revision, one.doc) for one in reversed(list(scripts.iterate_revisions("head", now or "base")))]


def insert_into(session: Session, table: type[DeclarativeBase]) -> sqlite.Insert | postgresql.Insert:
    """An INSERT that may say what to do on conflict, which SQLAlchemy has for each database by itself."""
    return (postgresql if session.get_bind().dialect.name == "postgresql" else sqlite).insert(table)


def claimed(session: Session, table: type[Any], identifier: int, moves: tuple[str, str], *, now: datetime) -> bool:
    """Let a row go from one state to another (`moves`); False where it was not in the first: somebody has claimed it.

    A lock in Postgres goes with its connection, and then two may hold it. A row goes from a state once.
    """
    moved: Any = session.execute(
        update(table)
        .where(table.id == identifier, table.state == str(moves[0]))
        .values(state=str(moves[1]), changed_at=now)
    )
    return moved.rowcount == 1


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
    # A receipt outlives a power cut that follows at once: the folder is synced as well when the journal goes.
    connection.execute("PRAGMA synchronous = EXTRA")


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
