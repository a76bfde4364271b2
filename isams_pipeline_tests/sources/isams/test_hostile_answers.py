"""Answers made to hurt, sent by a server that speaks raw bytes, to every client that there is."""

from __future__ import annotations

import contextlib
import gzip
import itertools
import socket
import socketserver
import threading
import time
import tracemalloc
import zlib
from collections.abc import Callable, Generator
from datetime import UTC, datetime
from types import SimpleNamespace
from typing import Any

import pytest
import zstandard

from isams_pipeline.errors import IsamsError, ServerTimeout, TruncatedAnswer, UnsafeAnswer
from isams_pipeline.sources.assembly.client import AssemblyClient
from isams_pipeline.sources.assembly.settings import AssemblySettings
from isams_pipeline.sources.isams.batch import BatchClient
from isams_pipeline.sources.isams.rest import RestClient
from isams_pipeline.sources.shared.http import Credential, Patience
from isams_pipeline.sources.xporter.client import XporterClient, XporterSecrets
from isams_pipeline.sources.xporter.settings import XporterSettings

Say = Callable[[socket.socket], None]
ONCE = Patience(attempts=1, timeout_attempts=1, whole=20)
HASTY = Patience(attempts=1, timeout_attempts=1, whole=0.4)
NOW = datetime(2026, 11, 20, 2, tzinfo=UTC)
TOKEN = b'{"access_token": "t", "expires_in": 3600, "token": "t", "expires": "2026-11-21T02:00:00Z"}'


@contextlib.contextmanager
def answering(say: Say, *, tokens: bool = True) -> Generator[str, None, None]:
    """A server that reads a request, and answers as it is told; requests for a token well, if `tokens`."""

    class Handler(socketserver.BaseRequestHandler):
        def handle(self) -> None:
            request = b""
            while b"\r\n\r\n" not in request:
                if not (data := self.request.recv(1 << 16)):
                    return
                request += data
            with contextlib.suppress(OSError):
                if tokens and b"oken" in request.split(b"\r\n")[0]:
                    self.request.sendall(whole(TOKEN, b"Content-Type: application/json"))
                else:
                    say(self.request)

    with socketserver.ThreadingTCPServer(("127.0.0.1", 0), Handler) as server:
        server.daemon_threads = True
        threading.Thread(target=server.serve_forever, args=(0.05,), daemon=True).start()
        try:
            yield f"http://127.0.0.1:{server.server_address[1]}"
        finally:
            server.shutdown()


def whole(body: bytes, *headers: bytes, status: bytes = b"200 OK") -> bytes:
    lines = [b"HTTP/1.1 " + status, b"Content-Length: %d" % len(body), b"Connection: close", *headers]
    return b"\r\n".join([*lines, b"", body])


def said(body: bytes, *headers: bytes, status: bytes = b"200 OK") -> Say:
    return lambda connection: connection.sendall(whole(body, *headers, status=status))


class _Vault(SimpleNamespace):
    def load(self) -> Any:
        return None

    def save(self, tokens: Any) -> None:
        """Nothing is kept."""


def batch(url: str, patience: Patience) -> None:
    with BatchClient(url, Credential("key"), patience=patience, school="riverside") as client:
        client.download(["A:B"], lambda chunks: sum(map(len, chunks)))


def batch_token(url: str, patience: Patience) -> None:
    with BatchClient(url, Credential("secret", "id"), patience=patience, school="riverside") as client:
        client.download(["A:B"], lambda chunks: sum(map(len, chunks)))


def rest(url: str, patience: Patience) -> None:
    with RestClient(url, Credential("secret", "id"), patience=patience, school="riverside") as client:
        client.get("/api/students")


def at_assembly(url: str, patience: Patience) -> AssemblyClient:
    settings = AssemblySettings(
        url=url, platform=url, urn="100001", client_id="A_ID", secret="A_SECRET", redirect_uri="http://localhost:1"
    )
    vault: Any = _Vault()
    app = Credential("secret", "id")
    return AssemblyClient(settings, app, vault, school="riverside", clock=lambda: NOW, patience=patience)


def assembly(url: str, patience: Patience) -> None:
    with at_assembly(url, patience) as client:
        client._json("/school", token="t")


def assembly_token(url: str, patience: Patience) -> None:
    with at_assembly(url, patience) as client:
        client.tokens.of_app()


def xporter(url: str, patience: Patience) -> None:
    settings = XporterSettings(url=url, estab="8011234", relying_party="party", secret="X_SECRET")
    vault: Any = _Vault()
    with XporterClient(
        settings, XporterSecrets("secret"), vault, school="riverside", clock=lambda: NOW, patience=patience
    ) as client:
        client._json("GET", "/api/v1/Scopes", auth=client._auth)


def xporter_token(url: str, patience: Patience) -> None:
    xporter(url, patience)


DATA = [batch, rest, assembly, xporter]
TOKENS = [batch_token, rest, assembly_token, xporter_token]
EVERY = [(ask, True) for ask in DATA] + [(ask, False) for ask in TOKENS]
IDS = [ask.__name__ for ask in DATA] + [f"token of {ask.__name__}" for ask in TOKENS]
everywhere = pytest.mark.parametrize(("ask", "tokens"), EVERY, ids=IDS)
ZEROS = b"\0" * (1 << 20)


