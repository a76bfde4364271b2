"""Folders, the archive, tables and locks."""

from __future__ import annotations

import errno
import os
import stat
import threading
from datetime import UTC, date, datetime
from pathlib import Path

import pandas as pd
import pyarrow.parquet as pq
import pytest
from hypothesis import given
from hypothesis import strategies as st
from sqlalchemy import inspect, text

from isams_pipeline.errors import SchoolBusy, StorageError
from isams_pipeline.storage.archive import Snapshot, SnapshotArchive
from isams_pipeline.storage.folder import Folder
from isams_pipeline.storage.locks import Locks
from isams_pipeline.storage.state import Base, StateDatabase
from isams_pipeline.storage.state.database import make_engine, postgres_url
from isams_pipeline.storage.state.models import SCHEMA
from isams_pipeline.storage.tables import TableStore

NIGHT = date(2026, 11, 18)


@pytest.fixture(params=["local", "memory"])
def folder(request: pytest.FixtureRequest, tmp_path: Path) -> Folder:
    return Folder(tmp_path / "data" if request.param == "local" else f"memory://{tmp_path.name}")


def test_files_appear_whole_or_not_at_all(folder: Folder):
    folder.write("a/b.txt", b"old")
    with pytest.raises(RuntimeError), folder.incoming("a/b.txt") as incoming:
        incoming.write(b"half of the ne")
        raise RuntimeError
    assert folder.read("a/b.txt") == b"old"
    assert folder.names("a") == ["b.txt"]
    folder.write("a/b.txt", b"new")
    assert folder.read("a/b.txt") == b"new"


def test_what_is_not_there(folder: Folder):
    assert folder.names("nowhere") == []
    assert not folder.exists("nowhere")
    folder.remove("nowhere")
    with pytest.raises(FileNotFoundError):
        folder.read("nowhere")


def test_files_are_0600_in_0700_folders(tmp_path: Path):
    before = os.umask(0o022)
    Folder(tmp_path / "data").write("a/b/c.txt", b"x")
    os.umask(before)
    modes = {path.name: stat.S_IMODE(path.stat().st_mode) for path in (tmp_path / "data").rglob("*")}
    assert modes == {"a": 0o700, "b": 0o700, "c.txt": 0o600}
    assert stat.S_IMODE((tmp_path / "data").stat().st_mode) == 0o700


def test_errors_name_the_file_and_no_password(tmp_path: Path):
    with pytest.raises(StorageError) as caught:
        Folder("nonsense://user:password@host/x")
    assert "password" not in str(caught.value) and "host/x" in str(caught.value)
    (tmp_path / "file").write_text("")
    with pytest.raises(StorageError, match="file/x") as caught:
        Folder(tmp_path / "file").write("x", b"")


def keep(archive: SnapshotArchive, data: bytes, night: date = NIGHT, hour: int = 2) -> Snapshot:
    with archive.receive("school") as receiving:
        for at in range(0, len(data), 7):
            receiving.write(data[at : at + 7])
        return archive.file(
            receiving,
            school="school",
            night=night,
            key="students",
            methods=["M"],
            fetched_at=datetime(night.year, night.month, night.day, hour, tzinfo=UTC),
            cache_hours=2,
        )


def test_archive_keeps_bytes_once_and_notes_every_night(folder: Folder):
    archive = SnapshotArchive(folder)
    first = keep(archive, b"<iSAMS/>" * 100)
    second = keep(archive, b"<iSAMS/>" * 100, date(2026, 11, 19))
    assert not first.identical_to_night_before and second.identical_to_night_before
    assert first.sha256 == second.sha256
    assert folder.names("school/objects") == [f"{first.sha256}.xml.zst"]
    with archive.open(second) as stream:
        assert stream.read() == b"<iSAMS/>" * 100


def test_archive_gives_the_newest_answer_of_a_night_first(folder: Folder):
    archive = SnapshotArchive(folder)
    keep(archive, b"early", hour=2)
    late = keep(archive, b"late", hour=9)
    assert archive.of_night("school", NIGHT)[0] == late


