"""The command line: `isams-pipeline`. Exit codes: 0 done, 1 refused, held or failed, 2 wrong use."""

from __future__ import annotations

import functools
import os
import sys
from collections.abc import Callable
from typing import Any

import typer
from sqlalchemy.exc import SQLAlchemyError

from isams_pipeline.commands import (
    asking,
    attendance,
    changes,
    connector,
    demo,
    first,
    look,
    nights,
    people,
    reconcile,
    rooms,
    season,
    servers,
)
from isams_pipeline.commands.common import console, say
from isams_pipeline.errors import ConfigurationError, MissingSecret, PipelineError, Unforeseen, WrongUse
from isams_pipeline.sandbox.demo import DEMO_PREFIX

app = typer.Typer(
    name="isams-pipeline",
    help="School data out of iSAMS, every night, into the products that schools use.\n\n"
    "Exit codes: 0 done, 1 refused, held or failed, 2 wrong use.",
    no_args_is_help=True,
    rich_markup_mode="markdown",
    pretty_exceptions_enable=False,
    add_completion=False,
)


def _exiting(command: Callable[..., int]) -> Callable[..., None]:
    """The command, with what it returns as the exit code."""

    @functools.wraps(command)
    def run(*args: Any, **options: Any) -> None:
        raise typer.Exit(command(*args, **options))

    return run


for command, panel in (
    (nights.sync, "Nights"),
    (nights.backfill, "Nights"),
    (first.release, "Nights"),
    (season.allow, "Nights"),
    (season.rehearse, "Looking into it"),
    (asking.what_if, "Looking into it"),
    (asking.contact_types, "Looking into it"),
    (asking.medical_fields, "Looking into it"),
    (attendance.attendance, "Attendance"),
    (attendance.registers, "Attendance"),
    (people.explain, "Looking into it"),
    (people.history, "Looking into it"),
    (reconcile.reconcile, "Other sources"),
    (look.doctor, "Looking into it"),
    (look.inspect, "Looking into it"),
    (demo.demo, "Trying it out"),
    (servers.sandbox, "Trying it out"),
    (servers.ui, "Trying it out"),
):
    app.command(rich_help_panel=panel)(_exiting(command))


connector_app = typer.Typer(
    help="The other sources of a school's data, Assembly and Xporter on Demand: find, invite, test, authorise, revoke.",
    no_args_is_help=True,
)
for name, command in (
    ("find", connector.find),
    ("status", connector.status),
    ("test", connector.look),
    ("invite", connector.invite),
    ("authorise", connector.authorise),
    ("sync", connector.sync),
    ("revoke", connector.revoke),
    ("purge", connector.purge),
):
    connector_app.command(name)(_exiting(command))
app.add_typer(connector_app, name="connector", rich_help_panel="Other sources")

rooms_app = typer.Typer(
    help="Room Booking's side: resources, timeslots and bookings, matches, and what a sync would do.",
    no_args_is_help=True,
)
for name, command in (
    ("import", rooms.import_),
    ("match", rooms.match),
    ("categorise", rooms.categorise),
    ("preview", rooms.preview),
    ("mail", rooms.mail),
):
    rooms_app.command(name)(_exiting(command))
app.add_typer(rooms_app, name="rooms", rich_help_panel="Room Booking")

changes_app = typer.Typer(
    help="My School Portal's change requests: review, approve, write to iSAMS, put back.", no_args_is_help=True
)
for name, command in (
    ("list", changes.list_),
    ("show", changes.show),
    ("approve", changes.approve),
    ("reject", changes.reject),
    ("apply", changes.apply),
    ("undo", changes.undo),
    ("verify", changes.verify),
):
    changes_app.command(name)(_exiting(command))
app.add_typer(changes_app, name="changes", rich_help_panel="My School Portal")


OLD_WORDS = {"--road": "--source", "--roads": "--sources"}
"""Options of before, and what they are called now. Gone with version 1.0."""


def _by_new_words(words: list[str]) -> list[str]:
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
    try:
        app(_by_new_words(sys.argv[1:]))
    except SystemExit as end:
        return end.code if isinstance(end.code, int) else 1
    except KeyboardInterrupt:
        console.print("Broken off.")
        return 1
    except PipelineError as error:
        say((type(error).__name__, "red"), ": ", end="")
        console.print(str(error), soft_wrap=True)
        if isinstance(error, MissingSecret) and f" {DEMO_PREFIX}" in error.what:
            console.print("The school is a made-up one: `isams-pipeline sandbox` serves it, and prints what to export.")
        return 2 if isinstance(error, ConfigurationError | WrongUse) else 1
    except (OSError, SQLAlchemyError) as error:
        # Dagster's own storage, mostly; its text may hold more than a person should see.
        say((type(error).__name__, "red"), ": the data folder or the database could not be used.")
        console.print("Check that --data-dir may be written, that its disk is not full, and that Postgres runs.")
        return 1
    except Exception as error:  # noqa: BLE001  # the last catch: its text, and its locals, may quote a person
        console.print(str(Unforeseen(error)), soft_wrap=True)
        return 1
    return 0
