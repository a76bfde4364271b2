"""Where a change request stands."""

from enum import StrEnum

from isams_pipeline.rules.moves import Moves


class State(StrEnum):
    """Where a change request stands."""

    PENDING = "pending"
    """Waits for a person's approval."""
    APPROVED = "approved"
    """Will be written by the next run."""
    APPLYING = "applying"
    """A run meant to write it and has not said how that ended: the next one finds out by reading."""
    APPLIED = "applied"
    """Written, and read back."""
    CONFIRMED = "confirmed"
    """A night's datasets hold it too."""
    LOST = "lost"
    """Written and read back, but a night's datasets did not hold it."""
    CONFLICT = "conflict"
    """iSAMS no longer held what the approver saw; nothing was written."""
    FAILED = "failed"
    """It cannot be written as it stands."""
    REJECTED = "rejected"
    """A person said no."""


OPEN = (State.APPROVED, State.APPLYING)
WRITTEN = (State.APPLIED, State.CONFIRMED, State.LOST)

MOVES = Moves(
    {
        State.PENDING: frozenset({State.APPROVED, State.REJECTED}),
        State.APPROVED: frozenset(
            {State.APPLYING, State.APPLIED, State.PENDING, State.CONFLICT, State.FAILED, State.REJECTED}
        ),
        State.APPLYING: frozenset(
            {State.APPLIED, State.APPROVED, State.PENDING, State.CONFLICT, State.FAILED, State.REJECTED}
        ),
        State.APPLIED: frozenset({State.CONFIRMED, State.LOST}),
        State.LOST: frozenset({State.CONFIRMED, State.APPROVED, State.REJECTED}),
        State.CONFLICT: frozenset({State.APPROVED, State.REJECTED}),
        State.FAILED: frozenset({State.APPROVED, State.REJECTED}),
    },
    first=State.PENDING,
)
"""Where a change request may go from where it stands. Confirmed and rejected are ends."""
