"""A Batch document → the tables in it, in one pass, holding one row's element and some thousand rows at a time."""

from __future__ import annotations

import re
from collections.abc import Callable, Collection, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from itertools import accumulate
from operator import itemgetter
from typing import IO, Any
from xml.etree.ElementTree import Element  # a type; document.py does the parsing

import pandas as pd

from isams_pipeline.datasets.arrow import Array, pa, pc
from isams_pipeline.datasets.declare import CONTAINER, Column, DatasetDeclaration, Kind
from isams_pipeline.datasets.shapes import Json
from isams_pipeline.errors import NotBatchData, UnsafeDocument, WrongType
from isams_pipeline.rules.notes import CONTROL, MIXED, REPEATED
from isams_pipeline.rules.split import surely
from isams_pipeline.sources.isams import document
from isams_pipeline.sources.isams.encoding import TAKEN_OUT

_BATCH = 2_000
"""Rows that wait as Python objects before they become Arrow arrays."""
_SEPARATOR = "; "
_MARKS = re.compile(f"[{TAKEN_OUT}{document.REPEATED}{document.MIXED}]")


@dataclass
class ParsedTable:
    """A dataset out of a document, before its rules are checked."""

    declaration: DatasetDeclaration
    frame: pd.DataFrame
    """The index counts rows from 1 in the order of the document: a row's number."""
    containers: int
    """How often the element around the rows occurred; 0 means that the document does not have it."""
    repeated_rows: int = 0
    """Rows of a repeated container that said again what an earlier container had said, merged into it."""
    notes: list[tuple[int, str, str]] = field(default_factory=list[tuple[int, str, str]])
    """Fields that are not as the document has them: place in the frame (from 1), column, and what was done."""


def parse(stream: IO[bytes], declarations: Collection[DatasetDeclaration]) -> dict[str, ParsedTable]:
    """Read the datasets that are declared; everything else in the document is ignored.

    Raises DocumentError for a document that is no Batch answer, and WrongType for a field that does not hold
    what its declaration says, naming element, path and row.
    """
    batch = document.BatchDocument(stream)
    outputs = {d.name: _Rows(d, batch) for d in declarations}
    free_form = next((d for d in declarations if d.free_form), None)
    if free_form is not None:
        _parse_free_form(batch, outputs[free_form.name])
    else:
        plans = _plans(declarations, outputs, batch)
        for container, row in batch.rows():
            plan = plans.get((container, row.tag))
            if plan is not None:
                plan.emit(row, batch.containers[container])
            elif "{" in container or row.tag[0] == "{":
                _refuse_namespaced(f"{container}/{row.tag}", plans)
    return {name: rows.finish(batch.containers) for name, rows in outputs.items()}


def _refuse_namespaced(path: str, wanted: Iterable[tuple[str, str]]) -> None:
    """Raise for an element that would be read if it were not in an XML namespace: nothing must go by unread."""
    plain = _NAMESPACE.sub("", path)
    if any(f"{container}/{row}" == plain for container, row in wanted):
        raise _in_a_namespace(plain)


def _in_a_namespace(path: str) -> NotBatchData:
    return NotBatchData(
        "Elements of the document are in an XML namespace, which iSAMS's are not",
        element=path,
        remedy="Check that isams.url is the school's iSAMS; if it is right, report this as a bug.",
    )


_NAMESPACE = re.compile(r"\{[^}]*\}")


# --- which parts of an element go where -------------------------------------------------------------------


