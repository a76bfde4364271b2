"""HRManager: the staff."""

from __future__ import annotations

from datetime import date

from isams_pipeline.datasets.contracts import not_in_the_future
from isams_pipeline.datasets.declare import Dataset, column


class Staff(Dataset):
    """Current staff with their roles and divisions. One row per member of staff."""

    feed = "staff"
    rows = "HRManager/CurrentStaff/StaffMember"
    must_have_rows = True
    identity = ("staff_id", "user_code")
    contracts = (not_in_the_future("date_of_birth"),)

    staff_id: int = column("@Id", "iSAMS's number of the member of staff", key=True)
    person_id: int | None = column("@PersonId", "iSAMS's number of the person")
    person_guid: str | None = column("@PersonGuid", "The same person as a GUID, in either case")
    user_code: str | None = column("UserCode", "Code by which timetable, tutors and authors name them")
    user_name: str | None = column("UserName", "Log-in name", personal=True)
    initials: str | None = column("Initials", "The school's initials for them", personal=True)
    title: str | None = column("Title", "Title", personal=True)
    forename: str | None = column("Forename", "Forename", personal=True)
    middle_names: str | None = column("MiddleNames", "Middle names", personal=True)
    preferred_name: str | None = column("PreferredName", "The name they are called by", personal=True)
    surname: str | None = column("Surname", "Surname", personal=True)
    full_name: str | None = column("FullName", "Name in full", personal=True)
    salutation: str | None = column("Salutation", "How pupils address them", personal=True)
    gender: str | None = column("Gender", "M or F in the feeds seen", personal=True)
    date_of_birth: date | None = column("DOB", "Date of birth", personal=True)
    email: str | None = column("SchoolEmailAddress", "School e-mail; may hold several addresses", personal=True)
    mobile: str | None = column("SchoolMobileNumber", "School mobile number", personal=True)
    teaching: bool | None = column("TeachingStaff", "Teaching staff")
    leaving_date: date | None = column("LeavingDate", "Last day, where one is set", personal=True)
    roles: str | None = column("Roles/Role/Name", "Names of their roles", many=True)
    divisions: str | None = column("Divisions/Division/Name", "Names of their divisions", many=True)
