"""How long what is kept of a school stays: `retention` in schools.yaml, for all schools and for one."""

from __future__ import annotations

from typing import Annotated

from pydantic import BeforeValidator, Field

from isams_pipeline.config.values import StrictSettings

FOREVER = "forever"
LEAST = 14
"""Days below which a night would look for what is gone: long holidays, and what a person has not looked at yet."""


def _days(value: object) -> object:
    if value is None:
        raise ValueError(f"empty; write a number of days, or {FOREVER}")
    if value == FOREVER:
        return None
    if isinstance(value, bool) or not isinstance(value, int) or not LEAST <= value <= _MOST:
        raise ValueError(f"not a number of days; write one from {LEAST} to {_MOST}, or {FOREVER}")
    return value


_MOST = 36_600
Days = Annotated[int | None, BeforeValidator(_days)]
"""Days; None is for ever."""


class Retention(StrictSettings):
    """How many days each kind of what is kept of a school stays.

    A year and five weeks of data: leavers are told from people who are missing by the end of the year before.
    """

    archive: Days = 400
    """iSAMS's answers as they came. A night whose answers are gone cannot be run again."""
    lists: Days = 400
    """What the other sources gave."""
    tables: Days = 400
    """The datasets, and the tables of rules."""
    staged: Days = 400
    """The exports as they were before the gate."""
    exports: Days = None
    """The exports where the partner takes them, where this pipeline may delete them there."""
    reports: Days = 400
    """What is told to the school: exclusions and accounts."""
    outbox: Days = 90
    """Mails that have gone, by rows in the database and by file."""
    inbox: Days = 90
    """Files with change requests that were taken in, or refused."""
    bookings: Days = 400
    """Bookings, after their date."""
    ledger: Days = 2192
    """Values in change requests that are settled, and in their audit trail; who did what, when, stays."""
    receipts: Days = 2192
    """Which partner got what, when: the answer to whom a person's data went. Six years, as claims may be made."""
    runs: Days = 180
    """Dagster's runs with their events and logs, and with them what the UI shows of those nights."""
    bundles: Days = 30
    """What `person find` has gathered."""


class AllRetention(Retention):
    """The same for all schools, and for what belongs to none."""

    alerts: Days = Field(default=400)
    """Problems that are over, and the messages about them."""
