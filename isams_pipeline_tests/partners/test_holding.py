"""What partners keep about a person besides their nights."""

from __future__ import annotations

from sqlalchemy import select

from isams_pipeline.datasets.people import EMAIL, Person
from isams_pipeline.orchestration.rights.finding import Search
from isams_pipeline.partners.registry import PARTNERS
from isams_pipeline.storage.state.bookings import Booking
from isams_pipeline_tests.partners.portal import Portal
from isams_pipeline_tests.partners.test_changes import NEW
from isams_pipeline_tests.test_rights import held
from isams_pipeline_tests.world import SCHOOL, World


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
