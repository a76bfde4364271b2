"""What a school may agree with SchoolsBuddy."""

from __future__ import annotations

from collections.abc import Callable
from typing import Annotated, ClassVar, Literal

from pydantic import model_validator

from isams_pipeline.config.isams import RegisterChoice
from isams_pipeline.config.partners import ContactSettings, Delivering, MailMerge, RestUse
from isams_pipeline.config.sources import SourceName
from isams_pipeline.config.values import AList, AllOrTexts, Share, StrictSettings, TimeOfDay

KEY = "schoolsbuddy"
"""Its name in schools.yaml, in keys of assets, and on the command line."""


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


class SchoolsBuddySettings(ContactSettings, Delivering):
    """What a school sends to SchoolsBuddy."""

    label: ClassVar[str] = "SchoolsBuddy"
    key: ClassVar[str] = KEY
    required_feeds: ClassVar[tuple[str, ...]] = ("pupils", "contacts", "staff", "years")
    ruled: ClassVar[tuple[str, ...]] = ("medical_fields",)

    source: SourceName = "isams"
    contact_types: AllOrTexts = ("Mother", "Father")
    mail_merge: Annotated[tuple[MailMerge, ...], AList] = ("all", "correspondence")
    medical_fields: Annotated[tuple[str, ...], AList] = ()
    attendance: AttendanceSettings | None = None
    photos: Literal["rest", "assembly", "xporter"] | None = None
    """Students' photos: by iSAMS's REST API, or by the source that their data comes by. None is none."""
    photos_client: str | None = None
    """Which of `isams.rest` reads the photos; can be left out where there is one."""

    @property
    def photos_by(self) -> str | None:
        """Where students' photos come from, if SchoolsBuddy gets them."""
        return self.photos

    @property
    def rest_uses(self) -> tuple[RestUse, ...]:
        """Registers, and photos by iSAMS's REST API."""
        attendance, photos = self.attendance, self.photos == "rest"
        registers = RestUse(
            "schoolsbuddy.attendance",
            attendance.client if attendance else None,
            "schoolsbuddy.attendance.client",
            ("Attendance (SCHOOLREGISTRATION)", "School Manager (SCHOOLMANAGEMENT)"),
        )
        pictures = RestUse(
            "schoolsbuddy.photos",
            self.photos_client,
            "schoolsbuddy.photos_client",
            ("Pupil Manager (STUDENTMANAGEMENT)",),
        )
        return (*((registers,) if attendance else ()), *((pictures,) if photos else ()))

    def lacks(self, has_feed: Callable[[str], bool]) -> str | None:
        """What the settings ask for that no key of the school brings, in words."""
        lacking = [super().lacks(has_feed)]
        if self.medical_fields and not has_feed("medical"):
            lacking.append(
                "schoolsbuddy.medical_fields is set, but no key brings the feed medical; add the key or remove "
                "medical_fields"
            )
        return "; ".join(filter(None, lacking)) or None

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
            raise ValueError(f"only iSAMS's own source brings medical fields; remove them with source: {self.source}")
        return self
