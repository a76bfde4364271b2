"""The house itself: which way imports go, what Dagster loads, when schedules tick."""

from __future__ import annotations

import ast
import json
import re
import runpy
import shutil
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from datetime import UTC, date, datetime
from importlib import import_module
from operator import attrgetter
from pathlib import Path
from types import SimpleNamespace
from typing import Any
from zoneinfo import ZoneInfo

import dagster as dg
import pytest
import yaml
from hypothesis import given
from hypothesis import strategies as st
from importlinter.cli import lint_imports

from isams_pipeline import config, errors
from isams_pipeline.commands import COMMANDS, error_table, wire_facts
from isams_pipeline.commands.dictionary import dictionary
from isams_pipeline.commands.instance import instance_settings, open_instance
from isams_pipeline.config import Settings
from isams_pipeline.datasets import DATASETS, LISTED_DATASETS
from isams_pipeline.definitions import build_definitions
from isams_pipeline.errors import PipelineError
from isams_pipeline.moved import MOVED, NAMES, found_elsewhere
from isams_pipeline.orchestration.environment import Environment
from isams_pipeline.orchestration.partitions import Night, earliest_zone, key_of, night_at, night_of, nights_of
from isams_pipeline.partners.registry import PARTNERS
from isams_pipeline.partners.schoolsbuddy.settings import SchoolsBuddySettings
from isams_pipeline.sources.registry import SOURCES
from isams_pipeline_tests import house, survivors
from isams_pipeline_tests.world import World, small_school

ROOT = Path(__file__).parent.parent
PACKAGE = ROOT / "isams_pipeline"


def imports(path: Path) -> Iterator[str]:
    for node in ast.walk(ast.parse(path.read_text())):
        if isinstance(node, ast.Import):
            yield from (alias.name for alias in node.names)
        elif isinstance(node, ast.ImportFrom) and node.module:
            yield node.module
            yield from (f"{node.module}.{alias.name}" for alias in node.names)


# --- the floors -------------------------------------------------------------------------------------------


def lint(config: Path, capsys: pytest.CaptureFixture[str]) -> tuple[int, str]:
    """What import-linter says of the house by a configuration."""
    status = lint_imports(config_filename=str(config), no_cache=True)
    return status, capsys.readouterr().out


def test_imports_go_down_the_floors_and_in_no_circle(capsys: pytest.CaptureFixture[str]):
    status, said = lint(ROOT / "pyproject.toml", capsys)
    assert status == 0, said


def test_an_import_up_is_named_with_both_files_and_the_line(tmp_path: Path, capsys: pytest.CaptureFixture[str]):
    """The same floors, two of them the other way round: all that is built on them is an import up."""
    text = (ROOT / "pyproject.toml").read_text()
    upside_down = tmp_path / "pyproject.toml"
    upside_down.write_text(
        text.replace('"delivery | sources",', '"sandbox | storage",', 1).replace(
            '"sandbox | storage",\n  "config', '"delivery | sources",\n  "config', 1
        )
    )
    status, said = lint(upside_down, capsys)
    assert status == 1
    assert re.search(r"isams_pipeline\.delivery\.staging\s+->\s+isams_pipeline\.storage\.folder\s+\(l\.\d+\)", said), (
        said
    )


def test_the_top_of_the_house_can_be_seen_at_a_glance():
    rooms = {path for path in PACKAGE.iterdir() if path.name != "__pycache__" and path.name != "__init__.py"}
    assert len(rooms) <= 15 and len([room for room in rooms if room.is_file()]) <= 4, rooms


@pytest.mark.parametrize("page", house.PICTURES)
def test_what_is_drawn_in_the_docs_is_what_the_code_says(page: str):
    assert (ROOT / page).read_text() == house.drawn(page)


def test_only_definitions_and_the_command_line_know_the_partners():
    for path in PACKAGE.rglob("*.py"):
        if "partners" not in path.parts and any(name.startswith("isams_pipeline.partners") for name in imports(path)):
            assert path.name == "definitions.py" or path.parent.name == "commands", path


@pytest.mark.parametrize("floor", ["partners", "sources"])
def test_neighbours_do_not_know_each_other(floor: str):
    """Partners among each other, and sources but for what they share."""
    folders = {folder.name for folder in (PACKAGE / floor).iterdir() if (folder / "__init__.py").exists()} - {"shared"}
    assert len(folders) >= 3
    for path in (PACKAGE / floor).glob("*/*.py"):
        others = folders - {path.parent.name}
        found = [name.split(".")[2:3] for name in imports(path) if name.startswith(f"isams_pipeline.{floor}.")]
        assert not [name for (name,) in found if name in others], path


