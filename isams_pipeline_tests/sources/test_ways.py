"""The way to a server: through a proxy or directly; and why there is none, told apart."""

from __future__ import annotations

import contextlib
import http.server
import select
import socket
import ssl
import threading
from collections.abc import Callable, Iterator
from pathlib import Path

import httpx
import pytest

from isams_pipeline.errors import ConfigurationError, Unavailable, UntrustedServer
from isams_pipeline.sources.shared.http import Patience, open_http, proxy_of, typed_errors
from isams_pipeline_tests.certificates import make_certificate

HOST = "school.isams.example.org"
HURRIED = Patience(connect=2, read=5)


class Answering(http.server.BaseHTTPRequestHandler):
    def do_GET(self) -> None:
        self.send_response(200)
        self.send_header("Content-Length", "5")
        self.end_headers()
        self.wfile.write(b"hello")

    def log_message(self, format: str, *_: object) -> None:
        """Nothing."""


class Proxying(Answering):
    """Leads every CONNECT to one server on loopback, and notes what was asked for."""

    to, seen, refuses = 0, list[str](), False

    def do_CONNECT(self) -> None:
        self.seen.append(f"{self.path} {self.headers.get('Proxy-Authorization', '-')}")
        if self.refuses:
            self.send_error(403)
            return
        with socket.create_connection(("127.0.0.1", self.to)) as there:
            self.send_response(200)
            self.end_headers()
            pair = {self.connection: there, there: self.connection}
            while True:
                for ready in select.select(list(pair), [], [], 5)[0] or [None]:
                    data = ready.recv(65536) if ready is not None else b""
                    if not data:
                        return
                    pair[ready].sendall(data)


@contextlib.contextmanager
def served(handler: type[http.server.BaseHTTPRequestHandler], context: ssl.SSLContext | None = None) -> Iterator[int]:
    server = http.server.ThreadingHTTPServer(("127.0.0.1", 0), handler)
    if context is not None:
        server.socket = context.wrap_socket(server.socket, server_side=True)
    thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.05})
    thread.start()
    try:
        yield server.server_address[1]
    finally:
        server.shutdown()
        thread.join()
        server.server_close()


@pytest.fixture
def certificate(tmp_path: Path) -> Path:
    return make_certificate(tmp_path / "certificate.pem", HOST)


@pytest.fixture
def proxy(certificate: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[type[Proxying]]:
    """A proxy behind which the school's server is; nothing else leads to it."""
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.load_cert_chain(certificate)

    class Ours(Proxying):
        seen = list[str]()

    with served(Answering, context) as Ours.to, served(Ours) as port:
        monkeypatch.setenv("HTTPS_PROXY", f"http://user:pass@127.0.0.1:{port}")
        for name in ("NO_PROXY", "no_proxy", "https_proxy"):
            monkeypatch.delenv(name, raising=False)
        yield Ours


def ask(url: str, verify: ssl.SSLContext | None = None, patience: Patience = HURRIED) -> str:
    with typed_errors("iSAMS", "isams.url"), open_http(url, patience, most=1000, headers={}, verify=verify) as client:
        return client.get("/").text


def test_a_server_is_asked_through_the_proxy_that_the_environment_names(proxy: type[Proxying], certificate: Path):
    """By its own certificate: the proxy sees no more than a name."""
    assert ask(f"https://{HOST}", ssl.create_default_context(cafile=certificate)) == "hello"
    assert proxy.seen == [f"{HOST}:443 Basic dXNlcjpwYXNz"]


def test_no_proxy_and_this_machine_are_asked_directly(proxy: type[Proxying], monkeypatch: pytest.MonkeyPatch):
    assert proxy_of(f"https://{HOST}") and proxy_of("https://127.0.0.1:1") is None
    monkeypatch.setenv("NO_PROXY", "isams.example.org")
    assert proxy_of(f"https://{HOST}") is None
    monkeypatch.setenv("NO_PROXY", f"{HOST}:443")
    assert proxy_of(f"https://{HOST}") is None and proxy_of(f"https://{HOST}:8443")
    assert not proxy.seen


@pytest.mark.parametrize(
    "named", ["socks5://user:canary@127.0.0.1:1", "http://user:pa#canary@proxy:3128", "proxy:canary"]
)
def test_a_proxy_that_cannot_be_one_is_said_before_anything_is_sent(monkeypatch: pytest.MonkeyPatch, named: str):
    monkeypatch.setenv("HTTPS_PROXY", named)
    monkeypatch.setenv("NO_PROXY", "")
    with pytest.raises(ConfigurationError, match="no address that can be used.*HTTPS_PROXY") as caught:
        ask(f"https://{HOST}")
    assert "canary" not in str(caught.value)


def test_a_proxy_that_refuses_is_said(proxy: type[Proxying]):
    proxy.refuses = True
    with pytest.raises(Unavailable, match="the proxy did not let the request through.*HTTPS_PROXY"):
        ask(f"https://{HOST}")


def _closed_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return probe.getsockname()[1]


@pytest.mark.parametrize(
    ("url", "said"),
    [
        ("https://nowhere.invalid", r"the name of the server is not known here \(DNS\)"),
        ("http://127.0.0.1:{port}", "the server refused the connection"),
    ],
)
def test_a_name_that_is_not_known_and_a_port_nobody_listens_at_are_told_apart(
    url: str, said: str, monkeypatch: pytest.MonkeyPatch
):
    monkeypatch.setattr("urllib.request.getproxies", dict)
    with pytest.raises(Unavailable, match=rf"{said}.*Check isams\.url"):
        ask(url.format(port=_closed_port()))


def test_a_proxy_that_is_not_there_is_not_the_server(monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setenv("HTTPS_PROXY", f"http://127.0.0.1:{_closed_port()}")
    monkeypatch.setenv("NO_PROXY", "")
    with pytest.raises(Unavailable, match="the proxy refused the connection.*HTTPS_PROXY"):
        ask(f"https://{HOST}")


def test_a_connection_that_nobody_takes_is_told_apart(monkeypatch: pytest.MonkeyPatch):
    def late(*_: object) -> Callable[..., object]:
        raise httpx.ConnectTimeout("too late", request=httpx.Request("GET", "https://127.0.0.1"))

    monkeypatch.setattr("httpx.HTTPTransport.handle_request", late)
    with pytest.raises(Unavailable, match="did not take the connection in time.*firewall"):
        ask("https://127.0.0.1:1")


def test_a_certificate_that_nobody_trusts_is_told_apart(certificate: Path):
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.load_cert_chain(certificate)
    with served(Answering, context) as port, pytest.raises(UntrustedServer, match="certificate"):
        ask(f"https://127.0.0.1:{port}")
