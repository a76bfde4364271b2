"""By which columns, elements and fields rows speak of people."""

from __future__ import annotations

import io
from typing import Any

import pandas as pd
import pytest

from isams_pipeline.datasets import DATASETS, LISTED_DATASETS
from isams_pipeline.datasets.people import COLUMNS, Person, people_in, subjects, together
from isams_pipeline.partners.registry import PARTNERS
from isams_pipeline.sources.isams.people_in import mentions
from isams_pipeline.sources.registry import LISTED


def test_every_column_that_names_a_person_is_known():
    """A new dataset, or a new file of a partner, whose column names somebody must be known to who looks for people."""
    declared: list[Any] = [*DATASETS.values(), *LISTED_DATASETS.values()]
    names = {column.name for one in declared for column in one.columns}
    for partner in PARTNERS.values():
        if partner.gets is not None:
            names |= {name for file in partner.gets.files for name in file.columns}
            names |= {column.name for table in partner.gets.tables for column in table.declaration.columns}
    telling = ("pupil_id", "student_id", "staff_id", "staff_ids", "person_id", "contact_id", "user_code", "user_codes")
    named = {
        n for n in names if n.endswith((*telling, "person_guid", "sibling_id")) or n in {"school_id", "school_ids"}
    }
    assert named <= set(COLUMNS), named - set(COLUMNS)


def test_rows_about_people_are_told_from_rows_that_name_them():
    own = {name: set(subjects(one)) for name, one in DATASETS.items() if subjects(one)}
    assert own["pupils"] == {"pupil_id", "school_id"} and own["contact_pupils"] == {
        "person_id",
        "pupil_id",
        "school_id",
    }
    assert own["staff"] == {"staff_id", "user_code"} and own["tutors"] == {"staff_id"}
    assert own["set_members"] == {"pupil_id", "school_id"} and "sets" not in own and "lessons" not in own


def test_a_joint_entry_s_other_person_is_not_meant():
    frame = pd.DataFrame({"entry_id": [7, 7], "person_id": [70, 71], "email": ["a@b.example; c@d.example", None]})
    (person,) = people_in("contact", "isams", frame, "contact:70")
    assert person.ids == {"person": {"70"}, "e-mail": {"a@b.example", "c@d.example"}}
    assert people_in("contact", "isams", frame, "C@d.example")[0].id == "70"
    assert people_in("contact", "isams", frame, "pupil:70") == []


def test_a_row_of_unknown_shape_is_told_as_perhaps():
    document = b"""<iSAMS><Odd><Things><Thing><PupilId>5</PupilId><Said>x</Said></Thing><Thing><PupilId>55</PupilId></Thing>
    </Things></Odd><PupilManager><Health><Record><Pupil Id="5"/><Note>n</Note></Record></Health></PupilManager></iSAMS>"""
    person = Person("pupil", "isams", "5", {"pupil": frozenset({"5"})})
    found = list(mentions(io.BytesIO(document), person))
    assert [(one.path, one.how, one.row) for one in found] == [
        ("Odd/Things/Thing", "perhaps", 1),
        ("PupilManager/Health/Record", "own", 1),
    ]
    assert found[1].fields == {"Pupil/@Id": "5", "Note": "n"}


PUPIL = Person("pupil", "isams", "5", {"pupil": frozenset({"5"}), "school code": frozenset({"0012"})})
STAFF = Person("staff", "isams", "9", {"staff": frozenset({"9"}), "user code": frozenset({"ab"})})
BATCH = b"""<iSAMS>
<PupilManager>
 <CurrentPupils><Pupil Id="5"><SchoolId>0012</SchoolId><Tutor>AB</Tutor><Odd>kept</Odd></Pupil>
 <Pupil Id="55"><SchoolId>0055</SchoolId><Tutor>ab</Tutor></Pupil></CurrentPupils>
 <Pupils><Pupil Id="55"><Siblings><Sibling PupilId="5"/><Sibling PupilId="6"/></Siblings></Pupil></Pupils>
 <Contacts><Contact Id="1" PersonId="5"><Pupils><Pupil Id="5"/><Pupil Id="6"/></Pupils></Contact></Contacts>
</PupilManager></iSAMS>"""


