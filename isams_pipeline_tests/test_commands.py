"""The command line as a person meets it."""

from __future__ import annotations

import contextlib
import inspect
import io
import json
import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable
from importlib import import_module
from importlib.metadata import version
from pathlib import Path
from typing import Any
from unittest.mock import patch

import pytest

from isams_pipeline import commands
from isams_pipeline.commands import main
from isams_pipeline.commands.common import console
from isams_pipeline.sandbox import render
from isams_pipeline.sandbox.batch import error_document
from isams_pipeline.sandbox.demo import secrets_of
from isams_pipeline.sandbox.school import SchoolDay, simple_school
from isams_pipeline_tests.world import FIRST, SCHOOL, World

ROOT = Path(__file__).parent.parent


def call(*words: str, cwd: Path | None = None, variables: dict[str, str] | None = None) -> tuple[int, str]:
    """Run isams-pipeline in a process of its own; exit code and everything it printed."""
    if words[0] == "inspect":  # needs no process of its own, and there are many
        return call_here(*words)
    env = {
        "PYTHONPATH": str(ROOT),
        "PATH": os.environ["PATH"],
        "HOME": str(cwd or ROOT),
        "COLUMNS": "100",
        **(variables or {}),
    }
    done = subprocess.run(
        [sys.executable, "-m", "isams_pipeline.commands", *words],
        cwd=cwd,
        env=env,
        capture_output=True,
        text=True,
        timeout=120,
    )
    return done.returncode, done.stdout + done.stderr


def call_here(*words: str) -> tuple[int, str]:
    """The same in this process."""
    printed, umask = io.StringIO(), os.umask(0o022)
    console.width = 100
    with (
        patch.dict(os.environ, {"COLUMNS": "100"}),
        contextlib.redirect_stdout(printed),
        contextlib.redirect_stderr(printed),
        patch.object(sys, "argv", ["isams-pipeline", *words]),
    ):
        code = main()
    os.umask(umask)
    return code, printed.getvalue()


@pytest.fixture
def today(make: Callable[..., World]) -> World:
    """A world in which it is today, since commands go by the real clock."""
    from isams_pipeline.clock import system_clock

    world = make()
    world.moment[0] = system_clock()
    world.sandbox.clock = system_clock
    return world


def at(world: World, command: str, *words: str) -> tuple[int, str]:
    """Run a command at a world, in this process: a new one would spend most of its time on imports."""
    options = ["--config", str(world.config), "--data-dir", str(world.data)]
    with patch.dict(os.environ, {**secrets_of(world.sandbox), **world.variables}):
        return call_here(command, *words, *options)


def test_help_teaches():
    code, out = call("--help")
    assert code == 0
    for word in ("sync", "backfill", "explain", "doctor", "inspect", "sandbox", "demo", "ui", "Exit codes"):
        assert word in out
    code, out = call_here("sync", "--help")
    assert code == 0 and "--allow-removals" in out and "--fresh" in out
    assert "[default: today at the school]" in call_here("reconcile", "--help")[1], "what is in brackets is no markup"


@pytest.mark.parametrize(
    ("words", "said"),
    [
        (["nonsense"], "No such command"),
        (["sync"], "Missing argument"),
        (["sync", "x", "--date", "tomorrow"], "no configuration file"),
        (["sync", "riverside", "--config", "none.yaml"], "There is no configuration file"),
        (["doctor"], "There is no school"),
        (["ui"], "Run `make demo` first"),
    ],
)
def test_wrong_use_is_exit_code_2_with_a_sentence(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, words: list[str], said: str
):
    monkeypatch.chdir(tmp_path)
    # The UI takes the process's signals.
    code, out = call("ui", cwd=tmp_path) if words == ["ui"] else call_here(*words)
    assert code == 2 and said in out and "Traceback" not in out


