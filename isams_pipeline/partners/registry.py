"""All partners. A new one is a folder here, with its PARTNER, and a line below."""

from __future__ import annotations

from collections.abc import Mapping

from isams_pipeline.orchestration.partner import AnyPartner
from isams_pipeline.partners import my_school_portal, room_booking, schoolbooking, schoolsbuddy

PARTNERS: Mapping[str, AnyPartner] = {
    partner.key: partner
    for partner in (
        schoolsbuddy.PARTNER,
        room_booking.PARTNER,
        my_school_portal.PARTNER,
        schoolbooking.PARTNER,
    )
}
"""Key → partner, in the order in which they are shown."""


def exporting() -> tuple[str, ...]:
    """The keys of the partners that get files."""
    return tuple(key for key, partner in PARTNERS.items() if partner.gets is not None)


def with_people() -> tuple[str, ...]:
    """The keys of those whose files say who is at the school."""
    return tuple(key for key in exporting() if PARTNERS[key].exporting.has_people)
