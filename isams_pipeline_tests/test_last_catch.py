"""Whatever goes wrong, and however: nobody reads a person's value in an error."""

from __future__ import annotations

import ast
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import dagster as dg
import pytest

from isams_pipeline import commands, errors
from isams_pipeline.config import Settings
from isams_pipeline.errors import PipelineError, Unforeseen
from isams_pipeline.orchestration.environment import Environment
from isams_pipeline.orchestration.runs import NightResource, told_to_dagster, told_to_ticks
from isams_pipeline_tests.world import World

CANARY = "canary-of-a-child"


class Panic(BaseException):
    """As libraries that are no Python raise it."""


ERRORS: list[Callable[[], BaseException]] = [
    lambda: ValueError(CANARY),
    lambda: Panic(CANARY),
    lambda: SystemExit(CANARY),
    lambda: dg.DagsterInvariantViolationError(f"Could not resolve {CANARY}"),
    lambda: KeyError(CANARY),
]
IDS = ["value", "panic", "exit", "dagster", "key"]
every = pytest.mark.parametrize("error", ERRORS, ids=IDS)


@pytest.fixture
def instance() -> Iterator[dg.DagsterInstance]:
    with dg.DagsterInstance.ephemeral() as found:
        yield found


def log_of(instance: dg.DagsterInstance, run_id: str) -> str:
    return "\n".join(str(entry.to_json()) for entry in instance.all_logs(run_id))


@every
def test_in_a_step(make: Callable[..., World], instance: dg.DagsterInstance, error: Callable[[], BaseException]):
    environment = make().environment

    @dg.op
    def step() -> None:
        with told_to_dagster(environment):
            raise error()

    @dg.job
    def job() -> None:
        step()

    result = job.execute_in_process(instance=instance, raise_on_error=False)
    log = log_of(instance, result.run_id)
    assert not result.success and CANARY not in log
    assert f"does not know: {type(error()).__name__} at test_last_catch.py" in log


def test_when_a_resource_lets_go(
    make: Callable[..., World], instance: dg.DagsterInstance, monkeypatch: pytest.MonkeyPatch
):
    environment = make().environment

    @dg.op
    def step(night: NightResource) -> None:
        monkeypatch.setattr(night.session, "close", lambda: (_ for _ in ()).throw(ValueError(CANARY)))

    @dg.job(resource_defs={"night": NightResource(environment=environment)})
    def job() -> None:
        step()

    result = job.execute_in_process(instance=instance)
    log = log_of(instance, result.run_id)
    assert "does not know: ValueError" in log and CANARY not in log


@every
def test_in_the_body_of_a_schedule_or_sensor(error: Callable[[], BaseException]):
    @told_to_ticks
    def body(_: Any, environment: Environment) -> Iterator[dg.SkipReason]:
        yield dg.SkipReason("none")
        raise error()

    with pytest.raises(Unforeseen) as caught:
        list(body(None, Environment(Settings())))
    assert CANARY not in str(caught.value) and caught.value.__suppress_context__


def test_what_a_schedule_says_on_purpose_is_said():
    @told_to_ticks
    def body(_: Any, environment: Environment) -> Iterator[dg.SkipReason]:
        yield from ()
        raise PipelineError("No schools")

    with pytest.raises(PipelineError, match="No schools"):
        list(body(None, Environment(Settings())))


def test_every_body_that_dagster_calls_has_it():
    """One without it would put any error's text into its tick or its event log."""
    found = 0
    for file in Path(commands.__file__).parents[1].rglob("*.py"):
        for node in ast.walk(ast.parse(file.read_text())):
            if not isinstance(node, ast.FunctionDef):
                continue
            decorators = {ast.unparse(one).partition("(")[0] for one in node.decorator_list}
            if decorators & {"dg.schedule", "dg.sensor"}:
                found += 1
                assert "told_to_ticks" in decorators, f"{file.name}: {node.name}"
            if decorators & {"dg.asset", "dg.multi_asset", "dg.op", "dg.asset_check"}:
                found += 1
                wrapped = decorators & {
                    "of_a_night",
                    "of_a_night_with",
                    "of_a_nights_source",
                } or "told_to_dagster" in ast.unparse(node)
                assert wrapped, f"{file.name}: {node.name}"
    assert found > 10


@pytest.mark.parametrize("error", ERRORS[:1] + ERRORS[3:], ids=[IDS[0], *IDS[3:]])
def test_at_the_command_line(
    error: Callable[[], BaseException], monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
):
    def app(_: list[str]) -> None:
        raise error()

    monkeypatch.setattr(commands, "app", app)
    assert commands.main() == 1
    said = "".join(capsys.readouterr())
    assert CANARY not in said and "does not know" in said and "Traceback" not in said


def test_a_message_that_asks_for_a_report_says_where(monkeypatch: pytest.MonkeyPatch):
    error = PipelineError("Odd", remedy="Report this as a bug, with the list's name.")
    assert str(error) == "Odd. Report this as a bug (CONTRIBUTING.md says where), with the list's name."
    monkeypatch.setattr(errors, "_where_to_report", lambda: " at https://issues.example.org")
    assert str(error) == "Odd. Report this as a bug at https://issues.example.org, with the list's name."
