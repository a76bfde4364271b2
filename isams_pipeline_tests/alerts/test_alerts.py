"""Whoever is on call is told once, of what is so, by a real mail server and a real webhook; outages included."""

from __future__ import annotations

import json
import socket
import threading
import time
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from datetime import UTC, datetime, timedelta
from email import message_from_bytes, policy
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any
from unittest.mock import patch

import dagster as dg
import pytest
from aiosmtpd.controller import Controller
from sqlalchemy import select

from isams_pipeline.definitions import build_definitions
from isams_pipeline.orchestration.alerts.channels import channels
from isams_pipeline.orchestration.alerts.looking import Warnings
from isams_pipeline.orchestration.alerts.posting import AlertState, decide, send
from isams_pipeline.orchestration.alerts.rounds import Round, go_round, try_out
from isams_pipeline.orchestration.alerts.sensor import SENSOR, hours_of
from isams_pipeline.partners.registry import PARTNERS
from isams_pipeline.sandbox.demo import secrets_of
from isams_pipeline.storage.state.alerts import AlertMessage, Problem
from isams_pipeline_tests.post_office import PostOffice
from isams_pipeline_tests.world import FIRST, SCHOOL, World, small_school

CANARY = "https://hooks.example.org/services/T000/B000/CANARYSECRET"
HOURS = hours_of(PARTNERS.values())


class Receiver(BaseHTTPRequestHandler):
    """A webhook's server: answers what the test says, and remembers what came."""

    def do_POST(self) -> None:
        office: Any = self.server
        body = self.rfile.read(int(self.headers["Content-Length"]))
        office.came.append((self.path, dict(self.headers), json.loads(body)))
        says = office.says.pop(0) if office.says else 200
        if says == 0:  # taken, and nobody says so
            self.connection.shutdown(socket.SHUT_RDWR)
            return
        self.send_response(says)
        self.end_headers()

    def log_message(self, format: str, *args: Any) -> None:
        """Say nothing."""


class OnCall:
    """A world in which somebody is told."""

    def __init__(self, world: World) -> None:
        self.world, self.office = world, PostOffice()
        with socket.socket() as probe:
            probe.bind(("127.0.0.1", 0))
            self.port = probe.getsockname()[1]
        self.mail_server: Controller | None = None
        self.webhook: Any = None
        self.mail_up()
        world.configure(lambda config: [one["partners"].pop("room_booking") for one in config["schools"].values()])
        self._sessions: dict[str, Any] = {}
        world.configure(
            lambda config: [
                self._sessions.update({name: one["partners"]["schoolsbuddy"].pop("attendance", None)})
                for name, one in config["schools"].items()
            ]
        )

    def with_attendance(self) -> None:
        """Let the schools send attendance, as they do when nights alone are looked at no more."""
        self.world.configure(
            lambda config: [
                one["partners"]["schoolsbuddy"].update(attendance=self._sessions[name])
                for name, one in config["schools"].items()
            ]
        )

    def mail_up(self) -> None:
        self.mail_server = Controller(self.office, hostname="127.0.0.1", port=self.port)
        self.mail_server.start()

    def mail_down(self) -> None:
        if self.mail_server is not None:
            self.mail_server.stop()
            self.mail_server = None

    def webhook_up(self, *says: int, port: int = 0) -> None:
        self.webhook = ThreadingHTTPServer(("127.0.0.1", port), Receiver)
        self.webhook.came, self.webhook.says = [], list(says)
        threading.Thread(target=self.webhook.serve_forever, daemon=True).start()
        address = f"http://127.0.0.1:{self.webhook.server_port}/services/CANARYSECRET"
        self.world.variables["HOOK"] = address

    def webhook_down(self) -> int:
        port: int = self.webhook.server_port
        self.webhook.shutdown()
        self.webhook.server_close()
        return port

    def tell(self, *to: dict[str, Any], **settings: Any) -> None:
        """Say in schools.yaml who is told."""
        alerts = {
            "to": list(to),
            "smtp_url": f"smtp://127.0.0.1:{self.port}",
            "mail_from": "pipeline@example.org",
            "ui": "https://dagster.example.org",
            **settings,
        }
        self.world.configure(lambda config: config.update(alerts=alerts))

    def round(self, minutes: int = 6) -> Round:
        """A round, after some minutes."""
        self.world.moment[0] += timedelta(minutes=minutes)
        return go_round(self.world.environment, self.world.instance, HOURS)

    def mails(self) -> list[tuple[str, str]]:
        """Subject and text of what has come by mail."""
        found = [message_from_bytes(one.content, policy=policy.default) for one in self.office.taken]
        return [(str(one["Subject"]), str(one.get_content())) for one in found]

    def states(self) -> list[str]:
        with self.world.environment.state.transaction() as session:
            return list(session.scalars(select(AlertMessage.state).order_by(AlertMessage.id)))


