"""The Assembly client: a school's lists page by page, only what has changed where it says so. Knows no Dagster."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable, Generator, Iterator, Mapping
from contextlib import AbstractContextManager, nullcontext
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from typing import Any, Self
from urllib.parse import urlencode

import httpx

from isams_pipeline.assembly.lists import SCOPES, TIMETABLE
from isams_pipeline.clock import Clock
from isams_pipeline.config import AssemblySettings
from isams_pipeline.errors import (
    AccessRefused,
    InvalidKey,
    IsamsError,
    NotAuthorised,
    NotFound,
    PipelineError,
    RequestRefused,
    RowsMoved,
    ServerTimeout,
    StaleRoad,
    SyncPending,
    Throttled,
    TokensUnreadable,
    Unavailable,
    WrongToken,
)
from isams_pipeline.isams.http import Patience
from isams_pipeline.roads import ASSEMBLY
from isams_pipeline.roads.client import Reading, Seen, Wire
from isams_pipeline.roads.connections import Connection, Finding, Reason, State
from isams_pipeline.roads.grants import Grant, Json, ListRequest
from isams_pipeline.roads.values import as_list, as_object, objects_in
from isams_pipeline.storage.state.tokens import TokenVault

ACCEPT = "application/vnd.assembly+json; version=1.1"
PER_PAGE = 1500
"""The most that a page may have."""
_READINGS = 3
"""How often a list is read anew because its rows moved between pages."""
_EARLY = timedelta(seconds=60)
_LIFE = 86_400
"""Seconds of a token's life where the answer does not say."""
_ME, _SCHOOL, _STATUS, _SYNC, _DEAUTHORISE, _REGISTERED = (
    "/me",
    "/school",
    "/school/status",
    "/school/sync",
    "/school/deauthorize",
    "/schools/registered",
)
"""What may be asked without a grant: it tells of no person."""


@dataclass(frozen=True)
class AppCredential:
    """The app's id and secret at Assembly."""

    client_id: str = field(repr=False)
    secret: str = field(repr=False)


