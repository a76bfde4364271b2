"""What a school sends to each partner, and which feeds that needs."""

from __future__ import annotations

from typing import Literal

from pydantic import Field, model_validator

from isams_pipeline.config.values import AllOrYears, ATimeslot, Share, SmtpUrl, StrictSettings, Variable

REQUIRED_FEEDS: dict[str, tuple[str, ...]] = {
    "schoolsbuddy": ("pupils", "contacts", "staff", "years"),
    "room_booking": ("estates", "staff", "terms", "timetable_structure", "week_allocations", "timetables"),
}
"""Feeds without which there is no export for a partner."""
GUIDE_FEEDS: dict[str, tuple[str, ...]] = {
    "room_booking": (
        *REQUIRED_FEEDS["room_booking"],
        *("departments", "sets", "teaching_forms", "lesson_suspensions", "room_closure_reasons", "room_closures"),
    ),
}
"""All that a partner's guide asks for, what it calls optional left out."""


class SchoolsBuddySettings(StrictSettings):
    """What a school sends to SchoolsBuddy."""

    contact_types: tuple[str, ...] = Field(default=("Mother", "Father"), min_length=1)
    mail_merge: tuple[Literal["all", "correspondence"], ...] = ("all", "correspondence")
    """A contact needs one of these; with an empty list mail merge does not matter."""
    contact_years: AllOrYears = None
    max_removed: Share = 0.2
    deliver_to: str = "data/exports"
    medical_fields: tuple[str, ...] = ()


class RoomBookingSettings(StrictSettings):
    """What a school sends to Room Booking."""

    timeslots: tuple[ATimeslot, ...] = ()
    """The periods' timings as the school has confirmed them; iSAMS must agree."""
    max_cancelled: int = Field(default=20, ge=0)
    """More cancellations than this in one night wait for a person."""
    max_removed: Share = 0.2
    deliver_to: str = "data/exports"
    smtp_url: SmtpUrl | None = None
    """Without one, mail is written to `outbox/` in the data folder."""
    smtp_user: str | None = None
    smtp_secret: Variable | None = None
    mail_from: str = "room-booking@localhost"

    @model_validator(mode="after")
    def _whole_log_in(self) -> RoomBookingSettings:
        if (self.smtp_user is None) != (self.smtp_secret is None):
            raise ValueError("smtp_user and smtp_secret go together; give both or neither")
        if self.smtp_url and self.mail_from.endswith("@localhost"):
            raise ValueError("smtp_url needs mail_from: the address that mail comes from")
        return self


class PartnersSettings(StrictSettings):
    """Which partners a school sends data to."""

    schoolsbuddy: SchoolsBuddySettings | None = None
    room_booking: RoomBookingSettings | None = None

    @property
    def all(self) -> dict[str, SchoolsBuddySettings | RoomBookingSettings]:
        """The partners that the school has, by name."""
        found = {"schoolsbuddy": self.schoolsbuddy, "room_booking": self.room_booking}
        return {name: settings for name, settings in found.items() if settings is not None}
