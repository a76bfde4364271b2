"""Where the data lie: in a folder of this machine, or by a URL on an object store that several machines share."""

from __future__ import annotations

import os
from pathlib import Path

SCRATCH_VARIABLE = "ISAMS_SCRATCH_DIR"
DATA = "data"


def url_of(given: str | None) -> str | None:
    """The URL of an object store; None for a folder's path."""
    return given if given is not None and "://" in given else None


def folder_here(given: str | None) -> Path:
    """The folder on this machine: the data themselves, or beside a URL what this machine may lose.

    Those are Dagster's home with its logs, and what is on its way.
    """
    if url_of(given) is not None:
        given = os.environ.get(SCRATCH_VARIABLE)
    return Path(given or DATA)
