"""The tables of people's rights: what was asked, and who is not to come back."""

from __future__ import annotations

from datetime import datetime
from typing import Any

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
    """find, erase or lift."""
    whom: Mapped[str]
    at: Mapped[datetime] = mapped_column(UtcDateTime)
    who: Mapped[str]
    """Who asked, as they say of themselves; else the machine's user."""
    reason: Mapped[str]
    state: Mapped[str]
    """done; of an erasure that was broken off `erased_person` knows."""
    counts: Mapped[dict[str, int]] = mapped_column(JSON)
    """Store → rows."""
    bundle: Mapped[str | None]
    """Where what was found was written."""


class ErasedPerson(Base):
    """Somebody who was erased and is not to come back: by keyed hashes, so that it says of nobody who that is."""

    __tablename__ = "erased_person"
    __table_args__ = (Index(None, "school"),)

    id: Mapped[int] = mapped_column(primary_key=True)
    school: Mapped[str]
    source: Mapped[str]
    entity: Mapped[str]
    whom: Mapped[str]
    """As in `person_request`; the same for one person by several sources."""
    key: Mapped[str]
    """The fingerprint of the key that the hashes were made with."""
    hashes: Mapped[dict[str, list[str]]] = mapped_column(JSON)
    """Kind of number or code → hashes."""
    at: Mapped[datetime] = mapped_column(UtcDateTime)
    who: Mapped[str]
    reason: Mapped[str]
    state: Mapped[str]
    """begun, done, or lifted: they may come back."""
    counts: Mapped[dict[str, int]] = mapped_column(JSON)
    """Store → what was taken out of it."""
    disclosures: Mapped[list[dict[str, Any]]] = mapped_column(JSON)
    """The deliveries that held them, for the partners to be told: partner, file, nights."""
