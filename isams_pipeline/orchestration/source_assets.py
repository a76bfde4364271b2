"""The sources' datasets as Dagster assets, whichever source it is: read, check, store, say what changed."""

from collections.abc import Mapping
from datetime import datetime
from typing import TYPE_CHECKING, Any, cast

import dagster as dg
import pandas as pd

from isams_pipeline.config import Settings
from isams_pipeline.datasets import DatasetDeclaration
from isams_pipeline.datasets import rules as dataset_rules
from isams_pipeline.datasets.changes import row_changes, unusual
from isams_pipeline.datasets.contracts import broken
from isams_pipeline.datasets.shapes import JsonObject
from isams_pipeline.errors import DatasetError, StorageError
from isams_pipeline.moved import found_elsewhere
from isams_pipeline.orchestration import checks
from isams_pipeline.orchestration.environment import Environment
from isams_pipeline.orchestration.graph import sources_in_use
from isams_pipeline.orchestration.metadata import Metadata
from isams_pipeline.orchestration.partitions import Night, nights_of
from isams_pipeline.orchestration.runs import NightRun, Results, of_a_nights_source
from isams_pipeline.orchestration.selections import is_wanted
from isams_pipeline.orchestration.showing import column_schema
from isams_pipeline.sources.registry import SOURCES
from isams_pipeline.sources.shared.source import Source, SourceTable
from isams_pipeline.storage.tables import StoredTable

OWNER = "team:school-data"
# One check, not one for each rule, and for the datasets that everything hangs on: each costs the engine some 40 ms a
# night. The rules bind for every dataset all the same: a table that breaks one fails its step with the same words.
SOUND = {
    "sound": "Blocks: columns and types, unique keys, rows where there must be some, this school's people. "
    "Warns: far fewer rows than of late, or an answer that may be yesterday's."
}
CHECKED = {"pupils", "contacts", "staff", "years"}
CONTRACT = {
    "contract": "Warns: rows that are not as the declaration says beyond their types, such as an end before its start."
}
_NIGHTS = 7


def source_definitions(settings: Settings, sources: Mapping[str, Source] = SOURCES) -> dg.Definitions:
    """One asset per source and dataset, in the order of the declarations; for each source a job of all its datasets.

    Of the sources that some school has; of all, where there is no school.
    """
    sources = {key: sources[key] for key in sources_in_use(settings, sources)}
    return dg.Definitions(
        assets=[
            _asset(settings, source, declaration)
            for source in sources.values()
            for declaration in source.datasets.values()
        ],
        jobs=[source_job(source) for source in sources.values()],
    )


def source_job(source: Source) -> "dg.UnresolvedAssetJobDefinition":
    """The job that reads everything that a source has of a school, whoever needs it."""
    keys = [dg.AssetKey([source.key, name]) for name in source.datasets]
    return dg.define_asset_job(  # pyright: ignore[reportUnknownMemberType]
        f"{source.key}_datasets",
        selection=dg.AssetSelection.assets(*keys),  # pyright: ignore[reportUnknownMemberType]
        description=f"Reads all datasets of a school by {source.label}. Delivers nothing.",
        executor_def=dg.in_process_executor,
    )


def _asset(settings: Settings, source: Source, declaration: DatasetDeclaration) -> dg.AssetsDefinition:
    partitions = nights_of(settings)
    key = [source.key, declaration.name]
    sound = SOUND if declaration.name in CHECKED else {}
    contract = CONTRACT if declaration.contracts else {}

    @dg.asset(
        key=key,
        description=source.about(declaration),
        partitions_def=partitions,
        group_name=source.key,
        owners=[OWNER],
        kinds=set(source.kinds),
        tags=source.tags(declaration),
        metadata={"dagster/column_schema": column_schema(declaration)},
        check_specs=checks.check_specs(key, partitions, {**sound, **contract}),
    )
    @of_a_nights_source
    def dataset(run: NightRun) -> Results:
        environment, night, session = run.environment, run.night, run.session
        if not is_wanted(environment.settings.school(night.school), source.key, run.context.job_name):
            yield checks.not_in_use({**sound, **contract}, key)
            return
        before = environment.tables.before(source.key, declaration.name, night.school, night.date)
        try:
            table = session.reader(source, night, run.context).table(declaration.name, before)
            if table.frame is not None:
                source.check_rows(declaration, table)
                check_frame(environment, declaration, table.frame, None if session.allow_removals else before)
        except DatasetError as error:
            # The check shows what is wrong, and the failure keeps the table from being materialised.
            error.at(school=night.school, date=night.date)
            if sound:
                yield checks.failed("sound", key, str(error))
            raise
        stored = _stored(environment, source, declaration, table, night)
        verdicts = [_fold_verdict(table, key) or verdict(environment, stored)] if sound else []
        yield dg.MaterializeResult(
            metadata=changes_metadata(environment, declaration, stored, table.frame, before)
            | {name: _shown(fact) for name, fact in table.facts.items()},
            check_results=[*verdicts, *([_kept_to(environment, declaration, stored, table)] if contract else [])],
        )

    return dataset


def _stored(
    environment: Environment, source: Source, declaration: DatasetDeclaration, table: SourceTable, night: Night
) -> StoredTable:
    if table.frame is None:
        if table.same_as is None:
            raise LookupError("a table without rows says whose they are")
        return environment.tables.save_as_before(table.same_as, night=night.date, provenance=table.provenance)
    return environment.tables.save(
        table.frame,
        source=source.key,
        dataset=declaration.name,
        school=night.school,
        night=night.date,
        provenance=table.provenance,
    )


def _kept_to(
    environment: Environment, declaration: DatasetDeclaration, stored: StoredTable, table: SourceTable
) -> dg.AssetCheckResult:
    """Whether the rows are as the declaration says beyond their types, with how many are not."""
    key = [stored.source, stored.dataset]
    frame = environment.tables.load(stored) if table.frame is None else table.frame
    found = broken(declaration.contracts, frame, stored.night)
    if not found:
        return checks.passed(CONTRACT, key)[0]
    counts = {one.contract.name: len(one.rows) for one in found}
    return checks.failed("contract", key, "; ".join(one.in_words for one in found), warn=True, counts=counts)


def _fold_verdict(table: SourceTable, key: list[str]) -> dg.AssetCheckResult | None:
    return checks.failed("sound", key, "; ".join(table.folds), warn=True) if table.folds else None


def _shown(fact: object) -> Any:
    """A fact as Dagster shows it."""
    if isinstance(fact, datetime):
        return dg.MetadataValue.timestamp(fact)
    return dg.MetadataValue.json(cast("JsonObject", fact)) if isinstance(fact, Mapping) else fact


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
) -> Metadata:
    """Rows, and how many are new, other or gone since the night before."""
    metadata: Metadata = {"dagster/row_count": stored.rows, "table": stored.path}
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


if not TYPE_CHECKING:  # who checks types sees what is there

    def __getattr__(name: str) -> object:
        """Names of before, with a warning."""
        return found_elsewhere(__name__, name)