@pytest.fixture
def on_call(make: Callable[..., World]) -> Iterator[Callable[..., OnCall]]:
    made: list[OnCall] = []

    def of(cache_hours: float = 2, **schools: Any) -> OnCall:
        made.append(OnCall(make(schools or None, cache_hours=cache_hours)))
        return made[-1]

    yield of
    for one in made:
        one.mail_down()
        if one.webhook is not None:
            one.webhook_down()


MAIL = {"email": ["oncall@example.org"]}
HOOK = {"webhook": "HOOK", "format": "json"}


def dead_host(world: World, *schools: str) -> Callable[[], None]:
    """Let the schools' iSAMS be where nobody answers; gives what brings it back."""
    good: dict[str, str] = {}

    def change(config: dict[str, Any]) -> None:
        for name in schools:
            good[name] = config["schools"][name]["isams"]["url"]
            config["schools"][name]["isams"]["url"] = "http://127.0.0.1:9"

    world.configure(change)
    return lambda: world.configure(
        lambda config: [config["schools"][name]["isams"].update(url=url) for name, url in good.items()]
    )


# --- one message for one cause and night --------------------------------------------------------------------


def test_schools_of_one_dead_host_are_one_message_and_their_recovery_is_another(on_call: Callable[..., OnCall]):
    names = ["harbour", "hillside", SCHOOL]
    one = on_call(**{name: small_school(mark=name) for name in names})
    world = one.world
    one.tell(MAIL)
    bring_back = dead_host(world, "harbour", "hillside")
    assert [world.night(0, school=name).outcome.value for name in names] == ["failed", "failed", "delivered"]
    assert (one.round(0).written, one.round(6).written) == (0, 1), "further schools are waited for"
    ((subject, text),) = one.mails()
    assert (
        "2 schools" in subject and "failed" in subject and str(FIRST) in subject and "refused the connection" in subject
    )
    assert all(name in text for name in names[:2]) and SCHOOL not in text
    assert text.count("https://dagster.example.org/runs/") == 2
    assert f"isams-pipeline sync hillside --partner schoolsbuddy --date {FIRST}" in text
    assert [one.round(minutes).written for minutes in (1, 10, 30)] == [0, 0, 0], "a repeat is no news"
    bring_back()
    for name in names[:2]:
        world.moment[0] += timedelta(minutes=1)
        assert world.run(0, school=name).outcome == "delivered"
    one.round(0)
    one.round(6)
    assert len(one.mails()) == 2
    subject, text = one.mails()[1]
    assert "well again" in subject and all(name in text for name in names[:2])
    assert one.round(60).written == 0 and len(one.mails()) == 2


def test_what_recovers_by_itself_at_once_is_told_to_nobody(on_call: Callable[..., OnCall]):
    one = on_call()
    one.tell(MAIL)
    bring_back = dead_host(one.world, SCHOOL)
    one.world.night(0)
    one.round(0)
    bring_back()
    one.world.moment[0] += timedelta(minutes=2)
    assert one.world.run(0).outcome == "delivered"
    assert [one.round(1).written, one.round(30).written] == [0, 0] and not one.mails()


def test_the_next_night_that_fails_is_a_message_of_its_own(on_call: Callable[..., OnCall]):
    one = on_call()
    one.tell(MAIL, gather_minutes=0)
    dead_host(one.world, SCHOOL)
    for day in (0, 1):
        one.world.night(day)
        one.round(1)
        one.round(1)
    assert [str(FIRST + timedelta(days=day)) in subject for day, (subject, _) in enumerate(one.mails())] == [True, True]


