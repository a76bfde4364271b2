"""A school's records as the REST API shows them, and what a PUT makes of them."""

from __future__ import annotations

import uuid
from datetime import date, datetime, time
from zoneinfo import ZoneInfo

from isams_pipeline.datasets.shapes import Json, JsonObject
from isams_pipeline.sandbox.people import Contact, Pupil, StaffMember
from isams_pipeline.sandbox.photos import photo_id
from isams_pipeline.sandbox.registers import ABSENCE_CODES, DIVISIONS, PRESENT_CODES, Register
from isams_pipeline.sandbox.render import division_of
from isams_pipeline.sandbox.school import SchoolDay
from isams_pipeline.sandbox.timetable import term_dates

TITLES = {"Mr", "Mrs", "Ms", "Miss", "Dr", "Mx", "Prof", "Rev"}
NATIONALITIES = {"British", "Irish", "French", "Emirati"}

WRITABLE_STUDENT = (
    "academicHouse birthCounty birthplace boardingHouse boardingStatus dob enrolmentDate enrolmentTerm enrolmentYear "
    "ethnicity forename formGroup fullName futureSchoolId gender initials isVisaRequired labelSalutation languages "
    "leavingDate leavingReason leavingYearGroup letterSalutation middlenames middleNames mobileNumber nationalities "
    "officialName personalEmailAddress preferredName previousName religion residentCountry schoolCode "
    "schoolEmailAddress surname title tutorEmployeeId uniquePupilNumber yearGroup"
).split()
"""The fields of a student's PUT, as the vendor's OpenAPI has them."""
_MODELLED = {
    "forename": "forename",
    "surname": "surname",
    "preferredName": "preferred",
    "gender": "gender",
    "mobileNumber": "mobile",
    "schoolEmailAddress": "email",
    "yearGroup": "year",
    "formGroup": "form",
}
_STUDENT_NEEDS = ("forename", "surname", "dob", "yearGroup")

WRITABLE_CONTACT = {
    "relationship": "relationship",
    "title": "title",
    "forename": "forename",
    "middleNames": "middle",
    "surname": "surname",
    "emailAddress": "email",
    "telephoneNumber": "telephone",
    "mobileNumber": "mobile",
    "address1": "address",
    "address2": "address_2",
    "address3": "address_3",
    "town": "town",
    "county": "county",
    "postcode": "postcode",
    "country": "country",
    "emergencyNotes": "emergency_notes",
    "contactOnly": "only",
}
_CONTACT_NEEDS = ("relationship", "title", "forename", "surname", "address1", "postcode", "country")


class Unacceptable(Exception):
    """A 422, with the words that iSAMS would find."""


def moment(day: date, at: time, zone: ZoneInfo) -> str:
    """A date and time with the school's offset."""
    return datetime.combine(day, at, zone).isoformat()


