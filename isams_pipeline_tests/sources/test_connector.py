"""A school's connector: its states by real calls, as a person meets them, and as Dagster keeps them."""

from __future__ import annotations

import threading
import time
import webbrowser
from collections.abc import Callable
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import dagster as dg
import httpx
import pytest
import yaml

from isams_pipeline.commands.headless import run_job
from isams_pipeline.commands.redirect import await_code
from isams_pipeline.definitions import build_definitions
from isams_pipeline.errors import NotAuthorised, TokensUnreadable, Unavailable, WrongToken, WrongUse
from isams_pipeline.orchestration.connection_assets import CONNECTIONS_JOB
from isams_pipeline.orchestration.environment import Environment
from isams_pipeline.orchestration.partitions import Night
from isams_pipeline.sandbox.demo import xporter_variable
from isams_pipeline.sandbox.sides import CONNECTOR_STATES
from isams_pipeline.sources import assembly, xporter
from isams_pipeline.sources.advice import advice, steps
from isams_pipeline.sources.assembly.client import AssemblyClient
from isams_pipeline.sources.registry import LISTED
from isams_pipeline.sources.shared.connections import Connections, Finding, Reason, State
from isams_pipeline.storage.state import StateDatabase
from isams_pipeline.storage.state.tokens import TokenVault
from isams_pipeline_tests.sources.crossing import Crossing
from isams_pipeline_tests.test_commands import at, call_here
from isams_pipeline_tests.world import FIRST, SCHOOL, World, small_school

NIGHT = Night(SCHOOL, FIRST)


def now(crossing: Crossing, source: str) -> str:
    return crossing.connector(source).look().now.words


# --- states -----------------------------------------------------------------------------------------------


def test_assembly_step_by_step_and_back(crossing: Crossing):
    crossing.assembly.is_registered = False
    assert now(crossing, "assembly") == "awaiting invitation"
    crossing.assembly.is_registered = True
    seen = []
    for crossing.assembly.connector in CONNECTOR_STATES:
        seen.append(now(crossing, "assembly"))
    assert seen == [
        "awaiting invitation",
        "awaiting connection: not authorised",
        "awaiting connection: not installed",
        "awaiting connection: onboarding",
        "awaiting connection: paused",
        "connected",
    ]
    assert crossing.connector("assembly").take_code(crossing.code()).now.words == "authorised"
    crossing.assembly.connector = "paused"
    moved = crossing.connector("assembly").look()
    assert moved.now.words == "awaiting connection: paused" and moved.worse == "the connection was authorised, and is awaiting connection: paused"  # fmt: skip
    crossing.assembly.connector = "connected"
    crossing.assembly.revoke()
    assert now(crossing, "assembly") == "connected"


def test_xporter_step_by_step_and_back(crossing: Crossing):
    connector, side = crossing.connector("xporter"), crossing.xporter
    assert now(crossing, "xporter") == "awaiting invitation"
    assert connector.invite().now.words == "awaiting connection: not authorised" and side.invitations == 1
    side.is_authorised, side.status = True, "NotInstalled"
    assert now(crossing, "xporter") == "awaiting connection: not installed"
    side.status = "Onboarding"
    assert now(crossing, "xporter") == "awaiting connection: onboarding"
    with pytest.raises(NotAuthorised, match="not connected"):
        connector.choose(None)
    side.status = "OK"
    assert now(crossing, "xporter") == "connected"
    assert connector.choose(None).now.words == "authorised"
    side.is_paused = True
    assert now(crossing, "xporter") == "awaiting connection: paused"
    side.is_paused, side.is_authorised = False, False
    assert now(crossing, "xporter") == "awaiting connection: not authorised"


def test_a_school_is_found_and_invited_before_it_has_a_secret(crossing: Crossing):
    crossing.world.variables["DEMO_RIVERSIDE_XPORTER_SECRET"] = ""
    crossing.world.configure(lambda _: None)
    with xporter.connect(crossing.world.environment.access(SCHOOL), to_manage=True) as client:
        assert [one.estab_code for one in client.search("river")] == ["1199"]
    now_ = crossing.connector("xporter").invite().now
    assert now_.words == "awaiting connection: not authorised" and "DEMO_RIVERSIDE_XPORTER_SECRET" in now_.said


def test_taking_scopes_back_is_worse_too(crossing: Crossing):
    crossing.connect("xporter")
    crossing.xporter.scopes.discard("Attendance")
    assert crossing.connector("xporter").look().worse == "scopes taken back: Attendance"