def test_a_refused_night_says_why_and_how_much_and_names_nobody(on_call: Callable[..., OnCall]):
    one = on_call()
    one.webhook_up()
    one.tell({**HOOK, "format": "slack"}, gather_minutes=0)
    world = one.world
    assert world.night(0).outcome == "delivered"
    world.configure(
        lambda config: config["schools"][SCHOOL]["partners"]["schoolsbuddy"].update(contact_types=["Nobody"])
    )
    assert world.night(1).outcome == "refused"
    one.round(0)
    ((path, headers, body),) = one.webhook.came
    assert path == "/services/CANARYSECRET" and headers["Idempotency-Key"]
    assert set(body) == {"text"} and "was refused" in body["text"] and "contacts" in body["text"]
    emails = {row.split(",")[-1] for row in world.export(0)["contacts.csv"].decode().splitlines() if "@" in row}
    assert emails and not any("@" in line for line in body["text"].splitlines())


def test_a_night_that_waits_for_a_look_says_how_to_release_it(on_call: Callable[..., OnCall]):
    one = on_call()
    one.world.configure(
        lambda config: config["schools"][SCHOOL]["partners"]["schoolsbuddy"].update(first_delivery="hold")
    )
    one.tell(MAIL, gather_minutes=0)
    assert one.world.night(0).outcome == "held"
    one.round(0)
    ((subject, text),) = one.mails()
    assert "waits for a look" in subject and f"isams-pipeline release {SCHOOL} --partner schoolsbuddy" in text


# --- late and missed ----------------------------------------------------------------------------------------


def test_a_night_that_nobody_ran_is_late_and_then_missed_for_good(on_call: Callable[..., OnCall]):
    one = on_call()
    one.tell(MAIL, gather_minutes=0)
    one.world.at_night(0, hour=12)
    one.round(0)
    assert one.mails() == [], "what was due before anybody watched is nobody's fault"
    one.world.at_night(1, hour=3)
    assert one.round(0).written == 0, "it is early"
    one.world.at_night(1, hour=4)
    one.round(1)
    ((subject, text),) = one.mails()
    assert "is late" in subject and "delivered by 04:00" in text and f"sync {SCHOOL}" in text
    one.world.at_night(2, hour=1)
    one.round(0)
    assert len(one.mails()) == 1, "a late night that is over is one problem still"
    assert one.world.night(2).outcome == "delivered"
    one.round(1)
    subject, _ = one.mails()[1]
    assert "well again" in subject and str(FIRST + timedelta(days=1)) in subject


def test_a_session_of_attendance_that_never_began_is_late(on_call: Callable[..., OnCall]):
    one = on_call()
    one.with_attendance()
    one.tell(MAIL)
    world = one.world
    world.night(0)
    world.at_night(0, hour=12)
    assert one.round(30).written == 0, "it has until two hours after its time"
    one.round(40)
    one.round(6)
    ((subject, text),) = one.mails()
    assert "schoolsbuddy_attendance am" in text and "should have been delivered by 13:00" in text and "late" in subject
    world.attendance("am", hour=13)
    one.round(1)
    one.round(6)
    assert len(one.mails()) == 2 and "well again" in one.mails()[1][0]


def test_a_session_that_fails_is_told(on_call: Callable[..., OnCall]):
    """It once was not: a session's name is not that of a partner in schools.yaml."""
    one = on_call()
    one.with_attendance()
    one.tell(MAIL)
    one.world.night(0)
    dead_host(one.world, SCHOOL)
    assert one.world.attendance("am").outcome == "failed"
    one.round(1)
    one.round(6)
    ((subject, text),) = one.mails()
    assert "failed" in subject and "schoolsbuddy_attendance am" in text
    assert f"isams-pipeline attendance {SCHOOL}" in text


def test_in_the_holidays_no_session_is_late(on_call: Callable[..., OnCall], monkeypatch: pytest.MonkeyPatch):
    from isams_pipeline.partners.schoolsbuddy.attendance import schedules

    one = on_call()
    one.with_attendance()
    one.tell(MAIL)
    one.world.night(0)
    monkeypatch.setattr(schedules, "is_holiday", lambda *_: True)
    one.world.at_night(0, hour=18)
    assert one.round(6).written == 0 and one.round(60).written == 0


