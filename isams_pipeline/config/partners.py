"""What a school sends to each partner, and which feeds that needs."""

from __future__ import annotations

from typing import Annotated, ClassVar, Literal, Self

from pydantic import Field, model_validator

from isams_pipeline.config.values import (
    AList,
    AllOrTexts,
    AllOrYears,
    ATimeslot,
    Share,
    SmtpUrl,
    StrictSettings,
    Target,
    TimeOfDay,
    Variable,
)
from isams_pipeline.rules.contacts import ParentalResponsibility
from isams_pipeline.rules.timetable import UnallocatedWeeks

REQUIRED_FEEDS: dict[str, tuple[str, ...]] = {
    "schoolsbuddy": ("pupils", "contacts", "staff", "years"),
    "room_booking": ("estates", "staff", "terms", "timetable_structure", "week_allocations", "timetables"),
    "my_school_portal": ("pupils", "contacts"),
    "schoolbooking": (
        *("pupils", "contacts", "staff", "years", "forms", "sets", "set_lists", "estates", "terms"),
        *("timetable_structure", "week_allocations", "timetables"),
    ),
}
"""Feeds without which there is no export for a partner by iSAMS's own road, or nothing to confirm a write by."""
SourceName = Literal["isams", "assembly", "xporter"]
SOURCES: tuple[SourceName, ...] = ("isams", "assembly", "xporter")
"""The roads to a school's data."""
GUIDE_FEEDS: dict[str, tuple[str, ...]] = {
    "room_booking": (
        *REQUIRED_FEEDS["room_booking"],
        *("departments", "sets", "teaching_forms", "lesson_suspensions", "room_closure_reasons", "room_closures"),
    ),
}
"""All that a partner's guide asks for, what it calls optional left out."""


class RegisterChoice(StrictSettings):
    """A register that counts: of a division, by its type or its friendly name."""

    division: str = Field(min_length=1)
    """The division's name or code."""
    called: str = Field(alias="register", min_length=1)
    """The `registrationType` or the `friendlyName`."""


class AttendanceSettings(StrictSettings):
    """What SchoolsBuddy gets of the day's registers, and when."""

    client: str | None = None
    """Which of `isams.rest`; can be left out where there is one."""
    am: tuple[RegisterChoice, ...] = ()
    pm: tuple[RegisterChoice, ...] = ()
    am_at: TimeOfDay = 11 * 60
    """When the morning is pulled, in minutes after midnight."""
    pm_at: TimeOfDay = 15 * 60
    max_removed: Share = 0.5
    """More than of the nightly export: year groups on study leave have no register."""

    @model_validator(mode="after")
    def _some_register(self) -> AttendanceSettings:
        if not self.am and not self.pm:
            raise ValueError("it names no register; choose some from `isams-pipeline registers SCHOOL`")
        return self


class PartnerSettings(StrictSettings):
    """What a school has agreed with a partner."""

    label: ClassVar[str]
    """The partner's name."""
    key: ClassVar[str]
    """Its name under `partners`."""


MailMerge = Literal["all", "correspondence"]


class Delivering(PartnerSettings):
    """Where a partner's files go, and how much less of them may come than before."""

    max_removed: Share = 0.2
    deliver_to: Target = "data/exports"
    """A path or URL; a relative path is relative to schools.yaml."""
    deliver_secret: Variable | None = None
    """The name of the secret that holds the password of an sftp:// user. Without one, the user's keys are used."""
    first_delivery: Literal["deliver", "hold"] = "deliver"
    """Whether a school's first export waits until a person has looked at it and released it."""
    list_changes: bool = False
    """Whether a list of what was added, changed and removed lies beside each file."""

    @model_validator(mode="after")
    def _password_for_sftp(self) -> Self:
        if self.deliver_secret is not None and not self.deliver_to.startswith("sftp://"):
            raise ValueError("deliver_secret is the password of an sftp:// user; remove it")
        return self


class ContactSettings(PartnerSettings):
    """Which contacts a school sends."""

    source: SourceName
    """The road by which the school's data comes."""
    contact_types: AllOrTexts = None
    """Relationships, compared without case; None is all."""
    mail_merge: Annotated[tuple[MailMerge, ...], AList] = ()
    """A contact needs one of these; with an empty list mail merge does not matter."""
    contact_years: AllOrYears = None
    """Contacts of students in these years; None is all."""
    parental_responsibility: ParentalResponsibility = "any"
    contact_only: Literal["leave_out", "send"] = "leave_out"
    """What becomes of contacts that iSAMS marks Contact Only: not for any communication."""

    @property
    def sends_contact_only(self) -> bool:
        """The school has written down that they are to be sent."""
        return self.contact_only == "send"

    @model_validator(mode="after")
    def _what_the_source_has(self) -> ContactSettings:
        if self.source != "isams" and self.mail_merge:
            raise ValueError(f"only iSAMS's own road knows mail merge; with source: {self.source} write mail_merge: []")
        if self.source != "isams" and self.contact_only != "leave_out":
            raise ValueError(f"only iSAMS's own road knows Contact Only; remove it with source: {self.source}")
        return self


