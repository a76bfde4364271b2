"""The REST client against a real server on loopback."""

from __future__ import annotations

import logging
import threading
from collections.abc import Callable, Iterator
from datetime import timedelta

import httpx
import pytest
from starlette.applications import Starlette
from starlette.requests import Request
from starlette.responses import JSONResponse, RedirectResponse
from starlette.routing import Route

from isams_pipeline.errors import (
    AccessRefused,
    InvalidKey,
    IsamsError,
    NotAccepted,
    NotFound,
    NotPermitted,
    NotRestData,
    PipelineError,
    RowsMoved,
    ServerTimeout,
    Throttled,
    TruncatedAnswer,
    Unavailable,
)
from isams_pipeline.sandbox.world import SandboxSchool
from isams_pipeline.sources.isams.connect import rest_client
from isams_pipeline.sources.isams.rest import RestClient, address
from isams_pipeline.sources.shared.http import Credential, Patience
from isams_pipeline.sources.shared.transport import BoundedTransport
from isams_pipeline.storage.state.limits import HourlyLimit
from isams_pipeline_tests.world import HURRIED, SCHOOL, World, small_school

STUDENTS = address("students")
CODES = address("registration", "absencecodes")


@pytest.fixture
def waits() -> list[float]:
    return []


@pytest.fixture
def client(world: World, waits: list[float]) -> Iterator[RestClient]:
    with rest(world, waits) as made:
        yield made


def rest(world: World, waits: list[float], name: str = "portal", **options: object) -> RestClient:
    known = next(c for c in school(world).clients if c.name == name)
    secret = str(options.pop("secret", known.secret))
    return RestClient(
        f"{world.url}/{SCHOOL}",
        Credential(secret, known.client_id),
        patience=HURRIED,
        sleep=waits.append,
        school=SCHOOL,
        client=name,
        **options,  # type: ignore[arg-type]
    )


def school(world: World) -> SandboxSchool:
    return world.sandbox.schools[SCHOOL]


def calls(world: World) -> list[str]:
    return [f"{method} {path}" for _, method, path in school(world).rest_requests]


