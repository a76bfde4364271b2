"""`connector`: a school's connection by Assembly or Xporter on Demand, from finding the school to purging its data."""

from __future__ import annotations

import getpass
from typing import Annotated

import typer
from rich import box
from rich.panel import Panel
from rich.table import Table
from rich.text import Text

from isams_pipeline.clock import moment_in_words
from isams_pipeline.commands.common import DATA_DIR, Config, DataDir, School, console, say
from isams_pipeline.commands.made_up import keep_apart
from isams_pipeline.commands.redirect import code_from_browser
from isams_pipeline.definitions import environment_from
from isams_pipeline.errors import PipelineError, WrongUse
from isams_pipeline.orchestration.connector import Connector
from isams_pipeline.orchestration.environment import Environment
from isams_pipeline.sources import xporter
from isams_pipeline.sources.advice import advice, steps
from isams_pipeline.sources.registry import LISTED, label_of
from isams_pipeline.sources.shared.connections import Connection, State, state_in_words
from isams_pipeline.sources.xporter.settings import XporterSettings

Source = Annotated[
    str | None,
    typer.Option(
        "--source", help="assembly or xporter. [default: the only one; for status and test, all]", show_default=False
    ),
]
_COLOURS = {State.AUTHORISED: "green", State.CONNECTED: "cyan"}
_MOVES = 6


def find(
    text: Annotated[str, typer.Argument(help="A part of the name, or the postcode.", show_default=False)],
    config: Config = None,
    data_dir: DataDir = DATA_DIR,
) -> int:
    """Find a school in the register of schools: its numbers are what schools.yaml needs (urn, estab).

    Asks Xporter on Demand with the application's own secret; reads nobody's data.
    """
    environment = environment_from(config, data_dir)
    schools = environment.settings.schools.items()
    name = next((n for n, s in schools if (x := s.connection(XporterSettings)) and x.management_secret), None)
    if name is None:
        raise WrongUse(
            "Finding schools needs xporter.management_secret, which no school in schools.yaml has",
            remedy="Add xporter.management_secret to a school; or look the school up at "
            "get-information-schools.service.gov.uk.",
        )
    with xporter.connect(environment.access(name), to_manage=True) as client:
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


def status(school: School, named: Source = None, config: Config = None, data_dir: DataDir = DATA_DIR) -> int:
    """Show the connection as last checked: state, since when, the next step, and whose turn it is."""
    environment = environment_from(config, data_dir)
    for source in _sources_of(environment, school, named):
        _show(environment, Connector(environment, school, source, who=_who()).current, school, source)
        _show_history(environment, school, source)
    return 0


def look(school: School, named: Source = None, config: Config = None, data_dir: DataDir = DATA_DIR) -> int:
    """Check the connection now, by calls that read no personal data. Exit code 1 until the school is connected."""
    environment = _writable(config, data_dir)
    well = True
    for source in _sources_of(environment, school, named):
        moved = Connector(environment, school, source, who=_who()).look()
        _show(environment, moved.now, school, source)
        if moved.worse:
            say(("Worse than before", "yellow"), f": {moved.worse}")
        well = well and moved.now.state.rank >= State.CONNECTED.rank
    return 0 if well else 1


def invite(school: School, named: Source = None, config: Config = None, data_dir: DataDir = DATA_DIR) -> int:
    """Invite the school to share its data by Xporter on Demand; Assembly is invited by the school itself."""
    environment = _writable(config, data_dir)
    source = _one_source(environment, school, named)
    moved = Connector(environment, school, source, who=_who()).invite()
    console.print("The invitation is on its way.")
    _show(environment, moved.now, school, source)
    return 0


def sync(school: School, named: Source = None, config: Config = None, data_dir: DataDir = DATA_DIR) -> int:
    """Ask Assembly to fetch the school's data from its MIS now, rather than at its own next time."""
    environment = _writable(config, data_dir)
    can = [source for source, listed in LISTED.items() if listed.authorising.fetch is not None]
    source = can[0] if named is None and len(can) == 1 else _one_source(environment, school, named)
    Connector(environment, school, source, who=_who()).sync()
    console.print(f"{label_of(source)} fetches the school's data now; that may take some minutes.")
    return 0


