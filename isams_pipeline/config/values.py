"""The kinds of values that schools.yaml may hold: read strictly, refused with what to write instead."""

from __future__ import annotations

import difflib
import functools
import ipaddress
import re
from typing import Annotated, Self
from urllib.parse import urlsplit
from zoneinfo import ZoneInfo, available_timezones

from pydantic import AfterValidator, BaseModel, BeforeValidator, ConfigDict, model_validator

from isams_pipeline.rules.clock_times import minutes


class YearRange(BaseModel):
    """A set of year groups by National Curriculum year, such as `7-11`, `-2..6` or `1-6, 13`; nursery is negative."""

    model_config = ConfigDict(frozen=True)
    text: str
    spans: tuple[tuple[int, int], ...]

    @classmethod
    def parse(cls, text: object) -> YearRange:
        """Read a range as it stands in schools.yaml; raises ValueError with what to write instead."""
        spans: list[tuple[int, int]] = []
        for part in str(text).split(","):
            match = re.fullmatch(r"\s*(-?\d+)\s*(?:(?:\.\.|-|–|to)\s*(-?\d+)\s*)?", part)  # noqa: RUF001
            if match is None:
                message = "not a range of year groups; write 7-11, or -2..6 where nursery years count"
                raise ValueError(message)
            low = int(match[1])
            high = int(match[2]) if match[2] else low
            if low > high:
                raise ValueError("the range ends before it starts; write the lower year first")
            spans.append((low, high))
        return cls(text=str(text), spans=tuple(spans))

    def __contains__(self, year: object) -> bool:
        return isinstance(year, int) and any(low <= year <= high for low, high in self.spans)

    def overlaps(self, other: YearRange) -> bool:
        """Whether some year is in both."""
        return any(a <= d and c <= b for a, b in self.spans for c, d in other.spans)


class Timeslot(BaseModel):
    """A period's name and timing as the school has confirmed it: `Period 1: 08:44 - 09:34`."""

    model_config = ConfigDict(frozen=True)
    name: str
    start: int
    """Minutes after midnight."""
    end: int

    @classmethod
    def parse(cls, text: object) -> Timeslot:
        """Read a timeslot as it stands in schools.yaml; raises ValueError with what to write instead."""
        match = re.fullmatch(r"\s*(.+?)\s*:\s*(\d{1,2}:\d{2})\s*(?:-|–|to)\s*(\d{1,2}:\d{2})\s*", str(text))  # noqa: RUF001
        start, end = (minutes(match[2]), minutes(match[3])) if match else (None, None)
        if match is None or start is None or end is None:
            raise ValueError("not a timeslot; write Period 1: 08:44 - 09:34")
        if end <= start:
            raise ValueError("the timeslot ends before it starts")
        return cls(name=match[1], start=start, end=end)


def _year_range(value: object) -> object:
    """A range as text, or as YAML's own list of years and ranges."""
    if isinstance(value, list | tuple):
        years = [str(one) for one in value]  # pyright: ignore[reportUnknownVariableType, reportUnknownArgumentType]
        if not years:
            raise ValueError("an empty list of year groups; name some, or write all")
        value = ",".join(years)
    return value if isinstance(value, YearRange) else YearRange.parse(value)


def _all_or_years(value: object) -> object:
    return None if value in (None, "all") else _year_range(value)


def _all_or_texts(value: object) -> object:
    if value in (None, "all"):
        return None
    found = _a_list(value)
    if not found:
        raise ValueError("an empty list sends nobody; name some, or write all")
    return found


def _a_list(value: object) -> object:
    """A list as it is; a single value is no list, and what to write instead is said."""
    if isinstance(value, str | int | float | bool):
        text = str(value)
        text = text if re.fullmatch(r"[\w .-]*", text) else f"'{text}'"
        raise ValueError(f"write a list: [{text}]")  # noqa: TRY004  # pydantic's way of saying that a value is wrong
    return value


def _share(value: object) -> object:
    if isinstance(value, str) and (match := re.fullmatch(r"\s*(\d+(?:\.\d+)?)\s*%\s*", value)):
        share = float(match[1]) / 100
        if share <= 1:
            return share
    raise ValueError("not a share; write a percentage up to 100%, such as 20%")


def _variable(value: str) -> str:
    if re.fullmatch(r"[A-Za-z_][A-Za-z0-9_]*", value) is None:
        raise ValueError(
            "not the name of an environment variable; put the secret itself into a variable and its name here"
        )
    return value


@functools.cache
def _zones() -> frozenset[str]:
    """All time zones' names; to list them walks a folder of some hundred files, which is not for every school."""
    return frozenset(available_timezones())


