"""`sandbox` and `ui`: things that serve."""

from __future__ import annotations

import contextlib
import os
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Generator, Mapping
from datetime import UTC, date, datetime, timedelta
from pathlib import Path
from typing import Annotated
from urllib.parse import urlsplit

import httpx
import typer

from isams_pipeline.clock import system_clock
from isams_pipeline.commands.common import (
    DATA_DIR,
    Config,
    DataDir,
    console,
    say,
)
from isams_pipeline.commands.demo import exports_of
from isams_pipeline.commands.made_up import DEMO_CONFIG, SANDBOX, keep_apart, the_only
from isams_pipeline.config import CONFIG_VARIABLE, Settings, find_config, load_settings
from isams_pipeline.environment import DATA_DIR_VARIABLE
from isams_pipeline.errors import WrongUse
from isams_pipeline.instance import prepare_home
from isams_pipeline.sandbox.demo import demo_schools, make_sandbox, secrets_of, write_config
from isams_pipeline.sandbox.server import FAULTS, Sandbox, serving


def sandbox(
    port: Annotated[int, typer.Option(min=1, max=65535, help="Where to listen, on loopback.")] = 8765,
    data_dir: DataDir = DATA_DIR,
    scale: Annotated[float, typer.Option(min=0.5, max=200, help="Make the schools larger.")] = 1,
    cache_hours: Annotated[float, typer.Option(help="How long the keys answer from their cache.")] = 2,
    start: Annotated[
        str | None,
        typer.Option(
            "--clock",
            help="A moment such as 2026-11-20T02:00; the clock goes on from there. [default: now]",
            show_default=False,
        ),
    ] = None,
) -> int:
    """Serve two made-up schools until Ctrl-C: by a stand-in iSAMS, Assembly and Xporter on Demand.

    `GET /sandbox` lists schools, keys, roads and faults; `POST /sandbox/faults` with `{"school": "riverside", "kind":
    "deadlock", "times": 2}` orders one for the next requests; with `"key": "students"` for the next of that key.
    `POST /sandbox/roads` with `{"school": "riverside", "road": "assembly", "step": "connected"}` does what the school
    does on the way of connecting another road.
    """
    try:
        shift = datetime.fromisoformat(start).replace(tzinfo=UTC) - system_clock() if start else timedelta()
    except ValueError:
        raise typer.BadParameter("write --clock as 2026-11-20T02:00 (UTC)") from None
    schools = demo_schools(scale)
    server = make_sandbox(schools, lambda: system_clock() + shift, cache_hours=cache_hours)
    with the_only("A sandbox", data_dir, SANDBOX), _serving(server, port) as url:
        folder = (data_dir / SANDBOX).resolve()
        config = folder / "schools.yaml"
        today = date.today()  # noqa: DTZ011
        write_config(
            config,
            schools,
            server,
            url=url,
            deliver_to=str(folder / "exports"),
            history_from=f"{today.year - 1}-09-01",
            cache_hours=cache_hours,
        )
        console.print(f"Sandbox iSAMS at {url} (see {url}/sandbox). Its keys guard nothing:\n")
        for name, value in secrets_of(server).items():
            console.print(f"export {name}={value}", soft_wrap=True)
        console.print(f"export {CONFIG_VARIABLE}={config}", soft_wrap=True)
        console.print(f"export {DATA_DIR_VARIABLE}={folder / 'data'}\n", soft_wrap=True)
        console.print(f"Faults on request: {', '.join(FAULTS)}\nCtrl-C stops it.")
        with contextlib.suppress(KeyboardInterrupt):
            while True:
                time.sleep(3600)
    return 0


@contextlib.contextmanager
def _serving(server: Sandbox, port: int) -> Generator[str, None, None]:
    try:
        with serving(server.app(), port) as url:
            yield url
    except OSError:
        raise WrongUse(f"Port {port} is taken", remedy="Give another one with --port.") from None


