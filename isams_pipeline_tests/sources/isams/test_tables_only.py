"""`archive: tables_only`: iSAMS's answers go once their tables are stored, and nights are still made again from these."""

from __future__ import annotations

from datetime import timedelta
from pathlib import Path

import pytest

from isams_pipeline.delivery.receipts import Outcome
from isams_pipeline.orchestration.retention import pass_over
from isams_pipeline.partners.registry import PARTNERS
from isams_pipeline_tests.world import FIRST, SCHOOL, World


def keys_of(world: World) -> dict[str, dict[str, object]]:
    found: dict[str, dict[str, object]] = {}
    world.configure(lambda config: found.update(config["schools"][SCHOOL]["isams"]["keys"]))
    return found


def answers(world: World, day: int = 0) -> dict[str, bool]:
    """Key → whether its answer's bytes are there."""
    archive = world.environment.archive
    objects = world.data / "archive" / SCHOOL / "objects"
    found: dict[str, bool] = {}
    for snapshot in archive.of_night(SCHOOL, FIRST + timedelta(days=day)):
        is_there = (objects / f"{snapshot.sha256}.xml.zst").exists()
        assert is_there is snapshot.kept
        found[snapshot.key] = is_there
    return found


def medical_key(world: World) -> str:
    return next(name for name, key in keys_of(world).items() if "medical" in key["feeds"])  # type: ignore[operator]


def test_answers_about_health_are_not_kept_unless_somebody_says_so(world: World):
    name = medical_key(world)
    run = world.night(0)
    assert run.outcome is Outcome.DELIVERED
    kept = answers(world)
    assert not kept.pop(name) and all(kept.values())
    world.configure(lambda c: c["schools"][SCHOOL]["isams"]["keys"][name].update(archive="whole"))
    world.night(1)
    assert answers(world, 1)[name]


def test_a_night_is_run_again_from_its_tables(world: World):
    keys = keys_of(world)
    world.configure(
        lambda c: [key.update(archive="tables_only") for key in c["schools"][SCHOOL]["isams"]["keys"].values()]
    )
    world.night(0)
    first = world.export(0)
    gone = {name for name, is_there in answers(world).items() if not is_there}
    assert gone >= {medical_key(world)} and gone <= set(keys)
    world.night(1)
    again = world.run(0)
    assert again.outcome is Outcome.UNCHANGED and world.export(0) == first
    within = world.run(1)  # the same night, within the keys' cache hours
    assert within.outcome is Outcome.UNCHANGED


def test_an_answer_that_made_no_table_stays(world: World):
    name = next(name for name, key in keys_of(world).items() if "contacts" in key["feeds"])  # type: ignore[operator]
    world.configure(lambda c: c["schools"][SCHOOL]["isams"]["keys"][name].update(archive="tables_only"))
    world.night(0)
    tables = world.environment.tables
    night = FIRST + timedelta(days=1)
    world.night(1)
    assert not answers(world, 1)[name]
    for dataset in ("contacts", "contact_pupils"):
        tables.remove("isams", dataset, SCHOOL, night)
    run = world.run(1)
    assert run.outcome is Outcome.FAILED and "only tables were kept" in str(run.reason)
    assert f"isams.keys.{name}.archive: whole" in str(run.reason)


def test_the_same_bytes_stay_for_a_night_that_keeps_them(world: World):
    name = next(name for name, key in keys_of(world).items() if "staff" in key["feeds"])  # type: ignore[operator]
    world.night(0)
    world.configure(lambda c: c["schools"][SCHOOL]["isams"]["keys"][name].update(archive="tables_only"))
    world.night(1)
    archive = world.environment.archive
    before, now = (
        next(s for s in archive.of_night(SCHOOL, FIRST + timedelta(days=day)) if s.key == name) for day in (0, 1)
    )
    assert before.kept and (before.sha256 != now.sha256 or Path(world.data / "archive" / SCHOOL / "objects").exists())
    with archive.open(before) as stream:
        assert len(stream.read()) == before.size


def test_what_a_broken_off_run_left_ends_with_the_next_pass(world: World, monkeypatch: pytest.MonkeyPatch):
    from isams_pipeline.sources.isams.night import NightReader

    name = medical_key(world)
    with monkeypatch.context() as patch:
        patch.setattr(NightReader, "close", lambda _: None)
        world.night(0)
    assert answers(world)[name]
    world.at_night(1, hour=12)
    done = pass_over(world.environment, world.instance, SCHOOL, PARTNERS.values(), for_real=True)
    assert done.counts == {"archive": {"files": 1}} and not answers(world)[name]
