"""TeachingManager: what is taught, to whom, by whom."""

from __future__ import annotations

from isams_pipeline.datasets.declare import Dataset, column


class Departments(Dataset):
    """Departments. One row per department."""

    feed = "departments"
    rows = "TeachingManager/Departments/Department"

    department_id: int = column("@Id", "iSAMS's number of the department", key=True)
    name: str | None = column("Name", "Name")
    code: str | None = column("Code", "Short name (inferred)")


class Subjects(Dataset):
    """Subjects. One row per department and subject."""

    feed = "departments"
    rows = "TeachingManager/Departments/Department/Subjects/Subject"

    department_id: int = column("../../@Id", "Its department", key=True)
    subject_id: int = column("@Id", "iSAMS's number of the subject", key=True)
    name: str | None = column("Name", "Name")
    code: str | None = column("Code", "Short name")


class Sets(Dataset):
    """Teaching sets. One row per set."""

    feed = "sets"
    rows = "TeachingManager/Sets/Set"
    identity = ("teacher_user_code",)

    set_id: int = column("@Id", "iSAMS's number of the set", key=True)
    code: str | None = column("SetCode", "Code by which the timetable names it; may differ from the name")
    name: str | None = column("Name", "Name")
    subject_id: int | None = column("@SubjectId", "Its subject")
    year_id: int | None = column("@YearId", "Its year group")
    number: str | None = column("SetNumber", "Its number within block and subject")
    block: str | None = column("Block", "Its block")
    description: str | None = column("Description", "Free text")
    teacher_user_code: str | None = column("Teacher", "Main teacher, by user code")


class SetTeachers(Dataset):
    """Who teaches which set. One row per set and teacher's link."""

    feed = "sets"
    rows = "TeachingManager/Sets/Set/Teachers/Teacher"

    set_id: int = column("../../@Id", "The set", key=True)
    link_id: int = column("@Id", "iSAMS's number of the link", key=True)
    staff_id: int | None = column("@StaffId", "The member of staff")
    primary: bool | None = column("@PrimaryTeacher", "The set's main teacher")


class SetMembers(Dataset):
    """Who is in which set. One row per set and pupil; may name pupils who have left."""

    feed = "set_lists"
    rows = "TeachingManager/SetLists/SetList"
    identity = ("pupil_id", "school_id")

    member_id: int = column("@Id", "iSAMS's number of the membership", key=True)
    set_id: int = column("@SetId", "The set")
    pupil_id: int | None = column("@PupilId", "The pupil")
    school_id: str | None = column("SchoolId", "The pupil's school code")


class TeachingForms(Dataset):
    """Forms taught as a class. One row per form and subject."""

    feed = "teaching_forms"
    rows = "TeachingManager/TeachingForms/TeachingForm"

    teaching_form_id: int = column("@Id", "iSAMS's number of the teaching form", key=True)
    form_id: str | None = column("FormCode", "The form, by its name")
    timetable_code: str | None = column("TimetableCode", "Code by which the timetable names it")
    subject_id: int | None = column("SubjectId", "Its subject")
