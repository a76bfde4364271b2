"""Change requests as My School Portal would send them for a made-up school: good ones, a late one, a wrong one."""

from __future__ import annotations

import json
from collections.abc import Iterator
from datetime import datetime

from isams_pipeline.datasets.shapes import Json
from isams_pipeline.sandbox.people import Contact
from isams_pipeline.sandbox.school import SchoolDay

Request = Json
APPROVER = "registrar@example.org"


def sample_requests(day: SchoolDay, now: datetime) -> Iterator[tuple[str, Request]]:
    """File name and request, each of its kind. Approved but for one."""
    mark = day.plan.mark
    single = [people[0] for people in day.by_entry.values() if len(people) == 1 and people[0].pupils]
    joint = [people for people in day.by_entry.values() if len(people) > 1 and people[0].pupils]
    moved, outdated, waiting, odd = single[:4]
    pupil = day.pupils[len(day.pupils) // 2]
    yield (
        "moved-house",
        guardian(
            "MSP-1001",
            moved,
            {"address1": f"12 Pattern Close{mark}", "postcode": "zz97zz", "mobileNumber": "+44 7700 900123"},
            now,
        ),
    )
    yield (
        "new-name",
        {
            "id": "MSP-1002",
            "kind": "student",
            "student": pupil.school_id,
            "changes": {"preferredName": f"Sam{mark}"},
            "seen": {"preferredName": pupil.preferred},
            "approval": approval(now),
        },
    )
    if joint:
        first = joint[0][0]
        both = guardian("MSP-1003", first, {"emailAddress": f"family{mark}@example.org"}, now)
        yield "joint-email", both | {"approval": approval(now) | {"joint_confirmed": True}}
    late = guardian("MSP-1004", outdated, {"telephoneNumber": "01632 960999"}, now)
    yield "too-late", late | {"seen": {"telephoneNumber": "01632 960000"}}
    open_still = guardian("MSP-1005", waiting, {"town": f"Modelham{mark}"}, now)
    del open_still["approval"]
    yield "not-approved", open_still
    yield "not-allowed", guardian("MSP-1006", odd, {"profession": "Example writer"}, now)


def approval(now: datetime) -> Json:
    """An approval that the portal's approver gave just now."""
    return {"by": APPROVER, "at": now.isoformat()}


_HELD = {
    "emailAddress": "email",
    "telephoneNumber": "telephone",
    "mobileNumber": "mobile",
    "address1": "address",
    "postcode": "postcode",
    "town": "town",
    "surname": "surname",
    "emergencyNotes": "emergency_notes",
}


def guardian(identifier: str, contact: Contact, changes: Json, now: datetime) -> Request:
    """A request about a guardian, approved by somebody who saw what iSAMS holds."""
    return {
        "id": identifier,
        "kind": "guardian",
        "student": contact.pupils[0].school_id,
        "contact": contact.entry_id,
        "changes": changes,
        "seen": {name: getattr(contact, _HELD[name]) for name in changes if name in _HELD},
        "approval": approval(now),
    }


def sample_files(day: SchoolDay, now: datetime) -> dict[str, str]:
    """File name → its text, as they lie in an inbox."""
    return {f"{name}.json": json.dumps(request, indent=2) for name, request in sample_requests(day, now)}
