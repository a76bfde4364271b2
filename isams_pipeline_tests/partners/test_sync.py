"""One sync: entries like the timetable, clashing bookings cancelled for the right reason, or all held back."""

from __future__ import annotations

from datetime import UTC, date, datetime, timedelta
from pathlib import Path
from typing import Any
from zoneinfo import ZoneInfo

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from isams_pipeline.partners.room_booking.files import UNASSIGNED
from isams_pipeline.partners.room_booking.imports import take
from isams_pipeline.partners.room_booking.store import BookingStore
from isams_pipeline.storage.state.bookings import BookingResource
from isams_pipeline_tests.partners.booking_desk import NIGHT, NOW, SCHOOL, Desk, booking, entry

TOMORROW = NIGHT + timedelta(days=1)


@pytest.fixture
def desk(tmp_path: Path, state_url: str | None) -> Any:
    made = Desk(tmp_path, state_url)
    yield made
    made.state.close()


def settled(desk: Desk) -> Desk:
    """A school where a person has let bookings be cancelled before."""
    assert desk.sync([]).held_back is None
    with desk.state.transaction() as session:
        BookingStore(session, SCHOOL).lock().reviewed_at = NOW
    return desk


def test_the_store_becomes_the_timetable(desk: Desk):
    first = [entry(TOMORROW), entry(TOMORROW, 600), entry(TOMORROW, 660)]
    assert (done := desk.sync(first)).inserted == 3 and done.held_back is None
    kept = dict(zip(desk.entries()["start"], desk.entries()["id"], strict=True))
    second = [entry(TOMORROW), entry(TOMORROW, 600, staff_ids="12"), entry(TOMORROW, 720)]
    done = desk.sync(second)
    assert (done.inserted, done.updated, done.deleted) == (1, 1, 1)
    now = desk.entries().set_index("start")
    assert set(now.index) == {540, 600, 720} and now.loc[600, "staff_ids"] == "12"
    assert now.loc[540, "id"] == kept[540] and now.loc[600, "id"] == kept[600], "rows that stay are the same rows"


def test_an_unchanged_timetable_touches_no_row(desk: Desk):
    from sqlalchemy import event

    rows = [entry(TOMORROW + timedelta(days=n)) for n in range(5)]
    desk.sync(rows)
    desk.book(booking("B1", TOMORROW, 1080, 1140))
    written: list[str] = []
    event.listen(
        desk.state.engine,
        "before_cursor_execute",
        lambda _c, _cursor, statement, *_: (
            written.append(statement) if statement[:6] in {"INSERT", "UPDATE", "DELETE"} else None
        ),
    )
    done = desk.sync(rows)
    assert (done.inserted, done.updated, done.deleted, done.cancelled) == (0, 0, 0, 0) and written == []


def test_a_clash_is_cancelled_with_its_reason_and_a_message(desk: Desk):
    settled(desk).book(booking("B1", TOMORROW), booking("B2", TOMORROW, 1080, 1140))
    done = desk.sync([entry(TOMORROW)])
    assert done.cancelled == 1 and done.held_back is None
    gone = desk.booking("B1")
    assert (gone.status, gone.cancelled_on) == (
        "cancelled",
        NIGHT,
    ) and gone.reason == "lesson 8Ma1 is timetabled there at that time"
    assert desk.booking("B2").status == "active", "all other bookings stay"
    (note,) = desk.notes()
    assert note.recipient == "b1@staff.example.org" and note.state == "queued" and "Hall" in note.subject
    assert "Wednesday 11 February 2026, 09:00 to 10:00" in note.body and "lesson 8Ma1" in note.body
    assert desk.sync([entry(TOMORROW)]).cancelled == 0 and len(desk.notes()) == 1, "once"


@pytest.mark.parametrize(
    ("start", "end", "clashes"),
    [(480, 540, False), (480, 541, True), (595, 660, False), (594, 660, True), (550, 560, True), (500, 700, True)],
)
def test_only_what_overlaps_clashes(desk: Desk, start: int, end: int, clashes: bool):
    settled(desk).book(booking("B1", TOMORROW, start, end), booking("B2", TOMORROW, start, end, resource_id="R32"))
    assert desk.sync([entry(TOMORROW)]).cancelled == int(clashes)
    assert desk.booking("B2").status == "active", "another room"


def test_what_has_begun_stays(desk: Desk):
    """Summer time: 09:00 in London is 08:00 UTC."""
    day = date(2026, 6, 10)
    settled(desk).book(booking("B1", day, 540), booking("B2", day, 541))
    now = datetime(2026, 6, 10, 8, 0, tzinfo=UTC)
    done = desk.sync([entry(day)], now=now, night=day, timezone=ZoneInfo("Europe/London"))
    assert [clash.booking_id for clash in done.clashes] == ["B2"]


