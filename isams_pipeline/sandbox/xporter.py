"""The sandbox's Xporter on Demand: tokens, pages, changed rows, errors under 200, people who have opted out."""

from __future__ import annotations

import asyncio
import hashlib
import secrets
from collections.abc import Awaitable, Callable, Iterator
from datetime import timedelta

from starlette.requests import Request
from starlette.responses import JSONResponse, Response
from starlette.routing import Route

from isams_pipeline.datasets.shapes import Json
from isams_pipeline.sandbox import render_xporter
from isams_pipeline.sandbox.api import SandboxApi
from isams_pipeline.sandbox.sides import SandboxXporter
from isams_pipeline.sandbox.source_day import SourceDay
from isams_pipeline.sandbox.world import SandboxSchool, SandboxWorld

TOKEN_DAYS = 5
_INVITATION = (
    *("LeaCode", "DfesCode", "SchoolName", "SchoolContactFirstName", "SchoolContactLastName", "SchoolContactEmail"),
    *("SchoolContactPhone", "PartnerApplicationId", "PartnerName", "PartnerRegisteredEmail", "ScopesToAuthorise"),
    "WeAcceptGroupcallUsagePolicy",
)
"""What a client in use marks as required."""
_CLOCKS = {"Students": "00:14:47.085", "Timetable": "00:28:52.410", "TimetableStructure": "00:28:52.410"}
"""When each endpoint was last fetched: they differ, as recorded. Others: 00:25:06."""
_WITH_STATUS = {"Students", "AttendanceForDateRange"}
"""Of the endpoints here, those that take onlygetDBStatus."""
REFUSED = "Relying Party not found for estab or secret not correct"
PAUSED = (
    "Authorisation is currently paused while the school finalises the selection of people they wish to include in the "
    "extraction"
)

XPORTER_FAULTS = {
    "xporter_expired": "the token is no longer taken",
    "xporter_500": "500",
    "xporter_503": "503",
    "xporter_429": "429 with Retry-After: 1",
    "xporter_exception": "an ExceptionMessage under 200",
    "xporter_paused": "the school pauses its authorisation just now",
    "xporter_repeat": "a page that came before, instead of this one",
    "xporter_forgotten": "the server knows no token of changed rows any more",
    "xporter_deleted_twice": "rows that were deleted are told twice",
    "xporter_not_json": "a log-in page",
    "xporter_other_school": "details of another school's token",
}
"""Kinds of faults of Xporter. `key` names the endpoint that meets it, with `:2` for its second page."""


class _Told(Exception):  # it is told under 200
    def __init__(self, message: str) -> None:
        super().__init__(message)
        self.message = message


