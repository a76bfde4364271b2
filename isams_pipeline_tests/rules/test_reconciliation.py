"""The same person by two sources, however each writes the name."""

from __future__ import annotations

from typing import Any

import pandas as pd
import pytest

from isams_pipeline.rules.reconciliation import NEEDED, ONLY_FIRST, ONLY_SECOND, reconcile
from isams_pipeline_tests.rules.test_contacts import frame_of


def school(surname: str, email: str) -> dict[str, pd.DataFrame]:
    rows: dict[str, list[dict[str, Any]]] = {
        "contacts": [
            {
                "entry_id": 1,
                "person_id": 1,
                "forename": "Mae",
                "surname": surname,
                "postcode": "ZZ1 1ZZ",
                "email": email,
            }
        ],
        "contact_pupils": [{"entry_id": 1, "person_id": 1, "pupil_id": 1}],
        "pupils": [{"pupil_id": 1, "school_id": "1000000101", "forename": "Ada", "surname": surname}],
    }
    return {name: frame_of(name, *rows.get(name, [])) for name in NEEDED}


def differences(one: dict[str, pd.DataFrame], other: dict[str, pd.DataFrame]) -> set[tuple[str, str]]:
    return {(d.entity, d.kind) for compared in reconcile(one, other) for d in compared.differences}


def tables(**rows: list[dict[str, Any]]) -> dict[str, pd.DataFrame]:
    return {name: frame_of(name, *rows.get(name, [])) for name in NEEDED}


BORN = pd.Timestamp("2014-05-06")


def test_everything_that_differs_is_said_once_with_whose_it_is_by_both():
    """Ids differ between sources: what belongs to whom is compared by who is matched with whom."""
    ada = {"school_id": "A1", "forename": "Ada", "surname": "Fen", "date_of_birth": BORN, "year_id": 7, "form_id": "7A"}
    bo = {"school_id": "B1", "forename": "Bo", "surname": "Gale", "preferred_name": "Bobo"}
    one = tables(
        pupils=[
            {"pupil_id": 1, **ada, "email": "ada@x.org"},
            {"pupil_id": 2, **bo},
            {"pupil_id": 3, "school_id": "C1"},
        ],
        forms=[{"form_id": "7A", "name": "Seven A"}],
        staff=[
            {"staff_id": 5, "user_code": "Q", "forename": "Quinn", "title": "Mx", "teaching": True},
            {"staff_id": 6, "user_code": "R"},
        ],
        contacts=[
            {"person_id": 9, "entry_id": 2, "forename": "Mae", "surname": "Fen", "postcode": "ZZ1 1ZZ", "town": "Ow"},
            {"person_id": 9, "entry_id": 1, "forename": "Mae", "surname": "Fen", "mobile": "07700 900-001"},
        ],
        contact_pupils=[
            {"entry_id": 1, "person_id": 9, "pupil_id": 1},
            {"entry_id": 1, "person_id": 9, "pupil_id": 2},
            {"entry_id": 7, "person_id": 77, "pupil_id": 1},
        ],
        subjects=[{"subject_id": 1, "name": "Maths", "code": "MA"}],
        sets=[{"set_id": 11, "name": "7 Ma/1", "code": "7Ma1", "subject_id": 1}],
        set_members=[{"set_id": 11, "pupil_id": 1}, {"set_id": 11, "pupil_id": 2}, {"set_id": 99, "pupil_id": 1}],
        set_teachers=[{"set_id": 11, "staff_id": 5}],
        rooms=[{"room_id": 1, "name": "Hall", "code": "H"}, {"room_id": 2, "name": "Lab", "code": "L"}],
        years=[{"year_id": 7, "name": "Year 7"}],
    )
    other = tables(
        pupils=[
            {"pupil_id": 301, **ada, "form_id": "7B", "date_of_birth": BORN + pd.Timedelta(days=1)},
            {"pupil_id": 302, **bo, "preferred_name": None, "form_id": None},
            {"pupil_id": 304, "school_id": "D1"},
        ],
        forms=[{"form_id": "7B", "name": "Seven B"}],
        staff=[{"staff_id": 305, "user_code": "q", "forename": "Quinn", "title": "Dr", "teaching": True}],
        contacts=[
            {"person_id": 309, "entry_id": 1, "forename": "mae", "surname": "Fen", "postcode": "ZZ1 1ZZ", "town": "Ow"},
        ],
        contact_pupils=[{"entry_id": 1, "person_id": 309, "pupil_id": 301}],
        subjects=[{"subject_id": 4, "name": "maths", "code": "MAT"}],
        sets=[{"set_id": 311, "name": "7 Ma/1", "code": "7Ma1", "subject_id": 4}],
        set_members=[{"set_id": 311, "pupil_id": 301}],
        set_teachers=[{"set_id": 311, "staff_id": 305}],
        rooms=[{"room_id": 21, "name": "Great Hall", "code": "h"}],
        years=[{"year_id": 7, "name": "Y7"}],
    )
    found = {compared.entity: compared for compared in reconcile(one, other)}
    said = {name: [(d.kind, d.first_id, d.second_id) for d in compared.differences] for name, compared in found.items()}
    assert said == {
        "pupils": [
            (ONLY_FIRST, "3", ""),
            (ONLY_SECOND, "", "304"),
            ("date_of_birth", "1", "301"),
            ("form", "1", "301"),
            ("preferred_name", "2", "302"),
        ],
        "contacts": [("pupils", "9", "309")],
        "staff": [(ONLY_FIRST, "6", ""), ("title", "5", "305")],
        "years": [("name", "7", "7")],
        "forms": [(ONLY_FIRST, "7A", ""), (ONLY_SECOND, "", "7B")],
        "subjects": [("code", "1", "4")],
        "sets": [("members", "11", "311")],
        "rooms": [(ONLY_FIRST, "2", ""), ("name", "1", "21")],
    }
    assert all(d.entity == name for name, compared in found.items() for d in compared.differences)
    assert (found["pupils"].first, found["pupils"].second, found["staff"].first, found["staff"].second) == (3, 3, 2, 1)
    assert "email" in found["pupils"].untold and "mobile" in found["contacts"].untold, "one of both fills it for nobody"
    assert found["pupils"].count(ONLY_FIRST) == 1 and found["pupils"].fields["form"] == 1