# --- pages ------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("size", [1, 5, 24, 7, 1000, 5000])
def test_all_pages_give_every_row_once(world: World, client: RestClient, size: int):
    rows = client.pages(STUDENTS, "students", page_size=size)
    pupils = world.sandbox.day_of(SCHOOL).pupils
    assert [row["schoolId"] for row in rows] == [pupil.school_id for pupil in pupils]
    assert len(calls(world)) == -(-len(pupils) // min(size, 1000)), "no page twice, none past the end"


def test_rows_that_move_between_pages_are_read_anew(world: World, client: RestClient):
    world.sandbox.fail(SCHOOL, "rows_move")
    rows = client.pages(STUDENTS, "students", page_size=10)
    assert len({row["id"] for row in rows}) == len(world.sandbox.day_of(SCHOOL).pupils) == len(rows)
    assert len(calls(world)) == 6, "three pages, and the same again"


def test_rows_that_keep_moving_are_an_error_not_a_loss(world: World, waits: list[float]):
    world.sandbox.fail(SCHOOL, "rows_move", times=100)
    with rest(world, waits, parallel=1) as client, pytest.raises(RowsMoved) as caught:
        client.pages(STUDENTS, "students", page_size=20)
    assert caught.value.retryable and caught.value.where["school"] == SCHOOL


def listing(serve: Callable[[Starlette], str], page: Callable[[int], object]) -> str:
    async def token(_: Request) -> JSONResponse:
        return JSONResponse({"access_token": "t", "expires_in": 3600})

    async def rows(request: Request) -> JSONResponse:
        answer = page(int(request.query_params["page"]))
        return JSONResponse(answer, status_code=404 if answer is None else 200)

    return serve(
        Starlette(routes=[Route("/auth/connect/token", token, methods=["POST"]), Route("/api/students", rows)])
    )


def test_a_server_that_repeats_its_first_page_ends_by_our_count(serve: Callable[[Starlette], str]):
    asked: list[int] = []

    def page(number: int) -> object:
        asked.append(number)
        return {"page": 1, "pageSize": 2, "totalCount": 6, "totalPages": 99, "students": [{"id": 1}, {"id": 2}]}

    with RestClient(listing(serve, page), Credential("s", "c"), patience=HURRIED) as client, pytest.raises(RowsMoved):
        client.pages(STUDENTS, "students", page_size=2)
    assert sorted(asked) == sorted([1, 2, 3] * 3)


def test_a_page_past_the_end_means_rows_were_removed(serve: Callable[[Starlette], str]):
    left = [5]

    def page(number: int) -> object:
        found = {
            "pageSize": 2,
            "totalCount": left[0],
            "students": [{"id": n} for n in range(left[0])][number * 2 - 2 :][:2],
        }
        if number == 1:
            left[0] = 3  # two have gone before the second page is asked for
        return found if found["students"] else None

    with RestClient(listing(serve, page), Credential("s", "c"), patience=HURRIED) as client:
        assert [row["id"] for row in client.pages(STUDENTS, "students", page_size=2)] == [0, 1, 2]


@pytest.mark.parametrize(
    "answer",
    [{"students": []}, {"students": [], "totalCount": -1}, {"students": [], "totalCount": True}, {"totalCount": 0}, []],
)
def test_a_list_that_is_none_is_refused(serve: Callable[[Starlette], str], answer: object):
    with (
        RestClient(listing(serve, lambda _: answer), Credential("s", "c"), patience=HURRIED) as client,
        pytest.raises(NotRestData),
    ):
        client.pages(STUDENTS, "students")


def test_pages_come_some_at_a_time_and_no_more(world: World, waits: list[float], monkeypatch: pytest.MonkeyPatch):
    school(world).rest_seconds = 0.05
    under_way, most = [0], [0]
    plain, lock = BoundedTransport.handle_request, threading.Lock()

    def counted(transport: BoundedTransport, request: httpx.Request) -> httpx.Response:
        with lock:
            under_way[0] += 1
            most[0] = max(most[0], under_way[0])
        try:
            return plain(transport, request)
        finally:
            with lock:
                under_way[0] -= 1

    monkeypatch.setattr(BoundedTransport, "handle_request", counted)
    with rest(world, waits, parallel=8) as client:
        assert len(client.pages(STUDENTS, "students", page_size=1)) == 24
    assert most == [8]


# --- addresses ------------------------------------------------------------------------------------------


@pytest.mark.parametrize("segment", ["..", ".", "", "a/b", "a?b", "a#b", "a b", "%2e%2e", "é"])
def test_no_segment_leads_elsewhere(segment: str):
    with pytest.raises(ValueError, match="segment"):
        address("students", segment)


# --- tokens -----------------------------------------------------------------------------------------------


def test_one_token_serves_all_threads(world: World, waits: list[float], monkeypatch: pytest.MonkeyPatch):
    from isams_pipeline.sources.isams.token import ClientToken

    fetched: list[int] = []
    fetch = ClientToken._fetch

    def counted(self: ClientToken, request: object) -> object:
        fetched.append(1)
        return fetch(self, request)  # type: ignore[arg-type]

    monkeypatch.setattr(ClientToken, "_fetch", counted)
    with rest(world, waits) as client:
        client.each(lambda _: client.pages(STUDENTS, "students"), range(16))
        assert len(fetched) == 1
        world.sandbox.forget_tokens()
        client.each(lambda _: client.pages(STUDENTS, "students"), range(16))
    assert 2 <= len(fetched) <= 9, "each of 8 threads may meet the 401 with the token that it had"


def test_a_token_that_expires_amid_the_pages_is_renewed(world: World, client: RestClient):
    client.pages(STUDENTS, "students", page_size=10)
    world.sandbox.fail(SCHOOL, "rest_expired", key="portal")
    assert len(client.pages(STUDENTS, "students", page_size=3)) == 24


def test_a_token_is_renewed_before_it_expires(world: World, waits: list[float]):
    now = [0.0]
    with rest(world, waits, clock=lambda: now[0]) as client:
        client.pages(STUDENTS, "students")
        now[0] = 3600 - 30
        world.moment[0] += timedelta(seconds=3600 - 30)
        client.pages(STUDENTS, "students")
        world.moment[0] += timedelta(seconds=60)  # the first token has ended, the second has not
        before = len(calls(world))
        client.pages(STUDENTS, "students")
    assert len(calls(world)) == before + 1


def test_a_server_whose_clock_is_wrong_does_no_harm(world: World, client: RestClient):
    world.moment[0] += timedelta(days=400)
    assert client.pages(STUDENTS, "students")


def test_a_wrong_secret_says_so_and_does_not_tell_it(world: World, waits: list[float]):
    with rest(world, waits, secret="not-the-secret") as client, pytest.raises(InvalidKey) as caught:
        client.get(CODES)
    assert "not-the-secret" not in str(caught.value) and waits == []
    assert caught.value.where["client"] == "portal"


def test_a_client_that_was_switched_off_is_asked_once_more_and_no_more(world: World, client: RestClient):
    client.pages(STUDENTS, "students")
    world.sandbox.fail(SCHOOL, "rest_expired", times=5)
    with pytest.raises(InvalidKey):
        client.pages(STUDENTS, "students")
    assert len(calls(world)) == 3


# --- errors -----------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("fault", "error"),
    [("rest_429", Throttled), ("rest_500", Unavailable), ("rest_503", Unavailable), ("rest_cut", TruncatedAnswer)],
)
def test_transient_fault_is_tried_again(world: World, client: RestClient, waits: list[float], fault: str, error: type):
    world.sandbox.fail(SCHOOL, fault)
    assert client.pages(STUDENTS, "students")
    assert len(waits) == 1 and (fault not in {"rest_429", "rest_503"} or waits == [1.0])
    world.sandbox.fail(SCHOOL, fault, times=9)
    with pytest.raises(error) as caught:
        client.pages(STUDENTS, "students")
    assert caught.value.where["school"] == SCHOOL and len(waits) == 1 + HURRIED.attempts - 1