class AssemblyClient:
    """One school at Assembly."""

    def __init__(
        self,
        settings: AssemblySettings,
        credential: AppCredential,
        vault: TokenVault,
        *,
        school: str,
        clock: Clock,
        exclusive: Callable[[], AbstractContextManager[None]] = nullcontext,
        patience: Patience | None = None,
        sleep: Callable[[float], None] = time.sleep,
    ) -> None:
        """`exclusive` holds off other processes while the school's tokens are renewed."""
        self._settings, self._credential, self._vault = settings, credential, vault
        self._school, self._clock = school, clock
        self._status: Json | None = None
        wire: dict[str, Any] = {
            "server": "Assembly",
            "patience": patience or Patience(),
            "sleep": sleep,
            "error_for": error_for,
            "school": school,
            "source": ASSEMBLY,
        }
        self._api = Wire(settings.url, setting="assembly.url", headers={"Accept": ACCEPT}, **wire)
        self._platform = Wire(settings.platform, setting="assembly.platform", headers={}, **wire)
        self._auth = _SchoolToken(self._tokens, self._refresh, clock, exclusive)

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self._api.close()
        self._platform.close()

    # --- tokens -------------------------------------------------------------------------------------------

    def authorise_url(self, state: str) -> str:
        """Where a person of the school authorises the app. `state` comes back with the code."""
        scopes = [name if needed else f"{name}:optional" for name, needed in SCOPES.items()]
        query = {
            "client_id": self._credential.client_id,
            "redirect_uri": self._settings.redirect_uri,
            "scope": " ".join(scopes),
            "state": state,
        }
        return f"{self._settings.platform}/oauth/authorize?{urlencode(query)}"

    def take_code(self, code: str) -> Finding:
        """Exchange the code that came with the redirect, and keep the tokens if they are this school's."""
        form = {"grant_type": "authorization_code", "code": code, "redirect_uri": self._settings.redirect_uri}
        answer = self._token(form)
        tokens = self._as_tokens(answer, refresh_token=answer.get("refresh_token"))
        # Proven before anything is kept: a code of another school would fill this school's tables.
        bearer = _Bearer(tokens["access_token"])
        found = self._json(_SCHOOL, auth=bearer)
        urn = str(as_object(found).get("urn") or "")
        if urn != self._settings.urn:
            raise self._another_schools("The code is of a school with another URN")
        self._vault.save(tokens | {"urn": urn})
        return self._finding()

    def forget(self) -> None:
        """Take the app's authorisation back, at Assembly and here.

        Raises what Assembly said, and keeps the tokens then: without them it could not be asked again. Tokens that
        Assembly does not take any more, or that cannot be read, are only forgotten here.
        """
        try:
            tokens = self._vault.load()
            if tokens is not None:
                auth = self._auth if tokens.get("urn") == self._settings.urn else _Bearer(str(tokens["access_token"]))
                self._api.ask("POST", _DEAUTHORISE, auth=auth)
        except (NotAuthorised, WrongToken, TokensUnreadable):
            pass  # it was taken back there before, or it never was this school's
        self._vault.forget()

    def _tokens(self) -> Json | None:
        tokens = self._vault.load()
        if tokens is not None and tokens.get("urn") != self._settings.urn:
            raise self._another_schools("The token was given for a school with another URN")
        return tokens

    def _refresh(self, tokens: Json) -> Json:
        """New tokens for old ones; raises NotAuthorised where the school has taken them back."""
        try:
            answer = self._token({"grant_type": "refresh_token", "refresh_token": str(tokens.get("refresh_token"))})
        except (InvalidKey, RequestRefused):
            raise self._not_authorised("The school has taken the app's authorisation back") from None
        fresh = self._as_tokens(answer, refresh_token=answer.get("refresh_token") or tokens.get("refresh_token"))
        if fresh["school_id"] != tokens.get("school_id"):
            raise self._another_schools("Assembly answered with the token of another school")
        fresh |= {"urn": tokens.get("urn")}
        if fresh["scopes"] is None:
            fresh["scopes"] = tokens.get("scopes")
        self._vault.save(fresh)
        return fresh

    def _token(self, form: Mapping[str, str]) -> Json:
        """As a form and not as a query, where the documents have them: an address ends up in logs."""
        auth = httpx.BasicAuth(self._credential.client_id, self._credential.secret)
        found = self._platform.json(self._platform.ask("POST", "/oauth/token", form=form, auth=auth), "/oauth/token")
        if not isinstance(as_object(found).get("access_token"), str):
            raise self._platform.not_data("The answer holds no token", "/oauth/token")
        return as_object(found)

    def _as_tokens(self, answer: Json, *, refresh_token: object) -> Json:
        life = answer.get("expires_in")
        seconds = float(life) if isinstance(life, int | float) else _LIFE
        return {
            "access_token": answer["access_token"],
            "refresh_token": refresh_token,
            "until": (self._clock() + timedelta(seconds=seconds)).isoformat(),
            "school_id": answer.get("school_id"),
            "scopes": _scopes_in(answer.get("scopes")),  # None where the answer does not say
        }

    def _not_authorised(self, what: str) -> NotAuthorised:
        remedy = f"`isams-pipeline connector authorise {self._school} --road assembly`."
        error = NotAuthorised(what, remedy=remedy)
        error.at(school=self._school, source=ASSEMBLY)
        return error

    def _another_schools(self, what: str) -> PipelineError:
        remedy = f"Check assembly.urn; then authorise again: isams-pipeline connector authorise {self._school}."
        return WrongToken(what, remedy=remedy).at(school=self._school, source=ASSEMBLY)

    # --- what tells of no person --------------------------------------------------------------------------

    def _json(self, path: str, auth: httpx.Auth | None = None) -> Any:
        return self._api.json(self._api.ask("GET", path, auth=auth or self._auth), path)

    def school_status(self) -> Json:
        """When Assembly last got the school's data, and how that ended. Asked for once."""
        if self._status is None:
            self._status = as_object(self._json(_STATUS))
        return self._status

    def freshness(self) -> str | None:
        found = self.school_status().get("last_changes_at")
        return found if isinstance(found, str) else None

    def sync(self) -> None:
        """Ask Assembly to fetch the school's data from its MIS now. Raises SyncPending, or RequestRefused."""
        self._api.ask("POST", _SYNC, auth=self._auth, again=False)

    def grant(self, connection: Connection | None) -> Grant:  # noqa: ARG002  # Assembly itself knows
        if self._tokens() is None:
            raise self._not_authorised("The school has not authorised the app")
        self._status = None
        scopes = self._scopes_now()
        needed = sorted(name for name, must in SCOPES.items() if must and name not in scopes)
        if needed:
            raise self._not_authorised(f"The school has not authorised {', '.join(needed)}, which the app needs")
        self._must_be_fresh()
        return Grant(self._school, ASSEMBLY, scopes, subject=f"urn {self._settings.urn}")

    def _scopes_now(self) -> frozenset[str]:
        """The scopes that the token has now; one that was taken back may still stand in the token's answer."""
        token = as_object(as_object(self._json(_ME)).get("token"))
        told = _scopes_in(token.get("scopes"))
        tokens = self._tokens() or {}
        if told is not None and told != tokens.get("scopes"):
            self._vault.save(tokens | {"scopes": told})
        return _held(told if told is not None else tokens.get("scopes"))

    def _must_be_fresh(self) -> None:
        """Raise NotAuthorised or StaleRoad where Assembly would answer with data of long ago as if it were today's."""
        status = self.school_status()
        if status.get("last_sync_status") == "failure" or not status.get("last_sync_at"):
            waiting = self._registered()
            if waiting.state is not State.CONNECTED:
                raise self._not_authorised(f"Assembly has no connection to the school's data: {waiting.said}")
        if status.get("last_sync_status") == "failure":
            raise self._stale("Assembly's last fetch of the school's data failed")
        age = _age(status.get("last_sync_at"), self._clock())
        if age is not None and age > timedelta(hours=self._settings.stale_after_hours):
            raise self._stale(f"Assembly's data is {age.total_seconds() / 3600:.0f} hours old")

    def _stale(self, what: str) -> PipelineError:
        remedy = (
            f"`isams-pipeline connector sync {self._school}` asks Assembly to fetch it now. Where that does not help, "
            "ask help@assembly.education."
        )
        return StaleRoad(what, remedy=remedy).at(school=self._school, source=ASSEMBLY)

    def look(self, connection: Connection | None) -> Finding:  # noqa: ARG002
        self._status = None
        try:
            if self._tokens() is not None:
                return self._finding()
        except NotAuthorised:
            return self._registered()
        except (WrongToken, TokensUnreadable) as error:
            found = self._registered()
            return Finding(found.state, found.reason, said=f"{found.said}. {error.what}")
        return self._registered()

    def _finding(self) -> Finding:
        scopes = self._scopes_now()
        status = self.school_status()
        if status.get("last_sync_status") == "failure" or not status.get("last_sync_at"):
            waiting = self._registered()
            if waiting.state is not State.CONNECTED:
                return Finding(waiting.state, waiting.reason, scopes, waiting.said)
        needed = sorted(name for name, must in SCOPES.items() if must and name not in scopes)
        if needed:
            return Finding(State.CONNECTED, said=f"the school has not authorised {', '.join(needed)}")
        age = "its last fetch failed" if status.get("last_sync_status") == "failure" else "its data is"
        return Finding(State.AUTHORISED, scopes=scopes, said=f"Assembly answers; {age} of {status.get('last_sync_at')}")

    def _registered(self) -> Finding:
        """How far the school is without the app's authorisation, by the list of registered schools.

        That the list has a school's URN is inferred from the object of a school; that it tells of the connector, and in
        which words, is invented (`connector`): no document shows this list. This is the only place that knows it.
        """
        token = self._token({"grant_type": "client_credentials"})["access_token"]
        found = self._json(_REGISTERED, auth=_Bearer(token))
        row = next((r for r in objects_in(found) if str(r.get("urn")) == self._settings.urn), None)
        if row is None:
            return Finding(State.AWAITING_INVITATION, said="Assembly does not list a school with this URN")
        word = row.get("connector")
        if word == "awaiting_invitation":
            return Finding(State.AWAITING_INVITATION, said="the school has not granted Assembly access")
        if word in {reason.value for reason in Reason}:
            return Finding(State.AWAITING_CONNECTION, Reason(word), said="Assembly cannot connect to the school's data")
        return Finding(State.CONNECTED, said="Assembly has the school's data; no app is authorised")

    # --- lists --------------------------------------------------------------------------------------------

    def read(self, request: ListRequest, since: Mapping[str, str] | None) -> Reading | None:
        if request.wanted.path == TIMETABLE:
            return Reading(self._timetables(request), only_changes=False)
        conditions = _conditions(since)
        first = self._page(request, 1, conditions)
        if first.status_code == 304:  # noqa: PLR2004
            if not conditions:
                raise self._api.not_data(
                    "The answer is 304 where nothing was said of an earlier one", request.wanted.path
                )
            return None
        token = {
            name: first.headers[header]
            for name, header in (("etag", "etag"), ("last_modified", "last-modified"))
            if header in first.headers
        }
        return Reading(
            self._pages(request, first, conditions),
            only_changes=bool(conditions),
            token=token,
            expected=_number(first.headers.get("total")),
        )

    def count(self, request: ListRequest) -> int | None:
        if request.wanted.path == TIMETABLE:
            return None
        response = self._page(request, 1, {}, per_page=1)
        return self._rows(response, request.wanted.path).total

    def _rows(self, response: httpx.Response, path: str) -> _Page:
        page = _Page.of(self._api.json(response, path), response)
        if page is None:
            raise self._api.not_data("The answer is no list of objects", path)
        return page

    def _page(
        self, request: ListRequest, number: int, conditions: Mapping[str, str], per_page: int | None = None
    ) -> httpx.Response:
        params = {**request.params, "page": str(number), "per_page": str(per_page or PER_PAGE)}
        try:
            return self._api.ask("GET", request.wanted.path, params=params, headers=conditions, auth=self._auth)
        except IsamsError as error:
            raise error.at(list=request.wanted.name) from None

    def _pages(self, request: ListRequest, first: httpx.Response, conditions: Mapping[str, str]) -> Iterator[Json]:
        """The rows of all pages, each row once. Rows that move between pages make it fail, to be asked anew."""
        wanted = request.wanted
        page = self._rows(first, wanted.path)
        seen = Seen()
        taken = 0
        number, pages, total = 1, page.pages, page.total
        if pages is None or total is None:
            raise self._api.not_data("The first page does not say how many rows and pages there are", wanted.path)
        while True:
            if page.total != total or page.pages != pages:
                raise self._moved(wanted.name)
            if any(row.get("id") is None for row in page.rows):
                raise self._api.not_data("A row has no id", wanted.path)
            if any(known is not None for known in seen.take([(hash(wanted.key_of(row)), 0) for row in page.rows])):
                raise self._moved(wanted.name)
            taken += len(page.rows)
            for row in page.rows:
                yield from wanted.rows_of(row)
            number += 1
            if number > pages:
                break
            response = self._page(request, number, conditions)
            if response.status_code == 304:  # noqa: PLR2004  # what had changed has been fetched meanwhile
                raise self._moved(wanted.name)
            page = self._rows(response, wanted.path)
        if taken != total:
            raise self._moved(wanted.name)

    def _moved(self, name: str) -> PipelineError:
        return RowsMoved("Rows moved between pages, or a page came twice", remedy="It is asked again.").at(
            school=self._school, source=ASSEMBLY, list=name
        )

    def _timetables(self, request: ListRequest) -> Iterator[Json]:
        """Each timetable with its days, periods and lessons of the school year."""
        path = "/timetables"
        response = self._api.ask("GET", path, params={"page": "1", "per_page": str(PER_PAGE)}, auth=self._auth)
        for row in self._rows(response, path).rows:
            one = f"{path}/{int(row['id'])}"
            found = self._api.json(self._api.ask("GET", one, params=request.params, auth=self._auth), one)
            yield from request.wanted.rows_of(as_object(found))


