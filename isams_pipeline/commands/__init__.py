"""The command line: `isams-pipeline`. Exit codes: 0 done, 1 refused, held or failed, 2 wrong use.

A command's module is imported when that command is asked for: a list of all commands needs none of them.
"""

from __future__ import annotations

import atexit
import functools
import gc
import os
import sys
from collections.abc import Callable, Sequence
from importlib import import_module
from importlib.metadata import version
from types import ModuleType
from typing import Annotated, Any, NamedTuple

import typer

from isams_pipeline.commands.console import console, say
from isams_pipeline.errors import ConfigurationError, MissingSecret, PipelineError, Unforeseen, WrongUse

NIGHTS, ATTENDANCE, LOOKING = "Nights", "Attendance", "Looking into it"
KEEPING = "What is kept"
SOURCES, TRYING = "Other sources", "Trying it out"
"""The panels of the list of commands."""


class Command(NamedTuple):
    """A command, as the list of all commands shows it."""

    name: str
    does: str
    """module:function, below `isams_pipeline.commands`."""
    help: str
    """What the function's own help begins with."""
    panel: str | None = None


class Group(NamedTuple):
    """Commands that belong together."""

    name: str
    help: str
    panel: str
    commands: tuple[Command, ...]


COMMANDS = (
    Command("sync", "nights:sync", "Run a school's night now and print how it ended.", NIGHTS),
    Command(
        "backfill",
        "nights:backfill",
        "Run past nights again from the archive, one after the other. A night that the archive lacks ends failed.",
        NIGHTS,
    ),
    Command(
        "release",
        "first:release",
        "Look at a school's first export that waits (`first_delivery: hold`), and deliver it.",
        NIGHTS,
    ),
    Command(
        "allow",
        "season:allow",
        "Let files lose more rows than max_removed until a date; without options, list the windows there are and were.",
        NIGHTS,
    ),
    Command(
        "rehearse",
        "season:rehearse",
        "Show what each partner would get of a night's tables, and what the gate would say. Nothing is stored or sent.",
        LOOKING,
    ),
    Command(
        "what-if",
        "asking:what_if",
        "Show what other settings would change, over a night's tables: by file, by rule, by year group.",
        LOOKING,
    ),
    Command(
        "contact-types",
        "asking:contact_types",
        "List the contact types that a school's contacts have, how often, and which partner gets them.",
        LOOKING,
    ),
    Command(
        "medical-fields",
        "asking:medical_fields",
        "List the fields of a school's medical records, how often they are filled, and whether SchoolsBuddy gets them.",
        LOOKING,
    ),
    Command(
        "attendance",
        "attendance:attendance",
        "Read a session's registers now, deliver its attendance to SchoolsBuddy, and print how it ended.",
        ATTENDANCE,
    ),
    Command(
        "registers",
        "attendance:registers",
        "List today's registers, to choose from for partners.schoolsbuddy.attendance in schools.yaml.",
        ATTENDANCE,
    ),
    Command(
        "status",
        "alerts:status",
        "Show every school and partner: the last night delivered, tonight, and what waits for a person, with the command.",
        LOOKING,
    ),
    Command(
        "alerts",
        "alerts:alerts",
        "Look which nights need a person, and tell whom `alerts` in schools.yaml names. The daemon does so every minute.",
        LOOKING,
    ),
    Command(
        "office",
        "office:office",
        "Make the report of what a school's office is to mend in iSAMS, as a page and a workbook; mail it if it is due.",
        LOOKING,
    ),
    Command(
        "explain",
        "people:explain",
        "Say whether a person is in the export, through which links, or by which rule they are not, and since when.",
        LOOKING,
    ),
    Command(
        "history",
        "people:history",
        "Tell a person's way through all exports: joined, changed (which fields), left, by which rule on which night.",
        LOOKING,
    ),
    Command(
        "retention",
        "keeping:retention",
        "Show what is kept of a school longer than `retention` in schools.yaml says, and end it with --apply.",
        KEEPING,
    ),
    Command(
        "backup",
        "backups:backup",
        "Back up database, archive, lists, tables, staged exports and schools.yaml, encrypted, while runs go on.",
        KEEPING,
    ),
    Command(
        "migrate-data",
        "moving:migrate_data",
        "Bring archive, lists, tables, staged exports and all other data to another place, each file proven by its hash.",
        KEEPING,
    ),
    Command(
        "restore",
        "backups:restore",
        "Bring a backup back into an empty data folder and an empty database.",
        KEEPING,
    ),
    Command(
        "upgrade",
        "backups:upgrade",
        "Bring the state database and Dagster's history up to this version, or with --check only say what that would do.",
        KEEPING,
    ),
    Command(
        "disclosures",
        "rights:disclosures",
        "Say which partner got what of a school, or of a person, and when: files, columns and nights; no values.",
        KEEPING,
    ),
    Command(
        "reconcile",
        "reconcile:reconcile",
        "Read a school by its sources, and show where they differ: counts, ids and names of fields; no values.",
        SOURCES,
    ),
    Command(
        "doctor",
        "look:doctor",
        "Check each key, REST client and other source: reachable, authorised, what it may do, cache hours, TLS, clock.",
        LOOKING,
    ),
    Command(
        "inspect",
        "look:inspect",
        "Show a saved Batch response: its datasets, unknown elements, or its error message.",
        LOOKING,
    ),
    Command(
        "schema",
        "schema:schema",
        "Show a table as the pandera schema that is checked at its border; without one, list all tables.",
        LOOKING,
    ),
    Command(
        "demo",
        "demo:demo",
        "Run three nights and a school day of two made-up schools, by every source and for every partner.",
        TRYING,
    ),
    Command(
        "sandbox",
        "servers:sandbox",
        "Serve two made-up schools until Ctrl-C: by a stand-in iSAMS, Assembly and Xporter on Demand.",
        TRYING,
    ),
    Command("ui", "servers:ui", "Open the Dagster UI with its daemon over the data folder, until Ctrl-C.", TRYING),
)
GROUPS = (
    Group(
        "connector",
        "The other sources of a school's data, Assembly and Xporter on Demand: find, invite, test, authorise, revoke.",
        SOURCES,
        (
            Command(
                "find",
                "connector:find",
                "Find a school in the register of schools: its numbers are what schools.yaml needs (urn, estab).",
            ),
            Command(
                "status",
                "connector:status",
                "Show the connection as last checked: state, since when, the next step, and whose turn it is.",
            ),
            Command(
                "test",
                "connector:look",
                "Check the connection now, by calls that read no personal data. Exit code 1 until the school is "
                "connected.",
            ),
            Command(
                "invite",
                "connector:invite",
                "Invite the school to share its data by Xporter on Demand; Assembly is invited by the school itself.",
            ),
            Command(
                "authorise",
                "connector:authorise",
                "Authorise the app. Nothing about a person is read before that, and then only what was authorised.",
            ),
            Command(
                "sync",
                "connector:sync",
                "Ask Assembly to fetch the school's data from its MIS now, rather than at its own next time.",
            ),
            Command("revoke", "connector:revoke", "Take the app's authorisation back: nothing is read any more."),
            Command(
                "purge",
                "connector:purge",
                "Remove what is kept of the school from this source: lists, tables, staged exports. Refused while authorised.",
            ),
        ),
    ),
    Group(
        "person",
        "What is kept of a person.",
        KEEPING,
        (
            Command(
                "find",
                "rights:find",
                "Gather everything that is kept of a person into a page and a JSON file, with file, night and field.",
            ),
            Command(
                "erase",
                "rights:erase",
                "Take a person out of everything that is kept, and keep them from coming back.",
            ),
        ),
    ),
    Group(
        "rooms",
        "Room Booking's side: resources, timeslots and bookings, matches, and what a sync would do.",
        "Room Booking",
        (
            Command(
                "import",
                "rooms:import_",
                "Bring the partner's side in: resources, then timeslots, then bookings. Ids already known are brought up to date.",
            ),
            Command("match", "rooms:match", "Say which room is which resource, and confirm the periods' timings."),
            Command(
                "categorise",
                "rooms:categorise",
                "Move a room to a category. Rooms in Unassigned are hidden; moved out, they can be booked.",
            ),
            Command(
                "preview",
                "rooms:preview",
                "Show what a sync of the last night's timetable would do now. Changes nothing.",
            ),
            Command(
                "mail",
                "rooms:mail",
                "Send the outbox, and list messages in doubt: these may have arrived, so are sent again only with "
                "--send-again.",
            ),
        ),
    ),
    Group(
        "changes",
        "My School Portal's change requests: review, approve, write to iSAMS, put back.",
        "My School Portal",
        (
            Command(
                "list",
                "changes:list_",
                "List change requests: ids and field names, no values. New files in the inbox are taken in first.",
            ),
            Command(
                "show",
                "changes:show",
                "Show one request: its values as they came and as they will be written, and its audit trail. Personal data.",
            ),
            Command(
                "approve",
                "changes:approve",
                "Compare requests with iSAMS as it is now, and approve them. What you saw must still be there when written.",
            ),
            Command("reject", "changes:reject", "Say no to a request."),
            Command(
                "apply",
                "changes:apply",
                "Write approved requests to iSAMS now. Without `writeback: enabled` in schools.yaml this is a dry run.",
            ),
            Command(
                "undo",
                "changes:undo",
                "Undo an applied request: write the old values back where iSAMS still holds the new ones.",
            ),
            Command(
                "verify",
                "changes:verify",
                "Check that the ledger was not altered, and print its head: the hash over all its lines.",
            ),
        ),
    ),
)


