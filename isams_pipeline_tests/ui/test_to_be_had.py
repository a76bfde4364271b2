"""What is launched in the UI has only nights that can be had: today's, and those of which something is kept."""

from __future__ import annotations

import dataclasses
from collections.abc import Sequence
from datetime import date, timedelta

import dagster as dg
import pytest
from dagster._core.execution.backfill import BulkActionStatus, PartitionBackfill

from isams_pipeline.commands.ui_server import guard_launches
from isams_pipeline.definitions import build_definitions
from isams_pipeline.delivery.receipts import Outcome
from isams_pipeline.errors import WrongUse
from isams_pipeline.orchestration.partitions import Night, key_of
from isams_pipeline.orchestration.ui.to_be_had import LEFT_OUT, ToBeHad, without_lost
from isams_pipeline.sources import isams
from isams_pipeline_tests.world import FIRST, SCHOOL, World

# What Dagster's web server calls to make a backfill warns of a name that Dagster itself still uses.
pytestmark = pytest.mark.filterwarnings("ignore:Function `AssetSelection.sources`:DeprecationWarning")
CONTACTS, PUPILS = dg.AssetKey(["isams", "contacts"]), dg.AssetKey(["isams", "pupils"])
RULE = dg.AssetKey(["schoolsbuddy", "contacts"])


def key(day: int, school: str = SCHOOL) -> str:
    return str(key_of(Night(school, FIRST + timedelta(days=day))))


@pytest.fixture
def third(world: World) -> World:
    """It is the third day; the first night was run."""
    assert world.night(0).outcome is Outcome.DELIVERED
    world.at_night(2)
    return world


def of_assets(world: World, keys: Sequence[str], *assets: dg.AssetKey) -> PartitionBackfill:
    """A backfill as the UI makes it of assets and their partitions."""
    graph = build_definitions(world.environment).get_repository_def().asset_graph
    return PartitionBackfill.from_asset_partitions(
        backfill_id="x",
        asset_graph=graph,
        partition_names=list(keys),
        asset_selection=list(assets),
        backfill_timestamp=0.0,
        tags={},
        dynamic_partitions_store=world.instance,
        all_partitions=False,
        title=None,
        description=None,
        run_config=None,
    )


def partitions(backfill: PartitionBackfill, asset: dg.AssetKey) -> set[str]:
    assert backfill.asset_backfill_data is not None
    subset = backfill.asset_backfill_data.target_subset.partitions_subsets_by_asset_key[asset]
    return {str(one) for one in subset.get_partition_keys()}


def test_all_missing_leaves_out_what_could_only_fail(third: World):
    chosen = [key(day) for day in (-30, -1, 0, 1, 2)]
    left = without_lost(of_assets(third, chosen, CONTACTS, PUPILS), ToBeHad(third.environment))
    assert partitions(left, CONTACTS) == partitions(left, PUPILS) == {key(0), key(2)}, "what is kept, and today"
    assert left.tags[LEFT_OUT] == "3 nights that cannot be had"


def test_rules_alone_are_left_as_chosen(third: World):
    """They read stored tables, and say by themselves where there are none."""
    backfill = of_assets(third, [key(-1), key(0)], RULE)
    assert without_lost(backfill, ToBeHad(third.environment)) is backfill


def test_nothing_but_lost_nights_is_refused_with_the_first(third: World):
    with pytest.raises(WrongUse, match=rf"2 nights, {FIRST - timedelta(days=9)} of {SCHOOL} the first"):
        without_lost(of_assets(third, [key(-9), key(1)], CONTACTS), ToBeHad(third.environment))


def test_a_backfill_of_a_job_likewise(third: World):
    nights = [key(-1), key(0)]
    backfill = PartitionBackfill("x", BulkActionStatus.REQUESTED, False, {}, 0.0, partition_names=nights)
    reading = backfill._replace(asset_selection=[CONTACTS])
    assert without_lost(reading, ToBeHad(third.environment)).partition_names == [key(0)]
    other = backfill._replace(asset_selection=[dg.AssetKey(["sources", "reconciliation"])])
    assert without_lost(other, ToBeHad(third.environment)) is other


def test_before_the_schools_own_first_night_nothing_can_be_had(third: World):
    third.configure(lambda c: c["schools"][SCHOOL].update(first_night=FIRST + timedelta(days=1)))
    to_be_had = ToBeHad(third.environment)
    assert not to_be_had(key(0))
    third.configure(lambda c: c["schools"][SCHOOL].update(first_night=FIRST + timedelta(days=3)))
    assert not ToBeHad(third.environment)(key(2)), "nor today, before it"
    assert to_be_had(key(2)) and to_be_had("2026-02-10") and to_be_had(key(0, "elsewhere"))


