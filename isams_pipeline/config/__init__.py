"""schools.yaml → typed settings. Every key is documented in schools.example.yaml."""

from __future__ import annotations

import os
import re
from collections.abc import Hashable, Mapping
from datetime import date
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, cast

import yaml
from pydantic import Field, SerializeAsAny, ValidationError, field_validator, model_validator

from isams_pipeline.config.alerts import AlertChannel, AlertSettings
from isams_pipeline.config.isams import (
    IsamsSettings,
    KeySettings,
    RegisterChoice,
    RestClientSettings,
    advised_cache_hours,
)
from isams_pipeline.config.known import ask_for_all, each_by_its_own, model_of
from isams_pipeline.config.partners import KNOWN as KNOWN_PARTNERS
from isams_pipeline.config.partners import P, PartnersSettings
from isams_pipeline.config.reports import ReportSettings
from isams_pipeline.config.retention import AllRetention, Retention
from isams_pipeline.config.secrets import secret_from
from isams_pipeline.config.sources import KNOWN_SOURCES, C, ConnectionSettings, SourceName, SourceSettings
from isams_pipeline.config.spelling import meant
from isams_pipeline.config.values import AList, StrictSettings, TimeOfDay, Timeslot, YearRange, Years, Zone, is_loopback
from isams_pipeline.config.wrong import in_words
from isams_pipeline.errors import ConfigurationError
from isams_pipeline.moved import found_elsewhere
from isams_pipeline.rules.compare import label

__all__ = [
    "IsamsSettings",
    "KeySettings",
    "RegisterChoice",
    "RestClientSettings",
    "SchoolSettings",
    "Settings",
    "SourceName",
    "SourceSettings",
    "Timeslot",
    "YearRange",
    "advised_cache_hours",
    "find_config",
    "is_loopback",
    "load_settings",
    "secret_from",
]
CONNECTIONS = "connections"
CONFIG_VARIABLE = "ISAMS_CONFIG"
DEFAULT_CONFIG = "schools.yaml"


