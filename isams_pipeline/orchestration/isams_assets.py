"""The datasets as Dagster assets: fetch, check, store, say what changed."""

from collections.abc import Iterator
from typing import Any

import dagster as dg

from isams_pipeline.datasets import DATASETS, SOURCE, DatasetDeclaration
from isams_pipeline.datasets import rules as dataset_rules
from isams_pipeline.errors import DatasetError
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
from isams_pipeline.orchestration.partitions import nights_of
from isams_pipeline.orchestration.runs import NightRun, of_a_night
from isams_pipeline.orchestration.selections import is_wanted
from isams_pipeline.rules.notes import as_json
from isams_pipeline.sources.isams.night import NightTable
from isams_pipeline.storage.tables import StoredTable

GROUP = SOURCE


def isams_assets(environment: Environment) -> list[dg.AssetsDefinition]:
    """One asset per dataset, in the order of the declarations."""
    return [_asset(environment, declaration) for declaration in DATASETS.values()]


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
        check_specs=checks.check_specs(key, partitions, SOUND if is_checked else {}),
    )
    @of_a_night
    def dataset(run: NightRun) -> Iterator[Any]:
        environment, night, session = run.environment, run.night, run.session
        if not is_wanted(environment.settings.school(night.school), SOURCE, run.context.job_name):
            yield checks.not_in_use(SOUND if is_checked else {}, key)
            return
        tables = environment.tables
        before = tables.before(SOURCE, declaration.name, night.school, night.date)
        try:
            table = session.reader(night, run.log).table(declaration.name)
            _check(environment, declaration, table, None if session.allow_removals else before)
        except DatasetError as error:
            # The check shows what is wrong, and the failure keeps the table from being materialised.
            error.at(school=night.school, date=night.date)
            if is_checked:
                yield checks.failed("sound", key, str(error))
            raise
        stored = tables.save(
            table.parsed.frame,
            source=SOURCE,
            dataset=declaration.name,
            school=night.school,
            night=night.date,
            provenance=_provenance(table),
        )
        yield dg.MaterializeResult(
            metadata=changes_metadata(environment, declaration, stored, table.parsed.frame, before)
            | _metadata(declaration, table),
            check_results=[verdict(environment, stored)] if is_checked else [],
        )

    return dataset


def _check(
    environment: Environment, declaration: DatasetDeclaration, table: NightTable, before: StoredTable | None
) -> None:
    frame = table.parsed.frame
    if table.snapshot is not None or declaration.must_have_rows:
        dataset_rules.check_rows(declaration, frame, container_found=table.parsed.containers > 0)
    check_frame(environment, declaration, frame, before)


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
    } | ({"notes": as_json(table.parsed.notes)} if table.parsed.notes else {})


def _metadata(declaration: DatasetDeclaration, table: NightTable) -> dict[str, Any]:
    metadata: dict[str, Any] = {}
    if table.snapshot is None:
        return {"feed": f"no key of this school brings {declaration.feed}"}
    if table.parsed.containers == 0:
        metadata["container"] = f"the answer has no {declaration.container}"
    if table.parsed.repeated_rows:
        metadata["merged_rows"] = table.parsed.repeated_rows
    if table.parsed.notes:
        metadata["fields mended"] = len(table.parsed.notes)
    return metadata | {
        "snapshot": table.snapshot.sha256,
        "key": table.snapshot.key,
        "fetched_at": dg.MetadataValue.timestamp(table.snapshot.fetched),
        "cache_hours": table.snapshot.cache_hours,
    }