@pytest.mark.parametrize(
    ("fault", "error"), [("rest_403", NotPermitted), ("rest_404", NotFound), ("rest_not_json", NotRestData)]
)
def test_final_fault_is_not_tried_again(world: World, client: RestClient, waits: list[float], fault: str, error: type):
    world.sandbox.fail(SCHOOL, fault)
    with pytest.raises(error):
        client.pages(STUDENTS, "students")
    assert waits == []


def test_a_permission_that_the_client_lacks(client: RestClient):
    with pytest.raises(NotPermitted) as caught:
        client.get(CODES)
    assert "registration/absencecodes" in str(caught.value)


def test_a_slow_server_is_a_time_out(world: World):
    known = school(world).clients[1]
    patience = Patience(attempts=2, timeout_attempts=1, read=0.3)
    world.sandbox.fail(SCHOOL, "rest_slow")
    with (
        RestClient(f"{world.url}/{SCHOOL}", Credential(known.secret, known.client_id), patience=patience) as client,
        pytest.raises(ServerTimeout),
    ):
        client.pages(STUDENTS, "students")


def test_a_redirect_is_not_followed_with_the_token(serve: Callable[[Starlette], str]):
    async def elsewhere(_: Request) -> RedirectResponse:
        return RedirectResponse("https://elsewhere.example.org/")

    async def token(_: Request) -> JSONResponse:
        return JSONResponse({"access_token": "t"})

    url = serve(
        Starlette(routes=[Route("/auth/connect/token", token, methods=["POST"]), Route("/api/students", elsewhere)])
    )
    with RestClient(url, Credential("s", "c"), patience=HURRIED) as client, pytest.raises(AccessRefused):
        client.get(STUDENTS)


def test_the_servers_own_words_are_kept_but_not_said(world: World, client: RestClient):
    pupil = world.sandbox.day_of(SCHOOL).pupils[0]
    path = address("students", pupil.school_id)
    body = client.get(path)
    with pytest.raises(NotAccepted) as caught:
        client.put(path, body | {"nationalities": ["Zqxian"]})
    assert caught.value.said == "'Zqxian' is not a known nationality." and "Zqxian" not in str(caught.value)


# --- writing ----------------------------------------------------------------------------------------------


def test_what_rest_writes_batch_reads(world: World, client: RestClient):
    pupil = world.sandbox.day_of(SCHOOL).pupils[0]
    path = address("students", pupil.school_id)
    record = client.get(path)
    assert client.put(path, record | {"preferredName": "Zqx", "middleNames": record["middlenames"]}) == 200
    assert client.get(path) == record | {"preferredName": "Zqx"}
    assert world.night(0).outcome == "delivered"
    assert b"Zqx" in world.export(0)["students.csv"]
    assert world.night(1).outcome == "delivered"
    assert b"Zqx" in world.export(1)["students.csv"], "it outlasts the night"


def test_a_put_is_a_full_replacement(world: World, client: RestClient):
    pupil = world.sandbox.day_of(SCHOOL).pupils[0]
    path = address("students", pupil.school_id)
    before = client.get(path)
    client.put(path, {name: before[name] for name in ("forename", "surname", "dob", "yearGroup", "gender")})
    assert before["mobileNumber"] and client.get(path)["mobileNumber"] is None