def test_a_warning_is_told_to_who_wants_it_and_not_that_it_is_over(on_call: Callable[..., OnCall]):
    one = on_call(cache_hours=24)
    one.tell({**MAIL, "wants": ["warned", "recovered"]}, gather_minutes=0)
    one.world.night(0)
    run = one.world.night(1)
    assert run.outcome == "delivered" and run.warnings
    one.round(0)
    ((subject, text),) = one.mails()
    assert "was delivered with a warning" in subject
    assert all(name.split(": ")[1] in text for name, _ in run.warnings)
    assert one.round(30).written == 0


def test_a_run_that_has_delivered_and_goes_on_is_not_yet_asked_what_warns(on_call: Callable[..., OnCall]):
    one = on_call(cache_hours=24)
    one.world.night(0)
    warned = one.world.night(1)
    instance, warnings = one.world.instance, Warnings(one.world.instance, wanted=True)
    ended = instance.get_run_by_id(warned.run_id)
    assert ended is not None
    with patch.object(dg.DagsterInstance, "get_run_by_id", lambda *_: ended.with_status(dg.DagsterRunStatus.STARTED)):
        assert warnings.of(warned.run_id) == ""
    assert warned.warnings[0][0].split(": ")[1] in warnings.of(warned.run_id), "and not remembered as without any"


# --- whom, when -----------------------------------------------------------------------------------------------


def test_a_schools_own_channel_hears_of_that_school_only(on_call: Callable[..., OnCall]):
    one = on_call(**{name: small_school(mark=name) for name in ("harbour", SCHOOL)})
    one.tell(gather_minutes=0)
    one.world.configure(lambda config: config["schools"]["harbour"].update(alerts=[MAIL]))
    dead_host(one.world, "harbour", SCHOOL)
    for name in ("harbour", SCHOOL):
        one.world.night(0, school=name)
    one.round(0)
    ((_, text),) = one.mails()
    assert "harbour" in text and SCHOOL not in text


def test_nothing_is_sent_in_quiet_hours_and_all_of_it_at_their_end(on_call: Callable[..., OnCall]):
    one = on_call()
    one.tell({**MAIL, "quiet": "22:00-06:30"}, gather_minutes=0, timezone="Europe/Paris")
    dead_host(one.world, SCHOOL)
    one.world.night(0)
    assert one.round(0).written == 1 and one.mails() == []
    one.world.moment[0] = datetime(FIRST.year, FIRST.month, FIRST.day, 5, 29, tzinfo=UTC)
    assert one.round(0).posted.sent == 0
    assert one.round(1).posted.sent == 1, "06:30 in Paris"


# --- never lost, never twice ----------------------------------------------------------------------------------


def failed_night(one: OnCall, channel: dict[str, Any]) -> None:
    one.tell(channel, gather_minutes=0)
    dead_host(one.world, SCHOOL)
    one.world.night(0)


def test_mail_waits_out_a_dead_server_and_then_comes_once(on_call: Callable[..., OnCall]):
    one = on_call()
    one.mail_down()
    failed_night(one, MAIL)
    first = one.round(0)
    assert first.posted.sent == 0 and "mail: The mail server cannot be used" in first.posted.problems[0]
    assert "example.org" not in first.posted.problems[0]
    assert one.round(1).posted.sent == 0
    one.mail_up()
    assert [one.round(30).posted.sent, one.round(30).posted.sent] == [1, 0] and len(one.mails()) == 1


def test_mail_whose_answer_is_lost_is_in_doubt_and_never_sent_again_by_itself(on_call: Callable[..., OnCall]):
    one = on_call()
    one.office.dies_in_data = 1
    failed_night(one, MAIL)
    assert "may have arrived" in one.round(0).posted.problems[0]
    assert one.round(60).posted.sent == 0 and one.states() == [AlertState.IN_DOUBT.value]


@pytest.mark.parametrize(
    ("says", "states"),
    [
        (500, ["in_doubt"] * 2),
        (502, ["in_doubt"] * 2),
        (302, ["failed"] * 2),
        (503, ["queued", "sent"]),
        (429, ["queued", "sent"]),
        (404, ["failed"] * 2),
        (0, ["in_doubt"] * 2),
    ],
)
def test_a_webhook_that_answers_badly(on_call: Callable[..., OnCall], says: int, states: list[str]):
    one = on_call()
    one.webhook_up(says)
    failed_night(one, HOOK)
    one.round(0)
    found = one.states()
    one.round(30)
    assert [*found, *one.states()] == states
    assert len(one.webhook.came) == (2 if states[-1] == "sent" else 1)
    assert len({headers["Idempotency-Key"] for _, headers, _ in one.webhook.came}) == 1


