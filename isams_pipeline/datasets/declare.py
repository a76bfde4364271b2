"""How a dataset is declared: once, as a class.

The parser, dtypes, validation, Dagster's column schema, the docs page and the list of personal columns all come
from that one place.
"""

from __future__ import annotations

import inspect
import re
import types
import typing
from dataclasses import dataclass
from datetime import date, datetime
from functools import cached_property
from typing import Any, ClassVar, Literal

import numpy as np
import pandas as pd

from isams_pipeline.datasets.arrow import Array, DataType, Schema, Table, pa
from isams_pipeline.datasets.contracts import Contract

Kind = Literal["int", "str", "bool", "date", "datetime"]

_KINDS: dict[type, Kind] = {int: "int", str: "str", bool: "bool", date: "date", datetime: "datetime"}
_ARROW: dict[Kind, DataType] = {
    "int": pa.int64(),
    "str": pa.string(),
    "bool": pa.bool_(),
    "date": pa.timestamp("ms"),
    "datetime": pa.timestamp("ms"),
}
PANDAS: dict[Kind, Any] = {
    "int": pd.Int64Dtype(),
    "str": pd.StringDtype("pyarrow", na_value=np.nan),
    "bool": pd.BooleanDtype(),
    "date": np.dtype("datetime64[ms]"),
    "datetime": np.dtype("datetime64[ms]"),
}
_FROM_ARROW = {pa.int64(): PANDAS["int"], pa.string(): PANDAS["str"], pa.bool_(): PANDAS["bool"]}


CONTAINER = "container()"
"""A path that means the name of the element around the rows: what tells apart the rows of several containers."""


@dataclass(frozen=True)
class _Given:
    path: str
    description: str
    key: bool
    personal: bool
    many: bool


@dataclass(frozen=True)
class Column:
    """A column of a dataset, and where it stands in a row's element."""

    name: str
    path: str
    """Child elements by name, `@` an attribute, `..` the element around the row's, `|` another place for the same."""
    kind: Kind
    nullable: bool
    key: bool
    personal: bool
    """Its values tell something about a person."""
    many: bool
    """The path may occur several times; the values are joined by "; "."""
    description: str


def column(path: str, description: str, *, key: bool = False, personal: bool = False, many: bool = False) -> Any:
    """A column, by its path within the row's element."""
    return _Given(path, description, key, personal, many)


class Dataset:
    """One typed table of iSAMS. A subclass declares it and is never instantiated.

    The docstring's first line says what it is, the next sentence what one row is.
    """

    feed: ClassVar[str]
    rows: ClassVar[str]
    """The path of a row's element, from below the root."""
    also_rows: ClassVar[tuple[str, ...]] = ()
    """Other containers with the same rows."""
    must_have_rows: ClassVar[bool] = False
    identity: ClassVar[tuple[str, ...]] = ()
    """Columns that together tell the same person from another school's: its own numbers are small, and the same."""
    free_form: ClassVar[bool] = False
    """The shape is unknown: every field is passed through as name and value."""
    contracts: ClassVar[tuple[Contract, ...]] = ()
    """What every row should be like, beyond its types; rows that are not are counted, and a check warns."""


@dataclass(frozen=True)
class TableDeclaration:
    """A typed table, whatever it is made of: by a source, or by rules."""

    name: str
    columns: tuple[Column, ...]
    summary: str
    """What it is, and what one row is."""
    module: str
    """Where it is declared."""

    @cached_property
    def key(self) -> list[str]:
        """The names of the columns that tell rows apart."""
        return [c.name for c in self.columns if c.key]

    @cached_property
    def names(self) -> list[str]:
        """The names of all columns, in order."""
        return [c.name for c in self.columns]

    @cached_property
    def arrow_schema(self) -> Schema:
        """The Arrow types of all columns."""
        return pa.schema([pa.field(c.name, _ARROW[c.kind]) for c in self.columns])

    def to_pandas(self, table: Table) -> pd.DataFrame:
        """An Arrow table of this shape as a frame with its dtypes."""
        frame: pd.DataFrame = table.to_pandas(types_mapper=_FROM_ARROW.get)
        return frame

    @staticmethod
    def series(array: Array) -> Any:
        """An Arrow array of a column as a Series with the dtype it has in `to_pandas`'s frame."""
        return array.to_pandas(types_mapper=_FROM_ARROW.get)

    @cached_property
    def _empty(self) -> pd.DataFrame:
        return self.to_pandas(self.arrow_schema.empty_table())

    def empty(self) -> pd.DataFrame:
        """The table without rows; a frame of the caller's own."""
        return self._empty.copy()


@dataclass(frozen=True)
class DatasetDeclaration(TableDeclaration):
    """What a Dataset subclass says, ready for use."""

    feed: str
    rows: str
    also_rows: tuple[str, ...]
    must_have_rows: bool
    identity: tuple[str, ...]
    free_form: bool
    contracts: tuple[Contract, ...]

    @cached_property
    def container(self) -> str:
        """The path of the element around the rows that a document has for this dataset."""
        return "/".join(self.rows.split("/")[:2])

    @cached_property
    def containers(self) -> list[str]:
        """`container`, and those of the other places with such rows."""
        return ["/".join(rows.split("/")[:2]) for rows in (self.rows, *self.also_rows)]


def declared(dataset: type[Dataset]) -> DatasetDeclaration:
    """Read a Dataset subclass."""
    hints = typing.get_type_hints(dataset)
    columns: list[Column] = []
    for name, given in vars(dataset).items():
        if not isinstance(given, _Given):
            continue
        annotation = hints[name]
        options = set(typing.get_args(annotation)) if isinstance(annotation, types.UnionType) else {annotation}
        (python_type,) = options - {type(None)}
        columns.append(
            Column(
                name=name,
                path=given.path,
                kind=_KINDS[python_type],
                nullable=type(None) in options,
                key=given.key,
                personal=given.personal,
                many=given.many,
                description=given.description,
            )
        )
    text = " ".join((inspect.getdoc(dataset) or "").split())
    return DatasetDeclaration(
        name=re.sub(r"(?<=[a-z])(?=[A-Z])", "_", dataset.__name__).lower(),
        feed=dataset.feed,
        rows=dataset.rows,
        also_rows=dataset.also_rows,
        columns=tuple(columns),
        must_have_rows=dataset.must_have_rows,
        identity=dataset.identity,
        free_form=dataset.free_form,
        contracts=dataset.contracts,
        summary=text,
        module=dataset.__module__,
    )
