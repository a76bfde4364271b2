"""The made-up school as another source has it: people once each, lessons on dates, and differences on purpose."""

from __future__ import annotations

import re
from collections.abc import Callable, Iterator
from dataclasses import dataclass, replace
from datetime import date, datetime, timedelta
from functools import cached_property
from random import Random
from typing import Any, TypeVar
from zoneinfo import ZoneInfo

from isams_pipeline.sandbox import registers, timetable
from isams_pipeline.sandbox.people import Contact, Pupil, StaffMember, TeachingSet
from isams_pipeline.sandbox.render import HOUSES, division_of
from isams_pipeline.sandbox.render_timetable import suspended_days
from isams_pipeline.sandbox.school import SchoolDay

T = TypeVar("T")
Mark = tuple[Pupil, date, str, str, int | None]
"""Pupil, date, session, mark, minutes late."""
_SATURDAY = 5
_LESSON_PART = 10
"""iSAMS has a row for each teacher of a lesson; their numbers differ in the last digit."""


@dataclass(frozen=True)
class Planted:
    """A difference from iSAMS that a source has on purpose."""

    dataset: str
    kind: str
    """missing: only iSAMS has it; extra: only the source; or the field that differs."""
    id: str
    """iSAMS's id; of what only the source has, the source's."""


@dataclass(frozen=True)
class Person:
    """A contact once, however many entries iSAMS has for them."""

    contact: Contact
    links: tuple[tuple[Pupil, str, str], ...]
    """Pupil, relationship, responsibility."""

    @property
    def emails(self) -> list[str]:
        """Their addresses, one by one."""
        return [part for part in re.split(r"[\s,;]+", self.contact.email or "") if part]


@dataclass(frozen=True)
class SourceLesson:
    """A lesson of the timetable's week."""

    id: int
    group: TeachingSet | str
    """A set, or a form by its name."""
    period: int
    room: int
    teachers: tuple[StaffMember, ...]