def test_a_webhook_that_is_down_gets_it_once_it_is_up(on_call: Callable[..., OnCall]):
    one = on_call()
    one.webhook_up()
    port = one.webhook_down()
    failed_night(one, HOOK)
    done = one.round(0)
    assert "webhook HOOK: The webhook's server cannot be reached" in done.posted.problems[0]
    assert "CANARYSECRET" not in str(done.posted)
    one.webhook_up(port=port)
    assert [one.round(30).posted.sent, one.round(30).posted.sent] == [1, 0]
    ((_, _, body),) = one.webhook.came
    assert body["kind"] == "failed" and body["nights"][0]["school"] == SCHOOL and body["version"] == 1


def test_a_round_that_is_killed_while_it_sends_leaves_the_message_in_doubt(
    on_call: Callable[..., OnCall], monkeypatch: pytest.MonkeyPatch
):
    one = on_call()
    one.webhook_up()
    failed_night(one, HOOK)

    def killed(*_: Any) -> int:
        raise SystemExit

    monkeypatch.setattr("isams_pipeline.orchestration.alerts.posting.post_json", killed)
    with pytest.raises(SystemExit):
        one.round(0)
    assert one.states() == [AlertState.SENDING.value]
    monkeypatch.undo()
    assert one.round(5).posted.sent == 0 and one.states() == [AlertState.IN_DOUBT.value] and one.webhook.came == []


# --- in Dagster -----------------------------------------------------------------------------------------------


def test_the_sensor_is_there_where_somebody_is_told_and_goes_the_round(on_call: Callable[..., OnCall]):
    one = on_call()
    assert not build_definitions(one.world.environment).get_repository_def().has_sensor_def(SENSOR)
    failed_night(one, MAIL)
    repository = build_definitions(one.world.environment).get_repository_def()
    sensor = repository.get_sensor_def(SENSOR)
    assert sensor.default_status is dg.DefaultSensorStatus.RUNNING
    with dg.build_sensor_context(
        instance=one.world.instance, resources={"environment": one.world.environment}
    ) as context:
        said = sensor.evaluate_tick(context).skip_message
    assert said == "1 nights need a person; 1 messages written, 1 sent" and len(one.mails()) == 1


def test_no_value_and_no_secret_stands_in_what_is_kept_of_alerts(on_call: Callable[..., OnCall]):
    one = on_call()
    one.webhook_up()
    one.tell(MAIL, {**HOOK, "format": "teams"}, gather_minutes=0)
    one.world.night(0)
    names = {
        name
        for name in (row.split(",")[2] for row in one.world.export(0)["students.csv"].decode().splitlines()[1:])
        if len(name) > 3
    }
    dead_host(one.world, SCHOOL)
    one.world.night(1)
    one.round(0)
    with one.world.environment.state.transaction() as session:
        kept = " ".join(
            f"{m.subject} {m.body} {json.dumps(dict(m.facts))} {m.error}" for m in session.scalars(select(AlertMessage))
        )
        kept += " ".join(problem.reason for problem in session.scalars(select(Problem)))
    said = kept + json.dumps(one.webhook.came[0][2]) + str(one.mails())
    assert names and not any(name in said for name in names)
    assert "CANARYSECRET" not in said and not any(secret in said for secret in secrets_of(one.world.sandbox).values())


# --- what schools.yaml has no more ----------------------------------------------------------------------------


def test_what_waits_for_somebody_who_is_not_told_any_more_is_not_sent(on_call: Callable[..., OnCall]):
    one = on_call()
    one.mail_down()
    failed_night(one, MAIL)
    one.round(0)
    one.mail_up()
    one.tell({"email": ["another@example.org"]}, gather_minutes=0)
    assert one.round(30).posted.sent == 0 and one.states() == [AlertState.QUEUED.value], "it may be named again"
    one.round(25 * 60)
    assert one.states()[0] == AlertState.PUT_AWAY.value and one.office.taken == []


