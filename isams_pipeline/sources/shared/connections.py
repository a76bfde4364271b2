"""A school's connection by a source: a small state machine in the state database, moved by what calls have shown.

awaiting_invitation → awaiting_connection (not authorised, not installed, paused, onboarding) → connected
→ authorised (an app, with its scopes), and back when a call shows so
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from datetime import datetime
from enum import StrEnum
from typing import Any

from sqlalchemy import select
from sqlalchemy.orm import Session

from isams_pipeline.clock import Clock
from isams_pipeline.datasets.shapes import Json
from isams_pipeline.storage.state import StateDatabase, insert_into
from isams_pipeline.storage.state.connections import SourceConnection, SourceConnectionStep


class State(StrEnum):
    """How far a connection has come, in this order."""

    AWAITING_INVITATION = "awaiting_invitation"
    AWAITING_CONNECTION = "awaiting_connection"
    CONNECTED = "connected"
    AUTHORISED = "authorised"

    @property
    def rank(self) -> int:
        """Its place in the order."""
        return list(State).index(self)


class Reason(StrEnum):
    """What a connection waits for."""

    NOT_AUTHORISED = "not_authorised"
    NOT_INSTALLED = "not_installed"
    PAUSED = "paused"
    ONBOARDING = "onboarding"


def state_in_words(state: str, reason: str | None) -> str:
    """State and reason for a person."""
    return (f"{state}: {reason}" if reason else state).replace("_", " ")


@dataclass(frozen=True)
class Finding:
    """What a call has shown."""

    state: State
    reason: Reason | None = None
    scopes: frozenset[str] = frozenset()
    said: str = ""
    """What it goes by, in a few words."""


@dataclass(frozen=True)
class Connection:
    """A school's connection as it was last seen."""

    school: str
    source: str
    state: State
    reason: Reason | None
    scopes: frozenset[str]
    since: datetime
    checked: datetime
    said: str
    invited: datetime | None
    chosen: frozenset[str] | None
    """The scopes that a person has chosen to use, where the source itself knows no authorisation of an app."""

    @property
    def words(self) -> str:
        """State and reason for a person."""
        return state_in_words(self.state, self.reason)


@dataclass(frozen=True)
class Moved:
    """A connection before and after a call."""

    before: Connection | None
    now: Connection

    @property
    def changed(self) -> bool:
        """Whether state, reason or scopes are others."""
        before, now = self.before, self.now
        return before is None or (before.state, before.reason, before.scopes) != (now.state, now.reason, now.scopes)

    @property
    def worse(self) -> str | None:
        """What has become worse, or None."""
        before = self.before
        return None if before is None else _worse(before.state, before.reason, before.scopes, self.now)


def _worse(state: State, reason: str | None, scopes: Iterable[str], now: Connection) -> str | None:
    """What is worse now. Scopes that a person has chosen to do without are not taken back."""
    if now.state.rank < state.rank:
        return f"the connection was {state_in_words(state, reason)}, and is {now.words}"
    wanted = set(scopes) if now.chosen is None else now.chosen.intersection(scopes)
    lost = sorted(wanted - now.scopes)
    return f"scopes taken back: {', '.join(lost)}" if lost else None


class Connections:
    """The connections of all schools."""

    def __init__(self, state: StateDatabase, clock: Clock) -> None:
        self._state, self._clock = state, clock

    def current(self, school: str, source: str) -> Connection | None:
        """As it was last seen; None where nobody has looked yet."""
        with self._state.transaction() as session:
            row = session.get(SourceConnection, (school, source))
            return _connection(row) if row else None

    def found(self, school: str, source: str, finding: Finding, *, who: str) -> Moved:
        """Note what a call has shown, and who made it."""
        now = self._clock()
        with self._state.transaction() as session:
            row, before = _row(session, school, source, now)
            is_same = before is not None and (before.state, before.reason) == (finding.state, finding.reason)
            row.state, row.reason, row.said = finding.state, finding.reason, finding.said
            row.scopes = sorted(finding.scopes)
            row.checked_at = now
            if not is_same:
                row.since = now
            after = _connection(row)
            moved = Moved(before, after)
            if moved.changed:
                _note(session, row, now, who, finding.said)
        return moved

    def invited(self, school: str, source: str, *, who: str) -> None:
        """Note that an invitation went out."""
        self._set(school, source, who, "an invitation was sent", invited_at=self._clock())

    def choose(self, school: str, source: str, scopes: Iterable[str] | None, *, who: str) -> None:
        """Note which scopes a person has chosen to use; None takes the choice back."""
        wanted = None if scopes is None else sorted(scopes)
        said = "the app was authorised" if wanted is not None else "the app's authorisation was taken back"
        self._set(school, source, who, said, chosen=wanted)

    def _set(self, school: str, source: str, who: str, said: str, **values: object) -> None:
        now = self._clock()
        with self._state.transaction() as session:
            row, _ = _row(session, school, source, now)
            for name, value in values.items():
                setattr(row, name, value)
            _note(session, row, now, who, said)

    def worse_than_since(self, school: str, source: str, moment: datetime) -> str | None:
        """How the connection is worse than it was at a moment, or at its best since; None where it is not.

        What a single look has seen is no news to the next one.
        """
        now, history = self.current(school, source), self.history(school, source)
        if now is None:
            return None
        seen = [*[step for step in history if step.at < moment][-1:], *(s for s in history if s.at >= moment)]
        best = max(seen, key=lambda step: State(step.state).rank)
        return _worse(State(best.state), best.reason, (name for step in seen for name in step.scopes), now)

    def history(self, school: str, source: str) -> list[SourceConnectionStep]:
        """Every move, the oldest first."""
        with self._state.transaction() as session:
            mine = (SourceConnectionStep.school == school, SourceConnectionStep.source == source)
            return list(session.scalars(select(SourceConnectionStep).where(*mine).order_by(SourceConnectionStep.id)))


def _row(session: Session, school: str, source: str, now: datetime) -> tuple[SourceConnection, Connection | None]:
    """The row of a connection, made if there is none and held by this transaction; and what it says now, if anything.

    The sensor and a run may look at the same moment: whoever comes second waits, and finds what the first has noted.
    """
    blank: Json = {
        "state": State.AWAITING_INVITATION,
        "reason": None,
        "scopes": [],
        "said": "",
        "invited_at": None,
    }
    statement = insert_into(session, SourceConnection).values(
        school=school, source=source, since=now, checked_at=now, chosen=None, **blank
    )
    made: Any = session.execute(statement.on_conflict_do_nothing(index_elements=["school", "source"]))
    row = session.get_one(SourceConnection, (school, source), with_for_update=True)
    return row, None if made.rowcount == 1 else _connection(row)


def _connection(row: SourceConnection) -> Connection:
    return Connection(
        school=row.school,
        source=row.source,
        state=State(row.state),
        reason=Reason(row.reason) if row.reason else None,
        scopes=frozenset(row.scopes),
        since=row.since,
        checked=row.checked_at,
        said=row.said,
        invited=row.invited_at,
        chosen=None if row.chosen is None else frozenset(row.chosen),
    )


def _note(session: Session, row: SourceConnection, now: datetime, who: str, said: str) -> None:
    session.add(
        SourceConnectionStep(
            school=row.school,
            source=row.source,
            at=now,
            who=who,
            state=row.state,
            reason=row.reason,
            scopes=list(row.scopes),
            said=said,
        )
    )
