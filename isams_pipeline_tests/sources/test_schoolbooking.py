"""SchoolBooking's nights by each source, as whole Dagster runs; a partner that changes its source; the sources compared."""

from __future__ import annotations

import copy
import json
import re
from collections import Counter
from datetime import UTC, datetime, timedelta
from pathlib import Path

import dagster as dg
import pandas as pd
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from isams_pipeline.clock import system_clock, today_at
from isams_pipeline.commands.headless import run_job
from isams_pipeline.datasets import LISTED_DATASETS
from isams_pipeline.definitions import build_definitions
from isams_pipeline.delivery.export import Export
from isams_pipeline.delivery.receipts import Outcome
from isams_pipeline.errors import ConfigurationError
from isams_pipeline.orchestration.partitions import Night
from isams_pipeline.orchestration.reconciliation.assets import RECONCILE_JOB
from isams_pipeline.orchestration.reconciliation.reconciling import kept_report, reconciled, report_path
from isams_pipeline.partners.schoolbooking.export import build, check_export
from isams_pipeline.partners.schoolbooking.files import FILES
from isams_pipeline.partners.schoolbooking.tables import TABLES
from isams_pipeline.rules.reconciliation import ONLY_FIRST, ONLY_SECOND, reconcile
from isams_pipeline.sources.registry import LISTED
from isams_pipeline_tests.sources.crossing import Crossing
from isams_pipeline_tests.test_commands import at
from isams_pipeline_tests.world import FIRST, SCHOOL, World, rows

NIGHT = Night(SCHOOL, FIRST)


def delivered(world: World, day: int = 0) -> Path:
    return world.folder / "exports" / "schoolbooking" / SCHOOL / str(FIRST + timedelta(days=day))


def read(world: World, name: str, day: int = 0) -> list[dict[str, str]]:
    return rows((delivered(world, day) / name).read_bytes())


def by(crossing: Crossing, source: str) -> None:
    crossing.world.configure(lambda c: c["schools"][SCHOOL]["partners"]["schoolbooking"].update(source=source))


def night(crossing: Crossing, day: int = 0, **options: bool) -> Outcome:
    crossing.world.at_night(day, hour=5)
    run = crossing.world.run(day, partner="schoolbooking", **options)
    crossing.told.append(run.reason or "")
    return run.outcome


def test_a_night_by_another_source(connected: Crossing, source: str):
    by(connected, source)
    assert night(connected) is Outcome.DELIVERED
    world, day = connected.world, connected.world.sandbox.source_days.of(SCHOOL, source, differs=True)
    assert {path.name for path in delivered(world).iterdir()} == {*(file.name for file in FILES), "manifest.json"}
    assert len(read(world, "students.csv")) == len(day.pupils)
    assert len(read(world, "contacts.csv")) == len(day.persons)
    assert len(read(world, "student_contacts.csv")) == len(
        {(p.contact.person_id, pupil.id) for p in day.persons for pupil, _, _ in p.links}
    )
    assert len(read(world, "registration_group_members.csv")) == len(day.pupils)
    assert len(read(world, "teaching_group_members.csv")) == sum(len(inside) for _, inside in day.sets)
    groups = {row["teaching_group_id"]: row for row in read(world, "teaching_groups.csv")}
    assert {row["subject"] for row in groups.values()} == {"Mathematics", "English"}
    lessons = read(world, "timetable.csv")
    assert {row["teaching_group_id"] for row in lessons} - {""} == set(groups)
    assert Counter(row["period"] for row in lessons)["Period 1"] and all(row["staff_ids"] for row in lessons)
    manifest = json.loads((delivered(world) / "manifest.json").read_text())
    assert {pin["source"] for pin in manifest["datasets"].values()} == {source} and manifest["snapshots"]
    assert night(connected, 1) is Outcome.DELIVERED
    changed = json.loads((delivered(world, 1) / "manifest.json").read_text())["changes"]["files"]["students.csv"]
    assert (changed["added"], changed["removed"]) in {(1, 1), (1, 0), (0, 1)}


