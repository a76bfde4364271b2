"""The sandbox's HTTP side: keys, filters, the cache that really is old, error documents, and faults on request."""

from __future__ import annotations

import asyncio
import contextlib
import gzip
import json
import re
import secrets
import threading
import time
import uuid
from collections.abc import AsyncIterator, Callable, Generator, Sequence
from dataclasses import dataclass, field
from datetime import date, datetime, timedelta
from typing import Any
from urllib.parse import parse_qsl
from zoneinfo import ZoneInfo

import uvicorn
from lxml import etree
from starlette.applications import Starlette
from starlette.requests import Request
from starlette.responses import JSONResponse, PlainTextResponse, Response, StreamingResponse
from starlette.routing import Route

from isams_pipeline.clock import Clock, today_at
from isams_pipeline.isams.feeds import REQUIRED_FILTERS
from isams_pipeline.sandbox import render
from isams_pipeline.sandbox.assembly import ASSEMBLY_FAULTS, AssemblyApi, SandboxAssembly
from isams_pipeline.sandbox.edits import Edits
from isams_pipeline.sandbox.rest import REST_FAULTS, TOKEN_SECONDS, RestApi, SandboxClient
from isams_pipeline.sandbox.roads import RoadDays
from isams_pipeline.sandbox.school import SchoolDay, SchoolPlan
from isams_pipeline.sandbox.xporter import XPORTER_FAULTS, SandboxXporter, XporterApi

BATCH_FAULTS = {
    "deadlock": "500 with the text of an SQL deadlock",
    "lock_timeout": "500 with the text of a lock time-out",
    "server_timeout": "a <Message> under 200, as after 35 seconds",
    "unavailable": "503 with Retry-After: 1",
    "throttled_403": "throttled, as a 403",
    "throttled_429": "throttled, as a 429 with Retry-After: 1",
    "ip_refused": "403 without a document",
    "unhandled": "500 with an unknown exception",
    "slow": "two seconds before the answer",
    "cut": "the connection ends in the middle of the document",
    "short": "the document ends in the middle, the connection in order",
    "message_200": "an unknown <Message> under 200",
    "empty_container": "every container without rows",
    "half": "only the first half of the pupils",
    "other_school": "the data of another school",
    "empty": "200 without a byte",
    "not_xml": "a log-in page",
    "wrong_root": "XML with another root",
    "empty_timetable": "a timetable in which nothing stands",
    "wrong_type": "a pupil's Id that is no number",
    "duplicate": "the first row twice",
}
"""Kinds of faults of the Batch API, and what the sandbox does."""
FAULTS = BATCH_FAULTS | REST_FAULTS | ASSEMBLY_FAULTS | XPORTER_FAULTS


