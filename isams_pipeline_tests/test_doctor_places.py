"""`doctor` looks at where files and mail go, and at each server once; offline it asks nobody."""

from __future__ import annotations

import socket

import httpx
import pytest
from aiosmtpd.controller import Controller

from isams_pipeline_tests.test_commands import at, today  # noqa: F401  # a fixture
from isams_pipeline_tests.world import SCHOOL, World


def test_doctor_tries_where_files_go_and_leaves_nothing_there(today: World):  # noqa: F811
    code, out = at(today, "doctor", SCHOOL)
    assert code == 0 and "is not there yet" in out and "GB are free" in out
    assert not (today.folder / "exports").exists(), "a typo is not made true"
    (today.folder / "exports").mkdir()
    code, out = at(today, "doctor", SCHOOL)
    assert code == 0 and "takes files: written, renamed and removed" in out
    assert list((today.folder / "exports").iterdir()) == []


def test_doctor_says_of_a_target_that_is_none(today: World):  # noqa: F811
    (today.folder / "exports").write_text("a file is in the way")
    code, out = at(today, "doctor", SCHOOL)
    assert code == 1 and "Some need care" in out and "A file is in the way of a folder" in out, out


def test_doctor_asks_a_server_once_and_says_why_it_is_not_there(today: World):  # noqa: F811
    today.configure(lambda c: c["schools"][SCHOOL]["isams"].update(url="https://nowhere.invalid"))
    code, out = at(today, "doctor", SCHOOL)
    assert code == 1 and out.count("is not known here (DNS)") == 1, "not once a key"


def test_a_server_that_only_dislikes_the_look_is_asked_about_its_keys(today: World, monkeypatch: pytest.MonkeyPatch):  # noqa: F811
    """What an unknown server does with a HEAD request says nothing of its keys."""

    def broken_off(*_: object, **__: object) -> None:
        raise httpx.RemoteProtocolError("closed", request=httpx.Request("HEAD", "http://127.0.0.1"))

    monkeypatch.setattr(httpx.Client, "head", broken_off)
    code, out = at(today, "doctor", SCHOOL)
    assert code == 0 and "All keys, clients and targets are fit" in out


def test_doctor_offline_asks_nobody(today: World):  # noqa: F811
    today.configure(lambda c: c["schools"][SCHOOL]["isams"].update(url="https://nowhere.invalid"))
    code, out = at(today, "doctor", "--offline")
    assert (
        code == 0 and "No server was asked" in out and "nowhere" not in out and not (today.folder / "exports").exists()
    )
    today.configure(lambda c: c["schools"][SCHOOL]["isams"]["keys"]["staff"].update(secret="NOT_SET"))
    code, out = at(today, "doctor", "--offline")
    assert code == 1 and "NOT_SET: is not set" in out


def test_doctor_greets_the_mail_server_and_sends_nothing(today: World):  # noqa: F811
    received: list[object] = []

    class Handler:
        async def handle_DATA(  # noqa: N802
            self, _server: object, _session: object, envelope: object
        ) -> str:
            received.append(envelope)
            return "250 OK"

    def use(port: int) -> None:
        mail = {"smtp_url": f"smtp://127.0.0.1:{port}", "mail_from": "rooms@school.example.org"}
        today.configure(lambda c: c["schools"][SCHOOL]["partners"]["room_booking"].update(mail))

    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port = probe.getsockname()[1]
    server = Controller(Handler(), hostname="127.0.0.1", port=port)
    server.start()
    try:
        use(port)
        code, out = at(today, "doctor", SCHOOL)
        assert code == 0 and "the mail server takes connections and the log-in" in out and received == []
    finally:
        server.stop()
    _, out = at(today, "doctor", SCHOOL)
    assert "The mail server cannot be used: it refused the connection" in out


def test_doctor_looks_whether_whoever_is_told_can_be(today: World):  # noqa: F811
    with socket.socket() as listening, socket.socket() as closed:
        listening.bind(("127.0.0.1", 0))
        listening.listen()
        closed.bind(("127.0.0.1", 0))
        today.configure(
            lambda c: c.update(
                alerts={
                    "to": [
                        {"webhook": "NOT_SET_HOOK", "format": "slack"},
                        {"webhook": "PLAIN_HOOK", "format": "teams"},
                        {"webhook": "DEAD_HOOK", "format": "json"},
                    ],
                    "smtp_url": f"smtp://127.0.0.1:{closed.getsockname()[1]}",
                    "mail_from": "pipeline@example.org",
                }
            )
        )
        today.variables["PLAIN_HOOK"] = "http://hooks.example.org/services/SECRET"
        today.variables["DEAD_HOOK"] = f"http://127.0.0.1:{closed.getsockname()[1]}/services/SECRET"
        offline, said = at(today, "doctor", "--offline")
        code, out = at(today, "doctor", SCHOOL)
    assert offline == 1 and "PLAIN_HOOK does not hold the address of a webhook" in said and "DEAD_HOOK" not in said
    assert code == 1 and "SECRET" not in out + said
    assert "alerts, mail: The mail server cannot be used" in out
    assert "alerts, NOT_SET_HOOK" in out and "PLAIN_HOOK does not hold the address of a webhook" in out
    assert "alerts, DEAD_HOOK" in out and "refused the connection" in out
