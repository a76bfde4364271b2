"""A document's bytes made readable: UTF-8 whatever its encoding was, and nothing in them that no XML may hold."""

from __future__ import annotations

import codecs
import re
from typing import IO

from isams_pipeline.errors import NotBatchData, TruncatedAnswer

_UTF16_DECLARED = re.compile(rb"<\?xml[^>]*encoding\s*=\s*[\"']utf-?16[\"']", re.IGNORECASE)
_UTF16_MARKS = (b"\xff\xfe", b"\xfe\xff")


def real_encoding(head: bytes) -> str | None:
    """The encoding to insist on, or None to believe the document.

    iSAMS's error documents declare utf-16 over bytes that are UTF-8 (all seven public samples do). A byte order mark
    says more than a declaration.
    """
    if head.startswith(codecs.BOM_UTF8):
        return "utf-8"
    if head.startswith(_UTF16_MARKS) or b"\x00" in head[:8]:
        return None
    return "utf-8" if _UTF16_DECLARED.match(head) else None


def unreadable() -> NotBatchData:
    return NotBatchData("The document is in an encoding that cannot be read")


TAKEN_OUT = "\ufdd0"
"""Stands in a text where a character was that XML forbids: a code point that is none of any script's."""
_MARK = TAKEN_OUT.encode()
_FORBIDDEN = re.compile(
    rb"[\x00-\x08\x0b\x0c\x0e-\x1f]|\xef\xbf[\xbe\xbf]|\xed[\xa0-\xbf][\x80-\xbf]|&#(?:x([0-9a-fA-F]{1,8})|([0-9]{1,10}));"
)
_CONTROLS = bytes(byte for byte in range(0x20) if byte not in {0x09, 0x0A, 0x0D})
_LONGEST_REFERENCE = 16
_XML_CHARACTERS = ((9, 10), (13, 13), (0x20, 0xD7FF), (0xE000, 0xFFFD), (0x10000, 0x10FFFF))
"""The production Char of XML 1.0."""


class Allowed:
    """A document's bytes without what no XML may hold, so that one record's control character is not all records' end.

    .NET writes such a character as a reference (`&#x1F;`) that no parser takes. In its place comes TAKEN_OUT.
    What comes out is UTF-8, whatever the document's own encoding.
    """

    def __init__(self, stream: IO[bytes]) -> None:
        self._stream = stream
        self._kept = b""
        self._decoder: codecs.IncrementalDecoder | None = None
        self._is_begun = False
        self._in_cdata = False
        self.is_transcoded = False
        self.found = 0
        """How many characters were taken out so far."""

    def read(self, size: int) -> bytes:
        """The next bytes, about as many; empty at the end only."""
        chunk = _full(self._stream, size)
        if not self._is_begun:
            self._is_begun, self._decoder = True, decoder_of(chunk)
            self.is_transcoded = self._decoder is not None
        if self._decoder is not None:
            chunk = in_utf8(self._decoder, chunk)
        data = self._kept + chunk
        self._kept = b""
        if chunk and (cut := _cut(data)) > 0:
            data, self._kept = data[:cut], data[cut:]
        begins_in_cdata, last = self._in_cdata, data.rfind(_CDATA)
        if last >= 0 or begins_in_cdata:
            self._in_cdata = data.rfind(_END_OF_CDATA) < last if last >= 0 else _END_OF_CDATA not in data
        if (
            b"&#" not in data
            and b"\xef\xbf" not in data
            and b"\xed" not in data
            and len(data.translate(None, _CONTROLS)) == len(data)
        ):
            return data
        return _FORBIDDEN.sub(lambda match: self._allowed(match, begins_in_cdata), data)

    def _allowed(self, match: re.Match[bytes], begins_in_cdata: bool) -> bytes:  # noqa: FBT001
        digits, base = (match[1], 16) if match[1] else (match[2], 10)
        if digits is not None:
            point = int(digits, base)
            if any(first <= point <= last for first, last in _XML_CHARACTERS):
                return match[0]
            begun, ended = (match.string.rfind(mark, 0, match.start()) for mark in (_CDATA, _END_OF_CDATA))
            if begun > ended or (begins_in_cdata and ended < 0):
                return match[0]  # in there it is only a text that looks like a reference
        self.found += 1
        return _MARK


_CDATA, _END_OF_CDATA = b"<![CDATA[", b"]]>"


def _cut(data: bytes) -> int:
    """Where the data is better cut off: a reference, a character of three bytes, or a mark may be cut in two."""
    ends = ((b"&", _LONGEST_REFERENCE), (b"<", len(_CDATA) - 1), (b"]", 2), (b"\xef", 2), (b"\xed", 2))
    found = [at for mark, length in ends if (at := data.rfind(mark, -length)) >= 0]
    return min(found, default=-1)


def _full(stream: IO[bytes], size: int) -> bytes:
    """As many bytes as asked for, or all that are left: a stream may give less at a time."""
    parts: list[bytes] = []
    while size > 0 and (part := stream.read(size)):
        parts.append(part)
        size -= len(part)
    return b"".join(parts)


def in_utf8(decoder: codecs.IncrementalDecoder, chunk: bytes) -> bytes:
    try:
        return decoder.decode(chunk, not chunk).encode("utf-8", "surrogatepass")
    except UnicodeError:
        if not chunk:
            raise TruncatedAnswer("The document breaks off") from None
        raise NotBatchData("The document is not in the encoding that it says") from None


_UTF32_MARKS = (b"\xff\xfe\x00\x00", b"\x00\x00\xfe\xff")
_NOT_OF_DOCUMENTS = {"idna", "punycode", "unicode-escape", "raw-unicode-escape", "undefined"}
"""Python's own, of names and source texts: what they make of a document is a guess."""
_DECLARED = re.compile(rb"""<\?xml[^>]*encoding\s*=\s*["']([A-Za-z][A-Za-z0-9._-]*)["']""")


def decoder_of(head: bytes) -> codecs.IncrementalDecoder | None:
    """What makes text of a document that is not in UTF-8; None for one that is.

    An encoding that nobody knows is left to the parser, which refuses it.
    """
    name = None
    if head.startswith(_UTF32_MARKS):
        name = "utf-32"
    elif head.startswith(_UTF16_MARKS):
        name = "utf-16"
    elif b"\x00" in head[:2]:
        name = "utf-16-be" if head[:1] == b"\x00" else "utf-16-le"
    elif (declared := _DECLARED.match(head.lstrip())) and not _UTF16_DECLARED.match(head.lstrip()):
        name = declared[1].decode("ascii")
    if name is None:
        return None
    try:
        found = codecs.lookup(name)
        if found.name.replace("_", "-") in _NOT_OF_DOCUMENTS:
            raise unreadable()
        _ = "".encode(name)  # the registry has codecs of other things than texts, too
    except LookupError:
        return None
    if found.name in {"utf-8", "ascii"}:
        return None
    return found.incrementaldecoder("surrogatepass" if found.name.startswith("utf-16") else "strict")
