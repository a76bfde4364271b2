"""How schools stand: by the command, as an asset, and for monitoring; the same by all three."""

from __future__ import annotations

import asyncio
import json
from collections.abc import Callable
from datetime import UTC, date, datetime, timedelta
from typing import Any

import dagster as dg
import httpx
import pytest
from prometheus_client.parser import text_string_to_metric_families
from sqlalchemy import event
from starlette.applications import Starlette
from starlette.responses import PlainTextResponse
from starlette.routing import Route

from isams_pipeline.config.alerts import AlertKind
from isams_pipeline.definitions import build_definitions
from isams_pipeline.orchestration.deliveries import freshness
from isams_pipeline.orchestration.partner import Waiting
from isams_pipeline.orchestration.status import Row, Status, status
from isams_pipeline.orchestration.status_asset import SENSOR, STATUS, state_of
from isams_pipeline.orchestration.ui.status_pages import StatusPages
from isams_pipeline.partners import schoolsbuddy
from isams_pipeline.partners.registry import PARTNERS
from isams_pipeline_tests.test_commands import call
from isams_pipeline_tests.world import FIRST, SCHOOL, World, small_school


def found(world: World, *schools: str) -> dict[tuple[str, str], Row]:
    made = status(world.environment, world.instance, PARTNERS.values(), schools or None)
    return {(row.school, row.partner): row for row in made.rows}


def test_a_school_from_its_first_night_on(make: Callable[..., World]):
    world = make(schools={name: small_school(mark=name) for name in ("harbour", SCHOOL)})
    world.at_night(0, hour=1)
    row = found(world)[SCHOOL, "schoolsbuddy"]
    assert (row.last_delivered, row.tonight, row.overdue, row.waits) == (None, "due by 04:00 GMT", False, ())
    world.night(0)
    row = found(world)[SCHOOL, "schoolsbuddy"]
    assert (row.last_delivered, row.tonight, row.overdue) == (FIRST, "delivered", False)
    world.at_night(1, hour=5)
    row = found(world)[SCHOOL, "schoolsbuddy"]
    assert row.last_delivered == FIRST and row.overdue and row.tonight == "overdue since 04:00 GMT"
    (waiting,) = row.waits
    assert "No run has begun" in waiting.what and waiting.command.startswith(
        f"isams-pipeline sync {SCHOOL} --partner schoolsbuddy --date "
    )
    world.at_night(2, hour=1)
    row = found(world)[SCHOOL, "schoolsbuddy"]
    assert row.overdue and not row.late and row.tonight == "due by 04:00 GMT"
    assert f"{FIRST + timedelta(days=1)} was missed, and cannot be had any more" in row.waits[0].what
    world.at_night(4, hour=1)
    row = found(world)[SCHOOL, "schoolsbuddy"]
    assert f"{FIRST + timedelta(days=1)} to {FIRST + timedelta(days=3)} were missed" in row.waits[0].what
    world.night(4)
    row = found(world)[SCHOOL, "schoolsbuddy"]
    assert not row.overdue and row.waits == ()
    world.attendance("am", day=0)
    world.at_night(2, hour=10)
    (waiting,) = found(world)[SCHOOL, "schoolsbuddy_attendance am"].waits
    assert "was missed" in waiting.what and waiting.command == f"isams-pipeline attendance {SCHOOL} am"
    assert {school for school, _ in found(world, "harbour")} == {"harbour"}


def test_a_night_that_failed_is_overdue_once_its_hour_is_over(world: World):
    world.configure(lambda config: config["schools"][SCHOOL]["isams"].update(url="http://127.0.0.1:9"))
    world.night(0)
    row = found(world)[SCHOOL, "schoolsbuddy"]
    assert (row.tonight, row.overdue) == ("failed", False)
    world.at_night(0, hour=12)
    row = found(world)[SCHOOL, "schoolsbuddy"]
    assert (row.tonight, row.overdue) == ("failed", True) and "refused the connection" in row.waits[0].what