def _of(command: Command) -> Callable[..., None]:
    """The command, with what it returns as the exit code; imports its module."""
    module, _, name = command.does.partition(":")
    does: Callable[..., int] = getattr(_imported(f"{__name__}.{module}"), name)

    @functools.wraps(does)
    def run(*args: Any, **options: Any) -> None:
        raise typer.Exit(does(*args, **options))

    return run


def _imported(module: str) -> ModuleType:
    """A module; while it and all that it needs are made, nobody looks for garbage among a million objects that stay."""
    looked = gc.isenabled()
    gc.disable()
    try:
        return import_module(module)
    finally:
        if looked:
            gc.enable()


def _listed(command: Command) -> Callable[[], None]:
    """What stands for a command in a list of commands."""

    def stand_in() -> None:
        """Never called: the command itself is there where it is asked for."""

    stand_in.__doc__ = command.help
    return stand_in


def _add(to: typer.Typer, commands: Sequence[Command], asked: set[str] | None) -> None:
    for command in commands:
        body = _of(command) if asked is None or command.name in asked else _listed(command)
        to.command(command.name, rich_help_panel=command.panel)(body)


def _tell_version(wanted: bool) -> None:  # as typer calls it
    if wanted:
        console.print(f"isams-pipeline {version('isams-pipeline')}")
        raise typer.Exit


