"""SchoolBooking's assets: the export, what is not in it, and its delivery."""

from collections.abc import Generator
from typing import Any

import dagster as dg

from isams_pipeline import checks
from isams_pipeline.config import SchoolBookingSettings
from isams_pipeline.dataset_assets import OWNER
from isams_pipeline.delivery.deliver import Delivered
from isams_pipeline.delivery.receipts import Address
from isams_pipeline.environment import Environment
from isams_pipeline.errors import ConfigurationError
from isams_pipeline.partitions import Night, night_of, nights_of
from isams_pipeline.partners.schoolbooking import PARTNER
from isams_pipeline.partners.schoolbooking.export import CHECKS, NEEDED, build, check_export, check_source
from isams_pipeline.partners.schoolbooking.files import FILES, SCHEMA_VERSION
from isams_pipeline.partners.shared import deliverer, delivery_asset, keys_of, load_pinned, pinned, staged_results
from isams_pipeline.runs import NIGHT, NightSession, told_to_dagster

EXPORT, EXCLUSIONS = ([PARTNER, name] for name in ("export", "exclusions"))


def schoolbooking_assets(environment: Environment) -> list[dg.AssetsDefinition]:
    """The export with its exclusions, and the delivery."""
    description = "The export where SchoolBooking reads it. Evaluates every blocking rule on the very bytes."
    return [_export(environment), delivery_asset(environment, PARTNER, description, deliver)]


def _settings(environment: Environment, school: str) -> SchoolBookingSettings:
    settings = environment.settings.school(school).partners.schoolbooking
    if settings is None:
        raise ConfigurationError(
            "The school does not send data to SchoolBooking",
            school=school,
            remedy=f"Add schools.{school}.partners.schoolbooking to schools.yaml.",
        )
    return settings


def _export(environment: Environment) -> dg.AssetsDefinition:
    partitions = nights_of(environment.settings)
    common: dict[str, Any] = {
        "partitions_def": partitions,
        "group_name": PARTNER,
        "owners": [OWNER],
        "deps": keys_of(NEEDED),
    }

    @dg.multi_asset(
        name="schoolbooking_export",
        specs=[
            dg.AssetSpec(
                EXPORT,
                description="SchoolBooking's files of a night, staged for the gate; by the road that the school uses.",
                kinds={"csv"},
                **common,
            ),
            dg.AssetSpec(
                EXCLUSIONS,
                description="Who and what is not in the export, or not as the source has it, and why: ids and reasons.",
                kinds={"csv"},
                **common,
            ),
        ],
        check_specs=checks.check_specs(EXPORT, partitions, CHECKS),
        required_resource_keys={NIGHT},
    )
    def schoolbooking_export(context: dg.AssetExecutionContext) -> Generator[Any, None, None]:
        night = night_of(context.partition_key)
        session: NightSession = getattr(context.resources, NIGHT)
        with told_to_dagster(environment):
            session.hold(night.school)
            source = _settings(environment, night.school).source
            pins = pinned(environment, night, NEEDED[source], source)
            tables = {name: environment.tables.load(pin) for name, pin in pins.items()}
            built = build(tables, night.date)
            verdicts = [*check_export(built.export), check_source(tables, night.date)]
            yield from staged_results(environment, PARTNER, night, pins, built, verdicts=verdicts)

    return schoolbooking_export


def deliver(environment: Environment, night: Night, run_id: str, *, allow_removals: bool) -> Delivered:
    """Put a staged export through the gate."""
    settings = _settings(environment, night.school)
    stage = environment.staged(PARTNER, night.school)
    staged = stage.find(night.date)
    export = stage.load(staged.files)
    tables, sound = load_pinned(environment, night, staged)
    return deliverer(
        environment,
        Address(PARTNER, night.school, night.date),
        FILES,
        SCHEMA_VERSION,
        settings.deliver_to,
        max_removed=settings.max_removed,
        run_id=run_id,
        allow_removals=allow_removals,
    ).deliver(staged, export, [*check_export(export), check_source(tables, night.date), sound])
