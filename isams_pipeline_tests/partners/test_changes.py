"""Change requests as whole runs: a real Dagster run, a real REST server, a real state database."""

from __future__ import annotations

import json
import subprocess
import sys
from collections.abc import Callable
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import dagster as dg
import pytest
from hypothesis import given
from hypothesis import strategies as st
from sqlalchemy import delete, update

from isams_pipeline.definitions import build_definitions
from isams_pipeline.errors import StorageError, WrongUse
from isams_pipeline.partners.my_school_portal.desk import ChangeDesk
from isams_pipeline.partners.my_school_portal.ordering import by_person
from isams_pipeline.partners.my_school_portal.requests import read
from isams_pipeline.sandbox.change_requests import sample_files
from isams_pipeline.sources.isams import people
from isams_pipeline.storage.state import StateDatabase
from isams_pipeline.storage.state.changes import ChangeStep
from isams_pipeline_tests.partners.portal import Portal
from isams_pipeline_tests.world import FIRST, HURRIED, SCHOOL, World, small_school

ROOT = Path(__file__).parent.parent.parent
MARK = "Zqxcanary"
NEW = {"emailAddress": "new@example.org"}


# --- the whole way ----------------------------------------------------------------------------------------


def test_the_samples_end_as_they_should(portal: Portal):
    assert portal.world.night(0).outcome == "delivered"
    portal.world.at_night(0, hour=16)
    for name, text in sample_files(portal.school, portal.now).items():
        (portal.inbox / name).write_text(text)
    assert portal.run().failures == ()
    states = {request.id: request.state for request in portal.desk.store.listed()}
    assert states == {
        "MSP-1001": "applied",
        "MSP-1002": "applied",
        "MSP-1003": "applied",
        "MSP-1004": "conflict",
        "MSP-1005": "pending",
    }
    assert sorted(path.name for path in (portal.inbox / "refused").iterdir()) == [
        "not-allowed.json",
        "not-allowed.json.reason.txt",
    ]
    assert len(portal.puts) == 3
    assert portal.confirm().failures == ()
    assert {portal.state(f"MSP-100{n}") for n in (1, 2, 3)} == {"confirmed"}


def test_every_step_is_in_the_ledger_with_who_what_and_when(portal: Portal):
    before = portal.contact().email
    portal.send(portal.about_guardian(NEW))
    portal.run()
    assert portal.steps() == ["received", "approved", "intended", "answered", "applied"]
    steps = {step.step: step for step in portal.desk.store.ledger("R1")}
    assert steps["approved"].who == "registrar@example.org" and steps["approved"].before == {"emailAddress": before}
    assert steps["intended"].before == {"emailAddress": before} and steps["intended"].after == NEW
    assert steps["answered"].answer == {"status": 200} and steps["intended"].who.startswith("run ")
    assert steps["applied"].persons == [portal.contact().person_id]
    assert all(step.at == portal.now for step in steps.values())


def test_the_ledger_is_written_once(tmp_path: Path, state_url: str | None, portal: Portal):
    state = StateDatabase.open(tmp_path, state_url)
    line = {"school": "s", "request": "r", "at": portal.now, "who": "w", "step": "x", "fields": [], "persons": []}
    with state.transaction() as session:
        session.add(ChangeStep(**line, before=None, after=None, answer=None, reason=None))
    for change in (update(ChangeStep).values(who="somebody else"), delete(ChangeStep)):
        with pytest.raises(StorageError), state.transaction() as session:
            session.execute(change)
    state.close()


@pytest.mark.parametrize("kind", ["guardian", "student"])
def test_no_other_field_is_lost(portal: Portal, kind: str):
    asked = portal.about_guardian(NEW) if kind == "guardian" else portal.about_student({"middleNames": "Zq"})
    target = people.Target(kind, asked["student"], asked.get("contact"))  # type: ignore[arg-type]
    with portal.desk.client() as client:
        was = people.read(client, target).fields
        portal.send(asked)
        portal.run()
        now = people.read(client, target).fields
    assert portal.state() == "applied"
    changed = {name for name in now if now[name] != was[name]}
    assert changed == ({"emailAddress"} if kind == "guardian" else {"middlenames"})


@pytest.mark.parametrize("spelt", ["middlenames", "middleNames"])
def test_both_spellings_of_middle_names_are_sent_whichever_came(portal: Portal, spelt: str):
    with portal.desk.client() as client:
        target = people.Target("student", portal.pupil.school_id)
        fields = people.read(client, target).fields
    fields.pop("middlenames")

    class Answering:
        def get(self, _: str) -> dict[str, Any]:
            return {**fields, spelt: "Old"}

    record = people.read(Answering(), target)  # type: ignore[arg-type]
    assert record.holds("middleNames") == "Old" and not record.missing()
    body = record.body({"middleNames": "New"})
    assert (body["middlenames"], body["middleNames"]) == ("New", "New")
    assert record.body({"forename": "G"})["middleNames"] == "Old"
    assert set(body) == {*people.WRITABLE_STUDENT, "middleNames"}, "every writable field goes back"


def test_a_record_that_lacks_a_writable_field_is_not_written_back(portal: Portal, monkeypatch: pytest.MonkeyPatch):
    from isams_pipeline.sandbox import render_rest

    contact = render_rest.contact
    monkeypatch.setattr(
        render_rest, "contact", lambda entry: {k: v for k, v in contact(entry).items() if k != "emergencyNotes"}
    )
    portal.send(portal.about_guardian(NEW))
    portal.run()
    assert portal.state() == "failed" and "lacks emergencyNotes" in portal.reason() and portal.puts == []