def _general(
    version: Annotated[  # the callback does it
        bool, typer.Option("--version", callback=_tell_version, is_eager=True, help="Say which version this is.")
    ] = False,
) -> None:
    """School data out of iSAMS, every night, into the products that schools use.

    Exit codes: 0 done, 1 refused, held or failed, 2 wrong use.
    """


def application(asked: set[str] | None = None) -> typer.Typer:
    """The command line. Only what is asked for by name is imported; None: everything."""
    built = typer.Typer(
        name="isams-pipeline", no_args_is_help=True, rich_markup_mode="markdown", pretty_exceptions_enable=False
    )
    built.callback()(_general)
    _add(built, COMMANDS, asked)
    for group in GROUPS:
        inner = typer.Typer(help=group.help, no_args_is_help=True)
        _add(inner, group.commands, asked if asked is None or group.name in asked else set())
        built.add_typer(inner, name=group.name, rich_help_panel=group.panel)
    return built


def app(words: list[str]) -> None:
    """Do what the words say."""
    # A shell that completes asks with its words in the environment.
    completes = any(name.endswith("_COMPLETE") for name in os.environ)
    application(None if completes else set(words))(words)


OLD_WORDS = {"--road": "--source", "--roads": "--sources"}
"""Options of before, and what they are called now. Gone with version 1.0."""


def by_new_words(words: list[str]) -> list[str]:
    """The command line with its options as they are called now; says so where it had old ones."""
    found: list[str] = []
    for word in words:
        name, equals, value = word.partition("=")
        new = OLD_WORDS.get(name)
        if new is not None:
            print(f"Warning: {name} is called {new} now.", file=sys.stderr)  # noqa: T201
        found.append(f"{new}{equals}{value}" if new else word)
    return found


def main() -> int:
    """The entry point; gives the exit code."""
    # Whatever this process writes is for its user alone.
    os.umask(0o077)
    # Its memory goes back as a whole when it ends; to look for garbage in it before that takes 0.4 s.
    atexit.register(gc.freeze)
    try:
        app(by_new_words(sys.argv[1:]))
    except SystemExit as end:
        return end.code if isinstance(end.code, int) else 1
    except KeyboardInterrupt:
        console.print("Broken off.")
        return 1
    except PipelineError as error:
        say((type(error).__name__, "red"), ": ", end="")
        console.print(str(error), soft_wrap=True)
        if isinstance(error, MissingSecret) and " DEMO_" in error.what:
            console.print("The school is a made-up one: `isams-pipeline sandbox` serves it, and prints what to export.")
        return 2 if isinstance(error, ConfigurationError | WrongUse) else 1
    except Exception as error:  # noqa: BLE001  # the last catch: its text, and its locals, may quote a person
        if isinstance(error, OSError) or type(error).__module__.startswith("sqlalchemy"):
            # Dagster's own storage, mostly; its text may hold more than a person should see.
            say((type(error).__name__, "red"), ": the data folder or the database could not be used.")
            console.print("Check that --data-dir may be written, that its disk is not full, and that Postgres runs.")
            return 1
        console.print(str(Unforeseen(error)), soft_wrap=True)
        return 1
    return 0
