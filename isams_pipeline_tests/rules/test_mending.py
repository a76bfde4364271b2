"""What an office is told to mend: in its words, grouped by what to do, with what is new."""

from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st

from isams_pipeline.rules.mending import ADVICE, AS_AGREED, to_mend


def row(entity: str, identifier: str, rule: str) -> dict[str, str]:
    return {"entity": entity, "id": identifier, "rule": rule, "severity": "excluded", "reason": "x"}


def test_records_are_grouped_by_what_to_do_each_once():
    rows = [row("contact", "12", "email"), row("contact", "9", "email"), row("contact", "9", "email")]
    found = to_mend([*rows, row("staff", "4", "email")], None)
    first, second = found.tasks
    assert first.what == "Give these 2 contacts an e-mail address that works" and first.records == ("9", "12")
    assert second.what == "Give this member of staff a school e-mail address that works" and second.records == ("4",)
    assert found.records == 3 and found.new == 0


def test_what_is_new_since_last_time():
    rows = [row("contact", "9", "email"), row("contact", "12", "email"), row("student", "9", "email")]
    found = to_mend(rows, {"contact/email": ["9", "44"]})
    assert [(task.key, task.new) for task in found.tasks] == [
        ("contact/email", {"12"}),
        ("student/email", {"9"}),
    ]
    assert found.new == 2


def test_what_was_agreed_is_no_task_and_what_is_nothing_for_an_office_is_counted():
    rows = [row("contact", "9", "contact_type"), row("contact", "9", "contact_type"), row("room", "4", "unmatched")]
    found = to_mend(rows, {})
    assert not found.tasks and found.as_agreed == {AS_AGREED["contact_type"]: 1} and found.others == 1


def test_links_are_told_in_words():
    (task,) = to_mend([row("class_student", "200:3531", "reference")], None).tasks
    assert task.said("200:3531") == "pupil 3531 in set 200" and task.person("200:3531") == "3531"
    (task,) = to_mend([row("contact", "'-7", "email")], None).tasks
    assert task.records == ("-7",), "a report for a spreadsheet marks what it would run"


def test_no_advice_has_a_technical_word():
    technical = ("dataset", "null", "export", "batch", "api", "rule", "row", "partner", "csv", "excluded", "promot")
    for advice in ADVICE.values():
        words = " ".join(advice).casefold().replace("{n}", "")
        assert not [word for word in technical if word in words.split()], advice
        assert "{n}" in advice.several and "{" not in advice.one and not advice.matters.endswith(".")


@given(
    st.lists(
        st.tuples(
            st.sampled_from([*ADVICE, ("contact", "contact_type"), ("x", "y")]),
            st.from_regex(r"[1-9]\d{0,3}", fullmatch=True),
        )
    )
)
def test_every_row_is_somewhere(rows: list[tuple[tuple[str, str], str]]):
    found = to_mend([row(entity, identifier, rule) for (entity, rule), identifier in rows], {})
    once = {(entity, rule, identifier) for (entity, rule), identifier in rows}
    agreed = {one for one in once if one[1] == "contact_type"}
    assert found.records + found.others + sum(found.as_agreed.values()) == len(once)
    assert sum(found.as_agreed.values()) == len(agreed) and found.new == found.records
