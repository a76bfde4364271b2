"""Every row is somewhere: where each row of the datasets behind an export ended. Pure.

A row is in exactly one place: delivered (in which file), left out (by which rule), merged (into which row), or not
asked for (by which setting). Rows go by their number in the stored table, counted from 1: `numbered` gives them.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from typing import Any

import numpy as np
import pandas as pd

DELIVERED, LEFT_OUT, MERGED, NOT_ASKED = "delivered", "left out", "merged", "not asked for"
PLACES = (DELIVERED, LEFT_OUT, MERGED, NOT_ASKED)
ROW = "row"
"""The column that carries a row's number through the rules."""
INTO_ROW = "another row"
_SHOWN = 10

Numbers = np.ndarray[Any, np.dtype[np.int64]]


def numbered(tables: Mapping[str, pd.DataFrame]) -> dict[str, pd.DataFrame]:
    """The tables, each row with its number in the column ROW."""
    return {name: frame.assign(**{ROW: np.arange(1, len(frame) + 1)}) for name, frame in tables.items()}


@dataclass(frozen=True)
class _Claim:
    place: str
    by: str
    rows: Numbers
    into: Numbers | None = None
    file_rows: int = 0
    """Of what is delivered: how many rows it has in the file."""


@dataclass(frozen=True)
class _Tally:
    """What is counted, not numbered: lessons x dates."""

    total: int
    places: Mapping[tuple[str, str], int]
    astray: tuple[int, ...]
    """Numbers of the rows whose counts do not add up."""


