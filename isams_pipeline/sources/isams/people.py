"""A student's and a contact's record by REST: read one, and write it back whole. Knows no Dagster and no partner.

A PUT replaces the record, so every writable field goes back as it was read, but for those that change. Which fields
are writable is from the vendor's OpenAPI (students) and from a client in use (contacts).
"""

from __future__ import annotations

import unicodedata
from dataclasses import dataclass
from typing import Any, Literal, Protocol, cast

from isams_pipeline.datasets.shapes import Json, JsonObject, JsonValue
from isams_pipeline.errors import NotFound, NotRestData
from isams_pipeline.sources.isams.rest import address

WRITABLE_STUDENT = (
    *("academicHouse", "birthCounty", "birthplace", "boardingHouse", "boardingStatus", "dob", "enrolmentDate"),
    *("enrolmentTerm", "enrolmentYear", "ethnicity", "forename", "formGroup", "fullName", "futureSchoolId", "gender"),
    *("initials", "isVisaRequired", "labelSalutation", "languages", "leavingDate", "leavingReason"),
    *("leavingYearGroup", "letterSalutation", "middlenames", "mobileNumber", "nationalities", "officialName"),
    *("personalEmailAddress", "preferredName", "previousName", "religion", "residentCountry", "schoolCode"),
    *("schoolEmailAddress", "surname", "title", "tutorEmployeeId", "uniquePupilNumber", "yearGroup"),
)
WRITABLE_CONTACT = (
    *("relationship", "contactType", "title", "forename", "middleNames", "surname", "address1", "address2"),
    *("address3", "town", "county", "postcode", "country", "emailAddress", "telephoneNumber", "mobileNumber"),
    *("emergencyNotes", "contactOnly"),
)
_READ_AS = {"middleNames": "middlenames"}
"""A student's field that GET spells otherwise; PUT takes both spellings, so both are sent."""
SHARED = {
    *("emailAddress", "telephoneNumber", "address1", "address2", "address3", "town", "county", "postcode", "country"),
    "emergencyNotes",
}
"""What the two people of a joint contact have in common; all else of the record is the first person's."""

DERIVED = {"fullName", "initials", "labelSalutation", "letterSalutation", "officialName"}
"""What may follow from a name. Whether iSAMS sees to it is unknown; it goes back as it was read."""
_OF_THE_RECORD = {"lastUpdated", "lastUpdatedBy"}


class People(Protocol):
    """What is needed of a REST client."""

    def get(self, path: str) -> Json: ...

    def listed(self, path: str, collection: str | None) -> list[Json]: ...

    def put(self, path: str, body: JsonObject) -> int: ...


@dataclass(frozen=True)
class Target:
    """Whose record."""

    kind: Literal["student", "guardian"]
    student: str
    """The student's school id."""
    contact: int | None = None
    """The contact's id, of a guardian."""


@dataclass(frozen=True)
class Record:
    """A record as iSAMS has it at a moment."""

    target: Target
    fields: Json

    def holds(self, name: str) -> JsonValue:
        """A field's value, by the name that it is written with."""
        spelt = _READ_AS.get(name, name) if self.target.kind == "student" else name
        return self.fields.get(spelt)

    @property
    def persons(self) -> list[int]:
        """The people on the record: two where it is a joint contact."""
        found = (self.fields.get(name) for name in ("personId", "secondaryPersonId"))
        return [person for person in found if isinstance(person, int)]

    @property
    def is_joint(self) -> bool:
        """Whether the record is that of two people."""
        return self.target.kind == "guardian" and len(self.persons) > 1

    @property
    def _names(self) -> tuple[str, ...]:
        return WRITABLE_STUDENT if self.target.kind == "student" else WRITABLE_CONTACT

    def missing(self) -> list[str]:
        """Fields that a PUT takes and the record does not have: writing it back would lose them."""
        return [name for name in self._names if name not in self.fields]

    def writable(self) -> Json:
        """Every field that a PUT takes, as it is now."""
        return {name: self.fields[name] for name in self._names}

    def body(self, changes: JsonObject) -> Json:
        """What is sent to write the changes and to leave all else as it is."""
        spelt = {_READ_AS.get(name, name): value for name, value in changes.items()}
        body = self.writable() | (spelt if self.target.kind == "student" else dict(changes))
        if self.target.kind == "student":
            body["middleNames"] = body["middlenames"]
        return body

    def others_changed(self, now: Record, changes: JsonObject) -> dict[str, tuple[Any, Any]]:
        """Fields that nobody asked to change and that are not what they were: what they were, and what they are."""
        ours = set(changes) | {_READ_AS.get(name, name) for name in changes} | _OF_THE_RECORD
        if {"forename", "surname", "preferredName", "title"} & set(changes):
            ours |= DERIVED
        return {
            name: (value, now.fields.get(name))
            for name, value in self.fields.items()
            if name not in ours and not same(value, now.fields.get(name))
        }

    def concerns_second_only(self, person: int | None) -> bool:
        """Whether a person is the second one of a joint contact, whose own name the record does not hold."""
        return person is not None and self.is_joint and person == self.persons[1]


