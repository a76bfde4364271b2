"""Nights that need a person, who was told of them, and messages on their way. No person's data is in any of it."""

from __future__ import annotations

from datetime import date, datetime
from typing import Any

from sqlalchemy import JSON, Index
from sqlalchemy.orm import Mapped, mapped_column

from isams_pipeline.storage.state.models import Base, UtcDateTime


class Watched(Base):
    """Since when a school's deliveries to a partner are watched: what was due before is nobody's fault."""

    __tablename__ = "watched"

    school: Mapped[str] = mapped_column(primary_key=True)
    partner: Mapped[str] = mapped_column(primary_key=True)
    since: Mapped[datetime] = mapped_column(UtcDateTime)
    seen: Mapped[datetime] = mapped_column(UtcDateTime)
    """When somebody looked last: what ended since is looked at by the next round."""


class Problem(Base):
    """A night of a school and partner that needs a person, of one kind."""

    __tablename__ = "problem"
    __table_args__ = (Index(None, "closed_at"), Index(None, "school", "partner", "night"))

    id: Mapped[int] = mapped_column(primary_key=True)
    school: Mapped[str]
    partner: Mapped[str]
    """With its part, such as `schoolsbuddy am`."""
    night: Mapped[date]
    kind: Mapped[str]
    reason: Mapped[str]
    counts: Mapped[dict[str, int]] = mapped_column(JSON)
    """Rows in the export and left out of it, where there is one."""
    run_id: Mapped[str | None]
    opened_at: Mapped[datetime] = mapped_column(UtcDateTime)
    told_at: Mapped[datetime | None] = mapped_column(UtcDateTime)
    closed_at: Mapped[datetime | None] = mapped_column(UtcDateTime)
    closed_by: Mapped[str | None]
    """`recovered`: a delivery; else it became a problem of another kind, or of no night that is looked at."""
    over_by: Mapped[str | None]
    """The run by which it was over."""
    over_told_at: Mapped[datetime | None] = mapped_column(UtcDateTime)
    """When it was told that it is over."""


class AlertMessage(Base):
    """A message to one channel, kept for ever: who was told what, when."""

    __tablename__ = "alert_message"
    __table_args__ = (Index(None, "state"),)

    id: Mapped[int] = mapped_column(primary_key=True)
    channel: Mapped[str]
    """`mail ADDRESS`, or `webhook VARIABLE`."""
    message_id: Mapped[str]
    subject: Mapped[str]
    body: Mapped[str]
    facts: Mapped[dict[str, Any]] = mapped_column(JSON)
    """The same for a program."""
    created_at: Mapped[datetime] = mapped_column(UtcDateTime)
    not_before: Mapped[datetime] = mapped_column(UtcDateTime)
    state: Mapped[str]
    attempts: Mapped[int]
    error: Mapped[str | None]
    changed_at: Mapped[datetime] = mapped_column(UtcDateTime)