def test_a_value_is_tidied_and_shown_as_it_came(portal: Portal):
    portal.send(
        portal.about_guardian(
            {"emailAddress": " New@EXAMPLE.org ", "mobileNumber": "+447700900123", "postcode": "zz11zz", "town": "A  B"}
        )
    )
    request = portal.desk.store.find("R1")
    assert request.given["mobileNumber"] == "+447700900123"
    assert request.changes == {
        "emailAddress": "New@example.org",
        "mobileNumber": "07700 900123",
        "postcode": "ZZ1 1ZZ",
        "town": "A B",
    }


# --- off by default, dry runs -----------------------------------------------------------------------------


def test_without_writeback_enabled_every_apply_is_a_dry_run(portal: Portal):
    portal.world.configure(lambda c: c["schools"][SCHOOL]["partners"]["my_school_portal"].pop("writeback"))
    portal.send(portal.about_guardian(NEW))
    run = portal.run()
    assert run.failures == () and portal.puts == [] and portal.state() == "approved"
    assert portal.desk.apply("me").done == [] and portal.puts == []


def test_a_review_says_what_is_and_what_would_be_and_writes_nothing(portal: Portal):
    portal.send(portal.about_guardian(NEW))
    (looked,) = portal.desk.look(portal.desk.store.listed())
    assert looked.review is not None
    (difference,) = looked.review.differences
    assert (difference.now, difference.wanted) == (portal.contact().email, "new@example.org")
    assert portal.puts == [] and portal.steps() == ["received", "approved"]


def test_only_todays_partition_writes(portal: Portal):
    portal.send(portal.about_guardian(NEW))
    portal.day = -1
    assert portal.run().failures == () and portal.puts == []


# --- approval ---------------------------------------------------------------------------------------------


def test_a_portals_approval_counts_only_where_it_is_trusted(portal: Portal):
    portal.settings(trust_portal_approval=False)
    portal.send(portal.about_guardian(NEW))
    assert portal.state() == "pending" and "trust_portal_approval" in portal.reason()
    portal.run()
    assert portal.puts == []
    portal.settings(trust_portal_approval=True)
    portal.send(portal.about_guardian(NEW))
    assert portal.state() == "approved", "the same request again, and now its approval counts"


def test_an_approval_must_say_what_was_seen(portal: Portal):
    asked = portal.about_guardian({"emailAddress": "new@example.org", "town": "Modelham"})
    del asked["seen"]["town"]
    portal.send(asked)
    assert portal.state() == "pending" and "what its approver saw: town" in portal.reason()


def approve(portal: Portal, id: str = "R1", *, joint: bool = False) -> None:
    (looked,) = portal.desk.look([portal.desk.store.find(id)])
    portal.desk.approve(looked, "me", joint=joint)


def test_a_persons_approval_records_the_values_seen(portal: Portal):
    portal.send(portal.about_guardian(NEW, approval=None))
    portal.run()
    assert portal.puts == [] and portal.state() == "pending"
    approve(portal)
    request = portal.desk.store.find("R1")
    assert (request.state, request.approved_by, request.approved_at) == ("approved", "me", portal.now)
    assert request.seen == {"emailAddress": portal.contact().email}
    portal.run()
    assert portal.state() == "applied"


def test_a_request_approved_twice_is_applied_once(portal: Portal):
    portal.send(portal.about_guardian(NEW))
    with pytest.raises(WrongUse, match="decided meanwhile"):
        approve(portal)
    portal.send(portal.about_guardian(NEW))
    portal.run()
    portal.send(portal.about_guardian(NEW))
    portal.run()
    assert len(portal.puts) == 1 and portal.steps().count("approved") == 1 and portal.state() == "applied"


def test_a_rejected_request_is_not_written(portal: Portal):
    portal.send(portal.about_guardian(NEW))
    portal.desk.reject("R1", "me", "the guardian rang")
    portal.send(portal.about_guardian(NEW))
    portal.run()
    assert portal.state() == "rejected" and portal.puts == []
    with pytest.raises(WrongUse, match="is rejected"):
        portal.desk.reject("R1", "me", "again")


def test_people_decide_while_a_run_goes_on(portal: Portal):
    portal.send(portal.about_guardian(NEW, approval=None), portal.about_student({"preferredName": "Zq"}, id="S1"))
    with portal.desk.alone():
        approve(portal)
        portal.desk.reject("S1", "me", "no")
    assert (portal.state("R1"), portal.state("S1")) == ("approved", "rejected")


def test_what_stands_half_way_is_rejected_only_when_no_run_goes_on(portal: Portal, monkeypatch: pytest.MonkeyPatch):
    from isams_pipeline.errors import SchoolBusy, ServerTimeout
    from isams_pipeline.partners.my_school_portal import apply

    def lost(*_: object) -> int:
        raise ServerTimeout("iSAMS did not answer in time")

    portal.send(portal.about_guardian(NEW))
    with monkeypatch.context() as patch:
        patch.setattr(apply, "write", lost)
        portal.run()
    with portal.desk.alone(), pytest.raises(SchoolBusy):
        monkeypatch.setattr(ChangeDesk, "alone", lambda self: self.environment.locks.hold(f"changes {SCHOOL}", wait=0))
        portal.desk.reject("R1", "me", "the guardian rang")
    portal.desk.reject("R1", "me", "the guardian rang")
    portal.run()
    assert portal.state() == "rejected" and portal.puts == []


@pytest.mark.parametrize(("ahead", "state"), [(timedelta(hours=20), "approved"), (timedelta(hours=30), "pending")])
def test_clock_skew_of_the_portal(portal: Portal, ahead: timedelta, state: str):
    at = (portal.now + ahead).isoformat()
    portal.send(portal.about_guardian(NEW, approval={"by": "registrar@example.org", "at": at}))
    assert portal.state() == state
    if state == "pending":
        assert "has not come yet" in portal.reason()


# --- conflicts and order ----------------------------------------------------------------------------------


