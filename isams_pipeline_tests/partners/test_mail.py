"""The outbox, against a real SMTP server that refuses, hangs up and dies: nothing lost, nothing sent twice unasked."""

from __future__ import annotations

import socket
from collections.abc import Iterator
from email import message_from_bytes, policy
from email.message import EmailMessage
from pathlib import Path
from typing import Any

import pytest
from aiosmtpd.controller import Controller

from isams_pipeline.errors import MailUnavailable, WrongUse
from isams_pipeline.orchestration.mail import MailFolder, SmtpServer
from isams_pipeline.partners.room_booking import mail
from isams_pipeline.partners.room_booking.mail import Outbox
from isams_pipeline.storage.folder import Folder
from isams_pipeline.storage.state.bookings import Notification
from isams_pipeline_tests.partners.booking_desk import NOW, SCHOOL, Desk
from isams_pipeline_tests.post_office import PostOffice

SENDER = "rooms@school.example.org"


class World:
    def __init__(self, folder: Path) -> None:
        self.office = PostOffice()
        with socket.socket() as probe:
            probe.bind(("127.0.0.1", 0))
            self.port = probe.getsockname()[1]
        self.desk = Desk(folder)
        self.outbox = Outbox(self.desk.state, SCHOOL, lambda: NOW)
        self.controller: Controller | None = None

    def up(self) -> None:
        self.controller = Controller(self.office, hostname="127.0.0.1", port=self.port)
        self.controller.start()

    def down(self) -> None:
        if self.controller is not None:
            self.controller.stop()
            self.controller = None

    def queue(self, *identifiers: str) -> None:
        with self.desk.state.transaction() as session:
            for identifier in identifiers:
                session.add(
                    Notification(
                        school=SCHOOL, booking_id=identifier, message_id=f"<{identifier}@x>", recipient="a@example.org",
                        subject="Booking cancelled", body="Sorry.", state="queued", attempts=0, error=None,
                        created_at=NOW, changed_at=NOW,
                    )
                )  # fmt: skip

    def post(self, **options: Any) -> dict[str, int]:
        url = f"smtp://127.0.0.1:{self.port}"
        with SmtpServer(url, wait=0.01, **{"timeout": 2.0, **options}) as server:
            return self.outbox.post(server, SENDER).counts


@pytest.fixture
def world(tmp_path: Path) -> Iterator[World]:
    made = World(tmp_path)
    made.up()
    yield made
    made.down()
    made.desk.state.close()


def test_messages_go_once_with_a_stable_id(world: World):
    world.queue("B1", "B2")
    assert world.post() == {"sent": 2} and world.post() == {"sent": 2}
    assert len(world.office.taken) == 2
    text = world.office.taken[0].content.decode()
    assert "Message-ID: <B1@x>" in text and f"From: {SENDER}" in text and "Sorry." in text
    assert world.office.taken[0].rcpt_tos == ["a@example.org"]


def test_server_that_is_not_there(world: World):
    world.queue("B1")
    world.down()
    with pytest.raises(MailUnavailable, match="smtp_url"):
        world.post()
    assert world.outbox.counts() == {"queued": 1}, "nothing is lost"
    world.up()
    assert world.post() == {"sent": 1}


def test_server_that_refuses_for_good(world: World):
    world.queue("B1")
    world.office.rcpt_says = "550 no such person"
    assert world.post() == {"failed": 1}
    (note,) = world.outbox.waiting()
    assert note.error == "the server said 550", "not in its own words, which may hold an address"


def test_sender_that_is_refused_is_no_messages_fault(world: World):
    world.queue("B1")
    world.office.mail_says = "550 log in first"
    with pytest.raises(MailUnavailable, match="550"):
        world.post()
    assert world.outbox.counts() == {"queued": 1}


def test_one_message_that_no_mail_can_be_does_not_stop_the_others(world: World):
    world.queue("B1", "B2", "B3")
    with world.desk.state.transaction() as session:
        session.get_one(Notification, 1).recipient = "j\u00f6rg@example.org"
        session.get_one(Notification, 2).subject = "two\nlines"
    assert world.post() == {"failed": 1, "sent": 2}
    assert b"Subject: two lines" in world.office.taken[0].content


def test_lines_end_as_the_wire_wants_and_every_letter_comes_through(world: World):
    world.queue("B1")
    with world.desk.state.transaction() as session:
        session.get_one(Notification, 1).body = "Aula f\u00fcr alle\n"
    world.post()
    content = world.office.taken[0].original_content
    assert content.isascii() and content.count(b"\n") == content.count(b"\r\n") > 5
    assert "f\u00fcr" in message_from_bytes(content, policy=policy.default).get_content()


def test_server_that_puts_off(world: World):
    world.queue("B1")
    world.office.rcpt_says = "451 later"
    assert world.post() == {"queued": 1}
    world.office.rcpt_says = "250 OK"
    assert world.post() == {"sent": 1} and len(world.office.taken) == 1


