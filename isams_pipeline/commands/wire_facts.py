"""What the code leans on of the outside: every fact about a wire, how sure it is, and where it sits in code.

python -m isams_pipeline.commands.wire_facts [--check] docs/wire-facts.md

Nothing here was tried against a live server of iSAMS, Assembly or Groupcall by this project. `recorded`: it stands in a
stored answer. `documented`: in the vendor's own text. `consumed`: a public client that is in use relies on it. `inferred`:
by analogy, from a database's column or a screen's label; it could be wrong.
"""

from __future__ import annotations

import sys
from collections.abc import Iterator
from dataclasses import dataclass
from enum import StrEnum
from importlib import import_module

from isams_pipeline.commands.dictionary import keep_page
from isams_pipeline.datasets import DATASETS


class Surety(StrEnum):
    """How sure a fact is, the surest first."""

    RECORDED = "recorded"
    DOCUMENTED = "documented"
    CONSUMED = "consumed"
    INFERRED = "inferred"


@dataclass(frozen=True)
class Fact:
    """One thing that the code takes for granted."""

    wire: str
    what: str
    surety: Surety
    where: str
    """module:name, below isams_pipeline."""


_R, _D, _C, _I = Surety.RECORDED, Surety.DOCUMENTED, Surety.CONSUMED, Surety.INFERRED
BATCH, REST, ASSEMBLY, XPORTER = "iSAMS Batch API", "iSAMS REST API", "Assembly", "Xporter on Demand"

