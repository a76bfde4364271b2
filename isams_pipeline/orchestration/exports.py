"""A partner's export as Dagster assets: made of a night's tables, staged for the gate, with what is not in it."""

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import replace

import dagster as dg

from isams_pipeline.config import Settings
from isams_pipeline.datasets.shapes import JsonObject
from isams_pipeline.delivery.built import ACCOUNTING, Built, Made
from isams_pipeline.delivery.export import CheckResult, Export, formulas, to_csv_for_people
from isams_pipeline.orchestration import checks
from isams_pipeline.orchestration.environment import Environment
from isams_pipeline.orchestration.metadata import Metadata
from isams_pipeline.orchestration.nightly import keys_of
from isams_pipeline.orchestration.partitions import Night, nights_of
from isams_pipeline.orchestration.partner import AnyPartner, Behind
from isams_pipeline.orchestration.pins import (
    EXCLUSIONS,
    accounting_path,
    as_pins,
    exclusions_path,
    pinned,
    snapshots_of,
)
from isams_pipeline.orchestration.runs import NightRun, Results, of_a_night
from isams_pipeline.orchestration.showing import account_table, by_rule, export_metadata
from isams_pipeline.orchestration.source_assets import OWNER
from isams_pipeline.storage.tables import StoredTable

SHOWN = {
    "spreadsheet": "No cell that a spreadsheet would run as a formula. The partner gets such cells as they are; nobody "
    "should open the files in one."
}
"""Not blocking."""


def shown(export: Export, asset: Sequence[str]) -> dg.AssetCheckResult:
    """Whether the files can be opened in a spreadsheet."""
    told = run_by(export)
    return checks.failed("spreadsheet", asset, told, warn=True) if told else checks.passed(SHOWN, asset)[0]


def run_by(export: Export) -> str:
    """How many cells of which file a spreadsheet would run, in words; empty where it would run none."""
    told = ", ".join(f"{name}: {count}" for name, count in formulas(export).items())
    return f"cells that a spreadsheet would run: {told}" if told else ""


def staged_results(
    environment: Environment,
    partner: str,
    night: Night,
    pins: Mapping[str, StoredTable],
    built: Built,
    *,
    verdicts: Iterable[CheckResult],
    about: JsonObject | None = None,
) -> Results:
    """Stage an export for the gate and report its exclusions; what Dagster shows of both."""
    staged = environment.staged(partner, night.school).stage(
        night.date,
        built.export,
        datasets=as_pins(pins, built),
        snapshots=snapshots_of(pins),
        excluded=built.excluded_per_file(),
        unaccounted=built.unaccounted,
        places=built.places,
        about=about,
    )
    path, account = exclusions_path(partner, night), accounting_path(partner, night)
    places = built.account.frame()
    environment.reports.write(path, to_csv_for_people(built.exclusions, EXCLUSIONS))
    environment.reports.write(account, to_csv_for_people(places, ACCOUNTING))
    key = [partner, "export"]
    yield dg.MaterializeResult(
        asset_key=key,
        metadata=export_metadata(built.export, staged)
        | {
            "account": dg.MetadataValue.md(account_table(places)),
            "account file": environment.reports.location(account),
            **{name: dg.MetadataValue.json(facts) for name, facts in (about or {}).items()},
        },
        check_results=[*(checks.verdict(result, key) for result in verdicts), shown(built.export, key)],
    )
    yield dg.MaterializeResult(
        asset_key=[partner, "exclusions"],
        metadata={
            "dagster/row_count": len(built.exclusions),
            "file": environment.reports.location(path),
            "by_rule": dg.MetadataValue.md(by_rule(built.exclusions)),
        },
    )


def export_asset(settings: Settings, partner: AnyPartner) -> dg.AssetsDefinition:
    """The assets of a partner's staged export, and of what is not in it."""
    exporting = partner.exporting
    if exporting.asset is not None:
        return exporting.asset(settings, partner)
    partitions = nights_of(settings)
    key = [partner.key, "export"]
    common: Metadata = {
        "partitions_def": partitions,
        "group_name": partner.key,
        "owners": [OWNER],
        "deps": [*keys_of(exporting.needs), *exporting.also_behind(settings)],
        "kinds": {"csv"},
    }

    @dg.multi_asset(
        name=f"{partner.key}_export",
        specs=[
            dg.AssetSpec(key, description=f"{partner.label}'s files of a night, staged for the gate.", **common),
            dg.AssetSpec(
                [partner.key, "exclusions"],
                description="Who and what is not in the export, or not as the source has it, and why: ids and reasons.",
                **common,
            ),
        ],
        check_specs=checks.check_specs(key, partitions, {**exporting.checks, **SHOWN}),
    )
    @of_a_night
    def export(run: NightRun) -> Results:
        behind, made = prepared(run.environment, partner, run.night)
        yield from staged_results(
            run.environment, partner.key, run.night, behind.pins, made.built, verdicts=made.verdicts
        )

    return export


def prepared(environment: Environment, partner: AnyPartner, night: Night) -> tuple[Behind, Made]:
    """A night's tables, and the export that they give with what comes besides; raises NotMaterialised."""
    settings = environment.settings.partner(night.school, partner.settings)
    behind = tables_behind(environment, partner, night)
    made = partner.exporting.make(behind)(settings)
    partner.exporting.tidy(environment, night.school, settings)
    return behind, replace(made, built=partner.exporting.besides(behind, settings, made.built))


def tables_behind(environment: Environment, partner: AnyPartner, night: Night) -> Behind:
    """The night's tables that a partner's files are made of; raises NotMaterialised."""
    settings = environment.settings.partner(night.school, partner.settings)
    source, names = partner.exporting.needed(settings)
    pins = pinned(environment, night, names, source)
    return Behind(environment, night, pins, {name: environment.tables.load(pin) for name, pin in pins.items()})
