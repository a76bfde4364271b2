"""The questions that people ask: where somebody went, what other settings would do, what there is to choose from."""

from __future__ import annotations

import contextlib
from collections.abc import Callable, Iterator
from datetime import timedelta
from itertools import pairwise
from pathlib import Path

import pytest

from isams_pipeline.definitions import environment_from
from isams_pipeline.orchestration.looking_back import Past
from isams_pipeline.sandbox.school import SchoolDay
from isams_pipeline.sandbox.server import serving
from isams_pipeline_tests.test_commands import call_here
from isams_pipeline_tests.world import FIRST, SCHOOL, World, make_world, rows, small_school


def here(world: World, *words: str) -> tuple[int, str]:
    return call_here(*words, "--config", str(world.config), "--data-dir", str(world.data))


def four_nights(world: World) -> World:
    """Four nights of a school, on each of which somebody leaves and somebody joins."""
    for day in range(4):
        assert world.night(day).outcome == "delivered"
    return world


@pytest.fixture
def nights(make: Callable[..., World]) -> World:
    """Four nights, to go on with."""
    return four_nights(make({SCHOOL: small_school(troubles=True)}))


@pytest.fixture(scope="module")
def past(tmp_path_factory: pytest.TempPathFactory) -> Iterator[World]:
    """Four nights, to look at only."""
    with contextlib.ExitStack() as stack:
        schools = {SCHOOL: small_school(troubles=True)}
        world = make_world(tmp_path_factory.mktemp("past"), schools, lambda app: stack.enter_context(serving(app)))
        stack.callback(world.close)
        yield four_nights(world)


def students(world: World, day: int) -> dict[str, dict[str, str]]:
    return {row["student_id"]: row for row in rows(world.export(day)["students.csv"])}


def contacts_of(world: World, day: int) -> dict[str, set[str]]:
    found: dict[str, set[str]] = {}
    for row in rows(world.export(day)["student_contacts.csv"]):
        found.setdefault(row["contact_id"], set()).add(row["student_id"])
    return found


# --- looking back -------------------------------------------------------------------------------------------


def test_who_left_was_there_until_a_night_and_the_reason_is_told(past: World):
    (gone,) = students(past, 1).keys() - students(past, 2).keys()
    second, third = FIRST + timedelta(days=1), FIRST + timedelta(days=2)
    code, said = here(past, "explain", SCHOOL, gone)
    assert code == 0
    assert f"student {gone} was in the export until {second}; on {third}: no longer on iSAMS's roll" in said
    address = students(past, 1)[gone]
    for who in filter(None, (address["school_id"], address["email"])):
        code, said = here(past, "explain", SCHOOL, who)
        assert code == 0 and f"student {gone} was in the export until {second}" in said
        assert "@" not in said, "what was asked for is not said again"
    code, said = here(past, "history", SCHOOL, gone)
    assert code == 0 and [line.split()[:2] for line in said.splitlines()[1:]] == [
        [str(FIRST), "joined"],
        [str(third), "left:"],
    ]


def test_a_contact_goes_with_the_last_student(past: World):
    before, after = contacts_of(past, 0), contacts_of(past, 3)
    gone = sorted(before.keys() - after.keys())
    assert gone, "somebody's parents have gone"
    code, said = here(past, "history", SCHOOL, gone[0])
    assert code == 0 and "left: their last student left" in said
    assert "their last student left" in here(past, "explain", SCHOOL, gone[0])[1]


def test_what_changed_is_told_by_its_fields_only(past: World):
    looked = Past(past.environment, "schoolsbuddy", SCHOOL)
    told: dict[str, set[str]] = {}
    for contact in contacts_of(past, 0):
        course = looked.course("contact", contact)
        assert course is not None and course.events[0].what == "joined"
        for event in course.events:
            if event.what == "changed":
                told.setdefault(contact, set()).update(event.about.split(", "))
    assert told, "somebody's number changed"
    for contact, fields in told.items():
        versions = [
            {row["contact_id"]: row for row in rows(past.export(day)["contacts.csv"])}.get(contact) for day in range(4)
        ]
        there = [row for row in versions if row is not None]
        different = {name for one, other in pairwise(there) for name in one if one[name] != other[name]}
        assert {field for field in fields if not field.startswith("students ")} == different


def test_who_is_left_out_by_a_rule_is_told_with_the_night(nights: World):
    def without_fathers(config: dict) -> None:
        config["schools"][SCHOOL]["partners"]["schoolsbuddy"].update(contact_types=["Mother"], max_removed="90%")

    fathers = [
        row["contact_id"]
        for row in rows(nights.export(3)["student_contacts.csv"])
        if row["relationship"].strip().casefold() == "father"
    ]
    nights.configure(without_fathers)
    assert nights.night(4).outcome == "delivered"
    code, said = here(nights, "explain", SCHOOL, fathers[0])
    assert code == 0 and "is not in the export" in said and "contact_type" in said
    assert f"was in the export until {FIRST + timedelta(days=3)}; on {FIRST + timedelta(days=4)}: left out by" in said
    nights.configure(lambda config: config["schools"][SCHOOL]["partners"]["schoolsbuddy"].pop("contact_types"))
    assert nights.night(5).outcome == "delivered"
    code, said = here(nights, "history", SCHOOL, fathers[0])
    assert [line.split()[1].strip(":") for line in said.splitlines()[1:] if "changed" not in line] == [
        "joined",
        "left",
        "came",
    ]