def test_a_night_that_was_delivered_and_is_made_again_is_not_overdue(world: World):
    world.night(0)
    world.configure(lambda config: config["schools"][SCHOOL]["isams"].update(url="http://127.0.0.1:9"))
    world.at_night(0, hour=12)
    assert world.run(0, fresh=True).outcome == "failed"
    row = found(world)[SCHOOL, "schoolsbuddy"]
    assert (row.tonight, row.overdue, row.last_delivered) == ("failed", False, FIRST)
    assert "refused the connection" in row.waits[0].what, "and a person has to see to it all the same"


def test_many_schools_are_few_questions(world: World):
    asked: list[str] = []

    def counted() -> int:
        asked.clear()
        engine = world.environment.state.engine
        event.listen(engine, "before_cursor_execute", lambda *given: asked.append(given[2]))
        found(world)
        return len(asked)

    few = counted()
    world.configure(
        lambda config: config["schools"].update({f"school{at}": config["schools"][SCHOOL] for at in range(50)})
    )
    never_delivered = 50 * 4  # two partners' nights, and two sessions
    assert counted() <= few + 2 * never_delivered, "a question each, and its BEGIN"


def test_what_waits_at_partners_is_there_with_its_command(world: World):
    from isams_pipeline.storage.state.bookings import Notification

    now = world.moment[0]
    facts = {"booking_id": "B", "recipient": "a@example.org", "subject": "", "body": "", "error": None, "attempts": 0}
    with world.environment.state.transaction() as session:
        for at, state in enumerate(("sent", "in_doubt", "failed", "failed")):
            message = {"message_id": f"<{at}@x>", "state": state, "created_at": now, "changed_at": now}
            session.add(Notification(school=SCHOOL, **facts, **message))
    waits = found(world)[SCHOOL, "room_booking"].waits
    assert waits == (
        Waiting("mail to owners of bookings: 1 in doubt, 2 failed", f"isams-pipeline rooms mail {SCHOOL}"),
    )


def test_the_command_prints_it_and_its_exit_code_says_whether_anything_is_overdue(world: World):
    # The command goes by the real clock, for which all of these nights are long past.
    words = ("status", SCHOOL, "--config", str(world.config), "--data-dir", str(world.data))
    code, printed = call(*words)
    assert SCHOOL in printed and "schoolsbuddy" in printed
    code_of_json, printed = call(*words, "--json")
    told = json.loads(printed)
    assert code == code_of_json == (1 if told["overdue"] else 0)
    assert [one["school"] for one in told["schools"]] == [SCHOOL] * len(told["schools"])
    code, printed = call("status", cwd=world.folder / "data")
    assert code == 2 and "There is no configuration file" in printed, "all is well nobody knows"
    code, printed = call("status", "nowhere", *words[2:])
    assert code == 2 and "no school 'nowhere'" in printed


# --- in Dagster -----------------------------------------------------------------------------------------------


def test_the_asset_is_made_anew_when_something_has_changed(world: World):
    world.night(0)
    repository = build_definitions(world.environment).get_repository_def()
    sensor = repository.get_sensor_def(SENSOR)
    resources = {"environment": world.environment}
    with dg.build_sensor_context(instance=world.instance, resources=resources) as context:
        first = sensor.evaluate_tick(context)
        assert first.run_requests is not None and len(first.run_requests) == 1
    with dg.build_sensor_context(instance=world.instance, resources=resources, cursor=first.cursor) as context:
        assert sensor.evaluate_tick(context).skip_message == "Nothing has changed since"
    job = build_definitions(world.environment).resolve_job_def("look_at_status")
    assert job.execute_in_process(instance=world.instance).success
    record = world.instance.get_latest_materialization_event(dg.AssetKey(STATUS))
    assert record is not None and record.asset_materialization is not None
    metadata = record.asset_materialization.metadata
    assert metadata["overdue"].value == 0 and str(FIRST) in str(metadata["schools"].value)