def test_rows_links_and_mentions_of_a_pupil():
    found = [(one.path, one.how, dict(one.fields)) for one in mentions(io.BytesIO(BATCH), PUPIL)]
    assert found == [
        ("PupilManager/CurrentPupils/Pupil", "own", {"@Id": "5", "SchoolId": "0012", "Tutor": "AB", "Odd": "kept"}),
        ("PupilManager/Pupils/Pupil/Siblings/Sibling", "own", {"@PupilId": "5"}),
        ("PupilManager/Contacts/Contact/Pupils/Pupil", "own", {"@Id": "5"}),
    ], "the contact whose person has the same number is another"


def test_who_is_only_named_gets_no_more_than_the_field():
    found = [(one.how, dict(one.fields)) for one in mentions(io.BytesIO(BATCH), STAFF)]
    assert found == [("named", {"Tutor": "AB"}), ("named", {"Tutor": "ab"})], "codes are compared without case"


@pytest.mark.parametrize(
    ("source", "name", "row", "how"),
    [
        ("assembly", "students", {"id": 5, "name": "x"}, "own"),
        ("assembly", "rooms", {"id": 5, "name": "x"}, None),
        ("assembly", "attendances", {"id": 1, "student_id": 5}, "own"),
        ("assembly", "teaching_groups", {"id": 1, "student_ids": [4, 5], "supervisor_ids": [5]}, "named"),
        ("assembly", "teaching_groups", {"id": 1, "student_ids": [4], "supervisor_ids": [5]}, None),
        ("assembly", "contacts", {"id": 5, "students": [{"student_id": 5}]}, "named"),
        ("xporter", "groups", {"_array": "StudentMembers", "StudentId": "5", "GroupId": "1"}, "own"),
        ("xporter", "groups", {"_array": "Group", "Id": "5", "PrimaryStaffId": "5"}, None),
        ("xporter", "students", {"_array": "Students", "Id": "5"}, "own"),
    ],
)
def test_rows_of_lists_by_their_own_fields(source: str, name: str, row: dict[str, Any], how: str | None):
    assert LISTED[source].people.how(name, row, PUPIL) == how


def test_a_person_is_what_all_nights_said():
    first, second = (
        pd.DataFrame({"staff_id": [9], "user_code": [code], "email": [mail]})
        for code, mail in (("AB", "old@example.org"), ("AC", "New@example.org"))
    )
    seen = [*people_in("staff", "isams", first, "9"), *people_in("staff", "isams", second, "9")]
    person = together(seen)
    assert person.ids["user code"] == {"ab", "ac"} and person.ids["e-mail"] == {"old@example.org", "new@example.org"}
    assert people_in("staff", "isams", second, "ac")[0].name == "staff:9"
    assert not people_in("staff", "isams", second, "ab") and not people_in("staff", "isams", second, "99")


@pytest.mark.parametrize(
    ("kind", "value", "is_meant"),
    [
        ("pupil", 5, True),
        ("pupil", "5", True),
        ("pupil", "3 5", True),
        ("pupil", "55", False),
        ("pupil", None, False),
        ("pupil", True, False),
        ("school code", " 0012 ", True),
        ("school code", "12", False),
        ("staff", "5", False),
    ],
)
def test_cells_that_mean_a_person(kind: str, value: object, is_meant: bool):
    assert PUPIL.is_meant(kind, value) is is_meant


def test_a_teacher_in_a_pupil_s_health_record_is_not_whose_it_is():
    document = b"""<iSAMS><PupilManager><Health><Record><PupilId>5</PupilId><Tutor>AB</Tutor></Record></Health>
    </PupilManager></iSAMS>"""
    assert [one.how for one in mentions(io.BytesIO(document), STAFF)] == ["perhaps"]
    assert [one.how for one in mentions(io.BytesIO(document), PUPIL)] == ["own"]
