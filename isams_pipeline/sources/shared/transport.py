"""The wire below all clients: one encoding, and bounds in bytes and in time, whatever the other side sends.

A client that takes what it is given can be filled by 64 KB of zeros packed twice, and held for hours by one byte a
second. Here gzip is the only packing that is asked for and taken, it is unpacked in bounded steps, and a request has
a time in which it must be done as a whole, headers included.
"""

from __future__ import annotations

import contextlib
import ssl
import time
import zlib
from collections.abc import Generator, Iterable, Iterator
from contextvars import ContextVar
from dataclasses import dataclass
from functools import cache
from typing import Any

import httpcore
import httpx

from isams_pipeline.datasets.shapes import JsonValue
from isams_pipeline.errors import UnsafeAnswer

SMALL = 1 << 16
"""Bytes of a token or of an error."""
MOST = "most_bytes"
"""The extension of a request by which it takes another bound than its client's."""
_STEP = 1 << 16
_GZIP = 16 + zlib.MAX_WBITS
_REMEDY = "A proxy or firewall on the way may have changed the answer; check the address in schools.yaml."


@dataclass(frozen=True)
class Bounds:
    """What an answer may be, and how long it may take."""

    most: int
    """Bytes, unpacked, of an answer that is no error; one that is larger is refused."""
    whole: float = 600.0
    """Seconds from the request to the last byte."""
    least_rate: float = 128.0
    """Bytes a second, as they come over the wire, below which an answer is given up."""
    patient_for: float = 60.0
    """Seconds for which an answer may be slower than that."""


@cache
def trusted() -> ssl.SSLContext:
    """The authorities that httpx trusts, loaded once: that takes longer than a small request."""
    return httpx.create_ssl_context()


class BoundedTransport(httpx.BaseTransport):
    """Plain HTTP with bounds.

    Raises UnsafeAnswer for an answer in another encoding than was asked for, or beyond its bound, and httpx's own
    errors for what goes wrong on the wire: ReadTimeout also where the whole takes too long.
    """

    def __init__(
        self,
        bounds: Bounds,
        *,
        verify: ssl.SSLContext | None = None,
        limits: httpx.Limits | None = None,
        proxy: str | None = None,
    ) -> None:
        """`proxy`: the address of the one that requests go through, with user and password where it asks for them."""
        self._bounds = bounds
        self._inner = _Transport(verify or trusted(), limits or httpx.Limits(), httpx.Proxy(proxy) if proxy else None)

    def handle_request(self, request: httpx.Request) -> httpx.Response:
        request.headers["Accept-Encoding"] = "gzip"
        until = time.monotonic() + self._bounds.whole
        with _done_by(until):
            response = self._inner.handle_request(request)
        try:
            is_packed = _is_packed(response.headers)
        except UnsafeAnswer:
            response.close()
            raise
        for name in ("content-encoding", "content-length"):  # of the bytes on the wire
            response.headers.pop(name, None)
        most = int(request.extensions.get(MOST) or self._bounds.most)
        is_error = response.status_code >= 300  # noqa: PLR2004
        body = _Body(response.stream, self._bounds, until, is_packed=is_packed, most=most, is_error=is_error)
        return httpx.Response(
            response.status_code, headers=response.headers, stream=body, extensions=response.extensions
        )

    def close(self) -> None:
        self._inner.close()


def _is_packed(headers: httpx.Headers) -> bool:
    """Whether the body is gzip. Raises UnsafeAnswer for any other encoding, and for one that is doubled."""
    said = [word.strip().lower() for word in ",".join(headers.get_list("content-encoding")).split(",")]
    encodings = [word for word in said if word not in {"", "identity"}]
    if not encodings:
        return False
    if encodings in (["gzip"], ["x-gzip"]):
        return True
    # The words are the other side's: they are counted, not quoted.
    what = "packed more than once" if len(encodings) > 1 else "in an encoding that was not asked for"
    raise UnsafeAnswer(f"The answer is {what}", remedy=_REMEDY)


class _Body(httpx.SyncByteStream):
    """An answer's bytes, unpacked, as many as it may have."""

    def __init__(
        self, stream: Any, bounds: Bounds, until: float, *, is_packed: bool, most: int, is_error: bool
    ) -> None:
        self._stream, self._bounds, self._until = stream, bounds, until
        self._is_packed, self._most, self._is_error = is_packed, most, is_error

    def __iter__(self) -> Iterator[bytes]:
        pieces = self._in_time()
        size = 0
        for piece in _unpacked(pieces) if self._is_packed else pieces:
            size += len(piece)
            if self._is_error and size > SMALL:
                # What kind of error it is, its beginning says.
                yield piece[: len(piece) - (size - SMALL)]
                return
            if size > self._most:
                raise UnsafeAnswer(f"The answer is larger than {_in_words(self._most)}", remedy=_REMEDY)
            yield piece

    def _in_time(self) -> Iterator[bytes]:
        """The bytes as they come over the wire, if they come fast enough."""
        began = time.monotonic()
        size = 0
        pieces = iter(self._stream)
        while True:
            with _done_by(self._until):
                piece = next(pieces, None)
            if piece is None:
                return
            size += len(piece)
            lasted = time.monotonic() - began
            if lasted > self._bounds.patient_for and size < self._bounds.least_rate * lasted:
                raise httpx.ReadTimeout("too slow")
            yield piece

    def close(self) -> None:
        self._stream.close()


