"""The Xporter on Demand client: a school's lists, whole or by changed rows. Knows no Dagster."""

from __future__ import annotations

import re
import threading
import time
from collections.abc import Callable, Generator, Iterator, Mapping
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from typing import Any, Self

import httpx

from isams_pipeline.clock import Clock
from isams_pipeline.config import XporterSettings
from isams_pipeline.errors import (
    AccessRefused,
    ChangesForgotten,
    ConfigurationError,
    InvalidKey,
    IsamsError,
    NotAuthorised,
    NotFound,
    PipelineError,
    RequestRefused,
    RowsMoved,
    ServerTimeout,
    StaleRoad,
    Throttled,
    TokensUnreadable,
    Unavailable,
    WrongToken,
)
from isams_pipeline.isams import messages
from isams_pipeline.isams.http import Patience
from isams_pipeline.roads import XPORTER
from isams_pipeline.roads.client import Reading, Seen, Wire
from isams_pipeline.roads.connections import Connection, Finding, Reason, State
from isams_pipeline.roads.grants import Grant, Json, ListRequest, People
from isams_pipeline.roads.values import as_list, as_object, first_object, objects_in
from isams_pipeline.storage.state.tokens import TokenVault
from isams_pipeline.xporter.lists import ARRAY, BLANKED, NEVER_KEPT, PEOPLE, SCOPES

PAGE_SIZE = 1000
"""As the vendor suggests."""
THIRD_PARTY = "XporterOnDemand"
_EARLY = timedelta(minutes=5)
_GET_TOKEN, _DETAILS, _SCOPES, _GDPR, _QUERY, _REGISTER = (
    "/api/oauth/GetToken",
    "/api/v1/TokenDetails",
    "/api/v1/Scopes",
    "/api/v1/GDPRIDs",
    "/api/v1/RunQuery/",
    "/api/Manage/SchoolRegister",
)
_PAUSED, _UNKNOWN = "paused", "relying party not found"
"""How a refused authorisation is told, in lower case: as recorded."""


@dataclass(frozen=True)
class XporterSecrets:
    """The school's secret, and the application's."""

    school: str = field(repr=False)
    management: str | None = field(default=None, repr=False)


@dataclass(frozen=True)
class FoundSchool:
    """A school as the register of schools has it."""

    name: str
    la_code: str
    estab_code: str
    urn: str
    postcode: str
    town: str


