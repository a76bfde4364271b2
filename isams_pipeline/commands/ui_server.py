"""The web server's process, which `isams-pipeline ui` starts. Has none of the secrets.

python -m isams_pipeline.commands.ui_server
"""

from __future__ import annotations

import argparse
import functools
from collections.abc import Callable, Mapping
from typing import Any

import dagster as dg
import uvicorn
from dagster._core.execution.backfill import PartitionBackfill
from dagster._core.workspace.context import WorkspaceProcessContext
from dagster._core.workspace.load_target import ModuleTarget
from dagster_webserver import app as dagster_app
from dagster_webserver.version import __version__

from isams_pipeline.config import find_config, load_settings
from isams_pipeline.orchestration.broken_off import PARTITION
from isams_pipeline.orchestration.environment import Environment
from isams_pipeline.orchestration.partitions import LAUNCHED_BY
from isams_pipeline.orchestration.ui.guard import LOOPBACK, Door, Guard, networks, user
from isams_pipeline.orchestration.ui.status_pages import Standing, StatusPages
from isams_pipeline.orchestration.ui.to_be_had import ToBeHad, refuse_lost, without_lost

DEFINITIONS = "isams_pipeline.definitions"


def main() -> None:
    """Serve until a signal comes."""
    parser = argparse.ArgumentParser(prog="isams_pipeline.commands.ui_server")
    parser.add_argument("--host", default="127.0.0.1")
    parser.add_argument("--port", type=int, required=True)
    parser.add_argument("--allowed-host", action="append", default=[])
    parser.add_argument("--behind-proxy")
    parser.add_argument("--proxy", action="append", default=[])
    parser.add_argument("--read-only", action="store_true")
    given = parser.parse_args()
    door = Door(
        frozenset({*LOOPBACK, *(name.lower() for name in given.allowed_host)}),
        given.behind_proxy,
        networks(given.proxy),
    )
    with dg.DagsterInstance.get() as instance:
        guard_launches(instance, lambda: ToBeHad(Environment(load_settings())))
        target = ModuleTarget(
            module_name=DEFINITIONS, attribute=None, working_directory=None, location_name=DEFINITIONS
        )
        with WorkspaceProcessContext(
            instance, version=__version__, read_only=given.read_only, workspace_load_target=target
        ) as context:
            webserver: Any = dagster_app
            app = webserver.create_app_from_workspace_process_context(context)
            pages = StatusPages(app, Looking(instance))
            uvicorn.Server(served(pages, door, given.host, given.port)).run()


class Looking:
    """How all schools stand, whenever monitoring asks. schools.yaml is read again where it has changed."""

    def __init__(self, instance: dg.DagsterInstance) -> None:
        self._instance = instance
        self._known: tuple[int, Environment] | None = None

    def __call__(self) -> Standing:
        # Imported when monitoring first asks: who only looks at the UI needs no partner in memory.
        from isams_pipeline.orchestration.status import status  # noqa: PLC0415
        from isams_pipeline.partners.registry import PARTNERS  # noqa: PLC0415

        return status(self._environment(), self._instance, PARTNERS.values())

    def _environment(self) -> Environment:
        file = find_config()
        changed = file.stat().st_mtime_ns if file is not None and file.exists() else 0
        if self._known is None or self._known[0] != changed:
            if self._known is not None:
                self._known[1].state.close()
            self._known = (changed, self._read())
        return self._known[1]

    @staticmethod
    def _read() -> Environment:
        from isams_pipeline.definitions import environment_from  # noqa: PLC0415

        return environment_from()


def served(app: Any, door: Door, host: str, port: int) -> uvicorn.Config:
    """How the guarded UI is served: the guard looks at who really asks, where a header could name anybody."""
    return uvicorn.Config(
        Guard(app, door), host=host, port=port, log_level="warning", proxy_headers=False, server_header=False
    )


def guard_launches(instance: dg.DagsterInstance, to_be_had: Callable[[], Callable[[str], bool]]) -> None:
    """Let runs and backfills that are launched here say in their tags who launched them, and have nights that exist.

    The web server makes them by these two methods, whichever of its buttons was pressed; a tag of that name that came
    with the request does not count. Raises WrongUse where no chosen night can be had.
    """
    runs: Any = instance.run_domain
    create_run, add_backfill = runs.create_run, instance.add_backfill

    @functools.wraps(create_run)
    def run(*args: Any, **options: Any) -> Any:
        tags: dict[str, str] = options.get("tags") or {}
        if PARTITION in tags:
            job, assets = options.get("job_name"), options.get("asset_selection")
            refuse_lost(job, assets, tags[PARTITION], to_be_had())
        return create_run(*args, **options | {"tags": _tagged(tags)})

    @functools.wraps(add_backfill)
    def backfill(partition_backfill: PartitionBackfill) -> None:
        chosen = without_lost(partition_backfill, to_be_had())
        add_backfill(chosen._replace(tags=_tagged(chosen.tags)))

    runs.create_run = run
    setattr(instance, "add_backfill", backfill)  # noqa: B010


def _tagged(tags: Mapping[str, str] | None) -> dict[str, str]:
    name = user.get()
    others = {key: value for key, value in (tags or {}).items() if key != LAUNCHED_BY}
    return others if name is None else {**others, LAUNCHED_BY: name}


if __name__ == "__main__":
    main()
