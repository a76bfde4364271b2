"""schools.yaml → typed settings. Every key is documented in schools.example.yaml."""

from __future__ import annotations

import difflib
import ipaddress
import os
import re
from collections.abc import Collection, Hashable, Mapping
from datetime import date
from pathlib import Path
from typing import Annotated, Any, Literal
from urllib.parse import urlsplit
from zoneinfo import ZoneInfo, available_timezones

import yaml
from pydantic import (
    AfterValidator,
    BaseModel,
    BeforeValidator,
    ConfigDict,
    Field,
    ValidationError,
    field_validator,
    model_validator,
)

from isams_pipeline.errors import ConfigurationError, MissingSecret
from isams_pipeline.isams import feeds
from isams_pipeline.rules.clock_times import minutes

CONFIG_VARIABLE = "ISAMS_CONFIG"
DEFAULT_CONFIG = "schools.yaml"
ADVISED_CACHE_HOURS = (2, 3)
"""SchoolsBuddy's guide: 2 or 3 hours, not iSAMS's default of 24, so that a second sync sees new data."""
HOURLY_FEEDS = frozenset({"estates", "timetable_structure", "week_allocations", "timetables", "room_closures"})
"""Room Booking's guide: a key that brings these refreshes every hour."""


def advised_cache_hours(feeds: Collection[str]) -> tuple[int, int]:
    """The least and the most hours that a key with these feeds should answer from its cache."""
    return (1, 1) if HOURLY_FEEDS & set(feeds) else ADVISED_CACHE_HOURS


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


def _year_range(value: object) -> object:
    return value if isinstance(value, YearRange) else YearRange.parse(value)


def _all_or_years(value: object) -> object:
    return None if value in (None, "all") else _year_range(value)


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


def _zone(value: object) -> object:
    if isinstance(value, str) and value in available_timezones():
        return ZoneInfo(value)
    near = difflib.get_close_matches(str(value), available_timezones(), n=1)
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
    if parts.scheme == "http" and not is_loopback(parts.hostname):
        raise ValueError("pupils' data would cross the network unencrypted; write https://")
    return value.rstrip("/")


Variable = Annotated[str, AfterValidator(_variable)]
Zone = Annotated[ZoneInfo, BeforeValidator(_zone)]
Years = Annotated[YearRange, BeforeValidator(_year_range)]
ServerUrl = Annotated[str, AfterValidator(_server_url)]


class _Settings(BaseModel):
    model_config = ConfigDict(extra="forbid", frozen=True, arbitrary_types_allowed=True)


class KeySettings(_Settings):
    """One Batch API key (or OAuth client) of a school."""

    secret: Variable
    client_id: Variable | None = None
    """With it, `secret` is an OAuth client's secret, and the key is asked for by a token."""
    feeds: tuple[str, ...] = Field(min_length=1)
    cache_hours: float = Field(default=24, gt=0, le=168)

    @field_validator("feeds", mode="after")
    @classmethod
    def _known_feeds(cls, names: tuple[str, ...]) -> tuple[str, ...]:
        try:
            return tuple(feeds.expand(names))
        except KeyError as error:
            known = [*feeds.FEEDS, *feeds.SHORTHANDS]
            near = difflib.get_close_matches(str(error.args[0]), known, n=1)
            hint = f"did you mean {near[0]}?" if near else f"known are {', '.join(known)}"
            raise ValueError(f"there is no feed {error.args[0]!r}; {hint}") from None

    @model_validator(mode="after")
    def _medical_alone(self) -> KeySettings:
        if "medical" in self.feeds and len(self.feeds) > 1:
            raise ValueError(
                "medical shares the key with other feeds; its shape is unknown, so give it a key of its own"
            )
        return self


class IsamsSettings(_Settings):
    """A school's iSAMS: where it is, and which key brings which feeds."""

    url: ServerUrl
    keys: dict[str, KeySettings] = Field(min_length=1)

    @field_validator("keys", mode="after")
    @classmethod
    def _one_key_a_feed(cls, keys: dict[str, KeySettings]) -> dict[str, KeySettings]:
        brought_by: dict[str, str] = {}
        for name, key in keys.items():
            if re.fullmatch(r"[a-z][a-z0-9_-]*", name) is None:
                raise ValueError(f"key {name!r}: a key's name is lower-case letters, digits, - and _")
            for feed in key.feeds:
                if feed in brought_by:
                    raise ValueError(
                        f"feed {feed} comes by the keys {brought_by[feed]} and {name}; leave it to one of them"
                    )
                brought_by[feed] = name
        return keys

    def key_for(self, feed: str) -> str | None:
        """The name of the key that brings a feed, or None where the school has none for it."""
        return next((name for name, key in self.keys.items() if feed in key.feeds), None)


class SchoolsBuddySettings(_Settings):
    """What a school sends to SchoolsBuddy."""

    contact_types: tuple[str, ...] = Field(default=("Mother", "Father"), min_length=1)
    mail_merge: tuple[Literal["all", "correspondence"], ...] = ("all", "correspondence")
    """A contact needs one of these; with an empty list mail merge does not matter."""
    contact_years: Annotated[YearRange | None, BeforeValidator(_all_or_years)] = None
    max_removed: Annotated[float, BeforeValidator(_share)] = 0.2
    deliver_to: str = "data/exports"
    medical_fields: tuple[str, ...] = ()


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


