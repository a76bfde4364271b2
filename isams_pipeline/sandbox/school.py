"""A made-up school: any size, the same for the same seed, and another one every night.

All names are put together from syllables, telephone numbers are from Ofcom's ranges for drama, addresses end in
example.org. Nothing is taken from a list of real people.
"""

from __future__ import annotations

import uuid
from collections.abc import Iterator
from dataclasses import dataclass
from datetime import date, timedelta
from functools import cached_property
from random import Random

from isams_pipeline.sandbox.calendars import SchoolCalendar
from isams_pipeline.sandbox.edits import Edits
from isams_pipeline.sandbox.people import Contact, Pupil, StaffMember, TeachingSet

_EPOCH = date(2020, 1, 1)
_ONSETS = "b br d f g h j k l m n p r s st t th v w".split()
_VOWELS = "a e i o u ai ea ee".split()
_CODAS = "l m n r s th nd rt x y".split()
_STREETS = ("Sample Street", "Model Lane", "Specimen Road", "Pattern Close")


@dataclass(frozen=True)
class SchoolPlan:
    """What a made-up school is like."""

    seed: str
    pupils: int = 60
    years: tuple[tuple[int, str], ...] = tuple((year, f"Year {year}") for year in range(7, 14))
    """National Curriculum year and display name."""
    troubles: bool = False
    """Joint contacts, shared and broken e-mail addresses, boarding houses."""
    mark: str = ""
    """Goes into every personal value; tests look for it where it must not be."""
    nightly_joiners: int | None = None
    """How many pupils join, and leave, on each night; about 1 in 60 if not said."""
    subjects: int = 6
    rooms: int | None = None
    """How many rooms; about one for 8 pupils if not said."""
    calendar: SchoolCalendar | None = None
    """With one, the school has school years; without, a few pupils join and leave on every night."""


