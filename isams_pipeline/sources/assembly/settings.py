"""How a school is connected to Assembly."""

from __future__ import annotations

import re
from typing import ClassVar

from pydantic import Field, field_validator

from isams_pipeline.config.sources import SourceSettings
from isams_pipeline.config.values import ServerUrl, Variable


class AssemblySettings(SourceSettings):
    """A school's data by the Assembly Platform."""

    key: ClassVar[str] = "assembly"

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

    @property
    def secrets(self) -> set[str | None]:
        """The names of the environment variables that hold its secrets."""
        return {self.client_id, self.secret}
