"""The proxy of docs/operations.md, as it stands there, in a real nginx before a guarded application."""

from __future__ import annotations

import os
import re
import shutil
import socket
import ssl
import subprocess
import time
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import httpx
import pytest
from websockets.exceptions import InvalidStatus
from websockets.sync.client import connect

from isams_pipeline.orchestration.ui.guard import LOOPBACK, Door, networks
from isams_pipeline_tests.certificates import make_certificate
from isams_pipeline_tests.ui.test_guard import running

NGINX = shutil.which("nginx", path=f"{os.environ.get('PATH')}:/usr/sbin")
DOCS = Path(__file__).parents[2] / "docs/operations.md"
NAME = "pipeline.example.org"

pytestmark = pytest.mark.skipif(NGINX is None, reason="needs the distribution's nginx")


@dataclass(frozen=True)
class Proxy:
    port: int
    trust: ssl.SSLContext
    behind: str

    def ask(self, method: str, path: str, *, user: str | None = "a.quill", **headers: str) -> httpx.Response:
        """As a browser would that has looked the name up."""
        with httpx.Client(verify=self.trust, trust_env=False) as client:
            return client.request(
                method,
                f"https://127.0.0.1:{self.port}{path}",
                headers={"Host": self.host, **{name.replace("_", "-"): value for name, value in headers.items()}},
                auth=(user, "secret") if user else None,
                extensions={"sni_hostname": NAME},
            )

    @property
    def host(self) -> str:
        return f"{NAME}:{self.port}"


@pytest.fixture(scope="module")
def proxy(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Proxy]:
    folder = tmp_path_factory.mktemp("nginx")
    certificate = make_certificate(folder / "pipeline.pem", NAME)
    (folder / "users").write_text("a.quill:{PLAIN}secret\n")
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port = probe.getsockname()[1]
    door = Door(frozenset({*LOOPBACK, NAME}), "X-Remote-User", networks(["127.0.0.1"]))
    with running(door) as behind:
        (snippet,) = re.findall(r"```nginx\n(.*?)```", DOCS.read_text(), re.DOTALL)
        for old, new in {
            "listen 443": f"listen 127.0.0.1:{port}",
            "/etc/ssl/pipeline.crt": str(certificate),
            "/etc/ssl/pipeline.key": str(certificate),
            "/etc/nginx/pipeline.users": str(folder / "users"),
            "http://127.0.0.1:3000": behind,
        }.items():
            assert old in snippet
            snippet = snippet.replace(old, new)
        as_root = "user root; " if os.geteuid() == 0 else ""
        own = as_root + "daemon off; pid nginx.pid; error_log error.log; events {} http { access_log off; "
        own += "".join(f"{what}_temp_path {what}; " for what in ("client_body", "proxy", "fastcgi", "uwsgi", "scgi"))
        (folder / "nginx.conf").write_text(f"{own}{snippet}}}")
        process = subprocess.Popen([str(NGINX), "-p", str(folder), "-c", "nginx.conf", "-e", "error.log"])
        try:
            give_up = time.monotonic() + 20
            while time.monotonic() < give_up:
                assert process.poll() is None, (folder / "error.log").read_text()
                with socket.socket() as tried:
                    if tried.connect_ex(("127.0.0.1", port)) == 0:
                        break
                time.sleep(0.05)
            trust = ssl.create_default_context(cafile=str(certificate))
            yield Proxy(port, trust, behind)
        finally:
            process.terminate()
            process.wait(15)


def test_without_a_log_in_nothing_comes_in(proxy: Proxy):
    assert proxy.ask("GET", "/runs", user=None).status_code == 401
    assert proxy.ask("GET", "/runs", user=None, X_Remote_User="a.quill").status_code == 401


def test_who_has_logged_in_is_known_behind_it(proxy: Proxy):
    assert proxy.ask("GET", "/runs").text == "GET by a.quill"
    assert proxy.ask("GET", "/runs", X_Remote_User="somebody.else").text == "GET by a.quill"


def test_other_pages_come_in_no_more_than_without_it(proxy: Proxy):
    own: dict[str, Any] = {"Content_Type": "application/json", "Origin": f"https://{proxy.host}"}
    assert proxy.ask("POST", "/graphql", **own).text == "POST by a.quill"
    assert proxy.ask("POST", "/graphql", **own | {"Origin": "https://evil.example.org"}).status_code == 403
    assert proxy.ask("POST", "/graphql", **own | {"Content_Type": "text/plain"}).status_code == 403
    assert proxy.ask("GET", "/graphql?query=mutation", Sec_Fetch_Site="cross-site").status_code == 403
    assert proxy.ask("GET", "/runs", Host="evil.example.org").status_code == 404, "it is the other server's"


def test_a_websocket_goes_through_for_the_uis_own_page_only(proxy: Proxy):
    headers = {"Authorization": httpx.BasicAuth("a.quill", "secret")._auth_header}
    address = f"wss://{proxy.host}/graphql"

    def opened(origin: str) -> Any:
        there = socket.create_connection(("127.0.0.1", proxy.port))
        return connect(address, sock=there, ssl=proxy.trust, origin=origin, additional_headers=headers)  # pyright: ignore[reportArgumentType]

    with opened(f"https://{proxy.host}") as listened:
        assert listened.recv() == "hello"
    with pytest.raises(InvalidStatus, match="403"):
        opened("https://evil.example.org")


def test_past_it_nobody_has_logged_in(proxy: Proxy):
    found = httpx.get(f"{proxy.behind}/runs", trust_env=False)
    assert found.status_code == 403 and "did not say" in found.text
