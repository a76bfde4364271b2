"""A partner's export as Dagster assets: made of a night's tables, staged for the gate, with what is not in it."""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace
from datetime import timedelta

import dagster as dg

from isams_pipeline.config import Settings
from isams_pipeline.datasets.shapes import JsonObject
from isams_pipeline.delivery.built import ACCOUNTING, Built, Made
from isams_pipeline.delivery.export import Export, formulas, to_csv_for_people
from isams_pipeline.delivery.receipts import Outcome
from isams_pipeline.orchestration import checks
from isams_pipeline.orchestration.deliveries import gate_of
from isams_pipeline.orchestration.environment import Environment
from isams_pipeline.orchestration.graph import keys_of, used_for
from isams_pipeline.orchestration.metadata import Metadata
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
from isams_pipeline.orchestration.rule_assets import check_selection, rule_keys, rule_results, rule_specs
from isams_pipeline.orchestration.runs import NightRun, Results, of_a_night
from isams_pipeline.orchestration.showing import account_table, by_rule, export_metadata, refusal_metadata
from isams_pipeline.orchestration.source_assets import OWNER
from isams_pipeline.storage.earlier import GAP
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
    run: NightRun,
    partner: AnyPartner,
    pins: Mapping[str, StoredTable],
    made: Made,
    *,
    about: JsonObject | None = None,
) -> Results:
    """Report an export's exclusions and stage it for the gate, as far as they are chosen; what Dagster shows of both.

    Where a blocking rule refuses the export, the step fails, so that nothing goes on from it; see `refused`.
    """
    environment, night, built = run.environment, run.night, made.built
    key, exclusions = dg.AssetKey([partner.key, "export"]), dg.AssetKey([partner.key, "exclusions"])
    if key not in run.chosen:
        if exclusions in run.chosen:
            yield dg.MaterializeResult(asset_key=exclusions, metadata=_exclusions_metadata(built))
        return
    staged = environment.staged(partner.key, night.school).stage(
        night.date,
        built.export,
        datasets=as_pins(pins, built),
        snapshots=snapshots_of(pins),
        excluded=built.excluded_per_file(),
        unaccounted=built.unaccounted,
        places=built.places,
        about=about,
    )
    # After the export is staged: whoever removes that finds the reports of its night.
    places, account = built.account.frame(), accounting_path(partner.key, night)
    path = exclusions_path(partner.key, night)
    _report(run, partner, exclusions_path, to_csv_for_people(built.exclusions, EXCLUSIONS))
    _report(run, partner, accounting_path, to_csv_for_people(places, ACCOUNTING))
    if exclusions in run.chosen:
        said = _exclusions_metadata(built) | {"file": environment.reports.location(path)}
        yield dg.MaterializeResult(asset_key=exclusions, metadata=said)
    yield dg.MaterializeResult(
        asset_key=key,
        metadata=export_metadata(built.export, staged)
        | {
            "account": dg.MetadataValue.md(account_table(places)),
            "account file": environment.reports.location(account),
            **{name: dg.MetadataValue.json(facts) for name, facts in (about or {}).items()},
        },
        check_results=[*(checks.verdict(result, key.path) for result in made.verdicts), shown(built.export, key.path)],
    )
    if not all(result.passed for result in made.verdicts):
        raise refused(run, partner, pins, made)


def _report(run: NightRun, partner: AnyPartner, path: Callable[[str, Night], str], data: bytes) -> None:
    """Put a report where a person looks for it; most nights it is that of the night before, which is kept once."""
    school, date = run.night
    before = (path(partner.key, Night(school, date - timedelta(days=days))) for days in range(1, GAP + 1))
    run.environment.reports.write_unless_there(path(partner.key, run.night), data, before)


def refused(run: NightRun, partner: AnyPartner, pins: Mapping[str, StoredTable], made: Made) -> dg.Failure:
    """The failure of a step whose export the blocking rules refuse; where the run would deliver it, with a receipt."""
    built = made.built
    if run.is_to_make(dg.AssetKey([partner.key, "delivery"])):
        gate = gate_of(run.environment, partner, run.night, run.id, allow_removals=run.session.allow_removals)
        result = gate.refusal(built.export, made.verdicts, built.excluded_per_file(), as_pins(pins, built))
        if result is not None:
            run.ends(partner.key, result.outcome)
            said = refusal_metadata(result)
            return dg.Failure(f"{result.outcome}: {result.reason}", metadata=said, allow_retries=False)
    problems = [f"{result.name}: {problem}" for result in made.verdicts for problem in result.problems]
    return dg.Failure(f"{Outcome.REFUSED}: {'; '.join(problems)}", allow_retries=False)


def _exclusions_metadata(built: Built) -> Metadata:
    counts = built.exclusions["severity"].value_counts()
    return {
        "dagster/row_count": len(built.exclusions),
        **{str(severity): int(count) for severity, count in counts.items()},
        "by_rule": dg.MetadataValue.md(by_rule(built.exclusions)),
    }


def export_asset(settings: Settings, partner: AnyPartner) -> dg.AssetsDefinition:
    """The assets of a partner's staged export, and of what is not in it."""
    exporting = partner.exporting
    if exporting.asset is not None:
        return exporting.asset(settings, partner)
    partitions = nights_of(settings)
    key = [partner.key, "export"]
    common: Metadata = {"partitions_def": partitions, "group_name": partner.key, "owners": [OWNER]}
    rules = rule_specs(settings, partner, common)
    datasets = keys_of(used_for(settings, partner.key, exporting.needs))
    # What is left out is said of the datasets themselves; the files are made of the tables.
    behind = rule_keys(partner) or datasets

    @dg.multi_asset(
        name=f"{partner.key}_export",
        specs=[
            *rules,
            dg.AssetSpec(
                [partner.key, "exclusions"],
                description="Who and what is not in the export, or not as the source has it, and why: ids and reasons.",
                deps=behind,
                kinds={"csv"},
                **common,
            ),
            dg.AssetSpec(
                key,
                description=f"{partner.label}'s files of a night, staged for the gate.",
                deps=[*behind, *exporting.also_behind(settings)],
                kinds={"csv"},
                **common,
            ),
        ],
        check_specs=[
            *checks.check_specs(key, partitions, exporting.checks, blocking=True),
            *checks.check_specs(key, partitions, SHOWN),
        ],
        # Rules alone can be materialised again, after a setting has changed: they read what is stored, and ask nobody.
        can_subset=True,
    )
    @of_a_night
    def export(run: NightRun) -> Results:
        check_selection(run, partner)
        behind, made = prepared(run.environment, partner, run.night)
        yield from rule_results(run, partner, made.built)
        yield from staged_results(run, partner, behind.pins, made)

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