def test_server_that_puts_off_for_ever(world: World):
    world.queue("B1")
    world.office.rcpt_says = "451 later"
    counts = [world.post() for _ in range(10)]
    assert counts[-1] == {"failed": 1}


def test_server_that_refuses_the_text(world: World):
    world.queue("B1", "B2")
    world.office.data_says = "554 spam"
    assert world.post() == {"failed": 2}


def test_server_that_dies_in_the_middle_of_a_message_leaves_it_in_doubt(world: World):
    world.queue("B1", "B2")
    world.office.dies_in_data = 1
    with pytest.raises(MailUnavailable):
        world.post()
    assert world.post() == {"in_doubt": 1, "sent": 1}, "the other one goes, this one does not go by itself"
    assert len(world.office.taken) == 1
    (note,) = world.outbox.waiting()
    world.outbox.send_again(note.id)
    assert world.post() == {"sent": 2} and len(world.office.taken) == 2
    with pytest.raises(WrongUse, match="no message"):
        world.outbox.send_again(note.id)


def test_server_that_is_slow(world: World):
    world.queue("B1")
    world.office.slow = 1.0
    with pytest.raises(MailUnavailable):
        world.post(timeout=0.2)
    assert world.outbox.counts() == {"queued": 1}
    world.office.slow = 0.0
    assert world.post() == {"sent": 1}


def test_process_killed_while_it_sends_leaves_the_message_in_doubt(world: World):
    world.queue("B1")
    with world.desk.state.transaction() as session:
        session.get_one(Notification, 1).state = "sending"
    assert world.post() == {"in_doubt": 1} and world.office.taken == []


def test_a_subject_writes_no_headers(world: World):
    world.queue("B1")
    with world.desk.state.transaction() as session:
        session.get_one(Notification, 1).subject = "=?utf-8?q?Lab=0d=0aBcc:_all=40example.org=0d=0a=0d=0aHello?="
    assert world.post() == {"sent": 1}
    read = message_from_bytes(world.office.taken[0].content, policy=policy.default)
    assert "Bcc" not in read and read.get_content().strip() == "Sorry."
    assert world.office.taken[0].rcpt_tos == ["a@example.org"]


@pytest.mark.parametrize("error", [IndexError, LookupError, RuntimeError, AttributeError])
def test_an_error_of_the_mail_library_is_that_messages_alone(
    world: World, monkeypatch: pytest.MonkeyPatch, error: type[Exception]
):
    world.queue("B1", "B2")
    plain = mail._message

    def message(note: Notification, sender: str) -> EmailMessage:
        if note.booking_id == "B1":
            raise error("canary")
        return plain(note, sender)

    monkeypatch.setattr(mail, "_message", message)
    assert world.post() == {"failed": 1, "sent": 1}
    (note,) = world.outbox.waiting()
    assert note.error == "it cannot be written as a mail"


@pytest.mark.parametrize("arrived", [True, False])
def test_a_folder_is_looked_at_instead_of_leaving_a_message_in_doubt(world: World, tmp_path: Path, arrived: bool):
    world.queue("B1")
    folder = MailFolder(Folder(tmp_path / "outbox"))
    if arrived:
        world.outbox.post(folder, SENDER)
    with world.desk.state.transaction() as session:
        session.get_one(Notification, 1).state = "sending"
    before = [file.stat().st_mtime_ns for file in (tmp_path / "outbox").glob("*.eml")]
    assert world.outbox.post(folder, SENDER).counts == {"sent": 1}
    after = [file.stat().st_mtime_ns for file in (tmp_path / "outbox").glob("*.eml")]
    assert len(after) == 1 and (not arrived or after == before)


def test_without_a_server_messages_are_files(world: World, tmp_path: Path):
    world.queue("B1", "B2")
    counts = world.outbox.post(MailFolder(Folder(tmp_path / "outbox")), SENDER).counts
    files = list((tmp_path / "outbox").glob("*.eml"))
    assert counts == {"sent": 2} and len(files) == 2
    assert all(file.stat().st_mode & 0o077 == 0 and b"Sorry." in file.read_bytes() for file in files)


def test_two_rounds_at_once_send_a_message_once(world: World):
    """A lock in Postgres goes with its connection, and then two may go through the outbox."""
    world.queue("B1")
    server = SmtpServer(f"smtp://127.0.0.1:{world.port}", wait=0.01)
    envelope = server.envelope

    def overtaken(sender: str, recipient: str) -> None:
        envelope(sender, recipient)
        if not world.office.taken:
            world.post()  # another round, while this one has told whom the message is for

    server.envelope = overtaken
    with server:
        assert world.outbox.post(server, SENDER).counts == {"sent": 1}
    assert len(world.office.taken) == 1
