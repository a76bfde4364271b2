"""Schools with other sources."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from typing import Any

import pytest

from isams_pipeline.sources.assembly import client as assembly_client
from isams_pipeline.sources.shared.wire import Wire
from isams_pipeline.sources.xporter import client as xporter_client
from isams_pipeline_tests.sources.crossing import Crossing
from isams_pipeline_tests.world import SCHOOL, World, small_school


@pytest.fixture
def crossing(make: Callable[..., World]) -> Crossing:
    """One small school with three sources, none of them connected."""
    return Crossing(make({SCHOOL: replace(small_school(), sources=True)}))


@pytest.fixture(params=["assembly", "xporter"])
def source(request: pytest.FixtureRequest) -> str:
    """Each of the other sources."""
    found: str = request.param
    return found


@pytest.fixture
def connected(crossing: Crossing, source: str) -> Crossing:
    """The same, connected by the source in question."""
    crossing.connect(source)
    return crossing


@pytest.fixture
def small_pages(monkeypatch: pytest.MonkeyPatch) -> None:
    """Ten rows a page."""
    monkeypatch.setattr(assembly_client, "PER_PAGE", 10)
    monkeypatch.setattr(xporter_client, "PAGE_SIZE", 10)


@pytest.fixture
def distort(monkeypatch: pytest.MonkeyPatch) -> Callable[[str, Callable[[Any], Any]], None]:
    """Changes what a path answers."""

    def change(end: str, how: Callable[[Any], Any]) -> None:
        plain = Wire.json

        def other(self: Wire, response: Any, path: str) -> Any:
            found = plain(self, response, path)
            is_status = "onlygetDBStatus" in str(response.request.url)
            return how(found) if path.rstrip("/").endswith(end) and not is_status else found

        monkeypatch.setattr(Wire, "json", other)

    return change
