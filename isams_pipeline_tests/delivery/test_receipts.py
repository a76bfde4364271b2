"""Receipts: each question about them, against the same question asked of a plain list."""

from __future__ import annotations

import itertools
from collections.abc import Iterator
from dataclasses import dataclass
from datetime import UTC, date, datetime, timedelta
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from isams_pipeline.delivery.receipts import Address, HeldLease, Outcome, Receipts, abandoned
from isams_pipeline.storage.state import Delivery, Lease, StateDatabase

PARTNERS, SCHOOLS, PARTS, HASHES = ("one", "two"), ("a", "b"), ("", "am"), ("x", "y")
NIGHTS = [date(2026, 11, day) for day in (17, 18, 19)]
OUTCOMES = (Outcome.DELIVERED, Outcome.REFUSED, Outcome.HELD, Outcome.RELEASED)
AT = datetime(2026, 11, 20, 2, tzinfo=UTC)


@dataclass(frozen=True)
class Kept:
    """A receipt as the test remembers it."""

    partner: str
    school: str
    part: str
    date: date
    outcome: Outcome
    content_hash: str
    removals_allowed: bool
    run_id: str

    def is_of(self, address: Address) -> bool:
        return (self.partner, self.school, self.part) == (address.partner, address.school, address.part)


RECEIPTS = st.lists(
    st.builds(
        Kept,
        st.sampled_from(PARTNERS),
        st.sampled_from(SCHOOLS),
        st.sampled_from(PARTS),
        st.sampled_from(NIGHTS),
        st.sampled_from(OUTCOMES),
        st.sampled_from(HASHES),
        st.booleans(),
        st.sampled_from(("run 1", "run 2", "run 3")),
    ),
    max_size=12,
)
ADDRESSES = st.builds(
    Address, st.sampled_from(PARTNERS), st.sampled_from(SCHOOLS), st.sampled_from(NIGHTS), st.sampled_from(PARTS)
)


@pytest.fixture(scope="module")
def state(tmp_path_factory: pytest.TempPathFactory) -> Iterator[StateDatabase]:
    made = StateDatabase.open(tmp_path_factory.mktemp("state"), None)
    yield made
    made.close()


def recorded(state: StateDatabase, kept: list[Kept]) -> Receipts:
    with state.transaction() as session:
        session.query(Delivery).delete()
    receipts = Receipts(state)
    for one in kept:
        receipts.record(
            Address(one.partner, one.school, one.date, one.part),
            one.outcome,
            content_hash=one.content_hash,
            removals_allowed=one.removals_allowed,
            run_id=one.run_id,
            at=AT,
            reason=None,
            target="",
            changes={},
            manifest={},
        )
    return receipts


def newest(kept: list[Kept]) -> Kept | None:
    """The one of the latest night, and of one night the last that was recorded."""
    return max(enumerate(kept), key=lambda one: (one[1].date, one[0]))[1] if kept else None


def as_kept(found: Delivery | None) -> Kept | None:
    return found and Kept(
        *(found.partner, found.school, found.part, found.date),
        *(Outcome(found.outcome), found.content_hash or "", found.removals_allowed, found.run_id),
    )


@given(kept=RECEIPTS, address=ADDRESSES, content_hash=st.sampled_from(HASHES))
def test_every_question_is_about_the_address_alone(
    state: StateDatabase, kept: list[Kept], address: Address, content_hash: str
):
    receipts = recorded(state, kept)
    mine = [one for one in kept if one.is_of(address)]
    delivered = [one for one in mine if one.outcome is Outcome.DELIVERED]
    assert as_kept(receipts.last_promoted(address)) == newest([one for one in delivered if one.date == address.date])
    assert as_kept(receipts.baseline(address)) == newest([one for one in delivered if one.date <= address.date])
    assert as_kept(receipts.night_before(address)) == newest([one for one in delivered if one.date < address.date])
    assert as_kept(receipts.of_night(address)) == newest([one for one in mine if one.date == address.date])
    assert receipts.ever_delivered(address) is bool(delivered)
    same = [one for one in mine if one.content_hash == content_hash]
    assert receipts.removals_were_allowed(address, content_hash) is any(one.removals_allowed for one in same)
    released = [one for one in same if one.outcome is Outcome.RELEASED]
    assert receipts.was_released(address, content_hash) is bool(released)


