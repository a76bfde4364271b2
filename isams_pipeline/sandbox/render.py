"""A school's day as iSAMS would print it: one function per Batch method, each giving its container's text.

Faithful to what is known of the wire: `Legacy="True"` twins, omitted versus empty elements, whitespace-only
names, both kinds of booleans, a repeated container, unknown nodes, set lists that name leavers.
"""

from __future__ import annotations

import uuid
from collections.abc import Callable, Iterator

from isams_pipeline.config.feeds import CONTACTS_ADVANCED, CONTACTS_PLAIN
from isams_pipeline.sandbox import render_timetable as timetable
from isams_pipeline.sandbox.elements import attributes, element, legacy, moment
from isams_pipeline.sandbox.people import Contact, Pupil, StaffMember
from isams_pipeline.sandbox.school import SchoolDay
from isams_pipeline.sandbox.timetable import term_dates

_AUTHOR = '<Author Legacy="True">ADM100200300400</Author>'
_UPDATED = "<LastUpdated>2025-06-01T12:00:00</LastUpdated>"


def _pupil(school: SchoolDay, pupil: Pupil) -> str:
    houses = dict(HOUSES + _BOARDING)
    given = attributes(
        Id=pupil.id,
        PersonId=pupil.person_id,
        PersonGuid=pupil.guid,
        DivisionId=division_of(school, pupil.year),
        AcademicHouseId=pupil.house,
        BoardingHouseId=pupil.boarding,
    )
    return (
        f"<Pupil{given}>"
        f"{element('UPN', f'A{pupil.id:012d}')}{element('SchoolCode', f'C{pupil.id}')}"
        f"{element('SchoolId', pupil.school_id)}{element('UserCode', f'P{pupil.school_id}')}"
        f"{element('UserName', pupil.email and pupil.email.partition('@')[0])}"
        f"{element('Title', '' if pupil.steady % 2 else 'Miss' if pupil.gender == 'F' else 'Mr')}"
        f"{element('Forename', pupil.forename)}{element('Surname', pupil.surname)}"
        f"{element('Middlename', pupil.middle)}{element('Initials', pupil.forename[:1] + pupil.surname[:1])}"
        f"{element('Preferredname', pupil.preferred)}"
        f"{element('Fullname', f'{pupil.forename} {pupil.surname}')}{element('Gender', pupil.gender)}"
        f"{element('DOB', moment(pupil.born))}{element('AcademicHouse', houses[pupil.house])}"
        f"{element('BoardingHouse', houses[pupil.boarding] if pupil.boarding else None)}"
        f"{element('Form', pupil.form)}{element('NCYear', pupil.year)}"
        f"{element('DivisionName', 'Senior')}{element('EmailAddress', pupil.email)}"
        f"{element('MobileNumber', pupil.mobile)}{element('PupilType', 'Boarder' if pupil.boarding else 'Day')}"
        f"{element('EnrolmentDate', f'{school.school_year}-09-01T00:00:00')}"
        f"{element('EnrolmentTerm', 'Autumn')}{element('EnrolmentSchoolYear', school.school_year)}"
        f"{element('FamilyId', pupil.family[0])}{element('Nationalities', 'British,Irish')}"
        f"{element('Tutor', pupil.tutor)}{element('AddedLater', 'an element that nobody knows')}"
        f"</Pupil>"
    )


def current_pupils(school: SchoolDay) -> Iterator[str]:
    """CurrentPupils, in two containers of the same name: that occurs where two methods write to one node."""
    half = len(school.pupils) // 2
    for part in (school.pupils[:half], school.pupils[half:]):
        yield "<CurrentPupils>"
        yield from (_pupil(school, pupil) for pupil in part)
        yield "</CurrentPupils>"


def siblings(school: SchoolDay) -> Iterator[str]:
    families: dict[tuple[int, int], list[Pupil]] = {}
    for pupil in school.pupils:
        families.setdefault(pupil.family, []).append(pupil)
    yield "<Pupils>"
    for children in families.values():
        for pupil in children:
            others = [other for other in children if other is not pupil]
            if others:
                yield f"<Pupil{attributes(Id=pupil.id, AuthorId=1, PersonGuid=pupil.guid)}>{_AUTHOR}"
                yield f"{legacy('SchoolId', pupil.school_id)}<Status>Current</Status><Siblings>"
                for other in others:
                    yield f"<Sibling{attributes(PupilId=other.id, AuthorId=1, PersonGuid=other.guid)}>{_AUTHOR}"
                    yield f"{legacy('SchoolId', other.school_id)}<Status>Current</Status></Sibling>"
                yield "</Siblings></Pupil>"
    yield "</Pupils>"