def test_a_webhook_that_is_another_chats_now_gets_what_waits_in_its_format(on_call: Callable[..., OnCall]):
    one = on_call()
    one.webhook_up(503)
    failed_night(one, HOOK)
    one.round(0)
    one.tell({**HOOK, "format": "slack"}, gather_minutes=0)
    assert one.round(30).posted.sent == 1 and set(one.webhook.came[1][2]) == {"text"}


def test_a_school_that_is_gone_needs_nobody_any_more(on_call: Callable[..., OnCall]):
    one = on_call(**{name: small_school(mark=name) for name in ("harbour", SCHOOL)})
    one.tell(MAIL, gather_minutes=0)
    dead_host(one.world, "harbour")
    one.world.night(0, school="harbour")
    assert one.round(0).waiting == 1
    one.world.configure(lambda config: config["schools"].pop("harbour"))
    done = one.round(1)
    assert (done.waiting, done.written) == (0, 0)


def test_a_dead_mail_server_costs_a_round_one_short_wait(
    on_call: Callable[..., OnCall], monkeypatch: pytest.MonkeyPatch
):
    """A sensor's tick has a minute, whatever is in line."""
    monkeypatch.setattr("isams_pipeline.orchestration.alerts.posting._SMTP_TIMEOUT", 0.5)
    one = on_call()
    one.office.slow = 3
    failed_night(one, {"email": [f"a{number}@example.org" for number in range(20)]})
    started = time.monotonic()
    done = one.round(0)
    assert done.written == 20 and done.posted.sent == 0 and time.monotonic() - started < 3
    one.office.slow = 0
    assert one.round(30).posted.sent == 20 and len(one.mails()) == 20


def test_what_a_round_has_no_time_for_is_sent_by_the_next(
    on_call: Callable[..., OnCall], monkeypatch: pytest.MonkeyPatch
):
    monkeypatch.setattr("isams_pipeline.orchestration.alerts.posting._ROUND", -1.0)
    one = on_call()
    failed_night(one, MAIL)
    assert one.round(0).posted.sent == 0 and one.states() == [AlertState.QUEUED.value]
    monkeypatch.undo()
    assert one.round(0).posted.sent == 1


# --- a night that is run again, and what becomes of it --------------------------------------------------------


def test_a_failed_night_that_is_run_again_after_its_hour_is_no_news_until_it_is_well(on_call: Callable[..., OnCall]):
    one = on_call()
    one.tell(MAIL, gather_minutes=0)
    bring_back = dead_host(one.world, SCHOOL)
    one.world.night(0)
    assert one.round(0).written == 1
    one.world.at_night(0, hour=9)
    with under_way(one.world, 0):
        assert (one.round(0).written, one.round(1).waiting) == (0, 1), "it is being run again"
    one.world.run(0)
    assert (one.round(1).written, one.round(1).waiting) == (0, 1), "it failed in the same way"
    bring_back()
    assert one.world.run(0).outcome == "delivered"
    assert (one.round(1).written, one.round(1).waiting) == (1, 0)
    assert ["failed" in one.mails()[0][0], "well again" in one.mails()[1][0]] == [True, True]


def test_a_night_that_fails_for_another_reason_is_told_again_and_is_well_again_once(on_call: Callable[..., OnCall]):
    one = on_call()
    one.tell(MAIL, gather_minutes=0)
    bring_back = dead_host(one.world, SCHOOL)
    one.world.night(0)
    one.round(0)
    bring_back()
    one.world.configure(lambda config: config["schools"][SCHOOL]["isams"]["keys"]["staff"].update(secret="NOT_SET"))
    one.world.run(0)
    one.round(1)
    assert len(one.mails()) == 2 and "NOT_SET" in one.mails()[1][1]
    one.world.configure(
        lambda config: config["schools"][SCHOOL]["isams"]["keys"]["staff"].update(secret="DEMO_RIVERSIDE_STAFF_KEY")
    )
    assert one.world.run(0).outcome == "delivered"
    assert [one.round(1).written, one.round(1).written] == [1, 0]


def test_a_delivered_night_that_is_made_again_is_not_late(on_call: Callable[..., OnCall]):
    one = on_call()
    one.tell(MAIL, gather_minutes=0)
    assert one.world.night(0).outcome == "delivered"
    one.round(0)
    one.world.at_night(1, hour=1)
    with under_way(one.world, 0):
        assert one.round(0).written == 0


