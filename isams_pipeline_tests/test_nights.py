"""Whole nights: real Dagster runs on a real instance against a real server."""

from __future__ import annotations

import json
import shutil
from collections.abc import Callable
from datetime import timedelta
from pathlib import Path
from typing import Any

import dagster as dg
import pytest
from dagster._core.workspace.load_target import WorkspaceFileTarget

from isams_pipeline.config import feeds
from isams_pipeline.delivery.receipts import Address, Outcome, Receipts
from isams_pipeline.orchestration.partitions import Night, key_of
from isams_pipeline.partners.schoolsbuddy import TAKES as SCHOOLSBUDDY_DATASETS
from isams_pipeline.partners.schoolsbuddy.tables import TABLES
from isams_pipeline.sandbox.demo import DemoSchool, demo_schools
from isams_pipeline.sources.isams.connect import batch_client
from isams_pipeline_tests.world import FIRST, SCHOOL, World, rows, small_school


def checks_of(world: World, run_id: str) -> dict[str, bool]:
    """Asset and check → passed, as a run's events say."""
    found: dict[str, bool] = {}
    for entry in world.instance.all_logs(run_id):
        event = entry.dagster_event
        if event is not None and event.event_type_value == "ASSET_CHECK_EVALUATION":
            data: Any = event.event_specific_data
            found[f"{data.asset_key.to_user_string()}:{data.check_name}"] = data.passed
    return found


def materialised(world: World, run_id: str) -> dict[str, dict[str, Any]]:
    """Asset → metadata, as a run's events say."""
    return {
        entry.asset_materialization.asset_key.to_user_string(): {
            name: value.value for name, value in entry.asset_materialization.metadata.items()
        }
        for entry in world.instance.all_logs(run_id)
        if entry.asset_materialization is not None
    }


# --- nights that go well ----------------------------------------------------------------------------------


def test_three_nights_of_a_school(world: World):
    first, second, third = (world.night(day) for day in range(3))
    assert [run.outcome for run in (first, second, third)] == [Outcome.DELIVERED] * 3
    assert first.receipt.changes["students.csv"] == {"added": 24} | dict.fromkeys(
        ("changed", "removed", "explained", "replaced", "unexplained", "excluded"), 0
    )
    assert (second.receipt.changes["students.csv"]["added"], second.receipt.changes["students.csv"]["removed"]) == (
        1,
        1,
    )
    manifest = json.loads(world.export(2)["manifest.json"])
    assert manifest["changes"]["baseline"]["date"] == str(FIRST + timedelta(days=1))
    assert {facts["key"] for facts in manifest["snapshots"]} == {
        "students",
        "contacts",
        "staff",
        "school",
        "classes",
        "members",
        "medical",
    }
    assert all(facts["cache_hours"] == 2 for facts in manifest["snapshots"])
    assert any(facts["identical_to_night_before"] for facts in manifest["snapshots"]), "terms do not change"
    assert manifest["datasets"]["pupils"]["rows"] == 24


def test_what_dagster_shows_of_a_night(world: World):
    world.night(0)
    run = world.night(1)
    shown = materialised(world, run.run_id)
    assert set(shown) == {f"isams/{name}" for name in SCHOOLSBUDDY_DATASETS} | {
        f"schoolsbuddy/{n}" for n in ("export", "exclusions", "delivery", *(table.name for table in TABLES))
    }
    pupils = shown["isams/pupils"]
    assert (pupils["dagster/row_count"], pupils["added"], pupils["removed"], pupils["key"]) == (24, 1, 1, "students")
    assert len(pupils["snapshot"]) == 64 and pupils["compared_with"] == str(FIRST)
    assert shown["schoolsbuddy/delivery"]["outcome"] == "delivered"
    verdicts = checks_of(world, run.run_id)
    assert all(verdicts.values())
    assert {"isams/pupils:sound", "schoolsbuddy/export:references", "schoolsbuddy/delivery:removal_guard"} <= set(
        verdicts
    )


