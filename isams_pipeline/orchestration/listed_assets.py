"""The datasets of the other sources as Dagster assets."""

from collections.abc import Iterator
from typing import Any

import dagster as dg

from isams_pipeline.datasets import LISTED_DATASETS, DatasetDeclaration
from isams_pipeline.errors import DatasetError, MissingRows
from isams_pipeline.orchestration import checks
from isams_pipeline.orchestration.dataset_assets import (
    CHECKED,
    OWNER,
    SOUND,
    changes_metadata,
    check_frame,
    column_schema,
    verdict,
)
from isams_pipeline.orchestration.environment import Environment
from isams_pipeline.orchestration.partitions import Night, nights_of
from isams_pipeline.orchestration.runs import NightRun, of_a_night
from isams_pipeline.orchestration.selections import is_wanted
from isams_pipeline.sources.registry import LISTED
from isams_pipeline.sources.shared.listed import ListedSource
from isams_pipeline.sources.shared.mapping import Absent
from isams_pipeline.sources.shared.night import SourceTable
from isams_pipeline.storage.tables import StoredTable


def listed_assets(environment: Environment) -> list[dg.AssetsDefinition]:
    """One asset per source and dataset."""
    return [
        _asset(environment, source, declaration)
        for source in LISTED.values()
        for declaration in LISTED_DATASETS.values()
    ]


def _asset(environment: Environment, source: ListedSource, declaration: DatasetDeclaration) -> dg.AssetsDefinition:
    partitions = nights_of(environment.settings)
    key = [source.key, declaration.name]
    mapped = source.mapping.datasets[declaration.name]
    is_checked = declaration.name in CHECKED
    absent = f" Always empty by this source: {mapped.reason}." if isinstance(mapped, Absent) else ""

    @dg.asset(
        key=key,
        description=f"{declaration.summary} By {source.label}.{absent}",
        partitions_def=partitions,
        group_name=source.key,
        owners=[OWNER],
        kinds={"json", "parquet"},
        metadata={"dagster/column_schema": column_schema(declaration)},
        check_specs=checks.check_specs(key, partitions, SOUND if is_checked else {}),
    )
    @of_a_night
    def dataset(run: NightRun) -> Iterator[Any]:
        environment, night, session = run.environment, run.night, run.session
        if not is_wanted(environment.settings.school(night.school), source.key, run.context.job_name):
            yield checks.not_in_use(SOUND if is_checked else {}, key)
            return
        before = environment.tables.before(source.key, declaration.name, night.school, night.date)
        try:
            reader = session.list_reader(source.key, night, run.context)
            table = reader.table(declaration.name, before)
            if table.frame is not None:
                _check(environment, source, declaration, table, None if session.allow_removals else before)
        except DatasetError as error:
            error.at(school=night.school, date=night.date)
            if is_checked:
                yield checks.failed("sound", key, str(error))
            raise
        stored = _stored(environment, source.key, declaration.name, table, night)
        sound = [_fold_verdict(table, key) or verdict(environment, stored)] if is_checked else []
        yield dg.MaterializeResult(
            metadata=changes_metadata(environment, declaration, stored, table.frame, before) | _metadata(table),
            check_results=sound,
        )

    return dataset


def _check(
    environment: Environment,
    source: ListedSource,
    declaration: DatasetDeclaration,
    table: SourceTable,
    before: StoredTable | None,
) -> None:
    assert table.frame is not None
    if declaration.must_have_rows and table.frame.empty:
        why = f": {table.absent}" if table.absent else ""
        remedy = "Look there whether the school's data is complete, and whom it has let be extracted."
        raise MissingRows(f"{declaration.name} has no rows by {source.label}{why}", remedy=remedy)
    check_frame(environment, declaration, table.frame, before)


def _stored(environment: Environment, source: str, dataset: str, table: SourceTable, night: Night) -> StoredTable:
    if table.frame is None:
        assert table.same_as is not None
        return environment.tables.save_as_before(table.same_as, night=night.date, provenance=table.provenance)
    return environment.tables.save(
        table.frame,
        source=source,
        dataset=dataset,
        school=night.school,
        night=night.date,
        provenance=table.provenance,
    )


def _fold_verdict(table: SourceTable, key: list[str]) -> dg.AssetCheckResult | None:
    return checks.failed("sound", key, "; ".join(table.folds), warn=True) if table.folds else None


def _metadata(table: SourceTable) -> dict[str, Any]:
    if table.absent is not None:
        return {"empty because": table.absent}
    metadata: dict[str, Any] = {
        "lists": dg.MetadataValue.json(table.provenance["lists"]),
        "read_at": table.provenance["fetched_at"],
    }
    if table.provenance.get("freshness"):
        metadata["the source's own copy is of"] = table.provenance["freshness"]
    if table.folds:
        metadata["missed by changes"] = "; ".join(table.folds)
    return metadata