def test_a_night_by_isams_own_source_has_the_same_files(crossing: Crossing):
    by(crossing, "isams")
    assert night(crossing) is Outcome.DELIVERED, crossing.told
    crossing.connect("assembly")
    crossing.assembly.differs = False
    by(crossing, "assembly")
    ours = {file.name: read(crossing.world, file.name) for file in FILES}
    assert night(crossing, allow_removals=True) is Outcome.DELIVERED
    theirs = {file.name: read(crossing.world, file.name) for file in FILES}
    assert {name: len(found) for name, found in ours.items()} == {name: len(found) for name, found in theirs.items()}
    for name in ("date", "start", "end", "period"):
        assert Counter(row[name] for row in ours["timetable.csv"]) == Counter(
            row[name] for row in theirs["timetable.csv"]
        )


def beside_a_school_by_xporter(crossing: Crossing) -> None:
    """Another school, so that the job has the datasets of two sources."""

    def both(config: dict) -> None:
        other = copy.deepcopy(config["schools"][SCHOOL])
        other["partners"] = {"schoolbooking": {"source": "xporter", "deliver_to": "exports"}}
        config["schools"]["harbour"] = other

    crossing.world.configure(both)


def test_the_schedule_takes_the_schools_own_source(crossing: Crossing):
    beside_a_school_by_xporter(crossing)
    repository = build_definitions(crossing.world.environment).get_repository_def()
    schedule = next(s for s in repository.schedule_defs if s.name == "schoolbooking_nightly_europe_london")
    assert (schedule.cron_schedule, schedule.execution_timezone) == ("0 5 * * *", "Europe/London")
    moment = datetime(FIRST.year, FIRST.month, FIRST.day, 5, tzinfo=UTC)
    with dg.build_schedule_context(
        scheduled_execution_time=moment,
        repository_def=repository,
        resources={"environment": crossing.world.environment},
    ) as context:
        request = next(
            one for one in schedule.evaluate_tick(context).run_requests or [] if str(one.partition_key).endswith(SCHOOL)
        )
    assert request.partition_key == f"{FIRST}|{SCHOOL}" and request.asset_selection is not None
    chosen = [key.path[0] for key in request.asset_selection]
    assert set(chosen) == {"assembly", "schoolbooking"} and chosen.count("assembly") == len(LISTED_DATASETS)
    assert chosen.count("schoolbooking") == len(TABLES) + 3


def test_only_the_datasets_of_the_chosen_source_are_made(crossing: Crossing):
    crossing.connect("assembly")
    assert night(crossing) is Outcome.DELIVERED
    student = read(crossing.world, "students.csv")[0]["student_id"]
    code, out = at(crossing.world, "explain", SCHOOL, student, "--partner", "schoolbooking", "--date", str(FIRST))
    assert code == 0 and "is in the export" in out and "teaching groups: 3" in out
    tables = crossing.world.data / "tables"
    assert {path.name for path in tables.iterdir()} == {"assembly", "schoolbooking"}
    assert {path.name for path in (tables / "assembly").iterdir()} == set(LISTED_DATASETS)
    assert crossing.world.sandbox.schools[SCHOOL].requests == [] and crossing.xporter.requests == []


def test_a_job_launched_whole_leaves_the_other_sources_alone(crossing: Crossing):
    crossing.connect("assembly")
    beside_a_school_by_xporter(crossing)
    run = run_job(crossing.world.environment, crossing.world.instance, "schoolbooking_nightly", NIGHT, {})
    assert run.failures == () and delivered(crossing.world).exists()
    assert {path.name for path in (crossing.world.data / "tables").iterdir()} == {"assembly", "schoolbooking"}
    assert crossing.xporter.requests == [], "xporter is not even connected"


def test_another_source_wants_to_be_allowed_once(crossing: Crossing):
    crossing.connect("assembly")
    crossing.connect("xporter")
    assert night(crossing) is Outcome.DELIVERED
    by(crossing, "xporter")
    assert night(crossing, 1) is Outcome.REFUSED
    assert "came from assembly before, and now from xporter" in crossing.told[-1]
    assert "--allow-removals" in crossing.told[-1] and not delivered(crossing.world, 1).exists()
    assert night(crossing, 1, allow_removals=True) is Outcome.DELIVERED


