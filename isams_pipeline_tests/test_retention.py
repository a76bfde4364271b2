"""What is kept ends when schools.yaml says so, and nothing ends that a later night still needs."""

from __future__ import annotations

import json
from datetime import timedelta
from pathlib import Path
from typing import Any

import dagster as dg
import pytest
from dagster._core.storage.event_log.schema import AssetCheckExecutionsTable
from sqlalchemy import func, select

from isams_pipeline.config import load_settings
from isams_pipeline.delivery.receipts import Address, Outcome, Receipts
from isams_pipeline.errors import ConfigurationError, StorageError
from isams_pipeline.orchestration.partitions import SCHOOL_TAG
from isams_pipeline.orchestration.retention import Pass, pass_over
from isams_pipeline.orchestration.retention_asset import JOB
from isams_pipeline.partners.registry import PARTNERS
from isams_pipeline.storage.folder import Folder
from isams_pipeline_tests.test_commands import call
from isams_pipeline_tests.world import FIRST, SCHOOL, World


@pytest.fixture
def kept(world: World) -> World:
    """A school that keeps everything for as short a time as it may."""
    names = ("archive", "lists", "tables", "staged", "exports", "reports", "outbox", "inbox", "bookings", "ledger")
    days = dict.fromkeys((*names, "receipts", "runs", "bundles"), 14)
    world.configure(lambda config: config.update(retention=days))
    return world


def passed(world: World, *, for_real: bool = True) -> Pass:
    return pass_over(world.environment, world.instance, SCHOOL, PARTNERS.values(), for_real=for_real)


def files(world: World) -> dict[str, bytes]:
    """Every file below the data folder and the exports, but for the databases and their locks."""
    found = [path for top in (world.data, world.folder / "exports") for path in top.rglob("*") if path.is_file()]
    databases = (".sqlite", ".db", ".db-wal", ".db-shm", ".sqlite-journal")
    return {
        str(path.relative_to(world.folder)): path.read_bytes()
        for path in found
        if not path.name.endswith(databases) and "dagster" not in path.parts and "locks" not in path.parts
    }


def nights_in(world: World, place: str) -> list[str]:
    return sorted(path.name[:10] for path in (world.data / place).iterdir() if path.name[:2] == "20")


def test_old_nights_end_and_those_that_are_young_stay(kept: World):
    for day in (0, 1, 20):
        kept.night(day, allow_removals=True)
    before = files(kept)
    done = passed(kept)
    assert not done.failed
    young = str(FIRST + timedelta(days=20))
    assert nights_in(kept, f"archive/{SCHOOL}/nights") == [young]
    assert nights_in(kept, f"reports/schoolsbuddy/{SCHOOL}") == [str(FIRST + timedelta(days=1)), young]
    # The last two nights that the partner got are compared with, and so are the tables that they were made of.
    both = [str(FIRST + timedelta(days=1)), young]
    assert nights_in(kept, f"staged/schoolsbuddy/{SCHOOL}") == both
    assert nights_in(kept, f"tables/isams/pupils/{SCHOOL}") == both
    assert sorted(path.name for path in (kept.exports / SCHOOL).iterdir()) == both
    after = files(kept)
    assert after.keys() < before.keys() and all(before[name] == data for name, data in after.items())
    assert done.counts["archive"]["nights"] == 2 and done.counts["archive"]["files"] >= 2


def test_what_is_left_is_whole(kept: World):
    for day in (0, 1, 20):
        kept.night(day, allow_removals=True)
    passed(kept)
    again = kept.run(20)
    assert again.outcome is Outcome.UNCHANGED
    tables = kept.environment.tables
    for source, dataset in tables.of_school(SCHOOL):
        for night in tables.nights(source, dataset, SCHOOL):
            table = tables.find(source, dataset, SCHOOL, night)
            assert table is not None and tables.is_intact(table)
    for snapshot in kept.environment.archive.of_night(SCHOOL, FIRST + timedelta(days=20)):
        if snapshot.kept:
            with kept.environment.archive.open(snapshot) as stream:
                assert len(stream.read()) == snapshot.size