class SchoolsBuddySettings(ContactSettings, Delivering):
    """What a school sends to SchoolsBuddy."""

    label: ClassVar[str] = "SchoolsBuddy"
    key: ClassVar[str] = "schoolsbuddy"

    source: SourceName = "isams"
    contact_types: AllOrTexts = ("Mother", "Father")
    mail_merge: Annotated[tuple[MailMerge, ...], AList] = ("all", "correspondence")
    medical_fields: Annotated[tuple[str, ...], AList] = ()
    attendance: AttendanceSettings | None = None
    photos: Literal["rest", "assembly", "xporter"] | None = None
    """Students' photos: by iSAMS's REST API, or by the source that their data comes by. None is none."""
    photos_client: str | None = None
    """Which of `isams.rest` reads the photos; can be left out where there is one."""

    @model_validator(mode="after")
    def _photos_source(self) -> SchoolsBuddySettings:
        of = {"isams": "rest"}.get(self.source, self.source)
        if self.photos not in {None, of}:
            raise ValueError(f"with source: {self.source} photos come by {of} only; write photos: {of}, or remove it")
        if self.photos_client is not None and self.photos != "rest":
            raise ValueError("photos_client is for photos: rest; remove it")
        return self

    @model_validator(mode="after")
    def _medical_source(self) -> SchoolsBuddySettings:
        if self.source != "isams" and self.medical_fields:
            raise ValueError(f"only iSAMS's own road brings medical fields; remove them with source: {self.source}")
        return self


class RoomBookingSettings(Delivering):
    """What a school sends to Room Booking."""

    label: ClassVar[str] = "Room Booking"
    key: ClassVar[str] = "room_booking"

    timeslots: Annotated[tuple[ATimeslot, ...], AList] = ()
    """The periods' timings as the school has confirmed them; iSAMS must agree."""
    unallocated_weeks: UnallocatedWeeks = "ignore"
    """What becomes of timetable weeks that no week of the year is allocated to."""
    max_cancelled: int = Field(default=20, ge=0)
    """More cancellations than this in one night wait for a person."""
    licence: int | None = Field(default=None, ge=1)
    """How many bookable rooms the school's licence is for."""
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


class MySchoolPortalSettings(PartnerSettings):
    """How a school lets My School Portal's change requests into iSAMS."""

    label: ClassVar[str] = "My School Portal"
    key: ClassVar[str] = "my_school_portal"

    client: str | None = None
    """Which of `isams.rest`; can be left out where there is one."""
    writeback: Literal["enabled", "disabled"] = "disabled"
    """Without it, every apply is a dry run."""
    guardian_route: Literal["tempcontacts"] | None = None
    """Where guardians' changes are written; without one they are not."""
    trust_portal_approval: bool = False
    """An approval that comes with the request counts, if it says what its approver saw."""
    approval_secret: Variable | None = None
    """The name of the secret that the portal signs approvals with; with one, only signed approvals count."""
    phone_region: str = Field(default="GB", pattern=r"^[A-Z]{2}$")
    """The country, as two letters, of telephone numbers without a country code."""


class SchoolBookingSettings(ContactSettings, Delivering):
    """What a school sends to SchoolBooking."""

    label: ClassVar[str] = "SchoolBooking"
    key: ClassVar[str] = "schoolbooking"

    source: SourceName = "assembly"
    unallocated_weeks: UnallocatedWeeks = "ignore"
    """What becomes of iSAMS's timetable weeks that no week of the year is allocated to."""


Exporting = SchoolsBuddySettings | RoomBookingSettings | SchoolBookingSettings


class PartnersSettings(StrictSettings):
    """Which partners a school sends data to, or takes it from."""

    schoolsbuddy: SchoolsBuddySettings | None = None
    room_booking: RoomBookingSettings | None = None
    my_school_portal: MySchoolPortalSettings | None = None
    schoolbooking: SchoolBookingSettings | None = None

    @property
    def exporting(self) -> dict[str, Exporting]:
        """The partners that get files, by name."""
        found: dict[str, Exporting | None] = {
            "schoolsbuddy": self.schoolsbuddy,
            "room_booking": self.room_booking,
            "schoolbooking": self.schoolbooking,
        }
        return {name: settings for name, settings in found.items() if settings is not None}

    @property
    def sources(self) -> dict[str, SourceName]:
        """By which road each partner's data comes.

        Room Booking needs the timetable's weeks, and My School Portal writes: only iSAMS's own road has those.
        """
        chosen: dict[str, SourceName] = {}
        for name in REQUIRED_FEEDS:
            if (settings := getattr(self, name)) is not None:
                chosen[name] = getattr(settings, "source", "isams")
        return chosen

    @property
    def photos(self) -> str | None:
        """Where students' photos come from, if somebody gets them."""
        return self.schoolsbuddy.photos if self.schoolsbuddy is not None else None

    def using(self, source: str) -> tuple[str, ...]:
        """The partners whose data comes by a road."""
        return tuple(name for name, mine in self.sources.items() if mine == source)

    @property
    def secrets(self) -> set[str | None]:
        """The names of the secrets that partners need by themselves."""
        found: set[str | None] = {mine.deliver_secret for mine in self.exporting.values()}
        found.add(self.my_school_portal.approval_secret if self.my_school_portal else None)
        return found | {self.room_booking.smtp_secret if self.room_booking else None}

    @property
    def rest_clients(self) -> dict[str, str | None]:
        """Who uses a REST client → which."""
        attendance = self.schoolsbuddy.attendance if self.schoolsbuddy else None
        users = {"schoolsbuddy.attendance": attendance, "my_school_portal": self.my_school_portal}
        found = {name: settings.client for name, settings in users.items() if settings is not None}
        if self.schoolsbuddy is not None and self.schoolsbuddy.photos == "rest":
            found["schoolsbuddy.photos"] = self.schoolsbuddy.photos_client
        return found
