"""The report for a school's office: `reports` of a school in schools.yaml."""

from __future__ import annotations

from typing import Annotated, Literal, Self

from pydantic import AfterValidator, Field, model_validator

from isams_pipeline.config.alerts import address_of, page_of
from isams_pipeline.config.values import AList, StrictSettings

Weekday = Literal["monday", "tuesday", "wednesday", "thursday", "friday", "saturday", "sunday"]


class ReportSettings(StrictSettings):
    """What the office is told, and how."""

    names: bool = False
    """Names stand in the report beside the numbers."""
    mail_to: Annotated[tuple[Annotated[str, Field(max_length=254), AfterValidator(address_of)], ...], AList] = ()
    """Who gets a mail each week: counts and a link. Sent by the mail server of `alerts`."""
    mail_on: Weekday = "monday"
    attach: bool = False
    """The workbook goes with the mail: the school has said that its mail may carry it."""
    link: Annotated[str | None, AfterValidator(page_of)] = None
    """Where the office finds the folder of its reports; the mail's link."""

    @model_validator(mode="after")
    def _names_by_mail(self) -> Self:
        if self.attach and not self.mail_to:
            raise ValueError("attach is about the mail, and mail_to names nobody; remove it, or name somebody")
        return self
