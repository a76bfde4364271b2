"""Reading a school by another source: what is asked for, what comes, what is kept from night to night."""

from __future__ import annotations

import dataclasses
import gc
import weakref
from collections.abc import Callable
from datetime import timedelta
from typing import Any

import httpx
import pytest

from isams_pipeline.datasets import LISTED_DATASETS
from isams_pipeline.datasets import rules as dataset_rules
from isams_pipeline.errors import (
    FutureDate,
    NoSnapshot,
    NotAuthorised,
    WrongType,
)
from isams_pipeline.sandbox import render_xporter
from isams_pipeline.sandbox.render_xporter import STUDENT as XPORTER_STUDENT
from isams_pipeline.sources.registry import LISTED
from isams_pipeline.sources.shared.connections import State
from isams_pipeline.sources.shared.grants import People
from isams_pipeline.sources.shared.mapping import Lists, Mapped
from isams_pipeline.sources.shared.wire import Wire
from isams_pipeline_tests.sources.crossing import OFFSET, PERSONAL, STUDENTS, Crossing
from isams_pipeline_tests.world import FIRST, SCHOOL, World, small_school

# --- what comes -------------------------------------------------------------------------------------------


def test_every_dataset_comes_in_its_declared_shape(connected: Crossing, source: str):
    tables = connected.read(source)
    for name, table in tables.items():
        declaration = LISTED_DATASETS[name]
        assert table.frame is not None
        dataset_rules.check_schema(declaration, table.frame)
        dataset_rules.check_keys(declaration, table.frame)
        dataset_rules.check_rows(declaration, table.frame, container_found=True)
    empty = {name for name, table in tables.items() if table.frame is not None and table.frame.empty}
    stated = {name for name, table in tables.items() if table.absent}
    assert stated == {"boarding_houses", "health"} | ({"terms"} if source == "xporter" else set())
    assert empty - stated <= {"calendar_events", "attendance"}


def test_people_and_groups_are_those_of_the_school(connected: Crossing, source: str):
    tables: dict[str, Any] = {name: table.frame for name, table in connected.read(source).items()}
    day = connected.world.sandbox.source_days.of(SCHOOL, source, differs=True)
    pupils, contacts = tables["pupils"].set_index("pupil_id"), tables["contacts"]
    one = day.pupils[3]
    found = pupils.loc[OFFSET[source] + one.id]
    assert (found["forename"], found["surname"], found["year_id"]) == (one.forename, one.surname, one.year)
    assert found["date_of_birth"].date() == one.born and found["gender"] == one.gender
    assert tables["forms"].set_index("form_id")["name"][found["form_id"]] == one.form
    assert set(pupils["form_id"]) <= set(tables["forms"]["form_id"])
    assert contacts["person_id"].nunique() == len(day.persons)
    links = sum(len(person.links) for person in day.persons)
    assert len(tables["contact_pupils"]) == links
    assert set(tables["contact_pupils"]["entry_id"]) == set(contacts["entry_id"])
    assert len(tables["set_members"]) == sum(len(inside) for _, inside in day.sets)
    assert set(tables["dated_lessons"]["set_id"].dropna()) <= set(tables["sets"]["set_id"])
    rooms = {int(part) for ids in tables["dated_lessons"]["room_ids"].dropna() for part in ids.split()}
    assert rooms and rooms <= set(tables["rooms"]["room_id"]) | {4_000 + 9_999}
    assert tables["dated_lessons"]["start"].str.fullmatch(r"\d\d:\d\d").all()


def test_attendance_of_the_week_so_far(connected: Crossing, source: str):
    connected.world.at_night(2, hour=18)
    with connected.reader(source, 2) as reader:
        marks = reader.table("attendance", None).frame
    assert marks is not None and set(marks["session"]) == {"AM", "PM"}
    assert {day.date() for day in marks["date"]} == {FIRST + timedelta(days=n) for n in (-1, 0, 1, 2)}
    assert marks["mark"].notna().all() and "L" in set(marks["mark"])


def test_pages_are_put_together(connected: Crossing, source: str, small_pages: None):
    day = connected.world.sandbox.source_days.of(SCHOOL, source, differs=True)
    assert len(connected.frame(source, "pupils")) == len(day.pupils)
    assert connected.asked(source).count(STUDENTS[source]) == 3


class Row(dict[str, Any]):
    """A row that can be watched."""


