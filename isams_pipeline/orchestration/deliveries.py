"""A partner's delivery as a Dagster asset: what was staged, put through the gate."""

import getpass
from collections.abc import Callable, Mapping, Sequence
from datetime import UTC, datetime, timedelta

import dagster as dg
import pandas as pd

from isams_pipeline.clock import today_at
from isams_pipeline.config import Settings
from isams_pipeline.config.partners import Delivering
from isams_pipeline.delivery.deliver import Delivered, Deliverer
from isams_pipeline.delivery.export import Export, ExportFile
from isams_pipeline.delivery.first_look import first_look
from isams_pipeline.delivery.receipts import Address, Outcome, Receipts
from isams_pipeline.orchestration import checks
from isams_pipeline.orchestration.environment import Environment
from isams_pipeline.orchestration.leaving import Leaving
from isams_pipeline.orchestration.partitions import Night, nights_of
from isams_pipeline.orchestration.partner import AnyPartner, Behind, Tables
from isams_pipeline.orchestration.pins import load_pinned, pinned
from isams_pipeline.orchestration.runs import NightRun, Results, of_a_night
from isams_pipeline.orchestration.showing import delivery_metadata, first_look_table, refusal_metadata
from isams_pipeline.orchestration.source_assets import OWNER
from isams_pipeline.storage.state.windows import RemovalWindows

GUARD = {"removal_guard": "No file loses too many rows against the last delivered export."}


def deliverer(
    environment: Environment,
    address: Address,
    files: Sequence[ExportFile],
    schema_version: int,
    settings: Delivering,
    *,
    run_id: str,
    allow_removals: bool,
    build: Callable[[Mapping[str, pd.DataFrame]], Export] | None = None,
) -> Deliverer:
    """Who delivers a partner's export of a school and night, in this run.

    `build` makes the export again from other tables: without the suspensions, to tell which lessons they took away.
    """
    today = today_at(environment.settings.school(address.school).timezone, environment.clock)
    window = RemovalWindows(environment.state).on(address.school, address.partner, address.date, today)
    return Deliverer(
        address=address,
        files=files,
        schema_version=schema_version,
        target=environment.target(settings, address.school),
        staged=environment.staged(address.partner, address.school, address.part),
        state=environment.state,
        clock=environment.clock,
        run_id=run_id,
        max_removed=settings.max_removed,
        allow_removals=allow_removals,
        window=window.in_words if window else None,
        explain=Leaving(environment, address.school, address.date, build=build),
        hold_first=settings.first_delivery == "hold",
        list_changes=settings.list_changes,
    )


def deliver(
    environment: Environment, partner: AnyPartner, night: Night, run_id: str, *, allow_removals: bool
) -> Delivered:
    """Put a night's staged export through the gate; where there is rightly none yet, nothing is delivered."""
    exporting = partner.exporting
    settings = environment.settings.partner(night.school, partner.settings)

    def gate() -> Deliverer:
        """Not before it is needed: it opens the target."""
        return gate_of(environment, partner, night, run_id, allow_removals=allow_removals)

    for dataset, why in exporting.waits.items():
        pins = pinned(environment, night, [dataset], settings.uses)
        waiting = why(environment.tables.load(pins[dataset]), night.date)
        if waiting is not None:
            return gate().nothing(Outcome.NO_TIMETABLE, waiting)
    stage = environment.staged(partner.key, night.school)
    staged = stage.find(night.date)
    export = stage.load_pictures(stage.load(staged.files), exporting.files)
    tables, sound = load_pinned(environment, night, staged)
    behind = Behind(environment, night, {}, tables)
    return gate().deliver(staged, export, [*exporting.verdicts(export, behind, settings), sound])


def gate_of(
    environment: Environment, partner: AnyPartner, night: Night, run_id: str, *, allow_removals: bool
) -> Deliverer:
    """Who delivers a partner's export of a school and night, in this run."""
    exporting = partner.exporting
    settings = environment.settings.partner(night.school, partner.settings)

    def build(tables: Tables) -> Export:
        return exporting.make(Behind(environment, night, {}, tables))(settings).built.export

    return deliverer(
        environment,
        Address(partner.key, night.school, night.date),
        exporting.files,
        exporting.schema_version,
        settings,
        run_id=run_id,
        allow_removals=allow_removals,
        build=build,
    )


