"""Dagster's history by kept connections: the same files, bounded handles, threads and processes beside each other."""

from __future__ import annotations

import os
import subprocess
import sys
from collections.abc import Generator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import dagster as dg
import pytest

from isams_pipeline.commands.instance import open_instance
from isams_pipeline.orchestration.pooled_history import PooledEvents, PooledRuns, PooledSchedules


@dg.asset
def one() -> Any:
    return dg.MaterializeResult(metadata={"rows": 1})


JOB = dg.Definitions(assets=[one], jobs=[dg.define_asset_job("job", [one])]).resolve_job_def("job")


@pytest.fixture
def instance(tmp_path: Path) -> Generator[dg.DagsterInstance, None, None]:
    with open_instance(tmp_path) as found:
        yield found


def made(instance: dg.DagsterInstance) -> list[str]:
    """The runs that have made the asset, the oldest first, by the index over all runs."""
    records = instance.fetch_materializations(dg.AssetKey("one"), limit=100).records
    return [record.event_log_entry.run_id for record in records][::-1]


def test_the_history_is_dagsters_own(instance: dg.DagsterInstance, tmp_path: Path):
    assert isinstance(instance.event_log_storage, PooledEvents)
    assert isinstance(instance.run_storage, PooledRuns)
    assert isinstance(instance.schedule_storage, PooledSchedules)
    first = JOB.execute_in_process(instance=instance).run_id
    plain = tmp_path / "plain"
    plain.mkdir()
    history = tmp_path.resolve() / "dagster" / "history"
    (plain / "dagster.yaml").write_text(f"storage:\n  sqlite:\n    base_dir: {history}\ntelemetry:\n  enabled: false\n")
    with dg.DagsterInstance.from_config(str(plain)) as theirs:
        assert made(theirs) == [first]
        second = JOB.execute_in_process(instance=theirs).run_id
    assert made(instance) == [first, second]
    ended = [entry.dagster_event.event_type for entry in instance.all_logs(second) if entry.dagster_event is not None]
    assert dg.DagsterEventType.RUN_SUCCESS in ended


def test_many_runs_do_not_keep_their_files_open(instance: dg.DagsterInstance):
    runs = [JOB.execute_in_process(instance=instance).run_id for _ in range(24)]
    held = {os.path.realpath(f"/proc/self/fd/{fd}") for fd in os.listdir("/proc/self/fd")}
    of_runs = {path for path in held for run in runs if path.endswith(f"{run}.db")}
    assert len(of_runs) <= 16
    assert len(instance.all_logs(runs[0])) > 5, "an old run is opened again"


def test_threads_read_while_a_run_writes(instance: dg.DagsterInstance):
    first = JOB.execute_in_process(instance=instance).run_id
    with ThreadPoolExecutor(8) as pool:
        # As the UI's server does: many questions at once, while a run of the same process goes on.
        reads = [pool.submit(lambda: (len(instance.all_logs(first)), instance.get_runs_count())) for _ in range(40)]
        last = JOB.execute_in_process(instance=instance).run_id
        found = [read.result(60) for read in reads]
    assert len({events for events, _ in found}) == 1
    assert {runs for _, runs in found} <= {1, 2}
    assert made(instance) == [first, last]


def test_processes_write_beside_each_other(instance: dg.DagsterInstance, tmp_path: Path):
    code = (
        "from pathlib import Path; from isams_pipeline.commands.instance import open_instance; "
        "from isams_pipeline_tests.test_pooled_history import JOB; "
        f"instance = open_instance(Path({str(tmp_path)!r})); "
        "[JOB.execute_in_process(instance=instance) for _ in range(3)]"
    )
    others = [subprocess.Popen([sys.executable, "-c", code], stderr=subprocess.DEVNULL) for _ in range(2)]
    for _ in range(3):
        assert JOB.execute_in_process(instance=instance).success
    assert [other.wait(120) for other in others] == [0, 0]
    assert len(made(instance)) == 9