def test_only_scopes_that_the_school_has_authorised_can_be_chosen(crossing: Crossing):
    crossing.connect("xporter")
    crossing.xporter.scopes.discard("Attendance")
    with pytest.raises(WrongUse, match="has not authorised Attendance"):
        crossing.connector("xporter").choose(["School", "Student", "Staff", "Contact", "Attendance"])
    with pytest.raises(WrongUse, match="without Contact"):
        crossing.connector("xporter").choose(["School", "Student", "Staff"])


def test_a_code_of_another_school_is_refused_and_nothing_kept(make: Callable[..., World]):
    schools = {name: replace(small_school(), sources=True) for name in (SCHOOL, "elsewhere")}
    crossing = Crossing(make(schools))
    crossing.assembly.connector = "connected"
    with pytest.raises(WrongToken, match="another URN"):
        crossing.connector("assembly").take_code(crossing.code(school="elsewhere"))
    assert now(crossing, "assembly") == "connected"


def test_each_state_says_what_it_means_what_is_next_and_by_whom(crossing: Crossing):
    connections = crossing.world.environment.connections
    told = set()
    for state in State:
        for reason in Reason if state is State.AWAITING_CONNECTION else (None,):
            for source in ("assembly", "xporter"):
                found = connections.found(SCHOOL, source, Finding(state, reason), who="a test").now
                one = advice(SCHOOL, source, found, ["schoolbooking"])
                assert one.means.endswith(".") and one.next and one.by
                told.add((source, one.means))
                ticked = [step.done for step in steps(source, found)]
                assert ticked == sorted(ticked, reverse=True), "no step before the one before"
                assert sum(ticked) == {0: 0, 1: ticked.count(True), 2: 3, 3: 4}[state.rank]
    assert len(told) >= 13


def test_what_is_next_once_authorised_goes_by_the_partners_that_use_the_source(crossing: Crossing):
    found = crossing.world.environment.connections.found(SCHOOL, "xporter", Finding(State.AUTHORISED), who="a test").now
    assert advice(SCHOOL, "xporter", found, ["schoolsbuddy"]).next.endswith("--partner schoolsbuddy")
    nobody = advice(SCHOOL, "xporter", found, [])
    assert nobody.by == "you" and "the source xporter in schools.yaml" in nobody.next


def test_the_history_keeps_every_move_and_no_look_that_showed_nothing_new(state_url: str | None, tmp_path: Path):
    moment = datetime(2026, 2, 10, 2, tzinfo=UTC)
    state = StateDatabase.open(tmp_path, state_url)
    connections = Connections(state, lambda: moment)
    connected = Finding(State.CONNECTED, said="it works")
    assert connections.found("a", "xporter", connected, who="x").changed
    moment = datetime(2026, 2, 10, 3, tzinfo=UTC)
    again = connections.found("a", "xporter", connected, who="x")
    assert not again.changed and again.now.since.hour == 2 and again.now.checked.hour == 3
    connections.choose("a", "xporter", ["School"], who="somebody")
    one = connections.current("a", "xporter")
    assert one is not None and one.chosen == {"School"} and connections.current("b", "xporter") is None
    assert [(step.who, step.said) for step in connections.history("a", "xporter")] == [
        ("x", "it works"),
        ("somebody", "the app was authorised"),
    ]
    vault = TokenVault(state, "a", "xporter", "secret", lambda: moment)
    vault.save({"token": "t"})
    vault.save({"token": "u"})
    assert vault.load() == {"token": "u"}
    with pytest.raises(TokensUnreadable, match="another secret"):
        TokenVault(state, "a", "xporter", "other", lambda: moment).load()
    vault.forget()
    assert vault.load() is None
    state.close()


# --- revoking and purging ---------------------------------------------------------------------------------


def test_revoked_nothing_is_read_any_more_and_the_data_can_be_purged(connected: Crossing, source: str):
    connected.frame(source, "pupils")
    connector = connected.connector(source)
    with pytest.raises(WrongUse, match="still authorised"):
        connector.purge()
    assert connector.revoke().now.state is State.CONNECTED
    connected.asked(source)
    with pytest.raises(NotAuthorised):
        connected.read(source, 1, "pupils")
    assert not {path for path in connected.asked(source) if "tudent" in path} - {"Students status"}
    environment = connected.world.environment
    environment.tables.save(
        connected.read(source, 0, "health")["health"].frame,
        source=source, dataset="pupils", school=SCHOOL, night=FIRST, provenance={},
    )  # fmt: skip
    done = connector.purge()
    assert done.lists > 1 and done.tables == 2
    assert not [path for path in connected.world.data.rglob("*") if path.is_file() and source in path.parts]


