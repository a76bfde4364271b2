"""Room Booking: rooms, the timetable on real dates, terms, and the bookings that clash; every day."""

from isams_pipeline.orchestration.partner import Exporting, Partner
from isams_pipeline.partners.room_booking.assets import booking_export_asset, held_back, more
from isams_pipeline.partners.room_booking.ending import ends
from isams_pipeline.partners.room_booking.export import CHECKS, NEEDED
from isams_pipeline.partners.room_booking.files import CANCELLED, FILES, SCHEMA_VERSION
from isams_pipeline.partners.room_booking.holding import erases, holds
from isams_pipeline.partners.room_booking.night import make, no_timetable, verdicts, waits_for
from isams_pipeline.partners.room_booking.settings import RoomBookingSettings
from isams_pipeline.partners.room_booking.tables import TABLES

PARTNER = Partner(
    RoomBookingSettings,
    hour=3,
    night="A school's day: timetable on real dates, clashing bookings, delivery, mail.",
    purpose="rooms are booked around the timetable; the owner of a booking that clashes with a lesson is written to.",
    takes={"isams": ("departments", *NEEDED)},
    gets=Exporting(
        files=FILES,
        schema_version=SCHEMA_VERSION,
        checks=CHECKS,
        needs={"isams": NEEDED},
        make=make,
        verdicts=verdicts,
        tables=TABLES,
        waits={"terms": no_timetable},
        asset=booking_export_asset,
        held_back=held_back,
        only_for_real=frozenset({CANCELLED.name}),
    ),
    more=more,
    waits_for=waits_for,
    holds=holds,
    ends=ends,
    erases=erases,
)
