"""SchoolsBuddy's assets: the export, what is not in it, and its delivery."""

import dagster as dg

from isams_pipeline.config import SOURCES, SchoolsBuddySettings
from isams_pipeline.delivery.deliver import Delivered
from isams_pipeline.delivery.receipts import Address
from isams_pipeline.environment import Environment
from isams_pipeline.partitions import Night
from isams_pipeline.partners.schoolsbuddy import PARTNER
from isams_pipeline.partners.schoolsbuddy.export import NEEDED
from isams_pipeline.partners.schoolsbuddy.files import FILES, SCHEMA_VERSION
from isams_pipeline.partners.schoolsbuddy.night import make
from isams_pipeline.partners.schoolsbuddy.rules import CHECKS, check_export, check_tables
from isams_pipeline.partners.shared import (
    Prepared,
    brought_by,
    deliverer,
    delivery_asset,
    export_asset,
    keys_of,
    load_pinned,
    notes_of,
    pinned,
)


def schoolsbuddy_assets(environment: Environment) -> list[dg.AssetsDefinition]:
    """The export with its exclusions, and the delivery."""
    datasets = keys_of(dict.fromkeys(SOURCES, NEEDED))
    description = "The export where SchoolsBuddy reads it. Evaluates every blocking rule on the very bytes."
    return [
        export_asset(environment, SchoolsBuddySettings, datasets, CHECKS, _prepare),
        delivery_asset(environment, PARTNER, description, deliver),
    ]


def _prepare(environment: Environment, night: Night) -> Prepared:
    settings = environment.settings.partner(night.school, SchoolsBuddySettings)
    pins = pinned(environment, night, NEEDED, settings.source)
    tables = {name: environment.tables.load(pin) for name, pin in pins.items()}
    school = environment.settings.school(night.school)
    made = make(school, settings, night, tables, brought=brought_by(pins), notes=notes_of(pins))
    return Prepared(pins, made.built, made.verdicts)


def deliver(environment: Environment, night: Night, run_id: str, *, allow_removals: bool) -> Delivered:
    """Put a staged export through the gate."""
    settings = environment.settings.partner(night.school, SchoolsBuddySettings)
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
        settings,
        run_id=run_id,
        allow_removals=allow_removals,
    ).deliver(
        staged,
        export,
        [*check_export(export), sound, *check_tables(export, tables, has_campuses=has_campuses)],
    )
