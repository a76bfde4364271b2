"""The people of a made-up school, and its teaching sets, as of one date."""

from __future__ import annotations

from dataclasses import dataclass, field
from datetime import date
from typing import Any


@dataclass
class Pupil:
    """A pupil as of one date."""

    slot: int
    id: int
    person_id: int
    guid: str
    school_id: str
    forename: str
    surname: str
    preferred: str | None
    middle: str
    gender: str
    born: date
    email: str | None
    mobile: str
    year: int
    form: str
    house: int
    boarding: int | None
    tutor: str
    family: tuple[int, int]
    current: bool
    steady: int
    """A number that stays with the pupil, whatever else changes: who has a house, or a health record, goes by it."""
    more: dict[str, Any] = field(default_factory=dict[str, Any])
    """What was written by REST into fields that are not modelled here, by their REST names."""


@dataclass
class Contact:
    """A contact entry as of one date."""

    entry_id: int
    person_id: int
    first: bool
    relationship: str
    title: str
    forename: str
    surname: str
    email: str | None
    telephone: str
    mobile: str | None
    address: str
    postcode: str
    merge_all: bool
    merge_correspondence: bool
    responsibility: str
    pupils: list[Pupil] = field(default_factory=list[Pupil])
    middle: str | None = None
    address_2: str | None = None
    address_3: str | None = None
    town: str | None = "Sampleton"
    county: str | None = "Sampleshire"
    country: str | None = "United Kingdom"
    emergency_notes: str | None = None
    only: bool = False


@dataclass
class StaffMember:
    """A member of staff."""

    id: int
    user_code: str
    title: str
    forename: str
    surname: str
    email: str | None
    teaching: bool
    leaving: date | None = None


@dataclass
class TeachingSet:
    """A teaching set and who is in it; some may have left."""

    id: int
    subject: int
    year: int
    number: int
    code: str
    name: str
    teachers: list[StaffMember]
    members: list[Pupil]
