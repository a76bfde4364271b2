"""What a change request looks like when it comes, which fields it may change, and how their values are tidied. Pure."""

from __future__ import annotations

import hashlib
import hmac
import json
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from datetime import date
from typing import Annotated, Literal, cast

from pydantic import AfterValidator, AwareDatetime, BaseModel, ConfigDict, Field, TypeAdapter, ValidationError

from isams_pipeline.datasets.shapes import Json, JsonObject
from isams_pipeline.rules import details

MAX_ID = 2**31 - 1
Value = Annotated[str | None, Field(max_length=4000)]
Who = Annotated[str, Field(min_length=1, max_length=200), AfterValidator(lambda text: details.line(text, longest=200))]


class _Part(BaseModel):
    model_config = ConfigDict(extra="forbid", frozen=True)


class GuardianFields(_Part):
    """What of a guardian may be changed: the fourteen fields of My School Portal's guide. Null empties a field."""

    title: Value = None
    forename: Value = None
    surname: Value = None
    emailAddress: Value = None  # noqa: N815  # iSAMS's own names, as the portal sends them
    telephoneNumber: Value = None  # noqa: N815
    mobileNumber: Value = None  # noqa: N815
    address1: Value = None
    address2: Value = None
    address3: Value = None
    town: Value = None
    county: Value = None
    postcode: Value = None
    country: Value = None
    emergencyNotes: Value = None  # noqa: N815


class StudentFields(_Part):
    """What of a student may be changed: the six of the guide, forename and preferred name counted apart."""

    forename: Value = None
    preferredName: Value = None  # noqa: N815
    middleNames: Value = None  # noqa: N815
    surname: Value = None
    dob: Value = None
    gender: Value = None
    mobileNumber: Value = None  # noqa: N815


class Approval(_Part):
    """Who approved the request in the portal, and when."""

    by: Who
    at: AwareDatetime
    joint_confirmed: bool = False
    """The approver knows that an e-mail change of a joint contact concerns both guardians."""
    signature: str | None = Field(default=None, pattern=r"^[0-9a-f]{64}$")
    """HMAC-SHA256 in hex, where a secret is agreed: see `signed_text`."""


class _Submission(_Part):
    id: str = Field(pattern=r"^[A-Za-z0-9][A-Za-z0-9._-]{0,99}$")
    """The portal's own; the same request sent twice is taken once."""
    school: str | None = None
    """The school's name here; if it is said, it must be the inbox's."""
    student: str = Field(pattern=r"^[0-9]{1,20}$")
    """The student's school id."""
    approval: Approval | None = None


class GuardianSubmission(_Submission):
    """A request to change a guardian."""

    kind: Literal["guardian"]
    contact: int = Field(gt=0, le=MAX_ID)
    """The contact's id in iSAMS."""
    person: int | None = Field(default=None, gt=0, le=MAX_ID)
    """Which person of a joint contact: iSAMS's number of the person."""
    changes: GuardianFields
    seen: GuardianFields | None = None
    """What the approver saw in the fields that change."""


class StudentSubmission(_Submission):
    """A request to change a student."""

    kind: Literal["student"]
    changes: StudentFields
    seen: StudentFields | None = None
    """What the approver saw in the fields that change."""


Submission = GuardianSubmission | StudentSubmission
_ONE: TypeAdapter[Submission] = TypeAdapter(Annotated[Submission, Field(discriminator="kind")])
FIELDS: dict[str, tuple[str, ...]] = {
    "guardian": tuple(GuardianFields.model_fields),
    "student": tuple(StudentFields.model_fields),
}
_NEEDED = {
    "guardian": {"title", "forename", "surname", "address1", "postcode", "country"},
    "student": {"forename", "surname", "dob", "gender"},
}
"""What iSAMS's clients hold to be required: it cannot be emptied."""


def schema() -> Json:
    """The JSON Schema of a file: one request, or a list of them."""
    one = _ONE.json_schema()
    definitions = one.pop("$defs")
    return {
        "$schema": "https://json-schema.org/draft/2020-12/schema",
        "title": "Change requests of My School Portal",
        "description": "A file in data/inbox/<school>/: one request, or a list of them.",
        "oneOf": [{"$ref": "#/$defs/Request"}, {"type": "array", "items": {"$ref": "#/$defs/Request"}}],
        "$defs": {"Request": one, **definitions},
    }


class Refused(Exception):
    """A request that cannot be taken. `problems` name fields, never values."""

    def __init__(self, problems: list[str]) -> None:
        super().__init__("; ".join(problems))
        self.problems = problems


