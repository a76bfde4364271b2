"""A Batch document without some people: their rows and links cut out of its bytes, what only names them emptied.

All else stays as it came, to the byte. Rows of unknown shape stay: see `mentions`, which tells of them.
"""

from __future__ import annotations

import re
from collections import deque
from collections.abc import Callable, Iterator, Sequence
from contextlib import AbstractContextManager
from typing import IO, Any
from xml.etree.ElementTree import Element, tostring  # nothing is parsed here
from xml.parsers import expat

from isams_pipeline.datasets.people import Person
from isams_pipeline.sources.isams.document import HEAD, BatchDocument
from isams_pipeline.sources.isams.encoding import TAKEN_OUT, Allowed
from isams_pipeline.sources.isams.people_in import taken_out

Open = Callable[[], AbstractContextManager[IO[bytes]]]
_ROW = 4
"""How deep an outermost row is: iSAMS, module, container, row."""
_ENCODING = re.compile(rb"""(<\?xml[^>]*?encoding\s*=\s*["'])[A-Za-z0-9._-]+(["'])""")
_UTF8_MARK = b"\xef\xbb\xbf"
_Span = tuple[int, int, bytes]


def without(opens: Open, write: Callable[[bytes], None], *, people: Sequence[Person]) -> int:
    """Write a document without some people; gives how many of its rows were changed. Nothing is written for none.

    Reads it three times, each time as a stream. Raises DocumentError where it is no Batch document.
    """
    changes = _changes(opens, people)
    if not changes:
        return 0
    with opens() as stream:
        spans = list(_spans(stream, changes))
    with opens() as stream:
        for piece in _spliced(Allowed(stream), spans):
            write(piece)
    return len(changes)


def _changes(opens: Open, people: Sequence[Person]) -> dict[int, bytes]:
    """Outermost rows by their number in the document → what is to stand there."""
    changes: dict[int, bytes] = {}
    with opens() as stream:
        for number, (container, row) in enumerate(BatchDocument(stream).rows()):
            said = [taken_out(row, container, person) for person in people]
            if None in said:
                changes[number] = b""
            elif any(said):
                changes[number] = _as_bytes(row)
    return changes


def _as_bytes(row: Element) -> bytes:
    row.tail = None
    # A carriage return that was written as a reference would be read as a line's end.
    return tostring(row, encoding="unicode").replace("\r", "&#13;").encode()


def _spans(stream: IO[bytes], changes: dict[int, bytes]) -> Iterator[_Span]:
    """Where the rows that are to change begin and end, in the document's bytes as UTF-8, and what comes there."""
    found: list[_Span] = []
    depth, number = 0, -1
    begins: int | None = None
    ends = False
    parser = expat.ParserCreate("utf-8")
    parser.buffer_text = False

    def settle() -> None:
        """Whatever comes after a row's end says where that end was."""
        nonlocal begins, ends
        if ends and begins is not None:
            found.append((begins, parser.CurrentByteIndex, changes[number]))
        begins, ends = (None, False) if ends else (begins, ends)

    def start(_name: str, _attributes: Any) -> None:
        nonlocal depth, number, begins
        settle()
        depth += 1
        if depth == _ROW:
            number += 1
            begins = parser.CurrentByteIndex if number in changes else None

    def end(_name: str) -> None:
        nonlocal depth, ends
        settle()
        ends = depth == _ROW
        depth -= 1

    parser.StartElementHandler, parser.EndElementHandler = start, end
    parser.DefaultHandler = lambda _text: settle()
    for chunk in _chunks(Allowed(stream)):
        parser.Parse(chunk, False)  # noqa: FBT003
        yield from found
        found.clear()
    parser.Parse(b"", True)  # noqa: FBT003
    yield from found


def _spliced(whole: Allowed, spans: Sequence[_Span]) -> Iterator[bytes]:
    at, left, is_first = 0, deque(spans), True
    for chunk in _chunks(whole):
        kept, end = at, at + len(chunk)
        while left and left[0][0] < end:
            begins, ends, put = left[0]
            if begins >= kept:  # else it was begun in an earlier chunk
                yield _as_it_came(chunk[kept - at : begins - at], whole, is_first=is_first)
                yield _as_it_came(put, whole, is_first=False)
                is_first = False
            kept = min(ends, end)
            if ends > end:
                break
            left.popleft()
        yield _as_it_came(chunk[kept - at :], whole, is_first=is_first)
        at, is_first = end, False


def _chunks(whole: Allowed) -> Iterator[bytes]:
    """A document as `BatchDocument` reads it: without the blanks before it."""
    chunk = whole.read(HEAD).lstrip()
    while chunk:
        yield chunk
        chunk = whole.read(HEAD)


def _as_it_came(piece: bytes, whole: Allowed, *, is_first: bool) -> bytes:
    """A piece of a document as UTF-8, with the characters in it that no XML may hold: who reads it is to see them."""
    if is_first and whole.is_transcoded:
        piece = _ENCODING.sub(rb"\1utf-8\2", piece.removeprefix(_UTF8_MARK), count=1)
    return piece.replace(TAKEN_OUT.encode(), b"\x1f") if whole.found else piece