def test_a_revocation_that_assembly_did_not_hear_can_be_tried_again(crossing: Crossing):
    crossing.connect("assembly")
    crossing.world.sandbox.fail(SCHOOL, "assembly_503", times=3, key="school")
    with pytest.raises(Unavailable):
        crossing.connector("assembly").revoke()
    assert crossing.assembly.tokens
    assert crossing.connector("assembly").revoke().now.state is State.CONNECTED and crossing.assembly.is_revoked


def test_a_token_for_another_urn_can_be_seen_and_revoked(crossing: Crossing):
    crossing.connect("assembly")
    crossing.world.configure(lambda c: c["schools"][SCHOOL]["assembly"].update(urn="149999"))
    moved = crossing.connector("assembly").look()
    assert moved.now.state is State.AWAITING_INVITATION and "another URN" in moved.now.said and moved.worse
    crossing.connector("assembly").revoke()
    assert crossing.assembly.is_revoked


def test_purging_takes_what_an_earlier_source_has_left(crossing: Crossing):
    for source in ("assembly", "xporter"):
        crossing.connect(source)
    world = crossing.world
    assert world.run(0, partner="schoolbooking").outcome == "delivered"
    world.configure(lambda c: c["schools"][SCHOOL]["partners"]["schoolbooking"].update(source="xporter"))
    assert world.run(0, partner="schoolbooking", allow_removals=True).outcome == "delivered"
    world.configure(lambda c: c["schools"][SCHOOL]["partners"]["schoolbooking"].update(source="isams"))
    surname = world.sandbox.source_days.of(SCHOOL, "assembly", differs=True).pupils[1].surname.encode()
    crossing.connector("xporter").revoke()
    done = crossing.connector("xporter").purge()
    assert done.exports > 10 and done.lists and done.tables
    staged = [path for path in (world.data / "staged").rglob("*") if path.is_file()]
    assert not [path for path in staged if surname in path.read_bytes()]
    crossing.connector("assembly").revoke()
    crossing.connector("assembly").purge()
    # The tables of the rules go with the source that they were made from, and with those a night that was made anew.
    assert not list((world.data / "tables/schoolbooking").rglob("*.parquet"))
    assert not list((world.data / "tables/schoolbooking").rglob("*.json"))


def test_every_scope_taken_back_is_no_authorisation(crossing: Crossing):
    crossing.connect("assembly")
    crossing.assembly.shrink(*LISTED["assembly"].scopes)
    assert crossing.connector("assembly").look().now.state is State.CONNECTED
    with pytest.raises(NotAuthorised, match="which the app needs"):
        crossing.read("assembly", 0, "rooms")
    assert crossing.asked("assembly").count("rooms") == 0


# --- the command line -------------------------------------------------------------------------------------


def test_from_finding_to_revoking_at_the_command_line(crossing: Crossing):
    world = crossing.world
    code, out = at(world, "connector", "find", "rivers")
    assert code == 0 and "Riverside School" in out and "3281199" in out and "140001" in out
    assert at(world, "connector", "find", "nowhere")[0] == 1
    code, out = at(world, "connector", "status", SCHOOL)
    assert code == 0 and out.count("never looked at") == 2
    code, out = at(world, "connector", "test", SCHOOL, "--source", "xporter")
    assert code == 1 and "awaiting invitation" in out and "by you: isams-pipeline connector invite" in out
    code, out = at(world, "connector", "invite", SCHOOL, "--source", "xporter")
    assert code == 0 and "on its way" in out and "Begin Authorisation" in out and "Invited 20" in out
    code, out = at(world, "connector", "authorise", SCHOOL, "--source", "xporter")
    assert code == 1 and "not connected" in out
    crossing.xporter.is_authorised, crossing.xporter.status = True, "OK"
    code, out = at(
        world, "connector", "authorise", SCHOOL, "--source", "xporter", "--scopes", "School,Student,Staff,Contact"
    )
    assert code == 0 and "4 scopes" in out and "Read the school's data of kind Contact" in out
    code, out = at(world, "connector", "status", SCHOOL, "--source", "xporter")
    assert code == 0 and "an invitation was sent" in out and "the app was authorised" in out
    code, out = at(world, "connector", "revoke", SCHOOL, "--source", "xporter", "--purge")
    assert code == 0 and "Groupcall School Portal" in out and "Removed of riverside" in out


