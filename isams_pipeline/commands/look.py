"""`explain`, `doctor` and `inspect`: looking into a person, a school's keys, a saved response."""

from __future__ import annotations

import io
import json
from collections.abc import Callable, Iterable
from pathlib import Path
from typing import Annotated

import typer
from rich import box
from rich.table import Table
from rich.text import Text

from isams_pipeline.commands.common import (
    DATA_DIR,
    Config,
    DataDir,
    console,
    say,
)
from isams_pipeline.commands.machine import look, mend, print_found
from isams_pipeline.commands.places import Servers, alerts, mail, targets, webhooks
from isams_pipeline.config import IsamsSettings
from isams_pipeline.config.secrets import is_set
from isams_pipeline.definitions import environment_from
from isams_pipeline.errors import MissingSecret, PipelineError, WrongUse
from isams_pipeline.orchestration.connector import Connector
from isams_pipeline.orchestration.environment import Environment
from isams_pipeline.sources.advice import advice as advice_on
from isams_pipeline.sources.isams.connect import batch_client, rest_client
from isams_pipeline.sources.isams.diagnosis import ClientDiagnosis, KeyDiagnosis, diagnose, diagnose_rest, feeds_missing
from isams_pipeline.sources.isams.inspection import Inspection, matches, records
from isams_pipeline.sources.isams.inspection import inspect as look_into
from isams_pipeline.sources.registry import LISTED
from isams_pipeline.sources.shared.access import Access
from isams_pipeline.sources.shared.connections import State
from isams_pipeline.storage.archive import unpacked


def doctor(
    school: Annotated[str | None, typer.Argument(help="A school. [default: all]", show_default=False)] = None,
    repair: Annotated[
        bool,
        typer.Option(
            "--repair",
            help="Repair a Dagster history that several processes created at once, and end runs left without a "
            "process. Stop the UI first.",
        ),
    ] = False,
    offline: Annotated[
        bool, typer.Option("--offline", help="Ask no server: schools.yaml, the secrets and this machine alone.")
    ] = False,
    config: Config = None,
    data_dir: DataDir = DATA_DIR,
) -> int:
    """Check each key, REST client and other source: reachable, authorised, what it may do, cache hours, TLS, clock.

    Says of this machine: Python's known flaws, how Postgres is protected, how old secrets in files are, how full the
    disk is. Tries each target (a hidden file is written, renamed and removed), each mail server and each webhook's host
    (nothing is sent: `isams-pipeline alerts --test` does that).
    Reads nobody's data: a key is asked for a method that cannot exist, so iSAMS refuses and lists what the key lacks; a
    client is asked for lists of codes and year groups.
    """
    environment = environment_from(config, data_dir)
    if repair:
        mend(environment, data_dir)
        return 0
    names = [school] if school else list(environment.settings.schools)
    if not names:
        raise WrongUse("There is no school to look at", remedy="Configure one in schools.yaml.")
    console.print("This machine")
    fit = print_found(look(environment, data_dir))
    console.print()
    if offline:
        needed = environment.settings.alerts.secrets.union(
            *(environment.settings.school(name).variables for name in names)
        )
        complete = all(is_set(environment.variables, name) for name in needed)
        right = print_found(found for found, url in webhooks(environment) if url is None)
        said = "and its secrets are there" if complete and right else "but secrets are missing, or none: see above"
        say(f"{environment.settings.file} is right, {said}. No server was asked.")
        return 0 if complete and right else 1
    console.print("Where files and mail go")
    servers = Servers()
    places = (*targets(environment, names), *mail(environment, names), *alerts(environment, servers))
    healthy = print_found(places)
    console.print()
    for name in names:
        settings = environment.settings.school(name)
        for source in settings.sources:
            url = settings.connections[source].server
            if url is not None and (trouble := servers.trouble(url)) is not None:
                say("  ", (name, "bold"), f", {source}, {url}: ", (trouble, "red"))
                fine = False
            elif source in LISTED:
                fine = _diagnose_listed(environment, name, source)
            else:
                fine = _diagnose_isams(environment, name, settings.need_isams)
            if not fine and not settings.partners.using(source):
                console.print(f"    No partner of {name} uses {source}, so nothing waits for it.", style="dim")
                continue
            healthy = healthy and fine
        console.print()
    fine = Text("All keys, clients and targets are fit.", "green")
    console.print(fine if healthy else Text("Some need care.", "yellow"))
    if not fit:
        console.print("This machine needs care, too: see above.", style="yellow")
    return 0 if healthy else 1


def _diagnose_isams(environment: Environment, name: str, isams: IsamsSettings) -> bool:
    """ISAMS's own source: its keys and REST clients; whether all are fit."""
    settings = environment.settings.school(name)
    with console.status(f"asking {name}"):
        access = environment.access(name)
        found = diagnose(isams, lambda key: batch_client(access, key), environment.clock, _secret_of(access, isams))
    console.print(_diagnosis(f"{name}, {isams.url}", found))
    healthy = all(key.healthy for key in found)
    _print_advice((key.key, key.advice) for key in found)
    if isams.rest:
        clients = diagnose_rest(settings, lambda client: rest_client(environment.access(name), client))
        console.print(_rest_diagnosis(clients))
        _print_advice((client.client, client.advice) for client in clients)
        healthy = healthy and all(client.healthy for client in clients)
    for partner, feeds in feeds_missing(settings).items():
        console.print(
            Text.assemble(
                "  ",
                (partner, "bold"),
                f": the partner's guide also asks for the feeds {', '.join(feeds)}; no key in isams.keys has them.",
            )
        )
    return healthy


