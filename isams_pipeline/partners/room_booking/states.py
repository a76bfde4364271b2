"""The states of what the booking store holds."""

from enum import StrEnum

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


class MailState(StrEnum):
    """Where a message to a booking's owner stands."""

    QUEUED = "queued"
    SENDING = "sending"
    """The server has been told whom it is for; a run that is broken off leaves it here."""
    SENT = "sent"
    IN_DOUBT = "in_doubt"
    """It may have arrived: only a person queues it again."""
    FAILED = "failed"


MAIL_MOVES = Moves(
    {
        MailState.QUEUED: frozenset({MailState.SENDING, MailState.FAILED}),
        MailState.SENDING: frozenset({MailState.SENT, MailState.QUEUED, MailState.IN_DOUBT, MailState.FAILED}),
        MailState.IN_DOUBT: frozenset({MailState.QUEUED}),
        MailState.FAILED: frozenset({MailState.QUEUED}),
    },
    first=MailState.QUEUED,
)
"""Where a message may go from where it stands. Sent is the end."""