def test_pages_do_not_pile_up(connected: Crossing, source: str, small_pages: None, monkeypatch: pytest.MonkeyPatch):
    """Answers and rows are gone as soon as they are read, and not when Python next looks for what holds each other."""
    answers: weakref.WeakSet[httpx.Response] = weakref.WeakSet()
    rows: list[weakref.ref[Row]] = []
    at_once, plain = list[tuple[int, int]](), Wire.json

    def watched(found: Any) -> Any:
        if isinstance(found, list):
            found = [Row(one) if isinstance(one, dict) else one for one in found]
            rows.extend(weakref.ref(one) for one in found if isinstance(one, Row))
            return found
        return {name: watched(value) if isinstance(value, list) else value for name, value in found.items()}

    def counting(self: Wire, response: httpx.Response, path: str) -> Any:
        answers.add(response)
        at_once.append((len(answers), sum(row() is not None for row in rows)))
        return watched(plain(self, response, path))

    monkeypatch.setattr(Wire, "json", counting)
    gc.disable()
    try:
        assert len(connected.frame(source, "contacts")) > 30
    finally:
        gc.enable()
    assert len(at_once) > 6 and max(count for count, _ in at_once) <= 2
    assert max(count for _, count in at_once) <= 3, "of the page before, at most its last row"


def test_envelopes_of_version_1_are_read_too(crossing: Crossing, small_pages: None):
    crossing.connect("assembly")
    crossing.world.sandbox.fail(SCHOOL, "assembly_v1", times=3, key="students")
    crossing.world.sandbox.fail(SCHOOL, "assembly_v1", key="students:2")
    assert len(crossing.frame("assembly", "pupils")) == 23


def test_a_lesson_that_never_takes_place_need_not_be_right(crossing: Crossing):
    school = crossing.world.environment.settings.school(SCHOOL)
    days = {"occurs_on": ["2026-11-18", "2026-11-25"]}
    right = {"id": 7, "type": "Lesson", "start_date": "2026-11-20T00:00:00Z"}
    period: dict[str, Any] = {"id": 1, "start_time": "08:40", "end_time": "09:40", "day": days, "lessons": [right]}
    period["lessons"].append({"id": "none", "type": "Lesson", "end_date": "2026-01-01T00:00:00Z"})
    lists = Lists(lambda *_: iter([period]), school.settings_of("assembly"))
    mapped = LISTED["assembly"].mapping.datasets["dated_lessons"]
    assert isinstance(mapped, Mapped)
    found = mapped.frame(LISTED_DATASETS["dated_lessons"], lists, school)
    assert list(zip(found["lesson_id"], found["date"].dt.day, strict=True)) == [(7, 25)]


def test_year_groups_by_letters_are_a_setting(crossing: Crossing):
    crossing.connect("assembly")
    plan = crossing.world.schools[SCHOOL].plan
    crossing.world.sandbox.schools[SCHOOL].plan = dataclasses.replace(plan, years=((0, "Reception"), *plan.years[1:]))
    crossing.world.configure(lambda c: c["schools"][SCHOOL]["assembly"].update(year_codes={"0": 0}))
    assert 0 in set(crossing.frame("assembly", "years")["year_id"])


def test_ids_of_an_unknown_form_are_named_by_field_and_row(crossing: Crossing, monkeypatch: pytest.MonkeyPatch):
    crossing.connect("xporter")
    scope, render = render_xporter.LISTS["Staff"]
    odd = lambda *a: {"Staff": [{**row, "Id": f"secret-{row['Id']}"} for row in render(*a)["Staff"]]}
    monkeypatch.setitem(render_xporter.LISTS, "Staff", (scope, odd))
    with pytest.raises(WrongType, match="field Id, row 1") as caught:
        crossing.frame("xporter", "staff")
    assert "secret" not in str(caught.value)


# --- nothing before it is authorised ----------------------------------------------------------------------


def test_nothing_of_a_person_is_asked_for_before_the_app_is_authorised(crossing: Crossing, source: str):
    side = crossing.side(source)
    if source == "assembly":
        crossing.assembly.connector = "connected"
    else:
        crossing.xporter.is_authorised, crossing.xporter.status = True, "OK"
    assert crossing.connector(source).look().now.state is State.CONNECTED
    with pytest.raises(NotAuthorised, match="connector authorise"):
        crossing.read(source, 0, "pupils")
    assert not set(crossing.asked(source)) & PERSONAL[source] and side.requests == []
    assert not (crossing.world.data / "lists").exists()


