"""Approved requests → iSAMS: read, compare, write, read back; each step in the ledger before the next.

What a run meant to write is committed before it writes. If it is killed, or the answer is lost, the request stands
`applying`, and the next run finds out by reading: iSAMS holds what was wanted (it was written), or what was there
before (it was not), or neither (somebody else was there: a conflict).
"""

from __future__ import annotations

import contextlib
import time
import traceback
from collections import Counter
from collections.abc import Callable, Collection, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field
from typing import Any, Literal, cast

from isams_pipeline.errors import (
    AccessRefused,
    IsamsError,
    NotAccepted,
    NotFound,
    NotPermitted,
    PipelineError,
    RequestRefused,
    ServerTimeout,
    Throttled,
    TransientIsamsError,
    TruncatedAnswer,
    Unavailable,
)
from isams_pipeline.isams.people import People, Record, Target, read, same, write
from isams_pipeline.partners.my_school_portal import State
from isams_pipeline.partners.my_school_portal.ordering import by_person
from isams_pipeline.partners.my_school_portal.review import Review, Wanted, review
from isams_pipeline.partners.my_school_portal.store import ChangeStore, Step
from isams_pipeline.storage.state.changes import ChangeRequest

INTENDED, ANSWERED = "intended", "answered"
WAITING = "waiting"
"""Nothing was decided: the next run goes on with it."""
_TURNED_AWAY = (AccessRefused, NotPermitted, Throttled)
"""Surely not taken, and not this request's fault."""
_READINGS = 3


@dataclass(frozen=True)
class Done:
    """How a request ended."""

    request: str
    outcome: str
    """A state, or waiting."""
    reason: str | None = None


@dataclass
class Applied:
    """How a run through the approved requests ended."""

    done: list[Done] = field(default_factory=list[Done])
    stopped_by: PipelineError | None = None
    """What would have met all the others too."""

    def counts(self) -> dict[str, int]:
        """Requests by outcome."""
        return dict(Counter(one.outcome for one in self.done))

    @property
    def unsettled(self) -> list[Done]:
        """What a person should look at, or what waits."""
        return [one for one in self.done if one.outcome not in {State.APPLIED.value, State.REJECTED.value}]


def target_of(request: ChangeRequest) -> Target:
    """Whose record a request is about."""
    return Target(cast("Literal['student', 'guardian']", request.kind), request.student, request.contact)


def wanted_by(request: ChangeRequest) -> Wanted:
    """What a request asks for."""
    restores = request.undo_of is not None
    return Wanted(request.changes, request.seen, request.person, request.joint_confirmed, restores=restores)