def test_registers_that_were_read_can_be_had_again(third: World):
    """Of them only tables are kept."""
    assert not ToBeHad(third.environment)(key(1))
    day = FIRST + timedelta(days=1)
    dataset = next(iter(isams.REST.datasets))
    folder = third.data / "tables/isams_rest" / dataset / SCHOOL
    folder.mkdir(parents=True)
    (folder / f"{day}.json").write_text("{}")
    assert ToBeHad(third.environment)(key(1))


def test_the_launch_of_one_run_is_refused(third: World):
    job = build_definitions(third.environment).resolve_job_def("schoolsbuddy_nightly")
    to_be_had = ToBeHad(third.environment)
    guard_launches(third.instance, lambda: to_be_had)
    with pytest.raises(WrongUse, match="the sources only know today"):
        third.instance.create_run_for_job(job, tags={"dagster/partition": key(-1)})
    assert third.instance.create_run_for_job(job, tags={"dagster/partition": key(0)})


def test_the_look_at_all_schools_asks_for_no_date_before_the_first(world: World):
    """On the first day yesterday is no partition, and a tick that asks for one asks for nothing."""
    schools = list(world.environment.settings.schools)
    world.configure(lambda c: [c["schools"][name].update(first_night=FIRST) for name in schools])
    world.at_night(0)
    definitions = build_definitions(world.environment)
    (sensor,) = [one for one in definitions.sensors or () if getattr(one, "name", "") == "tonight_current"]
    assert isinstance(sensor, dg.SensorDefinition)
    with dg.build_sensor_context(
        instance=world.instance,
        resources={"environment": world.environment},
        repository_def=definitions.get_repository_def(),
    ) as context:
        asked = sensor.evaluate_tick(context).run_requests or []
    assert [request.partition_key for request in asked] == [str(FIRST)]


# --- a school's own first night ------------------------------------------------------------------------------


def test_partitions_begin_with_the_first_night_of_any_school_once_all_have_one(world: World):
    settings = world.environment.settings
    assert settings.first_date == settings.history_from
    first = date(2026, 2, 5)
    schools = {
        name: school.model_copy(update={"first_night": first + timedelta(days=at)})
        for at, (name, school) in enumerate(settings.schools.items())
    }
    assert settings.model_copy(update={"schools": schools}).first_date == first
    early = schools | {SCHOOL: schools[SCHOOL].model_copy(update={"first_night": date(2020, 1, 1)})}
    assert settings.model_copy(update={"schools": early}).first_date == settings.history_from, "history stays a bound"
    assert settings.model_copy(update={"schools": early}).first_night_of(SCHOOL) == settings.history_from


def test_schedules_and_the_look_at_all_schools_begin_with_it(world: World):
    from isams_pipeline.orchestration.tonight import standings

    world.configure(lambda c: c["schools"][SCHOOL].update(first_night=FIRST + timedelta(days=3)))
    world.at_night(2)
    definitions = build_definitions(world.environment)
    schedule = definitions.resolve_schedule_def("schoolsbuddy_nightly_europe_london")
    resources = {"environment": world.environment}

    def ticked() -> list[str | None]:
        with dg.build_schedule_context(
            instance=world.instance,
            scheduled_execution_time=world.moment[0],
            resources=resources,
            repository_def=definitions.get_repository_def(),
        ) as context:
            return [request.partition_key for request in schedule.evaluate_tick(context).run_requests or []]

    assert key(2) not in ticked()
    assert all(one.school != SCHOOL for one in standings(world.environment, world.instance, FIRST + timedelta(days=2)))
    world.at_night(3)
    assert key(3) in ticked()
    assert any(one.school == SCHOOL for one in standings(world.environment, world.instance, FIRST + timedelta(days=3)))


def test_kept_is_asked_once_a_school(third: World, monkeypatch: pytest.MonkeyPatch):
    """A backfill of many nights lists each school's folder once."""
    asked: list[str] = []
    archive = type(third.environment.archive)
    before = archive.nights
    monkeypatch.setattr(archive, "nights", lambda self, school: asked.append(school) or before(self, school))
    to_be_had = ToBeHad(dataclasses.replace(third.environment))
    assert [to_be_had(key(day)) for day in (0, -1, -2)] == [True, False, False] and asked == [SCHOOL]
