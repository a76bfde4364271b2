"""XML from outside, read as a stream: no DTD, no entities, no network, and depth and size bounded.

Expat into C-made elements, and not lxml: a document's rows are walked from Python, and lxml makes a new Python
object for every element that is looked at. Measured, that is the half of the time (docs/benchmarks.md).
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator
from dataclasses import dataclass
from typing import IO
from xml.etree.ElementTree import (  # see root_of
    Element,
    ParseError,
    TreeBuilder,
    XMLParser,
    fromstring,
)
from xml.parsers import expat

from isams_pipeline.errors import NotBatchData, PipelineError, TruncatedAnswer, UnsafeDocument
from isams_pipeline.sources.isams.encoding import Allowed, decoder_of, in_utf8, real_encoding, unreadable

ROOT = "iSAMS"
MESSAGE = "Message"

MAX_DOCUMENT = 1 << 30
"""Bytes, uncompressed. The largest school's feeds are a few tens of megabytes."""
MAX_ROW = 1 << 24
"""Bytes of one row's element."""
MAX_TEXT = 1 << 16
"""Characters in one field."""
MAX_DEPTH = 256
"""Elements within elements, looked at every CHUNK."""
MAX_NAMES = 2_000
"""Different names of elements and attributes. All of iSAMS's known ones together are some hundreds."""
MAX_TOKEN = 1 << 22
"""Bytes without any tag, looked at every HEAD: older parsers read a long attribute again and again."""
MAX_MESSAGE = 1 << 16
"""Bytes of an error document."""
HEAD = 1 << 16
"""Bytes from which the root element must be known."""
CHUNK = 1 << 14


@dataclass(frozen=True)
class Message:
    """An iSAMS error document."""

    id: str
    title: str
    description: str


def _refuse_dtd(*_: object) -> None:
    raise UnsafeDocument(
        "The document has a DTD, which iSAMS never sends",
        remedy="Check that the address is the school's iSAMS.",
    )


def root_of(head: bytes) -> str:
    """The name of the root element, in whatever encoding.

    Raises NotBatchData if there is none within `head`, and UnsafeDocument if a DTD comes before it.
    """
    decoder = decoder_of(head)
    return _root_of(head, None) if decoder is None else _root_of(in_utf8(decoder, head), "utf-8")


def _root_of(head: bytes, encoding: str | None) -> str:
    head = head.lstrip()
    if not head:
        raise NotBatchData("The document is empty", remedy="Ask again; if it stays so, ask the school's iSAMS support.")
    names: list[str] = []
    parser = expat.ParserCreate(encoding or real_encoding(head))
    parser.StartDoctypeDeclHandler = _refuse_dtd
    parser.StartElementHandler = lambda name, _: names.append(name)
    try:
        parser.Parse(head, False)  # noqa: FBT003
    except (ValueError, LookupError):
        raise unreadable() from None
    except expat.ExpatError as error:
        if not names:
            raise _syntax(error.code, error.lineno, error.offset) from None
    if not names:
        raise NotBatchData("The document has no root element in its first 64 KB")
    return names[0]


def read_message(data: bytes) -> Message | None:
    """An error document, or None where these bytes are none. Bounded; never raises for bad XML."""
    data = data.lstrip()
    try:
        if len(data) > MAX_MESSAGE or root_of(data) != MESSAGE:
            return None
        root = fromstring(data, XMLParser(encoding=real_encoding(data)))  # noqa: S314  # root_of refused DTDs
    except (PipelineError, ParseError, ValueError, LookupError):
        return None

    def text(name: str) -> str:
        return (root.findtext(name) or "").strip()

    return Message(text("MessageId") or text("MessageName"), text("Title"), text("Description"))


REPEATED = "\ufdd1"
"""Stands for a field that occurs several times with different contents."""
MIXED = "\ufdd2"
"""Stands for a field that has elements inside, where only a text is known."""