@dataclass
class _Wanted:
    """What is wanted of an element, and the slot in its row's values that each thing goes to."""

    attributes: list[tuple[str, int]] = field(default_factory=list[tuple[str, int]])
    leaves: dict[str, int] = field(default_factory=dict[str, int])
    """Children of which only the text is wanted: nearly all there are."""
    inside: dict[str, _Wanted] = field(default_factory=dict[str, "_Wanted"])
    """Children with children of their own."""
    lists: list[tuple[list[str], int]] = field(default_factory=list[tuple[list[str], int]])
    """Paths that may occur several times."""
    constants: list[tuple[str, int]] = field(default_factory=list[tuple[str, int]])
    """What is the same for every element."""

    def add(self, path: str, slot: int, *, many: bool, container: str) -> None:
        for option in path.split("|"):
            steps = option.split("/")
            if option == CONTAINER:
                self.constants.append((container, slot))
            elif many:
                self.lists.append((steps, slot))
            else:
                wanted = self
                for step in steps[:-1]:
                    wanted = wanted.inside.setdefault(step, _Wanted())
                if steps[-1].startswith("@"):
                    wanted.attributes.append((steps[-1][1:], slot))
                else:
                    wanted.leaves[steps[-1]] = slot

    def fill(self, values: list[str | None], element: Element, batch: document.BatchDocument) -> None:
        """Put what is wanted of an element into its slots."""
        for name, slot in self.attributes:
            values[slot] = element.get(name)
        slot_of, inside = self.leaves.get, self.inside
        for child in element[:]:  # a list is walked in two thirds of the time that an element is
            slot = slot_of(child.tag)
            if slot is not None:
                if values[slot] is None and not len(child):
                    values[slot] = child.text
                else:
                    self._unclear(values, slot, child, batch)
            elif child.tag in inside:
                inside[child.tag].fill(values, child, batch)
            elif child.tag[0] == "{" and (plain := child.tag.rpartition("}")[2]) in {*self.leaves, *inside}:
                raise _in_a_namespace(plain)
        for value, slot in self.constants:
            values[slot] = value
        for steps, slot in self.lists:
            values[slot] = text = _SEPARATOR.join(filter(None, map(str.strip, _texts(element, steps))))
            batch.is_marked = batch.is_marked or document.MIXED in text

    def _unclear(self, values: list[str | None], slot: int, child: Element, batch: document.BatchDocument) -> None:
        """What a field holds that occurs a second time, or that has elements inside."""
        before, now = values[slot], child.text
        if len(child):
            values[slot], batch.is_marked = document.MIXED, True
        elif before is None or not before.strip():
            values[slot] = now
        elif now and now.strip() not in {"", before.strip()} and child.get("Legacy") is None:
            values[slot], batch.is_marked = document.REPEATED, True


def _texts(element: Element, steps: list[str]) -> Iterator[str]:
    step, *further = steps
    if step.startswith("@"):
        yield element.get(step[1:], "")
    elif further:
        for child in element.findall(step):
            yield from _texts(child, further)
    else:
        for child in element.findall(step):
            yield document.MIXED if len(child) else child.text or ""


@dataclass
class _Level:
    """An element on the way from an outermost row to the rows nested in it."""

    slots: dict[str, int] = field(default_factory=dict[str, int])
    """Path → slot."""
    wanted: _Wanted = field(default_factory=_Wanted)
    outputs: list[_Rows] = field(default_factory=list["_Rows"])
    """Where the rows that these elements are go."""
    below: dict[str, _Level] = field(default_factory=dict[str, "_Level"])

    def want(self, path: str, *, many: bool, container: str) -> None:
        if path not in self.slots:
            self.slots[path] = len(self.slots)
            self.wanted.add(path, self.slots[path], many=many, container=container)


class _Plan:
    """All that is wanted of the elements at one path, and of the rows nested in them."""

    def __init__(
        self,
        path: str,
        declarations: Collection[DatasetDeclaration],
        outputs: Mapping[str, _Rows],
        batch: document.BatchDocument,
    ) -> None:
        self._top = _Level()
        self._batch = batch
        container = path.split("/")[1]
        for declaration in declarations:
            levels = self._levels(declaration)
            levels[-1].outputs.append(outputs[declaration.name])
            for col in declaration.columns:
                up, inner = _split(col.path)
                levels[-1 - up].want(inner, many=col.many, container=container)
        for declaration in declarations:
            levels = self._levels(declaration)
            starts = [0, *accumulate(len(level.slots) for level in levels)]
            slots = [
                starts[len(levels) - 1 - up] + levels[-1 - up].slots[inner]
                for up, inner in (_split(col.path) for col in declaration.columns)
            ]
            if slots != list(range(starts[-1])):
                outputs[declaration.name].pick(slots)

    def _levels(self, declaration: DatasetDeclaration) -> list[_Level]:
        levels = [self._top]
        for step in declaration.rows.split("/")[3:]:
            levels.append(levels[-1].below.setdefault(step, _Level()))
        return levels

    def emit(self, element: Element, container: int) -> None:
        """Read an element of the container's so-manieth occurrence into rows."""
        self._emit(element, self._top, [], container)

    def _emit(self, element: Element, level: _Level, above: list[str | None], container: int) -> None:
        values = above
        if level.slots:
            own: list[str | None] = [None] * len(level.slots)
            level.wanted.fill(own, element, self._batch)
            values = above + own if above else own
        for rows in level.outputs:
            rows.add(values, container)
        for tag, below in level.below.items():
            for child in element.findall(tag):
                self._emit(child, below, values, container)