def test_sync_explain_and_backfill(today: World):
    code, out = at(today, "sync", SCHOOL, "--partner", "schoolsbuddy")
    assert code == 0 and "delivered" in out and "students" in out
    assert "isams/contacts: done\n" in out and "schoolsbuddy/delivery: done\n" in out, "a line a step, off a terminal"
    code, out = at(today, "sync", SCHOOL)
    assert code == 0 and "unchanged" in out and "may still answer as of" in out
    night = next(today.exports.glob(f"{SCHOOL}/*")).name
    code, out = at(today, "sync", SCHOOL, "--date", night, "--fresh")
    assert code == 0
    student = (today.exports / SCHOOL / night / "students.csv").read_text().splitlines()[1].split(",")[0]
    code, out = at(today, "explain", SCHOOL, student)
    assert code == 0 and f"student {student} is in the export" in out and "contacts:" in out
    exclusions = (today.data / f"reports/schoolsbuddy/{SCHOOL}/{night}/exclusions.csv").read_text().splitlines()
    contact = next(line.split(",")[1] for line in exclusions if line.startswith("contact,") and "contact_type" in line)
    code, out = at(today, "explain", SCHOOL, contact)
    assert code == 0 and "is not in the export" in out and "contact_type" in out
    code, out = at(today, "explain", SCHOOL, "nobody@example.org")
    assert code == 1 and "by iSAMS has nobody with that id" in out and "each source has ids of its own" in out
    code, out = at(today, "backfill", SCHOOL, "--from", night, "--to", night)
    assert code == 0 and "1 unchanged" in out
    code, out = at(today, "backfill", SCHOOL, "--from", str(FIRST), "--to", str(FIRST))
    assert code == 1 and "The archive has nothing of that night" in out and "1 failed" in out
    code, out = at(today, "sync", SCHOOL, "--date", "2099-01-01")
    assert code == 2 and "no night that can be run" in out


def test_a_refused_sync_is_exit_code_1_with_its_reasons(today: World):
    today.configure(lambda c: c["schools"][SCHOOL].update(campuses={"Main": "7-12"}))
    code, out = at(today, "sync", SCHOOL)
    assert code == 1 and "refused" in out and "year 13 has students but no campus" in out


def test_a_failed_sync_is_exit_code_1_with_its_reason(today: World):
    today.sandbox.schools[SCHOOL].keys[0].active = False
    code, out = at(today, "sync", SCHOOL)
    assert code == 1 and "failed" in out and "iSAMS does not know the key" in out and "Traceback" not in out


def test_doctor_sees_missing_and_extra_methods_and_reads_nobodys_data(today: World):
    code, out = at(today, "doctor", SCHOOL)
    assert code == 0 and "All keys, clients and targets are fit" in out
    keys = {key.name: key for key in today.sandbox.schools[SCHOOL].keys}
    keys["students"].methods = ("Pupil_GetCurrentPupils", "Pupil_GetAlumni")
    keys["staff"].active = False
    code, out = at(today, "doctor", SCHOOL)
    assert code == 1
    assert "Pupil_GetSiblings" in out and "untick under this key's Batch Methods: Pupil_GetAlumni" in out
    assert "iSAMS does not know the key" in out
    assert all(len(methods) > 100 for _, methods in today.sandbox.schools[SCHOOL].requests), "only the one question"
    assert not (today.data / "archive").exists()


def test_doctor_sees_one_key_in_two_variables(today: World, monkeypatch: pytest.MonkeyPatch):
    """Else it would tell the school to untick methods of a key that is right."""
    keys = {key.name: key for key in today.sandbox.schools[SCHOOL].keys}
    monkeypatch.setenv("STAFF_KEY", keys["students"].guid)
    today.configure(lambda c: c["schools"][SCHOOL]["isams"]["keys"]["staff"].update(secret="STAFF_KEY"))
    code, out = at(today, "doctor", SCHOOL)
    assert code == 1 and "STAFF_KEY holds the same key as" in out and "(students)" in out
    assert "untick" not in out and keys["students"].guid not in out


@pytest.mark.parametrize("change", [lambda guid: guid[:-4], lambda guid: "{" + guid[1:] + "}", lambda _: "changeme"])
def test_doctor_sees_a_guid_that_was_cut(today: World, monkeypatch: pytest.MonkeyPatch, change: Callable[[str], str]):
    (key,) = [key for key in today.sandbox.schools[SCHOOL].keys if key.name == "staff"]
    monkeypatch.setenv("STAFF_KEY", change(key.guid))
    today.configure(lambda c: c["schools"][SCHOOL]["isams"]["keys"]["staff"].update(secret="STAFF_KEY"))
    code, out = at(today, "doctor", SCHOOL)
    length = len(change(key.guid).strip("{}"))
    assert code == 1 and f"STAFF_KEY holds no whole GUID: {length} characters" in out
    assert change(key.guid) not in out


