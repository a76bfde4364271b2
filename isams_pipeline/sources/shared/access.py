"""What the clients of any source are made with: a school's settings and secrets, and what processes share."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from contextlib import AbstractContextManager
from dataclasses import dataclass, field

from isams_pipeline.clock import Clock
from isams_pipeline.config import SchoolSettings, secret_from
from isams_pipeline.sources.shared.http import Patience
from isams_pipeline.storage.state import StateDatabase


@dataclass(frozen=True)
class Access:
    """A school's way to its sources. Making one reads no secret and opens no database."""

    school: str
    settings: SchoolSettings
    variables: Mapping[str, str] = field(repr=False)
    state: Callable[[], StateDatabase]
    """Tokens and counted requests; opened by who needs it."""
    hold: Callable[[str], AbstractContextManager[None]]
    """A lock by its name, across processes."""
    clock: Clock
    patience: Patience

    def secret(self, variable: str, **where: str) -> str:
        """A secret by the name of its environment variable; raises MissingSecret."""
        return secret_from(self.variables, variable, school=self.school, **where)
