"""What people and runs do with a school's change requests: review, approve, reject, apply, undo, confirm."""

from __future__ import annotations

import contextlib
from collections.abc import Collection, Generator
from dataclasses import dataclass, field
from datetime import date, datetime, timedelta
from typing import Any

from isams_pipeline.environment import Environment
from isams_pipeline.errors import PipelineError, StorageError, WrongUse
from isams_pipeline.isams.datasets import SOURCE
from isams_pipeline.isams.people import read
from isams_pipeline.isams.rest import RestClient
from isams_pipeline.partners.my_school_portal import OPEN, PARTNER, WRITTEN, State
from isams_pipeline.partners.my_school_portal.apply import INTENDED, Applied, Applier, target_of, wanted_by
from isams_pipeline.partners.my_school_portal.confirm import confirm
from isams_pipeline.partners.my_school_portal.intake import settings_of, store_of
from isams_pipeline.partners.my_school_portal.review import Review, review
from isams_pipeline.partners.my_school_portal.store import ChangeStore, Step
from isams_pipeline.rules.split import rows_of
from isams_pipeline.storage.state.changes import ChangeRequest

REVIEWABLE = (State.PENDING, State.CONFLICT, State.FAILED)
"""A person may approve these: what did not go may go with other values seen."""


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

    @property
    def store(self) -> ChangeStore:
        """Its requests and their ledger."""
        return store_of(self.environment, self.school)

    @property
    def writes(self) -> bool:
        """Whether anything is ever written to this school's iSAMS."""
        return settings_of(self.environment, self.school).writeback == "enabled"

    @contextlib.contextmanager
    def alone(self, wait: float = 60) -> Generator[None, None, None]:
        """Be the only one who moves this school's requests; raises SchoolBusy."""
        with self.environment.locks.hold(f"changes {self.school}", wait=wait):
            yield

    def client(self) -> RestClient:
        """The portal's REST client; raises MissingSecret."""
        name = settings_of(self.environment, self.school).client
        return self.environment.rest_client_for(self.school, name)

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
                    remedy=f"Only one that is {' or '.join(states)} can be meant here.",
                )
        return sorted(found, key=lambda request: request.number)

    # --- deciding -------------------------------------------------------------------------------------------

    def approve(self, looked: Looked, who: str, *, joint: bool) -> None:
        """Record a person's approval of what was shown. Raises WrongUse if it cannot be approved so."""
        request, found = looked.request, looked.review
        if found is None or found.problems:
            why = looked.problem or "; ".join(found.problems if found else [])
            raise WrongUse(f"The request cannot be written: {why}", request=request.id, remedy="Reject it.")
        if found.joint_email and not (joint or request.joint_confirmed):
            raise WrongUse(
                f"{found.warnings[0][:1].upper()}{found.warnings[0][1:]}",
                request=request.id,
                remedy="If that is right, approve it with --confirm-joint.",
            )
        seen = {d.name: d.now for d in found.differences}
        with self.alone():
            if self.store.find(request.id).state not in {state.value for state in REVIEWABLE}:
                raise WrongUse("The request was decided meanwhile", request=request.id, remedy="Look at it again.")
            self.store.approve(request.id, who, seen, joint=joint and found.joint_email, persons=found.persons)

    def reject(self, identifier: str, who: str, reason: str) -> None:
        """Record that a person said no. Raises WrongUse for what is written or being written."""
        with self.alone():
            (request,) = self.chosen([identifier], (*REVIEWABLE, State.APPROVED))
            self.store.move(identifier, State.REJECTED, Step("rejected", who, request.changes, reason=reason))

    def undo(self, identifier: str, who: str) -> ChangeRequest:
        """Ask for the old values to be put back: a request of its own, approved, under the same checks."""
        with self.alone():
            (request,) = self.chosen([identifier], WRITTEN)
            intended = self.store.last(identifier, INTENDED)
            if intended is None or intended.before is None:
                raise WrongUse(
                    "Nothing was written for the request, so there is nothing to put back", request=identifier
                )
            for number in range(1, 100):
                name = f"undo:{identifier}" if number == 1 else f"undo:{identifier}:{number}"
                undo = self.store.add_undo(request, name, who, intended.before)
                if undo.state not in {State.CONFLICT.value, State.FAILED.value, State.REJECTED.value}:
                    return undo
            raise WrongUse("It was tried often enough", request=identifier, remedy="Change it in iSAMS.")

    # --- writing --------------------------------------------------------------------------------------------

    def apply(self, who: str, identifiers: Collection[str] = ()) -> Applied:
        """Write approved requests, and settle what an earlier run left. Does nothing where writing is off."""
        if not self.writes:
            return Applied()
        settings = settings_of(self.environment, self.school)
        with self.alone(), self.client() as client:
            requests = self.chosen(identifiers, OPEN)
            applier = Applier(
                self.store,
                client,
                who,
                parallel=client.parallel,
                guardian_route=settings.guardian_route,
                persons=self._persons() if any(request.contact for request in requests) else {},
            )
            return applier.apply(requests)

    def _persons(self) -> dict[int, set[int]]:
        """Contact → the people on it, as the newest night has it; empty where there is none."""
        tables, tomorrow = self.environment.tables, date.max
        try:
            newest = tables.before(SOURCE, "contacts", self.school, tomorrow)
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
        due: list[ChangeRequest] = []
        for request in self.store.listed((State.APPLIED,)):
            written = self.store.last(request.id, "applied")
            if written is not None and written.at < as_of:
                due.append(request)
            else:
                result.not_due += 1
        if not due:
            return result
        # All that was ever written, since a later request may have written the same field.
        ours = {request.id for request in due}
        written_ones = self.store.listed(WRITTEN)
        for verdict in confirm(written_ones, {name: tables.load(pin) for name, pin in pins.items()}):
            if verdict.request not in ours:
                continue
            if verdict.unseen:
                result.unseen.append(verdict.request)  # a later night may bring the person back
            elif verdict.stuck:
                result.confirmed.append(verdict.request)
                self.store.move(verdict.request, State.CONFIRMED, Step("confirmed", who))
            else:
                result.lost[verdict.request] = verdict.differing
                reason = f"the night of {night} does not hold {', '.join(verdict.differing)}"
                self.store.move(
                    verdict.request, State.LOST, Step("not confirmed", who, verdict.differing, reason=reason)
                )
        return result


def _as_of(provenance: Any) -> datetime:
    """The moment that a snapshot surely shows: iSAMS may have answered from its cache."""
    fetched = datetime.fromisoformat(provenance["fetched_at"])
    return fetched - timedelta(hours=float(provenance["cache_hours"]))


def portal_schools(environment: Environment) -> list[str]:
    """The schools that use My School Portal."""
    return [name for name, school in environment.settings.schools.items() if getattr(school.partners, PARTNER)]
