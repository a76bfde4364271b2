"""`/status.json` and `/metrics` beside the UI: how every school stands, for monitoring. ASGI; knows no Dagster."""

from __future__ import annotations

import asyncio
import json
import time
from collections.abc import Callable
from typing import Any, Protocol

from isams_pipeline.errors import PipelineError
from isams_pipeline.orchestration.ui.guard import App, Receive, Scope, Send

FRESH = 15.0
"""Seconds for which an answer is given again: whoever asks more often makes no more work."""
_PAGES = {"/status.json": "application/json", "/metrics": "text/plain; version=0.0.4; charset=utf-8"}


class Standing(Protocol):
    """How all schools stand."""

    def as_json(self) -> dict[str, Any]: ...

    def as_metrics(self) -> str: ...


class StatusPages:
    """Answers these two by itself, and leaves the rest to `app`."""

    def __init__(self, app: App, look: Callable[[], Standing]) -> None:
        self._app, self._look = app, look
        self._lock = asyncio.Lock()
        self._known: tuple[float, Standing] | None = None

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        kind = _PAGES.get(str(scope.get("path"))) if scope["type"] == "http" else None
        if kind is None or scope.get("method") not in {"GET", "HEAD"}:
            await self._app(scope, receive, send)
            return
        try:
            found = await self._found()
            body = json.dumps(found.as_json()) if kind == "application/json" else found.as_metrics()
            status = 200
        except PipelineError as error:
            body, kind, status = f"{type(error).__name__}: {error}\n", "text/plain; charset=utf-8", 503
        headers = [(b"content-type", kind.encode()), (b"cache-control", b"no-store")]
        await send({"type": "http.response.start", "status": status, "headers": headers})
        await send({"type": "http.response.body", "body": body.encode() if scope["method"] == "GET" else b""})

    async def _found(self) -> Standing:
        async with self._lock:
            if self._known is None or time.monotonic() - self._known[0] > FRESH:
                self._known = (time.monotonic(), await asyncio.to_thread(self._look))
            return self._known[1]
