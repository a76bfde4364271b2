"""CoverManager: lessons that do not take place, and rooms that are closed.

All of it is inferred: no sample of any CoverManager answer is public. This module is the only place that knows these
shapes; every column but the key may be missing, and ids may be attributes or elements. See docs/room-booking.md.
"""

from __future__ import annotations

from datetime import datetime

from isams_pipeline.datasets.contracts import in_order
from isams_pipeline.datasets.declare import Dataset, column


class LessonSuspensions(Dataset):
    """When lessons do not take place. One row per suspension."""

    feed = "lesson_suspensions"
    rows = "CoverManager/LessonSuspensions/LessonSuspension"
    contracts = (in_order("start", "end"),)

    suspension_id: int = column("@Id", "iSAMS's number of the suspension", key=True)
    start: datetime | None = column("StartDate", "From; midnight means the whole day")
    end: datetime | None = column("EndDate", "To; midnight means the whole day")
    period_id: int | None = column("@PeriodId|PeriodId", "Only this period (inferred)")
    year_id: int | None = column("@YearId|NationalCurriculumYear", "Only this year group (inferred)")
    code: str | None = column("Code", "Only the lessons of this code (inferred)")


class RoomClosureReasons(Dataset):
    """Why rooms are closed. One row per reason."""

    feed = "room_closure_reasons"
    rows = "CoverManager/RoomClosureReasons/RoomClosureReason"

    reason_id: int = column("@Id", "iSAMS's number of the reason", key=True)
    name: str | None = column("Name|Reason", "Name")


class RoomClosures(Dataset):
    """When rooms are closed. One row per closure."""

    feed = "room_closures"
    rows = "CoverManager/RoomClosures/RoomClosure"
    contracts = (in_order("start", "end"),)

    closure_id: int = column("@Id", "iSAMS's number of the closure", key=True)
    room_id: int | None = column("@RoomId|RoomId", "The room")
    reason_id: int | None = column("@ReasonId|ReasonId", "The reason")
    start: datetime | None = column("StartDate", "From; midnight means the whole day")
    end: datetime | None = column("EndDate", "To; midnight means the whole day")
