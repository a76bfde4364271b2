"""The tables that rules make on the way to an export: declared once, as datasets are, each an asset of its own."""

from __future__ import annotations

from collections.abc import Collection, Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from functools import cached_property
from typing import NamedTuple

import pandas as pd

from isams_pipeline.datasets import DatasetDeclaration
from isams_pipeline.datasets.declare import PANDAS, Column, Kind, TableDeclaration


class Origin(NamedTuple):
    """A column that another one is made from."""

    table: str
    """A dataset of the source, or a table of rules of the same partner."""
    column: str
    is_of_source: bool


@dataclass(frozen=True)
class Derived:
    """A column of a table of rules, and what it is made from."""

    column: Column
    origins: tuple[Origin, ...]


@dataclass(frozen=True)
class RuleTable:
    """A table that rules make of a night's datasets, and of each other's tables."""

    declaration: TableDeclaration
    origins: Mapping[str, tuple[Origin, ...]]
    """Column → the columns that it is made from."""
    reads: tuple[str, ...]
    """The datasets of the source that it is made from."""
    follows: tuple[str, ...]
    """The partner's other tables that it is made from."""
    steered_by: tuple[str, ...]
    """The settings in schools.yaml that change it."""
    left_out: Mapping[str, tuple[str, ...]]
    """Dataset → the rules that leave rows of it out here."""
    merges: tuple[str, ...] = ()
    """Datasets of which it puts several rows into one."""
    optional: bool = False
    """It may be missing: a school need not have it, or not ask for it."""

    @property
    def name(self) -> str:
        """Its name: the last part of the asset's key."""
        return self.declaration.name

    @property
    def about(self) -> str:
        """What it is, what one row is, and what steers it."""
        settings = ", ".join(f"`{name}`" for name in self.steered_by)
        return self.declaration.summary + (f" Steered by {settings} in schools.yaml." if settings else "")

    def of(self, frame: pd.DataFrame) -> pd.DataFrame:
        """The declared columns of a frame of the rules, in their order and with their dtypes.

        Raises KeyError where one is missing, and whatever pandas raises where one cannot be of its type.
        """
        kinds = {c.name: PANDAS[c.kind] for c in self.declaration.columns}
        other = {name: kind for name, kind in kinds.items() if frame[name].dtype != kind}
        chosen = frame[self.declaration.names]
        return (chosen.astype(other) if other else chosen).reset_index(drop=True)

    @cached_property
    def _columns(self) -> dict[str, Column]:
        return {column.name: column for column in self.declaration.columns}

    def column(self, name: str) -> Column:
        """A column by its name; raises KeyError."""
        return self._columns[name]


AnyTable = DatasetDeclaration | RuleTable


def rule_table(  # what there is to say of a table, by name
    name: str,
    summary: str,
    *columns: Iterable[Derived],
    also: Sequence[AnyTable] = (),
    steered_by: Sequence[str] = (),
    left_out: Mapping[str, Sequence[str]] | None = None,
    merges: Sequence[str] = (),
    optional: bool = False,
) -> RuleTable:
    """Declare a table of rules. It is made from what its columns are made from, and `also` from what decides its rows.

    `summary` says what it is and what one row is.
    """
    derived = [one for group in columns for one in group]
    made_of = [origin for one in derived for origin in one.origins]
    made_of += [Origin(table.name, "", isinstance(table, DatasetDeclaration)) for table in also]
    return RuleTable(
        declaration=TableDeclaration(name, tuple(one.column for one in derived), summary, __name__),
        origins={one.column.name: one.origins for one in derived},
        reads=tuple(dict.fromkeys(origin.table for origin in made_of if origin.is_of_source)),
        follows=tuple(dict.fromkeys(origin.table for origin in made_of if not origin.is_of_source)),
        steered_by=tuple(steered_by),
        left_out={dataset: tuple(rules) for dataset, rules in (left_out or {}).items()},
        merges=tuple(merges),
        optional=optional,
    )


def same(table: AnyTable, *names: str, key: Collection[str] = (), filled: Collection[str] = ()) -> list[Derived]:
    """Columns as another table has them; `filled`: those that a rule has seen to it that they are never empty."""
    return [derived for name in names for derived in renamed(name, table, name, key=name in key, filled=name in filled)]


def renamed(name: str, table: AnyTable, of: str, *, key: bool = False, filled: bool = False) -> list[Derived]:
    """A column as another table has it, by another name."""
    found = _column(table, of)
    column = replace(found, name=name, key=key, path="", many=False, nullable=found.nullable and not (key or filled))
    return [Derived(column, (_origin(table, of),))]


def made(  # what there is to say of a column, by name
    name: str,
    kind: Kind,
    description: str,
    *origins: tuple[AnyTable, str],
    key: bool = False,
    nullable: bool = True,
) -> list[Derived]:
    """A column that a rule makes from others; personal if one of them is."""
    column = Column(
        name=name,
        path="",
        kind=kind,
        nullable=nullable and not key,
        key=key,
        personal=any(_column(table, of).personal for table, of in origins),
        many=False,
        description=description,
    )
    return [Derived(column, tuple(_origin(table, of) for table, of in origins))]


def _origin(table: AnyTable, column: str) -> Origin:
    return Origin(table.name, column, isinstance(table, DatasetDeclaration))


def _column(table: AnyTable, name: str) -> Column:
    if isinstance(table, RuleTable):
        return table.column(name)
    return next(column for column in table.columns if column.name == name)