@dataclass
class SandboxKey:
    """A Batch key (or OAuth client) of a sandbox school."""

    name: str
    methods: tuple[str, ...]
    guid: str = field(default_factory=lambda: str(uuid.uuid4()).upper(), repr=False)
    client_secret: str | None = field(default=None, repr=False)
    """With it, `guid` is an OAuth client's id, and the key wants a token."""
    cache_hours: float = 0
    cache_ignores_filters: bool = False
    """The cache answers whatever was asked first, whatever is asked now. Whether iSAMS does is unknown."""
    active: bool = True


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
        self._cache: dict[tuple[str, ...], tuple[datetime, bytes]] = {}
        self._tokens: dict[str, str] = {}
        self._days: dict[tuple[str, SchoolPlan, date], SchoolDay] = {}
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
                Route("/{school}/api/batch/1.0/xml.ashx", self._batch, methods=["GET", "POST"]),
                Route("/{school}/auth/connect/token", self._token, methods=["POST"]),
                *self.assembly.routes(),
                *self.xporter.routes(),
                *self._rest.routes(),
                Route("/sandbox", self._overview, methods=["GET"]),
                Route("/sandbox/faults", self._order_fault, methods=["POST"]),
                Route("/sandbox/roads", self._move_road, methods=["POST"]),
            ]
        )

    # --- the Batch API --------------------------------------------------------------------------------

    async def _batch(self, request: Request) -> Response:
        school = self.schools.get(request.path_params["school"])
        if school is None:
            return PlainTextResponse("Not found", status_code=404)
        school.at_once += 1
        school.most_at_once = max(school.most_at_once, school.at_once)
        try:
            return await self._answer(request, request.path_params["school"], school)
        finally:
            school.at_once -= 1

    async def _answer(self, request: Request, name: str, school: SandboxSchool) -> Response:
        given = next((v for k, v in request.query_params.items() if k.casefold() == "apikey"), None)
        if given is None or not re.fullmatch(r"\{?[0-9a-fA-F-]{36}\}?", given):
            return _missing_parameter("apiKey")
        key = next((k for k in school.keys if k.guid.casefold() == given.strip("{}").casefold()), None)
        if key is None or not key.active or not self._authorised(request, key):
            return _invalid_key()
        body = await request.body() if request.method == "POST" else b""
        try:
            methods, filters = _requested(body, key)
        except etree.XMLSyntaxError:
            return _error(500, "UnhandledException", "Unknown Error", _NOT_XML)
        fault = next((f for f in school.faults if f[0] in BATCH_FAULTS and f[1] in (None, key.name)), None)
        if fault is not None:
            school.faults.remove(fault)
        kind = fault[0] if fault else None
        school.requests.append((key.name, tuple(methods)))
        refused = await _refusal(kind)
        if refused is not None:
            return refused
        missing = [m for m in methods if m.casefold() not in {k.casefold() for k in key.methods}]
        if missing:
            return _not_allocated(missing)
        known = {m.casefold(): m for m in render.METHODS}
        methods = [known[m.casefold()] for m in methods if m.casefold() in known]
        for method in methods:
            if method in REQUIRED_FILTERS and REQUIRED_FILTERS[method].node.casefold() not in filters:
                return _filters_required(method)
        return _data(request, self._content(name, school, key, methods, kind), kind)

    def _content(
        self, name: str, school: SandboxSchool, key: SandboxKey, methods: list[str], kind: str | None
    ) -> bytes:
        now = self.clock()
        slot = (name, key.name) if key.cache_ignores_filters else (name, key.name, *sorted(methods))
        if kind is None and slot in self._cache and now < self._cache[slot][0]:
            return self._cache[slot][1]
        plan = school.plan
        if kind == "other_school":
            plan = SchoolPlan(seed=f"not {plan.seed}", pupils=plan.pupils, years=plan.years)
        day = self._day(name, plan)
        content = _distorted("".join(render.document(day, methods)), kind).encode()
        if kind is None and key.cache_hours:
            self._cache[slot] = (now + timedelta(hours=key.cache_hours), content)
        return content

    def day_of(self, name: str) -> SchoolDay:
        """A school as it is now."""
        return self._day(name, self.schools[name].plan)

    def _day(self, name: str, plan: SchoolPlan) -> SchoolDay:
        school = self.schools[name]
        wanted = (name, plan, school.frozen or today_at(school.timezone, self.clock))
        if wanted not in self._days:
            if len(self._days) > 4:  # noqa: PLR2004  # a day of a large school is large
                self._days.clear()
            self._days[wanted] = SchoolDay(plan, wanted[2], school.edits)
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

    def _authorised(self, request: Request, key: SandboxKey) -> bool:
        if key.client_secret is None:
            return True
        token = request.headers.get("authorization", "").removeprefix("Bearer ")
        return self._tokens.get(token) == key.guid

    @staticmethod
    async def form(request: Request) -> dict[str, str]:
        """What came as a form."""
        return await _form(request)

    async def _token(self, request: Request) -> Response:
        school = self.schools.get(request.path_params["school"])
        form = await _form(request)
        token = self._rest.token(school, form) if school else None
        if token is not None:
            return JSONResponse({"access_token": token, "expires_in": TOKEN_SECONDS, "token_type": "Bearer"})
        for key in school.keys if school else []:
            if key.client_secret and (key.guid, key.client_secret) == (
                form.get("client_id"),
                form.get("client_secret"),
            ):
                token = secrets.token_urlsafe()
                self._tokens[token] = key.guid
                return JSONResponse({"access_token": token, "expires_in": TOKEN_SECONDS, "token_type": "Bearer"})
        return JSONResponse({"error": "invalid_client"}, status_code=400)

    def forget_tokens(self) -> None:
        """As if all tokens had expired."""
        self._tokens.clear()
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
                        "requests": len(school.requests) + len(school.rest_requests),
                    }
                    for name, school in self.schools.items()
                },
            }
        )

    async def _order_fault(self, request: Request) -> Response:
        try:
            order: dict[str, Any] = json.loads(await request.body())
            self.fail(order["school"], order["kind"], times=int(order.get("times", 1)), key=order.get("key"))
        except (ValueError, KeyError, TypeError) as error:
            return JSONResponse({"error": f"{type(error).__name__}: {error}"}, status_code=422)
        return JSONResponse({"ordered": order})

    async def _move_road(self, request: Request) -> Response:
        try:
            order: dict[str, Any] = json.loads(await request.body())
            side = getattr(self.schools[order["school"]], order["road"])
            side.move(order["step"])
        except (ValueError, KeyError, TypeError, AttributeError) as error:
            return JSONResponse({"error": f"{type(error).__name__}: {error}"}, status_code=422)
        return JSONResponse({"moved": order})


async def _form(request: Request) -> dict[str, str]:
    # By hand: starlette's own form parser wants a package that nothing else here needs.
    return dict(parse_qsl((await request.body()).decode("utf-8", "replace")))


def _requested(body: bytes, key: SandboxKey) -> tuple[list[str], set[str]]:
    """The methods that a request wants, and the names of the filter nodes in it, whatever wraps them."""
    if not body.strip():
        return list(key.methods), set()
    parser = etree.XMLParser(resolve_entities=False, no_network=True, load_dtd=False)
    root = etree.fromstring(body, parser)
    methods = [(node.text or "").strip() for node in root.iterfind("MethodsToRun/Method")]
    filters = {str(node.tag).casefold() for node in root.iter("*") if node.attrib}
    return methods or list(key.methods), filters


