"""A partner is one folder and one line: what the recipe in CONTRIBUTING makes delivers a night like any other."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from isams_pipeline.config.partners import KNOWN
from isams_pipeline.definitions import build_definitions
from isams_pipeline.delivery.receipts import Outcome
from isams_pipeline.errors import ConfigurationError
from isams_pipeline.partners import registry
from isams_pipeline_tests.partners import toy
from isams_pipeline_tests.world import FIRST, SCHOOL, World, rows


@pytest.fixture
def library(make: Callable[..., World], monkeypatch: pytest.MonkeyPatch) -> World:
    """A school that sends to the new partner. The one line is the first."""
    monkeypatch.setitem(registry.PARTNERS, toy.KEY, toy.PARTNER)
    world = make()
    world.configure(lambda config: config["schools"][SCHOOL]["partners"].update(library={"deliver_to": "exports"}))
    return world


def night(world: World, day: int = 0) -> Any:
    world.at_night(day, hour=6)
    return world.run(day, partner=toy.KEY)


def test_it_delivers_a_night_behind_the_same_gate(library: World):
    run = night(library)
    assert run.outcome is Outcome.DELIVERED, run.reason
    folder = library.folder / "exports" / toy.KEY / SCHOOL / str(FIRST)
    pupils = library.sandbox.day_of(SCHOOL).pupils
    assert len(rows((folder / "readers.csv").read_bytes())) == len(pupils)
    assert set(json.loads((folder / "manifest.json").read_text())["datasets"]) == {"pupils"}
    assert night(library).outcome is Outcome.UNCHANGED
    assert night(library, 1).outcome is Outcome.DELIVERED


def test_a_run_reads_what_it_needs_and_nothing_else(library: World):
    night(library)
    assert [key for key, _ in library.sandbox.schools[SCHOOL].requests] == ["students"]


def test_a_rule_of_its_own_leaves_out_and_says_why(library: World):
    years = [7, 8]
    library.configure(lambda config: config["schools"][SCHOOL]["partners"]["library"].update(years=years))
    assert night(library).outcome is Outcome.DELIVERED
    report = library.data / "reports" / toy.KEY / SCHOOL / str(FIRST) / "exclusions.csv"
    left_out = rows(report.read_bytes())
    others = [pupil for pupil in library.sandbox.day_of(SCHOOL).pupils if pupil.year not in years]
    assert {row["id"] for row in left_out} == {str(pupil.id) for pupil in others} and others
    assert {row["rule"] for row in left_out} == {"years"}


def test_job_schedule_and_assets_come_of_themselves(library: World):
    repository = build_definitions(library.environment).get_repository_def()
    assert "library_nightly" in repository.job_names
    assert [(s.name, s.cron_schedule) for s in repository.schedule_defs if s.name.startswith("library")] == [
        ("library_nightly_europe_london", "0 6 * * *")
    ]
    keys = {key.to_user_string() for key in repository.asset_graph.get_all_asset_keys()}
    assert {"library/export", "library/exclusions", "library/delivery"} <= keys


def test_settings_are_checked_like_those_of_the_others(library: World):
    library.configure(lambda config: config["schools"][SCHOOL]["partners"]["library"].update(years="7"))
    with pytest.raises(ConfigurationError, match=r"schools\.riverside\.partners\.library\.years"):
        library.environment
    assert KNOWN[toy.KEY] is toy.LibrarySettings


def test_the_recipe_is_short():
    lines = [line for line in Path(toy.__file__).read_text().splitlines() if line.strip()]
    assert len(lines) <= 70
