"""How exports and deliveries are shown in Dagster: tables, counts, first looks."""

from collections.abc import Iterable, Sequence
from typing import Any, cast

import dagster as dg
import pandas as pd

from isams_pipeline.datasets.declare import TableDeclaration
from isams_pipeline.delivery.changes import COUNTS
from isams_pipeline.delivery.deliver import Delivered
from isams_pipeline.delivery.export import Export
from isams_pipeline.delivery.first_look import FirstLook
from isams_pipeline.delivery.staging import Staged
from isams_pipeline.orchestration.metadata import Metadata
from isams_pipeline.rules.account import PLACES
from isams_pipeline.rules.texts import in_markdown


def column_schema(declaration: TableDeclaration) -> dg.TableSchema:
    """The columns as Dagster shows them."""
    return dg.TableSchema(
        columns=[
            dg.TableColumn(
                c.name,
                c.kind,
                c.description + (" (personal)" if c.personal else ""),
                dg.TableColumnConstraints(nullable=c.nullable, unique=c.key and len(declaration.key) == 1),
            )
            for c in declaration.columns
        ]
    )


def markdown_table(header: Sequence[str], rows: Iterable[Sequence[Any]]) -> str:
    """A table in Markdown, whose cells are nothing but texts."""
    cells = [[in_markdown(cell) for cell in line] for line in (header, *rows)]
    lines = [cells[0], ["---"] * len(header), *cells[1:]]
    return "\n".join("| " + " | ".join(line) + " |" for line in lines)


def changes_table(result: Delivered) -> str:
    """File by file what is new, other and gone; of what is gone, how much is explained, replaced and unexplained."""
    rows = [(name, *(change.get(what, 0) for what in (*COUNTS, "excluded"))) for name, change in result.changes.items()]
    return markdown_table(("file", *COUNTS, "excluded"), rows)


def refusal_metadata(result: Delivered) -> Metadata:
    """What Dagster shows of a delivery that was refused: the difference that it would have made, too."""
    metadata: Metadata = {"outcome": result.outcome.value}
    if result.changes:
        metadata["compared_with"] = result.baseline or "nothing: this would be the first delivery"
        metadata["changes"] = dg.MetadataValue.md(changes_table(result))
    return metadata


def delivery_metadata(result: Delivered) -> Metadata:
    """What Dagster shows of a delivery."""
    return {
        "outcome": result.outcome.value,
        "target": result.target,
        "content_hash": result.content_hash,
        "compared_with": result.baseline or "nothing: this is the first delivery",
        "changes": dg.MetadataValue.md(changes_table(result)),
    } | ({"removal window": result.window} if result.window else {})


def export_metadata(export: Export, staged: Staged) -> Metadata:
    """What Dagster shows of a staged export."""
    rows = {name: export.row_count(name) for name in export.files}
    counts = [(name, count, staged.excluded.get(name, 0)) for name, count in rows.items()]
    return {
        "content_hash": staged.content_hash,
        "files": dg.MetadataValue.md(markdown_table(("file", "rows", "excluded"), counts)),
        **{f"rows {name}": count for name, count in rows.items()},
    }


def account_table(places: pd.DataFrame) -> str:
    """An account: dataset x delivered, left out by rule, merged, not asked for."""
    rows: list[tuple[Any, ...]] = []
    for dataset, of in places.groupby("dataset", sort=False):
        cells = [dataset, int(of["rows"].sum())]
        for place in PLACES:
            here = of[of["place"] == place]
            by = zip(here["by"], here["rows"], strict=True)
            cells.append(", ".join(f"{n} {what}" for what, n in by))
        rows.append(tuple(cells))
    return markdown_table(("dataset", "rows", *PLACES), rows)


def first_look_table(look: FirstLook) -> str:
    """What a person looks at before a school's first export is released."""
    return "\n\n".join(markdown_table(header, rows) for header, rows in look.tables)


def by_rule(exclusions: pd.DataFrame) -> str:
    """Exclusions, counted."""
    counts = exclusions.groupby(["entity", "rule", "severity"]).size()
    return markdown_table(
        ("entity", "rule", "severity", "count"),
        [(*cast("tuple[str, ...]", index), count) for index, count in counts.items()],
    )
