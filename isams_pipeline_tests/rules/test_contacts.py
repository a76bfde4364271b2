"""Which contacts there are, and how the entries of a person become one contact."""

from typing import Any

import pandas as pd
import pytest

from isams_pipeline.config import YearRange
from isams_pipeline.datasets import DATASETS
from isams_pipeline.rules.account import numbered
from isams_pipeline.rules.contacts import (
    linked_to_years,
    mail_merged,
    one_link_per_pupil,
    one_per_person,
    wanted_contact_types,
    with_a_link,
)


def frame_of(dataset: str, *rows: dict[str, Any]) -> pd.DataFrame:
    """Rows of a dataset, with its columns and types."""
    declaration = DATASETS[dataset]
    empty = declaration.empty()
    return pd.DataFrame(list(rows), columns=declaration.names).astype(empty.dtypes.to_dict())


def numbered_of(dataset: str, *rows: dict[str, Any]) -> pd.DataFrame:
    """The same, each row with its number."""
    return numbered({dataset: frame_of(dataset, *rows)})[dataset]


def entry(entry_id: int, person_id: int, **values: Any) -> dict[str, Any]:
    return {"entry_id": entry_id, "person_id": person_id, **values}


@pytest.mark.parametrize(
    ("relationship", "kept"),
    [
        ("Mother", True),
        (" mother ", True),
        ("FATHER", True),
        ("Grandmother", False),
        ("Mother in law", False),
        (None, False),
    ],
)
def test_contact_types_compare_without_case_and_outer_spaces(relationship: str | None, kept: bool):
    contacts = frame_of("contacts", entry(1, 1, relationship=relationship))
    split = wanted_contact_types(contacts, ["Mother", "Father"])
    assert (len(split.kept), len(split.excluded)) == ((1, 0) if kept else (0, 1))
    assert set(split.excluded["rule"]) <= {"contact_type"}


@pytest.mark.parametrize(
    ("all_merges", "correspondence", "kinds", "kept"),
    [
        (True, False, ["all", "correspondence"], True),
        (False, True, ["all", "correspondence"], True),
        (False, False, ["all", "correspondence"], False),
        (None, None, ["all", "correspondence"], False),
        (False, True, ["all"], False),
        (False, False, [], True),
    ],
)
def test_mail_merge(all_merges: bool | None, correspondence: bool | None, kinds: list[str], kept: bool):
    contacts = frame_of("contacts", entry(1, 1, mail_merge_all=all_merges, mail_merge_correspondence=correspondence))
    assert len(mail_merged(contacts, kinds).kept) == kept


def test_contact_years_drop_links_and_never_pupils():
    pupils = frame_of("pupils", {"pupil_id": 1, "year_id": 7}, {"pupil_id": 2, "year_id": -1}, {"pupil_id": 3})
    links = frame_of("contact_pupils", *(entry(9, 9, pupil_id=pupil) for pupil in (1, 2, 3)))
    split = linked_to_years(links, pupils, YearRange.parse("7-11"))
    assert list(split.kept["pupil_id"]) == [1]
    assert list(linked_to_years(links, pupils, YearRange.parse("-2..6")).kept["pupil_id"]) == [2]
    assert len(linked_to_years(links, pupils, None).kept) == 3


def test_joint_entries_share_a_number_but_not_their_links():
    contacts = frame_of("contacts", entry(9, 1), entry(9, 2))
    links = frame_of("contact_pupils", entry(9, 1, pupil_id=1))
    split = with_a_link(contacts, links)
    assert list(split.kept["person_id"]) == [1]
    assert list(split.excluded["rule"]) == ["no_student"]


def test_first_person_entry_then_lowest_number_gives_the_details():
    contacts = frame_of(
        "contacts",
        entry(5, 1, forename="Third", first_person=False),
        entry(9, 1, forename="First", first_person=True),
        entry(4, 2, forename="Low", first_person=None),
        entry(6, 2, forename="High", first_person=False),
    )
    people = one_per_person(contacts).set_index("person_id")
    assert people["forename"].to_dict() == {1: "First", 2: "Low"}
    assert people["first_person"].to_dict() == {1: True, 2: False}


def test_an_entry_without_a_valid_address_leaves_it_to_the_next():
    contacts = frame_of(
        "contacts",
        entry(1, 1, first_person=True, email="none", forename="Robin"),
        entry(2, 1, first_person=False, email="b@example.org", forename="R."),
    )
    (person,) = one_per_person(contacts).to_dict("records")
    assert (person["forename"], person["email"]) == ("Robin", "b@example.org")


def test_of_two_links_to_one_pupil_the_first_persons_stays():
    links = numbered_of("contact_pupils", entry(1, 1, pupil_id=7), entry(2, 1, pupil_id=7)).assign(
        first_person=[False, True]
    )
    split = one_link_per_pupil(links)
    assert list(split.kept["entry_id"]) == [2]
    assert list(split.excluded["entry_id"]) == [1]
    assert list(split.excluded["into"]) == [2]
