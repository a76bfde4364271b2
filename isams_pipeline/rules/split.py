"""What a rule returns, and where all the exclusions of an export come together.

A rule is a function of tables that gives a Split, and changes nothing that it was given. What it has to say of rows
stands in the Split; whoever calls it says what kind of things the rows are, and takes that into its own Exclusions.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass, field, replace
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


def _no_rows() -> pd.DataFrame:
    return pd.DataFrame({"rule": pd.Series(dtype="str"), "reason": pd.Series(dtype="str")})


@dataclass(frozen=True)
class Split:
    """What a rule gives: the rows that it keeps, and what there is to say of them and of the others."""

    kept: pd.DataFrame
    excluded: pd.DataFrame = field(default_factory=_no_rows)
    """Rows that are left out, with `rule` and `reason`."""
    noted: pd.DataFrame = field(default_factory=_no_rows)
    """Rows that stay and are warned of, with `rule` and `reason`."""
    said: Exclusions = field(default_factory=lambda: Exclusions())  # noqa: PLW0108  # it stands below
    """What is noted of things already: by the rules that a rule is made of, and of what has no row in `kept`."""

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

    def as_warnings(self) -> Split:
        """The same for rows that stay in another shape: those that were left out are only warned of."""
        # An empty frame beside would turn numbers into others.
        noted = [one for one in (self.noted, self.excluded) if len(one)] or [self.noted]
        return replace(self, excluded=self.excluded.iloc[:0], noted=pd.concat(noted))


@dataclass
class Exclusions:
    """Everything that is not in an export, or not as the source has it, and why: ids and reasons, no values."""

    rows: list[tuple[str, str, str, str, str]] = field(default_factory=list[tuple[str, str, str, str, str]])
    account: Account = field(default_factory=lambda: Account({}))
    """Where the rows of the datasets end."""

    @classmethod
    def of(cls, tables: Mapping[str, pd.DataFrame], *datasets: str) -> Exclusions:
        """With an account of some datasets among the tables: of all where none is named."""
        return cls(account=Account.of({name: tables[name] for name in datasets or tables}))

    def copy(self) -> Exclusions:
        """The same, to go on with in another way."""
        return Exclusions(list(self.rows), self.account.copy())

    def add(self, entity: str, identifier: object, rule: str, reason: str, *, severity: str = EXCLUDED) -> None:
        """Note one thing."""
        self.rows.append((entity, str(identifier), rule, severity, reason))

    def warn(self, entity: str, identifier: object, rule: str, reason: str) -> None:
        """Note one thing that stays in the export."""
        self.add(entity, identifier, rule, reason, severity=WARNING)

    def take(self, entity: str, split: Split, key: str | Iterable[str], *, of: str | None = None) -> pd.DataFrame:
        """Note what a rule left out or warned of, and give back what it kept. Several key columns become one id.

        `entity` is what its rows are; `of` is the dataset whose rows they are: the rule is then the place of those
        that it left out in the account.
        """
        columns = [key] if isinstance(key, str) else list(key)
        for rows, severity in ((split.excluded, EXCLUDED), (split.noted, WARNING)):
            if len(rows):
                for row in rows[[*columns, "rule", "reason"]].itertuples(index=False, name=None):
                    *ids, rule, reason = row
                    self.add(entity, ":".join(map(in_an_id, ids)), rule, reason, severity=severity)
        if of is not None:
            self.account.leave_out_by(of, split.excluded)
        self.join(split.said)
        return split.kept

    def follow(self, split: Split) -> pd.DataFrame:
        """Note what a rule has said of things by itself, and give back what it kept.

        Raises ValueError where it left rows out, or warned of rows, without saying what they are: see `take`.
        """
        if len(split.excluded) or len(split.noted):
            raise ValueError("a rule's rows were left out or warned of, and what they are is not known: use `take`")
        self.join(split.said)
        return split.kept

    def join(self, other: Exclusions) -> None:
        """Note all that others have noted."""
        self.rows += other.rows
        self.account.join(other.account)

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
