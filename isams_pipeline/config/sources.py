"""The other sources of a school's data: Assembly, and Xporter on Demand."""

from __future__ import annotations

import re
from collections.abc import Mapping

from pydantic import Field, field_validator

from isams_pipeline.config.values import ServerUrl, StrictSettings, Variable

YEAR_CODES: Mapping[str, int] = {"R": 0, "N2": -1, "N1": -2}
"""Year groups that the sources name by letters (the school census's codes) → the number that they have here. Inferred:
iSAMS counts on downwards from 1."""


class SourceSettings(StrictSettings):
    """What both sources have in common."""

    full_every: int = Field(default=7, ge=1, le=60)
    """After so many nights of changes only, everything is read anew, which proves that nothing was missed."""
    stale_after_hours: float = Field(default=48, gt=0)
    """When the source's own copy is older, nothing is read: what it has would be taken for today's."""
    year_codes: dict[str, int] = Field(default_factory=lambda: dict(YEAR_CODES))

    @field_validator("year_codes", mode="after")
    @classmethod
    def _with_usual_ones(cls, given: dict[str, int]) -> dict[str, int]:
        return {**YEAR_CODES, **{code.strip().upper(): number for code, number in given.items()}}


class AssemblySettings(SourceSettings):
    """A school's data by the Assembly Platform."""

    url: ServerUrl = "https://api.assembly.education"
    platform: ServerUrl = "https://platform.assembly.education"
    """Where schools log in and authorise an app."""
    client_id: Variable
    secret: Variable
    redirect_uri: str = "http://127.0.0.1:8766/authorised"
    """As registered for the app at Assembly."""
    urn: str = Field(pattern=r"^\d{6}$")
    """The school's Unique Reference Number: a token of another school is refused by it."""

    @field_validator("redirect_uri", mode="after")
    @classmethod
    def _an_address(cls, uri: str) -> str:
        if not re.fullmatch(r"https?://[^\s/?#]+(/[^\s?#]*)?", uri):
            raise ValueError("not an address without ? and #; write the one that is registered for the app at Assembly")
        return uri


class XporterSettings(SourceSettings):
    """A school's data by Groupcall's Xporter on Demand."""

    url: ServerUrl = "https://xporter.groupcall.com"
    estab: str = Field(pattern=r"^\d{7}$")
    """Local authority and establishment number, seven digits."""
    relying_party: str = Field(min_length=1)
    """The partner's application, as Groupcall knows it."""
    secret: Variable
    """The school's own secret, which comes with its authorisation."""
    management_secret: Variable | None = None
    """The application's secret: only to find and to invite schools."""
    invite_to: str | None = Field(default=None, pattern=r"^[^@\s]+@[^@\s]+$")
    """Who at the school is invited."""
    invite_first_name: str | None = None
    invite_last_name: str | None = None
    invite_phone: str | None = None
    partner_name: str | None = None
    """Who invites, as Groupcall knows it."""
    partner_email: str | None = Field(default=None, pattern=r"^[^@\s]+@[^@\s]+$")
    """The address by which the partner is registered at Groupcall."""
