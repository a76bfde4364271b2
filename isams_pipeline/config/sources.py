"""How a school is connected to the sources of its data: what all have in common.

A source's own settings stand in its folder below `sources/`: a class with a `key` is known from when it is made, and
`sources/registry.py` makes all of them. Those of iSAMS itself stand in `config/isams.py`.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Annotated, Any, ClassVar, TypeVar

from pydantic import AfterValidator, Field, field_validator

from isams_pipeline.config.known import model_of, register
from isams_pipeline.config.values import StrictSettings


class ConnectionSettings(StrictSettings):
    """How a school is connected to a source."""

    key: ClassVar[str]
    """The source's name in schools.yaml."""

    @classmethod
    def __pydantic_init_subclass__(cls, **_: Any) -> None:
        if "key" in vars(cls):
            register(KNOWN_SOURCES, cls.key, cls)

    @property
    def secrets(self) -> set[str | None]:
        """The names of the environment variables that hold its secrets."""
        return set()

    @property
    def server(self) -> str | None:
        """The address of the server that is asked; None where a source has no `url`."""
        return getattr(self, "url", None)


KNOWN_SOURCES: dict[str, type[ConnectionSettings]] = {}
"""The settings of all sources, by their keys."""
C = TypeVar("C", bound=ConnectionSettings)


def _known(name: str) -> str:
    if model_of(KNOWN_SOURCES, name) is None:
        raise ValueError(f"there is no such source; known are {', '.join(KNOWN_SOURCES)}")
    return name


SourceName = Annotated[str, AfterValidator(_known)]
"""The key of a source."""
YEAR_CODES: Mapping[str, int] = {"R": 0, "N2": -1, "N1": -2}
"""Year groups that the sources name by letters (the school census's codes) → the number that they have here. Inferred:
iSAMS counts on downwards from 1."""


class SourceSettings(ConnectionSettings):
    """What the sources have in common that are read list by list."""

    full_every: int = Field(default=7, ge=1, le=60)
    """After so many nights of changes only, everything is read anew, which proves that nothing was missed."""
    stale_after_hours: float = Field(default=48, gt=0)
    """When the source's own copy is older, nothing is read: what it has would be taken for today's."""
    year_codes: dict[str, int] = Field(default_factory=lambda: dict(YEAR_CODES))

    @field_validator("year_codes", mode="after")
    @classmethod
    def _with_usual_ones(cls, given: dict[str, int]) -> dict[str, int]:
        return {**YEAR_CODES, **{code.strip().upper(): number for code, number in given.items()}}