FACTS: tuple[Fact, ...] = (
    # --- Batch
    Fact(
        BATCH,
        "POST to /api/batch/1.0/xml.ashx?apiKey=… with <Filters><MethodsToRun>",
        _D,
        "sources.isams.batch:BatchClient",
    ),
    Fact(
        BATCH,
        "null is an omitted element, empty text an empty one; unknown ones come and go",
        _R,
        "sources.isams.parse:parse",
    ),
    Fact(
        BATCH,
        "a container may come more than once under a module, with the same rows",
        _C,
        "sources.isams.parse:_merge_repeats",
    ),
    Fact(
        BATCH, "a character that XML forbids comes as a reference such as &#x1F;", _C, "sources.isams.encoding:Allowed"
    ),
    Fact(BATCH, "error documents declare utf-16 over bytes that are UTF-8", _R, "sources.isams.encoding:real_encoding"),
    Fact(BATCH, "its elements are in no XML namespace, and have some hundred names", _I, "sources.isams.parse:parse"),
    Fact(
        BATCH,
        "where in iSAMS a record is mended: the modules by the partners' guides, the places in them by their names",
        _I,
        "rules.mending:ADVICE",
    ),
    Fact(BATCH, "LeavingDate of a member of staff is the last day", _C, "rules.leaving:staff_who_left"),
    Fact(BATCH, "a contact's pupil whose Status is Former has left", _I, "rules.leaving:called_former"),
    Fact(
        BATCH,
        "the highest year group is the last; its pupils leave when the year ends",
        _I,
        "rules.leaving:in_last_year",
    ),
    Fact(BATCH, "methods that a key may not run are refused by 403, and named", _D, "sources.isams.messages:error_for"),
    Fact(
        BATCH,
        "a <Message> under 200 is the server's time-out of about 35 seconds",
        _C,
        "sources.isams.messages:error_for",
    ),
    Fact(
        BATCH, "a key answers from its cache for its cache hours; 24 unless set", _D, "sources.isams.fetch:NightFetcher"
    ),
    Fact(BATCH, "set codes, user codes and room names repeat, and compare without case", _C, "rules.references:Lookup"),
    Fact(BATCH, "rows of one code, period and room are one lesson that several teach", _C, "rules.lessons:entries_of"),
    Fact(BATCH, "entries without a code are several things, in several rooms", _C, "rules.lessons:_joined"),
    Fact(BATCH, "Set says 1 for a set and 0 for a form; SetId said so until 2024", _C, "rules.lessons:_rows"),
    Fact(
        BATCH,
        "the plain contacts method is Pupil_GetContacts; filters' end dates are inclusive",
        _I,
        "config.feeds:FEEDS",
    ),
    Fact(BATCH, "weeks run from Sunday to Saturday; week 1 holds 1 January", _C, "rules.timetable:week_numbers"),
    Fact(BATCH, "an allocation's year is the calendar year", _C, "rules.timetable:_grid"),
    Fact(BATCH, "lessons of weeks in no allocation may be taught all the same", _C, "rules.timetable:UnallocatedWeeks"),
    Fact(
        BATCH, "a set list may name a pupil by school code alone, or by an old number", _C, "rules.identity:of_pupils"
    ),
    Fact(BATCH, "0001-01-01 and 1900-01-01 stand for no date", _C, "rules.dates:is_nothing"),
    Fact(BATCH, "Contact Only is ContactOnly or JustContact; missing means no", _I, "rules.contacts:not_contact_only"),
    Fact(BATCH, "Deceased marks who has died (REST has the field)", _I, "rules.contacts:living"),
    Fact(BATCH, "ParentalResponsibility is Yes, No or Default", _D, "rules.contacts:responsible"),
    Fact(BATCH, "a health record's Id, PupilId or SchoolId names its pupil", _I, "sources.isams.parse:_pupil_of"),
    Fact(
        BATCH,
        "a suspension holds for all lessons unless it names period, year or code",
        _I,
        "rules.timetable:_less_suspended",
    ),
    Fact(BATCH, "a span from midnight to midnight is of whole days", _I, "rules.timetable:whole_days"),
    # --- REST
    Fact(REST, "token by client_credentials at /auth/connect/token", _C, "sources.isams.token:ClientToken"),
    Fact(REST, "registers of today only, by division", _C, "sources.isams.registers:registers_today"),
    Fact(REST, "isRegistered is a number: above 0 is registered", _C, "sources.isams.registers:_is_registered"),
    Fact(REST, "a year group's id is its ncYear", _I, "sources.isams.registers:divisions"),
    Fact(REST, "a register's list of records has a name of its own", _I, "sources.isams.registers:marks_of"),
    Fact(REST, "a PUT replaces the record", _C, "sources.isams.people:Record"),
    Fact(
        REST,
        "guardians are written by tempcontacts, which the vendor calls temporary",
        _C,
        "sources.isams.people:write",
    ),
    Fact(
        REST,
        "tempcontacts/{id} gives back what was written there, contactType too",
        _C,
        "sources.isams.people:read_back",
    ),
    Fact(REST, "a contact has one id in contacts and in tempcontacts", _I, "sources.isams.people:write"),
    Fact(
        REST,
        "U among the codes of who is present is the mark: came after the register closed",
        _D,
        "rules.attendance:_mark",
    ),
    Fact(REST, "latestPhotoId says which photo a student has, null without one", _D, "sources.isams.photos:RestPhotos"),
    Fact(
        REST,
        "students/{schoolId}/photos/current is the picture itself, 404 without",
        _D,
        "sources.isams.photos:RestPhotos",
    ),
    # --- Assembly
    Fact(
        ASSEMBLY,
        "pages by page and per_page (at most 1500); counts in headers",
        _D,
        "sources.assembly.client:AssemblyClient",
    ),
    Fact(
        ASSEMBLY,
        "If-None-Match and If-Modified-Since give changed rows only, or 304",
        _D,
        "sources.assembly.answers:conditions",
    ),
    Fact(
        ASSEMBLY, "groups take a date: those that run then, with that day's members", _D, "sources.assembly.lists:_on"
    ),
    Fact(
        ASSEMBLY,
        "a group that has ended may still be listed; start_date and end_date tell",
        _I,
        "sources.shared.mapping:running",
    ),
    Fact(ASSEMBLY, "lessons are Scheduled, RoomCover, StaffCover or InvigilationCover", _D, "rules.dated:KINDS"),
    Fact(ASSEMBLY, "a cover stands beside the lesson that it replaces, or in its place", _I, "rules.dated:covered"),
    Fact(ASSEMBLY, "legal_first_name may be empty where it is the first name", _C, "sources.shared.mapping:Field"),
    Fact(ASSEMBLY, "last_changes_at speaks for all lists", _I, "sources.registry:LISTED"),
    Fact(
        ASSEMBLY,
        "the list of registered schools, and its word for the connector",
        _I,
        "sources.assembly.client:AssemblyClient._registered",
    ),
    Fact(ASSEMBLY, "a moment without a zone is UTC", _I, "sources.shared.wire:moment_of"),
    Fact(
        ASSEMBLY,
        "without an authorisation only the list of schools tells how far a school is",
        _I,
        "commands.connector:authorise",
    ),
    Fact(
        ASSEMBLY,
        "students?photo=true give a photo's hash and an address, signed for an hour",
        _D,
        "sources.assembly.client:AssemblyClient",
    ),
    # --- Xporter
    Fact(XPORTER, "photos are at Photos/, by the scope Photos", _D, "sources.xporter.lists:PHOTOS"),
    Fact(XPORTER, "a row of Photos has Id and, in base64, Photo", _I, "sources.xporter.client:XporterClient"),
    Fact(XPORTER, "token by POST /api/oauth/GetToken; refusals under 200", _D, "sources.xporter.client:XporterClient"),
    Fact(
        XPORTER,
        "groups give members only with includeStudentMembers, includeStaffMembers",
        _R,
        "sources.xporter.lists:LISTS",
    ),
    Fact(
        XPORTER,
        "NumStudents counts a group's members, whether or not they come",
        _R,
        "sources.xporter.mapping:_refuse_without_members",
    ),
    Fact(XPORTER, "Lessons.Id is the lesson of the cycle; a row is (Id, PeriodId)", _D, "sources.xporter.lists:LISTS"),
    Fact(XPORTER, "LessonStaff and LessonRooms hang on Lessons.Id", _D, "sources.xporter.mapping:_lessons"),
    Fact(
        XPORTER,
        "onlygetDBStatus is a parameter of Students, not of SchoolInfo",
        _D,
        "sources.xporter.client:XporterClient._db_status",
    ),
    Fact(XPORTER, "the words of the database's status besides OK", _I, "sources.xporter.answers:WAITING"),
    Fact(XPORTER, "meta.DateTime is the clock of one endpoint only", _R, "sources.xporter.answers:clock_of"),
    Fact(
        XPORTER,
        "RowCount counts the rows of the answer's first array",
        _R,
        "sources.xporter.client:XporterClient._first_array",
    ),
    Fact(XPORTER, "no __pagination__ is one page", _R, "sources.xporter.client:XporterClient._pagination"),
    Fact(XPORTER, "NextPage is not to be trusted on the last page", _R, "sources.xporter.answers:pagination"),
    Fact(
        XPORTER,
        "addresses, births, legal names and leaving dates have scopes of their own",
        _D,
        "sources.xporter.lists:GIVES",
    ),
    Fact(XPORTER, "ids of members may carry a prefix (PL-9660)", _D, "sources.xporter.answers:plain_id"),
    Fact(
        XPORTER,
        "an answer without rows, count or token is a refusal",
        _I,
        "sources.xporter.client:XporterClient._first_array",
    ),
    Fact(XPORTER, "all pages of one reading have one meta.DateTime", _I, "sources.xporter.client:XporterClient._rows"),
    Fact(XPORTER, "the array of links is StudentContacts or StudentContact", _D, "sources.xporter.lists:ALSO_CALLED"),
    Fact(
        XPORTER,
        "TTPeriods may be empty; arrays come as TTDays, TTSessions, TTPeriods …",
        _D,
        "sources.xporter.lists:LISTS",
    ),
    Fact(XPORTER, "attendance is asked for from Monday to Friday", _D, "sources.xporter.lists:_week"),
    Fact(
        XPORTER,
        "an invitation names contact, phone and partner; a refusal's Message says why",
        _C,
        "sources.xporter.client:XporterClient.invite",
    ),
    Fact(XPORTER, "with IsOptIn the ids are of those who alone may be extracted", _I, "sources.xporter.answers:people"),
    Fact(XPORTER, "year groups' codes R, N1, N2", _I, "config.sources:YEAR_CODES"),
)


