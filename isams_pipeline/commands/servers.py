"""`sandbox` and `ui`: things that serve."""

from __future__ import annotations

import contextlib
import os
import shutil
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Generator, Mapping
from dataclasses import replace
from datetime import UTC, date, datetime, timedelta
from pathlib import Path
from typing import Annotated
from urllib.parse import urlsplit

import dagster as dg
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
from isams_pipeline.commands.instance import open_instance, prepare_home
from isams_pipeline.commands.made_up import DEMO_CONFIG, SANDBOX, keep_apart, the_only
from isams_pipeline.config import CONFIG_VARIABLE, Settings, find_config, is_loopback, load_settings
from isams_pipeline.config.places import SCRATCH_VARIABLE, url_of
from isams_pipeline.config.secrets import is_set, without_secrets
from isams_pipeline.errors import WrongUse
from isams_pipeline.orchestration.broken_off import end_broken_off
from isams_pipeline.orchestration.environment import DATA_DIR_VARIABLE, Environment
from isams_pipeline.orchestration.pooled_history import NO_TELEMETRY
from isams_pipeline.orchestration.ui.guard import networks
from isams_pipeline.sandbox.calendars import SchoolCalendar
from isams_pipeline.sandbox.demo import demo_schools, make_sandbox, secrets_of, write_config
from isams_pipeline.sandbox.server import Sandbox, serving
from isams_pipeline.storage.state.database import POSTGRES_VARIABLE

HERE = "127.0.0.1"
_ANY = {"0.0.0.0", "::"}  # noqa: S104
_MOST_LINES, _MOST_NAMES = 8, 4
"""Of a warning: schools, and variables of each."""


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
    school_year: Annotated[
        bool,
        typer.Option(
            "--school-year",
            help="The schools have school years: on 1 September years move up, sets and timetable are made anew. "
            "Else a few pupils join and leave every night.",
        ),
    ] = False,
) -> int:
    """Serve two made-up schools until Ctrl-C: by a stand-in iSAMS, Assembly and Xporter on Demand.

    `GET /sandbox` lists schools, keys, sources and faults; `POST /sandbox/faults` with `{"school": "riverside", "kind":
    "deadlock", "times": 2}` orders one for the next requests; with `"key": "students"` for the next of that key.
    `POST /sandbox/sources` with `{"school": "riverside", "source": "assembly", "step": "connected"}` does what the
    school does on the way of connecting another source.
    """
    try:
        shift = datetime.fromisoformat(start).replace(tzinfo=UTC) - system_clock() if start else timedelta()
    except ValueError:
        raise typer.BadParameter("write --clock as 2026-11-20T02:00 (UTC)") from None
    schools = demo_schools(scale)
    if school_year:
        schools = {
            name: replace(school, plan=replace(school.plan, calendar=SchoolCalendar()))
            for name, school in schools.items()
        }
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
        console.print(f"Faults on request: {', '.join(server.faults)}\nCtrl-C stops it.")
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
    host: Annotated[str, typer.Option("--host", help="Where to listen; off this machine with --behind-proxy.")] = HERE,
    allowed_host: Annotated[
        list[str] | None,
        typer.Option("--allowed-host", help="A name by which browsers ask for the UI; may be given several times."),
    ] = None,
    behind_proxy: Annotated[
        str | None,
        typer.Option("--behind-proxy", help="The header in which the proxy says who has logged in.", metavar="HEADER"),
    ] = None,
    proxy: Annotated[
        list[str] | None,
        typer.Option("--proxy", help="An address or network of the proxy; may be given several times."),
    ] = None,
) -> int:
    """Open the Dagster UI with its daemon over the data folder, until Ctrl-C.

    After a demo, and with no schools.yaml, the demo's schools and their sandbox iSAMS come with it. Dagster has no
    log-in of its own: it listens on this machine only, and takes no orders from other web pages. To share it, put a
    proxy with log-in before it (docs/operations.md): --behind-proxy X-Remote-User --proxy 127.0.0.1 --allowed-host
    pipeline.example.org.
    """
    guarded = _guard_options(host, allowed_host or [], behind_proxy, proxy or [])
    # A shell starts background processes deaf to Ctrl-C's signal; what is started here must not outlive this.
    signal.signal(signal.SIGINT, signal.default_int_handler)
    for number in (signal.SIGTERM, signal.SIGHUP):  # the latter when its terminal is closed
        signal.signal(number, _leave)
    _refuse_taken(host, port)
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
        _remove_old_logs(home)
        # Made, or migrated, before two processes open it.
        with open_instance(data_dir) as instance:
            if not read_only:
                _end_broken_off(instance, settings, data_dir)
        variables |= {
            "DAGSTER_HOME": str(home),
            NO_TELEMETRY: "1",
            CONFIG_VARIABLE: str(file),
            DATA_DIR_VARIABLE: url_of(os.environ.get(DATA_DIR_VARIABLE)) or str(data_dir.resolve()),
            SCRATCH_VARIABLE: str(data_dir.resolve()),
        }
        variables |= {name: os.environ[name] for name in (POSTGRES_VARIABLE,) if name in os.environ}
        web = [sys.executable, "-m", "isams_pipeline.commands.ui_server", "--port", str(port), *guarded]
        daemon = [sys.executable, "-m", "dagster._daemon", "run", "-m", "isams_pipeline.definitions"]
        # The web server shows; runs are launched by the daemon, which alone needs the secrets.
        shown = without_secrets(variables, settings.variables)
        processes = [stack.enter_context(_process([*web, "--read-only"] if read_only else web, shown, home))]
        if not read_only:
            processes.append(stack.enter_context(_process(daemon, variables, home)))
        address = f"http://{HERE if host in _ANY else host}:{port}"
        with console.status("starting Dagster"):
            _until_up(address, processes)
        say("Dagster UI: ", (address, "bold"), f"    schools: {file}    Ctrl-C stops it.")
        with contextlib.suppress(KeyboardInterrupt):
            while all(process.poll() is None for process in processes):
                time.sleep(0.5)
            say(("Dagster stopped unexpectedly.", "red"), f" See the logs in {home / 'logs'}")
            return 1
    return 0