def test_what_moved_is_found_under_its_old_name_with_a_warning():
    code = (
        "from isams_pipeline.isams.datasets import DATASETS; from isams_pipeline.datasets import DATASETS as now;"
        "from isams_pipeline.isams.parse import parse; from isams_pipeline.sources.isams.parse import parse as here;"
        "assert DATASETS is now and parse is here"
    )
    plain = [sys.executable, "-W", "always::DeprecationWarning", "-c", code]
    done = subprocess.run(plain, capture_output=True, text=True, cwd=ROOT)
    assert done.returncode == 0, done.stderr
    assert "isams_pipeline.isams.datasets has moved to isams_pipeline.datasets; import it from there" in done.stderr
    for module, names in NAMES.items():
        for name, place in names.items():
            now, _, called = place.partition(":")
            with pytest.warns(DeprecationWarning, match=rf"{name} is isams_pipeline\.{now}\.{called} now"):
                found = found_elsewhere(f"isams_pipeline.{module}", name)
            assert found is getattr(import_module(f"isams_pipeline.{now}"), called)
    with pytest.warns(DeprecationWarning, match="SchoolsBuddySettings is isams_pipeline"):
        assert vars(config)["__getattr__"]("SchoolsBuddySettings") is SchoolsBuddySettings
    for new in MOVED.values():
        assert (PACKAGE / new.replace(".", "/")).exists() or (PACKAGE / f"{new.replace('.', '/')}.py").exists(), new


def test_nothing_reads_shared_folders_outside():
    for path in [*PACKAGE.rglob("*.py"), *ROOT.glob("*.*"), *(ROOT / "docs").glob("*.md")]:
        if path.is_file() and path.suffix in {".py", ".md", ".toml", ".yaml"}:
            assert "../shared" not in path.read_text(), path


def test_dagster_files_at_the_root_are_those_of_the_data_folder():
    for name, postgres in (("dagster.yaml", False), ("dagster.postgres.yaml", True)):
        assert yaml.safe_load((ROOT / name).read_text()) == instance_settings("data/dagster", postgres=postgres)


