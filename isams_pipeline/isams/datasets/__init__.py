"""The tables of iSAMS, one declaration each, one module per iSAMS module."""

from isams_pipeline.isams.datasets import contacts, pupils, school, staff, teaching
from isams_pipeline.isams.datasets.declare import Column, Dataset, DatasetDeclaration, declared

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
            pupils.Health,
        ),
    )
}
"""By name, in the order in which a person would read them."""

__all__ = ["DATASETS", "SOURCE", "Column", "Dataset", "DatasetDeclaration", "declared"]
