"""The sandbox's Assembly: OAuth, pages, changes only, limits, and a connector that a person moves step by step."""

from __future__ import annotations

import asyncio
import base64
import hashlib
import json
import secrets
from collections.abc import Awaitable, Callable, Iterator, Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta
from email.utils import format_datetime, parsedate_to_datetime
from typing import Any
from urllib.parse import urlencode

from starlette.requests import Request
from starlette.responses import JSONResponse, RedirectResponse, Response
from starlette.routing import Route

from isams_pipeline.datasets.shapes import Json
from isams_pipeline.sandbox import render_assembly
from isams_pipeline.sandbox.api import SandboxApi
from isams_pipeline.sandbox.forms import form_of
from isams_pipeline.sandbox.photos import photo
from isams_pipeline.sandbox.sides import SandboxAssembly
from isams_pipeline.sandbox.source_day import SourceDay
from isams_pipeline.sandbox.world import SandboxSchool, SandboxWorld

ACCEPTED = {"application/vnd.assembly+json; version=1.1", "application/vnd.assembly+json; version=1"}

ASSEMBLY_FAULTS = {
    "assembly_expired": "the school's token has expired",
    "assembly_revoked": "the school has revoked its tokens",
    "assembly_scope": "401 insufficient_scope",
    "assembly_429": "429 with a period of a second",
    "assembly_500": "500",
    "assembly_503": "503, as while a sync is pending",
    "assembly_repeat": "a page that came before, instead of this one",
    "assembly_304": "304, whatever was asked",
    "assembly_v1": "the envelope of version 1",
    "assembly_not_json": "a log-in page",
    "assembly_other_school": "a refreshed token that is another school's",
}
"""Kinds of faults of Assembly. `key` names the list that meets it, with `:2` for its second page."""


class AssemblyError(Exception):
    """An answer that is no success."""

    def __init__(self, status: int, error: str, message: str = "", **more: Any) -> None:
        super().__init__(status)
        self.status = status
        self.body = {"error": error, "message": message, **more}


@dataclass
class _Call:
    request: Request
    name: str
    school: SandboxSchool
    side: SandboxAssembly
    scopes: set[str]

    @property
    def params(self) -> dict[str, str]:
        return dict(self.request.query_params)