@dataclass
class Applier:
    """Applies a school's approved requests, several people at a time."""

    store: ChangeStore
    client: People
    who: str
    """The run, for the ledger."""
    parallel: int = 8
    guardian_route: str | None = None
    persons: Mapping[int, Collection[int]] = field(default_factory=dict[int, Collection[int]])
    """Who is on a contact, as far as is known."""
    sleep: Callable[[float], None] = time.sleep
    read_back_wait: float = 0.5
    _stopped: set[str] = field(default_factory=set[str])
    """Kinds of request that nothing more is tried for."""
    _problem: PipelineError | None = None

    def apply(self, requests: Sequence[ChangeRequest]) -> Applied:
        """Apply requests that are approved, or that an earlier run left unsettled. No request makes it raise."""
        groups = by_person(requests, self.persons)
        if not groups:
            return Applied()
        with ThreadPoolExecutor(min(self.parallel, len(groups)), thread_name_prefix="changes") as pool:
            found = [done for group in pool.map(self._group, groups) for done in group]
        return Applied(found, self._problem)

    def _group(self, requests: Sequence[ChangeRequest]) -> list[Done]:
        """One person's requests, in their order: one that waits holds back those after it."""
        done: list[Done] = []
        for request in requests:
            if request.kind in self._stopped or (done and done[-1].outcome == WAITING):
                done.append(Done(request.id, WAITING, "held back by what came before"))
            else:
                done.append(self._one(request))
        return done

    def _one(self, request: ChangeRequest) -> Done:
        try:
            return self._apply(request)
        except TransientIsamsError as error:
            if isinstance(error, Throttled):
                self._halt(error)
            return self._waits(request, error)
        except NotFound as error:
            return self._end(request, State.FAILED, Step("failed", self.who, request.changes, reason=_said(error)))
        except NotPermitted as error:
            self._halt(error, request.kind)  # students and guardians go by different ways
            return self._waits(request, error)
        except PipelineError as error:
            self._halt(error)  # of the client, the settings or the disk, not of this request
            return self._waits(request, error)
        except Exception as error:  # noqa: BLE001  # one request never stops the others; its text may quote a value
            frame = traceback.extract_tb(error.__traceback__)[-1]
            place = f"{frame.filename.rpartition('/')[2]}:{frame.lineno}"
            return Done(
                request.id, WAITING, f"an error that this project does not know: {type(error).__name__} at {place}"
            )

    def _halt(self, error: PipelineError, *kinds: str) -> None:
        """What one request met, all the others (of its kind) would meet."""
        self._problem = self._problem or error
        self._stopped.update(kinds or ("student", "guardian"))

    def _waits(self, request: ChangeRequest, error: PipelineError) -> Done:
        reason = _said(error)
        with contextlib.suppress(PipelineError):
            self.store.note(request.id, Step(WAITING, self.who, request.changes, reason=reason))
        return Done(request.id, WAITING, reason)

    def _end(self, request: ChangeRequest, state: State, step: Step) -> Done:
        self.store.move(request.id, state, step)
        return Done(request.id, state.value, step.reason)

    # --- one request ----------------------------------------------------------------------------------------

    def _apply(self, request: ChangeRequest) -> Done:
        if request.kind == "guardian" and self.guardian_route is None:
            reason = "the school has named no route for guardians (guardian_route)"
            return self._end(request, State.FAILED, Step("failed", self.who, request.changes, reason=reason))
        record = read(self.client, target_of(request))
        if request.state == State.APPLYING:
            return self._find_out(request, record)
        found = review(record, wanted_by(request))
        ended = self._cannot(request, found)
        return ended or self._write(request, record, found)

    def _cannot(self, request: ChangeRequest, found: Review) -> Done | None:
        """What ends a request before anything is written."""
        names, persons = request.changes, found.persons
        if found.problems:
            reason = "; ".join(found.problems)
            return self._end(request, State.FAILED, Step("failed", self.who, names, persons=persons, reason=reason))
        if found.unconfirmed:
            reason = f"{found.warnings[0]}; approve it with --confirm-joint"
            return self._end(request, State.PENDING, Step("held", self.who, names, persons=persons, reason=reason))
        if found.conflicts:
            reason = f"iSAMS no longer holds what the approver saw in {', '.join(found.conflicts)}"
            now = {d.name: d.now for d in found.differences}
            step = Step("conflict", self.who, names, before=request.seen, after=now, persons=persons, reason=reason)
            return self._end(request, State.CONFLICT, step)
        if found.holds:
            reason = "iSAMS held it already; nothing was written"
            step = Step("applied", self.who, names, after=request.changes, persons=persons, reason=reason)
            return self._end(request, State.APPLIED, step)
        return None

    def _find_out(self, request: ChangeRequest, record: Record) -> Done:
        """What became of a write whose end nobody has seen."""
        intended = self.store.last(request.id, INTENDED)
        before: Mapping[str, Any] = (intended.before if intended else None) or {}
        found = review(record, wanted_by(request))
        if found.holds:
            reason = "found written after an interruption"
            step = Step("applied", self.who, request.changes, before, request.changes, found.persons, reason=reason)
            return self._end(request, State.APPLIED, step)
        if all(same(record.holds(name), before.get(name)) for name in request.changes):
            return self._write(request, record, found)
        changed = [name for name in request.changes if not same(record.holds(name), before.get(name))]
        reason = f"after an interruption iSAMS holds something else in {', '.join(changed)}"
        step = Step("conflict", self.who, request.changes, persons=found.persons, reason=reason)
        return self._end(request, State.CONFLICT, step)

    def _write(self, request: ChangeRequest, record: Record, found: Review) -> Done:
        before = {d.name: d.now for d in found.differences}
        persons = found.persons
        intended = Step(INTENDED, self.who, before, before, request.changes, persons)
        self.store.move(request.id, State.APPLYING, intended)
        answer: dict[str, Any]
        try:
            answer = {"status": write(self.client, record, request.changes)}
        except (NotAccepted, RequestRefused, NotFound) as error:
            answer = {"status": error.where.get("status"), "said": error.said}
            step = Step("failed", self.who, before, persons=persons, answer=answer, reason=_said(error))
            return self._end(request, State.FAILED, step)
        except _TURNED_AWAY as error:
            self._take_back(request, error)
            raise
        except (ServerTimeout, TruncatedAnswer, Unavailable) as error:
            if isinstance(error, Unavailable) and error.where.get("status") in {None, 503}:
                self._take_back(request, error)  # surely not taken
                raise
            answer = {"error": type(error).__name__, "status": error.where.get("status"), "said": error.said}
        return self._read_back(request, record, before, answer)

    def _take_back(self, request: ChangeRequest, error: IsamsError) -> None:
        answer = {"status": error.where.get("status"), "error": type(error).__name__}
        step = Step("not taken", self.who, request.changes, answer=answer, reason=_said(error))
        self.store.move(request.id, State.APPROVED, step)

    def _read_back(self, request: ChangeRequest, was: Record, before: dict[str, Any], answer: dict[str, Any]) -> Done:
        """Compare what iSAMS holds now; a reading that is still the old one is done again, a moment later."""
        lines = [Step(ANSWERED, self.who, before, answer=answer)]
        try:
            now = read(self.client, was.target)
            for nth in range(1, _READINGS):
                if _holds(now, request.changes):
                    break
                self.sleep(self.read_back_wait * nth)
                now = read(self.client, was.target)
        except PipelineError as error:
            self.store.note(request.id, *lines)
            if isinstance(error, NotFound):
                return self._waits(request, error)
            raise
        persons = now.persons
        held = {name: now.holds(name) for name in request.changes}
        if _holds(now, request.changes):
            lost = _also_changed(was, now, request.changes)
            reason = f"other fields changed at the same time: {', '.join(lost)}" if lost else None
            ended = Step("applied", self.who, before, before, held, persons, reason=reason)
            return self._end_after(request, lines, State.APPLIED, ended)
        unchanged = all(same(held[name], before[name]) for name in held)
        if unchanged and "error" in answer:
            self.store.note(request.id, *lines)
            return Done(request.id, WAITING, "no answer, and iSAMS does not hold it yet: the next run finds out")
        wrong = [name for name in held if not same(held[name], request.changes[name])]
        what = (
            "iSAMS said yes and changed nothing" if unchanged else f"iSAMS holds something else in {', '.join(wrong)}"
        )
        return self._end_after(
            request, lines, State.FAILED, Step("failed", self.who, before, before, held, persons, reason=what)
        )

    def _end_after(self, request: ChangeRequest, lines: list[Step], state: State, ended: Step) -> Done:
        self.store.move(request.id, state, ended, *lines)
        return Done(request.id, state.value, ended.reason)


def _holds(record: Record, changes: Mapping[str, Any]) -> bool:
    return all(same(record.holds(name), value) for name, value in changes.items())


def _also_changed(was: Record, now: Record, changes: Mapping[str, Any]) -> list[str]:
    """Writable fields that are not what they were, though nobody asked for it."""
    ours = {"middlenames" if name == "middleNames" and was.target.kind == "student" else name for name in changes}
    return [name for name, value in was.writable().items() if name not in ours and not same(now.holds(name), value)]


def _said(error: PipelineError) -> str:
    """An error in a few words: the school and the client are known."""
    status = error.where.get("status")
    return f"{error.what}{f' ({status})' if status else ''}"
