"""What was written into the made-up schools' records."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import TypeVar

from isams_pipeline.datasets.shapes import Json, JsonObject
from isams_pipeline.sandbox.people import Contact, Pupil

T = TypeVar("T")


@dataclass
class Edits:
    """What was written into a school's records, by REST: attribute names of Pupil and Contact and their values.

    They outlast the night: the school of the next day has them too.
    """

    pupils: dict[str, Json] = field(default_factory=dict[str, Json])
    """By school id."""
    contacts: dict[int, Json] = field(default_factory=dict[int, Json])
    """By entry id."""

    def of_pupil(self, pupil: Pupil) -> Pupil:
        """The pupil as last written."""
        return _put(pupil, self.pupils.get(pupil.school_id, {}))

    def of_contact(self, contact: Contact) -> Contact:
        """The contact as last written. Of a joint entry the second person shares address, telephone and e-mail only."""
        wanted = self.contacts.get(contact.entry_id, {})
        return _put(contact, wanted if contact.first else {k: v for k, v in wanted.items() if k not in _OF_THE_FIRST})


_OF_THE_FIRST = {"title", "forename", "middle", "surname", "relationship", "mobile"}


def _put(record: T, values: JsonObject) -> T:
    for name, value in values.items():
        setattr(record, name, value)
    return record
