"""Who may ask the UI: the guard before a small ASGI application, and tags of who launched a run."""

from __future__ import annotations

import socket
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import replace
from typing import Any

import dagster as dg
import httpx
import pytest
import uvicorn
from starlette.applications import Starlette
from starlette.requests import Request
from starlette.responses import PlainTextResponse
from starlette.routing import Route, WebSocketRoute
from starlette.websockets import WebSocket
from websockets.exceptions import InvalidStatus
from websockets.sync.client import connect

from isams_pipeline.commands.servers import _guard_options
from isams_pipeline.commands.ui_server import guard_launches, served
from isams_pipeline.errors import WrongUse
from isams_pipeline.orchestration.partitions import LAUNCHED_BY
from isams_pipeline.orchestration.ui.guard import LOOPBACK, Door, networks, user

HOST = "localhost:3000"
OWN = {"host": HOST, "origin": f"http://{HOST}", "sec-fetch-site": "same-origin", "content-type": "application/json"}
PROXIED = Door(frozenset({*LOOPBACK, "pipeline.example.org"}), "X-Remote-User", networks(["127.0.0.0/8"]))


async def anything(request: Request) -> PlainTextResponse:
    return PlainTextResponse(f"{request.method} by {user.get()}")


async def listening(opened: WebSocket) -> None:
    await opened.accept()
    await opened.send_text("hello")
    await opened.close()


APP = Starlette(
    routes=[
        Route("/{path:path}", anything, methods=["GET", "POST", "PUT", "DELETE"]),
        WebSocketRoute("/graphql", listening),
    ]
)


@pytest.fixture(scope="module")
def ports() -> Iterator[dict[str, str]]:
    """The guard on three doors: of this machine, behind a proxy on it, behind a proxy that is elsewhere."""
    doors = {"own": Door(), "proxied": PROXIED, "elsewhere": replace(PROXIED, proxies=networks(["10.0.0.0/24"]))}
    with ExitStack() as stack:
        yield {name: stack.enter_context(running(door)) for name, door in doors.items()}


@contextmanager
def running(door: Door) -> Iterator[str]:
    with socket.create_server(("127.0.0.1", 0)) as bound:
        port = bound.getsockname()[1]
        server = uvicorn.Server(served(APP, door, "127.0.0.1", port))
        thread = threading.Thread(target=server.run, args=([bound],), daemon=True)
        thread.start()
        while not server.started:
            assert thread.is_alive()
            time.sleep(0.01)
        yield f"http://127.0.0.1:{port}"
        server.should_exit = True
        thread.join(15)


@pytest.fixture
def asked(ports: dict[str, str]) -> Callable[..., httpx.Response]:
    def ask(method: str, path: str, headers: Any, *, door: str = "own") -> httpx.Response:
        return httpx.request(method, ports[door] + path, headers=headers, trust_env=False)

    return ask


def without(*names: str, **more: str) -> dict[str, str]:
    return {**{k: v for k, v in OWN.items() if k not in names}, **{k.replace("_", "-"): v for k, v in more.items()}}


@pytest.mark.parametrize("host", ["localhost", "LOCALHOST:3000", "127.0.0.1:8080", "[::1]:3000", "[::1]", "localhost."])
def test_the_uis_own_names_are_answered(host: str, asked: Callable[..., httpx.Response]):
    assert asked("GET", "/runs", {"host": host}).status_code == 200


@pytest.mark.parametrize(
    "host", ["evil.example.org", "evil.example.org:3000", "localhost.evil.org", "127.0.0.1.evil.org", "[::1].evil.org", "",
             "169.254.1.1", "2130706433", "[::ffff:7f00:1]", "localhost@evil.org"],
)  # fmt: skip
def test_a_name_that_was_bound_to_this_machine_is_not(host: str, asked: Callable[..., httpx.Response]):
    for path in ("/", "/graphql", "/runs"):
        found = asked("GET", path, {"host": host})
        assert found.status_code == 403 and "--allowed-host" in found.text


@pytest.mark.parametrize(
    "headers",
    [
        without(origin="http://evil.example.org"),
        without(origin="null"),
        without(origin="http://localhost:8000"),
        without(origin="http://127.0.0.1:3000"),
        without(origin=f"http://{HOST}.evil.org"),
        without(origin=f"file://{HOST}"),
        without("origin", sec_fetch_site="cross-site"),
        without("origin", sec_fetch_site="same-site"),
        without("content-type"),
        without(content_type="text/plain"),
        without(content_type="application/x-www-form-urlencoded"),
        without(content_type="multipart/form-data; boundary=x"),
        without(content_type="text/plain; application/json"),
    ],
    ids=str,
)
@pytest.mark.parametrize("path", ["/graphql", "/report_asset_materialization/a/b", "/graphql/"])
def test_no_other_page_changes_anything(headers: dict[str, str], path: str, asked: Callable[..., httpx.Response]):
    assert asked("POST", path, headers).status_code == 403


