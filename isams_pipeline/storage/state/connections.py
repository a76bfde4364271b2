"""The tables of connections by the other sources: where each stands, how it came there, and its tokens."""

from __future__ import annotations

from datetime import datetime

from sqlalchemy import JSON, Index
from sqlalchemy.orm import Mapped, mapped_column

from isams_pipeline.storage.state.models import Base, UtcDateTime


class SourceConnection(Base):
    """A school's connection by one source, as the last call has shown it."""

    __tablename__ = "source_connection"

    school: Mapped[str] = mapped_column(primary_key=True)
    source: Mapped[str] = mapped_column(primary_key=True)
    state: Mapped[str]
    reason: Mapped[str | None]
    scopes: Mapped[list[str]] = mapped_column(JSON)
    since: Mapped[datetime] = mapped_column(UtcDateTime)
    """Since when it has been in this state, for this reason."""
    checked_at: Mapped[datetime] = mapped_column(UtcDateTime)
    said: Mapped[str]
    """What the last call showed, in a few words."""
    invited_at: Mapped[datetime | None] = mapped_column(UtcDateTime)
    chosen: Mapped[list[str] | None] = mapped_column(JSON(none_as_null=True))
    """The scopes that a person has chosen to use."""


class SourceConnectionStep(Base):
    """One move of a connection."""

    __tablename__ = "source_connection_step"
    __table_args__ = (Index(None, "school", "source"),)

    id: Mapped[int] = mapped_column(primary_key=True)
    school: Mapped[str]
    source: Mapped[str]
    at: Mapped[datetime] = mapped_column(UtcDateTime)
    who: Mapped[str]
    """A person, or the run that looked."""
    state: Mapped[str]
    reason: Mapped[str | None]
    scopes: Mapped[list[str]] = mapped_column(JSON)
    said: Mapped[str]


class SourceToken(Base):
    """A school's tokens, encrypted under the app's own secret."""

    __tablename__ = "source_token"

    school: Mapped[str] = mapped_column(primary_key=True)
    source: Mapped[str] = mapped_column(primary_key=True)
    sealed: Mapped[str]
    changed_at: Mapped[datetime] = mapped_column(UtcDateTime)