def test_what_is_over_leaves_no_rows_behind(on_call: Callable[..., OnCall]):
    one = on_call()
    one.tell(MAIL, gather_minutes=0)
    bring_back = dead_host(one.world, SCHOOL)
    one.world.night(0)
    one.round(0)
    bring_back()
    assert one.world.night(1).outcome == "delivered"
    for _ in range(4):
        one.round(1)
    with one.world.environment.state.transaction() as session:
        assert len(list(session.scalars(select(Problem)))) == 1


def test_all_nights_of_a_long_silence_are_told(on_call: Callable[..., OnCall]):
    one = on_call()
    one.tell(MAIL, gather_minutes=0)
    assert one.world.night(0).outcome == "delivered"
    one.round(0)
    one.world.at_night(5, hour=1)
    assert one.round(0).waiting == 4
    told = " ".join(subject for subject, _ in one.mails())
    assert all(str(FIRST + timedelta(days=day)) in told for day in (1, 2, 3, 4))


def test_a_school_that_comes_back_is_watched_from_then_on(on_call: Callable[..., OnCall]):
    one = on_call()
    one.tell(MAIL, gather_minutes=0)
    assert one.world.night(0).outcome == "delivered"
    one.round(0)
    taken = one.world.config.read_text()
    one.world.configure(lambda config: config["schools"][SCHOOL]["partners"].clear())
    one.round(1)
    one.world.config.write_text(taken)
    one.world._environment = None
    one.world.at_night(9, hour=12)
    assert (one.round(0).written, one.mails()) == (0, [])


def test_what_was_refused_before_anybody_watched_is_told_to_nobody_and_what_is_later_is(on_call: Callable[..., OnCall]):
    one = on_call()
    world = one.world
    assert world.night(0).outcome == "delivered"
    world.configure(
        lambda config: config["schools"][SCHOOL]["partners"]["schoolsbuddy"].update(contact_types=["Nobody"])
    )
    assert world.night(1).outcome == "refused"
    one.tell(MAIL, gather_minutes=0)
    world.at_night(1, hour=12)
    assert one.round(0).written == 0
    world.at_night(1, hour=13)
    assert world.run(1).outcome == "refused"
    one.round(0)
    ((subject, _),) = one.mails()
    assert "was refused" in subject


def test_a_night_that_fails_after_it_was_delivered_says_that_what_is_there_stays(on_call: Callable[..., OnCall]):
    one = on_call()
    one.tell(MAIL, gather_minutes=0)
    assert one.world.night(0).outcome == "delivered"
    one.round(0)
    bring_back = dead_host(one.world, SCHOOL)
    one.world.moment[0] += timedelta(hours=3)
    assert one.world.run(0, fresh=True).outcome == "failed"
    one.round(0)
    assert "The night had been delivered before; what the partner has of it stays." in one.mails()[0][1]
    bring_back()
    run = one.world.run(0, fresh=True)
    one.round(1)
    text = one.mails()[1][1]
    assert f"/runs/{run.run_id}" in text and "it had failed: " in text and "command:" not in text


def test_who_was_not_told_what_was_wrong_is_not_told_that_it_is_over(on_call: Callable[..., OnCall]):
    one = on_call()
    one.tell({"email": ["other@example.org"], "wants": ["refused", "recovered"]}, MAIL, gather_minutes=0)
    bring_back = dead_host(one.world, SCHOOL)
    one.world.night(0)
    one.round(0)
    bring_back()
    one.world.run(0)
    one.round(1)
    assert [envelope.rcpt_tos for envelope in one.office.taken] == [["oncall@example.org"]] * 2


def under_way(world: World, day: int) -> Any:
    """As if a run of a night went on."""
    from contextlib import contextmanager

    from isams_pipeline.orchestration.partitions import Night, key_of

    @contextmanager
    def going_on() -> Iterator[None]:
        job = build_definitions(world.environment).resolve_job_def("schoolsbuddy_nightly")
        night = FIRST + timedelta(days=day)
        tags = {
            "dagster/partition": key_of(Night(SCHOOL, night)),
            "dagster/partition/date": night.isoformat(),
            "dagster/partition/school": SCHOOL,
        }
        run = world.instance.create_run_for_job(job, tags=tags, status=dg.DagsterRunStatus.STARTED)
        yield
        world.instance.delete_run(run.run_id)

    return going_on()