def test_the_same_school_twice_is_the_same_to_the_byte(make: Callable[..., World]):
    one, other = make(), make()
    one.night(0), other.night(0)
    del (files := one.export())["manifest.json"], (again := other.export())["manifest.json"]
    assert files == again


def test_two_campuses_with_every_trouble(make: Callable[..., World]):
    world = make({"harbour": demo_schools()["harbour"]})
    world.at_night(0)
    run = world.run(0, "harbour")
    assert run.outcome is Outcome.DELIVERED
    names = {row["year_id"]: row["name"] for row in rows(world.export(0, "harbour")["year_groups.csv"])}
    assert (names["10"], names["20"]) == ("05 Campus 1", "05 Campus 2")
    assert {"unique_email", "email", "contact_type", "email_shared_across"} <= {
        line.split(",")[2] for line in world.exclusions(0, "harbour").splitlines()
    }


def test_a_key_is_asked_once_a_night_for_all_its_methods(world: World):
    world.night(0)
    asked = world.sandbox.schools[SCHOOL].requests
    assert sorted(key for key, _ in asked) == [
        "classes",
        "contacts",
        "medical",
        "members",
        "school",
        "staff",
        "students",
    ]
    assert dict(asked)["school"] == tuple(feeds.methods_of(feeds.expand(["school"])))
    assert world.sandbox.schools[SCHOOL].most_at_once == 1


def test_an_unchanged_night_costs_a_pointer(make: Callable[..., World]):
    world = make({SCHOOL: small_school(nightly_joiners=0)})
    world.night(0)
    kept = len(list((world.data / "archive").rglob("*.zst")))
    assert world.night(1).outcome is Outcome.DELIVERED
    assert len(list((world.data / "archive").rglob("*.zst"))) <= kept + 2, "only people whose details changed"


def test_optional_feeds_may_be_missing(make: Callable[..., World]):
    world = make()
    wanted = ("students", "contacts", "staff", "school")

    def without(config: dict[str, Any]) -> None:
        school = config["schools"][SCHOOL]
        school["isams"]["keys"] = {name: key for name, key in school["isams"]["keys"].items() if name in wanted}
        del school["partners"]["schoolsbuddy"]["medical_fields"], school["partners"]["room_booking"]

    world.configure(without)
    assert world.night(0).outcome is Outcome.DELIVERED
    assert rows(world.export()["classes.csv"]) == [] and "medical.csv" not in world.export()


# --- the same night again ---------------------------------------------------------------------------------


def test_within_the_cache_hours_the_archive_answers_and_says_so(world: World):
    world.night(0)
    world.moment[0] += timedelta(hours=1)
    asked = len(world.sandbox.schools[SCHOOL].requests)
    again = world.run(0)
    assert again.outcome is Outcome.UNCHANGED
    assert len(world.sandbox.schools[SCHOOL].requests) == asked
    assert any("may still answer as of 2026-02-10 02:00 GMT" in note for note in again.notes)
    fresh = world.run(0, fresh=True)
    assert len(world.sandbox.schools[SCHOOL].requests) == asked + 7
    assert any("asking again, but iSAMS may still answer as of" in note for note in fresh.notes)
    world.moment[0] += timedelta(hours=2)
    assert world.run(0).notes == (), "the cache has expired, so iSAMS is asked without a word"


def test_a_backfill_recomputes_past_nights_from_the_archive(world: World):
    # Of answers about health only the table is kept, if nobody says otherwise.
    world.configure(lambda c: c["schools"][SCHOOL]["isams"]["keys"]["medical"].update(archive="whole"))
    for day in range(2):
        world.night(day)
    delivered = world.export(0)
    asked = len(world.sandbox.schools[SCHOOL].requests)
    shutil.rmtree(world.data / "tables")
    shutil.rmtree(world.exports)
    world.at_night(1)
    assert world.run(0).outcome is Outcome.DELIVERED
    again = world.export(0)
    assert {name: data for name, data in again.items() if name != "manifest.json"} == {
        name: data for name, data in delivered.items() if name != "manifest.json"
    }
    assert len(world.sandbox.schools[SCHOOL].requests) == asked


