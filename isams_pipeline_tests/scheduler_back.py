"""Dagster's own scheduler over a data folder, which ran some days ago and is back now: prints what came of it.

python -m isams_pipeline_tests.scheduler_back DATA DAYS
"""

from __future__ import annotations

import json
import logging
import sys
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

from dagster._core.storage.dagster_run import RunsFilter
from dagster._core.test_utils import create_test_daemon_workspace_context, freeze_time
from dagster._core.workspace.load_target import ModuleTarget
from dagster._scheduler.scheduler import launch_scheduled_runs

from isams_pipeline.commands.instance import open_instance

JOB = "schoolsbuddy_nightly"


def main() -> None:
    data, days = Path(sys.argv[1]), int(sys.argv[2])
    target = ModuleTarget("isams_pipeline.definitions", attribute=None, working_directory=None, location_name="here")
    with open_instance(data) as instance, create_test_daemon_workspace_context(target, instance) as workspace:

        def iterate(moment: datetime) -> int:
            with freeze_time(moment):
                for error in launch_scheduled_runs(workspace, logging.getLogger("test"), moment, {}):
                    assert error is None, error
            return instance.get_runs_count(RunsFilter(job_name=JOB))

        counts = [iterate(datetime.now(UTC) - timedelta(days=days))]  # it knows of the schedules since then
        counts += [iterate(datetime.now(UTC)) for _ in range(2)]
        (state,) = [one for one in instance.all_instigator_state() if one.name.startswith(JOB)]
        ticks = instance.get_ticks(state.instigator_origin_id, state.selector_id)
        found: dict[str, Any] = {
            "counts": counts,
            "tags": [dict(run.tags) for run in instance.get_runs() if run.job_name == JOB],
            "ticks": [(tick.status.value, tick.skip_reason) for tick in ticks],
        }
    print(json.dumps(found))


if __name__ == "__main__":
    main()