def test_a_second_pass_finds_nothing(kept: World):
    kept.night(0)
    kept.night(20, allow_removals=True)
    kept.night(21, allow_removals=True)
    passed(kept)
    before = files(kept)
    assert passed(kept).counts == {} and files(kept) == before


def test_what_the_next_night_is_compared_with_stays_however_old(kept: World):
    kept.night(0)
    kept.night(1)
    kept.at_night(200, hour=12)
    passed(kept)
    found = kept.night(201, allow_removals=True)
    assert found.receipt is not None
    compared = found.receipt.manifest["changes"]["baseline"]
    assert compared["date"] == str(FIRST + timedelta(days=1))


def test_a_night_whose_answers_ended_is_refused_and_says_so(kept: World):
    kept.night(0)
    kept.night(20, allow_removals=True)
    passed(kept)
    found = kept.run(0)
    assert found.outcome is Outcome.FAILED and "The archive has nothing of that night" in str(found.reason)


def test_a_pass_that_was_broken_off_is_finished_by_the_next(kept: World, monkeypatch: pytest.MonkeyPatch):
    kept.night(0)
    kept.night(20, allow_removals=True)
    kept.night(21, allow_removals=True)

    class Killed(BaseException):
        pass

    removed: list[str] = []
    real = Folder.remove

    def remove(folder: Folder, path: str) -> None:
        if "objects/" in path:
            raise Killed
        removed.append(path)
        real(folder, path)

    with monkeypatch.context() as patch, pytest.raises(Killed):
        patch.setattr(Folder, "remove", remove)
        passed(kept)
    assert removed
    passed(kept)
    assert passed(kept).counts == {}
    notes = [json.loads(note.read_text()) for note in (kept.data / "archive").rglob("nights/*/*/*.json")]
    named = {note["sha256"] for note in notes if note.get("kept", True)}
    there = {path.name.partition(".")[0] for path in (kept.data / "archive" / SCHOOL / "objects").iterdir()}
    assert there == named


def test_a_note_that_cannot_be_read_keeps_what_it_may_name(kept: World):
    for day in (0, 1, 20):
        kept.night(day, allow_removals=True)
    note = next((kept.data / f"archive/{SCHOOL}/nights/{FIRST + timedelta(days=20)}").rglob("*.json"))
    note.write_text("{")
    before = {name for name in files(kept) if name.startswith("data/archive")}
    done = passed(kept)
    assert [type(error) for error in done.failed] == [StorageError] and str(note.name) in str(done.failed[0])
    assert {name for name in files(kept) if name.startswith("data/archive")} == before
    assert "archive" not in done.counts and done.counts["tables"]


def test_a_partner_s_place_that_is_gone_keeps_nothing_else(kept: World):
    kept.night(0)
    kept.night(20, allow_removals=True)
    settings = kept.environment.settings.school(SCHOOL).partners.root["schoolsbuddy"]
    kept.configure(
        lambda c: c["schools"][SCHOOL]["partners"]["schoolsbuddy"].update(deliver_to="sftp://nobody@127.0.0.1:9/x")
    )
    assert settings is not None
    done = passed(kept)
    assert len(done.failed) == 1 and done.counts["archive"]["nights"] == 1


def test_a_secret_that_is_missing_keeps_nothing_else(kept: World):
    kept.night(0)
    kept.night(20, allow_removals=True)
    partner = {"deliver_to": "sftp://nobody@127.0.0.1:9/x", "deliver_secret": "NOT_SET"}
    kept.configure(lambda c: c["schools"][SCHOOL]["partners"]["schoolsbuddy"].update(partner))
    done = passed(kept)
    assert [type(error).__name__ for error in done.failed] == ["MissingSecret"] and done.counts["archive"][
        "nights"
    ] == 1


def test_a_pass_only_looked_at_removes_nothing(kept: World):
    kept.night(0)
    kept.night(20, allow_removals=True)
    before = files(kept)
    looked = passed(kept, for_real=False)
    assert files(kept) == before
    assert looked.counts == passed(kept).counts