def test_an_identity_that_two_share_identifies_nobody_but_a_surer_one_may():
    twins = [
        {"pupil_id": 1, "school_id": "A1", "forename": "Al", "surname": "Fen", "date_of_birth": BORN},
        {"pupil_id": 2, "forename": "Al", "surname": "Fen", "date_of_birth": BORN},
        {"pupil_id": 3, "forename": "Al", "surname": "Fen", "date_of_birth": BORN},
    ]
    again = [{**one, "pupil_id": int(one["pupil_id"]) + 300} for one in twins]
    (pupils, *_) = reconcile(tables(pupils=twins), tables(pupils=again))
    assert sorted((d.kind, d.first_id, d.second_id) for d in pupils.differences) == sorted(
        [(ONLY_FIRST, "2", ""), (ONLY_FIRST, "3", ""), (ONLY_SECOND, "", "302"), (ONLY_SECOND, "", "303")]
    )


@pytest.mark.parametrize(
    ("here", "there", "same"),
    [
        ("O\u2019Meara", "O'Meara", True),
        ("Smith\u2011Jones", "smith-jones", True),
        ("Renn\u00e9", "Renne\u0301", True),
        ("Renn\u00e9", "Renne", False),
    ],
)
def test_apostrophes_and_hyphens_are_one_and_accents_count(here: str, there: str, same: bool):
    found = differences(school(here, "a@c.org"), school(there, "a@c.org"))
    assert (found == set()) is same
    if not same:
        assert {("contacts", ONLY_FIRST), ("contacts", ONLY_SECOND)} & found or ("pupils", "surname") in found


def test_mailboxes_are_compared_as_mailboxes():
    assert differences(school("Quill", "jos\u00e9@c.org"), school("Quill", "home: Jose\u0301@C.org")) == set()