def test_a_past_night_without_an_archive_is_refused_with_a_sentence(world: World):
    world.at_night(3)
    run = world.run(1)
    assert run.outcome is Outcome.FAILED
    assert "The archive has nothing of that night" in run.reason and "iSAMS only knows today" in run.reason
    assert world.sandbox.schools[SCHOOL].requests == []


def test_a_bad_answer_later_in_the_night_does_not_hide_the_good_one(world: World):
    world.night(0)
    world.sandbox.fail(SCHOOL, "duplicate", key="students")
    assert world.run(0, fresh=True).outcome is Outcome.FAILED
    world.at_night(1)
    assert world.run(0).outcome is Outcome.UNCHANGED


def test_an_answer_from_before_midnight_may_still_be_in_the_cache(world: World):
    world.at_night(0, hour=23)
    world.run(0)
    world.at_night(1, hour=0)
    notes = world.run(1).notes
    assert any("may still answer as of 2026-02-10 23:00 GMT" in note and "an earlier night" in note for note in notes)


def test_a_night_to_come_is_refused_with_a_sentence(world: World):
    world.at_night(0)
    run = world.run(1)
    assert run.outcome is Outcome.FAILED and "It is not yet 2026-02-11 at the school" in run.reason


def test_today_is_the_schools_own(make: Callable[..., World]):
    school = DemoSchool("Auckland", small_school().plan, "Pacific/Auckland", {})
    world = make({"auckland": school})
    world.at_night(0, hour=14)  # 03:00 on the 19th in Auckland
    assert world.run(1, "auckland").outcome is Outcome.DELIVERED
    assert world.run(0, "auckland").outcome is Outcome.FAILED, "the 18th is over there"


# --- faults -----------------------------------------------------------------------------------------------


def good_night_then(world: World) -> dict[str, bytes]:
    """A night that went well, before one that will not."""
    assert world.night(0).outcome is Outcome.DELIVERED
    world.at_night(1)
    return world.export(0)


@pytest.mark.parametrize(
    ("fault", "key", "said"),
    [
        ("deadlock", None, "database was locked"),
        ("unavailable", "students", "not available"),
        ("cut", None, "broke off"),
        ("short", None, "breaks off"),
        ("empty", "contacts", "is empty"),
        ("throttled_403", "staff", "throttles this key"),
        ("not_xml", "contacts", "not"),
        ("wrong_root", "staff", "another root element"),
        ("ip_refused", "school", "refuses requests from this machine"),
        ("empty_container", "students", "pupils has no rows"),
        ("empty_container", "contacts", "contacts has no rows"),
        ("wrong_type", "students", "PupilManager/CurrentPupils/Pupil/@Id, row 1"),
        ("duplicate", "students", "rows 1, 2"),
        ("other_school", "students", "It is another school's answer"),
        ("other_school", "staff", "It is another school's answer"),
    ],
)
def test_fault_delivers_nothing_and_keeps_what_was_good(world: World, fault: str, key: str | None, said: str):
    good = good_night_then(world)
    archived = {path: path.read_bytes() for path in (world.data / "archive").rglob("*.zst")}
    world.sandbox.fail(SCHOOL, fault, times=40, key=key)
    run = world.run(1)
    assert run.outcome is Outcome.FAILED and said in run.reason
    assert world.export(1) == {} and world.export(0) == good
    assert all(path.read_bytes() == data for path, data in archived.items())
    assert len(run.reason) < 2_500 and "Traceback" not in run.reason


def test_a_night_that_failed_can_be_made_good(world: World):
    good_night_then(world)
    world.sandbox.fail(SCHOOL, "wrong_type", key="students")
    assert world.run(1).outcome is Outcome.FAILED
    assert world.run(1).outcome is Outcome.FAILED, "the archived answer is still the wrong one"
    assert world.run(1, fresh=True).outcome is Outcome.DELIVERED


