"""Loss and restoration: what a backup brings back, and that the next night neither deletes nor delivers twice."""

from __future__ import annotations

import shutil
from datetime import timedelta
from pathlib import Path
from typing import Any

import pytest
from sqlalchemy import select, text

from isams_pipeline.delivery.receipts import Outcome
from isams_pipeline.errors import BackupUnreadable, WrongUse
from isams_pipeline.orchestration.status import status
from isams_pipeline.partners.my_school_portal.store import ChangeStore
from isams_pipeline.partners.registry import PARTNERS
from isams_pipeline.storage.backup import (
    Taking,
    identity_of,
    is_object,
    kept,
    new_identity,
    recipients_of,
    restore,
    thin_out,
)
from isams_pipeline.storage.folder import Folder
from isams_pipeline.storage.state import Delivery, StateDatabase
from isams_pipeline_tests.test_commands import call_here
from isams_pipeline_tests.test_retention import files
from isams_pipeline_tests.world import FIRST, SCHOOL, World


class Vault:
    """A place for backups of a world, and the key to it."""

    def __init__(self, world: World, folder: Path) -> None:
        self.world, self.place = world, Folder(folder / "vault")
        self.path = folder / "vault"
        secret, public = new_identity()
        folder.mkdir()
        self.key = folder / "key"
        self.key.write_text(f"# recipient: {public}\n{secret}\n")
        self.recipients = recipients_of([public])

    def back_up(self) -> Any:
        environment = self.world.environment
        return Taking(
            environment.data,
            Folder(environment.data_dir),
            environment.state,
            self.place,
            self.recipients,
            environment.clock,
            self.world.config,
        ).take()

    def bring_back(self, name: str | None = None) -> Any:
        environment = self.world.environment
        return restore(
            self.place, name, identity_of(self.key), self.world.data, environment.postgres, store=environment.store
        )


@pytest.fixture
def vault(world: World, tmp_path: Path) -> Vault:
    return Vault(world, tmp_path / "elsewhere")


def lose(world: World, *what: str) -> None:
    """The data folder is gone, or the database."""
    world.close()
    world._instance, world._environment = None, None
    for path in list(world.data.iterdir()):
        is_database = path.name.startswith("state.sqlite")
        if ("database" if is_database else "folder") in what:
            shutil.rmtree(path) if path.is_dir() else path.unlink()


def data_of(export: dict[str, bytes]) -> dict[str, bytes]:
    """Without the manifest, which says with what it was compared."""
    return {name: data for name, data in export.items() if name != "manifest.json"}


def waits(world: World) -> str:
    found = status(world.environment, world.instance, PARTNERS.values())
    return " ".join(one.what for row in found.rows for one in row.waits)


def test_what_is_brought_back_is_what_was_there(world: World, vault: Vault):
    world.night(0)
    world.rooms(0)
    world.bring_in_bookings(0)
    before = files(world)
    done = vault.back_up()
    lose(world, "folder", "database")
    vault.bring_back()
    after = files(world)
    lost = {
        n for n in before if n.startswith("data/") and n not in after and "under_way" not in n and "outbox" not in n
    }
    assert not {name for name in lost if not name.startswith("data/dagster")}
    assert all(before[name] == after[name] for name in before.keys() & after.keys())
    with world.environment.state.transaction() as session:
        assert len(session.scalars(select(Delivery)).all()) == 2
    assert done.rows > 2 and (world.data / "restored" / "schools.yaml").read_bytes() == world.config.read_bytes()
    assert world.environment.archive.nights(SCHOOL) == [FIRST]


@pytest.mark.parametrize("gone", [("folder", "database"), ("folder",), ("database",)])
def test_after_a_loss_the_next_night_neither_deletes_nor_delivers_twice(
    world: World, vault: Vault, gone: tuple[str, ...]
):
    for day in (0, 1):
        world.night(day)
    vault.back_up()
    world.night(2)
    there = world.export(2)
    lose(world, *gone)
    if len(gone) == 2:  # one alone is mended without: see the next test
        vault.bring_back()
        assert "restored from the backup" in waits(world)
    again = world.run(2)
    assert again.outcome in {Outcome.DELIVERED, Outcome.UNCHANGED} and data_of(world.export(2)) == data_of(there)
    following = world.night(3)
    assert following.outcome is Outcome.DELIVERED
    counts = following.receipt.changes if following.receipt else {}
    assert all(change["removed"] <= 3 for change in counts.values()) and any(c["added"] < 10 for c in counts.values())
    assert "restored" not in waits(world)


@pytest.mark.parametrize(
    ("gone", "told"),
    [("database", "no receipt of schoolsbuddy"), ("folder", "the data folder has nothing of schoolsbuddy")],
)
def test_status_says_what_was_lost(world: World, gone: str, told: str):
    world.night(0)
    assert "lost" not in waits(world)
    lose(world, gone)
    assert told in waits(world)
    world.night(1)
    assert "lost" not in waits(world)