def _unpacked(pieces: Iterable[bytes]) -> Iterator[bytes]:
    """What gzip holds, never more than a step at a time."""
    unpacker = zlib.decompressobj(_GZIP)
    is_begun = False
    for piece in pieces:
        data = piece
        while data:
            if unpacker.eof:  # gzip after gzip is one text
                unpacker, is_begun = zlib.decompressobj(_GZIP), False
            try:
                step = unpacker.decompress(data, _STEP)
            except zlib.error:
                raise httpx.DecodingError("not gzip") from None
            is_begun = True
            data = unpacker.unused_data if unpacker.eof else unpacker.unconsumed_tail
            if step:
                yield step
    while is_begun and not unpacker.eof and (step := unpacker.decompress(unpacker.unconsumed_tail, _STEP)):
        yield step
    if is_begun and not unpacker.eof:
        raise httpx.DecodingError("gzip breaks off")


def _in_words(size: int) -> str:
    return f"{size >> 20} MB" if size >= 1 << 20 else f"{size >> 10} KB"


# --- the time of a whole request --------------------------------------------------------------------------

_until: ContextVar[float | None] = ContextVar("until", default=None)


@contextlib.contextmanager
def _done_by(until: float) -> Generator[None, None, None]:
    token = _until.set(until)
    try:
        yield
    finally:
        _until.reset(token)


def _left(timeout: float | None, error: type[Exception]) -> float | None:
    """The time that one read or write may take: its own, but not beyond that of the whole."""
    until = _until.get()
    if until is None:
        return timeout
    left = until - time.monotonic()
    if left <= 0:
        raise error("the whole takes too long")
    return left if timeout is None else min(timeout, left)


class _TimedStream(httpcore.NetworkStream):
    """A socket on which a byte now and then does not begin the time anew."""

    def __init__(self, inner: httpcore.NetworkStream) -> None:
        self._inner = inner

    def read(self, max_bytes: int, timeout: float | None = None) -> bytes:
        return self._inner.read(max_bytes, _left(timeout, httpcore.ReadTimeout))

    def write(self, buffer: bytes, timeout: float | None = None) -> None:
        self._inner.write(buffer, _left(timeout, httpcore.WriteTimeout))

    def close(self) -> None:
        self._inner.close()

    def start_tls(
        self, ssl_context: ssl.SSLContext, server_hostname: str | None = None, timeout: float | None = None
    ) -> httpcore.NetworkStream:
        left = _left(timeout, httpcore.ConnectTimeout)
        return _TimedStream(self._inner.start_tls(ssl_context, server_hostname, left))

    def get_extra_info(self, info: str) -> JsonValue:
        return self._inner.get_extra_info(info)


class _TimedBackend(httpcore.NetworkBackend):
    def __init__(self) -> None:
        self._inner = httpcore.SyncBackend()

    def connect_tcp(
        self,
        host: str,
        port: int,
        timeout: float | None = None,
        local_address: str | None = None,
        socket_options: Iterable[Any] | None = None,
    ) -> httpcore.NetworkStream:
        left = _left(timeout, httpcore.ConnectTimeout)
        return _TimedStream(self._inner.connect_tcp(host, port, left, local_address, socket_options))

    def connect_unix_socket(
        self, path: str, timeout: float | None = None, socket_options: Iterable[Any] | None = None
    ) -> httpcore.NetworkStream:
        raise NotImplementedError

    def sleep(self, seconds: float) -> None:
        self._inner.sleep(seconds)


class _Transport(httpx.HTTPTransport):
    """Httpx's own, over sockets that keep to the time of the whole: only a pool takes another kind of socket."""

    def __init__(self, verify: ssl.SSLContext, limits: httpx.Limits, proxy: httpx.Proxy | None = None) -> None:
        super().__init__(verify=verify)
        self._pool.close()
        common: dict[str, Any] = {
            "ssl_context": verify,
            "max_connections": limits.max_connections,
            "max_keepalive_connections": limits.max_keepalive_connections,
            "keepalive_expiry": limits.keepalive_expiry,
            "network_backend": _TimedBackend(),
        }
        if proxy is None:
            self._pool = httpcore.ConnectionPool(**common)
        else:
            self._pool = httpcore.HTTPProxy(str(proxy.url), proxy_auth=proxy.raw_auth, **common)
