"""`registers`, `attendance`, `changes` and `doctor` for REST clients, as a person meets them."""

from __future__ import annotations

import json
from datetime import UTC, datetime, timedelta
from typing import Any

import pytest

from isams_pipeline.sandbox import registers
from isams_pipeline_tests.partners.portal import Portal
from isams_pipeline_tests.test_commands import at, call_here, today  # noqa: F401  # a fixture
from isams_pipeline_tests.world import SCHOOL, World


@pytest.fixture
def school_day(today: World, monkeypatch: pytest.MonkeyPatch) -> World:  # noqa: F811
    """Today, whatever day it is, there is school and the registers are closed."""
    monkeypatch.setattr(registers, "is_school_day", lambda _: True)
    late = datetime.now(UTC).replace(hour=23, minute=0)
    statuses = registers.statuses
    monkeypatch.setattr(
        registers, "statuses", lambda day, register, _: statuses(day, register, late + timedelta(days=1))
    )
    return today


def test_registers_lists_what_to_choose_from(school_day: World):
    code, out = at(school_day, "registers", SCHOOL)
    assert code == 0 and "Junior" in out and "Period 1" in out and "LESSON" in out
    assert "am: [{division: Junior, register: AM}, {division: Senior, register: AM}]" in out


def test_registers_on_a_day_without_school(today: World, monkeypatch: pytest.MonkeyPatch):  # noqa: F811
    monkeypatch.setattr(registers, "is_school_day", lambda _: False)
    code, out = at(today, "registers", SCHOOL)
    assert code == 0 and "no registers today" in out and "Junior, Senior" in out
    code, out = at(today, "attendance", SCHOOL, "am")
    assert code == 0 and "no_session" in out
    today.configure(lambda c: c["schools"][SCHOOL]["isams"].pop("rest") and c["schools"][SCHOOL].pop("partners"))
    code, out = at(today, "registers", SCHOOL)
    assert code == 2 and "no REST client" in out


def test_a_session_from_the_command_line(school_day: World):
    code, out = at(school_day, "attendance", SCHOOL, "am")
    assert code == 1 and "no export of this school yet" in out
    assert at(school_day, "sync", SCHOOL)[0] == 0
    code, out = at(school_day, "attendance", SCHOOL, "pm")
    assert code == 0 and "delivered" in out and "attendance" in out and "/pm" in out.replace("\n", "")
    code, out = at(school_day, "attendance", SCHOOL, "noon")
    assert code == 2 and "write am or pm" in out
    code, out = at(school_day, "attendance", SCHOOL, "am", "--date", "2026-01-15")
    assert code == 1 and "only knows today" in out


def test_doctor_looks_at_rest_clients_and_reads_nobody(today: World):  # noqa: F811
    code, out = at(today, "doctor", SCHOOL)
    assert code == 0 and "registers" in out and "schoolsbuddy.attendance" in out and "my_school_portal" in out
    asked = {path for _, _, path in today.sandbox.schools[SCHOOL].rest_requests}
    assert asked == {"registration/absencecodes", "school/yeargroups", "students/systemstatuses"}
    today.sandbox.schools[SCHOOL].clients[0].permissions.pop("SCHOOLREGISTRATION")
    code, out = at(today, "doctor", SCHOOL)
    assert code == 1 and "let the client read Attendance (SCHOOLREGISTRATION)" in out
    today.configure(
        lambda c: c["schools"][SCHOOL]["isams"]["rest"]["portal"].update(secret="DEMO_RIVERSIDE_REGISTERS_ID")
    )
    code, out = at(today, "doctor", SCHOOL)
    assert code == 1 and "does not accept the client" in out


def changes(world: World, *words: str) -> tuple[int, str]:
    return at(world, "changes", *words)


def test_the_way_of_a_request_on_the_command_line(today: World):  # noqa: F811
    portal = Portal(today)
    before = str(portal.contact().email)
    asked: Any = portal.about_guardian(
        {"emailAddress": "new@example.org", "mobileNumber": "+447700900123"}, approval=None
    )
    (portal.inbox / "a.json").write_text(json.dumps(asked))

    code, out = changes(today, "list", SCHOOL)
    assert code == 0 and "a.json: 1 new" in out and "pending" in out and "new@example.org" not in out
    code, out = changes(today, "show", SCHOOL, "R1")
    assert code == 0 and "+447700900123" in out and "07700 900123" in out and "received" in out
    code, out = changes(today, "apply", SCHOOL)
    assert code == 0 and "No approved request waits" in out
    code, out = changes(today, "approve", SCHOOL, "R1")
    assert code == 2 and "no terminal to ask on" in out and portal.state() == "pending"
    code, out = changes(today, "approve", SCHOOL, "R1", "--yes", "--by", "Ms Approver")
    assert code == 0 and before in out and "approved R1" in out
    code, out = changes(today, "approve", SCHOOL, "R1")
    assert code == 0 and "is approved already, by Ms Approver" in out
    code, out = changes(today, "apply", SCHOOL, "--dry-run")
    assert code == 0 and "new@example.org" in out and "nothing was written" in out and portal.puts == []
    code, out = changes(today, "apply", SCHOOL, "R1")
    assert code == 0 and "applied R1" in out and len(portal.puts) == 1
    code, out = changes(today, "show", SCHOOL, "R1", "--json")
    shown = json.loads(out)
    assert [step["step"] for step in shown["ledger"]] == ["received", "approved", "intended", "answered", "applied"]
    code, out = changes(today, "undo", SCHOOL, "R1", "--dry-run")
    assert code == 0 and before in out and len(portal.puts) == 1
    code, out = changes(today, "undo", SCHOOL, "R1")
    assert code == 0 and "applied undo:R1" in out
    code, out = changes(today, "undo", SCHOOL, "R1")
    assert code == 0 and "was undone already, by undo:R1" in out and len(portal.puts) == 2
    code, out = changes(today, "list", SCHOOL, "--state", "applied", "--json")
    assert [request["id"] for request in json.loads(out)] == ["R1", "undo:R1"]
    code, out = changes(today, "reject", SCHOOL, "R1", "--reason", "late")
    assert code == 2 and "The request is applied" in out
    code, out = changes(today, "show", SCHOOL, "R9")
    assert code == 2 and "no such change request" in out


