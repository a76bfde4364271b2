"""The sandbox's REST API: clients with permissions, pages, filters, writes that Batch then shows, faults on request."""

from __future__ import annotations

import asyncio
import json
import secrets
from collections.abc import AsyncIterator, Awaitable, Callable, Mapping
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from typing import Any
from zoneinfo import ZoneInfo

from starlette.requests import Request
from starlette.responses import JSONResponse, Response, StreamingResponse
from starlette.routing import Route

from isams_pipeline.datasets.shapes import Json, JsonValue
from isams_pipeline.sandbox import registers, render_rest
from isams_pipeline.sandbox.api import SandboxApi
from isams_pipeline.sandbox.photos import photo, photo_id
from isams_pipeline.sandbox.school import SchoolDay
from isams_pipeline.sandbox.sides import SandboxClient
from isams_pipeline.sandbox.world import SandboxSchool, SandboxWorld

TOKEN_SECONDS = 3600
MAX_PAGE = 1000

REST_FAULTS = {
    "rest_expired": "the token is no longer taken",
    "rest_403": "403, as without a permission",
    "rest_404": "404",
    "rest_429": "429 with Retry-After: 1",
    "rest_500": "500 with a message",
    "rest_503": "503 with Retry-After: 1",
    "rest_not_json": "a log-in page",
    "rest_cut": "the connection ends in the middle of the answer",
    "rest_slow": "two seconds before the answer",
    "rows_move": "a list's rows move between two pages",
    "put_429": "429 with Retry-After: 1 on a PUT",
    "put_half": "200 on a PUT of a contact that leaves the town as it was",
    "put_422": "422 on a PUT, with a message that quotes a value",
    "put_ignored": "200 on a PUT that changes nothing",
    "put_then_500": "the PUT is done, and answered with 500",
    "put_then_cut": "the PUT is done, and the connection ends",
    "put_loses": "the PUT loses a field that it was given",
}
"""Kinds of faults of the REST API, and what the sandbox does. Those of a PUT wait for one."""


class RestError(Exception):
    """An answer that is no success."""

    def __init__(self, status: int, message: str, headers: dict[str, str] | None = None) -> None:
        super().__init__(status)
        self.status, self.message, self.headers = status, message, headers


_INVALID = RestError(400, "The request is invalid.")
_NOT_FOUND = RestError(404, "The resource cannot be found.")


@dataclass
class Call:
    """A request that has been let in."""

    request: Request
    name: str
    school: SandboxSchool
    day: SchoolDay
    kind: str | None
    """The fault that it meets."""

    @property
    def zone(self) -> ZoneInfo:
        return self.school.timezone

    def path(self, name: str) -> str:
        return str(self.request.path_params[name])


Handler = Callable[[Call], Awaitable[Any]]


