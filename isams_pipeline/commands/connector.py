"""`connector`: a school's connection by Assembly or Xporter on Demand, from finding the school to purging its data."""

from __future__ import annotations

import getpass
import secrets
import time
import webbrowser
from http.server import BaseHTTPRequestHandler, HTTPServer
from typing import Annotated
from urllib.parse import parse_qs, urlsplit

import typer
from rich import box
from rich.panel import Panel
from rich.table import Table
from rich.text import Text

from isams_pipeline.clock import in_words
from isams_pipeline.commands.common import DATA_DIR, Config, DataDir, School, console
from isams_pipeline.commands.made_up import keep_apart
from isams_pipeline.config import is_loopback
from isams_pipeline.definitions import environment_from
from isams_pipeline.environment import Environment
from isams_pipeline.errors import WrongUse
from isams_pipeline.roads import ASSEMBLY, LABELS
from isams_pipeline.roads.advice import advice, steps
from isams_pipeline.roads.connections import Connection, State
from isams_pipeline.roads.connector import Connector
from isams_pipeline.roads.registry import ROADS

Road = Annotated[
    str | None,
    typer.Option("--road", help="assembly or xporter. [default: the only one that the school has]", show_default=False),
]
_COLOURS = {State.AUTHORISED: "green", State.CONNECTED: "cyan"}
_MOVES = 6
_WAIT = 300
"""Seconds that the redirect is waited for."""


def find(
    text: Annotated[str, typer.Argument(help="A part of the name, or the postcode.", show_default=False)],
    config: Config = None,
    data_dir: DataDir = DATA_DIR,
) -> int:
    """Find a school in the register of schools: its numbers are what schools.yaml wants (urn, estab).

    Asks Xporter on Demand with the application's own secret; reads nobody's data.
    """
    environment = environment_from(config, data_dir)
    schools = environment.settings.schools.items()
    name = next((n for n, s in schools if s.xporter and s.xporter.management_secret), None)
    if name is None:
        raise WrongUse(
            "No school in schools.yaml names xporter.management_secret, with which schools are found",
            remedy="Add it to one; or look the school up at get-information-schools.service.gov.uk.",
        )
    with environment.xporter_client_for(name, to_manage=True) as client:
        found = client.search(text)
    if not found:
        console.print("No school was found. Try fewer letters of the name, or the postcode.")
        return 1
    table = Table(box=box.SIMPLE_HEAD, pad_edge=False)
    for column in ("school", "town", "postcode", "estab", "urn"):
        table.add_column(column)
    for one in found:
        table.add_row(*map(Text, (one.name, one.town, one.postcode, f"{one.la_code}{one.estab_code}", one.urn)))
    console.print(table)
    return 0


def status(school: School, road: Road = None, config: Config = None, data_dir: DataDir = DATA_DIR) -> int:
    """Show how far the connection was when last looked at, since when, what to do next, and by whom."""
    environment = environment_from(config, data_dir)
    for source in _roads_of(environment, school, road):
        _show(environment, Connector(environment, school, source, who=_who()).current, school, source)
        _show_history(environment, school, source)
    return 0


def look(school: School, road: Road = None, config: Config = None, data_dir: DataDir = DATA_DIR) -> int:
    """Look now, by calls that read nobody's data, and show what they say. Exit code 1 until it is connected."""
    environment = _writable(config, data_dir)
    well = True
    for source in _roads_of(environment, school, road):
        moved = Connector(environment, school, source, who=_who()).look()
        _show(environment, moved.now, school, source)
        if moved.worse:
            console.print(f"[yellow]Worse than before[/]: {moved.worse}")
        well = well and moved.now.state.rank >= State.CONNECTED.rank
    return 0 if well else 1


def invite(school: School, road: Road = None, config: Config = None, data_dir: DataDir = DATA_DIR) -> int:
    """Invite the school to share its data by Xporter on Demand; Assembly is invited by the school itself."""
    environment = _writable(config, data_dir)
    source = _one_road(environment, school, road)
    moved = Connector(environment, school, source, who=_who()).invite()
    console.print("The invitation is on its way.")
    _show(environment, moved.now, school, source)
    return 0


def sync(school: School, road: Road = None, config: Config = None, data_dir: DataDir = DATA_DIR) -> int:
    """Ask Assembly to fetch the school's data from its MIS now, rather than at its own next time."""
    environment = _writable(config, data_dir)
    source = ASSEMBLY if road is None else _one_road(environment, school, road)
    Connector(environment, school, source, who=_who()).sync()
    console.print("Assembly fetches the school's data now; that may take some minutes.")
    return 0


