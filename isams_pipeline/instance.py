"""The Dagster instance of a data folder: where runs and their history are kept, and how many go at once."""

from __future__ import annotations

import os
from pathlib import Path
from typing import Any

import dagster as dg
import yaml

from isams_pipeline.config.secrets import environ_from
from isams_pipeline.partitions import SCHOOL_TAG
from isams_pipeline.storage.folder import Folder
from isams_pipeline.storage.state.database import POSTGRES_VARIABLE, postgres_url

MAX_RUN_SECONDS = 4 * 3600


def instance_settings(base: str, *, postgres: bool) -> dict[str, Any]:
    """What dagster.yaml says; the two files at the root of the repository are this for `data/dagster`."""
    storage: dict[str, Any] = (
        {"postgres": {"postgres_url": {"env": POSTGRES_VARIABLE}}}
        if postgres
        else {"sqlite": {"base_dir": f"{base}/history"}}
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
    """The instance of a data folder."""
    return dg.DagsterInstance.from_config(str(prepare_home(data_dir)))