class SchoolSettings(StrictSettings):
    """One iSAMS instance, which may hold several campuses, and the sources of its data."""

    name: str = Field(min_length=1)
    timezone: Zone
    connections: dict[str, SerializeAsAny[ConnectionSettings]] = Field(default_factory=dict[str, ConnectionSettings])
    """To the school's sources. In schools.yaml each stands beside `name`, by the source's key."""
    first_night: date | None = None
    """The school's first night here, where that is later than history's; of an earlier one nothing can be had."""
    campuses: dict[str, Years] = Field(default_factory=dict[str, YearRange])
    partners: PartnersSettings = Field(default_factory=PartnersSettings)
    alerts: Annotated[tuple[AlertChannel, ...], AList] = ()
    """Who is told about this school, besides those who are told about all."""
    reports: ReportSettings | None = None
    """The report for its office: what is to be mended in iSAMS. None: there is none."""
    retention: Retention = Field(default_factory=Retention)
    """What of it stays longer or shorter than that of other schools."""

    @model_validator(mode="before")
    @classmethod
    def _sources_beside_the_name(cls, given: object) -> object:
        if not isinstance(given, Mapping):
            return given
        school = cast("Mapping[str, object]", given)
        others = [key for key in school if key not in cls.model_fields and model_of(KNOWN_SOURCES, key) is not None]
        theirs = {key: value for key, value in school.items() if key in {*others, CONNECTIONS}}
        return {key: value for key, value in school.items() if key not in theirs} | {CONNECTIONS: theirs}

    @field_validator("connections", mode="before")
    @classmethod
    def _each_source_by_its_own(cls, given: object) -> object:
        return each_by_its_own(given, KNOWN_SOURCES, cls.__name__)

    @field_validator("campuses", mode="after")
    @classmethod
    def _apart(cls, campuses: dict[str, YearRange]) -> dict[str, YearRange]:
        items = list(campuses.items())
        called: dict[str, str] = {}
        for name in campuses:
            folded = label(name)
            if not folded:
                raise ValueError("a campus has an empty name; give it one, or remove it")
            if folded in called:
                raise ValueError(f"{called[folded]!r} and {name!r} are one name but for case and blanks; rename one")
            called[folded] = name
        for at, (name, years) in enumerate(items):
            for other, other_years in items[at + 1 :]:
                if years.overlaps(other_years):
                    raise ValueError(f"{name} and {other} share year groups; give each year to one campus")
        return campuses

    @model_validator(mode="after")
    def _sources_for_partners(self) -> SchoolSettings:
        if not self.sources:
            ask_for_all()
            raise ValueError(f"it has no source; add one of {', '.join(KNOWN_SOURCES)}")
        for name, source in self.partners.sources.items():
            if source not in self.sources:
                here = ", ".join(self.sources)
                raise ValueError(f"{name} uses the source {source}, which the school has not; it has: {here}")
        return self

    @model_validator(mode="after")
    def _feeds_for_partners(self) -> SchoolSettings:
        isams, uses = self.isams, self.partners.rest_uses
        if isams is None:
            if uses:
                raise ValueError(f"{', '.join(use.user for use in uses)}: iSAMS's REST API is needed; add isams")
            return self
        has = isams.key_for
        of_isams = (settings for settings in self.partners.root.values() if settings.uses == "isams")
        lacking = [settings.lacks(lambda feed: has(feed) is not None) for settings in of_isams]
        if problems := [problem for problem in lacking if problem is not None]:
            raise ValueError("; ".join(problems))
        for use in uses:
            try:
                isams.client_named(use.client)
            except ValueError as problem:
                raise ValueError(f"{use.user}: {problem}; correct partners.{use.setting}") from None
        return self

    @model_validator(mode="after")
    def _something_to_report(self) -> SchoolSettings:
        by_isams = [key for key in self.partners.exporting if self.partners.sources[key] == IsamsSettings.key]
        if self.reports is not None and not by_isams:
            raise ValueError(
                "reports tell an office what to mend in iSAMS, by what partners did not get of it; the school has no "
                "partner that gets files by iSAMS's own source, so remove reports"
            )
        return self

    @property
    def sources(self) -> tuple[str, ...]:
        """The sources that the school has."""
        return tuple(sorted(self.connections, key=lambda name: name != IsamsSettings.key))  # iSAMS's own first

    def connection(self, kind: type[C]) -> C | None:
        """How the school is connected to a source, if it is."""
        found = self.connections.get(kind.key)
        return found if isinstance(found, kind) else None

    def need(self, kind: type[C]) -> C:
        """How the school is connected to a source; raises ConfigurationError where it is not."""
        found = self.connection(kind)
        if found is None:
            raise self._without(kind.key)
        return found

    @property
    def isams(self) -> IsamsSettings | None:
        """How the school is connected to iSAMS's own APIs, if it is."""
        return self.connection(IsamsSettings)

    @property
    def variables(self) -> set[str]:
        """The environment variables that hold the school's secrets."""
        found = self.partners.secrets.union(*(mine.secrets for mine in self.connections.values()))
        found |= {channel.webhook for channel in self.alerts}
        return {name for name in found if name is not None}

    def settings_of(self, source: str) -> SourceSettings:
        """The settings of a source other than iSAMS's own; raises ConfigurationError where the school has none."""
        settings = self.connections.get(source)
        if not isinstance(settings, SourceSettings):
            raise self._without(source)
        return settings

    @property
    def need_isams(self) -> IsamsSettings:
        """The settings of iSAMS's own source; raises ConfigurationError where the school has none."""
        return self.need(IsamsSettings)

    def _without(self, source: str) -> ConfigurationError:
        here = ", ".join(self.sources)
        return ConfigurationError(
            f"{self.name} has no source {source}",
            remedy=f"Its sources in schools.yaml are: {here}. Add {source} there, or use another.",
        )