def test_a_server_in_trouble_is_not_asked_for_every_dataset(world: World):
    world.at_night(0)
    world.sandbox.fail(SCHOOL, "deadlock", times=99, key="school")
    assert world.run(0).outcome is Outcome.FAILED
    assert [key for key, _ in world.sandbox.schools[SCHOOL].requests].count("school") == 3, (
        "its seven datasets in one go"
    )


def test_failed_rule_shows_in_its_check_and_the_table_is_not_stored(world: World):
    world.night(0)
    world.at_night(1)
    world.sandbox.fail(SCHOOL, "duplicate", key="students")
    run = world.run(1)
    assert checks_of(world, run.run_id)["isams/pupils:sound"] is False
    assert "isams/pupils" not in materialised(world, run.run_id)
    assert "isams/staff" in materialised(world, run.run_id), "the other keys' datasets are stored"
    assert world.environment.tables.find("isams", "pupils", SCHOOL, FIRST + timedelta(days=1)) is None
    assert world.environment.tables.find("isams", "pupils", SCHOOL, FIRST) is not None


def test_another_schools_sets_do_not_hide_behind_right_numbers(world: World):
    world.at_night(0)
    world.sandbox.fail(SCHOOL, "other_school", key="contacts")
    run = world.run(0)
    assert run.outcome is Outcome.REFUSED and "same_school" in run.reason, "on a first night the tables are compared"


@pytest.mark.parametrize(
    ("key", "dataset"),
    [("medical", "health"), ("contacts", "contact_pupils"), ("members", "set_members"), ("classes", "sets")],
)
def test_another_schools_answer_is_refused_whatever_it_names_people_by(world: World, key: str, dataset: str):
    assert world.night(0).outcome is Outcome.DELIVERED
    world.at_night(1)
    world.sandbox.fail(SCHOOL, "other_school", key=key)
    run = world.run(1)
    assert run.outcome is Outcome.FAILED and "It is another school's answer" in run.reason, run.reason
    assert f"dataset {dataset}" in run.reason and world.export(1) == {}


def test_transient_fault_that_passes_is_not_noticed(world: World):
    world.at_night(0)
    for fault, key in (("deadlock", "students"), ("cut", "staff"), ("throttled_429", "school"), ("short", "contacts")):
        world.sandbox.fail(SCHOOL, fault, key=key)
    assert world.run(0).outcome is Outcome.DELIVERED


def test_transient_fault_that_outlasts_the_client_is_tried_again_by_the_run(world: World):
    world.at_night(0)
    world.environment.retries, world.environment.retry_wait = 2, 0.01
    world.sandbox.fail(SCHOOL, "deadlock", times=4, key="staff")
    assert world.run(0).outcome is Outcome.DELIVERED


def test_final_fault_is_asked_about_once(world: World):
    world.at_night(0)
    world.environment.retries = 2
    world.sandbox.schools[SCHOOL].keys[0].active = False
    run = world.run(0)
    assert run.outcome is Outcome.FAILED and "does not know the key" in run.reason
    assert [key for key, _ in world.sandbox.schools[SCHOOL].requests].count("students") == 0
    assert "key students" in run.reason


def test_server_timeout_splits_the_request(world: World):
    world.at_night(0)
    world.sandbox.fail(SCHOOL, "server_timeout", times=2, key="school")
    assert world.run(0).outcome is Outcome.DELIVERED
    asked = [methods for key, methods in world.sandbox.schools[SCHOOL].requests if key == "school"]
    assert [len(methods) for methods in asked] == [7, 7, *[1] * 7]


def test_contacts_come_by_the_plain_method_where_the_key_lacks_the_other(world: World):
    key = next(k for k in world.sandbox.schools[SCHOOL].keys if k.name == "contacts")
    key.methods = ("Pupil_GetContacts",)
    run = world.night(0)
    assert run.outcome is Outcome.DELIVERED
    assert any("ContactAdvanced_GetContacts" in note for note in run.notes)


