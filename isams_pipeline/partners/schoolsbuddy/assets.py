"""SchoolsBuddy's assets: the export, what is not in it, and its delivery."""

from collections.abc import Generator
from dataclasses import replace
from typing import Any

import dagster as dg

from isams_pipeline.config import SOURCES, SchoolsBuddySettings
from isams_pipeline.delivery.deliver import Delivered
from isams_pipeline.delivery.receipts import Address
from isams_pipeline.orchestration import checks
from isams_pipeline.orchestration.dataset_assets import OWNER, asset_key
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
from isams_pipeline.orchestration.partitions import Night, night_of, nights_of
from isams_pipeline.orchestration.runs import NIGHT, NightSession, told_to_dagster
from isams_pipeline.partners.schoolsbuddy import PARTNER
from isams_pipeline.partners.schoolsbuddy.export import NEEDED
from isams_pipeline.partners.schoolsbuddy.files import FILES, SCHEMA_VERSION
from isams_pipeline.partners.schoolsbuddy.night import make
from isams_pipeline.partners.schoolsbuddy.photos import look, with_photos
from isams_pipeline.partners.schoolsbuddy.rules import CHECKS, check_export, check_tables

FRESH = {"fresh": "The source was asked for new photos, and all of them can be read. Else those of before stay."}
"""Not blocking."""


def schoolsbuddy_assets(environment: Environment) -> list[dg.AssetsDefinition]:
    """The export with its exclusions, and the delivery."""
    datasets = keys_of(dict.fromkeys(SOURCES, NEEDED))
    description = "The export where SchoolsBuddy reads it. Evaluates every blocking rule on the very bytes."
    photos = [_photos(environment)] if any(s.partners.photos for s in environment.settings.schools.values()) else []
    behind = [*datasets, *(asset.key for asset in photos)]
    return [
        *photos,
        export_asset(environment, SchoolsBuddySettings, behind, CHECKS, _prepare),
        delivery_asset(environment, PARTNER, description, deliver),
    ]


def _photos(environment: Environment) -> dg.AssetsDefinition:
    """The asset of students' photos; it is there if a school has them delivered."""

    @dg.asset(
        key=[PARTNER, "photos"],
        description="Students' photos: those that have changed are fetched, made small and stripped of all but the "
        "picture. By today's partition only; no picture is shown here.",
        partitions_def=nights_of(environment.settings),
        group_name=PARTNER,
        owners=[OWNER],
        kinds={"jpeg"},
        deps=[asset_key("pupils", source) for source in SOURCES],
        required_resource_keys={NIGHT},
        check_specs=checks.check_specs([PARTNER, "photos"], nights_of(environment.settings), FRESH),
    )
    def photos(context: dg.AssetExecutionContext) -> Generator[Any, None, None]:
        key = [PARTNER, "photos"]
        fine = checks.passed(FRESH, key)
        night = night_of(context.partition_key)
        session: NightSession = getattr(context.resources, NIGHT)
        with told_to_dagster(environment):
            session.hold(night.school)
            if environment.settings.school(night.school).partners.photos is None:
                yield dg.MaterializeResult(metadata={"photos": "not asked for by this school"}, check_results=fine)
                return
            done = look(environment, night)
            if done is None:
                said = {"photos": "not looked for: the source only knows today's"}
                yield dg.MaterializeResult(metadata=said, check_results=fine)
                return
            told = done.problem and f"photos: those of before are delivered: {done.problem}"
            if told is None and done.failed:
                told = f"photos: {done.failed} could not be fetched; the next night asks again"
            if told is None and done.unreadable:
                told = f"photos: those of pupils {', '.join(done.unreadable)} cannot be read as pictures; left out"
            if told is not None:
                context.log.warning("%s", told)
                fine = [checks.failed("fresh", key, told, warn=True)]
            yield dg.MaterializeResult(
                check_results=fine,
                metadata={
                    "photos": done.photos,
                    "fetched": done.fetched,
                    "cannot be read": len(done.unreadable),
                    "failed": done.failed,
                    "gone": done.gone,
                },
            )

    return photos


def _prepare(environment: Environment, night: Night) -> Prepared:
    settings = environment.settings.partner(night.school, SchoolsBuddySettings)
    pins = pinned(environment, night, NEEDED, settings.source)
    tables = {name: environment.tables.load(pin) for name, pin in pins.items()}
    school = environment.settings.school(night.school)
    made = make(school, night, tables, brought=brought_by(pins), notes=notes_of(pins))(settings)
    if settings.photos is None:
        environment.photos(night.school).forget()  # what nobody asks for any more is not kept
    else:
        made = replace(made, built=with_photos(made.built, environment.photos(night.school), night.date))
    return Prepared(pins, made.built, made.verdicts)


def deliver(environment: Environment, night: Night, run_id: str, *, allow_removals: bool) -> Delivered:
    """Put a staged export through the gate."""
    settings = environment.settings.partner(night.school, SchoolsBuddySettings)
    stage = environment.staged(PARTNER, night.school)
    staged = stage.find(night.date)
    export = stage.load_pictures(stage.load(staged.files), FILES)
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
