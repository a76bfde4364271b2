"""Xporter's answers: pages, rows as they may be kept, who has opted out, and errors, which may come under 200."""

from __future__ import annotations

import re
from dataclasses import dataclass

import httpx

from isams_pipeline.datasets.shapes import Json, JsonValue
from isams_pipeline.errors import (
    InvalidKey,
    NotAuthorised,
    NotFound,
    PipelineError,
    RequestRefused,
)
from isams_pipeline.sources.shared.connections import Reason
from isams_pipeline.sources.shared.grants import People
from isams_pipeline.sources.shared.http import retry_after
from isams_pipeline.sources.shared.json_answer import read_json
from isams_pipeline.sources.shared.statuses import Statuses
from isams_pipeline.sources.shared.values import as_list, as_object, first_object, objects_in, whole_number
from isams_pipeline.sources.xporter.lists import ARRAY, BLANKED, LINKS, NAMED_BY_OTHERS, NEVER_KEPT, PEOPLE

GET_TOKEN = "/api/oauth/GetToken"  # noqa: S105  # a path
REGISTER = "/api/Manage/SchoolRegister"
OK = "OK"
WAITING = {"NotInstalled": Reason.NOT_INSTALLED, "Onboarding": Reason.ONBOARDING, "Paused": Reason.PAUSED}
"""Status words besides OK: invented, as no document shows them. Any other is taken for onboarding."""
_PAUSED, _UNKNOWN = "paused", "relying party not found"
"""How a refused authorisation is told, in lower case: as recorded."""


@dataclass(frozen=True)
class FoundSchool:
    """A school as the register of schools has it."""

    name: str
    la_code: str
    estab_code: str
    urn: str
    postcode: str
    town: str

    @classmethod
    def of(cls, row: Json) -> FoundSchool:
        """The fields of a search's answer are inferred: names without their case count."""
        folded = {name.casefold().replace("_", ""): value for name, value in row.items()}

        def first(*names: str) -> str:
            return next((str(folded[name]) for name in names if folded.get(name) not in {None, ""}), "")

        return cls(
            name=first("name", "schoolname", "establishmentname"),
            la_code=first("lacode", "leacode", "la"),
            estab_code=first("estabcode", "dfescode", "establishmentnumber"),
            urn=first("urn"),
            postcode=first("postcode"),
            town=first("town", "townorcity"),
        )


def pagination(page: Json) -> tuple[int, int] | None:
    """How many pages, and how many rows, there are; None where that is not said. NextPage is not to be trusted."""
    found = first_object(page.get("__pagination__"))
    pages, rows = whole_number(found.get("PageCount")), whole_number(found.get("RowCount"))
    return None if pages is None or rows is None else (pages, rows)


_PREFIXED = re.compile(r"[A-Z]{1,5}-(\d+)")


def plain_id(value: JsonValue) -> JsonValue:
    """An id without the prefix that the vendor's examples of members have, and others have not: `PL-9660` is 9660."""
    match = _PREFIXED.fullmatch(value) if isinstance(value, str) else None
    return match[1] if match else value


def with_plain_ids(array: str, rows: list[Json]) -> list[Json]:
    """The rows with plain ids in what names another row, and in their own where others name them by it."""
    names = LINKS | {"Id"} if array in NAMED_BY_OTHERS else LINKS
    return [{name: plain_id(value) if name in names else value for name, value in row.items()} for row in rows]


def arrays_in(page: Json) -> list[str]:
    """The names of an answer's arrays, in its own order: RowCount counts the rows of the first."""
    return [
        name
        for name, value in page.items()
        if isinstance(value, list) and name != "meta" and not name.startswith("__") and not name.endswith("_deleted")
    ]


def clock_of(page: Json) -> str | None:
    """When this one list was last fetched from the school: no list's clock speaks for another."""
    found = first_object(page.get("meta")).get("DateTime")
    return found if isinstance(found, str) else None


def changed_rows(page: Json) -> dict[str, str]:
    """What to ask for next time to hear of changes only."""
    found = first_object(page.get("__changedRows__")).get("NextChangedRows")
    return {"changed_rows": found} if isinstance(found, str) and found else {}


def rows_beside_meta(answer: Json) -> list[Json]:
    """The rows of an answer whose key is not known, whatever it is."""
    return [row for name, value in answer.items() if name != "meta" for row in objects_in(value)]


