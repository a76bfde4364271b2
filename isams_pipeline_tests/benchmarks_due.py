"""Many schools that are due at one hour, on one machine: what each costs, and that each is delivered once.

The daemon is the one that `isams-pipeline ui` starts; the nights are begun by its scheduler, which finds that their hour
has come, and launched by its queue, four at once, each in a process of its own.
"""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import tempfile
import time
from collections import Counter
from collections.abc import Callable
from contextlib import ExitStack
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

ROOT = Path(__file__).parent.parent
_SLOWEST = 40
"""Seconds that a school may take at most, four at once, before it is given up."""
_BEFORE = """
import logging, sys
from datetime import UTC, datetime, timedelta
from dagster._core.test_utils import create_test_daemon_workspace_context, freeze_time
from dagster._core.workspace.load_target import ModuleTarget
from dagster._scheduler.scheduler import launch_scheduled_runs
from isams_pipeline.commands.instance import open_instance
from pathlib import Path
where = ModuleTarget("isams_pipeline.definitions", None, None, "isams_pipeline.definitions")
at = datetime.fromisoformat(sys.argv[2])
with open_instance(Path(sys.argv[1])) as instance, create_test_daemon_workspace_context(where, instance) as workspace:
    with freeze_time(at):
        for error in launch_scheduled_runs(workspace, logging.getLogger(), at, {}):
            assert error is None, error
"""
"""Lets the scheduler know of the schedules since a moment, so that an hour that came since then is due."""


def _zone_where_it_is_past_two(now: datetime) -> str:
    """A zone whose clock shows 02:00 to 02:59."""
    offset = (2 - now.hour + 11) % 24 - 11  # from -11 to 12
    return f"Etc/GMT{-offset:+d}" if offset else "Etc/GMT"


def due_at_once(count: str) -> dict[str, float]:
    """Seconds until so many small schools of one hour were delivered: of the first and the second half of them."""
    from dagster._core.storage.dagster_run import RunsFilter

    from isams_pipeline.commands.instance import open_instance, prepare_home
    from isams_pipeline.delivery.receipts import Receipts
    from isams_pipeline.orchestration.status import status
    from isams_pipeline.partners.registry import PARTNERS
    from isams_pipeline.sandbox.demo import secrets_of
    from isams_pipeline.sandbox.server import serving
    from isams_pipeline_tests.world import make_world, small_school

    names = [f"school{number:03d}" for number in range(int(count))]
    with ExitStack() as stack, tempfile.TemporaryDirectory() as name:
        schools = {one: small_school(mark=one) for one in names}
        world = make_world(Path(name), schools, lambda app: stack.enter_context(serving(app)))
        now = world.moment[0] = datetime.now(UTC)
        zone = _zone_where_it_is_past_two(now)

        def only_one_partner(config: Any) -> None:
            for one in config["schools"].values():
                one["timezone"], one["partners"] = zone, {"schoolsbuddy": one["partners"]["schoolsbuddy"]}
                one["partners"]["schoolsbuddy"].pop("attendance")
                one.pop("assembly", None)
                one.pop("xporter", None)

        world.configure(only_one_partner)
        env = {**os.environ, **secrets_of(world.sandbox), "PYTHONPATH": str(ROOT), "DAGSTER_DISABLE_TELEMETRY": "1"}
        env |= {"ISAMS_CONFIG": str(world.config), "ISAMS_DATA_DIR": str(world.data)}
        env["DAGSTER_HOME"] = str(prepare_home(world.data))
        before = [sys.executable, "-c", _BEFORE, str(world.data), (now - timedelta(hours=1)).isoformat()]
        subprocess.run(before, env=env, check=True, capture_output=True)
        receipts = Receipts(world.environment.state)
        started = time.time()
        with (Path(name) / "daemon.log").open("wb") as log:
            daemon = [sys.executable, "-m", "dagster._daemon", "run", "-m", "isams_pipeline.definitions"]
            process = subprocess.Popen(daemon, env=env, stdout=log, stderr=log, start_new_session=True)
            try:
                until = started + 120 + _SLOWEST * len(names) / 4
                ended: list[datetime] = []
                while len(ended) < len(names):
                    assert time.time() < until and process.poll() is None, (Path(name) / "daemon.log").read_text()[
                        -3000:
                    ]
                    time.sleep(1)
                    ended = sorted(at for one in names for at in _delivered(receipts, one))
                time.sleep(3)  # a second delivery of one would follow at once
            finally:
                os.killpg(process.pid, signal.SIGTERM)
                process.wait(60)
        times = Counter(one for one in names for _ in _delivered(receipts, one))
        assert set(times.values()) == {1} and set(times) == set(names), times
        with open_instance(world.data) as instance:
            stands = status(world.environment, instance, PARTNERS.values())
            assert not stands.overdue, [row.as_json() for row in stands.rows if row.overdue][:3]
            runs = instance.get_runs_count(RunsFilter(job_name="schoolsbuddy_nightly"))
        world.close()
        half = ended[len(ended) // 2 - 1].timestamp()
        return {
            "schools": len(names),
            "runs": runs,
            "first": ended[0].timestamp() - started,
            "first half": half - ended[0].timestamp(),
            "second half": ended[-1].timestamp() - half,
            "all": ended[-1].timestamp() - started,
        }


def _delivered(receipts: Any, school: str) -> list[datetime]:
    return [one.at for one in receipts.all_delivered(school)]


def report(add: Callable[..., None], measure: Callable[..., tuple[Any, float]]) -> None:
    """The rows of the page."""
    said, _ = measure("due_at_once", "60")
    each = (said["all"] - said["first"]) / (said["schools"] - 1)
    ratio = said["second half"] / said["first half"]
    detail = (
        f"{said['schools']:.0f} small schools due at 02:00, 4 runs at once, each delivered once, none late; {each:.1f} s a "
        f"school, so 500 in {500 * each / 60:.0f} min"
    )
    add("schools of one hour: the second thirty / the first", ratio, "about 1, and not above 1.2", ratio <= 1.2, detail)
