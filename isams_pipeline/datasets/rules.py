"""The blocking rules of a dataset: what must hold before it is stored. Pure; raises a DatasetError."""

from __future__ import annotations

from functools import cache

import pandas as pd
import pandera.pandas as pa
from pandera.errors import SchemaErrors

from isams_pipeline.datasets.declare import PANDAS, DatasetDeclaration, TableDeclaration
from isams_pipeline.errors import DuplicateKeys, MissingRows, OtherSchool, WrongType

_SHOWN = 10
_FEW = 5
_STILL_THERE = 0.2
"""Under a fifth of last night's people still being who they were, it is another school's answer."""


@cache
def schema_of(declaration: TableDeclaration) -> pa.DataFrameSchema:
    """The pandera schema of a table."""
    columns = {
        c.name: pa.Column(PANDAS[c.kind], nullable=c.nullable, description=c.description) for c in declaration.columns
    }
    return pa.DataFrameSchema(columns, strict=True, ordered=True, name=declaration.name)


def check_schema(declaration: DatasetDeclaration, frame: pd.DataFrame) -> None:
    """Raise WrongType with columns and row numbers where a column is not as declared. No value is named."""
    if fits(declaration, frame):
        return
    misfit = _misfit(declaration, frame)
    if misfit is not None:
        name, rows = misfit
        paths = {c.name: c.path for c in declaration.columns}
        raise WrongType(
            _EMPTY if rows else _OTHER,
            dataset=declaration.name,
            element=f"{declaration.rows}/{paths.get(name, name)}",
            rows=_some(rows) if rows else None,
            remedy="Correct the records in iSAMS." if rows else "Materialise the dataset again.",
        )


def check_made(declaration: TableDeclaration, frame: pd.DataFrame) -> None:
    """Raise WrongType or DuplicateKeys where a table that rules made is not as declared: a fault of this project."""
    misfit = None if fits(declaration, frame) else _misfit(declaration, frame)
    remedy = "Report it as a bug, with this message."
    if misfit is not None:
        name, rows = misfit
        shown = _some(rows) if rows else None
        raise WrongType(_EMPTY if rows else _OTHER, table=declaration.name, column=name, rows=shown, remedy=remedy)
    if declaration.key:
        _check_keys(declaration, frame, remedy, table=declaration.name)


_EMPTY, _OTHER = "A field that must be filled is empty", "A column is missing or of another type"


def _misfit(declaration: TableDeclaration, frame: pd.DataFrame) -> tuple[str, list[int]] | None:
    """The first column that is not as declared, as pandera finds it, and the rows where it is empty; None: all are."""
    try:
        schema_of(declaration).validate(frame, lazy=True)
    except SchemaErrors as errors:
        cases: pd.DataFrame = getattr(errors, "failure_cases")  # noqa: B009  # pandera does not type it
        first = cases.iloc[0]
        name = str(first["failure_case"] if pd.isna(first["column"]) else first["column"])
        return name, [int(row) for row in cases.loc[cases["column"] == name, "index"].dropna()]
    return None


def fits(declaration: TableDeclaration, frame: pd.DataFrame) -> bool:
    """Whether the frame is as declared: a hundredth of the time that pandera takes to find that nothing is wrong."""
    return list(frame.columns) == declaration.names and all(
        frame[c.name].dtype == PANDAS[c.kind] and (c.nullable or not bool(frame[c.name].hasnans))
        for c in declaration.columns
    )


def check_rows(declaration: DatasetDeclaration, frame: pd.DataFrame, *, container_found: bool) -> None:
    """Raise MissingRows where a dataset that must have rows has none."""
    if declaration.must_have_rows and frame.empty:
        what = "has no rows" if container_found else "is missing from the answer"
        raise MissingRows(
            f"{declaration.name} {what}",
            element=declaration.container,
            remedy="Check that the key may run the method and that no filter is set on the key in iSAMS.",
        )


def check_keys(declaration: DatasetDeclaration, frame: pd.DataFrame) -> None:
    """Raise DuplicateKeys with the numbers of the rows that share a key."""
    _check_keys(declaration, frame, "Ask iSAMS support why the records appear twice.", dataset=declaration.name)


def _check_keys(declaration: TableDeclaration, frame: pd.DataFrame, remedy: str, **where: str) -> None:
    shared = frame.duplicated(declaration.key, keep=False)
    if bool(shared.any()):
        rows = [int(row) for row in frame.index[shared]]
        text = f"{len(rows)} rows share their key ({', '.join(declaration.key)})"
        raise DuplicateKeys(text, **where, rows=_some(rows), remedy=remedy)


def check_identity(declaration: DatasetDeclaration, frame: pd.DataFrame, before: pd.DataFrame | None) -> None:
    """Raise OtherSchool where hardly anybody of the night before is still who they were."""
    columns = list(declaration.identity)
    if not columns or before is None or frame.empty:
        return
    # A column that a school leaves empty throughout says nothing; who is named by number alone can only be compared
    # where something else stands beside.
    said = [name for name in columns if bool(before[name].notna().any()) and bool(frame[name].notna().any())]
    if len(said) < min(2, len(columns)):
        return
    known, now = (table[said].dropna().drop_duplicates() for table in (before, frame))
    both = known.merge(now, on=said)
    if len(known) >= _FEW and len(both) < _STILL_THERE * len(known):
        raise OtherSchool(
            f"It is another school's answer: of the {len(known)} that {declaration.name} named on the last night only "
            f"{len(both)} are in it",
            dataset=declaration.name,
            remedy="Check that the key and isams.url belong to this school. If the school really was replaced, "
            "run once with --allow-removals, or with allow_removals in the launch pad.",
        )


def _some(rows: list[int]) -> str:
    shown = ", ".join(str(row) for row in rows[:_SHOWN])
    return f"{shown} and {len(rows) - _SHOWN} more" if len(rows) > _SHOWN else shown