def test_a_field_that_changed_since_is_a_conflict_and_nothing_is_written(portal: Portal):
    portal.send(portal.about_guardian({"emailAddress": "new@example.org", "town": "Modelham"}))
    portal.world.sandbox.edit_contact(SCHOOL, portal.contact().entry_id, {"town": "Elsewhere"})
    portal.run()
    assert portal.state() == "conflict" and portal.puts == []
    assert portal.reason() == "iSAMS no longer holds what the approver saw in town"
    approve(portal)  # a person has looked again
    portal.run()
    assert portal.state() == "applied"


def test_what_isams_holds_already_is_not_written_again(portal: Portal):
    portal.send(portal.about_guardian(NEW))
    portal.world.sandbox.edit_contact(SCHOOL, portal.contact().entry_id, {"email": "new@example.org"})
    portal.run()
    assert portal.state() == "applied" and portal.puts == [] and "held it already" in portal.reason()


def test_spaces_and_empty_texts_are_no_conflict(portal: Portal):
    contact = portal.contact()
    portal.send(portal.about_guardian({"town": "Modelham", "emergencyNotes": "Ring twice"}))
    portal.world.sandbox.edit_contact(SCHOOL, contact.entry_id, {"town": f" {contact.town}  ", "emergency_notes": ""})
    portal.run()
    assert portal.state() == "applied"


def test_one_persons_requests_are_applied_strictly_in_order(portal: Portal):
    contact = portal.contact()
    chain = ["a@example.org", "b@example.org", "c@example.org", "d@example.org"]
    seen = [contact.email, *chain]
    requests = [
        portal.about_guardian({"emailAddress": new}, to=contact, id=f"R{n}", seen={"emailAddress": old})
        for n, (old, new) in enumerate(zip(seen, chain, strict=False))
    ]
    portal.send(*requests, portal.about_student({"preferredName": "Zq"}, id="S1"))
    portal.run()
    assert [portal.state(f"R{n}") for n in range(4)] == ["applied"] * 4 and portal.state("S1") == "applied"
    assert portal.contact().email == "d@example.org"


def test_one_that_waits_holds_back_those_after_it(portal: Portal):
    contact = portal.contact()
    second = portal.about_guardian({"town": "Modelham"}, to=contact, id="R2")
    portal.send(portal.about_guardian(NEW, to=contact), second)
    portal.world.sandbox.fail(SCHOOL, "rest_500", times=3, key="portal")
    portal.run()
    assert (portal.state("R1"), portal.state("R2")) == ("approved", "approved") and portal.puts == []
    portal.run()
    assert (portal.state("R1"), portal.state("R2")) == ("applied", "applied")


def test_naming_a_request_does_not_let_it_overtake(portal: Portal):
    contact = portal.contact()
    second = portal.about_guardian({"emailAddress": "b@example.org"}, to=contact, id="R2", seen=NEW)
    portal.send(portal.about_guardian(NEW, to=contact), second, portal.about_student({"preferredName": "Zq"}, id="S1"))
    portal.run("R2")
    assert [portal.state(name) for name in ("R1", "R2", "S1")] == ["applied", "applied", "approved"]


def order(number: int, kind: str, student: str = "1", contact: int | None = None, person: int | None = None) -> Any:
    from types import SimpleNamespace

    return SimpleNamespace(number=number, kind=kind, student=student, contact=contact, person=person)


def test_a_parent_with_a_contact_for_each_child_is_one_person():
    one, two, other = (
        order(2, "guardian", contact=10),
        order(1, "guardian", contact=11),
        order(3, "guardian", contact=12),
    )
    groups = by_person([one, two, other], {10: [7], 11: [7, 8], 12: [9]})
    assert sorted([[r.number for r in group] for group in groups]) == [[1, 2], [3]]


@given(
    st.lists(
        st.builds(
            order,
            st.integers(1, 10**6),
            st.sampled_from(["student", "guardian"]),
            st.sampled_from("123"),
            st.integers(1, 6),
            st.none() | st.integers(1, 4),
        ),
        unique_by=lambda r: r.number,
        max_size=20,
    ),
    st.dictionaries(st.integers(1, 6), st.sets(st.integers(1, 4), max_size=2)),
)
def test_groups_hold_everybody_in_order_and_nobody_twice(requests: list[Any], persons: dict[int, set[int]]):
    groups = by_person(requests, persons)
    assert sorted(r.number for group in groups for r in group) == sorted(r.number for r in requests)
    seen: set[object] = set()
    for group in groups:
        assert [r.number for r in group] == sorted(r.number for r in group)
        whom = {("s", r.student) if r.kind == "student" else ("c", r.contact) for r in group}
        whom |= {
            ("p", p) for r in group if r.kind == "guardian" for p in {*persons.get(r.contact, ()), r.person} - {None}
        }
        assert not whom & seen, "nobody is in two groups"
        seen |= whom


# --- joint contacts ---------------------------------------------------------------------------------------


def test_a_joint_contacts_email_waits_until_somebody_knows_it_is_both(portal: Portal):
    first, second = portal.joint()
    portal.send(portal.about_guardian(NEW, to=first))
    portal.run()
    assert portal.state() == "pending" and portal.puts == []
    assert f"persons {first.person_id} and {second.person_id}" in portal.reason()
    with pytest.raises(WrongUse, match="--confirm-joint"):
        approve(portal)
    approve(portal, joint=True)
    portal.run()
    assert portal.state() == "applied"
    assert {contact.email for contact in portal.joint()} == {"new@example.org"}
    written = [step for step in portal.desk.store.ledger("R1") if step.step in {"approved", "intended", "applied"}]
    assert all(step.persons == [first.person_id, second.person_id] for step in written[-2:])


def test_the_portal_may_confirm_it_itself_also_later(portal: Portal):
    first, _ = portal.joint()
    asked = portal.about_guardian(NEW, to=first)
    portal.send(asked)
    portal.run()
    assert portal.state() == "pending"
    portal.send(asked | {"approval": asked["approval"] | {"joint_confirmed": True}})
    portal.run()
    assert portal.state() == "applied"