def test_a_night_that_was_delivered_twice_is_told_as_it_was(nights: World):
    father = next(
        row["contact_id"]
        for row in rows(nights.export(3)["student_contacts.csv"])
        if row["relationship"].strip().casefold() == "father"
    )
    partner = {"contact_types": ["Mother"], "max_removed": "90%"}
    nights.configure(lambda config: config["schools"][SCHOOL]["partners"]["schoolsbuddy"].update(partner))
    assert nights.run(3).outcome == "delivered", "the same night again, without fathers"
    course = Past(nights.environment, "schoolsbuddy", SCHOOL).course("contact", father)
    assert course is not None and course.left is not None and course.left.night == FIRST + timedelta(days=3)
    assert "left out by contact_type" in here(nights, "history", SCHOOL, father)[1]


def test_who_is_with_the_partner_though_the_night_was_refused_is_said_to_be(nights: World):
    father = next(
        row["contact_id"]
        for row in rows(nights.export(3)["student_contacts.csv"])
        if row["relationship"].strip().casefold() == "father"
    )
    nights.configure(
        lambda config: config["schools"][SCHOOL]["partners"]["schoolsbuddy"].update(contact_types=["Mother"])
    )
    assert nights.run(3).outcome == "refused"
    code, said = here(nights, "explain", SCHOOL, father)
    assert code == 0 and "it was refused" in said
    assert f"has been in the export since {FIRST}, last on {FIRST + timedelta(days=3)}" in said


def test_nobody_was_ever_meant(past: World):
    assert here(past, "history", SCHOOL, "nobody@example.org")[0] == 1
    assert here(past, "history", SCHOOL, "1", "--partner", "room_booking")[0] == 2
    assert here(past, "explain", SCHOOL, "1", "--partner", "schoolbooking")[0] == 2


def test_a_past_whose_files_are_gone_is_told_as_far_as_it_is_known(nights: World):
    (gone,) = students(nights, 1).keys() - students(nights, 2).keys()
    for table in (nights.data / "tables/isams/pupils" / SCHOOL / "objects").iterdir():
        table.unlink()
    course = Past(nights.environment, "schoolsbuddy", SCHOOL).course("student", gone)
    assert course is not None and "nobody knows why" in course.in_words


# --- what if ------------------------------------------------------------------------------------------------


def files_of(world: World) -> set[Path]:
    return {path for path in world.data.rglob("*") if path.is_file() and ".sqlite" not in path.name}


def test_what_if_tells_the_difference_and_stores_nothing(nights: World):
    before = files_of(nights)
    nights.configure(lambda config: config["schools"][SCHOOL]["partners"]["schoolsbuddy"].update(max_removed="90%"))
    code, said = here(nights, "what-if", SCHOOL, "--set", "contact_types=[Mother]")
    assert code == 0 and "contacts.csv" in said and "contact_type" in said and "Year 7" in said
    line = next(line.split() for line in said.splitlines() if line.strip().startswith("contacts.csv"))
    now = len(rows(nights.export(3)["contacts.csv"]))
    assert int(line[1]) == now and now - int(line[2]) == int(line[5]), "as many fewer as are removed"
    assert files_of(nights) == before
    # What is foretold comes true.
    nights.configure(
        lambda config: config["schools"][SCHOOL]["partners"]["schoolsbuddy"].update(
            contact_types=["Mother"], max_removed="90%"
        )
    )
    assert nights.night(4).outcome == "delivered"
    code, said = here(nights, "what-if", SCHOOL, "--set", "contact_types=[Mother]")
    assert code == 0 and "Nothing in the files would change." in said


@pytest.mark.parametrize(
    ("given", "code", "says"),
    [
        ("contact_types=Mother", 2, "write a list: [Mother]"),
        ("contact_sorts=[Mother]", 2, "unknown key"),
        ("contact_types", 2, "write NAME=VALUE"),
        ("contact_years=[99]", 1, "contacts.csv has no rows"),
        ("contact_types=[Mother]", 1, "contacts.csv would lose"),
        ("photos=rest", 2, "what-if cannot try this setting"),
        ("source=xporter", 2, "what-if cannot try this setting"),
        ("medical_fields=[Foo]", 0, "no such field: Foo"),
        ("contact_types=[", 2, "no YAML"),
    ],
)
def test_what_if_of_what_cannot_be(past: World, given: str, code: int, says: str):
    ended, said = here(past, "what-if", SCHOOL, "--set", given)
    assert ended == code and says in " ".join(said.replace("│", " ").split())