class XporterClient:
    """One school at Xporter on Demand."""

    def __init__(
        self,
        settings: XporterSettings,
        secrets: XporterSecrets,
        vault: TokenVault,
        *,
        school: str,
        clock: Clock,
        patience: Patience | None = None,
        sleep: Callable[[float], None] = time.sleep,
    ) -> None:
        self._settings, self._secrets, self._vault = settings, secrets, vault
        self._school, self._clock = school, clock
        self._status: Json | None = None
        self._api = Wire(
            settings.url,
            server="Xporter on Demand",
            setting="xporter.url",
            patience=patience or Patience(),
            sleep=sleep,
            headers={},
            error_for=error_for,
            school=school,
            source=XPORTER,
        )
        self._auth = _IdaasToken(self._token)

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self._api.close()

    # --- tokens -------------------------------------------------------------------------------------------

    def _token(self, unwanted: str | None) -> str:
        """The school's token: the kept one while it lasts, else a new one."""
        try:
            kept = self._vault.load() or {}
        except TokensUnreadable:
            kept = Json()  # the school has a new secret; a token is had for it at once
        until = kept.get("until")
        if (
            kept.get("estab") == self._settings.estab
            and kept.get("token") not in {None, unwanted}
            and isinstance(until, str)
            and self._clock() < datetime.fromisoformat(until) - _EARLY
        ):
            return str(kept["token"])
        answer = self._get_token(self._secrets.school, self._settings.estab)
        self._vault.save(
            {"token": answer["token"], "until": _moment(answer.get("expires")), "estab": self._settings.estab}
        )
        return str(answer["token"])

    def _get_token(self, secret: str, estab: str | None) -> Json:
        body = {"relyingParty": self._settings.relying_party, "password": secret, "thirdpartyid": THIRD_PARTY}
        found = self._json("POST", _GET_TOKEN, body=body | ({"estab": estab} if estab else {}))
        if not isinstance(found.get("token"), str):
            raise self._api.not_data("The answer holds no token", _GET_TOKEN)
        return found

    def _application(self) -> _Fixed:
        if self._secrets.management is None:
            raise ConfigurationError(
                "Only the application's secret can find and invite schools",
                school=self._school,
                remedy="Name its environment variable as xporter.management_secret in schools.yaml.",
            )
        return _Fixed(str(self._get_token(self._secrets.management, None)["token"]))

    def forget(self) -> None:
        """Keep no token any more. Xporter has no call to take an authorisation back: the school does that itself."""
        self._vault.forget()

    # --- what tells of no person --------------------------------------------------------------------------

    def _json(self, method: str, path: str, auth: httpx.Auth | None = None, **asked: Any) -> Json:
        response = self._api.ask(method, path, auth=auth, **asked)
        return as_object(self._api.json(response, path))

    def search(self, text: str, limit: int = 10) -> list[FoundSchool]:
        """Schools by their name or postcode. The fields of an answer are inferred: names without case count."""
        is_postcode = any(c.isdigit() for c in text)
        params = {"id": "edubase.search", "postcode" if is_postcode else "q": text, "limit": str(limit)}
        found = self._json("GET", _QUERY, self._application(), params=params)
        rows = (row for name, value in found.items() if name != "meta" for row in objects_in(value))
        return [_found_school(row) for row in rows]

    def invite(self, name: str) -> None:
        """Send the school an invitation to authorise the data flow."""
        estab = self._settings.estab
        one = {
            "LeaCode": estab[:3],
            "DfesCode": estab[3:],
            "SchoolName": name,
            "SchoolContactEmail": self._settings.invite_to,
            "PartnerApplicationId": self._settings.relying_party,
            "ScopesToAuthorise": ",".join(SCOPES),
            "WeAcceptGroupcallUsagePolicy": True,
        }
        body = {"RegistrationType": "Live", "Schools": [one]}
        found = self._json("POST", _REGISTER, self._application(), body=body)
        rows = objects_in(found.get("Schools"))
        if not rows or str(rows[0].get("Status")).upper() != "OK":
            raise RequestRefused(
                "Xporter did not take the invitation",
                school=self._school,
                remedy="Check xporter.estab and xporter.invite_to; ask Groupcall's support.",
            )

    def details(self) -> frozenset[str]:
        """The scopes of the school's token. Raises WrongToken where it is another school's."""
        found = self._json("GET", _DETAILS, self._auth)
        if str(found.get("Estab") or "") != self._settings.estab:
            self._vault.forget()
            raise WrongToken(
                "The token is that of another school",
                school=self._school,
                source=XPORTER,
                remedy="Check xporter.estab and the secret: nothing was read.",
            )
        return frozenset(str(name) for name in as_list(found.get("Scopes"))) & SCOPES.keys()

    def scopes_in_words(self) -> dict[str, str]:
        """Each scope that there is, and what it lets be read, as Xporter describes it."""
        found = self._json("GET", _SCOPES, self._auth)
        return {str(row.get("Name")): str(row.get("Description") or "") for row in objects_in(found.get("Scopes"))}

    def _people(self) -> People:
        """Who has opted out, or alone opted in.

        With IsOptIn, the ids are read as those of the only people who may be extracted, else as those who may not
        (inferred).
        """
        found = self._json("GET", _GDPR, self._auth)
        mine = [row for row in objects_in(found.get("GDPR")) if _digits(row.get("Estab")) == self._settings.estab]
        kinds = (("Student", "StudentIds"), ("Staff", "StaffIds"), ("Contact", "ContactIds"))
        is_sound = len(mine) == 1 and all(isinstance(mine[0].get(name), list) for _, name in kinds)
        if not is_sound or mine[0].get("IsOptIn") not in {True, False}:
            # Whatever else it means: nobody may be read of on the chance that nobody has opted out.
            raise self._api.not_data("The answer does not say who has opted out", _GDPR)
        ids = frozenset((kind, str(one)) for kind, name in kinds for one in as_list(mine[0][name]))
        return People(ids, only_these=bool(mine[0]["IsOptIn"]))

    def _db_status(self) -> Json:
        """How fresh Xporter's copy is. The status object's key is unknown: the first row that has a Status counts."""
        if self._status is None:
            path = self._path("SchoolInfo/")
            self._status = self._json("GET", path, self._auth, params={"onlygetDBStatus": "true"})
        return self._status

    def freshness(self) -> str | None:
        found = first_object(self._db_status().get("meta")).get("DateTime")
        return found if isinstance(found, str) else None

    def grant(self, connection: Connection | None) -> Grant:
        chosen = connection.chosen if connection else None
        if chosen is None:
            raise NotAuthorised(
                "No app is authorised for this school",
                school=self._school,
                source=XPORTER,
                remedy=f"`isams-pipeline connector authorise {self._school} --road xporter` does that, once "
                "the school is connected.",
            )
        self._status = None
        scopes = self.details() & chosen
        needed = sorted(name for name, must in SCOPES.items() if must and name not in scopes)
        if needed:
            raise NotAuthorised(
                f"The school has not authorised {', '.join(needed)}, which the app needs",
                school=self._school,
                source=XPORTER,
                remedy=f"`isams-pipeline connector status {self._school}` says how far it is.",
            )
        word = _status_word(self._db_status())
        if word != "OK":
            raise NotAuthorised(
                "Xporter has no data of the school yet",
                school=self._school,
                source=XPORTER,
                status=word if word in _WAITING else None,
                remedy=f"`isams-pipeline connector status {self._school}` says what is to be done.",
            )
        age = _age(self.freshness(), self._clock())
        if age is not None and age > timedelta(hours=self._settings.stale_after_hours):
            raise StaleRoad(
                f"Xporter's data is {age.total_seconds() / 3600:.0f} hours old",
                school=self._school,
                source=XPORTER,
                remedy="Look in the Groupcall School Portal whether the nightly jobs run; ask support@groupcall.com.",
            )
        return Grant(self._school, XPORTER, scopes, f"estab {self._settings.estab}", self._people())

    def look(self, connection: Connection | None) -> Finding:
        self._status = None
        try:
            scopes = self.details()
            word = _status_word(self._db_status())
        except WrongToken as error:
            return Finding(State.AWAITING_INVITATION, said=error.what)
        except NotAuthorised as error:
            if error.where.get("reason") == Reason.PAUSED:
                said = "the school has paused its authorisation to choose whom to include"
                return Finding(State.AWAITING_CONNECTION, Reason.PAUSED, said=said)
            said = "Xporter does not know the school's authorisation, or the secret is not the right one"
            if connection is not None and connection.invited is not None:
                return Finding(State.AWAITING_CONNECTION, Reason.NOT_AUTHORISED, said=said)
            return Finding(State.AWAITING_INVITATION, said=said)
        if word != "OK":
            reason = _WAITING.get(word, Reason.ONBOARDING)
            return Finding(State.AWAITING_CONNECTION, reason, said="Xporter has no data of the school yet")
        chosen = connection.chosen if connection else None
        said = f"Xporter's data is of {self.freshness() or 'unknown age'}"
        if chosen is None:
            return Finding(State.CONNECTED, said=said)
        needed = sorted(name for name, must in SCOPES.items() if must and name not in scopes & chosen)
        if needed:
            return Finding(State.CONNECTED, said=f"the school has not authorised {', '.join(needed)}")
        return Finding(State.AUTHORISED, scopes=scopes & chosen, said=said)

    # --- lists --------------------------------------------------------------------------------------------

    def _path(self, endpoint: str) -> str:
        return f"/api/v1/School/{self._settings.estab}/{endpoint}"

    def read(self, request: ListRequest, since: Mapping[str, str] | None) -> Reading | None:
        wanted = request.wanted
        params = dict(request.params)
        known = since.get("changed_rows") if since else None
        if wanted.tells_changes:
            params["changedRows"] = known or "*"
        try:
            first = self._page(request, params, 1)
        except RequestRefused as error:
            if known is None:
                raise
            # What a server says that has forgotten a token is unknown: whatever it refuses, all is read anew.
            raise ChangesForgotten(error.what, remedy=error.remedy, **error.where) from None
        reading = Reading(iter(()), only_changes=known is not None)
        reading.token |= _changed_rows(first)
        reading.rows = self._rows(request, params, first, reading)
        reading.expected = self._pagination(first, request.wanted.path)[1]
        return reading

    def count(self, request: ListRequest) -> int | None:  # noqa: ARG002  # what was deleted is told
        return None

    def _page(self, request: ListRequest, params: Mapping[str, str], number: int) -> Json:
        asked = {**params, "page": str(number), "pageSize": str(min(PAGE_SIZE, request.wanted.page_size))}
        try:
            return self._json("GET", self._path(request.wanted.path), self._auth, params=asked)
        except IsamsError as error:
            raise error.at(list=request.wanted.name) from None

    def _rows(self, request: ListRequest, params: Mapping[str, str], page: Json, reading: Reading) -> Iterator[Json]:
        """The rows of all pages, each once, without those of people who are left out."""
        wanted = request.wanted
        pages, expected = self._pagination(page, wanted.path)
        seen = Seen()
        taken, number = 0, 1
        while True:
            for array in wanted.datasets:
                rows = self._array(page, array, wanted.path)
                known = seen.take(
                    [(hash((array, str(row["Id"]))), hash(row.get("RowHash") or repr(row))) for row in rows]
                )
                # What goes with several rows may come on several pages, as long as it is the same.
                if False in known or (array == wanted.datasets[0] and True in known):
                    raise self._moved(wanted.name)
                taken += len(rows) if array == wanted.datasets[0] else 0
                for row, is_known in zip(rows, known, strict=True):
                    if is_known:
                        continue
                    kept = _kept(array, row, request.grant.people)
                    if kept is not None:
                        yield kept
                    else:
                        reading.gone.append((array, str(row["Id"])))
                for row in objects_in(page.get(f"{array}_deleted")):
                    reading.gone.append((array, str(row.get("Id"))))
            number += 1
            if number > pages:
                break
            page = self._page(request, params, number)
            if self._pagination(page, wanted.path) != (pages, expected):
                raise self._moved(wanted.name)
        if taken != expected:
            raise self._moved(wanted.name)

    def _array(self, page: Json, array: str, path: str) -> list[Json]:
        """The rows of one array of an answer; it may be left out where it is empty."""
        listed: Any = page.get(array, [])
        rows = objects_in(listed)
        if not isinstance(listed, list) or len(rows) != len(as_list(listed)):
            raise self._api.not_data(f"{array} is no list of objects", path)
        if any(row.get("Id") in {None, ""} for row in rows):
            raise self._api.not_data(f"A row of {array} has no Id", path)
        return rows

    def _pagination(self, page: Json, path: str) -> tuple[int, int]:
        """How many pages, and how many rows, there are: NextPage is not to be trusted."""
        found = first_object(page.get("__pagination__"))
        pages, rows = _whole(found.get("PageCount")), _whole(found.get("RowCount"))
        if pages is None or rows is None:
            raise self._api.not_data("The answer does not say how many rows and pages there are", path)
        return pages, rows

    def _moved(self, name: str) -> PipelineError:
        return RowsMoved("Rows moved between pages, or a page came twice", remedy="It is asked again.").at(
            school=self._school, source=XPORTER, list=name
        )