def test_other_fields_of_a_joint_contact_need_no_confirmation(portal: Portal):
    portal.send(portal.about_guardian({"town": "Modelham"}, to=portal.joint()[0]))
    portal.run()
    assert portal.state() == "applied"


@pytest.mark.parametrize(("name", "value"), [("surname", "Zqnew"), ("mobileNumber", "07700 900999")])
@pytest.mark.parametrize(("whose", "state"), [("first", "applied"), ("second", "failed"), (None, "failed")])
def test_what_is_ones_own_on_a_joint_contact_is_the_first_persons(
    portal: Portal, whose: str | None, state: str, name: str, value: str
):
    first, second = portal.joint()
    attribute = {"surname": "surname", "mobileNumber": "mobile"}[name]
    before = getattr(second, attribute)
    person = {"first": first.person_id, "second": second.person_id, None: None}[whose]
    portal.send(portal.about_guardian({name: value}, to=first, person=person))
    portal.run()
    assert portal.state() == state
    assert (getattr(portal.joint()[0], attribute) == value) is (state == "applied")
    assert getattr(portal.joint()[1], attribute) == before


# --- whose record -----------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("change", "reason"),
    [
        ({"student": "999999999999"}, "no student with this school id (404)"),
        ({"contact": 77}, "not one of the student's"),
        ({"person": 12}, "not one of this contact's"),
    ],
)
def test_a_record_that_is_not_theirs_is_not_written(portal: Portal, change: dict[str, Any], reason: str):
    portal.send(portal.about_guardian(NEW, **change), portal.about_student({"preferredName": "Zq"}, id="S1"))
    portal.run()
    assert portal.state() == "failed" and reason in portal.reason()
    assert portal.state("S1") == "applied", "one bad request never stops the others"


def test_someone_elses_contact_by_way_of_ones_own_child_is_refused(portal: Portal):
    mine, theirs = portal.contact(0), portal.contact(-1)
    assert not {p.school_id for p in mine.pupils} & {p.school_id for p in theirs.pupils}
    portal.send(portal.about_guardian(NEW, to=mine, contact=theirs.entry_id))
    portal.run()
    assert portal.state() == "failed" and portal.puts == []


def test_a_contact_of_another_schools_student_is_refused(make: Callable[..., World]):
    world = make({SCHOOL: small_school(), "harbour": small_school(seed="harbour")})
    portal = Portal(world)
    stranger = next(c for c in world.sandbox.day_of("harbour").contacts)
    portal.send(portal.about_guardian(NEW, to=stranger))
    portal.run()
    assert portal.state() == "failed" and portal.puts == []


def test_a_guardian_without_a_route_is_not_written(portal: Portal):
    portal.world.configure(lambda c: c["schools"][SCHOOL]["partners"]["my_school_portal"].pop("guardian_route"))
    portal.send(portal.about_guardian(NEW), portal.about_student({"preferredName": "Zq"}, id="S1"))
    portal.run()
    assert portal.state() == "failed" and "guardian_route" in portal.reason() and portal.state("S1") == "applied"


@pytest.mark.parametrize(("country", "state"), [("United Kingdom", "failed"), ("France", "applied")])
def test_a_postcode_must_fit_the_country_of_the_address(portal: Portal, country: str, state: str):
    portal.world.sandbox.edit_contact(SCHOOL, portal.contact().entry_id, {"country": country})
    portal.send(portal.about_guardian({"postcode": "75001"}))
    portal.run()
    assert portal.state() == state and ("postcode" in portal.reason()) is (state == "failed")


# --- what iSAMS answers -----------------------------------------------------------------------------------


@pytest.mark.parametrize("kind", ["guardian", "student"])
def test_a_200_with_an_unchanged_record_is_no_success(portal: Portal, kind: str):
    asked = portal.about_guardian(NEW) if kind == "guardian" else portal.about_student({"preferredName": "Zq"})
    portal.send(asked)
    portal.world.sandbox.fail(SCHOOL, "put_ignored")
    portal.run()
    assert portal.state() == "failed" and portal.reason() == "iSAMS said yes and changed nothing"


def test_422_on_one_field_fails_that_request_alone_and_keeps_isams_own_words(portal: Portal):
    portal.send(portal.about_guardian({"title": "Zqxlord"}), portal.about_student({"preferredName": "Zq"}, id="S1"))
    asked = portal.desk.store.find("R1")
    assert asked.state == "pending", "the sample does not say which title was seen"
    approve(portal)
    run = portal.run()
    assert (
        portal.state() == "failed"
        and "(422); see iSAMS's own words with `isams-pipeline changes show`" in portal.reason()
        and "Zqxlord" not in portal.reason()
    )
    (failed,) = [step for step in portal.desk.store.ledger("R1") if step.step == "failed"]
    assert failed.answer == {"status": 422, "error": "NotAccepted", "said": "'Zqxlord' is not a known title."}
    assert portal.state("S1") == "applied" and run.failures == ()


def test_a_field_that_is_lost_is_told_with_its_value_in_the_ledger(portal: Portal):
    town = portal.contact().town
    portal.send(portal.about_guardian(NEW))
    portal.world.sandbox.fail(SCHOOL, "put_loses")
    portal.run()
    assert portal.state() == "applied" and portal.reason() == "other fields changed at the same time: town"
    assert "R1 applied, but town changed too" in (portal.settled() or "")
    (applied,) = [step for step in portal.desk.store.ledger("R1") if step.step == "applied"]
    assert applied.before is not None and applied.before["town"] == town


def test_a_field_lost_beyond_what_is_written_is_told_too(portal: Portal, monkeypatch: pytest.MonkeyPatch):
    from isams_pipeline.sandbox import render_rest

    contact = render_rest.contact
    monkeypatch.setattr(
        render_rest, "contact", lambda entry: contact(entry) | ({"billing": True} if not portal.puts else {})
    )
    portal.send(portal.about_guardian(NEW))
    portal.run()
    assert portal.reason() == "other fields changed at the same time: billing"