def _split(path: str) -> tuple[int, str]:
    """How many levels up a column's path goes, and the rest of it."""
    up = path.count("../")
    return up, path[3 * up :]


def _plans(
    declarations: Collection[DatasetDeclaration], outputs: Mapping[str, _Rows], batch: document.BatchDocument
) -> dict[tuple[str, str], _Plan]:
    """By container path and name of the row's element."""
    by_path: dict[str, list[DatasetDeclaration]] = {}
    for declaration in declarations:
        for rows in (declaration.rows, *declaration.also_rows):
            by_path.setdefault("/".join(rows.split("/")[:3]), []).append(declaration)
    return {
        (path.rpartition("/")[0], path.rpartition("/")[2]): _Plan(path, of_path, outputs, batch)
        for path, of_path in by_path.items()
    }


# --- rows → columns ---------------------------------------------------------------------------------------


class _Rows:
    """The rows of a dataset as they come, turned into Arrow arrays a few thousand at a time."""

    def __init__(self, declaration: DatasetDeclaration, batch: document.BatchDocument) -> None:
        self.declaration = declaration
        self._batch = batch
        self._notes: list[tuple[int, str, str]] = []
        self._pick: Callable[[list[str | None]], Sequence[str | None]] | None = None
        self._repeats_from: int | None = None
        # Row after row in one list: a list each would keep the garbage collector busy.
        self._waiting: list[str | None] = []
        self._full = _BATCH * len(declaration.columns)
        self._arrays: list[list[Array]] = [[] for _ in declaration.columns]
        self._done = 0

    def pick(self, slots: list[int]) -> None:
        """Say where the columns stand in the values of a row that is added; one after the other if unsaid."""
        self._pick = itemgetter(*slots) if len(slots) > 1 else itemgetter(slice(slots[0], slots[0] + 1))

    def add(self, row: list[str | None], container: int = 1) -> None:
        if container > 1 and self._repeats_from is None:
            self._repeats_from = self._done + len(self._waiting) // len(self._arrays)
        self._waiting += row if self._pick is None else self._pick(row)
        if len(self._waiting) >= self._full:
            self._convert()

    def _convert(self) -> None:
        width = len(self._arrays)
        for at, col in enumerate(self.declaration.columns):
            values = self._waiting[at::width]
            if self._batch.has_marks:
                values = [self._without(text, self._done + n, col) for n, text in enumerate(values, start=1)]
            self._arrays[at].append(_converted(self.declaration, col, values, self._done))
        self._done += len(self._waiting) // width
        self._waiting.clear()

    def _without(self, text: str | None, row: int, col: Column) -> str | None:
        """A text without what stands in it for a character that XML forbids; the field is noted.

        Within a number it may have been a digit: what is left would be another number, so it is none. A field that
        says several things, or holds elements where a text should be, is none either.
        """
        if text is None or not _MARKS.search(text):
            return text
        if TAKEN_OUT not in text:
            what = REPEATED if text == document.REPEATED else MIXED
            if not col.nullable:
                said = "occurs several times" if what == REPEATED else "has elements inside"
                raise WrongType(
                    f"A field that every row must have {said}",
                    remedy="Ask iSAMS support what the field now holds.",
                    **_place(self.declaration, col, row - 1),
                )
            self._notes.append((row, col.name, what))
            return None
        self._notes.append((row, col.name, CONTROL))
        outer = text.strip(f"{TAKEN_OUT} \t\r\n")
        if col.kind != "str" and TAKEN_OUT in outer:
            return None if col.nullable else text
        return text.replace(TAKEN_OUT, "")

    def finish(self, containers: Mapping[str, int]) -> ParsedTable:
        self._convert()
        frame = pd.DataFrame(
            {col.name: self._series(at) for at, col in enumerate(self.declaration.columns)}, copy=False
        )
        frame.index = pd.RangeIndex(1, self._done + 1, name="row")
        paths = self.declaration.containers
        found = sum(n for name, n in containers.items() if any(name == p or name.startswith(f"{p}/") for p in paths))
        parsed = ParsedTable(self.declaration, frame, found)
        if self._repeats_from is not None:
            _merge_repeats(parsed, self._repeats_from)
        places = {int(row): at for at, row in enumerate(parsed.frame.index, start=1)} if self._notes else {}
        key = self.declaration.key
        for row in {row for row, *_ in self._notes} - places.keys():
            # A row that was merged into an earlier one is noted there.
            same = (parsed.frame[key] == frame.loc[row, key]).all(axis=1).to_numpy()
            places[row] = int(same.argmax()) + 1
        parsed.notes = list(dict.fromkeys((places[row], column, what) for row, column, what in self._notes))
        return parsed

    def _series(self, at: int) -> Any:
        """A column's pieces as one, column after column, so that only one is in memory twice."""
        whole = pa.chunked_array(self._arrays[at]).combine_chunks()
        self._arrays[at].clear()
        # Else the pieces' room goes to no one, and memory grows by half as much again as the table.
        pa.default_memory_pool().release_unused()
        return self.declaration.series(whole)


