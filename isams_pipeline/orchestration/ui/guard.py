"""A guard before the Dagster UI, which itself obeys whatever web page an operator has open.

Plain ASGI, and knows no Dagster. What it refuses: names of hosts that are not the UI's own (a page that has rebound
its name to this machine), requests that another page makes, changes that are no POST of JSON (which another page could
make without asking), WebSockets of other pages, and, behind a proxy, whoever has not logged in there.
"""

from __future__ import annotations

import ipaddress
from collections.abc import Awaitable, Callable, Iterable, MutableMapping
from contextvars import ContextVar
from dataclasses import dataclass, field
from typing import Any
from urllib.parse import urlsplit

Scope = MutableMapping[str, Any]
Message = MutableMapping[str, Any]
Receive = Callable[[], Awaitable[Message]]
Send = Callable[[Message], Awaitable[None]]
App = Callable[[Scope, Receive, Send], Awaitable[None]]
Network = ipaddress.IPv4Network | ipaddress.IPv6Network

LOOPBACK = frozenset({"localhost", "127.0.0.1", "[::1]"})
_READ_ONLY = {"GET", "HEAD", "OPTIONS"}
_LONGEST_NAME = 100

user: ContextVar[str | None] = ContextVar("user", default=None)
"""Who has logged in at the proxy, while a request of theirs is served."""


@dataclass(frozen=True)
class Door:
    """Who may come in."""

    hosts: frozenset[str] = LOOPBACK
    """Names by which the UI is asked for, lower case, without a port."""
    user_header: str | None = None
    """The header in which the proxy says who has logged in; None where there is no proxy."""
    proxies: tuple[Network, ...] = field(default=())
    """Addresses that may say so."""


def networks(given: Iterable[str]) -> tuple[Network, ...]:
    """Addresses or networks such as 10.0.0.0/24; raises ValueError."""
    return tuple(ipaddress.ip_network(text, strict=False) for text in given)


class Guard:
    """Lets through to `app` what may come in; the rest gets 403 and a sentence."""

    def __init__(self, app: App, door: Door) -> None:
        self._app, self._door = app, door

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] not in {"http", "websocket"}:
            await self._app(scope, receive, send)
            return
        asked = _Asked(scope)
        problem = self._problem(asked)
        if problem is not None:
            await (_close(receive, send) if scope["type"] == "websocket" else _refuse(send, problem))
            return
        token = user.set(self._user(asked))
        try:
            await self._app(scope, receive, _framed(send))
        finally:
            user.reset(token)

    def _user(self, asked: _Asked) -> str | None:
        name = asked.one(self._door.user_header) if self._door.user_header else None
        return name[:_LONGEST_NAME] if name and name.isprintable() else None

    def _problem(self, asked: _Asked) -> str | None:
        host = asked.one("host") or ""
        if _name_of(host) not in self._door.hosts:
            return "this host name is not allowed; to allow it, start the UI with --allowed-host NAME"
        if self._door.user_header is not None:
            if not asked.comes_from(self._door.proxies):
                return "only requests from the proxy are allowed; name its address with --proxy"
            if self._user(asked) is None:
                return f"the proxy did not say in {self._door.user_header} who has logged in"
        origin = asked.one("origin")
        if asked.has("origin") and not _is_of(origin, host):
            return "refused: the request comes from another web page"
        if asked.is_websocket:
            return None if origin else "a WebSocket must say which page it is of"
        # A link from elsewhere may open a page; nothing else of another page's may come in.
        opens_a_page = asked.method == "GET" and asked.is_navigation and not asked.is_graphql
        if asked.one("sec-fetch-site") not in {None, "same-origin", "none"} and not opens_a_page:
            return "refused: the request comes from another web page"
        if asked.method in _READ_ONLY:
            return "GraphQL is asked by POST" if asked.is_graphql and asked.has_query else None
        if (asked.one("content-type") or "").partition(";")[0].strip().lower() != "application/json":
            return "changes are asked for as application/json"
        return None


class _Asked:
    """What a request says of itself."""

    def __init__(self, scope: Scope) -> None:
        self._headers: list[tuple[bytes, bytes]] = list(scope["headers"])
        self._client: str = (scope.get("client") or ("",))[0]
        self.is_websocket = scope["type"] == "websocket"
        self.method: str = scope.get("method", "GET")
        self.is_graphql = str(scope["path"]).rstrip("/").endswith("/graphql")
        self.has_query = bool(scope.get("query_string"))

    def has(self, name: str) -> bool:
        return any(key == name.lower().encode() for key, _ in self._headers)

    def one(self, name: str) -> str | None:
        """A header that is there once; several are as none, since two readers may take different ones."""
        found = [value.decode("latin-1") for key, value in self._headers if key == name.lower().encode()]
        return found[0] if len(found) == 1 else None

    @property
    def is_navigation(self) -> bool:
        return self.one("sec-fetch-mode") == "navigate" and self.one("sec-fetch-dest") == "document"

    def comes_from(self, proxies: tuple[Network, ...]) -> bool:
        try:
            address = ipaddress.ip_address(self._client)
        except ValueError:
            return False
        return any(address in network for network in proxies)


def _name_of(host: str) -> str:
    """The name in a Host header, lower case, without its port."""
    name, bracket, rest = host.lower().partition("]")
    if bracket:
        return f"{name}]" if rest == "" or rest.startswith(":") else ""
    return host.lower().partition(":")[0].removesuffix(".")


def _is_of(origin: str | None, host: str) -> bool:
    """Whether a page of that origin is the UI's own."""
    try:
        parts = urlsplit(origin or "")
    except ValueError:
        return False
    return parts.scheme in {"http", "https"} and parts.netloc.lower() == host.lower()


async def _refuse(send: Send, problem: str) -> None:
    body = f"Refused: {problem}.\n".encode()
    headers = [(b"content-type", b"text/plain; charset=utf-8"), (b"content-length", str(len(body)).encode())]
    await send({"type": "http.response.start", "status": 403, "headers": headers})
    await send({"type": "http.response.body", "body": body})


async def _close(receive: Receive, send: Send) -> None:
    await receive()
    await send({"type": "websocket.close", "code": 1008})


def _framed(send: Send) -> Send:
    """Sends on, and forbids that another page shows the UI within itself, to have a person click there."""

    async def sending(message: Message) -> None:
        if message["type"] == "http.response.start":
            message["headers"] = [*message.get("headers", ()), (b"x-frame-options", b"SAMEORIGIN")]
        await send(message)

    return sending