def test_doctor_knows_room_bookings_key(today: World):
    def without_cover(config: dict[str, Any]) -> None:
        key = config["schools"][SCHOOL]["isams"]["keys"]["bookings"]
        key["feeds"], key["cache_hours"] = ["estates", "timetable"], 24

    today.configure(without_cover)
    code, out = at(today, "doctor", SCHOOL)
    assert code == 1, "the key may run more than its feeds need"
    assert "cache expiry in iSAMS to 1 hour, and" in out
    assert "guide also asks for the feeds lesson_suspensions, room_closure_reasons, room_closures" in " ".join(
        out.split()
    )
    today.sandbox.fail(SCHOOL, "ip_refused", key="bookings")
    code, out = at(today, "doctor", SCHOOL)
    assert code == 1 and "IP, domain and SSL restrictions" in out


def test_explain_is_about_people(today: World):
    code, out = at(today, "explain", SCHOOL, "4711", "--partner", "room_booking")
    assert code == 2 and "room_booking has no people to explain" in out


def test_doctor_advises_on_cache_hours(today: World):
    today.configure(lambda c: c["schools"][SCHOOL]["isams"]["keys"]["staff"].update(cache_hours=24))
    code, out = at(today, "doctor")
    assert code == 0 and "set the key's cache expiry in iSAMS to 2 or 3 hours" in out


def saved(folder: Path, data: bytes) -> str:
    (folder / "saved.xml").write_bytes(data)
    return str(folder / "saved.xml")


def test_inspect_data(tmp_path: Path):
    school = SchoolDay(simple_school(), FIRST)
    methods = ["Pupil_GetCurrentPupils", "ContactAdvanced_GetContacts"]
    file = saved(tmp_path, "".join(render.document(school, methods)).encode())
    code, out = call("inspect", file)
    assert code == 0 and "pupils" in out and "60" in out and "PupilManager/CurrentPupils/Pupil/AddedLater" in out
    code, out = call("inspect", file, "--json")
    found = json.loads(out)
    assert code == 0 and set(found) == {"datasets", "unknown", "error"} and found["error"] is None
    assert set(found["datasets"]) == {"pupils", "contacts", "contact_pupils"}
    pupils = found["datasets"]["pupils"]
    assert pupils["rows"] == 60 == len(pupils["records"])
    assert pupils["records"][0]["pupil_id"] == school.pupils[0].id
    assert pupils["records"][0]["date_of_birth"].startswith(school.pupils[0].born.isoformat())
    code, out = call("inspect", file, "--records")
    assert code == 0 and school.pupils[0].surname in out


def test_inspect_by_xpath(tmp_path: Path):
    school = SchoolDay(simple_school(), FIRST)
    file = saved(tmp_path, "".join(render.document(school, ["Pupil_GetCurrentPupils"])).encode())
    code, out = call("inspect", file, "--xpath", "count(//Pupil)")
    assert (code, out.strip()) == (0, "60.0")
    code, out = call("inspect", file, "--xpath", "//CurrentPupils[1]/Pupil[1]/@Id", "--json")
    assert code == 0
    assert json.loads(out) == [
        {"path": "/iSAMS/PupilManager/CurrentPupils[1]/Pupil[1]", "value": str(school.pupils[0].id)}
    ]
    assert call("inspect", file, "--xpath", "//Nobody")[0] == 1
    code, out = call("inspect", file, "--xpath", "//[")
    assert code == 2 and "XPath 1.0" in out
    code, out = call("inspect", saved(tmp_path, b"<iSAMS><a>"), "--xpath", "//a")
    assert code == 2 and "not well-formed" in out
    entity = b'<!DOCTYPE iSAMS [<!ENTITY e SYSTEM "file:///etc/hostname">]><iSAMS>&e;</iSAMS>'
    code, out = call("inspect", saved(tmp_path, entity), "--xpath", "/iSAMS")
    assert code == 2 and "document type" in out


