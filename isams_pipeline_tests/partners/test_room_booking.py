"""Room Booking's nights: real Dagster runs against the sandbox, with a booking store behind them."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
from collections.abc import Callable, Iterator
from datetime import timedelta
from pathlib import Path
from typing import Any

import pytest

from isams_pipeline.delivery.receipts import Outcome
from isams_pipeline.partners.room_booking.imports import take
from isams_pipeline.partners.room_booking.store import BookingStore
from isams_pipeline.sandbox.demo import secrets_of
from isams_pipeline_tests.test_commands import ROOT, call_here
from isams_pipeline_tests.world import FIRST, SCHOOL, World, rows, small_school

MARK = "Zqxcanary"


def files(world: World, day: int = 0) -> dict[str, list[dict[str, str]]]:
    folder = world.exports.parent / "room_booking" / SCHOOL / str(FIRST + timedelta(days=day))
    return {path.name: rows(path.read_bytes()) for path in folder.glob("*.csv")}


def stored(world: World) -> tuple[int, int]:
    """Timetable entries and cancelled bookings."""
    with world.environment.state.transaction() as session:
        store = BookingStore(session, SCHOOL)
        return len(store.entries()), len(store.cancelled(FIRST))


def letters(world: World) -> list[Path]:
    return sorted((world.data / "outbox" / SCHOOL).glob("*.eml"))


def events(world: World, run_id: str) -> dict[str, dict[str, Any]]:
    found: dict[str, dict[str, Any]] = {}
    for entry in world.instance.all_logs(run_id):
        if entry.is_dagster_event and entry.dagster_event.is_step_materialization:
            made = entry.dagster_event.step_materialization_data.materialization
            found[made.asset_key.to_user_string()] = {k: getattr(v, "value", v) for k, v in made.metadata.items()}
    return found


def test_a_school_new_to_room_booking(world: World):
    """Without a partner's side every room becomes a resource that bookers do not see, every timing a timeslot."""
    run = world.rooms(0)
    assert run.outcome is Outcome.DELIVERED, run.reason
    found = files(world)
    assert {row["category"] for row in found["rooms.csv"]} == {"Unassigned"}
    assert found["rooms.csv"][0]["resource_id"] == "isams-room-31" and len(found["timeslots.csv"]) == 8
    lessons = found["timetable.csv"]
    assert len(lessons) > 1000 and {row["kind"] for row in lessons} == {
        "lesson",
        "meeting",
        "year_schedule",
        "tutorial",
    }
    slots = {(row["start"], row["end"]): row["timeslot_id"] for row in found["timeslots.csv"]}
    assert all(slots[row["start"], row["end"]] == row["timeslot_id"] for row in lessons)
    assert found["closures.csv"] and found["cancelled_bookings.csv"] == []
    assert [row["name"] for row in found["terms.csv"]] == ["Autumn", "Spring", "Summer"]
    shown = events(world, run.run_id)
    assert shown["room_booking/bookings"]["entries inserted"] == len({tuple(r.items()) for r in lessons})
    assert shown["room_booking/occupancy"]["occupancy"].startswith("![occupancy](data:image/png;base64,")
    reports = world.data / "reports/room_booking" / SCHOOL / str(FIRST)
    assert {p.name for p in reports.iterdir()} == {"accounting.csv", "exclusions.csv", "occupancy.png", "week.png"}


def test_the_first_cancellations_wait_and_then_owners_are_written_to(world: World):
    world.bring_in_bookings()
    run = world.rooms(0)
    assert (
        run.outcome is Outcome.REFUSED
        and "the school's first" in run.reason
        and "rooms preview riverside" in run.reason
    )
    assert len(files(world)["timetable.csv"]) > 1000, "the export is delivered all the same"
    entries, cancelled = stored(world)
    assert cancelled == 0 and entries > 1000 and letters(world) == []
    run = world.rooms(0, allow_cancellations=True)
    assert run.outcome is Outcome.DELIVERED
    now, cancelled = stored(world)
    assert cancelled >= 1 and now > entries and len(letters(world)) == cancelled
    gone = files(world)["cancelled_bookings.csv"]
    assert len(gone) == cancelled and all("is timetabled there" in row["reason"] for row in gone)
    assert world.rooms(0).outcome is Outcome.UNCHANGED and len(letters(world)) == cancelled, (
        "nobody is written to twice"
    )
    assert world.rooms(1).outcome is Outcome.DELIVERED, "from then on by itself"


