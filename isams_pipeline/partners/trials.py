"""A partner's night, tried: what it would get and what the gate would say. Nothing is stored and nothing delivered."""

from __future__ import annotations

from collections.abc import Callable, Collection, Mapping, Sequence
from dataclasses import dataclass, replace
from datetime import date, timedelta
from typing import Any, cast

import pandas as pd

from isams_pipeline.clock import today_at
from isams_pipeline.config import (
    RoomBookingSettings,
    SchoolBookingSettings,
    SchoolsBuddySettings,
    SchoolSettings,
)
from isams_pipeline.config.partners import Exporting
from isams_pipeline.delivery.built import Built, Made
from isams_pipeline.delivery.deliver import Deliverer, Judgement
from isams_pipeline.delivery.export import ExportFile
from isams_pipeline.delivery.receipts import Address
from isams_pipeline.errors import NotMaterialised
from isams_pipeline.orchestration.environment import Environment
from isams_pipeline.orchestration.exports import as_pins, brought_by, deliverer, notes_of, pinned
from isams_pipeline.orchestration.leaving import Leaving
from isams_pipeline.orchestration.partitions import Night
from isams_pipeline.partners import room_booking, schoolbooking, schoolsbuddy
from isams_pipeline.partners.room_booking import export as room_booking_export
from isams_pipeline.partners.room_booking import files as room_booking_files
from isams_pipeline.partners.room_booking.night import BookingNight, no_timetable
from isams_pipeline.partners.room_booking.store import BookingStore
from isams_pipeline.partners.schoolbooking import export as schoolbooking_export
from isams_pipeline.partners.schoolbooking import files as schoolbooking_files
from isams_pipeline.partners.schoolbooking.night import make as make_schoolbooking
from isams_pipeline.partners.schoolsbuddy import export as schoolsbuddy_export
from isams_pipeline.partners.schoolsbuddy import files as schoolsbuddy_files
from isams_pipeline.partners.schoolsbuddy.night import make as make_schoolsbuddy
from isams_pipeline.partners.schoolsbuddy.photos import with_photos
from isams_pipeline.rules.notes import Lacking, Note
from isams_pipeline.storage.tables import StoredTable

NOT_TRIED = {"cancelled_bookings.csv"}
"""Files that only a real night can have: no booking is cancelled for a trial."""
_ALSO = ("terms",)
"""Tables that say when a school year ends, whether or not the partner gets anything of them."""
Tables = Mapping[str, pd.DataFrame]
Of = Callable[[Any], Made]
"""Settings of a partner → the export."""
Make = Callable[..., Of]


@dataclass(frozen=True)
class Trial:
    """What a partner's night is made of."""

    label: str
    files: Sequence[ExportFile]
    schema_version: int
    needed: Callable[[Any], tuple[str, Sequence[str]]]
    """The source and the datasets, by the partner's settings."""
    make: Make
    waits: Callable[[Tables, date], str | None] = lambda _tables, _night: None
    """Why there would be nothing to deliver, rightly so."""
    besides: Callable[[Built, Any, Night], Built] = lambda built, _settings, _night: built
    """What comes to an export that no table holds, by the settings, as of a night that was run."""


@dataclass(frozen=True)
class BehindIt:
    """A night's tables as they are stored, or as something was made of them."""

    night: Night
    pins: Mapping[str, StoredTable]
    tables: Tables

    @property
    def notes(self) -> Collection[Note | Lacking]:
        """What was done to single fields when they were read."""
        return notes_of(self.pins)


@dataclass(frozen=True)
class Tried:
    """How a night would end."""

    partner: str
    built: Built | None
    judged: Judgement | None
    waits: str | None = None
    held: bool = False
    """It is a school's first, and waits for a person."""


def _make_room_booking(environment: Environment) -> Make:
    def make(
        _school: SchoolSettings,
        night: Night,
        tables: Tables,
        *,
        brought: Collection[str],  # noqa: ARG001
        notes: Collection[Note | Lacking],
    ) -> Of:
        def of(settings: RoomBookingSettings) -> Made:
            unallocated = settings.unallocated_weeks
            found = room_booking_export.read(tables, night.date, unallocated_weeks=unallocated, notes=notes)
            booked = BookingNight(environment, night.school, night.date, tables, found)
            with environment.state.transaction() as session:
                built = booked.files(BookingStore(session, night.school), with_cancelled=False)
            return Made(
                built,
                room_booking_export.check_export,
                lambda: room_booking_export.check_source(tables, found, settings.timeslots),
            )

        return of

    return make