def test_schema_lists_tables_and_shows_one():
    code, out = call("schema")
    assert code == 0 and "schoolsbuddy/eligible_contacts" in out and "isams/pupils" in out
    code, out = call("schema", "schoolsbuddy/contacts")
    assert code == 0 and "contacts = pa.DataFrameSchema(" in out and '"email": pa.Column(' in out
    code, out = call("schema", "schoolsbuddy/contact")
    assert code == 2 and "Did you mean schoolsbuddy/contacts?" in out


def test_inspect_an_object_of_the_archive(today: World):
    assert at(today, "sync", SCHOOL)[0] == 0
    (packed,) = [
        path for path in (today.data / "archive" / SCHOOL / "objects").glob("*.zst") if path.stat().st_size > 2_000
    ][:1]
    code, out = call("inspect", str(packed))
    assert code == 0 and "rows" in out
    code, out = call("inspect", str(packed) + ".not")
    assert code == 2 and ".not cannot be read" in out


def test_inspect_medical(tmp_path: Path):
    data = "".join(render.document(SchoolDay(simple_school(), FIRST), ["Pupil_GetCurrentPupilsHealth"])).encode()
    code, out = call("inspect", saved(tmp_path, data), "--json")
    found = json.loads(out)
    assert code == 0 and found["datasets"]["health"]["rows"] > 10 and found["unknown"] == []


@pytest.mark.parametrize(
    ("identifier", "text", "retryable"),
    [("InvalidApiKey", "The API key is invalid.", False), ("UnhandledException", "was deadlocked on lock", True)],
)
def test_inspect_error_document(tmp_path: Path, identifier: str, text: str, retryable: bool):
    file = saved(tmp_path, error_document(identifier, "A title", text))
    code, out = call("inspect", file, "--json")
    assert code == 1
    assert json.loads(out)["error"] == {
        "id": identifier,
        "title": "A title",
        "description": text,
        "retryable": retryable,
    }
    code, out = call("inspect", file)
    assert code == 1 and identifier in out and f"a retry helps: {'yes' if retryable else 'no'}" in out


@pytest.mark.parametrize("data", [b"", b"Log in", b"<html/>", b"<iSAMS><PupilManager>", b"<!DOCTYPE x><iSAMS/>"])
def test_inspect_what_is_not_readable(tmp_path: Path, data: bytes):
    code, out = call("inspect", saved(tmp_path, data))
    assert code == 2 and "Traceback" not in out
    code, out = call("inspect", saved(tmp_path, data), "--json")
    assert code == 2 and json.loads(out)["error"]["retryable"] is False
    assert call("inspect", str(tmp_path / "none.xml"))[0] == 2


def test_demo_refuses_to_overwrite_a_real_schools_history(tmp_path: Path):
    (tmp_path / "data/archive/st-ada").mkdir(parents=True)
    code, out = call("demo", cwd=tmp_path)
    assert code == 2 and "holds the history of a real school" in out


def test_a_real_school_and_a_demo_keep_out_of_each_others_folders(today: World):
    assert at(today, "sync", SCHOOL)[0] == 0
    (today.data / "demo").mkdir()
    (today.data / "demo/schools.yaml").write_text("")
    (today.data / "archive" / SCHOOL).rename(today.data / "archive/ada-s-school")
    code, out = call("demo", "--data-dir", str(today.data), cwd=today.folder)
    assert code == 2 and "holds the history of a real school" in out
    assert (today.data / "archive/ada-s-school").exists()
    code, out = at(today, "sync", SCHOOL)
    assert code == 2 and "The folder is a demo's" in out


def test_a_data_folder_that_cannot_be_written(today: World):
    (today.folder / "file").write_text("")
    code, out = call(
        "sync", SCHOOL, "--config", str(today.config), "--data-dir", str(today.folder / "file/x"), cwd=today.folder,
        variables=secrets_of(today.sandbox),
    )  # fmt: skip
    assert code == 1 and "StorageError" in out and "Traceback" not in out


