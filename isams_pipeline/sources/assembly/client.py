"""The Assembly client: a school's lists page by page, only what has changed where it says so. Knows no Dagster."""

from __future__ import annotations

import time
from collections.abc import Callable, Collection, Iterator, Mapping
from contextlib import AbstractContextManager, nullcontext
from typing import Any, Self

import httpx

from isams_pipeline.clock import Clock
from isams_pipeline.datasets.shapes import Json, JsonValue
from isams_pipeline.errors import IsamsError, NotAuthorised, StaleSource, TokensUnreadable, WrongToken
from isams_pipeline.sources.assembly.answers import SYNC, Page, conditions, error_for, held, is_expired, scopes_in
from isams_pipeline.sources.assembly.lists import PHOTOS, SCOPES
from isams_pipeline.sources.assembly.settings import AssemblySettings
from isams_pipeline.sources.assembly.tokens import SchoolTokens
from isams_pipeline.sources.shared import ASSEMBLY
from isams_pipeline.sources.shared.client import Reading
from isams_pipeline.sources.shared.connections import Connection, Finding, Reason, State
from isams_pipeline.sources.shared.grants import Grant, ListRequest, lacking
from isams_pipeline.sources.shared.http import Credential, Patience
from isams_pipeline.sources.shared.renewed import RenewedToken, supplied
from isams_pipeline.sources.shared.values import as_object, objects_in, whole_number
from isams_pipeline.sources.shared.wire import MAX_PAGES, Seen, Wire, typed
from isams_pipeline.storage.state.tokens import TokenVault

ACCEPT = "application/vnd.assembly+json; version=1.1"
PER_PAGE = 1500
"""The most that a page may have."""
_ME, _SCHOOL, _STATUS, _DEAUTHORISE, _REGISTERED = (
    "/me",
    "/school",
    "/school/status",
    "/school/deauthorize",
    "/schools/registered",
)
"""With SYNC, what may be asked without a grant: it tells of no person."""


