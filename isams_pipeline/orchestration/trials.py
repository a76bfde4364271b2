"""A partner's night, tried: what it would get and what the gate would say. Nothing is stored and nothing delivered."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, replace
from datetime import date, timedelta
from typing import cast

from isams_pipeline.clock import today_at
from isams_pipeline.config.partners import Delivering
from isams_pipeline.datasets.shapes import Json, JsonObject
from isams_pipeline.delivery.built import Built, Made
from isams_pipeline.delivery.deliver import Deliverer, Judgement
from isams_pipeline.delivery.receipts import Address
from isams_pipeline.errors import NotMaterialised
from isams_pipeline.orchestration.deliveries import deliverer
from isams_pipeline.orchestration.environment import Environment
from isams_pipeline.orchestration.leaving import Leaving
from isams_pipeline.orchestration.partitions import Night
from isams_pipeline.orchestration.partner import AnyPartner, Behind
from isams_pipeline.orchestration.pins import as_pins, pinned

_ALSO = ("terms",)
"""Tables that say when a school year ends, whether or not the partner gets anything of them."""


@dataclass(frozen=True)
class Tried:
    """How a night would end."""

    partner: str
    built: Built | None
    judged: Judgement | None
    waits: str | None = None
    held: bool = False
    """It is a school's first, and waits for a person."""


def behind(environment: Environment, school: str, partner: AnyPartner, day: date | None = None) -> Behind:
    """The tables of a partner's newest night, or of one date; raises NotMaterialised."""
    settings = environment.settings.partner(school, partner.settings)
    source, names = partner.exporting.needed(settings)
    if day is None:
        today = today_at(environment.settings.school(school).timezone, environment.clock)
        newest = environment.tables.before(source, next(iter(names)), school, today + timedelta(days=1))
        if newest is None:
            raise NotMaterialised(
                "No night was run yet",
                school=school,
                partner=partner.key,
                remedy=f"Run `isams-pipeline sync {school} --partner {partner.key}`, or materialise it in the UI.",
            )
        day = newest.night
    night = Night(school, day)
    pins = pinned(environment, night, names, source)
    also = {name: environment.tables.find(source, name, school, day) for name in _ALSO if name not in pins}
    stored = {**pins, **{name: table for name, table in also.items() if table is not None}}
    return Behind(environment, night, pins, {name: environment.tables.load(table) for name, table in stored.items()})


def makes(partner: AnyPartner, given: Behind, day: date | None = None) -> Callable[..., Made]:
    """What makes the export that a partner would get of these tables, as of a date: with its settings, or with others.

    What no setting changes is made once for all of them.
    """
    at = given if day is None else replace(given, night=Night(given.night.school, day))
    of = partner.exporting.make(at)
    usual = given.environment.settings.partner(given.night.school, partner.settings)

    def made(settings: Delivering | None = None) -> Made:
        own = settings or usual
        found = of(own)
        return replace(found, built=partner.exporting.besides(given, own, found.built))

    return made


def judged(partner: AnyPartner, given: Behind, result: Made, settings: Delivering, day: date) -> Judgement:
    """What the gate would say of an export on a date; nothing is written."""
    return _judged(_gate(partner, given, settings, day), given, result)


def _judged(gate: Deliverer, given: Behind, result: Made) -> Judgement:
    pins = cast("Json", as_pins(given.pins, result.built))
    return gate.judge(result.built.export, result.verdicts, result.built.excluded_per_file(), pins)


def _gate(partner: AnyPartner, given: Behind, settings: Delivering, day: date) -> Deliverer:
    usual = deliverer(
        given.environment,
        Address(partner.key, given.night.school, day),
        partner.exporting.files,
        partner.exporting.schema_version,
        settings,
        run_id="none: it is tried only",
        allow_removals=False,
    )
    return replace(usual, explain=Leaving(given.environment, given.night.school, day, given.tables))


def waits(partner: AnyPartner, tables: JsonObject, night: date) -> str | None:
    """Why there would rightly be nothing to deliver on a date; None where there would be something."""
    found = (why(tables[dataset], night) for dataset, why in partner.exporting.waits.items())
    return next((said for said in found if said is not None), None)


def tried(partner: AnyPartner, given: Behind, day: date | None = None) -> Tried:
    """What a partner would get of these tables on a date, and what the gate would say."""
    night = day or given.night.date
    waiting = waits(partner, given.tables, night)
    if waiting is not None:
        return Tried(partner.key, None, None, waiting)
    result = makes(partner, given, night)()
    gate = _gate(partner, given, given.environment.settings.partner(given.night.school, partner.settings), night)
    found = _judged(gate, given, result)
    return Tried(partner.key, result.built, found, held=gate.waits_for_a_person(result.built.export, found))
