"""E-mail addresses: which one of a field counts, and who keeps one that several have.

SchoolsBuddy is built around every user having an e-mail address of their own. A field counts only where every part
of it is an address or a known label: a blank typed inside an address must not make a stranger's address of the rest.
"""

from __future__ import annotations

import re
from dataclasses import dataclass
from functools import lru_cache

import pandas as pd

from isams_pipeline.rules.compare import mailbox, validated, without_unseen
from isams_pipeline.rules.split import Exclusions, Split

NO_ADDRESS = "no valid e-mail address"
MORE_THAN_ADDRESSES = "its e-mail field holds more than addresses, so none of it counts"
UNSEEN = "characters that cannot be seen were taken out of its e-mail field"
_LABELS = {
    *("home", "work", "personal", "private", "business", "main", "primary", "other", "mobile"),
    *("email", "e-mail", "mail"),
}
"""What people write beside an address to say which it is. No words for people: `dad: …` is somebody else's."""
_BEFORE = {"home", "work", "personal", "email", "e-mail"}
"""Those that may stand bare before an address, with a blank. Of others the address may be the rest: `mail box@…`."""
_LETTERS = {"h", "w", "p", "m", "e"}
"""The same in short, before a colon or in brackets only."""
_PART = re.compile(r"[^\s,;]+")
_BETWEEN = {"/", "|", "&", "-", "\N{EN DASH}"}
"""Signs that may stand alone, behind an address."""


def is_valid(address: str) -> bool:
    """Whether an address is one by its syntax; nothing is looked up."""
    return validated(address) is not None


@dataclass(frozen=True)
class EmailField:
    """What a field that may hold several addresses says."""

    addresses: tuple[str, ...]
    """In their order; none where anything else stands in the field."""
    problem: str | None = None
    """Why there is no address."""
    unseen: bool = False
    """Characters that cannot be seen were taken out."""


@lru_cache(maxsize=65_536)
def _read(field: str) -> EmailField:
    text = without_unseen(field)
    unseen = text != re.sub(r"[ \t\r\n\f\v]+", " ", field).strip(" ")
    found: list[str] = []
    strangers = 0
    matches = list(_PART.finditer(text))
    addresses = [_address(match[0]) for match in matches]
    # What stands before a bare word: an address and perhaps a sign, or something else.
    is_behind = False
    for at, (match, address) in enumerate(zip(matches, addresses, strict=True)):
        gap = text[matches[at - 1].end() : match.start()] if at else ""
        is_behind = is_behind and not any(sign in gap for sign in ",;")
        if address is not None:
            found.append(address)
            is_behind = True
        elif match[0] in _BETWEEN:
            strangers += not is_behind
        elif _is_marked_label(match[0]):
            is_behind = False
        else:
            word, after = match[0].casefold(), text[match.end() :]
            is_before = after[:1] == " " and at + 1 < len(matches) and addresses[at + 1] is not None
            is_before = is_before and not set(",;") & set(text[match.end() : matches[at + 1].start()])
            strangers += word not in (_BEFORE if is_before else _LABELS if is_behind else ())
            is_behind = False
    if not strangers and found:
        return EmailField(tuple(dict.fromkeys(found)), unseen=unseen)
    return EmailField((), MORE_THAN_ADDRESSES if found else NO_ADDRESS, unseen)


def read_field(field: object) -> EmailField:
    """The addresses of a field, split by blanks, commas and semicolons, with or without labels beside them."""
    return _read(field) if isinstance(field, str) and field.strip() else EmailField((), NO_ADDRESS)


def parts(field: object) -> list[str]:
    """What stands in a field, address or not."""
    return [match[0] for match in _PART.finditer(without_unseen(field))] if isinstance(field, str) else []


def _address(part: str) -> str | None:
    """A part as an address: bare, in angle brackets, or behind a label and a colon (`home:a@example.org`)."""
    before, colon, after = part.partition(":")
    if colon and (before.casefold() in _LABELS | _LETTERS or before.casefold() == "mailto"):
        part = after
    if part[:1] == "<" and part[-1:] == ">":
        part = part[1:-1]
    return part if is_valid(part) else None


