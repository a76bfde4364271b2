"""The REST API's measures: a thousand change requests against the calls alone, attendance against a bare run."""

from __future__ import annotations

import contextlib
import json
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from datetime import date, timedelta
from pathlib import Path
from typing import Any

ROOT = Path(__file__).parent.parent
DAY = date(2026, 2, 10)
ANSWER_SECONDS = 0.05
PARALLEL = 8


def serve_school(pupils: str) -> float:
    """Serve a school until the parent goes, in a process of its own: its work must not be counted as ours."""
    from isams_pipeline.sandbox.server import serving
    from isams_pipeline_tests.world import SCHOOL, make_world, small_school

    with contextlib.ExitStack() as stack, tempfile.TemporaryDirectory() as folder:
        school = small_school(pupils=int(pupils), nightly_joiners=0)
        world = make_world(Path(folder), {SCHOOL: school}, lambda app: stack.enter_context(serving(app)))
        world.at_night(0, hour=16)
        world.sandbox.schools[SCHOOL].rest_seconds = ANSWER_SECONDS
        world.sandbox.day_of(SCHOOL).entries_of  # made before the clock runs
        print(json.dumps({"url": world.url, "config": str(world.config)}), flush=True)
        sys.stdin.read()
    return 0


@contextlib.contextmanager
def _served(pupils: str) -> Iterator[tuple[Any, list[Any]]]:
    """An environment whose iSAMS is in another process, and a thousand requests of a thousand contacts."""
    from isams_pipeline.config import load_settings
    from isams_pipeline.orchestration.environment import Environment
    from isams_pipeline.sandbox.change_requests import guardian
    from isams_pipeline.sandbox.demo import make_sandbox, secrets_of
    from isams_pipeline.sandbox.school import SchoolDay
    from isams_pipeline_tests.world import SCHOOL, small_school

    command = [sys.executable, "-m", "isams_pipeline_tests.benchmarks", "--measure", "serve_school", pupils]
    server = subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, cwd=ROOT, text=True)
    assert server.stdout is not None and server.stdin is not None
    try:
        told = json.loads(server.stdout.readline())
        school = small_school(pupils=int(pupils), nightly_joiners=0)
        from datetime import UTC, datetime

        now = datetime(DAY.year, DAY.month, DAY.day, 16, tzinfo=UTC)
        sandbox = make_sandbox({SCHOOL: school}, lambda: now)
        with tempfile.TemporaryDirectory() as folder:
            environment = Environment(
                load_settings(told["config"]),
                data_dir=Path(folder),
                clock=lambda: now,
                variables=secrets_of(sandbox),
            )
            people = list(SchoolDay(school.plan, DAY).by_entry.values())
            requests = [
                guardian(f"R{n}", entry[0], {"town": f"Town {n}", "telephoneNumber": f"01632 960{n % 1000:03d}"}, now)
                for n, entry in enumerate(people)
            ]
            yield environment, requests
    finally:
        server.stdin.close()
        server.wait(timeout=20)


def changes_ours(pupils: str, count: str) -> float:
    """Approved requests, applied by the desk that a run uses."""
    from isams_pipeline.partners.my_school_portal.desk import ChangeDesk
    from isams_pipeline.partners.my_school_portal.intake import take_in

    with _served(pupils) as (environment, requests):
        inbox = environment.data_dir / "inbox" / "riverside"
        inbox.mkdir(parents=True)
        (inbox / "all.json").write_text(json.dumps(requests[: int(count)]))
        (taken,) = take_in(environment, "riverside")
        assert taken.approved == int(count), taken
        started = time.perf_counter()
        result = ChangeDesk(environment, "riverside").apply("benchmark")
        took = time.perf_counter() - started
        assert result.counts() == {"applied": int(count)}, result.counts()
        return took


