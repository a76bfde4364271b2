"""The rules in Dagster's graph: each a table with numbers, made again alone, and the checks that block."""

from __future__ import annotations

from collections.abc import Callable
from datetime import timedelta
from typing import Any

import dagster as dg

from isams_pipeline.commands.headless import job_of
from isams_pipeline.definitions import build_definitions
from isams_pipeline.delivery.receipts import Outcome
from isams_pipeline.orchestration.partitions import Night, key_of
from isams_pipeline.partners.registry import PARTNERS
from isams_pipeline_tests.world import FIRST, SCHOOL, World, rows, small_school

NIGHT = Night(SCHOOL, FIRST)


def run_only(world: World, *names: str, **told: bool) -> dg.ExecuteInProcessResult:
    """A run of some of SchoolsBuddy's assets, as the UI launches it; names with a slash are whole keys."""
    job = job_of(world.environment, "schoolsbuddy_nightly")
    keys = [dg.AssetKey(name.split("/") if "/" in name else ["schoolsbuddy", name]) for name in names]
    return job.execute_in_process(
        partition_key=key_of(NIGHT),
        asset_selection=keys,
        instance=world.instance,
        raise_on_error=False,
        run_config={"resources": {"night": {"config": told}}},
    )


def said(result: dg.ExecuteInProcessResult) -> str:
    """What the failed steps said."""
    return " ".join(
        str(event.step_failure_data.user_failure_data) for event in result.all_events if event.is_step_failure
    )


def shown(result: dg.ExecuteInProcessResult) -> dict[str, dict[str, Any]]:
    """Asset → its numbers and texts, in the order in which the assets were made."""
    return {
        event.asset_key.to_user_string(): {
            name: value.value for name, value in event.step_materialization_data.materialization.metadata.items()
        }
        for event in result.all_events
        if event.is_step_materialization and event.asset_key is not None
    }


def test_a_rule_is_made_again_alone_after_a_setting_has_changed_and_isams_is_not_asked(world: World):
    world.night(0)
    before = world.environment.tables.need("schoolsbuddy", "eligible_contacts", SCHOOL, FIRST)
    asked = len(world.sandbox.schools[SCHOOL].requests)
    world.configure(lambda c: c["schools"][SCHOOL]["partners"]["schoolsbuddy"].update(contact_types=["Mother"]))
    chosen = ("eligible_contacts", "contacts", "student_contacts", "exclusions", "export", "delivery")
    result = run_only(world, *chosen, allow_removals=True)
    assert result.success
    made = shown(result)
    assert tuple(key.partition("/")[2] for key in made) == chosen
    numbers = made["schoolsbuddy/eligible_contacts"]
    assert numbers["dagster/row_count"] < before.rows
    assert numbers["left out by contact_type"] > 0
    after = world.environment.tables.need("schoolsbuddy", "eligible_contacts", SCHOOL, FIRST)
    assert after.rows == numbers["dagster/row_count"]
    kept = world.environment.tables.load(after)
    assert set(kept["relationship"].str.casefold()) == {"mother"}
    assert len(world.sandbox.schools[SCHOOL].requests) == asked


def test_one_rule_alone_stores_its_table_and_touches_nothing_else(world: World):
    world.night(0)
    staged = world.environment.staged("schoolsbuddy", SCHOOL).find(FIRST)
    world.configure(lambda c: c["schools"][SCHOOL]["partners"]["schoolsbuddy"].update(contact_types=["Mother"]))
    assert list(shown(run_only(world, "contacts"))) == ["schoolsbuddy/contacts"]
    assert world.environment.staged("schoolsbuddy", SCHOOL).find(FIRST) == staged
    eligible = world.environment.tables.load(
        world.environment.tables.need("schoolsbuddy", "eligible_contacts", SCHOOL, FIRST)
    )
    assert set(eligible["relationship"].str.casefold()) > {"mother"}


def test_tables_hold_what_the_files_hold(world: World):
    world.night(0)
    for table in PARTNERS["schoolsbuddy"].exporting.tables:
        file = world.export().get(f"{table.name}.csv")
        stored = world.environment.tables.need("schoolsbuddy", table.name, SCHOOL, FIRST)
        if file is not None:
            assert stored.rows == len(rows(file)), table.name
            assert set(table.declaration.names) == set(rows(file)[0]), table.name


