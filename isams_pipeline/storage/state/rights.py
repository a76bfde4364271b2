"""The tables of people's rights: what was asked, and who is not to come back."""

from __future__ import annotations

from datetime import datetime

from sqlalchemy import JSON, Index
from sqlalchemy.orm import Mapped, mapped_column

from isams_pipeline.storage.state.models import Base, UtcDateTime


class PersonRequest(Base):
    """That somebody asked for what is kept of a person, or for its erasure. Names nobody: `whom` is a keyed hash."""

    __tablename__ = "person_request"
    __table_args__ = (Index(None, "school", "at"),)

    id: Mapped[int] = mapped_column(primary_key=True)
    school: Mapped[str]
    kind: Mapped[str]
    """find, erase or restore."""
    whom: Mapped[str]
    at: Mapped[datetime] = mapped_column(UtcDateTime)
    who: Mapped[str]
    """Who asked, as they say of themselves; else the machine's user."""
    reason: Mapped[str]
    state: Mapped[str]
    """begun, or done."""
    counts: Mapped[dict[str, int]] = mapped_column(JSON)
    """Store → rows."""
    bundle: Mapped[str | None]
    """Where what was found was written."""
