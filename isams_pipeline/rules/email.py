"""E-mail addresses: which one of a field counts, and who keeps one that several have.

SchoolsBuddy is built around every user having an e-mail address of their own.
"""

from __future__ import annotations

import re
from functools import lru_cache

import pandas as pd
from email_validator import SPECIAL_USE_DOMAIN_NAMES, EmailNotValidError, validate_email

from isams_pipeline.rules.split import Split

# Reserved domains are as good as any; emptying this list is the library's own way of saying so.
SPECIAL_USE_DOMAIN_NAMES.clear()

_SEPARATORS = re.compile(r"[\s,;]+")


@lru_cache(maxsize=65_536)
def is_valid(address: str) -> bool:
    """Whether an address is one by its syntax; nothing is looked up."""
    try:
        validate_email(address, check_deliverability=False)
    except EmailNotValidError:
        return False
    return True


def first_valid(field: object) -> str | None:
    """The first valid address in a field that may hold several, split by spaces, commas and semicolons."""
    if not isinstance(field, str):
        return None
    return next((part for part in _SEPARATORS.split(field) if part and is_valid(part)), None)


def with_first_valid(frame: pd.DataFrame) -> pd.DataFrame:
    """The frame with `email` reduced to its first valid address, or null."""
    found = [first_valid(value) for value in frame["email"]]
    return frame.assign(email=pd.Series(found, index=frame.index, dtype="str"))


def having_email(frame: pd.DataFrame) -> Split:
    """Keep those who have an address."""
    return Split.by(frame, frame["email"].notna(), rule="email", reason="no valid e-mail address")


def unique_emails(frame: pd.DataFrame, key: str, *, entity: str, first_if: str | None = None) -> Split:
    """Keep the one who keeps a shared address: those with `first_if` before the others, then the lowest `key`.

    Addresses are compared without case; those without one are all kept. The reason names whom a row clashes
    with.
    """
    order = frame.sort_values(key)
    if first_if is not None:
        order = order.sort_values(first_if, ascending=False, kind="stable")
    folded = order["email"].str.casefold()
    taken = order[key].groupby(folded, sort=False).transform("first")
    keep = folded.isna() | (order[key] == taken)
    reasons = [f"its e-mail address is that of {entity} {owner}" for owner in taken[~keep]]
    split = Split.by(order, keep, rule="unique_email", reason=reasons)
    return Split(split.kept.sort_index(), split.excluded)


def shared_across(groups: dict[str, pd.DataFrame], keys: dict[str, str]) -> list[tuple[str, int, str]]:
    """Addresses that people of different groups share: entity, id, and a reason that names the others.

    Nobody is dropped for it: a teacher may be a parent.
    """
    holders: dict[str, list[tuple[str, int]]] = {}
    for entity, frame in groups.items():
        having = frame[frame["email"].notna()]
        for identifier, email in zip(having[keys[entity]], having["email"], strict=True):
            holders.setdefault(str(email).casefold(), []).append((entity, int(identifier)))
    found: list[tuple[str, int, str]] = []
    for people in holders.values():
        for entity, identifier in people:
            others = [f"{e} {i}" for e, i in people if e != entity]
            if others:
                found.append((entity, identifier, f"its e-mail address is also that of {', '.join(others)}"))
    return found
