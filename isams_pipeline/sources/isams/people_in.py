"""Where a Batch document speaks of a person: whole rows, rows within rows, and fields that only name somebody.

By the declarations of the datasets, but with all that the document says: also what no dataset reads.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from collections.abc import Set as AbstractSet
from dataclasses import dataclass
from functools import cache
from typing import IO, NamedTuple
from xml.etree.ElementTree import Element  # a type; document.py does the parsing

from isams_pipeline.datasets import DATASETS
from isams_pipeline.datasets.declare import CONTAINER
from isams_pipeline.datasets.people import (
    COLUMNS,
    EMAIL,
    GUID,
    PERSON,
    PUPIL,
    SCHOOL_CODE,
    STAFF,
    USER_CODE,
    Person,
    subjects,
)
from isams_pipeline.sources.isams.document import BatchDocument

_TELLING = {
    **dict.fromkeys(("PupilId", "SchoolId"), (PUPIL, SCHOOL_CODE)),
    "PersonId": (PERSON,),
    "PersonGuid": (GUID,),
    "StaffId": (STAFF,),
    **dict.fromkeys(("UserCode", "Tutor", "Teacher"), (USER_CODE,)),
    **dict.fromkeys(("EmailAddress", "SchoolEmailAddress", "Email"), (EMAIL,)),
}
"""Names of attributes and elements that name somebody where no declaration says what a row is."""


class Mention(NamedTuple):
    """A place in a document that speaks of a person."""

    path: str
    row: int
    """Which row of its container, counted from 1."""
    how: str
    """OWN, NAMED or PERHAPS."""
    fields: Mapping[str, str]


OWN, NAMED, PERHAPS = "own", "named", "perhaps"
"""A row of theirs, or a link; a field of another row that names them; a row of unknown shape that seems to."""


@dataclass(frozen=True)
class _Place:
    """Where in an outermost row a person may be named, and by what."""

    within: tuple[str, ...]
    """The elements from the outermost row down to the row that it is about."""
    steps: tuple[str, ...]
    """From there to the element with the value; an attribute's name comes last, with its @."""
    kind: str
    is_own: bool


@cache
def _places() -> dict[tuple[str, str], list[_Place]]:
    """Container and outermost row's name → where somebody may be named in it."""
    found: dict[tuple[str, str], list[_Place]] = {}
    for declaration in DATASETS.values():
        if declaration.free_form:
            continue
        own = subjects(declaration)
        for rows in (declaration.rows, *declaration.also_rows):
            module, container, outermost, *within = rows.split("/")
            places = found.setdefault((f"{module}/{container}", outermost), [])
            for column in declaration.columns:
                if column.name in COLUMNS and column.path not in {"", CONTAINER}:
                    for path in column.path.split("|"):
                        places.append(_place(tuple(within), path, COLUMNS[column.name], column.name in own))
    return {where: list(dict.fromkeys(places)) for where, places in found.items()}


def _place(within: tuple[str, ...], path: str, kind: str, is_own: bool) -> _Place:  # noqa: FBT001
    steps = path.split("/")
    up = sum(step == ".." for step in steps)
    return _Place(within[: len(within) - up] if up else within, tuple(steps[up:]), kind, is_own)


def _rows_within(row: Element, within: tuple[str, ...]) -> Iterator[Element]:
    if not within:
        yield row
    else:
        yield from row.findall("/".join(within))


def _values(element: Element, steps: tuple[str, ...]) -> Iterator[tuple[Element, str]]:
    """The elements at the end of some steps that have a value there, and the value."""
    *down, last = steps
    if last.startswith("@"):
        ends = element.findall("/".join(down)) if down else [element]
        yield from ((end, end.get(last[1:], "")) for end in ends if end.get(last[1:]))
    else:
        yield from ((end, end.text) for end in element.findall("/".join(steps)) if end.text)


def mentions(stream: IO[bytes], person: Person) -> Iterator[Mention]:
    """All places of a Batch document that speak of a person. Raises DocumentError where it is none."""
    number: dict[str, int] = {}
    known = {where: _Quick.of(places, person) for where, places in _places().items()}
    for container, row in BatchDocument(stream).rows():
        number[container] = number.get(container, 0) + 1
        quick = known.get((container, row.tag))
        if quick is not None and not quick.speaks(row, person):
            continue  # nearly all rows
        for mention in _of_row(f"{container}/{row.tag}", container, row, person):
            yield mention._replace(row=number[container])