def test_a_school_may_be_called_objects():
    names = ("archive/objects/nights/2026-02-10/staff/x.json", "tables/isams/staff/objects/2026-02-10.json")
    assert not any(is_object(name) for name in names)
    assert is_object(f"tables/isams/staff/objects/objects/{'0a' * 32}.parquet")
    assert is_object(f"staged/schoolsbuddy/objects/objects/{'0a' * 32}")


def test_an_object_is_brought_once_and_goes_with_the_last_backup_that_needs_it(world: World, vault: Vault):
    world.night(0)
    first = vault.back_up()
    world.night(1)
    second = vault.back_up()
    assert first.new == first.objects and 0 < second.new < second.objects
    shutil.rmtree(world.data / "archive" / SCHOOL / "nights" / str(FIRST))
    world.moment[0] += timedelta(minutes=1)
    stored = len(list(vault.path.rglob("objects/**/*.age")))
    assert thin_out(vault.place, 2) == (0, 0)
    assert thin_out(vault.place, 1)[0] == 1 and len(kept(vault.place)) == 1
    assert len(list(vault.path.rglob("objects/**/*.age"))) <= stored
    lose(world, "folder", "database")
    vault.bring_back()
    assert world.run(1).outcome is Outcome.UNCHANGED


def test_nothing_in_a_backup_can_be_read_without_the_key(world: World, vault: Vault):
    world.night(0)
    tables = world.environment.tables
    pupil = tables.load(tables.need("isams", "pupils", SCHOOL, FIRST)).iloc[0]
    vault.back_up()
    for path in vault.path.rglob("*"):
        if path.is_file():
            data = path.read_bytes()
            assert not any(str(pupil[name]).encode() in data for name in ("surname", "email", "school_id"))
            assert path.suffix == ".objects" or data.startswith(b"age-encryption.org/v1")
    other = vault.key.with_name("other")
    other.write_text(new_identity()[0])
    lose(world, "folder", "database")
    with pytest.raises(BackupUnreadable, match="for another key"):
        restore(vault.place, None, identity_of(other), world.data, None)


def test_a_damaged_or_missing_object_is_named(world: World, vault: Vault):
    world.night(0)
    vault.back_up()
    victim = next(vault.path.rglob("objects/*/archive/**/*.age"))
    whole = victim.read_bytes()
    victim.write_bytes(whole[:-20])
    lose(world, "folder", "database")
    with pytest.raises(BackupUnreadable, match="damaged") as told:
        vault.bring_back()
    assert victim.name in str(told.value)
    victim.unlink()
    with pytest.raises(BackupUnreadable, match="missing"):
        vault.bring_back()
    victim.write_bytes(whole)
    vault.bring_back()  # which goes on where it was
    assert world.run(0).outcome is Outcome.UNCHANGED


def test_a_new_key_opens_all_of_a_new_backup(world: World, vault: Vault, tmp_path: Path):
    world.night(0)
    vault.back_up()
    secret, public = new_identity()
    vault.key = tmp_path / "second"
    vault.key.write_text(secret)
    vault.recipients = recipients_of([public])
    world.moment[0] += timedelta(minutes=1)
    again = vault.back_up()
    assert again.new == again.objects, "what only the old key opens is brought again"
    lose(world, "folder", "database")
    vault.bring_back()
    assert world.run(0).outcome is Outcome.UNCHANGED


def test_a_restoration_with_the_wrong_key_leaves_nothing_begun(world: World, vault: Vault, tmp_path: Path):
    world.night(0)
    vault.back_up()
    lose(world, "folder", "database")
    other = tmp_path / "other"
    other.write_text(new_identity()[0])
    with pytest.raises(BackupUnreadable):
        restore(vault.place, None, identity_of(other), world.data, None)
    world.night(1)  # and the folder is used
    with pytest.raises(WrongUse, match="something in the data folder"):
        vault.bring_back()


def test_two_backups_are_not_mixed(world: World, vault: Vault):
    world.night(0)
    first = vault.back_up()
    world.night(1)
    vault.back_up()
    victim = next(vault.path.rglob("objects/*/archive/**/*.age"))
    whole = victim.read_bytes()
    victim.write_bytes(b"broken")
    lose(world, "folder", "database")
    with pytest.raises(BackupUnreadable):
        vault.bring_back()
    with pytest.raises(WrongUse, match="was begun here and has not ended"):
        vault.bring_back(first.name)
    victim.write_bytes(whole)
    vault.bring_back()


