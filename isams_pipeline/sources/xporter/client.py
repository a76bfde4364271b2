"""The Xporter on Demand client: a school's lists, whole or by changed rows. Knows no Dagster."""

from __future__ import annotations

import base64
import hashlib
import time
from collections.abc import Callable, Collection, Iterator, Mapping
from dataclasses import dataclass, field
from datetime import timedelta
from typing import Any, Self

import httpx

from isams_pipeline.clock import Clock
from isams_pipeline.datasets.shapes import Json, JsonValue
from isams_pipeline.errors import (
    ChangesForgotten,
    ConfigurationError,
    IsamsError,
    NotAuthorised,
    PipelineError,
    RequestRefused,
    TokensUnreadable,
    WrongToken,
)
from isams_pipeline.sources.shared import XPORTER
from isams_pipeline.sources.shared.client import Reading
from isams_pipeline.sources.shared.connections import Connection, Finding, Reason, State
from isams_pipeline.sources.shared.grants import Grant, ListRequest, People, SourceList, lacking
from isams_pipeline.sources.shared.http import Patience
from isams_pipeline.sources.shared.renewed import RenewedToken, supplied
from isams_pipeline.sources.shared.transport import SMALL
from isams_pipeline.sources.shared.values import as_list, as_object, objects_in
from isams_pipeline.sources.shared.wire import MAX_PAGES, Seen, Wire, moment_of, typed
from isams_pipeline.sources.xporter.answers import (
    GET_TOKEN,
    OK,
    REGISTER,
    WAITING,
    FoundSchool,
    arrays_in,
    changed_rows,
    clock_of,
    error_for,
    kept,
    pagination,
    people,
    reason_of,
    rows_beside_meta,
    status_word,
    with_plain_ids,
)
from isams_pipeline.sources.xporter.lists import ALSO_CALLED, ARRAY, ON_DEMAND, PAGE_SIZE, PHOTOS, SCOPES
from isams_pipeline.sources.xporter.settings import XporterSettings
from isams_pipeline.storage.state.tokens import TokenVault

THIRD_PARTY = "XporterOnDemand"
_EARLY = timedelta(minutes=5)
_DETAILS, _SCOPES, _GDPR, _QUERY = (
    "/api/v1/TokenDetails",
    "/api/v1/Scopes",
    "/api/v1/GDPRIDs",
    "/api/v1/RunQuery/",
)


