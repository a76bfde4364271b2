"""Approved requests → iSAMS: read, compare, write, read back; each step in the ledger before the next.

What a run meant to write is committed before it writes. If it is killed, or the answer is lost, the request stands
`applying`, and the next run finds out by reading, before it does anything else: iSAMS holds what was wanted (it was
written), or each field holds that or what was there before (it was not, or half: it is written again), or something
else (somebody was there: a conflict). A write that iSAMS turned away is never sent again as it was: the record is read
and compared anew.
"""

from __future__ import annotations

import contextlib
import threading
import time
from collections import Counter
from collections.abc import Callable, Collection, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field
from typing import Literal, cast

from isams_pipeline.datasets.shapes import Json, JsonObject
from isams_pipeline.errors import (
    IsamsError,
    NotAccepted,
    NotFound,
    NotPermitted,
    PipelineError,
    RequestRefused,
    ServerTimeout,
    Throttled,
    TransientIsamsError,
    Unforeseen,
)
from isams_pipeline.partners.my_school_portal.ledger import unapproved
from isams_pipeline.partners.my_school_portal.ordering import by_person
from isams_pipeline.partners.my_school_portal.review import Review, Wanted, review
from isams_pipeline.partners.my_school_portal.states import OPEN, State
from isams_pipeline.partners.my_school_portal.store import ChangeStore, Overtaken, Step
from isams_pipeline.sources.isams.people import People, Record, Target, read, read_back, same, write
from isams_pipeline.sources.shared.http import Patience
from isams_pipeline.storage.state.changes import ChangeRequest, ChangeStep

INTENDED, ANSWERED, APPLIED, FAILED, NOT_TAKEN = "intended", "answered", "applied", "failed", "not taken"
WAITING = "waiting"
"""Nothing was decided: the next run goes on with it."""
_READINGS = 3


@dataclass(frozen=True)
class Done:
    """How a request ended."""

    request: str
    outcome: str
    """A state, or waiting."""
    reason: str | None = None
    damaged: tuple[str, ...] = ()
    """Fields that changed though nobody asked for it."""


@dataclass
class Applied:
    """How a run through the approved requests ended."""

    done: list[Done] = field(default_factory=list[Done])
    problem: PipelineError | None = None
    """The first thing that kept a request waiting, not of its own making: the run as a whole has failed."""

    def counts(self) -> dict[str, int]:
        """Requests by outcome."""
        return dict(Counter(one.outcome for one in self.done))


def target_of(request: ChangeRequest) -> Target:
    """Whose record a request is about."""
    return Target(cast("Literal['student', 'guardian']", request.kind), request.student, request.contact)


def wanted_by(request: ChangeRequest) -> Wanted:
    """What a request asks for."""
    restores = request.undo_of is not None
    return Wanted(request.changes, request.seen, request.person, request.joint_confirmed, restores=restores)


def values_before(ledger: Sequence[ChangeStep]) -> Json:
    """What a request's fields held before any of it was written: what an undo puts back. Empty if nothing was."""
    found: Json = {}
    for line in ledger:
        if line.step == INTENDED:
            found = dict(line.before or {}) | found
        elif line.step == NOT_TAKEN or (line.step in {APPLIED, FAILED} and not line.before):
            found = {}  # surely nothing was written until then
    return found


class _Again(Exception):
    """The request may be tried again from its beginning, for want of an end that could be seen."""

    def __init__(self, error: PipelineError) -> None:
        super().__init__()
        self.error = error


