"""Change requests as they come: files in an inbox, their shape, their values."""

from __future__ import annotations

import json
import os
import time
from datetime import UTC, date, datetime
from pathlib import Path
from typing import Any

import jsonschema
import pytest
from hypothesis import given
from hypothesis import strategies as st

from isams_pipeline.partners.my_school_portal import intake
from isams_pipeline.partners.my_school_portal.requests import FIELDS, Refused, read, schema
from isams_pipeline.rules import details
from isams_pipeline.sources.isams import people
from isams_pipeline.storage.state import StateDatabase
from isams_pipeline_tests.partners.portal import Portal
from isams_pipeline_tests.world import FIRST, SCHOOL

ROOT = Path(__file__).parent.parent.parent
MARK = "Zqxcanary"
NEW = {"emailAddress": "new@example.org"}


# --- intake -----------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("change", "problem"),
    [
        ({"id": "a b"}, "id:"),
        ({"id": "undo:R1"}, "id:"),
        ({"kind": "parent"}, "kind: write student or guardian"),
        ({"student": "12a"}, "student:"),
        ({"student": 12}, "student:"),
        ({"contact": None}, "contact:"),
        ({"contact": 2**40}, "contact:"),
        ({"changes": {}}, "nothing to change"),
        ({"changes": {"profession": "x"}}, "this field of a guardian may not be changed; these may: title, forename"),
        ({"changes": {"emailAddress": 5}}, "changes.emailAddress:"),
        ({"changes": {"emailAddress": "nobody"}}, "changes.emailAddress: it is no valid e-mail address"),
        ({"changes": {"mobileNumber": "12"}}, "changes.mobileNumber:"),
        ({"changes": {"postcode": "!!"}}, "changes.postcode: it is no postcode"),
        ({"changes": {"surname": " "}}, "changes.surname: it cannot be empty"),
        ({"changes": {"town": "a\x00b"}}, "cannot be printed"),
        ({"changes": {"town": "x" * 101}}, "longer than 100"),
        ({"approval": {"by": "x", "at": "2026-02-10T10:00:00"}}, "approval.at:"),
        ({"approval": {"by": "", "at": "2026-02-10T10:00:00Z"}}, "approval.by:"),
        ({"approval": {"by": "a\x00b", "at": "2026-02-10T10:00:00Z"}}, "approval.by:"),
        ({"school": "harbour"}, "another school's inbox"),
        ({"something": 1}, "there is no such field"),
    ],
)
def test_a_bad_request_is_refused_by_name_and_the_good_ones_of_the_file_are_taken(
    portal: Portal, change: dict[str, Any], problem: str
):
    (taken,) = portal.send(portal.about_guardian(NEW, id="BAD") | change, portal.about_guardian(NEW, id="GOOD"))
    (name,) = taken.problems
    assert taken.new == 1 and name in {"BAD", "request 1"}
    assert any(problem in text for text in taken.problems[name]), taken.problems
    assert portal.state("GOOD") == "approved"
    reason = json.loads((portal.inbox / "refused/file.json.reason.txt").read_text())
    assert reason["refused"] == taken.problems and not (portal.inbox / "file.json").exists()


@pytest.mark.parametrize(
    ("changes", "problem"),
    [
        ({"dob": "31/03/2012"}, "it is no date"),
        ({"dob": "2031-01-01"}, "nobody at school was born then"),
        ({"dob": "1950-01-01"}, "nobody at school was born then"),
        ({"dob": None}, "it cannot be empty"),
        ({"emailAddress": "a@example.org"}, "of a student may not be changed; these may: forename"),
    ],
)
def test_a_bad_student_request_is_refused(portal: Portal, changes: dict[str, Any], problem: str):
    (taken,) = portal.send(portal.about_student(changes))
    assert problem in taken.problems["R1"][0] and "1950" not in str(taken.problems)


def test_the_same_id_with_something_else_is_refused(portal: Portal):
    portal.send(portal.about_guardian(NEW))
    (taken,) = portal.send(portal.about_guardian({"emailAddress": "b@example.org"}))
    assert taken.problems == {"R1": ["id: another request has it"]}
    assert "refused" not in portal.steps(), "it is not that request which was refused"
    assert portal.desk.store.refusals()[0].request == "file.json: R1"
    assert portal.desk.store.find("R1").changes == NEW