def freshness(settings: Settings, partner: AnyPartner) -> dg.FreshnessPolicy | None:
    """When the UI says that a partner's delivery is overdue: nothing was delivered since the night before last.

    Dagster knows one deadline for an asset, so it is that of the school where the hour comes last, and any school's
    delivery meets it; of each school by itself `alerts` and `status` tell. None where no school has the partner.
    """
    zones = {one.timezone for one in settings.schools.values() if partner.key in one.partners}
    if not zones:
        return None
    now = datetime.now(UTC)
    last = min(zones, key=lambda zone: (now.astimezone(zone).utcoffset(), zone.key))
    due = partner.hour * 60 + settings.alerts.late_after_minutes
    if due >= _DAY:  # which is the next day's
        due = _DAY - 1
    return dg.FreshnessPolicy.cron(f"{due % 60} {due // 60} * * *", _SPREAD, timezone=last.key)


_DAY = 24 * 60
_SPREAD = timedelta(hours=23)
"""By how much a delivery may be before its deadline: schools lie in zones that are up to so far ahead."""


def delivery_asset(settings: Settings, partner: AnyPartner) -> dg.AssetsDefinition:
    """The asset that puts a partner's staged export through the gate."""
    exporting = partner.exporting
    key = [partner.key, "delivery"]
    partitions = nights_of(settings)

    @dg.asset(
        key=key,
        description=f"The export where {partner.label} reads it. Evaluates every blocking rule on the very bytes.",
        partitions_def=partitions,
        group_name=partner.key,
        owners=[OWNER],
        kinds={"csv"},
        deps=[dg.AssetKey([partner.key, "export"])],
        check_specs=checks.check_specs(key, partitions, GUARD, blocking=True),
        freshness_policy=freshness(settings, partner),
    )
    @of_a_night
    def delivery(run: NightRun) -> Results:
        environment, night = run.environment, run.night
        if run.session.release:
            _release(run, partner.key)
        result = deliver(environment, partner, night, run.id, allow_removals=run.session.allow_removals)
        run.ends(partner.key, result.outcome)
        guard = next((check for check in result.checks if check.name in GUARD), None)
        if result.outcome in (Outcome.REFUSED, Outcome.FAILED, Outcome.HELD):
            if guard is not None:
                yield checks.verdict(guard, key)
            metadata = refusal_metadata(result)
            if result.outcome is Outcome.HELD:
                stage = environment.staged(partner.key, night.school)
                look = first_look(stage.load(stage.find(night.date).files))
                metadata["first look"] = dg.MetadataValue.md(first_look_table(look))
            raise dg.Failure(f"{result.outcome}: {result.reason}", metadata=metadata, allow_retries=False)
        if result.outcome is Outcome.NO_TIMETABLE:
            run.log.warning("%s: %s", result.outcome.value, result.reason)
            metadata = {"outcome": result.outcome.value, "reason": result.reason or ""}
            yield dg.MaterializeResult(metadata=metadata, check_results=checks.passed(GUARD, key))
            return
        run.log.info("%s: %s", result.outcome.value, result.target)
        yield dg.MaterializeResult(
            metadata=delivery_metadata(result),
            check_results=[checks.verdict(guard, key)] if guard else [],
        )
        reason = exporting.held_back(environment, night, run.id) if exporting.held_back else None
        if reason is not None:
            run.ends(partner.key, Outcome.REFUSED)
            raise dg.Failure(f"{Outcome.REFUSED}: {reason}", allow_retries=False)

    return delivery


def _release(run: NightRun, partner: str) -> None:
    """Note who has released a school's first export, and which content that is."""
    environment, night = run.environment, run.night
    content = environment.staged(partner, night.school).find(night.date).content_hash
    Receipts(environment.state).release(
        Address(partner, night.school, night.date),
        content,
        who=run.launched_by or getpass.getuser(),
        run_id=run.id,
        at=environment.clock(),
    )
