"""A source in a few lines, as CONTRIBUTING's recipe has it: the school's roll, as a file that somebody keeps."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, ClassVar

from isams_pipeline.config.sources import ConnectionSettings
from isams_pipeline.datasets import DATASETS, DatasetDeclaration
from isams_pipeline.errors import MissingRows
from isams_pipeline.sources.shared.source import NightNeeds, Source, SourceTable
from isams_pipeline.storage.tables import StoredTable

KEY = "roll"
ROLL: dict[str, list[Mapping[str, Any]]] = {"pupils": []}
"""What the toy's server would answer."""


class RollSettings(ConnectionSettings):
    """How a school is connected to its roll."""

    key: ClassVar[str] = KEY

    file: str


@dataclass(frozen=True)
class RollReader:
    """A night's tables, out of the roll."""

    needs: NightNeeds

    def table(self, dataset: str, before: StoredTable | None) -> SourceTable:
        """A dataset; columns that the roll lacks are null."""
        declaration, rows = DATASETS[dataset], ROLL[dataset]
        empty = declaration.empty()
        frame = empty.reindex(range(1, len(rows) + 1))
        for name in empty.columns:
            frame[name] = [row.get(name) for row in rows]
        read = {"sha256": str(hash(str(rows))), "key": KEY, "file": self.needs.access.settings.need(RollSettings).file}
        return SourceTable(frame.astype(empty.dtypes.to_dict()), provenance=read, facts={"roll": read["file"]})

    def close(self) -> None:
        """Nothing is held."""


def check_rows(declaration: DatasetDeclaration, table: SourceTable) -> None:
    """Raise MissingRows where the roll is empty."""
    if declaration.must_have_rows and table.frame is not None and table.frame.empty:
        raise MissingRows(f"{declaration.name} has no rows in the roll", remedy="Ask who keeps it.")


SOURCE = Source(
    key=KEY,
    label="the roll",
    datasets={"pupils": DATASETS["pupils"]},
    kinds=frozenset({"parquet"}),
    read=RollReader,
    check_rows=check_rows,
)