@dataclass(frozen=True)
class XporterSecrets:
    """The school's secret, and the application's."""

    school: str = field(repr=False)
    management: str | None = field(default=None, repr=False)


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
        also: Collection[str] = (),
    ) -> None:
        """`also` are scopes that a school is asked for besides the usual ones."""
        self._also = also
        self._settings, self._secrets, self._vault = settings, secrets, vault
        self._school, self._clock = school, clock
        self._status: Json | None = None
        self._api = Wire(
            settings.url,
            server="Xporter on Demand",
            setting="xporter.url",
            patience=patience or Patience(),
            sleep=sleep,
            error_for=error_for,
            where={"school": school, "source": XPORTER},
        )
        self._auth = RenewedToken("Idaas", supplied(self._token))

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self._api.close()

    # --- tokens -------------------------------------------------------------------------------------------

    def _token(self, unwanted: str | None) -> str:
        """The school's token: the kept one while it lasts, else a new one."""
        try:
            held = self._vault.load() or {}
        except TokensUnreadable:
            held = Json()  # the school has a new secret; a token is had for it at once
        until = moment_of(held.get("until"))
        if (
            held.get("estab") == self._settings.estab
            and held.get("token") not in {None, unwanted}
            and until is not None
            and self._clock() < until - _EARLY
        ):
            return str(held["token"])
        answer = self._get_token(self._secrets.school, self._settings.estab)
        self._vault.save({"token": answer["token"], "until": answer.get("expires"), "estab": self._settings.estab})
        return str(answer["token"])

    def _get_token(self, secret: str, estab: str | None) -> Json:
        body = {"relyingParty": self._settings.relying_party, "password": secret, "thirdpartyid": THIRD_PARTY}
        found = self._json("POST", GET_TOKEN, body=body | ({"estab": estab} if estab else {}), most=SMALL)
        if not isinstance(found.get("token"), str):
            raise self._api.not_data("The answer holds no token", GET_TOKEN)
        return found

    def _as_application(self) -> dict[str, str]:
        """The header of calls that are made by the application's own secret."""
        if self._secrets.management is None:
            raise ConfigurationError(
                "Only the application's secret can find and invite schools",
                school=self._school,
                remedy="Name its environment variable as xporter.management_secret in schools.yaml.",
            )
        return {"Authorization": f"Idaas {self._get_token(self._secrets.management, None)['token']}"}

    def forget(self) -> None:
        """Keep no token any more. Xporter has no call to take an authorisation back: the school does that itself."""
        self._vault.forget()

    # --- what tells of no person --------------------------------------------------------------------------

    def _json(self, method: str, path: str, auth: httpx.Auth | None = None, **asked: Any) -> Json:
        response = self._api.ask(method, path, auth=auth, **asked)
        return as_object(self._api.json(response, path))

    @typed
    def search(self, text: str, limit: int = 10) -> list[FoundSchool]:
        """Schools by their name or postcode."""
        is_postcode = any(c.isdigit() for c in text)
        params = {"id": "edubase.search", "postcode" if is_postcode else "q": text, "limit": str(limit)}
        found = self._json("GET", _QUERY, headers=self._as_application(), params=params)
        return [FoundSchool.of(row) for row in rows_beside_meta(found)]

    @typed
    def invite(self, name: str) -> None:
        """Send the school an invitation to authorise the data flow.

        Raises ConfigurationError where the settings lack what a client in use has to give, and RequestRefused with
        Xporter's own reason.
        """
        settings = self._settings
        given = {
            "SchoolContactFirstName": ("invite_first_name", settings.invite_first_name),
            "SchoolContactLastName": ("invite_last_name", settings.invite_last_name),
            "SchoolContactEmail": ("invite_to", settings.invite_to),
            "SchoolContactPhone": ("invite_phone", settings.invite_phone),
            "PartnerName": ("partner_name", settings.partner_name),
            "PartnerRegisteredEmail": ("partner_email", settings.partner_email),
        }
        missing = [f"xporter.{setting}" for setting, value in given.values() if not value]
        if missing:
            raise ConfigurationError(
                f"An invitation needs {', '.join(missing)}",
                school=self._school,
                remedy="Write them into schools.yaml: Groupcall asks who is invited, and by whom.",
            )
        one = {
            "LeaCode": settings.estab[:3],
            "DfesCode": settings.estab[3:],
            "SchoolName": name,
            **{field: value for field, (_, value) in given.items()},
            "PartnerApplicationId": settings.relying_party,
            "ScopesToAuthorise": ",".join(n for n in SCOPES if n not in ON_DEMAND or n in self._also),
            "WeAcceptGroupcallUsagePolicy": True,
        }
        body = {"RegistrationType": "Live", "Schools": [one]}
        found = self._json("POST", REGISTER, headers=self._as_application(), body=body)
        rows = objects_in(found.get("Schools"))
        if not rows or str(rows[0].get("Status")).upper() != OK:
            said = reason_of(rows[0] if rows else found) or reason_of(found)
            raise RequestRefused(
                f"Xporter did not take the invitation{f': {said}' if said else ''}",
                school=self._school,
                remedy="Check xporter.estab and who is invited; ask Groupcall's support.",
            )

    @typed
    def details(self) -> frozenset[str]:
        """The scopes of the school's token. Raises WrongToken where it is another school's."""
        found = self._json("GET", _DETAILS, self._auth)
        if str(found.get("Estab") or "") != self._settings.estab:
            self._vault.forget()
            what, remedy = "The token is that of another school", "Check xporter.estab and the secret."
            raise WrongToken(what, remedy=remedy).at(**self._api.where)
        return frozenset(str(name) for name in as_list(found.get("Scopes"))) & SCOPES.keys()

    @typed
    def scopes_in_words(self) -> dict[str, str]:
        """Each scope that there is, and what it lets be read, as Xporter describes it."""
        found = self._json("GET", _SCOPES, self._auth)
        return {str(row.get("Name")): str(row.get("Description") or "") for row in objects_in(found.get("Scopes"))}

    def _people(self) -> People:
        found = people(self._json("GET", _GDPR, self._auth), self._settings.estab)
        if found is None:
            # Whatever else it means: nobody may be read of on the chance that nobody has opted out.
            raise self._api.not_data("The answer does not say who has opted out", _GDPR)
        return found

    def _db_status(self) -> Json:
        """How fresh Xporter's copy is. Asked for once."""
        if self._status is None:
            # Of the endpoints that are read here, only the students' (and attendance's) take this parameter.
            path = self._path("Students/")
            # Should a server not heed it, no more than one number comes, and that is not looked at.
            asked = {"onlygetDBStatus": "true", "select": "Id", "page": "1", "pageSize": "1"}
            found = self._json("GET", path, self._auth, params=asked)
            self._status = {name: value for name, value in found.items() if name != "Students"}
        return self._status

    @typed
    def freshness(self) -> str | None:
        return clock_of(self._db_status())

    @typed
    def clock_of(self, request: ListRequest) -> str | None:
        asked = {**request.params, "page": "1", "pageSize": "1"}
        found = clock_of(self._ask(request, asked))
        self._check_age(found, request)
        return found

    def _check_age(self, clock: str | None, request: ListRequest) -> None:
        """Raise StaleSource where a list's own clock says that it is older than the school allows."""
        if clock is not None:
            remedy = "Look in the Groupcall School Portal whether this list's job runs; ask support@groupcall.com."
            hours = self._settings.stale_after_hours
            self._api.check_age(clock, self._clock(), hours=hours, remedy=remedy, list=request.wanted.name)

    @typed
    def grant(self, connection: Connection | None) -> Grant:
        chosen = connection.chosen if connection else None
        status = f"`isams-pipeline connector status {self._school}` says"
        if chosen is None:
            remedy = (
                f"Run `isams-pipeline connector authorise {self._school} --source xporter` once the school is "
                "connected."
            )
            raise self._not_authorised("No app is authorised for this school", remedy)
        self._status = None
        offered = self.details()
        scopes = offered & chosen
        if needed := lacking(SCOPES, scopes):
            what = f"The school has not authorised {', '.join(needed)}, which the app needs"
            raise self._not_authorised(what, f"{status} how far it is.")
        word = status_word(self._db_status())
        if word != OK:
            what = "Xporter has no data of the school yet"
            raise self._not_authorised(what, f"{status} what is to be done.", status=word if word in WAITING else None)
        return Grant(self._school, XPORTER, scopes, f"estab {self._settings.estab}", self._people(), offered - scopes)

    def _not_authorised(self, what: str, remedy: str, **where: JsonValue) -> PipelineError:
        return NotAuthorised(what, remedy=remedy, **where).at(**self._api.where)

    @typed
    def look(self, connection: Connection | None) -> Finding:
        self._status = None
        try:
            scopes = self.details()
            if needed := lacking(SCOPES, scopes):
                # Its database's status is told by a list that needs one of them.
                return Finding(State.CONNECTED, said=f"the school has not authorised {', '.join(needed)}")
            word = status_word(self._db_status())
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
        if word != OK:
            reason = WAITING.get(word, Reason.ONBOARDING)
            return Finding(State.AWAITING_CONNECTION, reason, said="Xporter has no data of the school yet")
        chosen = connection.chosen if connection else None
        said = f"Xporter's data is of {self.freshness() or 'unknown age'}"
        if chosen is None:
            return Finding(State.CONNECTED, said=said)
        if needed := lacking(SCOPES, scopes & chosen):
            return Finding(State.CONNECTED, said=f"the school has not authorised {', '.join(needed)}")
        if unused := sorted(scopes - chosen):
            said = (
                f"{said}; authorised by the school but not used yet (`isams-pipeline connector authorise`): "
                f"{', '.join(unused)}"
            )
        return Finding(State.AUTHORISED, scopes=scopes & chosen, said=said)

    # --- lists --------------------------------------------------------------------------------------------

    def _path(self, endpoint: str) -> str:
        return f"/api/v1/School/{self._settings.estab}/{endpoint}"

    @typed
    def read(self, request: ListRequest, since: Mapping[str, str] | None) -> Reading | None:
        params = dict(request.params)
        known = since.get("changed_rows") if since else None
        if request.wanted.tells_changes:
            params["changedRows"] = known or "*"
        try:
            first = self._page(request, params, 1)
            self._first_array(first, request.wanted)
        except RequestRefused as error:
            if known is None:
                raise
            # What a server says that has forgotten a token is unknown: whatever it refuses, all is read anew.
            raise ChangesForgotten(error.what, remedy=error.remedy, **error.where) from None
        clock = clock_of(first)
        self._check_age(clock, request)
        token = changed_rows(first) | ({"freshness": clock} if clock is not None else {})
        reading = Reading(iter(()), only_changes=known is not None, token=token)
        reading.rows = self._rows(request, params, first, reading)
        reading.expected = (pagination(first) or (1, None))[1]
        return reading

    @typed
    def count(self, request: ListRequest) -> int | None:  # noqa: ARG002  # what was deleted is told
        return None

    @typed
    def photos(self, grant: Grant) -> Mapping[str, tuple[str, Any]]:
        """Person → the row's hash, and the photo in base64. Raises NotAuthorised without the scope Photos.

        Raises NotRestData where a row has no Photo: no public page shows the shape, so that it is inferred. A number
        that stands on two rows is that of two kinds of people: nobody gets either's photo.
        """
        reading = self.read(grant.request(PHOTOS, self._clock().date()), None)
        found: dict[str, tuple[str, Any]] = {}
        twice: set[str] = set()
        for row in reading.rows if reading is not None else ():
            photo = row.get("Photo")
            if not isinstance(photo, str):
                raise self._api.not_data("A row of Photos has no Photo as text", PHOTOS.path)
            if photo:
                version = row.get("RowHash") or hashlib.sha256(photo.encode()).hexdigest()
                number = str(row["Id"]).rpartition("-")[2]
                if number in found:
                    twice.add(number)
                found[number] = (str(version), photo)
        return {number: one for number, one in found.items() if number not in twice}

    @typed
    def photo(self, where: JsonValue) -> bytes | None:
        """A photo's bytes."""
        return base64.b64decode(str(where))

    def _page(self, request: ListRequest, params: Mapping[str, str], number: int) -> Json:
        asked = {**params, "page": str(number), "pageSize": str(self._page_size(request.wanted))}
        return self._ask(request, asked)

    @staticmethod
    def _page_size(wanted: SourceList) -> int:
        return min(PAGE_SIZE, wanted.page_size)

    def _ask(self, request: ListRequest, asked: Mapping[str, str]) -> Json:
        try:
            return self._json("GET", self._path(request.wanted.path), self._auth, params=asked)
        except IsamsError as error:
            raise error.at(list=request.wanted.name) from None

    def _rows(self, request: ListRequest, params: Mapping[str, str], page: Json, reading: Reading) -> Iterator[Json]:
        """The rows of all pages, each once, without those of people who are left out."""
        wanted = request.wanted
        size = self._page_size(wanted)
        said = self._pagination(page, wanted.path, size)
        pages, expected = said or (1, None)
        if pages > MAX_PAGES:
            raise self._api.not_data(f"The answer says that there are more than {MAX_PAGES} pages", wanted.path)
        clock = clock_of(page)
        first_array = self._first_array(page, wanted)
        seen = Seen()
        taken = 0
        for number in range(1, max(pages, 1) + 1):
            if number > 1:
                page = self._page(request, params, number)
                # Made anew in between, the list has other pages: who was on a later one may be on an earlier one now.
                if self._pagination(page, wanted.path, size) != said or clock_of(page) != clock:
                    raise self._api.moved(wanted.name)
            counted = len(as_list(page.get(first_array))) if first_array else 0
            for array in wanted.datasets:
                rows = self._array(page, array, wanted.path)
                keys = [wanted.key_of({ARRAY: array, **row}) for row in rows]
                known = seen.take(
                    [(hash(key), hash(row.get("RowHash") or repr(row))) for key, row in zip(keys, rows, strict=True)]
                )
                # What goes with several rows may come on several pages, as long as it is the same.
                if False in known or (array == first_array and True in known):
                    raise self._api.moved(wanted.name)
                for key, row, is_known in zip(keys, rows, known, strict=True):
                    if is_known:
                        continue
                    found = kept(array, row, request.grant.people)
                    if found is not None:
                        yield found
                    else:
                        reading.gone.append(key)
                for name in (array, *ALSO_CALLED.get(array, ())):
                    deleted = with_plain_ids(array, objects_in(page.get(f"{name}_deleted")))
                    reading.gone += [wanted.key_of({ARRAY: array, **row}) for row in deleted]
                counted = max(counted, len(rows)) if array == first_array else counted
                rows.clear()
            taken += counted
            page.clear()  # so that one page is in memory, not two
        if expected is not None and taken != expected:
            raise self._api.moved(wanted.name)

    def _first_array(self, page: Json, wanted: SourceList) -> str | None:
        """The array whose rows are counted; None where the answer says that it has no rows.

        Raises NotRestData where it has arrays but none that is known, and RequestRefused where it says nothing of rows
        at all: a message under 200 is no empty list.
        """
        there = arrays_in(page)
        names = {other for array in wanted.datasets for other in (array, *ALSO_CALLED.get(array, ()))}
        rows = (pagination(page) or (1, None))[1]
        if names.isdisjoint(there) and (there or rows):
            what = f"The answer has none of the arrays {', '.join(wanted.datasets)}"
            raise self._api.not_data(what, wanted.path)
        is_told = pagination(page) or changed_rows(page) or any(name.endswith("_deleted") for name in page)
        if not there and not is_told:
            raise RequestRefused(
                "Xporter's answer has neither rows nor a word on how many there are",
                list=wanted.name,
                remedy="Nothing of the answer was stored. Look in the Groupcall School Portal whether the school's "
                "data flow runs; ask support@groupcall.com with the time of this run.",
            ).at(**self._api.where)
        found = there[0] if there else None
        # By the name that the array is read by.
        return next((array for array in wanted.datasets if found in ALSO_CALLED.get(array, ())), found)

    def _array(self, page: Json, array: str, path: str) -> list[Json]:
        """The rows of one array of an answer; it may be left out where it is empty."""
        also = next((name for name in ALSO_CALLED.get(array, ()) if name in page), None)
        if also is not None and array not in page:
            page[array] = page.pop(also)
        listed: Any = page.get(array, [])
        rows = objects_in(listed)
        if not isinstance(listed, list) or len(rows) != len(as_list(listed)):
            raise self._api.not_data(f"{array} is no list of objects", path)
        if any(not isinstance(row.get("Id"), str | int) or row["Id"] == "" for row in rows):
            raise self._api.not_data(f"A row of {array} has no Id", path)
        return with_plain_ids(array, rows)

    def _pagination(self, page: Json, path: str, size: int) -> tuple[int, int] | None:
        """How many pages and rows there are; None where the answer is the only page."""
        found = pagination(page)
        # A page that is just full, without a word on how many there are, may be the first of several.
        is_full = len(as_list(page.get(next(iter(arrays_in(page)), "")))) == size
        if found is None and (page.get("__pagination__") or is_full):
            raise self._api.not_data("The answer does not say how many rows and pages there are", path)
        return found
