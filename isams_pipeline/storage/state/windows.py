"""Windows in which more rows may be gone than usual: opened by a person with a reason, closed by themselves."""

from __future__ import annotations

from datetime import date, datetime

from sqlalchemy import Index, select
from sqlalchemy.orm import Mapped, mapped_column

from isams_pipeline.storage.state.database import StateDatabase
from isams_pipeline.storage.state.models import Base, UtcDateTime


class RemovalWindow(Base):
    """A window of one school and partner. Never removed: it tells afterwards who allowed what, and why."""

    __tablename__ = "removal_window"
    __table_args__ = (Index(None, "school", "partner"),)

    id: Mapped[int] = mapped_column(primary_key=True)
    school: Mapped[str]
    partner: Mapped[str]
    since: Mapped[date]
    """The first night that it is for, and `until` the last, by the school's calendar."""
    until: Mapped[date]
    reason: Mapped[str]
    who: Mapped[str]
    opened_at: Mapped[datetime] = mapped_column(UtcDateTime)
    closed_at: Mapped[datetime | None] = mapped_column(UtcDateTime)
    """When a person closed it before its time."""
    closed_by: Mapped[str | None]

    @property
    def in_words(self) -> str:
        """Until when, by whom and why."""
        return f"until {self.until}, by {self.who}: {self.reason}"


class RemovalWindows:
    """All windows."""

    def __init__(self, state: StateDatabase) -> None:
        self._state = state

    def open(self, window: RemovalWindow) -> None:
        """Keep a new window."""
        with self._state.transaction() as session:
            session.add(window)

    def on(self, school: str, partner: str, night: date, today: date) -> RemovalWindow | None:
        """The window that a night is in, if it is still open today; the newest of several."""
        query = (
            select(RemovalWindow)
            .where(
                RemovalWindow.school == school,
                RemovalWindow.partner == partner,
                RemovalWindow.since <= night,
                RemovalWindow.until >= max(night, today),
                RemovalWindow.closed_at.is_(None),
            )
            .order_by(RemovalWindow.id.desc())
            .limit(1)
        )
        with self._state.transaction() as session:
            return session.scalars(query).first()

    def all(self) -> list[RemovalWindow]:
        """Every window that there ever was, the newest first."""
        with self._state.transaction() as session:
            return list(session.scalars(select(RemovalWindow).order_by(RemovalWindow.id.desc())))

    def close(self, school: str, partner: str, *, who: str, at: datetime, today: date) -> int:
        """Close the windows of a school and partner that are open today; gives how many."""
        query = select(RemovalWindow).where(
            RemovalWindow.school == school,
            RemovalWindow.partner == partner,
            RemovalWindow.until >= today,
            RemovalWindow.closed_at.is_(None),
        )
        with self._state.transaction() as session:
            found = list(session.scalars(query))
            for window in found:
                window.closed_at, window.closed_by = at, who
        return len(found)
