"""`backup`, `restore` and `upgrade`: what is there brought away, brought back, and brought up to date."""

from __future__ import annotations

import os
from pathlib import Path
from typing import Annotated

import typer

from isams_pipeline.commands.common import DATA_DIR, Config, DataDir, console, say
from isams_pipeline.commands.instance import open_instance
from isams_pipeline.config import load_settings
from isams_pipeline.config.places import url_of
from isams_pipeline.config.secrets import environ_from
from isams_pipeline.definitions import environment_from
from isams_pipeline.errors import WrongUse
from isams_pipeline.orchestration.environment import DATA_DIR_VARIABLE
from isams_pipeline.storage.backup import (
    Taking,
    identity_of,
    kept,
    new_identity,
    recipients_of,
    thin_out,
)
from isams_pipeline.storage.backup import restore as bring_back
from isams_pipeline.storage.folder import PRIVATE_FILE, Folder
from isams_pipeline.storage.state.database import POSTGRES_VARIABLE, make_engine, pending

RECIPIENTS, PLACE = "ISAMS_BACKUP_RECIPIENTS", "ISAMS_BACKUP_PLACE"


def backup(
    place: Annotated[
        str | None,
        typer.Argument(
            help=f"A folder, or a URL such as s3://bucket/backups: not on this machine; or {PLACE}.", show_default=False
        ),
    ] = None,
    recipient: Annotated[
        list[str] | None,
        typer.Option(
            "--recipient", help=f"Who can open it (age1…); or {RECIPIENTS}, with blanks between.", show_default=False
        ),
    ] = None,
    keep: Annotated[int, typer.Option("--keep", help="So many backups stay in the place, the newest.", min=1)] = 30,
    new_key: Annotated[
        Path | None,
        typer.Option(
            "--new-key", help="Only make a key, in this file; keep it elsewhere than the backups.", show_default=False
        ),
    ] = None,
    config: Config = None,
    data_dir: DataDir = DATA_DIR,
) -> int:
    """Back up database, archive, lists, tables, staged exports and schools.yaml, encrypted, while runs go on.

    Objects that an earlier backup has brought to the place are not brought again. Secrets are not in it: it has their
    names only. `isams-pipeline restore` brings it back.
    """
    if new_key is not None:
        return _make_key(new_key)
    place = place or os.environ.get(PLACE)
    if not place:
        raise WrongUse(
            "A place for the backup is needed",
            remedy=f"Name a folder or a URL that is not on this machine, or set {PLACE}.",
        )
    to = recipients_of(recipient or os.environ.get(RECIPIENTS, "").split())
    environment = environment_from(config, data_dir)
    folder = Folder(environment.settings.resolve(place))
    with console.status("backing up"), environment.locks.hold("backup", wait=60):
        here = Folder(environment.data_dir)
        done = Taking(
            environment.data, here, environment.state, folder, to, environment.clock, environment.settings.file
        ).take()
        gone, objects = thin_out(folder, keep)
    say(("backed up", "green"), f" as {done.name}: {done.rows} rows, {done.files} notes, {done.objects} objects")
    console.print(f"  {done.new} objects were new in {folder}", soft_wrap=True)
    if gone:
        console.print(f"  {gone} older backups went, and {objects} objects with them")
    return 0


def _make_key(file: Path) -> int:
    identity, public = new_identity()
    try:
        handle = os.open(file, os.O_WRONLY | os.O_CREAT | os.O_EXCL, PRIVATE_FILE)
    except OSError as error:
        raise WrongUse(
            f"{file} cannot be made: {type(error).__name__}", remedy="Name a file that is not there."
        ) from None
    with os.fdopen(handle, "w") as out:
        out.write(f"# recipient: {public}\n{identity}\n")
    console.print(f"recipient: {public}", soft_wrap=True)
    console.print(f"The key is in {file}: who has it can open every backup, and without it nobody can.", soft_wrap=True)
    return 0


def restore(
    place: Annotated[str, typer.Argument(help="Where the backups are.", show_default=False)],
    identity: Annotated[Path, typer.Option("--identity", help="The file with the key.", show_default=False)],
    at: Annotated[
        str | None, typer.Option("--at", help="Which backup. [default: the newest]", show_default=False)
    ] = None,
    show: Annotated[bool, typer.Option("--list", help="Only list the backups there are.")] = False,
    data_dir: DataDir = DATA_DIR,
) -> int:
    """Bring a backup back into an empty data folder and an empty database.

    Stop the UI and its daemon first. Broken off, the same call goes on where it was. `isams-pipeline status` then says
    what is missing since the backup was made.
    """
    folder = Folder(place)
    if show:
        for name in kept(folder):
            console.print(name)
        return 0
    postgres = environ_from(POSTGRES_VARIABLE)
    with console.status("restoring"):
        store = url_of(os.environ.get(DATA_DIR_VARIABLE))
        done = bring_back(folder, at, identity_of(identity), data_dir.resolve(), postgres, store=store)
    say(("restored", "green"), f" {done.name}, of {done.made:%Y-%m-%d %H:%M} UTC: {done.rows} rows, {done.files} files")
    if done.settings is not None:
        console.print(f"  schools.yaml as it was then: {done.settings}", soft_wrap=True)
    console.print("  Dagster's history was not backed up: what was run before is in the receipts, not in the UI.")
    for name in done.unread:
        say(("not read", "yellow"), f": the later backup {name}: who was erased since may stand there only")
    for school in sorted(done.erased):
        say(
            ("erased since", "yellow"), f": isams-pipeline person erase {school} --apply takes them out again; no night"
        )
        console.print("    brings them back meanwhile")
    console.print("  Next: isams-pipeline doctor, then isams-pipeline status")
    return 0


def upgrade(
    check: Annotated[bool, typer.Option("--check", help="Only say what would be done.")] = False,
    config: Config = None,
    data_dir: DataDir = DATA_DIR,
) -> int:
    """Bring the state database and Dagster's history up to this version, or with --check only say what that would do.

    Both happen by themselves at the first use; this does it when nobody waits. schools.yaml is read as well: what this
    version calls otherwise, or does not know, is an error that says what to write.
    """
    load_settings(config)
    postgres = environ_from(POSTGRES_VARIABLE)
    there = postgres is not None or (data_dir / "state.sqlite").exists()
    waiting: list[tuple[str, str]] = []
    if there:
        engine = make_engine(data_dir, postgres)
        waiting = pending(engine)
        engine.dispose()
    for revision, about in waiting:
        say((f"database {revision}", "cyan"), f": {about}")
    if not waiting:
        console.print("The state database is up to date." if there else "There is no state database yet.")
    if check:
        if waiting:
            console.print("Make a backup before: isams-pipeline backup PLACE", soft_wrap=True)
        return 0
    environment = environment_from(config, data_dir)
    environment.state.close()
    with open_instance(data_dir) as instance:
        instance.upgrade(print_fn=lambda text: console.print(f"Dagster: {text}", highlight=False))
    console.print("Done.")
    return 0
