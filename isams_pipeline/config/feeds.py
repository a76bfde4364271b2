"""Which Batch methods exist, which of them this project reads, and by what name a configuration asks for them."""

from __future__ import annotations

from collections.abc import Collection, Iterable
from dataclasses import dataclass, field
from datetime import date

CONTACTS_ADVANCED = "ContactAdvanced_GetContacts"
CONTACTS_PLAIN = "Pupil_GetContacts"
"""Inferred: the plain method's name stands in no public source; see docs/schoolsbuddy.md."""


@dataclass(frozen=True)
class Feed:
    """One Batch method by the name of what it brings: docs/data-dictionary.md has the rows of each."""

    name: str
    method: str
    fallback: str | None = None
    """Another method that brings the same, for keys that may not run `method`."""
    also: tuple[str, ...] = ()
    """Methods that bring more of the same, asked along where the key may run them."""

    @property
    def methods(self) -> tuple[str, ...]:
        """`method` and its fallback, best first."""
        return (self.method, self.fallback) if self.fallback else (self.method,)


FEEDS: dict[str, Feed] = {
    feed.name: feed
    for feed in (
        Feed("pupils", "Pupil_GetCurrentPupils"),
        Feed("siblings", "Pupil_GetSiblings"),
        Feed("contacts", CONTACTS_ADVANCED, fallback=CONTACTS_PLAIN),
        Feed("staff", "HumanResources_GetCurrentStaff"),
        Feed("terms", "School_GetSchoolTerms"),
        Feed("years", "School_GetAllYears"),
        Feed("forms", "School_GetSchoolForms"),
        Feed("academic_houses", "School_GetAcademicHouses"),
        Feed("boarding_houses", "School_GetBoardingHouses"),
        Feed("divisions", "School_GetSchoolDivisions"),
        Feed("tutors", "School_GetPastoralTutors"),
        Feed("departments", "Teaching_GetDepartmentsAndSubjects"),
        Feed("sets", "Teaching_GetTeachingSets"),
        Feed("set_lists", "Teaching_GetTeachingSetLists"),
        Feed("teaching_forms", "Teaching_GetTeachingForms"),
        Feed("estates", "Estate_GetAllBuildingsAndClassrooms"),
        Feed("timetable_structure", "Timetable_GetTimetableStructure"),
        Feed("week_allocations", "Timetable_GetTimetableWeekAllocations"),
        Feed(
            "timetables",
            "Timetable_GetPublishedTimetables",
            also=("Timetable_GetDevelopmentTimetables",),
        ),
        Feed("lesson_suspensions", "Cover_GetAllLessonSuspensions"),
        Feed("room_closure_reasons", "Cover_GetAllRoomClosureReasons"),
        Feed("room_closures", "Cover_GetAllRoomClosuresAndCover"),
        Feed(
            "events",
            "Calendar_GetEventsThisYear",
            also=("Calendar_GetEventsNextYear",),
        ),
        Feed("medical", "Pupil_GetCurrentPupilsHealth"),
    )
}

SHORTHANDS: dict[str, tuple[str, ...]] = {
    "school": (
        "terms",
        "years",
        "forms",
        "academic_houses",
        "boarding_houses",
        "divisions",
        "tutors",
    ),
    "teaching": ("departments", "sets", "set_lists", "teaching_forms"),
    "timetable": ("timetable_structure", "week_allocations", "timetables"),
    "cover": ("lesson_suspensions", "room_closure_reasons", "room_closures"),
}


@dataclass(frozen=True)
class Filter:
    """The filter that we send with a method that iSAMS answers only with one."""

    module: str
    node: str
    attributes: dict[str, str] = field(default_factory=dict[str, str])
    dates: bool = False
    """It also needs StartDate and EndDate."""

    def attributes_on(self, day: date | None) -> dict[str, str]:
        """The node's attributes on a date: with dates, the school year that it is in, and the next."""
        if not self.dates or day is None:
            return self.attributes
        start = day.year if day.month >= _AUGUST else day.year - 1
        return {**self.attributes, "StartDate": f"{start}-08-01", "EndDate": f"{start + 2}-08-31"}


_AUGUST = 8
REQUIRED_FILTERS: dict[str, Filter] = {
    # Status 1 is the current roll; without it the feed would bring the contacts of applicants and former pupils too.
    CONTACTS_ADVANCED: Filter("StudentManager", "Contacts", {"SystemStatusesToInclude": "1"}),
    "Cover_GetAllLessonSuspensions": Filter("CoverManager", "AllLessonSuspensions", dates=True),
    "Cover_GetAllRoomClosuresAndCover": Filter("CoverManager", "AllRoomClosuresAndCover", dates=True),
}

