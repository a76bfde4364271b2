"""Made-up schools and real ones, the demo and the UI: what must not mix, does not."""

from __future__ import annotations

from pathlib import Path

import pytest

from isams_pipeline.commands.common import reasons
from isams_pipeline.commands.made_up import keep_apart, make_room, the_only
from isams_pipeline.config import load_settings
from isams_pipeline.errors import WrongUse
from isams_pipeline.orchestration.failures import together
from isams_pipeline.sandbox.demo import MADE_UP
from isams_pipeline_tests.world import World


def test_a_real_school_does_not_deliver_into_a_demos_exports(world: World, tmp_path: Path):
    (tmp_path / "shared/demo").mkdir(parents=True)
    (tmp_path / "shared/demo/schools.yaml").write_text(MADE_UP)
    world.configure(
        lambda c: c["schools"]["riverside"]["partners"]["schoolsbuddy"].update(
            deliver_to=str(tmp_path / "shared/exports")
        )
    )
    with pytest.raises(WrongUse, match="next demo would clear it"):
        keep_apart(tmp_path / "real", load_settings(world.config))


def test_a_sandboxs_schools_keep_to_their_own_folder(world: World, tmp_path: Path):
    for place, own in (("sandbox", "sandbox/data"), ("demo", "")):
        config = tmp_path / place / "schools.yaml"
        config.parent.mkdir()
        config.write_text(MADE_UP + world.config.read_text())
        with pytest.raises(WrongUse, match="is a sandbox's or demo's"):
            keep_apart(tmp_path / "real", load_settings(config))
        keep_apart(tmp_path / own, load_settings(config))


def test_a_demo_clears_an_earlier_demo_and_nothing_else(tmp_path: Path):
    (tmp_path / "exports/schoolsbuddy/riverside").mkdir(parents=True)
    with pytest.raises(WrongUse, match="history of a real school"):
        make_room(tmp_path)
    (tmp_path / "demo").mkdir()
    (tmp_path / "demo/schools.yaml").write_text(MADE_UP)
    (tmp_path / "mine.txt").write_text("kept")
    make_room(tmp_path)
    assert [path.name for path in tmp_path.iterdir()] == ["mine.txt"]


def test_only_one_serves_from_a_folder(tmp_path: Path):
    with (
        the_only("A UI", tmp_path),
        pytest.raises(WrongUse, match="A UI is already running"),
        the_only("A UI", tmp_path),
    ):
        pass
    with the_only("A UI", tmp_path):
        assert (tmp_path / ".served").exists()


def test_one_cause_is_said_once():
    said = together(
        [
            "The key may not run X (school riverside, key students). Tick it.",
            "iSAMS cannot be reached (school riverside, key students). Check it.",
            "iSAMS cannot be reached (school riverside, key staff). Check it.",
            "key a: as of 02:00",
            "key b: as of 02:00",
            "Something else.",
            "Something else.",
        ]
    )
    assert said == [
        "The key may not run X (school riverside, key students). Tick it.",
        "iSAMS cannot be reached (school riverside, keys students, staff). Check it.",
        "keys a, b: as of 02:00",
        "Something else.",
    ]


def test_reasons_are_not_cut_inside_a_sentence():
    assert reasons("schema: a is wrong; look at it; references: b\nAnd so on; it says") == [
        "schema: a is wrong; look at it",
        "references: b",
        "And so on; it says",
    ]
