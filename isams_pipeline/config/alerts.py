"""Who is told when a night needs a person: `alerts` in schools.yaml, for all schools and for one."""

from __future__ import annotations

from enum import StrEnum
from typing import Annotated, Literal
from zoneinfo import ZoneInfo

from pydantic import AfterValidator, BeforeValidator, Field, model_validator

from isams_pipeline.config.values import AList, MailServerSettings, StrictSettings, Variable, Zone
from isams_pipeline.rules.clock_times import minutes


class AlertKind(StrEnum):
    """What a person may want to be told of."""

    FAILED = "failed"
    """A night failed, and will not be tried again by itself."""
    REFUSED = "refused"
    """A rule or the removal guard refused an export; what was delivered last stays."""
    HELD = "held"
    """A school's first export waits for a person."""
    LATE = "late"
    """A night should have been delivered by now."""
    WARNED = "warned"
    """A night was delivered, and a check warns."""
    RECOVERED = "recovered"
    """What somebody was told of is over."""


USUAL = (AlertKind.FAILED, AlertKind.REFUSED, AlertKind.HELD, AlertKind.LATE, AlertKind.RECOVERED)


class Span(StrictSettings):
    """Hours of the day; from 22:00 to 06:30 is over midnight."""

    start: int
    end: int
    """Minutes after midnight, both; the end is not in it."""

    def has(self, minute: int) -> bool:
        """Whether a minute of the day is in it."""
        if self.start <= self.end:
            return self.start <= minute < self.end
        return minute >= self.start or minute < self.end


def _span(value: object) -> object:
    if isinstance(value, Span):
        return value
    given = [minutes(part.strip()) for part in str(value).split("-")]
    found = [at for at in given if at is not None and 0 <= at < 24 * 60] if len(given) == _ENDS else []
    if len(found) != _ENDS or found[0] == found[1]:
        raise ValueError("not hours of the day; write 22:00-06:30")
    return Span(start=found[0], end=found[1])


_ENDS = 2


def address_of(value: str) -> str:
    """An e-mail address; raises ValueError for what is none."""
    # Not by email-validator: it refuses domains of one's own network, such as school.local.
    name, at, domain = value.rpartition("@")
    if not at or not name or "." not in domain or not value.isprintable() or any(c in value for c in ' ,;<>"'):
        raise ValueError("not an e-mail address; write oncall@example.org")
    return value


def page_of(value: str | None) -> str | None:
    """The address of a page; raises ValueError for what is none."""
    if value is not None and not value.startswith(("https://", "http://")):
        raise ValueError("not an address; write https://pipeline.example.org")
    return value


class AlertChannel(StrictSettings):
    """One way in which somebody is told: by e-mail, or by a webhook."""

    email: Annotated[tuple[Annotated[str, Field(max_length=254)], ...], AList] = ()
    """Each address gets a message of its own."""
    webhook: Variable | None = None
    """The environment variable with the address: who knows that can write there."""
    format: Literal["slack", "teams", "json"] | None = None
    """As whose the webhook takes it: Slack's, Microsoft Teams' (a workflow's), or plain JSON for a program."""
    wants: Annotated[tuple[AlertKind, ...], AList] = USUAL
    quiet: Annotated[Span | None, BeforeValidator(lambda value: value if value is None else _span(value))] = None
    """When nothing is sent. What happens then is told at its end."""

    @model_validator(mode="after")
    def _one_way(self) -> AlertChannel:
        if bool(self.email) == (self.webhook is not None):
            raise ValueError("a channel has either email or webhook; give one of them")
        if (self.webhook is None) != (self.format is None):
            raise ValueError("webhook and format go together; format is slack, teams or json")
        for address in self.email:
            address_of(address)
        if not self.wants:
            raise ValueError(f"wants is empty, so nothing would ever be sent; name some of {', '.join(AlertKind)}")
        return self


class AlertSettings(MailServerSettings):
    """Who is told, by what, and when."""

    to: Annotated[tuple[AlertChannel, ...], AList] = ()
    """Told about all schools. A school's own channels stand in its `alerts`."""
    ui: Annotated[str | None, AfterValidator(page_of)] = None
    """The UI's address, for links to runs."""
    timezone: Zone = ZoneInfo("Europe/London")
    """Of the quiet hours of channels for all schools; a school's own go by its own."""
    late_after_minutes: int = Field(default=120, ge=10, le=20 * 60)
    """After a partner's hour."""
    gather_minutes: int = Field(default=5, ge=0, le=60)
    """So long is waited for further nights with the same cause, so that they are one message."""
    mail_from: str = ""

    @property
    def secrets(self) -> set[str]:
        """The environment variables that it names, but for those of schools' channels."""
        found = {self.smtp_secret, *(channel.webhook for channel in self.to)}
        return {name for name in found if name is not None}

    @model_validator(mode="after")
    def _who_writes(self) -> AlertSettings:
        if self.smtp_url is not None and not self.mail_from:
            raise ValueError("smtp_url needs mail_from: the address that mail comes from")
        if self.smtp_url is not None:
            address_of(self.mail_from)
        if self.smtp_url is None and any(channel.email for channel in self.to):
            raise ValueError("channels by e-mail need smtp_url and mail_from")
        return self
