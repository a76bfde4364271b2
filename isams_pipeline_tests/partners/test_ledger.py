"""Who did what: the ledger is chained, its lines say by which door they came, and approvals are taken from it alone."""

from __future__ import annotations

import getpass
import hashlib
import hmac
import json
from collections.abc import Callable
from datetime import timedelta
from typing import Any

import pytest
from sqlalchemy import text
from sqlalchemy.exc import DBAPIError, SQLAlchemyError

from isams_pipeline.errors import WrongUse
from isams_pipeline.partners.my_school_portal.intake import take_in
from isams_pipeline.partners.my_school_portal.ledger import TAKEN_OUT, outline_of, verify
from isams_pipeline.partners.my_school_portal.requests import read, signed_text
from isams_pipeline.partners.my_school_portal.states import State
from isams_pipeline.partners.my_school_portal.store import ChangeStore, Step
from isams_pipeline.storage.state import StateDatabase
from isams_pipeline_tests.partners.portal import Portal
from isams_pipeline_tests.partners.test_changes import NEW
from isams_pipeline_tests.test_commands import call_here
from isams_pipeline_tests.world import FIRST, SCHOOL

TABLE = {"sqlite": "change_ledger", "postgresql": "isams_pipeline.change_ledger"}


@pytest.fixture
def store(portal: Portal, tmp_path: Any, state_url: str | None) -> ChangeStore:
    """A school's ledger with two approved requests, in either database."""
    state = StateDatabase.open(tmp_path / "state", state_url)
    made = ChangeStore(state, SCHOOL, lambda: portal.now)
    for number in range(2):
        asked = portal.about_guardian(NEW) | {"id": f"MSP-{number}"}
        made.take([read(asked, school=SCHOOL, region="GB", today=FIRST)], trusted=True)
    return made


def engine_of(store: ChangeStore) -> Any:
    return store._state.engine


def forced(store: ChangeStore, statement: str) -> None:
    """As somebody who may write the database, and has taken the triggers away."""
    with engine_of(store).begin() as connection:
        table = TABLE[connection.dialect.name]
        if connection.dialect.name == "sqlite":
            for name in ("no_update", "no_delete", "no_replace"):
                connection.execute(text(f"DROP TRIGGER IF EXISTS change_ledger_{name}"))
        else:
            connection.execute(text(f"ALTER TABLE {table} DISABLE TRIGGER USER"))
        connection.execute(text(statement.format(table=table)))


@pytest.mark.parametrize(
    "statement",
    [
        "UPDATE {table} SET who = 'x' WHERE id = 2",
        "DELETE FROM {table} WHERE id = 2",
        (
            "INSERT OR REPLACE INTO {table} (id, school, request, at, who, step, fields, persons) "
            "VALUES (2, 'riverside', 'MSP-0', '2026-02-10', 'x', 'approved', '[]', '[]')"
        ),
        "UPDATE OR REPLACE {table} SET who = 'x' WHERE id = 2",
        (
            "INSERT INTO {table} (id, school, request, at, who, step, fields, persons) VALUES (2, 'riverside', 'MSP-0', "
            "'2026-02-10', 'x', 'approved', '[]', '[]') ON CONFLICT (id) DO UPDATE SET who = 'x'"
        ),
    ],
)
def test_the_database_itself_lets_no_line_be_replaced(store: ChangeStore, statement: str):
    before = store.verify()
    with pytest.raises((DBAPIError, SQLAlchemyError)), engine_of(store).begin() as connection:
        connection.execute(text(statement.format(table=TABLE[connection.dialect.name])))
    assert store.verify() == before and before.holds and before.lines == 4


@pytest.mark.parametrize(
    "statement",
    [
        "UPDATE {table} SET who = 'somebody.else' WHERE id = 2",
        "UPDATE {table} SET step = 'rejected' WHERE id = 4",
        "UPDATE {table} SET door = NULL WHERE id = 3",
        "UPDATE {table} SET hash = NULL WHERE id = 3",
        "UPDATE {table} SET request = 'MSP-1' WHERE id = 1",
        "DELETE FROM {table} WHERE id = 2",
        "DELETE FROM {table} WHERE id = 1",
        "UPDATE {table} SET id = 9 WHERE id = 1",
    ],
)
def test_what_was_changed_past_the_database_shows(store: ChangeStore, statement: str):
    forced(store, statement)
    assert not store.verify().holds


