"""The data on an object store, state and history in Postgres: this machine keeps nothing."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator
from datetime import timedelta
from pathlib import Path
from typing import Any

import pytest

from isams_pipeline.errors import ConfigurationError
from isams_pipeline.orchestration.environment import Environment
from isams_pipeline.orchestration.retention import pass_over
from isams_pipeline.orchestration.rights.erasure import erase
from isams_pipeline.orchestration.rights.finding import Search
from isams_pipeline.orchestration.rights.identity import identify
from isams_pipeline.partners.registry import PARTNERS
from isams_pipeline.storage.folder import Folder
from isams_pipeline.storage.moving import move
from isams_pipeline_tests.test_backups import Vault, lose
from isams_pipeline_tests.test_retention import files
from isams_pipeline_tests.world import FIRST, SCHOOL, World

pytestmark = pytest.mark.filterwarnings("ignore::DeprecationWarning", "ignore::pytest.PytestUnraisableExceptionWarning")


class Requests:
    """The requests to S3, by what they do."""

    def __init__(self, monkeypatch: pytest.MonkeyPatch) -> None:
        import s3fs

        self.counts: Counter[str] = Counter()
        plain = s3fs.S3FileSystem._call_s3

        async def counted(store: Any, method: str, *args: Any, **options: Any) -> Any:
            self.counts[method] += 1
            return await plain(store, method, *args, **options)

        monkeypatch.setattr(s3fs.S3FileSystem, "_call_s3", counted)

    def since(self) -> Counter[str]:
        found, self.counts = self.counts, Counter()
        return found


@pytest.fixture
def far(world: World, bucket: str, postgres: str, monkeypatch: pytest.MonkeyPatch) -> Iterator[World]:
    """A world whose data lie on S3."""
    monkeypatch.setenv("ISAMS_DATA_DIR", bucket)
    monkeypatch.setenv("ISAMS_POSTGRES_URL", postgres)
    world.variables["ISAMS_POSTGRES_URL"] = postgres
    world.configure(
        lambda said: [
            partner.update(deliver_to=f"{bucket}/exports")
            for partner in said["schools"][SCHOOL]["partners"].values()
            if "deliver_to" in partner
        ]
    )
    yield world
    world.close()


def here(world: World) -> set[str]:
    """What lies on this machine."""
    return {
        path.relative_to(world.data).as_posix()
        for path in world.data.rglob("*")
        if path.is_file() and path.relative_to(world.data).parts[0] not in {"dagster", "locks"}
    }


def test_nights_leave_nothing_on_this_machine(far: World):
    assert far.night(0).outcome == "delivered"
    assert far.night(1).outcome == "delivered"
    assert far.run(1).outcome == "unchanged"
    assert far.rooms(1).outcome == "delivered"
    assert not here(far)
    names = far.environment.data.names()
    assert {"archive", "tables", "staged", "reports"} <= set(names)
    archive = far.environment.archive
    assert len(archive.nights(SCHOOL)) == 2
    with archive.open(archive.of_night(SCHOOL, FIRST)[0]) as stream:
        assert stream.read().startswith(b"<")


def test_the_same_night_is_the_same_to_the_byte(far: World, make: Any, monkeypatch: pytest.MonkeyPatch):
    assert far.night(0).outcome == "delivered"
    far_files = {
        name: far.environment.target(
            far.environment.settings.school(SCHOOL).partners.exporting["schoolsbuddy"], SCHOOL
        ).read(f"schoolsbuddy/{SCHOOL}/{FIRST}/{name}")
        for name in ("students.csv", "contacts.csv", "student_contacts.csv")
    }
    monkeypatch.delenv("ISAMS_DATA_DIR")
    monkeypatch.delenv("ISAMS_POSTGRES_URL")
    near = make()
    assert near.night(0).outcome == "delivered"
    assert {name: near.export(0)[name] for name in far_files} == far_files


def test_a_nights_requests_are_bounded(far: World, monkeypatch: pytest.MonkeyPatch):
    requests = Requests(monkeypatch)
    far.night(0)
    requests.since()
    far.night(1)
    told = requests.since()
    assert sum(told.values()) < 420, told
    assert told["list_objects_v2"] < 70 and told["head_object"] < 25


def test_people_are_found_and_erased_there(far: World):
    far.night(0)
    tables = far.environment.tables
    number = tables.load(tables.need("isams", "pupils", SCHOOL, FIRST))["pupil_id"].iloc[3]
    people = identify(far.environment, SCHOOL, f"pupil:{number}")
    found = Search(far.environment, SCHOOL, PARTNERS.values(), people).everything()
    assert {"archive", "tables", "staged"} <= {one.store for one in found.found}
    done = erase(far.environment, SCHOOL, people, PARTNERS.values(), who="a", reason="b")
    assert not done.failed and not done.still
    assert number not in set(tables.load(tables.need("isams", "pupils", SCHOOL, FIRST))["pupil_id"])
    assert not here(far)


def test_what_is_kept_too_long_ends_there(far: World):
    days = dict.fromkeys(("archive", "lists", "tables", "staged", "reports"), 14)
    far.configure(lambda said: said.update(retention=days))
    far.night(0)
    far.night(1)
    far.night(20)
    far.night(21)
    done = pass_over(far.environment, far.instance, SCHOOL, PARTNERS.values(), for_real=True)
    assert not done.failed
    assert far.environment.archive.nights(SCHOOL) == [FIRST + timedelta(days=n) for n in (20, 21)]


def test_without_postgres_it_is_refused(world: World, monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setenv("ISAMS_DATA_DIR", "s3://bucket/data")
    with pytest.raises(ConfigurationError, match="object store"):
        Environment(world.environment.settings, data_dir=world.data, variables={})


def test_a_large_file_that_breaks_off_is_no_file(bucket: str):
    folder = Folder(bucket)

    def parts(incoming: Any) -> None:
        for _ in range(5):
            incoming.write(b"x" * (4 << 20))
        raise ValueError

    with pytest.raises(ValueError), folder.incoming("large/file") as incoming:
        parts(incoming)
    assert folder.names("large") == []
    with folder.incoming("large/file") as incoming:
        for _ in range(5):
            incoming.write(b"x" * (4 << 20))
        incoming.publish("large/file")
    assert folder.names("large") == ["file"] and len(folder.read("large/file")) == 20 << 20


def test_a_data_folder_is_brought_there_and_the_nights_go_on(
    world: World, bucket: str, postgres: str, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
):
    """Data by `migrate-data`, state by `backup` and `restore`: the next night is compared with the last one here."""
    world.night(0)
    vault = Vault(world, tmp_path / "elsewhere")
    vault.back_up()
    before = files(world)
    monkeypatch.setenv("ISAMS_POSTGRES_URL", postgres)
    world.variables["ISAMS_POSTGRES_URL"] = postgres
    world.close()
    world._environment = world._instance = None
    move(Folder(world.data), Folder(bucket))
    again = move(Folder(world.data), Folder(bucket))
    assert (again.copied, again.others) == (0, 0) and again.same > 50
    there = {path: Folder(bucket).read(path) for path in Folder(bucket).below()}
    assert all(
        there[name.removeprefix("data/")] == data for name, data in before.items() if name.startswith("data/archive")
    )
    damaged = next(path for path in there if "/objects/" in path)
    Folder(bucket).write(damaged, b"somebody else's")
    assert move(Folder(world.data), Folder(bucket)).copied == 1
    assert Folder(bucket).read(damaged) == there[damaged]


def test_a_backup_of_a_folder_is_restored_to_an_object_store(
    world: World, bucket: str, postgres: str, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
):
    world.night(0)
    vault = Vault(world, tmp_path / "elsewhere")
    vault.back_up()
    lose(world, "folder", "database")
    monkeypatch.setenv("ISAMS_DATA_DIR", bucket)
    monkeypatch.setenv("ISAMS_POSTGRES_URL", postgres)
    world.variables["ISAMS_POSTGRES_URL"] = postgres
    vault.bring_back()
    assert world.run(0).outcome == "unchanged"
    assert world.night(1).outcome == "delivered"
    vault.world.moment[0] += timedelta(hours=1)
    done = vault.back_up()
    assert done.rows and done.objects


def test_a_key_of_ones_own_encrypts_what_is_written(bucket: str, monkeypatch: pytest.MonkeyPatch):
    """As FSSPEC_S3 in the environment says it, which is read once, when fsspec is loaded."""
    import fsspec.config
    import s3fs

    asked = {"ServerSideEncryption": "aws:kms", "SSEKMSKeyId": "ours"}
    monkeypatch.setitem(fsspec.config.conf, "s3", {"s3_additional_kwargs": asked})
    s3fs.S3FileSystem.clear_instance_cache()
    folder = Folder(bucket)
    folder.write("a", b"x")
    name, _, key = bucket.removeprefix("s3://").partition("/")
    head = folder._fs.call_s3("head_object", Bucket=name, Key=f"{key}/a")
    assert head["ServerSideEncryption"] == "aws:kms" and head["SSEKMSKeyId"].endswith("ours")
