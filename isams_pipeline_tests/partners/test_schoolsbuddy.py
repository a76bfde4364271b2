"""SchoolsBuddy's export as a whole: rules in their order, shapes, references."""

from datetime import date
from typing import Any

import pandas as pd
import pytest

from isams_pipeline.config import YearRange
from isams_pipeline.datasets import DATASETS
from isams_pipeline.delivery.built import Built
from isams_pipeline.delivery.explaining import explain
from isams_pipeline.delivery.export import Export
from isams_pipeline.partners.schoolsbuddy.export import NEEDED, build, settled, unsettled
from isams_pipeline.partners.schoolsbuddy.files import FILES
from isams_pipeline.partners.schoolsbuddy.rules import CHECKS, check_export, check_tables
from isams_pipeline.partners.schoolsbuddy.settings import SchoolsBuddySettings
from isams_pipeline.sandbox.school import SchoolPlan
from isams_pipeline_tests.rehearsing import answer
from isams_pipeline_tests.rules.test_contacts import frame_of

NIGHT = date(2026, 2, 10)
MERGED = {"mail_merge_all": True, "relationship": "Mother"}


def tables(**rows: list[dict[str, Any]]) -> dict[str, pd.DataFrame]:
    """A school of one pupil, one mother, one teacher, and what is given instead."""
    school: dict[str, list[dict[str, Any]]] = {
        "pupils": [{"pupil_id": 1, "school_id": "100", "forename": "Al", "year_id": 7, "email": "al@p.org"}],
        "contacts": [{"entry_id": 9, "person_id": 30, "email": "mo@c.org", "first_person": True, **MERGED}],
        "contact_pupils": [{"entry_id": 9, "person_id": 30, "pupil_id": 1}],
        "staff": [{"staff_id": 5, "user_code": "T5", "email": "t@s.org", "teaching": True}],
        "years": [{"year_id": 7, "name": "Year 7"}],
    }
    return {name: frame_of(name, *{**school, **rows}.get(name, [])) for name in NEEDED}


def built(settings: dict[str, Any] | None = None, campuses: dict[str, YearRange] | None = None, **rows: Any) -> Built:
    chosen = SchoolsBuddySettings(**(settings or {}))
    made = build(tables(**rows), chosen, campuses or {}, night=NIGHT, has_medical="health" in rows)
    assert made.unaccounted == []
    return made


def ids(result: Built, file: str, column: str) -> list[str]:
    return [row[column] for row in result.export.rows(file)]


def excluded(result: Built, entity: str) -> dict[str, str]:
    mine = result.exclusions[result.exclusions["entity"] == entity]
    return dict(zip(mine["id"], mine["rule"] + ": " + mine["severity"], strict=True))


def test_the_small_school_passes_every_rule():
    result = built()
    assert [check for check in check_export(result.export) if not check.passed] == []
    assert ids(result, "student_contacts.csv", "contact_id") == ["30"]


def test_settings_that_are_tried_one_after_the_other_leave_no_trace():
    plan = SchoolPlan("riverside", 60, subjects=2, troubles=True)
    rows = {name: table.frame for name, table in answer(plan, NIGHT).items()}
    tried = [
        SchoolsBuddySettings(contact_types=["Mother"], medical_fields=["Allergies"]),
        SchoolsBuddySettings(contact_years=[7]),
        SchoolsBuddySettings(contact_types=["Mother"], medical_fields=["Allergies"]),
    ]
    common = unsettled(rows, {}, night=NIGHT)
    for settings in tried:
        mine = settled(common, settings, has_medical=True)
        alone = build(rows, settings, {}, night=NIGHT, has_medical=True)
        assert mine.export.files == alone.export.files and mine.exclusions.equals(alone.exclusions)
        assert mine.account.rows().equals(alone.account.rows()) and mine.unaccounted == []
    assert len({settled(common, one, has_medical=True).export.content_hash for one in tried}) == 2


