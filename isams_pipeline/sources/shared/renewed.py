"""A token in the header of every request, and another one where the server does not take it any more."""

from __future__ import annotations

import threading
from collections.abc import Callable, Generator

import httpx

Asking = Generator[httpx.Request, httpx.Response, tuple[str, bool]]
"""Requests for a token, and at the end the token, and whether it was made just now."""


class RenewedToken(httpx.Auth):
    """One token for all threads: one of them at a time has it made, the others wait.

    `token(request, unwanted)` gives the one to use; with `unwanted`, another than that. One that was made just now and
    is refused all the same is not made again.
    """

    requires_response_body = False

    def __init__(
        self,
        scheme: str,
        token: Callable[[httpx.Request, str | None], Asking],
        is_refused: Callable[[httpx.Response], bool] = lambda response: response.status_code == 401,  # noqa: PLR2004
    ) -> None:
        self._scheme, self._token, self._is_refused = scheme, token, is_refused
        self._lock = threading.Lock()

    def auth_flow(self, request: httpx.Request) -> Generator[httpx.Request, httpx.Response, None]:
        used, is_new = yield from self._current(request, None)
        response = yield request
        if self._is_refused(response) and not is_new:
            yield from self._current(request, used)
            yield request

    def _current(self, request: httpx.Request, unwanted: str | None) -> Asking:
        with self._lock:
            used, is_new = yield from self._token(request, unwanted)
        request.headers["Authorization"] = f"{self._scheme} {used}"
        return used, is_new


def supplied(token: Callable[[str | None], str]) -> Callable[[httpx.Request, str | None], Asking]:
    """A token that is had by other means than requests of the same client."""

    def asking(_request: httpx.Request, unwanted: str | None) -> Asking:
        yield from ()
        return token(unwanted), False

    return asking