def test_what_the_settings_do_not_ask_for_is_said_and_not_stored(world: World):
    world.configure(lambda c: c["schools"][SCHOOL]["partners"]["schoolsbuddy"].update(medical_fields=[]))
    run = world.night(0)
    events = world.instance.all_logs(run.run_id, of_type=dg.DagsterEventType.ASSET_MATERIALIZATION)
    (medical,) = [
        event.dagster_event.step_materialization_data.materialization
        for event in events
        if event.dagster_event and event.dagster_event.asset_key == dg.AssetKey(["schoolsbuddy", "medical"])
    ]
    assert "do not ask for it" in str(medical.metadata["not asked for"].value)
    assert world.environment.tables.find("schoolsbuddy", "medical", SCHOOL, FIRST) is None


def test_a_check_that_refuses_blocks_and_the_run_says_how_it_ended(make: Callable[..., World]):
    world = make()
    world.configure(lambda c: c["schools"][SCHOOL].update(campuses={"North": "1-2"}))
    run = world.night(0)
    assert run.outcome is Outcome.REFUSED and "campus" in str(run.reason)
    ended = {event.step_key: event.event_type_value for event in _steps(world, run.run_id)}
    assert ended["schoolsbuddy_export"] == "STEP_FAILURE"
    assert "schoolsbuddy__delivery" not in ended
    assert world.instance.get_run_by_id(run.run_id).tags["isams/outcome"] == "refused"  # pyright: ignore[reportOptionalMemberAccess]
    blocking = {
        spec.name
        for definition in build_definitions(world.environment).assets or ()
        if isinstance(definition, dg.AssetsDefinition)
        for spec in definition.check_specs
        if spec.blocking
    }
    assert {*PARTNERS["schoolsbuddy"].exporting.checks, "removal_guard"} <= blocking
    # In a run of its own the gate looks again, at the very bytes.
    alone = run_only(world, "delivery")
    assert not alone.success
    assert "refused: " in said(alone) and "campus" in said(alone)


def test_a_run_that_reads_datasets_leaves_out_nothing_between_them_and_the_export(world: World):
    world.night(0)
    result = run_only(world, "isams/contacts", "contacts", "export")
    assert not result.success
    assert "schoolsbuddy/eligible_contacts" in said(result) and "Select those too" in said(result)
    assert run_only(world, "isams/staff", "staff").success


def _steps(world: World, run_id: str) -> list[dg.DagsterEvent]:
    return [
        entry.dagster_event
        for entry in world.instance.all_logs(run_id)
        if entry.dagster_event is not None and entry.dagster_event.is_step_event and entry.dagster_event.step_key
    ]


def test_the_graph_holds_what_schools_yaml_names_and_nothing_else(world: World):
    def only(config: dict[str, Any]) -> None:
        partners = config["schools"][SCHOOL]["partners"]
        mine = partners["schoolsbuddy"] | {"attendance": None, "photos": "rest", "photos_client": "portal"}
        config["schools"][SCHOOL]["partners"] = {"schoolsbuddy": mine}

    world.configure(only)
    definitions = build_definitions(world.environment)
    keys = definitions.resolve_asset_graph().get_all_asset_keys()
    assert {key.path[0] for key in keys} == {"isams", "schoolsbuddy", "tonight", "status", "retention"}
    jobs = {job.name for job in definitions.resolve_all_job_defs()} - {"__ASSET_JOB"}
    over_all = {"allow_removals", "look_at_tonight", "look_at_status", "end_what_is_kept_too_long"}
    assert jobs == {"schoolsbuddy_nightly", "isams_datasets", *over_all}
    export = definitions.resolve_asset_graph().get(dg.AssetKey(["schoolsbuddy", "export"]))
    assert {key.path[0] for key in export.parent_keys} == {"schoolsbuddy"}


# --- tonight: one place over all schools --------------------------------------------------------------------


def tonight_of(world: World) -> dict[str, Any]:
    job = build_definitions(world.environment).resolve_job_def("look_at_tonight")
    result = job.execute_in_process(partition_key=str(FIRST), instance=world.instance)
    return shown(result)["tonight"]


def test_tonight_says_how_every_school_and_partner_stands(make: Callable[..., World]):
    world = make({SCHOOL: small_school(), "harbour": small_school()})
    world.at_night(0)
    assert tonight_of(world)["due"] == 4
    world.run(0)
    world.configure(lambda c: c["schools"]["harbour"].update(campuses={"North": "1-2"}))
    world.run(0, "harbour")
    now = tonight_of(world)
    assert (now["delivered"], now["refused"], now["due"], now["failed"]) == (1, 1, 2, 0)
    receipt = world.environment.state and now["rows"]
    assert receipt == sum(len(rows(data)) for name, data in world.export().items() if name.endswith(".csv"))
    assert isinstance(now["seconds"], int) and now["seconds"] >= 1
    lines = (world.data / f"reports/tonight/{FIRST}.csv").read_text().splitlines()
    assert lines[0] == "school,partner,outcome,rows,left_out,seconds,waits_for"
    (refused,) = [line for line in lines if line.startswith("harbour,schoolsbuddy")]
    assert ",refused,0," in refused and "no campus" in refused