def test_nothing_is_archived_of_an_answer_that_broke_off(folder: Folder):
    archive = SnapshotArchive(folder)
    with pytest.raises(RuntimeError), archive.receive("school") as receiving:
        receiving.write(b"<iSAMS>")
        raise RuntimeError
    assert folder.names("school/objects") == []


def test_damaged_snapshot_is_noticed(folder: Folder):
    archive = SnapshotArchive(folder)
    snapshot = keep(archive, b"x" * 1000)
    other = keep(archive, b"y" * 1000, hour=3)
    folder.write(f"school/objects/{snapshot.sha256}.xml.zst", folder.read(f"school/objects/{other.sha256}.xml.zst"))
    with pytest.raises(StorageError, match="damaged"), archive.open(snapshot) as stream:
        stream.read()
    folder.remove(f"school/objects/{snapshot.sha256}.xml.zst")
    with pytest.raises(StorageError, match="lost"), archive.open(snapshot):
        pass


@given(st.binary(max_size=5_000))
def test_archive_gives_back_just_what_came(data: bytes):
    folder = Folder("memory://property")
    archive = SnapshotArchive(folder)
    with archive.open(keep(archive, data)) as stream:
        assert stream.read() == data


def test_tables_keep_rows_and_types_and_the_last_good_night(folder: Folder):
    tables = TableStore(folder)
    frame = pd.DataFrame({"id": pd.array([1, None], dtype="Int64"), "name": pd.array(["Zoë", None], dtype="str")})
    stored = tables.save(frame, source="isams", dataset="d", school="s", night=NIGHT, provenance={"key": "k"})
    found = tables.need("isams", "d", "s", NIGHT)
    assert found == stored
    pd.testing.assert_frame_equal(tables.load(found), frame)
    assert tables.before("isams", "d", "s", date(2026, 11, 25)) == stored
    assert tables.before("isams", "d", "s", NIGHT) is None
    folder.write(stored.path, b"something else")
    with pytest.raises(StorageError, match="damaged"):
        tables.load(found)


