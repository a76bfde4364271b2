"""What a school lets be read, and the requests that follow from it: nothing else makes a request for a list.

A client takes a `ListRequest` and nothing else, and only a `Grant` makes one, from what a call has just proven.
"""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Collection, Iterator, Mapping
from dataclasses import dataclass, field
from datetime import date
from urllib.parse import urlencode

from isams_pipeline.datasets.shapes import Json
from isams_pipeline.errors import NotAuthorised

Given = tuple[str, str]
"""A dataset, and what of it a scope gives, in words."""
Window = Callable[[date], Mapping[str, str]]
"""A night → the parameters that say from when to when."""


@dataclass(frozen=True)
class Extra:
    """A part of a list that has to be asked for, and the scope that it needs."""

    scope: str
    params: Mapping[str, str]


def as_they_are(row: Json) -> Iterator[Json]:
    """Each row of the answer is a row."""
    yield row


@dataclass(frozen=True)
class SourceList:
    """A list of a source: where it is, which scope it needs, and how changes are learnt."""

    name: str
    path: str
    scope: str
    params: Mapping[str, str] = field(default_factory=dict[str, str])
    extras: tuple[Extra, ...] = ()
    window: Window | None = None
    datasets: tuple[str, ...] = ()
    """The arrays of the answer that hold rows, where an answer has several: each row is marked with its array."""
    tells_changes: bool = True
    """The server says what has changed. Where it does not, the freshness of its own copy decides."""
    is_told_one_by_one: bool = False
    """Each row is asked for again by its id: the list itself does not tell what stands in it."""
    rows_of: Callable[[Json], Iterator[Json]] = as_they_are
    """A row of the answer → rows to be kept."""
    page_size: int = 1500
    """So many rows a page; fewer where much comes along with each."""
    key: tuple[str, ...] = ("id",)
    """The fields that tell kept rows apart."""

    def key_of(self, row: Json) -> tuple[str, ...]:
        """What tells a row from the others."""
        return tuple(str(row.get(name)) for name in self.key)


READING = "r2 "
"""Counted up when what is kept of the same answer changes, or who is left out of it: lists are then read anew."""


@dataclass(frozen=True)
class ListRequest:
    """A request that a grant allows."""

    wanted: SourceList
    params: Mapping[str, str]
    grant: Grant

    @property
    def asked(self) -> str:
        """All that an answer hangs on: whose data, what is authorised, path and query, and who is left out.

        With anything of it different, what was kept answers another question.
        """
        scopes = hashlib.sha256(" ".join(sorted(self.grant.scopes)).encode()).hexdigest()[:12]
        query = urlencode(sorted(self.params.items()))
        return f"{READING}{self.grant.subject} {scopes} {self.wanted.path}?{query}{self.grant.people.digest}"


@dataclass(frozen=True)
class People:
    """People who have opted out, so that nothing that names them is kept; or those who alone have opted in."""

    ids: frozenset[tuple[str, str]] = frozenset()
    """Kind (Student, Staff, Contact) and id."""
    only_these: bool = False

    @property
    def is_everybody(self) -> bool:
        """Whether nobody is left out."""
        return not self.ids and not self.only_these

    def allows(self, kind: str, identifier: str) -> bool:
        """Whether a person may be read of."""
        return ((kind, identifier) in self.ids) == self.only_these

    @property
    def digest(self) -> str:
        """A word that changes when it is about other people; empty where it is about nobody."""
        if self.is_everybody:
            return ""
        return "#" + hashlib.sha256(repr((self.only_these, sorted(self.ids))).encode()).hexdigest()[:12]


@dataclass(frozen=True)
class Grant:
    """What a school has authorised on a source, as a call has just proven."""

    school: str
    source: str
    scopes: frozenset[str]
    subject: str = ""
    """The school's number on the source, proven by a call: another number is another school."""
    people: People = People()
    """Who may be read of at all."""
    unused: frozenset[str] = frozenset()
    """Scopes that the school has authorised, and that are not taken into use."""

    def allows(self, wanted: SourceList) -> bool:
        """Whether the list may be asked for at all."""
        return wanted.scope in self.scopes

    def request(self, wanted: SourceList, night: date) -> ListRequest:
        """The request for a list with those extras that are authorised. Raises NotAuthorised."""
        if not self.allows(wanted):
            raise NotAuthorised(
                f"The school has not authorised {wanted.scope}",
                school=self.school,
                source=self.source,
                list=wanted.name,
                remedy="Nothing was asked for. The school is asked by `isams-pipeline connector authorise "
                f"{self.school} --source {self.source}`.",
            )
        params = dict(wanted.params)
        for extra in wanted.extras:
            if extra.scope in self.scopes:
                for name, value in extra.params.items():
                    params[name] = f"{params[name]},{value}" if name in params else value
        if wanted.window is not None:
            params |= wanted.window(night)
        return ListRequest(wanted, params, self)


def lacking(asked: Mapping[str, bool], held: Collection[str]) -> list[str]:
    """The scopes that the app cannot do without, and that are not held. `asked` says of each whether it is such."""
    return sorted(name for name, must in asked.items() if must and name not in held)
