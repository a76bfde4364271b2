"""The one clock. `build_definitions` is given it; the demo and the tests replace it, settings cannot."""

from __future__ import annotations

from collections.abc import Callable
from datetime import UTC, date, datetime, time
from zoneinfo import ZoneInfo

Clock = Callable[[], datetime]
"""Gives now, as an aware UTC time."""


def system_clock() -> datetime:
    """Now, by this machine."""
    return datetime.now(UTC)


def today_at(zone: ZoneInfo, clock: Clock) -> date:
    """The date on a wall clock in that time zone."""
    return clock().astimezone(zone).date()


def start_of(day: date, zone: ZoneInfo) -> datetime:
    """The first moment of a date in that time zone."""
    return datetime.combine(day, time.min, tzinfo=zone)


def moment_in_words(moment: datetime, zone: ZoneInfo) -> str:
    """A moment as a person at the school would read it, such as "2026-11-20 02:00 GMT"."""
    return moment.astimezone(zone).strftime("%Y-%m-%d %H:%M %Z")