def _kept(array: str, row: Json, people: People) -> Json | None:
    """A row as it may be kept; None where it speaks of somebody who is left out."""
    for kind, name in PEOPLE.get(array, ()):
        if not people.allows(kind, str(row.get(name))):
            return None
    kept = {ARRAY: array, **row}
    for name in NEVER_KEPT.get(array, ()):
        kept.pop(name, None)
    for kind, name in BLANKED.get(array, ()):
        if kept.get(name) is not None and not people.allows(kind, str(kept[name])):
            kept[name] = None
    return kept


def _whole(value: Any) -> int | None:
    """A whole number, which may come as a text."""
    return int(value) if isinstance(value, int | str) and str(value).isdigit() else None


def _digits(value: Any) -> str:
    return "".join(c for c in str(value) if c.isdigit())


def _changed_rows(page: Json) -> dict[str, str]:
    found = first_object(page.get("__changedRows__")).get("NextChangedRows")
    return {"changed_rows": found} if isinstance(found, str) and found else {}


_WAITING = {"NotInstalled": Reason.NOT_INSTALLED, "Onboarding": Reason.ONBOARDING, "Paused": Reason.PAUSED}
"""Status words besides OK: invented, as no document shows them. Any other is taken for onboarding."""


def _status_word(answer: Json) -> str:
    rows = (row for name, value in answer.items() if name != "meta" for row in objects_in(value))
    words = [str(row["Status"]) for row in rows if row.get("Status")]
    return next((word for word in words if word != "OK"), "OK" if words else "unknown")


