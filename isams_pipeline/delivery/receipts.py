"""Receipts and leases, in the state database."""

from __future__ import annotations

import contextlib
import time
from collections.abc import Callable, Generator, Sequence
from dataclasses import dataclass
from datetime import UTC, date, datetime, timedelta
from enum import StrEnum
from typing import Any

from sqlalchemy import delete, func, select
from sqlalchemy.exc import IntegrityError

from isams_pipeline.datasets.shapes import Json
from isams_pipeline.errors import LeaseLost
from isams_pipeline.storage.ending import Ending
from isams_pipeline.storage.state import Delivery, Lease, StateDatabase

LEASE_SECONDS = 30.0
"""Renewed before every file. What a killed delivery costs the next one in waiting."""


class Outcome(StrEnum):
    """How an attempt to deliver ended."""

    DELIVERED = "delivered"
    UNCHANGED = "unchanged"
    """The target already has just this: nothing was written."""
    REFUSED = "refused"
    """A blocking rule or the removal guard said no."""
    FAILED = "failed"
    NO_SESSION = "no_session"
    """There was nothing to deliver, and rightly so: a day without registers."""
    NO_TIMETABLE = "no_timetable"
    """There is nothing to deliver yet: a new school year whose terms nobody has entered."""
    HELD = "held"
    """A school's first delivery waits for a person to look at it."""
    RELEASED = "released"
    """A person has looked at a school's first export: it may be delivered. No delivery by itself."""


@dataclass(frozen=True)
class Address:
    """Whose export of which night."""

    partner: str
    school: str
    date: date
    part: str = ""
    """Which of the night's deliveries, where there are several, such as am."""

    @property
    def path(self) -> str:
        """The export's folder, below `deliver_to`."""
        return self.on(self.date)

    def on(self, night: date) -> str:
        """The same on another night."""
        return "/".join(filter(None, (self.partner, self.school, night.isoformat(), self.part)))


