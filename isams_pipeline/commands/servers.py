"""`demo`, `sandbox` and `ui`: things that serve."""

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
from datetime import time as wall_time
from pathlib import Path
from typing import Annotated
from urllib.parse import urlsplit
from zoneinfo import ZoneInfo

import httpx
import typer
from rich.progress import (
    BarColumn,
    MofNCompleteColumn,
    Progress,
    SpinnerColumn,
    TextColumn,
    TimeElapsedColumn,
)

from isams_pipeline.clock import system_clock
from isams_pipeline.commands.common import (
    DATA_DIR,
    Config,
    DataDir,
    add_night,
    console,
    outcome_table,
    print_end,
)
from isams_pipeline.commands.made_up import DEMO_CONFIG, SANDBOX, keep_apart, make_room, the_only
from isams_pipeline.config import CONFIG_VARIABLE, Settings, find_config, load_settings
from isams_pipeline.delivery.receipts import Outcome
from isams_pipeline.environment import DATA_DIR_VARIABLE, Environment
from isams_pipeline.errors import WrongUse
from isams_pipeline.headless import Nightly, NightRun
from isams_pipeline.instance import open_instance, prepare_home
from isams_pipeline.partitions import Night
from isams_pipeline.partners.room_booking.imports import take
from isams_pipeline.partners.room_booking.night import outbox_of
from isams_pipeline.partners.room_booking.store import BookingStore
from isams_pipeline.sandbox.bookings import partner_files
from isams_pipeline.sandbox.demo import DemoSchool, demo_schools, make_sandbox, secrets_of, write_config
from isams_pipeline.sandbox.school import SchoolDay
from isams_pipeline.sandbox.server import FAULTS, Sandbox, serving

DEMO_NIGHTS = 3
HOURS = {"schoolsbuddy": 2, "room_booking": 3}
"""When the demo runs each partner, as their schedules do."""


def demo(
    data_dir: DataDir = DATA_DIR,
    scale: Annotated[float, typer.Option(min=0.5, max=50, help="Make the schools larger.")] = 1,
) -> int:
    """Run three nights of two made-up schools against a sandbox iSAMS, for SchoolsBuddy and Room Booking.

    Starts anew each time. Everything lands in the data folder; `isams-pipeline ui` shows its history.
    """
    with the_only("A demo or a UI", data_dir):
        make_room(data_dir)
        return _demo(data_dir, scale)


def _demo(data_dir: Path, scale: float) -> int:
    schools = demo_schools(scale)
    last = datetime.now(UTC).date() - timedelta(days=1)
    nights = [last - timedelta(days=back) for back in reversed(range(DEMO_NIGHTS))]
    moment = datetime.now(UTC)

    def clock() -> datetime:
        return moment

    sandbox = make_sandbox(schools, clock)
    with serving(sandbox.app()) as url:
        environment = _demo_environment(data_dir, schools, sandbox, url, nights[0])
        environment.clock = clock
        columns = (
            SpinnerColumn(),
            TextColumn("{task.description}"),
            BarColumn(),
            MofNCompleteColumn(),
            TimeElapsedColumn(),
        )
        table = outcome_table()
        runs: list[NightRun] = []
        console.print(f"A sandbox iSAMS for {' and '.join(schools)}; the nights of {nights[0]} to {nights[-1]}.")
        with open_instance(data_dir) as instance, Progress(*columns, console=console) as progress:
            partners = {name: Nightly(environment, instance, name) for name in HOURS}
            task = progress.add_task("", total=len(nights) * len(schools) * len(partners))
            for name, school in schools.items():
                _bring_in_bookings(environment, name, SchoolDay(school.plan, nights[0]))
            for day in nights:
                for name, school in schools.items():
                    for partner, nightly in partners.items():
                        progress.update(task, description=f"{name} {day} {partner}")
                        hour = wall_time(HOURS[partner])
                        moment = datetime.combine(day, hour, ZoneInfo(school.timezone)).astimezone(UTC)
                        # A school's first cancellations wait for a person; here it is taken that one has looked.
                        run = nightly.run(Night(name, day), allow_cancellations=day == nights[0])
                        runs.append(run)
                        add_night(table, run)
                        progress.console.print(f"{name} {day} {partner}: {run.outcome.value} in {run.seconds:.1f} s")
                        progress.advance(task)
        mail = {name: outbox_of(environment, name).counts() for name in schools}
    console.print(table)
    bad = [run for run in runs if run.outcome is not Outcome.DELIVERED]
    for run in bad:
        print_end(run)
    if bad:
        return 1
    console.print(
        f"Exports: {_short(data_dir / 'exports')}    What is not in them, and why: {_short(data_dir / 'reports')}"
    )
    sent = ", ".join(f"{sum(counts.values())} of {name}" for name, counts in mail.items())
    console.print(f"Bookings that clashed with lessons were cancelled, and their owners written to: {sent}.")
    console.print(
        f"Their messages: {_short(data_dir / 'outbox')}    Rooms in use, as pictures: {_short(data_dir / 'reports')}"
    )
    command = "make ui" if data_dir == DATA_DIR else f"isams-pipeline ui --data-dir {data_dir}"
    console.print(f"Now open the same history in the Dagster UI:  [bold]{command}[/]", soft_wrap=True)
    return 0


