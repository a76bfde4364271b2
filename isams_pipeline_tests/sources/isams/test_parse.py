"""From a document to typed tables."""

import io
from datetime import date

import pandas as pd
import pytest
from hypothesis import given
from hypothesis import strategies as st
from lxml import etree

from isams_pipeline.datasets import DATASETS
from isams_pipeline.errors import WrongType
from isams_pipeline.sandbox import render
from isams_pipeline.sandbox.school import SchoolDay, SchoolPlan, two_campus_school
from isams_pipeline.sources.isams import parse as parse_module
from isams_pipeline.sources.isams.parse import ParsedTable, parse


def table(name: str, inner: str) -> ParsedTable:
    return parse(io.BytesIO(f"<iSAMS>{inner}</iSAMS>".encode()), [DATASETS[name]])[name]


def pupils(*rows: str) -> ParsedTable:
    inner = "".join(rows)
    return table("pupils", f"<PupilManager><CurrentPupils>{inner}</CurrentPupils></PupilManager>")


def contacts_of(*rows: str, name: str = "contacts") -> pd.DataFrame:
    inner = "".join(rows)
    return table(name, f"<PupilManager><Contacts>{inner}</Contacts></PupilManager>").frame


def test_values_have_their_types():
    frame = pupils(
        '<Pupil Id="501"><Forename>Alex</Forename><DOB>2011-05-04T00:00:00</DOB><NCYear>-2</NCYear></Pupil>'
    ).frame
    row = frame.iloc[0]
    assert (row["pupil_id"], row["forename"], row["year_id"]) == (501, "Alex", -2)
    assert row["date_of_birth"].date() == date(2011, 5, 4)
    assert frame["pupil_id"].dtype == "Int64"


def test_omitted_empty_and_whitespace_are_null():
    frame = pupils('<Pupil Id="1"><Surname/><Forename>&#x20; </Forename></Pupil>').frame
    assert frame[["surname", "forename", "email"]].isna().all(axis=None)


def test_legacy_twin_beside_an_attribute_of_the_same_name():
    inner = '<Set Id="210" SubjectId="4"><SubjectId Legacy="True">old</SubjectId><SetCode>8Ma1</SetCode></Set>'
    frame = table("sets", f"<TeachingManager><Sets>{inner}</Sets></TeachingManager>").frame
    assert (frame.loc[1, "subject_id"], frame.loc[1, "code"]) == (4, "8Ma1")


def test_both_kinds_of_booleans():
    frame = contacts_of(
        '<Contact Id="1" PersonId="1" IsFirstPersonContact="True"><MailMergeAll>0</MailMergeAll></Contact>',
        '<Contact Id="2" PersonId="2" IsFirstPersonContact="False"><MailMergeAll>1</MailMergeAll></Contact>',
    )
    assert list(frame["first_person"]) == [True, False]
    assert list(frame["mail_merge_all"]) == [False, True]


def test_nested_rows_carry_their_parents_whatever_the_order():
    row = '<Contact Id="9" PersonId="33"><Pupils><Pupil Id="501"/><Pupil Id="502"/></Pupils><Title>Dr</Title></Contact>'
    links = contacts_of(row, name="contact_pupils")
    assert links[["entry_id", "person_id", "pupil_id"]].to_numpy().tolist() == [[9, 33, 501], [9, 33, 502]]


def test_several_values_of_one_path_are_joined():
    inner = '<StaffMember Id="1"><Roles><Role><Name>Teacher</Name></Role><Role><Name>Tutor</Name></Role></Roles></StaffMember>'
    frame = table("staff", f"<HRManager><CurrentStaff>{inner}</CurrentStaff></HRManager>").frame
    assert frame.loc[1, "roles"] == "Teacher; Tutor"


def test_unknown_nodes_and_modules_are_ignored():
    frame = pupils('<Pupil Id="1" New="x"><Later><Forename>No</Forename></Later><Forename>Yes</Forename></Pupil>').frame
    assert frame.loc[1, "forename"] == "Yes"


def test_absent_and_empty_containers_are_told_apart():
    assert pupils().containers == 1
    assert table("pupils", "<HRManager/>").containers == 0


def test_a_repeated_container_adds_its_rows():
    parsed = pupils('<Pupil Id="1"/>', "</CurrentPupils><CurrentPupils>", '<Pupil Id="2"/>')
    assert list(parsed.frame["pupil_id"]) == [1, 2]
    assert (parsed.containers, parsed.repeated_rows) == (2, 0)


def test_a_repeated_container_may_say_the_same_again():
    parsed = pupils(
        '<Pupil Id="1"><Forename>Al</Forename></Pupil>',
        "</CurrentPupils><CurrentPupils>",
        '<Pupil Id="1"><Bus>7</Bus></Pupil>',
    )
    assert list(parsed.frame["forename"]) == ["Al"]
    assert parsed.repeated_rows == 1


@pytest.mark.parametrize("at", [1, 2])
def test_the_same_row_twice_in_one_container_is_no_repeat(at: int):
    """Only a later container says again what an earlier one said; its rule says that the keys are not unique."""
    rows = ['<Pupil Id="1"><Forename>Kim</Forename></Pupil>', '<Pupil Id="2"><Forename>Ash</Forename></Pupil>']
    rows.insert(at, rows[0])
    one = f"<CurrentPupils>{''.join(rows)}</CurrentPupils>"
    parsed = table("pupils", f"<PupilManager>{one}</PupilManager>")
    assert (len(parsed.frame), parsed.repeated_rows) == (3, 0)
    with_more = table("pupils", f"<PupilManager>{one}<CurrentPupils>{rows[0]}</CurrentPupils></PupilManager>")
    assert (len(with_more.frame), with_more.repeated_rows) == (3, 1)


