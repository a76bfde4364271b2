"""The tables of iSAMS, one declaration each, one module per iSAMS module."""

from isams_pipeline.datasets import (
    calendar,
    contacts,
    cover,
    dated,
    estate,
    pupils,
    registration,
    school,
    staff,
    teaching,
    timetable,
)
from isams_pipeline.datasets.declare import Column, Dataset, DatasetDeclaration, declared

SOURCE = "isams"

DATASETS: dict[str, DatasetDeclaration] = {
    declaration.name: declaration
    for declaration in map(
        declared,
        (
            pupils.Pupils,
            pupils.Siblings,
            contacts.Contacts,
            contacts.ContactPupils,
            staff.Staff,
            school.Terms,
            school.Years,
            school.Forms,
            school.AcademicHouses,
            school.BoardingHouses,
            school.Divisions,
            school.Tutors,
            teaching.Departments,
            teaching.Subjects,
            teaching.Sets,
            teaching.SetTeachers,
            teaching.SetMembers,
            teaching.TeachingForms,
            estate.Buildings,
            estate.Rooms,
            timetable.TimetableWeeks,
            timetable.TimetableDays,
            timetable.TimetablePeriods,
            timetable.WeekAllocations,
            timetable.Timetables,
            timetable.Lessons,
            timetable.StaffMeetings,
            timetable.YearSchedules,
            timetable.Tutorials,
            cover.LessonSuspensions,
            cover.RoomClosureReasons,
            cover.RoomClosures,
            calendar.CalendarEvents,
            pupils.Health,
        ),
    )
}
"""By name, in the order in which a person would read them."""

REST_SOURCE = "isams_rest"
ATTENDANCE = declared(registration.RegisterMarks)
"""By REST, so not among those of Batch. Made twice a day."""

LISTED_DATASETS: dict[str, DatasetDeclaration] = {
    name: DATASETS[name]
    for name in (
        *("pupils", "contacts", "contact_pupils", "staff", "years", "forms", "academic_houses", "boarding_houses"),
        *("subjects", "sets", "set_teachers", "set_members", "rooms", "terms", "calendar_events", "health"),
    )
} | {
    declaration.name: declaration
    for declaration in map(declared, (dated.Periods, dated.DatedLessons, dated.Attendance))
}
"""What comes by the other sources: in the same shape where iSAMS's own source has it too."""


__all__ = [
    "ATTENDANCE",
    "DATASETS",
    "LISTED_DATASETS",
    "REST_SOURCE",
    "SOURCE",
    "Column",
    "Dataset",
    "DatasetDeclaration",
    "declared",
]