def test_a_put_that_was_turned_away_is_not_sent_again_as_it_was(portal: Portal):
    """While the client waits, somebody at the school edits the same field, or another one."""
    contact = portal.contact()
    edits: list[dict[str, Any]] = [{"mobile": "07700 900999"}, {"email": "office@example.org"}]

    def at_the_school(_: float) -> None:
        portal.world.sandbox.edit_contact(SCHOOL, contact.entry_id, edits.pop(0))

    def apply(fault: str) -> None:
        from isams_pipeline.partners.my_school_portal.apply import Applier

        portal.world.sandbox.fail(SCHOOL, fault)
        with portal.desk.client() as client:
            route: dict[str, Any] = {"guardian_route": "tempcontacts", "sleep": at_the_school, "patience": HURRIED}
            waiting = [request for request in portal.desk.store.listed() if request.state == "approved"]
            Applier(portal.desk.store, client, "me", **route).apply(waiting)

    portal.send(portal.about_guardian({"emailAddress": "new@example.org"}))
    apply("put_429")
    assert portal.state() == "applied"
    assert (portal.contact().email, portal.contact().mobile) == ("new@example.org", "07700 900999")
    portal.send(portal.about_guardian({"emailAddress": "newer@example.org"}, id="R2"), name="two.json")
    apply("put_429")
    assert portal.state("R2") == "conflict" and portal.contact().email == "office@example.org"


def test_half_a_put_can_be_finished_or_put_back(portal: Portal):
    before = portal.contact().email
    changes = {"emailAddress": "new@example.org", "town": "Modelham"}
    portal.send(portal.about_guardian(changes))
    portal.world.sandbox.fail(SCHOOL, "put_half")
    portal.run()
    assert portal.state() == "failed" and portal.reason() == "iSAMS holds something else in town"
    approve(portal)
    portal.run()
    assert portal.state() == "applied"
    portal.desk.undo("R1", "me")
    portal.run()
    assert portal.state("undo:R1") == "applied"
    assert (portal.contact().email, portal.contact().town) == (before, "Sampleton"), "what was there at first"


def test_half_a_put_alone_can_be_put_back(portal: Portal):
    before = portal.contact().email
    portal.send(portal.about_guardian({"emailAddress": "new@example.org", "town": "Modelham"}))
    portal.world.sandbox.fail(SCHOOL, "put_half")
    portal.run()
    portal.desk.undo("R1", "me")
    portal.run()
    assert portal.state("undo:R1") == "applied" and portal.contact().email == before


def test_what_was_never_written_is_not_undone(portal: Portal):
    portal.send(portal.about_guardian({"title": "Zqxlord"}, seen={"title": portal.contact().title}))
    portal.run()
    assert portal.state() == "failed"
    portal.world.sandbox.edit_contact(SCHOOL, portal.contact().entry_id, {"title": "Zqxlord"})
    approve(portal)
    portal.run()
    assert portal.state() == "applied" and "held it already" in portal.reason()
    with pytest.raises(WrongUse, match="nothing to put back"):
        portal.desk.undo("R1", "me")


def test_when_isams_is_down_the_run_is_red_and_stops_soon(portal: Portal):
    portal.send(*(portal.about_guardian({"town": f"T{n}"}, to=portal.contact(n), id=f"R{n}") for n in range(30)))
    portal.world.sandbox.fail(SCHOOL, "rest_503", times=10_000)
    run = portal.run()
    assert run.failures and "not available" in run.failures[0]
    assert {portal.state(f"R{n}") for n in range(30)} == {"approved"}
    assert len(portal.world.sandbox.schools[SCHOOL].rest_requests) < 30 * 3, "not every request found out by itself"


def test_an_unforeseen_error_fails_the_run_and_stops_nobody_else(portal: Portal, monkeypatch: pytest.MonkeyPatch):
    from isams_pipeline.partners.my_school_portal import apply

    reviewed = apply.review

    def odd(record: Any, wanted: Any) -> Any:
        if record.target.kind == "student":
            raise RuntimeError(MARK)
        return reviewed(record, wanted)

    monkeypatch.setattr(apply, "review", odd)
    portal.send(portal.about_student({"preferredName": "Zq"}), portal.about_guardian(NEW, id="R2"))
    run = portal.run()
    assert "RuntimeError at" in run.failures[0] and MARK not in run.failures[0]
    assert (portal.state("R1"), portal.state("R2")) == ("approved", "applied")
    assert "RuntimeError at" in (portal.desk.store.ledger("R1")[-1].reason or "")


def test_throttling_amid_a_batch_loses_nothing(portal: Portal):
    contacts = [portal.contact(n) for n in range(12)]
    portal.send(*(portal.about_guardian({"town": f"Town {n}"}, to=c, id=f"R{n}") for n, c in enumerate(contacts)))
    client = portal.world.sandbox.schools[SCHOOL].clients[1]
    client.requests_per_hour = 20
    run = portal.run()
    assert len(run.failures) == 1 and "throttles this client" in run.failures[0]
    states = [portal.state(f"R{n}") for n in range(12)]
    assert {"applied", "approved"} <= set(states) <= {"applied", "approved", "applying"}
    client.requests_per_hour = None
    assert portal.run().failures == ()
    assert {portal.state(f"R{n}") for n in range(12)} == {"applied"}
    assert len(portal.puts) == len(set(portal.puts)) == 12, "none twice"


def test_a_token_that_expires_amid_a_batch_is_renewed(portal: Portal, monkeypatch: pytest.MonkeyPatch):
    sandbox = portal.world.sandbox
    edit = sandbox.edit_contact

    def then_expire(*words: Any) -> None:
        edit(*words)
        if len(portal.puts) == 3:
            sandbox.forget_tokens()

    monkeypatch.setattr(sandbox, "edit_contact", then_expire)
    portal.send(*(portal.about_guardian({"town": f"T{n}"}, to=portal.contact(n), id=f"R{n}") for n in range(12)))
    assert portal.run().failures == ()
    assert {portal.state(f"R{n}") for n in range(12)} == {"applied"} and len(portal.puts) == 12