def test_a_health_records_own_number_is_no_pupils():
    record = '<Record Id="77" PupilId="501"><Note>x</Note></Record>'
    alone = '<Record Id="78"><Note>y</Note></Record>'
    pupil = '<Pupil Id="502"><Note>z</Note></Pupil>'
    frame = table("health", f"<PupilManager><Health>{record}{alone}{pupil}</Health></PupilManager>").frame
    by_record = frame.groupby("record", sort=True)["pupil_id"].first()
    assert [None if pd.isna(one) else int(one) for one in by_record] == [501, None, 502]


def test_a_repeated_container_may_add_what_the_first_lacks():
    parsed = pupils(
        '<Pupil Id="1"><Forename>Al</Forename></Pupil><Pupil Id="2"/>',
        "</CurrentPupils><CurrentPupils>",
        '<Pupil Id="1"><MobileNumber>07700</MobileNumber></Pupil>',
    )
    assert parsed.frame[["pupil_id", "forename", "mobile"]].fillna("").to_numpy().tolist() == [
        [1, "Al", "07700"],
        [2, "", ""],
    ]


def test_a_repeated_container_may_not_contradict():
    parsed = pupils(
        '<Pupil Id="1"><Forename>Al</Forename></Pupil>',
        "</CurrentPupils><CurrentPupils>",
        '<Pupil Id="1"><Forename>Bo</Forename></Pupil>',
    )
    assert len(parsed.frame) == 2  # and the unique_key rule refuses it


@pytest.mark.parametrize(
    ("row", "path", "kind"),
    [
        ('<Pupil Id="many"/>', "@Id", "a whole number"),
        ('<Pupil Id="1.0"/>', "@Id", "a whole number"),
        ('<Pupil Id="1_0"/>', "@Id", "a whole number"),
        ('<Pupil Id="2"><DOB>yesterday</DOB></Pupil>', "DOB", "a date"),
        ('<Pupil Id="2"><DOB>2011-02-30T00:00:00</DOB></Pupil>', "DOB", "a date"),
    ],
)
def test_wrong_types_name_the_place_and_never_the_value(row: str, path: str, kind: str):
    with pytest.raises(WrongType, match=kind) as caught:
        pupils('<Pupil Id="7"/>', row)
    assert caught.value.where == {
        "dataset": "pupils",
        "element": f"PupilManager/CurrentPupils/Pupil/{path}",
        "row": 2,
    }
    assert not any(value in str(caught.value) for value in ("many", "1.0", "1_0", "yesterday", "02-30"))


def test_wrong_booleans():
    with pytest.raises(WrongType, match="0, 1, True or False"):
        contacts_of('<Contact Id="1" PersonId="1"><MailMergeAll>maybe</MailMergeAll></Contact>')


def test_rows_keep_their_numbers_across_batches(monkeypatch):
    monkeypatch.setattr(parse_module, "_BATCH", 3)
    with pytest.raises(WrongType) as caught:
        pupils(*[f'<Pupil Id="{n}"/>' for n in range(7)], '<Pupil Id="x"/>')
    assert caught.value.where["row"] == 8


def test_health_passes_every_field_through():
    row = '<Pupil Id="501"><SchoolId Legacy="True">1002003004</SchoolId><A>1</A><B><C x="2">3</C></B></Pupil>'
    frame = table("health", f"<PupilManager><AnyName>{row}</AnyName></PupilManager>").frame
    assert list(frame["field"]) == ["@Id", "SchoolId", "A", "B/C", "B/C/@x"]
    assert set(frame["pupil_id"]) == {501}
    assert set(frame["school_id"]) == {"1002003004"}


@given(
    st.lists(
        st.text(st.characters(blacklist_categories=["Cs", "Cc"], blacklist_characters="￾￿"), max_size=30), max_size=12
    )
)
def test_texts_come_through_as_they_were(texts: list[str]):
    root = etree.Element("iSAMS")
    container = etree.SubElement(etree.SubElement(root, "PupilManager"), "CurrentPupils")
    for number, text in enumerate(texts):
        etree.SubElement(etree.SubElement(container, "Pupil", Id=str(number)), "Forename").text = text
    frame = parse(io.BytesIO(etree.tostring(root)), [DATASETS["pupils"]])["pupils"].frame
    found = [None if pd.isna(value) else value for value in frame["forename"]]
    assert found == [text.strip() or None for text in texts]


@given(st.integers(min_value=1, max_value=40), st.booleans(), st.dates(date(2026, 9, 1), date(2027, 7, 1)))
def test_every_row_of_a_made_up_school_arrives(size: int, troubles: bool, day: date):
    school = SchoolDay(SchoolPlan("any", pupils=size, troubles=troubles), day)
    methods = [m for m in render.METHODS if "Health" not in m and m != "Pupil_GetContacts"]
    data = "".join(render.document(school, methods)).encode()
    tables = parse(io.BytesIO(data), [d for d in DATASETS.values() if not d.free_form])
    assert list(tables["pupils"].frame["pupil_id"]) == [pupil.id for pupil in school.pupils]
    assert len(tables["contacts"].frame) == len(school.contacts)
    assert len(tables["contact_pupils"].frame) == sum(len(contact.pupils) for contact in school.contacts)
    assert len(tables["set_members"].frame) == sum(len(group.members) for group in school.sets)


def test_the_two_campus_school_has_two_years_of_one_name():
    assert [number for number, name in two_campus_school().years if name == "05"] == [10, 20]