def _found_school(row: Json) -> FoundSchool:
    folded = {name.casefold().replace("_", ""): value for name, value in row.items()}

    def of(*names: str) -> str:
        return next((str(folded[name]) for name in names if folded.get(name) not in {None, ""}), "")

    return FoundSchool(
        name=of("name", "schoolname", "establishmentname"),
        la_code=of("lacode", "leacode", "la"),
        estab_code=of("estabcode", "dfescode", "establishmentnumber"),
        urn=of("urn"),
        postcode=of("postcode"),
        town=of("town", "townorcity"),
    )


def _moment(value: Any) -> str | None:
    """When a token ends; of its seven digits after the second Python reads six."""
    try:
        found = datetime.fromisoformat(re.sub(r"(\.\d{6})\d+", r"\1", value))
    except (TypeError, ValueError):
        return None
    return (found if found.tzinfo else found.replace(tzinfo=UTC)).isoformat()


def _age(moment: str | None, now: datetime) -> timedelta | None:
    """How long ago a moment was; None where it is none. It comes without a zone, and is taken for UTC."""
    text = _moment(moment)
    return None if text is None else now - datetime.fromisoformat(text)


class _Fixed(httpx.Auth):
    def __init__(self, token: str) -> None:
        self._token = token

    def auth_flow(self, request: httpx.Request) -> Generator[httpx.Request, httpx.Response, None]:
        request.headers["Authorization"] = f"Idaas {self._token}"
        yield request