def test_schoolsbuddy_by_assembly(crossing: Crossing):
    crossing.connect("assembly")

    def change(config: dict) -> None:
        config["schools"][SCHOOL]["partners"]["schoolsbuddy"].update(
            source="assembly", mail_merge=[], medical_fields=[]
        )

    crossing.world.configure(change)
    run = crossing.world.night(0)
    assert run.outcome is Outcome.DELIVERED, run.reason
    students = rows(crossing.world.export()["students.csv"])
    assert len(students) == 23 and all(row["year_group"] and row["academic_house"] for row in students)
    parents = {row["relationship"] for row in rows(crossing.world.export()["student_contacts.csv"])}
    assert {name.strip().casefold() for name in parents} == {"mother", "father"}


@pytest.mark.parametrize(
    ("change", "words"),
    [
        ("s['partners']['schoolsbuddy']['source'] = 'assembly'", "mail_merge"),
        ("s['partners']['schoolbooking']['source'] = 'train'", "there is no such source"),
        ("del s['assembly']", "uses the source assembly, which the school has not; it has: isams, xporter"),
        ("s['assembly']['urn'] = '12'", "urn"),
        ("s['assembly']['redirect_uri'] = 'http://x/?a=b'", "redirect_uri"),
        ("[s.pop(n) for n in ('isams', 'assembly', 'xporter')]", "it has no source"),
        (
            "s['partners'].pop('room_booking'), s['partners'].pop('schoolsbuddy'), s.pop('isams')",
            "my_school_portal uses",
        ),
    ],
)
def test_what_a_school_cannot_say(crossing: Crossing, change: str, words: str):
    crossing.world.configure(lambda c: exec(change, {"s": c["schools"][SCHOOL]}))
    with pytest.raises(ConfigurationError, match=words):
        assert crossing.world.environment


def test_a_school_without_isams_own_source(crossing: Crossing):
    def only_assembly(config: dict) -> None:
        school = config["schools"][SCHOOL]
        school.pop("isams")
        school["partners"] = {"schoolbooking": {"source": "assembly", "deliver_to": "exports"}}

    crossing.world.configure(only_assembly)
    crossing.connect("assembly")
    assert night(crossing) is Outcome.DELIVERED, crossing.told
    assert at(crossing.world, "doctor", SCHOOL)[0] == 0, "xporter is not connected, and nobody uses it"
    crossing.world.configure(lambda c: c["schools"][SCHOOL].pop("xporter"))
    run = run_job(crossing.world.environment, crossing.world.instance, "schoolbooking_nightly", NIGHT, {})
    assert run.failures == ()
    assert {path.name for path in (crossing.world.data / "tables").iterdir()} == {"assembly", "schoolbooking"}
    graph = build_definitions(crossing.world.environment).get_repository_def().asset_graph
    assert not graph.has(dg.AssetKey(["isams", "pupils"])), "no school has iSAMS's own source"


def test_a_gate_that_stays_shut(crossing: Crossing):
    crossing.connect("assembly")
    assert night(crossing) is Outcome.DELIVERED
    crossing.world.sandbox.fail(SCHOOL, "assembly_revoked", key="students")
    assert night(crossing, 1) is Outcome.FAILED
    assert "connector authorise" in crossing.told[-1] and not delivered(crossing.world, 1).exists()
    # Nothing else of the school was made for that night that a partner could be given.
    assert crossing.world.environment.tables.find("assembly", "pupils", SCHOOL, FIRST + timedelta(days=1)) is None


def test_the_rules_look_at_the_bytes(crossing: Crossing):
    crossing.connect("assembly")
    tables = {name: table.frame for name, table in crossing.read("assembly").items() if table.frame is not None}
    files = dict(build(tables, FIRST).export.files)
    assert all(check.passed for check in check_export(Export(files)))
    first, _, rest = files["staff.csv"].partition(b"\n")
    files["staff.csv"] = first + b"\n" + rest.partition(b"\n")[2]
    broken = {check.name for check in check_export(Export(files)) if not check.passed}
    assert broken == {"references"}
    files["students.csv"] = b"student_id\n1\n"
    assert "schema" in {check.name for check in check_export(Export(files)) if not check.passed}