@pytest.mark.parametrize("rows", [0, 16_384, 40_000])
def test_tables_of_any_length_are_written_in_pieces(folder: Folder, rows: int):
    tables = TableStore(folder)
    frame = pd.DataFrame(
        {
            "id": pd.array(range(rows), dtype="Int64"),
            "name": pd.array([None] * (rows - 1) + ["last"] if rows else [], dtype="str"),
            "at": pd.date_range("2026-01-01", periods=rows, freq="min").astype("datetime64[ms]"),
        }
    )
    first, again = (
        tables.save(frame, source="isams", dataset="d", school=name, night=NIGHT, provenance={}) for name in "st"
    )
    assert first.sha256 == again.sha256 and first.rows == rows and tables.is_intact(first)
    pd.testing.assert_frame_equal(tables.load(first), frame)
    assert folder.names("isams/d/s/objects") == [f"{first.sha256}.parquet"]
    with folder.open(first.path) as file:
        assert pq.ParquetFile(file).num_row_groups == -(-rows // 16_384)


def test_state_database_matches_its_models_and_migrates_twice(tmp_path: Path, state_url: str | None):
    for _ in range(2):
        state = StateDatabase.open(tmp_path, state_url)
        schema = SCHEMA if state_url else None
        found = inspect(state.engine)
        for table in Base.metadata.tables.values():
            columns = {column["name"] for column in found.get_columns(table.name, schema=schema)}
            assert columns == {column.name for column in table.columns}
        state.close()


def test_state_lives_beside_a_dagster_that_has_its_own_alembic_table(tmp_path: Path, postgres: str):
    engine = make_engine(tmp_path, postgres)
    with engine.begin() as connection:
        connection.execute(text("CREATE TABLE alembic_version (version_num VARCHAR(32) NOT NULL)"))
        connection.execute(text("INSERT INTO alembic_version VALUES ('of dagster')"))
    engine.dispose()
    state = StateDatabase.open(tmp_path, postgres)
    with state.engine.connect() as connection:
        assert connection.scalar(text("SELECT version_num FROM public.alembic_version")) == "of dagster"
    state.close()


@pytest.mark.parametrize("given", ["postgresql://u:p@localhost/d", "postgresql+psycopg2://u:p@localhost/d"])
def test_postgres_url_gets_the_driver_that_dagster_can_use(given: str):
    assert postgres_url(given) == "postgresql+psycopg2://u:p@localhost/d"


@pytest.mark.parametrize("given", ["mysql://h/d", "nonsense", ""])
def test_a_url_of_another_database_is_refused(given: str):
    with pytest.raises(StorageError, match="not the URL of a Postgres"):
        postgres_url(given)


def test_a_lock_has_one_holder_and_says_so(tmp_path: Path, state_url: str | None):
    state = StateDatabase.open(tmp_path, state_url)
    locks = Locks(tmp_path / "locks", state.engine if state_url else None)
    held, release = threading.Event(), threading.Event()

    def hold() -> None:
        with locks.hold("school riverside", wait=5):
            held.set()
            release.wait(10)

    thread = threading.Thread(target=hold)
    thread.start()
    assert held.wait(10)
    with pytest.raises(SchoolBusy, match="school riverside"), locks.hold("school riverside", wait=0.3):
        pass
    with locks.hold("school harbour", wait=0.3):
        release.set()
    thread.join()
    with locks.hold("school riverside", wait=5):
        assert True, "free again"
    state.close()


# --- one file under two names -------------------------------------------------------------------------------


def test_a_file_like_an_earlier_one_takes_no_room(tmp_path: Path):
    folder, data = Folder(tmp_path), b"entity,id\n" * 1000
    folder.write("10/exclusions.csv", data)
    nights = ["12/exclusions.csv", "11/exclusions.csv", "10/exclusions.csv"]
    folder.write_unless_there("13/exclusions.csv", data, nights)
    first, again = tmp_path / "10/exclusions.csv", tmp_path / "13/exclusions.csv"
    assert again.read_bytes() == data and again.samefile(first)
    assert stat.S_IMODE(again.stat().st_mode) == 0o600 and stat.S_IMODE(again.parent.stat().st_mode) == 0o700
    folder.write_unless_there("13/exclusions.csv", data, nights)
    assert again.samefile(first) and folder.names("13") == ["exclusions.csv"] and len(list(again.parent.iterdir())) == 1


def test_what_is_written_again_does_not_change_the_earlier_name(tmp_path: Path):
    folder = Folder(tmp_path)
    folder.write("10.csv", b"as it was")
    folder.write_unless_there("11.csv", b"as it was", ["10.csv"])
    folder.write_unless_there("11.csv", b"as it is", ["10.csv"])
    assert (folder.read("10.csv"), folder.read("11.csv")) == (b"as it was", b"as it is")
    folder.write("12.csv", b"as it is")
    folder.write_unless_there("10.csv", b"another", ["9.csv"])
    assert (folder.read("10.csv"), folder.read("11.csv"), folder.read("12.csv")) == (
        b"another",
        b"as it is",
        b"as it is",
    )


@pytest.mark.parametrize("where", ["memory", "no second names"])
def test_a_place_without_second_names_gets_the_file(tmp_path: Path, where: str, monkeypatch: pytest.MonkeyPatch):
    def refuse(*_: object) -> None:
        raise OSError(errno.EPERM, "as on a USB stick")

    monkeypatch.setattr(Path, "hardlink_to", refuse)
    folder = Folder("memory://reports-twice" if where == "memory" else tmp_path)
    folder.write("10.csv", b"same")
    folder.write_unless_there("11.csv", b"same", ["10.csv"])
    assert folder.read("11.csv") == b"same" and folder.names() == ["10.csv", "11.csv"]