def _timeslot(value: object) -> object:
    return value if isinstance(value, Timeslot) else Timeslot.parse(value)


def _smtp_url(value: str) -> str:
    parts = urlsplit(value)
    if parts.scheme not in {"smtp", "smtps"} or not parts.hostname:
        raise ValueError("not the address of a mail server; write smtp://mail.example.org:587")
    if parts.password or parts.username:
        raise ValueError("a log-in does not belong here; name the user in smtp_user, the variable in smtp_secret")
    return value


class RoomBookingSettings(_Settings):
    """What a school sends to Room Booking."""

    timeslots: tuple[Annotated[Timeslot, BeforeValidator(_timeslot)], ...] = ()
    """The periods' timings as the school has confirmed them; iSAMS must agree."""
    max_cancelled: int = Field(default=20, ge=0)
    """More cancellations than this in one night wait for a person."""
    max_removed: Annotated[float, BeforeValidator(_share)] = 0.2
    deliver_to: str = "data/exports"
    smtp_url: Annotated[str, AfterValidator(_smtp_url)] | None = None
    """Without one, mail is written to `outbox/` in the data folder."""
    smtp_user: str | None = None
    smtp_secret: Variable | None = None
    mail_from: str = "room-booking@localhost"

    @model_validator(mode="after")
    def _whole_log_in(self) -> RoomBookingSettings:
        if (self.smtp_user is None) != (self.smtp_secret is None):
            raise ValueError("smtp_user and smtp_secret go together; give both or neither")
        if self.smtp_url and self.mail_from.endswith("@localhost"):
            raise ValueError("smtp_url needs mail_from: the address that mail comes from")
        return self


class PartnersSettings(_Settings):
    """Which partners a school sends data to."""

    schoolsbuddy: SchoolsBuddySettings | None = None
    room_booking: RoomBookingSettings | None = None

    @property
    def all(self) -> dict[str, SchoolsBuddySettings | RoomBookingSettings]:
        """The partners that the school has, by name."""
        found = {"schoolsbuddy": self.schoolsbuddy, "room_booking": self.room_booking}
        return {name: settings for name, settings in found.items() if settings is not None}


class SchoolSettings(_Settings):
    """One iSAMS instance, which may hold several campuses."""

    name: str = Field(min_length=1)
    timezone: Zone
    isams: IsamsSettings
    campuses: dict[str, Years] = Field(default_factory=dict[str, YearRange])
    partners: PartnersSettings = PartnersSettings()

    @field_validator("campuses", mode="after")
    @classmethod
    def _apart(cls, campuses: dict[str, YearRange]) -> dict[str, YearRange]:
        items = list(campuses.items())
        for at, (name, years) in enumerate(items):
            for other, other_years in items[at + 1 :]:
                if years.overlaps(other_years):
                    raise ValueError(f"{name} and {other} share year groups; give each year to one campus")
        return campuses

    @model_validator(mode="after")
    def _feeds_for_partners(self) -> SchoolSettings:
        for name, feeds_needed in REQUIRED_FEEDS.items():
            if getattr(self.partners, name) is None:
                continue
            missing = [feed for feed in feeds_needed if self.isams.key_for(feed) is None]
            if missing:
                raise ValueError(f"{name} needs the feeds {', '.join(missing)}; name them under a key in isams.keys")
        partner = self.partners.schoolsbuddy
        if partner is not None and partner.medical_fields and self.isams.key_for("medical") is None:
            raise ValueError(
                "schoolsbuddy.medical_fields is set, but no key brings the feed medical; add the key or remove "
                "medical_fields"
            )
        return self


REQUIRED_FEEDS: dict[str, tuple[str, ...]] = {
    "schoolsbuddy": ("pupils", "contacts", "staff", "years"),
    "room_booking": ("estates", "staff", "terms", "timetable_structure", "week_allocations", "timetables"),
}
"""Feeds without which there is no export for a partner."""
GUIDE_FEEDS: dict[str, tuple[str, ...]] = {
    "room_booking": (
        *REQUIRED_FEEDS["room_booking"],
        *("departments", "sets", "teaching_forms", "lesson_suspensions", "room_closure_reasons", "room_closures"),
    ),
}
"""All that a partner's guide asks for, what it calls optional left out."""


