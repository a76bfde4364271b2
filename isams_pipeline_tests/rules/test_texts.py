"""A name is a name, wherever it goes."""

from __future__ import annotations

import sys
import unicodedata
from email import message_from_bytes, policy
from email.message import EmailMessage

import pandas as pd
import pytest
from hypothesis import given
from hypothesis import strategies as st
from rich.text import Text

from isams_pipeline.commands.common import console
from isams_pipeline.delivery.export import Export, ExportFile, formulas, read_csv, to_csv_for_people
from isams_pipeline.rules.texts import in_markdown, is_formula, label, shown, visible

ANY = st.text(st.characters(), max_size=300)
HOSTILE = st.sampled_from(
    ["=?utf-8?q?x=0d=0aBcc:_a=40b?=", "\r\nBcc: a@b", "\u202egnp.exe", "[/a]", "\x1b[2J", "\u2028x"]
)


@given(st.lists(ANY | HOSTILE).map("".join))
def test_a_label_is_one_visible_line(text: str):
    made = label(text)
    assert len(made) <= 200 and made == label(made), "and stays what it is"
    assert not [c for c in made if unicodedata.category(c) in {"Cc", "Cs", "Zl", "Zp"} or c in "\u202e\u2066\ufeff"]
    message = EmailMessage()
    message["Subject"] = made
    read = message_from_bytes(message.as_bytes(policy=policy.SMTP), policy=policy.default)
    # Python before 3.11.10 loses a blank between two encoded words; `make` warns of it.
    blank = " " if sys.version_info >= (3, 11, 10) else ""
    assert list(read.keys()) == ["Subject"] and blank.join(str(read["Subject"]).split()) == blank.join(made.split())


@given(st.text(st.characters(categories=["L", "N"]), min_size=1, max_size=50))
def test_a_plain_name_stays_as_it_is(text: str):
    assert label(text) == unicodedata.normalize("NFC", text)


@given(st.lists(ANY | HOSTILE).map("".join))
def test_the_console_prints_texts_and_nothing_else(text: str):
    with console.capture() as captured:
        console.print(f"room {text} end")
        console.print(Text(text))
    printed = captured.get()
    assert "\x1b" not in printed and "\u202e" not in printed
    visible_words = [word for word in visible(text).split() if word]
    assert all(word in "".join(printed.split("\n")) for word in visible_words if len(word) < 30)


@pytest.mark.parametrize(
    ("cell", "runs"),
    [
        *((cell, True) for cell in ("=1+1", "+cmd|' /C calc'!A0", "@SUM(A1)", "-2+3+cmd|x", "\t=1", " =HYPERLINK(1)")),
        *((cell, False) for cell in ("", "x=1", "-5", "+44 20 7946 0000", "+44 (0)20-79", "a@b.org", "2026-11-20")),
    ],
)
def test_what_a_spreadsheet_runs(cell: str, runs: bool):
    assert is_formula(cell) is runs and is_formula(shown(cell)) is False
    assert (shown(cell) == cell) is not runs


def test_partners_get_cells_as_they_are_and_people_get_them_safe():
    file = ExportFile("x.csv", ("id", "name"), ("id",))
    frame = pd.DataFrame({"id": [1, 2], "name": pd.array(["=1+1", "Ada"], dtype="str")})
    assert [row["name"] for row in read_csv(to_csv_for_people(frame, file))] == ["'=1+1", "Ada"]
    data = b'id,name\n1,"=1+1"\n2,+44 20 7946 0000\n3,"a\nb"\n'
    assert formulas(Export({"x.csv": data, "y.csv": b"id\n-1\n"})) == {"x.csv": 1}


def test_a_cell_of_a_table_is_no_markdown():
    assert in_markdown("a|b <b> [x](y) `c` *d*") == r"a\|b \<b\> \[x\](y) \`c\` \*d\*"
