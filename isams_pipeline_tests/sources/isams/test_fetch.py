"""A night's snapshots: which key is asked, which answer counts, and what a key may be spared."""

from __future__ import annotations

from datetime import timedelta
from typing import Any

import pytest

from isams_pipeline.config.feeds import FEEDS
from isams_pipeline.errors import MethodsNotAllocated
from isams_pipeline.sources.isams.connect import batch_client
from isams_pipeline.sources.isams.fetch import NightFetcher
from isams_pipeline_tests.world import FIRST, SCHOOL, World


def fetcher(world: World, **options: Any) -> NightFetcher:
    environment = world.environment
    return NightFetcher(
        SCHOOL,
        environment.settings.school(SCHOOL),
        FIRST,
        archive=environment.archive,
        client_for=lambda key: batch_client(environment.access(SCHOOL), key),
        clock=environment.clock,
        **options,
    )


def asked(world: World) -> list[str]:
    return [key for key, _ in world.sandbox.schools[SCHOOL].requests]


def test_each_key_is_asked_for_its_own_feeds_once(world: World):
    night = fetcher(world)
    keys = world.environment.settings.school(SCHOOL).need_isams.keys
    for feed in ("pupils", "contacts", "pupils", "siblings"):
        snapshot = night.snapshot(feed)
        assert snapshot is not None and snapshot.covers(FEEDS[feed].methods)
        assert feed in keys[snapshot.key].feeds, "a key's answer stands for its own feeds only"
    assert asked(world) == ["students", "contacts"]


def test_of_two_answers_within_the_cache_hours_the_newer_one_counts(world: World):
    first = fetcher(world).snapshot("pupils")
    world.sandbox.forget_answers()
    world.sandbox.schools[SCHOOL].edits.pupils[world.sandbox.day_of(SCHOOL).pupils[0].school_id] = {
        "forename": "Otherwise"
    }
    world.sandbox._days.clear()
    world.moment[0] += timedelta(minutes=20)
    second = fetcher(world, fresh=True).snapshot("pupils")
    assert first is not None and second is not None and first.sha256 != second.sha256
    world.moment[0] += timedelta(minutes=20)
    again = fetcher(world).snapshot("pupils")
    assert again is not None and again.sha256 == second.sha256
    assert asked(world) == ["students", "students"], "the third asked nobody"


def without(world: World, feed: str) -> list[str]:
    """Take a feed's method from the key that brings it."""
    key = world.environment.settings.school(SCHOOL).need_isams.key_for(feed)
    theirs = next(one for one in world.sandbox.schools[SCHOOL].keys if one.name == key)
    theirs.methods = tuple(method for method in theirs.methods if method != FEEDS[feed].method)
    return list(theirs.methods)


@pytest.mark.parametrize("feed", ["pupils", "siblings", "years", "terms"])
def test_a_method_that_cannot_be_spared_is_missed_however_many_others_there_are(world: World, feed: str):
    assert without(world, feed)
    with pytest.raises(MethodsNotAllocated) as caught:
        fetcher(world).snapshot(feed)
    assert FEEDS[feed].method.casefold() in caught.value.methods