def test_a_failing_feed_of_one_partner_does_not_hold_the_other_back(world: World):
    world.sandbox.fail(SCHOOL, "unhandled", key="bookings", times=9)
    assert world.rooms(0).outcome is Outcome.FAILED
    assert world.night(0).outcome is Outcome.DELIVERED
    world.sandbox.schools[SCHOOL].faults.clear()
    world.at_night(1)
    world.sandbox.fail(SCHOOL, "unhandled", key="contacts", times=9)
    assert world.run(1).outcome is Outcome.FAILED
    assert world.rooms(1).outcome is Outcome.DELIVERED


def test_timings_that_isams_disagrees_with_block_and_print_both(world: World):
    world.configure(
        lambda c: c["schools"][SCHOOL]["partners"]["room_booking"].update(timeslots=["Period 1: 08:44 - 09:34"])
    )
    run = world.rooms(0)
    assert run.outcome is Outcome.REFUSED
    assert "schools.yaml has Period 1: 08:44 - 09:34; iSAMS has Period 1: 09:00 - 09:55" in run.reason
    assert files(world) == {} and stored(world) == (0, 0)


def test_an_empty_timetable_deletes_nothing(world: World):
    world.rooms(0)
    before = stored(world)
    world.sandbox.fail(SCHOOL, "empty_timetable", key="bookings")
    run = world.rooms(1)
    assert run.outcome is Outcome.REFUSED and "timetable.csv would lose" in run.reason
    assert stored(world) == before and files(world, 1) == {}
    world.sandbox.fail(SCHOOL, "empty_timetable", key="bookings")
    run = world.rooms(1, fresh=True, allow_removals=True)
    assert run.outcome is Outcome.DELIVERED and stored(world)[0] < before[0] / 2, "unless a person says so"


def test_changed_period_counts_ask_for_a_match_before_anything_is_cancelled(
    world: World, monkeypatch: pytest.MonkeyPatch
):
    world.bring_in_bookings()
    world.rooms(0, allow_cancellations=True)
    from isams_pipeline.sandbox import timetable

    monkeypatch.setattr(timetable, "PERIODS", (*timetable.PERIODS, ("Prep", "19:00", "19:45")))
    in_the_way = next(
        row
        for row in files(world)["timetable.csv"]
        if row["date"] > str(FIRST + timedelta(days=7)) and row["resource_id"] == "R34"
    )
    header = "booking_id,resource_id,date,start,end,email\n"
    line = f"X1,R34,{in_the_way['date']},{in_the_way['start']},{in_the_way['end']},x@staff.example.org\n"
    with world.environment.state.transaction() as session:
        take(BookingStore(session, SCHOOL), "bookings", (header + line).encode())
    run = world.rooms(1, allow_cancellations=True)
    assert run.outcome is Outcome.REFUSED and "rooms match riverside" in run.reason
    given = ("--config", str(world.config), "--data-dir", str(world.data))
    assert call_here("rooms", "match", SCHOOL, "--accept", "32=R32", *given)[0] == 0
    assert world.rooms(1).outcome is Outcome.DELIVERED
    assert any(row["booking_id"] == "X1" for row in files(world, 1)["cancelled_bookings.csv"])


def test_a_backfill_writes_exports_only(world: World):
    world.bring_in_bookings()
    world.rooms(0, allow_cancellations=True)
    world.rooms(1)
    before, calendar = stored(world), world.exports.parent / "room_booking" / SCHOOL / "calendars/index.json"
    noted = calendar.stat().st_mtime_ns
    run = world.run(0, partner="room_booking")
    assert run.outcome in (Outcome.DELIVERED, Outcome.UNCHANGED), run.reason
    shown = events(world, run.run_id)
    assert "only today's partition" in shown["room_booking/bookings"]["store"]
    assert "only today's partition" in shown["room_booking/mail"]["outbox"]
    assert stored(world) == before and calendar.stat().st_mtime_ns == noted


def test_calendars_are_rewritten_only_where_lessons_changed(world: World):
    world.rooms(0)
    first = events(world, world.rooms(0).run_id)["room_booking/calendars"]
    assert first["written"] == 0 and first["unchanged"] > 10
    second = events(world, world.rooms(1).run_id)["room_booking/calendars"]
    assert 0 < second["written"] < second["written"] + second["unchanged"]


def test_no_calendar_is_written_while_a_first_export_waits(world: World):
    mine: dict[str, Any] = {"first_delivery": "hold"}
    world.configure(lambda c: c["schools"][SCHOOL]["partners"]["room_booking"].update(mine))
    waiting = world.rooms(0)
    assert waiting.outcome is Outcome.HELD
    assert "still waits" in events(world, waiting.run_id)["room_booking/calendars"]["calendars"]
    assert not (world.exports.parent / "room_booking" / SCHOOL).exists(), "the partner has got nothing"