def test_runs_end_with_their_events_and_verdicts(kept: World):
    kept.night(0)
    run = kept.night(1).run_id
    kept.moment[0] = kept.moment[0] + timedelta(days=3650)  # Dagster's clock is the real one
    shard = kept.data / "dagster" / "history" / "runs" / f"{run}.db"
    assert shard.exists() or list((kept.data / "dagster").rglob(f"{run}*"))
    passed(kept)
    assert kept.instance.get_runs_count() == 0
    assert not list((kept.data / "dagster").rglob(f"*{run}*"))
    with kept.instance.event_log_storage.index_connection() as connection:  # pyright: ignore[reportAttributeAccessIssue]
        left = connection.execute(select(func.count()).select_from(AssetCheckExecutionsTable)).scalar()
    assert left == 0


def test_receipts_end_but_for_the_last_two_nights(kept: World):
    for day in (0, 1, 2):
        kept.night(day)
    kept.at_night(100, hour=12)
    assert passed(kept).counts["receipts"] == {"rows": 1}
    receipts = Receipts(kept.environment.state)
    assert receipts.of_night(Address("schoolsbuddy", SCHOOL, FIRST)) is None
    assert receipts.last_night("schoolsbuddy", SCHOOL) == FIRST + timedelta(days=2)


def test_by_default_nothing_of_a_year_ends(world: World):
    world.night(0)
    world.at_night(150, hour=12)
    assert passed(world).counts == {}


def test_what_one_school_says_for_itself(world: World):
    world.configure(lambda c: c.update(retention={"archive": 500}))
    world.configure(lambda c: c["schools"][SCHOOL].update(retention={"archive": 14, "tables": "forever"}))
    days = world.environment.settings.retention_of(SCHOOL)
    assert (days.archive, days.tables, days.lists) == (14, None, 400)


@pytest.mark.parametrize("given", [0, 13, "14", True, None, "for ever", 1.5])
def test_days_that_are_none_are_refused(world: World, given: Any):
    world.configure(lambda c: c.update(retention={"archive": given}))
    with pytest.raises(ConfigurationError, match=r"retention\.archive: .*forever"):
        load_settings(world.config)


def test_the_command_shows_first_and_ends_in_a_run_of_the_ui(kept: World):
    for day in (0, 1, 2):  # of long ago by the real clock, by which a command goes
        kept.night(day)
    where = ("--config", str(kept.config), "--data-dir", str(kept.data))
    before = files(kept)
    code, shown = call("retention", SCHOOL, *where)
    assert code == 0 and "2 nights" in shown and "Nothing was ended" in shown and files(kept) == before
    code, shown = call("retention", *where, "--apply")
    assert code == 0, shown
    (run,) = [run for run in kept.instance.get_runs() if run.job_name == JOB]
    assert run.is_success and run.tags[SCHOOL_TAG] == SCHOOL
    assert nights_in(kept, f"archive/{SCHOOL}/nights") == [str(FIRST + timedelta(days=2))]
    event = kept.instance.get_latest_materialization_event(dg.AssetKey(["retention"]))
    assert event is not None and event.asset_materialization is not None
    counts = {name: value.value for name, value in event.asset_materialization.metadata.items()}
    assert counts["nights"] > 30 and "| archive | 14 | 2 nights" in str(counts["ended"])
    assert call("retention", "nowhere", *where)[0] == 2


def test_old_files_of_inbox_and_outbox_end(kept: World):
    kept.night(0)
    for place in (f"inbox/{SCHOOL}/done", f"inbox/{SCHOOL}/refused", f"outbox/{SCHOOL}", f"inbox/{SCHOOL}"):
        folder = Path(kept.data / place)
        folder.mkdir(parents=True, exist_ok=True)
        (folder / "one.json").write_text("{}")
    kept.moment[0] = kept.moment[0] + timedelta(days=3650)  # files are as old as the real clock says
    passed(kept)
    assert (kept.data / f"inbox/{SCHOOL}/one.json").exists()
    assert not list((kept.data / "outbox").rglob("*.json"))
    assert [path.parent.name for path in (kept.data / "inbox").rglob("*.json")] == [SCHOOL]
