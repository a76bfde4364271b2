"""The sandbox's HTTP side: its schools, the APIs over them, and what a person at the sandbox may order."""

from __future__ import annotations

import contextlib
import json
import threading
import time
from collections.abc import Callable, Generator, Mapping
from dataclasses import dataclass, field
from datetime import date, datetime
from typing import Any, TypeVar, cast
from urllib.parse import parse_qsl
from zoneinfo import ZoneInfo

import uvicorn
from starlette.applications import Starlette
from starlette.requests import Request
from starlette.responses import JSONResponse, Response
from starlette.routing import Route

from isams_pipeline.clock import Clock, today_at
from isams_pipeline.sandbox.assembly import ASSEMBLY_FAULTS, AssemblyApi
from isams_pipeline.sandbox.batch import BATCH_FAULTS, BatchApi, SandboxKey
from isams_pipeline.sandbox.edits import Edits
from isams_pipeline.sandbox.rest import REST_FAULTS, TOKEN_SECONDS, RestApi, SandboxClient
from isams_pipeline.sandbox.roads import RoadDays
from isams_pipeline.sandbox.school import SchoolDay, SchoolPlan
from isams_pipeline.sandbox.sides import SandboxAssembly, SandboxXporter
from isams_pipeline.sandbox.xporter import XPORTER_FAULTS, XporterApi
from isams_pipeline.sandbox.yearly import school_on

T = TypeVar("T")
FAULTS = BATCH_FAULTS | REST_FAULTS | ASSEMBLY_FAULTS | XPORTER_FAULTS


@dataclass
class SandboxSchool:
    """A school that the sandbox serves."""

    plan: SchoolPlan
    timezone: ZoneInfo
    keys: list[SandboxKey]
    faults: list[tuple[str, str | None]] = field(default_factory=list[tuple[str, str | None]])
    """Kinds of fault still to come, each with the key that it is for (None: any)."""
    requests: list[tuple[str, tuple[str, ...]]] = field(default_factory=list[tuple[str, tuple[str, ...]]])
    """Key and methods of every request that came."""
    at_once: int = 0
    most_at_once: int = 0
    clients: list[SandboxClient] = field(default_factory=list[SandboxClient])
    rest_requests: list[tuple[str, str, str]] = field(default_factory=list[tuple[str, str, str]])
    """Client, method and path of every REST request that was let in."""
    rest_seconds: float = 0
    """How long the REST API takes for each answer."""
    edits: Edits = field(default_factory=Edits)
    """What has been written, by REST."""
    assembly: SandboxAssembly | None = None
    xporter: SandboxXporter | None = None
    frozen: date | None = None
    """The school stays as it was on that date."""

    @property
    def roads(self) -> dict[str, SandboxAssembly | SandboxXporter]:
        """The school's sides of the other roads, by their names."""
        found = {"assembly": self.assembly, "xporter": self.xporter}
        return {road: side for road, side in found.items() if side is not None}

    def now(self, clock: Clock) -> datetime:
        """The moment that it is at the school: one at night where it is frozen."""
        if self.frozen is None:
            return clock()
        return datetime.combine(self.frozen, datetime.min.time(), self.timezone)


