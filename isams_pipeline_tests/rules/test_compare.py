"""When two texts mean the same, by what kind of text they are."""

from __future__ import annotations

import unicodedata

import pytest
from hypothesis import given
from hypothesis import strategies as st

from isams_pipeline.rules.compare import code, label, mailbox, person


@pytest.mark.parametrize(
    ("kind", "one", "other", "same"),
    [
        (code, "oak", "OAK ", True),
        (code, "8Ma1", "\uff18\uff2d\uff41\uff11", True),  # full width
        (code, "8Ma\u00b2", "8Ma2", False),
        (code, "caf\u00e9", "cafe\u0301", True),
        (code, "caf\u00e9", "cafe", False),
        (code, "stra\u00dfe", "strasse", False),
        (mailbox, "jos\u00e9@example.org", "jose\u0301@EXAMPLE.org", True),
        (mailbox, "a@stra\u00dfe.example", "a@strasse.example", False),
        (mailbox, "a@stra\u00dfe.example", "a@xn--strae-oqa.example", True),
        (mailbox, "Mae.Quill@example.org", "mae.quill@example.org", True),
        (mailbox, "stra\u00dfe@example.org", "strasse@example.org", False),
        (person, "O\u2019Meara", "O'Meara", True),
        (person, "O`Meara", "o\u2019meara", True),
        (person, "Smith\u2013Jones", "Smith-Jones", True),
        (person, "Smith Jones", "Smith-Jones", False),
        (person, "Ren\u00e9e", "Renee", False),
        (label, "  Lab   1 ", "lab 1", True),
        (label, "Lab\u00a01", "Lab 1", True),
        (label, "O\u2019Meara", "O'Meara", False),
    ],
)
def test_kinds_of_text(kind, one: str, other: str, same: bool):
    assert (kind(one) == kind(other)) is same


@pytest.mark.parametrize("nothing", [None, float("nan"), "", "   ", 7])
@pytest.mark.parametrize("kind", [code, mailbox, person, label])
def test_nothing_is_nothing_and_never_the_text_nan(kind, nothing: object):
    assert kind(nothing) == ""


@given(st.text(max_size=30))
def test_folding_is_done_once_and_for_all(text: str):
    for kind in (code, person, label):
        assert kind(kind(text)) == kind(text)
        assert kind(unicodedata.normalize("NFD", text)) == kind(unicodedata.normalize("NFC", text))


@given(st.sampled_from("\u200b\ufeff\u2060\u00ad\u200e"), st.text(alphabet="aB1", min_size=1))
def test_what_cannot_be_seen_makes_no_difference(unseen: str, text: str):
    for kind in (code, label, person):
        assert kind(f"{unseen}{text[:1]}{unseen}{text[1:]}") == kind(text)