def test_a_method_that_a_key_lacks_is_named(world: World):
    key = next(k for k in world.sandbox.schools[SCHOOL].keys if k.name == "students")
    key.methods = ("Pupil_GetSiblings",)
    run = world.night(0)
    assert run.outcome is Outcome.FAILED and "Pupil_GetCurrentPupils" in run.reason
    assert "key students" in run.reason and "Batch Methods" in run.reason


def test_a_feed_of_no_use_to_the_export_does_not_hold_it_back(world: World):
    key = next(k for k in world.sandbox.schools[SCHOOL].keys if k.name == "students")
    key.methods = ("Pupil_GetCurrentPupils",)
    world.configure(
        lambda c: c["schools"][SCHOOL]["isams"]["keys"].update(
            students={"secret": "DEMO_RIVERSIDE_STUDENTS_KEY", "feeds": ["pupils"], "cache_hours": 2},
            brothers={"secret": "DEMO_RIVERSIDE_STUDENTS_KEY", "feeds": ["siblings"], "cache_hours": 2},
        )
    )
    run = world.night(0)
    assert run.outcome is Outcome.DELIVERED
    assert any("Pupil_GetSiblings" in note for note in run.notes), "but it is said"


def test_a_missing_secret_is_named_by_its_variable(world: World):
    world.variables = {"DEMO_RIVERSIDE_STAFF_KEY": " "}
    run = world.night(0)
    assert run.outcome is Outcome.FAILED
    assert "The environment variable DEMO_RIVERSIDE_STAFF_KEY is not set" in run.reason


def test_a_cache_that_ignores_the_request_does_not_pass_as_empty(world: World):
    world.at_night(0)
    key = next(k for k in world.sandbox.schools[SCHOOL].keys if k.name == "school")
    key.cache_ignores_filters = True
    with batch_client(world.environment.access(SCHOOL), "school") as client:
        client.download(["School_GetSchoolTerms"], lambda chunks: b"".join(chunks))
    run = world.run(0)
    assert run.outcome is Outcome.FAILED and "years is missing from the answer" in run.reason


def test_removal_guard_refuses_and_a_person_lifts_it(make: Callable[..., World]):
    world = make({SCHOOL: small_school(pupils=60)})
    world.night(0)
    world.at_night(1)
    world.sandbox.fail(SCHOOL, "half", key="students")
    run = world.run(1)
    assert run.outcome is Outcome.REFUSED and "students.csv would lose" in run.reason
    assert checks_of(world, run.run_id)["schoolsbuddy/delivery:removal_guard"] is False
    assert world.export(1) == {}
    assert world.run(1, allow_removals=True).outcome is Outcome.DELIVERED


def test_a_year_outside_every_campus_is_refused(make: Callable[..., World]):
    world = make()
    world.configure(lambda c: c["schools"][SCHOOL].update(campuses={"Main": "7-12"}))
    run = world.night(0)
    assert run.outcome is Outcome.REFUSED and "year 13 has students but no campus" in run.reason
    assert checks_of(world, run.run_id)["schoolsbuddy/export:year_names"] is False


def test_a_destination_that_cannot_be_written(make: Callable[..., World]):
    world = make()
    (world.folder / "blocked").write_text("a file where the exports should go")
    world.configure(lambda c: c["schools"][SCHOOL]["partners"]["schoolsbuddy"].update(deliver_to="blocked"))
    run = world.night(0)
    assert run.outcome is Outcome.FAILED and "blocked" in run.reason


def test_a_full_disk_under_the_archive(world: World, monkeypatch: pytest.MonkeyPatch):
    good = good_night_then(world)
    import errno

    import isams_pipeline.storage.folder as folder_module

    def full(self: Any, _data: bytes) -> int:
        with self._folder._guarded("write", self.temporary):
            raise OSError(errno.ENOSPC, "No space left on device")

    with monkeypatch.context() as patched:
        patched.setattr(folder_module.Incoming, "write", full)
        run = world.run(1)
    assert run.outcome is Outcome.FAILED and "The disk is full" in run.reason
    assert world.export(0) == good and world.export(1) == {}
    assert not list((world.data / "archive").rglob(".incoming-*"))
    assert world.run(1).outcome is Outcome.DELIVERED


