"""What other settings would do, against a night's own rules; and what photos cost in requests."""

from __future__ import annotations

import contextlib
import gc
import tempfile
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

PARTNER = "schoolsbuddy"


@contextlib.contextmanager
def _nights(pupils: str, **settings: Any) -> Iterator[Any]:
    """A school of that size of which a night was run."""
    from isams_pipeline.sandbox.server import serving
    from isams_pipeline_tests.world import SCHOOL, make_world, small_school

    with contextlib.ExitStack() as stack, tempfile.TemporaryDirectory() as folder:
        school = small_school(pupils=int(pupils), subjects=8, troubles=True, nightly_joiners=2)
        world = make_world(Path(folder), {SCHOOL: school}, lambda app: stack.enter_context(serving(app)))
        if settings:
            world.configure(lambda config: config["schools"][SCHOOL]["partners"][PARTNER].update(settings))
        run = world.night(0)
        assert run.outcome == "delivered", run.reason
        # What the night has left in memory is no part of what is measured: a collection would look through all of it.
        gc.collect()
        gc.freeze()
        yield world
        world.close()


def what_if_ours(pupils: str) -> float:
    """The command's work: the tables, the rules with the settings that are and with others, the gate, the difference."""
    from isams_pipeline.config import load_settings
    from isams_pipeline.delivery.differences import difference
    from isams_pipeline.orchestration.trials import behind, judged, makes
    from isams_pipeline.partners import schoolsbuddy
    from isams_pipeline_tests.world import SCHOOL

    with _nights(pupils) as world:
        place = ("schools", SCHOOL, "partners", PARTNER, "contact_types")
        started = time.perf_counter()
        changed = load_settings(world.config, {place: ["Mother", "Father", "Guardian"]})
        given = behind(world.environment, SCHOOL, schoolsbuddy.PARTNER)
        other = changed.school(SCHOOL).partners.exporting[PARTNER]
        made = makes(schoolsbuddy.PARTNER, given)
        now, then = made(), made(other)
        judged(schoolsbuddy.PARTNER, given, then, other, given.night.date)
        found = difference(now.built, then.built, schoolsbuddy.PARTNER.exporting.files)
        took = time.perf_counter() - started
        assert found.files and found.rules and found.years
        return took


def rules_of_a_night(pupils: str) -> float:
    """What the rules cost in a night: the export's step without Dagster, and the gate, which evaluates them again."""
    from isams_pipeline.orchestration.deliveries import deliver
    from isams_pipeline.orchestration.exports import prepared
    from isams_pipeline.orchestration.partitions import Night
    from isams_pipeline.orchestration.pins import as_pins, snapshots_of
    from isams_pipeline.partners import schoolsbuddy
    from isams_pipeline_tests.world import FIRST, SCHOOL

    with _nights(pupils) as world:
        night = Night(SCHOOL, FIRST)
        started = time.perf_counter()
        behind, made = prepared(world.environment, schoolsbuddy.PARTNER, night)
        assert made.verdicts and behind.pins
        stage = world.environment.staged(PARTNER, SCHOOL)
        stage.stage(
            FIRST,
            made.built.export,
            datasets=as_pins(behind.pins, made.built),
            snapshots=snapshots_of(behind.pins),
            excluded=made.built.excluded_per_file(),
            unaccounted=made.built.unaccounted,
            places=made.built.places,
        )
        assert (
            deliver(world.environment, schoolsbuddy.PARTNER, night, "a benchmark", allow_removals=False).outcome
            == "unchanged"
        )
        return time.perf_counter() - started


def photos_asked_for(pupils: str) -> dict[str, float]:
    """Requests of a first night with photos, of one on which some have changed, and how many those are."""
    from datetime import timedelta

    from isams_pipeline.sandbox.photos import photo_id
    from isams_pipeline.sandbox.school import SchoolDay
    from isams_pipeline_tests.world import FIRST, SCHOOL

    with _nights(pupils, photos="rest", photos_client="portal") as world:
        requests = world.sandbox.schools[SCHOOL].rest_requests
        first = len(requests)
        requests.clear()
        assert world.night(1).outcome == "delivered"
        days = [SchoolDay(world.schools[SCHOOL].plan, FIRST + timedelta(days=n)) for n in (0, 1)]
        before, now = ({p.id: photo_id(day, p) for p in day.pupils} for day in days)
        changed = sum(number is not None and before.get(pupil) != number for pupil, number in now.items())
        having = sum(number is not None for number in before.values())
        return {"first": first, "second": len(requests), "having": having, "changed": changed}


def report(add: Any, measure: Any, pairs: Any, count: int) -> None:
    from statistics import median

    ours, theirs, _ = pairs(count, ("what_if_ours", "1500"), ("rules_of_a_night", "1500"))
    ratio = median(a / b for a, b in zip(ours, theirs, strict=True))
    detail = f"1,500 pupils, SchoolsBuddy; medians {median(ours):.2f} s and {median(theirs):.2f} s"
    add("a what-if / what the rules cost in a night", ratio, "at most 1", ratio <= 1, detail)
    told = measure("photos_asked_for", "1500")[0]
    ratio = (told["first"] - told["having"]) / max(1, told["having"])
    detail = f"{told['first']:.0f} requests for {told['having']:.0f} photos of 1,500 pupils"
    few = told["first"] - told["having"] <= 2
    add("requests of a first night with photos, beside one a photo", ratio, "the list's pages", few, detail)
    ratio = told["second"] / told["first"]
    just = told["second"] - told["changed"] <= 2
    detail = f"{told['second']:.0f} requests, {told['changed']:.0f} photos were new or others"
    add("requests of the next night / of the first", ratio, "the list's pages, and what changed", just, detail)
