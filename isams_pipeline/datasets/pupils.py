"""PupilManager: pupils, their siblings, and their health records."""

from __future__ import annotations

from datetime import date

from isams_pipeline.datasets.contracts import in_order, not_in_the_future
from isams_pipeline.datasets.declare import Dataset, column


class Pupils(Dataset):
    """Pupils on the current roll. One row per pupil."""

    feed = "pupils"
    rows = "PupilManager/CurrentPupils/Pupil"
    must_have_rows = True
    identity = ("pupil_id", "school_id")
    contracts = (not_in_the_future("date_of_birth"), in_order("date_of_birth", "enrolment_date"))

    pupil_id: int = column("@Id", "iSAMS's number of the pupil", key=True)
    person_id: int | None = column("@PersonId", "iSAMS's number of the person")
    person_guid: str | None = column("@PersonGuid", "The same person as a GUID, in either case")
    school_id: str | None = column("SchoolId", "The pupil's code of 10 to 13 digits; older parts of iSAMS join by it")
    user_code: str | None = column("UserCode", "Internal code; no log-in")
    title: str | None = column("Title", "Title", personal=True)
    forename: str | None = column("Forename", "Forename", personal=True)
    middle_names: str | None = column("Middlename", "Middle names", personal=True)
    preferred_name: str | None = column("Preferredname", "The name the pupil is called by", personal=True)
    surname: str | None = column("Surname", "Surname", personal=True)
    full_name: str | None = column("Fullname", "Name in full", personal=True)
    gender: str | None = column("Gender", "M or F in the feeds seen", personal=True)
    date_of_birth: date | None = column("DOB", "Date of birth", personal=True)
    email: str | None = column("EmailAddress", "School e-mail; may hold several addresses", personal=True)
    mobile: str | None = column("MobileNumber", "Mobile number", personal=True)
    year_id: int | None = column("NCYear", "National Curriculum year, the number of the year; negative is nursery")
    form_id: str | None = column("Form", "The form, by its name")
    division_id: int | None = column("@DivisionId", "The division, by number")
    academic_house_id: int | None = column("@AcademicHouseId", "The academic house, by number")
    academic_house: str | None = column("AcademicHouse", "The academic house, by name")
    boarding_house_id: int | None = column("@BoardingHouseId", "The boarding house, by number")
    boarding_house: str | None = column("BoardingHouse", "The boarding house, by name")
    tutor_user_code: str | None = column("Tutor", "The tutor, by user code")
    pupil_type: str | None = column("PupilType", "Day, Boarder …", personal=True)
    family_id: int | None = column("FamilyId", "Pupils of one family share it")
    enrolment_date: date | None = column("EnrolmentDate", "First day at the school", personal=True)
    enrolment_school_year: int | None = column("EnrolmentSchoolYear", "The year in which that school year starts")


class Siblings(Dataset):
    """Which pupils are siblings. One row per pupil and sibling."""

    feed = "siblings"
    rows = "PupilManager/Pupils/Pupil/Siblings/Sibling"
    identity = ("pupil_id", "pupil_school_id")

    pupil_id: int = column("../../@Id", "The pupil", key=True)
    sibling_id: int = column("@PupilId", "The pupil's sibling", key=True)
    pupil_school_id: str | None = column("../../SchoolId", "The pupil's school code")
    sibling_school_id: str | None = column("SchoolId", "The sibling's school code")
    status: str | None = column("Status", "The sibling is Current, Applicant, Former …", personal=True)


class Health(Dataset):
    """Health records, by an optional key.

    One row per field of a record; the feed's shape is unknown, so every field is passed through as name and value.
    """

    feed = "medical"
    rows = "PupilManager"
    free_form = True
    identity = ("pupil_id", "school_id", "field", "value")

    record: int = column("", "The record, counted from 1 in the order of the document", key=True)
    position: int = column("", "The field within the record, counted from 1", key=True)
    pupil_id: int | None = column("", "The pupil, where the record names one by number")
    school_id: str | None = column("", "The pupil, where the record names one by school code")
    field: str = column("", "The field's path within the record")
    value: str | None = column("", "What it holds", personal=True)