class BatchDocument:
    """A Batch answer: `<iSAMS>`, modules, containers, rows. One row at a time is in memory."""

    def __init__(self, stream: IO[bytes]) -> None:
        self._stream = Allowed(stream)
        self.containers: Counter[str] = Counter()
        """How often each container, such as `PupilManager/Contacts`, occurred so far."""
        self.is_marked = False
        """Whether a reader has put REPEATED or MIXED in the place of a text."""
        self._rows_of: Counter[str] = Counter()
        self._last = ""
        self._names = _Names()

    @property
    def has_marks(self) -> bool:
        """Whether some text so far holds TAKEN_OUT, or another mark stands in its place."""
        return self.is_marked or self._stream.found > 0

    def rows(self) -> Iterator[tuple[str, Element]]:
        """Each container's path with each of its rows, in the order of the document.

        Raises DocumentError (with line and column, never the text) where the document is not what a Batch
        answer should be, and TruncatedAnswer where it breaks off.
        """
        chunk = self._stream.read(HEAD).lstrip()
        _check_root(_root_of(chunk, "utf-8" if self._stream.is_transcoded else None))
        # The document grows inside an element of our own, so that its root is at hand before it ends.
        builder = TreeBuilder()
        around = builder.start("", {})
        # A DTD can only stand before the root element, and root_of has seen that there is none.
        encoding = "utf-8" if self._stream.is_transcoded else real_encoding(chunk)
        parser = XMLParser(target=builder, encoding=encoding)  # noqa: S314
        size = since_row = 0
        token = _Token()
        try:
            while chunk:
                size += len(chunk)
                since_row += len(chunk)
                try:
                    token.grow(chunk)
                except UnsafeDocument as error:
                    raise error.at(**self._where()) from None
                for start in range(0, len(chunk), CHUNK):
                    parser.feed(chunk[start : start + CHUNK])
                    _bound(around, size, since_row)
                    for path, row in self._complete(around, finished=False):
                        self._names.look_at(row, since_row)
                        since_row = 0
                        yield path, row
                chunk = self._stream.read(HEAD)
            builder.end("")
            parser.close()
        except ParseError as error:
            # What came before the error counts: where it is, is said by the rows before it.
            for _ in self._complete(around, finished=False):
                pass
            raise _syntax(error.code, *error.position).at(**self._where()) from None
        except (ValueError, LookupError):  # of the parser's own look-up of encodings
            raise unreadable() from None
        yield from self._complete(around, finished=True)

    def _where(self) -> dict[str, object]:
        """How far it was read: the container, and how many of its rows were whole."""
        return {"container": self._last or None, "rows_so_far": self._rows_of[self._last] if self._last else None}

    def _complete(self, around: Element, *, finished: bool) -> Iterator[tuple[str, Element]]:
        """Rows that have ended, each taken out of the tree. The last of its siblings may still grow."""
        if not len(around):
            return
        root = around[0]
        while len(root):
            module = root[0]
            module_ended = finished or len(root) > 1
            if module.get(_SEEN) is None:
                module.set(_SEEN, "")
                self._names.add(module.tag)
            while len(module):
                container = module[0]
                container_ended = module_ended or len(module) > 1
                path = f"{module.tag}/{container.tag}"
                if container.get(_SEEN) is None:
                    container.set(_SEEN, "")
                    self._names.add(container.tag)
                    self.containers[path] += 1
                    self._last = path
                ended = len(container) if container_ended else len(container) - 1
                if ended > 0:
                    rows = container[:ended]
                    del container[:ended]
                    for row in rows:
                        self._rows_of[path] += 1
                        yield path, row
                if not container_ended:
                    return
                del module[0]
            if not module_ended:
                return
            del root[0]


_SEEN = " seen"
"""An attribute name that no document can have."""


class _Names:
    """The names that a document has used. Parser and reader keep each for good, so there is a bound."""

    _EVERY = 64
    """Rows of which one is looked at: the others are like it, or the bound is reached a little later."""
    _LARGE = 1 << 20

    def __init__(self) -> None:
        self._seen: set[str] = set()
        self._rows = 0

    def add(self, *names: str) -> None:
        self._seen.update(names)
        if len(self._seen) > MAX_NAMES:
            raise UnsafeDocument(f"The document has more than {MAX_NAMES} different names of elements and attributes")

    def look_at(self, row: Element, size: int) -> None:
        """Note a row's names; of small rows, now and then."""
        self._rows += 1
        if self._rows % self._EVERY == 0 or size > self._LARGE:
            for element in row.iter():
                self.add(element.tag, *element.keys())


class _Token:
    """How long the text or attribute at the end of what was read is by now."""

    def __init__(self) -> None:
        self._size = 0

    def grow(self, chunk: bytes) -> None:
        last = chunk.rfind(b"<")
        self._size = self._size + len(chunk) if last < 0 else len(chunk) - last
        if self._size > MAX_TOKEN:
            raise UnsafeDocument(f"One text or attribute is larger than {MAX_TOKEN >> 20} MB")


def _check_root(root: str) -> None:
    if root == MESSAGE:
        raise NotBatchData("The document is an error message, not data")
    if root != ROOT:
        raise NotBatchData(
            "The document has another root element than iSAMS",
            remedy="Check that the address is the school's iSAMS.",
        )


def _bound(around: Element, size: int, since_row: int) -> None:
    if size > MAX_DOCUMENT:
        raise UnsafeDocument(f"The document is larger than {MAX_DOCUMENT >> 20} MB")
    if since_row > MAX_ROW:
        raise UnsafeDocument(f"One row of the document is larger than {MAX_ROW >> 20} MB")
    depth = 0
    element = around
    while len(element):
        element = element[-1]
        depth += 1
    if depth > MAX_DEPTH:
        raise UnsafeDocument(f"The document is nested deeper than {MAX_DEPTH} levels")


_BREAKS_OFF = {
    expat.errors.codes[name] for name in (expat.errors.XML_ERROR_NO_ELEMENTS, expat.errors.XML_ERROR_UNCLOSED_TOKEN)
} | {expat.errors.codes[expat.errors.XML_ERROR_PARTIAL_CHAR]}


def _syntax(code: int, line: int, column: int) -> PipelineError:
    """A syntax error by its kind and place."""
    if code in _BREAKS_OFF:
        return TruncatedAnswer("The document breaks off", line=line, column=column)
    if line <= 1 and column == 0:
        return NotBatchData("The document is not XML")
    kind = expat.ErrorString(code) or "unknown"
    return NotBatchData(f"The document is not well-formed XML: {kind}", line=line, column=column)