# --- what a person decides, and what the hour forbids ---------------------------------------------------------


def test_a_person_puts_a_message_in_doubt_away_or_sends_it_again(on_call: Callable[..., OnCall]):
    from isams_pipeline.errors import WrongUse

    one = on_call()
    one.webhook_up(0, 404)
    failed_night(one, HOOK)
    one.round(0)
    assert one.states() == [AlertState.IN_DOUBT.value]
    decide(one.world.environment, 1, AlertState.QUEUED)
    one.round(1)
    assert one.states() == [AlertState.FAILED.value] and len(one.webhook.came) == 2
    decide(one.world.environment, 1, AlertState.PUT_AWAY)
    assert one.round(60).posted.sent == 0 and one.states() == [AlertState.PUT_AWAY.value]
    with pytest.raises(WrongUse, match="no message 1 in doubt"):
        decide(one.world.environment, 1, AlertState.QUEUED)


def test_a_test_message_comes_now_or_never(on_call: Callable[..., OnCall]):
    one = on_call()
    one.tell({**MAIL, "quiet": "00:00-23:59"}, gather_minutes=0)
    assert try_out(one.world.environment) == {} and len(one.mails()) == 1, "whatever the hour"
    one.mail_down()
    ((name, problem),) = try_out(one.world.environment).items()
    assert name == "mail oncall@example.org" and problem.endswith("it refused the connection")
    one.mail_up()
    assert one.round(60).posted.sent == 0 and len(one.mails()) == 1


def test_what_is_tried_again_waits_for_the_end_of_quiet_hours_as_well(on_call: Callable[..., OnCall]):
    one = on_call()
    one.mail_down()
    failed_night(one, {**MAIL, "quiet": "04:00-06:30"})
    one.round(0)
    one.mail_up()
    one.world.at_night(0, hour=5)
    assert one.round(0).posted.sent == 0
    one.world.at_night(0, hour=7)
    assert one.round(0).posted.sent == 1


def test_a_chat_server_that_hangs_puts_one_message_in_doubt_and_no_other(on_call: Callable[..., OnCall]):
    one = on_call(**{name: small_school(mark=name) for name in ("harbour", SCHOOL)})
    one.webhook_up(0)
    one.tell(HOOK, gather_minutes=0)
    dead_host(one.world, "harbour")
    one.world.configure(lambda config: config["schools"][SCHOOL]["isams"]["keys"]["staff"].update(secret="NOT_SET"))
    for name in ("harbour", SCHOOL):
        one.world.night(0, school=name)
    assert one.round(0).written == 2
    assert sorted(one.states()) == [AlertState.IN_DOUBT.value, AlertState.QUEUED.value]
    one.round(30)
    assert sorted(one.states()) == [AlertState.IN_DOUBT.value, AlertState.SENT.value]


def test_two_who_send_the_same_message_send_it_once(on_call: Callable[..., OnCall]):
    """A lock may be lost; a message is claimed by itself."""
    one = on_call()
    one.mail_down()
    one.webhook_up(503)
    failed_night(one, HOOK)
    one.round(0)
    environment, to = one.world.environment, channels(one.world.environment.settings)
    with ThreadPoolExecutor(4) as pool:
        done = list(pool.map(lambda _: send(environment, to, [1]), range(4)))
    assert len(one.webhook.came) == 2 and sorted(map(len, done)) == [0, 0, 0, 1]


@pytest.mark.parametrize("address", ["https://host:abc/x", "https://", "ftp://h/x", "https://[::1/x", "https://h:0/x"])
def test_an_address_that_is_none_is_said_and_loses_nothing(on_call: Callable[..., OnCall], address: str):
    one = on_call()
    one.world.variables["HOOK"] = address
    failed_night(one, HOOK)
    (problem,) = one.round(0).posted.problems
    assert problem.startswith("webhook HOOK: HOOK does not hold the address of a webhook. Let it begin with https://")
    assert problem.endswith("; tried again in 1 min")
    one.webhook_up()
    one.world._environment = None
    assert one.round(30).posted.sent == 1