@pytest.mark.parametrize(
    "data",
    [
        b"{",
        b"\xff\xfe",
        b"",
        b'{"id": "R1", "id": "R2"}',
        b'{"contact": NaN}',
        b"[" * 200_000,
        b'{"contact": ' + b"9" * 5000 + b"}",
    ],
)
def test_malformed_json_is_left_for_a_minute_then_refused(portal: Portal, data: bytes):
    path = portal.inbox / "file.json"
    path.write_bytes(data)
    assert intake.take_in(portal.world.environment, SCHOOL) == [] and path.exists(), "it may be half-written"
    old = time.time() - 61
    os.utime(path, (old, old))
    (taken,) = intake.take_in(portal.world.environment, SCHOOL)
    assert "not JSON" in taken.problems["file"][0] and (portal.inbox / "refused/file.json").exists()


def test_a_half_written_file_is_taken_when_it_is_whole(portal: Portal):
    text = json.dumps(portal.about_guardian(NEW))
    (portal.inbox / "file.json").write_text(text[: len(text) // 2])
    assert intake.take_in(portal.world.environment, SCHOOL) == []
    (portal.inbox / "file.json").write_text(text)
    (taken,) = intake.take_in(portal.world.environment, SCHOOL)
    assert taken.new == 1


def test_a_file_from_the_future_is_not_waited_for(portal: Portal):
    path = portal.inbox / "file.json"
    path.write_text("{")
    ahead = time.time() + 3600
    os.utime(path, (ahead, ahead))
    (taken,) = intake.take_in(portal.world.environment, SCHOOL)
    assert taken.problems


def test_a_file_that_is_replaced_while_it_is_read_is_not_lost(portal: Portal, monkeypatch: pytest.MonkeyPatch):
    store = intake._store

    def replaced(*words: Any) -> None:
        store(*words)
        new = portal.inbox / ".new"
        new.write_text(json.dumps(portal.about_guardian({"town": "Modelham"}, id="R2")))
        new.rename(portal.inbox / "file.json")

    with monkeypatch.context() as patch:
        patch.setattr(intake, "_store", replaced)
        portal.send(portal.about_guardian(NEW))
    intake.take_in(portal.world.environment, SCHOOL)
    assert {request.id for request in portal.desk.store.listed()} == {"R1", "R2"}


def test_no_name_of_a_file_blocks_the_inbox(portal: Portal):
    (portal.inbox / "refused").write_text("a file where the folder should be")
    long = "x" * 250 + ".json"
    for n in range(3):
        portal.send(portal.about_guardian(NEW, id=f"R{n}", to=portal.contact(n)), name=long)
    portal.send({"id": "BAD"}, name="z.json")
    assert len(portal.desk.store.listed()) == 3 and (portal.inbox / "refused/z.json").exists()


def test_a_file_that_breaks_something_is_put_aside(portal: Portal, monkeypatch: pytest.MonkeyPatch):
    def broken(*_: object, **__: object) -> Any:
        raise RuntimeError(MARK)

    with monkeypatch.context() as patch:
        patch.setattr(intake, "read", broken)
        (taken,) = portal.send(portal.about_guardian(NEW))
    assert "RuntimeError at" in taken.problems["file"][0] and MARK not in str(taken.problems)
    assert (portal.inbox / "refused/file.json").exists()


def test_too_many_requests_in_a_file(portal: Portal):
    (portal.inbox / "file.json").write_text(json.dumps([0] * (intake.MAX_REQUESTS + 1)))
    (taken,) = intake.take_in(portal.world.environment, SCHOOL)
    assert taken.problems["file"] == ["it holds more than 20000 requests"]
    (portal.inbox / "file.json").write_text(json.dumps([0] * 1000))
    intake.take_in(portal.world.environment, SCHOOL)
    notes = max((portal.inbox / "refused").glob("*.txt"), key=lambda path: path.stat().st_size)
    assert json.loads(notes.read_text())["more"] == 900


def test_refused_requests_are_told_of(portal: Portal):
    (portal.inbox / "a.json").write_text(json.dumps(portal.about_guardian({"profession": "x"}, id="BAD")))
    portal.run()
    assert "1 refused when they came" in (portal.settled() or "")
    (line,) = portal.desk.store.refusals()
    assert line.request == "BAD" and "may not be changed" in (line.reason or "")


def test_an_approval_keeps_its_time_whatever_its_offset(portal: Portal, state_url: str | None):
    from isams_pipeline.partners.my_school_portal.store import ChangeStore

    state = StateDatabase.open(portal.world.folder / "elsewhere", state_url)
    store = ChangeStore(state, SCHOOL, lambda: portal.now)
    asked = portal.about_guardian(NEW, approval={"by": "registrar@example.org", "at": "2026-02-10T15:00:00+05:00"})
    store.take([read(asked, school=SCHOOL, region="GB", today=FIRST)], trusted=True)
    assert store.find("R1").approved_at == datetime(2026, 2, 10, 10, tzinfo=UTC)
    state.close()


def test_unfinished_and_hidden_files_are_left_alone(portal: Portal):
    for name in (".hidden.json", "file.json.tmp", "file.part"):
        (portal.inbox / name).write_text(json.dumps(portal.about_guardian(NEW)))
    assert intake.take_in(portal.world.environment, SCHOOL) == []


def test_an_oversized_file_is_refused_unread(portal: Portal):
    with (portal.inbox / "file.json").open("wb") as file:
        file.truncate(intake.MAX_FILE + 1)
    (taken,) = intake.take_in(portal.world.environment, SCHOOL)
    assert taken.problems["file"] == ["it is larger than 16 MB"]


def test_links_pipes_and_folders_are_not_followed(portal: Portal, tmp_path: Path):
    secret = tmp_path / "elsewhere.json"
    secret.write_text(json.dumps(portal.about_guardian(NEW)))
    (portal.inbox / "link.json").symlink_to(secret)
    os.mkfifo(portal.inbox / "pipe.json")
    (portal.inbox / "folder.json").mkdir()
    (portal.inbox / "notes.txt").write_text("hello")
    os.utime(portal.inbox / "notes.txt", (1, 1))
    taken = {one.file: one.problems["file"] for one in intake.take_in(portal.world.environment, SCHOOL)}
    assert set(taken) == {"link.json", "pipe.json", "folder.json", "notes.txt"}
    assert secret.exists() and (portal.inbox / "refused/link.json").is_symlink()
    assert portal.desk.store.listed() == []


def test_files_of_one_name_do_not_replace_each_other(portal: Portal):
    for n in range(3):
        portal.send(portal.about_guardian(NEW, id=f"R{n}", to=portal.contact(n)))
    assert len(list((portal.inbox / "done").glob("file*.json"))) == 3


def test_a_crash_between_storing_and_moving_takes_nothing_twice(portal: Portal, monkeypatch: pytest.MonkeyPatch):
    with monkeypatch.context() as patch, pytest.raises(KeyboardInterrupt):
        patch.setattr(intake, "_put_away", lambda *_: (_ for _ in ()).throw(KeyboardInterrupt))
        portal.send(portal.about_guardian(NEW))
    (taken,) = intake.take_in(portal.world.environment, SCHOOL)
    assert (taken.new, taken.known) == (0, 1) and portal.steps() == ["received", "approved"]


def test_ten_thousand_requests_at_once(portal: Portal):
    contact = portal.contact()
    requests = [portal.about_guardian({"town": f"Town {n}"}, to=contact, id=f"R{n}") for n in range(10_000)]
    started = time.monotonic()
    (taken,) = portal.send(*requests)
    assert taken.new == 10_000 and taken.approved == 10_000 and not taken.problems
    assert time.monotonic() - started < 60
    assert portal.desk.store.counts() == {"approved": 10_000}


# --- the shape of requests --------------------------------------------------------------------------------


def test_the_shipped_schema_and_example_are_current():
    shipped = json.loads((ROOT / "docs/change-request.schema.json").read_text())
    assert shipped == schema(), "run: make docs"
    example = json.loads((ROOT / "docs/change-request.example.json").read_text())
    jsonschema.Draft202012Validator.check_schema(shipped)
    jsonschema.validate(example, shipped)
    for item in example:
        read(item, school="riverside", region="GB", today=date(2026, 11, 20))


def test_the_guides_fields_are_all_there():
    assert len(FIELDS["guardian"]) == 14 and FIELDS["guardian"][-1] == "emergencyNotes"
    assert set(FIELDS["student"]) == {
        "forename",
        "preferredName",
        "middleNames",
        "surname",
        "dob",
        "gender",
        "mobileNumber",
    }


JSON = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(max_size=10),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=8), inner, max_size=3),
    max_leaves=8,
)
FIELDWISE = st.dictionaries(st.sampled_from([*FIELDS["guardian"], *FIELDS["student"], "odd"]), JSON, max_size=4)