class Settings(_Settings):
    """All of schools.yaml. `file` is where it was read, for messages and relative paths."""

    schools: dict[str, SchoolSettings] = Field(default_factory=dict[str, SchoolSettings])
    history_from: date = date(2025, 9, 1)
    """The first night that partitions exist for. Moved by hand, a school year at a time."""
    file: Path | None = Field(default=None, exclude=True)

    @field_validator("schools", mode="after")
    @classmethod
    def _names(cls, schools: dict[str, SchoolSettings]) -> dict[str, SchoolSettings]:
        for name in schools:
            if re.fullmatch(r"[a-z][a-z0-9_-]{0,62}", name) is None:
                raise ValueError(f"{name!r} cannot name a school here; use lower-case letters, digits, - and _")
        return schools

    @field_validator("history_from", mode="after")
    @classmethod
    def _first_of_september(cls, day: date) -> date:
        if (day.month, day.day) != (9, 1):
            raise ValueError("not a first of September; write the start of a school year, such as 2025-09-01")
        return day

    def school(self, name: str) -> SchoolSettings:
        """The settings of a school; raises ConfigurationError with the schools there are."""
        if name not in self.schools:
            if self.file is None:
                raise ConfigurationError(
                    "There is no configuration file",
                    remedy="Copy schools.example.yaml to schools.yaml, or name another with --config or ISAMS_CONFIG; "
                    "a demo's is data/demo/schools.yaml.",
                )
            known = ", ".join(self.schools) or "none"
            raise ConfigurationError(f"There is no school {name!r}", file=self.file, remedy=f"Configured are: {known}.")
        return self.schools[name]

    def resolve(self, url: str) -> str:
        """A `deliver_to` as a full fsspec URL or path; a relative one is relative to the configuration file."""
        if "://" in url or "::" in url:
            return url
        base = self.file.parent if self.file else Path.cwd()
        return str((base / Path(url).expanduser()).resolve())


class _UniqueKeyLoader(yaml.SafeLoader):
    """YAML's safe loader, but a key given twice is an error instead of the last one winning."""

    def construct_mapping(self, node: yaml.MappingNode, deep: bool = False) -> dict[Hashable, Any]:  # noqa: FBT001, FBT002
        seen: set[str] = set()
        for key, _ in node.value:
            if isinstance(key, yaml.ScalarNode) and key.value in seen:
                raise yaml.MarkedYAMLError(problem=f"{key.value!r} is given twice", problem_mark=key.start_mark)
            seen.add(str(key.value))
        return super().construct_mapping(node, deep)


def find_config(given: str | os.PathLike[str] | None = None) -> Path | None:
    """The configuration file: as given, else by ISAMS_CONFIG, else schools.yaml here; None where there is none."""
    named = given or os.environ.get(CONFIG_VARIABLE)
    if named:
        return Path(named).expanduser().resolve()
    here = Path(DEFAULT_CONFIG).resolve()
    return here if here.exists() else None


def load_settings(given: str | os.PathLike[str] | None = None) -> Settings:
    """Read and check schools.yaml; without one there are no schools.

    Raises ConfigurationError that names the file, each path within it, and the remedy. Reads no secret.
    """
    file = find_config(given)
    if file is None:
        return Settings()
    try:
        text = file.read_text(encoding="utf-8")
    except FileNotFoundError:
        remedy = "Copy schools.example.yaml to schools.yaml, or give --config or ISAMS_CONFIG another path."
        raise ConfigurationError("There is no configuration file", file=file, remedy=remedy) from None
    except (OSError, UnicodeDecodeError) as error:
        raise ConfigurationError(
            f"The configuration file cannot be read: {type(error).__name__}",
            file=file,
            remedy="Check its permissions and that it is UTF-8 text.",
        ) from None
    try:
        # A SafeLoader subclass: nothing but plain data can come out of it.
        data: object = yaml.load(text, Loader=_UniqueKeyLoader)  # noqa: S506
    except yaml.MarkedYAMLError as error:
        mark = error.problem_mark
        raise ConfigurationError(
            f"Not YAML: {error.problem}",
            file=file,
            line=mark.line + 1 if mark else None,
            remedy="Mend that line.",
        ) from None
    except (yaml.YAMLError, TypeError):
        raise ConfigurationError("Not YAML", file=file, remedy="Look for control characters and odd keys.") from None
    if not isinstance(data, dict):
        raise ConfigurationError(
            "The configuration file is not a mapping", file=file, remedy="Begin it with `schools:`."
        )
    try:
        return Settings.model_validate({**data, "file": file})
    except ValidationError as error:
        raise _explained(error, file) from None


def _explained(error: ValidationError, file: Path) -> ConfigurationError:
    """A pydantic error in words, without the values that it would print."""
    lines: list[str] = []
    for problem in error.errors(include_input=False, include_url=False):
        path = ".".join(str(part) for part in problem["loc"]) or "(top)"
        match problem["type"]:
            case "extra_forbidden":
                what = "unknown key; check its spelling against schools.example.yaml, or remove it"
            case "missing":
                what = "missing; add it (schools.example.yaml shows how)"
            case "value_error":
                what = str(problem["ctx"]["error"]) if "ctx" in problem else problem["msg"]
            case _:
                what = problem["msg"][:1].lower() + problem["msg"][1:] + "; see schools.example.yaml"
        lines.append(f"  {path}: {what}")
    return ConfigurationError(f"{file} is not right:\n" + "\n".join(lines))


def secret_from(variables: Mapping[str, str], name: str, **where: object) -> str:
    """The secret in an environment variable; raises MissingSecret, which names the variable."""
    value = variables.get(name, "").strip()
    if not value:
        raise MissingSecret(
            f"The environment variable {name} is not set",
            remedy="Set it to the key and start again.",
            **where,
        )
    return value
