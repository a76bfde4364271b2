"""The report for a school's office: the page, the workbook, the mail."""

from __future__ import annotations

import csv
import html
import io
import socket
from collections.abc import Callable, Iterator
from datetime import timedelta
from email import message_from_bytes, policy
from typing import Any

import dagster as dg
import pytest
from aiosmtpd.controller import Controller
from openpyxl import load_workbook

from isams_pipeline.commands.headless import run_job
from isams_pipeline.config import load_settings
from isams_pipeline.errors import ConfigurationError, NotMaterialised
from isams_pipeline.orchestration.office.asset import JOB
from isams_pipeline.orchestration.office.mailing import mail
from isams_pipeline.orchestration.office.report import FACTS, PAGE, WORKBOOK, OfficeReport, made
from isams_pipeline.orchestration.partitions import Night
from isams_pipeline.rules.mending import ADVICE, AS_AGREED
from isams_pipeline_tests.post_office import PostOffice
from isams_pipeline_tests.test_commands import call_here
from isams_pipeline_tests.world import FIRST, SCHOOL, World, small_school


@pytest.fixture
def school(make: Callable[..., World]) -> World:
    """A school with troubles that has asked for a report."""
    world = make({SCHOOL: small_school(troubles=True, pupils=40)})
    world.configure(lambda c: c["schools"][SCHOOL].update(reports={}))
    return world


def report(world: World, day: int = 0) -> OfficeReport:
    return made(world.environment, Night(SCHOOL, FIRST + timedelta(days=day)))


def written(world: World, name: str, day: int = 0) -> bytes:
    return (world.data / "reports" / SCHOOL / str(FIRST + timedelta(days=day)) / name).read_bytes()


def test_every_row_that_was_left_out_is_told_or_counted(school: World):
    school.night(0)
    school.rooms(0)
    found = report(school).found
    rows = [
        row
        for partner in ("schoolsbuddy", "room_booking")
        for row in csv.DictReader(
            io.StringIO((school.data / f"reports/{partner}/{SCHOOL}/{FIRST}/exclusions.csv").read_text())
        )
    ]
    once = {(row["entity"], row["rule"], row["id"].lstrip("'")) for row in rows}
    assert found.records == sum((entity, rule) in ADVICE for entity, rule, _ in once) > 5
    unknown = {(e, r) for e, r, _ in once if (e, r) not in ADVICE and r not in AS_AGREED}
    # What those who run the pipeline see to, and what says nothing that an office could mend.
    assert unknown <= {
        ("room", "unmatched"),
        ("period", "unmatched"),
        ("lesson", "shared_code"),
        ("event", "event_in_room"),
    }


def test_the_page_names_records_by_number_and_nobody(school: World):
    school.night(0)
    made_ = report(school)
    page = html.unescape(written(school, PAGE).decode())
    tables = school.environment.tables
    for dataset in ("pupils", "contacts", "staff"):
        frame = tables.load(tables.need("isams", dataset, SCHOOL, FIRST))
        names = {str(name) for name in frame["surname"].dropna() if len(str(name)) > 4}
        assert not [name for name in names if name in page]
    assert all(task.what in page and task.where in page for task in made_.found.tasks)
    assert "<script" not in page and "http" not in page, "nothing is fetched"


def test_with_names_where_the_school_wants_them(school: World):
    school.configure(lambda c: c["schools"][SCHOOL].update(reports={"names": True}))
    school.night(0)
    report(school)
    tables = school.environment.tables
    contacts = tables.load(tables.need("isams", "contacts", SCHOOL, FIRST)).set_index("person_id")
    task = next(task for task in report(school).found.tasks if task.kind == "contact")
    someone = contacts.loc[[int(task.records[0])]].iloc[0]
    assert f"{someone['forename']} {someone['surname']}" in written(school, PAGE).decode()
    book = load_workbook(io.BytesIO(written(school, WORKBOOK)))
    assert [cell.value for cell in book["Records"][1]][3] == "name"


def test_the_workbook_has_every_record_to_sort_and_tick_off(school: World):
    school.night(0)
    found = report(school).found
    book = load_workbook(io.BytesIO(written(school, WORKBOOK)))
    rows = list(book["Records"].iter_rows(min_row=2, values_only=True))
    assert len(rows) == found.records and book["Records"].auto_filter.ref
    told = {str(row[0]): row[1] for row in book["To mend"].iter_rows(min_row=4, values_only=True) if row[0]}
    assert told == {task.what: len(task.records) for task in found.tasks}
    assert not any(str(cell).startswith(("=", "+", "@")) for row in rows for cell in row if cell is not None)


def test_what_is_new_and_the_course_of_the_last_weeks(school: World):
    school.night(0)
    first = report(school)
    assert first.before is None and first.found.new == 0 and b"The last weeks" not in written(school, PAGE)
    school.night(1)
    second = report(school, 1)
    assert second.before == FIRST and second.found.new > 0
    page = written(school, PAGE, 1).decode()
    assert f"since {FIRST}" in page and "The last weeks" in page and 'class="new"' in page
    sheet: Any = load_workbook(io.BytesIO(written(school, WORKBOOK, 1)))["To mend"]
    assert sheet._images


def test_a_night_without_an_export_has_no_report(school: World):
    with pytest.raises(NotMaterialised, match="nobody knows what is to be mended"):
        report(school)
    assert not (school.data / "reports" / SCHOOL).exists()