@pytest.mark.parametrize("fault", ["put_then_500", "put_then_cut"])
def test_an_answer_that_is_lost_is_found_out_by_reading(portal: Portal, fault: str):
    portal.send(portal.about_guardian(NEW))
    portal.world.sandbox.fail(SCHOOL, fault)
    portal.run()
    assert portal.state() == "applied" and len(portal.puts) == 1


def test_no_answer_and_nothing_written_waits_and_is_tried_again(portal: Portal, monkeypatch: pytest.MonkeyPatch):
    from isams_pipeline.errors import ServerTimeout
    from isams_pipeline.partners.my_school_portal import apply

    def lost(*_: object) -> int:
        raise ServerTimeout("iSAMS did not answer in time")

    portal.send(portal.about_guardian(NEW))
    with monkeypatch.context() as patch:
        patch.setattr(apply, "write", lost)
        assert "did not answer in time" in portal.run().failures[0], "waiting is not green"
    assert portal.state() == "applying" and portal.contact().email != "new@example.org"
    portal.run()
    assert portal.state() == "applied" and len(portal.puts) == 1


def test_what_somebody_else_wrote_meanwhile_is_not_overwritten(portal: Portal, monkeypatch: pytest.MonkeyPatch):
    from isams_pipeline.errors import ServerTimeout
    from isams_pipeline.partners.my_school_portal import apply

    def lost(*_: object) -> int:
        raise ServerTimeout("iSAMS did not answer in time")

    portal.send(portal.about_guardian(NEW))
    with monkeypatch.context() as patch:
        patch.setattr(apply, "write", lost)
        portal.run()
    portal.world.sandbox.edit_contact(SCHOOL, portal.contact().entry_id, {"email": "third@example.org"})
    portal.run()
    assert portal.state() == "conflict" and portal.puts == [] and portal.contact().email == "third@example.org"


def test_without_permission_to_write_everything_waits_and_the_run_is_red(portal: Portal):
    portal.world.sandbox.schools[SCHOOL].clients[1].permissions["STUDENTMANAGEMENT"] = "Read"
    portal.send(portal.about_guardian(NEW), portal.about_student({"preferredName": "Zq"}, id="S1"))
    run = portal.run()
    assert run.failures and "may not do this" in run.failures[0]
    assert (portal.state("R1"), portal.state("S1")) == ("approved", "approved")
    portal.world.sandbox.schools[SCHOOL].clients[1].permissions["STUDENTMANAGEMENT"] = "Full"
    portal.run()
    assert (portal.state("R1"), portal.state("S1")) == ("applied", "applied")


# --- killed -----------------------------------------------------------------------------------------------

KILLED = """
import os, sys
from pathlib import Path
from isams_pipeline.config import load_settings
from isams_pipeline.orchestration.environment import Environment
from isams_pipeline.partners.my_school_portal import apply
from isams_pipeline.partners.my_school_portal.desk import ChangeDesk
from isams_pipeline.partners.my_school_portal.store import ChangeStore

point, config, data = sys.argv[1:]
write, read, move = apply.write, apply.read, ChangeStore.move
written = []

def dies(*_):
    os._exit(9)

def write_and(*words):
    written.append(write(*words))
    if point == "after the write":
        dies()
    return written[-1]

def read_and(*words):
    if point == "before the read-back" and written:
        dies()
    found = read(*words)
    if point == "after the first read" or (point == "after the read-back" and written):
        dies()
    return found

def move_and(self, identifier, to, *steps, **frm):
    move(self, identifier, to, *steps, **frm)
    if point == f"after the ledger says {to}":
        dies()

apply.write = dies if point == "before the write" else write_and
apply.read, ChangeStore.move = read_and, move_and
ChangeDesk(Environment(load_settings(config), data_dir=Path(data)), "riverside").apply("a run")
sys.exit("was not killed")
"""


@pytest.mark.parametrize(
    ("point", "puts"),
    [
        ("after the first read", 0),
        ("after the ledger says applying", 0),
        ("before the write", 0),
        ("after the write", 1),
        ("before the read-back", 1),
        ("after the read-back", 1),
        ("after the ledger says applied", 1),
    ],
)
def test_a_run_killed_anywhere_is_finished_by_the_next_never_twice(portal: Portal, point: str, puts: int):
    from isams_pipeline.sandbox.demo import secrets_of

    portal.send(portal.about_guardian(NEW), portal.about_guardian({"town": "Modelham"}, id="R2"))
    done = subprocess.run(
        [sys.executable, "-c", KILLED, point, str(portal.world.config), str(portal.world.data)],
        env={"PYTHONPATH": str(ROOT), **secrets_of(portal.world.sandbox)},
        capture_output=True,
        text=True,
        timeout=60,
    )
    assert done.returncode == 9, done.stderr
    assert len(portal.puts) == puts
    assert portal.run().failures == ()
    assert (portal.state("R1"), portal.state("R2")) == ("applied", "applied")
    assert len(portal.puts) == 2, "one for each request, whenever it was"
    assert (portal.contact().email, portal.contact().town) == ("new@example.org", "Modelham")
    assert portal.steps().count("applied") == 1