class AssemblyApi(SandboxApi):
    """Serves `/assembly/…` for all schools; whose data it is, the token says."""

    faults = ASSEMBLY_FAULTS

    def __init__(self, sandbox: SandboxWorld) -> None:
        self._sandbox = sandbox
        self._app_tokens: set[str] = set()

    def routes(self) -> list[Route]:
        """All endpoints that are known."""
        paths: list[tuple[str, str, Callable[[_Call], Awaitable[Response]]]] = [
            ("GET", "me", self._me),
            ("GET", "school", self._school),
            ("GET", "school/status", self._status),
            ("POST", "school/sync", self._sync),
            ("POST", "school/deauthorize", self._deauthorise),
            ("GET", "timetables/{id:int}", self._timetable),
            ("GET", "attendances", self._attendances),
            *(("GET", name, self._listing(name)) for name in render_assembly.LISTS),
        ]
        return [
            Route("/assembly/oauth/authorize", self._authorise, methods=["GET"]),
            Route("/assembly/oauth/token", self._token, methods=["POST"]),
            Route("/assembly-photos/{number:int}", self._photo, methods=["GET"]),
            Route("/assembly/schools/registered", self._registered, methods=["GET"]),
            *(Route(f"/assembly/{path}", self._endpoint(handler), methods=[method]) for method, path, handler in paths),
        ]

    # --- OAuth --------------------------------------------------------------------------------------------

    def _sides(self) -> Iterator[tuple[str, SandboxSchool, SandboxAssembly]]:
        for name, school in self._sandbox.schools.items():
            if school.assembly is not None:
                yield name, school, school.assembly

    def codes(self, name: str, scopes: set[str]) -> str:
        """A person of the school authorises the app: the code that the redirect carries."""
        side = self._sandbox.schools[name].at_assembly
        code = secrets.token_urlsafe()
        side.codes[code] = scopes if side.allowed is None else scopes & side.allowed
        return code

    @staticmethod
    async def _photo(request: Request) -> Response:
        """A signed address at another host: it knows no token, and takes none."""
        if request.query_params.get("signature") != "made-up" or "authorization" in request.headers:
            return Response(status_code=400)
        return Response(photo(int(request.path_params["number"])), media_type="image/jpeg")

    async def _authorise(self, request: Request) -> Response:
        """The page where a person of the school says yes; here nobody has to. `school` picks one of several."""
        given = request.query_params
        sides = [s for s in self._sides() if s[2].client_id == given.get("client_id")]
        name = given.get("school") or next((name for name, _, _ in sides), None)
        if name is None or "redirect_uri" not in given:
            return JSONResponse({"error": "invalid_request"}, status_code=400)
        scopes = {word.partition(":")[0] for word in given.get("scope", "").split()}
        query = urlencode({"code": self.codes(name, scopes), "state": given.get("state", "")})
        return RedirectResponse(f"{given['redirect_uri']}?{query}", status_code=302)

    async def _token(self, request: Request) -> Response:
        form = {**request.query_params, **await form_of(request)}
        client = _basic(request)
        sides = [side for _, _, side in self._sides() if (side.client_id, side.secret) == client]
        if not sides:
            return JSONResponse({"error": "invalid_client", "message": "unknown client"}, status_code=401)
        match form.get("grant_type"):
            case "client_credentials":
                token = secrets.token_urlsafe()
                self._app_tokens.add(token)
                return JSONResponse({"access_token": token, "token_type": "bearer", "level": "app", "expires_in": None})
            case "authorization_code":
                side = next((s for s in sides if form.get("code") in s.codes), None)
                if side is not None:
                    scopes = side.codes.pop(form["code"])
                    return self._school_token(side, scopes, side.refresh_token(scopes))
            case "refresh_token":
                for side in sides:
                    scopes = side.scopes_by(form.get("refresh_token", ""))
                    if scopes is not None:
                        return self._school_token(side, scopes, None)
            case _:
                pass
        return JSONResponse({"error": "invalid_grant", "message": "it is not known"}, status_code=400)

    def _school_token(self, side: SandboxAssembly, scopes: set[str], refresh: str | None) -> Response:
        token = secrets.token_urlsafe()
        side.tokens[token] = (scopes, self._sandbox.clock() + timedelta(seconds=86_400))
        number = int(side.urn)
        if refresh is None and self._takes(next(s for _, s, x in self._sides() if x is side), "assembly_other_school"):
            number += 1
        answer = {
            "access_token": token,
            "token_type": "bearer",
            "level": "school",
            "expires_in": 86_400,
            "school_id": number,
            "scopes": sorted(scopes),
        }
        return JSONResponse(answer | ({"refresh_token": refresh} if refresh else {}))

    # --- letting in -----------------------------------------------------------------------------------------

    def _endpoint(self, handler: Callable[[_Call], Awaitable[Response]]) -> Callable[[Request], Awaitable[Response]]:
        async def endpoint(request: Request) -> Response:
            try:
                return await handler(await self._let_in(request))
            except AssemblyError as error:
                return JSONResponse(error.body, status_code=error.status)

        return endpoint

    async def _let_in(self, request: Request) -> _Call:
        token = request.headers.get("authorization", "").removeprefix("Bearer ")
        found = next(((n, s, x) for n, s, x in self._sides() if token in x.tokens), None)
        if not token:
            raise AssemblyError(401, "invalid_request", "an access_token is required.")
        if found is None:
            raise AssemblyError(401, "invalid_token", "token is not known")
        name, school, side = found
        path = request.url.path.removeprefix("/assembly/")
        side.requests.append((path, request.url.query))
        scopes, until = side.tokens[token]
        now = self._sandbox.clock()
        if until <= now:
            raise AssemblyError(401, "invalid_token", "token has expired")
        if request.headers.get("accept") not in ACCEPTED:
            raise AssemblyError(406, "unsupported_version")
        side.spent[:] = [at for at in side.spent if now - at < timedelta(seconds=side.period)]
        side.spent.append(now)
        if len(side.spent) > side.limit:
            raise _too_many(len(side.spent), side.period, side.limit)
        await asyncio.sleep(side.seconds)
        self._refuse(school, side, token, path.partition("/")[0], request.query_params.get("page", "1"))
        return _Call(request, name, school, side, scopes)

    def _takes(self, school: SandboxSchool, kind: str, key: str | None = None, page: str = "1") -> bool:
        for fault in school.faults:
            wanted, where = fault
            if (
                wanted == kind
                and where in {None, key, f"{key}:{page}"}
                and (where != key or page == "1" or key is None)
            ):
                school.faults.remove(fault)
                return True
        return False

    def _refuse(self, school: SandboxSchool, side: SandboxAssembly, token: str, key: str, page: str) -> None:
        def takes(kind: str) -> bool:
            return self._takes(school, kind, key, page)

        if takes("assembly_expired"):
            del side.tokens[token]
            raise AssemblyError(401, "invalid_token", "token has expired")
        if takes("assembly_revoked"):
            side.revoke()
            raise AssemblyError(401, "invalid_token", "token has been revoked")
        if takes("assembly_scope"):
            raise AssemblyError(401, "insufficient_scope")
        if takes("assembly_429"):
            raise _too_many(601, 1, 600)
        if takes("assembly_500"):
            raise AssemblyError(500, "internal error")
        if takes("assembly_503"):
            raise AssemblyError(503, "sync pending")

    # --- the school -----------------------------------------------------------------------------------------

    async def _registered(self, request: Request) -> Response:
        if request.headers.get("authorization", "").removeprefix("Bearer ") not in self._app_tokens:
            return JSONResponse({"error": "invalid_token", "message": "unknown"}, status_code=401)
        rows = [
            {**self._about(name, side), "connector": side.connector}
            for name, _, side in self._sides()
            if side.is_registered
        ]
        return JSONResponse(rows)

    @staticmethod
    def _about(name: str, side: SandboxAssembly) -> Json:
        return {
            "object": "school",
            "name": f"{name.title()} School",
            "slug": name,
            "urn": side.urn,
            "mis_provider": "iSAMS",
            "la_code": 328,
            "establishment_number": int(side.urn) % 10_000,
            "town": "Sampleton",
            "postcode": "ZZ1 1ZZ",
        }

    async def _me(self, call: _Call) -> Response:
        token = {"access_level": "school", "scopes": sorted(call.scopes)}
        return JSONResponse(
            {"object": "application", "id": 1, "name": "isams-pipeline", "sandbox": True, "token": token}
        )

    async def _school(self, call: _Call) -> Response:
        self._need(call, "school")
        return JSONResponse(self._about(call.name, call.side))

    async def _status(self, call: _Call) -> Response:
        """A made-up school is fetched every night at midnight, as long as its connector is connected."""
        side = call.side
        if side.connector == "connected":
            now = self._sandbox.clock().astimezone(call.school.timezone)
            side.last_sync = now.replace(hour=0, minute=0, second=0, microsecond=0)
        at = side.last_sync.isoformat() if side.last_sync else None
        outcome = None if at is None else "success" if side.connector == "connected" else "failure"
        day = self._day(call).day
        if side.fingerprint != (fingerprint := f"{day.date} {day.edits}"):
            side.fingerprint, side.last_changes = fingerprint, self._sandbox.clock()
        return JSONResponse(
            {
                "object": "school_status",
                "last_changes_at": side.last_changes.isoformat() if at and side.last_changes else None,
                "last_sync_at": at,
                "last_sync_status": outcome,
            }
        )

    async def _sync(self, call: _Call) -> Response:
        if call.side.sync_state == "disabled":
            raise AssemblyError(403, "sync is disabled")
        if call.side.sync_state == "pending":
            raise AssemblyError(503, "a sync is pending")
        call.side.sync_state = "pending"
        return JSONResponse({"message": "accepted"}, status_code=202)

    async def _deauthorise(self, call: _Call) -> Response:
        call.side.revoke()
        return JSONResponse({"message": "accepted"}, status_code=202)

    # --- lists ----------------------------------------------------------------------------------------------

    @staticmethod
    def _need(call: _Call, scope: str) -> None:
        held = call.scopes | ({"students.basic"} if any(s.startswith("students.") for s in call.scopes) else set[str]())
        if scope not in held:
            raise AssemblyError(401, "insufficient_scope", f"{scope} is required")

    def _day(self, call: _Call) -> SourceDay:
        return self._sandbox.source_days.of(call.name, "assembly", differs=call.side.differs)

    def _listing(self, name: str) -> Callable[[_Call], Awaitable[Response]]:
        scope, renderer, conditional = render_assembly.LISTS[name]

        async def listing(call: _Call) -> Response:
            self._need(call, scope)
            params = {k: v for k, v in call.params.items() if k not in {"page", "per_page"}}
            if params.get("photo") == "true":
                params["photos at"] = f"{call.request.base_url}assembly-photos"
            scopes = render_assembly.Scoped(call.scopes)
            key = (name, tuple(sorted(params.items())), tuple(sorted(call.scopes)))
            day = self._day(call)
            variants = frozenset(call.side.variants)
            key = (*key, variants)
            rows = day.once(
                key, lambda: _Rendered(render_assembly.varied(renderer(day, scopes, params), variants), repr(key[:2]))
            )
            return self._paged(call, name, rows, conditional=conditional)

        return listing

    async def _timetable(self, call: _Call) -> Response:
        self._need(call, "timetables")
        day = self._day(call)
        key = ("one timetable", tuple(sorted(call.params.items())))
        variants = frozenset(call.side.variants)
        content = day.once(
            (*key, variants), lambda: json.dumps(render_assembly.one_timetable(day, call.params, variants))
        )
        return Response(content, media_type="application/json")

    async def _attendances(self, call: _Call) -> Response:
        self._need(call, "attendances")
        params = {k: v for k, v in call.params.items() if k not in {"page", "per_page"}}
        now = call.school.now(self._sandbox.clock)
        rows = _Rendered(render_assembly.attendances(self._day(call), now, params), repr(params))
        return self._paged(call, "attendances", rows, conditional=True)

    def _paged(self, call: _Call, name: str, found: _Rendered, *, conditional: bool) -> Response:
        rows: Sequence[Json] = found.rows
        headers: dict[str, str] = {}
        school, params = call.school, call.params
        page = params.get("page", "1")
        if self._takes(school, "assembly_not_json", name, page):
            return Response("<!doctype html><html><body>Log in</body></html>", media_type="text/html")
        if self._takes(school, "assembly_304", name, page):
            return Response(status_code=304)
        if conditional:
            tag, seen, before = self._version(call, found)
            headers = {"ETag": tag, "Last-Modified": format_datetime(seen, usegmt=True)}
            if before is not None:
                rows = [row for row in rows if before.get(row["id"]) != found.digests[row["id"]]]
                if not rows and tag in call.request.headers.get("if-none-match", tag):
                    return Response(status_code=304, headers=headers)
        number, size = int(page), min(1500, int(params.get("per_page", 100)))
        if number > 1 and self._takes(school, "assembly_repeat", name, page):
            number -= 1
        pages = max(1, -(-len(rows) // size))
        shown = list(rows[(number - 1) * size : number * size])
        if call.request.headers.get("accept", "").endswith("version=1") or self._takes(
            school, "assembly_v1", name, page
        ):
            envelope = {
                "object": "list",
                "total_count": len(rows),
                "total_pages": pages,
                "current_page": number,
                "data": shown,
            }
            return JSONResponse(envelope, headers=headers)
        headers |= {"Page": str(number), "Total": str(len(rows)), "Total-Pages": str(pages), "Per-Page": str(size)}
        if number < pages:
            headers["Next-Page"] = str(number + 1)
        return Response(json.dumps(shown), media_type="application/json", headers=headers)

    def _version(self, call: _Call, found: _Rendered) -> tuple[str, datetime, dict[Any, str] | None]:
        """The tag of the content, when it was first seen, and what the caller already has."""
        versions = call.side.versions
        if found.tag not in versions:
            versions[found.tag] = (self._sandbox.clock().replace(microsecond=0), found.digests)
        before = versions.get(call.request.headers.get("if-none-match", ""))
        since = call.request.headers.get("if-modified-since")
        if before is None and since is not None:
            moment = parsedate_to_datetime(since)
            of_list = [v for v in versions.values() if v[0] <= moment and v[1].keys() & found.digests.keys()]
            before = max(of_list, key=lambda v: v[0], default=None)
        return found.tag, versions[found.tag][0], before[1] if before else None


class _Rendered:
    """A list's rows, and the tag of their content."""

    def __init__(self, rows: list[Json], key: str) -> None:
        self.rows = rows
        self.digests = {row["id"]: _digest(row) for row in rows}
        self.tag = f'"{hashlib.sha256(f"{key}{sorted(self.digests.items())}".encode()).hexdigest()[:32]}"'


def _too_many(count: int, period: int, limit: int) -> AssemblyError:
    return AssemblyError(429, "too many requests", data={"count": count, "period": period, "limit": limit})


def _digest(row: Json) -> str:
    return hashlib.blake2b(json.dumps(row).encode(), digest_size=8).hexdigest()


def _basic(request: Request) -> tuple[str, str]:
    given = request.headers.get("authorization", "").removeprefix("Basic ")
    try:
        name, _, secret = base64.b64decode(given).decode().partition(":")
    except ValueError:
        return "", ""
    return name, secret
