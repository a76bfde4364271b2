"""A student's and a contact's record by REST: read one, and write it back whole. Knows no Dagster and no partner.

A PUT replaces the record, so every writable field goes back as it was read, but for those that change. Which fields
are writable is from the vendor's OpenAPI (students) and from a client in use (contacts).
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Literal, Protocol

from isams_pipeline.errors import NotFound, NotRestData
from isams_pipeline.isams.rest import Json, address

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
_NAMES = {"title", "forename", "surname"}


class People(Protocol):
    """What is needed of a REST client."""

    def get(self, path: str) -> Json: ...

    def listed(self, path: str, collection: str | None) -> list[Json]: ...

    def put(self, path: str, body: Mapping[str, Any]) -> int: ...


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

    def holds(self, name: str) -> Any:
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

    def writable(self) -> Json:
        """Every field that a PUT takes, as it is now."""
        names = WRITABLE_STUDENT if self.target.kind == "student" else WRITABLE_CONTACT
        return {name: self.fields[name] for name in names if name in self.fields}

    def body(self, changes: Mapping[str, Any]) -> Json:
        """What is sent to write the changes and to leave all else as it is."""
        spelt = {_READ_AS.get(name, name): value for name, value in changes.items()}
        body = self.writable() | (spelt if self.target.kind == "student" else dict(changes))
        if self.target.kind == "student" and "middlenames" in body:
            body["middleNames"] = body["middlenames"]
        return body

    def concerns_second_only(self, person: int | None) -> bool:
        """Whether a person is the second one of a joint contact, whose own name the record does not hold."""
        return person is not None and self.is_joint and person == self.persons[1]


def own_name(fields: Mapping[str, Any]) -> list[str]:
    """The fields that are one person's alone, even on a joint contact."""
    return sorted(_NAMES & set(fields))


def read(client: People, target: Target) -> Record:
    """The record as it is now; raises NotFound where there is no such student, or the contact is not one of hers."""
    if target.kind == "student":
        fields = client.get(address("students", target.student))
        if str(fields.get("schoolId")) != target.student:
            raise NotRestData("iSAMS answered with another student", remedy="Report this with the time of the run.")
        return Record(target, fields)
    contacts = client.listed(address("students", target.student, "contacts"), "contacts")
    found = next((contact for contact in contacts if contact.get("id") == target.contact), None)
    if found is None:
        raise NotFound(
            "The contact is not one of the student's",
            contact=target.contact,
            remedy="Check both ids; a contact of another student is not written by way of this one.",
        )
    return Record(target, found)


def write(client: People, record: Record, changes: Mapping[str, Any]) -> int:
    """Write the changes into a record that was read just now; gives the status. Guardians go by `tempcontacts`.

    That a contact has the same id there as in the list of contacts is inferred.
    """
    target = record.target
    segments = ("students", target.student)
    if target.kind == "guardian":
        segments = (*segments, "tempcontacts", str(target.contact))
    return client.put(address(*segments), record.body(changes))


def same(one: Any, other: Any) -> bool:
    """Whether two values are the same to a person: null is empty, outer and double spaces do not count."""
    return _plain(one) == _plain(other)


def _plain(value: Any) -> Any:
    return " ".join(value.split()) if isinstance(value, str) else "" if value is None else value