def bomb(times: int) -> bytes:
    packer = zlib.compressobj(9, wbits=31)
    return b"".join([*(packer.compress(ZEROS) for _ in range(times)), packer.flush()])


@everywhere
@pytest.mark.parametrize(
    ("encoding", "body"),
    [
        (b"zstd", zstandard.compress(ZEROS * 64)),
        (b"gzip, gzip", gzip.compress(bomb(64))),
        (b"deflate", zlib.compress(ZEROS)),
        (b"br", b"\x0b\x00\x80\x00\x03"),
    ],
    ids=["zstd", "gzip twice", "deflate", "brotli"],
)
def test_an_encoding_that_was_not_asked_for_is_refused_unread(
    ask: Callable[..., None], tokens: bool, encoding: bytes, body: bytes
):
    with answering(said(body, b"Content-Encoding: " + encoding), tokens=tokens) as url:
        with peak_below(8 << 20), pytest.raises(UnsafeAnswer) as refused:
            ask(url, ONCE)
        assert "encoding" in str(refused.value) or "packed more than once" in str(refused.value)


@pytest.mark.parametrize("ask", TOKENS)
def test_a_token_is_read_up_to_64_kb(ask: Callable[..., None]):
    body = b'{"access_token": "' + b"a" * 70_000 + b'"}'
    packed = gzip.compress(b'{"access_token": "' + b"a" * 70_000_000 + b'"}')
    for say in (said(body), said(packed, b"Content-Encoding: gzip")):
        refused = pytest.raises(UnsafeAnswer, match="larger than 64 KB")
        with answering(say, tokens=False) as url, peak_below(8 << 20), refused:
            ask(url, ONCE)


@everywhere
def test_an_error_is_read_up_to_64_kb(ask: Callable[..., None], tokens: bool):
    with answering(said(bomb(64), b"Content-Encoding: gzip", status=b"503 No"), tokens=tokens) as url:
        with peak_below(8 << 20), pytest.raises(IsamsError) as error:
            ask(url, ONCE)
        assert error.value.retryable, "a busy server is busy, however long its page is"


def test_a_small_answer_does_not_become_a_large_one():
    refused = pytest.raises(UnsafeAnswer, match="larger than 64 MB")
    with answering(said(bomb(200), b"Content-Encoding: gzip")) as url, peak_below(200 << 20), refused:
        rest(url, ONCE)


@everywhere
@pytest.mark.parametrize("part", ["headers", "body", "chunks"])
def test_a_byte_now_and_then_holds_no_run(ask: Callable[..., None], tokens: bool, part: str):
    beginning = {
        "headers": b"HTTP/1.1 200 OK\r\nX: ",
        "body": b"HTTP/1.1 200 OK\r\nContent-Length: 100000\r\n\r\n",
        "chunks": b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n",
    }[part]
    drop = b"1\r\n \r\n" if part == "chunks" else b"a"

    def drip(connection: socket.socket) -> None:
        connection.sendall(beginning)
        while True:
            connection.sendall(drop)
            time.sleep(0.05)

    with answering(drip, tokens=tokens) as url:
        began = time.monotonic()
        with pytest.raises(ServerTimeout):
            ask(url, HASTY)
        assert time.monotonic() - began < 5


def test_an_answer_slower_than_the_least_rate_is_given_up_before_its_time():
    def drip(connection: socket.socket) -> None:
        connection.sendall(b"HTTP/1.1 200 OK\r\nContent-Length: 100000\r\n\r\n")
        while True:
            connection.sendall(b"a")
            time.sleep(0.05)

    patience = Patience(attempts=1, timeout_attempts=1, patient_for=0.5)
    with answering(drip) as url, pytest.raises(ServerTimeout):
        rest(url, patience)


def test_endless_interim_answers_hold_no_run():
    def interim(connection: socket.socket) -> None:
        for _ in itertools.count():
            connection.sendall(b"HTTP/1.1 102 Processing\r\n\r\n")

    with answering(interim) as url, pytest.raises(ServerTimeout):
        rest(url, HASTY)


def test_gzip_is_taken_whole_in_pieces_and_one_after_the_other():
    text = b'{"rows": "' + bytes(range(97, 123)) * 10_000 + b'"}'
    packed = gzip.compress(text[:1000]) + gzip.compress(text[1000:])

    def bit_by_bit(connection: socket.socket) -> None:
        data = whole(packed, b"Content-Encoding: x-gzip")
        for at in range(0, len(data), 37):
            connection.sendall(data[at : at + 37])

    with answering(bit_by_bit) as url, RestClient(url, Credential("s", "i"), patience=ONCE) as client:
        assert client.get("/api/students") == {"rows": text[10:-2].decode()}


@pytest.mark.parametrize("cut", [1, 20, 200])
def test_gzip_that_breaks_off_is_no_data(cut: int):
    packed = gzip.compress(b'{"rows": [' + b", ".join(b"%d" % n for n in range(3000)) + b"]}")[:-cut]
    with answering(said(packed, b"Content-Encoding: gzip")) as url, pytest.raises(TruncatedAnswer):
        rest(url, ONCE)


@contextlib.contextmanager
def peak_below(most: int) -> Generator[None, None, None]:
    tracemalloc.start()
    try:
        yield
        assert tracemalloc.get_traced_memory()[1] < most
    finally:
        tracemalloc.stop()
