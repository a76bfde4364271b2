"""Who is erased is in no list and table of another source any more, and the next night does not bring them back."""

from __future__ import annotations

from datetime import timedelta

from isams_pipeline.orchestration.rights.erasure import erase
from isams_pipeline.orchestration.rights.identity import identify
from isams_pipeline.partners.registry import PARTNERS
from isams_pipeline_tests.sources.crossing import Crossing
from isams_pipeline_tests.sources.test_schoolbooking import by, night
from isams_pipeline_tests.test_erasure import WHY, holding, own_values
from isams_pipeline_tests.world import FIRST, SCHOOL


def test_a_pupil_is_in_no_list_any_more_and_stays_out(connected: Crossing, source: str):
    by(connected, source)
    world = connected.world
    for day in range(2):
        assert night(connected, day) == "delivered"
    tables = world.environment.tables
    frame = tables.load(tables.need(source, "pupils", SCHOOL, FIRST))
    key = frame["pupil_id"].iloc[2]
    needles = own_values(
        frame, "pupil_id", key, *(name for name in ("pupil_id", "school_id", "email") if name in frame)
    )
    assert needles and list(holding(world, *needles))
    people = [one for one in identify(world.environment, SCHOOL, f"pupil:{key}") if one.source == source]
    done = erase(world.environment, SCHOOL, people, PARTNERS.values(), **WHY, at_partners=True)
    assert not done.failed and not done.still and done.counts["lists"] > 0
    assert not list(holding(world, *needles))
    assert night(connected, 2) in {"delivered", "unchanged"}
    assert not list(holding(world, *needles))
    after = tables.load(tables.need(source, "pupils", SCHOOL, FIRST + timedelta(days=2)))
    assert key not in set(after["pupil_id"])