def test_none_and_the_null_of_json_stay_what_they_are(
    tmp_path: Path, state_url: str | None, world: World, vault: Vault
):
    """By which the database tells a line of the ledger whose values were taken out."""
    store = ChangeStore(world.environment.state, SCHOOL, world.environment.clock)
    store.refused("MSP-1", ["a reason"])

    def texts(state: StateDatabase) -> list[object]:
        table = "isams_pipeline.change_ledger" if state.engine.dialect.name == "postgresql" else "change_ledger"
        with state.engine.connect() as connection:
            return list(connection.execute(text(f"SELECT before IS NULL, answer IS NULL FROM {table}")).all())

    before = [tuple(map(bool, row)) for row in texts(world.environment.state)]  # type: ignore[call-overload]
    vault.back_up()
    restore(vault.place, None, identity_of(vault.key), tmp_path / "new", state_url)
    state = StateDatabase.open(tmp_path / "new", state_url)
    assert [tuple(map(bool, row)) for row in texts(state)] == before  # type: ignore[call-overload]
    state.close()


def test_what_is_there_is_not_overwritten(world: World, vault: Vault):
    world.night(0)
    vault.back_up()
    before = files(world)
    with pytest.raises(WrongUse, match="something in the data folder"):
        vault.bring_back()
    lose(world, "folder")
    with pytest.raises(WrongUse, match="rows in the database"):
        vault.bring_back()
    assert before.keys() > files(world).keys()
    with pytest.raises(WrongUse, match="There is no backup"):
        vault.bring_back("yesterday")


def test_a_backup_amid_a_night_is_one_moment(world: World, vault: Vault, monkeypatch: pytest.MonkeyPatch):
    """Taken when the export is staged and nothing is delivered yet."""
    from isams_pipeline.delivery.deliver import Deliverer

    world.night(0)
    taken: list[Any] = []
    real = Deliverer._promote

    def promote(self: Deliverer, *rest: Any) -> None:
        taken.append(vault.back_up())
        real(self, *rest)

    with monkeypatch.context() as patch:
        patch.setattr(Deliverer, "_promote", promote)
        world.night(1)
    there = world.export(1)
    lose(world, "folder", "database")
    vault.bring_back(taken[0].name)
    again = world.run(1)
    assert again.outcome in {Outcome.DELIVERED, Outcome.UNCHANGED} and world.export(1) == there
    assert again.receipt is not None and again.receipt.manifest["changes"]["baseline"]["date"] == str(FIRST)


def test_rows_come_back_into_either_database_and_numbers_go_on(
    tmp_path: Path, state_url: str | None, world: World, vault: Vault
):
    """The ledger's chain, dates, times and JSON, from SQLite into SQLite and Postgres."""
    world.night(0)
    store = ChangeStore(world.environment.state, SCHOOL, world.environment.clock)
    store.refused("MSP-1", ["a reason"])
    head = store.verify().head
    vault.back_up()
    place = tmp_path / "new"
    restore(vault.place, None, identity_of(vault.key), place, state_url)
    state = StateDatabase.open(place, state_url)
    again = ChangeStore(state, SCHOOL, world.environment.clock)
    assert again.verify(head).holds and again.verify().lines == 1
    with state.transaction() as session:
        (receipt,) = session.scalars(select(Delivery)).all()
        assert receipt.date == FIRST and receipt.at.tzinfo is not None and receipt.manifest["files"]
    again.refused("MSP-2", ["another"])
    assert again.verify().holds and again.verify().lines == 2
    state.close()


def test_the_commands(world: World, vault: Vault, tmp_path: Path):
    given = ("--config", str(world.config), "--data-dir", str(world.data))
    world.night(0)
    code, said = call_here("backup", str(vault.path), *given)
    assert code == 2 and "nobody was named who can open them" in said
    code, said = call_here("backup", "--new-key", str(tmp_path / "k"))
    assert code == 0 and "age1" in said and "AGE-SECRET" not in said
    assert (tmp_path / "k").stat().st_mode & 0o777 == 0o600
    assert call_here("backup", "--new-key", str(tmp_path / "k"))[0] == 2
    public = next(word for word in (tmp_path / "k").read_text().split() if word.startswith("age1"))
    code, said = call_here("backup", str(vault.path), "--recipient", public, *given)
    assert code == 0 and "objects were new" in said
    code, said = call_here(
        "restore", str(vault.path), "--identity", str(tmp_path / "k"), "--data-dir", str(tmp_path / "r")
    )
    assert code == 0 and "isams-pipeline status" in said
    code, said = call_here(
        "restore", str(vault.path), "--identity", str(world.config), "--data-dir", str(tmp_path / "q")
    )
    assert code == 2 and "holds no key" in said


def test_upgrade_says_first_what_it_would_do(world: World, tmp_path: Path):
    from isams_pipeline.storage.state.database import make_engine, migrate

    data = tmp_path / "old"
    engine = make_engine(data, None)
    migrate(engine, "0008")
    engine.dispose()
    given = ("--config", str(world.config), "--data-dir", str(data))
    code, said = call_here("upgrade", "--check", *given)
    assert code == 0 and "database 0009" in said and "isams-pipeline backup" in said
    assert call_here("upgrade", "--check", *given)[1] == said, "nothing was done"
    code, said = call_here("upgrade", *given)
    assert code == 0, said
    assert "up to date" in call_here("upgrade", "--check", *given)[1]