def test_files_and_columns_are_those_of_the_guide():
    assert {file.name: ",".join(file.columns) for file in FILES} == {
        "students.csv": "student_id,school_id,forename,preferred_name,surname,gender,date_of_birth,email,year_group,"
        "form,academic_house,boarding_house,tutor_staff_id",
        "contacts.csv": "contact_id,title,forename,surname,email,telephone,mobile,address_1,address_2,address_3,town,"
        "county,postcode,country",
        "student_contacts.csv": "student_id,contact_id,relationship,parental_responsibility,first_contact",
        "staff.csv": "staff_id,user_code,title,forename,preferred_name,surname,email,teaching",
        "year_groups.csv": "year_id,name,campus",
        "classes.csv": "class_id,code,name,subject,year_group",
        "class_students.csv": "class_id,student_id",
        "class_staff.csv": "class_id,staff_id,primary",
        "houses.csv": "house_id,name,type,house_master_staff_id",
        "medical.csv": "student_id,field,value",
        "photos.csv": "student_id,sha256",
    }


def test_bytes_are_sorted_quoted_and_end_in_lf():
    pupils = [
        {"pupil_id": 10, "forename": 'Al, "Bo"', "year_id": 7, "date_of_birth": pd.Timestamp("2011-05-04")},
        {"pupil_id": 9, "forename": "Zoë", "year_id": 7},
    ]
    data = built(pupils=pupils).export.files["students.csv"].decode()
    lines = data.split("\n")
    assert lines[1].startswith("9,,Zoë,") and lines[-1] == ""
    assert lines[2].startswith('10,,"Al, ""Bo""",,,,2011-05-04,')
    assert "\r" not in data


def test_a_student_without_an_address_stays_with_a_warning():
    result = built(pupils=[{"pupil_id": 1, "year_id": 7, "email": "none"}])
    assert ids(result, "students.csv", "email") == [""]
    assert excluded(result, "student") == {"1": "email: warning"}


def test_contacts_and_staff_without_an_address_are_out():
    contacts = [{"entry_id": 9, "person_id": 30, "email": None, **MERGED}]
    result = built(contacts=contacts, staff=[{"staff_id": 5, "email": "t at s"}])
    assert excluded(result, "contact") == {"30": "email: excluded"}
    assert excluded(result, "staff") == {"5": "email: excluded"}


def test_students_who_share_an_address_both_stay():
    pupils = [{"pupil_id": n, "year_id": 7, "email": "Same@p.org"} for n in (1, 2)]
    result = built(pupils=pupils)
    assert ids(result, "students.csv", "email") == ["Same@p.org", ""]
    assert excluded(result, "student") == {"2": "unique_email: warning"}


def test_uniqueness_is_decided_among_those_whom_every_other_rule_kept():
    # Contact 29 would win the address by its number, but has no student in the export.
    contacts = [
        {"entry_id": 8, "person_id": 29, "email": "same@c.org", "first_person": True, **MERGED},
        {"entry_id": 9, "person_id": 30, "email": "same@c.org", "first_person": False, **MERGED},
    ]
    links = [{"entry_id": 8, "person_id": 29, "pupil_id": 404}, {"entry_id": 9, "person_id": 30, "pupil_id": 1}]
    result = built(contacts=contacts, contact_pupils=links)
    assert ids(result, "contacts.csv", "contact_id") == ["30"]
    assert excluded(result, "contact") == {"29": "no_student: excluded"}


def test_a_teacher_who_is_a_parent_stays_both_with_a_warning():
    result = built(staff=[{"staff_id": 5, "email": "MO@c.org"}])
    assert (ids(result, "staff.csv", "staff_id"), ids(result, "contacts.csv", "contact_id")) == (["5"], ["30"])
    assert excluded(result, "staff") == {"5": "email_shared_across: warning"}


def test_one_person_with_two_entries_is_one_contact_of_two_students():
    pupils = [{"pupil_id": n, "year_id": 7, "email": f"{n}@p.org"} for n in (1, 2)]
    contacts = [{"entry_id": n, "person_id": 30, "email": "mo@c.org", **MERGED} for n in (9, 10)]
    links = [{"entry_id": n + 8, "person_id": 30, "pupil_id": n} for n in (1, 2)]
    result = built(pupils=pupils, contacts=contacts, contact_pupils=links)
    assert ids(result, "contacts.csv", "contact_id") == ["30"]
    assert ids(result, "student_contacts.csv", "student_id") == ["1", "2"]


def test_an_entry_that_is_out_while_its_person_is_in_is_called_an_entry():
    contacts = [
        {"entry_id": 9, "person_id": 30, "email": "mo@c.org", **MERGED},
        {"entry_id": 10, "person_id": 30, "email": "mo@c.org", "mail_merge_all": True, "relationship": "Driver"},
    ]
    links = [{"entry_id": n, "person_id": 30, "pupil_id": 1} for n in (9, 10)]
    result = built(contacts=contacts, contact_pupils=links)
    assert excluded(result, "contact_entry") == {"10": "contact_type: excluded"}
    assert excluded(result, "contact") == {}