def _secret_of(access: Access, isams: IsamsSettings) -> Callable[[str], str | None]:
    def secret(key: str) -> str | None:
        try:
            return access.secret(isams.keys[key].secret)
        except MissingSecret:
            return None

    return secret


def _print_advice(advice: Iterable[tuple[str, Iterable[str]]]) -> None:
    for name, lines in advice:
        for line in lines:
            say("  ", (name, "bold"), ": ", end="")
            console.print(line, soft_wrap=True)


def _diagnose_listed(environment: Environment, name: str, source: str) -> bool:
    """Another source: how far its connection is; whether the app may read."""
    try:
        now = Connector(environment, name, source, who="doctor").look().now
    except PipelineError as error:
        say("  ", (source, "bold"), ": ", (type(error).__name__, "red"), ": ", end="")
        console.print(str(error), soft_wrap=True)
        return False
    say("  ", (source, "bold"), f": {now.words}")
    if now.state is not State.AUTHORISED:
        partners = environment.settings.school(name).partners.using(source)
        console.print(f"    next: {advice_on(name, source, now, partners).next}", soft_wrap=True)
    return now.state is State.AUTHORISED


def _diagnosis(title: str, found: list[KeyDiagnosis]) -> Table:
    table = Table(title=title, title_justify="left", pad_edge=False, box=box.SIMPLE_HEAD)
    for column in ("key", "reachable", "authorised", "missing", "extra", "cache", "TLS", "clock"):
        table.add_column(column)
    for key in found:
        skew = "-" if key.skew_seconds is None else f"{key.skew_seconds:+.0f} s"
        table.add_row(
            key.key,
            _yes(key.reachable) if key.asked else "-",
            _yes(key.authorised) if key.asked else "-",
            "-" if key.allowed is None else _count(key.missing),
            "-" if key.allowed is None else _count(key.extra),
            f"{key.cache_hours:g} h",
            Text("loopback", "dim") if not key.encrypted else _yes(value=True) if key.reachable else "-",
            skew,
        )
    return table


def _rest_diagnosis(found: list[ClientDiagnosis]) -> Table:
    table = Table(title="REST clients", title_justify="left", pad_edge=False, box=box.SIMPLE_HEAD)
    for column in ("client", "serves", "authorised", "missing"):
        table.add_column(column)
    for client in found:
        serves = ", ".join(client.serves) or Text("nobody", "dim")
        table.add_row(client.client, serves, _yes(client.authorised), _count(client.missing))
    return table


def _count(methods: list[str]) -> Text:
    return Text(str(len(methods)), "yellow") if methods else Text("none", "dim")


def _yes(value: bool) -> Text:
    return Text("yes", "green") if value else Text("no", "red")


def inspect(
    file: Annotated[
        Path, typer.Argument(help="A saved Batch response: XML, or an object of the archive.", show_default=False)
    ],
    as_json: Annotated[bool, typer.Option("--json", help="Print one JSON document, records included.")] = False,
    show_records: Annotated[
        bool, typer.Option("--records", help="Print the records too. They are people's data.")
    ] = False,
    xpath: Annotated[
        str | None,
        typer.Option(
            "--xpath",
            help="Print only what an XPath 1.0 expression finds. That is people's data.",
            show_default=False,
        ),
    ] = None,
) -> int:
    """Show a saved Batch response: its datasets, unknown elements, or its error message.

    Exit code 0: data; 1: an error document, or nothing found by --xpath; 2: not readable.
    """
    try:
        if xpath is not None:
            return _print_matches(matches(io.BytesIO(unpacked(file.read_bytes())), xpath), as_json=as_json)
        found = look_into(io.BytesIO(unpacked(file.read_bytes())))
    except (OSError, PipelineError) as error:
        text = f"{file} cannot be read." if isinstance(error, OSError) else str(error)
        if as_json:
            problem = {
                "id": type(error).__name__,
                "title": "Not readable",
                "description": text,
                "retryable": False,
            }
            console.out(json.dumps({"datasets": {}, "unknown": [], "error": problem}, indent=2), highlight=False)
        else:
            say((type(error).__name__, "red"), f": {text}")
        return 2
    if as_json:
        console.out(json.dumps(found.as_json(), indent=2, ensure_ascii=False), highlight=False)
    else:
        _print_inspection(found, show_records=show_records)
    return 1 if found.message is not None else 0


def _print_matches(found: list[tuple[str, str]], *, as_json: bool) -> int:
    if as_json:
        console.out(json.dumps([{"path": path, "value": value} for path, value in found], ensure_ascii=False, indent=2))
    else:
        for path, value in found:
            console.out(f"{path}  {value}".strip(), highlight=False)
    return 0 if found else 1


def _print_inspection(found: Inspection, *, show_records: bool) -> None:
    if found.message is not None and found.error is not None:
        console.print(Text("This is an error document.", "yellow"))
        console.print(f"  id           {found.message.id}")
        console.print(f"  title        {found.message.title}")
        console.print(f"  description  {found.message.description}", soft_wrap=True)
        console.print(
            f"  a retry helps: {'yes' if found.error.retryable else 'no'}. {found.error}",
            soft_wrap=True,
        )
        return
    table = Table(pad_edge=False)
    table.add_column("dataset")
    table.add_column("rows", justify="right")
    for name, frame in found.datasets.items():
        table.add_row(name, str(len(frame)))
    console.print(table)
    if found.unknown:
        console.print("Not known to any dataset, and ignored:")
        for path in found.unknown:
            console.print(f"  {path}")
    if show_records:
        for name, frame in found.datasets.items():
            console.rule(name)
            for record in records(frame):
                console.out(json.dumps(record, ensure_ascii=False), highlight=False)