class Receipts:
    """What was delivered, refused and failed."""

    def __init__(self, state: StateDatabase) -> None:
        self._state = state

    def record(self, address: Address, outcome: Outcome, **facts: Any) -> None:
        """Add a receipt."""
        with self._state.transaction() as session:
            session.add(
                Delivery(
                    partner=address.partner,
                    school=address.school,
                    date=address.date,
                    part=address.part,
                    outcome=outcome.value,
                    **facts,
                )
            )

    def last_promoted(self, address: Address) -> Delivery | None:
        """The newest receipt of this very night that stands for something at the target."""
        return self._newest(
            *_whose(address),
            Delivery.date == address.date,
            Delivery.outcome == Outcome.DELIVERED.value,
        )

    def baseline(self, address: Address) -> Delivery | None:
        """The latest delivered export dated on or before this one."""
        return self._newest(
            *_whose(address),
            Delivery.date <= address.date,
            Delivery.outcome == Outcome.DELIVERED.value,
        )

    def night_before(self, address: Address) -> Delivery | None:
        """The latest delivered export of an earlier night."""
        return self._newest(*_whose(address), Delivery.date < address.date, Delivery.outcome == Outcome.DELIVERED.value)

    def ever_delivered(self, address: Address) -> bool:
        """Whether the partner has ever got an export of the school, of whichever night."""
        return self._newest(*_whose(address), Delivery.outcome == Outcome.DELIVERED.value) is not None

    def last_of_any(self, partner: str, school: str) -> date | None:
        """The newest night of which there is a receipt, however it ended."""
        query = select(func.max(Delivery.date)).where(Delivery.partner == partner, Delivery.school == school)
        with self._state.transaction() as session:
            return session.scalar(query)

    def standing(self, school: str) -> dict[str, list[Delivery]]:
        """Partner → the deliveries of the last two nights that it got, of each part of a day.

        The next export is compared with the last night, and what was added and removed is told since the one before.
        """
        whose = (Delivery.school == school, Delivery.outcome == Outcome.DELIVERED.value)
        found: dict[str, list[Delivery]] = {}
        with self._state.transaction() as session:
            nights: dict[tuple[str, str], list[date]] = {}
            dates = select(Delivery.partner, Delivery.part, Delivery.date).where(*whose).distinct()
            for partner, part, night in session.execute(dates.order_by(Delivery.date.desc())):
                nights.setdefault((partner, part), []).append(night)
            for (partner, part), all_of_them in nights.items():
                query = select(Delivery).where(
                    *whose, Delivery.partner == partner, Delivery.part == part, Delivery.date.in_(all_of_them[:2])
                )
                found.setdefault(partner, []).extend(session.scalars(query))
        return found

    def ending(self, school: str, before: date) -> Ending:
        """Receipts of nights before a date; the last two nights of each partner and part stay, however old."""
        stay = [one.id for kept in self.standing(school).values() for one in kept]
        old = (Delivery.school == school, Delivery.date < before, Delivery.id.not_in(stay))
        with self._state.transaction() as session:
            rows = session.scalar(select(func.count()).select_from(Delivery).where(*old)) or 0

        def go() -> None:
            with self._state.transaction() as session:
                session.execute(delete(Delivery).where(*old), execution_options={"synchronize_session": False})

        return Ending("receipts", {"rows": rows}, go)

    def all_delivered(self, school: str) -> list[Delivery]:
        """All deliveries of a school to whomever, the oldest night first."""
        query = select(Delivery).where(Delivery.school == school, Delivery.outcome == Outcome.DELIVERED.value)
        with self._state.transaction() as session:
            return list(session.scalars(query.order_by(Delivery.date, Delivery.id)))

    def delivered(self, partner: str, school: str) -> list[Delivery]:
        """All deliveries, the oldest night first, and of one night the earliest: a night may be delivered again."""
        query = (
            select(Delivery)
            .where(
                Delivery.partner == partner,
                Delivery.school == school,
                Delivery.part == "",
                Delivery.outcome == Outcome.DELIVERED.value,
            )
            .order_by(Delivery.date, Delivery.id)
        )
        with self._state.transaction() as session:
            return list(session.scalars(query))

    def of_run(self, run_id: str) -> Delivery | None:
        """The receipt that a run left of how it ended."""
        return self._newest(Delivery.run_id == run_id, Delivery.outcome != Outcome.RELEASED.value)

    def of_night(self, address: Address) -> Delivery | None:
        """The newest receipt of a night, whatever its outcome."""
        return self._newest(*_whose(address), Delivery.date == address.date)

    def newest_of(self, day: date, schools: Sequence[str]) -> dict[tuple[str, str, str], Delivery]:
        """Partner, school and part → the newest receipt of a date."""
        query = (
            select(Delivery)
            .where(Delivery.date == day, Delivery.school.in_(schools), Delivery.outcome != Outcome.RELEASED.value)
            .order_by(Delivery.id)
        )
        with self._state.transaction() as session:
            return {(one.partner, one.school, one.part): one for one in session.scalars(query)}

    def last_delivered(self, since: date) -> dict[tuple[str, str], date]:
        """Partner (with its part, such as `schoolsbuddy am`) and school → the newest night that is at the target.

        Of nights from `since` on; see `last_night` for what has none of these.
        """
        there = (Outcome.DELIVERED.value, Outcome.UNCHANGED.value)
        query = (
            select(Delivery.partner, Delivery.part, Delivery.school, func.max(Delivery.date))
            .where(Delivery.outcome.in_(there), Delivery.date >= since)
            .group_by(Delivery.partner, Delivery.part, Delivery.school)
        )
        with self._state.transaction() as session:
            rows = session.execute(query).all()
        return {(f"{partner} {part}" if part else partner, school): night for partner, part, school, night in rows}

    def last_night(self, partner: str, school: str) -> date | None:
        """The newest night that is at the target, of whichever date. `partner` with its part, as above."""
        whose, _, part = partner.partition(" ")
        there = (Outcome.DELIVERED.value, Outcome.UNCHANGED.value)
        found = self._newest(*_whose(Address(whose, school, date.min, part)), Delivery.outcome.in_(there))
        return found.date if found is not None else None

    def has(self, partner: str, school: str, night: date) -> bool:
        """Whether a night is at the target. `partner` with its part, as above."""
        whose, _, part = partner.partition(" ")
        there = (Outcome.DELIVERED.value, Outcome.UNCHANGED.value)
        address = Address(whose, school, night, part)
        return self._newest(*_whose(address), Delivery.date == night, Delivery.outcome.in_(there)) is not None

    def release(self, address: Address, content_hash: str, *, who: str, run_id: str, at: datetime) -> None:
        """Note that a person lets a school's first export of just this content go."""
        said = f"released by {who}"
        facts: Json = {"content_hash": content_hash, "target": "", "changes": {}, "manifest": {}}
        self.record(address, Outcome.RELEASED, run_id=run_id, at=at, reason=said, removals_allowed=False, **facts)

    def was_released(self, address: Address, content_hash: str) -> bool:
        """Whether a person has released this school's export of just this content."""
        released = (Delivery.outcome == Outcome.RELEASED.value, Delivery.content_hash == content_hash)
        return self._newest(*_whose(address), *released) is not None

    def last_held(self, partner: str, school: str) -> Delivery | None:
        """The newest first export that waits; None where one was delivered already."""
        whose = Address(partner, school, date.min)
        if self.ever_delivered(whose):
            return None
        return self._newest(*_whose(whose), Delivery.outcome == Outcome.HELD.value)

    def removals_were_allowed(self, address: Address, content_hash: str) -> bool:
        """Whether a person has lifted the removal guard for this content."""
        found = self._newest(
            *_whose(address),
            Delivery.content_hash == content_hash,
            Delivery.removals_allowed.is_(True),
        )
        return found is not None

    def _newest(self, *conditions: Any) -> Delivery | None:
        query = select(Delivery).where(*conditions).order_by(Delivery.date.desc(), Delivery.id.desc()).limit(1)
        with self._state.transaction() as session:
            return session.scalars(query).first()