def student(school: SchoolDay, pupil: Pupil, zone: ZoneInfo) -> Json:
    """A student, every field."""
    title = "" if pupil.steady % 2 else "Miss" if pupil.gender == "F" else "Mr"
    found: Json = {
        "id": pupil.id,
        "academicHouse": ("North", "East", "South", "West")[pupil.house - 1],
        "birthCounty": "",
        "birthplace": f"Sampleton{school.plan.mark}",
        "boardingHouse": ("Lodge", "Manor")[pupil.boarding - 10] if pupil.boarding else None,
        "boardingStatus": "Boarding" if pupil.boarding else "Day",
        "dob": pupil.born.isoformat(),
        "enrolmentDate": f"{school.school_year}-09-01",
        "enrolmentStatus": None,
        "enrolmentTerm": "Autumn",
        "enrolmentYear": school.school_year,
        "ethnicity": "",
        "familyId": pupil.family[0],
        "forename": pupil.forename,
        "formGroup": pupil.form,
        "fullName": f"{pupil.forename} {pupil.surname}",
        "futureSchoolId": 0,
        "gender": pupil.gender,
        "homeAddresses": None,
        "initials": (pupil.forename or "")[:1] + (pupil.surname or "")[:1],
        "isVisaRequired": None,
        "labelSalutation": pupil.forename,
        "languages": ["English"],
        "lastUpdated": moment(school.date, time(0, 0), zone),
        "latestPhotoId": photo_id(school, pupil),
        "leavingDate": None,
        "leavingReason": None,
        "leavingYearGroup": None,
        "letterSalutation": pupil.forename,
        "middlenames": pupil.middle or None,
        "mobileNumber": pupil.mobile,
        "nationalities": ["British", "Irish"],
        "officialName": None,
        "personalEmailAddress": None,
        "personGuid": pupil.guid.lower(),
        "personId": pupil.person_id,
        "preferredName": pupil.preferred,
        "previousName": None,
        "religion": "",
        "removalGrounds": None,
        "residentCountry": "United Kingdom",
        "schoolCode": f"C{pupil.id}",
        "schoolEmailAddress": pupil.email,
        "schoolId": pupil.school_id,
        "surname": pupil.surname,
        "systemStatus": "Current",
        "title": title,
        "tutorEmployeeId": school.teachers[pupil.slot % len(school.teachers)].id,
        "uniquePupilNumber": f"A{pupil.id:012d}",
        "yearGroup": pupil.year,
    }
    return found | pupil.more


def student_edit(body: JsonObject) -> Json:
    """What a PUT of a student makes of the pupil: everything that it does not name is lost. Raises Unacceptable."""
    missing = [name for name in _STUDENT_NEEDS if body.get(name) in {None, ""}]
    if missing:
        raise Unacceptable(f"'{missing[0]}' is required.")
    nationalities: list[str] = body.get("nationalities") or []
    for name in nationalities:
        if name not in NATIONALITIES:
            raise Unacceptable(f"'{name}' is not a known nationality.")
    if body.get("gender") not in {"M", "F"}:
        raise Unacceptable(f"'{body.get('gender')}' is not a known gender.")
    try:
        born = date.fromisoformat(str(body["dob"])[:10])
    except ValueError:
        raise Unacceptable(f"'{body['dob']}' is not a date.") from None
    middle = body.get("middleNames", body.get("middlenames"))
    rest = set(WRITABLE_STUDENT) - set(_MODELLED) - {"dob", "middlenames", "middleNames"}
    return {
        **{attribute: body.get(name) for name, attribute in _MODELLED.items()},
        "born": born,
        "middle": middle,
        "more": {name: body.get(name) for name in rest} | {"middlenames": middle},
    }


def contact(entry: list[Contact]) -> Json:
    """A contact entry: the first person's record, and who else is on it where it is a joint one."""
    first, *others = entry
    found: Json = {
        "id": first.entry_id,
        "additionalId": None,
        "addressId": first.entry_id,
        "billing": False,
        "canShareWithOtherParents": False,
        "contactType": "Legal Guardian",
        "deceased": False,
        "fax": None,
        "includeInAllMailMerges": first.merge_all,
        "includeInMailMergeForBilling": False,
        "includeInMailMergeForCorrespondence": first.merge_correspondence,
        "includeInMailMergeForReports": True,
        "lastUpdated": "2025-06-01T12:00:00+01:00",
        "lastUpdatedBy": "ADM100200300400",
        "nationalId": None,
        "parentalResponsibility": first.responsibility,
        "passportNumber": None,
        "personGuid": str(uuid.uuid5(uuid.NAMESPACE_OID, f"contact:{first.person_id}")),
        "personId": first.person_id,
        "preferredPaymentMethod": None,
        "private": False,
        "profession": "Example maker",
        "relationshipOfJointContact": others[0].relationship if others else None,
        "secondaryPersonGuid": str(uuid.uuid5(uuid.NAMESPACE_OID, f"contact:{others[0].person_id}"))
        if others
        else None,
        "secondaryPersonId": others[0].person_id if others else None,
        "taxRegistrationNumber": None,
        "workTelephoneNumber": None,
    }
    return found | {name: getattr(first, attribute) for name, attribute in WRITABLE_CONTACT.items()}


