"""What a partner's export is built into, whichever partner it is. Pure."""

from __future__ import annotations

import io
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass, field
from functools import cached_property

import pandas as pd

from isams_pipeline.delivery.export import CheckResult, Export, ExportFile, few
from isams_pipeline.rules.account import Account
from isams_pipeline.rules.split import EXCLUDED

ACCOUNTED_FOR = {"accounted_for": "Every row of the datasets is delivered, left out, merged or not asked for, once."}
ACCOUNTING = ExportFile("accounting.csv", ("dataset", "place", "by", "rows"), key=("dataset", "place", "by"))


def places_from(data: bytes) -> pd.DataFrame:
    """Where every row is, as it was staged."""
    return pd.read_parquet(io.BytesIO(data), engine="pyarrow")


def no_places() -> pd.DataFrame:
    """The same for an export that was staged before anybody counted."""
    return Account({}).rows()


def by_table(files: Mapping[str, pd.DataFrame], **others: pd.DataFrame) -> dict[str, pd.DataFrame]:
    """Frames by the names of files as frames by the names of tables, with others."""
    return {name.removesuffix(".csv"): frame for name, frame in files.items()} | others


@dataclass(frozen=True)
class Built:
    """An export, what is not in it or not as the source has it, and where every row of its datasets is."""

    export: Export
    exclusions: pd.DataFrame
    """entity, id, rule, severity, reason."""
    entities: Mapping[str, str]
    """Which file an entity of the exclusions would stand in."""
    account: Account = field(default_factory=lambda: Account({}))
    tables: Mapping[str, pd.DataFrame] = field(default_factory=dict[str, pd.DataFrame], repr=False)
    """What the rules made on the way, by the names of the partner's tables; with further columns of the rules' own."""

    def excluded_per_file(self) -> dict[str, int]:
        """How many things are missing from each file."""
        out = self.exclusions[self.exclusions["severity"] == EXCLUDED]
        counts = out[~out.duplicated(["entity", "id"])]["entity"].map(dict(self.entities)).value_counts()
        return {str(name): int(count) for name, count in counts.items() if name in self.export.files}

    @property
    def unaccounted(self) -> list[str]:
        """What the account of the rows lacks: faults of this project, in words."""
        return self.account.problems({name: self.export.row_count(name) for name in self.export.files})

    @property
    def places(self) -> bytes:
        """Where every row is, as Parquet: dataset, row, place, by, into."""
        data = io.BytesIO()
        self.account.rows().to_parquet(data, engine="pyarrow", compression="zstd", index=False)
        return data.getvalue()

    @property
    def accounted_for(self) -> CheckResult:
        """The verdict of the rule that every row is somewhere."""
        return CheckResult("accounted_for", few(self.unaccounted))


@dataclass(frozen=True)
class Made:
    """An export as it would be staged, and the blocking rules for it."""

    built: Built
    check_bytes: Callable[[Export], Iterable[CheckResult]]
    """The rules on the very bytes."""
    check_tables: Callable[[], Iterable[CheckResult]]
    """Those on the tables behind them."""

    @cached_property
    def verdicts(self) -> tuple[CheckResult, ...]:
        """What all rules say, and whether every row is accounted for; looked at when first asked for."""
        return (*self.check_bytes(self.built.export), *self.check_tables(), self.built.accounted_for)