def ui(
    port: Annotated[int, typer.Option(min=1, max=65535, help="Where the Dagster UI listens, on loopback.")] = 3000,
    config: Config = None,
    data_dir: DataDir = DATA_DIR,
    read_only: Annotated[bool, typer.Option("--read-only", help="Show everything, launch nothing.")] = False,
) -> int:
    """Open the Dagster UI with its daemon over the data folder, until Ctrl-C.

    After a demo, and with no schools.yaml, the demo's schools and their sandbox iSAMS come with it. Dagster has no
    log-in of its own: it listens on this machine only; docs/operations.md says how to share it.
    """
    # A shell starts background processes deaf to Ctrl-C's signal; what is started here must not outlive this.
    signal.signal(signal.SIGINT, signal.default_int_handler)
    for number in (signal.SIGTERM, signal.SIGHUP):  # the latter when its terminal is closed
        signal.signal(number, _leave)
    _refuse_taken(port)
    with contextlib.ExitStack() as stack:
        stack.enter_context(the_only("A UI or a demo", data_dir))
        variables = dict(os.environ)
        file = find_config(config)
        demo_config = (data_dir / DEMO_CONFIG).resolve()
        chosen = config is not None or CONFIG_VARIABLE in os.environ
        if demo_config.exists() and (not chosen or file == demo_config):
            file = demo_config
            variables |= stack.enter_context(_demo_sandbox(file, data_dir))
        if file is None:
            raise WrongUse(
                "There is no configuration file and no demo",
                remedy="Run `make demo` first, or copy schools.example.yaml to schools.yaml.",
            )
        settings = load_settings(file)
        keep_apart(data_dir, settings)
        _warn_of_missing_secrets(settings, variables)
        home = prepare_home(data_dir)
        variables |= {
            "DAGSTER_HOME": str(home),
            CONFIG_VARIABLE: str(file),
            DATA_DIR_VARIABLE: str(data_dir.resolve()),
        }
        variables |= {name: os.environ[name] for name in ("ISAMS_POSTGRES_URL",) if name in os.environ}
        module = ["-m", "isams_pipeline.definitions"]
        web = [sys.executable, "-m", "dagster_webserver", *module, "-h", "127.0.0.1", "-p", str(port)]
        daemon = [sys.executable, "-m", "dagster._daemon", "run", *module]
        processes = [stack.enter_context(_process([*web, "--read-only"] if read_only else web, variables, home))]
        if not read_only:
            processes.append(stack.enter_context(_process(daemon, variables, home)))
        address = f"http://127.0.0.1:{port}"
        with console.status("starting Dagster"):
            _until_up(address, processes)
        say("Dagster UI: ", (address, "bold"), f"    schools: {file}    Ctrl-C stops it.")
        with contextlib.suppress(KeyboardInterrupt):
            while all(process.poll() is None for process in processes):
                time.sleep(0.5)
            say(("Dagster ended by itself.", "red"), f" Its last words are in {home / 'logs'}")
            return 1
    return 0


def _warn_of_missing_secrets(settings: Settings, variables: Mapping[str, str]) -> None:
    """A night without its secrets fails at 02:00; better to hear of it now."""
    named = {name for school in settings.schools.values() for name in school.variables}
    missing = sorted(name for name in named if not variables.get(name))
    if missing:
        say(("Not set", "yellow"), f", so nights that need them will fail: {', '.join(missing)}")


def _refuse_taken(port: int) -> None:
    with socket.socket() as probe:
        probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        try:
            probe.bind(("127.0.0.1", port))
        except OSError:
            raise WrongUse(f"Port {port} is taken", remedy="Give another one with --port.") from None


def _leave(_number: int, _frame: object) -> None:
    sys.exit(0)


@contextlib.contextmanager
def _demo_sandbox(config: Path, data_dir: Path) -> Generator[dict[str, str], None, None]:
    """The demo's sandbox again, at the address that its schools.yaml names if that is free."""
    schools = demo_schools()
    settings = load_settings(config)
    port = urlsplit(next(iter(settings.schools.values())).need_isams.url).port or 0
    server = make_sandbox(schools, system_clock, connected=True)
    with contextlib.ExitStack() as stack:
        try:
            url = stack.enter_context(serving(server.app(), port))
        except OSError:
            url = stack.enter_context(serving(server.app()))
        write_config(
            config,
            schools,
            server,
            url=url,
            deliver_to=exports_of(data_dir),
            history_from=settings.history_from.isoformat(),
        )
        yield secrets_of(server)


@contextlib.contextmanager
def _process(
    command: list[str], variables: dict[str, str], home: Path
) -> Generator[subprocess.Popen[bytes], None, None]:
    """A process of its own group, its output in a log file, stopped at the end."""
    logs = home / "logs"
    logs.mkdir(mode=0o700, exist_ok=True)
    with (logs / f"{command[2].strip('_.').rpartition('.')[2]}.log").open("wb") as log:
        process = subprocess.Popen(  # noqa: S603
            command, env=variables, stdout=log, stderr=subprocess.STDOUT, start_new_session=True
        )
        try:
            yield process
        finally:
            with contextlib.suppress(ProcessLookupError):
                os.killpg(process.pid, signal.SIGINT)
            try:
                process.wait(timeout=15)
            except subprocess.TimeoutExpired:
                os.killpg(process.pid, signal.SIGKILL)
                process.wait()


def _until_up(address: str, processes: list[subprocess.Popen[bytes]]) -> None:
    give_up = time.monotonic() + 90
    while time.monotonic() < give_up and all(process.poll() is None for process in processes):
        with contextlib.suppress(httpx.HTTPError):
            if httpx.get(f"{address}/server_info", timeout=2).is_success:
                return
        time.sleep(0.3)
    raise WrongUse(
        "The Dagster UI did not start", remedy="Look into data/dagster/logs; its port may be taken (--port)."
    )
