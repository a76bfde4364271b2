"""The datasets as Dagster assets: fetch, check, store, say what changed."""

from collections.abc import Generator
from typing import Any

import dagster as dg
import pandas as pd

from isams_pipeline import checks
from isams_pipeline.environment import Environment
from isams_pipeline.errors import DatasetError, StorageError
from isams_pipeline.isams.changes import row_changes, unusual
from isams_pipeline.isams.datasets import DATASETS, SOURCE, DatasetDeclaration
from isams_pipeline.isams.datasets import rules as dataset_rules
from isams_pipeline.isams.night import NightTable
from isams_pipeline.partitions import Night, night_of, nights_of
from isams_pipeline.runs import NIGHT, NightSession, told_to_dagster
from isams_pipeline.storage.tables import StoredTable

GROUP = SOURCE
OWNER = "team:school-data"
# One check, not one for each rule, and for the datasets that everything hangs on: each costs the engine some 40 ms a
# night. The rules bind for every dataset all the same: a table that breaks one fails its step with the same words.
SOUND = {
    "sound": "Blocks: columns and types, unique keys, rows where there must be some, this school's people. "
    "Warns: far fewer rows than of late, or an answer that may be yesterday's."
}
CHECKED = {"pupils", "contacts", "staff", "years"}
_NIGHTS = 7


def isams_assets(environment: Environment) -> list[dg.AssetsDefinition]:
    """One asset per dataset, in the order of the declarations."""
    return [_asset(environment, declaration) for declaration in DATASETS.values()]


def asset_key(dataset: str) -> dg.AssetKey:
    """The key of a dataset's asset."""
    return dg.AssetKey([SOURCE, dataset])


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


def _asset(environment: Environment, declaration: DatasetDeclaration) -> dg.AssetsDefinition:
    partitions = nights_of(environment.settings)
    key = [SOURCE, declaration.name]
    is_checked = declaration.name in CHECKED

    @dg.asset(
        key=key,
        description=declaration.summary,
        partitions_def=partitions,
        group_name=GROUP,
        owners=[OWNER],
        kinds={"xml", "parquet"},
        tags={"isams/feed": declaration.feed},
        metadata={"dagster/column_schema": column_schema(declaration)},
        required_resource_keys={NIGHT},
        check_specs=checks.check_specs(key, partitions, SOUND if is_checked else {}),
    )
    def dataset(context: dg.AssetExecutionContext) -> Generator[Any, None, None]:
        night = night_of(context.partition_key)
        session: NightSession = getattr(context.resources, NIGHT)
        with told_to_dagster(environment):
            tables = environment.tables
            before = tables.before(SOURCE, declaration.name, night.school, night.date)
            try:
                table = session.reader(night, context.log).table(declaration.name)
                _check(environment, declaration, table, None if session.allow_removals else before)
            except DatasetError as error:
                # The check shows what is wrong, and the failure keeps the table from being materialised.
                error.at(school=night.school, date=night.date)
                if is_checked:
                    yield checks.failed("sound", key, str(error))
                raise
            facts = _provenance(table)
            stored = tables.save(
                table.parsed.frame,
                source=SOURCE,
                dataset=declaration.name,
                school=night.school,
                night=night.date,
                provenance=facts,
            )
            yield dg.MaterializeResult(
                metadata=_metadata(environment, declaration, stored, table, before),
                check_results=[_verdict(environment, declaration, stored, night)] if is_checked else [],
            )

    return dataset


def _earlier(
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


def _check(
    environment: Environment, declaration: DatasetDeclaration, table: NightTable, before: StoredTable | None
) -> None:
    frame = table.parsed.frame
    if table.snapshot is not None or declaration.must_have_rows:
        dataset_rules.check_rows(declaration, frame, container_found=table.parsed.containers > 0)
    dataset_rules.check_schema(declaration, frame)
    dataset_rules.check_keys(declaration, frame)
    if declaration.identity:
        dataset_rules.check_identity(declaration, frame, _earlier(environment, declaration, before))


def _provenance(table: NightTable) -> dict[str, Any]:
    snapshot = table.snapshot
    if snapshot is None:
        return {}
    return {
        "key": snapshot.key,
        "sha256": snapshot.sha256,
        "fetched_at": snapshot.fetched_at,
        "cache_hours": snapshot.cache_hours,
        "identical_to_night_before": snapshot.identical_to_night_before,
    }


def _metadata(
    environment: Environment,
    declaration: DatasetDeclaration,
    stored: StoredTable,
    table: NightTable,
    before: StoredTable | None,
) -> dict[str, Any]:
    metadata: dict[str, Any] = {"dagster/row_count": stored.rows, "table": stored.path}
    if before is not None and before.sha256 == stored.sha256:
        metadata |= {"compared_with": before.date, "added": 0, "changed": 0, "removed": 0}
    elif before is not None and (earlier := _earlier(environment, declaration, before)) is not None:
        change = row_changes(declaration, table.parsed.frame, earlier)
        metadata |= {
            "compared_with": before.date,
            "added": change.added,
            "changed": change.changed,
            "removed": change.removed,
        }
    if table.snapshot is None:
        return metadata | {"feed": f"no key of this school brings {declaration.feed}"}
    if table.parsed.containers == 0:
        metadata["container"] = f"the answer has no {declaration.container}"
    if table.parsed.repeated_rows:
        metadata["merged_rows"] = table.parsed.repeated_rows
    return metadata | {
        "snapshot": table.snapshot.sha256,
        "key": table.snapshot.key,
        "fetched_at": dg.MetadataValue.timestamp(table.snapshot.fetched),
        "cache_hours": table.snapshot.cache_hours,
    }


def _verdict(
    environment: Environment, declaration: DatasetDeclaration, stored: StoredTable, night: Night
) -> dg.AssetCheckResult:
    counts = environment.tables.rows_of_nights_before(
        SOURCE, declaration.name, night.school, night.date, nights=_NIGHTS
    )
    problem = unusual(
        stored.rows,
        counts,
        identical=bool(stored.provenance.get("identical_to_night_before")),
        cache_hours=float(stored.provenance.get("cache_hours", 0)),
    )
    key = [SOURCE, declaration.name]
    if problem is None:
        return checks.passed(SOUND, key)[0]
    return checks.failed("sound", key, problem, warn=True)
