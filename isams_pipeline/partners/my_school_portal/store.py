"""The store of change requests and its ledger: whatever changes a request leaves a line, in the same transaction."""

from __future__ import annotations

import hashlib
import secrets
from collections.abc import Collection, Iterable
from dataclasses import dataclass, field
from datetime import datetime

from sqlalchemy import Select, func, null, select, text, update
from sqlalchemy.orm import Session

from isams_pipeline.clock import Clock
from isams_pipeline.datasets.shapes import JsonObject
from isams_pipeline.errors import WrongUse
from isams_pipeline.partners.my_school_portal.ledger import (
    APPROVED,
    TAKEN_OUT,
    Door,
    Verified,
    beginning,
    hash_of,
    outline_of,
    values_hash_of,
    verify,
)
from isams_pipeline.partners.my_school_portal.requests import Tidied
from isams_pipeline.partners.my_school_portal.states import MOVES, State
from isams_pipeline.storage.state import StateDatabase
from isams_pipeline.storage.state.changes import ChangeRequest, ChangeStep

ID_TAKEN = "id: another request has it"


@dataclass(frozen=True)
class Step:
    """A line for the ledger."""

    step: str
    who: str
    fields: Iterable[str] = ()
    before: JsonObject | None = None
    after: JsonObject | None = None
    persons: Collection[int] = ()
    answer: JsonObject | None = None
    reason: str | None = None


@dataclass
class Counts:
    """How many requests of a file were new, known already, or approved by it."""

    new: int = 0
    known: int = 0
    approved: int = 0
    refused: dict[str, list[str]] = field(default_factory=dict[str, list[str]])
    """By id: what is wrong."""


def values_are_gone(request: ChangeRequest) -> WrongUse:
    """The error for a request of which nobody can say any more what it was to write."""
    return WrongUse(
        f"The request's values were taken out on {request.redacted_at:%Y-%m-%d} ({request.redacted_why})",
        request=request.id,
        school=request.school,
        remedy="Its audit trail says who did what, and when. Change the record in iSAMS itself.",
    )


class Overtaken(WrongUse):
    """Somebody else decided about the request meanwhile."""