@pytest.mark.parametrize(("written", "state"), [(True, "applied"), (False, "approved")])
def test_what_was_interrupted_is_settled_even_where_writing_is_off_by_now(
    portal: Portal, monkeypatch: pytest.MonkeyPatch, written: bool, state: str
):
    from isams_pipeline.errors import ServerTimeout
    from isams_pipeline.partners.my_school_portal import apply

    real = apply.write

    def lost(*_: Any) -> Any:
        raise ServerTimeout("iSAMS did not answer in time")

    portal.send(portal.about_guardian(NEW))
    with monkeypatch.context() as patch:
        patch.setattr(apply, "write", real if written else lost)
        if written:
            patch.setattr(apply.Applier, "_read_back", lost)
        portal.run()
    assert portal.state() == "applying"
    portal.settings(writeback="disabled", guardian_route=None)
    before = len(portal.puts)
    portal.run()
    assert portal.state() == state and len(portal.puts) == before


def test_a_decision_of_somebody_else_is_not_overwritten(portal: Portal, state_url: str | None):
    from isams_pipeline.partners.my_school_portal.states import State
    from isams_pipeline.partners.my_school_portal.store import ChangeStore, Overtaken, Step

    state = StateDatabase.open(portal.world.folder / "elsewhere", state_url)
    store = ChangeStore(state, SCHOOL, lambda: portal.now)
    store.take([read(portal.about_guardian(NEW), school=SCHOOL, region="GB", today=FIRST)], trusted=True)
    store.move("R1", State.REJECTED, Step("rejected", "me"), frm=(State.APPROVED,))
    with pytest.raises(Overtaken):
        store.move("R1", State.APPLYING, Step("intended", "a run"), frm=(State.APPROVED, State.APPLYING))
    store.take([read(portal.about_guardian(NEW), school=SCHOOL, region="GB", today=FIRST)], trusted=True)
    assert store.find("R1").state == "rejected"
    state.close()


# --- undo -------------------------------------------------------------------------------------------------


def test_undo_puts_the_old_values_back_under_the_same_checks(portal: Portal):
    before = portal.contact().email
    portal.send(portal.about_guardian(NEW))
    portal.run()
    undo = portal.desk.undo("R1", "me")
    assert portal.desk.undo("R1", "me").id == undo.id == "undo:R1", "asked for twice, done once"
    portal.run()
    assert portal.state("undo:R1") == "applied" and portal.contact().email == before
    assert "undo asked for" in portal.steps("R1")


def test_undo_of_a_joint_email_needs_to_be_confirmed_too(portal: Portal):
    first, _ = portal.joint()
    before = first.email
    asked = portal.about_guardian(NEW, to=first)
    portal.send(asked | {"approval": asked["approval"] | {"joint_confirmed": True}})
    portal.run()
    portal.desk.undo("R1", "me")
    portal.run()
    assert portal.state("undo:R1") == "pending" and portal.joint()[0].email == "new@example.org"
    approve(portal, "undo:R1", joint=True)
    portal.run()
    assert portal.state("undo:R1") == "applied" and {c.email for c in portal.joint()} == {before}


def test_undo_of_what_was_changed_again_is_a_conflict(portal: Portal):
    portal.send(portal.about_guardian(NEW))
    portal.run()
    portal.desk.undo("R1", "me")
    portal.world.sandbox.edit_contact(SCHOOL, portal.contact().entry_id, {"email": "third@example.org"})
    portal.run()
    assert portal.state("undo:R1") == "conflict" and portal.contact().email == "third@example.org"
    assert portal.desk.undo("R1", "me").id == "undo:R1:2"


def test_undo_puts_back_the_fields_that_still_stand_and_names_the_others(portal: Portal):
    before = portal.contact()
    telephone, email = before.telephone, before.email
    portal.send(portal.about_guardian(NEW | {"telephoneNumber": "01632 960999"}))
    portal.run()
    assert portal.contact().telephone == "01632 960999"
    portal.world.sandbox.edit_contact(SCHOOL, before.entry_id, {"email": "third@example.org"})
    looked, changed = portal.desk.changed_since("R1", joint=False)
    assert changed == ["emailAddress"] and list(looked.request.changes) == ["telephoneNumber"]
    portal.desk.undo("R1", "me", leaving=changed)
    portal.run()
    assert portal.state("undo:R1") == "applied"
    assert (
        (portal.contact().telephone, portal.contact().email) == (telephone, "third@example.org") != (telephone, email)
    )


def test_undo_where_nothing_stands_any_more_says_so(portal: Portal):
    portal.send(portal.about_guardian(NEW))
    portal.run()
    portal.world.sandbox.edit_contact(SCHOOL, portal.contact().entry_id, {"email": "third@example.org"})
    with pytest.raises(WrongUse, match="changed since: emailAddress"):
        portal.desk.changed_since("R1", joint=False)


def test_undo_of_what_was_never_written_is_refused(portal: Portal):
    portal.send(portal.about_guardian(NEW))
    with pytest.raises(WrongUse, match="nothing to put back"):
        portal.desk.undo("R1", "me")


# --- the next night ---------------------------------------------------------------------------------------


def warned(portal: Portal) -> str | None:
    key = dg.AssetCheckKey(dg.AssetKey(["my_school_portal", "confirmation"]), "stuck")
    record = portal.world.instance.event_log_storage.get_asset_check_execution_history(key, limit=1)[0]
    evaluation = record.event.dagster_event.asset_check_evaluation_data
    assert evaluation.passed or evaluation.severity is dg.AssetCheckSeverity.WARN
    return None if evaluation.passed else evaluation.description


def test_the_next_night_warns_of_what_did_not_stick(portal: Portal):
    portal.send(portal.about_guardian({"emailAddress": "new@example.org", "town": "Modelham"}))
    portal.run()
    portal.world.sandbox.edit_contact(SCHOOL, portal.contact().entry_id, {"town": "Elsewhere"})
    assert portal.confirm().failures == ()
    assert portal.state() == "lost" and "R1: town" in (warned(portal) or "")
    portal.confirm()
    assert warned(portal) is None, "once for each request"