def _merge_repeats(parsed: ParsedTable, first_containers_rows: int) -> None:
    """Let a repeated container say again what an earlier one said, as long as it contradicts nothing.

    Two methods of one key may write to the same node; the second then brings the same pupils with other
    fields. A row with a known key whose filled fields agree with the earlier row's is that row.
    """
    frame, key = parsed.frame, parsed.declaration.key
    repeats = frame.duplicated(key, keep="first") & (frame.index > first_containers_rows)
    if not repeats.any():
        return
    first = frame.loc[~frame.duplicated(key, keep="first")].set_index(key)
    others = [name for name in parsed.declaration.names if name not in key]
    again = frame.loc[repeats]
    earlier = first.loc[list(again[key].itertuples(index=False, name=None)) if len(key) > 1 else again[key[0]]]
    agrees = pd.Series(data=True, index=again.index)
    for name in others:
        now, before = again[name], earlier[name].set_axis(again.index)
        agrees &= surely(now.isna() | before.isna() | (now == before))
    merged = again.index[agrees]
    for name in others:
        _fill(frame, name, again.loc[merged, [*key, name]], key)
    parsed.repeated_rows = len(merged)
    parsed.frame = frame.drop(index=merged)


def _fill(frame: pd.DataFrame, name: str, said_again: pd.DataFrame, key: list[str]) -> None:
    """Put what a later container adds into the earlier row's empty cells of a column."""
    adds = said_again.dropna(subset=[name])
    if adds.empty:
        return
    values = dict(zip(adds[key].itertuples(index=False, name=None), adds[name], strict=True))
    empty = frame.index[frame[name].isna()]
    rows = zip(empty, frame.loc[empty, key].itertuples(index=False, name=None), strict=True)
    for row, identifier in rows:
        if identifier in values:
            frame.loc[row, name] = values[identifier]


def _converted(declaration: DatasetDeclaration, col: Column, values: list[str | None], done: int) -> Array:
    """A column's texts as its type; whitespace only is null."""
    texts = pc.utf8_trim_whitespace(pa.array(values, pa.string()))
    sizes = pc.min_max(pc.binary_length(texts)).as_py()
    if sizes["min"] == 0:
        texts = pc.if_else(pc.equal(texts, ""), None, texts)
    kind = col.kind
    if kind == "str":
        if (sizes["max"] or 0) > document.MAX_TEXT and pc.max(pc.utf8_length(texts)).as_py() > document.MAX_TEXT:
            long = pc.index(pc.greater(pc.utf8_length(texts), document.MAX_TEXT), value=True).as_py()
            raise UnsafeDocument(
                f"A field is longer than {document.MAX_TEXT} characters",
                **_place(declaration, col, done + long),
            )
        return texts
    if kind == "bool":
        texts = pc.utf8_lower(texts)
    fits = pc.match_substring_regex(texts, _PATTERNS[kind])
    if pc.all(fits).as_py() is not False:
        try:
            return _CONVERTERS[kind](texts)
        except pa.ArrowInvalid:  # such as a 31st of February
            fits = pa.array([text is None or _converts(_CONVERTERS[kind], text) for text in texts.to_pylist()])
    raise WrongType(
        f"A field does not hold {_IN_WORDS[kind]}",
        remedy="Correct the record in iSAMS, or ask iSAMS support what the field now holds.",
        **_place(declaration, col, done + pc.index(fits, value=False).as_py()),
    )


