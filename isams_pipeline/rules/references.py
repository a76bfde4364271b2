"""References: what a key means, and what points at something that is not there. Pure.

Codes of sets and users, names of rooms, school codes: schools do not keep them unique. Whatever is looked up is
looked up here, so that a key that several share is told apart by what else is known, or means nothing and is said.
"""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Collection, Hashable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, cast

import pandas as pd

from isams_pipeline.rules.columns import Column
from isams_pipeline.rules.split import Exclusions, Split

Fold = Callable[[Any], Hashable]


def as_it_is(value: Any) -> Hashable:
    """A key that is compared as it stands: a number."""
    return value


@dataclass(frozen=True)
class Match:
    """What a key means."""

    value: Any = None
    """None where it means nothing, or several things that nothing tells apart."""
    candidates: tuple[Any, ...] = ()
    """All that the key may mean."""

    @property
    def is_ambiguous(self) -> bool:
        """The key means several things, and nothing tells which."""
        return self.value is None and len(self.candidates) > 1


@dataclass(frozen=True)
class Lookup:
    """Key → what it means."""

    found: Mapping[Hashable, Sequence[tuple[Any, Mapping[str, frozenset[Any]]]]]
    """Folded key → each value that it may mean, with what else is known of it."""
    fold: Fold

    @classmethod
    def of(
        cls,
        frame: pd.DataFrame,
        key: str,
        value: str,
        *,
        fold: Fold = as_it_is,
        known: Mapping[str, Sequence[Collection[Any]]] | None = None,
    ) -> Lookup:
        """By two columns; rows without a key or a value are left out.

        `known` has for each hint, row by row, the things that fit it.
        """
        hints = dict(known or {})
        found: dict[Hashable, dict[Any, dict[str, frozenset[Any]]]] = {}
        for at, (one, what) in enumerate(zip(frame[key].tolist(), frame[value].tolist(), strict=True)):
            if _is_null(one) or _is_null(what):
                continue
            folded = fold(one)
            if folded == "":
                continue
            of_value = found.setdefault(folded, {}).setdefault(what, {})
            for name, column in hints.items():
                of_value[name] = of_value.get(name, frozenset()) | frozenset(column[at])
        return cls({folded: list(values.items()) for folded, values in found.items()}, fold)

    def find(self, key: Any, **hints: Any) -> Match:
        """What a key means.

        Where several share it, each hint (one thing, or a frozenset of them) that fits some narrows them down.
        """
        fits = () if _is_null(key) else self.found.get(self.fold(key), ())
        left = list(fits)
        for name, hint in hints.items():
            if len(left) > 1 and not _is_null(hint):
                left = [one for one in left if _fits(hint, one[1].get(name, frozenset()))] or left
        return Match(left[0][0] if len(left) == 1 else None, tuple(value for value, _ in fits))

    def get(self, key: Any, **hints: Any) -> Any:
        """What a key means, or None."""
        return self.find(key, **hints).value

    def texts(self, series: Column) -> pd.Series[str]:
        """What the keys of a column mean, as texts; null where that is nothing."""
        known = {key: self.get(key) for key in series.dropna().unique()}
        return series.map(known).astype("str") if known else pd.Series(None, index=series.index, dtype="str")

    def numbers(self, series: Column) -> Column:
        """The same as numbers."""
        known = {key: self.get(key) for key in series.dropna().unique()}
        values = [None if _is_null(key) else known[key] for key in series.tolist()]
        return pd.Series(values, index=series.index, dtype="Int64")

    @property
    def shared(self) -> dict[Hashable, tuple[Any, ...]]:
        """The keys that mean several things."""
        return {key: tuple(value for value, _ in values) for key, values in self.found.items() if len(values) > 1}


def _fits(hint: Any, known: frozenset[Any]) -> bool:
    """Whether a hint, or one of several, is among what is known."""
    return not known.isdisjoint(cast("frozenset[Any]", hint)) if isinstance(hint, frozenset) else hint in known


def _is_null(value: Any) -> bool:
    return value is None or value is pd.NA or value != value  # noqa: PLR0124  # not a number


@dataclass
class Together:
    """Things that belong to a key, gathered row by row: the teachers of a set, the forms of a pupil."""

    found: dict[Any, set[Any]] = field(default_factory=dict[Any, set[Any]])

    @classmethod
    def of(cls, frame: pd.DataFrame, key: str, value: str) -> Together:
        """By two columns; rows without either are left out."""
        made = cls()
        for one, what in zip(frame[key].tolist(), frame[value].tolist(), strict=True):
            if not _is_null(one) and not _is_null(what):
                made.found.setdefault(one, set()).add(what)
        return made

    def get(self, key: Any) -> set[Any]:
        """What belongs to a key."""
        return self.found.get(key, set())


def resolving(frame: pd.DataFrame, column: str, targets: Collection[Any] | Column, *, what: str) -> Split:
    """Keep rows whose `column` names something that is there."""
    keep = frame[column].isin(list(targets))
    return Split.by(frame, keep, rule="reference", reason=f"{what} is not in the export")


def blank_dangling(frame: pd.DataFrame, column: str, targets: Collection[Any], *, what: str) -> Split:
    """Keep all rows, with the cells of `column` emptied that name something that is not there, and warn of those."""
    dangling = frame[column].notna() & ~frame[column].isin(list(targets))
    blanked = frame.assign(**{column: frame[column].mask(dangling)})
    noted = frame[dangling].assign(rule="reference", reason=f"{what} is not in the export; left empty")
    return Split(blanked, noted=noted)


def shared_keys(lookup: Lookup, entity: str, what: str) -> Exclusions:
    """Warnings of keys that have several values, so that none is taken."""
    out = Exclusions()
    for key, values in lookup.shared.items():
        out.warn(
            entity, key, "shared_key", f"the source has it {len(values)} times with another {what}, so none is taken"
        )
    return out


def once(frame: pd.DataFrame, columns: Sequence[str]) -> Split:
    """Keep one row of those that say the same in some columns: the first. The others have its number in `into`."""
    keep = ~frame.duplicated(list(columns))
    if bool(keep.all()):
        return Split(frame, frame[~keep].assign(into=None, rule=None, reason=None))
    first = frame.groupby(list(columns), dropna=False, sort=False)["row"].transform("first")
    split = Split.by(frame.assign(into=first), keep, rule="duplicate", reason="another row says the same")
    return Split(split.kept.drop(columns="into"), split.excluded)


def values_of(frame: pd.DataFrame, column: str) -> set[Any]:
    """What stands in a column."""
    return set(frame[column].dropna())


def number_of(*parts: object) -> int:
    """A number for what has none of its own: always the same for the same parts."""
    text = ":".join(map(str, parts)).encode()
    return int.from_bytes(hashlib.blake2b(text, digest_size=8).digest()) >> 11  # 53 bits: exact even as a float
