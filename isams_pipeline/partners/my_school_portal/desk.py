"""What people and runs do with a school's change requests: review, approve, reject, apply, undo, confirm."""

from __future__ import annotations

import contextlib
from collections.abc import Collection, Generator, Mapping
from dataclasses import dataclass, field
from datetime import date, datetime, timedelta
from typing import Any

from isams_pipeline.config import Settings
from isams_pipeline.datasets import SOURCE
from isams_pipeline.datasets.shapes import Json, JsonObject
from isams_pipeline.errors import PipelineError, StorageError, WrongUse
from isams_pipeline.orchestration.environment import Environment
from isams_pipeline.orchestration.partner import Waiting
from isams_pipeline.partners.my_school_portal.apply import (
    APPLIED,
    FAILED,
    Applied,
    Applier,
    target_of,
    values_before,
    wanted_by,
)
from isams_pipeline.partners.my_school_portal.confirm import confirm
from isams_pipeline.partners.my_school_portal.intake import store_of
from isams_pipeline.partners.my_school_portal.ledger import Door, broken
from isams_pipeline.partners.my_school_portal.ordering import by_person
from isams_pipeline.partners.my_school_portal.review import Review, review
from isams_pipeline.partners.my_school_portal.settings import KEY, MySchoolPortalSettings
from isams_pipeline.partners.my_school_portal.states import OPEN, WRITTEN, State
from isams_pipeline.partners.my_school_portal.store import ChangeStore, Step, counts_by_school, values_are_gone
from isams_pipeline.rules.split import rows_of
from isams_pipeline.sources.isams.connect import rest_client
from isams_pipeline.sources.isams.people import read
from isams_pipeline.sources.isams.rest import RestClient
from isams_pipeline.storage.state.changes import ChangeRequest

REVIEWABLE = (State.PENDING, State.CONFLICT, State.FAILED, State.LOST)
"""A person may approve these: what did not go may go with other values seen."""
_UNCONFIRMED = (State.APPLIED, State.LOST)
REJECTABLE = (*REVIEWABLE, State.APPROVED, State.APPLYING)
"""Also one that is stuck half-way: the person is gone, say."""


@dataclass(frozen=True)
class Looked:
    """A request beside iSAMS's record, or why there is none."""

    request: ChangeRequest
    review: Review | None
    problem: str | None = None


@dataclass
class Confirmed:
    """What a night's datasets say about requests that were written."""

    confirmed: list[str] = field(default_factory=list[str])
    lost: dict[str, tuple[str, ...]] = field(default_factory=dict[str, tuple[str, ...]])
    """Request → fields that did not stick."""
    unseen: list[str] = field(default_factory=list[str])
    """The person is not in the datasets any more."""
    not_due: int = 0
    """Written after what the datasets show: the next night tells."""