def test_the_first_cancellations_of_a_school_wait_for_a_person(desk: Desk):
    desk.sync([])  # a night before any booking was brought in changes nothing about that
    desk.book(booking("B1", TOMORROW))
    rows = [entry(TOMORROW), entry(TOMORROW, 700)]
    done = desk.sync(rows)
    assert (
        done.cancelled == 0
        and "the school's first" in (done.held_back or "")
        and "rooms preview riverside" in (done.held_back or "")
    )
    assert desk.booking("B1").status == "active" and desk.notes() == []
    assert list(desk.entries()["start"]) == [700], "what clashes with nothing is stored"
    assert desk.sync(rows).held_back, "and again"
    done = desk.sync(rows, allow_cancellations=True)
    assert done.cancelled == 1 and done.held_back is None and len(desk.entries()) == 2
    desk.book(booking("B2", TOMORROW))
    assert desk.sync([*rows, entry(TOMORROW, 800)]).cancelled == 1, "from then on by itself"


def test_more_than_max_cancelled_wait_for_a_person(desk: Desk):
    settled(desk).book(*(booking(f"B{n}", TOMORROW) for n in range(4)))
    done = desk.sync([entry(TOMORROW)], max_cancelled=3)
    assert "4 bookings would be cancelled, more than max_cancelled (3)" in (done.held_back or "") and desk.notes() == []
    assert desk.sync([entry(TOMORROW)], max_cancelled=4).cancelled == 4


def test_changed_timings_ask_for_a_new_match_before_anything_is_cancelled(desk: Desk):
    settled(desk).book(booking("B1", TOMORROW))
    for allowed in (False, True):
        done = desk.sync([entry(TOMORROW)], timings="540-595 600-655", allow_cancellations=allowed)
        assert "rooms match riverside" in (done.held_back or "") and desk.booking("B1").status == "active"
    with desk.state.transaction() as session:
        BookingStore(session, SCHOOL).lock().timings = "540-595 600-655"
    assert desk.sync([entry(TOMORROW)], timings="540-595 600-655").cancelled == 1


def test_a_crash_inside_the_transaction_leaves_everything_as_it_was(desk: Desk, monkeypatch: pytest.MonkeyPatch):
    settled(desk).book(booking("B1", TOMORROW))
    monkeypatch.setattr(BookingStore, "notify", lambda *_: (_ for _ in ()).throw(RuntimeError("power cut")))
    with pytest.raises(RuntimeError):
        desk.sync([entry(TOMORROW)])
    monkeypatch.undo()
    assert desk.entries().empty and desk.booking("B1").status == "active" and desk.notes() == []
    assert desk.sync([entry(TOMORROW)]).cancelled == 1 and len(desk.notes()) == 1


def test_a_room_without_a_match_gets_a_hidden_resource_and_gives_it_up_for_a_real_one(desk: Desk):
    with desk.state.transaction() as session:
        theirs = session.get_one(BookingResource, (SCHOOL, "R32"))
        theirs.name, theirs.code = "Else", None
    desk.sync([])
    with desk.state.transaction() as session:
        store = BookingStore(session, SCHOOL)
        assert store.categories()["isams-room-32"] == UNASSIGNED and store.remembered()[32] == ("isams-room-32", "made")
        assert store.categorise("isams-room-32", "Labs") and store.categories()["isams-room-32"] == "Labs"
        store.match(32, "R32", "confirmed", NOW)
    desk.sync([])
    with desk.state.transaction() as session:
        store = BookingStore(session, SCHOOL)
        assert store.remembered()[32] == ("R32", "confirmed") and "isams-room-32" not in store.categories()


def test_a_cancelled_booking_that_was_moved_since_is_active_again(desk: Desk):
    settled(desk).book(booking("B1", TOMORROW))
    desk.sync([entry(TOMORROW)])
    later = TOMORROW + timedelta(days=1)
    desk.book(booking("B1", later))
    assert desk.booking("B1").status == "active" and desk.booking("B1").reason is None
    assert desk.sync([entry(TOMORROW), entry(later)]).cancelled == 1 and len({n.message_id for n in desk.notes()}) == 2


def test_bookings_withdrawn_at_the_partners_are_forgotten(desk: Desk):
    settled(desk).book(booking("B1", TOMORROW), booking("B2", TOMORROW), booking("B3", NIGHT - timedelta(days=1)))
    with desk.state.transaction() as session:
        assert BookingStore(session, SCHOOL).withdraw_others({"B1"}, NIGHT) == 1
    assert [clash.booking_id for clash in desk.sync([entry(TOMORROW)]).clashes] == ["B1"]
    assert desk.booking("B3").status == "active", "the past is left alone"