def _bring_in_bookings(environment: Environment, school: str, day: SchoolDay) -> None:
    """The partner's side of a made-up school, as `rooms import` would bring it in."""
    for kind, text in partner_files(day).items():
        with environment.state.transaction() as session:
            take(BookingStore(session, school), kind, text.encode())


def _exports(data_dir: Path) -> str:
    return str((data_dir / "exports").resolve())


def _short(path: Path) -> str:
    resolved = path.resolve()
    return str(resolved.relative_to(Path.cwd())) if resolved.is_relative_to(Path.cwd()) else str(resolved)


def _demo_environment(
    data_dir: Path, schools: dict[str, DemoSchool], sandbox: Sandbox, url: str, first: date
) -> Environment:
    """Write the demo's schools.yaml, and the environment over it."""
    config = data_dir / DEMO_CONFIG
    data_dir.mkdir(mode=0o700, parents=True, exist_ok=True)
    history_from = f"{first.year if first.month >= 9 else first.year - 1}-09-01"  # noqa: PLR2004
    write_config(config, schools, sandbox, url=url, deliver_to=_exports(data_dir), history_from=history_from)
    return Environment(load_settings(config), data_dir=data_dir, variables={**os.environ, **secrets_of(sandbox)})


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
    """Serve a stand-in iSAMS with two made-up schools until Ctrl-C.

    `GET /sandbox` lists schools, keys and faults; `POST /sandbox/faults` with `{"school": "riverside", "kind":
    "deadlock", "times": 2}` orders one for the next requests; with `"key": "students"` for the next of that key.
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
        console.print(f"Dagster UI: [bold]{address}[/]    schools: {file}    Ctrl-C stops it.", soft_wrap=True)
        with contextlib.suppress(KeyboardInterrupt):
            while all(process.poll() is None for process in processes):
                time.sleep(0.5)
            console.print("[red]Dagster ended by itself.[/] Its last words are in " + str(home / "logs"))
            return 1
    return 0


def _warn_of_missing_secrets(settings: Settings, variables: Mapping[str, str]) -> None:
    """A night without its secrets fails at 02:00; better to hear of it now."""
    named = {
        name
        for school in settings.schools.values()
        for key in school.isams.keys.values()
        for name in (key.secret, key.client_id)
        if name is not None
    }
    missing = sorted(name for name in named if not variables.get(name))
    if missing:
        console.print(f"[yellow]Not set[/], so nights that need them will fail: {', '.join(missing)}", soft_wrap=True)


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
    port = urlsplit(next(iter(settings.schools.values())).isams.url).port or 0
    server = make_sandbox(schools, system_clock)
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
            deliver_to=_exports(data_dir),
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
