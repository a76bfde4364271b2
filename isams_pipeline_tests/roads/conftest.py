"""Schools with other roads."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace

import pytest

from isams_pipeline_tests.roads.crossing import Crossing
from isams_pipeline_tests.world import SCHOOL, World, small_school


@pytest.fixture
def crossing(make: Callable[..., World]) -> Crossing:
    """One small school with three roads, none of them connected."""
    return Crossing(make({SCHOOL: replace(small_school(), roads=True)}))


@pytest.fixture(params=["assembly", "xporter"])
def source(request: pytest.FixtureRequest) -> str:
    """Each of the other roads."""
    found: str = request.param
    return found


@pytest.fixture
def road(crossing: Crossing, source: str) -> Crossing:
    """The same, connected by the road in question."""
    crossing.connect(source)
    return crossing
