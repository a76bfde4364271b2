"""The states of what the booking store holds."""

from enum import StrEnum
from typing import TYPE_CHECKING

from isams_pipeline.moved import found_elsewhere
from isams_pipeline.rules.moves import Moves


class BookingState(StrEnum):
    """Where a booking stands."""

    ACTIVE = "active"
    CANCELLED = "cancelled"
    """It clashed with a lesson; its owner has been written to."""


BOOKING_MOVES = Moves(
    {
        BookingState.ACTIVE: frozenset({BookingState.CANCELLED}),
        BookingState.CANCELLED: frozenset({BookingState.ACTIVE}),
    },
    first=BookingState.ACTIVE,
)
"""A cancelled booking is active again where the partner has put it elsewhere, and that is imported."""


if not TYPE_CHECKING:  # who checks types sees what is there

    def __getattr__(name: str) -> object:
        """Names of before, with a warning."""
        return found_elsewhere(__name__, name)