def test_killed_in_the_middle_leaves_the_last_good_export_and_the_next_run_makes_it_good(today: World):
    """A process killed while it promotes: the manifest is gone or whole, and the next run delivers."""
    assert at(today, "sync", SCHOOL)[0] == 0
    night = next(today.exports.glob(f"{SCHOOL}/*"))
    today.sandbox.schools[SCHOOL].plan = type(today.sandbox.schools[SCHOOL].plan)(
        seed="riverside", pupils=26, subjects=2
    )
    killer = (
        "import os, signal, sys\n"
        "from isams_pipeline.delivery import receipts\n"
        "receipts.LEASE_SECONDS = 5.0\n"
        "from isams_pipeline.storage import folder\n"
        "from isams_pipeline.commands import main\n"
        "move = folder.Folder.move\n"
        "def stop(self, source, target):\n"
        "    if target == 'students.csv' and 'exports' in self.url: os.kill(os.getpid(), signal.SIGKILL)\n"
        "    move(self, source, target)\n"
        "folder.Folder.move = stop\n"
        "sys.argv = ['isams-pipeline', *sys.argv[1:]]\n"
        "sys.exit(main())\n"
    )
    words = [
        "sync",
        SCHOOL,
        "--fresh",
        "--allow-removals",
        "--config",
        str(today.config),
        "--data-dir",
        str(today.data),
    ]
    env = {"PYTHONPATH": str(ROOT), "PATH": os.environ["PATH"], **secrets_of(today.sandbox)}
    today.sandbox.forget_answers()  # it still answers from its cache within the cache hours
    done = subprocess.run(
        [sys.executable, "-c", killer, *words], env=env, cwd=today.folder, capture_output=True, timeout=120
    )
    assert done.returncode == -signal.SIGKILL
    assert not (night / "manifest.json").exists(), "a reader that goes by the manifest sees no export, not half of one"
    started = time.monotonic()
    code, out = at(today, "sync", SCHOOL, "--allow-removals")
    assert code == 0 and "delivered" in out, out
    assert time.monotonic() - started < 60, "the dead run's lease is waited out, no longer"
    manifest = json.loads((night / "manifest.json").read_text())
    assert manifest["files"]["students.csv"]["rows"] == 26
    assert not list(night.glob(".incoming-*")), "what the dead run left half is swept away"


# --- the list of commands ---------------------------------------------------------------------------------


def every_command() -> list[commands.Command]:
    return [*commands.COMMANDS, *(command for group in commands.GROUPS for command in group.commands)]


@pytest.mark.parametrize("command", every_command(), ids=lambda command: command.does)
def test_a_command_is_listed_as_its_own_help_begins(command: commands.Command):
    module, _, name = command.does.partition(":")
    does = getattr(import_module(f"isams_pipeline.commands.{module}"), name)
    assert " ".join((inspect.getdoc(does) or "").partition("\n\n")[0].split()) == command.help


def test_the_list_of_commands_is_there_at_once_and_imports_no_partner():
    code = (
        "import sys, time; from isams_pipeline.commands import main; sys.argv[1:] = ['--help']; main();"
        "print(time.process_time(), sorted(name for name in ('pandas', 'dagster') if name in sys.modules))"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True, cwd=ROOT)
    seconds, _, imported = done.stdout.strip().splitlines()[-1].partition(" ")
    assert imported == "[]" and float(seconds) < 0.5
    assert all(f" {command.name} " in done.stdout for command in commands.COMMANDS)


def test_a_night_from_the_shell_imports_nothing_that_it_does_not_use():
    """Each such import is time that a person at a prompt waits for, and a run that the daemon starts."""
    others = ("openpyxl", "jinja2", "prometheus_client", "matplotlib", "uvicorn", "isams_pipeline.sandbox")
    code = f"import sys, isams_pipeline.commands.nights; print([name for name in {others!r} if name in sys.modules])"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True, cwd=ROOT)
    assert done.stdout.strip() == "[]"


def test_the_version_is_said(capsys: pytest.CaptureFixture[str]):
    assert call_here("--version") == (0, f"isams-pipeline {version('isams-pipeline')}\n")


@pytest.mark.parametrize(("old", "new"), commands.OLD_WORDS.items())
def test_an_option_by_its_old_name_is_taken_with_a_warning(old: str, new: str, capsys: pytest.CaptureFixture[str]):
    assert commands.by_new_words([old, "assembly", f"{old}=xporter", "--fresh"]) == [
        *(new, "assembly", f"{new}=xporter", "--fresh"),
    ]
    assert f"{old} is called {new} now" in capsys.readouterr().err