def test_a_night_that_may_show_an_older_state_says_nothing_yet(portal: Portal):
    portal.world.at_night(1, hour=3)
    portal.day = 1
    portal.send(portal.about_guardian(NEW))
    portal.run()
    portal.day = 0
    portal.confirm()  # at 04:00 of that night, with keys that may answer as of two hours ago
    assert portal.state() == "applied" and warned(portal) is None
    portal.confirm()
    assert portal.state() == "confirmed"


def test_a_later_request_for_the_same_field_counts(portal: Portal):
    contact = portal.contact()
    portal.send(
        portal.about_guardian(NEW, to=contact),
        portal.about_guardian({"emailAddress": "b@example.org"}, to=contact, id="R2", seen=NEW),
    )
    portal.run()
    portal.confirm()
    assert (portal.state("R1"), portal.state("R2")) == ("confirmed", "confirmed")


def test_what_was_written_last_counts_whatever_its_number(portal: Portal):
    contact = portal.contact()
    portal.send(
        portal.about_guardian({"town": "First"}, to=contact, approval=None),
        portal.about_guardian({"town": "Second"}, to=contact, id="R2"),
    )
    portal.run()
    approve(portal)
    portal.run()
    assert portal.contact().town == "First"
    portal.confirm()
    assert (portal.state("R1"), portal.state("R2")) == ("confirmed", "confirmed") and warned(portal) is None


def test_what_a_later_night_holds_after_all_is_confirmed(portal: Portal):
    portal.send(portal.about_guardian({"town": "Modelham"}))
    portal.run()
    portal.world.sandbox.edit_contact(SCHOOL, portal.contact().entry_id, {"town": "Elsewhere"})
    portal.confirm()
    assert portal.state() == "lost"
    portal.world.sandbox.edit_contact(SCHOOL, portal.contact().entry_id, {"town": "Modelham"})
    portal.confirm()
    assert portal.state() == "confirmed"


def test_a_joint_email_is_confirmed_for_both(portal: Portal, monkeypatch: pytest.MonkeyPatch):
    from isams_pipeline.sandbox.edits import Edits

    first, _ = portal.joint()
    asked = portal.about_guardian(NEW, to=first)
    portal.send(asked | {"approval": asked["approval"] | {"joint_confirmed": True}})
    portal.run()
    of_contact = Edits.of_contact

    def half(self: Edits, contact: Any) -> Any:
        """iSAMS serves it for one of them only."""
        found = of_contact(self, contact)
        found.email = found.email if contact.first else "other@example.org"
        return found

    monkeypatch.setattr(Edits, "of_contact", half)
    portal.confirm()
    assert portal.state() == "lost"


# --- the sensor, and what Dagster sees --------------------------------------------------------------------


def tick(portal: Portal) -> list[dg.RunRequest]:
    repository = build_definitions(portal.world.environment).get_repository_def()
    sensor = repository.get_sensor_def("my_school_portal_approved")
    with dg.build_sensor_context(
        instance=portal.world.instance, repository_def=repository, resources={"environment": portal.world.environment}
    ) as context:
        return list(sensor.evaluate_tick(context).run_requests or [])


def test_the_sensor_starts_a_run_for_approved_ones_only(portal: Portal):
    assert tick(portal) == []
    (portal.inbox / "a.json").write_text(json.dumps(portal.about_guardian(NEW, approval=None)))
    assert tick(portal) == [] and portal.state() == "pending", "taken in, but nobody has approved it"
    (portal.inbox / "a.json").write_text(json.dumps(portal.about_guardian(NEW)))
    (request,) = tick(portal)
    assert request.partition_key == f"{FIRST}|{SCHOOL}"
    assert tick(portal)[0].run_key == request.run_key, "the same requests start no second run"
    portal.world.moment[0] += timedelta(hours=1)
    assert tick(portal)[0].run_key != request.run_key, "but they are tried again after an hour"
    portal.run()
    assert tick(portal) == []


def test_a_dry_run_is_started_once(portal: Portal):
    portal.settings(writeback="disabled")
    (portal.inbox / "a.json").write_text(json.dumps(portal.about_guardian(NEW)))
    (request,) = tick(portal)
    portal.world.moment[0] += timedelta(hours=5)
    assert tick(portal)[0].run_key == request.run_key


def test_no_school_no_sensor(portal: Portal):
    portal.world.configure(lambda c: c["schools"][SCHOOL]["partners"].pop("my_school_portal"))
    sensors = build_definitions(portal.world.environment).get_repository_def().sensor_defs
    assert "my_school_portal_approved" not in {sensor.name for sensor in sensors}


def test_no_value_of_a_person_in_dagsters_history(make: Callable[..., World]):
    world = make({SCHOOL: small_school(mark=MARK, troubles=True, nightly_joiners=0)})
    world.at_night(0, hour=16)
    portal = Portal(world)
    for name, text in sample_files(portal.school, portal.now).items():
        (portal.inbox / name).write_text(text)
    world.sandbox.fail(SCHOOL, "put_422")
    runs = [portal.run(), portal.confirm()]
    assert MARK in (portal.inbox / "done/moved-house.json").read_text()
    for run in runs:
        for entry in world.instance.all_logs(run.run_id):
            assert MARK not in entry.to_json() and "somebody@example.org" not in entry.to_json()
    for request in portal.desk.store.listed():
        assert MARK not in (request.reason or "")
    for path in (portal.inbox / "refused").glob("*.txt"):
        assert MARK not in path.read_text()


def test_schools_do_not_see_each_others_requests(portal: Portal):
    portal.send(portal.about_guardian(NEW))
    other = ChangeDesk(portal.world.environment, "harbour")
    assert other.store.listed() == []
    with pytest.raises(WrongUse, match="no such change request"):
        other.store.find("R1")


def test_an_approval_of_long_ago_still_stands(portal: Portal):
    at = datetime(2025, 11, 1, tzinfo=UTC).isoformat()
    portal.send(portal.about_guardian(NEW, approval={"by": "registrar@example.org", "at": at}))
    portal.run()
    assert portal.state() == "applied"