class Settings(StrictSettings):
    """All of schools.yaml. `file` is where it was read, for messages and relative paths."""

    schools: dict[str, SchoolSettings] = Field(default_factory=dict[str, SchoolSettings])
    history_from: date = date(2025, 9, 1)
    """The first night that partitions exist for. Moved by hand, a school year at a time; or see `history_years`."""
    history_years: int | None = Field(default=None, ge=1, le=30)
    """Instead of `history_from`: partitions exist for so many school years, this one among them."""
    catch_up_until: TimeOfDay = 6 * 60 + 30
    """A night whose hour passed while nothing ran is begun until then, by the school's clock, while it is that date."""
    spread_minutes: int = Field(default=0, ge=0, le=59)
    """Over so many minutes after a partner's hour the schools' nights begin, each always at its own."""
    alerts: AlertSettings = Field(default_factory=AlertSettings)
    """Who is told when a night needs a person. Left out: nobody."""
    retention: AllRetention = Field(default_factory=AllRetention)
    """How long what is kept stays."""
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

    @model_validator(mode="after")
    def _one_beginning(self) -> Settings:
        if self.history_years is not None and "history_from" in self.model_fields_set:
            raise ValueError("history_from and history_years both say when history begins; remove one of them")
        return self

    @model_validator(mode="after")
    def _a_server_for_mail(self) -> Settings:
        mailing = [name for name, school in self.schools.items() if any(channel.email for channel in school.alerts)]
        if mailing and self.alerts.smtp_url is None:
            raise ValueError(
                f"schools.{mailing[0]}.alerts: e-mail needs smtp_url and mail_from in alerts, beside schools"
            )
        told = [name for name, school in self.schools.items() if school.reports is not None and school.reports.mail_to]
        if told and self.alerts.smtp_url is None:
            raise ValueError(
                f"schools.{told[0]}.reports: mail_to needs smtp_url and mail_from in alerts, beside schools"
            )
        return self

    @property
    def first_date(self) -> date:
        """Since when partitions exist: history's beginning, or the first night of any school where that is later."""
        return min(map(self.first_night_of, self.schools), default=self.history_from)

    def retention_of(self, school: str) -> Retention:
        """How long what is kept of a school stays: its own days, else those of all; raises ConfigurationError."""
        own = self.school(school).retention
        return self.retention.model_copy(update={name: getattr(own, name) for name in own.model_fields_set})

    def first_night_of(self, school: str) -> date:
        """Since when a school has nights; raises ConfigurationError."""
        own = self.school(school).first_night
        return self.history_from if own is None else max(own, self.history_from)

    @property
    def variables(self) -> set[str]:
        """The environment variables that hold secrets: those of all schools, and of alerts."""
        return self.alerts.secrets.union(*(school.variables for school in self.schools.values()))

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

    def partner(self, school: str, kind: type[P]) -> P:
        """What a school has agreed with a partner; raises ConfigurationError where that is nothing."""
        found = self.school(school).partners.get(kind)
        if found is None:
            raise ConfigurationError(
                f"The school does not use {kind.label}",
                school=school,
                remedy=f"Add schools.{school}.partners.{kind.key} to schools.yaml.",
            )
        return found

    def resolve(self, url: str) -> str:
        """A `deliver_to` as a full URL or path; a relative one is relative to the configuration file."""
        if "://" in url or "::" in url:
            return url
        base = self.file.parent if self.file else Path.cwd()
        return str((base / Path(url).expanduser()).resolve())


class _UniqueKeyLoader(yaml.SafeLoader):
    """YAML's safe loader, but a key given twice is an error instead of the last one winning; read by libyaml.

    PyYAML's CSafeLoader also builds the nodes in C, by recursion, so that a text nested deeply enough ends the process.
    Here libyaml gives the events only, which makes most of the difference.
    """

    def __init__(self, text: str) -> None:
        super().__init__(text)
        if yaml.__with_libyaml__:
            events: Any = yaml.CSafeLoader(text)
            self.check_event, self.peek_event, self.get_event = events.check_event, events.peek_event, events.get_event

    def construct_mapping(self, node: yaml.MappingNode, deep: bool = False) -> dict[Hashable, Any]:  # noqa: FBT001, FBT002
        seen: set[str] = set()
        for key, _ in node.value:
            if isinstance(key, yaml.ScalarNode) and key.value in seen:
                raise yaml.MarkedYAMLError(problem=f"{key.value!r} is given twice", problem_mark=key.start_mark)
            seen.add(str(key.value))
        return super().construct_mapping(node, deep)

    line: int | None = None
    """Of the last thing that was read."""

    def construct_object(self, node: yaml.Node, deep: bool = False) -> Any:  # noqa: FBT001, FBT002
        self.line = node.start_mark.line + 1
        try:
            return super().construct_object(node, deep)  # pyright: ignore[reportUnknownMemberType]
        except (ValueError, TypeError, ArithmeticError, LookupError, AttributeError):
            # Such as 2026-09-31, which looks like a date; the text of the error may quote it.
            kind = node.tag.rpartition(":")[2].removeprefix("timestamp") or "date"
            problem = f"what looks like a {kind} is none; put quotation marks around a text"
            raise yaml.MarkedYAMLError(problem=problem, problem_mark=node.start_mark) from None


