"""What a rule returns, and where all the exclusions of an export come together."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from dataclasses import dataclass, field
from typing import Any, cast

import pandas as pd

from isams_pipeline.rules.account import Account

EXCLUDED = "excluded"
WARNING = "warning"
EXCLUSION_COLUMNS = ["entity", "id", "rule", "severity", "reason"]


def rows_of(frame: pd.DataFrame) -> Iterator[Any]:
    """The rows as named tuples, whose fields are what the columns hold."""
    yield from frame.itertuples(index=False)


def surely(mask: Any) -> pd.Series[bool]:
    """A condition as booleans: what is not known is not so."""
    found: pd.Series[bool] = mask.fillna(False).astype(bool)  # noqa: FBT003
    return found


@dataclass(frozen=True)
class Split:
    """Rows that a rule keeps, and rows that it does not, the latter with `rule` and `reason`."""

    kept: pd.DataFrame
    excluded: pd.DataFrame

    @classmethod
    def by(cls, frame: pd.DataFrame, keep: Any, *, rule: str, reason: str | list[str]) -> Split:
        """Split by a boolean column as long as the frame; `reason` is one for all or one for each excluded row."""
        mask = surely(keep)
        # Most rules keep all rows of most nights: those need not be copied.
        every = bool(mask.all())
        excluded: pd.DataFrame = (frame.iloc[:0] if every else frame[~mask]).copy()
        excluded["rule"] = rule
        excluded["reason"] = reason
        return cls(frame.copy(deep=False) if every else frame[mask], excluded)


@dataclass
class Exclusions:
    """Everything that is not in an export, or not as the source has it, and why: ids and reasons, no values."""

    rows: list[tuple[str, str, str, str, str]] = field(default_factory=list[tuple[str, str, str, str, str]])
    account: Account = field(default_factory=lambda: Account({}))
    """Where the rows of the datasets end."""

    def copy(self) -> Exclusions:
        """The same, to go on with in another way."""
        return Exclusions(list(self.rows), self.account.copy())

    def add(self, entity: str, identifier: object, rule: str, reason: str, *, severity: str = EXCLUDED) -> None:
        """Note one thing."""
        self.rows.append((entity, str(identifier), rule, severity, reason))

    def take(
        self,
        entity: str,
        split: Split,
        key: str | Iterable[str],
        *,
        severity: str = EXCLUDED,
        of: str | None = None,
    ) -> pd.DataFrame:
        """Note what a rule excluded, and give back what it kept. Several key columns are joined by a colon.

        `of` is the dataset whose rows they are; the rule is then those rows' place in the account.
        """
        if split.excluded.empty:
            return split.kept
        columns = [key] if isinstance(key, str) else list(key)
        for row in split.excluded[[*columns, "rule", "reason"]].itertuples(index=False, name=None):
            *ids, rule, reason = row
            self.add(entity, ":".join(map(in_an_id, ids)), rule, reason, severity=severity)
        if of is not None and severity == EXCLUDED:
            self.account.leave_out_by(of, split.excluded)
        return split.kept

    def frame(self) -> pd.DataFrame:
        """One row per exclusion or warning: entity, id, rule, severity, reason (all text), sorted, no repeats."""
        return pd.DataFrame(sorted(set(self.rows), key=_by_number), columns=EXCLUSION_COLUMNS, dtype="str")


def in_an_id(part: object) -> str:
    """A part of a record's id; a dash where the record has none."""
    return "-" if pd.isna(cast("Any", part)) else str(part)


def _by_number(row: tuple[str, ...]) -> tuple[object, ...]:
    entity, identifier, *rest = row
    numbers = tuple(int(part) if part.lstrip("-").isdecimal() else 0 for part in identifier.split(":"))
    return (entity, numbers, identifier, *rest)