class XporterApi(SandboxApi):
    """Serves `/xporter/api/…` for all schools; whose data it is, estab and token say."""

    faults = XPORTER_FAULTS

    def __init__(self, sandbox: SandboxWorld) -> None:
        self._sandbox = sandbox
        self._applications: set[str] = set()

    def routes(self) -> list[Route]:
        """All endpoints that are known."""
        return [
            Route("/xporter/api/oauth/GetToken", self._get_token, methods=["POST"]),
            Route("/xporter/api/Manage/SchoolRegister", self._register, methods=["POST"]),
            Route("/xporter/api/v1/RunQuery/", self._query, methods=["GET"]),
            Route("/xporter/api/v1/TokenDetails", self._let_in(self._details), methods=["GET"]),
            Route("/xporter/api/v1/Scopes", self._let_in(self._scopes), methods=["GET"]),
            Route("/xporter/api/v1/GDPRIDs", self._let_in(self._gdpr), methods=["GET"]),
            Route("/xporter/api/v1/School/{estab}/SchoolInfo/", self._let_in(self._info), methods=["GET"]),
            Route("/xporter/api/v1/School/{estab}/{endpoint}/", self._let_in(self._list), methods=["GET"]),
        ]

    def _sides(self) -> Iterator[tuple[str, SandboxSchool, SandboxXporter]]:
        for name, school in self._sandbox.schools.items():
            if school.xporter is not None:
                yield name, school, school.xporter

    async def _get_token(self, request: Request) -> Response:
        given = {str(k).casefold(): v for k, v in (await request.json()).items()}
        until = self._sandbox.clock() + timedelta(days=TOKEN_DAYS)
        token = secrets.token_urlsafe()
        answer = {"token": token, "expires": f"{until:%Y-%m-%dT%H:%M:%S}.1852229Z"}
        if not given.get("estab"):
            if given.get("password") in {side.management_secret for _, _, side in self._sides()}:
                self._applications.add(token)
                return _answer(answer)
            return _answer({"token": None, "expires": "0001-01-01T00:00:00"}, REFUSED)
        for _, _, side in self._sides():
            wanted = (side.estab, side.relying_party.casefold(), side.secret)
            if wanted == (given["estab"], str(given.get("relyingparty")).casefold(), given.get("password")):
                if not side.is_authorised:
                    break
                if side.is_paused:
                    return _answer({"token": None, "expires": "0001-01-01T00:00:00"}, PAUSED)
                side.tokens[token] = until
                return _answer(answer)
        return _answer({"token": None, "expires": "0001-01-01T00:00:00"}, REFUSED)

    async def _register(self, request: Request) -> Response:
        if self._token(request) not in self._applications:
            return Response(status_code=401)
        done: list[Json] = []
        for one in (await request.json())["Schools"]:
            missing = [name for name in _INVITATION if not one.get(name)]
            if missing:
                return JSONResponse({"Message": f"{missing[0]} is required"})
            estab = f"{one['LeaCode']}{one['DfesCode']}"
            side = next((side for _, _, side in self._sides() if side.estab == estab), None)
            if side is not None:
                side.invitations += 1
            status = "OK" if side is not None else "Unknown"
            done.append({"LeaCode": one["LeaCode"], "DfesCode": one["DfesCode"], "Status": status, "Message": None})
        return _answer({"Schools": done})

    async def _query(self, request: Request) -> Response:
        if self._token(request) not in self._applications:
            return Response(status_code=401)
        text = (request.query_params.get("q") or request.query_params.get("postcode") or "").casefold()
        rows = [
            {
                "Name": f"{name.title()} School",
                "LACode": side.estab[:3],
                "EstabCode": side.estab[3:],
                "URN": school.assembly.urn if school.assembly else "",
                "Postcode": "ZZ1 1ZZ",
                "Town": "Sampleton",
            }
            for name, school, side in self._sides()
        ]
        found = [row for row in rows if text in row["Name"].casefold() or text == row["Postcode"].casefold()]
        return _answer({"Results": found})

    # --- letting in -----------------------------------------------------------------------------------------

    @staticmethod
    def _token(request: Request) -> str:
        return request.headers.get("authorization", "").removeprefix("Idaas ")

    def _let_in(
        self, handler: Callable[[Request, str, SandboxSchool, SandboxXporter], Awaitable[Response]]
    ) -> Callable[[Request], Awaitable[Response]]:
        async def endpoint(request: Request) -> Response:
            token = self._token(request)
            found = next(((n, s, x) for n, s, x in self._sides() if token in x.tokens), None)
            if found is None or found[2].tokens[token] <= self._sandbox.clock():
                return Response(status_code=401)
            name, school, side = found
            path = request.url.path.removeprefix("/xporter/api/v1/")
            side.requests.append((path, request.url.query))
            key = str(request.path_params.get("endpoint") or path.rstrip("/").rpartition("/")[2])
            await asyncio.sleep(side.seconds)
            refused = self._refused(school, side, token, key, request.query_params.get("page", "1"))
            if refused is not None:
                return refused
            if not side.is_authorised:
                return _answer({}, REFUSED)
            if side.is_paused:
                return _answer({}, PAUSED)
            if request.path_params.get("estab", side.estab) != side.estab:
                return Response(status_code=403)
            try:
                return await handler(request, name, school, side)
            except _Told as told:
                return _answer({}, told.message)

        return endpoint

    def takes(self, school: SandboxSchool, kind: str, key: str, page: str = "1") -> bool:
        """Whether a fault that was asked for is due here."""
        for fault in school.faults:
            wanted, where = fault
            if wanted == kind and where in {None, key if page == "1" else "", f"{key}:{page}"}:
                school.faults.remove(fault)
                return True
        return False

    def _refused(self, school: SandboxSchool, side: SandboxXporter, token: str, key: str, page: str) -> Response | None:
        if self.takes(school, "xporter_expired", key, page):
            del side.tokens[token]
            return Response(status_code=401)
        if self.takes(school, "xporter_paused", key, page):
            side.is_paused = True
            return None
        if self.takes(school, "xporter_500", key, page):
            return Response(status_code=500)
        if self.takes(school, "xporter_503", key, page):
            return Response(status_code=503)
        if self.takes(school, "xporter_429", key, page):
            return Response(status_code=429, headers={"Retry-After": "1"})
        if self.takes(school, "xporter_exception", key, page):
            return _answer({}, "Something went wrong")
        if self.takes(school, "xporter_not_json", key, page):
            return Response("<!doctype html><html><body>Log in</body></html>", media_type="text/html")
        return None

    # --- what it tells --------------------------------------------------------------------------------------

    async def _details(self, request: Request, _name: str, school: SandboxSchool, side: SandboxXporter) -> Response:
        estab = "9999999" if self.takes(school, "xporter_other_school", "TokenDetails") else side.estab
        until = side.tokens[self._token(request)]
        return _answer(
            {
                "Estab": estab,
                "Expires": f"{until:%Y-%m-%dT%H:%M:%S}Z",
                "Name": "A made-up school",
                "RelyingParty": side.relying_party,
                "Scopes": sorted(side.scopes),
            }
        )

    async def _scopes(self, _: Request, _name: str, _school: SandboxSchool, _side: SandboxXporter) -> Response:
        rows = [
            {"Name": name, "Category": "Core", "Description": f"Read the school's data of kind {name}"}
            for name in ("School", "Student", "Staff", "Contact", "Attendance", "Photos")
        ]
        return _answer({"Scopes": rows})

    async def _gdpr(self, _: Request, _name: str, _school: SandboxSchool, side: SandboxXporter) -> Response:
        one: Json = {
            "IsOptIn": side.is_opt_in,
            "Estab": side.estab,
            "RelyingParty": side.relying_party,
            "MIS": "isams",
            "OtherIds": [],
        }
        kinds = ("StudentIds", "StaffIds", "ContactIds")
        return _answer({"GDPR": [one | {kind: side.opted_out.get(kind, []) for kind in kinds}]})

    def _meta(self, name: str, endpoint: str) -> list[Json]:
        day = self._sandbox.day_of(name)
        clock = _CLOCKS.get(endpoint, "00:25:06.233")
        return [{"Id": 1, "MIS": "isams", "Version": "4", "DateTime": f"{day.date}T{clock}"}]

    async def _info(self, _request: Request, name: str, _school: SandboxSchool, side: SandboxXporter) -> Response:
        row = {"Id": "1", "Name": f"{name.title()} School", "EstabId": side.estab}
        return JSONResponse({"SchoolInfo": [row], "meta": self._meta(name, "SchoolInfo")})

    async def _list(self, request: Request, name: str, school: SandboxSchool, side: SandboxXporter) -> Response:
        endpoint = str(request.path_params["endpoint"])
        if endpoint not in render_xporter.LISTS:
            return Response(status_code=404)
        scope, renderer = render_xporter.LISTS[endpoint]
        if scope not in side.scopes:
            return Response(status_code=403)
        if request.query_params.get("onlygetDBStatus") == "true" and endpoint in _WITH_STATUS:
            rows = [{"Id": "1", "Area": scope, "Status": side.status}]
            return JSONResponse({"DBStatus": rows, "meta": self._meta(name, endpoint)})
        params: Json = {**request.query_params, "now": school.now(self._sandbox.clock)}
        day: SourceDay = self._sandbox.source_days.of(name, "xporter", differs=side.differs)
        asked = {k: v for k, v in params.items() if k not in {"page", "pageSize", "changedRows", "now", "select"}}
        stamp = params["now"] if endpoint == "AttendanceForDateRange" else None
        key = (endpoint, repr(asked), stamp, tuple(sorted(side.scopes)), tuple(sorted(side.variants)))
        arrays = day.once(key, lambda: _allowed(renderer(day, params), side))
        answer: Json = {**arrays, "meta": self._meta(name, endpoint)}
        if "changedRows" in params:
            answer = self._changed(school, side, endpoint, str(params["changedRows"]), arrays) | {
                "meta": answer["meta"]
            }
        if "select" in params:
            wanted = {*str(params["select"]).split(","), "LastUpdated", "RowHash"}
            main = next(iter(arrays))
            answer[main] = [{k: v for k, v in row.items() if k in wanted} for row in answer[main]]
        if "pageSize" in params and not ("changedRows" in params and "changes_in_one" in side.variants):
            number, size = int(str(params.get("page", 1))), int(str(params["pageSize"]))
            if number > 1 and self.takes(school, "xporter_repeat", endpoint, str(number)):
                number -= 1
            answer = _paged(answer, list(arrays), number, size)
        return JSONResponse(answer)

    def _changed(
        self, school: SandboxSchool, side: SandboxXporter, endpoint: str, known: str, arrays: dict[str, list[Json]]
    ) -> Json:
        hashes = {(array, str(row["Id"])): str(row["RowHash"]) for array, rows in arrays.items() for row in rows}
        token = hashlib.md5(repr((endpoint, hashes)).encode(), usedforsecurity=False).hexdigest()
        if self.takes(school, "xporter_forgotten", endpoint):
            side.snapshots.clear()
        if known != "*" and known not in side.snapshots:
            raise _Told("ChangedRows token is not valid")
        before = side.snapshots.get(known, {}) if known != "*" else {}
        side.snapshots[token] = hashes
        answer: Json = {}
        for array, rows in arrays.items():
            answer[array] = [row for row in rows if before.get((array, str(row["Id"]))) != row["RowHash"]]
            gone = [{"Id": key} for of, key in before if of == array and (of, key) not in hashes]
            if gone:
                twice = self.takes(school, "xporter_deleted_twice", endpoint)
                answer[f"{array}_deleted"] = gone * (2 if twice else 1)
        answer["__changedRows__"] = [{"RequestedChangedRows": known, "NextChangedRows": token}]
        return answer


