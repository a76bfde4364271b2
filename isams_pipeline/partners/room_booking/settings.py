"""What a school may agree with Room Booking."""

from __future__ import annotations

from typing import Annotated, ClassVar

from pydantic import Field, model_validator

from isams_pipeline.config.partners import Delivering
from isams_pipeline.config.values import AList, ATimeslot, MailServerSettings
from isams_pipeline.rules.timetable import UnallocatedWeeks

KEY = "room_booking"
"""Its name in schools.yaml, in keys of assets, and on the command line."""


class RoomBookingSettings(Delivering, MailServerSettings):
    """What a school sends to Room Booking."""

    label: ClassVar[str] = "Room Booking"
    key: ClassVar[str] = KEY
    required_feeds: ClassVar[tuple[str, ...]] = (
        *("estates", "staff", "terms", "timetable_structure", "week_allocations", "timetables"),
    )
    guide_feeds: ClassVar[tuple[str, ...]] = (
        *required_feeds,
        *("departments", "sets", "teaching_forms", "lesson_suspensions", "room_closure_reasons", "room_closures"),
    )

    ruled: ClassVar[tuple[str, ...]] = ("timeslots", "unallocated_weeks")

    timeslots: Annotated[tuple[ATimeslot, ...], AList] = ()
    """The periods' timings as the school has confirmed them; iSAMS must agree."""
    unallocated_weeks: UnallocatedWeeks = "ignore"
    """What becomes of timetable weeks that no week of the year is allocated to."""
    max_cancelled: int = Field(default=20, ge=0)
    """More cancellations than this in one night wait for a person."""
    licence: int | None = Field(default=None, ge=1)
    """How many bookable rooms the school's licence is for."""
    mail_from: str = "room-booking@localhost"
    """Without a mail server, mail is written to `outbox/` in the data folder."""

    @property
    def secrets(self) -> set[str | None]:
        """The names of the secrets that the partner needs by itself."""
        return super().secrets | {self.smtp_secret}

    @model_validator(mode="after")
    def _who_writes(self) -> RoomBookingSettings:
        if self.smtp_url and self.mail_from.endswith("@localhost"):
            raise ValueError("smtp_url needs mail_from: the address that mail comes from")
        return self
