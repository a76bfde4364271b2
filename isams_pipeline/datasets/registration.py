"""Registration: what the day's registers hold. By REST, as the Batch API may answer from yesterday's cache."""

from __future__ import annotations

from datetime import datetime

from isams_pipeline.datasets.declare import Dataset, column


class RegisterMarks(Dataset):
    """The records of the day's registers, each with what its code means.

    One row per record: a register may hold several for one student. Comments are not read.
    """

    feed = "registration"
    rows = "registrationStatuses"

    register_id: int = column("registrationPeriodId", "The register", key=True)
    position: int = column("", "The record's place in the register, counted from 1", key=True)
    school_id: str = column("schoolId", "The student's school code")
    registered: bool | None = column(
        "isRegistered", "Somebody has taken the register for this student: a number above 0", personal=True
    )
    present: bool | None = column("isPresent", "Present", personal=True)
    late: bool | None = column("isLate", "Came after the register's late time", personal=True)
    minutes_late: int | None = column("numberOfMinutesLate", "By how many minutes", personal=True)
    out_of_school: bool | None = column("isOutOfSchool", "Known to be off site", personal=True)
    future_absence: bool | None = column("isFutureAbsence", "An absence that was planned before", personal=True)
    left_at: datetime | None = column("leavingOrLeftDateTime", "Leaves, or left, the site", personal=True)
    present_code: str | None = column("presentCode", "The school's code for being there", personal=True)
    absence_code: str | None = column("absenceCode", "The school's code for the absence", personal=True)
    absence_name: str | None = column("absenceName", "What the school calls it", personal=True)
    government_code: str | None = column("governmentCode", "What the government calls it", personal=True)