def found(where: str) -> object:
    """What stands at a place in code; raises AttributeError or ImportError where nothing does."""
    module, _, name = where.partition(":")
    thing: object = import_module(f"isams_pipeline.{module}")
    for part in name.split("."):
        thing = getattr(thing, part)
    return thing


def page() -> str:
    """The page, in Markdown."""
    return "\n".join(_lines()) + "\n"


def _lines() -> Iterator[str]:
    yield "# How sure the wires are"
    yield ""
    yield "Written by `make docs` from `isams_pipeline/commands/wire_facts.py`; CI checks it, and that each place in code is there."
    yield ""
    yield (
        "Nothing was tried against a live server. **recorded**: in a stored answer. **documented**: in the vendor's own "
        "text. **consumed**: a public client in use relies on it. **inferred**: could be wrong; the sandbox can do both "
        "readings where documents leave two (`variants` in `isams_pipeline/sandbox/sides.py`)."
    )
    for wire in dict.fromkeys(fact.wire for fact in FACTS):
        yield ""
        yield f"## {wire}"
        yield ""
        yield "| fact | how sure | where in code |"
        yield "|---|---|---|"
        for fact in FACTS:
            if fact.wire == wire:
                module, _, name = fact.where.partition(":")
                yield f"| {fact.what} | {fact.surety} | `{module.replace('.', '/')}.py`: `{name}` |"
    yield ""
    yield "## Elements of the Batch API whose names or meanings are inferred"
    yield ""
    yield "| dataset | column | place |"
    yield "|---|---|---|"
    for dataset in DATASETS.values():
        whole = "inferred" in (sys.modules[dataset.module].__doc__ or "")
        for c in dataset.columns:
            if whole or "inferred" in c.description:
                yield f"| {dataset.name} | `{c.name}` | `{c.path}` |"


if __name__ == "__main__":
    sys.exit(keep_page(page(), __doc__))
