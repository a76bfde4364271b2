"""The tables of the state database. A change here comes with a migration beside it."""

from __future__ import annotations

from datetime import UTC, date, datetime
from typing import Any

from sqlalchemy import JSON, DateTime, Index, MetaData, TypeDecorator
from sqlalchemy.engine import Dialect
from sqlalchemy.orm import DeclarativeBase, Mapped, mapped_column

SCHEMA = "isams_pipeline"
"""On Postgres. A schema of its own: Alembic's version table would collide with Dagster's in `public`."""


class UtcDateTime(TypeDecorator[datetime]):
    """An aware UTC time in either database; SQLite keeps no zone, so it is put back when read."""

    impl = DateTime(timezone=True)
    cache_ok = True

    def process_bind_param(self, value: datetime | None, dialect: Dialect) -> datetime | None:  # noqa: ARG002
        if value is not None and value.tzinfo is None:
            raise ValueError("a time without its zone")
        return None if value is None else value.astimezone(UTC)

    def process_result_value(self, value: datetime | None, dialect: Dialect) -> datetime | None:  # noqa: ARG002
        if value is None:
            return None
        return value.replace(tzinfo=UTC) if value.tzinfo is None else value.astimezone(UTC)


class Base(DeclarativeBase):
    metadata = MetaData(
        schema=SCHEMA,
        naming_convention={"pk": "pk_%(table_name)s", "ix": "ix_%(table_name)s_%(column_0_N_name)s"},
    )


class Delivery(Base):
    """A receipt: how one attempt to deliver one partner's export of one school and date ended."""

    __tablename__ = "delivery"
    __table_args__ = (Index(None, "partner", "school", "date"), Index(None, "date"))

    id: Mapped[int] = mapped_column(primary_key=True)
    partner: Mapped[str]
    school: Mapped[str]
    date: Mapped[date]
    part: Mapped[str]
    """Which of the day's deliveries, such as am; empty where there is one."""
    outcome: Mapped[str]
    content_hash: Mapped[str]
    target: Mapped[str]
    run_id: Mapped[str]
    at: Mapped[datetime] = mapped_column(UtcDateTime)
    removals_allowed: Mapped[bool]
    """A person lifted the removal guard for this content hash."""
    reason: Mapped[str | None]
    """Why it was refused or failed."""
    changes: Mapped[dict[str, Any]] = mapped_column(JSON)
    """Per file: added, changed, removed, excluded (counts)."""
    manifest: Mapped[dict[str, Any]] = mapped_column(JSON)


class Lease(Base):
    """Who may promote one partner's export of one school and date, and until when."""

    __tablename__ = "lease"

    partner: Mapped[str] = mapped_column(primary_key=True)
    school: Mapped[str] = mapped_column(primary_key=True)
    date: Mapped[date] = mapped_column(primary_key=True)
    part: Mapped[str] = mapped_column(primary_key=True)
    holder: Mapped[str]
    expires_at: Mapped[datetime] = mapped_column(UtcDateTime)


class RestSpending(Base):
    """How many REST requests a client has made in a minute; the limit counts the last sixty."""

    __tablename__ = "rest_spending"

    client: Mapped[str] = mapped_column(primary_key=True)
    """School and client."""
    minute: Mapped[int] = mapped_column(primary_key=True, autoincrement=False)
    """Minutes since 1970."""
    requests: Mapped[int]
