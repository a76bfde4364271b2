"""What files of people have in common, whichever partner gets them."""

from __future__ import annotations

from isams_pipeline.delivery.export import ExportFile

STUDENT = ("student_id", "students.csv")
"""What rows of other files join: a column, and the file whose rows it names."""
STUDENT_COLUMNS = (
    *("student_id", "school_id", "forename", "preferred_name", "surname"),
    *("gender", "date_of_birth", "email"),
)
"""What stands of a student before what each partner calls the groups."""
CONTACTS = ExportFile(
    "contacts.csv",
    (
        *("contact_id", "title", "forename", "surname", "email", "telephone", "mobile"),
        *("address_1", "address_2", "address_3", "town", "county", "postcode", "country"),
    ),
    key=("contact_id",),
    must_have_rows=True,
    people="contact",
)
STAFF = ExportFile(
    "staff.csv",
    ("staff_id", "user_code", "title", "forename", "preferred_name", "surname", "email", "teaching"),
    key=("staff_id",),
    must_have_rows=True,
    people="staff",
)
