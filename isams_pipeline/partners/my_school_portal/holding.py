"""What My School Portal keeps about a person: change requests, their lines in the ledger, and the files of them."""

from __future__ import annotations

import json
import re
from collections.abc import Iterator, Mapping
from typing import Any, cast

from sqlalchemy import select

from isams_pipeline.datasets.people import ENTRY, PERSON, SCHOOL_CODE, Person, folded
from isams_pipeline.datasets.shapes import Json
from isams_pipeline.orchestration.environment import Environment
from isams_pipeline.orchestration.partner import Held, TakenOut
from isams_pipeline.partners.my_school_portal.intake import DONE, REFUSED, inbox_of, store_of
from isams_pipeline.partners.my_school_portal.states import State
from isams_pipeline.storage.folder import Folder
from isams_pipeline.storage.state.changes import ChangeRequest, ChangeStep


def requests_about(environment: Environment, school: str, person: Person) -> list[ChangeRequest]:
    """The change requests about a person: of a pupil by the school's code, of a contact by the person's number.

    One about a pupil's guardian names the pupil, too, but is the guardian's. A request about a contact may
    say only which entry: then it is whose alone the entry is, or the ledger knows whose record was read.
    """
    with environment.state.transaction() as session:
        requests = list(session.scalars(select(ChangeRequest).where(ChangeRequest.school == school)))
        lines = list(session.scalars(select(ChangeStep).where(ChangeStep.school == school)))
    concerned: dict[str, set[str]] = {}
    for line in lines:
        concerned.setdefault(line.request, set()).update(map(str, line.persons))
    numbers, entries = person.ids.get(PERSON, frozenset()), person.ids.get(ENTRY, frozenset())
    return [
        request
        for request in requests
        if (
            person.entity == "pupil"
            and request.kind == "student"
            and folded(SCHOOL_CODE, request.student) in person.ids.get(SCHOOL_CODE, ())
        )
        or (
            person.entity == "contact"
            and (
                str(request.person) in numbers
                or numbers & concerned.get(request.id, set())
                or (request.person is None and str(request.contact) in entries)
            )
        )
    ]


def holds(environment: Environment, school: str, person: Person) -> Iterator[Held]:
    """Requests, lines, and files of the inbox that have the ids of such requests."""
    requests = requests_about(environment, school, person)
    for request in requests:
        about = {"request": request.id, "state": request.state, "received": str(request.received_at)}
        values = {
            f"{what}.{name}": str(value) for what in ("given", "changes", "seen") for name, value in _of(request, what)
        }
        yield "ledger", "change request", about | values, True
        with environment.state.transaction() as session:
            whose = (ChangeStep.school == school, ChangeStep.request == request.id)
            for line in session.scalars(select(ChangeStep).where(*whose).order_by(ChangeStep.id)):
                said = {
                    "request": line.request,
                    "line": str(line.id),
                    "at": str(line.at),
                    "who": line.who,
                    "step": line.step,
                }
                held = {f"{what}.{name}": str(value) for what in ("before", "after") for name, value in _of(line, what)}
                yield "ledger", "ledger", said | held, True
    ids = {request.id for request in requests}
    folder = inbox_of(environment, school)
    for path, is_sure in files_with(environment, school, ids, person):
        yield "inbox", "file", {"file": folder.location(path)}, is_sure


def erases(environment: Environment, school: str, person: Person, why: Mapping[str, str]) -> TakenOut:
    """Take the values of requests out, and whom they are about, and remove their files.

    Who did what and when stays in the ledger. A request that waits for a person, or is to be written, is left: it is to
    be decided first.
    """
    store, about = store_of(environment, school), requests_about(environment, school, person)
    over = [one for one in about if one.state in _OVER]
    ids = {one.id for one in over}
    with environment.locks.hold(f"inbox {school}", wait=60):  # what waits there is not read yet: it stays
        found = files_with(environment, school, ids, person) if ids else ()
        files = [path for path, is_sure in found if is_sure and "/" in path]
        for path in files:
            _take_items_out(inbox_of(environment, school), path, ids)
    store.take_out(sorted(ids), why=why["reason"], who=why["who"], people=True)
    waiting = len(about) - len(over)
    left = [f"{waiting} change requests are open: decide them (isams-pipeline changes list {school}), then erase again"]
    return TakenOut({"ledger": len(ids), "inbox": len(files)}, left if waiting else ())


def _take_items_out(folder: Folder, path: str, ids: set[str]) -> None:
    """Take requests out of a file that was read; one that holds no others goes."""
    try:
        items: Any = json.loads(folder.read(path))
    except ValueError:
        items = None
    others = [one for one in cast("list[Any]", items) if not _is_one_of(one, ids)] if isinstance(items, list) else []
    if others:
        folder.write_json(path, others)
    else:
        folder.remove(path)


def _is_one_of(item: Any, ids: set[str]) -> bool:
    return isinstance(item, dict) and cast("Json", item).get("id") in ids


_OVER = {State.CONFIRMED, State.REJECTED, State.APPLIED}
"""What was written is at iSAMS: of an erased person no night confirms that any more."""


def files_with(environment: Environment, school: str, ids: set[str], person: Person) -> Iterator[tuple[str, bool]]:
    """The files of the inbox that hold one of some requests, for sure; or, refused ones among them, a pupil's code."""
    folder = inbox_of(environment, school)
    for place in ("", DONE, REFUSED):
        for name in folder.names(place):
            path = f"{place}/{name}" if place else name
            if name.endswith((".json", ".txt")):
                text = folder.read(path).decode("utf-8", "replace")
                if any(f'"{identifier}"' in text for identifier in ids):
                    yield path, True
                elif person.entity == "pupil" and any(person.is_meant(SCHOOL_CODE, one) for one in _WORD.findall(text)):
                    yield path, False


_WORD = re.compile(r"[\w./-]+")


def _of(row: Any, what: str) -> Iterator[tuple[str, object]]:
    values = getattr(row, what)
    yield from (values or {}).items()