@pytest.mark.parametrize(
    ("fault", "error", "taken"),
    [
        ("put_then_500", Unavailable, True),
        ("put_then_cut", TruncatedAnswer, True),
        ("rest_503", Unavailable, True),
        ("put_422", NotAccepted, False),
        ("rest_429", Throttled, False),
        ("rest_403", NotPermitted, False),
    ],
)
def test_a_put_is_never_tried_again_and_says_whether_it_may_have_been_done(
    world: World, client: RestClient, fault: str, error: type[IsamsError], taken: bool
):
    pupil = world.sandbox.day_of(SCHOOL).pupils[0]
    path = address("students", pupil.school_id)
    record = client.get(path)
    world.sandbox.fail(SCHOOL, fault, times=9)
    with pytest.raises(error) as caught:
        client.put(path, record)
    assert caught.value.taken is taken
    assert calls(world).count(f"PUT students/{pupil.school_id}") == 1


def test_a_put_that_reached_nobody_was_surely_not_done(world: World, waits: list[float]):
    with rest(world, waits) as client:
        client.pages(STUDENTS, "students")
        client._wire._http.base_url = "http://127.0.0.1:9/"
        with pytest.raises(Unavailable) as caught:
            client.put(address("students", "1"), {})
    assert caught.value.taken is False


# --- limits and logs --------------------------------------------------------------------------------------


def test_the_limit_of_the_hour_counts_for_all_processes(world: World, state_url: str | None):
    from isams_pipeline.storage.state import StateDatabase

    state = StateDatabase.open(world.folder / "elsewhere", state_url)
    limits = [HourlyLimit(state, "riverside/portal", 10, lambda: world.moment[0]) for _ in range(2)]
    for at in range(10):
        limits[at % 2].spend()
        world.moment[0] += timedelta(minutes=1)
    with pytest.raises(Throttled) as caught:
        limits[0].spend()
    assert caught.value.retry_after == 50 * 60
    HourlyLimit(state, "riverside/other", 10, lambda: world.moment[0]).spend()
    world.moment[0] += timedelta(minutes=50)
    limits[1].spend()
    with pytest.raises(Throttled):
        limits[1].spend()
    state.close()


def test_the_limit_counts_right_for_many_threads(world: World, state_url: str | None):
    from concurrent.futures import ThreadPoolExecutor

    from isams_pipeline.storage.state import StateDatabase

    state = StateDatabase.open(world.folder / "elsewhere", state_url)
    limit = HourlyLimit(state, "riverside/portal", 50, lambda: world.moment[0])

    def spend(_: int) -> bool:
        try:
            limit.spend()
        except Throttled:
            return False
        return True

    with ThreadPoolExecutor(8) as pool:
        assert sum(pool.map(spend, range(80))) == 50
    state.close()


def test_the_environments_client_keeps_to_its_limit(world: World):
    world.configure(lambda c: c["schools"][SCHOOL]["isams"]["rest"]["portal"].update(requests_per_hour=10))
    with rest_client(world.environment.access(SCHOOL), "portal") as client:
        for _ in range(10):
            client.pages(STUDENTS, "students")
        with pytest.raises(Throttled, match="its 10 requests of this hour"):
            client.pages(STUDENTS, "students")
    assert len(calls(world)) == 10


def test_the_sandbox_throttles_a_client(world: World, client: RestClient, waits: list[float]):
    school(world).clients[1].requests_per_hour = 3
    for _ in range(3):
        client.pages(STUDENTS, "students")
    with pytest.raises(Throttled) as caught:
        client.pages(STUDENTS, "students")
    assert caught.value.retry_after == 3601 and waits == [], "longer than anybody's patience"


def test_no_secret_token_or_person_in_logs_or_errors(
    make: Callable[..., World], caplog: pytest.LogCaptureFixture, waits: list[float]
):
    world = make({SCHOOL: small_school(mark="Zqxcanary")})
    caplog.set_level(logging.DEBUG)
    said: list[str] = []
    known = school(world).clients[1]
    with rest(world, waits) as client:
        pupil = world.sandbox.day_of(SCHOOL).pupils[0]
        client.pages(STUDENTS, "students")
        token = client._wire._http.auth._kept  # type: ignore[union-attr]
        for fault in ("rest_403", "rest_404", "rest_500", "rest_not_json", "rest_cut", "put_422"):
            world.sandbox.fail(SCHOOL, fault, times=HURRIED.attempts)
            with pytest.raises(PipelineError) as caught:
                client.put(address("students", pupil.school_id), {"surname": pupil.surname})
                client.get(address("students", pupil.school_id))
            said.append(repr(caught.value) + str(caught.value))
            school(world).faults.clear()
    text = "\n".join([caplog.text, *said])
    assert token and "students" in text
    for secret in ("Zqxcanary", known.secret, known.client_id, token):
        assert secret not in text