def _allowed(arrays: dict[str, list[Json]], side: SandboxXporter) -> dict[str, list[Json]]:
    """What the school's scopes give of some rows, in the reading that is asked of this sandbox."""
    hidden: dict[str, set[str]] = {}
    for scope, (array, names) in render_xporter.BY_SCOPE.items():
        if scope not in side.scopes:
            hidden[array] = hidden.get(array, set()) | names
    found: dict[str, list[Json]] = {}
    for array, rows in arrays.items():
        without = hidden.get(array, set())
        kept = [{k: v for k, v in row.items() if k not in without} for row in rows]
        if array == "StudentMembers" and "prefixed_members" in side.variants:
            kept = [{**r, "GroupId": f"GC-{r['GroupId']}", "StudentId": f"PL-{r['StudentId']}"} for r in kept]
        if array == "TTPeriods" and "no_periods" in side.variants:
            kept = []
        if "flags_as_texts" in side.variants:
            kept = [{k: str(v) if k in {"ParResp", "IsTeacher"} else v for k, v in row.items()} for row in kept]
        name = "StudentContact" if array == "StudentContacts" and "student_contact" in side.variants else array
        found[name] = kept
    return found


def _paged(answer: Json, arrays: list[str], number: int, size: int) -> Json:
    """A page of the first array; what belongs to its rows comes along, the rest with the first page."""
    main = answer[arrays[0]]
    pages = max(1, -(-len(main) // size))
    shown = main[(number - 1) * size : number * size]
    ids = {str(row["Id"]) for row in shown}
    everyone = {str(row["Id"]) for row in main}
    paged: Json = {"meta": answer["meta"], arrays[0]: shown}
    for array in arrays[1:]:
        paged[array] = [
            row for row in answer[array] if _owner(row) in ids or (number == 1 and _owner(row) not in everyone)
        ]
    for name, value in answer.items():
        if name.startswith("__") or (name.endswith("_deleted") and number == 1):
            paged[name] = value
    paged["__pagination__"] = [
        {
            "PageSize": size,
            "PageNumber": number,
            "PageCount": pages,
            "RowCount": len(main),
            "NextPage": f"?page={number + 1}&pageSize={size}",
        }
    ]
    return paged


def _owner(row: Json) -> str | None:
    return row.get("GroupId") or row.get("LessonId")


def _answer(body: Json, told: str | None = None) -> Response:
    nothing = {"Message": None, "ExceptionType": None, "ExceptionMessage": told, "InnerException": None}
    return JSONResponse({**body, **nothing})
