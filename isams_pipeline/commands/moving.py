"""`migrate-data`: the data brought to another place, such as from a disk to an object store."""

from __future__ import annotations

from typing import Annotated

import typer

from isams_pipeline.commands.common import console, say
from isams_pipeline.errors import WrongUse
from isams_pipeline.storage.folder import Folder
from isams_pipeline.storage.moving import move


def migrate_data(
    source: Annotated[str, typer.Argument(metavar="FROM", help="A data folder, or its URL.", show_default=False)],
    target: Annotated[
        str, typer.Argument(metavar="TO", help="A folder, or a URL such as s3://bucket/prefix.", show_default=False)
    ],
) -> int:
    """Bring archive, lists, tables, staged exports and all other data to another place, each file proven by its hash.

    Stop the UI and its daemon first. Broken off, the same call goes on: what is there to the byte is left. The state
    database comes by `isams-pipeline backup` and `restore`; set ISAMS_DATA_DIR to the new place then.
    """
    here, there = Folder(source), Folder(target)
    if there.is_below(here) or here.is_below(there):
        raise WrongUse("One of the two places lies in the other", remedy="Name two that are apart.")
    with console.status("bringing the data"):
        done = move(here, there)
    if not done.copied and not done.same:
        raise WrongUse(f"There are no data in {here}", remedy="Name a data folder: it has archive/, tables/ …")
    say(("brought", "green"), f": {done.copied} files, {done.megabytes:.1f} MB; {done.same} were there, to the byte")
    if done.others:
        console.print(f"  {done.others} files in {there} are not of {here}; they were left", soft_wrap=True)
    return 0