def test_contact_years_leave_the_students():
    result = built({"contact_years": "10-11"})
    assert ids(result, "students.csv", "student_id") == ["1"]
    assert ids(result, "contacts.csv", "contact_id") == []
    assert excluded(result, "contact") == {"30": "contact_years: excluded"}


def test_dangling_references_are_noted_and_the_export_goes_on():
    result = built(
        pupils=[
            {
                "pupil_id": 1,
                "year_id": 99,
                "email": "a@p.org",
                "academic_house": "Gone",
                "tutor_user_code": "LEFT1",
                "form_id": "7X",
            }
        ],
        sets=[{"set_id": 210, "subject_id": 404, "year_id": 7, "code": "7Ma1"}],
        set_members=[
            {"member_id": 1, "set_id": 210, "pupil_id": 1},
            {"member_id": 2, "set_id": 210, "pupil_id": 404},
            {"member_id": 3, "set_id": 999, "pupil_id": 1},
        ],
        set_teachers=[
            {"set_id": 210, "link_id": 1, "staff_id": 5, "primary": True},
            {"set_id": 210, "link_id": 2, "staff_id": 404},
        ],
        academic_houses=[{"house_id": 2, "name": "North", "house_master_staff_id": 404}],
    )
    (student,) = result.export.rows("students.csv")
    assert (student["year_group"], student["academic_house"], student["tutor_staff_id"]) == ("", "", "")
    assert student["form"] == "7X"
    assert ids(result, "class_students.csv", "student_id") == ["1"]
    assert ids(result, "class_staff.csv", "staff_id") == ["5"]
    assert ids(result, "houses.csv", "house_master_staff_id") == [""]
    assert excluded(result, "class_student") == {"210:404": "reference: excluded", "999:1": "reference: excluded"}
    assert excluded(result, "class_staff") == {"210:404": "reference: excluded"}
    assert excluded(result, "class") == {"210": "reference: warning"}
    assert [check for check in check_export(result.export) if not check.passed] == []


def test_houses_by_number_or_by_name_and_of_their_own_kind():
    houses = {
        "academic_houses": [{"house_id": 2, "name": "North"}],
        "boarding_houses": [{"house_id": 2, "name": "Lodge"}],
    }
    pupils = [
        {"pupil_id": 1, "year_id": 7, "academic_house_id": 2, "boarding_house_id": 2},
        {"pupil_id": 2, "year_id": 7, "academic_house": "NORTH"},
    ]
    result = built(pupils=pupils, **houses)
    assert ids(result, "students.csv", "academic_house") == ["North", "North"]
    assert ids(result, "students.csv", "boarding_house") == ["Lodge", ""]


def test_medical_fields_by_choice():
    health = [
        {"record": 1, "position": 1, "pupil_id": 1, "field": "Allergies", "value": "Nuts"},
        {"record": 1, "position": 2, "pupil_id": 1, "field": "Notes", "value": "Secret"},
        {"record": 2, "position": 1, "school_id": "100", "field": "allergies", "value": "Milk"},
        {"record": 3, "position": 1, "pupil_id": 404, "field": "Allergies", "value": "Eggs"},
    ]
    result = built({"medical_fields": ["allergies"]}, health=health)
    assert [tuple(row.values()) for row in result.export.rows("medical.csv")] == [
        ("1", "Allergies", "Nuts"),
        ("1", "allergies", "Milk"),
    ]
    assert excluded(result, "medical") == {"3:1": "reference: excluded"}
    assert "medical.csv" not in built(health=health).export.files


def test_years_of_one_name_without_campuses_are_refused_and_named_with_them():
    rows = {
        "years": [{"year_id": 10, "name": "05"}, {"year_id": 20, "name": "05"}],
        "pupils": [
            {"pupil_id": 1, "year_id": 10, "email": "a@p.org"},
            {"pupil_id": 2, "year_id": 20, "email": "b@p.org"},
        ],
    }

    def verdicts(result: Built, *, has_campuses: bool) -> list[str]:
        checks = check_tables(result.export, tables(**rows), has_campuses=has_campuses)
        return [problem for check in checks for problem in check.problems]

    (problem,) = verdicts(built(**rows), has_campuses=False)
    assert "years 10 and 20 have the same name" in problem
    campuses = {"Campus 1": YearRange.parse("1-10"), "Campus 2": YearRange.parse("20-30")}
    result = built(campuses=campuses, **rows)
    assert ids(result, "students.csv", "year_group") == ["05 Campus 1", "05 Campus 2"]
    assert verdicts(result, has_campuses=True) == []
    del rows["pupils"][1]
    assert verdicts(built(**rows), has_campuses=False) == [], "a year of the same name without students harms nobody"
    rows["pupils"].append({"pupil_id": 3, "year_id": 77, "email": "c@p.org"})
    assert "year 77 has students" in verdicts(built(campuses=campuses, **rows), has_campuses=True)[0]