# The vendor's table of example responses, by module; served by xml.ashx (the two photo methods are not).
_METHODS_BY_MODULE: dict[str, str] = {
    "Agent": "GetActive GetInactive",
    "Calendar": "GetCategories GetTypes GetEvents GetEventsThisWeek GetEventsNextWeek GetEventsThisMonth "
    "GetEventsNextMonth GetEventsThisYear GetEventsNextYear",
    "ControlPanel": "GetAllGlobalLists GetContactTypeGlobalList GetAllUserGroups GetAllUsers GetGroupedModules "
    "GetModulePermissions",
    "Cover": "GetAllAbsenceReasons GetAllAgencies GetAllCoverStaff GetAllEventReasons GetAllRoomClosureReasons "
    "GetAllUnavailableReasons GetAllLessonSuspensions GetAllRoomClosuresAndCover",
    "DailyBulletin": "GetAllCategories GetTodaysDailyBulletins GetTomorrowsDailyBulletins GetDailyBulletins",
    "Discipline": "GetDetentions GetDetentionsThisMonth GetDetentionsThisTerm",
    "Estate": "GetAllBuildingsAndClassrooms",
    "ExternalExams": "GetExamArrangements GetExamEntries GetExamResults GetExamCentres GetExamCycles "
    "GetQualifications GetUabGroups GetUabIdentifiers",
    "HumanResources": "GetCurrentStaff GetCurrentStaffWithCustomFields",
    "News": "GetActiveNews GetArchivedNews GetFutureNews GetNewsTypes",
    "OffGames": "GetAllOffGames",
    "OtherSchools": "BoardingTypes GetOtherSchools GetSchoolTypes GovernanceTypes IntakeTypes",
    "ContactAdvanced": "GetContacts GetContactsWithCustomFields",
    "Pupil": "GetAlumni GetApplicants GetApplicantsWithCustomFields GetCurrentPupils "
    "GetCurrentPupilsWithCustomFields GetCurrentPupilsHealth GetCurrentPupilsHealthWithCustomFields "
    "GetCurrentPupilsTransport GetCurrentPupilsTransportWithCustomFields GetPassports "
    "GetCustomPupilGroupMembershipFiltered GetCustomGroupCategories GetCustomPupilGroups "
    "GetCustomPupilGroupMembership GetSiblings GetContacts",
    "PupilRegisters": "GetFreeSchoolMeals",
    "Registration": "GetDatesAndTimes GetPresentCodes GetRegistrationCodes GetOutOfSchoolPupils "
    "GetRegistrationStatus GetRegistrationPeriods",
    "RewardsAndConduct": "GetFields GetRewardsTypes GetRecords",
    "School": "GetAcademicHouses GetBoardingHouses GetSchoolForms GetPastoralTutors GetSchoolDivisions "
    "GetSchoolTerms GetAllYears",
    "SchoolReports": "GetReports GetReportCycles GetReportTypes GetTemplates",
    "SenManager": "GetExternalExams GetGiftedAndTalentedRegister GetInternalExams GetSenLessons GetSenRegister "
    "GetTypes",
    "Teaching": "GetDepartmentsAndSubjects GetTeachingForms GetTeachingSets GetTeachingSetLists",
    "Timetable": "GetPublishedTimetables GetDevelopmentTimetables GetPreliminaryTimetables GetPrepTimetables "
    "GetArchivedTimetables GetTimetableStructure GetTimetableWeekAllocations GetPupilTimetables",
    "Tracking": "GetExternalData GetExternalDataList",
}
KNOWN_METHODS: tuple[str, ...] = tuple(
    f"{module}_{method}" for module, methods in _METHODS_BY_MODULE.items() for method in methods.split()
)


def expand(names: Iterable[str]) -> list[str]:
    """Feed names with shorthands written out, each once, in the order given.

    Raises KeyError with the name that is neither a feed nor a shorthand.
    """
    feeds: list[str] = []
    for name in names:
        for feed in SHORTHANDS.get(name, (name,)):
            if feed not in FEEDS:
                raise KeyError(feed)
            if feed not in feeds:
                feeds.append(feed)
    return feeds


def methods_of(feeds: Collection[str]) -> list[str]:
    """The preferred method of each feed, and what is asked along."""
    return [method for name in feeds for method in (FEEDS[name].method, *FEEDS[name].also)]