def test_an_end_that_was_cut_off_shows_by_the_head_that_was_noted(store: ChangeStore):
    head = store.verify().head
    assert store.verify(head).holds
    forced(store, "DELETE FROM {table} WHERE id = 4")
    assert store.verify().holds and not store.verify(head).holds


def test_lines_from_before_there_was_a_chain_are_held_by_it(store: ChangeStore, portal: Portal):
    forced(store, "UPDATE {table} SET hash = NULL, previous = NULL, door = NULL, salt = NULL, values_hash = NULL")
    asked = portal.about_guardian(NEW) | {"id": "MSP-9"}
    store.take([read(asked, school=SCHOOL, region="GB", today=FIRST)], trusted=True)
    assert store.verify().holds and store.verify().lines == 6
    forced(store, "UPDATE {table} SET who = 'x' WHERE id = 1")
    assert not store.verify().holds


# --- values that were taken out -------------------------------------------------------------------------------


def lines_of(store: ChangeStore, request: str) -> list[tuple[Any, ...]]:
    return [(line.who, line.step, line.before, line.after, line.answer, line.hash) for line in store.ledger(request)]


def test_values_that_were_taken_out_are_gone_and_the_chain_holds(store: ChangeStore):
    before, head = lines_of(store, "MSP-0"), store.verify().head
    others = lines_of(store, "MSP-1")
    store.take_out(["MSP-0"], why="retention", who="me")
    after = lines_of(store, "MSP-0")
    assert [line[:2] for line in after[:-1]] == [line[:2] for line in before]
    assert all(line[2:5] == (None, None, None) for line in after[:-1])
    assert [line[5] for line in after[:-1]] == [line[5] for line in before] and after[-1][1] == "values taken out"
    assert lines_of(store, "MSP-1") == others
    found = store.verify(head)
    assert found.holds and found.lines == 5
    request = store.find("MSP-0")
    assert (request.given, request.changes, request.seen, request.redacted_why) == ({}, {}, None, "retention")
    with engine_of(store).connect() as connection:
        table = TABLE[connection.dialect.name]
        rows = connection.execute(text(f"SELECT * FROM {table}")).all()
    assert sum(value in str(rows) for value in map(str, NEW.values())) == len(NEW)  # the other request's


@pytest.mark.parametrize(
    "statement",
    [
        "UPDATE {table} SET who = 'x' WHERE id = 1",
        "UPDATE {table} SET before = NULL, after = NULL, answer = NULL WHERE id = 3",
        (
            "UPDATE {table} SET before = NULL, after = NULL, answer = NULL, redacted_at = '2026-02-10', "
            "redacted_why = 'x', who = 'x' WHERE id = 3"
        ),
        (
            "UPDATE {table} SET before = NULL, after = NULL, answer = NULL, redacted_at = '2026-02-10', "
            "redacted_why = 'x', hash = 'x' WHERE id = 3"
        ),
        "UPDATE {table} SET redacted_at = NULL WHERE id = 1",
        "UPDATE {table} SET hash = NULL WHERE id = 1",
        "UPDATE {table} SET after = '{{}}' WHERE id = 1",
        "DELETE FROM {table} WHERE id = 1",
    ],
)
def test_the_database_lets_values_be_taken_out_and_no_more(store: ChangeStore, statement: str):
    store.take_out(["MSP-0"], why="retention", who="me")
    before = store.verify()
    with pytest.raises((DBAPIError, SQLAlchemyError)), engine_of(store).begin() as connection:
        connection.execute(text(statement.format(table=TABLE[connection.dialect.name])))
    assert store.verify() == before and before.holds


@pytest.mark.parametrize(
    "statement",
    [
        "UPDATE {table} SET who = 'somebody.else' WHERE id = 2",
        "UPDATE {table} SET reason = 'x' WHERE id = 1",
        "UPDATE {table} SET answer = NULL WHERE id = 5",
        "UPDATE {table} SET before = NULL, after = NULL, answer = NULL, redacted_at = '2026-02-10' WHERE id = 3",
        'UPDATE {table} SET after = \'{{"emailAddress": "x@example.org"}}\', redacted_at = NULL WHERE id = 2',
        'UPDATE {table} SET after = \'{{"emailAddress": "x@example.org"}}\' WHERE id = 2',
        "UPDATE {table} SET redacted_at = NULL WHERE id = 1",
        "DELETE FROM {table} WHERE id = 1",
    ],
)
def test_what_is_left_of_a_line_cannot_be_altered_unseen(store: ChangeStore, statement: str):
    store.take_out(["MSP-0"], why="retention", who="me")
    forced(store, statement)
    assert not store.verify().holds


