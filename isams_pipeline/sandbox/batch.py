"""The sandbox's Batch API: keys, filters, a cache that really is old, and error documents."""

from __future__ import annotations

import asyncio
import gzip
import re
import secrets
from collections.abc import AsyncIterator, Mapping, Sequence
from datetime import datetime, timedelta

from lxml import etree
from starlette.requests import Request
from starlette.responses import PlainTextResponse, Response, StreamingResponse
from starlette.routing import Route

from isams_pipeline.config.feeds import REQUIRED_FILTERS
from isams_pipeline.sandbox import render
from isams_pipeline.sandbox.api import SandboxApi
from isams_pipeline.sandbox.school import SchoolPlan
from isams_pipeline.sandbox.sides import SandboxKey
from isams_pipeline.sandbox.world import SandboxSchool, SandboxWorld

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


class BatchApi(SandboxApi):
    """Serves `/<school>/api/batch/1.0/xml.ashx` for all schools."""

    faults = BATCH_FAULTS

    def __init__(self, sandbox: SandboxWorld) -> None:
        self._sandbox = sandbox
        self._cache: dict[tuple[str, ...], tuple[datetime, bytes]] = {}
        self._tokens: dict[str, str] = {}

    def routes(self) -> list[Route]:
        """The one endpoint."""
        return [Route("/{school}/api/batch/1.0/xml.ashx", self._endpoint, methods=["GET", "POST"])]

    def token(self, school: SandboxSchool, form: Mapping[str, str]) -> str | None:
        """A token for the key whose client and secret these are, if there is one."""
        given = (form.get("client_id"), form.get("client_secret"))
        for key in school.keys:
            if key.client_secret and (key.guid, key.client_secret) == given:
                token = secrets.token_urlsafe()
                self._tokens[token] = key.guid
                return token
        return None

    def forget_answers(self) -> None:
        """As if the cache hours of all keys were over."""
        self._cache.clear()

    def forget_tokens(self) -> None:
        """As if all tokens had expired."""
        self._tokens.clear()

    async def _endpoint(self, request: Request) -> Response:
        school = self._sandbox.schools.get(request.path_params["school"])
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
        now = self._sandbox.clock()
        slot = (name, key.name) if key.cache_ignores_filters else (name, key.name, *sorted(methods))
        if kind is None and slot in self._cache and now < self._cache[slot][0]:
            return self._cache[slot][1]
        plan = school.plan
        if kind == "other_school":
            plan = SchoolPlan(seed=f"not {plan.seed}", pupils=plan.pupils, years=plan.years)
        day = self._sandbox.day_of(name, plan)
        content = _distorted(without_rows("".join(render.document(day, methods)), day.emptied), kind).encode()
        if kind is None and key.cache_hours:
            self._cache[slot] = (now + timedelta(hours=key.cache_hours), content)
        return content

    def _authorised(self, request: Request, key: SandboxKey) -> bool:
        if key.client_secret is None:
            return True
        token = request.headers.get("authorization", "").removeprefix("Bearer ")
        return self._tokens.get(token) == key.guid


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


def without_rows(content: str, containers: Sequence[str]) -> str:
    """The document with some of its containers empty."""
    for name in containers:
        content = re.sub(rf"(<{name}>).*?(</{name}>)", r"\1\2", content, flags=re.DOTALL)
    return content


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