def test_what_a_guardian_writes_is_shown_as_it_is(today: World):  # noqa: F811
    portal = Portal(today)
    asked = portal.about_guardian({"address1": r"12 Close \[/x]", "address2": "St[conceal]reet", "town": "[/b]"})
    asked |= {"approval": {"by": "[/red]", "at": "2026-01-01T10:00:00Z"}, "seen": dict.fromkeys(asked["changes"])}
    (portal.inbox / "a.json").write_text(json.dumps(asked))
    for words in (("list", SCHOOL), ("show", SCHOOL, "R1"), ("apply", SCHOOL, "--dry-run")):
        code, out = changes(today, *words)
        assert code in {0, 1} and "Traceback" not in out
    code, out = changes(today, "show", SCHOOL, "R1")
    assert r"12 Close \[/x]" in out and "St[conceal]reet" in out and "[/red]" in out
    changes(today, "reject", SCHOOL, "R1", "--reason", "see [/ticket 5]")
    code, out = changes(today, "list", SCHOOL)
    assert code == 0 and "[/ticket" in out


def test_apply_is_a_dry_run_unless_the_school_says_otherwise(today: World):  # noqa: F811
    portal = Portal(today)
    portal.settings(writeback="disabled")
    (portal.inbox / "a.json").write_text(json.dumps(portal.about_guardian({"town": "Modelham"})))
    code, out = changes(today, "apply", SCHOOL)
    assert code == 0 and "writeback is not enabled" in out and "Modelham" in out and portal.puts == []


def test_a_refused_request_is_explained_by_its_id(today: World):  # noqa: F811
    portal = Portal(today)
    (portal.inbox / "a.json").write_text(json.dumps(portal.about_guardian({"surname": " "}, id="BAD")))
    code, out = changes(today, "list", SCHOOL)
    assert code == 0 and "BAD: changes.surname: it cannot be empty" in out and "1 requests were refused" in out
    code, out = changes(today, "show", SCHOOL, "BAD")
    assert code == 1 and "BAD was refused when it came: changes.surname" in out


def test_a_conflict_is_exit_code_1(today: World):  # noqa: F811
    portal = Portal(today)
    asked = portal.about_guardian({"town": "Modelham"}, seen={"town": "Elsewhere"})
    (portal.inbox / "a.json").write_text(json.dumps(asked))
    code, out = changes(today, "apply", SCHOOL, "--dry-run")
    assert code == 1 and "the approver saw something else in town" in out
    code, out = changes(today, "apply", SCHOOL)
    assert code == 1 and "conflict R1" in out
    code, out = changes(today, "reject", SCHOOL, "R1", "--reason", "asked the guardian")
    assert code == 0 and "rejected R1" in out


def test_a_joint_contact_is_warned_of_at_review(make: Any):
    from isams_pipeline.clock import system_clock
    from isams_pipeline_tests.world import small_school

    world = make({SCHOOL: small_school(troubles=True, nightly_joiners=0)})
    world.moment[0] = system_clock()
    portal = Portal(world)
    first, second = portal.joint()
    (portal.inbox / "a.json").write_text(
        json.dumps(portal.about_guardian({"emailAddress": "new@example.org"}, to=first, approval=None))
    )
    code, out = changes(world, "approve", SCHOOL, "R1", "--yes")
    assert code == 1 and f"persons {first.person_id} and {second.person_id} will change" in out.replace("\n", " ")
    code, out = changes(world, "approve", SCHOOL, "R1", "--confirm-joint", "--yes")
    assert code == 0 and "approved R1" in out


def test_a_school_without_the_portal(today: World):  # noqa: F811
    today.configure(lambda c: c["schools"][SCHOOL]["partners"].pop("my_school_portal"))
    code, out = changes(today, "list", SCHOOL)
    assert code == 2 and "does not use My School Portal" in out


def test_help_of_changes_teaches():
    code, out = call_here("changes", "--help")
    assert code == 0
    for word in ("list", "show", "approve", "reject", "apply", "undo"):
        assert word in out
    code, out = call_here("changes", "apply", "--help")
    assert "--dry-run" in out and "writeback" in out
