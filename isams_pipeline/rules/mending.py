"""What a school's office is to mend in iSAMS, in its own words: out of what rules left out and warned of. Pure.

The names of iSAMS's modules are those of the partners' guides; where a click has another name in a school's iSAMS is
not known (inferred).
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import NamedTuple


class Advice(NamedTuple):
    """What is to be done about one kind of thing."""

    one: str
    """For one record."""
    several: str
    """For several; {n} is how many."""
    where: str
    """Where in iSAMS the records are found."""
    matters: str
    """Why it matters."""


_STUDENTS, _CONTACTS = "Student Manager, Current Pupils", "Student Manager, the pupil's Contacts"
_STAFF, _SETS = "HR Manager, Current Staff", "Teaching Manager, Teaching Sets"
_TIMETABLE, _SCHOOL = "Timetable Manager, the published timetable", "School Manager"
_ROOMS, _COVER = "Estate Manager, Buildings & Classrooms", "Cover Manager"
ADVICE: Mapping[tuple[str, str], Advice] = {
    ("contact", "email"): Advice(
        "Give this contact an e-mail address that works",
        "Give these {n} contacts an e-mail address that works",
        _CONTACTS,
        "without one they are not written to, or get no log-in",
    ),
    ("contact", "unique_email"): Advice(
        "Give this contact an e-mail address of their own",
        "Give these {n} contacts e-mail addresses of their own",
        _CONTACTS,
        "somebody else has the same address, and only one person can have it as a log-in",
    ),
    ("contact", "email_shared_across"): Advice(
        "See whether this contact and a member of staff or pupil are one person, or share an e-mail address",
        "See whether these {n} contacts and members of staff or pupils are one person, or share an e-mail address",
        _CONTACTS,
        "a log-in belongs to one person",
    ),
    ("contact", "email_unseen"): Advice(
        "Type this contact's e-mail address anew",
        "Type the e-mail addresses of these {n} contacts anew",
        _CONTACTS,
        "signs that nobody sees are in it, as when it was copied from elsewhere",
    ),
    ("staff", "email"): Advice(
        "Give this member of staff a school e-mail address that works",
        "Give these {n} members of staff a school e-mail address that works",
        _STAFF,
        "without one they are left out, and so are they as teacher and tutor",
    ),
    ("staff", "unique_email"): Advice(
        "Give this member of staff a school e-mail address of their own",
        "Give these {n} members of staff school e-mail addresses of their own",
        _STAFF,
        "somebody else has the same address",
    ),
    ("staff", "email_shared_across"): Advice(
        "See whether this member of staff and a contact or pupil share an e-mail address",
        "See whether these {n} members of staff and contacts or pupils share e-mail addresses",
        _STAFF,
        "a log-in belongs to one person",
    ),
    ("student", "email"): Advice(
        "Correct this pupil's e-mail address",
        "Correct the e-mail addresses of these {n} pupils",
        _STUDENTS,
        "what stands there is no address, so it is left empty",
    ),
    ("student", "unique_email"): Advice(
        "Give this pupil an e-mail address of their own",
        "Give these {n} pupils e-mail addresses of their own",
        _STUDENTS,
        "another pupil has the same address, so it is left empty",
    ),
    ("student", "no_contact"): Advice(
        "Give this pupil a contact who can be written to",
        "Give these {n} pupils a contact who can be written to",
        _CONTACTS,
        "none of their contacts has the type, the ticks and the e-mail address that are agreed",
    ),
    ("student", "date_of_birth"): Advice(
        "Correct this pupil's date of birth",
        "Correct the dates of birth of these {n} pupils",
        _STUDENTS,
        "it lies in the future, or too far back",
    ),
    ("student", "shared_code"): Advice(
        "Give this pupil a school code of their own",
        "Give these {n} pupils school codes of their own",
        _STUDENTS,
        "two pupils have the same code",
    ),
    ("student", "reference"): Advice(
        "Correct this pupil's tutor, form, year group or house",
        "Correct the tutor, form, year group or house of these {n} pupils",
        _STUDENTS,
        "who or what is named there has left, is not there, or is left out itself",
    ),
    ("class", "no_teachers"): Advice(
        "Give this set a teacher who is on the staff",
        "Give these {n} sets a teacher who is on the staff",
        _SETS,
        "all of its teachers have left, or are left out themselves",
    ),
    ("class", "no_students"): Advice(
        "Put pupils into this set, or remove it",
        "Put pupils into these {n} sets, or remove them",
        _SETS,
        "nobody is in it",
    ),
    ("class_student", "reference"): Advice(
        "Take a pupil who is not on the roll out of this set",
        "Take pupils who are not on the roll out of sets ({n} memberships)",
        "Teaching Manager, Set Lists",
        "they have left, or were never there",
    ),
    ("class_staff", "reference"): Advice(
        "Take a teacher who is not on the staff out of this set",
        "Take teachers who are not on the staff out of sets ({n} times)",
        _SETS,
        "they have left, or are left out themselves",
    ),
    ("house", "reference"): Advice(
        "Give this house a house master or mistress who is on the staff",
        "Give these {n} houses a house master or mistress who is on the staff",
        f"{_SCHOOL}, Houses",
        "who stands there has left, or is left out",
    ),
    ("registration_group", "reference"): Advice(
        "Give this form a tutor who is on the staff",
        "Give these {n} forms a tutor who is on the staff",
        f"{_SCHOOL}, Forms",
        "who stands there has left, or is left out",
    ),
    ("lesson", "room"): Advice(
        "Give this lesson a room that exists",
        "Give these {n} lessons a room that exists",
        _TIMETABLE,
        "the room that it names is not there",
    ),
    ("lesson", "no_room"): Advice(
        "Give this lesson a room", "Give these {n} lessons a room", _TIMETABLE, "no room is booked for it"
    ),
    ("lesson", "teacher"): Advice(
        "Give this lesson a teacher who is on the staff",
        "Give these {n} lessons a teacher who is on the staff",
        _TIMETABLE,
        "a teacher of it has left",
    ),
    ("lesson", "no_teacher"): Advice(
        "Give this lesson a teacher", "Give these {n} lessons a teacher", _TIMETABLE, "it has none who is known"
    ),
    ("lesson", "group"): Advice(
        "Give this lesson the code of a set or a teaching form",
        "Give these {n} lessons the code of a set or a teaching form",
        _TIMETABLE,
        "the code that it has is nobody's, so nobody's pupils are known",
    ),
    ("lesson", "period"): Advice(
        "Put this lesson into a period that exists",
        "Put these {n} lessons into a period that exists",
        _TIMETABLE,
        "the period that it names is not there, so it is left out",
    ),
    ("lesson", "reference"): Advice(
        "Correct the room or teacher of this lesson",
        "Correct the rooms or teachers of these {n} lessons",
        _TIMETABLE,
        "what is named there does not exist",
    ),
    ("room", "double_booked"): Advice(
        "See why this room holds two things at once",
        "See why these {n} rooms hold two things at once",
        _TIMETABLE,
        "the second cannot be shown",
    ),
    ("room", "closed"): Advice(
        "Move what is timetabled in this room while it is closed",
        "Move what is timetabled in these {n} rooms while they are closed",
        f"{_COVER}, Room Closures",
        "lessons stand in a closed room",
    ),
    ("term", "term_dates"): Advice(
        "Correct the dates of this term",
        "Correct the dates of these {n} terms",
        f"{_SCHOOL}, School Terms",
        "it ends before it begins, or has no dates",
    ),
    ("term", "terms_overlap"): Advice(
        "Correct the dates of this term",
        "Correct the dates of these {n} terms",
        f"{_SCHOOL}, School Terms",
        "it overlaps with another",
    ),
    ("term", "no_allocation"): Advice(
        "Allocate timetable weeks to all weeks of this term",
        "Allocate timetable weeks to all weeks of these {n} terms",
        "Timetable Manager, Week Allocations",
        "on days without one nothing is timetabled",
    ),
    ("development_timetable", "timetable"): Advice(
        "Give this development timetable a start date, or remove it",
        "Give these {n} development timetables a start date, or remove them",
        "Timetable Manager",
        "without one nobody knows when it takes over",
    ),
    ("medical", "reference"): Advice(
        "Look at this health record: its pupil is not on the roll",
        "Look at these {n} health records: their pupils are not on the roll",
        "Student Manager, Health",
        "it cannot be passed on",
    ),
}
"""What a row is of, and the rule → what to do."""
AS_AGREED: Mapping[str, str] = {
    "contact_type": "contacts of a type that is not agreed",
    "mail_merge": "contacts that are not ticked for a mail merge that is agreed",
    "contact_years": "contacts of pupils in other years",
    "contact_only": "contacts ticked Contact Only",
    "parental_responsibility": "contacts without parental responsibility",
    "deceased": "contacts who have died",
    "no_student": "contacts without a pupil on the roll",
    "other_campus": "year groups of another campus",
    "covered": "lessons that are covered",
    "suspended": "lessons that do not take place",
}
"""Rules that leave out what the school has agreed to leave out: nothing is to be mended."""
CALLED: Mapping[str, str] = {
    "class": "set",
    "class_student": "set and pupil",
    "class_staff": "set and member of staff",
    "student": "pupil",
    "student_contact": "pupil and contact",
    "staff": "member of staff",
    "registration_group": "form",
    "development_timetable": "development timetable",
    "medical": "health record",
}
"""What a row is of, as the office calls it."""


@dataclass(frozen=True)
class Task:
    """Something that is to be done, and the records that it is about."""

    kind: str
    """What the records are, and by which rule they came here."""
    rule: str
    what: str
    where: str
    matters: str
    records: tuple[str, ...]
    """Their numbers, in order."""
    new: frozenset[str] = frozenset()
    """Those that were not there last time."""

    @property
    def key(self) -> str:
        """What a later report knows it by."""
        return f"{self.kind}/{self.rule}"

    @property
    def called(self) -> str:
        """What the records are, as the office calls it."""
        return CALLED.get(self.kind, self.kind)

    def said(self, record: str) -> str:
        """A record as the office reads it."""
        first, colon, second = record.partition(":")
        links = {"class_student": "pupil {1} in set {0}", "class_staff": "member of staff {1} in set {0}"}
        return links[self.kind].format(first, second) if colon and self.kind in links else record

    def person(self, record: str) -> str:
        """The number of the person that a record is about: of a link the one that is to be taken out."""
        return record.rpartition(":")[2]


@dataclass(frozen=True)
class ToMend:
    """All that a school's office is to mend, and what is left out as it was agreed."""

    tasks: Sequence[Task]
    as_agreed: Mapping[str, int] = field(default_factory=dict[str, int])
    """In words → how many."""
    others: int = 0
    """Things that are nothing for an office: who runs the pipeline sees to them."""

    @property
    def records(self) -> int:
        """How many records are to be mended, by task."""
        return sum(len(task.records) for task in self.tasks)

    @property
    def new(self) -> int:
        """How many of them were not there last time."""
        return sum(len(task.new) for task in self.tasks)