def _place(declaration: DatasetDeclaration, col: Column, at: int) -> Json:
    return {"dataset": declaration.name, "element": f"{declaration.rows}/{col.path}", "row": at + 1}


def _converts(convert: Callable[[Any], Array], text: str) -> bool:
    try:
        convert(pa.array([text]))
    except pa.ArrowInvalid:
        return False
    return True


_CLOCK = r"\d{2}:\d{2}(:\d{2}(\.\d+)?)?"
_PATTERNS: dict[Kind, str] = {
    "int": r"^-?\d{1,18}$",
    "bool": r"^(0|1|true|false)$",
    "date": rf"^\d{{4}}-\d{{2}}-\d{{2}}(T{_CLOCK})?$",
    "datetime": rf"^\d{{4}}-\d{{2}}-\d{{2}}T{_CLOCK}$",
}


def _to_int(texts: Array) -> Array:
    return pc.cast(texts, pa.int64())


def _to_bool(texts: Any) -> Array:
    # An unknown text stays null here: the pattern has refused it before.
    return pc.if_else(pc.is_null(texts), None, pc.is_in(texts, pa.array(["1", "true"])))


def _to_date(texts: Any) -> Array:
    return pc.cast(pc.cast(pc.utf8_slice_codeunits(texts, 0, 10), pa.date32()), pa.timestamp("ms"))


def _to_datetime(texts: Any) -> Array:
    return pc.cast(pc.utf8_slice_codeunits(texts, 0, 19), pa.timestamp("ms"))


_CONVERTERS: dict[Kind, Callable[[Any], Array]] = {
    "int": _to_int,
    "bool": _to_bool,
    "date": _to_date,
    "datetime": _to_datetime,
}
_IN_WORDS: dict[Kind, str] = {
    "int": "a whole number",
    "bool": "0, 1, True or False",
    "date": "a date such as 2011-05-04T00:00:00",
    "datetime": "a date and time such as 2011-05-04T08:40:00",
}


# --- the feed whose shape is unknown ----------------------------------------------------------------------

_PUPIL_REFERENCES = {"@Id", "@PupilId", "@PupilID", "PupilId", "PupilID", "SchoolId"}
_SCHOOL_ID_DIGITS = 10


def _parse_free_form(batch: document.BatchDocument, rows: _Rows) -> None:
    """Every element directly in a container of PupilManager is a record; every attribute and text a field.

    Assumed, since no sample of the feed is public: a record's `PupilId`, its `SchoolId`, or the `Id` of an
    element named Pupil names the pupil.
    """
    records = (row for container, row in batch.rows() if container.startswith("PupilManager/"))
    for record, element in enumerate(records, start=1):
        fields = list(_fields(element, ""))
        if element.text and element.text.strip():
            fields.append(("#text", element.text))
        pupil_id, school_id = _pupil_of(element.tag, fields)
        for position, (name, value) in enumerate(fields, start=1):
            rows.add([str(record), str(position), pupil_id, school_id, name, value])


def _fields(element: Element, prefix: str, depth: int = 0) -> Iterator[tuple[str, str | None]]:
    if depth > document.MAX_DEPTH:
        raise UnsafeDocument(f"The document is nested deeper than {document.MAX_DEPTH} levels")
    for name, value in element.attrib.items():
        yield f"{prefix}@{name}", value
    for child in element:
        name = f"{prefix}{child.tag}"
        if (len(child) == 0 and not child.attrib) or (child.get("Legacy") is not None and len(child) == 0):
            yield name, child.text
        else:
            if child.text and child.text.strip():
                yield name, child.text
            yield from _fields(child, f"{name}/", depth + 1)


def _pupil_of(tag: str, fields: list[tuple[str, str | None]]) -> tuple[str | None, str | None]:
    pupil_id = school_id = None
    for name, value in fields:
        text = (value or "").strip()
        if name not in _PUPIL_REFERENCES or not text.isascii() or not text.isdigit():
            continue
        if name == "SchoolId" or (len(text) >= _SCHOOL_ID_DIGITS and name != "@Id"):
            school_id = school_id or text
        elif name != "@Id" or tag == "Pupil":
            pupil_id = pupil_id or text
    return pupil_id, school_id
