"""SchoolsBuddy's assets: the export, what is not in it, and its delivery."""

from collections.abc import Generator
from typing import Any, cast

import dagster as dg
import pandas as pd

from isams_pipeline import checks
from isams_pipeline.config import SchoolsBuddySettings
from isams_pipeline.delivery.deliver import Delivered, Deliverer
from isams_pipeline.delivery.export import CheckResult, Export, few, to_csv
from isams_pipeline.delivery.export import ExportFile as File
from isams_pipeline.delivery.receipts import Address, Outcome
from isams_pipeline.delivery.staging import Staged
from isams_pipeline.environment import Environment
from isams_pipeline.errors import ConfigurationError, DatasetError
from isams_pipeline.isams.assets import OWNER, asset_key
from isams_pipeline.isams.datasets import DATASETS, SOURCE
from isams_pipeline.isams.datasets import rules as dataset_rules
from isams_pipeline.partitions import Night, night_of, nights_of
from isams_pipeline.partners.schoolsbuddy import PARTNER
from isams_pipeline.partners.schoolsbuddy.export import NEEDED, Built, build
from isams_pipeline.partners.schoolsbuddy.files import FILES, SCHEMA_VERSION
from isams_pipeline.partners.schoolsbuddy.rules import CHECKS, check_export, check_tables
from isams_pipeline.rules.split import EXCLUSION_COLUMNS
from isams_pipeline.runs import NIGHT, NightSession, told_to_dagster
from isams_pipeline.storage.folder import Folder
from isams_pipeline.storage.tables import StoredTable

EXPORT, EXCLUSIONS, DELIVERY = ([PARTNER, name] for name in ("export", "exclusions", "delivery"))
GUARD = {"removal_guard": "No file loses too many rows against the last delivered export."}
_EXCLUSIONS_FILE = File("exclusions.csv", tuple(EXCLUSION_COLUMNS), key=("entity", "id", "rule"))


def exclusions_path(night: Night) -> str:
    """Where the school finds what is not in the export, below `reports/`."""
    return f"{PARTNER}/{night.school}/{night.date}/{_EXCLUSIONS_FILE.name}"


def schoolsbuddy_assets(environment: Environment) -> list[dg.AssetsDefinition]:
    """The export with its exclusions, and the delivery."""
    return [_export(environment), _delivery(environment)]


def _settings(environment: Environment, school: str) -> SchoolsBuddySettings:
    settings = environment.settings.school(school).partners.schoolsbuddy
    if settings is None:
        raise ConfigurationError(
            "The school does not send data to SchoolsBuddy",
            school=school,
            remedy=f"Add schools.{school}.partners.schoolsbuddy to schools.yaml.",
        )
    return settings


# --- export -----------------------------------------------------------------------------------------------


def _export(environment: Environment) -> dg.AssetsDefinition:
    partitions = nights_of(environment.settings)
    common: dict[str, Any] = {
        "partitions_def": partitions,
        "group_name": PARTNER,
        "owners": [OWNER],
        "deps": [asset_key(name) for name in NEEDED],
    }

    @dg.multi_asset(
        name="schoolsbuddy_export",
        specs=[
            dg.AssetSpec(
                EXPORT,
                description="SchoolsBuddy's files of a night, staged for the gate.",
                kinds={"csv"},
                **common,
            ),
            dg.AssetSpec(
                EXCLUSIONS,
                description="Who and what is not in the export, or not as iSAMS has it, and why: ids and reasons.",
                kinds={"csv"},
                **common,
            ),
        ],
        check_specs=checks.check_specs(EXPORT, partitions, CHECKS),
        required_resource_keys={NIGHT},
    )
    def schoolsbuddy_export(context: dg.AssetExecutionContext) -> Generator[Any, None, None]:
        night = night_of(context.partition_key)
        session: NightSession = getattr(context.resources, NIGHT)
        with told_to_dagster(environment):
            session.hold(night.school)
            pins = {name: environment.tables.need(SOURCE, name, night.school, night.date) for name in NEEDED}
            tables = {name: environment.tables.load(pin) for name, pin in pins.items()}
            built = _built(environment, night, tables, has_medical=bool(pins["health"].provenance))
            staged = environment.staged(PARTNER, night.school).stage(
                night.date,
                built.export,
                datasets={
                    name: {"source": pin.source, "sha256": pin.sha256, "rows": pin.rows} for name, pin in pins.items()
                },
                snapshots=_snapshots(pins),
                excluded=built.excluded_per_file(),
            )
            path = exclusions_path(night)
            environment.reports.write(path, to_csv(built.exclusions, _EXCLUSIONS_FILE))
            has_campuses = bool(environment.settings.school(night.school).campuses)
            yield dg.MaterializeResult(
                asset_key=EXPORT,
                metadata=_export_metadata(built, staged),
                check_results=[
                    checks.verdict(result, EXPORT)
                    for result in (
                        *check_export(built.export),
                        *check_tables(built.export, tables, has_campuses=has_campuses),
                    )
                ],
            )
            yield dg.MaterializeResult(
                asset_key=EXCLUSIONS,
                metadata={
                    "dagster/row_count": len(built.exclusions),
                    "file": environment.reports.location(path),
                    "by_rule": dg.MetadataValue.md(_by_rule(built.exclusions)),
                },
            )

    return schoolsbuddy_export