def _contact(contact: Contact) -> str:
    guid = uuid.uuid5(uuid.NAMESPACE_OID, f"contact:{contact.person_id}")
    given = attributes(
        Id=contact.entry_id,
        PersonId=contact.person_id,
        PersonGuid=guid,
        IsFirstPersonContact="True" if contact.first else "False",
    )
    pupils = "".join(
        f"<Pupil{attributes(Id=pupil.id)}>{legacy('SchoolId', pupil.school_id)}<Status>Current</Status></Pupil>"
        for pupil in contact.pupils
    )
    return (
        f"<Contact{given}>{element('Title', contact.title)}{element('Forename', contact.forename)}"
        f"{element('MiddleNames', contact.middle or '')}{element('Surname', contact.surname)}"
        f"{element('RelationshipRaw', contact.relationship)}{element('EmailAddress', contact.email)}"
        f"{element('Telephone', contact.telephone)}{element('Mobile', contact.mobile)}"
        f"{element('Profession', 'Example maker')}"
        f"<Address><AddressLines>{element('Address1', contact.address)}{element('Address2', contact.address_2 or '')}"
        f"{element('Address3', contact.address_3)}</AddressLines>"
        f"{element('Town', contact.town)}{element('County', contact.county)}"
        f"{element('Postcode', contact.postcode)}{element('Country', contact.country)}</Address>"
        f"{element('MailMergeAll', int(contact.merge_all))}"
        f"{element('CorrespondenceMailMerge', int(contact.merge_correspondence))}"
        f"{element('BillingMailMerge', 0)}{element('ReportsMailMerge', 1)}{element('ContactOnly', int(contact.only))}"
        f"{element('ParentalResponsibility', contact.responsibility)}<Pupils>{pupils}</Pupils></Contact>"
    )


def contacts(school: SchoolDay) -> Iterator[str]:
    yield "<Contacts>"
    yield from map(_contact, school.contacts)
    yield "</Contacts>"


def current_staff(school: SchoolDay) -> Iterator[str]:
    yield "<CurrentStaff>"
    yield from (_staff_member(school, member) for member in school.staff)
    yield "</CurrentStaff>"


def _staff_member(school: SchoolDay, member: StaffMember) -> str:
    guid = uuid.uuid5(uuid.NAMESPACE_OID, f"{school.plan.seed}:staff:{member.id}")
    return (
        f"<StaffMember{attributes(Id=member.id, PersonId=400_000 + member.id, PersonGuid=guid)}>"
        f"{element('PreviousMISId', 1000 + member.id)}{element('Initials', member.surname[:2].upper())}"
        f"{element('UserCode', member.user_code)}{element('UserName', member.user_code.lower())}"
        f"{element('Title', member.title)}{element('Forename', member.forename)}<MiddleNames/>"
        f"{element('Surname', member.surname)}{element('FullName', f'{member.forename} {member.surname}')}"
        f"{element('PreferredName', member.forename)}{element('Salutation', f'{member.title} {member.surname}')}"
        f"{element('DOB', '1980-01-01T00:00:00')}{element('Gender', 'MF'[member.id % 2])}"
        f"{element('SchoolEmailAddress', member.email)}<SchoolMobileNumber/><PersonalMobileNumber/>"
        f"{element('TeachingStaff', int(member.teaching))}"
        f"{element('LeavingDate', member.leaving and moment(member.leaving))}"
        f'<Roles><Role Id="5"><Name>{"Teacher" if member.teaching else "Office"}</Name></Role>'
        f"{'<Role Id=' + chr(34) + '6' + chr(34) + '><Name>Head of year</Name></Role>' if member.id % 5 == 0 else ''}"
        f'</Roles><Divisions><Division Id="3"><Name>Senior</Name></Division></Divisions></StaffMember>'
    )


def terms(school: SchoolDay) -> Iterator[str]:
    yield "<Terms>"
    for start in school.term_years:
        for at, (name, first, last) in enumerate(term_dates(start)):
            yield f"<Term{attributes(Id=(start - 2000) * 3 + at, AuthorId=1)}>{_AUTHOR}{element('SchoolYear', start)}"
            yield f"{element('Name', name)}{element('StartDate', moment(first))}"
            yield f"{element('FinishDate', moment(last))}{_UPDATED}</Term>"
    yield "</Terms>"