class _IdaasToken(httpx.Auth):
    """The school's token, and a new one where the server does not take it any more."""

    def __init__(self, token: Callable[[str | None], str]) -> None:
        self._token = token
        self._lock = threading.Lock()

    def auth_flow(self, request: httpx.Request) -> Generator[httpx.Request, httpx.Response, None]:
        with self._lock:
            used = self._token(None)
        request.headers["Authorization"] = f"Idaas {used}"
        response = yield request
        if response.status_code == 401:  # noqa: PLR2004
            with self._lock:
                used = self._token(used)
            request.headers["Authorization"] = f"Idaas {used}"
            yield request


def error_for(response: httpx.Response) -> PipelineError | None:
    """The typed error for an answer, or None where it is none: Xporter says what is wrong under 200, too."""
    if response.is_success:
        return _told(response)
    status = response.status_code
    where: dict[str, Any] = {"status": status}
    wait = messages.retry_after(response.headers)
    again = "It is asked again."
    match status:
        case 401:
            return NotAuthorised("Xporter does not accept the token", remedy="Check the school's secret.", **where)
        case 403:
            return NotAuthorised("The school has not authorised this", remedy="Authorise the scope.", **where)
        case 400 | 422:
            return RequestRefused("Xporter found the request invalid", remedy="Report this as a bug.", **where)
        case 404:
            return NotFound("Xporter has no such thing", remedy="Check xporter.url and xporter.estab.", **where)
        case 429:
            return Throttled("Xporter throttles this client", remedy=again, retry_after=wait, **where)
        case 500 | 502 | 503:
            return Unavailable("Xporter is not available", remedy=again, retry_after=wait, **where)
        case 408 | 504:
            return ServerTimeout("Xporter ran out of time", remedy=again, **where)
        case int() if 300 <= status < 400:  # noqa: PLR2004
            return AccessRefused("The address sends elsewhere", remedy="Write the final one as xporter.url.", **where)
        case _:
            return IsamsError("Xporter failed", remedy="Ask Groupcall's support with the time of this run.", **where)


def _told(response: httpx.Response) -> PipelineError | None:
    # A cheap look first: the words stand in the first bytes or not at all, but for an answer of few bytes.
    if b"ExceptionMessage" not in response.content:
        return None
    try:
        said = as_object(response.json()).get("ExceptionMessage")
    except ValueError:
        return None
    if not isinstance(said, str) or not said:
        return None
    folded = said.casefold()
    if _PAUSED in folded:
        remedy = "The school ends the pause in the Groupcall School Portal."
        return NotAuthorised("The school has paused its authorisation", remedy=remedy, reason=Reason.PAUSED)
    if _UNKNOWN in folded:
        remedy = "Check xporter.estab, xporter.relying_party and the secret; the school may have to authorise first."
        return NotAuthorised("Xporter does not know this authorisation", remedy=remedy)
    if response.request.url.path.endswith(_GET_TOKEN):
        return InvalidKey("Xporter gave no token", remedy="Check the secrets of xporter.")
    return RequestRefused("Xporter refused, with a message of its own", remedy="Try again; then report this as a bug.")
