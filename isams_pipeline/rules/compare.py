"""When two texts mean the same, by what kind of text they are. Pure: the only place that folds texts to compare them.

    code     of sets, users, forms, marks   iSAMS's database compares codes without case and width
    mailbox  an e-mail address              composed characters, IDNA, without case; ß is not ss
    person   a name, in reconciliation only accents count; kinds of apostrophe and hyphen do not
    label    what people typed              without case, outer blanks and doubled inner ones

Each gives a text to compare by, empty for nothing, and never one to deliver.
"""

from __future__ import annotations

import re
import unicodedata
from functools import lru_cache
from typing import TypeGuard

from email_validator import SPECIAL_USE_DOMAIN_NAMES, EmailNotValidError, ValidatedEmail, validate_email

# Reserved domains are as good as any; emptying this list is the library's own way of saying so.
SPECIAL_USE_DOMAIN_NAMES.clear()

_WIDE = {ord("\u3000"): " "} | {wide: chr(wide - 0xFEE0) for wide in range(0xFF01, 0xFF5F)}
_APOSTROPHES = dict.fromkeys(map(ord, "\u2018\u2019\u201b\u02bc\u02b9\u2032`\u00b4\uff07"), "'")
_HYPHENS = dict.fromkeys(map(ord, "\u2010\u2011\u2012\u2013\u2014\u2212\ufe63\uff0d"), "-")
_UNSEEN = re.compile("[\u00ad\u034f\u180e\u200b-\u200f\u202a-\u202e\u2060-\u2064\u2066-\u2069\ufeff]")
_JOINERS = {"\u200c", "\u200d"}
"""Zero-width non-joiner and joiner: part of how names are written in some scripts."""
_BLANKS = re.compile(r"\s+")


def is_text(value: object) -> TypeGuard[str]:
    """Whether a cell holds a text with something to see in it."""
    return isinstance(value, str) and bool(value.strip())


def without_unseen(text: str) -> str:
    """The text without what nobody sees: zero-width and direction marks, a byte order mark; blanks of any width as one.

    For what is typed into addresses, codes and labels. In names, joiners are letters' business: see `is_joiner`.
    """
    return _BLANKS.sub(" ", _UNSEEN.sub("", text)).strip()


def is_joiner(character: str) -> bool:
    """Whether a character that cannot be seen belongs into names all the same."""
    return character in _JOINERS


def _folded(text: str) -> str:
    """Without case, a character for a character: casefold would make ss of ß."""
    composed = unicodedata.normalize("NFC", text)
    simple = "".join(one if len(one) == 1 else c.lower() for c in composed for one in (c.casefold(),))
    return unicodedata.normalize("NFC", simple)


@lru_cache(maxsize=65_536)
def _code(text: str) -> str:
    return _folded(without_unseen(text.translate(_WIDE)))


def code(text: object) -> str:
    """A code: without case, width, and what cannot be seen. Empty for none."""
    return _code(text) if isinstance(text, str) else ""


@lru_cache(maxsize=65_536)
def _label(text: str) -> str:
    return unicodedata.normalize("NFC", without_unseen(text)).casefold()


def label(text: object) -> str:
    """A label: without case, outer blanks and doubled inner ones. Empty for none."""
    return _label(text) if isinstance(text, str) else ""


@lru_cache(maxsize=65_536)
def _person(text: str) -> str:
    return _folded(without_unseen(text.translate(_APOSTROPHES).translate(_HYPHENS)))


def person(text: object) -> str:
    """A person's name: any apostrophe and any hyphen are one, accents count. Empty for none."""
    return _person(text) if isinstance(text, str) else ""


@lru_cache(maxsize=65_536)
def validated(address: str) -> ValidatedEmail | None:
    """An address by its syntax, or None where it is none; nothing is looked up."""
    try:
        return validate_email(address, check_deliverability=False)
    except EmailNotValidError:
        return None


@lru_cache(maxsize=65_536)
def _mailbox(address: str) -> str:
    found = validated(address)
    if found is None:
        return _folded(address)
    return f"{_folded(found.local_part)}@{(found.ascii_domain or found.domain).lower()}"


def mailbox(address: object) -> str:
    """The mailbox of an address: composed characters, the domain by IDNA, without case. Empty for none."""
    return _mailbox(address) if is_text(address) else ""
