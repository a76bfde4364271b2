"""A change request beside the record as iSAMS has it now: what would change, and what stands in the way. Pure."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any

from isams_pipeline.datasets.shapes import JsonObject
from isams_pipeline.rules.details import UK, is_british_postcode
from isams_pipeline.sources.isams.people import DERIVED, Record, ones_own, same


@dataclass(frozen=True)
class Wanted:
    """What a request asks for, as the store has it."""

    changes: JsonObject
    seen: JsonObject | None
    person: int | None
    joint_confirmed: bool
    restores: bool = False
    """It puts back what iSAMS itself held before, so its values are not judged."""


@dataclass(frozen=True)
class Difference:
    """One field: as it is, as it would be, and as the approver saw it."""

    name: str
    now: Any
    wanted: Any
    seen: Any

    @property
    def holds(self) -> bool:
        """Whether it is so already."""
        return same(self.now, self.wanted)


@dataclass(frozen=True)
class Review:
    """A request and a record, compared."""

    differences: list[Difference]
    conflicts: list[str]
    """Fields that hold neither what the approver saw nor what is wanted."""
    problems: list[str]
    """Why it cannot be written, in words without values."""
    persons: list[int]
    """Everybody on the record."""
    whose: str
    """The record's person by name, for who reviews it. Personal."""
    joint_email: bool
    """The change concerns the e-mail address of both people of a joint contact."""
    confirmed: bool
    """And the approver knows."""
    warnings: list[str] = field(default_factory=list[str])

    @property
    def holds(self) -> bool:
        """Whether iSAMS has all of it already."""
        return all(difference.holds for difference in self.differences)

    @property
    def unconfirmed(self) -> bool:
        """Whether a person has to say first that both guardians are meant."""
        return self.joint_email and not self.confirmed

    @property
    def may_be_written(self) -> bool:
        """Whether nothing stands in the way."""
        return not (self.problems or self.conflicts or self.unconfirmed)


def review(record: Record, wanted: Wanted) -> Review:
    """Compare what is asked for with what iSAMS has."""
    seen = wanted.seen or {}
    differences = [Difference(n, record.holds(n), value, seen.get(n)) for n, value in wanted.changes.items()]
    conflicts = [d.name for d in differences if wanted.seen is not None and not same(d.now, d.seen) and not d.holds]
    joint_email = record.is_joint and any(d.name == "emailAddress" and not d.holds for d in differences)
    warnings: list[str] = []
    if joint_email:
        first, second = record.persons[:2]
        warnings.append(f"the contact is joint: the e-mail address of persons {first} and {second} will change")
    if record.target.kind == "student" and {"forename", "surname"} & set(wanted.changes):
        warnings.append(f"iSAMS's {', '.join(sorted(DERIVED))} do not change with the name: check them in iSAMS")
    return Review(
        differences,
        conflicts,
        _problems(record, wanted),
        record.persons,
        _named(record),
        joint_email=joint_email,
        confirmed=wanted.joint_confirmed,
        warnings=warnings,
    )


def _problems(record: Record, wanted: Wanted) -> list[str]:
    problems: list[str] = []
    missing = record.missing()
    if missing:
        problems.append(f"iSAMS's answer lacks {', '.join(missing)}, which writing the record back would delete")
    if record.target.kind == "guardian":
        names = ones_own(wanted.changes)
        if wanted.person is not None and wanted.person not in record.persons:
            problems.append("the request's person is not one of this contact's")
        elif names and record.concerns_second_only(wanted.person):
            problems.append(
                f"the second person of a joint contact has no {', '.join(names)} of their own by this route"
            )
        elif names and record.is_joint and wanted.person is None:
            problems.append(
                f"the contact is joint: the request must name in `person` whose {', '.join(names)} to change"
            )
    postcode = wanted.changes.get("postcode")
    country = str(wanted.changes.get("country", record.holds("country")) or "")
    if postcode and not wanted.restores and country.strip().casefold() in UK and not is_british_postcode(postcode):
        problems.append("postcode: not a UK postcode, though the address is in the UK")
    return problems


def _named(record: Record) -> str:
    names = [str(record.fields.get(name) or "") for name in ("title", "forename", "surname")]
    also = [str(record.fields.get(name) or "") for name in ("relationship", "formGroup")]
    return ", ".join(filter(None, (" ".join(filter(None, names)), *also)))
