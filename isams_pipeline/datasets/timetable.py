"""TimetableManager: the shape of a timetable, when it applies, and what is in it.

No sample of any of it is public; the paths are those that working clients read. See docs/room-booking.md.
"""

from __future__ import annotations

from datetime import date

from isams_pipeline.datasets.contracts import allowed, between, in_order
from isams_pipeline.datasets.declare import CONTAINER, Dataset, column

_PUBLISHED = "TimetableManager/PublishedTimetables/Timetable"
_DEVELOPMENT = "TimetableManager/DevelopmentTimetables/Timetable"


class TimetableWeeks(Dataset):
    """Weeks of the timetable, such as A and B. One row per week."""

    feed = "timetable_structure"
    rows = "TimetableManager/Structure/Week"

    week_id: int = column("@Id", "iSAMS's number of the timetable week", key=True)
    name: str | None = column("Name", "Name")
    short_name: str | None = column("ShortName", "Short name")
    ordinal: int | None = column("Ordinal", "Its place among the weeks")
    active: bool | None = column("Active", "In use")


class TimetableDays(Dataset):
    """Days of the timetable's weeks. One row per day of a week."""

    feed = "timetable_structure"
    rows = "TimetableManager/Structure/Week/Days/Day"
    contracts = (between("weekday", 1, 7),)

    day_id: int = column("@Id", "iSAMS's number of the day", key=True)
    week_id: int = column("../../@Id", "Its week")
    weekday: int | None = column("Day", "1 is Sunday, 7 is Saturday")
    name: str | None = column("Name", "Name")
    short_name: str | None = column("ShortName", "Short name")
    ordinal: int | None = column("Ordinal", "Its place in the week")
    active: bool | None = column("Active", "In use")


class TimetablePeriods(Dataset):
    """Periods of the timetable's days. One row per period of a day."""

    feed = "timetable_structure"
    rows = "TimetableManager/Structure/Week/Days/Day/Periods/Period"

    period_id: int = column("@Id", "iSAMS's number of the period", key=True)
    day_id: int = column("../../@Id", "Its day")
    week_id: int = column("../../../../@Id", "Its week")
    name: str | None = column("Name", "Name")
    short_name: str | None = column("ShortName", "Short name")
    start: str | None = column("StartTime", "When it begins; HH:MM and perhaps more")
    end: str | None = column("EndTime", "When it ends; HH:MM and perhaps more")


class WeekAllocations(Dataset):
    """Which timetable week is when. One row per calendar week and timetable week."""

    feed = "week_allocations"
    rows = "TimetableManager/TimetableAllocations/TimetableAllocation"
    contracts = (between("week", 1, 54),)

    allocation_id: int = column("@Id", "iSAMS's number of the allocation", key=True)
    week: int | None = column("Week", "The week of the year: Sunday to Saturday, week 1 holds 1 January")
    year: int | None = column("Year", "The calendar year")
    week_id: int | None = column("TimetableWeekId", "The timetable week")


class Timetables(Dataset):
    """Timetables, published and in development. One row per timetable."""

    feed = "timetables"
    rows = _PUBLISHED
    also_rows = (_DEVELOPMENT,)
    contracts = (in_order("start_year", "end_year"),)

    status: str = column(CONTAINER, "PublishedTimetables or DevelopmentTimetables", key=True)
    timetable_id: int = column("@Id", "iSAMS's number of the timetable", key=True)
    name: str | None = column("Name", "Name")
    start_year: int | None = column("StartYear", "The year in which its school year starts")
    end_year: int | None = column("EndYear", "The year in which its school year ends")
    start_date: date | None = column("StartDate", "When it takes over (inferred)")


class Lessons(Dataset):
    """What stands in the timetables: one row per timetable, group, period, room and teacher."""

    feed = "timetables"
    rows = f"{_PUBLISHED}/Schedules/Schedule"
    also_rows = (f"{_DEVELOPMENT}/Schedules/Schedule",)
    contracts = (allowed("set_flag", 0, 1),)
    identity = ("teacher_user_code",)

    status: str = column(f"../../{CONTAINER}", "Its timetable's container", key=True)
    timetable_id: int = column("../../@Id", "Its timetable", key=True)
    lesson_id: int = column("@Id", "iSAMS's number of the row", key=True)
    code: str | None = column("Code", "The set's code, or a teaching form's timetable code")
    teacher_user_code: str | None = column("Teacher", "Teacher, by user code")
    period_id: int | None = column("PeriodId", "The period")
    room_id: int | None = column("RoomId", "The room")
    set_flag: int | None = column("Set", "1: the code is a set's; 0: a teaching form's")
    set_flag_earlier: int | None = column("SetId", "The same, under the name that it had before 2024")


class StaffMeetings(Dataset):
    """Meetings of staff in the timetables. One row per timetable, meeting and teacher."""

    feed = "timetables"
    rows = f"{_PUBLISHED}/StaffMeetings/StaffMeeting"
    also_rows = (f"{_DEVELOPMENT}/StaffMeetings/StaffMeeting",)

    status: str = column(f"../../{CONTAINER}", "Its timetable's container", key=True)
    timetable_id: int = column("../../@Id", "Its timetable", key=True)
    meeting_id: int = column("@Id", "iSAMS's number of the row", key=True)
    group_id: int | None = column("MeetingGroupId", "The group that meets")
    name: str | None = column("DisplayName", "Name")
    teacher_user_code: str | None = column("TeacherId", "Teacher, by user code")
    period_id: int | None = column("PeriodId", "The period")
    room_id: int | None = column("RoomId", "The room")


class YearSchedules(Dataset):
    """What a whole year group does, such as assembly. One row per timetable and schedule."""

    feed = "timetables"
    rows = f"{_PUBLISHED}/YearSchedules/YearSchedule"
    also_rows = (f"{_DEVELOPMENT}/YearSchedules/YearSchedule",)

    status: str = column(f"../../{CONTAINER}", "Its timetable's container", key=True)
    timetable_id: int = column("../../@Id", "Its timetable", key=True)
    year_schedule_id: int = column("@Id", "iSAMS's number of the row", key=True)
    name: str | None = column("Name", "Name")
    year_id: int | None = column("NationalCurriculumYear", "The year group")
    teacher_user_code: str | None = column("TeacherId", "Teacher, by user code")
    period_id: int | None = column("PeriodId", "The period")
    room_id: int | None = column("RoomId", "The room")


class Tutorials(Dataset):
    """Tutorials in the timetables. One row per timetable and tutorial."""

    feed = "timetables"
    rows = f"{_PUBLISHED}/Tutorials/Tutorial"
    also_rows = (f"{_DEVELOPMENT}/Tutorials/Tutorial",)

    status: str = column(f"../../{CONTAINER}", "Its timetable's container", key=True)
    timetable_id: int = column("../../@Id", "Its timetable", key=True)
    tutorial_id: int = column("@Id", "iSAMS's number of the tutorial", key=True)
    code: str | None = column("DisplayCode", "Code")
    name: str | None = column("DisplayName", "Name")
    room_id: int | None = column("RoomId", "The room")
    period_ids: str | None = column("Periods/Period/PeriodId", "Its periods", many=True)
    teacher_user_codes: str | None = column("Teachers/Teacher/TeacherId", "Its teachers, by user code", many=True)
    school_ids: str | None = column("Pupils/Pupil/PupilId", "Its pupils' school codes", many=True, personal=True)