@dataclass
class Account:
    """The places of all rows of some datasets."""

    sizes: dict[str, int]
    _claims: dict[str, list[_Claim]] = field(default_factory=dict[str, list[_Claim]])
    _tallies: dict[str, _Tally] = field(default_factory=dict[str, _Tally])
    _said: list[tuple[str, str]] = field(default_factory=list[tuple[str, str]])
    """Dataset, and what of its columns nobody was asked for."""

    @classmethod
    def of(cls, tables: Mapping[str, pd.DataFrame]) -> Account:
        """An account of these datasets in which nothing has a place yet."""
        return cls({name: len(frame) for name, frame in tables.items()})

    def copy(self) -> Account:
        """The same account, to go on with in another way."""
        claims = {dataset: list(of) for dataset, of in self._claims.items()}
        return Account(dict(self.sizes), claims, dict(self._tallies), list(self._said))

    # --- giving rows their places -------------------------------------------------------------------------

    def deliver(self, dataset: str, rows: Iterable[int], file: str, *, file_rows: int | None = None) -> None:
        """Rows that stand in a file; `file_rows` where they are another number of rows there, 0 where only a cell."""
        numbers = _array(rows)
        self._add(dataset, _Claim(DELIVERED, file, numbers, None, len(numbers) if file_rows is None else file_rows))

    def leave_out(self, dataset: str, rows: Iterable[int], rule: str) -> None:
        """Rows that a rule leaves out; the exclusions say which."""
        self._add(dataset, _Claim(LEFT_OUT, rule, _array(rows)))

    def leave_out_by(self, dataset: str, excluded: pd.DataFrame) -> None:
        """Rows that rules left out, with the columns ROW and `rule`."""
        if len(excluded):
            for rule, rows in excluded.groupby("rule", sort=False)[ROW]:
                self.leave_out(dataset, rows.to_numpy(), str(rule))

    def merge(self, dataset: str, rows: Iterable[int], into: Iterable[int] | None = None, by: str = INTO_ROW) -> None:
        """Rows that went into other rows of the same dataset, or into what `by` says."""
        self._add(dataset, _Claim(MERGED, by, _array(rows), None if into is None else _array(into)))

    def not_asked(self, dataset: str, rows: Iterable[int], setting: str) -> None:
        """Rows that a setting does not ask for."""
        self._add(dataset, _Claim(NOT_ASKED, setting, _array(rows)))

    def rest_not_asked(self, dataset: str, setting: str) -> None:
        """All rows that have no place yet: for what a partner's format has no place for."""
        self.not_asked(dataset, np.flatnonzero(self._times(dataset) == 0) + 1, setting)

    def look_up(self, dataset: str, rows: Iterable[int], file: str, column: str, *, unused: str) -> None:
        """Rows of which only names go into a column of a file; those that nothing names are not asked for."""
        self.deliver(dataset, np.unique(_array(rows)), f"{file} ({column})", file_rows=0)
        self.rest_not_asked(dataset, unused)

    def tally(
        self, dataset: str, total: int, places: Mapping[tuple[str, str], int], astray: Iterable[int] = ()
    ) -> None:
        """Count what has no rows of its own; `astray` are the rows whose counts do not add up."""
        self._tallies[dataset] = _Tally(total, dict(places), tuple(astray))

    def say(self, dataset: str, what: str) -> None:
        """Note that columns of a dataset were not asked for, or not given: a line without rows."""
        self._said.append((dataset, what))

    def adopt(self, other: Account, dataset: str) -> None:
        """Take over the places that another account has of a dataset."""
        self._claims.setdefault(dataset, []).extend(other._claims.get(dataset, ()))

    def join(self, other: Account) -> None:
        """Take over all that another account has of datasets; which of them this one is about stays as it is."""
        for dataset in other._claims:
            self.adopt(other, dataset)
        self._tallies.update(other._tallies)
        self._said.extend(other._said)

    def _add(self, dataset: str, claim: _Claim) -> None:
        if len(claim.rows):
            self._claims.setdefault(dataset, []).append(claim)

    def _file_rows(self) -> dict[str, int]:
        """File → how many of its rows are claimed as delivered."""
        found: dict[str, int] = {}
        for claim in (claim for claims in self._claims.values() for claim in claims if claim.place == DELIVERED):
            name = claim.by.partition(" ")[0]
            found[name] = found.get(name, 0) + claim.file_rows
        return found

    # --- what it says -------------------------------------------------------------------------------------

    def _times(self, dataset: str) -> Numbers:
        """How many places each row has."""
        claimed = [claim.rows for claim in self._claims.get(dataset, ())]
        if not claimed:
            return np.zeros(self.sizes[dataset], dtype=np.int64)
        return np.bincount(np.concatenate(claimed), minlength=self.sizes[dataset] + 1)[1:].astype(np.int64)

    def problems(self, file_rows: Mapping[str, int]) -> list[str]:
        """Rows in no place or in several, and files that hold another number of rows than was delivered into them."""
        found: list[str] = []
        for dataset in self.sizes:
            times = self._times(dataset)
            if len(times) > self.sizes[dataset]:
                found.append(f"{dataset} has {self.sizes[dataset]} rows, but row {len(times)} has a place")
            for what, wrong in (("in no place", times == 0), ("in several places", times > 1)):
                if bool(wrong.any()):
                    found.append(f"{dataset}: {_rows(np.flatnonzero(wrong) + 1)} {what}")
        for dataset, tally in self._tallies.items():
            if tally.astray:
                found.append(f"{dataset}: {_rows(tally.astray)} not on as many dates as the calendar says")
            if (placed := sum(tally.places.values())) != tally.total:
                found.append(f"{dataset}: {placed} of {tally.total} have a place")
        claimed = self._file_rows()
        return found + [
            f"{name} has {file_rows[name]} rows; {claimed[name]} were accounted for"
            for name in sorted(file_rows.keys() & claimed.keys())
            if file_rows[name] != claimed[name]
        ]

    def frame(self) -> pd.DataFrame:
        """One row per dataset, place and by: dataset, place, by (text), rows (int). In the order of the datasets."""
        found: list[tuple[str, str, str, int]] = []
        for dataset in self.sizes:
            counts: dict[tuple[str, str], int] = {}
            for claim in self._claims.get(dataset, ()):
                counts[claim.place, claim.by] = counts.get((claim.place, claim.by), 0) + len(claim.rows)
            found += [(dataset, place, by, n) for (place, by), n in sorted(counts.items(), key=_in_order)]
            found += [(dataset, NOT_ASKED, what, 0) for of, what in self._said if of == dataset]
        for dataset, tally in self._tallies.items():
            found += [(dataset, *key, n) for key, n in sorted(tally.places.items(), key=_in_order) if n]
        return pd.DataFrame(found, columns=["dataset", "place", "by", "rows"])

    def rows(self) -> pd.DataFrame:
        """One row per row of the datasets, sorted: dataset, row, place, by, into.

        `into` is the row that it was merged into, 0 for none.
        """
        claims = [(dataset, claim) for dataset, claims in self._claims.items() for claim in claims]
        sizes = [len(claim.rows) for _, claim in claims]
        rows = [claim.rows for _, claim in claims]
        into = [np.zeros(len(claim.rows), dtype=np.int64) if claim.into is None else claim.into for _, claim in claims]
        found = pd.DataFrame(
            {
                "dataset": _repeated([dataset for dataset, _ in claims], sizes),
                ROW: np.concatenate(rows) if rows else np.array([], dtype=np.int64),
                "place": _repeated([claim.place for _, claim in claims], sizes),
                "by": _repeated([claim.by for _, claim in claims], sizes),
                "into": np.concatenate(into) if into else np.array([], dtype=np.int64),
            }
        )
        return found.sort_values(["dataset", ROW], ignore_index=True, kind="stable")

    def delivered(self) -> dict[str, int]:
        """Dataset → how many of its rows are with the partner, in a row of their own or merged into another's.

        Datasets whose rows the settings do not ask for are left out: that nothing of them arrives says nothing.
        """
        found: dict[str, int] = {}
        for dataset, size in self.sizes.items():
            claims = self._claims.get(dataset, ())
            not_asked = sum(len(claim.rows) for claim in claims if claim.place == NOT_ASKED)
            if size == 0 or not_asked < size:
                found[dataset] = sum(len(claim.rows) for claim in claims if claim.place in {DELIVERED, MERGED})
        return found


def _repeated(values: list[str], sizes: list[int]) -> Any:
    """A column in which each value stands as often as its size says."""
    names = sorted(set(values))
    codes = np.repeat(np.array([names.index(value) for value in values], dtype=np.int32), sizes)
    return pd.Categorical.from_codes(codes, dtype=pd.CategoricalDtype(names))


def _array(rows: Iterable[int]) -> Numbers:
    return np.asarray(rows if isinstance(rows, np.ndarray) else list(rows), dtype=np.int64)


def _in_order(item: tuple[tuple[str, str], int]) -> tuple[int, str]:
    (place, by), _ = item
    return PLACES.index(place), by


def _rows(numbers: Iterable[int]) -> str:
    listed = [int(number) for number in numbers]
    shown = ", ".join(map(str, listed[:_SHOWN]))
    more = f" and {len(listed) - _SHOWN} more" if len(listed) > _SHOWN else ""
    return f"row {shown} is" if len(listed) == 1 else f"rows {shown}{more} are"