def test_a_night_that_left_no_receipt_counts_as_failed_and_one_that_is_over_as_missing(make: Callable[..., World]):
    world = make({SCHOOL: small_school()})
    world.at_night(0)
    world.sandbox.fail(SCHOOL, "unavailable", times=40)
    assert world.run(0).outcome is Outcome.FAILED
    now = tonight_of(world)
    assert (now["failed"], now["due"]) == (1, 1)
    world.at_night(1)
    now = tonight_of(world)
    assert (now["failed"], now["missing"], now["due"]) == (1, 1, 0)


def test_attendance_that_is_under_way_stands_in_tonight(world: World):
    from isams_pipeline.orchestration.tonight import standings

    job = build_definitions(world.environment).resolve_job_def("schoolsbuddy_attendance_am")
    tags = {**job.tags, "dagster/partition/school": SCHOOL, "dagster/partition/date": str(FIRST)}
    run = world.instance.create_run_for_job(job, tags=tags, status=dg.DagsterRunStatus.STARTED)

    def outcome() -> list[str]:
        found = standings(world.environment, world.instance, FIRST)
        return [one.outcome for one in found if one.partner == "schoolsbuddy_attendance am"]

    assert outcome() == ["under way"]
    world.instance.report_run_failed(run)
    assert outcome() == ["failed"], "though it left no receipt"


def test_tonight_is_made_anew_when_a_night_has_ended_and_not_else(world: World):
    world.at_night(0)
    definitions = build_definitions(world.environment)
    (sensor,) = [one for one in definitions.sensors or () if getattr(one, "name", "") == "tonight_current"]
    assert isinstance(sensor, dg.SensorDefinition)

    def look(cursor: str | None) -> dg.SensorEvaluationContext:
        return dg.build_sensor_context(
            instance=world.instance,
            cursor=cursor,
            repository_def=definitions.get_repository_def(),
            resources={"environment": world.environment},
        )

    with look(None) as context:
        first = sensor.evaluate_tick(context)
    both = [str(FIRST - timedelta(days=1)), str(FIRST)]
    assert [request.partition_key for request in first.run_requests or ()] == both
    with look(first.cursor) as context:
        assert not sensor.evaluate_tick(context).run_requests
    world.run(0)
    with look(first.cursor) as context:
        again = sensor.evaluate_tick(context)
    assert [request.partition_key for request in again.run_requests or ()] == [str(FIRST)]
    assert {one.run_key for one in again.run_requests or ()}.isdisjoint(one.run_key for one in first.run_requests or ())
    world.at_night(1)
    with look(again.cursor) as context:
        over = sensor.evaluate_tick(context)
    # The day that is over now is looked at once more: what has not come is missing.
    looked_at = [request.partition_key for request in over.run_requests or ()]
    assert looked_at == [str(FIRST), str(FIRST + timedelta(days=1))]


def test_a_delivery_that_follows_a_refusal_counts_and_not_the_run_before(world: World):
    world.night(0)
    world.configure(lambda c: c["schools"][SCHOOL]["partners"]["schoolsbuddy"].update(contact_types=["Mother"]))
    world.at_night(1)
    assert world.run(1).outcome is Outcome.REFUSED
    job = job_of(world.environment, "schoolsbuddy_nightly")
    again = job.execute_in_process(
        partition_key=key_of(Night(SCHOOL, FIRST + timedelta(days=1))),
        asset_selection=[dg.AssetKey(["schoolsbuddy", "delivery"])],
        instance=world.instance,
        run_config={"resources": {"night": {"config": {"allow_removals": True}}}},
    )
    assert again.success
    now = build_definitions(world.environment).resolve_job_def("look_at_tonight")
    result = now.execute_in_process(partition_key=str(FIRST + timedelta(days=1)), instance=world.instance)
    assert shown(result)["tonight"]["delivered"] == 1 and shown(result)["tonight"]["failed"] == 0


def test_what_a_school_does_not_ask_for_any_more_is_not_kept(world: World):
    world.night(0)
    assert world.environment.tables.find("schoolsbuddy", "medical", SCHOOL, FIRST) is not None
    world.configure(lambda c: c["schools"][SCHOOL]["partners"]["schoolsbuddy"].update(medical_fields=[]))
    assert run_only(world, "medical").success
    assert world.environment.tables.find("schoolsbuddy", "medical", SCHOOL, FIRST) is None
    assert not list((world.data / "tables/schoolsbuddy/medical").rglob("*.parquet"))
