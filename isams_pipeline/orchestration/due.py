"""When a night that nobody began at its hour is still begun: iSAMS only knows now.

Dagster's daemon, back after a time in which it did not run, makes the latest tick that it has missed of each schedule
(seen in tests with its own scheduler). So it is said here what becomes of such a tick.
"""

from __future__ import annotations

import hashlib
from collections.abc import Collection, Mapping
from datetime import datetime, timedelta
from zoneinfo import ZoneInfo

from isams_pipeline.clock import today_at
from isams_pipeline.orchestration.environment import Environment
from isams_pipeline.orchestration.partitions import Night
from isams_pipeline.rules.clock_times import time_in_words

CAUGHT_UP = "isams/caught_up"
"""The tag of a run that was begun later than its hour."""
_USUAL = timedelta(minutes=15)
"""So late a tick may be where the daemon is busy."""


def minute_of(scheduled: datetime, hour: int) -> int:
    """The minute of the hour that a tick is for; `scheduled` by the school's own clock.

    Where the hour does not exist, as the clocks go forward in it, there is one tick, after it: it is for all.
    """
    return scheduled.minute if scheduled.hour == hour else 59


def begins(schools: Mapping[str, int], minute: int, begun: Collection[str]) -> list[str]:
    """The schools whose nights begin with the tick of a minute of the hour. `schools`: school → its own minute.

    Of ticks that were missed only the latest is made, so it stands for those before it as well, but for the schools
    that have `begun`.
    """
    return [name for name, own in schools.items() if own == minute or (own < minute and name not in begun)]


def is_late(environment: Environment, scheduled: datetime) -> bool:
    """Whether a tick comes so late that nothing ran at its hour."""
    return environment.clock() - scheduled > _USUAL


def too_late(environment: Environment, night: Night, zone: ZoneInfo, scheduled: datetime, *, again: str) -> str | None:
    """Why a night is not begun any more, in words; None where it is. `again`: what begins it by hand."""
    if night.date != today_at(zone, environment.clock):
        return (
            f"{night.school}: {night.date} is over there, and iSAMS only knows now; what no run has fetched that day "
            "cannot be had any more"
        )
    if not is_late(environment, scheduled):
        return None
    until, now = environment.settings.catch_up_until, environment.clock().astimezone(zone)
    if now.hour * 60 + now.minute < until:
        return None
    return (
        f"{night.school}: nothing ran at its hour, and at {now:%H:%M} it is past {time_in_words(until)} "
        f"(catch_up_until); to have {night.date} all the same: {again}"
    )


def spread(school: str, minutes: int) -> int:
    """So many minutes after the hour a school's night begins: always the same, whatever other schools there are."""
    return int.from_bytes(hashlib.sha256(school.encode()).digest()[:4]) % minutes if minutes else 0
