"""What a person sees: the Dagster UI in a real headless Chromium, over a demo's history."""

from __future__ import annotations

import base64
import contextlib
import json
import os
import shutil
import signal
import socket
import subprocess
import sys
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from datetime import UTC, datetime, timedelta
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any

import httpx
import pytest
from selenium import webdriver
from selenium.common.exceptions import WebDriverException
from selenium.webdriver.common.by import By
from selenium.webdriver.common.keys import Keys
from selenium.webdriver.remote.webelement import WebElement
from selenium.webdriver.support.ui import WebDriverWait

from isams_pipeline.commands.headless import Nightly
from isams_pipeline.orchestration.office.report import PAGE, OfficeReport, made
from isams_pipeline.orchestration.partitions import Night
from isams_pipeline.sandbox.demo import demo_nights
from isams_pipeline.sandbox.server import serving
from isams_pipeline_tests.world import FIRST, SCHOOL, World, make_world, small_school

ROOT = Path(__file__).parent.parent
CHROMIUM, DRIVER = shutil.which("chromium"), shutil.which("chromedriver")
SHOTS = os.environ.get("ISAMS_SCREENSHOTS")

pytestmark = [
    pytest.mark.browser,
    pytest.mark.skipif(not (CHROMIUM and DRIVER), reason="needs the distribution's chromium and chromium-driver"),
    pytest.mark.filterwarnings("default"),
]


def free_port() -> int:
    with socket.socket() as s:
        s.bind(("127.0.0.1", 0))
        return s.getsockname()[1]


RUN = [sys.executable, "-m", "isams_pipeline.commands"]


def variables(folder: Path) -> dict[str, str]:
    """Of a command in the demo's folder: no secret among them."""
    return {"PATH": os.environ["PATH"], "HOME": str(folder), "PYTHONPATH": str(ROOT)}


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A demo whose last night has been spoilt by a school that configured no campuses."""
    folder = tmp_path_factory.mktemp("demo")
    env = variables(folder)
    subprocess.run([*RUN, "demo"], cwd=folder, env=env, check=True, capture_output=True, timeout=300)
    _spoil(folder, RUN, env)
    return folder


@pytest.fixture(scope="module")
def ui(folder: Path) -> Iterator[str]:
    """The UI over the demo."""
    with served(folder) as address:
        yield address


@contextmanager
def served(folder: Path, *words: str) -> Iterator[str]:
    """The UI's address while it runs in a folder."""
    port = free_port()
    command, env = [*RUN, "ui", "--port", str(port), *words], variables(folder)
    process = subprocess.Popen(command, cwd=folder, env=env, stdout=subprocess.PIPE)
    assert process.stdout is not None
    # Variables that are not set are named first.
    said = next((line for line in process.stdout if f"http://127.0.0.1:{port}".encode() in line), None)
    assert said, "the command has ended without an address"
    yield f"http://127.0.0.1:{port}"
    process.send_signal(signal.SIGINT)
    process.wait(timeout=60)
    process.stdout.close()


def _spoil(folder: Path, run: list[str], env: dict[str, str]) -> None:
    """Run Harbour's last night again without its campuses: two years of one name, so a check fails."""
    import yaml

    config = yaml.safe_load((folder / "data/demo/schools.yaml").read_text())
    del config["schools"]["harbour"]["campuses"]
    good = (folder / "data/demo/schools.yaml").read_text()
    (folder / "data/demo/schools.yaml").write_text(yaml.safe_dump(config))
    night = demo_nights(datetime.now(UTC).date())[-1].isoformat()
    done = subprocess.run(
        [*run, "sync", "harbour", "--date", night, "--config", "data/demo/schools.yaml"],
        cwd=folder,
        env=env,
        capture_output=True,
        text=True,
        timeout=120,
    )
    (folder / "data/demo/schools.yaml").write_text(good)
    assert done.returncode == 1 and "years 10 and 20 have the same name" in done.stdout, done.stdout + done.stderr


@pytest.fixture(scope="module")
def browser(tmp_path_factory: pytest.TempPathFactory) -> Iterator[webdriver.Chrome]:
    options = webdriver.ChromeOptions()
    options.binary_location = CHROMIUM or ""
    for argument in (
        "headless", "no-sandbox", "disable-gpu", "disable-quic", "no-first-run", "disable-background-networking",
        "disable-component-update", "disable-sync", "disable-dev-shm-usage", "window-size=1500,1000",
        "host-resolver-rules=MAP evil.example.org 127.0.0.1",
        f"user-data-dir={tmp_path_factory.mktemp('chromium')}",
    ):  # fmt: skip
        options.add_argument(f"--{argument}")
    with webdriver.Chrome(options=options, service=webdriver.ChromeService(DRIVER)) as driver:
        yield driver


