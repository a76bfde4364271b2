"""Nights of every partner against what was recorded of them: the files to the byte, and what stands in the manifest.

A change of code that is meant to change no export leaves `nights.json` as it is. One that is meant to says so by writing
it anew: `python -m pytest isams_pipeline_tests/recorded --record`.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from isams_pipeline.delivery.receipts import Outcome
from isams_pipeline.sandbox.change_requests import sample_files
from isams_pipeline_tests.partners.portal import Portal
from isams_pipeline_tests.sources.crossing import Crossing
from isams_pipeline_tests.world import SCHOOL, World, small_school

RECORDED = Path(__file__).parent / "nights.json"
STABLE = ("school", "date", "schema_version", "content_hash", "files", "changes", "datasets", "excluded", "outcome")
"""What of a manifest is the same in every run: no run id, no time."""


def recorded(name: str, found: dict[str, Any], *, record: bool) -> None:
    """Compare with what was recorded under a name, or record it."""
    kept: dict[str, Any] = json.loads(RECORDED.read_text()) if RECORDED.exists() else {}
    if record:
        RECORDED.write_text(_a_line_each(dict(sorted((kept | {name: found}).items()))))
        return
    assert found == kept[name]


def _a_line_each(nights: dict[str, dict[str, Any]]) -> str:
    """JSON with a line for each file, so that a difference can be read."""
    of = {
        name: ",\n".join(
            f"  {json.dumps(path)}: {json.dumps(what, sort_keys=True)}" for path, what in sorted(files.items())
        )
        for name, files in nights.items()
    }
    return "{\n" + ",\n".join(f" {json.dumps(name)}: {{\n{lines}\n }}" for name, lines in of.items()) + "\n}\n"


def delivered(world: World) -> dict[str, Any]:
    """All that lies at the targets: each file's hash, and the manifests' stable part."""
    found: dict[str, Any] = {}
    root = world.folder / "exports"
    for path in sorted(root.rglob("*")):
        name = path.relative_to(root).as_posix()
        if path.is_dir():
            continue
        if path.name == "manifest.json":
            manifest = json.loads(path.read_text())
            found[name] = {key: manifest[key] for key in STABLE if key in manifest}
        else:
            found[name] = hashlib.sha256(path.read_bytes()).hexdigest()
    reports = world.data / "reports"
    for path in sorted(reports.rglob("*.csv")):
        found[f"reports/{path.relative_to(reports).as_posix()}"] = hashlib.sha256(path.read_bytes()).hexdigest()
    return found


@pytest.fixture
def record(request: pytest.FixtureRequest) -> bool:
    return bool(request.config.getoption("--record"))


def test_schoolsbuddy_room_booking_and_attendance(make: Callable[..., World], record: bool):
    world = make({SCHOOL: replace(small_school(), campuses={"North": "1-9", "South": "10-14"})})
    world.bring_in_bookings()
    for day in range(2):
        assert world.night(day).outcome is Outcome.DELIVERED
        assert world.rooms(day, allow_cancellations=True).outcome is Outcome.DELIVERED
    for session, hour in (("am", 11), ("pm", 15)):
        assert world.attendance(session, 1, hour).outcome is Outcome.DELIVERED
    recorded("isams", delivered(world), record=record)


@pytest.mark.parametrize("partner", ["schoolbooking", "schoolsbuddy"])
@pytest.mark.parametrize("source", ["assembly", "xporter", "isams"])
def test_a_partner_by_each_source(make: Callable[..., World], partner: str, source: str, record: bool):
    crossing = Crossing(make({SCHOOL: replace(small_school(), sources=True)}))
    world = crossing.world
    world.configure(lambda c: c["schools"][SCHOOL]["partners"][partner].update(source=source))
    if source != "isams":
        plain = {"mail_merge": [], "medical_fields": [], "attendance": None}
        world.configure(lambda c: c["schools"][SCHOOL]["partners"]["schoolsbuddy"].update(plain))
        crossing.connect(source)
    for day in range(2):
        world.at_night(day, hour=5)
        assert world.run(day, partner=partner).outcome is Outcome.DELIVERED
    recorded(f"{partner} by {source}", delivered(world), record=record)


def test_my_school_portal(make: Callable[..., World], record: bool):
    portal = Portal(make())
    assert portal.world.night(0).outcome is Outcome.DELIVERED
    portal.world.at_night(0, hour=16)
    for name, text in sample_files(portal.school, portal.now).items():
        (portal.inbox / name).write_text(text)
    assert not portal.run().failures
    assert not portal.confirm().failures
    found = {
        request.id: {"state": request.state, "reason": request.reason, "steps": portal.steps(request.id)}
        for request in portal.desk.store.listed()
    }
    recorded("my_school_portal", found | {"puts": sorted(portal.puts)}, record=record)