def test_a_carriage_return_in_a_field_does_not_end_the_row():
    contacts = [{"entry_id": 9, "person_id": 30, "email": "mo@c.org", "address_1": "1 High\rStreet", **MERGED}]
    result = built(contacts=contacts)
    assert ids(result, "contacts.csv", "address_1") == ["1 High\nStreet"]
    assert all(check.passed for check in check_export(result.export))


@pytest.mark.parametrize(
    ("file", "change", "check"),
    [
        ("students.csv", lambda data: data.replace(b"student_id", b"id", 1), "schema"),
        ("students.csv", lambda data: data + data.split(b"\n")[1] + b"\n", "unique_keys"),
        ("contacts.csv", lambda data: data.split(b"\n")[0] + b"\n", "not_empty"),
        ("student_contacts.csv", lambda data: data.replace(b"1,30", b"1,31"), "references"),
        ("contacts.csv", lambda data: data + data.split(b"\n")[1].replace(b"30,", b"31,", 1) + b"\n", "unique_emails"),
    ],
)
def test_the_gate_sees_what_is_wrong_in_the_very_bytes(file: str, change: Any, check: str):
    files = dict(built().export.files)
    files[file] = change(files[file])
    failed = [result.name for result in check_export(Export(files)) if not result.passed]
    assert check in failed


def test_the_gate_evaluates_every_declared_check():
    made = built()
    results = [*check_export(made.export), *check_tables(made.export, tables(), has_campuses=False), made.accounted_for]
    assert {result.name for result in results} == set(CHECKS)


def test_links_of_another_schools_pupils_are_noticed_by_their_codes():
    pupils = [{"pupil_id": n, "school_id": f"10{n}"} for n in range(10)]
    links = [{"entry_id": n, "person_id": n, "pupil_id": n, "school_id": f"99{n}"} for n in range(10)]
    export = built().export
    result = check_tables(export, tables(pupils=pupils, contact_pupils=links), has_campuses=False)[0]
    assert not result.passed and "contact_pupils name pupils of another school" in result.problems[0]
    links[3:] = [{**link, "school_id": f"10{link['pupil_id']}"} for link in links[3:]]
    assert check_tables(export, tables(pupils=pupils, contact_pupils=links), has_campuses=False)[0].passed, (
        "a few mistakes are the school's own"
    )


def test_a_problem_never_quotes_a_value():
    files = dict(built().export.files)
    files["contacts.csv"] += files["contacts.csv"].split(b"\n")[1].replace(b"30,", b"31,", 1) + b"\n"
    problems = [p for result in check_export(Export(files)) for p in result.problems]
    assert problems and not any("mo@c.org" in problem for problem in problems)


@pytest.mark.parametrize(
    ("who", "expected"),
    [
        ("1", [("student", "1", True)]),
        ("30", [("contact", "30", True)]),
        ("MO@c.org", [("contact", "30", True), ("staff", "5", True)]),
        ("driver@c.org", [("contact", "31", False)]),
        ("nobody@x.org", []),
    ],
)
def test_explain(who: str, expected: list[tuple[str, str, bool]]):
    rows = tables(
        contacts=[
            {"entry_id": 9, "person_id": 30, "email": "home: mo@c.org", "first_person": True, **MERGED},
            {
                "entry_id": 10,
                "person_id": 31,
                "email": "driver@c.org",
                "mail_merge_all": True,
                "relationship": "Driver",
            },
        ],
        staff=[{"staff_id": 5, "email": "mo@c.org"}],
    )
    result = build(rows, SchoolsBuddySettings(), {}, night=NIGHT, has_medical=False)
    answers = explain(who, rows, result.export, result.exclusions.to_dict("records"), result.account.rows())
    assert [(a.entity, a.id, a.included) for a in answers] == expected
    assert all(answer.lines for answer in answers)
    if who == "driver@c.org":
        assert answers[0].lines == (
            "contact_type: entry 10: its relationship is not one of the wanted types",
            "contacts row 2: left out, contact_type",
        )
    if who == "30":
        assert "through student 1, first contact" in answers[0].lines