def test_a_mail_server_that_is_down_loses_nothing_and_holds_nothing_back(world: World):
    world.bring_in_bookings()
    world.configure(
        lambda c: c["schools"][SCHOOL]["partners"]["room_booking"].update(
            smtp_url="smtp://127.0.0.1:9", mail_from="rooms@school.example.org"
        )
    )
    run = world.rooms(0, allow_cancellations=True)
    assert run.outcome is Outcome.DELIVERED and any("mail server" in note for note in run.notes)
    cancelled = stored(world)[1]
    assert cancelled >= 1 and letters(world) == []
    world.configure(lambda c: c["schools"][SCHOOL]["partners"]["room_booking"].pop("smtp_url"))
    world.rooms(0)
    assert len(letters(world)) == cancelled, "sent once there is a way"


def test_no_booker_stands_in_any_event_log_or_report(make: Callable[..., World], capfd: pytest.CaptureFixture[str]):
    world = make({SCHOOL: small_school(mark=MARK)})
    world.bring_in_bookings()
    world.rooms(0)
    world.rooms(0, allow_cancellations=True)
    assert MARK.encode() in letters(world)[0].read_bytes(), "the canary is in the data"
    for place in (
        world.data / "dagster",
        world.data / "reports",
        world.data / "locks",
        world.exports.parent / "room_booking",
    ):
        for path in (p for p in place.rglob("*") if p.is_file()):
            content = path.read_bytes()
            assert MARK.encode() not in content and MARK.lower().encode() not in content, path
    out, err = capfd.readouterr()
    assert MARK.lower() not in (out + err).lower()