def _built(environment: Environment, night: Night, tables: dict[str, pd.DataFrame], *, has_medical: bool) -> Built:
    campuses = environment.settings.school(night.school).campuses
    return build(tables, _settings(environment, night.school), campuses, has_medical=has_medical)


def _snapshots(pins: dict[str, StoredTable]) -> list[dict[str, Any]]:
    """The snapshots behind the tables, each once."""
    found = {
        (pin.provenance["key"], pin.provenance["sha256"]): dict(pin.provenance)
        for pin in pins.values()
        if pin.provenance
    }
    return sorted(found.values(), key=lambda facts: (str(facts["key"]), str(facts["sha256"])))


def _export_metadata(built: Built, staged: Staged) -> dict[str, Any]:
    rows = {name: len(built.export.rows(name)) for name in built.export.files}
    return {
        "content_hash": staged.content_hash,
        "files": dg.MetadataValue.md(
            _table(("file", "rows", "excluded"), [(n, r, staged.excluded.get(n, 0)) for n, r in rows.items()])
        ),
        **{f"rows {name}": count for name, count in rows.items()},
    }


def _by_rule(exclusions: pd.DataFrame) -> str:
    counts = exclusions.groupby(["entity", "rule", "severity"]).size()
    return _table(
        ("entity", "rule", "severity", "count"),
        [(*cast("tuple[str, ...]", index), count) for index, count in counts.items()],
    )


def _table(header: tuple[str, ...], rows: list[tuple[Any, ...]]) -> str:
    lines = [header, tuple("---" for _ in header), *rows]
    return "\n".join("| " + " | ".join(map(str, line)) + " |" for line in lines)


# --- delivery ---------------------------------------------------------------------------------------------


def _delivery(environment: Environment) -> dg.AssetsDefinition:
    partitions = nights_of(environment.settings)

    @dg.asset(
        key=DELIVERY,
        description="The export where SchoolsBuddy reads it. Evaluates every blocking rule on the very bytes.",
        partitions_def=partitions,
        group_name=PARTNER,
        owners=[OWNER],
        kinds={"csv"},
        deps=[dg.AssetKey(EXPORT)],
        required_resource_keys={NIGHT},
        check_specs=checks.check_specs(DELIVERY, partitions, GUARD),
    )
    def delivery(context: dg.AssetExecutionContext) -> Generator[Any, None, None]:
        night = night_of(context.partition_key)
        session: NightSession = getattr(context.resources, NIGHT)
        with told_to_dagster(environment):
            session.hold(night.school)
            result = deliver(environment, night, context.run.run_id, allow_removals=session.allow_removals)
            guard = next((check for check in result.checks if check.name in GUARD), None)
            if result.outcome in (Outcome.REFUSED, Outcome.FAILED):
                if guard is not None:
                    yield checks.verdict(guard, DELIVERY)
                raise dg.Failure(
                    f"{result.outcome}: {result.reason}",
                    metadata={"outcome": result.outcome.value},
                    allow_retries=False,
                )
            context.log.info("%s: %s", result.outcome.value, result.target)
            yield dg.MaterializeResult(
                metadata=_delivery_metadata(result),
                check_results=[checks.verdict(guard, DELIVERY)] if guard else [],
            )

    return delivery


def deliver(environment: Environment, night: Night, run_id: str, *, allow_removals: bool) -> Delivered:
    """Put a staged export through the gate."""
    settings = _settings(environment, night.school)
    stage = environment.staged(PARTNER, night.school)
    staged = stage.find(night.date)
    export = stage.load(staged.files)
    return Deliverer(
        address=Address(PARTNER, night.school, night.date),
        files=FILES,
        schema_version=SCHEMA_VERSION,
        target=Folder(environment.settings.resolve(settings.deliver_to)),
        staged=stage,
        state=environment.state,
        clock=environment.clock,
        run_id=run_id,
        max_removed=settings.max_removed,
        allow_removals=allow_removals,
    ).deliver(
        staged,
        export,
        [*check_export(export), *_tables(environment, night, staged, export)],
    )


def _tables(environment: Environment, night: Night, staged: Staged, export: Export) -> list[CheckResult]:
    """Whether the pinned tables still are what they were, keep their own blocking rules, and are of one school."""
    problems: list[str] = []
    tables: dict[str, pd.DataFrame] = {}
    for name, pin in staged.datasets.items():
        declaration = DATASETS[name]
        table = StoredTable(SOURCE, name, night.school, night.date.isoformat(), pin["sha256"], pin["rows"], {})
        frame = environment.tables.load(table)
        frame.index = pd.RangeIndex(1, len(frame) + 1)
        tables[name] = frame
        try:
            dataset_rules.check_rows(declaration, frame, container_found=True)
            dataset_rules.check_schema(declaration, frame)
            dataset_rules.check_keys(declaration, frame)
        except DatasetError as error:
            problems.append(str(error))
    has_campuses = bool(environment.settings.school(night.school).campuses)
    return [CheckResult("datasets", few(problems)), *check_tables(export, tables, has_campuses=has_campuses)]


def _delivery_metadata(result: Delivered) -> dict[str, Any]:
    rows = [(name, *change.values()) for name, change in result.changes.items()]
    return {
        "outcome": result.outcome.value,
        "target": result.target,
        "content_hash": result.content_hash,
        "compared_with": result.baseline or "nothing: this is the first delivery",
        "changes": dg.MetadataValue.md(_table(("file", "added", "changed", "removed", "excluded"), rows)),
    }
