"""Which requests must wait for each other: those of one person, in the order in which they came. Pure."""

from __future__ import annotations

from collections.abc import Collection, Iterable, Mapping
from typing import Any, TypeVar

R = TypeVar("R")


def by_person(requests: Iterable[R], persons: Mapping[int, Collection[int]]) -> list[list[R]]:
    """The requests in groups that may go beside each other; each group in its order.

    `persons` says who is on a contact, as far as is known: a parent may have a contact for each child, and a joint
    contact is that of two, so what concerns either stays in one group. A request has number, kind, student, contact
    and person.
    """
    leader: dict[str, str] = {}

    def find(name: str) -> str:
        while leader.setdefault(name, name) != name:
            leader[name] = name = leader[leader[name]]
        return name

    wanted: list[Any] = list(requests)
    wanted.sort(key=lambda request: request.number)
    for request in wanted:
        first, *others = _names(request, persons)
        for other in others:
            leader[find(other)] = find(first)
    groups: dict[str, list[R]] = {}
    for request in wanted:
        groups.setdefault(find(_names(request, persons)[0]), []).append(request)
    return list(groups.values())


def _names(request: Any, persons: Mapping[int, Collection[int]]) -> list[str]:
    """Everybody whom a request concerns; the record first."""
    if request.kind == "student":
        return [f"student {request.student}"]
    people: set[int] = set(persons.get(request.contact, ()))
    if request.person is not None:
        people.add(request.person)
    return [f"contact {request.contact}", *(f"person {person}" for person in sorted(people))]