class Sandbox:
    """Several schools behind one address: `/<school>/api/batch/1.0/xml.ashx`."""

    def __init__(self, schools: dict[str, SandboxSchool], clock: Clock) -> None:
        self.schools = schools
        self.clock = clock
        self._days: dict[tuple[str, SchoolPlan, date], SchoolDay] = {}
        self._batch = BatchApi(self)
        self._rest = RestApi(self)
        self.road_days = RoadDays(self)
        self.assembly = AssemblyApi(self)
        self.xporter = XporterApi(self)

    def fail(self, school: str, kind: str, *, times: int = 1, key: str | None = None) -> None:
        """Let the next requests of a school (or of one of its keys) meet a fault."""
        if kind not in FAULTS:
            raise ValueError(f"there is no fault {kind!r}; known are {', '.join(FAULTS)}")
        self.schools[school].faults += [(kind, key)] * times

    def app(self) -> Starlette:
        """The ASGI application."""
        return Starlette(
            routes=[
                *self._batch.routes(),
                Route("/{school}/auth/connect/token", self._token, methods=["POST"]),
                *self.assembly.routes(),
                *self.xporter.routes(),
                *self._rest.routes(),
                Route("/sandbox", self._overview, methods=["GET"]),
                Route("/sandbox/faults", self._order_fault, methods=["POST"]),
                Route("/sandbox/roads", self._move_road, methods=["POST"]),
            ]
        )

    # --- the schools ----------------------------------------------------------------------------------

    def day_of(self, name: str, plan: SchoolPlan | None = None) -> SchoolDay:
        """A school as it is now; with a plan, another one in its place."""
        school = self.schools[name]
        plan = plan or school.plan
        wanted = (name, plan, school.frozen or today_at(school.timezone, self.clock))
        if wanted not in self._days:
            if len(self._days) > 4:  # noqa: PLR2004  # a day of a large school is large
                self._days.clear()
            self._days[wanted] = school_on(plan, wanted[2], school.edits)
        return self._days[wanted]

    def edit_pupil(self, name: str, school_id: str, values: dict[str, Any]) -> None:
        """Write into a pupil, for now and for all days to come."""
        edits, day = self.schools[name].edits, self.day_of(name)
        edits.pupils[school_id] = edits.pupils.get(school_id, {}) | values
        edits.of_pupil(day.by_school_id[school_id])

    def edit_contact(self, name: str, entry: int, values: dict[str, Any]) -> None:
        """Write into a contact entry, for now and for all days to come."""
        edits, day = self.schools[name].edits, self.day_of(name)
        edits.contacts[entry] = edits.contacts.get(entry, {}) | values
        for person in day.by_entry[entry]:
            edits.of_contact(person)

    @staticmethod
    async def form(request: Request) -> dict[str, str]:
        """What came as a form. By hand: starlette's own parser wants a package that nothing else here needs."""
        return dict(parse_qsl((await request.body()).decode("utf-8", "replace")))

    async def _token(self, request: Request) -> Response:
        school = self.schools.get(request.path_params["school"])
        form = await self.form(request)
        token = (self._rest.token(school, form) or self._batch.token(school, form)) if school else None
        if token is None:
            return JSONResponse({"error": "invalid_client"}, status_code=400)
        return JSONResponse({"access_token": token, "expires_in": TOKEN_SECONDS, "token_type": "Bearer"})

    def forget_answers(self) -> None:
        """As if the cache hours of all keys were over."""
        self._batch.forget_answers()

    def forget_tokens(self) -> None:
        """As if all tokens had expired."""
        self._batch.forget_tokens()
        self._rest.forget_tokens()

    # --- for the person at the sandbox ----------------------------------------------------------------

    async def _overview(self, _: Request) -> Response:
        return JSONResponse(
            {
                "now": self.clock().isoformat(),
                "faults": FAULTS,
                "schools": {
                    name: {
                        "date": str(today_at(school.timezone, self.clock)),
                        "keys": {k.name: {"methods": k.methods, "cache_hours": k.cache_hours} for k in school.keys},
                        "clients": {c.name: {"permissions": c.permissions} for c in school.clients},
                        "roads": {road: side.told for road, side in school.roads.items()},
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

    async def _move_road(self, request: Request) -> Response:
        try:
            order = await _order(request, "school", "road", "step")
            roads = _one_of("school", order["school"], self.schools).roads
            _one_of(f"road of {order['school']}", order["road"], roads).move(order["step"])
        except (ValueError, TypeError) as error:
            return JSONResponse({"error": str(error)}, status_code=422)
        return JSONResponse({"moved": order})


def _one_of(what: str, name: object, known: Mapping[str, T]) -> T:
    """What is known by a name; raises ValueError."""
    if not isinstance(name, str) or name not in known:
        raise ValueError(f"there is no {what} {name!r}; known are {', '.join(known) or 'none'}")
    return known[name]


async def _order(request: Request, *needed: str) -> dict[str, Any]:
    """What a person at the sandbox orders, as JSON; raises ValueError where something is missing."""
    try:
        order = json.loads(await request.body())
    except ValueError:
        order = None
    if not isinstance(order, dict) or not cast("dict[str, Any]", order).keys() >= {*needed}:
        raise ValueError(f"an order is a JSON object with {', '.join(needed)}")
    return cast("dict[str, Any]", order)


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