def _zone(value: object) -> object:
    if isinstance(value, str) and value in _zones():
        return ZoneInfo(value)
    near = difflib.get_close_matches(str(value), sorted(_zones()), n=1)
    hint = f"did you mean {near[0]}?" if near else "write a name such as Europe/London"
    raise ValueError(f"not a time zone; {hint}")


def is_loopback(host: str | None) -> bool:
    """Whether a host name can only mean this machine."""
    if host == "localhost":
        return True
    try:
        return ipaddress.ip_address(host or "").is_loopback
    except ValueError:
        return False


def _server_url(value: str) -> str:
    parts = urlsplit(value)
    if not parts.hostname or parts.scheme not in {"https", "http"}:
        raise ValueError("not the address of a server; write https://yourschool.isams.cloud")
    if parts.username or parts.query or parts.fragment:
        raise ValueError("more than the address of a server; leave log-in, ?query and #fragment away")
    if re.search(r"/(api|auth)(/|$)|\.as[hm]x$", parts.path, re.IGNORECASE):
        raise ValueError("a path of an API; write the host only, such as https://yourschool.isams.cloud")
    if parts.scheme == "http" and not is_loopback(parts.hostname):
        raise ValueError("pupils' data would cross the network unencrypted; write https://")
    return value.rstrip("/")


def _timeslot(value: object) -> object:
    return value if isinstance(value, Timeslot) else Timeslot.parse(value)


def _time_of_day(value: object) -> object:
    # YAML reads 11:00 without quotes as a number to the base of 60, which is just the minutes after midnight.
    found = value if isinstance(value, int) and not isinstance(value, bool) else minutes(str(value))
    if found is None or not 0 <= found < 24 * 60:
        raise ValueError("not a time of day; write 11:00")
    return found


def _smtp_url(value: str) -> str:
    parts = urlsplit(value)
    if parts.scheme not in {"smtp", "smtps"} or not parts.hostname:
        raise ValueError("not the address of a mail server; write smtp://mail.example.org:587")
    if parts.password or parts.username:
        raise ValueError("a log-in does not belong here; name the user in smtp_user, the variable in smtp_secret")
    return value


PROTECTED = ("file", "s3", "gs", "abfs", "sftp")
"""Kinds of places that protect what they carry on the way."""


def _target(value: str) -> str:
    scheme, separator, _ = value.partition("://")
    if not separator and "::" not in value:
        return value
    if "::" in value or scheme not in PROTECTED:
        raise ValueError(
            f"cannot deliver to {scheme.partition('::')[0]!r}: it is not encrypted, or keeps nothing; use a path, or "
            f"one of {', '.join(f'{name}://' for name in PROTECTED)}"
        )
    parts = urlsplit(value)
    if parts.password is not None or (scheme == "s3" and parts.username is not None):
        raise ValueError(
            "a URL is no place for a password; name the environment variable that holds it as deliver_secret (sftp), "
            "or set those of the store's own (docs/configuration.md lists them)"
        )
    if scheme == "sftp" and not parts.hostname:
        raise ValueError("write sftp://user@host/path")
    if scheme == "file" and parts.netloc not in {"", "localhost"}:
        raise ValueError("write file:///path, or just the path")
    return value


Target = Annotated[str, AfterValidator(_target)]
Variable = Annotated[str, AfterValidator(_variable)]
Zone = Annotated[ZoneInfo, BeforeValidator(_zone)]
Years = Annotated[YearRange, BeforeValidator(_year_range)]
ServerUrl = Annotated[str, AfterValidator(_server_url)]
AllOrYears = Annotated[YearRange | None, BeforeValidator(_all_or_years)]
AList = BeforeValidator(_a_list)
"""For what must be a list: a single value is refused, with the list to write."""
AllOrTexts = Annotated[tuple[str, ...] | None, BeforeValidator(_all_or_texts)]
Share = Annotated[float, BeforeValidator(_share)]
ATimeslot = Annotated[Timeslot, BeforeValidator(_timeslot)]
TimeOfDay = Annotated[int, BeforeValidator(_time_of_day)]
"""Minutes after midnight."""
SmtpUrl = Annotated[str, AfterValidator(_smtp_url)]


class StrictSettings(BaseModel):
    """A part of schools.yaml: a key that it does not know is an error."""

    model_config = ConfigDict(extra="forbid", frozen=True, arbitrary_types_allowed=True)


class MailServerSettings(StrictSettings):
    """A mail server, where there is one, and how to log in to it."""

    smtp_url: SmtpUrl | None = None
    smtp_user: str | None = None
    smtp_secret: Variable | None = None

    @model_validator(mode="after")
    def _whole_log_in(self) -> Self:
        if (self.smtp_user is None) != (self.smtp_secret is None):
            raise ValueError("smtp_user and smtp_secret go together; give both or neither")
        return self