def test_only_authorised_scopes_are_asked_for(crossing: Crossing):
    crossing.assembly.connector = "connected"
    crossing.connector("assembly").take_code(crossing.code("students.emails", "attendances", "students.gender"))
    crossing.assembly.requests.clear()
    tables = crossing.read("assembly")
    asked = dict(crossing.assembly.requests)
    assert "attendances" not in asked and "emails" not in asked["students"] and "demographics" not in asked["students"]
    assert tables["attendance"].absent == "the school has not authorised attendances"
    assert tables["pupils"].frame is not None and tables["pupils"].frame["email"].isna().all()


def test_only_chosen_scopes_are_asked_for(crossing: Crossing):
    crossing.xporter.is_authorised, crossing.xporter.status = True, "OK"
    crossing.connector("xporter").choose(["School", "Student", "Staff", "Contact"])
    tables = crossing.read("xporter")
    assert "AttendanceForDateRange" not in crossing.asked("xporter")
    assert tables["attendance"].absent == "the school has not authorised Attendance"


def test_a_dataset_that_must_have_rows_fails_without_its_scope(crossing: Crossing):
    crossing.assembly.connector = "connected"
    crossing.connector("assembly").take_code(crossing.code("staff_members.basic"))
    with pytest.raises(NotAuthorised, match=r"staff_members\.basic"):
        crossing.read("assembly", 0, "staff")
    assert "staff_members" not in crossing.asked("assembly")


def test_people_who_have_opted_out_are_never_kept(crossing: Crossing):
    crossing.connect("xporter")
    day = crossing.world.sandbox.source_days.of(SCHOOL, "xporter", differs=True)
    out, person, member = day.pupils[0], day.persons[4], day.staff[0]
    crossing.xporter.opted_out = {
        "StudentIds": [str(XPORTER_STUDENT + out.id)],
        "ContactIds": [str(3_000_000 + person.contact.person_id)],
        "StaffIds": [str(2_500_000 + member.id)],
    }
    frames = {name: table.frame for name, table in crossing.read("xporter").items()}
    ids = {str(value) for frame in frames.values() if frame is not None for c in frame.columns if c.endswith("_id") for value in frame[c].dropna()}  # fmt: skip
    assert not ids & {one for listed in crossing.xporter.opted_out.values() for one in listed}
    assert len(frames["pupils"]) == len(day.pupils) - 1
    kept = b"".join(path.read_bytes() for path in (crossing.world.data / "lists").rglob("*.json"))
    assert out.forename.encode() not in kept
    store = crossing.world.environment.lists
    night = store.find("xporter", SCHOOL, FIRST)
    assert night is not None
    for listed in night.lists.values():
        text = repr(list(store.rows("xporter", SCHOOL, listed.sha256)))
        assert str(XPORTER_STUDENT + out.id) not in text and str(2_500_000 + member.id) not in text


def test_somebody_who_opts_out_later_is_gone_the_next_night(crossing: Crossing):
    crossing.connect("xporter")
    before = crossing.frame("xporter", "pupils")
    gone = next(i for i in before["pupil_id"] if i in set(crossing.frame("xporter", "pupils", 1)["pupil_id"]))
    crossing.xporter.opted_out = {"StudentIds": [str(gone)]}
    assert gone not in set(crossing.frame("xporter", "pupils", 2)["pupil_id"])


def test_with_opt_in_only_those_who_said_so_are_kept(crossing: Crossing):
    crossing.connect("xporter")
    first = crossing.world.sandbox.source_days.of(SCHOOL, "xporter", differs=True).pupils[0]
    crossing.xporter.is_opt_in = True
    crossing.xporter.opted_out = {"StudentIds": [str(XPORTER_STUDENT + first.id)]}
    assert list(crossing.frame("xporter", "pupils")["pupil_id"]) == [XPORTER_STUDENT + first.id]
    assert People(frozenset(), only_these=True).allows("Student", "1") is False


# --- from night to night ----------------------------------------------------------------------------------


def test_the_second_night_reads_only_what_has_changed(connected: Crossing, source: str):
    first = connected.frame(source, "pupils")
    before = connected.world.sandbox.source_days.of(SCHOOL, source, differs=True)
    second = connected.frame(source, "pupils", 1)
    now = connected.world.sandbox.source_days.of(SCHOOL, source, differs=True)
    assert {p.id for p in before.pupils} != {p.id for p in now.pupils}
    assert set(second["pupil_id"]) == {OFFSET[source] + p.id for p in now.pupils} != set(first["pupil_id"])
    fresh = connected.frame(source, "pupils", 1, fresh=True)
    key = "pupil_id"
    assert second.sort_values(key).reset_index(drop=True).equals(fresh.sort_values(key).reset_index(drop=True))


