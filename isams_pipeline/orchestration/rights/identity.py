"""Who is meant: a person by a number, a code or an address, in what a school's sources have said on any night."""

from __future__ import annotations

import contextlib
from collections.abc import Iterator

from isams_pipeline.datasets.people import SCHOOL_CODE, WHO, Person, people_in, together
from isams_pipeline.errors import SeveralMeant, StorageError, WrongUse
from isams_pipeline.orchestration.environment import Environment
from isams_pipeline.sources.registry import SOURCES


def identify(environment: Environment, school: str, who: str) -> list[Person]:
    """The person whom `who` means, as each source has them: one a source. Reads only what is kept.

    Raises WrongUse where it means nobody in any table that can be read, and SeveralMeant.
    """
    found: list[Person] = []
    for source in _sources(environment, school):
        for entity in WHO:
            found += _of_source(environment, school, source, entity, who.strip())
    found += _by_code(environment, school, found)
    if not found:
        raise WrongUse(
            "Nobody is kept with that number, code or address in any table that can be read",
            school=school,
            remedy="Ask by another of their numbers: iSAMS's own, the school code, or an e-mail address. Who was never "
            "in a dataset, such as an applicant, is not known here.",
        )
    names = list(dict.fromkeys((person.source, person.name) for person in found))
    sources = [source for source, _ in names]
    if len(set(sources)) < len(sources):
        told = ", ".join(f"{name} (by {source})" for source, name in names)
        raise SeveralMeant(
            f"{len(names)} people are meant: {told}", school=school, remedy="Name one of them, as it stands there."
        )
    return [_whole(environment, school, person) for person in found]


def _sources(environment: Environment, school: str) -> list[str]:
    return [source for source in environment.tables.sources_of(school) if source in SOURCES]


def _by_code(environment: Environment, school: str, found: list[Person]) -> list[Person]:
    """The same pupils by the other sources, whose own numbers differ: by the school's code of them, which is one."""
    known = {person.source for person in found}
    more: dict[tuple[str, str], Person] = {}
    for source in _sources(environment, school):
        for person in found if source not in known else ():
            for code in sorted(person.ids.get(SCHOOL_CODE, frozenset())):
                for same in _of_source(environment, school, source, person.entity, code):
                    if code in same.ids.get(SCHOOL_CODE, frozenset()):
                        more[source, same.id] = same
    return list(more.values())


def _of_source(environment: Environment, school: str, source: str, entity: str, who: str) -> Iterator[Person]:
    """The people of one source and kind whom `who` means on any night."""
    found: dict[str, list[Person]] = {}
    dataset, _ = WHO[entity]
    for table, _ in environment.tables.objects_of(source, dataset, school):
        with contextlib.suppress(StorageError):  # who looks through all tables says that this one is damaged
            for person in people_in(entity, source, environment.tables.load(table), who):
                found.setdefault(person.id, []).append(person)
    for seen in found.values():
        yield together(seen)


def _whole(environment: Environment, school: str, person: Person) -> Person:
    """A person with all that any night said of them: addresses and codes of before, by which nobody asked."""
    (whole,) = _of_source(environment, school, person.source, person.entity, person.name)
    return whole