def test_the_run_shows_counts_and_the_command_where_it_lies(school: World):
    school.night(0)
    done = run_job(school.environment, school.instance, JOB, Night(SCHOOL, FIRST), {})
    assert not done.failures
    event = school.instance.get_latest_materialization_event(dg.AssetKey(["office"]))
    assert event is not None and event.asset_materialization is not None
    shown = {name: value.value for name, value in event.asset_materialization.metadata.items()}
    found = report(school).found
    assert shown["to mend"] == found.records and not any(
        r in str(shown["tasks"]) for t in found.tasks for r in t.records if len(r) > 4
    )
    given = ("--config", str(school.config), "--data-dir", str(school.data))
    code, said = call_here("office", SCHOOL, "--date", str(FIRST), *given)
    assert code == 0 and PAGE in said
    school.configure(lambda c: c["schools"][SCHOOL].pop("reports"))
    assert call_here("office", SCHOOL, *given)[0] == 2


# --- the mail -----------------------------------------------------------------------------------------------

OFFICE = ["office@riverside.example.org", "head@riverside.example.org"]


class Post:
    """A real SMTP server on loopback."""

    def __init__(self) -> None:
        self.office = PostOffice()
        with socket.socket() as probe:
            probe.bind(("127.0.0.1", 0))
            self.port = probe.getsockname()[1]
        self.start()

    def start(self) -> None:
        self._server = Controller(self.office, hostname="127.0.0.1", port=self.port)
        self._server.start()

    def stop(self) -> None:
        self._server.stop()

    @property
    def taken(self) -> list[Any]:
        return self.office.taken


@pytest.fixture
def post() -> Iterator[Post]:
    made_ = Post()
    yield made_
    made_.stop()


def mailed(world: World, post: Post, **more: Any) -> None:
    reports = {"mail_to": OFFICE, "mail_on": "tuesday", "link": "https://files.example.org/isams/", **more}
    world.configure(lambda c: c["schools"][SCHOOL].update(reports=reports))
    world.configure(
        lambda c: c.update(alerts={"smtp_url": f"smtp://127.0.0.1:{post.port}", "mail_from": "pipeline@example.org"})
    )


def send(world: World, day: int = 0) -> list[str]:
    night = FIRST + timedelta(days=day)
    return mail(world.environment, report(world, day), night)


def test_each_gets_the_weeks_mail_once_with_counts_and_a_link(school: World, post: Post):
    assert FIRST.weekday() == 1
    mailed(school, post)
    school.night(0)
    found = report(school).found
    assert send(school) == [] == send(school)
    assert sorted(one.rcpt_tos[0] for one in post.taken) == sorted(OFFICE)
    message = message_from_bytes(post.taken[0].content, policy=policy.default)
    text = message.get_body(("plain",)).get_content()
    assert f"{found.records} records to mend" in text and f"https://files.example.org/isams/{FIRST}/{PAGE}" in text
    assert not list(message.iter_attachments())
    assert not any(record in text for task in found.tasks for record in task.records if len(record) > 4)
    school.night(1)
    send(school, 1)
    assert len(post.taken) == 2, "the next is next week's"
    school.moment[0] += timedelta(days=6)
    school.run(7, allow_removals=True)
    send(school, 7)
    assert len(post.taken) == 4


def test_not_before_its_day_and_on_a_later_one_where_it_could_not_be_sent(school: World, post: Post):
    mailed(school, post, mail_on="wednesday")
    school.night(0)
    assert send(school) == [] and not post.taken
    school.night(1)
    post.stop()
    (said,) = send(school, 1)
    assert "mail server" in said and not post.taken
    post.start()
    school.night(2)
    assert send(school, 2) == [] and len(post.taken) == 2


def test_the_workbook_goes_with_it_only_where_the_school_says_so(school: World, post: Post):
    mailed(school, post, attach=True, mail_to=OFFICE[:1])
    school.night(0)
    assert send(school) == []
    (attached,) = list(message_from_bytes(post.taken[0].content, policy=policy.default).iter_attachments())
    assert attached.get_filename() == f"to-mend-{FIRST}.xlsx"
    assert load_workbook(io.BytesIO(attached.get_content()))["Records"].max_row > 1


def test_one_that_may_have_arrived_is_not_sent_again(school: World, post: Post):
    mailed(school, post, mail_to=OFFICE[:1])
    school.night(0)
    post.office.dies_in_data = 1
    (said,) = send(school)
    assert "may have arrived" in said
    (said,) = send(school)
    assert "1 mails may have arrived" in said


def test_settings_that_do_not_go_together_are_refused(school: World):
    school.configure(lambda c: c["schools"][SCHOOL].update(reports={"mail_to": OFFICE}))
    with pytest.raises(ConfigurationError, match="mail_to needs smtp_url"):
        load_settings(school.config)
    school.configure(lambda c: c["schools"][SCHOOL].update(reports={}))
    partners: dict[str, Any] = {}
    school.configure(lambda c: partners.update(c["schools"][SCHOOL].pop("partners")))
    with pytest.raises(ConfigurationError, match="no partner that gets files by iSAMS"):
        load_settings(school.config)
    school.configure(lambda c: c["schools"][SCHOOL].update(partners=partners, reports={"attach": True}))
    with pytest.raises(ConfigurationError, match="mail_to names nobody"):
        load_settings(school.config)
    school.configure(lambda c: c["schools"][SCHOOL].update(reports={"mail_to": ["nobody"]}))
    with pytest.raises(ConfigurationError, match="not an e-mail address"):
        load_settings(school.config)


def test_facts_for_the_next_report_name_numbers_only(school: World):
    school.night(0)
    report(school)
    assert set(written(school, FACTS).decode()) <= set('{}[]",:\n _/-.') | set("abcdefghijklmnopqrstuvwxyz0123456789")
