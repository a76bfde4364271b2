"""Runs jobs in forks of itself and kills them at a place: `python -m isams_pipeline_tests.killed`, told by its input.

A line in: where the school is, which job, and at which write, rename or commit to die. A line out: how many of them
there were, and how it ended. Importing takes seconds, so it is done once for all.
"""

from __future__ import annotations

import json
import os
import random
import signal
import sys
from collections.abc import Callable
from datetime import datetime
from pathlib import Path
from typing import Any

from sqlalchemy import Engine, event

from isams_pipeline.commands.headless import Nightly, run_job
from isams_pipeline.commands.instance import open_instance
from isams_pipeline.config import load_settings
from isams_pipeline.orchestration.environment import Environment
from isams_pipeline.orchestration.partitions import Night
from isams_pipeline.sources.shared.http import Patience
from isams_pipeline.storage.folder import Incoming


class Counted:
    """Counts writes, renames and commits, and dies just before, or just after, one of them."""

    def __init__(self, die_at: int | None) -> None:
        self.seen = 0
        self._die_at = die_at

    def before(self) -> None:
        self.seen += 1
        if self._die_at == 2 * self.seen:
            os.kill(os.getpid(), signal.SIGKILL)

    def after(self) -> None:
        if self._die_at == 2 * self.seen + 1:
            os.kill(os.getpid(), signal.SIGKILL)

    def around(self, plain: Callable[..., Any]) -> Callable[..., Any]:
        def call(*args: Any, **options: Any) -> Any:
            self.before()
            found = plain(*args, **options)
            self.after()
            return found

        return call

    def install(self) -> None:
        os.replace = self.around(os.replace)
        os.unlink = self.around(os.unlink)
        Incoming.write = self.around(Incoming.write)
        event.listen(Engine, "commit", lambda _: self.before())


def run(task: dict[str, Any]) -> str:
    now = datetime.fromisoformat(task["now"])
    data = Path(task["data"])
    environment = Environment(
        load_settings(task["config"]),
        data_dir=data,
        clock=lambda: now,
        retries=0,
        patience=Patience(attempts=2, first_wait=0.01),
    )
    night = Night(task["school"], now.date())
    with open_instance(data) as instance:
        if task["job"] == "my_school_portal_changes":
            ops = {"my_school_portal__changes": {"config": {"requests": []}}}
            done = run_job(environment, instance, task["job"], night, ops)
            return "; ".join(done.failures) or "done"
        made = Nightly(environment, instance, task["job"]).run(night, allow_cancellations=True)
        return (
            made.outcome.value if made.outcome.value in {"delivered", "unchanged"} else f"{made.outcome} {made.reason}"
        )


def forked(task: dict[str, Any]) -> dict[str, Any]:
    read, write = os.pipe()
    child = os.fork()
    if child == 0:
        os.close(read)
        counted = Counted(task.get("die_at"))
        counted.install()
        if task.get("die_after"):
            signal.signal(signal.SIGALRM, lambda *_: os.kill(os.getpid(), signal.SIGKILL))
            signal.setitimer(signal.ITIMER_REAL, random.Random(task["seed"]).uniform(0.01, task["die_after"]))
        try:
            said = run(task)
        except BaseException as error:  # noqa: BLE001
            said = f"{type(error).__name__}: {error}"
        os.write(write, json.dumps({"events": counted.seen, "said": said}).encode())
        os._exit(0)
    os.close(write)
    with os.fdopen(read, "rb") as pipe:
        told = pipe.read()
    _, status = os.waitpid(child, 0)
    return (json.loads(told) if told else {}) | {"killed": os.WIFSIGNALED(status)}


if __name__ == "__main__":
    for line in sys.stdin:
        print(json.dumps(forked(json.loads(line))), flush=True)