@given(kept=RECEIPTS, partner=st.sampled_from(PARTNERS), school=st.sampled_from(SCHOOLS))
def test_what_waits_and_what_was_delivered_is_the_schools_own(
    state: StateDatabase, kept: list[Kept], partner: str, school: str
):
    receipts = recorded(state, kept)
    mine = [one for one in kept if one.is_of(Address(partner, school, NIGHTS[0]))]
    delivered = [one for one in mine if one.outcome is Outcome.DELIVERED]
    held = newest([one for one in mine if one.outcome is Outcome.HELD])
    assert as_kept(receipts.last_held(partner, school)) == (None if delivered else held)
    in_order = [one for _, one in sorted(enumerate(delivered), key=lambda one: (one[1].date, one[0]))]
    assert [as_kept(one) for one in receipts.delivered(partner, school)] == in_order


@given(kept=RECEIPTS, day=st.sampled_from(NIGHTS), run_id=st.sampled_from(("run 1", "run 2", "none")))
def test_a_release_is_no_receipt_of_a_run_or_a_night(state: StateDatabase, kept: list[Kept], day: date, run_id: str):
    receipts = recorded(state, kept)
    counted = [one for one in kept if one.outcome is not Outcome.RELEASED]
    assert as_kept(receipts.of_run(run_id)) == newest([one for one in counted if one.run_id == run_id])
    of_day = {(one.partner, one.school, one.part): one for one in counted if one.date == day and one.school == "a"}
    assert {key: as_kept(one) for key, one in receipts.newest_of(day, ["a"]).items()} == of_day


def test_a_release_says_by_whom_and_allows_no_removals(state: StateDatabase):
    receipts, address = recorded(state, []), Address("one", "a", NIGHTS[0])
    receipts.release(address, "x", who="a.quill", run_id="run 1", at=AT)
    found = receipts.of_night(address)
    assert found is not None and found.reason == "released by a.quill" and found.removals_allowed is False
    assert receipts.was_released(address, "x") and not receipts.removals_were_allowed(address, "x")


# --- leases ---------------------------------------------------------------------------------------------------


def test_what_dead_holders_left_is_of_the_same_partner_and_school_and_given_once(state: StateDatabase):
    past, ahead = (datetime.now(UTC) + timedelta(hours=hours) for hours in (-1, 1))
    with state.transaction() as session:
        for partner, school, part, night in itertools.product(PARTNERS, SCHOOLS, PARTS, NIGHTS[:2]):
            expires = ahead if night == NIGHTS[1] and part == "am" else past
            lease = Lease(partner=partner, school=school, date=night, part=part, holder="h", expires_at=expires)
            session.merge(lease)
    mine = Address("one", "a", NIGHTS[0], "am")
    left = {Address("one", "a", NIGHTS[0], ""), Address("one", "a", NIGHTS[1], "")}
    assert set(abandoned(state, mine)) == left, "not one's own, none that is held, no other school's or partner's"
    assert abandoned(state, mine) == []
    assert set(abandoned(state, Address("two", "b", NIGHTS[0], ""))) == {
        Address("two", "b", NIGHTS[0], "am"),
        Address("two", "b", NIGHTS[1], ""),
    }


def test_a_lease_is_renewed_once_a_sixth_of_it_is_used_up(tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    clock = [1000.0]
    monkeypatch.setattr("isams_pipeline.delivery.receipts.time.monotonic", lambda: clock[0])
    database = StateDatabase.open(tmp_path, None)
    lease = HeldLease(database, Address("one", "a", NIGHTS[0]), "me", 60)
    assert lease.take()
    renewed: list[float] = []
    monkeypatch.setattr(
        HeldLease, "renew", lambda self: renewed.append(clock[0]) or setattr(self, "_renewed", clock[0])
    )
    for moment in (1000.0, 1005.0, 1009.0, 1011.0, 1020.0, 1022.0):
        clock[0] = moment
        lease.keep()
    database.close()
    assert renewed == [1000.0, 1011.0, 1022.0]