def test_what_refers_to_nobody_is_noted_and_left_out(crossing: Crossing):
    crossing.connect("assembly")
    tables = {name: table.frame for name, table in crossing.read("assembly").items() if table.frame is not None}
    gone = set(tables["contacts"]["entry_id"].head(5))
    tables["contacts"] = tables["contacts"][~tables["contacts"]["entry_id"].isin(gone)]
    teacher = int(tables["dated_lessons"]["staff_ids"].iloc[0].split()[0])
    tables["staff"] = tables["staff"][tables["staff"]["staff_id"] != teacher]
    built = build(tables, FIRST)
    assert all(check.passed for check in check_export(built.export)), "every id that is left stands somewhere"
    links = tables["contact_pupils"]
    lost = int(links["entry_id"].isin(gone).sum())
    noted = built.exclusions
    assert len(noted[noted["entity"] == "student_contact"]) == lost
    assert len(built.export.rows("student_contacts.csv")) == len(links) - lost
    assert not [row for row in built.export.rows("timetable.csv") if str(teacher) in row["staff_ids"].split()]
    assert (noted["reason"] == "a teacher is not in the export; left out").any()


def test_a_lesson_that_names_an_unknown_teacher_stays_at_the_gate(crossing: Crossing):
    crossing.connect("assembly")
    tables = {name: table.frame for name, table in crossing.read("assembly").items() if table.frame is not None}
    files = dict(build(tables, FIRST).export.files)
    files["timetable.csv"] = re.sub(rb"6\d{4},lesson\n", b"1,lesson\n", files["timetable.csv"], count=1)
    (broken,) = [check for check in check_export(Export(files)) if not check.passed]
    assert broken.name == "references" and "staff_ids" in broken.problems[0]


def test_what_one_source_has_for_nobody_is_told_and_who_is_in_no_set_differs(crossing: Crossing):
    crossing.connect("assembly")
    crossing.assembly.differs = False
    tables = {name: table.frame for name, table in crossing.read("assembly").items() if table.frame is not None}
    less = dict(tables)
    less["pupils"] = tables["pupils"].assign(email=pd.Series(dtype="str"))
    less["set_members"] = tables["set_members"].head(0)
    compared = {one.entity: one for one in reconcile(tables, less)}
    assert compared["pupils"].untold == ["email"] and not compared["pupils"].differences
    assert compared["sets"].fields == {"members": len(tables["sets"][tables["sets"]["set_id"].isin(tables["set_members"]["set_id"])])}  # fmt: skip


def test_sync_and_backfill_at_the_command_line(crossing: Crossing):
    crossing.connect("assembly")
    code, out = at(crossing.world, "sync", SCHOOL, "--partner", "schoolbooking", "--date", str(FIRST))
    assert code == 1 and "Nothing of that night was kept" in out


# --- reconciliation ---------------------------------------------------------------------------------------


@pytest.fixture
def three_sources(crossing: Crossing) -> Crossing:
    for source in LISTED:
        crossing.connect(source)
    return crossing


def test_the_differences_are_exactly_those_that_were_planted(three_sources: Crossing):
    world = three_sources.world
    world.at_night(0, hour=6)
    run = run_job(world.environment, world.instance, RECONCILE_JOB, NIGHT, {})
    assert run.failures == ()
    compared = kept_report(world.environment, NIGHT)
    assert compared == reconciled(world.environment, NIGHT, ["isams", "assembly", "xporter"])
    for source, entities in compared.sources.items():
        planted = world.sandbox.source_days.of(SCHOOL, source, differs=True).differences
        kinds = {"missing": ONLY_FIRST, "extra": ONLY_SECOND}
        wanted = {(d.dataset, kinds.get(d.kind, d.kind), d.id) for d in planted}
        found = {(d.entity, d.kind, d.first_id or d.second_id) for one in entities for d in one.differences}
        assert found == wanted and len(planted) >= 3
    report = (world.data / "reports" / report_path(NIGHT, "json")).read_text()
    assert (world.data / "reports" / report_path(NIGHT, "png")).read_bytes()[:4] == b"\x89PNG"
    people = world.sandbox.day_of(SCHOOL).pupils
    assert not [pupil for pupil in people if pupil.surname in report or pupil.forename in report], "no values"