@given(
    JSON
    | st.fixed_dictionaries(
        {
            "id": st.just("R1") | JSON,
            "kind": st.sampled_from(["guardian", "student", "x"]),
            "changes": FIELDWISE | JSON,
        },
        optional={"student": st.just("100") | JSON, "contact": st.just(5) | JSON, "seen": FIELDWISE, "approval": JSON},
    )
)
def test_whatever_comes_is_read_or_refused_with_words(item: object):
    try:
        tidied = read(item, school="riverside", region="GB", today=date(2026, 2, 10))
    except Refused as refusal:
        assert refusal.problems and all(isinstance(problem, str) for problem in refusal.problems)
    else:
        assert set(tidied.changes) <= set(FIELDS[tidied.submission.kind])


@given(st.text(max_size=60))
def test_tidying_twice_changes_nothing(text: str):
    for tidier in (
        details.email,
        details.postcode,
        lambda t: details.phone(t, "GB"),
        lambda t: details.line(t, longest=100),
        lambda t: details.lines(t, longest=100),
        details.gender,
        lambda t: details.born(t, date(2026, 2, 10)),
    ):
        try:
            once = tidier(text)
        except ValueError as problem:
            assert len(text.strip()) < 4 or text not in str(problem)
            continue
        if once.strip():
            assert tidier(once) == once


