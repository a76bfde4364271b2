"""What `doctor` says of this machine: Python, Postgres, secrets in files, runs and storage that were broken off."""

from __future__ import annotations

import os
import shutil
import sys
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from pathlib import Path

from isams_pipeline.clock import Clock
from isams_pipeline.commands.common import say
from isams_pipeline.commands.instance import broken_files, open_instance, repair
from isams_pipeline.commands.made_up import the_only
from isams_pipeline.config import Settings
from isams_pipeline.config.secrets import file_of, is_set
from isams_pipeline.errors import PipelineError
from isams_pipeline.orchestration.broken_off import end_broken_off
from isams_pipeline.orchestration.environment import Environment
from isams_pipeline.storage.state.database import POSTGRES_VARIABLE, protection

FIXED = {(3, 11): 10, (3, 12): 5}
"""Python → the first of its releases without two flaws that bite here: headers of mail that a text can add to
(CVE-2024-6923), and long attributes of XML that take the square of their length (CVE-2023-52425, by Expat 2.6)."""
_DAYS_OLD = 365
_GIGABYTE = 1 << 30
_LEAST_FREE = 2 * _GIGABYTE
"""Less free space than some nights of a large school with the files of a run take."""


@dataclass(frozen=True)
class Found:
    """One thing that was looked at."""

    what: str
    said: str
    is_fit: bool = True


def python_flaw(version: tuple[int, int, int] = sys.version_info[:3]) -> str | None:
    """What is wrong with a release of Python; None where nothing is known."""
    first = FIXED.get(version[:2])
    if first is None or version[2] >= first:
        return None
    major, minor, micro = version
    return (
        f"{major}.{minor}.{micro} has two flaws: text can add headers to mail, and long XML attributes take minutes. "
        f"Upgrade to {major}.{minor}.{first} or later; isams-pipeline works around both meanwhile."
    )


def look(environment: Environment, data_dir: Path) -> Iterator[Found]:
    """All that there is to say of this machine."""
    flaw = python_flaw()
    yield Found("Python", flaw or ".".join(map(str, sys.version_info[:3])), flaw is None)
    try:
        postgres = environment.postgres
        if postgres:
            said, is_fit = protection(postgres)
            yield Found("Postgres", said, is_fit)
    except PipelineError as error:
        yield Found("Postgres", str(error), is_fit=False)
    yield from _secrets(environment.settings, environment, environment.clock)
    yield _disk(data_dir)
    if broken := broken_files(data_dir):
        names = ", ".join(file.name for file in broken)
        said = (
            f"was created by several processes at once ({names}); stop the UI, then run `isams-pipeline doctor "
            "--repair`"
        )
        yield Found("Dagster's history", said, is_fit=False)


def _disk(data_dir: Path) -> Found:
    """Whether the data folder's disk has room, and lets this user write."""
    there = next(folder for folder in (data_dir.resolve(), *data_dir.resolve().parents) if folder.exists())
    if not os.access(there, os.W_OK | os.X_OK):
        return Found("data folder", f"{there} may not be written by this user", is_fit=False)
    usage = shutil.disk_usage(there)
    said = f"{usage.free / _GIGABYTE:.1f} GB of {usage.total / _GIGABYTE:.0f} GB are free at {there}"
    return Found("data folder", said, usage.free >= _LEAST_FREE)


def _secrets(settings: Settings, environment: Environment, clock: Clock) -> Iterator[Found]:
    """Secrets that are not there, and those in files: how old each is, and who else may read it."""
    variables = environment.variables
    for name in sorted({*settings.variables, POSTGRES_VARIABLE}):
        try:
            if name != POSTGRES_VARIABLE and not is_set(variables, name):
                yield Found(name, "is not set", is_fit=False)
                continue
            file = file_of(variables, name)
            if file is None:
                continue
            days = max(0, (clock() - file.changed).days)
            told = f"in a file of {days} day{'' if days == 1 else 's'}"
            told += "" if file.is_private else f", which others on this machine may read: chmod 600 {file.path}"
            yield Found(name, told + ("; replace it now and then" if days > _DAYS_OLD else ""), file.is_private)
        except (PipelineError, OSError) as error:
            said = (
                str(error) if isinstance(error, PipelineError) else f"its file cannot be read: {type(error).__name__}"
            )
            yield Found(name, said, is_fit=False)


def print_found(found: Iterable[Found]) -> bool:
    """Print each as it is looked at; whether all are fit."""
    fit = True
    for one in found:
        say("  ", (one.what, "bold"), ": ", (one.said, "" if one.is_fit else "yellow"))
        fit = fit and one.is_fit
    return fit


def mend(environment: Environment, data_dir: Path) -> None:
    """Mend what can be: a history with two beginnings, and runs that nobody carries on.

    Raises WrongUse where a UI goes on over the folder, which may just be starting runs.
    """
    with the_only("A UI or a demo", data_dir):
        copies = repair(data_dir)
        for copy in copies:
            say(("Mended", "green"), f": {copy.parent}; as it was, it is kept as {copy.name}")
        with open_instance(data_dir) as instance:
            ended = end_broken_off(instance, environment.locks)
        say(f"{len(ended)} runs were ended that no living process held; {len(copies)} files were mended.")