def test_the_uis_own_page_and_a_persons_script_do(asked: Callable[..., httpx.Response]):
    assert asked("POST", "/graphql", OWN).text == "POST by None"
    assert (
        asked("POST", "/graphql", {"host": HOST, "content-type": "application/json; charset=utf-8"}).status_code == 200
    )


@pytest.mark.parametrize(
    "query", ["?query=mutation{deletePipelineRun(runId:%22x%22){__typename}}", "?query={runs}", "?x"]
)
@pytest.mark.parametrize("path", ["/graphql", "/graphql/"])
def test_graphql_is_not_asked_by_an_address(query: str, path: str, asked: Callable[..., httpx.Response]):
    for headers in ({"host": HOST}, OWN, without("origin", sec_fetch_site="cross-site", sec_fetch_mode="no-cors")):
        assert asked("GET", path + query, headers).status_code == 403
    assert asked("GET", path, {"host": HOST}).status_code == 200, "the page to try queries in"


def test_a_link_opens_a_page_and_nothing_else(asked: Callable[..., httpx.Response]):
    link = {"host": HOST, "sec-fetch-site": "cross-site", "sec-fetch-mode": "navigate", "sec-fetch-dest": "document"}
    found = asked("GET", "/runs/1", link)
    assert found.status_code == 200 and found.headers["x-frame-options"] == "SAMEORIGIN"
    for dest in ("iframe", "image", "script", "embed", "empty"):
        assert asked("GET", "/runs/1", link | {"sec-fetch-dest": dest}).status_code == 403
    assert asked("GET", "/graphql", link).status_code == 403
    assert asked("POST", "/runs/1", link | {"content-type": "application/json"}).status_code == 403


@pytest.mark.parametrize("origin", [None, "http://evil.example.org", "null", "http://localhost:8000"])
def test_a_websocket_says_which_page_it_is_of(origin: str | None, ports: dict[str, str]):
    uri = ports["own"].replace("http", "ws") + "/graphql"
    with pytest.raises(InvalidStatus, match="403"), connect(uri, origin=origin):  # pyright: ignore[reportArgumentType]
        raise AssertionError("it was let in")


def test_the_uis_own_websocket_is_let_in(ports: dict[str, str]):
    uri = ports["own"].replace("http", "ws") + "/graphql"
    with connect(uri, origin=ports["own"]) as listened:  # pyright: ignore[reportArgumentType]
        assert listened.recv() == "hello"


def test_behind_a_proxy_only_the_proxy_asks_and_says_for_whom(asked: Callable[..., httpx.Response]):
    host = {"host": "pipeline.example.org"}
    named = host | {"x-remote-user": "a.quill"}
    assert asked("GET", "/runs", named, door="proxied").text == "GET by a.quill"
    assert "only requests from the proxy" in asked("GET", "/runs", named, door="elsewhere").text
    for headers in (host, host | {"x-remote-user": ""}, host | {"x-remote-user": "a\tb"}):
        assert "did not say" in asked("GET", "/runs", headers, door="proxied").text
    spoofed = {**named, "x-forwarded-for": "10.0.0.7", "x-real-ip": "10.0.0.7"}
    assert asked("GET", "/runs", spoofed, door="elsewhere").status_code == 403


def test_a_header_that_comes_twice_names_nobody(asked: Callable[..., httpx.Response]):
    headers = [("host", "pipeline.example.org"), ("x-remote-user", "a"), ("x-remote-user", "b")]
    assert asked("GET", "/runs", headers, door="proxied").status_code == 403


def test_runs_that_are_launched_say_by_whom():
    @dg.op
    def nothing() -> None: ...

    @dg.job
    def empty() -> None:
        nothing()

    with dg.DagsterInstance.ephemeral() as instance:
        guard_launches(instance, lambda: lambda _: True)
        token = user.set("a.quill")
        try:
            run = instance.create_run_for_job(empty, tags={LAUNCHED_BY: "somebody else", "x": "y"})
        finally:
            user.reset(token)
        assert instance.get_run_by_id(run.run_id).tags.items() >= {LAUNCHED_BY: "a.quill", "x": "y"}.items()  # pyright: ignore[reportOptionalMemberAccess]
        nobodys = instance.create_run_for_job(empty, tags={LAUNCHED_BY: "somebody else"})
        assert LAUNCHED_BY not in nobodys.tags, "nobody can say it of themselves"


@pytest.mark.parametrize(
    ("given", "said"),
    [
        (("0.0.0.0", [], None, []), "anybody in the network"),
        (("192.0.2.1", ["x.org"], None, []), "anybody in the network"),
        (("0.0.0.0", [], "X-Remote-User", []), "belong together"),
        (("127.0.0.1", [], None, ["127.0.0.1"]), "belong together"),
    ],
)
def test_an_open_door_is_refused_at_the_start(given: Any, said: str):
    with pytest.raises(WrongUse, match=said):
        _guard_options(*given)