def test_an_unchanged_night_asks_once_and_then_once_a_list(connected: Crossing, source: str):
    connected.world.sandbox.schools[SCHOOL].frozen = FIRST
    frames = connected.read(source)
    connected.asked(source)
    connected.world.at_night(1)
    with connected.reader(source, 1) as reader:
        again = {name: reader.table(name, None) for name in LISTED_DATASETS}
    queries = [(path.rstrip("/").rpartition("/")[2], query) for path, query in connected.side(source).requests]
    asked = connected.asked(source)
    assert len(asked) == len(set(asked)), "no list twice"
    status = {"assembly": ["me", "school/status"], "xporter": ["TokenDetails", "Students status", "GDPRIDs"]}[source]
    assert asked[: len(status)] == status
    if source == "assembly":  # the status speaks for all lists, but for groups, which are those of a day
        assert sorted(asked) == sorted([*status, "year_groups", "registration_groups", "groups", "teaching_groups"])
    else:  # those that tell no changes are asked for their own clock only
        queries = dict(queries)
        for name in ("Timetable", "TimetableStructure", "Calendar", "AttendanceForDateRange"):
            assert "pageSize=1&" in f"{queries[name]}&"
    for name, table in again.items():
        assert table.provenance.get("sha256") == frames[name].provenance.get("sha256")


def test_a_row_that_was_removed_without_a_word_is_missed_by_its_number(crossing: Crossing):
    crossing.connect("assembly")
    before = set(crossing.frame("assembly", "pupils")["pupil_id"])
    after = set(crossing.frame("assembly", "pupils", 1)["pupil_id"])
    assert before - after, "somebody has left"
    assert any("students" in said and "read again" in said for said in crossing.told)


def test_a_full_read_every_so_many_nights_proves_the_fold(connected: Crossing, source: str):
    connected.world.configure(lambda c: c["schools"][SCHOOL][source].update(full_every=2))
    connected.frame(source, "rooms")
    store = connected.world.environment.lists
    night = store.find(source, SCHOOL, FIRST)
    assert night is not None
    # Something that no list of changes would tell of: a kept row is spoilt.
    name = LISTED[source].mapping.datasets["staff"].lists[0]  # type: ignore[union-attr]
    connected.frame(source, "staff")
    night = store.find(source, SCHOOL, FIRST)
    assert night is not None
    kept = night.lists[name]
    spoilt = ({**row, "Surname": "x", "last_name": "x"} for row in store.rows(source, SCHOOL, kept.sha256))
    sha256, rows = store.write(source, SCHOOL, "list", spoilt)
    night.lists[name] = dataclasses.replace(kept, sha256=sha256, rows=rows)
    store.remember(source, SCHOOL, night)
    assert set(connected.frame(source, "staff", 1)["surname"]) == {"x"}
    table = connected.read(source, 2, "staff")["staff"]
    assert table.frame is not None and "x" not in set(table.frame["surname"])
    assert len(table.folds) == 1 and "differed" in table.folds[0] and table.folds[0] in connected.told[-1]


def test_nothing_is_said_where_the_fold_was_right(connected: Crossing, source: str):
    connected.world.configure(lambda c: c["schools"][SCHOOL][source].update(full_every=1))
    for day in range(3):
        table = connected.read(source, day, "contacts", "sets")
        assert not [said for one in table.values() for said in one.folds]


def test_a_past_night_comes_from_what_was_kept_and_a_later_one_is_refused(connected: Crossing, source: str):
    first = connected.frame(source, "pupils")
    connected.world.at_night(1)
    connected.asked(source)
    with connected.reader(source, 0) as reader:
        again = reader.table("pupils", None).frame
        assert again is not None and again.equals(first)
    assert connected.asked(source) == []
    for day, error in ((-1, NoSnapshot), (2, FutureDate)):
        with connected.reader(source, day) as reader, pytest.raises(error):
            reader.table("pupils", None)


def test_a_night_run_twice_goes_on_from_itself(connected: Crossing, source: str):
    assert connected.frame(source, "pupils").equals(connected.frame(source, "pupils"))


