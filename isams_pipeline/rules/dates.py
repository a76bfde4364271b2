"""Spans of a school's calendar that do not depend on the school. Pure."""

from __future__ import annotations

from datetime import date, timedelta

_AUGUST = 8


def school_years(night: date, *, count: int = 1) -> tuple[date, date]:
    """First and last day of the school year that a night is in, from 1 August; with a count, to the end of more."""
    start = night.year if night.month >= _AUGUST else night.year - 1
    return date(start, _AUGUST, 1), date(start + count, _AUGUST, 1) - timedelta(days=1)


def week_of(night: date) -> tuple[date, date]:
    """Monday and Sunday of a night's week."""
    monday = night - timedelta(days=night.weekday())
    return monday, monday + timedelta(days=6)
