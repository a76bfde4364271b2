"""Applied requests beside a night's datasets: did it stick? Pure."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from datetime import datetime
from typing import Any

import pandas as pd

from isams_pipeline.datasets.shapes import JsonValue
from isams_pipeline.rules.split import rows_of
from isams_pipeline.sources.isams.people import same

_STUDENT = {
    "forename": "forename",
    "preferredName": "preferred_name",
    "middleNames": "middle_names",
    "surname": "surname",
    "dob": "date_of_birth",
    "gender": "gender",
    "mobileNumber": "mobile",
}
_GUARDIAN = {
    "title": "title",
    "forename": "forename",
    "surname": "surname",
    "emailAddress": "email",
    "telephoneNumber": "telephone",
    "mobileNumber": "mobile",
    "address1": "address_1",
    "address2": "address_2",
    "address3": "address_3",
    "town": "town",
    "county": "county",
    "postcode": "postcode",
    "country": "country",
}
COLUMNS = {"student": _STUDENT, "guardian": _GUARDIAN}
"""Field of a request → column of `pupils` or `contacts`. The Batch API does not bring emergency notes."""


@dataclass(frozen=True)
class Verdict:
    """Whether a night holds what a request wrote."""

    request: str
    differing: tuple[str, ...]
    """Fields that it does not hold."""
    unseen: bool = False
    """The person is not in the datasets any more: nothing can be said."""

    @property
    def stuck(self) -> bool:
        """Whether all of it is there."""
        return not self.differing


def confirm(requests: Iterable[Any], tables: Mapping[str, pd.DataFrame]) -> list[Verdict]:
    """Compare written requests, in the order in which they were written, with `pupils` and `contacts`.

    Where several wrote the same field, only the last one's value counts.
    """
    wanted = list(requests)
    last: dict[tuple[str, object, str], str] = {}
    for request in wanted:
        for name in request.changes:
            last[request.kind, request.contact or request.student, name] = request.id
    pupils = {row.school_id: [row] for row in rows_of(tables["pupils"])}
    contacts: dict[int, list[Any]] = {}
    for row in rows_of(tables["contacts"]):
        contacts.setdefault(int(row.entry_id), []).append(row)
    verdicts: list[Verdict] = []
    for request in wanted:
        rows = pupils.get(request.student, []) if request.kind == "student" else contacts.get(request.contact, [])
        fields = {
            name: value
            for name, value in request.changes.items()
            if name in COLUMNS[request.kind]
            and last[request.kind, request.contact or request.student, name] == request.id
        }
        differing = [name for name, value in fields.items() if not _held(rows, request, name, value)]
        verdicts.append(Verdict(request.id, tuple(differing) if rows else (), unseen=not rows))
    return verdicts


def _held(rows: list[Any], request: Any, name: str, value: JsonValue) -> bool:
    column = COLUMNS[request.kind][name]
    # An e-mail address is that of both people of a joint contact; all else is the record's first person's.
    compared = rows
    if request.kind == "guardian" and name != "emailAddress" and len(rows) > 1:
        compared = [row for row in rows if not pd.isna(row.first_person) and row.first_person]
    return all(same(_plain(getattr(row, column)), value) for row in compared)


def _plain(value: JsonValue) -> Any:
    if pd.isna(value):
        return None
    return value.strftime("%Y-%m-%d") if isinstance(value, datetime) else value