@dataclass(frozen=True)
class ChangeDesk:
    """One school's."""

    environment: Environment
    school: str
    door: Door | None = None
    """By which door what it writes comes; this process's own without one."""

    @property
    def store(self) -> ChangeStore:
        """Its requests and their ledger."""
        return store_of(self.environment, self.school, self.door)

    @property
    def writes(self) -> bool:
        """Whether anything is ever written to this school's iSAMS."""
        return self.environment.settings.partner(self.school, MySchoolPortalSettings).writeback == "enabled"

    @contextlib.contextmanager
    def alone(self, wait: float = 60) -> Generator[None, None, None]:
        """Be the only one who writes this school's requests; raises SchoolBusy."""
        with self.environment.locks.hold(f"changes {self.school}", wait=wait):
            yield

    def client(self) -> RestClient:
        """The portal's REST client; raises MissingSecret."""
        name = self.environment.settings.partner(self.school, MySchoolPortalSettings).client
        return rest_client(self.environment.access(self.school), name)

    # --- looking --------------------------------------------------------------------------------------------

    def look(self, requests: Collection[ChangeRequest]) -> list[Looked]:
        """Requests beside iSAMS's records as they are now. Writes nothing."""
        with self.client() as client:

            def one(request: ChangeRequest) -> Looked:
                try:
                    return Looked(request, review(read(client, target_of(request)), wanted_by(request)))
                except PipelineError as error:
                    return Looked(request, None, str(error))

            return client.each(one, requests)

    def chosen(self, identifiers: Collection[str], states: Collection[State]) -> list[ChangeRequest]:
        """The requests that are meant: those named, which must be in one of the states, or all that are."""
        if not identifiers:
            return self.store.listed(states)
        found = [self.store.find(identifier) for identifier in dict.fromkeys(identifiers)]
        for request in found:
            if request.state not in {state.value for state in states}:
                raise WrongUse(
                    f"The request is {request.state}",
                    request=request.id,
                    school=self.school,
                    remedy=f"Only a request that is {' or '.join(states)} can be named here; see `isams-pipeline "
                    "changes list`.",
                )
        return sorted(found, key=lambda request: request.number)

    # --- deciding -------------------------------------------------------------------------------------------

    def approve(self, looked: Looked, who: str, *, joint: bool) -> None:
        """Record a person's approval of what was shown. Raises WrongUse if it cannot be approved so."""
        request, found = looked.request, looked.review
        if found is None:
            raise WrongUse(f"The request could not be compared with iSAMS: {looked.problem}", request=request.id)
        if found.problems:
            why = "; ".join(found.problems)
            raise WrongUse(f"The request cannot be written: {why}", request=request.id, remedy="Reject it.")
        if found.joint_email and not (joint or request.joint_confirmed):
            raise WrongUse(
                f"{found.warnings[0][:1].upper()}{found.warnings[0][1:]}",
                request=request.id,
                remedy="If that is right, approve it with --confirm-joint.",
            )
        seen = {d.name: d.now for d in found.differences}
        confirmed = joint and found.joint_email
        self.store.approve(request.id, who, seen, joint=confirmed, persons=found.persons, frm=REVIEWABLE)

    def reject(self, identifier: str, who: str, reason: str) -> None:
        """Record that a person said no. Raises WrongUse for what is written."""
        (request,) = self.chosen([identifier], REJECTABLE)
        step = Step("rejected", who, request.changes, reason=reason)
        # One that stands half-way may be in the hands of a run: only when there is none.
        held = self.alone() if request.state == State.APPLYING else contextlib.nullcontext()
        with held:
            self.store.move(identifier, State.REJECTED, step, frm=(State(request.state),))

    def to_put_back(self, identifier: str) -> tuple[ChangeRequest, Json, Json]:
        """A request, what its fields held before it was written, and what they were left with.

        Raises WrongUse where nothing of it was written.
        """
        request = self.store.find(identifier)
        if request.redacted_at is not None:
            raise values_are_gone(request)
        ledger = self.store.ledger(identifier)
        before = values_before(ledger)
        ended = next((line for line in reversed(ledger) if line.step in {APPLIED, FAILED} and line.before), None)
        if ended is None or not before:
            raise WrongUse(
                "Nothing was written for the request, so there is nothing to put back",
                request=identifier,
                school=self.school,
                remedy="`isams-pipeline changes show` has its audit trail.",
            )
        left = ended.after or {}
        return request, before, {name: left.get(name) for name in before}

    def would_undo(self, identifier: str, *, joint: bool, leaving: Collection[str] = ()) -> ChangeRequest:
        """The request that an undo would be, to be looked at and not stored; `leaving` are fields that stay."""
        request, before, left = self.to_put_back(identifier)
        values = _without(before, leaving)
        return self.store.undo_of(request, f"undo:{identifier}", "", values, left, joint=joint)

    def changed_since(self, identifier: str, *, joint: bool) -> tuple[Looked, list[str]]:
        """What an undo would put back, beside iSAMS as it is now, and the fields that somebody has changed since.

        Those stay as they are. Raises WrongUse where nothing of what the request wrote still stands.
        """
        (looked,) = self.look([self.would_undo(identifier, joint=joint)])
        changed = looked.review.conflicts if looked.review is not None else []
        if not changed:
            return looked, []
        if set(changed) == set(looked.request.changes):
            raise WrongUse(
                f"All that the request wrote was changed since: {', '.join(changed)}",
                request=identifier,
                school=self.school,
                remedy="There is nothing to put back; what iSAMS has now is somebody else's.",
            )
        (rest,) = self.look([self.would_undo(identifier, joint=joint, leaving=changed)])
        return rest, changed

    def undo(self, identifier: str, who: str, *, joint: bool = False, leaving: Collection[str] = ()) -> ChangeRequest:
        """Ask for the old values to be put back: a request of its own, approved, under the same checks.

        `leaving` are fields that stay as they are now. Gives the one that is there already, if it was done or waits.
        """
        request, before, left = self.to_put_back(identifier)
        before = _without(before, leaving)
        undone = {one.undo_of for one in self.store.listed(WRITTEN)}
        for number in range(1, 100):
            name = f"undo:{identifier}" if number == 1 else f"undo:{identifier}:{number}"
            undo = self.store.add_undo(self.store.undo_of(request, name, who, before, left, joint=joint))
            over = undo.state in {State.CONFLICT.value, State.FAILED.value, State.REJECTED.value}
            if not over and undo.id not in undone:
                return undo
        raise WrongUse("The undo was tried too often", request=identifier, remedy="Change it in iSAMS.")

    # --- writing --------------------------------------------------------------------------------------------

    def apply(self, who: str, identifiers: Collection[str] = ()) -> Applied:
        """Write approved requests, those named or all, and settle what an earlier run left.

        An earlier request of the same person goes before one that is named. Where writing is off, it only finds out
        what became of writes that were interrupted.
        """
        settings = self.environment.settings.partner(self.school, MySchoolPortalSettings)
        states = OPEN if self.writes else (State.APPLYING,)
        with self.alone():
            requests = self.store.listed(states)
            if not requests:
                return Applied()
            if not (ledger := self.store.verify()).holds:
                raise broken(self.school, ledger)
            persons = self._persons() if any(request.contact for request in requests) else {}
            with self.client() as client:
                return Applier(
                    self.store,
                    client,
                    who,
                    parallel=client.parallel,
                    guardian_route=settings.guardian_route,
                    writes=self.writes,
                    persons=persons,
                    patience=self.environment.patience,
                ).apply(_with_earlier(requests, set(identifiers), persons))

    def _persons(self) -> dict[int, set[int]]:
        """Contact → the people on it, as the newest night has it; empty where there is none."""
        tables = self.environment.tables
        try:
            newest = tables.before(SOURCE, "contacts", self.school, date.max)
            contacts = tables.load(newest) if newest is not None else None
        except StorageError:
            contacts = None
        found: dict[int, set[int]] = {}
        for row in rows_of(contacts[["entry_id", "person_id"]]) if contacts is not None else ():
            found.setdefault(int(row.entry_id), set()).add(int(row.person_id))
        return found

    # --- confirming -----------------------------------------------------------------------------------------

    def confirm(self, night: date, who: str) -> Confirmed:
        """Compare what was written with a night's datasets, each request once. Raises NotMaterialised."""
        tables = self.environment.tables
        pins = {name: tables.need(SOURCE, name, self.school, night) for name in ("pupils", "contacts")}
        as_of = min(_as_of(pin.provenance) for pin in pins.values())
        result = Confirmed()
        # All that was ever written, in its order, since a later request may have written the same field.
        written = self.store.written()
        requests = sorted(self.store.listed(WRITTEN), key=lambda request: written[request.id][0])
        open_still = {
            request.id: request.state
            for request in requests
            if request.state in _UNCONFIRMED and not request.redacted_at
        }
        due = {name: state for name, state in open_still.items() if written[name][1] < as_of}
        result.not_due = sum(state == State.APPLIED for name, state in open_still.items() if name not in due)
        if not due:
            return result
        for verdict in confirm(requests, {name: tables.load(pin) for name, pin in pins.items()}):
            state = due.get(verdict.request)
            if state is None:
                continue
            if verdict.unseen:
                result.unseen.append(verdict.request)  # a later night may bring the person back
            elif verdict.stuck:
                result.confirmed.append(verdict.request)
                self.store.move(verdict.request, State.CONFIRMED, Step("confirmed", who), frm=_UNCONFIRMED)
            elif state == State.APPLIED:
                result.lost[verdict.request] = verdict.differing
                reason = f"the night of {night} does not hold {', '.join(verdict.differing)}"
                step = Step("not confirmed", who, verdict.differing, reason=reason)
                self.store.move(verdict.request, State.LOST, step, frm=(State.APPLIED,))
        return result


