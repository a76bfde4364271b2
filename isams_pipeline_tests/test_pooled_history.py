"""Dagster's history by kept connections: the same files, bounded handles, threads and processes beside each other."""

from __future__ import annotations

import os
import sqlite3
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
from isams_pipeline.storage.state.database import StateDatabase


@dg.asset
def one() -> Any:
    return dg.MaterializeResult(metadata={"rows": 1})


@dg.asset(deps=[one], check_specs=[dg.AssetCheckSpec("has_rows", asset="two")], tags={"kept": "yes"})
def two():  # Dagster would take an annotation for a tuple of outputs
    return dg.MaterializeResult(metadata={"rows": 2}, check_results=[dg.AssetCheckResult(passed=True)])


@dg.asset(deps=[two])
def fails() -> None:
    raise dg.Failure("as the test has it")


JOB = dg.Definitions(assets=[one], jobs=[dg.define_asset_job("job", [one])]).resolve_job_def("job")
SEVERAL = dg.Definitions(
    assets=[one, two, fails], jobs=[dg.define_asset_job("several", "*", executor_def=dg.in_process_executor)]
).resolve_job_def("several")


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


def stored(history: Path) -> dict[str, list[tuple[Any, ...]]]:
    """What the files hold of one run, without what differs from run to run."""
    events = "SELECT dagster_event_type, step_key, asset_key FROM event_logs ORDER BY 1, 2, 3"
    questions = {
        "index": events,
        "assets": "SELECT asset_key, last_materialization IS NULL, last_run_id IS NULL FROM asset_keys ORDER BY 1",
        "tags": "SELECT asset_key, key, value FROM asset_event_tags WHERE key NOT LIKE '%version%' ORDER BY 1, 2, 3",
        "checks": "SELECT asset_key, check_name, execution_status, partition FROM asset_check_executions ORDER BY 1, 2",
    }
    (index,) = history.rglob("index.db")
    (of_run,) = (path for path in index.parent.glob("*.db") if path != index)
    with sqlite3.connect(index) as connection:
        found = {name: connection.execute(question).fetchall() for name, question in questions.items()}
    with sqlite3.connect(of_run) as connection:
        return found | {"run": connection.execute(events).fetchall()}


def test_the_files_hold_what_dagsters_own_would(instance: dg.DagsterInstance, tmp_path: Path):
    assert not SEVERAL.execute_in_process(instance=instance, raise_on_error=False).success
    plain = tmp_path / "plain"
    plain.mkdir()
    (plain / "dagster.yaml").write_text(f"storage:\n  sqlite:\n    base_dir: {plain}\ntelemetry:\n  enabled: false\n")
    with dg.DagsterInstance.from_config(str(plain)) as theirs:
        assert not SEVERAL.execute_in_process(instance=theirs, raise_on_error=False).success
    ours = stored(tmp_path / "dagster" / "history")
    assert ours == stored(plain)
    assert [len(ours[name]) for name in ("assets", "checks")] == [3, 1], "there is something to compare"
    assert ("STEP_FAILURE", "fails", None) in ours["run"]


def test_an_event_that_cannot_be_written_takes_none_of_the_others_with_it(
    instance: dg.DagsterInstance, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
):
    whole = PooledEvents._store_asset_event
    failed: list[int] = []

    def fail_once(*args: Any) -> None:
        if not failed and len(args[0]._within.opened) == 2:
            failed.append(1)
            raise sqlite3.OperationalError("disk I/O error")
        whole(*args)

    monkeypatch.setattr(PooledEvents, "_store_asset_event", fail_once)
    assert not SEVERAL.execute_in_process(instance=instance, raise_on_error=False).success
    assert failed, "a batch of planned events has met the fault"
    assert "disk I/O error" in capsys.readouterr().err, "Dagster says that it falls back to one at a time"
    (run,) = instance.get_run_records()
    kinds = [
        entry.dagster_event.event_type for entry in instance.all_logs(run.dagster_run.run_id) if entry.dagster_event
    ]
    assert kinds.count(dg.DagsterEventType.ASSET_MATERIALIZATION_PLANNED) == 3


def test_a_power_cut_may_take_the_last_events_and_never_a_receipt(instance: dg.DagsterInstance, tmp_path: Path):
    run = JOB.execute_in_process(instance=instance).run_id
    storage: Any = instance.event_log_storage
    modes: dict[str, tuple[Any, ...]] = {}
    for shard in ("index", run):
        with storage._connect(shard) as connection:
            modes[shard] = tuple(
                connection.exec_driver_sql(f"PRAGMA {of}").scalar() for of in ("journal_mode", "synchronous")
            )
    normal, extra = 1, 3
    assert set(modes.values()) == {("wal", normal)}
    state = StateDatabase.open(tmp_path, None)
    with state.engine.connect() as connection:
        assert connection.exec_driver_sql("PRAGMA synchronous").scalar() == extra
    state.close()


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


def test_no_log_of_ours_lies_where_dagsters_daemon_would_send_it_away(instance: dg.DagsterInstance):
    """`telemetry: enabled: false` does not stop that; the variable does, and our logs lie elsewhere besides."""
    from dagster._core.telemetry_upload import is_running_in_test

    from isams_pipeline.commands.servers import SERVICE_LOGS

    assert instance.root_directory and is_running_in_test()
    assert SERVICE_LOGS not in {"logs", ".logs_queue"}
