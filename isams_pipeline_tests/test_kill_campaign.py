"""Sixty kills a day, at random and at every kind of write, rename and commit: the next run ends as a clean one would.

Seeded by the day; a failure names partner, place and seed.
"""

from __future__ import annotations

import json
import os
import random
import shutil
import sqlite3
import subprocess
import sys
from collections.abc import Callable, Iterator
from dataclasses import dataclass, replace
from datetime import date
from pathlib import Path
from typing import Any

import pytest

from isams_pipeline.partners.my_school_portal.ledger import verify
from isams_pipeline.partners.my_school_portal.store import ChangeStore
from isams_pipeline.sandbox.demo import secrets_of
from isams_pipeline.storage.state import StateDatabase
from isams_pipeline_tests.partners.portal import Portal
from isams_pipeline_tests.sources.crossing import Crossing
from isams_pipeline_tests.test_commands import ROOT
from isams_pipeline_tests.world import SCHOOL, World, small_school

SEED = date.today().toordinal()  # any day will do
KILLS = 15
"""Of each partner."""


@dataclass
class Campaign:
    """One job of one small school, killed again and again, each time from the same beginning."""

    world: World
    job: str
    driver: subprocess.Popen[str]

    def run(self, folder: Path, **how: Any) -> dict[str, Any]:
        """Run the job over a folder."""
        asked = {
            "config": str(folder / "schools.yaml"),
            "data": str(folder / "data"),
            "now": self.world.moment[0].isoformat(),
            "school": SCHOOL,
            "job": self.job,
        }
        assert self.driver.stdin is not None and self.driver.stdout is not None
        self.driver.stdin.write(json.dumps(asked | how) + "\n")
        self.driver.stdin.flush()
        told: dict[str, Any] = json.loads(self.driver.stdout.readline())
        return told

    def begun(self, name: str) -> Path:
        """A folder as it was before the first run."""
        folder = self.world.folder / name
        folder.mkdir()
        shutil.copytree(self.world.data, folder / "data")
        shutil.copy(self.world.config, folder / "schools.yaml")
        return folder

    def kills(self, events: int) -> Iterator[dict[str, Any]]:
        """Where to die: spread over all places, before and after each, and a few at any moment."""
        rng = random.Random(f"{SEED}/{self.job}")
        places = [round(2 + at * (2 * events - 1) / (KILLS - 5)) for at in range(KILLS - 5)]
        for place in places:
            yield {"die_at": place + rng.randint(0, 1)}
        for number in range(5):
            yield {"die_after": 1.5, "seed": f"{SEED}/{number}"}


@pytest.fixture
def campaign(make: Callable[..., World]) -> Iterator[Callable[[World, str], Campaign]]:
    """Starts campaigns."""
    drivers: list[subprocess.Popen[str]] = []

    def start(world: World, job: str) -> Campaign:
        world.close()
        env = {
            "PYTHONPATH": str(ROOT),
            "PATH": os.environ["PATH"],
            **secrets_of(world.sandbox),
        }
        driver = subprocess.Popen(
            [sys.executable, "-m", "isams_pipeline_tests.killed"],
            env=env,
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=subprocess.DEVNULL,
            text=True,
        )
        drivers.append(driver)
        return Campaign(world, job, driver)

    yield start
    for driver in drivers:
        assert driver.stdin is not None and driver.stdout is not None
        driver.stdin.close()
        driver.wait(30)
        driver.stdout.close()


def delivered(folder: Path) -> dict[str, bytes]:
    """What a partner would read; a manifest's times and runs differ from one run to another."""
    files = {str(p.relative_to(folder / "exports")): p for p in (folder / "exports").rglob("*") if p.is_file()}
    return {name: path.read_bytes() for name, path in files.items() if not name.endswith("manifest.json")}


def left_behind(folder: Path) -> list[str]:
    return [str(path.relative_to(folder)) for path in folder.rglob(".incoming-*")]


def stored(folder: Path, *tables: str) -> dict[str, list[Any]]:
    """Rows of the state database, without what counts up and the times."""
    with sqlite3.connect(folder / "data/state.sqlite") as connection:
        connection.row_factory = sqlite3.Row
        return {
            name: sorted(
                repr([row[k] for k in row.keys() if k not in {"id", "number"} and not k.endswith("_at")])  # noqa: SIM118
                for row in connection.execute(f"SELECT * FROM {name}")  # our own names
            )
            for name in tables
        }


