"""SchoolBooking's assets: the export, what is not in it, and its delivery."""

import dagster as dg

from isams_pipeline.config import SchoolBookingSettings
from isams_pipeline.delivery.deliver import Delivered
from isams_pipeline.delivery.receipts import Address
from isams_pipeline.orchestration.environment import Environment
from isams_pipeline.orchestration.exports import (
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
from isams_pipeline.orchestration.partitions import Night
from isams_pipeline.partners.schoolbooking import PARTNER
from isams_pipeline.partners.schoolbooking.export import CHECKS, NEEDED, build, check_export, check_source
from isams_pipeline.partners.schoolbooking.files import FILES, SCHEMA_VERSION
from isams_pipeline.partners.schoolbooking.night import make


def schoolbooking_assets(environment: Environment) -> list[dg.AssetsDefinition]:
    """The export with its exclusions, and the delivery."""
    description = "The export where SchoolBooking reads it. Evaluates every blocking rule on the very bytes."
    return [
        export_asset(environment, SchoolBookingSettings, keys_of(NEEDED), CHECKS, _prepare),
        delivery_asset(environment, PARTNER, description, deliver),
    ]


def _prepare(environment: Environment, night: Night) -> Prepared:
    settings = environment.settings.partner(night.school, SchoolBookingSettings)
    source = settings.source
    pins = pinned(environment, night, NEEDED[source], source)
    tables = {name: environment.tables.load(pin) for name, pin in pins.items()}
    school = environment.settings.school(night.school)
    made = make(school, night, tables, brought=brought_by(pins), notes=notes_of(pins))(settings)
    return Prepared(pins, made.built, made.verdicts)


def deliver(environment: Environment, night: Night, run_id: str, *, allow_removals: bool) -> Delivered:
    """Put a staged export through the gate."""
    settings = environment.settings.partner(night.school, SchoolBookingSettings)
    stage = environment.staged(PARTNER, night.school)
    staged = stage.find(night.date)
    export = stage.load(staged.files)
    tables, sound = load_pinned(environment, night, staged)
    return deliverer(
        environment,
        Address(PARTNER, night.school, night.date),
        FILES,
        SCHEMA_VERSION,
        settings,
        run_id=run_id,
        allow_removals=allow_removals,
        build=lambda other: build(other, night.date, settings).export,
    ).deliver(staged, export, [*check_export(export), *check_source(tables, night.date), sound])
