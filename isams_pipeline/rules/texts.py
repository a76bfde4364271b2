"""Texts from outside on their way to where something reads them as more than a text. Pure.

A room's name is typed by a person; in a mail's subject, a calendar, a picture, a file's name or a terminal it must be
a name and nothing else.
"""

from __future__ import annotations

import re
import unicodedata

LONGEST = 200
_HIDDEN = (
    "\x00-\x08\x0b\x0c\x0e-\x1f\x7f-\x84\x86-\x9f"  # control; tab and the ends of lines are blanks
    "\u00ad\u061c\u200b\u200e\u200f\u202a-\u202e\u2060-\u2069\ufeff"  # marks of direction, and what has no width
    "\ud800-\udfff\ufdd0-\ufdef\ufff9-\ufffb\ufffe\uffff\U000e0000-\U000e007f"  # no characters, and tags
)
_CONTROL = re.compile(f"[{_HIDDEN}]")
_BLANKS = re.compile(r"\s+")
_ENCODED_WORD = re.compile(r"=\?")


def label(text: object, most: int = LONGEST) -> str:
    """One line that is only a name: for mail, calendars, metadata, pictures, names of files and terminals.

    Nothing that controls, turns the direction or cannot be seen; blanks, ends of lines too, are one blank; no encoded
    word of mail's (`=?utf-8?…`), which a reader of the mail would decode; at most so many characters.
    """
    seen = _CONTROL.sub("", _BLANKS.sub(" ", str(text)))
    seen = _BLANKS.sub(" ", seen).strip()  # what stood between two blanks may be gone
    seen = _ENCODED_WORD.sub("= ?", unicodedata.normalize("NFC", seen))
    return seen if len(seen) <= most else seen[: most - 1] + "…"


def in_markdown(text: object) -> str:
    """A label that Markdown shows as it is."""
    return _MARKUP.sub(r"\\\g<0>", label(text, 2000))


_MARKUP = re.compile(r"[\\`*\[\]<>|!~$]")


def visible(text: str) -> str:
    """A text of several lines without what controls a terminal, or turns the direction of what follows."""
    return text if text.isprintable() else _CONTROL.sub("", text.replace("\r\n", "\n").replace("\r", "\n"))


_RUN = re.compile(r"^\s*[=+\-@\t\r]")


def is_formula(cell: str) -> bool:
    """Whether a spreadsheet would run a cell instead of showing it. A number with its sign is a number."""
    return bool(_RUN.match(cell)) and not _SIGNED.fullmatch(cell.strip())


_SIGNED = re.compile(r"[+-]?[\d ()./-]*\d[\d ()./-]*")
"""A number, or a telephone number."""


def shown(cell: str) -> str:
    """A cell as a spreadsheet shows it, for people: what it would run gets an apostrophe before it."""
    return f"'{cell}" if is_formula(cell) else cell