def test_the_store_on_postgres(make: Callable[..., World], postgres: str, monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setenv("ISAMS_POSTGRES_URL", postgres)
    world = make()
    world.variables["ISAMS_POSTGRES_URL"] = postgres
    world.bring_in_bookings()
    assert world.rooms(0).outcome is Outcome.REFUSED
    assert world.rooms(0, allow_cancellations=True).outcome is Outcome.DELIVERED
    assert stored(world)[1] == len(letters(world)) >= 1


def test_the_commands_of_room_booking(world: World, tmp_path: Path):
    from isams_pipeline.sandbox.bookings import partner_files
    from isams_pipeline.sandbox.school import SchoolDay

    given = ("--config", str(world.config), "--data-dir", str(world.data))
    code, out = call_here("rooms", "match", SCHOOL, *given)
    assert code == 1 and "No night of Room Booking was run yet" in out
    for kind, text in partner_files(SchoolDay(world.schools[SCHOOL].plan, FIRST)).items():
        file = tmp_path / f"{kind}.csv"
        file.write_text(text)
        code, out = call_here("rooms", "import", SCHOOL, kind, str(file), *given)
        assert code == 0 and f"{kind} of riverside are in the store" in out
    file = tmp_path / "bookings.csv"
    file.write_text("booking_id\nB1\n")
    code, out = call_here("rooms", "import", SCHOOL, "bookings", str(file), *given)
    assert code == 1 and "no column resource_id" in out and "bookings.csv" in out
    world.rooms(0)
    code, out = call_here("rooms", "match", SCHOOL, "--json", *given)
    found = json.loads(out)
    assert code == 0 and [room["room_id"] for room in found["unmatched"]] == [32, 33, 38]
    assert found["unmatched"][0]["suggestions"][0]["resource_id"] == "R32"
    code, out = call_here("rooms", "match", SCHOOL, "--accept", "32=R32", *given)
    assert code == 0 and "1 confirmed; 2 rooms without" in out
    code, out = call_here("rooms", "match", SCHOOL, "--accept", "33=R32", *given)
    assert code == 2 and "Resource R32 is room 32 already" in out
    code, out = call_here("rooms", "categorise", SCHOOL, "38", "Study", *given)
    assert code == 0 and "Room 38 (resource isams-room-38) is in Study" in out
    code, out = call_here("rooms", "mail", SCHOOL, *given)
    assert code == 0 and "Empty." in out
    world.rooms(0, allow_cancellations=True)
    rooms = files(world)["rooms.csv"]
    assert {row["category"] for row in rooms} == {"Rooms", "Study", "Unassigned"}
    assert {row["category"] for row in rooms if row["bookable"] == "false"} == {"Unassigned"}
    code, out = call_here("rooms", "preview", SCHOOL, *given)
    assert code == 0 and "0 entries to insert" in out


# --- killed -------------------------------------------------------------------------------------------------

KILLED_RUN = """
import os, signal, sys
from datetime import date, datetime
from pathlib import Path
from isams_pipeline.config import load_settings
from isams_pipeline.orchestration.environment import Environment
from isams_pipeline.commands.headless import Nightly
from isams_pipeline.commands.instance import open_instance
from isams_pipeline.orchestration.partitions import Night
from isams_pipeline.orchestration import mail
from isams_pipeline.partners.room_booking import store

def die(*_):
    os.kill(os.getpid(), signal.SIGKILL)

{place} = die
config, data, moment = sys.argv[1:]
now = datetime.fromisoformat(moment)
environment = Environment(load_settings(config), data_dir=Path(data), clock=lambda: now, retries=0)
with open_instance(Path(data)) as instance:
    Nightly(environment, instance, "room_booking").run(Night("riverside", now.date()), allow_cancellations=True)
"""


def killed_at(world: World, place: str) -> None:
    """Run the first night in a process of its own that is killed at a place in the code."""
    world.at_night(0, hour=3)
    words = [str(world.config), str(world.data), world.moment[0].isoformat()]
    env = {"PYTHONPATH": str(ROOT), "PATH": os.environ["PATH"], **secrets_of(world.sandbox)}
    code = KILLED_RUN.format(place=place)
    done = subprocess.run(
        [sys.executable, "-c", code, *words], env=env, cwd=world.folder, capture_output=True, timeout=120
    )
    assert done.returncode == -signal.SIGKILL, done.stderr[-500:]


def test_killed_inside_the_transaction_nothing_has_happened(world: World):
    world.bring_in_bookings()
    killed_at(world, "store.BookingStore.notify")
    assert stored(world) == (0, 0) and letters(world) == []
    assert world.rooms(0, allow_cancellations=True).outcome is Outcome.DELIVERED
    assert stored(world)[1] == len(letters(world)) >= 1


def test_killed_between_the_transaction_and_the_mail_nothing_is_lost(world: World):
    world.bring_in_bookings()
    killed_at(world, "mail.MailFolder.envelope")
    cancelled = stored(world)[1]
    assert cancelled >= 1 and letters(world) == []
    assert world.rooms(0).outcome in (Outcome.DELIVERED, Outcome.UNCHANGED)
    assert stored(world)[1] == cancelled == len(letters(world))


def test_killed_while_a_message_goes_into_a_folder_it_is_looked_for_there(world: World):
    world.bring_in_bookings()
    killed_at(world, "mail.MailFolder.text")
    cancelled = stored(world)[1]
    world.rooms(0)
    assert len(letters(world)) == cancelled
    code, out = call_here("rooms", "mail", SCHOOL, "--config", str(world.config), "--data-dir", str(world.data))
    assert code == 0 and f"{cancelled} sent" in out and "doubt" not in out


def test_two_published_timetables_block(world: World, monkeypatch: pytest.MonkeyPatch):
    from isams_pipeline.sandbox import render

    module, printed = render.METHODS["Timetable_GetPublishedTimetables"]

    def twice(school: Any) -> Iterator[str]:
        text = "".join(printed(school))
        yield text.replace("</PublishedTimetables>", text.partition(">")[2].replace('Id="20"', 'Id="22"'))

    monkeypatch.setitem(render.METHODS, "Timetable_GetPublishedTimetables", (module, twice))
    run = world.rooms(0)
    assert run.outcome is Outcome.REFUSED and "20 and 22 are for the same dates" in run.reason
    assert stored(world) == (0, 0)


def test_a_person_is_asked_which_room_is_which(world: World):
    world.bring_in_bookings()
    world.rooms(0)
    words = [sys.executable, "-m", "isams_pipeline.commands", "rooms", "match", SCHOOL]
    given = ["--config", str(world.config), "--data-dir", str(world.data)]
    env = {"PYTHONPATH": str(ROOT), "PATH": os.environ["PATH"], "COLUMNS": "100"}
    done = subprocess.run([*words, *given], env=env, input="1\n\n\n\n", capture_output=True, text=True, timeout=120)
    assert done.returncode == 0, done.stderr
    assert "Room 32: Lab 1" in done.stdout and "Science Lab 1" in done.stdout and "1 confirmed" in done.stdout
    with world.environment.state.transaction() as session:
        assert BookingStore(session, SCHOOL).remembered()[32] == ("R32", "confirmed")


def test_bookable_rooms_are_counted_against_the_licence(world: World):
    world.configure(lambda config: config["schools"][SCHOOL]["partners"]["room_booking"].update(licence=3))
    world.bring_in_bookings()
    run = world.rooms(0, allow_cancellations=True)
    bookable = [row for row in files(world)["rooms.csv"] if row["bookable"] == "true"]
    assert run.receipt is not None and run.receipt.manifest["licence"] == {
        "bookable_rooms": len(bookable),
        "licence": 3,
    }
    assert len(bookable) > 3 and run.notes == (
        f"licence: {len(bookable)} rooms are bookable, but the licence is for 3; move some into a hidden category (`isams-pipeline rooms categorise`)",
    )