def outbox(folder: Path) -> set[str]:
    return {path.name for path in (folder / "data/outbox").rglob("*.eml")}


@pytest.mark.campaign
@pytest.mark.parametrize("partner", ["schoolsbuddy", "room_booking", "schoolbooking"])
def test_a_killed_night_ends_as_a_clean_one_would(
    make: Callable[..., World], campaign: Callable[[World, str], Campaign], partner: str
):
    world = make({SCHOOL: replace(small_school(), sources=partner == "schoolbooking")})
    if partner == "schoolbooking":
        Crossing(world).connect("assembly")
    world.at_night(0, hour=3)
    if partner == "room_booking":
        world.bring_in_bookings()
    world.environment.state.close()
    world.data.mkdir(exist_ok=True)
    hunted = campaign(world, partner)
    clean = hunted.begun("clean")
    told = hunted.run(clean)
    assert told["said"] == "delivered" and told["events"] > 20, told
    tables = ("booking", "booking_entry", "notification") if partner == "room_booking" else ()
    names = _tables(clean)
    tables = tuple(name for name in names if name.startswith(("booking", "notification")))
    killed = 0
    for number, how in enumerate(hunted.kills(told["events"])):
        folder = hunted.begun(f"trial{number}")
        killed += hunted.run(folder, **how)["killed"]
        again = hunted.run(folder)
        place = f"{partner} {how} (seed {SEED})"
        assert again.get("said") in {"delivered", "unchanged"}, f"{place}: {again}"
        assert delivered(folder) == delivered(clean), place
        assert left_behind(folder) == [], place
        assert stored(folder, *tables) == stored(clean, *tables), place
        assert outbox(folder) == outbox(clean), place
        shutil.rmtree(folder)
    assert killed >= KILLS - 5


def _tables(folder: Path) -> list[str]:
    with sqlite3.connect(folder / "data/state.sqlite") as connection:
        return [row[0] for row in connection.execute("SELECT name FROM sqlite_master WHERE type = 'table'")]


@pytest.mark.campaign
def test_a_killed_change_is_written_once(make: Callable[..., World], campaign: Callable[[World, str], Campaign]):
    world = make()
    portal = Portal(world)
    contact = portal.contact()
    ledger_of: list[list[str]] = []
    hunted: Campaign | None = None
    events, number = 60, 0
    rng = random.Random(SEED)
    old = str(contact.email)
    for number in range(KILLS + 1):
        new = f"trial{number}@example.org"
        asked = portal.about_guardian({"emailAddress": new}, to=contact)
        asked["seen"] = {"emailAddress": old}
        (portal.inbox / "a.json").write_text(json.dumps(asked))
        hunted = hunted or campaign(world, "my_school_portal_changes")
        folder = hunted.begun(f"trial{number}")
        (portal.inbox / "a.json").unlink()
        puts = len(portal.puts)
        if number == 0:
            told = hunted.run(folder)
            events = told["events"]
            assert told["said"] == "done", told
        else:
            how = {"die_at": 2 + round(number * 2 * events / KILLS) + rng.randint(0, 1)} if number % 3 else {}
            hunted.run(folder, **(how or {"die_after": 1.0, "seed": f"{SEED}/{number}"}))
            again = hunted.run(folder)
            assert again.get("said") == "done", (number, again)
        assert len(portal.puts) - puts == 1, f"written once, killed at {number} (seed {SEED})"
        state = StateDatabase.open(folder / "data", None)
        store = ChangeStore(state, SCHOOL, lambda: portal.now)
        assert store.find("R1").state == "applied"
        lines = store.ledger("R1")
        assert verify(lines).holds and verify(lines).lines == store.verify().lines
        ledger_of.append([line.step for line in lines])
        assert [step for step in ledger_of[-1] if step in ledger_of[0]][: len(ledger_of[0])] or number == 0
        assert {"received", "approved", "intended", "applied"} <= set(ledger_of[-1])
        assert ledger_of[-1].count("applied") == ledger_of[-1].count("received") == ledger_of[-1].count("approved") == 1
        state.close()
        assert left_behind(folder) == []
        shutil.rmtree(folder)
        old = new