def _with_earlier(
    requests: list[ChangeRequest], named: set[str], persons: Mapping[int, Collection[int]]
) -> list[ChangeRequest]:
    """The requests that are named, and those of the same people that came before them; all where none is named."""
    if not named:
        return requests
    found: list[ChangeRequest] = []
    for group in by_person(requests, persons):
        last = max((at for at, request in enumerate(group) if request.id in named), default=-1)
        found += group[: last + 1]
    return found


def _as_of(provenance: Any) -> datetime:
    """The moment that a snapshot surely shows: iSAMS may have answered from its cache."""
    fetched = datetime.fromisoformat(provenance["fetched_at"])
    return fetched - timedelta(hours=float(provenance["cache_hours"]))


def waits_for(environment: Environment) -> dict[str, list[Waiting]]:
    """School → requests that a person has to decide about, or to look at."""
    states = (State.PENDING, State.CONFLICT, State.FAILED, State.LOST)
    return {
        school: [
            Waiting(f"change requests that are {state}: {counts[state]}", f"isams-pipeline changes list {school}")
            for state in states
            if counts.get(state)
        ]
        for school, counts in counts_by_school(environment.state).items()
    }


def portal_schools(settings: Settings) -> list[str]:
    """The schools that use My School Portal."""
    return [name for name, school in settings.schools.items() if KEY in school.partners]


def _without(values: JsonObject, names: Collection[str]) -> Json:
    return {name: value for name, value in values.items() if name not in names}