@dataclass(frozen=True)
class Tidied:
    """A request as it will be stored."""

    submission: Submission
    given: dict[str, str | None]
    changes: dict[str, str | None]
    seen: dict[str, str | None] | None
    signed: bytes = b""
    """What a signature of the approval is over."""

    def is_signed(self, secret: str) -> bool:
        """Whether the approval is signed with a secret."""
        approval = self.submission.approval
        given = approval.signature if approval is not None else None
        expected = hmac.new(secret.encode(), self.signed, hashlib.sha256).hexdigest()
        return given is not None and hmac.compare_digest(given, expected)

    @property
    def digest(self) -> str:
        """Of what is asked for; the approval and what was seen may come later."""
        asked = self.submission.model_dump(mode="json", include={"id", "kind", "student", "contact", "person"})
        text = json.dumps([asked, self.given], sort_keys=True)
        return hashlib.sha256(text.encode()).hexdigest()


def read(item: object, *, school: str, region: str, today: date) -> Tidied:
    """A request as it came → what will be stored; raises Refused with everything that is wrong with it."""
    try:
        submission = _ONE.validate_python(item)
    except ValidationError as error:
        raise Refused(_in_words(error, item)) from None
    if submission.school not in {None, school}:
        raise Refused(["school: this is another school's inbox"])
    given: dict[str, str | None] = submission.changes.model_dump(exclude_unset=True)
    if not given:
        raise Refused(["changes: there is nothing to change"])
    changes, problems = tidy(submission.kind, given, region=region, today=today)
    if problems:
        raise Refused(problems)
    seen = submission.seen.model_dump(exclude_unset=True) if submission.seen is not None else None
    return Tidied(submission, given, changes, seen, signed_text(cast("JsonObject", item)))


SIGNED = ("id", "kind", "student", "contact", "person", "changes", "seen", "approval")


def signed_text(item: JsonObject) -> bytes:
    """What the HMAC of an approval is over: these members of the request as they came, the signature itself left out.

    As JSON in UTF-8: names sorted, no blanks, letters as they are, members that are not there left out.
    """
    said = {name: item[name] for name in SIGNED if name in item}
    if isinstance(said.get("approval"), dict):
        said["approval"] = {name: value for name, value in said["approval"].items() if name != "signature"}
    text = json.dumps(said, sort_keys=True, separators=(",", ":"), ensure_ascii=False)
    return text.encode("utf-8", "surrogatepass")


def _in_words(error: ValidationError, item: object) -> list[str]:
    kind = "request"
    if isinstance(item, dict) and item.get("kind") in FIELDS:  # pyright: ignore[reportUnknownMemberType]
        kind = str(item["kind"])  # pyright: ignore[reportUnknownArgumentType]
    problems: list[str] = []
    for problem in error.errors(include_input=False, include_url=False, include_context=False):
        loc = [str(part) for part in problem["loc"]]
        loc = loc[1:] if loc[:1] == [kind] else loc  # the kind that it was read as
        where = ".".join(loc) or "request"
        match problem["type"]:
            case "extra_forbidden" if loc[:1] == ["changes"] and kind in FIELDS:
                what = f"this field of a {kind} may not be changed; these may: {', '.join(FIELDS[kind])}"
            case "extra_forbidden":
                what = "there is no such field"
            case "missing":
                what = "missing"
            case "union_tag_invalid" | "union_tag_not_found":
                where, what = "kind", "write student or guardian"
            case _:
                what = problem["msg"][:1].lower() + problem["msg"][1:]
        problems.append(f"{_short(where)}: {what}")
    return problems


def _short(name: str) -> str:
    # A field's name is the sender's: what is no name is not repeated.
    return name if len(name) <= 60 and all(c.isalnum() or c in "._-" for c in name) else "a field"  # noqa: PLR2004


def tidy(
    kind: str, given: Mapping[str, str | None], *, region: str, today: date
) -> tuple[dict[str, str | None], list[str]]:
    """The values as they will be written, and what is wrong with any of them."""
    found: dict[str, str | None] = {}
    problems: list[str] = []
    for name, value in given.items():
        if value is None or not value.strip():
            found[name] = None
            if name in _NEEDED[kind]:
                problems.append(f"changes.{name}: it cannot be empty")
            continue
        try:
            found[name] = _tidier(name, region, today)(value)
        except ValueError as problem:
            problems.append(f"changes.{name}: {problem}")
    return found, problems


def _tidier(name: str, region: str, today: date) -> Callable[[str], str]:
    match name:
        case "emailAddress":
            return details.email
        case "telephoneNumber" | "mobileNumber":
            return lambda text: details.phone(text, region)
        case "postcode":
            return details.postcode
        case "dob":
            return lambda text: details.born(text, today)
        case "gender":
            return details.gender
        case "emergencyNotes":
            return lambda text: details.lines(text, longest=4000)
        case "title":
            return lambda text: details.line(text, longest=20)
        case _:
            return lambda text: details.line(text, longest=100)


if __name__ == "__main__":
    print(json.dumps(schema(), indent=2))  # noqa: T201  # `make docs` writes it into a file