@dataclass(frozen=True)
class _Page:
    """A page's rows, and what the answer says of the whole: in its headers, or around the rows as version 1 does."""

    rows: list[Json]
    total: int | None
    pages: int | None

    @classmethod
    def of(cls, found: Any, response: httpx.Response) -> _Page | None:
        """The page that an answer is; None where it is none."""
        if isinstance(found, dict):
            around = as_object(found)
            listed = around.get("data")
            total, pages = around.get("total_count"), around.get("total_pages")
        else:
            listed, total, pages = found, response.headers.get("total"), response.headers.get("total-pages")
        rows = objects_in(listed)
        if not isinstance(listed, list) or len(rows) != len(as_list(listed)):
            return None
        return cls(rows, _number(total), _number(pages))


def _number(value: Any) -> int | None:
    return int(value) if str(value).isdigit() else None


def _conditions(since: Mapping[str, str] | None) -> dict[str, str]:
    """The headers that ask for changes only: by the tag if there is one, else by the time."""
    if since and since.get("etag"):
        return {"If-None-Match": since["etag"]}
    if since and since.get("last_modified"):
        return {"If-Modified-Since": since["last_modified"]}
    return {}


def _scopes_in(value: Any) -> list[str] | None:
    """Scopes as a sorted list of words, `name:optional` as `name`; None where nothing is said of them."""
    if isinstance(value, str):
        value = value.replace("+", " ").split()
    if not isinstance(value, list):
        return None
    return sorted({str(word).partition(":")[0] for word in as_list(value)})