def trials(environment: Environment) -> dict[str, Trial]:
    """All partners that get files, by name."""
    return {
        schoolsbuddy.PARTNER: Trial(
            SchoolsBuddySettings.label,
            schoolsbuddy_files.FILES,
            schoolsbuddy_files.SCHEMA_VERSION,
            lambda settings: (settings.source, schoolsbuddy_export.NEEDED),
            make_schoolsbuddy,
            besides=lambda built, settings, night: (
                with_photos(built, environment.photos(night.school), night.date) if settings.photos else built
            ),
        ),
        room_booking.PARTNER: Trial(
            RoomBookingSettings.label,
            room_booking_files.FILES,
            room_booking_files.SCHEMA_VERSION,
            lambda _settings: ("isams", room_booking_export.NEEDED),
            _make_room_booking(environment),
            lambda tables, night: no_timetable(tables["terms"], night),
        ),
        schoolbooking.PARTNER: Trial(
            SchoolBookingSettings.label,
            schoolbooking_files.FILES,
            schoolbooking_files.SCHEMA_VERSION,
            lambda settings: (settings.source, schoolbooking_export.NEEDED[settings.source]),
            make_schoolbooking,
        ),
    }


def behind(environment: Environment, school: str, partner: str, day: date | None = None) -> BehindIt:
    """The tables of a partner's newest night, or of one date; raises NotMaterialised."""
    settings = environment.settings.school(school).partners.exporting[partner]
    source, names = trials(environment)[partner].needed(settings)
    if day is None:
        today = today_at(environment.settings.school(school).timezone, environment.clock)
        newest = environment.tables.before(source, names[0], school, today + timedelta(days=1))
        if newest is None:
            raise NotMaterialised(
                "No night was run yet",
                school=school,
                partner=partner,
                remedy=f"Run `isams-pipeline sync {school} --partner {partner}`, or materialise it in the UI.",
            )
        day = newest.night
    night = Night(school, day)
    pins = pinned(environment, night, names, source)
    also = {name: environment.tables.find(source, name, school, day) for name in _ALSO if name not in pins}
    stored = {**pins, **{name: table for name, table in also.items() if table is not None}}
    return BehindIt(night, pins, {name: environment.tables.load(table) for name, table in stored.items()})


def makes(environment: Environment, partner: str, given: BehindIt, day: date | None = None) -> Callable[..., Made]:
    """What makes the export that a partner would get of these tables, as of a date: with its settings, or with others.

    What no setting changes is made once for all of them.
    """
    school = environment.settings.school(given.night.school)
    night = given.night if day is None else Night(given.night.school, day)
    trial = trials(environment)[partner]
    of = trial.make(school, night, given.tables, brought=brought_by(given.pins), notes=given.notes)

    def made(settings: Exporting | None = None) -> Made:
        own = settings or school.partners.exporting[partner]
        found = of(own)
        return replace(found, built=trial.besides(found.built, own, given.night))

    return made


def judged(  # noqa: PLR0917  # whose, of what, by which settings and when
    environment: Environment, partner: str, given: BehindIt, result: Made, settings: Exporting, day: date
) -> Judgement:
    """What the gate would say of an export on a date; nothing is written."""
    return _judged(_gate(environment, partner, given, settings, day), given, result)


def _judged(gate: Deliverer, given: BehindIt, result: Made) -> Judgement:
    pins = cast("dict[str, Any]", as_pins(given.pins, result.built))
    return gate.judge(result.built.export, result.verdicts, result.built.excluded_per_file(), pins)


def _gate(environment: Environment, partner: str, given: BehindIt, settings: Exporting, day: date) -> Deliverer:
    trial = trials(environment)[partner]
    usual = deliverer(
        environment,
        Address(partner, given.night.school, day),
        trial.files,
        trial.schema_version,
        settings,
        run_id="none: it is tried only",
        allow_removals=False,
    )
    return replace(usual, explain=Leaving(environment, given.night.school, day, given.tables))


def tried(environment: Environment, partner: str, given: BehindIt, day: date | None = None) -> Tried:
    """What a partner would get of these tables on a date, and what the gate would say."""
    night = day or given.night.date
    waits = trials(environment)[partner].waits(given.tables, night)
    if waits is not None:
        return Tried(partner, None, None, waits)
    result = makes(environment, partner, given, night)()
    settings = environment.settings.school(given.night.school).partners.exporting[partner]
    gate = _gate(environment, partner, given, settings, night)
    found = _judged(gate, given, result)
    return Tried(partner, result.built, found, held=gate.waits_for_a_person(result.built.export, found))
