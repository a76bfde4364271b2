"""Estates, timetable, cover and calendar as iSAMS would print them. Cover is invented: no sample is public."""

from __future__ import annotations

from collections.abc import Iterator
from datetime import date, timedelta

from isams_pipeline.sandbox import timetable
from isams_pipeline.sandbox.elements import attributes, element, moment
from isams_pipeline.sandbox.school import SchoolDay


def buildings(school: SchoolDay) -> Iterator[str]:
    yield "<Buildings>"
    for number, name in ((4, "Science Block"), (5, "Main Building"), (6, "Boathouse")):
        yield f"<Building{attributes(Id=number)}>{element('Parent', 0)}{element('Name', name)}<Description/>"
        yield element("Initials", name[:3].upper())
        inside = [room for room in timetable.rooms(school) if room.building == number]
        if inside:  # iSAMS leaves the list out where it is empty
            yield "<Classrooms>"
            for room in inside:
                yield f"<Classroom{attributes(Id=room.id)}>{element('Name', room.name)}<Description/>"
                yield f"{element('Initials', room.initials)}{element('Code', room.code)}</Classroom>"
            yield "</Classrooms>"
        yield "</Building>"
    yield "</Buildings>"


def structure(school: SchoolDay) -> Iterator[str]:
    yield "<Structure>"
    for at, week in enumerate(timetable.weeks(school), start=1):
        yield f"<Week{attributes(Id=week.id)}>{element('Name', week.name)}{element('ShortName', week.name[-1])}"
        yield f"{element('Ordinal', at)}{element('Active', 1)}<Days>"
        for number, name in timetable.WEEKDAYS:
            yield f"<Day{attributes(Id=timetable.day_id(week, number))}>{element('Name', name)}"
            yield f"{element('ShortName', name[:3])}{element('Day', number)}{element('Ordinal', number - 1)}"
            yield f"{element('Active', 1)}<Periods>"
            for nth, (title, start, end) in enumerate(timetable.PERIODS):
                yield f"<Period{attributes(Id=timetable.period_id(week, number, nth))}>{element('Name', title)}"
                yield f"{element('ShortName', title[0] + title[-1])}"
                yield f"{element('StartTime', timetable.bell(start, week.later))}"
                yield f"{element('EndTime', timetable.bell(end, week.later))}</Period>"
            yield "</Periods></Day>"
        yield "</Days></Week>"
    yield "</Structure>"


def allocations(school: SchoolDay) -> Iterator[str]:
    yield "<TimetableAllocations>"
    for at, (year, week, timetable_week) in enumerate(timetable.allocations(school)):
        yield f"<TimetableAllocation{attributes(Id=300 + at)}>{element('Week', week)}{element('Year', year)}"
        yield f"{element('TimetableWeekId', timetable_week)}</TimetableAllocation>"
    yield "</TimetableAllocations>"


def published(school: SchoolDay) -> Iterator[str]:
    yield f"<PublishedTimetables><Timetable{attributes(Id=timetable.TIMETABLE)}>"
    year = school.timetabled.school_year
    yield f"{element('Name', f'{year} Main')}{element('StartYear', year)}"
    yield f"{element('EndYear', year + 1)}<Schedules>"
    for lesson in timetable.lessons(school):
        yield f"<Schedule{attributes(Id=lesson.id)}>{element('Code', lesson.code)}{element('Teacher', lesson.teacher)}"
        yield f"{element('PeriodId', lesson.period)}{element('RoomId', lesson.room)}"
        yield f"{element('SetId', int(lesson.is_set))}{element('Set', int(lesson.is_set))}</Schedule>"
    yield "</Schedules>"
    yield from _gatherings(school)
    yield "</Timetable></PublishedTimetables>"