class SchoolDay:
    """The school as it is on one date."""

    def __init__(self, plan: SchoolPlan, day: date, edits: Edits | None = None) -> None:
        if day < _EPOCH:
            raise ValueError(f"the made-up school begins on {_EPOCH}")
        self.plan, self.date = plan, day
        self.edits = edits or Edits()
        self._day = (day - _EPOCH).days
        self._slots = max(plan.pupils + 1, round(plan.pupils * 1.3))
        joiners = plan.nightly_joiners if plan.nightly_joiners is not None else max(1, plan.pupils // 60)
        self._stay = max(10, plan.pupils // max(1, joiners)) if joiners else 0
        self.school_year = day.year if day.month >= 9 else day.year - 1  # noqa: PLR2004

    def _random(self, *of: object) -> Random:
        return Random(f"{self.plan.seed}:{':'.join(map(str, of))}")  # noqa: S311  # repeatable, not secret

    def _word(self, random: Random, syllables: int) -> str:
        parts = [random.choice(_ONSETS) + random.choice(_VOWELS) for _ in range(syllables)]
        return ("".join(parts) + random.choice(_CODAS)).capitalize() + self.plan.mark

    # --- people ---------------------------------------------------------------------------------------

    def _generation(self, slot: int) -> tuple[int, int]:
        """How many pupils sat in a slot before this one, and the days since this one came."""
        if not self._stay:
            return 0, 0
        cycle = self._stay * self._slots // self.plan.pupils
        moved = self._day + slot * cycle // self._slots
        return divmod(moved, cycle)

    @cached_property
    def everyone(self) -> list[Pupil]:
        """Current pupils, and those who left a short while ago."""
        found: list[Pupil] = []
        for slot in range(self._slots):
            generation, days = self._generation(slot)
            if self._stay:
                current, recent = days < self._stay, days < self._stay + 12
            else:
                current = recent = slot < self.plan.pupils
            if recent:
                number = generation * self._slots + slot
                family = (slot // 2 if slot % 4 < 2 else self._slots + slot, generation)  # noqa: PLR2004
                found.append(self.edits.of_pupil(self._pupil(slot, number, slot, family, current=current)))
        return found

    @cached_property
    def pupils(self) -> list[Pupil]:
        """Current pupils."""
        return [pupil for pupil in self.everyone if pupil.current]

    def _pupil(  # who and where
        self, slot: int, number: int, steady: int, family: tuple[int, int], *, current: bool
    ) -> Pupil:
        random = self._random("pupil", number)
        surname = self._word(self._random("family", *family), 2)
        forename = self._word(random, 1 + number % 2)
        year, _ = self.plan.years[slot % len(self.plan.years)]
        form = f"{year}{'XY'[slot // len(self.plan.years) % 2]}"
        identifier = 1000 + number
        email: str | None = f"{forename}.{surname}.{identifier}@pupils.example.org".lower()
        if self.plan.troubles and number % 19 == 0:
            email = None
        if self.plan.troubles and number % 23 == 1:
            email = f"shared{self.plan.mark}@pupils.example.org"
        changed = (self._day + slot * 7) // 30
        tutors = self.teachers
        return Pupil(
            slot=slot,
            id=identifier,
            person_id=200_000 + number,
            guid=str(uuid.uuid5(uuid.NAMESPACE_OID, f"{self.plan.seed}:pupil:{number}")).upper(),
            school_id=f"{100_200_000_000 + random.randrange(10**6) * 1000 + number % 1000}",
            forename=forename,
            surname=surname,
            preferred=None if number % 3 else forename[:4],
            middle=" " if number % 11 == 0 else self._word(random, 1),
            gender="MF"[number % 2],
            born=date(self.school_year - 4 - min(year, 13), 9, 1) + timedelta(days=random.randrange(365)),
            email=email,
            mobile=f"07700 9{(number * 37 + changed) % 100_000:05d}",
            year=year,
            form=form,
            house=1 + steady % 4,
            boarding=10 + steady % 2 if self.plan.troubles and steady % 5 == 0 else None,
            tutor=tutors[slot % len(tutors)].user_code if slot % 17 else "GONE100200300",
            family=family,
            current=current,
            steady=steady,
        )

    @cached_property
    def contacts(self) -> list[Contact]:
        """Contact entries of current pupils."""
        families: dict[tuple[int, int], list[Pupil]] = {}
        for pupil in self.pupils:
            families.setdefault(pupil.family, []).append(pupil)
        return [
            self.edits.of_contact(contact)
            for family, children in families.items()
            for contact in self._parents(family, children)
        ]

    @cached_property
    def by_school_id(self) -> dict[str, Pupil]:
        """Current pupils by their school id."""
        return {pupil.school_id: pupil for pupil in self.pupils}

    @cached_property
    def by_entry(self) -> dict[int, list[Contact]]:
        """The contacts of each entry, the first person first: two where it is a joint one."""
        entries: dict[int, list[Contact]] = {}
        for contact in self.contacts:
            entries.setdefault(contact.entry_id, []).append(contact)
        return {entry: sorted(people, key=lambda one: not one.first) for entry, people in entries.items()}

    @cached_property
    def entries_of(self) -> dict[str, list[int]]:
        """The entries of each pupil's contacts, by school id."""
        found: dict[str, list[int]] = {}
        for entry, people in self.by_entry.items():
            for pupil in people[0].pupils:
                found.setdefault(pupil.school_id, []).append(entry)
        return found

    def _parents(self, family: tuple[int, int], children: list[Pupil]) -> Iterator[Contact]:
        number = family[1] * 2 * (self._slots + self.plan.pupils) + family[0]
        random = self._random("parents", number)
        changed = (self._day + number * 3) // 20
        surname = self._word(self._random("family", *family), 2)
        address = f"{1 + random.randrange(200)} {random.choice(_STREETS)}{self.plan.mark}"
        troubles = self.plan.troubles

        def parent(at: int, relationship: str, title: str, pupils: list[Pupil], entry: int) -> Contact:
            forename = self._word(self._random("parent", number, at), 1 + at % 2)
            email: str | None = f"{forename}.{surname}{number}@example.org"
            if number % 6 == 0:
                email = f"{email}; work.{email}" if at else f"{email} home.{email}"
            if troubles and number % 7 == 1:
                email = f"family{number}{self.plan.mark}@example.org"
            if troubles and number % 11 == 2:  # noqa: PLR2004
                email = (f"{forename}@", f"{forename} at example", "n/a", " ")[number % 4]
            if number % 13 == 3 and at:  # noqa: PLR2004
                email = None
            if number == self._teacher_who_is_a_parent and at == 0:
                email = self.teachers[0].email
            return Contact(
                entry_id=entry,
                person_id=300_000 + number * 3 + at,
                first=at == 0,
                relationship=relationship,
                title=title,
                forename=forename,
                surname=surname,
                email=email,
                telephone=f"01632 960{number % 1000:03d}",
                mobile=None if number % 8 == 5 else f"07700 9{(number * 11 + at + changed) % 100_000:05d}",  # noqa: PLR2004
                address=address,
                postcode=f"ZZ{1 + number % 9} {number % 9}ZZ",
                merge_all=number % 9 != 4,  # noqa: PLR2004
                merge_correspondence=number % 5 != 4,  # noqa: PLR2004
                responsibility=("Default", "Yes", "Default", "No")[(number + at) % 4],
                pupils=pupils,
            )

        entry = 9_000 + number * 4
        joint = troubles and number % 3 == 0
        mother_title, father_title = ("Dr", "Mr") if number % 10 == 0 else ("Mrs", "Mr")
        if len(children) > 1 and number % 2 == 0:
            # One person, an entry for each child.
            for at, child in enumerate(children):
                yield parent(0, "Mother", mother_title, [child], entry + at)
        else:
            yield parent(0, " mother " if number % 12 == 7 else "Mother", mother_title, children, entry)  # noqa: PLR2004
        if number % 10 != 9:  # noqa: PLR2004
            yield parent(1, "Father", father_title, children, entry if joint else entry + 2)
        if number % 4 == 1:
            yield parent(2, "Guardian" if number % 8 == 1 else "Grandmother", "Ms", children, entry + 3)

    @cached_property
    def _teacher_who_is_a_parent(self) -> int:
        first = next(pupil.family for pupil in self.everyone if pupil.current)
        return first[1] * 2 * (self._slots + self.plan.pupils) + first[0]

    @cached_property
    def staff(self) -> list[StaffMember]:
        """Current staff."""
        members: list[StaffMember] = []
        for number in range(self.staff_size):
            members.append(self._member(number, number, members))
        return members

    @property
    def staff_size(self) -> int:
        """How many members of staff there are."""
        return max(8, self.plan.pupils // 8)

    def _member(self, position: int, number: int, members: list[StaffMember]) -> StaffMember:
        """The member of staff with a number, in a position; `members` are those before."""
        random = self._random("staff", number)
        forename, surname = self._word(random, 1), self._word(random, 2)
        email: str | None = f"{forename[:1]}{surname}{number}@staff.example.org"
        if position == 5:  # noqa: PLR2004
            email = None
        if self.plan.troubles and position == 6:  # noqa: PLR2004
            email = members[2].email.upper() if members[2].email else None
        return StaffMember(
            id=10 + number,
            user_code=f"{surname[:3].upper()}{100_200_300_000 + number}",
            title=random.choice(("Mr", "Mrs", "Ms", "Dr")),
            forename=forename,
            surname=surname,
            email=email,
            teaching=position % 4 != 3,  # noqa: PLR2004
        )

    @cached_property
    def teachers(self) -> list[StaffMember]:
        """Teaching staff."""
        return [member for member in self.staff if member.teaching]

    # --- teaching -------------------------------------------------------------------------------------

    @cached_property
    def subjects(self) -> list[tuple[int, str, str]]:
        """Number, name and code of each subject."""
        names = "Mathematics English Physics Chemistry History Geography Music Art Latin Computing".split()
        return [(4 + at, names[at % len(names)], names[at % len(names)][:2]) for at in range(self.plan.subjects)]

    @cached_property
    def sets(self) -> list[TeachingSet]:
        """Teaching sets of about twenty."""
        return self.made_sets()

    @property
    def timetabled(self) -> SchoolDay:
        """The school on the day that the timetable in use is of."""
        return self

    @property
    def rooms_moved(self) -> int:
        """By how many rooms this timetable's lessons are moved against another one's."""
        return 0

    @property
    def term_years(self) -> list[int]:
        """The school years whose terms are in iSAMS."""
        return [self.school_year]

    @property
    def emptied(self) -> list[str]:
        """Containers of the Batch API that have no rows on this day."""
        return []

    def made_sets(self) -> list[TeachingSet]:
        """Sets of the pupils of this day."""
        of_year: dict[int, list[Pupil]] = {}
        for pupil in self.everyone:
            of_year.setdefault(pupil.year, []).append(pupil)
        found: list[TeachingSet] = []
        for year, _ in self.plan.years:
            members = of_year.get(year, [])
            for subject, name, code in self.subjects:
                groups = 1 + len(members) // 22
                for number in range(groups):
                    at = len(found)
                    teachers = [self.teachers[at % len(self.teachers)]]
                    if at % 4 == 0:
                        teachers.append(self.teachers[(at + 1) % len(self.teachers)])
                    found.append(
                        TeachingSet(
                            id=200 + at,
                            subject=subject,
                            year=year,
                            number=number + 1,
                            code=f"{year}{code}{number + 1}",
                            name=f"{year} {name} {number + 1}",
                            teachers=teachers,
                            members=[m for m in members if m.slot // len(self.plan.years) % groups == number],
                        )
                    )
        return found


def simple_school(pupils: int = 60, mark: str = "") -> SchoolPlan:
    """The demo's first school: one site, years 7 to 13, few troubles."""
    return SchoolPlan(seed="riverside", pupils=pupils, mark=mark)


def two_campus_school(pupils: int = 90, mark: str = "") -> SchoolPlan:
    """The demo's second school: two campuses whose years 10 and 20 are both named "05", and many troubles."""
    first = tuple((6 + n, f"{n + 1:02d}") for n in range(5))
    second = tuple((20 + n, f"{n + 5:02d}") for n in range(5))
    return SchoolPlan(seed="harbour", pupils=pupils, years=first + second, troubles=True, mark=mark)