def _held(value: Any) -> frozenset[str]:
    """The scopes that are used, of those held. Any scope of students brings the basic one."""
    scopes = set(_scopes_in(value) or ())
    if any(name.startswith("students.") for name in scopes):
        scopes.add("students.basic")
    return frozenset(scopes & SCOPES.keys())


class _Bearer(httpx.Auth):
    def __init__(self, token: str) -> None:
        self._token = token

    def auth_flow(self, request: httpx.Request) -> Generator[httpx.Request, httpx.Response, None]:
        request.headers["Authorization"] = f"Bearer {self._token}"
        yield request


class _SchoolToken(httpx.Auth):
    """The school's token, renewed before it ends, and once more where the server says that it has."""

    def __init__(
        self,
        load: Callable[[], Json | None],
        refresh: Callable[[Json], Json],
        clock: Clock,
        exclusive: Callable[[], AbstractContextManager[None]],
    ) -> None:
        self._load, self._refresh, self._clock, self._exclusive = load, refresh, clock, exclusive
        self._lock = threading.Lock()

    def auth_flow(self, request: httpx.Request) -> Generator[httpx.Request, httpx.Response, None]:
        tokens = self._current()
        request.headers["Authorization"] = f"Bearer {tokens['access_token']}"
        response = yield request
        if response.status_code == 401 and _is_expired(response):  # noqa: PLR2004
            tokens = self._current(unwanted=tokens["access_token"])
            request.headers["Authorization"] = f"Bearer {tokens['access_token']}"
            yield request

    def _current(self, unwanted: str | None = None) -> Json:
        with self._lock:
            tokens = self._load()
            if self._is_good(tokens, unwanted):
                return tokens or {}
            with self._exclusive():
                tokens = self._load()  # another process may have renewed it
                if tokens is None:
                    raise NotAuthorised("The school has not authorised the app")
                return tokens if self._is_good(tokens, unwanted) else self._refresh(tokens)

    def _is_good(self, tokens: Json | None, unwanted: str | None) -> bool:
        if tokens is None or tokens["access_token"] == unwanted:
            return False
        return self._clock() <= datetime.fromisoformat(tokens["until"]) - _EARLY