def test_assembly_at_the_command_line(crossing: Crossing):
    world = crossing.world
    code, out = at(world, "connector", "invite", SCHOOL, "--source", "assembly")
    assert code == 2 and "Grant Access" in out
    crossing.assembly.connector = "connected"
    code, out = at(world, "connector", "authorise", SCHOOL, "--source", "assembly", "--code", crossing.code())
    assert code == 0 and "31 scopes" in out
    code, out = at(world, "connector", "authorise", SCHOOL, "--source", "assembly", "--code", "made up")
    assert code == 1 and "does not accept the code" in out and "made up" not in out
    code, out = at(world, "connector", "revoke", SCHOOL)
    assert code == 2 and "several sources" in out
    assert at(world, "connector", "sync", SCHOOL)[0] == 0
    code, out = at(world, "connector", "sync", SCHOOL)
    assert code == 1 and "under way" in out
    code, out = at(world, "connector", "authorise", SCHOOL, "--source", "assembly", "--scopes", "school")
    assert code == 2 and "the school chooses the scopes" in out and "--scopes" in out
    code, out = at(world, "connector", "authorise", SCHOOL, "--source", "xporter", "--code", "x")
    assert code == 2 and "there is no code" in out
    code, out = at(world, "connector", "status", SCHOOL, "--source", "train")
    assert code == 2 and "no source" in out


def test_a_person_says_yes_in_a_browser(crossing: Crossing, monkeypatch: pytest.MonkeyPatch):
    world, port = crossing.world, _free_port()
    config = yaml.safe_load(world.config.read_text())
    config["schools"][SCHOOL]["assembly"]["redirect_uri"] = f"http://127.0.0.1:{port}/authorised"
    world.config.write_text(yaml.safe_dump(config))
    browsers: list[threading.Thread] = []

    def browse(address: str) -> bool:
        browsers.append(threading.Thread(target=_once_it_listens, args=(address,)))
        browsers[-1].start()
        return True

    monkeypatch.setattr(webbrowser, "open", browse)
    crossing.assembly.connector = "paused"
    code, out = at(world, "connector", "authorise", SCHOOL, "--source", "assembly")
    assert code == 1 and "not connected to the school's data" in out and "awaiting connection: paused" in out
    crossing.assembly.connector = "connected"
    with assembly.connect(crossing.world.environment.access(SCHOOL)) as client:
        client.forget()
    monkeypatch.setattr(AssemblyClient, "look", _gone)
    code, out = at(world, "connector", "authorise", SCHOOL, "--source", "assembly")
    assert code == 0 and "could not be checked: Not there" in out and "30 scopes" in out
    monkeypatch.undo()
    monkeypatch.setattr(webbrowser, "open", browse)
    code, out = at(world, "connector", "authorise", SCHOOL, "--source", "assembly")
    assert code == 0 and "authorised already" in out
    for browser in browsers:
        browser.join()


def test_the_history_is_cut_aloud_and_shows_a_state_where_it_changed(crossing: Crossing):
    world = crossing.world
    for crossing.assembly.connector in (*CONNECTOR_STATES, *CONNECTOR_STATES):
        now(crossing, "assembly")
    world.environment.connections.invited(SCHOOL, "assembly", who="a test")
    code, out = at(world, "connector", "status", SCHOOL, "--source", "assembly")
    moves = out[out.index("The last 6 of 13 moves") :]
    assert code == 0 and moves.count("by Assembly's list of schools") == 4
    last = moves.strip().splitlines()[-1]
    assert "an invitation was sent" in last and "connected" not in last, "the state is as it was before"


def test_a_made_up_schools_secret_that_is_missing_says_where_it_is(crossing: Crossing):
    options = ["--config", str(crossing.world.config), "--data-dir", str(crossing.world.data)]
    code, out = call_here("connector", "test", SCHOOL, "--source", "xporter", *options)
    assert code == 2 and "DEMO_" in out and "isams-pipeline sandbox" in out