@pytest.mark.parametrize(
    ("refused", "active"),
    [
        (f"B2,R31,{TOMORROW},09:00,late,b@b.org\n", ["B2"]),  # its id is known
        (f"B2,R31,{TOMORROW},09:00,10:00,b@b.org,Maths\n", ["B2", "B3"]),  # a comma too many: which one is it
    ],
)
def test_a_booking_whose_row_was_refused_is_not_withdrawn(desk: Desk, refused: str, active: list[str]):
    settled(desk).book(booking("B1", TOMORROW), booking("B2", TOMORROW), booking("B3", TOMORROW))
    data = f"booking_id,resource_id,date,start,end,email\nB1,R31,{TOMORROW},09:00,10:00,b@b.org\n{refused}"
    with desk.state.transaction() as session:
        found = take(BookingStore(session, SCHOOL), "bookings", data.encode(), all_since=NIGHT)
        assert len(found.rows) == len(found.refused) == 1
        assert BookingStore(session, SCHOOL).open_bookings(NIGHT)["booking_id"].tolist() == ["B1", *active]


def test_bookings_of_a_made_resource_move_with_its_room(desk: Desk):
    with desk.state.transaction() as session:
        session.get_one(BookingResource, (SCHOOL, "R31")).name = "Else"
        session.get_one(BookingResource, (SCHOOL, "R31")).code = None
    settled(desk).book(booking("B1", TOMORROW, resource_id="isams-room-31"))
    with desk.state.transaction() as session:
        BookingStore(session, SCHOOL).match(31, "R31", "confirmed", NOW)
    assert desk.sync([entry(TOMORROW)], allow_cancellations=True).cancelled == 1
    assert desk.booking("B1").resource_id == "R31"


def test_a_cancelled_booking_that_is_imported_again_stays_cancelled(desk: Desk):
    settled(desk).book(booking("B1", TOMORROW))
    desk.sync([entry(TOMORROW)])
    desk.book(booking("B1", TOMORROW, title="Another title"))
    assert desk.booking("B1").status == "cancelled" and desk.sync([entry(TOMORROW)]).cancelled == 0


MOMENTS = st.tuples(st.integers(0, 3), st.integers(8, 12), st.sampled_from(["R31", "R32"]))


@settings(max_examples=25)
@given(
    st.lists(MOMENTS, max_size=8, unique=True),
    st.lists(MOMENTS, max_size=8),
    st.lists(MOMENTS, max_size=8, unique=True),
)
def test_no_booking_is_cancelled_for_a_wrong_reason(
    tmp_path_factory: pytest.TempPathFactory, first: list[Any], booked: list[Any], second: list[Any]
):
    desk = Desk(tmp_path_factory.mktemp("desk"))

    def entries(rows: list[Any]) -> list[dict[str, Any]]:
        return [entry(NIGHT + timedelta(days=day), hour * 60, resource) for day, hour, resource in rows]

    desk.sync(entries(first))
    desk.book(
        *(
            booking(f"B{at}", NIGHT + timedelta(days=day), hour * 60 + 30, hour * 60 + 90, resource_id=resource)
            for at, (day, hour, resource) in enumerate(booked)
        )
    )
    desk.sync(entries(second), allow_cancellations=True)
    for at, (day, hour, resource) in enumerate(booked):
        in_the_way = any(d == day and r == resource and h in {hour, hour + 1} for d, h, r in second)
        assert (desk.booking(f"B{at}").status == "cancelled") is in_the_way
    assert len(desk.notes()) == sum(desk.booking(f"B{at}").status == "cancelled" for at in range(len(booked)))
    assert len(desk.entries()) == len(second)
    desk.state.close()


def test_a_booking_that_lasts_overnight_meets_the_next_mornings_lesson(desk: Desk):
    settled(desk)
    desk.book(booking("B1", TOMORROW, 22 * 60, 24 * 60 + 600), booking("B2", TOMORROW, 22 * 60, 24 * 60))
    done = desk.sync([entry(TOMORROW + timedelta(days=1))])
    assert [clash.booking_id for clash in done.clashes] == ["B1"] and done.clashes[0].date == TOMORROW + timedelta(
        days=1
    )


def test_an_owner_without_an_address_is_not_written_to_and_that_is_said(desk: Desk):
    settled(desk)
    desk.book({**booking("B1", TOMORROW), "email": ""})
    done = desk.sync([entry(TOMORROW)])
    assert done.cancelled == 1 and done.unwritten == ["B1"]
    assert desk.notes() == []
