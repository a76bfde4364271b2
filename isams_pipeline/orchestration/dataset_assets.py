"""What the assets of all sources' datasets have in common: columns, checks, and what is said of a stored table."""

from typing import Any

import dagster as dg
import pandas as pd

from isams_pipeline.datasets import SOURCE, DatasetDeclaration
from isams_pipeline.datasets import rules as dataset_rules
from isams_pipeline.datasets.changes import row_changes, unusual
from isams_pipeline.errors import StorageError
from isams_pipeline.orchestration import checks
from isams_pipeline.orchestration.environment import Environment
from isams_pipeline.storage.tables import StoredTable

OWNER = "team:school-data"
# One check, not one for each rule, and for the datasets that everything hangs on: each costs the engine some 40 ms a
# night. The rules bind for every dataset all the same: a table that breaks one fails its step with the same words.
SOUND = {
    "sound": "Blocks: columns and types, unique keys, rows where there must be some, this school's people. "
    "Warns: far fewer rows than of late, or an answer that may be yesterday's."
}
CHECKED = {"pupils", "contacts", "staff", "years"}
_NIGHTS = 7


def asset_key(dataset: str, source: str = SOURCE) -> dg.AssetKey:
    """The key of a dataset's asset."""
    return dg.AssetKey([source, dataset])


def column_schema(declaration: DatasetDeclaration) -> dg.TableSchema:
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


def check_frame(
    environment: Environment, declaration: DatasetDeclaration, frame: pd.DataFrame, before: StoredTable | None
) -> None:
    """Columns and types, unique keys, and the same people as on the night before; raises a DatasetError."""
    dataset_rules.check_schema(declaration, frame)
    dataset_rules.check_keys(declaration, frame)
    if declaration.identity:
        dataset_rules.check_identity(declaration, frame, earlier(environment, declaration, before))


def earlier(
    environment: Environment, declaration: DatasetDeclaration, before: StoredTable | None
) -> pd.DataFrame | None:
    """The rows of the night before; none where they cannot be read any more, or were declared otherwise."""
    if before is None:
        return None
    try:
        frame = environment.tables.load(before)
    except StorageError:
        return None
    return frame if list(frame.columns) == declaration.names else None


def changes_metadata(
    environment: Environment,
    declaration: DatasetDeclaration,
    stored: StoredTable,
    frame: pd.DataFrame | None,
    before: StoredTable | None,
) -> dict[str, Any]:
    """Rows, and how many are new, other or gone since the night before."""
    metadata: dict[str, Any] = {"dagster/row_count": stored.rows, "table": stored.path}
    if before is not None and before.sha256 == stored.sha256:
        return metadata | {"compared_with": before.date, "added": 0, "changed": 0, "removed": 0}
    if before is None or frame is None or (rows := earlier(environment, declaration, before)) is None:
        return metadata
    change = row_changes(declaration, frame, rows)
    return metadata | {
        "compared_with": before.date,
        "added": change.added,
        "changed": change.changed,
        "removed": change.removed,
    }


def verdict(environment: Environment, stored: StoredTable) -> dg.AssetCheckResult:
    """Whether a stored table looks as usual."""
    counts = environment.tables.rows_of_nights_before(
        stored.source, stored.dataset, stored.school, stored.night, nights=_NIGHTS
    )
    problem = unusual(
        stored.rows,
        counts,
        identical=bool(stored.provenance.get("identical_to_night_before")),
        cache_hours=float(stored.provenance.get("cache_hours", 0)),
    )
    key = [stored.source, stored.dataset]
    if problem is None:
        return checks.passed(SOUND, key)[0]
    return checks.failed("sound", key, problem, warn=True)