def test_declarations_know_which_columns_are_personal():
    personal = {c.name for c in DATASETS["contacts"].columns if c.personal}
    assert {"forename", "email", "telephone", "address_1", "postcode"} <= personal


# --- who must not get in, and who must not get lost -------------------------------------------------------


def contact(person: int, **more: Any) -> dict[str, Any]:
    entry = {"entry_id": person, "person_id": person, "email": f"c{person}@c.org", "first_person": True, **MERGED}
    return entry | more


def linked(person: int, pupil: int, **more: Any) -> dict[str, Any]:
    return {"entry_id": person, "person_id": person, "pupil_id": pupil, **more}


@pytest.mark.parametrize("mark", ["contact_only", "just_contact", "deceased"])
def test_a_contact_whom_the_source_marks_goes_to_no_partner(mark: str):
    rows = {"contacts": [contact(30), contact(31, **{mark: True})], "contact_pupils": [linked(30, 1), linked(31, 1)]}
    result = built(**rows)
    rule = "deceased" if mark == "deceased" else "contact_only"
    assert ids(result, "contacts.csv", "contact_id") == ["30"] and excluded(result, "contact") == {
        "31": f"{rule}: excluded"
    }
    sent = ids(built({"contact_only": "send"}, **rows), "contacts.csv", "contact_id")
    assert sent == (["30"] if mark == "deceased" else ["30", "31"])


def test_who_is_deceased_by_one_entry_is_in_by_none():
    rows = {
        "contacts": [contact(30), contact(30, entry_id=33, deceased=True)],
        "contact_pupils": [linked(30, 1), linked(30, 1, entry_id=33)],
    }
    result = built(**rows)
    assert ids(result, "contacts.csv", "contact_id") == [] and set(excluded(result, "contact")) == {"30"}
    assert built({"contact_only": "send"}, **rows).export.rows("contacts.csv") == []


def test_contact_only_for_a_student_counts_for_that_student_by_whichever_entry():
    pupils = [{"pupil_id": n, "year_id": 7, "email": f"p{n}@p.org"} for n in (1, 2)]
    entries = [contact(30), contact(30, entry_id=33, contact_only=True)]
    links = [linked(30, 1), linked(30, 2), linked(30, 1, entry_id=33)]
    result = built(pupils=pupils, contacts=entries, contact_pupils=links)
    assert [row["student_id"] for row in result.export.rows("student_contacts.csv")] == ["2"]
    assert "contact_only" in result.exclusions.loc[result.exclusions["entity"] == "student_contact", "rule"].tolist()
    assert excluded(result, "student") == {"1": "no_contact: warning"} and result.unaccounted == []


def test_a_tutors_code_means_nobody_else_where_its_owner_is_not_in_the_export():
    staff = [{"staff_id": 11, "user_code": "U11"}, {"staff_id": 12, "user_code": "u11", "email": "s12@s.org"}]
    pupils = [{"pupil_id": 1, "year_id": 7, "form_id": "8X", "tutor_user_code": "U11"}]
    for of_form in (11, None):
        result = built(pupils=pupils, staff=staff, forms=[{"form_id": "8X", "name": "8X", "tutor_staff_id": of_form}])
        assert [row["tutor_staff_id"] for row in result.export.rows("students.csv")] == [""]
        assert excluded(result, "student")["1"] == "reference: warning"


def test_a_parent_entered_for_each_child_is_one_user_with_both():
    home = {
        "forename": "Mae",
        "surname": "Quill",
        "email": "Mae@c.org",
        "address_1": "1 High St",
        "postcode": "ZZ1 1ZZ",
    }
    pupils = [{"pupil_id": n, "year_id": 7, "email": f"p{n}@p.org"} for n in (1, 2)]
    links = [linked(30, 1), linked(31, 2)]
    same = built(pupils=pupils, contacts=[contact(30, **home), contact(31, **home)], contact_pupils=links)
    assert [(r["student_id"], r["contact_id"]) for r in same.export.rows("student_contacts.csv")] == [
        ("1", "30"),
        ("2", "30"),
    ]
    assert excluded(same, "contact") == {"31": "same_person: excluded"} and excluded(same, "student") == {}
    for other in ({"forename": "Rob"}, {"address_1": "2 High St"}, {"postcode": None, "town": None}):
        apart = built(pupils=pupils, contacts=[contact(30, **home), contact(31, **home | other)], contact_pupils=links)
        assert excluded(apart, "contact") == {"31": "unique_email: excluded"}
        (reason,) = apart.exclusions.loc[apart.exclusions["rule"] == "no_contact", "reason"]
        assert excluded(apart, "student") == {"2": "no_contact: warning"} and "contact 31 (unique_email)" in reason


