"""A partner as a value: everything that the rest of the project knows of it."""

from __future__ import annotations

from collections.abc import Callable, Collection, Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import date
from typing import Any, Generic, NamedTuple, TypeVar

import dagster as dg
import pandas as pd

from isams_pipeline.config import SchoolSettings, Settings
from isams_pipeline.config.partners import Delivering, PartnerSettings
from isams_pipeline.datasets.people import Person
from isams_pipeline.delivery.built import Built, Made
from isams_pipeline.delivery.export import CheckResult, Export, ExportFile
from isams_pipeline.delivery.rule_tables import RuleTable
from isams_pipeline.orchestration.environment import Environment
from isams_pipeline.orchestration.partitions import Night
from isams_pipeline.orchestration.pins import brought_by, notes_of
from isams_pipeline.rules.notes import Lacking, Note
from isams_pipeline.storage.ending import Cutoff, Ending
from isams_pipeline.storage.tables import StoredTable

S = TypeVar("S", bound=PartnerSettings)
D = TypeVar("D", bound=Delivering)
Tables = Mapping[str, pd.DataFrame]
Datasets = Mapping[str, Collection[str]]
"""Source → datasets of it."""


@dataclass(frozen=True)
class Behind:
    """What a night's export is made of: its tables as they are stored, or as something was made of them."""

    environment: Environment
    night: Night
    pins: Mapping[str, StoredTable]
    tables: Tables

    @property
    def school(self) -> SchoolSettings:
        """The school's settings."""
        return self.environment.settings.school(self.night.school)

    @property
    def brought(self) -> set[str]:
        """The datasets that the source gives at all."""
        return brought_by(self.pins)

    @property
    def notes(self) -> Collection[Note | Lacking]:
        """What was done to single fields when they were read."""
        return notes_of(self.pins)


Of = Callable[[D], Made]
"""Settings → the export by them, with its verdicts."""


def _as_built(_behind: Behind, _settings: Any, built: Built) -> Built:
    return built


def _no_more_keys(_settings: Settings) -> Sequence[dg.AssetKey]:
    return ()


def _nothing(_environment: Environment, _school: str, _settings: Any) -> None:
    """Nothing is tidied away."""


class Waiting(NamedTuple):
    """Something that waits for a person; no person's data."""

    what: str
    command: str
    """What shows it, or does it."""


def _no_sessions(_environment: Environment, _school: str, _day: date) -> Mapping[str, int]:
    return {}


def _nothing_waits(_environment: Environment) -> Mapping[str, Sequence[Waiting]]:
    return {}


Held = tuple[str, str, Mapping[str, str], bool]
"""Something about a person: the store by its name in `retention`, the place, what it says, and whether that is sure."""


def _holds_nothing(_environment: Environment, _school: str, _person: Person) -> Iterable[Held]:
    return ()


class TakenOut(NamedTuple):
    """What a partner has taken out of what it keeps of a person."""

    counts: Mapping[str, int]
    """Store, by its name in `retention` → how many rows and files."""
    left: Sequence[str] = ()
    """What a person is to do, where that cannot be done here."""


def _erases_nothing(_environment: Environment, _school: str, _person: Person, _why: Mapping[str, str]) -> TakenOut:
    return TakenOut({})


def _nothing_ends(_environment: Environment, _school: str, _before: Cutoff) -> Iterable[Ending]:
    return ()