def test_the_root_instance_file_works_as_it_is(tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    (tmp_path / "dagster.yaml").write_text((ROOT / "dagster.yaml").read_text())
    monkeypatch.chdir(tmp_path)
    with dg.DagsterInstance.from_config(str(tmp_path)) as instance:
        assert instance.get_runs_count() == 0
    assert (tmp_path / "data/dagster/history").is_dir()


def test_every_change_that_is_let_be_is_of_a_function_that_exists_and_says_why():
    for name, functions in survivors.named().items():
        module = import_module(name)
        assert str(functions["reason"]).strip(), f"{name}: why are they let be?"
        for function, count in functions.items():
            if function != "reason":
                assert int(count) > 0 and attrgetter(function)(module), f"{name}.{function}"


def test_more_changes_than_are_named_are_said(tmp_path: Path):
    codes = {"m.rules.x_one__mutmut_1": 0, "m.rules.x_one__mutmut_2": 33, "m.rules.x_two__mutmut_1": 1}
    codes["m.rules.xǁThingǁdo__mutmut_1"] = 0
    (tmp_path / "rules.py.meta").write_text(json.dumps({"exit_code_by_key": codes}))
    found, whole = survivors.survivors(tmp_path)
    assert found == {"m.rules": {"Thing.do": 1, "one": 2}} and whole == {"m.rules"}
    said = survivors.more_than_named(found, {"m.rules": {"reason": "", "one": 1, "Thing.do": 1}})
    assert said == ["m.rules.one: 2 changes survive, 1 are named"]


def test_every_error_has_a_remedy_whose_commands_exist():
    kinds = [kind for kinds in error_table.groups().values() for kind in kinds]
    assert {kind.__name__ for kind in kinds} == {
        name for name, kind in vars(errors).items() if isinstance(kind, type) and issubclass(kind, PipelineError)
    } - {"PipelineError"}
    known = {command.name for command in COMMANDS} | {"connector"}
    for kind in kinds:
        assert "usual_remedy" in vars(kind), f"{kind.__name__} says what helps"
        for command, word in re.findall(r"`isams-pipeline ([\w-]+)(?: ([a-z]+))?", kind.usual_remedy):
            assert command in known, command
            assert not word or word in {"status", "authorise"}, "a command of `connector`"


def test_the_table_of_errors_is_up_to_date():
    assert (ROOT / "docs/errors.md").read_text() == error_table.error_table()


def test_the_administrators_page_names_the_methods_that_are_asked_for():
    """As the partner's page does: one list, in two places."""
    told, asked = ((ROOT / f"docs/{page}.md").read_text() for page in ("for-the-administrator", "schoolsbuddy"))
    table = asked.partition("| key | feeds |")[2].partition("\n\n")[0]
    rows = [line.split("|") for line in table.splitlines()[2:]]
    methods = {method.strip() for row in rows for method in re.split(r";|, else", row[3])}
    assert len(methods) >= 15 and not [method for method in methods if method not in told]


@pytest.mark.skipif(shutil.which("systemd-analyze") is None, reason="needs systemd-analyze")
def test_the_systemd_units_are_right(tmp_path: Path):
    unit = (ROOT / "deploy/isams-pipeline.service").read_text()
    variables = (ROOT / "deploy/isams-pipeline.env").read_text()
    program = tmp_path / "isams-pipeline"
    program.write_text("#!/bin/sh\n")
    program.chmod(0o755)
    units = [*(ROOT / "deploy").glob("*.service"), *(ROOT / "deploy").glob("*.timer")]
    assert {one.name for one in units} == {"isams-pipeline.service", "isams-backup.service", "isams-backup.timer"}
    for one in units:
        here = tmp_path / one.name
        here.write_text(one.read_text().replace("/opt/isams-pipeline/.venv/bin/isams-pipeline", str(program)))
    here = [str(tmp_path / one.name) for one in units]
    done = subprocess.run(["systemd-analyze", "verify", "--man=no", *here], capture_output=True, text=True)
    assert done.returncode == 0 and not any(one in done.stderr for one in here), done.stderr
    loaded = runpy.run_path(str(ROOT / "deploy/as-service"))
    run = loaded["command"](["sync", "riverside"], unit)
    assert run[0] == "systemd-run" and run[-3:] == ["/opt/isams-pipeline/.venv/bin/isams-pipeline", "sync", "riverside"]
    assert "--property=User=isams-pipeline" in run and any("LoadCredential=RIVERSIDE" in word for word in run)
    known = (ROOT / "docs/configuration.md").read_text() + (ROOT / "docs/operations.md").read_text()
    for name in re.findall(r"^#?(\w+)=", variables, re.MULTILINE):
        assert name.removesuffix("_FILE") in known, f"{name} is documented"


def test_the_data_dictionary_is_up_to_date():
    assert (ROOT / "docs/data-dictionary.md").read_text() == dictionary()


def test_the_page_of_wire_facts_is_the_codes_own_list_and_each_place_is_there():
    assert (ROOT / "docs/wire-facts.md").read_text() == wire_facts.page()
    for fact in wire_facts.FACTS:
        assert wire_facts.found(fact.where) is not None, fact
    told = {fact.where.partition(":")[0].replace(".", "/") for fact in wire_facts.FACTS}
    for path in PACKAGE.rglob("*.py"):
        name = path.relative_to(PACKAGE).with_suffix("").as_posix()
        says = re.search(r"\binferred\b", path.read_text(), re.IGNORECASE)
        if (
            says
            and not name.startswith(("sandbox/", "datasets/", "commands/wire_facts"))
            and path.name != "__init__.py"
        ):
            assert name in told, f"{name} calls something inferred that is not on the page"


LOOKUPS = re.compile(r"\.drop_duplicates\(|dict\(\s*zip\(|\.set_index\([^)]*\)(?:\[[^]]*\])?\.to_dict\(")
WHOLE_ROWS = {
    "datasets/rules.py": "people of two nights, counted once each",
    "partners/room_booking/sync.py": "entries that say the same in every column of the store's key",
    "partners/room_booking/store.py": "column names beside a row's own values",
    "partners/room_booking/calendars.py": "column names beside an event's own values",
    "rules/people.py": "persons who are unique by then, with their row",
    "sources/isams/parse.py": "the declared key of a dataset, within one document",
}
"""Where a plain look-up is no look-up by a key that a source may repeat, and why."""


def test_what_a_source_may_repeat_is_looked_up_by_the_one_helper():
    for folder in ("rules", "partners", "sources", "datasets"):
        for path in (PACKAGE / folder).rglob("*.py"):
            name = path.relative_to(PACKAGE).as_posix()
            found = LOOKUPS.findall(path.read_text())
            assert not found or name in WHOLE_ROWS, f"{name}: use rules.references.Lookup instead of {found}"


def parameters() -> Iterator[tuple[str, str, str, str]]:
    """Every function's file, its name, what it gives, and the type of each of its parameters."""
    for file in sorted(PACKAGE.rglob("*.py")):
        for node in ast.walk(ast.parse(file.read_text())):
            if isinstance(node, ast.FunctionDef):
                gives = ast.unparse(node.returns) if node.returns else ""
                for one in (*node.args.posonlyargs, *node.args.args, *node.args.kwonlyargs):
                    kind = ast.unparse(one.annotation) if one.annotation else ""
                    yield file.relative_to(PACKAGE).as_posix(), node.name, gives, kind


def test_no_rule_adds_to_what_it_was_given():
    """A rule gives what it has to say: only Exclusions and Account themselves take another's."""
    given = [(file, name) for file, name, _, kind in parameters() if kind.strip("'\"") in {"Exclusions", "Account"}]
    assert sorted(set(given)) == [
        ("rules/account.py", "adopt"),
        ("rules/account.py", "join"),
        ("rules/split.py", "join"),
    ]


def test_only_a_grant_makes_requests_for_lists():
    """What a school has authorised is looked at in one place; a request made elsewhere would go round it."""
    made = [
        file.relative_to(PACKAGE).as_posix()
        for file in PACKAGE.rglob("*.py")
        for node in ast.walk(ast.parse(file.read_text()))
        if isinstance(node, ast.Call) and ast.unparse(node.func).endswith("ListRequest")
    ]
    assert made == ["sources/shared/grants.py"]


def test_no_check_hides_in_an_assert():
    """Python leaves asserts out when it is told to optimise, and their errors say nothing to anybody."""
    found = [
        f"{file.relative_to(PACKAGE)}:{node.lineno}"
        for file in PACKAGE.rglob("*.py")
        for node in ast.walk(ast.parse(file.read_text()))
        if isinstance(node, ast.Assert) or (isinstance(node, ast.Name) and node.id == "AssertionError")
    ]
    assert found == []


def test_definitions_are_made_of_settings_and_runs_get_resources():
    """What a closure holds is there before a run: a definition that held an environment would hide what a run opens."""
    made = [
        (file, name)
        for file, name, gives, kind in parameters()
        if kind.strip("'\"") == "Environment" and "dg." in gives and "Definition" in gives
    ]
    assert made == [("commands/headless.py", "job_of"), ("definitions.py", "build_definitions")]


def test_texts_are_folded_in_one_module_only():
    allowed = {"rules/compare.py", "rules/email.py", "rules/details.py"}
    for path in [*(PACKAGE / "rules").glob("*.py"), *(PACKAGE / "partners").rglob("*.py")]:
        name = path.relative_to(PACKAGE).as_posix()
        text = path.read_text()
        if name not in allowed and "casefold()" in text:
            assert name in {"partners/room_booking/pictures.py", "partners/my_school_portal/review.py"}, name


# --- what Dagster loads -----------------------------------------------------------------------------------


def empty_environment(**settings: Any) -> Environment:
    return Environment(Settings(**settings), data_dir=Path("nowhere"))


def test_asset_keys_jobs_and_schedules(make: Callable[..., World]):
    world = make({"riverside": small_school(), "harbour": small_school()})
    world.configure(lambda c: c["schools"]["harbour"].update(timezone="Asia/Dubai"))
    repository = build_definitions(world.environment).get_repository_def()
    assert {key.to_user_string() for key in repository.asset_graph.get_all_asset_keys()} == {
        *(f"isams/{name}" for name in DATASETS),
        *(
            f"{key}/{name}"
            for key in ("schoolsbuddy", "room_booking")
            for name in (
                *("export", "exclusions", "delivery"),
                *(table.name for table in PARTNERS[key].exporting.tables),
            )
        ),
        *(f"room_booking/{name}" for name in ("bookings", "mail", "calendars", "occupancy")),
        *(f"isams_rest/attendance_{session}" for session in ("am", "pm")),
        *(f"schoolsbuddy_attendance/{name}_{session}" for name in ("marks", "delivery") for session in ("am", "pm")),
        "my_school_portal/changes",
        "my_school_portal/confirmation",
        "tonight",
        "status",
        "retention",
    }
    assert {name for name in repository.job_names if not name.startswith("__")} == {
        "schoolsbuddy_nightly",
        "room_booking_nightly",
        "schoolsbuddy_attendance_am",
        "schoolsbuddy_attendance_pm",
        "my_school_portal_changes",
        "my_school_portal_nightly",
        "allow_removals",
        "isams_datasets",
        "look_at_tonight",
        "look_at_status",
        "end_what_is_kept_too_long",
    }
    assert [sensor.name for sensor in repository.sensor_defs] == [
        "my_school_portal_approved",
        "run_again_what_was_broken_off",
        "status_current",
        "tonight_current",
    ]
    schedules = {
        s.name: (s.execution_timezone, s.cron_schedule, s.default_status.value) for s in repository.schedule_defs
    }
    assert schedules == {
        "schoolsbuddy_nightly_europe_london": ("Europe/London", "0 2 * * *", "RUNNING"),
        "schoolsbuddy_nightly_asia_dubai": ("Asia/Dubai", "0 2 * * *", "RUNNING"),
        "room_booking_nightly_europe_london": ("Europe/London", "0 3 * * *", "RUNNING"),
        "room_booking_nightly_asia_dubai": ("Asia/Dubai", "0 3 * * *", "RUNNING"),
        "my_school_portal_nightly_europe_london": ("Europe/London", "0 4 * * *", "RUNNING"),
        "my_school_portal_nightly_asia_dubai": ("Asia/Dubai", "0 4 * * *", "RUNNING"),
        "schoolsbuddy_attendance_am_europe_london_1100": ("Europe/London", "0 11 * * *", "RUNNING"),
        "schoolsbuddy_attendance_am_asia_dubai_1100": ("Asia/Dubai", "0 11 * * *", "RUNNING"),
        "schoolsbuddy_attendance_pm_europe_london_1500": ("Europe/London", "0 15 * * *", "RUNNING"),
        "schoolsbuddy_attendance_pm_asia_dubai_1500": ("Asia/Dubai", "0 15 * * *", "RUNNING"),
        "retention_weekly_europe_london": ("Europe/London", "0 13 * * 0", "RUNNING"),
        "retention_weekly_asia_dubai": ("Asia/Dubai", "0 13 * * 0", "RUNNING"),
    }


def test_every_asset_shows_what_it_is(world: World):
    graph = build_definitions(world.environment).get_repository_def().asset_graph
    for key in graph.get_all_asset_keys():
        node = graph.get(key)
        assert node.description and node.group_name == key.path[0] and node.owners and node.kinds, key
        datasets = DATASETS if key.path[0] == "isams" else LISTED_DATASETS
        if key.path[0] in SOURCES and key.path[1] in datasets:
            schema: Any = node.metadata["dagster/column_schema"]
            value = getattr(schema, "value", schema)
            assert [column.name for column in value.columns] == datasets[key.path[1]].names
            assert all(column.description for column in value.columns)


def test_definitions_load_with_nothing_and_fast(tmp_path: Path):
    code = "import time; t = time.monotonic(); from isams_pipeline.definitions import defs; defs(); print(time.monotonic() - t)"
    took = []
    for _ in range(2):  # the first may compile the modules
        done = subprocess.run(
            [sys.executable, "-c", code],
            cwd=tmp_path,
            env={"PYTHONPATH": str(ROOT), "HOME": str(tmp_path)},
            capture_output=True,
            text=True,
            check=True,
        )
        took.append(float(done.stdout))
    assert not list(tmp_path.iterdir()), "loading writes nothing"
    assert min(took) < 6, "3 s is the aim; a machine that runs the other tests beside may take twice that"


def test_importing_the_definitions_reads_no_configuration(tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    (tmp_path / "schools.yaml").write_text("not: [right")
    code = "import isams_pipeline.definitions"
    subprocess.run([sys.executable, "-c", code], cwd=tmp_path, env={"PYTHONPATH": str(ROOT)}, check=True)


# --- partitions and schedules -----------------------------------------------------------------------------


@given(st.dates(), st.from_regex(r"[a-z][a-z0-9_-]{0,10}", fullmatch=True))
def test_a_nights_key_comes_back_as_the_night(day: Any, school: str):
    assert night_of(key_of(Night(school, day))) == Night(school, day)


@given(
    st.datetimes(datetime(2020, 1, 1), datetime(2035, 1, 1)),
    st.sampled_from(["Europe/London", "Pacific/Auckland", "America/New_York"]),
)
def test_a_night_is_the_date_on_the_schools_wall(moment: datetime, zone: str):
    local = moment.replace(tzinfo=UTC).astimezone(ZoneInfo(zone))
    assert night_at("s", ZoneInfo(zone), moment.replace(tzinfo=UTC)).date == local.date()


@pytest.mark.parametrize(
    ("zone", "moment", "night"),
    [
        ("Europe/London", datetime(2026, 1, 15, 2, tzinfo=UTC), "2026-01-15"),
        ("Europe/London", datetime(2026, 3, 29, 1, tzinfo=UTC), "2026-03-29"),  # clocks go forward at 01:00
        ("Europe/London", datetime(2026, 10, 25, 2, tzinfo=UTC), "2026-10-25"),  # clocks went back at 02:00
        ("Pacific/Auckland", datetime(2026, 1, 14, 13, tzinfo=UTC), "2026-01-15"),
        ("America/New_York", datetime(2026, 3, 8, 7, tzinfo=UTC), "2026-03-08"),  # there is no 02:00 that day
    ],
)
def test_a_tick_starts_a_run_for_the_schools_own_date(
    make: Callable[..., World], zone: str, moment: datetime, night: str
):
    world = make()
    world.configure(lambda c: c["schools"]["riverside"].update(timezone=zone))
    world.moment[0] = moment
    repository = build_definitions(world.environment).get_repository_def()
    schedule = next(s for s in repository.schedule_defs if s.name.startswith("schoolsbuddy_nightly"))
    with dg.build_schedule_context(
        scheduled_execution_time=moment, repository_def=repository, resources={"environment": world.environment}
    ) as context:
        (request,) = schedule.evaluate_tick(context).run_requests or []
    assert request.partition_key == f"{night}|riverside"
    assert request.run_key == f"schoolsbuddy:riverside:{night}"


def test_schools_without_the_partner_have_no_schedule(make: Callable[..., World]):
    world = make()
    world.configure(lambda c: c["schools"]["riverside"].pop("partners"))
    schedules = build_definitions(world.environment).get_repository_def().schedule_defs
    assert [schedule.name for schedule in schedules] == ["retention_weekly_europe_london"], (
        "what is kept of it ends all the same"
    )


@pytest.mark.parametrize(
    ("zones", "first"),
    [
        ((), "UTC"),
        (("Europe/London",), "Europe/London"),
        (("America/Toronto", "Pacific/Auckland", "Asia/Dubai"), "Pacific/Auckland"),
        (("Australia/Brisbane", "Australia/Sydney"), "Australia/Sydney"),
    ],
)
def test_the_latest_night_is_today_where_today_comes_first(zones: tuple[str, ...], first: str):
    """A night of tomorrow would be *latest* in the UI, and launching it would fail each of its steps."""
    schools = {zone: SimpleNamespace(timezone=ZoneInfo(zone), first_night=None) for zone in zones}
    settings = Settings().model_copy(update={"schools": schools})
    before = datetime.now(ZoneInfo(first)).date()
    dates = nights_of(settings).get_partitions_def_for_dimension("date").get_partition_keys()
    assert dates[0] == settings.history_from.isoformat()
    assert before <= date.fromisoformat(dates[-1]) <= datetime.now(ZoneInfo(first)).date()


def test_where_two_zones_take_turns_today_is_there_in_both():
    """Santiago is ahead in its summer, Halifax in the other: neither may lack its own today for an hour."""
    zone, spare = earliest_zone([ZoneInfo("America/Santiago"), ZoneInfo("America/Halifax")])
    assert zone.key in {"America/Santiago", "America/Halifax"} and spare == 1
    assert earliest_zone([ZoneInfo("Europe/London"), ZoneInfo("Pacific/Auckland")]) == (ZoneInfo("Pacific/Auckland"), 0)


def test_two_runs_of_one_school_do_not_leave_the_queue_together(tmp_path: Path):
    with open_instance(tmp_path) as instance:
        queue = instance.get_concurrency_config().run_queue_config
        assert queue is not None
        assert queue.tag_concurrency_limits == [
            {"key": "dagster/partition/school", "value": {"applyLimitPerUniqueValue": True}, "limit": 1}
        ]


def test_loading_takes_no_time_to_speak_of():
    started = time.monotonic()
    build_definitions(empty_environment())
    assert time.monotonic() - started < 3
