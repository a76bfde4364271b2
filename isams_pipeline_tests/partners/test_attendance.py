"""Mornings and afternoons as whole runs: a real Dagster run, a real REST server, a real delivery."""

from __future__ import annotations

import json
from collections.abc import Callable
from datetime import UTC, date, datetime, timedelta
from pathlib import Path
from typing import Any

import dagster as dg
import pytest

from isams_pipeline.definitions import build_definitions
from isams_pipeline.delivery.export import Export
from isams_pipeline.delivery.receipts import Address, Outcome, Receipts
from isams_pipeline.partners.schoolsbuddy.attendance.schedules import attendance_jobs, attendance_schedules
from isams_pipeline.sandbox import registers as sandbox_registers
from isams_pipeline_tests.world import FIRST, SCHOOL, World, rows, small_school

MARK = "Zqxcanary"


def folder(world: World, session: str = "am", day: int = 0) -> Path:
    return world.folder / "exports/schoolsbuddy_attendance" / SCHOOL / str(FIRST + timedelta(days=day)) / session


def delivered(world: World, session: str = "am", day: int = 0) -> list[dict[str, str]]:
    return rows((folder(world, session, day) / "attendance.csv").read_bytes())


def manifest(world: World, session: str = "am") -> dict[str, Any]:
    found: dict[str, Any] = json.loads((folder(world, session) / "manifest.json").read_text())
    return found


@pytest.fixture
def whole(world: World) -> World:
    """A school whose first night has been run."""
    assert world.night(0).outcome is Outcome.DELIVERED
    return world


@pytest.fixture
def ready(world: World) -> World:
    """A school whose first night's export has been delivered, without the seconds of a whole night."""
    pupils = world.sandbox.day_of(SCHOOL).pupils
    rows = "".join(f"{pupil.id},{pupil.school_id}\n" for pupil in pupils)
    export = Export({"students.csv": f"student_id,school_id\n{rows}".encode()})
    world.environment.staged("schoolsbuddy", SCHOOL).stage(FIRST, export, datasets={}, snapshots=[], excluded={})
    Receipts(world.environment.state).record(
        Address("schoolsbuddy", SCHOOL, FIRST),
        Outcome.DELIVERED,
        content_hash=export.content_hash,
        target="",
        run_id="a night",
        at=world.moment[0],
        removals_allowed=False,
        reason=None,
        changes={},
        manifest={"files": {"students.csv": {"sha256": export.hashes["students.csv"]}}},
    )
    return world


def test_a_morning_and_an_afternoon_are_delivered(ready: World):
    pupils = {str(pupil.id) for pupil in ready.sandbox.day_of(SCHOOL).pupils}
    for session, hour in (("am", 11), ("pm", 15)):
        run = ready.attendance(session, hour=hour)
        assert run.outcome is Outcome.DELIVERED, run.reason
        found = delivered(ready, session)
        assert {row["student_id"] for row in found} == pupils
        assert {row["session"] for row in found} == {session.upper()} and {row["date"] for row in found} == {str(FIRST)}
        assert {row["registered"] for row in found} == {"true"}
        assert {"true", "false"} >= {row["present"] for row in found}
        about = manifest(ready, session)
        assert {r["state"] for r in about["registers"]} == {"closed"} and about["students_of"] == str(FIRST)
        assert about["files"]["attendance.csv"]["rows"] == len(pupils)
    assert ready.attendance("pm", hour=15).outcome is Outcome.UNCHANGED


def test_attendance_never_comes_from_the_batch_cache(whole: World):
    asked = len(whole.sandbox.schools[SCHOOL].requests)
    assert whole.attendance().outcome is Outcome.DELIVERED
    assert len(whole.sandbox.schools[SCHOOL].requests) == asked
    before = len(whole.sandbox.schools[SCHOOL].rest_requests)
    whole.attendance()
    assert len(whole.sandbox.schools[SCHOOL].rest_requests) > before, "asked anew each time"