class Page:
    """A browser that waits for what it is told to find."""

    def __init__(self, browser: webdriver.Chrome, address: str) -> None:
        self.browser, self.address = browser, address

    def open(self, path: str) -> None:
        self.browser.get(self.address + path)

    def until(self, condition: Callable[[], Any], seconds: float = 40) -> Any:
        wait = WebDriverWait(self.browser, seconds, ignored_exceptions=[WebDriverException, StopIteration])
        try:
            return wait.until(lambda _: condition())
        except WebDriverException:
            self.shot("failed")
            raise AssertionError(f"not found; the page says:\n{self.text()[:2000]}") from None

    def text(self) -> str:
        return str(self.browser.execute_script("return document.body.innerText"))

    def sees(self, *words: str, seconds: float = 40) -> None:
        self.until(lambda: all(word in self.text() for word in words), seconds)

    def button(self, label: str) -> WebElement:
        path = f"//button[contains(normalize-space(.), '{label}')] | //a[contains(normalize-space(.), '{label}')]"
        return self.until(
            lambda: next(e for e in self.browser.find_elements(By.XPATH, path) if e.is_displayed() and e.is_enabled())
        )

    def click(self, label: str) -> None:
        def clicked() -> bool:
            self.button(label).click()
            return True

        self.until(clicked)

    def click_text(self, text: str) -> None:
        path = f"//*[normalize-space(text())='{text}']"

        def clicked() -> bool:
            next(e for e in self.browser.find_elements(By.XPATH, path) if e.is_displayed()).click()
            return True

        self.until(clicked)

    def shot(self, name: str) -> None:
        if SHOTS:
            Path(SHOTS).mkdir(parents=True, exist_ok=True)
            self.browser.save_screenshot(str(Path(SHOTS) / f"{name}.png"))


@pytest.fixture
def page(browser: webdriver.Chrome, ui: str) -> Page:
    return Page(browser, ui)


def test_the_asset_graph_shows_both_groups(page: Page):
    page.open("/asset-groups")
    page.sees("isams", "schoolsbuddy")
    page.open("/assets/schoolsbuddy/delivery?view=lineage&lineageScope=upstream&lineageDepth=5")
    page.sees("delivery", "export", "eligible_contacts", "year_groups", "contact_pupils", "pupils")
    page.shot("assets")


def test_a_nightly_run_is_there_with_what_it_did(page: Page):
    page.open("/runs")
    page.sees("schoolsbuddy_nightly", "Success")
    page.shot("runs")
    page.open("/assets/schoolsbuddy/delivery?view=partitions")
    page.sees("riverside", "harbour")
    page.open("/assets/isams/contacts?view=overview")
    page.sees("Parents, guardians and others", "entry_id", "Row count")
    page.shot("contacts")


def test_runs_of_the_command_line_stand_in_the_timeline_and_can_be_launched_again(page: Page):
    """A run that says of no code location would stand on no page but the list of all runs."""
    page.open("/overview/activity/timeline")
    page.sees("schoolsbuddy_nightly", "room_booking_nightly")
    page.shot("timeline")
    page.open("/locations/isams_pipeline.definitions/jobs/schoolbooking_nightly/runs")
    page.sees("schoolbooking_nightly", "Success")
    page.open("/runs")
    page.until(lambda: page.browser.find_element(By.CSS_SELECTOR, "a[href^='/runs/']")).click()
    page.button("Re-execute")
    page.shot("run")


def test_a_failed_check_says_what_to_do(page: Page):
    page.open("/assets/schoolsbuddy/export?view=checks&checkDetail=year_names")
    page.sees("year_names", "years 10 and 20 have the same name", "This is a blocking asset check")
    page.shot("failed-check")


def test_a_rules_table_says_what_it_keeps_and_from_what(page: Page):
    page.open("/assets/schoolsbuddy/eligible_contacts?view=overview")
    page.sees("of a wanted contact type", "contact_types", "left out by mail_merge", "Row count")
    page.shot("rules")
    page.open("/assets/schoolsbuddy/student_contacts?view=lineage&lineageScope=upstream&lineageDepth=4")
    page.sees("contact_pupils", "pupils", "eligible_contacts", "student_contacts")
    page.shot("lineage")
    page.open("/assets/tonight?view=overview")
    page.sees(
        "How every school's night of a date stands", "Latest materialization", "riverside", "harbour", "delivered"
    )
    night = demo_nights(datetime.now(UTC).date())[-1].isoformat()
    page.open(f"/assets/tonight?view=partitions&partition={night}")
    page.sees("no_session", "under way", "missing")
    page.shot("tonight")


NIGHTS = 60 if SHOTS else 3
"""Of the school whose numbers are plotted: enough for a picture, or for a look."""


