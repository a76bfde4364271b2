"""Forms that come to the sandbox."""

from __future__ import annotations

from urllib.parse import parse_qsl

from starlette.requests import Request


async def form_of(request: Request) -> dict[str, str]:
    """What came as a form. By hand: starlette's own parser needs a package that nothing else here needs."""
    return dict(parse_qsl((await request.body()).decode("utf-8", "replace")))