def test_one_run_per_school_at_a_time(world: World):
    world.at_night(0)
    world.environment.lock_wait = 0.2
    with world.environment.locks.hold(f"school {SCHOOL}", wait=1):
        run = world.run(0)
    assert run.outcome is Outcome.FAILED and "Another run holds school riverside" in run.reason
    assert world.run(0).outcome is Outcome.DELIVERED


def test_warning_for_an_answer_that_may_be_yesterdays(make: Callable[..., World]):
    world = make(cache_hours=24)
    world.night(0)
    run = world.night(1)
    verdicts = checks_of(world, run.run_id)
    assert verdicts["isams/years:sound"] is False, "identical, on a key with a cache of a day"
    assert run.outcome is Outcome.DELIVERED, "a warning holds nothing back"
    assert "isams/years: sound" in dict(run.warnings), "and the command's table has it"


def test_warning_for_far_fewer_rows_than_usual(make: Callable[..., World]):
    world = make({SCHOOL: small_school(pupils=60)})
    world.night(0)
    world.at_night(1)
    world.sandbox.fail(SCHOOL, "half", key="students")
    run = world.run(1)
    assert checks_of(world, run.run_id)["isams/pupils:sound"] is False
    assert run.outcome is Outcome.REFUSED, "a warning alone would not; the guard sees what is gone"


def test_a_school_without_the_partner_is_told_what_to_configure(make: Callable[..., World]):
    world = make()
    world.configure(lambda c: c["schools"][SCHOOL].pop("partners"))
    run = world.night(0)
    assert run.outcome is Outcome.FAILED and "Add schools.riverside.partners.schoolsbuddy" in run.reason


# --- engines and people -----------------------------------------------------------------------------------


