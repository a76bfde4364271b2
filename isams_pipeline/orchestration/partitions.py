"""Partitions: a night of a school."""

from __future__ import annotations

from collections.abc import Collection
from datetime import date, datetime, timedelta
from typing import NamedTuple
from zoneinfo import ZoneInfo

import dagster as dg

from isams_pipeline.config import Settings

DATE, SCHOOL = "date", "school"
LAUNCHED_BY = "launched_by"
"""The tag of a run: who was logged in at the proxy when it was launched."""
SCHOOL_TAG = f"dagster/partition/{SCHOOL}"
"""Dagster tags every run of a partition with it, whoever launched it; dagster.yaml lets one at a time through."""


class Night(NamedTuple):
    """A school and the date of a night there."""

    school: str
    date: date


def nights_of(settings: Settings) -> dg.MultiPartitionsDefinition:
    """All nights of all schools, up to today where today comes first; what is today at a school its own zone says.

    So *latest* in the UI is a night that can be run, if not at all schools for a few hours.
    """
    return dg.MultiPartitionsDefinition(
        {DATE: dates_of(settings), SCHOOL: dg.StaticPartitionsDefinition(list(settings.schools))}
    )


def dates_of(settings: Settings) -> dg.DailyPartitionsDefinition:
    """All dates, up to today where today comes first."""
    first = settings.first_date.isoformat()
    zone, spare = earliest_zone([school.timezone for school in settings.schools.values()])
    # One more than the days that are over: today.
    return dg.DailyPartitionsDefinition(start_date=first, timezone=zone.key, end_offset=1 + spare)


def earliest_zone(zones: Collection[ZoneInfo]) -> tuple[ZoneInfo, int]:
    """Of some time zones the one in which a day begins first, UTC where there is none; and how many days to spare.

    Where two take turns, as summer is not at the same time in both, a day is to spare: today may begin in the other.
    """
    hours = {zone: [_ahead(zone, month) for month in range(1, 13)] for zone in zones}
    first = max(hours, key=lambda zone: (max(hours[zone]), min(hours[zone]), zone.key), default=ZoneInfo("UTC"))
    takes_turns = any(other > own for of in hours.values() for other, own in zip(of, hours[first], strict=True))
    return first, 1 if takes_turns else 0


def _ahead(zone: ZoneInfo, month: int) -> timedelta:
    return datetime(2026, month, 15, tzinfo=zone).utcoffset() or timedelta()


def key_of(night: Night) -> dg.MultiPartitionKey:
    """The partition key of a night."""
    return dg.MultiPartitionKey({DATE: night.date.isoformat(), SCHOOL: night.school})


def night_of(key: str) -> Night:
    """The night of a partition key."""
    if not isinstance(key, dg.MultiPartitionKey):
        return night_of_tag(key)
    return Night(key.keys_by_dimension[SCHOOL], date.fromisoformat(key.keys_by_dimension[DATE]))


def night_of_tag(text: str) -> Night:
    """The night of a run's partition tag, which is the key as a plain text; raises ValueError."""
    day, separator, school = text.partition("|")
    if not separator:
        raise ValueError("not the key of a night")
    return Night(school, date.fromisoformat(day))


def night_at(school: str, zone: ZoneInfo, moment: datetime) -> Night:
    """The night that a moment belongs to at a school: a pull at 03:00 on the 21st is the 21st's."""
    return Night(school, moment.astimezone(zone).date())
