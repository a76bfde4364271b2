"""`schema`: the tables that there are, and each as the pandera schema that is checked at its border."""

from __future__ import annotations

import difflib
import json
from collections.abc import Iterator
from typing import Annotated

import typer
from rich import box
from rich.table import Table

from isams_pipeline.commands.console import console
from isams_pipeline.datasets.declare import Kind, TableDeclaration
from isams_pipeline.errors import WrongUse
from isams_pipeline.partners.registry import PARTNERS
from isams_pipeline.sources.registry import SOURCES, WITHIN_THE_DAY

_WRITTEN: dict[Kind, str] = {
    "int": "pd.Int64Dtype()",
    "str": 'pd.StringDtype("pyarrow", na_value=np.nan)',
    "bool": "pd.BooleanDtype()",
    "date": 'np.dtype("datetime64[ms]")',
    "datetime": 'np.dtype("datetime64[ms]")',
}


def declared_tables() -> dict[str, TableDeclaration]:
    """Key of an asset → its table: the sources' datasets, then the tables of the partners' rules."""
    sources = {**SOURCES, **WITHIN_THE_DAY}
    found: dict[str, TableDeclaration] = {
        f"{key}/{name}": declaration for key, source in sources.items() for name, declaration in source.datasets.items()
    }
    for key, partner in PARTNERS.items():
        found |= {f"{key}/{table.name}": table.declaration for table in (partner.gets.tables if partner.gets else ())}
    return found


def as_schema(declaration: TableDeclaration) -> str:
    """A table as Python that makes its pandera schema."""
    return "\n".join(_lines(declaration)) + "\n"


def _lines(declaration: TableDeclaration) -> Iterator[str]:
    yield "import numpy as np"
    yield "import pandas as pd"
    yield "import pandera.pandas as pa"
    yield ""
    yield f"{declaration.name} = pa.DataFrameSchema("
    yield "    {"
    for column in declaration.columns:
        description = json.dumps(column.description, ensure_ascii=False)
        yield f'        "{column.name}": pa.Column('
        yield f"            {_WRITTEN[column.kind]}, nullable={column.nullable}, description={description}"
        yield "        ),"
    yield "    },"
    yield "    strict=True,"
    yield "    ordered=True,"
    yield f'    name="{declaration.name}",'
    yield f"    description={json.dumps(declaration.summary, ensure_ascii=False)},"
    yield ")"


def schema(
    table: Annotated[
        str | None,
        typer.Argument(
            help="Which, by its asset's key: schoolsbuddy/contacts. [default: list all]", show_default=False
        ),
    ] = None,
) -> int:
    """Show a table as the pandera schema that is checked at its border; without one, list all tables."""
    known = declared_tables()
    if table is None:
        listed = Table(pad_edge=False, box=box.SIMPLE)
        listed.add_column("table", no_wrap=True)
        listed.add_column("columns", justify="right")
        listed.add_column("what it is")
        for key, declaration in known.items():
            listed.add_row(key, str(len(declaration.columns)), declaration.summary.partition(". ")[0].rstrip("."))
        console.print(listed)
        return 0
    if table not in known:
        near = difflib.get_close_matches(table, known, n=1)
        meant = f"Did you mean {near[0]}? " if near else ""
        raise WrongUse(f"There is no table {table}", remedy=f"{meant}`isams-pipeline schema` lists all.")
    console.out(as_schema(known[table]), highlight=False, end="")
    return 0
