"""SchoolsBuddy's assets: the export, what is not in it, and its delivery."""

from collections.abc import Generator
from typing import Any

import dagster as dg
import pandas as pd

from isams_pipeline import checks
from isams_pipeline.config import SOURCES, SchoolsBuddySettings
from isams_pipeline.dataset_assets import OWNER, asset_key
from isams_pipeline.delivery.deliver import Delivered
from isams_pipeline.delivery.receipts import Address
from isams_pipeline.environment import Environment
from isams_pipeline.errors import ConfigurationError
from isams_pipeline.partitions import Night, night_of, nights_of
from isams_pipeline.partners.schoolsbuddy import PARTNER
from isams_pipeline.partners.schoolsbuddy.export import NEEDED, Built, build
from isams_pipeline.partners.schoolsbuddy.files import FILES, SCHEMA_VERSION
from isams_pipeline.partners.schoolsbuddy.rules import CHECKS, check_export, check_tables
from isams_pipeline.partners.shared import (
    deliverer,
    delivery_asset,
    load_pinned,
    pinned,
    staged_results,
)
from isams_pipeline.runs import NIGHT, NightSession, told_to_dagster

EXPORT, EXCLUSIONS = ([PARTNER, name] for name in ("export", "exclusions"))


def schoolsbuddy_assets(environment: Environment) -> list[dg.AssetsDefinition]:
    """The export with its exclusions, and the delivery."""
    description = "The export where SchoolsBuddy reads it. Evaluates every blocking rule on the very bytes."
    return [_export(environment), delivery_asset(environment, PARTNER, description, deliver)]


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
        "deps": [asset_key(name, source) for source in SOURCES for name in NEEDED],
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
            pins = pinned(environment, night, NEEDED, _settings(environment, night.school).source)
            tables = {name: environment.tables.load(pin) for name, pin in pins.items()}
            built = _built(environment, night, tables, has_medical=bool(pins["health"].provenance))
            has_campuses = bool(environment.settings.school(night.school).campuses)
            verdicts = [*check_export(built.export), *check_tables(built.export, tables, has_campuses=has_campuses)]
            yield from staged_results(environment, PARTNER, night, pins, built, verdicts=verdicts)

    return schoolsbuddy_export


def _built(environment: Environment, night: Night, tables: dict[str, pd.DataFrame], *, has_medical: bool) -> Built:
    campuses = environment.settings.school(night.school).campuses
    return build(tables, _settings(environment, night.school), campuses, has_medical=has_medical)


# --- delivery ---------------------------------------------------------------------------------------------


def deliver(environment: Environment, night: Night, run_id: str, *, allow_removals: bool) -> Delivered:
    """Put a staged export through the gate."""
    settings = _settings(environment, night.school)
    stage = environment.staged(PARTNER, night.school)
    staged = stage.find(night.date)
    export = stage.load(staged.files)
    tables, sound = load_pinned(environment, night, staged)
    has_campuses = bool(environment.settings.school(night.school).campuses)
    return deliverer(
        environment,
        Address(PARTNER, night.school, night.date),
        FILES,
        SCHEMA_VERSION,
        settings.deliver_to,
        max_removed=settings.max_removed,
        run_id=run_id,
        allow_removals=allow_removals,
    ).deliver(
        staged,
        export,
        [*check_export(export), sound, *check_tables(export, tables, has_campuses=has_campuses)],
    )
