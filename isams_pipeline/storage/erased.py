"""Who was erased: by keyed hashes, so that nights, backfills and restored backups do not bring them back."""

from __future__ import annotations

from collections.abc import Collection, Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import datetime
from enum import StrEnum
from typing import Any

from sqlalchemy import select

from isams_pipeline.datasets.people import EMAIL, USER_CODE, KnownByHash, Person
from isams_pipeline.errors import StorageError
from isams_pipeline.storage.folder import Folder
from isams_pipeline.storage.keyed import KEY, KeyedHash, keyed_hash
from isams_pipeline.storage.state import StateDatabase
from isams_pipeline.storage.state.rights import ErasedPerson

_GIVEN_AGAIN = {USER_CODE, EMAIL}
"""Kinds that a school gives to the next person: who comes is not told by them."""


class ErasedState(StrEnum):
    """How far an erasure has come."""

    BEGUN = "begun"
    """It was broken off, or a restored backup has brought back what it had taken out: the next call goes on."""
    DONE = "done"
    LIFTED = "lifted"
    """The person may come back."""


@dataclass(frozen=True)
class Erasure:
    """Why somebody is erased, and what is to be told of it."""

    whom: str
    at: datetime
    who: str
    reason: str
    disclosures: Sequence[Mapping[str, Any]] = field(default_factory=list[Mapping[str, Any]])


class Erased:
    """The erased people of all schools."""

    def __init__(self, state: StateDatabase, data: Folder) -> None:
        self._state, self._data = state, data

    def add(self, school: str, people: Iterable[Person], erasure: Erasure) -> None:
        """Note that somebody is erased from now on, as each source has them."""
        key = keyed_hash(self._data)
        with self._state.transaction() as session:
            for person in people:
                of = _hash_of(key, school, person.source)
                session.add(
                    ErasedPerson(
                        school=school,
                        source=person.source,
                        entity=person.entity,
                        whom=erasure.whom,
                        key=key.fingerprint,
                        hashes={kind: sorted(map(of[kind], values)) for kind, values in person.ids.items()},
                        at=erasure.at,
                        who=erasure.who,
                        reason=erasure.reason,
                        state=ErasedState.BEGUN.value,
                        counts={},
                        disclosures=list(erasure.disclosures),
                    )
                )

    def of(self, school: str, *states: ErasedState) -> list[ErasedPerson]:
        """The notes of a school in some states, or in all, the oldest first."""
        wanted = [state.value for state in states or ErasedState]
        query = select(ErasedPerson).where(ErasedPerson.school == school, ErasedPerson.state.in_(wanted))
        with self._state.transaction() as session:
            return list(session.scalars(query.order_by(ErasedPerson.id)))

    def begun(self) -> set[str]:
        """The schools of which an erasure was begun and has not ended."""
        query = select(ErasedPerson.school).where(ErasedPerson.state == ErasedState.BEGUN.value).distinct()
        with self._state.transaction() as session:
            return set(session.scalars(query))

    def people(self, school: str) -> list[Person]:
        """Those whose erasure is under way, to be taken out of what is kept."""
        return [person for note, person in self._known(school) if note.state == ErasedState.BEGUN.value]

    def has(self, school: str, person: Person, kind: str) -> bool:
        """Whether a person is noted, by their number of a kind, as the same source has them."""
        return any(_is_the_same(note, known, person, kind) for note, known in self._known(school))

    def begin_again(self, school: str, people: Iterable[Person], kinds: Mapping[str, str]) -> None:
        """Note of who was erased that something of theirs is there again; `kinds` says of which their numbers are."""
        known = self._known(school)
        for person in people:
            kind = kinds[person.entity]
            again = [note.id for note, one in known if _is_the_same(note, one, person, kind)]
            with self._state.transaction() as session:
                for note in session.scalars(select(ErasedPerson).where(ErasedPerson.id.in_(again))):
                    note.state = ErasedState.BEGUN.value

    def noted(self, school: str, *names: tuple[str, str]) -> set[str]:
        """`whom` of those erased who have one of some numbers or codes: kind and what it is."""
        return {
            note.whom
            for note, person in self._known(school)
            if any(person.is_meant(kind, value) for kind, value in names)
        }

    def who_may_not_come(self, school: str, source: str) -> list[Person]:
        """Those to be left out of what a source says from now on, by what it gives to nobody else."""
        return [
            Person(one.entity, one.source, "", {k: v for k, v in one.ids.items() if k not in _GIVEN_AGAIN})
            for note, one in self._known(school)
            if note.source == source
        ]

    def _known(self, school: str) -> list[tuple[ErasedPerson, Person]]:
        notes = self.of(school, ErasedState.BEGUN, ErasedState.DONE)
        if not notes:
            return []
        key = keyed_hash(self._data) if self._data.exists(KEY) else None
        found: list[tuple[ErasedPerson, Person]] = []
        for note in notes:
            if key is None or note.key != key.fingerprint:
                raise StorageError(
                    "The key by which erased people are known is gone or another, so they might come back",
                    school=school,
                    file=self._data.location(KEY),
                    remedy="Restore the file from a backup; or let all of them come back: "
                    f'isams-pipeline person erase {school} --lift --reason "the key is lost".',
                )
            of = _hash_of(key, school, note.source)
            ids = {kind: KnownByHash(hashes, of[kind]) for kind, hashes in note.hashes.items()}
            found.append((note, Person(note.entity, note.source, "", ids)))
        return found

    def settle(self, school: str, state: ErasedState, whom: Collection[str], counts: Mapping[str, int]) -> None:
        """Note that the erasure of some has ended, or is lifted.

        What a school gives to the next person is forgotten then: a later erasure would take it for theirs.
        """
        before = [ErasedState.BEGUN.value, *([ErasedState.DONE.value] if state is ErasedState.LIFTED else [])]
        whose = (ErasedPerson.school == school, ErasedPerson.whom.in_(whom), ErasedPerson.state.in_(before))
        with self._state.transaction() as session:
            for note in session.scalars(select(ErasedPerson).where(*whose)):
                note.state = state.value
                note.hashes = {kind: values for kind, values in note.hashes.items() if kind not in _GIVEN_AGAIN}
                note.counts = {**note.counts, **{k: note.counts.get(k, 0) + n for k, n in counts.items()}}


def _is_the_same(note: ErasedPerson, known: Person, person: Person, kind: str) -> bool:
    return (note.source, note.entity) == (person.source, person.entity) and known.is_meant(kind, person.id)


class _ByKind(dict[str, KeyedHash]):
    def __init__(self, key: KeyedHash, school: str, source: str) -> None:
        super().__init__()
        self._key, self._before = key, ("erased", school, source)

    def __missing__(self, kind: str) -> KeyedHash:
        made = self[kind] = KeyedHash(self._key.key, (*self._before, kind))
        return made


def _hash_of(key: KeyedHash, school: str, source: str) -> Mapping[str, KeyedHash]:
    return _ByKind(key, school, source)