def temporary_contact(entry: list[Contact]) -> Json:
    """The same by tempcontacts: the fields that a client in use reads there, and contactType."""
    whole = contact(entry)
    return {"id": whole["id"], "contactType": whole["contactType"], **{name: whole[name] for name in WRITABLE_CONTACT}}


def contact_edit(body: JsonObject) -> Json:
    """What a PUT of a contact makes of it: everything that it does not name is lost. Raises Unacceptable."""
    missing = [name for name in _CONTACT_NEEDS if body.get(name) in {None, ""}]
    if missing:
        raise Unacceptable(f"'{missing[0]}' is required.")
    if body["title"] not in TITLES:
        raise Unacceptable(f"'{body['title']}' is not a known title.")
    return {attribute: body.get(name) for name, attribute in WRITABLE_CONTACT.items()}


def employee(member: StaffMember) -> Json:
    """A member of staff."""
    return {
        "id": member.id,
        "forename": member.forename,
        "isTeachingStaff": member.teaching,
        "middleNames": None,
        "personalMobileNumber": None,
        "schoolEmailAddress": member.email,
        "schoolInitials": member.surname[:2].upper(),
        "surname": member.surname,
        "systemStatus": "Current",
        "title": member.title,
    }


def terms(school: SchoolDay, zone: ZoneInfo) -> list[Json]:
    """The school year's terms."""
    start = school.school_year
    return [
        {
            "id": (start - 2000) * 3 + at,
            "finishDate": moment(last, time(0, 0), zone),
            "name": name,
            "schoolYear": start,
            "startDate": moment(first, time(0, 0), zone),
        }
        for at, (name, first, last) in enumerate(term_dates(start))
    ]


def year_groups(school: SchoolDay) -> list[Json]:
    """The year groups."""
    return [
        {"ncYear": year, "name": name, "code": str(year), "emailAddress": f"y{year}@example.org"}
        for year, name in school.plan.years
    ]


def divisions_of_year(school: SchoolDay, year: int) -> list[Json]:
    """The divisions that a year group is in."""
    return [_division(division_of(school, year))] if year in {number for number, _ in school.plan.years} else []


def _division(number: int) -> Json:
    name = DIVISIONS[number]
    return {"id": number, "code": name[0], "lastUpdated": "2025-06-01T12:00:00+01:00", "name": name, "order": number}


def registration_period(register: Register, pupils: int) -> Json:
    """A register as `/registration/periods` lists it."""
    return {
        "id": register.id,
        "divisions": [_division(register.division)],
        "finish": register.finish.isoformat(),
        "friendlyName": register.name,
        "numberOfStudents": pupils,
        "registrationRuleId": 3,
        "registrationType": register.kind,
        "start": register.start.isoformat(),
        "time": register.late.isoformat(),
    }


def absence_codes() -> list[Json]:
    """The school's codes for absences, and what the government calls them."""
    unknown = "Unknown (Invalid Code)"
    return [
        {
            "id": number,
            "code": code,
            "description": "" if number % 2 else None,
            "displayOrder": number,
            "governmentCode": government,
            "governmentCodeName": unknown if government == "-" else name,
            "isOOSActive": government in {"V", "P"},
            "name": name,
        }
        for number, (code, government, name) in ABSENCE_CODES.items()
    ]


def present_codes() -> list[Json]:
    """The codes for being there."""
    return [
        {"id": number, "code": code, "displayOrder": number, "isOOCActive": True, "name": code, "showOnRegister": True}
        for number, code in PRESENT_CODES.items()
    ]
