"""Secrets: out of environment variables, or out of files that are read anew by every run.

A secret NAME is in the variable NAME; or in the file that the variable NAME_FILE names; or in the file NAME of the
folder that systemd gives with `LoadCredential=NAME:…` (CREDENTIALS_DIRECTORY). A file can be replaced while the
pipeline goes on: the next run reads the new one.
"""

from __future__ import annotations

import os
from collections.abc import Mapping
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from isams_pipeline.errors import ConfigurationError, MissingSecret

FILE = "_FILE"
CREDENTIALS = "CREDENTIALS_DIRECTORY"
_LONGEST = 1 << 16


@dataclass(frozen=True)
class SecretFile:
    """A file that holds a secret."""

    path: Path

    @property
    def changed(self) -> datetime:
        """When it was last written."""
        return datetime.fromtimestamp(self.path.stat().st_mtime, UTC)

    @property
    def is_private(self) -> bool:
        """Whether nobody else on this machine may read it."""
        return not self.path.stat().st_mode & 0o077


def file_of(variables: Mapping[str, str], name: str) -> SecretFile | None:
    """The file that holds a secret; None where a variable does, or nothing."""
    named = variables.get(f"{name}{FILE}", "").strip()
    if variables.get(name, "").strip():
        if named:
            raise ConfigurationError(
                f"Both {name} and {name}{FILE} are set",
                remedy="Keep one of them: which of them counts would be a guess.",
            )
        return None
    if named:
        return SecretFile(Path(named))
    folder = variables.get(CREDENTIALS, "").strip()
    file = Path(folder) / name if folder else None
    return SecretFile(file) if file is not None and file.is_file() else None


def is_set(variables: Mapping[str, str], name: str) -> bool:
    """Whether there is something to read a secret from."""
    return bool(variables.get(name, "").strip()) or file_of(variables, name) is not None


def secret_from(variables: Mapping[str, str], name: str, **where: Any) -> str:
    """A secret by its name.

    Raises MissingSecret, which names the variable, and ConfigurationError where it is set in two ways.
    """
    file = file_of(variables, name)
    value = variables.get(name, "") if file is None else _read(file, name, where)
    if not value.strip():
        what = f"The environment variable {name} is not set" if file is None else f"The file of {name} is empty"
        raise MissingSecret(
            what,
            remedy=f"Set it, or name a file in {name}{FILE}; then run again.",
            **where,
        )
    return value.strip()


def _read(file: SecretFile, name: str, where: Mapping[str, Any]) -> str:
    try:
        with file.path.open("rb") as opened:
            data = opened.read(_LONGEST + 1)
        text = data.decode("utf-8")
    except (OSError, UnicodeDecodeError) as error:
        raise MissingSecret(
            f"The file of {name} cannot be read: {type(error).__name__}",
            file=file.path,
            remedy="Check its path, and that this user may read it.",
            **where,
        ) from None
    if len(data) > _LONGEST:
        raise MissingSecret(
            f"The file of {name} is larger than 64 KB",
            file=file.path,
            remedy="It should hold the secret alone.",
            **where,
        )
    return text


def without_secrets(variables: Mapping[str, str], names: set[str]) -> dict[str, str]:
    """An environment for a process that needs none of these secrets."""
    hidden = {CREDENTIALS, *names, *(f"{name}{FILE}" for name in names)}
    return {name: value for name, value in variables.items() if name not in hidden}


def environ_from(name: str) -> str | None:
    """What a variable of this very process holds, or its file; None where it is not set."""
    return secret_from(os.environ, name) if is_set(os.environ, name) else None