class SourceDay:
    """A school on one date as a source has it."""

    def __init__(self, day: SchoolDay, source: str, zone: ZoneInfo, *, differs: bool) -> None:
        self.day, self.source, self.zone = day, source, zone
        self.differences = list(_planted(day, source)) if differs else []
        self._made: dict[object, Any] = {}
        self._by = {(d.dataset, d.kind): d.id for d in self.differences}

    def once(self, key: object, make: Callable[[], T]) -> T:
        """What was made for this day before, or is made now."""
        if key not in self._made:
            self._made[key] = make()
        return self._made[key]

    def _is(self, dataset: str, kind: str, identifier: object) -> bool:
        return self._by.get((dataset, kind)) == str(identifier)

    @cached_property
    def pupils(self) -> list[Pupil]:
        found: list[Pupil] = []
        for pupil in self.day.pupils:
            if self._is("pupils", "missing", pupil.id):
                continue
            other = f"{pupil.surname}-Otherwise" if self._is("pupils", "surname", pupil.id) else pupil.surname
            found.append(replace(pupil, surname=other))
        return found

    @cached_property
    def by_id(self) -> dict[int, Pupil]:
        return {pupil.id: pupil for pupil in self.pupils}

    @cached_property
    def persons(self) -> list[Person]:
        entries: dict[int, list[Contact]] = {}
        for contact in self.day.contacts:
            entries.setdefault(contact.person_id, []).append(contact)
        found: list[Person] = []
        for person, theirs in entries.items():
            contact = theirs[0]
            if self._is("contacts", "mobile", person):
                contact = replace(contact, mobile="07700 900999")
            links = tuple(
                (pupil, entry.relationship.strip(), entry.responsibility)
                for entry in theirs
                for pupil in entry.pupils
                if pupil.id in self.by_id
            )
            if links and not self._is("contacts", "missing", person):
                found.append(Person(contact, links))
        return found

    @cached_property
    def staff(self) -> list[StaffMember]:
        return [
            replace(member, email="other@staff.example.org") if self._is("staff", "email", member.id) else member
            for member in self.day.staff
            if not self._is("staff", "missing", member.id)
        ]

    @cached_property
    def sets(self) -> list[tuple[TeachingSet, list[Pupil]]]:
        """Each set and its current members."""
        found: list[tuple[TeachingSet, list[Pupil]]] = []
        for group in self.day.sets:
            inside = [member for member in group.members if member.id in self.by_id]
            found.append((group, inside[1:] if self._is("sets", "members", group.id) else inside))
        return found

    @cached_property
    def forms(self) -> dict[str, list[Pupil]]:
        """Form → who is in it."""
        found: dict[str, list[Pupil]] = {f"{year}{letter}": [] for year, _ in self.day.plan.years for letter in "XY"}
        for pupil in self.pupils:
            found[pupil.form].append(pupil)
        return found

    @cached_property
    def houses(self) -> list[tuple[int, str, list[Pupil]]]:
        """Number, name and members of each academic house."""
        return [(number, name, [p for p in self.pupils if p.house == number]) for number, name in HOUSES]

    def form_tutor(self, form: str) -> StaffMember:
        return self.day.teachers[int(form[:-1]) % len(self.day.teachers)]

    @cached_property
    def rooms(self) -> list[timetable.Room]:
        return [
            replace(room, name=f"{room.name} (old)") if self._is("rooms", "name", room.id) else room
            for room in timetable.rooms(self.day)
            if not self._is("rooms", "missing", room.id)
        ]

    @cached_property
    def lessons(self) -> list[SourceLesson]:
        by_code = {group.code: group for group in self.day.sets}
        by_user_code = {member.user_code: member for member in self.day.staff}
        found: dict[int, SourceLesson] = {}
        for lesson in timetable.lessons(self.day):
            group = by_code.get(lesson.code) if lesson.is_set else lesson.code.partition("/")[0]
            if group is None:
                continue
            number = lesson.id // _LESSON_PART * _LESSON_PART if lesson.is_set else lesson.id
            teacher = by_user_code.get(lesson.teacher)
            teachers = (*(found[number].teachers if number in found else ()), *([teacher] if teacher else []))
            found[number] = SourceLesson(number, group, lesson.period, lesson.room, teachers)
        return list(found.values())

    @cached_property
    def dates(self) -> dict[int, list[date]]:
        """Day of the timetable's weeks → the dates on which it occurs in this school year."""
        found: dict[int, list[date]] = {}
        without = suspended_days(self.day)
        for _, first, last in timetable.term_dates(self.day.school_year):
            day = first
            while day <= last:
                if day.weekday() < _SATURDAY and day not in without:
                    week = 1 + (day + timedelta(days=1)).isocalendar().week % 2
                    found.setdefault(week * 10 + day.weekday() + 2, []).append(day)
                day += timedelta(days=1)
        return found

    def marks(self, first: date, last: date, now: datetime) -> Iterator[Mark]:
        """Pupil, date, session, mark and minutes late of every register that was closed by now."""
        day = first
        while day <= min(last, self.day.date):
            if registers.is_school_day(day):
                of_day = SchoolDay(replace(self.day.plan, pupils=1, nightly_joiners=0), day)
                for division in registers.DIVISIONS:
                    for register in registers.registers_of(of_day, division, self.zone):
                        if register.kind in {"AM", "PM"} and register.finish <= now.astimezone(self.zone):
                            yield from self._of_register(register, day)
            day += timedelta(days=1)

    def _of_register(self, register: registers.Register, day: date) -> Iterator[Mark]:
        for pupil in self.pupils:
            if division_of(self.day, pupil.year) == register.division:
                random = Random(f"{self.day.plan.seed}:{register.id}:{pupil.school_id}")  # noqa: S311
                random.random()
                record = registers.status(register, pupil, random, taken=True)
                mark, late = "\\" if register.kind == "PM" else "/", record["numberOfMinutesLate"]
                if record["isLate"]:
                    mark = "L"
                elif record["absenceCodeId"] is not None:
                    mark = registers.ABSENCE_CODES[record["absenceCodeId"]][1]
                yield pupil, day, register.kind, mark, late


def _planted(day: SchoolDay, source: str) -> Iterator[Planted]:
    """What a source has otherwise: the same for the same date."""
    with_sibling = [p for p in day.pupils if sum(q.family == p.family for q in day.pupils) > 1]
    others = [p for p in day.pupils if p not in with_sibling[:2]]
    persons = list(dict.fromkeys(contact.person_id for contact in day.contacts))
    office = [member for member in day.staff if not member.teaching]
    rooms = timetable.rooms(day)
    if source == "assembly":
        yield Planted("pupils", "missing", str(with_sibling[0].id))
        yield Planted("pupils", "surname", str(others[1].id))
        yield Planted("contacts", "mobile", str(persons[3]))
        yield Planted("staff", "missing", str(office[0].id))
        yield Planted("rooms", "name", str(rooms[2].id))
        hidden = with_sibling[0].id
        inside = ((group, {m.id for m in group.members if m.current}) for group in day.sets)
        full = next(group for group, ids in inside if len(ids) > 2 and hidden not in ids)  # noqa: PLR2004
        yield Planted("sets", "members", str(full.id))
    else:
        yield Planted("staff", "email", str(office[-1].id))
        yield Planted("contacts", "missing", str(persons[5]))
        yield Planted("rooms", "missing", str(rooms[-1].id))
