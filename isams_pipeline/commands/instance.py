"""The Dagster instance of a data folder: where runs and their history are kept, and how many go at once."""

from __future__ import annotations

import contextlib
import os
import shutil
import sqlite3
from collections.abc import Generator
from datetime import UTC, datetime
from pathlib import Path

import dagster as dg
import yaml
from alembic.script import ScriptDirectory

from isams_pipeline.config.secrets import environ_from
from isams_pipeline.datasets.shapes import Json
from isams_pipeline.errors import StorageError
from isams_pipeline.orchestration import pooled_history
from isams_pipeline.orchestration.partitions import SCHOOL_TAG
from isams_pipeline.storage.folder import Folder
from isams_pipeline.storage.locks import Locks
from isams_pipeline.storage.state.database import POSTGRES_VARIABLE, make_engine, postgres_url

MAX_RUN_SECONDS = 4 * 3600


def instance_settings(base: str, *, postgres: bool) -> Json:
    """What dagster.yaml says; the two files at the root of the repository are this for `data/dagster`."""
    storage: Json = (
        {"postgres": {"postgres_url": {"env": POSTGRES_VARIABLE}}}
        if postgres
        else {
            "custom": {
                "module": pooled_history.__name__,
                "class": pooled_history.PooledSqliteStorage.__name__,
                "config": {"base_dir": f"{base}/history"},
            }
        }
    )
    return {
        "storage": storage,
        "local_artifact_storage": {
            "module": "dagster._core.storage.root",
            "class": "LocalArtifactStorage",
            "config": {"base_dir": base},
        },
        "compute_logs": {
            "module": "dagster._core.storage.local_compute_log_manager",
            "class": "LocalComputeLogManager",
            "config": {"base_dir": f"{base}/compute_logs"},
        },
        "concurrency": {
            "runs": {
                "max_concurrent_runs": 4,
                "tag_concurrency_limits": [
                    {"key": SCHOOL_TAG, "value": {"applyLimitPerUniqueValue": True}, "limit": 1}
                ],
            }
        },
        # Without a bound, a run whose machine lost power stays "started" for ever.
        "run_monitoring": {"enabled": True, "max_runtime_seconds": MAX_RUN_SECONDS},
        "retention": {"schedule": {"purge_after_days": 90}},
        "telemetry": {"enabled": False},
        "nux": {"enabled": False},
    }


def prepare_home(data_dir: Path) -> Path:
    """Write the dagster.yaml of a data folder, and give the folder to be DAGSTER_HOME.

    With ISAMS_POSTGRES_URL set, the history is there; the variable is put into the form that Dagster's driver
    needs.
    """
    home = data_dir.resolve() / "dagster"
    given = environ_from(POSTGRES_VARIABLE)
    if given:
        os.environ[POSTGRES_VARIABLE] = postgres_url(given)
        os.environ.pop(f"{POSTGRES_VARIABLE}_FILE", None)  # read; Dagster knows the variable only
    text = yaml.safe_dump(instance_settings(str(home), postgres=bool(given)), sort_keys=False)
    Folder(home).write("dagster.yaml", text.encode())
    return home


def open_instance(data_dir: Path) -> dg.DagsterInstance:
    """The instance of a data folder, its storage made or migrated by one process at a time.

    Raises StorageError where several have made it at once, before that was so.
    """
    with _locked(data_dir):
        Folder(data_dir.resolve() / "dagster").sweep()
        home = prepare_home(data_dir)
        if broken := broken_files(data_dir):
            raise StorageError(
                "Dagster's history was created by several processes at once: "
                f"{', '.join(file.name for file in broken)}",
                folder=home,
                remedy="Stop the UI, then run `isams-pipeline doctor --repair`, which mends the files and keeps a "
                "copy.",
            )
        instance = dg.DagsterInstance.from_config(str(home))
        # Each part is made when it is first asked for.
        instance.get_runs_count()
        instance.event_log_storage.get_maximum_record_id()
        instance.all_instigator_state()
    return instance


# --- opened by one process at a time, and mended ----------------------------------------------------------


@contextlib.contextmanager
def _locked(data_dir: Path) -> Generator[None, None, None]:
    """The lock under which Dagster's storage is made and migrated: two at once would leave it with two heads."""
    postgres = environ_from(POSTGRES_VARIABLE)
    engine = make_engine(data_dir, postgres) if postgres else None
    try:
        with Locks(data_dir / "locks", engine).hold("dagster storage", wait=120):
            yield
    finally:
        if engine is not None:
            engine.dispose()


def _files(data_dir: Path) -> list[Path]:
    """The files of Dagster's storage that have versions."""
    found = (data_dir / "dagster/history").glob("**/*.db")
    return sorted(path for path in found if ".broken-" not in path.name)


def _heads(file: Path) -> list[str]:
    with contextlib.closing(sqlite3.connect(f"file:{file}?mode=ro", uri=True, timeout=30)) as connection:
        try:
            return [row[0] for row in connection.execute("SELECT version_num FROM alembic_version")]
        except sqlite3.DatabaseError:
            return []


def broken_files(data_dir: Path) -> list[Path]:
    """Files of Dagster's storage that say two versions of themselves, after which no command can open them."""
    if environ_from(POSTGRES_VARIABLE):
        return []
    return [file for file in _files(data_dir) if len(_heads(file)) > 1]


def repair(data_dir: Path) -> list[Path]:
    """Mend such files; gives the copies of them as they were, which lie beside.

    They were made whole by each of the processes that made them at once; only the note of their version is double. The
    later of the two counts, as the tables are those of the newest.
    """
    kept: list[Path] = []
    with _locked(data_dir):
        for file in broken_files(data_dir):
            copy = file.with_name(f"{file.stem}.broken-{datetime.now(UTC):%Y%m%dT%H%M%S}{file.suffix}")
            shutil.copy2(file, copy)
            with contextlib.closing(sqlite3.connect(file, timeout=30)) as connection, connection:
                connection.execute("DELETE FROM alembic_version WHERE version_num <> ?", (_latest(_heads(file)),))
            kept.append(copy)
    return kept


def _latest(revisions: list[str]) -> str:
    """The revision that the others lead to, by Dagster's own scripts."""
    script = ScriptDirectory(str(Path(dg.__file__).parent / "_core/storage/alembic"))
    order = [revision.revision for revision in script.walk_revisions()]  # the newest first
    return min(revisions, key=lambda revision: order.index(revision) if revision in order else len(order))
