"""Assembly's answers: pages in two forms, scopes, and errors by their status and word."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

import httpx

from isams_pipeline.datasets.shapes import Json, JsonValue
from isams_pipeline.errors import (
    AccessRefused,
    InvalidKey,
    NotAuthorised,
    PipelineError,
    RequestRefused,
    SyncPending,
    Unavailable,
)
from isams_pipeline.sources.assembly.lists import SCOPES
from isams_pipeline.sources.shared.json_answer import read_json
from isams_pipeline.sources.shared.statuses import REPORT, RETRIED, Statuses
from isams_pipeline.sources.shared.values import as_list, as_object, objects_in, whole_number

SYNC = "/school/sync"


@dataclass(frozen=True)
class Page:
    """A page's rows, and what the answer says of the whole: in its headers, or around the rows as version 1 does."""

    rows: list[Json]
    total: int | None
    pages: int | None

    @classmethod
    def of(cls, found: JsonValue, response: httpx.Response) -> Page | None:
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
        return cls(rows, whole_number(total), whole_number(pages))


def conditions(since: Mapping[str, str] | None) -> dict[str, str]:
    """The headers that ask for changes only: by the tag if there is one, else by the time."""
    if since and since.get("etag"):
        return {"If-None-Match": since["etag"]}
    if since and since.get("last_modified"):
        return {"If-Modified-Since": since["last_modified"]}
    return {}


def scopes_in(value: JsonValue) -> list[str] | None:
    """Scopes as a sorted list of words, `name:optional` as `name`; None where nothing is said of them."""
    if isinstance(value, str):
        value = value.replace("+", " ").split()
    if not isinstance(value, list):
        return None
    return sorted({str(word).partition(":")[0] for word in as_list(value)})


def held(value: JsonValue) -> frozenset[str]:
    """The scopes that are used, of those held. Any scope of students brings the basic one."""
    scopes = set(scopes_in(value) or ())
    if any(name.startswith("students.") for name in scopes):
        scopes.add("students.basic")
    return frozenset(scopes & SCOPES.keys())


def is_expired(response: httpx.Response) -> bool:
    """Whether another token may help: not where this one lacks a scope."""
    if response.status_code != 401:  # noqa: PLR2004
        return False
    response.read()
    return _words(response)[0] != "insufficient_scope"


def _words(response: httpx.Response) -> tuple[str, Json]:
    """Assembly's word for what is wrong, and the rest of what it says; a body is not guaranteed."""
    try:
        found = as_object(read_json(response.content))
    except ValueError:
        found = {}
    return str(found.get("error") or ""), found


_KNOWN_WORDS = {
    *("invalid_request", "invalid_token", "insufficient_scope", "unsupported_version", "invalid_client"),
    *("invalid_grant", "not found", "too many requests"),
}


STATUSES = Statuses(
    "Assembly",
    "assembly.url or assembly.platform",
    "Assembly's support",
    own={
        406: (RequestRefused, "Assembly found the request invalid", REPORT),
        401: (NotAuthorised, "Assembly does not accept the token", "Run `isams-pipeline connector authorise`."),
        403: (
            AccessRefused,
            "Assembly does not allow this",
            "Ask help@assembly.education whether the app is allowed to do this.",
        ),
        503: (Unavailable, "Assembly is not available; it may be fetching the school's data", RETRIED),
    },
)


def error_for(response: httpx.Response) -> PipelineError | None:
    """The typed error for an answer, or None where it is none."""
    status = response.status_code
    if response.is_success or status == 304:  # noqa: PLR2004
        return None
    word, said = _words(response)
    where: Json = {"status": status, "error": word if word in _KNOWN_WORDS else None}
    match status:
        case 401 | 403 if word == "insufficient_scope":
            remedy = "Run `isams-pipeline connector authorise`: the school has to allow the scope for this path."
            return NotAuthorised("The school has not authorised this, or not any more", remedy=remedy, **where)
        case 401 if word == "invalid_client":
            return InvalidKey(
                "Assembly does not accept the app",
                remedy="Check the variables that assembly.client_id and assembly.secret name.",
                **where,
            )
        case 400 if word in {"invalid_grant", "invalid_client"}:
            return InvalidKey(
                "Assembly does not accept the code or the token",
                remedy="Run `isams-pipeline connector authorise`.",
                **where,
            )
        case 429:
            period = as_object(said.get("data")).get("period")
            wait = float(period) if isinstance(period, int | float) else None
            return STATUSES.error(**where, wait=wait)
        case 503 if response.request.url.path.endswith(SYNC):
            return SyncPending(
                "A sync is under way, or has just been",
                remedy="Wait some minutes, then run `isams-pipeline connector sync` again.",
                **where,
            )
        case _:
            return STATUSES.error(**where)