def authorise(
    school: School,
    road: Road = None,
    code: Annotated[
        str | None, typer.Option("--code", help="Assembly: the code in the address that it sent the browser to.")
    ] = None,
    scopes: Annotated[
        str | None,
        typer.Option("--scopes", help="Xporter: which of the authorised scopes to use, by commas. [default: all]"),
    ] = None,
    config: Config = None,
    data_dir: DataDir = DATA_DIR,
) -> int:
    """Authorise the app. Nothing about a person is read before that, and then only what was authorised.

    Assembly: a person of the school says yes in a browser; where the app's redirect_uri is on this machine, the answer
    is waited for, else give it with --code. Xporter: what the school has authorised there is taken into use.
    """
    environment = _writable(config, data_dir)
    source = _one_road(environment, school, road)
    connector = Connector(environment, school, source, who=_who())
    if scopes and source == ASSEMBLY:
        raise WrongUse("--scopes is Xporter's", remedy="At Assembly the school chooses them in the browser.")
    if code and source != ASSEMBLY:
        raise WrongUse("--code is Assembly's", remedy="Leave it out: what the school has authorised is taken into use.")
    if source != ASSEMBLY:
        moved = connector.choose([name.strip() for name in scopes.split(",")] if scopes else None)
        with environment.xporter_client_for(school) as client:
            words = client.scopes_in_words()
        for name in sorted(moved.now.scopes):
            console.print(Text(f"  {name}  ").append(words.get(name, ""), "dim"))
    else:
        moved = connector.take_code(code or _code_from_browser(environment, school))
    _show(environment, moved.now, school, source)
    return 0 if moved.now.state is State.AUTHORISED else 1


def revoke(
    school: School,
    road: Road = None,
    purge: Annotated[
        bool, typer.Option("--purge", help="Also remove what is kept of the school from this road.")
    ] = False,
    config: Config = None,
    data_dir: DataDir = DATA_DIR,
) -> int:
    """Take the app's authorisation back: nothing is read any more."""
    environment = _writable(config, data_dir)
    source = _one_road(environment, school, road)
    connector = Connector(environment, school, source, who=_who())
    moved = connector.revoke()
    _show(environment, moved.now, school, source)
    if source != ASSEMBLY:
        console.print(
            "Xporter itself keeps sharing until the school ends that in the Groupcall School Portal.", soft_wrap=True
        )
    if purge:
        return _purge(connector)
    console.print(
        f"What was read before is still here; isams-pipeline connector purge {school} --road {source} removes it.",
        soft_wrap=True,
    )
    return 0


def purge(school: School, road: Road = None, config: Config = None, data_dir: DataDir = DATA_DIR) -> int:
    """Remove what is kept of the school from this road: lists, tables, staged exports. Refused while authorised.

    What a partner has got stays where it was delivered; receipts and the connection's history stay, and name nobody.
    """
    environment = _writable(config, data_dir)
    source = _one_road(environment, school, road)
    return _purge(Connector(environment, school, source, who=_who()))


def _purge(connector: Connector) -> int:
    done = connector.purge()
    console.print(
        f"Removed of {connector.school} from {LABELS[connector.source]}: {done.lists} files of lists, "
        f"{done.tables} of tables, {done.exports} of staged exports, {done.reports} of reconciliations.",
        soft_wrap=True,
    )
    return 0


# --- what they share --------------------------------------------------------------------------------------


def _writable(config: Config, data_dir: DataDir) -> Environment:
    environment = environment_from(config, data_dir)
    keep_apart(data_dir, environment.settings)
    return environment


def _who() -> str:
    return getpass.getuser()


def _roads_of(environment: Environment, school: str, road: str | None) -> list[str]:
    """The road that was named, or all that the school has; raises ConfigurationError or BadParameter."""
    settings = environment.settings.school(school)
    if road is None:
        found = [source for source in settings.sources if source in ROADS]
        if not found:
            settings.road(ASSEMBLY)
        return found
    if road not in ROADS:
        raise typer.BadParameter(f"there is no road {road!r}; known are {', '.join(ROADS)}")
    settings.road(road)
    return [road]


def _one_road(environment: Environment, school: str, road: str | None) -> str:
    found = _roads_of(environment, school, road)
    if len(found) > 1:
        raise WrongUse(f"{school} has several roads", remedy=f"Say which: --road {' or --road '.join(found)}.")
    return found[0]