class AssemblyClient:
    """One school at Assembly. `app` is the app's id and secret there."""

    def __init__(
        self,
        settings: AssemblySettings,
        app: Credential,
        vault: TokenVault,
        *,
        school: str,
        clock: Clock,
        exclusive: Callable[[], AbstractContextManager[None]] = nullcontext,
        patience: Patience | None = None,
        sleep: Callable[[float], None] = time.sleep,
        also: Collection[str] = (),
    ) -> None:
        """`exclusive` holds off other processes while the school's tokens are renewed.

        `also` are scopes that the app asks for besides its usual ones.
        """
        self._settings, self._school, self._clock = settings, school, clock
        self._status: Json | None = None
        wire: Json = {
            "server": "Assembly",
            "patience": patience or Patience(),
            "sleep": sleep,
            "error_for": error_for,
            "where": {"school": school, "source": ASSEMBLY},
        }
        self._api = Wire(settings.url, setting="assembly.url", headers={"Accept": ACCEPT}, **wire)
        self._platform = Wire(settings.platform, setting="assembly.platform", **wire)
        self.tokens = SchoolTokens(settings, app, vault, self._platform, clock=clock, exclusive=exclusive, also=also)
        self._auth = RenewedToken("Bearer", supplied(self.tokens.access), is_expired)

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self._api.close()
        self._platform.close()

    # --- authorising --------------------------------------------------------------------------------------

    @typed
    def take_code(self, code: str) -> Finding:
        """Exchange the code that came with the redirect, and keep the tokens if they are this school's."""
        tokens = self.tokens.from_code(code)
        # Proven before anything is kept: a code of another school would fill this school's tables.
        found = as_object(self._json(_SCHOOL, token=tokens["access_token"]))
        self.tokens.keep(tokens, str(found.get("urn") or ""))
        return self._finding()

    def forget(self) -> None:
        """Take the app's authorisation back, at Assembly and here.

        Raises what Assembly said, and keeps the tokens then: without them it could not be asked again. Tokens that
        Assembly does not take any more, or that cannot be read, are only forgotten here.
        """
        try:
            self._api.ask("POST", _DEAUTHORISE, auth=self._auth)
        except WrongToken:
            self._deauthorise_the_other_school()
        except (NotAuthorised, TokensUnreadable):
            pass  # it was taken back there before, or can be taken back there only
        self.tokens.forget()

    def _deauthorise_the_other_school(self) -> None:
        try:
            headers = {"Authorization": f"Bearer {self.tokens.whoever_they_are_of()}"}
            self._api.ask("POST", _DEAUTHORISE, headers=headers)
        except NotAuthorised:
            pass

    # --- what tells of no person --------------------------------------------------------------------------

    def _json(self, path: str, token: str | None = None) -> JsonValue:
        """An answer, by the school's token or by another one."""
        if token is None:
            return self._api.json(self._api.ask("GET", path, auth=self._auth), path)
        return self._api.json(self._api.ask("GET", path, headers={"Authorization": f"Bearer {token}"}), path)

    def _school_status(self) -> Json:
        """When Assembly last got the school's data, and how that ended. Asked for once."""
        if self._status is None:
            self._status = as_object(self._json(_STATUS))
        return self._status

    @typed
    def freshness(self) -> str | None:
        found = self._school_status().get("last_changes_at")
        return found if isinstance(found, str) else None

    @typed
    def sync(self) -> None:
        """Ask Assembly to fetch the school's data from its MIS now. Raises SyncPending, or AccessRefused."""
        self._api.ask("POST", SYNC, auth=self._auth, again=False)

    @typed
    def grant(self, connection: Connection | None) -> Grant:  # noqa: ARG002  # Assembly itself knows
        self._status = None
        scopes = self._scopes()
        if needed := lacking(SCOPES, scopes):
            what = f"The school has not authorised {', '.join(needed)}, which the app needs"
            raise self.tokens.not_authorised(what)
        # Else Assembly would answer with data of long ago as if it were today's.
        if (waiting := self._waiting()) is not None:
            what = f"Assembly has no connection to the school's data: {waiting.said}"
            raise self.tokens.not_authorised(what)
        remedy = (
            f"Run `isams-pipeline connector sync {self._school}` to make Assembly fetch the data now. If that does "
            "not help, ask help@assembly.education."
        )
        if self._has_failed():
            what = "Assembly's last fetch of the school's data failed"
            raise StaleSource(what, remedy=remedy).at(**self._api.where)
        last = self._school_status().get("last_sync_at")
        self._api.check_age(last, self._clock(), hours=self._settings.stale_after_hours, remedy=remedy)
        return Grant(self._school, ASSEMBLY, scopes, subject=f"urn {self._settings.urn}")

    def _scopes(self) -> frozenset[str]:
        """The scopes that the token has now; one that was taken back may still stand in the token's answer."""
        told = scopes_in(as_object(as_object(self._json(_ME)).get("token")).get("scopes"))
        if told is not None:
            self.tokens.remember_scopes(told)
        return held(told if told is not None else (self.tokens.kept() or {}).get("scopes"))

    def _has_failed(self) -> bool:
        return self._school_status().get("last_sync_status") == "failure"

    def _waiting(self) -> Finding | None:
        """What the connection of Assembly itself to the school's data waits for, where it has not got any of late."""
        if not self._has_failed() and self._school_status().get("last_sync_at"):
            return None
        found = self._registered()
        return None if found.state is State.CONNECTED else found

    @typed
    def look(self, connection: Connection | None) -> Finding:  # noqa: ARG002
        self._status = None
        try:
            return self._finding()
        except NotAuthorised:
            return self._registered()
        except (WrongToken, TokensUnreadable) as error:
            found = self._registered()
            return Finding(found.state, found.reason, said=f"{found.said}. {error.what}")

    def _finding(self) -> Finding:
        scopes = self._scopes()
        if (waiting := self._waiting()) is not None:
            return Finding(waiting.state, waiting.reason, scopes, waiting.said)
        if needed := lacking(SCOPES, scopes):
            return Finding(State.CONNECTED, scopes=scopes, said=f"the school has not authorised {', '.join(needed)}")
        how = "Assembly's last fetch failed; it has data" if self._has_failed() else "Assembly has data"
        return Finding(State.AUTHORISED, scopes=scopes, said=f"{how} of {self._school_status().get('last_sync_at')}")

    def _registered(self) -> Finding:
        """How far the school is without the app's authorisation, by the list of registered schools.

        That the list has a school's URN is inferred from the object of a school; that it tells of the connector, and in
        which words, is invented (`connector`): no document shows this list. This is the only place that knows it.
        """
        found = self._json(_REGISTERED, token=self.tokens.of_app())
        row = next((r for r in objects_in(found) if str(r.get("urn")) == self._settings.urn), None)
        if row is None:
            return Finding(State.AWAITING_INVITATION, said="no school with this URN has signed up")
        word = row.get("connector")
        if word == "awaiting_invitation":
            return Finding(State.AWAITING_INVITATION, said="the school has signed up")
        if word in {reason.value for reason in Reason}:
            return Finding(State.AWAITING_CONNECTION, Reason(word), said="by Assembly's list of schools")
        return Finding(State.CONNECTED, said="Assembly has the school's data")

    # --- lists --------------------------------------------------------------------------------------------

    @typed
    def clock_of(self, request: ListRequest) -> str | None:  # noqa: ARG002  # the school's speaks for all lists
        return self.freshness()

    @typed
    def read(self, request: ListRequest, since: Mapping[str, str] | None) -> Reading | None:
        if request.wanted.is_told_one_by_one:
            return Reading(self._one_by_one(request), only_changes=False)
        asked = conditions(since)
        first = self._page(request, 1, asked)
        if first.status_code == 304:  # noqa: PLR2004
            if not asked:
                what = "The answer is 304 where nothing was said of an earlier one"
                raise self._api.not_data(what, request.wanted.path)
            return None
        token = {
            name: first.headers[header]
            for name, header in (("etag", "etag"), ("last_modified", "last-modified"))
            if header in first.headers
        }
        expected = whole_number(first.headers.get("total"))
        return Reading(self._pages(request, first, asked), only_changes=bool(asked), token=token, expected=expected)

    @typed
    def count(self, request: ListRequest) -> int | None:
        if request.wanted.is_told_one_by_one:
            return None
        return self._rows(self._page(request, 1, {}, per_page=1), request.wanted.path).total

    # --- photos -------------------------------------------------------------------------------------------

    @typed
    def photos(self, grant: Grant) -> Mapping[str, tuple[str, Any]]:
        """Student → the hash of the photo, and its address. Raises NotAuthorised without the scope students.photo."""
        request = grant.request(PHOTOS, self._clock().date())
        reading = self.read(request, None)
        found: dict[str, tuple[str, Any]] = {}
        for row in reading.rows if reading is not None else ():
            photo = as_object(row.get("photo"))
            if photo.get("hash") and photo.get("url"):
                found[str(int(row["id"]))] = (str(photo["hash"]), str(photo["url"]))
        return found

    @typed
    def photo(self, where: JsonValue) -> bytes | None:
        """A photo's bytes, from its signed address."""
        return self._api.picture(str(where))

    def _page(
        self, request: ListRequest, number: int, asked: Mapping[str, str], per_page: int | None = None
    ) -> httpx.Response:
        params = {**request.params, "page": str(number), "per_page": str(per_page or PER_PAGE)}
        try:
            return self._api.ask("GET", request.wanted.path, params=params, headers=asked, auth=self._auth)
        except IsamsError as error:
            raise error.at(list=request.wanted.name) from None

    def _rows(self, response: httpx.Response, path: str) -> Page:
        page = Page.of(self._api.json(response, path), response)
        if page is None:
            raise self._api.not_data("The answer is no list of objects", path)
        if any(row.get("id") is None for row in page.rows):
            raise self._api.not_data("A row has no id", path)
        return page

    def _pages(self, request: ListRequest, first: httpx.Response, asked: Mapping[str, str]) -> Iterator[Json]:
        """The rows of all pages, each row once. Rows that move between pages make it fail, to be asked anew."""
        wanted = request.wanted
        page = self._rows(first, wanted.path)
        del first
        pages, total = page.pages, page.total
        if pages is None or total is None:
            raise self._api.not_data("The first page does not say how many rows and pages there are", wanted.path)
        if pages > min(MAX_PAGES, max(total, 1)):
            raise self._api.not_data("The first page says that there are more pages than rows", wanted.path)
        seen, taken = Seen(), 0
        for number in range(1, max(pages, 1) + 1):
            if number > 1:
                response = self._page(request, number, asked)
                if response.status_code == 304:  # noqa: PLR2004  # what had changed has been fetched meanwhile
                    raise self._api.moved(wanted.name)
                page = self._rows(response, wanted.path)
                del response
            known = seen.take([(hash(wanted.key_of(row)), 0) for row in page.rows])
            if (page.pages, page.total) != (pages, total) or any(one is not None for one in known):
                raise self._api.moved(wanted.name)
            taken += len(page.rows)
            for row in page.rows:
                yield from wanted.rows_of(row)
            page.rows.clear()  # so that one page is in memory, not two
        if taken != total:
            raise self._api.moved(wanted.name)

    def _one_by_one(self, request: ListRequest) -> Iterator[Json]:
        """The rows of what the list names, each asked for by its id."""
        path = request.wanted.path
        params = {"page": "1", "per_page": str(PER_PAGE)}
        for row in self._rows(self._api.ask("GET", path, params=params, auth=self._auth), path).rows:
            one = f"{path}/{int(row['id'])}"
            found = self._api.json(self._api.ask("GET", one, params=request.params, auth=self._auth), one)
            yield from request.wanted.rows_of(as_object(found))