class RestApi(SandboxApi):
    """Serves `/{school}/api/…` beside the Batch API, over the same school."""

    faults = REST_FAULTS

    def __init__(self, sandbox: SandboxWorld) -> None:
        self._sandbox = sandbox
        self._tokens: dict[str, tuple[str, datetime]] = {}
        self._shift = 0

    def routes(self) -> list[Route]:
        """All endpoints that are known."""
        read, write, pupils = "Read", "Full", "STUDENTMANAGEMENT"
        table: list[tuple[str, str, str, str, Handler]] = [
            ("GET", "students", pupils, read, self._students),
            ("GET", "students/contacts", pupils, read, self._all_contacts),
            ("GET", "students/systemstatuses", pupils, read, self._statuses),
            ("GET", "students/{student}", pupils, read, self._student),
            ("PUT", "students/{student}", pupils, write, self._put_student),
            ("GET", "students/{student}/photos/current", pupils, read, self._photo),
            ("GET", "students/{student}/contacts", pupils, read, self._contacts),
            ("GET", "students/{student}/tempcontacts", pupils, read, self._temporary_contacts),
            ("GET", "students/{student}/tempcontacts/{contact:int}", pupils, read, self._contact),
            ("PUT", "students/{student}/tempcontacts/{contact:int}", pupils, write, self._put_contact),
            ("GET", "humanresources/employees", "HRMANAGER", read, self._employees),
            ("GET", "school/terms", "SCHOOLMANAGEMENT", read, self._terms),
            ("GET", "school/yeargroups", "SCHOOLMANAGEMENT", read, self._year_groups),
            ("GET", "school/yeargroups/{year:int}/divisions", "SCHOOLMANAGEMENT", read, self._divisions),
            ("GET", "registration/periods", "SCHOOLREGISTRATION", read, self._periods),
            ("GET", "registration/register/{register:int}", "SCHOOLREGISTRATION", read, self._register),
            ("GET", "registration/absencecodes", "SCHOOLREGISTRATION", read, self._absence_codes),
            ("GET", "registration/presentcodes", "SCHOOLREGISTRATION", read, self._present_codes),
        ]
        return [
            Route(f"/{{school}}/api/{path}", self._endpoint(handler, module, level), methods=[method])
            for method, path, module, level, handler in table
        ]

    # --- letting in -----------------------------------------------------------------------------------------

    def token(self, school: SandboxSchool, form: Mapping[str, str]) -> str | None:
        """A token for a client of the school that knows its secret."""
        for client in school.clients:
            if (client.client_id, client.secret) == (form.get("client_id"), form.get("client_secret")):
                token = secrets.token_urlsafe()
                self._tokens[token] = (client.client_id, self._sandbox.clock() + timedelta(seconds=TOKEN_SECONDS))
                return token
        return None

    def forget_tokens(self) -> None:
        """As if all tokens had expired."""
        self._tokens.clear()

    def _endpoint(self, handler: Handler, module: str, level: str) -> Callable[[Request], Awaitable[Response]]:
        async def endpoint(request: Request) -> Response:
            try:
                call = await self._let_in(request, module, level)
                answer = await handler(call)
                if isinstance(answer, Response):
                    return answer
            except RestError as error:
                return JSONResponse({"message": error.message}, status_code=error.status, headers=error.headers)
            return _answer(answer, call.kind)

        return endpoint

    async def _let_in(self, request: Request, module: str, level: str) -> Call:
        name = str(request.path_params["school"])
        school = self._sandbox.schools.get(name)
        if school is None:
            raise _NOT_FOUND
        client = self._client(request, school)
        if school.rest_seconds:
            await asyncio.sleep(school.rest_seconds)
        kind = self._fault(school, client.name, request.method)
        now = self._sandbox.clock()
        if client.requests_per_hour is not None:
            client.spent[:] = [at for at in client.spent if now - at < timedelta(hours=1)]
            if len(client.spent) >= client.requests_per_hour:
                wait = int((client.spent[0] + timedelta(hours=1) - now).total_seconds()) + 1
                raise RestError(429, "Too many requests.", {"Retry-After": str(wait)})
            client.spent.append(now)
        school.rest_requests.append((client.name, request.method, request.url.path.partition("/api/")[2]))
        if kind == "rest_expired":
            self._tokens.clear()
            raise RestError(401, "Authorization has been denied for this request.")
        held = client.permissions.get(module)
        if held is None or (level == "Full" and held != "Full") or kind == "rest_403":
            raise RestError(403, "You do not have permission to access this resource.")
        await _refuse(kind)
        return Call(request, name, school, self._sandbox.day_of(name), kind)

    def _client(self, request: Request, school: SandboxSchool) -> SandboxClient:
        token = request.headers.get("authorization", "").removeprefix("Bearer ")
        client_id, until = self._tokens.get(token, ("", datetime.min.replace(tzinfo=UTC)))
        client = next((c for c in school.clients if c.client_id == client_id), None)
        if client is None or until <= self._sandbox.clock():
            raise RestError(401, "Authorization has been denied for this request.")
        return client

    def _fault(self, school: SandboxSchool, client: str, method: str) -> str | None:
        for fault in school.faults:
            kind, wanted = fault
            if kind in REST_FAULTS and wanted in {None, client} and (not kind.startswith("put_") or method == "PUT"):
                school.faults.remove(fault)
                return kind
        return None

    # --- lists ----------------------------------------------------------------------------------------------

    def _page(self, call: Call, collection: str, rows: list[Json]) -> Json:
        """A page of a list, by `page` and `pageSize`; past the end it is empty."""
        number, size = (_positive(call, name, default) for name, default in (("page", 1), ("pageSize", 100)))
        size = min(size, MAX_PAGE)
        shift = self._shift % len(rows) if rows else 0
        rows = rows[shift:] + rows[:shift]
        if call.kind == "rows_move":
            self._shift += 1
        shown = rows[(number - 1) * size : number * size]
        return {
            "count": len(shown),
            "page": number,
            "pageSize": size,
            collection: shown,
            "totalCount": len(rows),
            "totalPages": -(-len(rows) // size),
        }

    async def _students(self, call: Call) -> Json:
        pupils = call.day.pupils
        return self._page(call, "students", [render_rest.student(call.day, p, call.zone) for p in pupils])

    async def _all_contacts(self, call: Call) -> Json:
        rows = [
            render_rest.contact(entry) | {"schoolIds": [pupil.school_id for pupil in entry[0].pupils]}
            for entry in call.day.by_entry.values()
        ]
        return self._page(call, "contacts", rows)

    async def _employees(self, call: Call) -> Json:
        return self._page(call, "employees", [render_rest.employee(member) for member in call.day.staff])

    async def _statuses(self, _: Call) -> Json:
        return {"systemStatuses": [{"id": 1, "description": "Current"}, {"id": -1, "description": "Former"}]}

    async def _terms(self, call: Call) -> Json:
        return {"terms": render_rest.terms(call.day, call.zone)}

    async def _year_groups(self, call: Call) -> Json:
        return {"yearGroups": render_rest.year_groups(call.day)}

    async def _divisions(self, call: Call) -> Json:
        return {"divisions": render_rest.divisions_of_year(call.day, int(call.path("year")))}

    # --- one student and its contacts -----------------------------------------------------------------------

    async def _student(self, call: Call) -> Json:
        return render_rest.student(call.day, self._pupil(call), call.zone)

    async def _photo(self, call: Call) -> Response:
        number = photo_id(call.day, self._pupil(call))
        if number is None:
            raise _NOT_FOUND
        return Response(photo(number), media_type="image/jpeg")

    async def _put_student(self, call: Call) -> None:
        pupil = self._pupil(call)
        body = await _body(call)
        try:
            edit = render_rest.student_edit(body)
        except render_rest.Unacceptable as problem:
            raise RestError(422, str(problem)) from None
        if call.kind == "put_loses":
            edit["more"]["birthplace"] = None
        if call.kind != "put_ignored":
            self._sandbox.edit_pupil(call.name, pupil.school_id, edit)

    async def _contacts(self, call: Call) -> Json:
        pupil = self._pupil(call)
        entries = call.day.entries_of.get(pupil.school_id, [])
        rows = [render_rest.contact(call.day.by_entry[entry]) for entry in entries]
        return {"contacts": rows}

    async def _temporary_contacts(self, call: Call) -> Json:
        entries = call.day.entries_of.get(self._pupil(call).school_id, [])
        return {"contacts": [render_rest.temporary_contact(call.day.by_entry[entry]) for entry in entries]}

    async def _contact(self, call: Call) -> Json:
        return render_rest.temporary_contact(call.day.by_entry[self._entry(call)])

    async def _put_contact(self, call: Call) -> None:
        entry = self._entry(call)
        body = await _body(call)
        try:
            edit = render_rest.contact_edit(body)
        except render_rest.Unacceptable as problem:
            raise RestError(422, str(problem)) from None
        if call.kind == "put_loses":
            edit["town"] = None
        if call.kind == "put_half":
            edit["town"] = call.day.by_entry[entry][0].town
        if call.kind != "put_ignored":
            self._sandbox.edit_contact(call.name, entry, edit)

    def _pupil(self, call: Call) -> JsonValue:
        pupil = call.day.by_school_id.get(call.path("student"))
        if pupil is None:
            raise _NOT_FOUND
        return pupil

    def _entry(self, call: Call) -> int:
        entry = int(call.path("contact"))
        if entry not in call.day.entries_of.get(self._pupil(call).school_id, []):
            raise _NOT_FOUND
        return entry

    # --- registration ---------------------------------------------------------------------------------------

    async def _periods(self, call: Call) -> Json:
        division = _positive(call, "divisionId", 0)
        found = registers.registers_of(call.day, division, call.zone)
        rows = [render_rest.registration_period(r, len(registers.pupils_in(call.day, r))) for r in found]
        return {"registrationPeriods": rows}

    async def _register(self, call: Call) -> Json:
        register = registers.register_by_id(call.day, int(call.path("register")), call.zone)
        if register is None:
            raise _NOT_FOUND
        now = self._sandbox.clock().astimezone(call.zone)
        return {"registrationStatuses": list(registers.statuses(call.day, register, now))}

    async def _absence_codes(self, _: Call) -> Json:
        return {"absenceCodes": render_rest.absence_codes()}

    async def _present_codes(self, _: Call) -> Json:
        return {"presentCodes": render_rest.present_codes()}


async def _refuse(kind: str | None) -> None:
    match kind:
        case "rest_404":
            raise _NOT_FOUND
        case "rest_429" | "put_429":
            raise RestError(429, "Too many requests.", {"Retry-After": "1"})
        case "rest_500":
            raise RestError(500, "An error occurred.")
        case "rest_503":
            raise RestError(503, "Service unavailable.", {"Retry-After": "1"})
        case "put_422":
            raise RestError(422, "'somebody@example.org' is not a known value.")
        case "rest_slow":
            await asyncio.sleep(2)
        case _:
            pass


def _answer(answer: JsonValue, kind: str | None) -> Response:
    if kind == "rest_not_json":
        return Response("<!doctype html><html><body>Log in</body></html>", media_type="text/html")
    content = b"" if answer is None else json.dumps(answer).encode()
    if kind == "put_then_500":
        return JSONResponse({"message": "An error occurred."}, status_code=500)
    if kind in {"rest_cut", "put_then_cut"}:

        async def half() -> AsyncIterator[bytes]:
            yield content[: len(content) // 2]
            raise ConnectionAbortedError("a fault that was asked for")

        return StreamingResponse(half(), headers={"Content-Length": str(len(content) + 1)})
    return Response(content, media_type="application/json") if content else Response(status_code=200)


def _positive(call: Call, name: str, default: int) -> int:
    text = call.request.query_params.get(name, str(default))
    if not (text.isascii() and text.isdigit()) or (int(text) == 0 and default):
        raise _INVALID
    return int(text)


async def _body(call: Call) -> Json:
    try:
        found: JsonValue = json.loads(await call.request.body())
    except ValueError:
        raise _INVALID from None
    if not isinstance(found, dict):
        raise _INVALID
    return found  # pyright: ignore[reportUnknownVariableType]