def test_doctor_says_how_far_the_sources_are(crossing: Crossing):
    crossing.connect("assembly")
    code, out = at(crossing.world, "doctor", SCHOOL)
    assert code == 0 and "assembly: authorised" in out and "xporter: awaiting invitation" in out
    assert f"No partner of {SCHOOL} uses xporter" in out, "so that doctor is green all the same"
    crossing.world.configure(
        lambda config: config["schools"][SCHOOL]["partners"]["schoolbooking"].update(source="xporter")
    )
    assert at(crossing.world, "doctor", SCHOOL)[0] == 1, "now somebody waits for it"


def _gone(*_: object) -> None:
    raise Unavailable("Not there")


def _once_it_listens(address: str) -> int:
    """What a browser gets at an address, as soon as anything listens there."""
    for _ in range(250):
        try:
            return httpx.get(address, follow_redirects=True).status_code
        except httpx.ConnectError:
            time.sleep(0.02)
    raise AssertionError(f"nothing listens at {address}")


def test_the_browser_comes_back_with_the_code():
    answers: list[int] = []

    def browser(port: int) -> None:
        for query in ("favicon.ico", "authorised?code=right&state=expected"):
            answers.append(_once_it_listens(f"http://127.0.0.1:{port}/{query}"))

    port = _free_port()
    thread = threading.Thread(target=browser, args=(port,))
    thread.start()
    assert await_code("127.0.0.1", port, "expected", wait=10) == "right"
    thread.join()
    assert answers == [400, 200]


def test_a_redirect_that_was_not_asked_for_is_refused():
    port = _free_port()
    threading.Timer(0.2, lambda: httpx.get(f"http://127.0.0.1:{port}/?code=evil&state=other")).start()
    with pytest.raises(NotAuthorised, match="not to what was asked"):
        await_code("127.0.0.1", port, "expected", wait=10)


def test_a_school_that_says_no_and_one_that_says_nothing():
    port = _free_port()
    threading.Timer(0.2, lambda: httpx.get(f"http://127.0.0.1:{port}/?error=access_denied&state=expected")).start()
    with pytest.raises(NotAuthorised, match="The school said no"):
        await_code("127.0.0.1", port, "expected", wait=10)
    with pytest.raises(NotAuthorised, match="No answer came from the browser"):
        await_code("127.0.0.1", _free_port(), "expected", wait=0.1)


def _free_port() -> int:
    import socket

    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])


def test_the_sandbox_lets_a_person_play_the_school(crossing: Crossing):
    base = crossing.world.url

    def move(connected: str, step: str) -> httpx.Response:
        return httpx.post(f"{base}/sandbox/sources", json={"school": SCHOOL, "source": connected, "step": step})

    assert move("assembly", "connected").is_success and now(crossing, "assembly") == "connected"
    for step in ("authorise", "OK", "pause"):
        assert move("xporter", step).is_success
    assert now(crossing, "xporter") == "awaiting connection: paused"
    told = httpx.get(f"{base}/sandbox").json()["schools"][SCHOOL]["sources"]
    assert told["assembly"]["connector"] == "connected" and told["xporter"]["authorised"] == "paused"
    for connected, step, known in (("xporter", "dance", "resume"), ("train", "connected", "assembly, xporter")):
        answer = move(connected, step)
        assert answer.status_code == 422 and known in answer.json()["error"]
    assert "with school, source, step" in httpx.post(f"{base}/sandbox/sources", content="?").json()["error"]
    with assembly.connect(crossing.world.environment.access(SCHOOL)) as client:
        address = client.tokens.authorise_url("a state")
    answer = httpx.get(address)
    assert answer.status_code == 302 and "state=a+state" in answer.headers["location"]
    code = httpx.URL(answer.headers["location"]).params["code"]
    assert crossing.connector("assembly").take_code(code).now.words == "authorised"


# --- Dagster ----------------------------------------------------------------------------------------------


def connection_of(crossing: Crossing, source: str, day: int = 0) -> tuple[dict[str, Any], dg.AssetCheckEvaluation]:
    world = crossing.world
    run = run_job(world.environment, world.instance, CONNECTIONS_JOB, Night(SCHOOL, FIRST + timedelta(days=day)), {})
    assert run.failures == ()
    logs = world.instance.all_logs(run.run_id)
    key = dg.AssetKey([source, "connection"])
    made = next(e.dagster_event for e in logs if e.dagster_event and e.dagster_event.is_step_materialization and e.dagster_event.asset_key == key)  # fmt: skip
    verdict = next(
        e.dagster_event.asset_check_evaluation_data
        for e in logs
        if e.dagster_event and e.dagster_event.event_type_value == "ASSET_CHECK_EVALUATION"
        and e.dagster_event.asset_check_evaluation_data.asset_key == key
    )  # fmt: skip
    metadata = made.step_materialization_data.materialization.metadata  # type: ignore[union-attr]
    return {name: value.value for name, value in metadata.items()}, verdict


