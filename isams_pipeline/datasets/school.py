"""SchoolManager: how the school is divided."""

from __future__ import annotations

from datetime import date

from isams_pipeline.datasets.contracts import in_order
from isams_pipeline.datasets.declare import Dataset, column


class Terms(Dataset):
    """Terms. One row per term."""

    feed = "terms"
    rows = "SchoolManager/Terms/Term"
    contracts = (in_order("start_date", "finish_date"),)

    term_id: int = column("@Id", "iSAMS's number of the term", key=True)
    school_year: int | None = column("SchoolYear", "The year in which the school year starts")
    name: str | None = column("Name", "Autumn, Spring …")
    start_date: date | None = column("StartDate", "First day")
    finish_date: date | None = column("FinishDate", "Last day")


class Years(Dataset):
    """Year groups. One row per year group."""

    feed = "years"
    rows = "SchoolManager/Years/Year"
    must_have_rows = True

    year_id: int = column("@Id", "The National Curriculum year itself; negative is nursery", key=True)
    name: str | None = column("Name", "What the school calls it")
    code: str | None = column("Code", "Short name")
    tutor_staff_id: int | None = column("@TutorId", "Head of year")
    assistant_tutor_staff_id: int | None = column("@AssistantTutorId", "Deputy")
    email: str | None = column("Email", "The year's e-mail address")
    website: str | None = column("Website", "The year's web page")


class Forms(Dataset):
    """Forms. One row per form."""

    feed = "forms"
    rows = "SchoolManager/Forms/Form"

    form_id: str = column("@Id", "The form's name, which is its number here", key=True)
    name: str | None = column("Form", "The form's name")
    year_id: int | None = column("@YearId", "Its year group")
    tutor_staff_id: int | None = column("@TutorId", "Form tutor")
    assistant_tutor_staff_id: int | None = column("@AssistantTutorId", "Assistant form tutor")
    second_assistant_tutor_staff_id: int | None = column("@SecondAssistantTutorId", "Second assistant form tutor")
    room_id: int | None = column("@RoomId", "Its room")
    email: str | None = column("EmailAddress", "The form's e-mail address")


class AcademicHouses(Dataset):
    """Academic houses. One row per house."""

    feed = "academic_houses"
    rows = "SchoolManager/AcademicHouses/House"

    house_id: int = column("@Id", "iSAMS's number of the house", key=True)
    name: str | None = column("Name", "Name")
    code: str | None = column("Code", "Short name")
    type: str | None = column("Type", "Academic")
    sex: str | None = column("Sex", "F and U in the feeds seen")
    house_master_staff_id: int | None = column("@HouseMasterId", "House master or mistress")
    assistant_house_master_staff_id: int | None = column("@AssistantHouseMasterId", "Deputy")
    email: str | None = column("PrimaryEmail", "The house's e-mail address")
    telephone: str | None = column("Telephone", "The house's telephone")


class BoardingHouses(Dataset):
    """Boarding houses. One row per house."""

    feed = "boarding_houses"
    rows = "SchoolManager/BoardingHouses/House"

    house_id: int = column("@Id", "iSAMS's number of the house", key=True)
    name: str | None = column("Name", "Name")
    code: str | None = column("Code", "Short name")
    type: str | None = column("Type", "Boarding")
    sex: str | None = column("Sex", "F and U in the feeds seen")
    house_master_staff_id: int | None = column("@HouseMasterId", "House master or mistress")
    assistant_house_master_staff_id: int | None = column("@AssistantHouseMasterId", "Deputy")
    email: str | None = column("PrimaryEmail", "The house's e-mail address")
    telephone: str | None = column("Telephone", "The house's telephone")


class Divisions(Dataset):
    """Divisions, such as Junior and Senior. One row per division."""

    feed = "divisions"
    rows = "SchoolManager/SchoolDivisions/SchoolDivision"

    division_id: int = column("@Id", "iSAMS's number of the division", key=True)
    name: str | None = column("Name", "Name")
    code: str | None = column("Code", "Short name")
    year_ids: str | None = column("Years/Year/@YearId", "Its year groups", many=True)


class Tutors(Dataset):
    """Pastoral tutors. One row per member of staff who is one."""

    feed = "tutors"
    rows = "SchoolManager/PastoralTutors/StaffMember"

    staff_id: int = column("@Id", "The member of staff", key=True)