def ones_own(fields: JsonObject) -> list[str]:
    """The fields that are one person's alone, even on a joint contact."""
    return sorted(set(fields) - SHARED)


def read(client: People, target: Target) -> Record:
    """The record as it is now; raises NotFound where there is no such student, or the contact is not one of hers."""
    try:
        found_at = _ask(client, target)
    except NotFound as error:
        raise NotFound(
            "There is no student with this school id",
            student=target.student,
            status=error.where.get("status"),
            remedy="Check the student: a school id is iSAMS's code of 10 to 13 digits, as in students.csv.",
        ) from None
    if target.kind == "student":
        fields = cast("Json", found_at)
        if str(fields.get("schoolId")) != target.student:
            raise NotRestData(
                "iSAMS answered with another student", remedy="Report this as a bug, with the time of the run."
            )
        if "middleNames" in fields:  # either spelling may come; both are sent
            fields = {"middlenames": fields["middleNames"], **fields}
        return Record(target, fields)
    found = next((contact for contact in cast("list[Json]", found_at) if contact.get("id") == target.contact), None)
    if found is None:
        raise NotFound(
            "The contact is not one of the student's",
            contact=target.contact,
            remedy="Check both ids; a contact of another student is not written by way of this one.",
        )
    return Record(target, found)


def read_back(client: People, target: Target) -> Record:
    """The record as it is after a write: a guardian's where it was written, with what only the list of contacts has.

    A client in use reads `tempcontacts/{id}`, which echoes contactType.
    """
    record = read(client, target)
    if target.kind == "student":
        return record
    written = client.get(address("students", target.student, "tempcontacts", str(target.contact)))
    if written.get("id") not in {None, target.contact}:
        raise NotRestData(
            "iSAMS answered with another contact", remedy="Report this as a bug, with the time of the run."
        )
    there = {name: written[name] for name in WRITABLE_CONTACT if name in written}
    return Record(target, {**record.fields, **there})


def _ask(client: People, target: Target) -> Json | list[Json]:
    if target.kind == "student":
        return client.get(address("students", target.student))
    return client.listed(address("students", target.student, "contacts"), "contacts")


def write(client: People, record: Record, changes: JsonObject) -> int:
    """Write the changes into a record that was read just now; gives the status. Guardians go by `tempcontacts`.

    That a contact has the same id there as in the list of contacts is inferred.
    """
    target = record.target
    segments = ("students", target.student)
    if target.kind == "guardian":
        segments = (*segments, "tempcontacts", str(target.contact))
    return client.put(address(*segments), record.body(changes))


def same(one: Any, other: Any) -> bool:
    """Whether two values are the same to a person: null is empty, blanks and how an accent is composed do not count."""
    return _plain(one) == _plain(other)


def _plain(value: JsonValue) -> JsonValue:
    if isinstance(value, str):
        composed = unicodedata.normalize("NFC", value.strip())
        return "\n".join(" ".join(line.split()) for line in composed.splitlines())
    return "" if value is None else value