def years(school: SchoolDay) -> Iterator[str]:
    yield "<Years>"
    for at, (year, name) in enumerate(school.plan.years):
        tutor = school.teachers[at % len(school.teachers)]
        yield f"<Year{attributes(Id=year, AuthorId=1, TutorId=tutor.id)}>{legacy('NationalCurriculumYear', year)}"
        yield f'{legacy("Tutor", tutor.user_code)}<AssistantTutor Legacy="True"/>{_AUTHOR}'
        yield f"{element('Name', name)}{element('Code', year)}{element('Email', f'y{year}@example.org')}"
        yield f"{_UPDATED}</Year>"
    yield "</Years>"


def forms(school: SchoolDay) -> Iterator[str]:
    yield "<Forms>"
    for year, _ in school.plan.years:
        for letter in "XY":
            tutor = school.teachers[year % len(school.teachers)]
            yield f"<Form{attributes(Id=f'{year}{letter}', TutorId=tutor.id, YearId=year, RoomId=31, AuthorId=1)}>"
            yield f'{legacy("Tutor", tutor.user_code)}<AssistantFormTutor Legacy="True"/>'
            yield f"{legacy('NationalCurriculumYear', year)}{legacy('RoomId', 31)}{_AUTHOR}"
            yield f"{element('Form', f'{year}{letter}')}{_UPDATED}</Form>"
    yield "</Forms>"


HOUSES = [(1, "North"), (2, "East"), (3, "South"), (4, "West")]
_BOARDING = [(10, "Lodge"), (11, "Manor")]


def _houses(container: str, houses: list[tuple[int, str]], school: SchoolDay) -> Iterator[str]:
    yield f"<{container}>"
    for at, (number, name) in enumerate(houses):
        # The last house's master has left.
        master = school.staff[at].id if at < len(houses) - 1 else 9_999
        yield f"<House{attributes(Id=number, HouseMasterId=master)}>{legacy('HouseMaster', 'JSM100200300400')}"
        yield f"{element('Name', name)}{element('Code', name[:1])}"
        yield f"{element('Type', container.removesuffix('Houses'))}{element('Sex', 'U')}</House>"
    yield f"</{container}>"


def academic_houses(school: SchoolDay) -> Iterator[str]:
    yield from _houses("AcademicHouses", HOUSES, school)


def boarding_houses(school: SchoolDay) -> Iterator[str]:
    if school.plan.troubles:
        yield from _houses("BoardingHouses", _BOARDING, school)


