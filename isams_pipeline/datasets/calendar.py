"""CalendarManager: the school calendar."""

from __future__ import annotations

from datetime import date

from isams_pipeline.datasets.contracts import in_order
from isams_pipeline.datasets.declare import Dataset, column


class CalendarEvents(Dataset):
    """Events of the school calendar, this year's and next year's. One row per event and first day."""

    feed = "events"
    rows = "CalendarManager/Events/Event"
    contracts = (in_order("start_date", "end_date"),)

    event_id: int = column("@Id", "iSAMS's number of the event", key=True)
    start_date: date = column("StartDate", "First day", key=True)
    end_date: date | None = column("EndDate", "Last day (inferred)")
    category_id: int | None = column("@CategoryId", "Its category (inferred)")
    start_time: str | None = column("StartTime", "A date and time of which only the time counts")
    end_time: str | None = column("EndTime", "A date and time of which only the time counts")
    all_day: bool | None = column("AllDayEvent", "Takes the whole day")
    description: str | None = column("Description", "Its title", personal=True)
    location: str | None = column("Location", "Where", personal=True)
