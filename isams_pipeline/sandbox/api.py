"""One stand-in for one API, over the sandbox's world: what all of them have."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Mapping
from typing import ClassVar

from starlette.routing import Route

from isams_pipeline.sandbox.world import SandboxSchool, SandboxWorld


class SandboxApi(ABC):
    """A source's own: a new one is a module with such a class, and a line in `server.APIS`."""

    faults: ClassVar[Mapping[str, str]]
    """What may be ordered to go wrong, each in words."""

    @abstractmethod
    def __init__(self, sandbox: SandboxWorld) -> None: ...

    @abstractmethod
    def routes(self) -> list[Route]:
        """All endpoints that are known."""

    def token(self, school: SandboxSchool, form: Mapping[str, str]) -> str | None:  # noqa: ARG002
        """A token of iSAMS's own for a client that knows its secret; None where it is none of this API's."""
        return None

    def forget_tokens(self) -> None:  # noqa: B027  # not all have some
        """As if all of iSAMS's tokens had expired; others expire by the faults that are ordered."""