@dataclass
class Applier:
    """Applies a school's approved requests, several people at a time."""

    store: ChangeStore
    client: People
    who: str
    """The run, for the ledger."""
    parallel: int = 8
    guardian_route: str | None = None
    writes: bool = True
    """Without it, it only finds out what became of requests that an earlier run left unsettled."""
    persons: Mapping[int, Collection[int]] = field(default_factory=dict[int, Collection[int]])
    """Who is on a contact, as far as is known."""
    patience: Patience = field(default_factory=Patience)
    sleep: Callable[[float], None] = time.sleep
    read_back_wait: float = 0.5
    _stopped: set[str] = field(default_factory=set[str])
    """Kinds of request that nothing more is tried for."""
    _problem: PipelineError | None = None
    _in_a_row: int = 0
    """Requests that one after the other met an iSAMS in trouble."""
    _lock: threading.Lock = field(default_factory=threading.Lock)

    def apply(self, requests: Sequence[ChangeRequest]) -> Applied:
        """Apply requests that are approved, or that an earlier run left unsettled. No request makes it raise."""
        groups = by_person(requests, self.persons)
        if not groups:
            return Applied()
        with ThreadPoolExecutor(min(self.parallel, len(groups)), thread_name_prefix="changes") as pool:
            found = [done for group in pool.map(self._group, groups) for done in group]
        return Applied(found, self._problem)

    def _group(self, requests: Sequence[ChangeRequest]) -> list[Done]:
        """One person's requests, the unsettled ones first, then in their order: one that waits holds back the rest."""
        done: list[Done] = []
        for request in sorted(requests, key=lambda one: (one.state != State.APPLYING, one.number)):
            if request.kind in self._stopped or (done and done[-1].outcome == WAITING):
                done.append(Done(request.id, WAITING, "held back, as an earlier request could not be written"))
            else:
                done.append(self._one(request))
        return done

    def _one(self, request: ChangeRequest) -> Done:
        """A request to its end, or as far as patience goes."""
        attempt = 1
        while True:
            try:
                done = self._apply(request if attempt == 1 else self.store.find(request.id))
            except _Again as again:
                wait = self._wait(again.error, attempt)
                if wait is None:
                    return self._waits(request, again.error)
                self.sleep(wait)
                attempt += 1
            except Overtaken:
                return Done(request.id, WAITING, "somebody else decided the request meanwhile")
            except PipelineError as error:
                return self._waits(request, error)
            except Exception as error:  # noqa: BLE001  # one request never stops the others; its text may quote a value
                return self._waits(request, Unforeseen(error))
            else:
                with self._lock:
                    self._in_a_row = 0
                return done

    def _wait(self, error: PipelineError, attempt: int) -> float | None:
        """The seconds until the next try; None where there is none."""
        return self.patience.wait(error, attempt) if isinstance(error, TransientIsamsError) else None

    def _waits(self, request: ChangeRequest, error: PipelineError) -> Done:
        """Nothing was decided, for a reason that is not the request's: the run will fail, and perhaps stop here."""
        reason = _said(error)
        with self._lock:
            self._problem = self._problem or error
            self._in_a_row += 1
            if isinstance(error, NotPermitted):
                self._stopped.add(request.kind)  # students and guardians go by different ways
            elif not isinstance(error, TransientIsamsError | Unforeseen | NotFound) or isinstance(error, Throttled):
                self._stopped.update(("student", "guardian"))  # of the client, the settings or the disk: as for all
            elif self._in_a_row >= self.parallel:
                self._stopped.update(("student", "guardian"))  # iSAMS is down: ten thousand more need not find out
        with contextlib.suppress(PipelineError):
            self.store.note(request.id, Step(WAITING, self.who, request.changes, reason=reason))
        return Done(request.id, WAITING, reason)

    def _end(self, request: ChangeRequest, state: State, step: Step, *before: Step) -> Done:
        self.store.move(request.id, state, step, *before, frm=OPEN)
        return Done(request.id, state.value, step.reason)

    # --- one request ----------------------------------------------------------------------------------------

    def _apply(self, request: ChangeRequest) -> Done:
        if request.state == State.APPLYING:
            return self._find_out(request, read_back(self.client, target_of(request)))
        if not self.writes:
            return Done(request.id, State.APPROVED.value, "writing is not enabled")
        # The approval counts as the ledger has it, not as the state says.
        if (reason := unapproved(request, self.store.ledger(request.id))) is not None:
            return self._end(request, State.PENDING, Step("held", self.who, request.changes, reason=reason))
        if request.kind == "guardian" and self.guardian_route is None:
            reason = "guardian_route is not set under partners.my_school_portal in schools.yaml"
            return self._end(request, State.FAILED, Step(FAILED, self.who, request.changes, reason=reason))
        try:
            record = read(self.client, target_of(request))
        except NotFound as error:
            step = Step(FAILED, self.who, request.changes, reason=_said(error))
            return self._end(request, State.FAILED, step)
        found = review(record, wanted_by(request))
        ended = self._cannot(request, found)
        return ended or self._write(request, record, found)

    def _cannot(self, request: ChangeRequest, found: Review) -> Done | None:
        """What ends a request before anything is written."""
        names, persons = request.changes, found.persons
        if found.problems:
            reason = "; ".join(found.problems)
            return self._end(request, State.FAILED, Step(FAILED, self.who, names, persons=persons, reason=reason))
        if found.unconfirmed:
            reason = f"{found.warnings[0]}; if that is right, run `isams-pipeline changes approve` with --confirm-joint"
            return self._end(request, State.PENDING, Step("held", self.who, names, persons=persons, reason=reason))
        if found.conflicts:
            reason = f"iSAMS no longer holds what the approver saw in {', '.join(found.conflicts)}"
            now = {d.name: d.now for d in found.differences}
            step = Step("conflict", self.who, names, before=request.seen, after=now, persons=persons, reason=reason)
            return self._end(request, State.CONFLICT, step)
        if found.holds:
            reason = "iSAMS held it already; nothing was written"
            step = Step(APPLIED, self.who, names, after=request.changes, persons=persons, reason=reason)
            return self._end(request, State.APPLIED, step)
        return None

    def _find_out(self, request: ChangeRequest, record: Record) -> Done:
        """What became of a write whose end nobody has seen."""
        before = values_before(self.store.ledger(request.id))
        found = review(record, wanted_by(request))
        now = {d.name: d.now for d in found.differences}
        if found.holds:
            reason = "found written after an interruption"
            step = Step(APPLIED, self.who, request.changes, before, now, found.persons, reason=reason)
            return self._end(request, State.APPLIED, step)
        others = [d.name for d in found.differences if not d.holds and not same(d.now, before.get(d.name))]
        if others:
            reason = f"after an interruption iSAMS holds something else in {', '.join(others)}"
            step = Step("conflict", self.who, request.changes, before, now, found.persons, reason=reason)
            return self._end(request, State.CONFLICT, step)
        if self.writes and (request.kind == "student" or self.guardian_route is not None):
            return self._write(request, record, found)
        reason = "an interrupted write was not done, and writing is off now"
        step = Step("found not written", self.who, request.changes, before, now, found.persons, reason=reason)
        return self._end(request, State.APPROVED, step)

    def _write(self, request: ChangeRequest, record: Record, found: Review) -> Done:
        before = {d.name: d.now for d in found.differences}
        persons = found.persons
        intended = Step(INTENDED, self.who, before, before, request.changes, persons)
        self.store.move(request.id, State.APPLYING, intended, frm=OPEN)
        unknown: PipelineError | None = None
        try:
            answer: Json = {"status": write(self.client, record, request.changes)}
        except (NotAccepted, RequestRefused, NotFound) as error:
            answer = _answer(error)
            hint = "; see iSAMS's own words with `isams-pipeline changes show`" if answer["said"] else ""
            step = Step(FAILED, self.who, before, persons=persons, answer=answer, reason=f"{_said(error)}{hint}")
            return self._end(request, State.FAILED, step)
        except PipelineError as error:
            if not (isinstance(error, IsamsError) and error.taken):
                step = Step(NOT_TAKEN, self.who, before, answer=_answer(error), reason=_said(error))
                self.store.move(request.id, State.APPROVED, step, frm=OPEN)
                raise _Again(error) from None
            answer, unknown = _answer(error), error
            if isinstance(error, ServerTimeout):
                self.sleep(self.patience.timeout_wait)
        return self._read_back(request, record, before, Step(ANSWERED, self.who, before, answer=answer), unknown)

    def _read_back(
        self, request: ChangeRequest, was: Record, before: Json, answered: Step, unknown: PipelineError | None
    ) -> Done:
        """Compare what iSAMS holds now; a reading that is still the old one is done again, a moment later.

        `unknown` is what came instead of an answer to the write, if none came.
        """
        try:
            now = read_back(self.client, was.target)
            for nth in range(1, _READINGS):
                if _holds(now, request.changes):
                    break
                self.sleep(self.read_back_wait * nth)
                now = read_back(self.client, was.target)
        except PipelineError:
            self.store.note(request.id, answered)
            raise
        persons = now.persons
        held = {name: now.holds(name) for name in request.changes}
        if _holds(now, request.changes):
            others = was.others_changed(now, request.changes)
            reason = f"other fields changed at the same time: {', '.join(others)}" if others else None
            ended = Step(
                APPLIED,
                self.who,
                before,
                before | {name: old for name, (old, _) in others.items()},
                held | {name: new for name, (_, new) in others.items()},
                persons,
                reason=reason,
            )
            self._end(request, State.APPLIED, ended, answered)
            return Done(request.id, State.APPLIED.value, reason, tuple(others))
        unchanged = all(same(held[name], before[name]) for name in held)
        if unchanged and unknown is not None:
            self.store.note(request.id, answered)
            raise _Again(unknown)
        wrong = [name for name in held if not same(held[name], request.changes[name])]
        else_in = f"iSAMS holds something else in {', '.join(wrong)}"
        reason = "iSAMS said yes and changed nothing" if unchanged else else_in
        ended = Step(FAILED, self.who, before, None if unchanged else before, held, persons, reason=reason)
        return self._end(request, State.FAILED, ended, answered)


def _holds(record: Record, changes: JsonObject) -> bool:
    return all(same(record.holds(name), value) for name, value in changes.items())


def _answer(error: PipelineError) -> Json:
    said = error.said if isinstance(error, IsamsError) else None
    return {"status": error.where.get("status"), "error": type(error).__name__, "said": said}


def _said(error: PipelineError) -> str:
    """An error in a few words: the school and the client are known."""
    status = error.where.get("status")
    return f"{error.what}{f' ({status})' if status else ''}"
