"""The contacts on their way to a partner: which are left out by which rule, in which words, and where each row is."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any

import pandas as pd

from isams_pipeline.rules.account import numbered
from isams_pipeline.rules.contacts import YearSet
from isams_pipeline.rules.people import Contacts, by_person, emptied
from isams_pipeline.rules.split import Exclusions
from isams_pipeline_tests.rules.test_contacts import frame_of


@dataclass(frozen=True)
class Choice:
    """What a school has chosen."""

    contact_types: Any = None
    mail_merge: Any = ("all", "correspondence")
    contact_years: YearSet | None = None
    parental_responsibility: Any = "any"
    sends_contact_only: bool = True
    more: dict[str, Any] = field(default_factory=dict[str, Any])


ADDRESS = {"address_1": "1 Mill Lane", "postcode": "AB1 2CD", "forename": "Ann", "surname": "Lee"}


def entry(entry_id: int, person_id: int, **values: Any) -> dict[str, Any]:
    said = {"relationship": "Mother", "mail_merge_all": True, "correspondence_mail_merge": True}
    return {"entry_id": entry_id, "person_id": person_id, **said, **values}


def link(entry_id: int, person_id: int, pupil_id: int) -> dict[str, Any]:
    return {"entry_id": entry_id, "person_id": person_id, "pupil_id": pupil_id, "school_id": f"S{pupil_id}"}


def tables_of(entries: list[dict[str, Any]], links: list[dict[str, Any]], pupils: int = 3) -> dict[str, pd.DataFrame]:
    return numbered(
        {
            "contacts": frame_of("contacts", *entries),
            "contact_pupils": frame_of("contact_pupils", *links),
            "pupils": frame_of(
                "pupils", *({"pupil_id": n, "school_id": f"S{n}", "year_group": 7} for n in range(1, pupils + 1))
            ),
        }
    )


def said(contacts: Contacts, students: list[int]) -> list[tuple[Any, ...]]:
    return contacts.settled(students).said.rows


def test_a_student_without_contacts_is_told_with_what_became_of_those_there_are():
    entries = [entry(n, 100 + n, relationship="Uncle") for n in range(1, 8)]
    links = [link(n, 100 + n, 1) for n in range(1, 8)] + [link(1, 101, 2)]
    contacts = Contacts.chosen(tables_of(entries, links), Choice(contact_types=["Mother"]))
    told = {row[1]: row[4] for row in said(contacts, [1, 2, 3]) if row[0] == "student"}
    assert told["3"] == "the source has no contact of it"
    assert told["2"] == "none of its contacts is in the export: contact 101 (contact_type)"
    five = ", ".join(f"contact {n} (contact_type)" for n in range(101, 106))
    assert told["1"] == f"none of its contacts is in the export: {five} and 2 more"


def test_just_five_contacts_are_all_told():
    entries = [entry(n, 100 + n, relationship="Uncle") for n in range(1, 6)]
    contacts = Contacts.chosen(
        tables_of(entries, [link(n, 100 + n, 1) for n in range(1, 6)]), Choice(contact_types=["Mother"])
    )
    (reason,) = [row[4] for row in said(contacts, [1]) if row[0] == "student"]
    assert reason.endswith("contact 105 (contact_type)") and " more" not in reason


def test_links_are_left_out_by_their_pair_and_in_words():
    contacts = Contacts.chosen(tables_of([entry(1, 101)], [link(1, 101, 1), link(9, 109, 1)]), Choice())
    rows = [row for row in contacts.said.rows if row[0] == "student_contact"]
    assert rows == [("student_contact", "1:109", "reference", "excluded", "the contact is not among the contacts")]


def test_entries_of_one_person_under_two_numbers_are_one_user_and_have_their_places():
    same = ADDRESS | {"email": "ann@lee.example"}
    entries = [entry(1, 101, **same), entry(2, 102, **same), entry(3, 103, relationship="Father", surname="Fox")]
    links = [link(1, 101, 1), link(2, 102, 2), link(2, 102, 1), link(3, 103, 1)]
    contacts = Contacts.chosen(tables_of(entries, links), Choice()).as_users()
    assert contacts.stays == {102: 101}
    (row,) = [row for row in contacts.said.rows if row[2] == "same_person"]
    assert row[:2] == ("contact", "102") and row[4] == (
        "name, address and e-mail are those of contact 101, to whom its students are linked"
    )
    split = contacts.settled([1, 2])
    assert sorted(zip(split.kept["pupil_id"], split.kept["person_id"], strict=True)) == [(1, 101), (1, 103), (2, 101)]
    assert list(split.said.account.rows().itertuples(index=False, name=None)) == [
        ("contact_pupils", 1, "delivered", "student_contacts.csv", 0),
        ("contact_pupils", 2, "delivered", "student_contacts.csv", 0),
        ("contact_pupils", 3, "merged", "another row", 1),
        ("contact_pupils", 4, "delivered", "student_contacts.csv", 0),
        ("contacts", 1, "delivered", "contacts.csv", 0),
        ("contacts", 2, "merged", "another row", 1),
        ("contacts", 3, "delivered", "contacts.csv", 0),
    ]
    assert not split.said.account.problems({"contacts.csv": 2, "student_contacts.csv": 3})


def test_an_excluded_entry_of_somebody_who_is_in_by_another_is_no_excluded_contact():
    rows = [
        ("contact entry", "101:7", "contact_type", "excluded", "Uncle"),
        ("contact entry", "102:8", "contact_type", "excluded", "Aunt"),
        ("student", "5", "no_contact", "warning", "why"),
    ]
    found = by_person(Exclusions(rows).frame(), {101})
    assert sorted(found.itertuples(index=False, name=None)) == [
        ("contact", "102", "contact_type", "excluded", "entry 8: Aunt"),
        ("contact_entry", "7", "contact_type", "excluded", "Uncle; contact 101 is in by another"),
        ("student", "5", "no_contact", "warning", "why"),
    ]


def test_sets_that_lose_all_are_told_in_the_order_of_their_numbers_as_texts():
    before = pd.DataFrame({"set_id": [10, 10, 9, 2]})
    told = emptied(before, before[before["set_id"] == 2], "class", rule="no_students", what="students").rows
    assert told == [
        (
            "class",
            identifier,
            "no_students",
            "warning",
            f"none of its {n} students in the source is in the export; each is among the exclusions",
        )
        for identifier, n in (("10", 2), ("9", 1))
    ]