def test_an_open_register_is_delivered_as_it_stands_and_marked_so(ready: World):
    run = ready.attendance(hour=9)  # it closes at 09:15
    assert run.outcome is Outcome.DELIVERED and "2 registers were still open" in run.notes[0]
    waiting = [row for row in delivered(ready) if row["registered"] == "false"]
    assert waiting and all(row["mark"] == row["present"] == "" for row in waiting)
    assert {r["state"] for r in manifest(ready)["registers"]} == {"open"}
    checks = ready.instance.event_log_storage.get_asset_check_execution_history(
        dg.AssetCheckKey(dg.AssetKey(["schoolsbuddy_attendance", "delivery_am"]), "gate"), limit=1
    )
    evaluation = checks[0].event.dagster_event.asset_check_evaluation_data
    assert not evaluation.passed and evaluation.severity is dg.AssetCheckSeverity.WARN
    assert ready.attendance(hour=11).outcome is Outcome.DELIVERED
    assert all(row["registered"] == "true" for row in delivered(ready))


def test_a_register_that_closes_unchanged_is_marked_closed(ready: World, monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setattr(sandbox_registers, "statuses", lambda *_: iter(()))
    assert ready.attendance(hour=9).outcome is Outcome.REFUSED, "nothing is not delivered"
    monkeypatch.undo()
    statuses = sandbox_registers.statuses

    def filled(day: Any, register: Any, _: Any) -> Any:
        return statuses(day, register, register.finish)

    monkeypatch.setattr(sandbox_registers, "statuses", filled)
    assert ready.attendance(hour=9).outcome is Outcome.DELIVERED
    assert ready.attendance(hour=11).outcome is Outcome.DELIVERED, "the same rows, but the manifest says closed now"
    assert {r["state"] for r in manifest(ready)["registers"]} == {"closed"}


@pytest.mark.parametrize("day", [4, 5, 60])
def test_a_day_without_registers_ends_no_session(ready: World, day: int):
    run = ready.attendance(day=day)
    assert run.outcome is Outcome.NO_SESSION and run.reason == "there are no registers today"
    assert not folder(ready, day=day).exists()
    record = ready.instance.get_run_by_id(run.run_id)
    assert record is not None and record.status is dg.DagsterRunStatus.SUCCESS


def test_only_students_of_the_last_nightly_export(whole: World):
    whole.attendance(day=3)  # the nights between did not run: pupils have joined whom nobody has exported, others left
    known = {row["school_id"] for row in rows(whole.export(0)["students.csv"])}
    there = {pupil.school_id for pupil in whole.sandbox.day_of(SCHOOL).pupils}
    shown = {row["school_id"] for row in delivered(whole, day=3)}
    assert shown < known and there - known and there & known <= shown
    path = (
        whole.data / "reports/schoolsbuddy_attendance" / SCHOOL / str(FIRST + timedelta(days=3)) / "am/exclusions.csv"
    )
    out = rows(path.read_bytes())
    assert there - known <= {row["id"] for row in out if row["rule"] == "not_in_export"}
    assert known - shown == {row["id"] for row in out if row["rule"] == "no_record"}


def test_without_a_nightly_export_nothing_is_delivered(world: World):
    run = world.attendance()
    assert run.outcome is Outcome.FAILED and "no export of this school yet" in (run.reason or "")


def test_a_refused_night_does_not_count_as_an_export(whole: World):
    whole.configure(lambda c: c["schools"][SCHOOL].update(campuses={"Main": "7-12"}))
    assert whole.night(1).outcome is Outcome.REFUSED
    assert whole.attendance(day=1).outcome is Outcome.DELIVERED
    about = json.loads((folder(whole, day=1) / "manifest.json").read_text())
    assert about["students_of"] == str(FIRST)


def test_a_backfill_of_a_past_date_gives_what_was_read_then(ready: World):
    assert ready.attendance().outcome is Outcome.DELIVERED
    before = (folder(ready) / "attendance.csv").read_bytes()
    (folder(ready) / "attendance.csv").unlink()
    asked = len(ready.sandbox.schools[SCHOOL].rest_requests)
    ready.moment[0] += timedelta(days=30)
    from isams_pipeline.commands.headless import Nightly
    from isams_pipeline.orchestration.partitions import Night

    def again(day: date) -> Any:
        runner = Nightly(ready.environment, ready.instance, "schoolsbuddy_attendance", "schoolsbuddy_attendance_am")
        return runner.run(Night(SCHOOL, day))

    assert again(FIRST).outcome is Outcome.DELIVERED
    assert (folder(ready) / "attendance.csv").read_bytes() == before
    run = again(FIRST + timedelta(days=1))
    assert run.outcome is Outcome.FAILED and "only knows today's" in (run.reason or "")
    run = again(FIRST + timedelta(days=31))
    assert run.outcome is Outcome.FAILED and "has not come yet" in (run.reason or "")
    assert len(ready.sandbox.schools[SCHOOL].rest_requests) == asked, "iSAMS was not asked"


def test_registers_that_are_gone_later_do_not_overwrite_what_they_held(ready: World, monkeypatch: pytest.MonkeyPatch):
    assert ready.attendance().outcome is Outcome.DELIVERED
    monkeypatch.setattr(sandbox_registers, "registers_of", lambda *_: [])
    assert ready.attendance(hour=17).outcome is Outcome.UNCHANGED
    assert len(delivered(ready)) == 24


def choose(world: World, *choices: dict[str, str]) -> None:
    def change(config: dict[str, Any]) -> None:
        config["schools"][SCHOOL]["partners"]["schoolsbuddy"]["attendance"]["am"] = list(choices)

    world.configure(change)


def test_a_division_that_does_not_exist_is_named_with_those_that_do(ready: World):
    choose(ready, {"division": "Senoir", "register": "AM"})
    run = ready.attendance()
    assert run.outcome is Outcome.FAILED and "there are: Junior, Senior" in (run.reason or "")


def test_a_register_that_never_was_is_an_error_not_a_holiday(ready: World):
    choose(ready, {"division": "Senior", "register": "Morning"})
    run = ready.attendance()
    assert run.outcome is Outcome.FAILED and "there are: AM, Period 1, PM" in (run.reason or "")


def test_registers_of_another_day_are_not_delivered_as_todays(ready: World):
    ready.sandbox.clock = lambda: datetime(2026, 2, 9, 11, tzinfo=UTC)
    run = ready.attendance()
    assert run.outcome is Outcome.FAILED and "of another day than today" in (run.reason or "")


def test_the_same_marks_read_later_are_unchanged(ready: World):
    assert ready.attendance(hour=11).outcome is Outcome.DELIVERED
    assert ready.attendance(hour=12).outcome is Outcome.UNCHANGED


def gate(world: World) -> str | None:
    """What the check of the last morning warned of."""
    key = dg.AssetCheckKey(dg.AssetKey(["schoolsbuddy_attendance", "delivery_am"]), "gate")
    record = world.instance.event_log_storage.get_asset_check_execution_history(key, limit=1)[0]
    evaluation = record.event.dagster_event.asset_check_evaluation_data
    return None if evaluation.passed else evaluation.description


def test_a_chosen_register_that_is_not_there_is_warned_of(ready: World):
    choose(ready, {"division": "Senior", "register": "AM"}, {"division": "Junior", "register": "Chapel"})
    assert ready.attendance().outcome is Outcome.DELIVERED
    assert "Junior has no register 'Chapel' today; there are: AM, Period 1, PM" in (gate(ready) or "")


def test_an_empty_register_that_should_hold_students_is_warned_of(ready: World, monkeypatch: pytest.MonkeyPatch):
    statuses = sandbox_registers.statuses
    monkeypatch.setattr(
        sandbox_registers, "statuses", lambda d, r, now: iter(()) if r.division == 2 else statuses(d, r, now)
    )
    assert ready.attendance().outcome is Outcome.DELIVERED
    assert "(Junior AM) should have 12 students and holds none" in (gate(ready) or "")


@pytest.mark.parametrize("register", ["LESSON", "period 1", " Period 1 "])
def test_registers_by_type_or_friendly_name_and_divisions_by_code(ready: World, register: str):
    choose(ready, {"division": "s", "register": register})
    assert ready.attendance().outcome is Outcome.DELIVERED
    assert [(r["division"], r["name"]) for r in manifest(ready)["registers"]] == [("Senior", "Period 1")]


def test_another_schools_registers_are_refused(ready: World, monkeypatch: pytest.MonkeyPatch):
    statuses = sandbox_registers.statuses

    def strangers(*words: Any) -> Any:
        return ({**record, "schoolId": f"9{record['schoolId']}"} for record in statuses(*words))

    monkeypatch.setattr(sandbox_registers, "statuses", strangers)
    run = ready.attendance()
    assert run.outcome is Outcome.REFUSED and "check that the REST client is this school's" in (run.reason or "")


def test_half_of_the_students_gone_is_refused_unless_a_person_allows_it(whole: World):
    assert whole.attendance().outcome is Outcome.DELIVERED
    assert whole.night(1).outcome is Outcome.DELIVERED
    choose(whole, {"division": "Senior", "register": "AM"})
    assert whole.attendance(day=1).outcome is Outcome.DELIVERED, "less than half: the session has a limit of its own"
    assert whole.night(2).outcome is Outcome.DELIVERED
    choose(whole, {"division": "Junior", "register": "AM"})
    run = whole.attendance(day=2)
    assert run.outcome is Outcome.REFUSED and "removal_guard" in (run.reason or "")
    assert whole.attendance(day=2, allow_removals=True).outcome is Outcome.DELIVERED


@pytest.mark.parametrize("fault", ["rest_403", "rest_not_json", "rest_500", "rest_429", "rest_expired"])
def test_a_fault_leaves_what_was_delivered(ready: World, fault: str):
    assert ready.attendance(hour=9).outcome is Outcome.DELIVERED
    before = (folder(ready) / "attendance.csv").read_bytes()
    ready.sandbox.fail(SCHOOL, fault, times=50)
    run = ready.attendance(hour=11)
    assert run.outcome is Outcome.FAILED and run.reason
    assert (folder(ready) / "attendance.csv").read_bytes() == before


def test_a_record_of_a_wrong_type_is_named_by_field_and_row(ready: World, monkeypatch: pytest.MonkeyPatch):
    statuses = sandbox_registers.statuses

    def odd(*words: Any) -> Any:
        return ({**record, "isLate": "perhaps"} for record in statuses(*words))

    monkeypatch.setattr(sandbox_registers, "statuses", odd)
    run = ready.attendance()
    assert run.outcome is Outcome.FAILED and "field isLate, row 1" in (run.reason or "")
    assert "perhaps" not in (run.reason or "")


def test_no_person_in_dagsters_history_of_a_session(make: Callable[..., World]):
    world = make({SCHOOL: small_school(mark=MARK)})
    world.night(0)
    run = world.attendance()
    assert run.outcome is Outcome.DELIVERED
    for entry in world.instance.all_logs(run.run_id):
        assert MARK not in entry.to_json()
    assert MARK.encode() not in (world.data / "dagster").joinpath("dagster.yaml").read_bytes()


# --- schedules ----------------------------------------------------------------------------------------------


def tick(world: World, moment: datetime, session: str = "am") -> list[dg.RunRequest]:
    repository = build_definitions(world.environment).get_repository_def()
    schedule = next(s for s in repository.schedule_defs if s.name.startswith(f"schoolsbuddy_attendance_{session}"))
    world.moment[0] = moment
    with dg.build_schedule_context(
        scheduled_execution_time=moment, repository_def=repository, resources={"environment": world.environment}
    ) as context:
        return list(schedule.evaluate_tick(context).run_requests or [])


def test_schedules_are_made_of_an_environment_as_before(world: World):
    both = [attendance_schedules(given, attendance_jobs()) for given in (world.environment, world.environment.settings)]
    assert [one.name for one in both[0]] == [one.name for one in both[1]] and len(both[0]) == 2


def test_a_session_has_a_schedule_for_each_zone_and_time(make: Callable[..., World]):
    world = make({"riverside": small_school(), "harbour": small_school()})

    def change(config: dict[str, Any]) -> None:
        config["schools"]["harbour"]["timezone"] = "Asia/Dubai"
        config["schools"]["harbour"]["partners"]["schoolsbuddy"]["attendance"]["am_at"] = "10:30"

    world.configure(change)
    found = {
        s.name: (s.execution_timezone, s.cron_schedule, s.default_status.value)
        for s in build_definitions(world.environment).get_repository_def().schedule_defs
        if "attendance" in s.name
    }
    assert found == {
        "schoolsbuddy_attendance_am_europe_london_1100": ("Europe/London", "0 11 * * *", "RUNNING"),
        "schoolsbuddy_attendance_am_asia_dubai_1030": ("Asia/Dubai", "30 10 * * *", "RUNNING"),
        "schoolsbuddy_attendance_pm_europe_london_1500": ("Europe/London", "0 15 * * *", "RUNNING"),
        "schoolsbuddy_attendance_pm_asia_dubai_1500": ("Asia/Dubai", "0 15 * * *", "RUNNING"),
    }


def test_ticks_in_term_start_a_run_and_in_the_holidays_none(whole: World):
    (request,) = tick(whole, datetime(2026, 2, 10, 11, tzinfo=UTC))
    assert (
        request.partition_key == f"{FIRST}|{SCHOOL}"
        and request.run_key == f"schoolsbuddy_attendance:AM:{SCHOOL}:{FIRST}"
    )
    assert request.tags["dagster/priority"] == "10"
    assert tick(whole, datetime(2026, 3, 30, 10, tzinfo=UTC)) == [], "in the Easter holidays"
    assert tick(whole, datetime(2026, 4, 20, 10, tzinfo=UTC), "pm"), "on the first day of the summer term"
    assert tick(whole, datetime(2026, 9, 7, 10, tzinfo=UTC)), "the next year's terms have not been entered yet"


def test_without_known_terms_a_run_finds_out_by_itself(world: World):
    assert tick(world, datetime(2026, 3, 30, 10, tzinfo=UTC))


@pytest.mark.parametrize("zone", ["Asia/Qatar", "Europe/London"])
def test_registers_are_asked_for_on_every_day_of_the_week(make: Callable[..., World], zone: str):
    world = make({SCHOOL: small_school()})
    world.configure(lambda c: c["schools"][SCHOOL].update(timezone=zone))
    schedules = build_definitions(world.environment).get_repository_def().schedule_defs
    crons = [s.cron_schedule for s in schedules if "attendance" in s.name]
    assert crons and all(str(cron).endswith("* * *") for cron in crons), "which days are school days, registers say"


def only_boarders(monkeypatch: pytest.MonkeyPatch) -> None:
    """From now on there are registers every day, but none of those that are chosen."""

    def registers_of(day: Any, division: int, zone: Any) -> list[Any]:
        at = [datetime(day.date.year, day.date.month, day.date.day, hour, tzinfo=zone) for hour in (8, 9, 10)]
        number = day.date.toordinal() * 100 + division * 10
        return [sandbox_registers.Register(number, division, "Boarders", "ROLLCALL", *at)]

    monkeypatch.setattr(sandbox_registers, "registers_of", registers_of)


def test_a_day_on_which_only_others_have_registers_is_no_session_once_the_choice_has_been_read(
    ready: World, monkeypatch: pytest.MonkeyPatch
):
    assert ready.attendance().outcome is Outcome.DELIVERED  # a Tuesday
    only_boarders(monkeypatch)
    run = ready.attendance(day=4)
    assert run.outcome is Outcome.NO_SESSION and "no register 'AM' today; there are: Boarders" in (run.reason or "")
    missing = ready.attendance(day=7)  # the Tuesday after
    assert missing.outcome is Outcome.FAILED and "Boarders" in (missing.reason or "")


def test_a_choice_that_no_register_ever_was_is_a_mistake_on_a_saturday_too(
    ready: World, monkeypatch: pytest.MonkeyPatch
):
    only_boarders(monkeypatch)
    assert ready.attendance(day=4).outcome is Outcome.FAILED


def test_reading_of_isregistered_as_a_number():
    from isams_pipeline.sources.isams.registers import _is_registered

    assert [_is_registered(value) for value in (0, 1, 3, -1, True, False, None)] == [
        *(False, True, True, False),
        *(True, False, None),
    ]