def authorise(
    school: School,
    named: Source = None,
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
    source = _one_source(environment, school, named)
    connector = Connector(environment, school, source, who=_who())
    authorising = LISTED[source].authorising
    if code and scopes:
        raise WrongUse(
            "--code and --scopes cannot be given together",
            remedy="--code is for a source that authorises in a browser, --scopes for one that does not.",
        )
    if code or (authorising.in_a_browser and not scopes):
        if code is None:
            _warn_before_authorising(connector)
        moved = connector.take_code(code or code_from_browser(environment, school))
    else:
        moved = connector.choose([name.strip() for name in scopes.split(",")] if scopes else None)
        for name in sorted(moved.now.scopes):
            console.print(Text(f"  {name}  ").append(connector.offered.get(name, ""), "dim"))
    _show(environment, moved.now, school, source)
    return 0 if moved.now.state is State.AUTHORISED else 1


def _warn_before_authorising(connector: Connector) -> None:
    """Say where the school is not connected as far as Assembly tells; it goes on, as what tells that is inferred."""
    try:
        now = connector.look().now
    except PipelineError as error:
        say(("The state of the connection could not be checked", "yellow"), ": ", end="")
        console.print(error.what, soft_wrap=True)
        return
    if now.state.rank < State.CONNECTED.rank:
        console.print(
            Text.assemble(
                ("Assembly says that it is not connected to the school's data", "yellow"),
                f" ({now.words}), so authorising may fail.",
            ),
            soft_wrap=True,
        )
    elif now.state is State.AUTHORISED:
        console.print("The app is authorised already; another yes may change its scopes.", soft_wrap=True)


def revoke(
    school: School,
    named: Source = None,
    purge: Annotated[
        bool, typer.Option("--purge", help="Also remove what is kept of the school from this source.")
    ] = False,
    config: Config = None,
    data_dir: DataDir = DATA_DIR,
) -> int:
    """Take the app's authorisation back: nothing is read any more."""
    environment = _writable(config, data_dir)
    source = _one_source(environment, school, named)
    connector = Connector(environment, school, source, who=_who())
    moved = connector.revoke()
    _show(environment, moved.now, school, source)
    if remains := LISTED[source].authorising.remains:
        console.print(remains, soft_wrap=True)
    if purge:
        return _purge(connector)
    console.print(
        f"What was read before is still here; isams-pipeline connector purge {school} --source {source} removes it.",
        soft_wrap=True,
    )
    return 0


def purge(school: School, named: Source = None, config: Config = None, data_dir: DataDir = DATA_DIR) -> int:
    """Remove what is kept of the school from this source: lists, tables, staged exports. Refused while authorised.

    What a partner has got stays where it was delivered; receipts and the connection's history stay, and name nobody.
    """
    environment = _writable(config, data_dir)
    sources = _kept_sources(environment, school, named)
    for source in sources:
        _purge(Connector(environment, school, source, who=_who(), to_purge=True))
    return 0


def _purge(connector: Connector) -> int:
    done = connector.purge()
    console.print(
        f"Removed of {connector.school} from {label_of(connector.source)}: {done.lists} files of lists, "
        f"{done.tables} of tables, {done.exports} of staged exports, {done.reports} of reports, "
        f"{done.photos} of photos, {done.left} half written.",
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


def _sources_of(environment: Environment, school: str, named: str | None) -> list[str]:
    """The source that was named, or all that the school has; raises ConfigurationError or BadParameter."""
    settings = environment.settings.school(school)
    if named is None:
        found = [source for source in settings.sources if source in LISTED]
        if not found:
            settings.settings_of(next(iter(LISTED)))
        return found
    if named not in LISTED:
        raise typer.BadParameter(f"there is no source {named!r}; known are {', '.join(LISTED)}")
    settings.settings_of(named)
    return [named]


def _kept_sources(environment: Environment, school: str, named: str | None) -> list[str]:
    """The source that was named, or the one of which something is kept, whether schools.yaml still has it or not."""
    if named is not None and named not in LISTED:
        raise typer.BadParameter(f"there is no source {named!r}; known are {', '.join(LISTED)}")
    if named is not None:
        return [named]
    kept = [source for source in LISTED if environment.keeps(school, source)]
    if not kept:
        raise WrongUse(f"Nothing is kept of {school} from another source", remedy="Check the school's name.")
    if len(kept) > 1:
        raise WrongUse(f"{school} has several sources", remedy=f"Say which: --source {' or --source '.join(kept)}.")
    return kept


def _one_source(environment: Environment, school: str, named: str | None) -> str:
    found = _sources_of(environment, school, named)
    if len(found) > 1:
        raise WrongUse(f"{school} has several sources", remedy=f"Say which: --source {' or --source '.join(found)}.")
    return found[0]


def connection_panel(environment: Environment, connection: Connection | None, school: str, source: str) -> Panel:
    """What the guide's page shows of a connection: its state, the steps ticked off, what is next, by whom."""
    zone = environment.settings.school(school).timezone
    told = advice(school, source, connection, environment.settings.school(school).partners.using(source))
    lines = Text()
    for step in steps(source, connection):
        mark, colour = ("✔", "green") if step.done else ("✘", "red")
        lines.append(f"{mark} ", colour).append(step.name)
        lines.append(f"  {step.note}\n" if step.note else "\n", "dim")
    lines.append(f"\n{told.means}\n")
    if connection is not None:
        if connection.said:
            lines.append(f"{connection.said[:1].upper()}{connection.said[1:]}.\n", "dim")
        lines.append("Since ", "dim").append(moment_in_words(connection.since, zone))
        lines.append(", looked at ", "dim").append(moment_in_words(connection.checked, zone)).append("\n")
        if connection.invited is not None and connection.state is not State.AUTHORISED:
            lines.append("Invited ", "dim").append(moment_in_words(connection.invited, zone)).append("\n")
    lines.append("Next").append(f", by {told.by}: " if told.by != "nobody" else ": ").append(told.next, "bold")
    words = connection.words if connection else "never looked at"
    colour = _COLOURS.get(connection.state, "yellow") if connection else "dim"
    title = Text(f"{school} by {label_of(source)}: ").append(words, colour)
    return Panel(lines, title=title, title_align="left", box=box.ROUNDED, width=min(console.width, 100))


def _show(environment: Environment, connection: Connection | None, school: str, source: str) -> None:
    console.print(connection_panel(environment, connection, school, source))
    if connection is not None and connection.state is State.AUTHORISED:
        for scope, given in LISTED[source].gives.items():
            if scope not in connection.scopes:
                for dataset, what in given:
                    lacking = f"{scope}, so {dataset} are without {what}"
                    say(("Not authorised, or not chosen with `connector authorise`", "yellow"), f": {lacking}")


def _show_history(environment: Environment, school: str, source: str) -> None:
    """The last moves: when, who, what happened, and the state where that changed it."""
    moves = environment.connections.history(school, source)
    if not moves:
        return
    zone = environment.settings.school(school).timezone
    states = [state_in_words(move.state, move.reason) for move in moves]
    left_out = max(len(moves) - _MOVES, 0)
    title = f"The last {_MOVES} of {len(moves)} moves" if left_out else None
    table = Table(title=title, title_justify="left", box=box.SIMPLE_HEAD, pad_edge=False)
    for column in ("when", "seen by", "state", "what was seen or done"):
        table.add_column(column)
    for at, move in enumerate(moves[left_out:], start=left_out):
        who = f"run {move.who[4:12]}" if move.who.startswith("run ") else move.who
        is_new = at == 0 or states[at] != states[at - 1]
        table.add_row(moment_in_words(move.at, zone)[:16], Text(who), states[at] if is_new else "", Text(move.said))
    console.print(table)