def division_of(school: SchoolDay, year: int) -> int:
    return 3 if year in {y for y, _ in school.plan.years[len(school.plan.years) // 2 :]} else 2


def divisions(school: SchoolDay) -> Iterator[str]:
    yield "<SchoolDivisions>"
    for number, name in ((2, "Junior"), (3, "Senior")):
        yield f"<SchoolDivision{attributes(Id=number)}>{_AUTHOR}{element('Name', name)}{element('Code', name[0])}"
        yield f"{_UPDATED}<Years>"
        for year, _ in school.plan.years:
            if division_of(school, year) == number:
                yield f"<Year{attributes(Id=70 + year, YearId=year)}>{legacy('NationalCurriculumYear', year)}"
                yield '<Author Legacy="True"/></Year>'
        yield "</Years></SchoolDivision>"
    yield "</SchoolDivisions>"


def pastoral_tutors(school: SchoolDay) -> Iterator[str]:
    yield "<PastoralTutors>"
    yield from (f"<StaffMember{attributes(Id=member.id)}/>" for member in school.teachers)
    yield "</PastoralTutors>"


def departments_and_subjects(school: SchoolDay) -> Iterator[str]:
    yield '<Departments><Department Id="1"><Name>Closed</Name></Department>'
    yield '<Department Id="6"><Name>Teaching</Name><Subjects>'
    for number, name, code in school.subjects:
        yield f"<Subject{attributes(Id=number)}>{element('Name', name)}{element('Code', code)}</Subject>"
    yield "</Subjects></Department></Departments>"


def teaching_sets(school: SchoolDay) -> Iterator[str]:
    yield "<Sets>"
    for group in school.sets:
        yield f"<Set{attributes(Id=group.id, SubjectId=group.subject, YearId=group.year, AuthorId=1)}>"
        yield f"{legacy('SubjectId', group.subject)}{legacy('YearId', group.year)}"
        yield f"{legacy('Teacher', group.teachers[0].user_code)}{_AUTHOR}{element('SetNumber', group.number)}"
        yield f"{element('Block', 'A')}{element('SetCode', group.code)}{element('Name', group.name)}<Teachers>"
        for at, member in enumerate(group.teachers):
            primary = "True" if at == 0 else "False"
            yield f"<Teacher{attributes(Id=group.id * 10 + at, StaffId=member.id, PrimaryTeacher=primary)}/>"
        yield f"</Teachers><Description/>{_UPDATED}</Set>"
    yield "</Sets>"


def set_lists(school: SchoolDay) -> Iterator[str]:
    yield "<SetLists>"
    number = 0
    for group in school.sets:
        for pupil in group.members:
            number += 1
            member = group.id * 100_000 + pupil.id
            yield f"<SetList{attributes(Id=member, SetId=group.id, PupilId=pupil.id, AuthorId=1)}>"
            yield f"{legacy('SetId', group.id)}{legacy('SchoolId', pupil.school_id)}"
            yield '<Author Legacy="True"/><LastUpdated/></SetList>'
    yield "</SetLists>"


def teaching_forms(school: SchoolDay) -> Iterator[str]:
    yield "<TeachingForms>"
    for at, (year, _) in enumerate(school.plan.years):
        yield f"<TeachingForm{attributes(Id=70 + at)}>{element('FormCode', f'{year}X')}"
        yield f"{element('TimetableCode', f'{year}X/Pd')}{element('SubjectId', 4)}</TeachingForm>"
    yield "</TeachingForms>"


def current_pupils_health(school: SchoolDay) -> Iterator[str]:
    """Invented: no sample of this method is public."""
    yield "<CurrentPupilsHealth>"
    for pupil in school.pupils:
        if pupil.steady % 5 == 0:
            yield f"<Pupil{attributes(Id=pupil.id)}>{legacy('SchoolId', pupil.school_id)}"
            yield f"{element('Allergies', f'Example nuts{school.plan.mark}')}"
            yield f"{element('Doctor', f'Dr Example{school.plan.mark}')}<Conditions><Condition>"
            yield f"{element('Name', f'Example condition{school.plan.mark}')}</Condition></Conditions></Pupil>"
    yield "</CurrentPupilsHealth>"


Renderer = Callable[[SchoolDay], Iterator[str]]
METHODS: dict[str, tuple[str, Renderer]] = {
    "Pupil_GetCurrentPupils": ("PupilManager", current_pupils),
    "Pupil_GetSiblings": ("PupilManager", siblings),
    CONTACTS_ADVANCED: ("PupilManager", contacts),
    CONTACTS_PLAIN: ("PupilManager", contacts),
    "Pupil_GetCurrentPupilsHealth": ("PupilManager", current_pupils_health),
    "HumanResources_GetCurrentStaff": ("HRManager", current_staff),
    "School_GetSchoolTerms": ("SchoolManager", terms),
    "School_GetAllYears": ("SchoolManager", years),
    "School_GetSchoolForms": ("SchoolManager", forms),
    "School_GetAcademicHouses": ("SchoolManager", academic_houses),
    "School_GetBoardingHouses": ("SchoolManager", boarding_houses),
    "School_GetSchoolDivisions": ("SchoolManager", divisions),
    "School_GetPastoralTutors": ("SchoolManager", pastoral_tutors),
    "Teaching_GetDepartmentsAndSubjects": ("TeachingManager", departments_and_subjects),
    "Teaching_GetTeachingSets": ("TeachingManager", teaching_sets),
    "Teaching_GetTeachingSetLists": ("TeachingManager", set_lists),
    "Teaching_GetTeachingForms": ("TeachingManager", teaching_forms),
    "Estate_GetAllBuildingsAndClassrooms": ("EstateManager", timetable.buildings),
    "Timetable_GetTimetableStructure": ("TimetableManager", timetable.structure),
    "Timetable_GetTimetableWeekAllocations": ("TimetableManager", timetable.allocations),
    "Timetable_GetPublishedTimetables": ("TimetableManager", timetable.published),
    "Timetable_GetDevelopmentTimetables": ("TimetableManager", timetable.development),
    "Cover_GetAllLessonSuspensions": ("CoverManager", timetable.suspensions),
    "Cover_GetAllRoomClosureReasons": ("CoverManager", timetable.closure_reasons),
    "Cover_GetAllRoomClosuresAndCover": ("CoverManager", timetable.closures),
    "Calendar_GetEventsThisYear": ("CalendarManager", timetable.events_this_year),
    "Calendar_GetEventsNextYear": ("CalendarManager", timetable.events_next_year),
}
"""Method → module and what it prints."""


def document(school: SchoolDay, methods: list[str]) -> Iterator[str]:
    """A whole answer to these methods."""
    by_module: dict[str, list[Renderer]] = {}
    for method in methods:
        module, renderer = METHODS[method]
        by_module.setdefault(module, []).append(renderer)
    yield "<iSAMS>"
    for module, renderers in by_module.items():
        yield f"<{module}>"
        for renderer in renderers:
            yield from renderer(school)
        yield f"</{module}>"
    yield "</iSAMS>"
