"""A source is a folder and a line; a dataset is a declaration; a field is a line: what the recipes make, run."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace

import pytest

from isams_pipeline import datasets
from isams_pipeline.commands.dictionary import dictionary
from isams_pipeline.commands.headless import run_job
from isams_pipeline.config import load_settings
from isams_pipeline.datasets import ATTENDANCE, DATASETS, LISTED_DATASETS, declared
from isams_pipeline.datasets.declare import Dataset, column
from isams_pipeline.datasets.school import Years
from isams_pipeline.delivery.receipts import Outcome
from isams_pipeline.errors import ConfigurationError
from isams_pipeline.orchestration.partitions import Night
from isams_pipeline.partners import registry as partners
from isams_pipeline.sandbox.server import APIS
from isams_pipeline.sources import registry
from isams_pipeline_tests.partners import toy as partner
from isams_pipeline_tests.sources import toy
from isams_pipeline_tests.world import FIRST, SCHOOL, World, rows


def test_a_new_source_serves_a_partner_from_its_first_night(
    make: Callable[..., World], monkeypatch: pytest.MonkeyPatch
):
    monkeypatch.setitem(registry.SOURCES, toy.KEY, toy.SOURCE)
    by_roll = {"isams": partner.NEEDED, toy.KEY: partner.NEEDED}
    gets = replace(partner.PARTNER.exporting, needs=by_roll)
    monkeypatch.setitem(partners.PARTNERS, partner.KEY, replace(partner.PARTNER, takes=by_roll, gets=gets))
    monkeypatch.setattr(partner.LibrarySettings, "uses", toy.KEY)
    people = [{"pupil_id": n, "school_id": f"S{n}", "surname": f"Name{n}", "year_id": 7} for n in range(1, 4)]
    monkeypatch.setitem(toy.ROLL, "pupils", people)
    world = make()
    world.configure(lambda config: config["schools"][SCHOOL].update(roll={"file": "roll.csv"}))
    world.configure(lambda config: config["schools"][SCHOOL]["partners"].update(library={"deliver_to": "exports"}))
    world.at_night(0, hour=6)
    run = world.run(0, partner=partner.KEY)
    assert run.outcome is Outcome.DELIVERED, run.reason
    delivered = world.folder / "exports" / partner.KEY / SCHOOL / str(FIRST) / "readers.csv"
    assert [row["name"] for row in rows(delivered.read_bytes())] == ["Name1", "Name2", "Name3"]
    assert world.sandbox.schools[SCHOOL].requests == [], "iSAMS is not asked for what another source gives"
    monkeypatch.setitem(toy.ROLL, "pupils", [])
    world.at_night(1, hour=6)
    refused = world.run(1, partner=partner.KEY)
    assert refused.outcome is Outcome.FAILED and "has no rows in the roll" in (refused.reason or "")


def test_settings_of_a_new_source_are_checked_like_those_of_the_others(world: World):
    world.configure(lambda config: config["schools"][SCHOOL].update(roll={"fle": "x"}))
    with pytest.raises(ConfigurationError) as caught:
        load_settings(world.config)
    assert "schools.riverside.roll.fle: unknown key" in str(caught.value)
    assert "schools.riverside.roll.file: missing" in str(caught.value)


class Clubs(Dataset):
    """Clubs. One row per form, which is what the toy takes for a club."""

    feed = "forms"
    rows = "SchoolManager/Forms/Form"

    club_id: str = column("@Id", "iSAMS's number", key=True)


def test_a_new_dataset_is_in_its_sources_job_by_itself(world: World, monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setitem(DATASETS, "clubs", declared(Clubs))
    world.at_night(0)
    run = run_job(world.environment, world.instance, "isams_datasets", Night(SCHOOL, FIRST), {})
    assert run.failures == ()
    tables = world.environment.tables
    clubs = tables.load(tables.need("isams", "clubs", SCHOOL, FIRST))
    assert list(clubs.columns) == ["club_id"] and len(clubs) > 3
    assert "## isams/clubs" in dictionary()


class YearsWithMore(Years):
    """Year groups. One row per year group."""

    year_id: int = column("@Id", "The National Curriculum year itself; negative is nursery", key=True)
    title: str | None = column("Name", "What the school calls it, again")


def test_a_new_field_is_one_line(world: World, monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setitem(DATASETS, "years", replace(declared(YearsWithMore), name="years"))
    world.at_night(0)
    assert run_job(world.environment, world.instance, "isams_datasets", Night(SCHOOL, FIRST), {}).failures == ()
    tables = world.environment.tables
    years = tables.load(tables.need("isams", "years", SCHOOL, FIRST))
    assert list(years.columns) == ["year_id", "title"] and years["title"].notna().all()


def test_no_two_datasets_of_one_name_have_different_columns():
    everything = [*DATASETS.values(), *LISTED_DATASETS.values(), ATTENDANCE]
    assert len({(one.name, tuple(one.names)) for one in everything}) == len({one.name for one in everything})
    assert datasets.SOURCE in registry.SOURCES


def test_every_source_that_is_read_list_by_list_has_a_stand_in():
    """A source without one could only be tried at a vendor's, with children's data."""
    assert registry.LISTED.keys() <= APIS.keys()