def _remove_old_logs(home: Path) -> None:
    """Remove the logs of versions before this one, from where Dagster's daemon would send them away, or had begun to.

    Each start began them anew.
    """
    for folder in (home / "logs", home / ".logs_queue"):
        if folder.is_dir():
            shutil.rmtree(folder)


def _warn_of_missing_secrets(settings: Settings, variables: Mapping[str, str]) -> None:
    """A night without its secrets fails at 02:00; better to hear of it now."""
    needed = {name: school.variables for name, school in settings.schools.items()}
    needed["alerts"] = settings.alerts.secrets
    lacking = {name: sorted(one for one in all_ if not is_set(variables, one)) for name, all_ in needed.items()}
    lacking = {name: missing for name, missing in lacking.items() if missing}
    if not lacking:
        return
    say(("Not set", "yellow"), ", so nights that need these secrets will fail:")
    for name, missing in list(lacking.items())[:_MOST_LINES]:
        more = f" and {len(missing) - _MOST_NAMES} more" if len(missing) > _MOST_NAMES else ""
        say("  ", (name, "bold"), f": {', '.join(missing[:_MOST_NAMES])}{more}")
    if len(lacking) > _MOST_LINES:
        say(f"  and {len(lacking) - _MOST_LINES} more schools; all of them: isams-pipeline doctor --offline")


def _end_broken_off(instance: dg.DagsterInstance, settings: Settings, data_dir: Path) -> None:
    """End runs of before this start that no living process holds."""
    environment = Environment(settings, data_dir=data_dir)
    ended = end_broken_off(instance, environment.locks)
    environment.state.close()
    if ended:
        say(
            (f"{len(ended)} runs had been broken off", "yellow"),
            ", and were ended: no living process held them. Those of today are run again once.",
        )


def _guard_options(host: str, allowed: list[str], header: str | None, proxies: list[str]) -> list[str]:
    """What the web server's guard is told; raises WrongUse for what would leave the door open."""
    if header is None and not is_loopback(host):
        raise WrongUse(
            f"On {host} anybody in the network could launch deliveries",
            remedy="Put a proxy with log-in before the UI, and say --behind-proxy HEADER --proxy ADDRESS: in HEADER "
            "the proxy says who has logged in, from ADDRESS. docs/operations.md has an example.",
        )
    if (header is None) != (not proxies):
        raise WrongUse(
            "--behind-proxy and --proxy belong together",
            remedy="Say both: the header in which the proxy says who has logged in, and the proxy's address.",
        )
    try:
        networks(proxies)
    except ValueError:
        raise typer.BadParameter("write --proxy as an address or network, such as 127.0.0.1 or 10.0.0.0/24") from None
    options = ["--host", host]
    for name in allowed:
        options += ["--allowed-host", name]
    for address in proxies:
        options += ["--proxy", address]
    return [*options, "--behind-proxy", header] if header is not None else options


def _refuse_taken(host: str, port: int) -> None:
    try:
        socket.create_server((host, port), family=socket.AF_INET6 if ":" in host else socket.AF_INET).close()
    except OSError:
        raise WrongUse(
            f"Port {port} of {host} is taken, or no address of this machine", remedy="Give another one with --port."
        ) from None


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


SERVICE_LOGS = "service_logs"
"""Below Dagster's home. Not `logs`: what lies there Dagster's daemon sends to its makers, whatever `telemetry` says."""
_LOGS = {"isams_pipeline.commands.ui_server": "webserver", "dagster._daemon": "daemon"}


@contextlib.contextmanager
def _process(
    command: list[str], variables: dict[str, str], home: Path
) -> Generator[subprocess.Popen[bytes], None, None]:
    """A process of its own group, its output in a log file, stopped at the end."""
    logs = home / SERVICE_LOGS
    logs.mkdir(mode=0o700, exist_ok=True)
    with (logs / f"{_LOGS[command[2]]}.log").open("wb") as log:
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
            httpx.get(f"{address}/server_info", timeout=2)  # it may refuse: then it is there
            return
        time.sleep(0.3)
    raise WrongUse(
        "The Dagster UI did not start",
        remedy=f"See dagster/{SERVICE_LOGS} in the data folder; the port may be taken (--port).",
    )