@pytest.fixture
def by_the_real_clock(crossing: Crossing) -> Crossing:
    """All sources connected, at the moment that commands live in."""
    crossing.world.moment[0] = system_clock()
    crossing.world.sandbox.clock = system_clock
    for source in LISTED:
        crossing.connect(source)
    return crossing


def test_reconcile_at_the_command_line(by_the_real_clock: Crossing):
    world = by_the_real_clock.world
    code, out = at(world, "reconcile", SCHOOL)
    today = today_at(world.environment.settings.school(SCHOOL).timezone, system_clock)
    found = kept_report(world.environment, Night(SCHOOL, today))
    assert code == 1 and f"{found.said}; their ids are in" in out
    assert f"{SCHOOL} on {today}: iSAMS / Assembly" in out and "iSAMS / Xporter on Demand" in out
    code, out = at(world, "reconcile", SCHOOL, "--sources", "isams,train")
    assert code == 2 and "no source train" in out
    code, out = at(world, "reconcile", SCHOOL, "--sources", "assembly")
    assert code == 2 and "nothing to compare" in out


def test_reconcile_at_the_command_line_where_the_sources_agree(by_the_real_clock: Crossing):
    by_the_real_clock.assembly.differs = False
    code, out = at(by_the_real_clock.world, "reconcile", SCHOOL, "--sources", "isams,assembly")
    assert code == 0 and "No differences" in out and "Xporter" not in out


def test_sources_that_agree(three_sources: Crossing):
    three_sources.assembly.differs = three_sources.xporter.differs = False
    found = []
    for source in LISTED:
        tables = {name: table.frame for name, table in three_sources.read(source).items() if table.frame is not None}
        found.append(tables)
    assert [difference for one in reconcile(*found) for difference in one.differences] == []


PEOPLE = st.lists(
    st.tuples(st.sampled_from("abcd"), st.sampled_from("xyz"), st.sampled_from(["2011-01-01", "2012-01-01"])),
    max_size=6,
)


def tables_of(people: list[tuple[str, str, str]], offset: int) -> dict[str, pd.DataFrame]:
    """A school of these pupils, and nothing else."""
    names = ("pupils", "contacts", "contact_pupils", "staff", "years", "forms", "subjects", "sets", "set_members", "set_teachers", "rooms")  # fmt: skip
    tables = {name: LISTED_DATASETS[name].empty() for name in names}
    pupils = pd.DataFrame(
        {
            "pupil_id": pd.Series([offset + n for n in range(len(people))], dtype="Int64"),
            "forename": pd.Series([one[0] for one in people], dtype="str"),
            "surname": pd.Series([one[1] for one in people], dtype="str"),
            "date_of_birth": pd.to_datetime(pd.Series([one[2] for one in people], dtype="str")).astype(
                "datetime64[ms]"
            ),
        }
    )
    empty = tables["pupils"]
    tables["pupils"] = pupils.reindex(columns=empty.columns).astype({n: t for n, t in empty.dtypes.items() if n not in pupils})  # fmt: skip
    return tables


@settings(max_examples=25)
@given(PEOPLE, PEOPLE)
def test_every_pupil_is_matched_once_or_only_on_one_side(here: list, there: list):
    compared = reconcile(tables_of(here, 0), tables_of(there, 100))[0]
    assert (compared.first, compared.second) == (len(here), len(there))
    matched = len(here) - compared.count(ONLY_FIRST)
    assert matched == len(there) - compared.count(ONLY_SECOND)
    unique = [one for one in set(here) & set(there) if here.count(one) == 1 == there.count(one)]
    assert matched == len(unique) and not compared.fields