def _age(moment: Any, now: datetime) -> timedelta | None:
    """How long ago a moment was; None where it is none. One without a zone is taken for UTC."""
    try:
        found = datetime.fromisoformat(moment)
    except (TypeError, ValueError):
        return None
    return now - (found if found.tzinfo else found.replace(tzinfo=UTC))


def _is_expired(response: httpx.Response) -> bool:
    response.read()
    return _words(response)[0] != "insufficient_scope"


def _words(response: httpx.Response) -> tuple[str, Json]:
    """Assembly's word for what is wrong, and the rest of what it says; a body is not guaranteed."""
    try:
        found = as_object(response.json())
    except ValueError:
        found = {}
    return str(found.get("error") or ""), found


_KNOWN_WORDS = {
    *("invalid_request", "invalid_token", "insufficient_scope", "unsupported_version", "invalid_client"),
    *("invalid_grant", "not found", "too many requests"),
}


def error_for(response: httpx.Response) -> PipelineError | None:
    """The typed error for an answer, or None where it is none."""
    status = response.status_code
    if response.is_success or status == 304:  # noqa: PLR2004
        return None
    word, said = _words(response)
    where: dict[str, Any] = {"status": status, "error": word if word in _KNOWN_WORDS else None}
    again = "It is asked again."
    match status:
        case 401 | 403 if word == "insufficient_scope":
            remedy = "Authorise the app again, with this scope."
            return NotAuthorised("The school has not authorised this, or not any more", remedy=remedy, **where)
        case 401 if word == "invalid_client":
            return InvalidKey("Assembly does not accept the app", remedy="Check both environment variables.", **where)
        case 401:
            return NotAuthorised("Assembly does not accept the token", remedy="Authorise the app again.", **where)
        case 400 if word in {"invalid_grant", "invalid_client"}:
            return InvalidKey(
                "Assembly does not accept the code or the token", remedy="Authorise the app again.", **where
            )
        case 400 | 406 | 422:
            return RequestRefused("Assembly found the request invalid", remedy="Report this as a bug.", **where)
        case 403:
            return AccessRefused(
                "Assembly does not allow this", remedy="Ask Assembly whether it is switched on.", **where
            )
        case 404:
            return NotFound("Assembly has no such thing", remedy="Check assembly.url.", **where)
        case 429:
            period = as_object(said.get("data")).get("period")
            wait = float(period) if isinstance(period, int | float) else None
            return Throttled(
                "The token has made its requests of these minutes", remedy=again, retry_after=wait, **where
            )
        case 503 if response.request.url.path.endswith(_SYNC):
            return SyncPending("A sync is under way, or has just been", remedy="Wait for it; then ask again.", **where)
        case 503:
            return Unavailable("Assembly is not available; it may be fetching the school's data", remedy=again, **where)
        case 500 | 502:
            return Unavailable("Assembly is not available", remedy=again, **where)
        case 408 | 504:
            return ServerTimeout("Assembly ran out of time", remedy=again, **where)
        case _:
            return IsamsError("Assembly failed", remedy="Ask Assembly's support with the time of this run.", **where)