def test_years_may_be_a_list(past: World):
    one, other = (
        here(past, "what-if", SCHOOL, "--set", given)[1].splitlines()[1:]
        for given in ("contact_years=[7, 8, 10-11]", "contact_years='7-8, 10-11'")
    )
    assert one == other and any("contacts.csv" in line for line in one)


# --- what there is to choose from -----------------------------------------------------------------------------


def test_contact_types_are_counted_and_say_who_gets_them(past: World):
    code, said = here(past, "contact-types", SCHOOL)
    assert code == 0
    counts = {line.split()[0]: line.split()[1:] for line in said.splitlines() if len(line.split()) == 4}
    contacts = SchoolDay(past.schools[SCHOOL].plan, FIRST + timedelta(days=3)).contacts
    mothers = [contact for contact in contacts if contact.relationship.strip().casefold() == "mother"]
    assert counts["Mother"] == [str(len(mothers)), str(len({m.person_id for m in mothers})), "sent"]
    assert counts["Grandmother"][-1] == "-"
    assert not any(contact.surname in said for contact in contacts), "no value of a person"


def test_medical_fields_are_named_and_counted_without_what_they_hold(make: Callable[..., World]):
    world = make({SCHOOL: small_school(mark="Zqxcanary")})
    assert world.night(0).outcome == "delivered"
    code, said = here(world, "medical-fields", SCHOOL)
    assert code == 0 and "Zqxcanary" not in said
    lines = {line.split()[0]: line.split()[-1] for line in said.splitlines() if len(line.split()) == 5}
    assert lines["Allergies"] == "sent" and lines["Doctor"] == "-"
    assert environment_from(world.config, world.data).settings.schools[SCHOOL].partners.root["schoolsbuddy"] is not None


# --- the first delivery ---------------------------------------------------------------------------------------


def test_a_school_s_first_export_waits_to_be_looked_at(make: Callable[..., World]):
    world = make({SCHOOL: small_school(mark="Zqxcanary")})
    world.configure(lambda config: config["schools"][SCHOOL]["partners"]["schoolsbuddy"].update(first_delivery="hold"))
    run = world.night(0)
    assert run.outcome == "held" and world.export(0) == {}
    assert here(world, "release", SCHOOL)[0] == 2, "there is nobody to ask"
    code, said = here(world, "release", SCHOOL, "--yes")
    assert code == 0 and "delivered" in said and "Zqxcanary" not in said
    line = next(line.split() for line in said.splitlines() if line.strip().startswith("students.csv"))
    assert line[1:3] == ["24", "24"], "all students have an address"
    year = next(line.split() for line in said.splitlines() if line.strip().startswith("Year 7"))
    found = [row for row in rows(world.export(0)["students.csv"]) if row["year_group"] == "Year 7"]
    assert int(year[2]) == len(found)
    assert here(world, "release", SCHOOL, "--partner", "room_booking", "--yes")[0] == 2, "nothing of it waits"
    assert world.night(1).outcome == "delivered", "from then on, by itself"
    code, said = here(world, "release", SCHOOL, "--yes")
    assert code == 2 and "one was delivered already" in said


def test_a_release_that_could_not_deliver_says_why_and_can_be_repeated(make: Callable[..., World]):
    world = make()
    world.configure(lambda config: config["schools"][SCHOOL]["partners"]["schoolsbuddy"].update(first_delivery="hold"))
    assert world.night(0).outcome == "held"
    world.exports.parent.mkdir(parents=True, exist_ok=True)
    world.exports.write_text("not a folder")
    code, said = here(world, "release", SCHOOL, "--yes")
    assert code == 1 and "failed" in said and "released by" not in said
    world.exports.unlink()
    code, said = here(world, "release", SCHOOL, "--yes")
    assert code == 0 and "delivered" in said and world.export(0)


def test_a_rehearsal_of_a_first_export_says_that_it_would_wait(make: Callable[..., World]):
    world = make()
    world.configure(lambda config: config["schools"][SCHOOL]["partners"]["schoolsbuddy"].update(first_delivery="hold"))
    assert world.night(0).outcome == "held"
    code, said = here(world, "rehearse", SCHOOL, "--partner", "schoolsbuddy")
    assert code == 1 and "would wait" in said


def test_the_launch_pad_releases_too(make: Callable[..., World]):
    world = make()
    world.configure(lambda config: config["schools"][SCHOOL]["partners"]["schoolsbuddy"].update(first_delivery="hold"))
    held = world.night(0)
    assert held.outcome == "held"
    failure = next(
        entry.dagster_event.step_failure_data.user_failure_data
        for entry in world.instance.all_logs(held.run_id)
        if entry.dagster_event is not None and entry.dagster_event.event_type_value == "STEP_FAILURE"
    )
    assert "students without any" in failure.metadata["first look"].value
    assert world.run(0, release=True).outcome == "delivered"