def to_mend(rows: Iterable[Mapping[str, str]], before: Mapping[str, Iterable[str]] | None) -> ToMend:
    """What is to be mended; first what keeps people from being reached.

    `rows`: entity, id and rule of what partners did not get.
    `before`: task → records of the last report; None where there was none, so that nothing counts as new.
    """
    records: dict[tuple[str, str], set[str]] = {}
    agreed: dict[str, set[tuple[str, str]]] = {}
    others: set[tuple[str, str, str]] = set()
    for row in rows:
        entity, rule, identifier = row["entity"], row["rule"], row["id"].lstrip("'")
        if (entity, rule) in ADVICE:
            records.setdefault((entity, rule), set()).add(identifier)
        elif rule in AS_AGREED:
            agreed.setdefault(AS_AGREED[rule], set()).add((entity, identifier))
        else:
            others.add((entity, rule, identifier))
    tasks = [_task(entity, rule, found, before) for (entity, rule), found in records.items()]
    in_order = list(ADVICE)  # who is not reached comes first
    tasks.sort(key=lambda task: in_order.index((task.kind, task.rule)))
    return ToMend(tasks, {what: len(found) for what, found in sorted(agreed.items())}, len(others))


def _task(entity: str, rule: str, found: set[str], before: Mapping[str, Iterable[str]] | None) -> Task:
    advice = ADVICE[entity, rule]
    new = found - set(before.get(f"{entity}/{rule}", ())) if before is not None else set[str]()
    said = advice.one if len(found) == 1 else advice.several.format(n=len(found))
    records = tuple(sorted(found, key=_by_number))
    return Task(entity, rule, said, advice.where, advice.matters, records, frozenset(new))


def _by_number(identifier: str) -> tuple[tuple[int, str], ...]:
    return tuple((int(part) if part.isdecimal() else 0, part) for part in identifier.split(":"))
