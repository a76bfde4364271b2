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