def _gatherings(school: SchoolDay) -> Iterator[str]:
    """What is no lesson: a staff meeting after school, assembly before it, a tutorial."""
    teachers = school.teachers
    for week in timetable.weeks(school)[:1]:
        monday, tuesday, friday = (timetable.period_id(week, day, at) for day, at in ((2, 7), (3, 7), (6, 0)))
        yield "<StaffMeetings>"
        for at, member in enumerate(teachers[:3]):
            yield f"<StaffMeeting{attributes(Id=60 + at)}>{element('PeriodId', monday)}"
            yield f"{element('TeacherId', member.user_code)}{element('MeetingGroupId', 7)}{element('RoomId', 32)}"
            yield f"{element('DisplayName', 'Heads of department')}</StaffMeeting>"
        yield "</StaffMeetings><YearSchedules>"
        year, _ = school.plan.years[0]
        yield f"<YearSchedule{attributes(Id=80)}>{element('Name', 'Assembly')}{element('NationalCurriculumYear', year)}"
        yield f"{element('PeriodId', friday)}{element('RoomId', 31)}{element('TeacherId', teachers[0].user_code)}"
        yield "</YearSchedule></YearSchedules><Tutorials>"
        yield f"<Tutorial{attributes(Id=90)}>{element('DisplayCode', 'T1')}{element('DisplayName', 'Tutorial 1')}"
        yield f"{element('RoomId', 33)}<Periods><Period{attributes(Id=1)}>{element('PeriodId', tuesday)}</Period>"
        yield f"</Periods><Pupils><Pupil{attributes(Id=1)}>{element('PupilId', school.pupils[0].school_id)}</Pupil>"
        yield f"</Pupils><Teachers><Teacher{attributes(Id=1)}>{element('TeacherId', teachers[1].user_code)}</Teacher>"
        yield "</Teachers></Tutorial></Tutorials>"


def development(_school: SchoolDay) -> Iterator[str]:
    yield f"<DevelopmentTimetables><Timetable{attributes(Id=21)}>"
    yield f"{element('Name', 'Next year')}</Timetable></DevelopmentTimetables>"


def _some_day(school: SchoolDay, days: int) -> date:
    """A weekday so many days after the beginning of the school year."""
    day = date(school.school_year, 9, 1) + timedelta(days=days)
    while day.isoweekday() > 5:  # noqa: PLR2004
        day += timedelta(days=1)
    return day


def suspended_days(school: SchoolDay) -> list[date]:
    """Days without lessons."""
    return [_some_day(school, days) for days in (63, 140)]


def suspensions(school: SchoolDay) -> Iterator[str]:
    yield "<LessonSuspensions>"
    for at, day in enumerate(suspended_days(school), start=1):
        yield f"<LessonSuspension{attributes(Id=at)}>{element('StartDate', moment(day))}"
        yield f"{element('EndDate', moment(day))}</LessonSuspension>"
    yield "</LessonSuspensions>"


def closure_reasons(_school: SchoolDay) -> Iterator[str]:
    yield f"<RoomClosureReasons><RoomClosureReason{attributes(Id=1)}>{element('Name', 'Exams')}</RoomClosureReason>"
    yield f"<RoomClosureReason{attributes(Id=2)}>{element('Name', 'Maintenance')}</RoomClosureReason>"
    yield "</RoomClosureReasons>"


def closures(school: SchoolDay) -> Iterator[str]:
    yield "<RoomClosures>"
    for at, (room, days, length) in enumerate(((32, 70, 4), (31, 160, 9)), start=1):
        first = _some_day(school, days)
        yield f"<RoomClosure{attributes(Id=at, RoomId=room, ReasonId=at)}>"
        yield f"{element('StartDate', f'{first}T09:00:00')}"
        yield f"{element('EndDate', f'{first + timedelta(days=length)}T12:00:00')}</RoomClosure>"
    yield "</RoomClosures>"


def _events(school: SchoolDay, year: int, number: int) -> Iterator[str]:
    yield "<Events>"
    for at, (month, title, place) in enumerate(
        ((11, "House match", "Field"), (12, "Concert", timetable.rooms(school)[0].name))
    ):
        yield f"<Event{attributes(Id=number + at, CategoryId=4)}>{element('StartDate', f'{year}-{month}-05T00:00:00')}"
        yield f"{element('StartTime', '1900-01-01T14:00:00')}{element('EndTime', '1900-01-01T15:30:00')}"
        yield f"{element('AllDayEvent', at)}{element('Description', title + school.plan.mark)}"
        yield f"{element('Location', place)}</Event>"
    yield "</Events>"


def events_this_year(school: SchoolDay) -> Iterator[str]:
    yield from _events(school, school.school_year, 800)


def events_next_year(school: SchoolDay) -> Iterator[str]:
    yield from _events(school, school.school_year + 1, 900)