def _is_marked_label(part: str) -> bool:
    """Whether a part is a label by its colon or its brackets, wherever it stands."""
    word = part.casefold()
    if word[:1] + word[-1:] in {"()", "[]"}:
        return word[1:-1] in _LABELS | _LETTERS
    return word[-1:] == ":" and word[:-1] in _LABELS | _LETTERS


def with_first_valid(frame: pd.DataFrame) -> pd.DataFrame:
    """The frame with `email` reduced to its first address, or null.

    `email_problem` is null where there is one; `email_unseen` says whether something that cannot be seen was taken out.
    """
    fields = [read_field(value) for value in frame["email"]]
    return frame.assign(
        email=_texts([field.addresses[0] if field.addresses else None for field in fields], frame),
        email_problem=_texts([field.problem for field in fields], frame),
        email_unseen=pd.Series([field.unseen for field in fields], index=frame.index, dtype="bool"),
    )


def _texts(values: list[str | None], frame: pd.DataFrame) -> pd.Series[str]:
    return pd.Series(values, index=frame.index, dtype="str")


def having_email(frame: pd.DataFrame) -> Split:
    """Keep those who have an address; `email_problem` is the reason of the others."""
    keep = frame["email"].notna()
    return Split.by(frame, keep, rule="email", reason=frame.loc[~keep, "email_problem"].tolist())


def sensible_emails(frame: pd.DataFrame, *, is_left_empty: bool) -> Split:
    """Keep all, and warn of addresses in which something could not be seen; where `is_left_empty`, of who has none."""
    without = frame["email"].isna()
    noted = frame[frame["email_unseen"] & ~without].assign(rule="email_unseen", reason=UNSEEN)
    if is_left_empty:
        empty = frame[without]
        noted = pd.concat([noted, empty.assign(rule="email", reason=empty["email_problem"] + "; left empty")])
    return Split(frame, noted=noted)


def mailboxes(frame: pd.DataFrame) -> pd.Series[str]:
    """The mailbox of each row's address, null where there is none."""
    return _texts([mailbox(email) or None for email in frame["email"].tolist()], frame)


def unique_emails(frame: pd.DataFrame, key: str, *, entity: str, first_if: str | None = None) -> Split:
    """Keep the one who keeps a shared mailbox: those with `first_if` before the others, then the lowest `key`.

    Those without an address are all kept. The reason names whom a row clashes with.
    """
    order = frame.sort_values(key)
    if first_if is not None:
        order = order.sort_values(first_if, ascending=False, kind="stable")
    folded = mailboxes(order)
    taken = order[key].groupby(folded, sort=False).transform("first")
    keep = folded.isna() | (order[key] == taken)
    reasons = [f"its e-mail address is that of {entity} {owner}" for owner in taken[~keep]]
    split = Split.by(order, keep, rule="unique_email", reason=reasons)
    return Split(split.kept.sort_index(), split.excluded)


def shared_across(groups: dict[str, pd.DataFrame], keys: dict[str, str]) -> Exclusions:
    """Warnings of people whose mailbox is that of people of another group too, whom the reason names.

    `groups` has entity → people, `keys` entity → the column of their numbers. A teacher may be a parent: nobody is
    left out.
    """
    out = Exclusions()
    holders: dict[str, list[tuple[str, int]]] = {}
    for entity, frame in groups.items():
        having = frame[frame["email"].notna()]
        for identifier, email in zip(having[keys[entity]].tolist(), having["email"].tolist(), strict=True):
            holders.setdefault(mailbox(email), []).append((entity, int(identifier)))
    for people in holders.values():
        for entity, identifier in people:
            others = [f"{e} {i}" for e, i in people if e != entity]
            if others:
                reason = f"its e-mail address is also that of {', '.join(others)}"
                out.warn(entity, identifier, "email_shared_across", reason)
    return out
