"""Since when partitions exist: `history_from`, or the last school years (`history_years`), which move on by themselves.

Dagster fails a backfill whose oldest partition has left the definition. So while one is under way, the history begins
where it began on the day on which that backfill was started.
"""

from __future__ import annotations

import os
from datetime import UTC, date, datetime
from pathlib import Path

import dagster as dg
from dagster._core.execution.backfill import BulkActionsFilter, BulkActionStatus

from isams_pipeline.config import Settings

_SEPTEMBER = 9
_UNDER_WAY = (BulkActionStatus.REQUESTED, BulkActionStatus.CANCELING, BulkActionStatus.FAILING)
HOME = "DAGSTER_HOME"


def first_night(years: int, day: date) -> date:
    """The first of September with which the last so many school years begin, on a day."""
    now = day.year if day.month >= _SEPTEMBER else day.year - 1
    return date(now - years + 1, _SEPTEMBER, 1)


def with_history(settings: Settings, data_dir: Path, today: date | None = None) -> Settings:
    """The settings with the `history_from` that `history_years` comes to today."""
    years = settings.history_years
    if years is None:
        return settings
    day = today or datetime.now(UTC).date()
    since = oldest_backfill(data_dir)
    return settings.model_copy(update={"history_from": first_night(years, min(day, since or day))})


def oldest_backfill(data_dir: Path) -> date | None:
    """The day on which the oldest backfill that is under way was started; None where there is none.

    Where Dagster's storage does not answer, a year ago is taken: a history that is too long harms nobody.
    """
    home = Path(os.environ.get(HOME) or data_dir.resolve() / "dagster")
    if not (home / "dagster.yaml").exists():
        return None
    try:
        with dg.DagsterInstance.from_config(str(home)) as instance:
            under_way = instance.get_backfills(filters=BulkActionsFilter(statuses=_UNDER_WAY))
            found = [backfill.backfill_timestamp for backfill in under_way]
    except Exception:  # noqa: BLE001  # definitions must load, whatever state the storage is in
        today = datetime.now(UTC).date()
        return today.replace(year=today.year - 1, day=min(today.day, 28))
    return datetime.fromtimestamp(min(found), UTC).date() if found else None
