"""What partners keep about a person besides their nights."""

from __future__ import annotations

from sqlalchemy import select

from isams_pipeline.datasets.people import EMAIL, Person
from isams_pipeline.orchestration.rights.erasure import erase
from isams_pipeline.orchestration.rights.finding import Search
from isams_pipeline.orchestration.rights.identity import identify
from isams_pipeline.partners.my_school_portal.intake import store_of
from isams_pipeline.partners.registry import PARTNERS
from isams_pipeline.rules.compare import mailbox
from isams_pipeline.storage.state.bookings import Booking, TimetableEntry
from isams_pipeline.storage.state.changes import ChangeRequest, ChangeStep
from isams_pipeline_tests.partners.portal import Portal
from isams_pipeline_tests.partners.test_changes import NEW
from isams_pipeline_tests.test_rights import held
from isams_pipeline_tests.world import FIRST, SCHOOL, World


def test_change_requests_and_their_files_are_found(portal: Portal):
    portal.world.night(0)
    portal.send(portal.about_guardian(NEW))
    portal.run()
    person = portal.contact().person_id
    found = held(portal.world, f"contact:{person}")
    ledger = [one for one in found.found if one.store == "ledger"]
    assert {one.place for one in ledger} == {"change request", "ledger"}
    assert any(value in one.fields.values() for one in ledger for value in map(str, NEW.values()))
    assert any(one.store == "inbox" for one in found.found)


def test_bookings_by_address_may_be_of_somebody_else(world: World):
    world.rooms(0)
    world.bring_in_bookings(0)
    with world.environment.state.transaction() as session:
        address = str(session.scalars(select(Booking.email)).first())
        mine = [one.id for one in session.scalars(select(Booking)) if one.email.casefold() == address.casefold()]
    person = Person("staff", "isams", "1", {EMAIL: frozenset({address.casefold()})})
    found = Search(world.environment, SCHOOL, PARTNERS.values(), [person]).everything()
    bookings = [one for one in found.found if one.store == "bookings"]
    assert sorted(one.fields["id"] for one in bookings) == sorted(mine) and {one.how for one in bookings} == {"perhaps"}


def test_an_erased_guardian_s_requests_lose_their_values_and_keep_their_course(portal: Portal):
    portal.world.night(0)
    portal.send(portal.about_guardian(NEW))
    environment = portal.world.environment
    people = identify(environment, SCHOOL, f"contact:{portal.contact().person_id}")
    why = {"who": "the office", "reason": "request 3"}
    done = erase(environment, SCHOOL, people, PARTNERS.values(), **why)
    assert any("1 change requests are open" in one for one in done.open)
    assert [one.state for one in environment.erased.of(SCHOOL)] == ["begun"]
    portal.desk.reject("R1", "the office", "they have left")
    done = erase(environment, SCHOOL, [], PARTNERS.values(), **why)
    assert not done.open and [one.state for one in environment.erased.of(SCHOOL)] == ["done"]
    assert (done.counts["ledger"], done.counts["inbox"]) == (1, 1)
    with environment.state.transaction() as session:
        request = session.scalars(select(ChangeRequest)).one()
        lines = list(session.scalars(select(ChangeStep)))
    assert (request.given, request.changes, request.person) == ({}, {}, None)
    assert not any(line.before or line.after or line.persons for line in lines)
    assert portal.steps()[0] == "received" and store_of(environment, SCHOOL).verify().holds


def test_an_erased_teacher_s_bookings_and_mails_go_where_the_address_is_theirs_alone(world: World):
    world.rooms(0)
    world.bring_in_bookings(0)
    environment = world.environment
    tables = environment.tables
    teacher = tables.load(tables.need("isams", "staff", SCHOOL, FIRST)).iloc[1]
    address = next(one for one in (teacher.get("email"), teacher.get("school_email")) if isinstance(one, str))
    with environment.state.transaction() as session:
        session.scalars(select(Booking)).first().email = address.upper()
    people = identify(environment, SCHOOL, f"staff:{teacher.staff_id}")
    done = erase(environment, SCHOOL, people, PARTNERS.values(), who="a", reason="b")
    with environment.state.transaction() as session:
        left = [mailbox(one.email) for one in session.scalars(select(Booking))]
        named = [one.staff_ids.split() for one in session.scalars(select(TimetableEntry))]
    assert left and mailbox(address) not in left and done.counts["bookings"] > 0
    assert named and not any(str(teacher.staff_id) in ids for ids in named)