def status_word(answer: Json) -> str:
    """What Xporter says of its copy of the school's data: OK, or the first other word."""
    words = [str(row["Status"]) for row in rows_beside_meta(answer) if row.get("Status")]
    return next((word for word in words if word != OK), OK if words else "unknown")


def people(answer: Json, estab: str) -> People | None:
    """Who has opted out, or alone opted in; None where the answer does not say.

    With IsOptIn, the ids are read as those of the only people who may be extracted, else as those who may not
    (inferred).
    """
    mine = [row for row in objects_in(answer.get("GDPR")) if _digits(row.get("Estab")) == estab]
    kinds = (("Student", "StudentIds"), ("Staff", "StaffIds"), ("Contact", "ContactIds"))
    is_sound = len(mine) == 1 and all(isinstance(mine[0].get(name), list) for _, name in kinds)
    if not is_sound or mine[0].get("IsOptIn") not in (True, False):  # a list is not hashable
        return None
    ids = frozenset((kind, str(plain_id(one))) for kind, name in kinds for one in as_list(mine[0][name]))
    return People(ids, only_these=bool(mine[0]["IsOptIn"]))


_LONGEST_REASON = 300


def reason_of(answer: Json) -> str | None:
    """Why something was refused, in the vendor's own words, as one line; of calls that tell of no pupil only."""
    said = answer.get("Message")
    if not isinstance(said, str) or not said.strip():
        return None
    line = " ".join("".join(c if c.isprintable() else " " for c in said).split())
    return line if len(line) <= _LONGEST_REASON else f"{line[:_LONGEST_REASON]} …"


def _digits(value: JsonValue) -> str:
    return "".join(c for c in str(value) if c.isdigit())


def kept(array: str, row: Json, allowed: People) -> Json | None:
    """A row as it may be kept; None where it speaks of somebody who is left out."""
    for kind, name in PEOPLE.get(array, ()):
        # Where some have opted out, a row that does not say whom it is about may be about them.
        if not allowed.is_everybody and (row.get(name) is None or not allowed.allows(kind, str(plain_id(row[name])))):
            return None
    found = {ARRAY: array, **row}
    for name in NEVER_KEPT.get(array, ()):
        found.pop(name, None)
    for kind, name in BLANKED.get(array, ()):
        if found.get(name) is not None and not allowed.allows(kind, str(found[name])):
            found[name] = None
    return found


STATUSES = Statuses(
    "Xporter",
    "xporter.url",
    "Groupcall's support",
    own={
        401: (NotAuthorised, "Xporter does not accept the token", "Check the variable that xporter.secret names."),
        403: (
            NotAuthorised,
            "The school has not authorised this",
            "Ask the school to authorise the scope, then run `isams-pipeline connector authorise`.",
        ),
        404: (NotFound, "Xporter has no such thing", "Check xporter.url and xporter.estab."),
    },
)


def error_for(response: httpx.Response) -> PipelineError | None:
    """The typed error for an answer, or None where it is none: Xporter says what is wrong under 200, too."""
    if response.is_success:
        return _told(response)
    status = response.status_code
    if status in {400, 422} and (said := _of_invitation(response)):
        return RequestRefused(f"Xporter did not take the invitation: {said}", remedy=_INVITED, status=status)
    is_late = status in {408, 504}
    return STATUSES.error(status, wait=None if is_late else retry_after(response.headers))


_INVITED = "Check xporter.estab and who is invited; ask Groupcall's support."


def _of_invitation(response: httpx.Response) -> str | None:
    """Why an invitation was refused; None of any other call, as those may speak of pupils."""
    if not response.request.url.path.endswith(REGISTER):
        return None
    try:
        said = as_object(read_json(response.content))
    except ValueError:
        return None
    return reason_of({"Message": said.get("ExceptionMessage")}) or reason_of(said)


def _told(response: httpx.Response) -> PipelineError | None:
    # A cheap look first: a page of a list is large, and holds no such word.
    if b"ExceptionMessage" not in response.content:
        return None
    try:
        said = as_object(read_json(response.content)).get("ExceptionMessage")
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
    if reason := _of_invitation(response):
        return RequestRefused(f"Xporter did not take the invitation: {reason}", remedy=_INVITED)
    if response.request.url.path.endswith(GET_TOKEN):
        return InvalidKey("Xporter gave no token", remedy="Check the secrets of xporter.")
    return RequestRefused("Xporter refused, with a message of its own", remedy="Try again; then report this as a bug.")