@pytest.mark.parametrize(
    ("zones", "late", "cron", "zone"),
    [
        (["Europe/London"], 120, "0 4 * * *", "Europe/London"),
        (["Europe/London", "Asia/Dubai", "America/Lima"], 90, "30 3 * * *", "America/Lima"),
        (["Asia/Dubai"], 1200, "0 22 * * *", "Asia/Dubai"),
    ],
)
def test_a_delivery_is_stale_in_the_ui_once_the_last_school_is_late(
    make: Callable[..., World], zones: list[str], late: int, cron: str, zone: str
):
    world = make(schools={f"school{at}": small_school(mark=str(at)) for at in range(len(zones))})

    def change(config: dict[str, Any]) -> None:
        config["alerts"] = {"late_after_minutes": late}
        for school, name in zip(config["schools"].values(), zones, strict=True):
            school["timezone"] = name

    world.configure(change)
    policy: Any = freshness(world.environment.settings, schoolsbuddy.PARTNER)
    assert (policy.deadline_cron, policy.timezone) == (cron, zone)
    definitions = build_definitions(world.environment)
    assert definitions.resolve_all_asset_keys()
    spec = definitions.resolve_asset_graph().get(dg.AssetKey(["schoolsbuddy", "delivery"]))
    assert spec.freshness_policy == policy


# --- for monitoring -------------------------------------------------------------------------------------------

ROW = Row(
    school='ri"ver',
    partner="schoolsbuddy",
    last_delivered=date(2026, 2, 9),
    night=date(2026, 2, 10),
    outcome=AlertKind.FAILED.value,
    due=None,
    late=False,
    overdue=True,
    waits=(Waiting("2026-02-10 failed: x", "isams-pipeline sync x"),),
)
STANDING = Status(datetime(2026, 2, 10, 5, tzinfo=UTC), [ROW, ROW], 3)


def test_metrics_are_what_prometheus_reads():
    text = STANDING.as_metrics()
    found = {
        (sample.name.removeprefix("isams_pipeline_"), sample.labels.get("school")): sample.value
        for family in text_string_to_metric_families(text)
        for sample in family.samples
    }
    assert found == {
        ("overdue", None): 2,
        ("waits", None): 3,
        ("alerts_stuck", None): 3,
        ("night_overdue", 'ri"ver'): 1,
        ("last_delivered_night_seconds", 'ri"ver'): datetime(2026, 2, 9, tzinfo=UTC).timestamp(),
    }
    assert "failed: x" not in text, "counts and dates only"


def test_a_night_that_begins_makes_no_new_page_and_what_comes_of_it_does():
    from dataclasses import replace

    other = replace(STANDING, rows=[replace(ROW, outcome="under way")] * 2, at=datetime(2026, 2, 10, 6, tzinfo=UTC))
    assert state_of(other) == state_of(STANDING)
    assert state_of(replace(STANDING, rows=[ROW])) != state_of(STANDING)
    assert state_of(replace(STANDING, alerts_stuck=0)) != state_of(STANDING)


def test_the_ui_serves_both_pages_and_leaves_the_rest_alone():
    asyncio.run(_pages_are_served())


async def _pages_are_served() -> None:
    asked: list[int] = []

    def look() -> Status:
        asked.append(1)
        return STANDING

    async def other(_: Any) -> PlainTextResponse:
        return PlainTextResponse("the UI")

    app = StatusPages(Starlette(routes=[Route("/{path:path}", other)]), look)
    async with httpx.AsyncClient(transport=httpx.ASGITransport(app), base_url="http://localhost") as client:
        page = await client.get("/status.json")
        assert page.json() == json.loads(json.dumps(STANDING.as_json()))
        metrics = await client.get("/metrics")
        assert metrics.text == STANDING.as_metrics() and metrics.headers["content-type"].startswith(
            "text/plain; version="
        )
        assert (await client.get("/runs")).text == "the UI" and (await client.post("/status.json")).status_code != 200
    assert asked == [1], "asked again at once, nothing is looked at again"
