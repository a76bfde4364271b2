"""A source as a value: everything that the rest of the project knows of it."""

from __future__ import annotations

from collections.abc import Callable, Collection, Mapping
from dataclasses import dataclass, field
from datetime import date
from typing import Protocol

import pandas as pd

from isams_pipeline.config import RegisterChoice
from isams_pipeline.datasets import DatasetDeclaration
from isams_pipeline.datasets.shapes import Json, JsonObject
from isams_pipeline.sources.shared.access import Access
from isams_pipeline.sources.shared.connections import Connections
from isams_pipeline.sources.shared.listed import ListedSource
from isams_pipeline.storage.archive import SnapshotArchive
from isams_pipeline.storage.lists import ListStore
from isams_pipeline.storage.tables import StoredTable, TableStore


@dataclass(frozen=True)
class SourceTable:
    """A dataset of a night. Without a frame, it is that of `same_as`: what it is made from has not changed."""

    frame: pd.DataFrame | None
    same_as: StoredTable | None = None
    absent: str | None = None
    """Why it is empty by this source."""
    in_answer: bool = True
    """Whether the answer has a place for its rows."""
    provenance: JsonObject = field(default_factory=Json)
    """What it was made from; none where nothing was asked."""
    folds: tuple[str, ...] = ()
    """Where a full read has shown that the changes since the last one had missed something."""
    facts: Mapping[str, object] = field(default_factory=dict[str, object])
    """What a person should see beside the rows: texts, numbers, moments, and what JSON can hold."""


class SourceReader(Protocol):
    """All datasets of one school and night by one source."""

    def table(self, dataset: str, before: StoredTable | None) -> SourceTable:
        """A dataset, unchecked; `before` is the newest table that there is of an earlier night, or of this one."""
        ...

    def close(self) -> None:
        """Let go of connections."""
        ...


@dataclass(frozen=True)
class Asked:
    """What a partner asks of a dataset that is not the same for everybody: which registers, by which client."""

    registers: tuple[RegisterChoice, ...]
    client: str | None = None


def _nothing_asked(dataset: str) -> Asked:
    raise LookupError(f"nobody has said what is asked of {dataset}")


@dataclass(frozen=True)
class NightNeeds:
    """What the reader of a night needs of the world."""

    access: Access
    night: date
    archive: SnapshotArchive
    lists: ListStore
    tables: TableStore
    connections: Callable[[], Connections]
    """Opened by who needs them."""
    run_id: str = "unknown"
    fresh: bool = False
    """Ask anew, even where an answer that is kept would do."""
    allow_removals: bool = False
    ask_again_after: float = 0
    """Seconds for which a transient failure is remembered."""
    ahead: Collection[str] = ()
    """The datasets that the run will ask for: while one is made, what the next needs can be read."""
    tell: Callable[[str], None] = lambda _: None
    asked: Callable[[str], Asked] = _nothing_asked
    """Dataset → what is asked of it, where somebody has to say; raises LookupError."""


@dataclass(frozen=True)
class Source:
    """Where data of a school comes from."""

    key: str
    """Its name in schools.yaml, in keys of assets, and on the command line."""
    label: str
    """Its name as a person reads it."""
    datasets: Mapping[str, DatasetDeclaration]
    """What it has, by name."""
    kinds: frozenset[str]
    """How its datasets come and are kept; a mark on their assets."""
    read: Callable[[NightNeeds], SourceReader]
    check_rows: Callable[[DatasetDeclaration, SourceTable], None]
    """Raises MissingRows where a dataset that must have rows has none, with what to look at by this source."""
    about: Callable[[DatasetDeclaration], str] = lambda declaration: declaration.summary
    """What its asset of a dataset is, in words."""
    tags: Callable[[DatasetDeclaration], Mapping[str, str]] = lambda _: {}
    listed: ListedSource | None = None
    """Its lists, scopes and mapping, where it is read list by list, by an authorisation of the school's."""