def test_one_mailbox_however_its_accent_is_composed():
    contacts = [contact(30, email="jos\u00e9@c.org"), contact(31, email="jose\u0301@c.org")]
    result = built(contacts=contacts, contact_pupils=[linked(30, 1), linked(31, 1)])
    assert excluded(result, "contact") == {"31": "unique_email: excluded"}


def test_a_mistyped_address_is_nobody_elses():
    result = built(
        contacts=[contact(30, email="mae quill@c.org"), contact(31)], contact_pupils=[linked(30, 1), linked(31, 1)]
    )
    (reason,) = result.exclusions.loc[result.exclusions["id"] == "30", "reason"]
    assert ids(result, "contacts.csv", "email") == ["c31@c.org"] and "holds more than addresses" in reason


@pytest.mark.parametrize("born", ["0001-01-01", "1900-01-01", "2026-02-11"])
def test_a_birthday_that_is_none_is_left_empty(born: str):
    result = built(pupils=[{"pupil_id": 1, "year_id": 7, "email": "a@p.org", "date_of_birth": pd.Timestamp(born)}])
    assert ids(result, "students.csv", "date_of_birth") == [""]
    assert excluded(result, "student") == {"1": "date_of_birth: warning"}


def test_tutors_by_code_without_case_and_by_the_form_where_two_have_it():
    pupils = [{"pupil_id": 1, "year_id": 7, "form_id": "7X", "email": "a@p.org", "tutor_user_code": "oak"}]
    staff = [{"staff_id": n, "user_code": "OAK", "email": f"s{n}@s.org"} for n in (5, 6)]
    assert ids(built(pupils=pupils, staff=staff[:1]), "students.csv", "tutor_staff_id") == ["5"]
    unsure = built(pupils=pupils, staff=staff)
    assert ids(unsure, "students.csv", "tutor_staff_id") == [""] and excluded(unsure, "student") == {
        "1": "reference: warning"
    }
    forms = [{"form_id": "7X", "name": "7X", "tutor_staff_id": 6}]
    assert ids(built(pupils=pupils, staff=staff, forms=forms), "students.csv", "tutor_staff_id") == ["6"]


def test_a_set_list_that_names_a_pupil_by_code_only_and_a_class_that_loses_everybody():
    sets = [{"set_id": n, "code": f"S{n}", "name": f"S{n}"} for n in (201, 202)]
    members = [{"member_id": 1, "set_id": 201, "school_id": "100"}, {"member_id": 2, "set_id": 202, "pupil_id": 404}]
    result = built(sets=sets, set_members=members, set_teachers=[{"set_id": 202, "link_id": 1, "staff_id": 99}])
    assert ids(result, "class_students.csv", "student_id") == ["1"]
    assert set(result.exclusions.loc[result.exclusions["entity"] == "class", "rule"]) == {"no_students", "no_teachers"}


def test_two_pupils_of_one_school_code_are_reported():
    pupils = [{"pupil_id": n, "school_id": "100", "year_id": 7, "email": f"p{n}@p.org"} for n in (1, 901)]
    links = [linked(30, 1), linked(30, 901)]
    result = built(pupils=pupils, contact_pupils=[{**link, "entry_id": 9} for link in links])
    assert excluded(result, "student") == {"1": "shared_code: warning", "901": "shared_code: warning"}


def test_parental_responsibility_is_a_choice():
    contacts = [contact(n, parental_responsibility=said) for n, said in ((30, "Yes"), (31, "No"), (32, "Default"))]
    rows = {"contacts": contacts, "contact_pupils": [linked(n, 1) for n in (30, 31, 32)]}
    for choice, kept in (("any", ["30", "31", "32"]), ("not_denied", ["30", "32"]), ("confirmed", ["30"])):
        assert ids(built({"parental_responsibility": choice}, **rows), "contacts.csv", "contact_id") == kept
