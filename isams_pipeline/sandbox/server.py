"""The sandbox's HTTP side: its schools, the APIs over them, and what a person at the sandbox may order."""

from __future__ import annotations

import contextlib
import json
import threading
import time
from collections.abc import Callable, Generator, Mapping
from typing import Any, TypeVar, cast

import uvicorn
from starlette.applications import Starlette
from starlette.requests import Request
from starlette.responses import JSONResponse, Response
from starlette.routing import Route

from isams_pipeline.clock import Clock, today_at
from isams_pipeline.datasets.shapes import Json
from isams_pipeline.sandbox.api import SandboxApi
from isams_pipeline.sandbox.assembly import AssemblyApi
from isams_pipeline.sandbox.batch import BatchApi
from isams_pipeline.sandbox.forms import form_of
from isams_pipeline.sandbox.rest import TOKEN_SECONDS, RestApi
from isams_pipeline.sandbox.world import SandboxSchool, SandboxWorld
from isams_pipeline.sandbox.xporter import XporterApi

T = TypeVar("T")
A = TypeVar("A", bound=SandboxApi)
APIS: Mapping[str, Callable[[SandboxWorld], SandboxApi]] = {
    "batch": BatchApi,
    "assembly": AssemblyApi,
    "xporter": XporterApi,
    "rest": RestApi,
}
"""API → its stand-in. REST comes last, as its paths are the widest."""


class Sandbox(SandboxWorld):
    """Several schools behind one address: `/<school>/api/batch/1.0/xml.ashx`."""

    def __init__(self, schools: dict[str, SandboxSchool], clock: Clock) -> None:
        super().__init__(schools, clock)
        self.apis = {name: made(self) for name, made in APIS.items()}
        self.faults = {kind: what for api in self.apis.values() for kind, what in api.faults.items()}

    def of(self, kind: type[A]) -> A:
        """The stand-in of one kind; raises LookupError where there is none."""
        for api in self.apis.values():
            if isinstance(api, kind):
                return api
        raise LookupError(kind.__name__)

    def fail(self, school: str, kind: str, *, times: int = 1, key: str | None = None) -> None:
        """Let the next requests of a school (or of one of its keys) meet a fault."""
        if kind not in self.faults:
            raise ValueError(f"there is no fault {kind!r}; known are {', '.join(self.faults)}")
        self.schools[school].faults += [(kind, key)] * times

    def app(self) -> Starlette:
        """The ASGI application."""
        return Starlette(
            routes=[
                Route("/{school}/auth/connect/token", self._token, methods=["POST"]),
                *(route for api in self.apis.values() for route in api.routes()),
                Route("/sandbox", self._overview, methods=["GET"]),
                Route("/sandbox/faults", self._order_fault, methods=["POST"]),
                Route("/sandbox/sources", self._move_source, methods=["POST"]),
            ]
        )

    async def _token(self, request: Request) -> Response:
        school = self.schools.get(request.path_params["school"])
        form = await form_of(request)
        tokens = (api.token(school, form) for api in self.apis.values()) if school else ()
        token = next(filter(None, tokens), None)
        if token is None:
            return JSONResponse({"error": "invalid_client"}, status_code=400)
        return JSONResponse({"access_token": token, "expires_in": TOKEN_SECONDS, "token_type": "Bearer"})

    def forget_answers(self) -> None:
        """As if the cache hours of all keys were over."""
        self.of(BatchApi).forget_answers()

    def forget_tokens(self) -> None:
        """As if all tokens had expired."""
        for api in self.apis.values():
            api.forget_tokens()

    # --- for the person at the sandbox ----------------------------------------------------------------

    async def _overview(self, _: Request) -> Response:
        return JSONResponse(
            {
                "now": self.clock().isoformat(),
                "faults": self.faults,
                "schools": {
                    name: {
                        "date": str(today_at(school.timezone, self.clock)),
                        "keys": {k.name: {"methods": k.methods, "cache_hours": k.cache_hours} for k in school.keys},
                        "clients": {c.name: {"permissions": c.permissions} for c in school.clients},
                        "sources": {source: side.told for source, side in school.sources.items()},
                        "requests": len(school.requests) + len(school.rest_requests),
                    }
                    for name, school in self.schools.items()
                },
            }
        )

    async def _order_fault(self, request: Request) -> Response:
        try:
            order = await _order(request, "school", "kind")
            _one_of("school", order["school"], self.schools)
            self.fail(order["school"], order["kind"], times=int(order.get("times", 1)), key=order.get("key"))
        except (ValueError, TypeError) as error:
            return JSONResponse({"error": str(error)}, status_code=422)
        return JSONResponse({"ordered": order})

    async def _move_source(self, request: Request) -> Response:
        try:
            order = await _order(request, "school", "source", "step")
            sources = _one_of("school", order["school"], self.schools).sources
            _one_of(f"source of {order['school']}", order["source"], sources).move(order["step"])
        except (ValueError, TypeError) as error:
            return JSONResponse({"error": str(error)}, status_code=422)
        return JSONResponse({"moved": order})


def _one_of(what: str, name: object, known: Mapping[str, T]) -> T:
    """What is known by a name; raises ValueError."""
    if not isinstance(name, str) or name not in known:
        raise ValueError(f"there is no {what} {name!r}; known are {', '.join(known) or 'none'}")
    return known[name]


async def _order(request: Request, *needed: str) -> Json:
    """What a person at the sandbox orders, as JSON; raises ValueError where something is missing."""
    try:
        order = json.loads(await request.body())
    except ValueError:
        order = None
    if not isinstance(order, dict) or not cast("Json", order).keys() >= {*needed}:
        raise ValueError(f"an order is a JSON object with {', '.join(needed)}")
    return cast("Json", order)


# --- running it -------------------------------------------------------------------------------------------


@contextlib.contextmanager
def serving(app: Callable[..., Any], port: int = 0) -> Generator[str, None, None]:
    """Serve an ASGI application on loopback, on a thread; gives its address."""
    config = uvicorn.Config(app, host="127.0.0.1", port=port, log_level="critical", lifespan="off", ws="none")
    server = uvicorn.Server(config)
    thread = threading.Thread(target=server.run, name="sandbox", daemon=True)
    thread.start()
    give_up = time.monotonic() + 15
    while not server.started:
        if not thread.is_alive() or time.monotonic() > give_up:
            raise OSError(f"the sandbox could not listen on port {port}")
        time.sleep(0.01)
    bound = server.servers[0].sockets[0].getsockname()[1]
    try:
        yield f"http://127.0.0.1:{bound}"
    finally:
        server.should_exit = True
        thread.join(timeout=15)