@dataclass
class _Quick:
    """The places of an outermost row, so arranged that a row that speaks of nobody is done with at once."""

    attributes: list[tuple[str, str, AbstractSet[str]]]
    leaves: list[tuple[str, str, AbstractSet[str]]]
    others: list[_Place]
    """Deeper ones."""

    @classmethod
    def of(cls, places: list[_Place], person: Person) -> _Quick:
        """The places at which the person may be named at all."""
        made = cls([], [], [])
        for place in places:
            mine = person.ids.get(place.kind)
            if mine is None:
                continue
            if place.within or len(place.steps) != 1:
                made.others.append(place)
            elif place.steps[0].startswith("@"):
                made.attributes.append((place.steps[0][1:], place.kind, mine))
            else:
                made.leaves.append((place.steps[0], place.kind, mine))
        return made

    def speaks(self, row: Element, person: Person) -> bool:
        """Whether any place of a row holds one of the person's numbers or codes."""
        for name, kind, mine in self.attributes:
            value = row.get(name)
            if value and (value in mine or (not value.isdigit() and person.is_meant(kind, value))):
                return True
        for name, kind, mine in self.leaves:
            value = row.findtext(name)
            if value and (value in mine or (not value.isdigit() and person.is_meant(kind, value))):
                return True
        return any(
            person.is_meant(place.kind, value)
            for place in self.others
            for element in _rows_within(row, place.within)
            for _, value in _values(element, place.steps)
        )


def _of_row(path: str, container: str, row: Element, person: Person) -> Iterator[Mention]:
    places = _places().get((container, row.tag))
    if places is None:
        if any(person.is_meant(kind, value) for kind, value in _telling(row)):
            yield Mention(path, 0, OWN if _is_record_of(row, container, person) else PERHAPS, dict(flat(row)))
        return
    own = {id(element) for element, _, _ in _matches(row, places, person, own=True)}
    if id(row) in own:
        yield Mention(path, 0, OWN, dict(flat(row)))
        return
    for within in sorted({place.within for place in places if place.within}):
        for element in _rows_within(row, within):
            if id(element) in own:
                yield Mention("/".join((path, *within)), 0, OWN, dict(flat(element)))
    named = {
        "/".join((*place.within, *place.steps)): value for _, place, value in _matches(row, places, person, own=False)
    }
    if named:
        yield Mention(path, 0, NAMED, named)


def _matches(row: Element, places: list[_Place], person: Person, *, own: bool) -> Iterator[tuple[Element, _Place, str]]:
    for place in places:
        if place.is_own is own:
            for element in _rows_within(row, place.within):
                for _, value in _values(element, place.steps):
                    if person.is_meant(place.kind, value):
                        yield element, place, value


def taken_out(row: Element, container: str, person: Person) -> bool | None:
    """Take a person out of an outermost row: False where nothing was, True where something was.

    None where the row itself is theirs, and is to go as a whole. What only names them is emptied. Rows of unknown
    shape stay as they are: see `mentions`.
    """
    places = _places().get((container, row.tag))
    if places is None:
        return None if _is_record_of(row, container, person) else False
    own = {id(element) for element, _, _ in _matches(row, places, person, own=True)}
    if id(row) in own:
        return None
    changed = _cut(row, own)
    for place in places:
        if not place.is_own:
            for element in _rows_within(row, place.within):
                for end, value in _values(element, place.steps):
                    if person.is_meant(place.kind, value):
                        _empty(end, place, value, person)
                        changed = True
    return changed


def _cut(element: Element, own: set[int]) -> bool:
    changed = False
    for child in list(element):
        if id(child) in own:
            element.remove(child)
            changed = True
        else:
            changed = _cut(child, own) or changed
    return changed


def _empty(end: Element, place: _Place, value: str, person: Person) -> None:
    left = person.left_of(place.kind, value)
    last = place.steps[-1]
    if not last.startswith("@"):
        end.text = left or None
    elif left:
        end.set(last[1:], left)
    else:
        del end.attrib[last[1:]]


def _is_record_of(row: Element, container: str, person: Person) -> bool:
    """Whether a row of unknown shape is somebody's: a record of the medical feed is the pupil's whom it names.

    A tutor or a teacher in it is only named.
    """
    kinds = {kind for kind, value in _telling(row) if person.is_meant(kind, value)}
    return container.startswith("PupilManager/") and bool(kinds & {PUPIL, SCHOOL_CODE})


def _telling(row: Element) -> Iterator[tuple[str, str]]:
    for element in row.iter():
        for name, value in (*element.attrib.items(), (element.tag, element.text or "")):
            for kind in _TELLING.get(name, ()):
                yield kind, value
        if element.tag == "Pupil" and element.get("Id"):
            yield PUPIL, element.get("Id", "")


def flat(element: Element, prefix: str = "") -> Iterator[tuple[str, str]]:
    """Everything that an element says: path → text, attributes with their @; what occurs twice is numbered."""
    counts: dict[str, int] = {}
    for name, value in element.attrib.items():
        yield f"{prefix}@{name}", value
    if element.text and element.text.strip() and prefix:
        yield prefix.rstrip("/"), element.text
    for child in element:
        counts[child.tag] = counts.get(child.tag, 0) + 1
        name = child.tag if counts[child.tag] == 1 else f"{child.tag}[{counts[child.tag]}]"
        yield from flat(child, f"{prefix}{name}/")
