"""Erases a person: notes who is not to come back, takes them out of everything, and proves that by looking again."""

from __future__ import annotations

import contextlib
from collections import Counter
from collections.abc import Collection, Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any

from isams_pipeline.datasets.people import EMAIL, PERSON, PUPIL, SCHOOL_CODE, STAFF, USER_CODE, WHO, Person, several
from isams_pipeline.errors import SeveralMeant, StorageError, WrongUse
from isams_pipeline.orchestration.environment import Environment
from isams_pipeline.orchestration.partner import AnyPartner
from isams_pipeline.orchestration.rights.disclosures import Disclosures, disclosures
from isams_pipeline.orchestration.rights.erasing import Erasing
from isams_pipeline.orchestration.rights.finding import Found, Search
from isams_pipeline.orchestration.rights.identity import identify
from isams_pipeline.orchestration.rights.requests import record, whom
from isams_pipeline.sources.isams.people_in import NAMED, OWN, PERHAPS
from isams_pipeline.storage.erased import ErasedState, Erasure

_REWRITTEN = {"archive", "lists", "tables", "staged", "reports", "photos"}
"""The stores in which nothing may be left."""
_KINDS = {"pupil": PUPIL, "contact": PERSON, "staff": STAFF}


@dataclass(frozen=True)
class Outcome:
    """How an erasure ended."""

    counts: Mapping[str, int]
    """Store → how many rows, links and files went."""
    failed: Sequence[str]
    """What could not be rewritten: the next call goes on."""
    still: Sequence[Found]
    """What is there all the same; none where it ended well."""
    perhaps: Sequence[Found]
    """What may be about them and is left for a person to look at: no values are shown of it."""
    left: Sequence[str]
    """Deliveries at partners that may not be rewritten: theirs to delete."""
    open: Sequence[str]
    """What a person is to do before it can end: change requests that are not decided."""
    disclosed: Sequence[Mapping[str, Any]]
    """The deliveries that held them: partner, file, nights."""


def noted(environment: Environment, school: str, who: str) -> set[str]:
    """Those among the erased whom `who` may mean: as in `identify`, but an e-mail address means nobody there."""
    kind, _, number = who.strip().partition(":")
    if number and kind in _KINDS:
        names = [(_KINDS[kind], number)]
    else:
        names = [(kind, who.strip()) for kind in (*_KINDS.values(), SCHOOL_CODE, USER_CODE)]
    return environment.erased.noted(school, *names)


def meant(environment: Environment, school: str, who: str) -> tuple[list[Person], set[str]]:
    """Whom `who` means among those who are kept, and among those erased before; raises WrongUse where nobody is."""
    before = noted(environment, school, who)
    try:
        return identify(environment, school, who), before
    except SeveralMeant:
        raise
    except WrongUse:
        if not before:
            raise
        return [], before


def erase(
    environment: Environment,
    school: str,
    people: Sequence[Person],
    partners: Iterable[AnyPartner],
    *,
    who: str,
    reason: str,
    at_partners: bool = False,
) -> Outcome:
    """Erase a person, and end what was broken off before; with nobody named only the latter.

    Waits for the school's lock. Raises StorageError, and WrongUse where there is nothing to do.
    """
    known = list(partners)
    # A backup that is made meanwhile would name objects that have gone, and know of nobody who is erased.
    with (
        environment.locks.hold(f"school {school}", wait=environment.lock_wait),
        environment.locks.hold("backup", wait=environment.lock_wait),
    ):
        now = environment.clock()
        environment.erased.begin_again(school, people, _KINDS)
        new = [person for person in people if not environment.erased.has(school, person, _KINDS[person.entity])]
        if new:
            given = _told(disclosures(environment, school, known, people))
            alone = [_with_what_is_theirs_alone(environment, school, person) for person in new]
            erasure = Erasure(whom(environment, school, people), now, who, reason, given)
            environment.erased.add(school, alone, erasure)
        hashed = environment.erased.people(school)
        if not hashed:
            raise WrongUse(
                "No erasure at this school is under way", school=school, remedy="Name whom to erase, such as pupil:501."
            )
        why = {"at": now.isoformat(), "who": who, "reason": reason}
        erasing = Erasing(environment, school, known, hashed, why=why, at_partners=at_partners)
        counts = erasing.everything()
        after = Search(environment, school, known, hashed).everything()
        sure = [one for one in after.found if one.how in {OWN, NAMED}]
        still = [one for one in sure if one.store in _REWRITTEN or _is_ours(one, erasing.rewritten)]
        failed = [str(error) for error in erasing.failed] + [f"{one.store}: {one.what}" for one in after.troubles]
        begun = environment.erased.of(school, ErasedState.BEGUN)
        if not still and not failed and not erasing.open:
            environment.erased.settle(school, ErasedState.DONE, {one.whom for one in begun}, counts)
            for note in {one.whom: one for one in begun}.values():
                record(environment, school, "erase", note.whom, who=note.who, reason=note.reason, counts=dict(counts))
        perhaps = [one for one in after.found if one.how == PERHAPS]
        disclosed = [said for one in begun for said in one.disclosures]
        return Outcome(counts, list(dict.fromkeys(failed)), still, perhaps, erasing.left, erasing.open, disclosed)


def lift(environment: Environment, school: str, notes: Iterable[str], *, who: str, reason: str) -> int:
    """Let erased people come back, with the next night that has them; gives how many."""
    gone = set(notes)
    environment.erased.settle(school, ErasedState.LIFTED, gone, Counter())
    for one in gone:
        record(environment, school, "lift", one, who=who, reason=reason, counts={})
    return len(gone)


def _is_ours(one: Found, partners: Collection[str]) -> bool:
    """Whether something at a partner's place is where past exports are rewritten."""
    return one.store == "exports" and one.place.partition("/")[0] in partners


def _told(given: Disclosures) -> list[dict[str, Any]]:
    made = [{"partner": one.partner, "file": one.file, "nights": one.nights} for one in given.made]
    return [*made, *({"partner": p, "file": "?", "nights": sorted(map(str, n))} for p, n in given.unknown.items())]


def _with_what_is_theirs_alone(environment: Environment, school: str, person: Person) -> Person:
    """A person without the e-mail addresses and user codes that somebody else has, too, or had on any night.

    A school gives initials to the next teacher, and a couple shares an address: by these alone nothing is one's own.
    """
    mine = {kind: set(person.ids.get(kind, ())) for kind in (EMAIL, USER_CODE)}
    for entity, (dataset, key) in WHO.items():
        for table, _ in environment.tables.objects_of(person.source, dataset, school):
            with contextlib.suppress(StorageError):
                frame = environment.tables.load(table)
                others = frame if entity != person.entity else frame[frame[key].astype("str") != person.id]
                for column, kind in (("email", EMAIL), ("user_code", USER_CODE)):
                    for cell in others[column].dropna().unique() if column in others else ():
                        mine[kind] -= set(several(kind, cell))
    ids = {kind: values for kind, values in person.ids.items() if kind not in mine}
    return replace(person, ids=ids | {kind: frozenset(values) for kind, values in mine.items() if values})