@pytest.fixture
def long_run(tmp_path: Path, browser: webdriver.Chrome) -> Iterator[Page]:
    """The UI over a school's last nights."""
    today = datetime.now(UTC).date()
    with contextlib.ExitStack() as stack:
        school = small_school(pupils=60, troubles=True)
        world = make_world(tmp_path, {SCHOOL: school}, lambda app: stack.enter_context(serving(app)))
        for date in (today - timedelta(days=days) for days in reversed(range(NIGHTS))):
            world.moment[0] = datetime(date.year, date.month, date.day, 2, tzinfo=UTC)
            run = Nightly(world.environment, world.instance, "schoolsbuddy").run(Night(SCHOOL, date))
            assert run.outcome == "delivered", run.reason
        world.close()
        with served(tmp_path, "--config", str(world.config), "--data-dir", str(world.data)) as address:
            yield Page(browser, address)


def test_what_a_rule_leaves_out_is_plotted_over_the_nights(long_run: Page):
    page = long_run
    page.open("/assets/schoolsbuddy/eligible_contacts?view=overview")
    page.sees("Row count", "left out by contact_type")
    page.click("Plots")
    page.sees("When graphing values by partition")
    drawn = page.until(lambda: page.browser.find_elements(By.TAG_NAME, "canvas"))
    assert len(drawn) >= 5, "a plot for each number"
    page.browser.execute_script("arguments[0].scrollIntoView()", page.button("Plots"))
    page.shot("plots")


def test_change_requests_show_what_became_of_them(page: Page):
    page.open("/assets/my_school_portal/changes?view=overview")
    page.sees("Approved change requests", "now applied", "MSP-1004", "no longer holds what the approver saw")
    page.shot("changes")
    page.open("/assets/schoolsbuddy_attendance/delivery_am?view=overview")
    page.sees("attendance.csv", "students not yet marked", "delivered")
    page.shot("attendance")


def test_a_backfill_of_two_nights_launched_from_the_ui_succeeds(page: Page):
    nights = [night.isoformat() for night in demo_nights(datetime.now(UTC).date())[:2]]
    page.open("/locations/isams_pipeline.definitions/jobs/schoolsbuddy_nightly")
    page.click("Materialize")
    dates = page.until(lambda: page.browser.find_element(By.CSS_SELECTOR, "input[placeholder^='ex:']"))
    dates.send_keys(f"[{nights[0]}...{nights[1]}]", Keys.ENTER)
    page.click_text("Select a partition or create one")
    page.click_text("riverside")
    page.sees("2 partitions")
    page.shot("backfill")
    page.click("Launch backfill")
    page.until(lambda: "Partition selection" not in page.text())
    page.open("/runs?view=backfills")
    page.sees("2 partitions", "Success", seconds=180)
    page.shot("backfill-done")


def test_a_backfill_by_the_command_is_carried_out_by_the_uis_daemon_and_seen(page: Page, folder: Path):
    """The command needs no secret then; it says how each night ended."""
    nights = [night.isoformat() for night in demo_nights(datetime.now(UTC).date())[:2]]
    words = ["backfill", "riverside", "--from", nights[0], "--to", nights[1], "--config", "data/demo/schools.yaml"]
    done = subprocess.run(
        [*RUN, *words], cwd=folder, env=variables(folder), capture_output=True, text=True, timeout=180
    )
    assert done.returncode == 0, done.stdout + done.stderr
    assert "carried out by the daemon of the UI" in done.stdout and "2 unchanged" in done.stdout
    page.open("/runs?view=backfills")
    page.sees(done.stdout.partition("Backfill ")[2].partition(",")[0])
    page.shot("backfill-by-command")


def test_a_night_that_cannot_be_had_is_refused_with_a_sentence(page: Page):
    night = (datetime.now(UTC).date() - timedelta(days=60)).isoformat()
    launch = (LAUNCH % night).replace("{ __typename }", "{ __typename ... on PythonError { message } }")
    said = httpx.post(f"{page.address}/graphql", json={"query": launch}, timeout=60).json()["data"]["launchRun"]
    assert said["__typename"] == "PythonError" and f"Nothing was kept of {night} of riverside" in said["message"]