def changes_bare(pupils: str, count: str) -> float:
    """The calls alone: read, write, read back, for each, as many at a time, by httpx and nothing else."""
    import httpx

    with _served(pupils) as (environment, requests):
        isams = environment.settings.school("riverside").isams
        form = {
            "client_id": environment.variables["DEMO_RIVERSIDE_PORTAL_ID"],
            "client_secret": environment.variables["DEMO_RIVERSIDE_PORTAL_SECRET"],
        }
        with httpx.Client(base_url=isams.url, limits=httpx.Limits(max_connections=PARALLEL)) as client:
            token = client.post("/auth/connect/token", data=form).json()["access_token"]
            client.headers["Authorization"] = f"Bearer {token}"

            def one(request: dict[str, Any]) -> None:
                path = f"/api/students/{request['student']}"
                contacts = client.get(f"{path}/contacts").json()["contacts"]
                found = next(contact for contact in contacts if contact["id"] == request["contact"])
                client.put(
                    f"{path}/tempcontacts/{request['contact']}", json=found | request["changes"]
                ).raise_for_status()
                client.get(f"{path}/contacts").raise_for_status()

            started = time.perf_counter()
            with ThreadPoolExecutor(PARALLEL) as pool:
                list(pool.map(one, requests[: int(count)]))
            return time.perf_counter() - started


def attendance_ours(pupils: str) -> float:
    """A morning of a school whose night has been delivered; the second one, as the first has nothing to compare with."""
    from isams_pipeline.sandbox.server import serving
    from isams_pipeline_tests.world import SCHOOL, make_world, small_school

    with contextlib.ExitStack() as stack, tempfile.TemporaryDirectory() as folder:
        school = small_school(pupils=int(pupils), subjects=8, nightly_joiners=2)
        world = make_world(Path(folder), {SCHOOL: school}, lambda app: stack.enter_context(serving(app)))
        assert world.night(0).outcome == "delivered"
        assert world.attendance().outcome == "delivered"
        assert world.night(1).outcome == "delivered"
        world.sandbox.day_of(SCHOOL)
        run = world.attendance(day=1)
        assert run.outcome == "delivered", run.reason
        world.close()
        return run.seconds


def attendance_bare() -> float:
    """A bare run of three empty assets with a check, on an instance as Dagster makes it; the third one."""
    import dagster as dg

    partitions = dg.MultiPartitionsDefinition(
        {"date": dg.DailyPartitionsDefinition("2025-09-01"), "school": dg.StaticPartitionsDefinition(["riverside"])}
    )

    @dg.asset(partitions_def=partitions)
    def records() -> None: ...

    @dg.asset(partitions_def=partitions, deps=[records])
    def marks() -> None: ...

    @dg.asset(partitions_def=partitions, deps=[marks], check_specs=[dg.AssetCheckSpec("gate", asset="delivery")])
    def delivery():
        yield dg.MaterializeResult(check_results=[dg.AssetCheckResult(passed=True, check_name="gate")])

    job = dg.define_asset_job("bare", selection="*", executor_def=dg.in_process_executor)
    resolved = dg.Definitions(assets=[records, marks, delivery], jobs=[job]).resolve_job_def("bare")
    config = {"loggers": {"console": {"config": {"log_level": "CRITICAL"}}}}
    took = 0.0
    plain = {"telemetry": {"enabled": False}}
    with tempfile.TemporaryDirectory() as folder, dg.DagsterInstance.local_temp(folder, overrides=plain) as instance:
        for at in range(3):
            key = dg.MultiPartitionKey({"date": str(DAY + timedelta(days=at)), "school": "riverside"})
            started = time.perf_counter()
            assert resolved.execute_in_process(instance=instance, partition_key=key, run_config=config).success
            took = time.perf_counter() - started
    return took


def report(add: Any, pairs: Any, count: int) -> None:
    """The lines of the report."""
    from statistics import median

    ours, theirs, _ = pairs(min(count, 3), ("changes_ours", "1200", "1000"), ("changes_bare", "1200", "1000"))
    ratio = median(a / b for a, b in zip(ours, theirs, strict=True))
    detail = f"each call 50 ms, 8 at a time, read, write and read back; medians {median(ours):.1f} s and {median(theirs):.1f} s"
    add("1,000 change requests applied / their calls alone", ratio, "at most 1.3", ratio <= 1.3, detail)
    ours, theirs, _ = pairs(count, ("attendance_ours", "1500"), ("attendance_bare",))
    ratio = median(a / b for a, b in zip(ours, theirs, strict=True))
    detail = f"1,500 students, 3 assets and a check; medians {median(ours):.2f} s and {median(theirs):.2f} s"
    add("attendance read and delivered / a bare Dagster run", ratio, "at most 2", ratio <= 2, detail)
