"""Five hundred schools over three years: what the definitions cost, and the web server with a year's history."""

from __future__ import annotations

import copy
import json
import os
import signal
import socket
import sqlite3
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from datetime import date, timedelta
from pathlib import Path
from statistics import median
from typing import Any

ROOT = Path(__file__).parent.parent
PARTNER, ASSET = "schoolsbuddy", "contacts"
_KEY = '["schoolsbuddy", "contacts"]'

# As the UI asks for them, by its own queries' fields.
_NODE = "query($k: AssetKeyInput!) {assetNodeOrError(assetKey: $k) {... on AssetNode {id %s}}}"
_PARTS = "materializedPartitions materializingPartitions failedPartitions"
PAGES = {
    "the asset's page": "description opNames jobs {name} dependencyKeys {path} partitionDefinition {description} "
    "partitionStats {numMaterialized numPartitions numFailed numMaterializing}",
    "the launch and backfill dialogs": "partitionKeysByDimension {name type partitionKeys}",
    "the partitions' page": "assetPartitionStatuses {__typename ... on MultiPartitionStatuses {primaryDimensionName ranges "
    "{primaryDimStartKey primaryDimEndKey primaryDimStartTime primaryDimEndTime secondaryDim {... on "
    f"DefaultPartitionStatuses {{{_PARTS}}}}}}}}}}}",
}


def write_schools(folder: Path, count: int) -> Path:
    """A schools.yaml of so many schools, each the example's with SchoolsBuddy alone."""
    import yaml

    given = yaml.safe_load((ROOT / "schools.example.yaml").read_text())
    one = given["schools"]["riverside"]
    del one["assembly"], one["xporter"], one["isams"]["rest"], one["first_night"]
    one["partners"] = {PARTNER: one["partners"][PARTNER]}
    del one["partners"][PARTNER]["attendance"]
    given["history_years"] = 3
    given["schools"] = {}
    for at in range(count):
        school = copy.deepcopy(one)
        school["isams"]["url"] = f"https://school{at}.isams.example.org"
        for name, key in school["isams"]["keys"].items():
            key["secret"] = f"S{at}_{name.upper()}"
        given["schools"][f"school{at:03d}"] = school
    file = folder / "schools.yaml"
    file.write_text(yaml.safe_dump(given))
    return file


def seconds_of(pid: int) -> float:
    """The processor's seconds that a process has taken."""
    fields = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()
    return (int(fields[11]) + int(fields[12])) / os.sysconf("SC_CLK_TCK")


def validated(count: str) -> float:
    """Seconds of processor time of `dagster definitions validate`."""
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        env = {
            **os.environ,
            "ISAMS_CONFIG": str(write_schools(folder, int(count))),
            "ISAMS_DATA_DIR": str(folder / "data"),
        }
        before = os.times()
        command = [sys.executable, "-m", "dagster", "definitions", "validate", "-m", "isams_pipeline.definitions"]
        subprocess.run(command, env=env | {"PYTHONPATH": str(ROOT)}, cwd=ROOT, check=True, capture_output=True)
        after = os.times()
    return after.children_user + after.children_system - before.children_user - before.children_system


def with_a_year(data: Path, schools: int) -> None:
    """A year's nights of all schools as materialised, in Dagster's own history: one true event, and its like."""
    import dagster as dg

    from isams_pipeline.commands.instance import open_instance
    from isams_pipeline.orchestration.partitions import Night, key_of

    last = date.today() - timedelta(days=1)
    first = last - timedelta(days=364)
    with open_instance(data) as instance:
        key = key_of(Night("school000", first))
        instance.report_runless_asset_event(dg.AssetMaterialization(asset_key=[PARTNER, ASSET], partition=key))
    (file,) = data.rglob("index.db")
    names = "run_id, event, dagster_event_type, timestamp, step_key, asset_key"
    with sqlite3.connect(file) as history:
        found = f"SELECT {names} FROM event_logs WHERE asset_key = ?"
        *before, asset = history.execute(found, (_KEY,)).fetchone()

        def events() -> Iterator[tuple[Any, ...]]:
            for day in range(365):
                for at in range(schools):
                    night = f"{first + timedelta(days=day)}|school{at:03d}"
                    yield before[0], before[1].replace(str(key), night), *before[2:], asset, night

        history.executemany(f"INSERT INTO event_logs ({names}, partition) VALUES (?, ?, ?, ?, ?, ?, ?)", events())
    history.close()


@contextmanager
def web_server(folder: Path, config: Path) -> Iterator[tuple[int, str]]:
    """The UI's web server over a folder; its process and address."""
    import httpx

    from isams_pipeline.commands.instance import prepare_home

    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port = probe.getsockname()[1]
    env = {**os.environ, "ISAMS_CONFIG": str(config), "ISAMS_DATA_DIR": str(folder / "data"), "PYTHONPATH": str(ROOT)}
    env["DAGSTER_HOME"] = str(prepare_home(folder / "data"))
    command = [sys.executable, "-m", "isams_pipeline.commands.ui_server", "--port", str(port)]
    with (folder / "web.log").open("wb") as log:
        process = subprocess.Popen(command, env=env, cwd=folder, stdout=log, stderr=log, start_new_session=True)
        try:
            address, give_up = f"http://127.0.0.1:{port}", time.monotonic() + 120
            while True:
                try:
                    httpx.get(f"{address}/server_info", timeout=10)
                    break
                except httpx.HTTPError:
                    assert time.monotonic() < give_up, (folder / "web.log").read_text()[-3000:]
                    time.sleep(0.3)
            yield process.pid, address
        finally:
            os.killpg(process.pid, signal.SIGINT)
            process.wait(60)


def pages(count: str) -> dict[str, float]:
    """The web server's processor seconds for each page of an asset, the second time it is asked, and its megabytes."""
    import httpx

    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        config = write_schools(folder, int(count))
        (folder / "data").mkdir()
        with_a_year(folder / "data", int(count))
        found: dict[str, float] = {}
        with web_server(folder, config) as (pid, address):
            for _ in range(2):
                for page, fields in PAGES.items():
                    before = seconds_of(pid)
                    query = {"query": _NODE % fields, "variables": {"k": {"path": [PARTNER, ASSET]}}}
                    said = httpx.post(f"{address}/graphql", json=query, timeout=120).json()
                    assert "errors" not in said, json.dumps(said)[:500]
                    found[page] = seconds_of(pid) - before
            resident = next(at for at in Path(f"/proc/{pid}/status").read_text().splitlines() if at.startswith("VmRSS"))
        return found | {"megabytes": int(resident.split()[1]) / 1024}


def report(add: Callable[..., None], measure: Callable[..., tuple[Any, float]], count: int) -> None:
    schools = "500"
    took = median(measure("validated", schools)[0] for _ in range(count))
    add("processor seconds of `definitions validate`", took, "at most 8", took <= 8, "500 schools, three years")
    found = measure("pages", schools)[0]
    for page in PAGES:
        detail = "the web server's processor seconds; 500 schools, a year's history, 182,500 nights of one asset"
        add(f"{page}, of 500 schools", found[page], "at most 1", found[page] <= 1, detail)
    add(
        "the web server's memory in MB",
        found["megabytes"],
        "at most 400",
        found["megabytes"] <= 400,
        "after these pages",
    )