def connection_panel(environment: Environment, connection: Connection | None, school: str, source: str) -> Panel:
    """What the guide's page shows of a connection: its state, the steps ticked off, what is next, by whom."""
    zone = environment.settings.school(school).timezone
    told = advice(school, source, connection)
    lines = Text()
    for step in steps(source, connection):
        mark, colour = ("✔", "green") if step.done else ("✘", "red")
        lines.append(f"{mark} ", colour).append(step.name)
        lines.append(f"  {step.note}\n" if step.note else "\n", "dim")
    lines.append(f"\n{told.means}\n")
    if connection is not None:
        if connection.said:
            lines.append(f"{connection.said[:1].upper()}{connection.said[1:]}.\n", "dim")
        lines.append("Since ", "dim").append(in_words(connection.since, zone))
        lines.append(", looked at ", "dim").append(in_words(connection.checked, zone)).append("\n")
        if connection.invited is not None and connection.state is not State.AUTHORISED:
            lines.append("Invited ", "dim").append(in_words(connection.invited, zone)).append("\n")
    lines.append("Next").append(f", by {told.by}: " if told.by != "nobody" else ": ").append(told.next, "bold")
    words = connection.words if connection else "never looked at"
    colour = _COLOURS.get(connection.state, "yellow") if connection else "dim"
    title = Text(f"{school} by {LABELS[source]}: ").append(words, colour)
    return Panel(lines, title=title, title_align="left", box=box.ROUNDED, width=min(console.width, 100))


def _show(environment: Environment, connection: Connection | None, school: str, source: str) -> None:
    console.print(connection_panel(environment, connection, school, source))


def _show_history(environment: Environment, school: str, source: str) -> None:
    """The last moves: when, who, and what was seen."""
    moves = environment.connections.history(school, source)[-_MOVES:]
    if not moves:
        return
    zone = environment.settings.school(school).timezone
    table = Table(box=box.SIMPLE_HEAD, pad_edge=False)
    for column in ("when", "seen by", "state", ""):
        table.add_column(column)
    for move in moves:
        who = f"run {move.who[4:12]}" if move.who.startswith("run ") else move.who
        state = " ".join(filter(None, (move.state, move.reason))).replace("_", " ")
        table.add_row(in_words(move.at, zone)[:16], Text(who), state, Text(move.said))
    console.print(table)


def _code_from_browser(environment: Environment, school: str) -> str:
    """Open Assembly's page and wait for the code that it sends the browser back with."""
    settings = environment.settings.school(school).assembly
    assert settings is not None
    state = secrets.token_urlsafe()
    with environment.assembly_client_for(school) as client:
        address = client.tokens.authorise_url(state)
    console.print("A person of the school opens this address, logs in to Assembly and says yes:")
    console.print(address, soft_wrap=True, markup=False)
    parts = urlsplit(settings.redirect_uri)
    if not is_loopback(parts.hostname) or parts.scheme != "http":
        raise WrongUse(
            "The answer goes to another machine",
            school=school,
            remedy=f"Then: isams-pipeline connector authorise {school} --road assembly --code CODE, with the code in "
            "the address that the browser ends at.",
        )
    webbrowser.open(address)
    console.print(f"Waiting for the answer at {settings.redirect_uri} (at most {_WAIT // 60} minutes) …")
    return await_code(parts.hostname or "127.0.0.1", parts.port or 80, state)


def await_code(host: str, port: int, state: str, wait: float = _WAIT) -> str:
    """Listen for the redirect; gives its code. Raises WrongUse where none comes, or one that was not asked for."""
    given: dict[str, str] = {}

    class Redirect(BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            query = {name: values[0] for name, values in parse_qs(urlsplit(self.path).query).items()}
            if "code" in query or "error" in query:
                given.update(query)
            well = given.get("state") == state and "code" in given
            self.send_response(200 if well else 400)
            self.send_header("Content-Type", "text/plain; charset=utf-8")
            self.end_headers()
            self.wfile.write(b"Done. This window can be closed." if well else b"This was not asked for.")

        def log_message(self, format: str, *args: object) -> None:  # noqa: A002
            """The address holds the code: nothing is logged."""

    try:
        server = HTTPServer((host, port), Redirect)
    except OSError:
        raise WrongUse(f"Port {port} is taken", remedy="Free it, or give the code with --code.") from None
    give_up = time.monotonic() + wait
    with server:
        while not given and (left := give_up - time.monotonic()) > 0:  # a browser may ask for an icon first
            server.timeout = left
            server.handle_request()
    if given.get("state") != state or "code" not in given:
        said = "The school said no" if "error" in given else "No answer came that was asked for"
        raise WrongUse(said, remedy="Try again, or give the code with --code.")
    return given["code"]