async def _refusal(kind: str | None) -> Response | None:
    match kind:
        case "deadlock":
            text = "Transaction (Process ID 71) was deadlocked on lock resources. Rerun the transaction."
            return _error(500, "UnhandledException", "Unknown Error", text)
        case "lock_timeout":
            return _error(500, "UnhandledException", "Unknown Error", "Lock request time out period exceeded.")
        case "unhandled":
            return _error(500, "UnhandledException", "Unknown Error", "Object reference not set to an instance.")
        case "server_timeout":
            return _error(200, "UnhandledException", "Unknown Error", "Execution Timeout Expired.")
        case "message_200":
            return _error(200, "SomethingElse", "Something Else", "A message that no public source shows.")
        case "throttled_403":
            return _error(403, "ThrottledException", "Request Throttled", "The key has reached its limit.")
        case "throttled_429":
            return _error(429, "ThrottledException", "Request Throttled", "The key has reached its limit.", wait=1)
        case "unavailable":
            return PlainTextResponse("Service unavailable", status_code=503, headers={"Retry-After": "1"})
        case "ip_refused":
            return PlainTextResponse("Forbidden", status_code=403)
        case "empty":
            return Response(b"", media_type="text/xml")
        case "not_xml":
            return Response("<!doctype html><html><body>Log in</body></html>", media_type="text/html")
        case "wrong_root":
            return Response("<Report><Row/></Report>", media_type="text/xml")
        case "slow":
            await asyncio.sleep(2)
        case _:
            pass
    return None


_ROWS = re.compile(r"(<(CurrentPupils|Contacts|CurrentStaff|Years)>).*?(</\2>)", re.DOTALL)


def _distorted(content: str, kind: str | None) -> str:
    match kind:
        case "empty_container":
            return _ROWS.sub(r"\1\3", content)
        case "half":
            first, _, rest = content.partition("</CurrentPupils>")
            return first + "</CurrentPupils>" + rest.rpartition("</CurrentPupils>")[2]
        case "empty_timetable":
            return re.sub(r"<Schedule .*?</Schedule>", "", content, flags=re.DOTALL)
        case "wrong_type":
            return re.sub(r'(<CurrentPupils><Pupil Id=")\d+', r"\1many", content, count=1)
        case "duplicate":
            return re.sub(r"(<CurrentPupils>)(<Pupil .*?</Pupil>)", r"\1\2\2", content, count=1, flags=re.DOTALL)
        case _:
            return content


def _data(request: Request, content: bytes, kind: str | None) -> Response:
    if kind == "short":
        return Response(content[: len(content) * 2 // 3], media_type="text/xml")
    if kind == "cut":
        headers = {"Content-Length": str(len(content))}

        async def halves() -> AsyncIterator[bytes]:
            yield content[: len(content) // 2]
            raise ConnectionAbortedError("a fault that was asked for")

        return StreamingResponse(halves(), media_type="text/xml", headers=headers)
    if "gzip" in request.headers.get("accept-encoding", ""):
        return Response(
            gzip.compress(content, compresslevel=1),
            media_type="text/xml",
            headers={"Content-Encoding": "gzip"},
        )
    return Response(content, media_type="text/xml")


# --- error documents: their declaration says utf-16, their bytes are UTF-8 ---------------------------------

_NOT_XML = "Data at the root level is invalid. Line 1, position 1."


def error_document(identifier: str, title: str, description: str) -> bytes:
    """An error as iSAMS writes it."""
    root = etree.Element("Message")
    for name, text in (
        ("MessageId", identifier),
        ("MessageName", identifier),
        ("Title", title),
        ("Description", description),
    ):
        etree.SubElement(root, name).text = text
    return b'<?xml version="1.0" encoding="utf-16"?>\n' + etree.tostring(root, pretty_print=True, encoding="utf-8")


def _error(status: int, identifier: str, title: str, description: str, *, wait: int | None = None) -> Response:
    headers = {"Retry-After": str(wait)} if wait else None
    content = error_document(identifier, title, description)
    return Response(content, status_code=status, media_type="text/xml", headers=headers)


def _not_allocated(methods: Sequence[str]) -> Response:
    listed = ", ".join(m.lower() for m in methods)
    text = "The following methods specified in the MethodsToRun filter are not allocated to the requested key: "
    return _error(403, "MethodsNotAllocatedToKeyException", "Methods Not Allocated To Key", text + listed)


def _invalid_key() -> Response:
    text = "The API key is invalid.\nPlease contact your iSAMS administrator."
    return _error(401, "InvalidApiKey", "Invalid API Key", text)


def _missing_parameter(name: str) -> Response:
    text = f'A required field "{name}" was not supplied or was in an incorrect format.'
    return _error(400, "MissingParameter", f"Missing Field: {name}", text)


def _filters_required(method: str) -> Response:
    text = f'Method "{method.replace("_", " - ")}" requires at least one filter. No filters have been supplied.'
    return _error(400, "FiltersRequiredException", "Filters Required", text)


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
