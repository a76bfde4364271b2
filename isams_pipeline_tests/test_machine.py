"""Secrets in files, and what doctor says of a machine."""

from __future__ import annotations

import os
import stat
from pathlib import Path

import pytest

from isams_pipeline.commands.machine import FIXED, look, python_flaw
from isams_pipeline.config.secrets import secret_from, without_secrets
from isams_pipeline.errors import ConfigurationError, MissingSecret, StorageError
from isams_pipeline.storage.state.database import postgres_url, protection
from isams_pipeline_tests.test_commands import call_here
from isams_pipeline_tests.world import SCHOOL, World


def test_a_secret_comes_from_a_variable_a_file_or_systemd(tmp_path: Path):
    (tmp_path / "A_KEY").write_text(" by systemd\n")
    (tmp_path / "other").write_text("by file\n")
    assert secret_from({"A_KEY": " plain "}, "A_KEY") == "plain"
    assert secret_from({"A_KEY_FILE": str(tmp_path / "other")}, "A_KEY") == "by file"
    assert secret_from({"CREDENTIALS_DIRECTORY": str(tmp_path)}, "A_KEY") == "by systemd"
    both = {"A_KEY": "plain", "A_KEY_FILE": str(tmp_path / "other")}
    with pytest.raises(ConfigurationError, match="Both A_KEY and A_KEY_FILE"):
        secret_from(both, "A_KEY")


@pytest.mark.parametrize("content", [b"", b" \n", b"\xff\xfe", b"x" * 70_000, None])
def test_a_file_that_holds_no_secret(tmp_path: Path, content: bytes | None):
    file = tmp_path / "key"
    if content is not None:
        file.write_bytes(content)
    with pytest.raises(MissingSecret) as missing:
        secret_from({"A_KEY_FILE": str(file)}, "A_KEY", school="riverside")
    assert "A_KEY" in str(missing.value) and missing.value.remedy


def test_a_key_that_is_replaced_is_the_next_runs(world: World, tmp_path: Path):
    names = world.environment.settings.school(SCHOOL).variables
    folder = tmp_path / "secrets"
    folder.mkdir()
    values = dict(world.environment.variables)
    for name in names:
        (folder / name).write_text(values[name])
    key = world.environment.settings.school(SCHOOL).need_isams.keys["students"].secret
    (folder / key).write_text("00000000-0000-0000-0000-000000000000")
    plain = {name: value for name, value in values.items() if name not in names}
    world.environment.variables = plain | {"CREDENTIALS_DIRECTORY": str(folder)}
    assert world.run(0).outcome.value == "failed"
    (folder / key).write_text(values[key])
    assert world.run(0).outcome.value == "delivered", "in the same process, without a restart"


def test_the_web_servers_process_gets_none():
    variables = {"A_KEY": "x", "A_KEY_FILE": "y", "CREDENTIALS_DIRECTORY": "z", "PATH": "/bin", "B": "c"}
    assert without_secrets(variables, {"A_KEY"}) == {"PATH": "/bin", "B": "c"}


@pytest.mark.parametrize(
    ("version", "flawed"),
    [((3, 11, 9), True), ((3, 11, 10), False), ((3, 12, 4), True), ((3, 12, 5), False), ((3, 13, 0), False)],
)
def test_two_flaws_of_python(version: tuple[int, int, int], flawed: bool):
    said = python_flaw(version)
    assert (said is not None) is flawed
    assert said is None or f"{version[0]}.{version[1]}.{FIXED[version[:2]]} or later" in said


@pytest.mark.parametrize(
    ("url", "mode", "is_fit"),
    [
        ("postgresql://a:b@db.example.org/x", "verify-full", True),
        ("postgresql+psycopg2://a:b@192.0.2.1:5433/x", "verify-full", True),
        ("postgresql://a:b@db.example.org/x?sslmode=require", "require", False),
        ("postgresql://a:b@db.example.org/x?sslmode=disable", "disable", False),
        ("postgresql://a:b@localhost/x", None, True),
        ("postgresql://a:b@127.0.0.1/x", None, True),
        ("postgresql://a:b@/x?host=/run/postgresql", None, True),
        ("postgresql://a:b@/x?host=db.example.org", "verify-full", True),
    ],
)
def test_off_this_machine_postgres_proves_whose_it_is(url: str, mode: str | None, is_fit: bool):
    made = postgres_url(url)
    assert (f"sslmode={mode}" in made) if mode else ("sslmode" not in made)
    said, fit = protection(url)
    assert fit is is_fit and "b@" not in said


def test_a_postgres_that_proves_nothing_is_not_used(tmp_path: Path, world: World):
    from isams_pipeline.storage.state import StateDatabase

    with pytest.raises(StorageError) as refused:
        StateDatabase.open(tmp_path, "postgresql://canary:canary@192.0.2.1:1/x?connect_timeout=1")
    assert "canary" not in str(refused.value)


def test_doctor_says_how_old_secrets_in_files_are_and_who_may_read_them(world: World, tmp_path: Path):
    name = world.environment.settings.school(SCHOOL).need_isams.keys["students"].secret
    file = tmp_path / "key"
    file.write_text("x")
    file.chmod(0o644)
    os.utime(file, (world.moment[0].timestamp() - 40 * 86_400,) * 2)
    world.environment.variables = {f"{name}_FILE": str(file)}
    found = {one.what: one for one in look(world.environment, world.data)}
    assert "40 days" in found[name].said and "others on this machine may read" in found[name].said
    assert not found[name].is_fit
    file.chmod(stat.S_IRUSR)
    assert {one.what: one for one in look(world.environment, world.data)}[name].is_fit


def test_doctor_repairs(world: World):
    assert world.run(0).outcome.value == "delivered"
    world.close()
    code, said = call_here("doctor", "--repair", "--config", str(world.config), "--data-dir", str(world.data))
    assert code == 0 and "0 runs were ended" in said and "0 files were mended" in said