def test_the_asset_has_the_state_and_warns_where_it_worsens(crossing: Crossing):
    crossing.connect("assembly")
    metadata, verdict = connection_of(crossing, "assembly")
    assert metadata["state"] == "authorised" and "students.basic" in metadata["scopes"] and verdict.passed
    crossing.assembly.connector = "paused"
    metadata, verdict = connection_of(crossing, "assembly")
    assert metadata["state"] == "awaiting connection: paused" and metadata["by"] == "the school"
    assert not verdict.passed and verdict.severity is dg.AssetCheckSeverity.WARN
    _, again = connection_of(crossing, "assembly")
    assert not again.passed, "a second look on the same day does not make it well"
    crossing.world.at_night(1)
    _, later = connection_of(crossing, "assembly", 1)
    assert later.passed, "it is no news on the next day"


def test_the_run_that_the_sensor_starts_warns_of_what_the_sensor_saw(crossing: Crossing):
    crossing.connect("assembly")
    crossing.world.at_night(3, hour=0)
    crossing.world.moment[0] += timedelta(minutes=10)
    crossing.assembly.connector = "paused"
    assert crossing.connector("assembly").look().worse
    _, verdict = connection_of(crossing, "assembly", 3)
    assert not verdict.passed and "the connection was authorised, and is awaiting connection: paused" in str(
        verdict.metadata
    )


def test_scopes_that_were_taken_back_are_still_told_of_after_another_look(crossing: Crossing):
    crossing.connect("xporter")
    crossing.world.at_night(1)
    crossing.xporter.scopes.discard("Attendance")
    assert crossing.connector("xporter").look().worse
    _, verdict = connection_of(crossing, "xporter", 1)
    assert not verdict.passed and "scopes taken back: Attendance" in str(verdict.metadata)


def test_scopes_that_a_person_does_without_are_not_taken_back(crossing: Crossing):
    crossing.connect("xporter")
    crossing.world.at_night(1)
    crossing.connector("xporter").choose(["School", "Student", "Staff", "Contact"])
    _, verdict = connection_of(crossing, "xporter", 1)
    assert verdict.passed


def test_a_source_that_still_waits_for_the_schools_secret_does_not_fail_the_sensor(crossing: Crossing):
    crossing.connect("assembly")
    crossing.world.variables[xporter_variable(SCHOOL)] = ""
    crossing.world.configure(lambda _: None)
    repository = build_definitions(crossing.world.environment).get_repository_def()
    with dg.build_sensor_context(
        crossing.world.instance, repository_def=repository, resources={"environment": crossing.world.environment}
    ) as context:
        found = repository.get_sensor_def("connections_current").evaluate_tick(context)
    assert found.skip_message == "No connection has moved"


def test_the_sensor_looks_and_starts_a_run_where_something_has_moved(crossing: Crossing):
    repository = build_definitions(crossing.world.environment).get_repository_def()
    sensor = repository.get_sensor_def("connections_current")

    def tick() -> tuple[list[dg.RunRequest], str | None]:
        with dg.build_sensor_context(
            crossing.world.instance, repository_def=repository, resources={"environment": crossing.world.environment}
        ) as context:
            found = sensor.evaluate_tick(context)
            return list(found.run_requests or []), found.skip_message

    first, _ = tick()
    assert sorted(str(r.asset_selection[0].path) for r in first) == ["['assembly', 'connection']", "['xporter', 'connection']"]  # type: ignore[index]  # fmt: skip
    assert {request.partition_key for request in first} == {f"{FIRST}|{SCHOOL}"}
    assert tick() == ([], "No connection has moved")
    crossing.assembly.connector = "connected"
    moved, _ = tick()
    assert len(moved) == 1 and moved[0].run_key not in {request.run_key for request in first}
    crossing.world.variables["DEMO_ASSEMBLY_SECRET"] = ""
    crossing.world.configure(lambda _: None)
    broken: Environment = crossing.world.environment
    repository = build_definitions(broken).get_repository_def()
    sensor = repository.get_sensor_def("connections_current")
    with pytest.raises(Exception, match="DEMO_ASSEMBLY_SECRET"):
        tick()
