"""A portal beside a school with joint contacts."""

from __future__ import annotations

from collections.abc import Callable

import pytest

from isams_pipeline_tests.partners.portal import Portal
from isams_pipeline_tests.world import SCHOOL, World, small_school


@pytest.fixture
def portal(make: Callable[..., World]) -> Portal:
    world = make({SCHOOL: small_school(troubles=True, nightly_joiners=0)})
    world.at_night(0, hour=16)
    return Portal(world)