LAUNCH = """mutation { launchRun(executionParams: {mode: "default", selector: {repositoryLocationName:
"isams_pipeline.definitions", repositoryName: "__repository__", jobName: "schoolsbuddy_nightly"}, executionMetadata: {tags:
[{key: "dagster/partition", value: "%s|riverside"}]}, runConfigData: {resources: {night: {config: {allow_removals: true}}}}})
{ __typename } }"""
ATTACKS = """
const ui = %r, done = arguments[arguments.length - 1], said = {};
const launch = %s;
const body = JSON.stringify({query: launch});
const image = (address) => new Promise((end) => { const i = new Image(); i.onload = i.onerror = end; i.src = address; });
const form = () => new Promise((end) => {
  const frame = document.createElement("iframe"); frame.name = "f"; document.body.append(frame);
  const form = document.createElement("form"); form.method = "POST"; form.action = ui + "/graphql"; form.target = "f";
  form.enctype = "text/plain"; const field = document.createElement("input");
  field.name = body.slice(0, -1) + ',"x":"'; field.value = '"}'; form.append(field); document.body.append(form);
  frame.onload = end; form.submit(); setTimeout(end, 3000);
});
const socket = () => new Promise((end) => {
  const s = new WebSocket(ui.replace("http", "ws") + "/graphql", "graphql-ws");
  s.onopen = () => { said.socket = "open"; end(); }; s.onclose = () => { said.socket = said.socket || "refused"; end(); };
});
(async () => {
  await image(ui + "/graphql?query=" + encodeURIComponent(launch));
  for (const type of ["text/plain", "application/x-www-form-urlencoded"])
    await fetch(ui + "/graphql", {method: "POST", mode: "no-cors", credentials: "include", body,
                                  headers: {"Content-Type": type}}).catch(() => 0);
  await fetch(ui + "/graphql", {method: "POST", body, headers: {"Content-Type": "application/json"}})
    .then(() => { said.json = "answered"; }, () => { said.json = "refused"; });
  await form(); await socket();
  done(said);
})();
"""


def _runs(page: Page) -> int:
    query = {"query": "{ runsOrError(limit: 1000) { ... on Runs { results { id } } } }"}
    found = httpx.post(f"{page.address}/graphql", json=query, timeout=30).json()
    return len(found["data"]["runsOrError"]["results"])


@pytest.mark.parametrize("name", ["127.0.0.1", "localhost", "evil.example.org"])
def test_another_page_that_an_operator_has_open_changes_nothing(page: Page, name: str):
    before = _runs(page)
    with second_origin() as port:
        page.browser.get(f"http://{name}:{port}/")
        page.browser.set_script_timeout(60)
        launch = LAUNCH % demo_nights(datetime.now(UTC).date())[-1]
        said = page.browser.execute_async_script(ATTACKS % (page.address, json.dumps(launch)))
    assert said == {"json": "refused", "socket": "refused"}
    assert _runs(page) == before > 0
    if name == "localhost":  # what was refused would have done harm
        found = httpx.post(f"{page.address}/graphql", json={"query": launch}, timeout=30).json()
        assert found["data"]["launchRun"]["__typename"] == "LaunchRunSuccess"
        assert _runs(page) == before + 1


def test_a_name_that_was_bound_to_this_machine_shows_nothing(page: Page):
    port = page.address.rpartition(":")[2]
    page.browser.get(f"http://evil.example.org:{port}/runs")
    page.sees("Refused", "--allowed-host")
    page.shot("refused")


@contextmanager
def second_origin() -> Iterator[int]:
    """A server of some other page, empty."""

    class Empty(BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            self.send_response(200)
            self.send_header("Content-Type", "text/html")
            self.end_headers()
            self.wfile.write(b"<body>Another page</body>")

        def log_message(self, format: str, *args: object) -> None: ...

    with ThreadingHTTPServer(("127.0.0.1", 0), Empty) as server:
        threading.Thread(target=server.serve_forever, daemon=True).start()
        yield server.server_address[1]
        server.shutdown()


def test_the_office_s_report_fits_screen_and_paper(browser: webdriver.Chrome, make: Callable[..., World]):
    """The page that a school's office opens from a folder: nothing is fetched, nothing sticks out, and it prints."""
    world = make({SCHOOL: small_school(pupils=60, troubles=True)})
    world.configure(lambda config: config["schools"][SCHOOL].update(reports={"names": True}))
    reports: list[OfficeReport] = []
    for day in range(3):
        world.night(day)
        reports.append(made(world.environment, Night(SCHOOL, FIRST + timedelta(days=day))))
    report = reports[-1]
    browser.get((world.data / "reports" / report.folder / PAGE).as_uri())
    assert "to mend in iSAMS" in browser.title
    sections = browser.find_elements("css selector", "section h2")
    assert [one.text for one in sections][: len(report.found.tasks)] == [task.what for task in report.found.tasks]
    wide = "return document.documentElement.scrollWidth - document.documentElement.clientWidth"
    assert browser.execute_script(wide) <= 0
    (picture,) = browser.find_elements("tag name", "img")
    assert picture.get_property("naturalWidth") > 300
    printed = base64.b64decode(browser.print_page())
    assert printed.startswith(b"%PDF") and 1 <= printed.count(b"/Type /Page\n") <= 6
    if SHOTS:
        browser.set_window_size(1000, 1150)
        browser.save_screenshot(str(Path(SHOTS) / "office.png"))
        browser.set_window_size(1500, 1000)
