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
    first = settings.history_from.isoformat()
    zone = earliest_zone([school.timezone for school in settings.schools.values()])
    return dg.MultiPartitionsDefinition(
        {
            # One more than the days that are over: today.
            DATE: dg.DailyPartitionsDefinition(start_date=first, timezone=zone.key, end_offset=1),
            SCHOOL: dg.StaticPartitionsDefinition(list(settings.schools)),
        }
    )


def earliest_zone(zones: Collection[ZoneInfo]) -> ZoneInfo:
    """Of some time zones the one in which a day begins first; UTC where there is none.

    By the furthest that each is ahead in the year: where two take turns, a day may begin up to an hour earlier in the
    other.
    """

    def ahead(zone: ZoneInfo) -> tuple[float, float, str]:
        offsets = [datetime(2026, month, 15, tzinfo=zone).utcoffset() or timedelta() for month in range(1, 13)]
        hours = [offset / timedelta(hours=1) for offset in offsets]
        return max(hours), min(hours), zone.key

    return max(zones, key=ahead, default=ZoneInfo("UTC"))


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