def test_a_night_on_postgres(make: Callable[..., World], postgres: str, monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setenv("ISAMS_POSTGRES_URL", postgres)
    world = make()
    world.variables = {"ISAMS_POSTGRES_URL": postgres}
    assert [world.night(day).outcome for day in range(2)] == [Outcome.DELIVERED] * 2
    assert type(world.instance.run_storage).__module__.startswith("dagster_postgres")
    assert world.instance.get_runs_count() == 2
    assert not (world.data / "state.sqlite").exists()
    assert Receipts(world.environment.state).baseline(Address("schoolsbuddy", SCHOOL, FIRST)) is not None


MARK = "Qanarix"


def test_no_personal_value_and_no_secret_leaves_the_data(make: Callable[..., World], capfd: pytest.CaptureFixture[str]):
    world = make({SCHOOL: small_school(MARK, pupils=40, troubles=True)})
    world.night(0)
    for day, fault in enumerate(
        ("duplicate", "wrong_type", "other_school", "empty_container", "short", "unhandled"), start=1
    ):
        world.at_night(day)
        world.sandbox.fail(SCHOOL, fault, times=4, key="students")
        assert world.run(day).outcome is not Outcome.DELIVERED
        world.sandbox.schools[SCHOOL].faults.clear()
    out, err = capfd.readouterr()
    values = {row["forename"] for row in rows(world.export(0)["students.csv"])}
    assert len(values) > 30 and all(MARK in value for value in values), "the canary is in the data"
    secrets = [key.guid for key in world.sandbox.schools[SCHOOL].keys]
    private = world.data / "dagster", world.data / "reports", world.data / "locks", world.data / "state.sqlite"
    searched = 0
    for place in private:
        for path in [place] if place.is_file() else [p for p in place.rglob("*") if p.is_file()]:
            searched += 1
            content = path.read_bytes()
            for word in (MARK, MARK.lower(), "07700 9", *secrets):
                assert word.encode() not in content, f"{word} in {path}"
    assert searched > 10
    for path in world.data.rglob("*"):
        assert MARK.lower() not in str(path).lower()
    for guid in secrets:
        for path in (p for p in world.data.rglob("*") if p.is_file()):
            assert guid.encode() not in path.read_bytes()
    assert MARK not in out + err and not any(guid in out + err for guid in secrets)
    for run in world.instance.get_runs():
        assert MARK not in json.dumps(run.tags)


def test_everything_with_personal_data_is_0600_in_0700(world: World):
    import stat

    world.night(0)
    places = [world.data / name for name in ("archive", "tables", "staged", "reports")] + [world.exports]
    files = [path for place in places for path in [place, *place.rglob("*")]]
    assert len(files) > 60
    for path in files:
        assert stat.S_IMODE(path.stat().st_mode) == (0o700 if path.is_dir() else 0o600), path
    assert stat.S_IMODE((world.data / "state.sqlite").stat().st_mode) == 0o600


def test_a_manual_launch_of_the_delivery_alone_goes_through_the_same_gate(world: World):
    world.night(0)
    stage = world.environment.staged("schoolsbuddy", SCHOOL)
    staged = stage.find(FIRST)
    pointer = world.data / f"staged/schoolsbuddy/{SCHOOL}/{FIRST}.json"
    pointer.write_text(pointer.read_text().replace(staged.files["students.csv"], staged.files["houses.csv"]))
    from isams_pipeline.definitions import build_definitions

    delivery = dg.AssetKey(["schoolsbuddy", "delivery"])
    result = (
        build_definitions(world.environment)
        .resolve_job_def("schoolsbuddy_nightly")
        .execute_in_process(
            instance=world.instance,
            partition_key=key_of(Night(SCHOOL, FIRST)),
            asset_selection=[delivery],
            raise_on_error=False,
        )
    )
    assert not result.success
    receipt = Receipts(world.environment.state).of_run(result.run_id)
    assert receipt is not None and receipt.outcome == "refused" and "schema: students.csv" in receipt.reason


def test_the_delivery_refuses_tables_that_were_damaged_since(world: World):
    world.night(0)
    for path in Path(world.data / "tables/isams/pupils").rglob("*.parquet"):
        path.write_bytes(b"not what it was")
    from isams_pipeline.orchestration.deliveries import deliver
    from isams_pipeline.partners import schoolsbuddy

    with pytest.raises(Exception, match="lost or damaged"):
        deliver(world.environment, schoolsbuddy.PARTNER, Night(SCHOOL, FIRST), "manual", allow_removals=False)


def test_a_run_of_the_command_line_is_the_code_locations(world: World):
    """Else it stands in no timeline and under no job of the UI, and cannot be launched again from there."""
    run = world.instance.get_run_by_id(world.night(0).run_id)
    (location,) = workspace_locations()
    assert run is not None and run.remote_job_origin is not None
    origin = run.remote_job_origin.repository_origin
    assert origin.code_location_origin.get_id() == location.get_id()
    assert run.tags_for_storage()[".dagster/repository"] == f"__repository__@{location.location_name}"


def test_runs_can_be_filtered_by_how_they_ended(world: World):
    world.night(0)
    world.configure(
        lambda config: config["schools"][SCHOOL]["partners"]["schoolsbuddy"].update(contact_types=["Nobody"])
    )
    refused = world.night(1)
    assert refused.outcome is Outcome.REFUSED
    found = world.instance.get_run_records(
        dg.RunsFilter(tags={"isams/outcome": "refused", "isams/partner": "schoolsbuddy"})
    )
    assert [record.dagster_run.run_id for record in found] == [refused.run_id]


def workspace_locations() -> list[Any]:
    """The code locations that the root's workspace.yaml names."""
    return list(WorkspaceFileTarget([str(Path(__file__).parent.parent / "workspace.yaml")]).create_origins())
