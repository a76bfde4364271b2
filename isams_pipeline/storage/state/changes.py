"""The tables of change requests: what My School Portal asked for, and everything that was done about it."""

from __future__ import annotations

from datetime import datetime

from sqlalchemy import JSON, Index, UniqueConstraint
from sqlalchemy.orm import Mapped, mapped_column

from isams_pipeline.datasets.shapes import Json
from isams_pipeline.storage.state.models import Base, UtcDateTime


class ChangeRequest(Base):
    """A request to change one person's record in iSAMS. Requests are applied in the order of their numbers."""

    __tablename__ = "change_request"
    __table_args__ = (
        UniqueConstraint("school", "id", name="uq_change_request"),
        Index("ix_change_request_state", "school", "state"),
    )

    number: Mapped[int] = mapped_column(primary_key=True)
    school: Mapped[str]
    id: Mapped[str]
    """The portal's own."""
    kind: Mapped[str]
    """student or guardian."""
    student: Mapped[str]
    """The student's school id."""
    contact: Mapped[int | None]
    """The contact's id, of a guardian."""
    person: Mapped[int | None]
    """Which person of the contact, where the request says so."""
    given: Mapped[Json] = mapped_column(JSON)
    """Field → value as it came."""
    changes: Mapped[Json] = mapped_column(JSON)
    """Field → value as it is to be written."""
    seen: Mapped[Json | None] = mapped_column(JSON)
    """Field → value that the approver saw."""
    digest: Mapped[str]
    """Of what is asked for, without the approval."""
    state: Mapped[str]
    reason: Mapped[str | None]
    """Why it is in this state; no value of a person."""
    approved_by: Mapped[str | None]
    approved_at: Mapped[datetime | None] = mapped_column(UtcDateTime)
    joint_confirmed: Mapped[bool]
    """The approver knows that the change concerns both people of a joint contact."""
    undo_of: Mapped[str | None]
    """The request whose values this one puts back."""
    received_at: Mapped[datetime] = mapped_column(UtcDateTime)
    changed_at: Mapped[datetime] = mapped_column(UtcDateTime)
    redacted_at: Mapped[datetime | None] = mapped_column(UtcDateTime)
    """When its values were taken out, and why: `retention` or `erasure`."""
    redacted_why: Mapped[str | None]


class ChangeStep(Base):
    """A line of the ledger. Written once: the database itself refuses to change or remove one.

    But for this: before, after and answer may be taken out, with redacted_at and redacted_why. Its hash stays.
    """

    __tablename__ = "change_ledger"
    __table_args__ = (Index(None, "school", "request"),)

    id: Mapped[int] = mapped_column(primary_key=True)
    school: Mapped[str]
    request: Mapped[str]
    at: Mapped[datetime] = mapped_column(UtcDateTime)
    who: Mapped[str]
    """A person, or the run that did it."""
    step: Mapped[str]
    fields: Mapped[list[str]] = mapped_column(JSON)
    before: Mapped[Json | None] = mapped_column(JSON)
    after: Mapped[Json | None] = mapped_column(JSON)
    persons: Mapped[list[int]] = mapped_column(JSON)
    """iSAMS's numbers of the people concerned: two for a joint contact."""
    answer: Mapped[Json | None] = mapped_column(JSON)
    """What iSAMS answered: status, and its own words."""
    reason: Mapped[str | None]
    door: Mapped[dict[str, str] | None] = mapped_column(JSON)
    """By which door it came: name, the machine's user, file and its hash. None of lines from before there was one."""
    previous: Mapped[str | None]
    """The hash of the school's line before."""
    hash: Mapped[str | None]
    salt: Mapped[str | None]
    """Of `values_hash`; it goes with the values, so that these cannot be found by trying."""
    values_hash: Mapped[str | None]
    """The hash of the values alone, from which `hash` is made: it holds when they are gone. None of lines of before."""
    redacted_at: Mapped[datetime | None] = mapped_column(UtcDateTime)
    redacted_why: Mapped[str | None]