def find_config(given: str | os.PathLike[str] | None = None) -> Path | None:
    """The configuration file: as given, else by ISAMS_CONFIG, else schools.yaml here; None where there is none."""
    named = given or os.environ.get(CONFIG_VARIABLE)
    if named:
        return Path(named).expanduser().resolve()
    here = Path(DEFAULT_CONFIG).resolve()
    return here if here.exists() else None


def load_settings(
    given: str | os.PathLike[str] | None = None, instead: Mapping[tuple[str, ...], object] | None = None
) -> Settings:
    """Read and check schools.yaml; without one there are no schools. `instead`: path → a value in place of the file's.

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
    loader: _UniqueKeyLoader | None = None
    try:
        # A SafeLoader subclass: nothing but plain data can come out of it.
        loader = _UniqueKeyLoader(text)
        data: object = loader.get_single_data()  # pyright: ignore[reportUnknownMemberType]
    except yaml.MarkedYAMLError as error:
        mark = error.problem_mark
        raise ConfigurationError(
            f"Not YAML: {error.problem}",
            file=file,
            line=mark.line + 1 if mark else None,
            remedy="Mend that line.",
        ) from None
    except (yaml.YAMLError, TypeError, ValueError, RecursionError):
        line = loader.line if loader is not None else None
        remedy = "Look for control characters and odd keys."
        raise ConfigurationError("Not YAML", file=file, line=line, remedy=remedy) from None
    if not isinstance(data, dict):
        raise ConfigurationError(
            "The configuration file is not a mapping", file=file, remedy="Begin it with `schools:`."
        )
    for path, value in (instead or {}).items():
        _put(cast("dict[str, Any]", data), path, value)
    try:
        return Settings.model_validate({**data, "file": file})
    except ValidationError as error:
        raise _explained(error, file) from None


def _put(data: dict[str, Any], path: tuple[str, ...], value: object) -> None:
    """Put a value at a path of a mapping, whether or not anything is there."""
    for part in path[:-1]:
        if not isinstance(data.get(part), dict):
            data[part] = {}
        data = data[part]
    data[path[-1]] = value


def _explained(error: ValidationError, file: Path) -> ConfigurationError:
    """A pydantic error in words, without the values that it would print."""
    lines: list[str] = []
    for problem in error.errors(include_input=False, include_url=False):
        path = ".".join(map(str, problem["loc"])).replace(f".{CONNECTIONS}", "", 1) or "(top)"
        match problem["type"]:
            case "extra_forbidden":
                where = [part for part in problem["loc"] if part != CONNECTIONS]
                near = meant(where, Settings, {SchoolSettings: KNOWN_SOURCES, PartnersSettings: KNOWN_PARTNERS})
                check = "check its spelling against schools.example.yaml, or remove it"
                what = f"unknown key; {f'did you mean {near}? Otherwise ' if near else ''}{check}"
            case "missing":
                what = "missing; add it (schools.example.yaml shows how)"
            case kind:
                what = in_words(kind, problem["msg"], problem.get("ctx", {}))
        lines.append(f"  {path}: {what}")
    return ConfigurationError(f"{file} is not valid:\n" + "\n".join(lines))


if not TYPE_CHECKING:  # who checks types sees what is there

    def __getattr__(name: str) -> object:
        """Names of before, with a warning."""
        return found_elsewhere(__name__, name)