class ChangeStore:
    """A school's change requests."""

    def __init__(self, state: StateDatabase, school: str, clock: Clock, door: Door | None = None) -> None:
        """`door` is the one by which what is written comes; this process's own without one."""
        self._state, self.school, self._clock = state, school, clock
        self._door = door or Door.here()

    # --- reading --------------------------------------------------------------------------------------------

    def find(self, identifier: str) -> ChangeRequest:
        """A request; raises WrongUse."""
        with self._state.transaction() as session:
            found = self._get(session, identifier)
        if found is None:
            raise WrongUse(
                "There is no such change request",
                school=self.school,
                request=identifier,
                remedy=f"`isams-pipeline changes list {self.school}` lists them.",
            )
        return found

    def listed(self, states: Collection[State] | None = None) -> list[ChangeRequest]:
        """Requests in some states (or all), in their order."""
        query = select(ChangeRequest).where(ChangeRequest.school == self.school).order_by(ChangeRequest.number)
        if states is not None:
            query = query.where(ChangeRequest.state.in_([state.value for state in states]))
        with self._state.transaction() as session:
            return list(session.scalars(query))

    def counts(self) -> dict[str, int]:
        """Requests by state."""
        query = select(ChangeRequest.state, func.count()).where(ChangeRequest.school == self.school)
        with self._state.transaction() as session:
            return {state: int(n) for state, n in session.execute(query.group_by(ChangeRequest.state))}

    def ledger(self, identifier: str) -> list[ChangeStep]:
        """What was done about a request, in its order."""
        query = select(ChangeStep).where(ChangeStep.school == self.school, ChangeStep.request == identifier)
        with self._state.transaction() as session:
            return list(session.scalars(query.order_by(ChangeStep.id)))

    # --- writing --------------------------------------------------------------------------------------------

    def take(self, tidied: Iterable[Tidied], *, trusted: bool, secret: str | None = None) -> Counts:
        """Store requests, each once; a later copy may bring the approval. All of it is one transaction.

        With a `secret`, an approval counts only if it is signed with it.
        """
        counts = Counts()
        wanted = list(tidied)  # reading them takes its time, and nobody else could write meanwhile
        with self._state.transaction() as session:
            known = self._known(session, [one.submission.id for one in wanted])
            for one in wanted:
                identifier = one.submission.id
                request = known.get(identifier)
                if request is not None and request.redacted_at is None and request.digest != one.digest:
                    counts.refused[identifier] = [ID_TAKEN]
                    continue
                if request is None:
                    request = known[identifier] = self._add(session, one)
                    counts.new += 1
                else:
                    counts.known += 1
                counts.approved += self._portal_approval(session, request, one, trusted=trusted, secret=secret)
        return counts

    def _known(self, session: Session, ids: list[str]) -> dict[str, ChangeRequest]:
        """Those that are there already, held until the transaction ends."""
        found: dict[str, ChangeRequest] = {}
        for at in range(0, len(ids), 500):
            query = select(ChangeRequest).where(
                ChangeRequest.school == self.school, ChangeRequest.id.in_(ids[at : at + 500])
            )
            found |= {request.id: request for request in session.scalars(query.with_for_update())}
        return found

    def _add(self, session: Session, one: Tidied) -> ChangeRequest:
        submission, now = one.submission, self._clock()
        request = ChangeRequest(
            school=self.school,
            id=submission.id,
            kind=submission.kind,
            student=submission.student,
            contact=getattr(submission, "contact", None),
            person=getattr(submission, "person", None),
            given=one.given,
            changes=one.changes,
            seen=None,
            digest=one.digest,
            state=State.PENDING.value,
            reason=None,
            approved_by=None,
            approved_at=None,
            joint_confirmed=False,
            undo_of=None,
            received_at=now,
            changed_at=now,
        )
        session.add(request)
        self._note(session, request, Step("received", "portal", one.changes, after=one.changes))
        return request

    def _portal_approval(
        self, session: Session, request: ChangeRequest, one: Tidied, *, trusted: bool, secret: str | None
    ) -> int:
        approval = one.submission.approval
        if approval is None or request.state != State.PENDING:
            return 0
        if request.approved_by is not None and not (approval.joint_confirmed and not request.joint_confirmed):
            return 0  # it was approved before, and held back for want of what this approval does not say either
        before = request.reason
        missing = [name for name in one.changes if name not in (one.seen or {})]
        early = (approval.at - self._clock()).total_seconds() > _A_DAY
        if not trusted:
            request.reason = "the portal's approval does not count here (trust_portal_approval)"
        elif secret is not None and not one.is_signed(secret):
            request.reason = "the portal's approval is not signed with the secret that is agreed (approval_secret)"
        elif missing:
            request.reason = f"the portal's approval does not say what its approver saw: {', '.join(missing)}"
        elif early:
            request.reason = "the portal's approval is of a day that has not come yet"
        else:
            self._approve(request, approval.by, approval.at, one.seen or {}, joint=approval.joint_confirmed)
            self._note(session, request, _approval(request, approval.by))
            return 1
        if request.reason != before:
            self._note(session, request, Step("not approved", approval.by, one.changes, reason=request.reason))
        return 0

    def approve(
        self,
        identifier: str,
        who: str,
        seen: JsonObject,
        *,
        joint: bool,
        persons: list[int],
        frm: Collection[State],
    ) -> None:
        """Record an approval: who, when, and the values seen. Raises Overtaken if it is in none of the states."""
        with self._state.transaction() as session:
            request = self._held(session, identifier, frm)
            self._approve(request, who, self._clock(), {name: seen.get(name) for name in request.changes}, joint=joint)
            self._note(session, request, _approval(request, who, persons))

    def _approve(self, request: ChangeRequest, who: str, at: datetime, seen: JsonObject, *, joint: bool) -> None:
        MOVES.check(State(request.state), State.APPROVED)
        if request.redacted_at is not None:
            raise values_are_gone(request)
        request.state, request.reason = State.APPROVED.value, None
        request.approved_by, request.approved_at = who, at
        request.seen = {name: seen.get(name) for name in request.changes}
        request.joint_confirmed = request.joint_confirmed or joint
        request.changed_at = self._clock()

    def move(self, identifier: str, to: State, step: Step, *before: Step, frm: Collection[State]) -> None:
        """Bring a request from one of the states into another, with the ledger's line (and others before it).

        One transaction. Raises Overtaken if it is in none of them: somebody else was there.
        """
        with self._state.transaction() as session:
            request = self._held(session, identifier, frm)
            MOVES.check(State(request.state), to)
            for line in before:
                self._note(session, request, line)
            if (request.state, request.reason) != (to.value, step.reason):
                request.state, request.reason, request.changed_at = to.value, step.reason, self._clock()
            self._note(session, request, step)

    def note(self, identifier: str, *steps: Step) -> None:
        """Write lines into the ledger, and change nothing else."""
        with self._state.transaction() as session:
            request = self._held(session, identifier, tuple(State))
            for step in steps:
                self._note(session, request, step)

    def written(self) -> dict[str, tuple[int, datetime]]:
        """Requests that were written → the place of their writing in the order of all, and when it was."""
        last = (func.max(ChangeStep.id), func.max(ChangeStep.at))
        query = select(ChangeStep.request, *last).where(ChangeStep.school == self.school, ChangeStep.step == "applied")
        with self._state.transaction() as session:
            found = session.execute(query.group_by(ChangeStep.request))
            return {request: (int(place), at) for request, place, at in found}

    def refused(self, identifier: str, problems: Collection[str]) -> None:
        """Write into the ledger that a request was refused when it came."""
        with self._state.transaction() as session:
            self._line(session, identifier, Step("refused", "portal", reason="; ".join(problems)[:2000]))

    def refusals(self) -> list[ChangeStep]:
        """Requests that were refused when they came."""
        query = select(ChangeStep).where(ChangeStep.school == self.school, ChangeStep.step == "refused")
        with self._state.transaction() as session:
            return list(session.scalars(query.order_by(ChangeStep.id)))

    def undo_of(
        self,
        of: ChangeRequest,
        identifier: str,
        who: str,
        values: JsonObject,
        seen: JsonObject,
        *,
        joint: bool,
    ) -> ChangeRequest:
        """An approved request that puts the values of another one back, where iSAMS still holds what was seen.

        Not stored yet.
        """
        now = self._clock()
        return ChangeRequest(
            school=self.school,
            id=identifier,
            kind=of.kind,
            student=of.student,
            contact=of.contact,
            person=of.person,
            given=dict(values),
            changes=dict(values),
            seen={name: seen.get(name) for name in values},
            digest="",
            state=State.APPROVED.value,
            reason=None,
            approved_by=who,
            approved_at=now,
            joint_confirmed=joint,
            undo_of=of.id,
            received_at=now,
            changed_at=now,
        )

    def add_undo(self, undo: ChangeRequest) -> ChangeRequest:
        """Store an undo; gives the one that is there already if there is."""
        with self._state.transaction() as session:
            known = self._get(session, undo.id)
            if known is not None:
                return known
            original = session.scalars(self._by_id(str(undo.undo_of))).one()
            session.add(undo)
            who = str(undo.approved_by)
            self._note(session, undo, _approval(undo, who))
            self._note(session, original, Step("undo asked for", who, undo.changes, reason=undo.id))
        return undo

    # --- values that end --------------------------------------------------------------------------------------

    def settled_before(self, moment: datetime) -> list[str]:
        """The requests with values that came to their end before a moment: confirmed, or rejected.

        Those that failed or are in conflict wait for a person, however old they are.
        """
        query = select(ChangeRequest.id).where(
            ChangeRequest.school == self.school,
            ChangeRequest.state.in_([State.CONFIRMED.value, State.REJECTED.value]),
            ChangeRequest.changed_at < moment,
            ChangeRequest.redacted_at.is_(None),
        )
        with self._state.transaction() as session:
            return list(session.scalars(query.order_by(ChangeRequest.number)))

    def take_out(self, ids: Iterable[str], *, why: str, who: str, people: bool = False) -> None:
        """Take the values out of requests and of their lines in the ledger; with `people` also whom they are about.

        Who did what, when and by which door stays. A line for each request vouches for that, so that the chain still
        tells what was altered. What the values were nobody can say any more: such a request cannot be undone.
        """
        for identifier in ids:
            with self._state.transaction() as session:
                request = session.scalars(self._by_id(identifier).with_for_update()).one_or_none()
                if request is not None and request.redacted_at is None:
                    self._take_out(session, request, why, who, people=people)
                elif request is not None and people:
                    self._take_people_out(session, request)

    def _take_out(self, session: Session, request: ChangeRequest, why: str, who: str, *, people: bool) -> None:
        self._chain_the_old(session)
        now = self._clock()
        request.given, request.changes, request.seen, request.digest = {}, {}, None, ""
        request.redacted_at, request.redacted_why = now, why
        whose = (ChangeStep.school == self.school, ChangeStep.request == request.id, ChangeStep.step != TAKEN_OUT)
        out = {"before": null(), "after": null(), "answer": null(), "salt": null()}
        out |= {"redacted_at": now, "redacted_why": why}
        session.execute(
            update(ChangeStep).where(*whose, ChangeStep.redacted_at.is_(None)).values(**out),
            execution_options={"synchronize_session": False},
        )
        if people:
            self._take_people_out(session, request)
        session.expire_all()
        old = select(ChangeStep).where(*whose, ChangeStep.values_hash.is_(None))
        outlines = {str(line.id): outline_of(line) for line in session.scalars(old)}
        self._note(session, request, Step(TAKEN_OUT, who, reason=why, answer=outlines))

    def _take_people_out(self, session: Session, request: ChangeRequest) -> None:
        """Take whom it is about out of a request whose values are gone."""
        request.student, request.contact, request.person = "", None, None
        whose = (
            ChangeStep.school == self.school,
            ChangeStep.request == request.id,
            ChangeStep.redacted_at.is_not(None),
        )
        session.execute(
            update(ChangeStep).where(*whose).values(persons=[]), execution_options={"synchronize_session": False}
        )

    def _chain_the_old(self, session: Session) -> None:
        """Chain the lines from before there was a chain: what each says can be hashed only while it says it.

        The first line of the chain follows the hash over all of them, so it follows the last of them.
        """
        query = select(ChangeStep).where(ChangeStep.school == self.school, ChangeStep.hash.is_(None))
        head = ""
        for line in session.scalars(query.order_by(ChangeStep.id)):
            line.previous, line.hash = head, hash_of(line, head)
            head = str(line.hash)
        session.flush()

    def _note(self, session: Session, request: ChangeRequest, step: Step) -> None:
        self._line(session, request.id, step)

    def _line(self, session: Session, request: str, step: Step) -> None:
        """Write a line of the ledger, chained to the one before."""
        if _HEAD not in session.info:  # the session is this transaction's alone
            if session.get_bind().dialect.name == "postgresql":
                # Until the transaction ends: two lines must not follow the same one.
                number = int.from_bytes(hashlib.sha256(f"ledger {self.school}".encode()).digest()[:8], signed=True)
                session.execute(text("SELECT pg_advisory_xact_lock(:n)"), {"n": number})
            session.info[_HEAD] = self._head(session)
        previous: str = session.info[_HEAD]
        line = ChangeStep(
            school=self.school,
            request=request,
            at=self._clock(),
            who=step.who,
            step=step.step,
            fields=list(step.fields),
            before=dict(step.before) if step.before is not None else None,
            after=dict(step.after) if step.after is not None else None,
            persons=list(step.persons),
            answer=dict(step.answer) if step.answer is not None else None,
            reason=step.reason,
            door=self._door.as_json(),
            previous=previous,
        )
        line.salt = secrets.token_hex(16)
        line.values_hash = values_hash_of(line)
        line.hash = session.info[_HEAD] = hash_of(line, previous)
        session.add(line)

    def _head(self, session: Session) -> str:
        lines = select(ChangeStep).where(ChangeStep.school == self.school)
        last = session.scalars(lines.order_by(ChangeStep.id.desc()).limit(1)).first()
        if last is None:
            return ""
        return last.hash or beginning(session.scalars(lines.order_by(ChangeStep.id)))

    def verify(self, head: str | None = None) -> Verified:
        """Whether the school's ledger is as it was written."""
        query = select(ChangeStep).where(ChangeStep.school == self.school).order_by(ChangeStep.id)
        with self._state.transaction() as session:
            return verify(list(session.scalars(query)), head)

    def _get(self, session: Session, identifier: str) -> ChangeRequest | None:
        return session.scalars(self._by_id(identifier)).one_or_none()

    def _by_id(self, identifier: str) -> Select[ChangeRequest]:
        return select(ChangeRequest).where(ChangeRequest.school == self.school, ChangeRequest.id == identifier)

    def _held(self, session: Session, identifier: str, states: Collection[State]) -> ChangeRequest:
        """The request, held until the transaction ends, if it is in one of the states."""
        found = session.scalars(self._by_id(identifier).with_for_update()).one_or_none()
        if found is None or found.state not in {state.value for state in states}:
            raise Overtaken(
                "The request was decided meanwhile",
                school=self.school,
                request=identifier,
                remedy="See its state with `isams-pipeline changes show`.",
            )
        return found


def _approval(request: ChangeRequest, who: str, persons: Collection[int] = ()) -> Step:
    """The line of an approval: all that it approves, so that it can be held against what is about to be written."""
    joint = {"joint_confirmed": request.joint_confirmed}
    return Step(APPROVED, who, request.changes, request.seen, request.changes, persons, joint)


_A_DAY = 24 * 3600
_HEAD = "head of the ledger"


def counts_by_school(state: StateDatabase) -> dict[str, dict[str, int]]:
    """School → state → change requests in it."""
    query = select(ChangeRequest.school, ChangeRequest.state, func.count())
    found: dict[str, dict[str, int]] = {}
    with state.transaction() as session:
        for school, name, count in session.execute(query.group_by(ChangeRequest.school, ChangeRequest.state)):
            found.setdefault(school, {})[name] = int(count)
    return found