@pytest.mark.parametrize(
    ("given_text", "expected"),
    [
        ("07700 900123", "07700 900123"),
        ("(01632) 960 001", "(01632) 960 001"),
        ("02079460123", "020 7946 0123"),
        ("050 123 4567", "050 123 4567"),
        ("+44 (0)1632 960001", "01632 960001"),
        ("+33 1 99 00 12 34", "+33 1 99 00 12 34"),
        ("+44 20 7946 0123 ext. 12", "020 7946 0123 x12"),
    ],
)
def test_telephone_numbers(given_text: str, expected: str):
    assert details.phone(given_text, "GB") == expected


@pytest.mark.parametrize(
    "text", ["Mum 07700900123", "tel:07700900123;phone-context=x", "0800 FLOWERS", "12", "ring me"]
)
def test_no_telephone_numbers(text: str):
    with pytest.raises(ValueError, match="it "):
        details.phone(text, "GB")


def test_lines_of_a_note_are_compared_as_lines():
    assert not people.same("a\nb", "a b") and people.same("a \r\nb", "a\nb")


@pytest.mark.parametrize(
    ("given_text", "expected"), [("zz1 1zz", "ZZ1 1ZZ"), ("ZZ1A1ZZ", "ZZ1A 1ZZ"), ("75001", "75001")]
)
def test_postcodes(given_text: str, expected: str):
    assert details.postcode(given_text) == expected


@pytest.mark.parametrize("name", ["\u0639\u0644\u06cc\u200c\u0631\u0636\u0627", "\u0915\u094d\u200d\u0937"])
def test_joiners_are_letters_business(name: str):
    assert details.line(name, longest=40) == name
    for unseen in ("\u200b", "\ufeff", "\u202e"):
        with pytest.raises(ValueError, match="cannot be printed"):
            details.line(f"A{unseen}da", longest=40)
