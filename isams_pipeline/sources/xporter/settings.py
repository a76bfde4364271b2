"""How a school is connected to Xporter on Demand."""

from __future__ import annotations

from typing import ClassVar

from pydantic import Field

from isams_pipeline.config.sources import SourceSettings
from isams_pipeline.config.values import ServerUrl, Variable


class XporterSettings(SourceSettings):
    """A school's data by Groupcall's Xporter on Demand."""

    key: ClassVar[str] = "xporter"

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

    @property
    def secrets(self) -> set[str | None]:
        """The names of the environment variables that hold its secrets."""
        return {self.secret, self.management_secret}
