"""Which address counts, and who keeps one."""

import pandas as pd
import pytest
from hypothesis import given
from hypothesis import strategies as st

from isams_pipeline.rules.email import (
    MORE_THAN_ADDRESSES,
    NO_ADDRESS,
    having_email,
    read_field,
    shared_across,
    unique_emails,
    with_first_valid,
)
from isams_pipeline.rules.split import WARNING


@pytest.mark.parametrize(
    ("field", "address"),
    [
        ("a@example.org", "a@example.org"),
        ("a@example.org b@example.org", "a@example.org"),
        ("a@example.org;b@example.org", "a@example.org"),
        ("a@example.org, b@example.org / c@example.org", "a@example.org"),
        ("home: a@example.org; work: b@example.org", "a@example.org"),
        ("a@example.org (work)", "a@example.org"),
        ("Home a@example.org", "a@example.org"),
        ("work:a@example.org", "a@example.org"),
        ("<a@example.org>", "a@example.org"),
        ("mailto:a@example.org", "a@example.org"),
        ("a@example.org work", "a@example.org"),
        # What a stranger's address would be made of.
        ("mae quill@example.org", None),
        ("mae. quill@example.org", None),
        ("mae,quill@example.org", None),
        ("mae\tquill@example.org", None),
        ("mae\u00a0quill@example.org", None),
        ("a@example.co,uk", None),
        ("a@example.co ,uk", None),
        ("a@example.acme,work", None),
        ("p jones@example.org", None),
        ("w smith@example.org", None),
        ("p,jones@example.org", None),
        ("h - quill@example.org", None),
        ("mail box@example.org", None),
        ("private,eye@example.org", None),
        ("home,eye@example.org", None),
        ("home - eye@example.org", None),
        ("a@example.org mail box@example.org", None),
        ("a@example.org - work", "a@example.org"),
        ("a@example.org work; b@example.org home", "a@example.org"),
        ("h: a@example.org (h), w: b@example.org", "a@example.org"),
        ("dad: b@example.org", None),
        ("do not use a@example.org", None),
        ("a@example.org b@", None),
        ("n/a, b@example.org", None),
        ("Robin@, robin at home; r.doe@school.test", None),
        ("  A.Doe@Example.ORG ", "A.Doe@Example.ORG"),
        ("a@host", None),
        ("a@", None),
        ("@example.org", None),
        ("a b", None),
        ("a..b@example.org", None),
        (" ;, ", None),
        ("", None),
        (None, None),
        (float("nan"), None),
    ],
)
def test_first_valid(field: object, address: str | None):
    found = read_field(field)
    assert (found.addresses[0] if found.addresses else None) == address
    assert (found.problem is None) == (address is not None)


def test_a_field_that_holds_more_says_so():
    assert read_field("mae quill@example.org").problem == MORE_THAN_ADDRESSES
    assert read_field("n/a").problem == read_field(None).problem == NO_ADDRESS


@pytest.mark.parametrize("unseen", ["\u200b", "\ufeff", "\u2060", "\u00ad", "\u200e"])
def test_what_cannot_be_seen_is_taken_out_and_said(unseen: str):
    found = read_field(f"{unseen}mae.{unseen}quill@example.org")
    assert found.addresses == ("mae.quill@example.org",) and found.unseen
    assert read_field("\u00a0a@example.org").unseen and not read_field(" a@example.org  ").unseen


@given(st.text(alphabet="ab@., ;-é\u200b\u00a0", max_size=24), st.sampled_from(["", " x", "; n/a"]))
def test_no_address_comes_out_that_does_not_stand_there_whole(text: str, more: str):
    field = f"{text} real@example.org{more}"
    for address in read_field(field).addresses:
        before, _, after = field.replace("\u200b", "").partition(address)
        assert not before or before[-1] in " ,;\u00a0"
        assert not after or after[0] in " ,;\u00a0"


def people(*emails: str | None, first: list[bool] | None = None) -> pd.DataFrame:
    frame = with_first_valid(pd.DataFrame({"id": range(1, len(emails) + 1), "email": pd.Series(emails, dtype="str")}))
    return frame if first is None else frame.assign(first=first)


def test_lower_id_keeps_a_shared_address_compared_without_case():
    split = unique_emails(people("a@x.org", "A@X.org", "b@x.org"), "id", entity="staff")
    assert list(split.kept["id"]) == [1, 3]
    assert list(split.excluded["reason"]) == ["its e-mail address is that of staff 1"]


def test_first_person_goes_before_the_lower_id():
    frame = people("a@x.org", "a@x.org", "a@x.org", first=[False, True, True])
    split = unique_emails(frame, "id", entity="contact", first_if="first")
    assert list(split.kept["id"]) == [2]
    assert set(split.excluded["reason"]) == {"its e-mail address is that of contact 2"}


def test_nobody_clashes_over_no_address():
    assert len(unique_emails(people(None, None), "id", entity="student").kept) == 2


def test_without_an_address():
    split = having_email(people("a@x.org", None))
    assert list(split.excluded["id"]) == [2]
    assert set(split.excluded["rule"]) == {"email"}


def test_shared_across_groups_names_the_others_and_drops_nobody():
    found = shared_across(
        {"staff": people("T@x.org"), "contact": people("o@x.org", "t@x.org")}, {"staff": "id", "contact": "id"}
    )
    assert found.rows == [
        ("staff", "1", "email_shared_across", WARNING, "its e-mail address is also that of contact 2"),
        ("contact", "2", "email_shared_across", WARNING, "its e-mail address is also that of staff 1"),
    ]


def test_shared_across_groups_goes_by_group_and_not_by_number():
    """A teacher and a parent may have the same number: they are two people all the same."""
    found = shared_across({"staff": people("t@x.org"), "contact": people("t@x.org")}, {"staff": "id", "contact": "id"})
    assert [(entity, number) for entity, number, *_ in found.rows] == [("staff", "1"), ("contact", "1")]


@given(st.lists(st.tuples(st.sampled_from(["a@x.org", "A@x.org", "b@x.org", None]), st.booleans()), max_size=12))
def test_uniqueness_splits_without_loss_and_leaves_no_clash(given_people: list[tuple[str | None, bool]]):
    frame = people(*[email for email, _ in given_people], first=[first for _, first in given_people])
    split = unique_emails(frame, "id", entity="contact", first_if="first")
    assert sorted([*split.kept["id"], *split.excluded["id"]]) == list(frame["id"])
    kept = split.kept["email"].dropna().str.casefold()
    assert kept.is_unique
    assert set(frame["email"].dropna().str.casefold()) == set(kept)
