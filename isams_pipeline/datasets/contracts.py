"""What the rows of a dataset should be like, beyond their types: said with the dataset, counted every night. Pure.

A row that breaks a contract is stored and goes on to the rules; a check beside the dataset warns, with how many there
are. What cannot be delivered is for the partners' rules to say.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from datetime import date
from typing import Any

import pandas as pd

from isams_pipeline.rules.columns import Column
from isams_pipeline.rules.dates import NOTHING

_SHOWN = 5


@dataclass(frozen=True)
class Contract:
    """One thing that should hold for every row."""

    name: str
    """How its count is shown."""
    words: str
    """What is wrong with a row that breaks it."""
    broken: Callable[[pd.DataFrame, date], Any]
    """Rows and night → which rows break it; a row that says nothing does not."""


def allowed(column: str, *values: object) -> Contract:
    """The column holds one of these values, compared as they are, or nothing."""
    said = " or ".join(map(str, values))
    return Contract(
        f"{column} allowed",
        f"{column} is not {said}",
        lambda frame, _: frame[column].notna() & ~frame[column].isin(values),
    )


def between(column: str, first: int, last: int) -> Contract:
    """The column holds a number from `first` to `last`, or nothing."""
    return Contract(
        f"{column} in range",
        f"{column} is not from {first} to {last}",
        lambda frame, _: frame[column].notna() & ~frame[column].between(first, last),
    )


def in_order(earlier: str, later: str) -> Contract:
    """What one column holds is not after what the other does, where both hold something; a date of nothing is none."""
    return Contract(
        f"{earlier} before {later}",
        f"{earlier} is after {later}",
        lambda frame, _: _said(frame[earlier]) & _said(frame[later]) & (frame[earlier] > frame[later]),
    )


def not_in_the_future(column: str) -> Contract:
    """The column holds no date after the night, or nothing."""
    return Contract(
        f"{column} not in the future",
        f"{column} is in the future",
        lambda frame, night: frame[column].notna() & (frame[column] > pd.Timestamp(night)),
    )


def _said(values: Column) -> Any:
    """Where a column holds something."""
    return values.notna() & (values > NOTHING) if pd.api.types.is_datetime64_any_dtype(values) else values.notna()


@dataclass(frozen=True)
class Broken:
    """A contract that rows break."""

    contract: Contract
    rows: tuple[int, ...]
    """Their numbers, counted from 1."""

    @property
    def in_words(self) -> str:
        """What is wrong with how many rows, and some of their numbers."""
        shown = ", ".join(map(str, self.rows[:_SHOWN]))
        more = f" and {len(self.rows) - _SHOWN} more" if len(self.rows) > _SHOWN else ""
        which = f"row {shown}" if len(self.rows) == 1 else f"rows {shown}{more}"
        return f"{self.contract.words} in {which}"


def broken(contracts: Sequence[Contract], frame: pd.DataFrame, night: date) -> list[Broken]:
    """The contracts that some rows of a night break."""
    found: list[Broken] = []
    for contract in contracts:
        mask = contract.broken(frame, night).fillna(False).to_numpy(dtype=bool)  # noqa: FBT003
        if mask.any():
            found.append(Broken(contract, tuple(int(at) + 1 for at in mask.nonzero()[0])))
    return found