def test_nobody_vouches_for_an_altered_line(store: ChangeStore):
    """Who may write the database adds a line that says the altered one is as it was left."""
    forced(store, "UPDATE {table} SET salt = NULL, values_hash = NULL, hash = NULL, previous = NULL")
    store.take_out(["MSP-0"], why="retention", who="me")
    head = store.verify().head
    assert store.verify(head).holds
    forced(store, "UPDATE {table} SET who = 'somebody.else' WHERE id = 1")
    line = next(one for one in store.ledger("MSP-0") if one.id == 1)
    with store._state.transaction() as session:
        store._line(session, "MSP-0", Step(TAKEN_OUT, "x", answer={"1": outline_of(line)}))
    assert not store.verify(head).holds and not store.verify().holds


def test_the_same_values_leave_no_trace_by_which_they_can_be_tried(store: ChangeStore):
    hashes = {line.values_hash for line in store.ledger("MSP-0") if line.step == "received"}
    hashes |= {line.values_hash for line in store.ledger("MSP-1") if line.step == "received"}
    assert len(hashes) == 2, "each line has a salt of its own"
    store.take_out(["MSP-0"], why="retention", who="me")
    assert all(line.salt is None for line in store.ledger("MSP-0")[:-1]) and store.find("MSP-0").digest == ""


def test_values_of_lines_from_before_there_was_a_chain_are_taken_out_and_it_holds(store: ChangeStore):
    forced(store, "UPDATE {table} SET hash = NULL, previous = NULL, door = NULL, salt = NULL, values_hash = NULL")
    head = store.verify().head
    store.take_out(["MSP-0", "MSP-1"], why="retention", who="me")
    assert store.verify(head).holds and store.verify().lines == 6
    store.take_out(["MSP-0", "MSP-1"], why="erasure", who="me", people=True)
    assert store.verify().lines == 6, "they were taken out already"


def test_whom_a_request_was_about_goes_with_its_values_where_that_is_asked(store: ChangeStore):
    store.take_out(["MSP-0"], why="erasure", who="me", people=True)
    request = store.find("MSP-0")
    assert (request.student, request.contact, request.person) == ("", None, None)
    assert all(line.persons == [] for line in store.ledger("MSP-0")) and store.verify().holds


def test_a_request_without_values_is_neither_approved_nor_put_back(portal: Portal):
    portal.send(portal.about_guardian(NEW))
    portal.run()
    portal.desk.store.take_out(["R1"], why="retention", who="me")
    with pytest.raises(WrongUse, match="taken out on .* \\(retention\\)"):
        portal.desk.undo("R1", "me")
    given = ("--config", str(portal.world.config), "--data-dir", str(portal.world.data))
    code, said = call_here("changes", "show", SCHOOL, "R1", *given)
    assert code == 0 and "its values were taken out on" in said


def test_only_what_is_settled_ends(portal: Portal):
    portal.send(portal.about_guardian(NEW))
    portal.send(portal.about_guardian(NEW) | {"id": "R2", "approval": None})
    portal.run()
    store, later = portal.desk.store, portal.now + timedelta(days=1)
    assert store.settled_before(later) == [], "one is written and not confirmed, the other waits"
    store.move("R2", State.REJECTED, Step("rejected", "me", reason="no"), frm=(State.PENDING,))
    assert store.settled_before(portal.now) == [] and store.settled_before(later) == ["R2"]


def test_an_empty_ledger_holds():
    assert verify([]).holds and verify([]).head == ""


def test_each_line_says_by_which_door_it_came(portal: Portal):
    file = portal.inbox / "a.json"
    file.write_text(json.dumps(portal.about_guardian(NEW)))
    digest = hashlib.sha256(file.read_bytes()).hexdigest()
    take_in(portal.world.environment, SCHOOL)
    portal.run()
    lines = portal.desk.store.ledger("R1")
    by_step = {line.step: line.door or {} for line in lines}
    assert by_step["received"] == by_step["approved"] == {
        "name": "file", "user": getpass.getuser(), "file": "a.json", "sha256": digest,
    }  # fmt: skip
    assert by_step["applied"] == {"name": "run", "user": getpass.getuser()}


def test_a_state_that_was_set_in_the_database_approves_nothing(portal: Portal):
    (portal.inbox / "a.json").write_text(json.dumps(portal.about_guardian(NEW, approval=None)))
    take_in(portal.world.environment, SCHOOL)
    with portal.world.environment.state.transaction() as session:
        session.execute(text("UPDATE change_request SET state = 'approved', approved_by = 'somebody'"))
    portal.run()
    assert portal.state() == "pending" and portal.puts == []
    assert "ledger has no approval" in str(portal.reason())


