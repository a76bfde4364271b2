"""What a night costs beside its run: the shell around it, the nights before it, the room that it takes."""

from __future__ import annotations

import contextlib
import os
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator
from datetime import UTC, datetime, timedelta
from pathlib import Path
from statistics import median
from typing import Any

ROOT = Path(__file__).parent.parent
MEGABYTE = 1 << 20


@contextlib.contextmanager
def _world(pupils: int) -> Iterator[Any]:
    """A school in which nothing changes from night to night."""
    from isams_pipeline.sandbox.server import serving
    from isams_pipeline_tests.world import SCHOOL, make_world, small_school

    with contextlib.ExitStack() as stack, tempfile.TemporaryDirectory() as folder:
        school = small_school(pupils=pupils, subjects=8, troubles=True, nightly_joiners=0)
        world = make_world(Path(folder), {SCHOOL: school}, lambda app: stack.enter_context(serving(app)))
        still = world.moment[0]
        world.sandbox.clock = lambda: still
        yield world
        world.close()


def room_of_nights(pupils: str) -> dict[str, float]:
    """Bytes that the first night adds to the data folder, and an unchanged one: without Dagster's events, and of them."""
    with _world(int(pupils)) as world:
        found: list[tuple[int, int]] = []
        for day in range(12):
            assert world.night(day).outcome == "delivered"
            found.append(_room(world.data))
        # Ten nights lie between: a database grows by the page.
        unchanged, events = ((after - before) / 10 for before, after in zip(found[1], found[11], strict=True))
        return {"first": float(found[0][0]), "unchanged": unchanged, "events": events}


def _room(data: Path) -> tuple[int, int]:
    """What files hold, a file of several names once: ours, and Dagster's without what it writes back when it closes."""
    files = {path.stat().st_ino: path for path in data.rglob("*") if path.is_file()}
    sizes = [(path.is_relative_to(data / "dagster"), path) for path in files.values()]
    ours = sum(path.stat().st_size for dagsters, path in sizes if not dagsters)
    return ours, sum(path.stat().st_size for dagsters, path in sizes if dagsters and path.suffix == ".db")


def nights_behind(pupils: str, nights: str) -> dict[str, float]:
    """Processor seconds of nights with some ten behind them, and of the last ones of so many; medians of five."""
    from isams_pipeline.commands.headless import Nightly
    from isams_pipeline.orchestration.partitions import Night

    first = datetime.now(UTC).date() - timedelta(days=int(nights))
    with _world(int(pupils)) as world:
        world.configure(lambda config: config.update(history_from=f"{first.year - 1}-09-01"))
        took: list[float] = []
        for night in (first + timedelta(days=day) for day in range(int(nights))):
            world.moment[0] = datetime(night.year, night.month, night.day, 2, tzinfo=UTC)
            started = time.process_time()
            run = Nightly(world.environment, world.instance, "schoolsbuddy").run(Night("riverside", night))
            assert run.outcome == "delivered", run.reason
            took.append(time.process_time() - started)
        return {"tenth": median(took[8:13]), "last": median(took[-5:])}


def from_the_shell(pupils: str) -> dict[str, float]:
    """Seconds of `isams-pipeline sync` from the shell to the prompt, and of the run in it; of a second one of the day."""
    from isams_pipeline.clock import system_clock
    from isams_pipeline.sandbox.demo import secrets_of

    with _world(int(pupils)) as world:
        world.moment[0] = system_clock()
        world.sandbox.clock = system_clock
        variables = {**os.environ, "PYTHONPATH": str(ROOT), **secrets_of(world.sandbox)}
        words = ["sync", "riverside", "--config", str(world.config), "--data-dir", str(world.data)]
        took = 0.0
        for _ in range(2):
            started = time.perf_counter()
            command = [sys.executable, "-m", "isams_pipeline.commands", *words]
            subprocess.run(command, env=variables, check=True, capture_output=True)
            took = time.perf_counter() - started
        (record,) = world.instance.get_run_records(limit=1)
        return {"shell": took, "run": record.end_time - record.start_time}


def report(add: Callable[..., None], measure: Callable[..., Any], count: int, nights: int) -> None:
    both = [measure("from_the_shell", "1500")[0] for _ in range(count)]
    ratio = median(one["shell"] / one["run"] for one in both)
    shell, run = (median(one[name] for one in both) for name in ("shell", "run"))
    detail = f"1,500 pupils; medians {shell:.2f} s and {run:.2f} s"
    add("`sync` from the shell to the prompt / its run", ratio, "at most 1.5", ratio <= 1.5, detail)
    room = measure("room_of_nights", "1500")[0]
    ratio = room["unchanged"] / room["first"]
    detail = (
        f"1,500 pupils, below data/: {room['unchanged'] / 1024:.0f} KB and {room['first'] / 1024:.0f} KB; Dagster's events "
        f"of a night, beside them: {room['events'] / 1024:.0f} KB"
    )
    add("bytes that an unchanged night adds / the first", ratio, "at most 0.01", ratio <= 0.01, detail)
    found = measure("nights_behind", "24", str(nights))[0]
    ratio = found["last"] / found["tenth"]
    detail = f"24 pupils; processor seconds {found['last']:.2f} and {found['tenth']:.2f}, medians of five nights"
    add(f"the {nights:,}th night / the 10th", ratio, "at most 1.1", ratio <= 1.1, detail)