def vanish(crossing: Crossing, source: str) -> None:
    """A room is gone from the source's own copy, and nothing else has changed."""
    day = crossing.world.sandbox.source_days.of(SCHOOL, source, differs=True)
    day.rooms.pop()
    day._made.clear()  # pyright: ignore[reportPrivateUsage]
    day.once("edits", lambda: repr(day.day.edits))


def test_a_room_that_vanishes_alone_is_missed_the_same_night(connected: Crossing, source: str):
    connected.world.sandbox.schools[SCHOOL].frozen = FIRST
    before = connected.frame(source, "rooms")
    vanish(connected, source)
    if source == "assembly":
        connected.assembly.fingerprint = "another"  # it has been fetched anew
    else:
        connected.world.configure(lambda c: c["schools"][SCHOOL]["xporter"].update(full_every=1))
    assert len(connected.frame(source, "rooms", 1)) == len(before) - 1


def test_what_is_no_longer_authorised_is_not_served_from_what_was_kept(crossing: Crossing):
    crossing.world.sandbox.schools[SCHOOL].frozen = FIRST
    crossing.connect("assembly")
    assert crossing.frame("assembly", "contacts")["telephone"].notna().any()
    crossing.assembly.shrink("contacts.telephone_numbers")
    assert crossing.frame("assembly", "contacts", 0, allow_removals=True)["telephone"].isna().all()
    crossing.connector("assembly").take_code(crossing.code())
    assert crossing.frame("assembly", "contacts")["telephone"].notna().any(), "and is there again with its scope"


def test_lists_of_another_school_are_not_used_after_its_number_is_put_right(make: Callable[..., World]):
    schools = {name: dataclasses.replace(small_school(), sources=True) for name in (SCHOOL, "hillside")}
    schools["hillside"] = dataclasses.replace(
        schools["hillside"], plan=dataclasses.replace(schools["hillside"].plan, seed="hillside", pupils=40)
    )
    world = make(schools)
    crossing = Crossing(world)
    other = world.sandbox.schools["hillside"].xporter
    assert other is not None
    other.is_authorised, other.status = True, "OK"
    right = {"estab": crossing.xporter.estab, "secret": "DEMO_RIVERSIDE_XPORTER_SECRET"}
    wrong = {"estab": other.estab, "secret": "DEMO_HILLSIDE_XPORTER_SECRET"}
    world.configure(lambda c: c["schools"][SCHOOL]["xporter"].update(wrong))
    crossing.xporter.is_authorised, crossing.xporter.status = True, "OK"
    crossing.connector("xporter").choose(None)
    theirs = crossing.read("xporter")
    world.configure(lambda c: c["schools"][SCHOOL]["xporter"].update(right))
    ours = crossing.read("xporter")
    lists = {
        "Students",
        "Staff",
        "Contacts",
        "StudentContacts",
        "Groups",
        "Timetable",
        "TimetableStructure",
        "Calendar",
    }
    assert set(crossing.asked("xporter")) >= lists, "every list is read anew"
    assert len(ours["pupils"].frame) == 24 and len(theirs["pupils"].frame) == 40


def test_a_night_that_was_broken_off_is_not_taken_for_a_whole_one(connected: Crossing, source: str):
    connected.frame(source, "pupils")
    connected.world.at_night(1)
    with connected.reader(source, 0) as reader:
        assert reader.table("pupils", None).frame is not None
    with connected.reader(source, 0) as reader, pytest.raises(NoSnapshot, match="broken off"):
        reader.table("rooms", None)


def test_midnight_may_pass_while_a_night_is_read(connected: Crossing, source: str):
    connected.world.at_night(0, hour=23)
    with connected.reader(source, 0) as reader:
        reader.table("pupils", None)
        connected.world.at_night(1)
        assert len(reader.table("rooms", None).frame) > 5


def test_a_table_that_is_lost_is_made_anew(connected: Crossing, source: str):
    connected.world.sandbox.schools[SCHOOL].frozen = FIRST
    table = connected.read(source, 0, "rooms")["rooms"]
    tables = connected.world.environment.tables
    stored = tables.save(
        table.frame, source=source, dataset="rooms", school=SCHOOL, night=FIRST, provenance=table.provenance
    )
    connected.world.at_night(1)
    with connected.reader(source, 1) as reader:
        assert reader.table("rooms", stored).same_as is stored
    (connected.world.data / "tables" / stored.path).write_bytes(b"damaged")
    with connected.reader(source, 1) as reader:
        assert reader.table("rooms", stored).frame is not None