@dataclass(frozen=True)
class Exporting(Generic[D]):
    """The files that a partner gets, and what they are made of."""

    files: tuple[ExportFile, ...]
    schema_version: int
    checks: Mapping[str, str]
    """The rules that block a delivery, each in words."""
    needs: Datasets
    """What the files are made of, by source."""
    make: Callable[[Behind], Of[D]]
    """A night's tables → by the settings, the export. What no setting changes is made once."""
    verdicts: Callable[[Export, Behind, D], Iterable[CheckResult]]
    """The blocking rules, evaluated on the very bytes and on the tables behind them."""
    tables: tuple[RuleTable, ...] = ()
    """What its rules make on the way, each an asset; see `Built.tables`."""
    waits: Mapping[str, Callable[[pd.DataFrame, date], str | None]] = field(
        default_factory=dict[str, Callable[[pd.DataFrame, date], str | None]]
    )
    """Dataset → why there would rightly be nothing to deliver, by what it holds on a date."""
    besides: Callable[[Behind, D, Built], Built] = _as_built
    """What comes to an export that no table holds: photos."""
    tidy: Callable[[Environment, str, D], None] = _nothing
    """Takes away what a school does not ask for any more, before an export is made for real."""
    also_behind: Callable[[Settings], Sequence[dg.AssetKey]] = _no_more_keys
    """Further assets that the export is made of, by what the schools have agreed."""
    asset: Callable[[Settings, Partner[Any]], dg.AssetsDefinition] | None = None
    """The asset of the export, where it is more than rules on tables; else it is made of the above."""
    held_back: Callable[[Environment, Night, str], str | None] | None = None
    """What of a run was refused although the export was delivered: the run then ends refused."""
    only_for_real: frozenset[str] = frozenset()
    """Files that only a real night can have."""

    def needed(self, settings: D) -> tuple[str, Collection[str]]:
        """The source that a school uses, and the datasets of it."""
        return settings.uses, self.needs[settings.uses]

    @property
    def has_people(self) -> bool:
        """Whether it says who is at the school, so that a person can be explained."""
        return any(file.people is not None for file in self.files)


def _no_more(_settings: Settings) -> dg.Definitions:
    return dg.Definitions()


@dataclass(frozen=True)
class Partner(Generic[S]):
    """A partner: its settings, when its night is, what that takes, and what it gets."""

    settings: type[S]
    hour: int
    """At which its night begins, by each school's own clock."""
    night: str
    """What its nightly job does, in words."""
    purpose: str
    """What the school uses it for, for the record of processing."""
    takes: Datasets
    """What its nightly job reads, by source; whether or not the files need it."""
    gets: Exporting[Any] | None = None
    """Its files. None: it gets none."""
    more: Callable[[Settings], dg.Definitions] = _no_more
    """Its further assets, jobs, schedules and sensors."""
    in_its_night: Sequence[Sequence[str]] | None = None
    """Which of its own assets its nightly job runs. None: all."""
    sessions: Callable[[Environment, str, date], Mapping[str, int]] = _no_sessions
    """School and date → what it gets within that day besides its night, as receipts name it (the partner and the part,
    with a blank between), and the minute after midnight at which each begins."""
    waits_for: Callable[[Environment], Mapping[str, Sequence[Waiting]]] = _nothing_waits
    """School → what waits for a person there, besides its nights."""
    holds: Callable[[Environment, str, Person], Iterable[Held]] = _holds_nothing
    """Of what it keeps of a school besides its nights: what is about a person."""
    ends: Callable[[Environment, str, Cutoff], Iterable[Ending]] = _nothing_ends
    """Of what it keeps of a school besides its nights: what has come to its end."""
    erases: Callable[[Environment, str, Person, Mapping[str, str]], TakenOut] = _erases_nothing
    """Takes a person out of what it keeps of a school besides its nights; the last says when, by whom and why."""

    @property
    def exporting(self) -> Exporting[Any]:
        """Its files; raises LookupError for a partner that gets none."""
        if self.gets is None:
            raise LookupError(f"{self.label} gets no files")
        return self.gets

    @property
    def key(self) -> str:
        """Its name in schools.yaml, in keys of assets, and on the command line."""
        return self.settings.key

    @property
    def label(self) -> str:
        """Its name as a person reads it."""
        return self.settings.label


AnyPartner = Partner[Any]
"""Whichever it is, whatever its settings are."""
