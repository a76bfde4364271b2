"""Partitions: a night of a school."""

from __future__ import annotations

from datetime import date, datetime
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
    """All nights of all schools.

    The dates are UTC days with two more at the end, so that tomorrow exists where it comes first; what is today
    is decided in the school's own zone when a run starts.
    """
    return dg.MultiPartitionsDefinition(
        {
            DATE: dg.DailyPartitionsDefinition(start_date=settings.history_from.isoformat(), end_offset=2),
            SCHOOL: dg.StaticPartitionsDefinition(list(settings.schools)),
        }
    )


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