@pytest.mark.parametrize(
    "statement",
    [
        """UPDATE change_request SET changes = '{"emailAddress": "x@evil.example.org"}'""",
        "UPDATE change_request SET seen = '{}'",
        "UPDATE change_request SET joint_confirmed = 1",
    ],
)
def test_an_approval_is_of_just_what_the_ledger_has(portal: Portal, statement: str):
    (portal.inbox / "a.json").write_text(json.dumps(portal.about_guardian(NEW)))
    take_in(portal.world.environment, SCHOOL)
    with portal.world.environment.state.transaction() as session:
        session.execute(text(statement))
    portal.run()
    assert portal.state() == "pending" and portal.puts == []


def test_nothing_is_written_by_a_ledger_that_was_changed(portal: Portal):
    (portal.inbox / "a.json").write_text(json.dumps(portal.about_guardian(NEW)))
    take_in(portal.world.environment, SCHOOL)
    forced(portal.desk.store, "UPDATE {table} SET who = 'somebody.else' WHERE id = 1")
    run = portal.run()
    assert portal.state() == "approved" and portal.puts == []
    assert "altered after it was written" in run.failures[0] and "changes verify" in run.failures[0]


def test_verify_proves_the_chain_and_prints_its_head(portal: Portal):
    (portal.inbox / "a.json").write_text(json.dumps(portal.about_guardian(NEW)))
    take_in(portal.world.environment, SCHOOL)
    given = ("--config", str(portal.world.config), "--data-dir", str(portal.world.data))
    head = portal.desk.store.verify().head
    code, said = call_here("changes", "verify", SCHOOL, *given)
    assert code == 0 and f"head {head}" in said and "2 lines" in said
    code, said = call_here("changes", "verify", SCHOOL, "--head", "0" * 64, *given)
    assert code == 1 and "is not in the ledger" in said
    forced(portal.desk.store, "UPDATE {table} SET who = 'somebody.else' WHERE id = 2")
    code, said = call_here("changes", "verify", SCHOOL, *given)
    assert code == 1 and "line 2" in said


# --- signed approvals -------------------------------------------------------------------------------------

SECRET = "agreed between two"


def signed(item: dict[str, Any], secret: str = SECRET) -> dict[str, Any]:
    signature = hmac.new(secret.encode(), signed_text(item), hashlib.sha256).hexdigest()
    return item | {"approval": item["approval"] | {"signature": signature}}


def test_what_is_signed_is_written_down():
    item = {"id": "A", "kind": "student", "student": "1", "changes": {"forename": "Zo\u00eb"}, "school": "x"}
    item |= {"approval": {"by": "a", "at": "2026-02-10T00:00:00Z", "signature": "f" * 64}}
    assert signed_text(item).decode() == (
        '{"approval":{"at":"2026-02-10T00:00:00Z","by":"a"},"changes":{"forename":"Zo\u00eb"},"id":"A","kind":"student",'
        '"student":"1"}'
    )


def without_signature(item: dict[str, Any]) -> dict[str, Any]:
    return item


def of_another(item: dict[str, Any]) -> dict[str, Any]:
    return signed(item, "another secret")


def changed_after(name: str, value: Any) -> Callable[[dict[str, Any]], dict[str, Any]]:
    return lambda item: signed(item) | {name: value}


@pytest.mark.parametrize(
    "forged",
    [without_signature, of_another, changed_after("changes", {"emailAddress": "x@evil.example.org"}),
     changed_after("seen", {"emailAddress": "other@example.org"}), changed_after("contact", 999)],
)  # fmt: skip
def test_where_a_secret_is_agreed_only_a_signed_approval_counts(portal: Portal, forged: Any):
    portal.settings(approval_secret="PORTAL_APPROVALS")
    portal.world.variables["PORTAL_APPROVALS"] = SECRET
    item = portal.about_guardian(NEW)
    (portal.inbox / "a.json").write_text(json.dumps(forged(item)))
    take_in(portal.world.environment, SCHOOL)
    assert portal.state() == "pending" and "not signed" in str(portal.reason())
    (portal.inbox / "b.json").write_text(json.dumps(signed(item | {"id": "MSP-SIGNED"})))
    take_in(portal.world.environment, SCHOOL)
    assert {request.id: request.state for request in portal.desk.store.listed()}["MSP-SIGNED"] == "approved"
