"""Tables of states: every state can be reached, ends are ends, and a move that is not in the table is a fault."""

from __future__ import annotations

from enum import StrEnum

import pytest

from isams_pipeline.orchestration.mail import MAIL_MOVES, MailState
from isams_pipeline.partners.my_school_portal.states import MOVES, OPEN, WRITTEN, State
from isams_pipeline.partners.room_booking.states import BOOKING_MOVES, BookingState
from isams_pipeline.rules.moves import Moves

TABLES = pytest.mark.parametrize(
    ("moves", "states"),
    [(MOVES, State), (BOOKING_MOVES, BookingState), (MAIL_MOVES, MailState)],
    ids=["requests", "bookings", "messages"],
)


@TABLES
def test_every_state_can_be_reached(moves: Moves, states: type[StrEnum]):
    reached, new = {moves.first}, {moves.first}
    while new:
        new = {then for now in new for then in moves.table.get(now, ())} - reached
        reached |= new
    assert reached == set(states)


@TABLES
def test_a_move_that_is_not_in_the_table_is_refused(moves: Moves, states: type[StrEnum]):
    for now in states:
        for then in states:
            if then == now or then in moves.table.get(now, ()):
                moves.check(now, then)
            else:
                with pytest.raises(ValueError, match=f"{now} does not lead to {then}"):
                    moves.check(now, then)


def test_what_was_written_is_never_written_again_and_what_is_over_is_over():
    assert not any(MOVES.allows(State.APPLIED, state) for state in OPEN)
    assert not any(MOVES.allows(state, State.PENDING) for state in WRITTEN)
    assert {state for state in State if state not in MOVES.table} == {State.CONFIRMED, State.REJECTED}
    assert {state for state in MailState if state not in MAIL_MOVES.table} == {MailState.SENT}


def test_it_is_drawn_with_every_move():
    drawn = MAIL_MOVES.drawn()
    assert "[*] --> queued" in drawn and "in_doubt --> queued" in drawn
    assert drawn.count("-->") == 1 + sum(len(following) for following in MAIL_MOVES.table.values())