def _whose(address: Address) -> tuple[Any, ...]:
    return (Delivery.partner == address.partner, Delivery.school == address.school, Delivery.part == address.part)


class HeldLease:
    """The right to promote, for a while. A holder that lost it learns so at its next `renew`."""

    def __init__(self, state: StateDatabase, address: Address, holder: str, seconds: float) -> None:
        self._state, self._address, self._holder, self._seconds = state, address, holder, seconds
        self._renewed = 0.0

    def take(self) -> bool:
        """Take the lease if nobody has it, or its holder let it run out."""
        now = datetime.now(UTC)
        with self._state.transaction() as session:
            lease = session.get(Lease, self._identity, with_for_update=True)
            if lease is None:
                new = Lease(
                    partner=self._address.partner,
                    school=self._address.school,
                    date=self._address.date,
                    part=self._address.part,
                    holder=self._holder,
                    expires_at=self._until(now),
                )
                try:
                    with session.begin_nested():
                        session.add(new)
                except IntegrityError:  # somebody else was first
                    return False
                return True
            if lease.holder != self._holder and lease.expires_at > now:
                return False
            lease.holder, lease.expires_at = self._holder, self._until(now)
            return True

    def keep(self) -> None:
        """Renew the lease if some of it is used up. Until then nobody else can have taken it."""
        if time.monotonic() - self._renewed > self._seconds / 6:
            self.renew()

    def renew(self) -> None:
        """Prove that the lease is still held, and hold it longer; raises LeaseLost."""
        now = datetime.now(UTC)
        self._renewed = time.monotonic()
        with self._state.transaction() as session:
            lease = session.get(Lease, self._identity, with_for_update=True)
            if lease is None or lease.holder != self._holder:
                raise LeaseLost(
                    "Another run has taken over this delivery",
                    school=self._address.school,
                    date=self._address.date,
                    remedy="Nothing is to be done: look at the other run.",
                )
            lease.expires_at = self._until(now)

    def release(self) -> None:
        """Let others have it."""
        with self._state.transaction() as session:
            lease = session.get(Lease, self._identity, with_for_update=True)
            if lease is not None and lease.holder == self._holder:
                session.delete(lease)

    @property
    def _identity(self) -> tuple[str, str, date, str]:
        return (self._address.partner, self._address.school, self._address.date, self._address.part)

    def _until(self, now: datetime) -> datetime:
        return now + timedelta(seconds=self._seconds)


def abandoned(state: StateDatabase, address: Address) -> list[Address]:
    """Other deliveries of the same partner and school whose holder died: their leases have run out unreleased.

    What they left half written lies at the target. Each is given once: its lease is then forgotten.
    """
    mine = (address.date, address.part)
    with state.transaction() as session:
        query = select(Lease).where(
            Lease.partner == address.partner, Lease.school == address.school, Lease.expires_at < datetime.now(UTC)
        )
        left = [lease for lease in session.scalars(query) if (lease.date, lease.part) != mine]
        for lease in left:
            session.delete(lease)
        return [Address(lease.partner, lease.school, lease.date, lease.part) for lease in left]


@contextlib.contextmanager
def holding_lease(
    state: StateDatabase,
    address: Address,
    holder: str,
    *,
    seconds: float = LEASE_SECONDS,
    sleep: Callable[[float], None] = time.sleep,
) -> Generator[HeldLease, None, None]:
    """Hold the lease for a delivery; waits for a holder that may be gone, as long as a lease lasts.

    The lease goes by this machine's clock, not by the given one: it is about processes, not about nights.
    """
    lease = HeldLease(state, address, holder, seconds)
    give_up = time.monotonic() + seconds + 5
    while not lease.take():
        if time.monotonic() > give_up:
            raise LeaseLost(
                "Another run is delivering the same night",
                school=address.school,
                date=address.date,
                remedy="Look at the other run; deliver again when it has ended.",
            )
        sleep(min(1.0, seconds / 4))
    try:
        yield lease
    finally:
        lease.release()
