"""Which pupil a row means, and whether the tables of a night speak of the same school's pupils. Pure."""

from __future__ import annotations

from collections.abc import Mapping

import pandas as pd

from isams_pipeline.rules.columns import Column
from isams_pipeline.rules.compare import code
from isams_pipeline.rules.references import Lookup
from isams_pipeline.rules.split import Exclusions, Split

_FEW = 5
_MOST = 0.5
_SOME = 0.2


def other_pupils(pupils: pd.DataFrame, mentions: Mapping[str, pd.DataFrame]) -> list[str]:
    """Tables that mention pupils, but not those of `pupils`.

    Where no row's pupil is there, or where most pairs of number and school code are those of others.
    Numbers are small and the same in every school, so another school's answer would fit without a sound; the
    school codes tell. A few mismatches are a school's own mistakes.
    """
    problems: list[str] = []
    for name, every in mentions.items():
        named = every["pupil_id"].notna() | (every["school_id"].notna() if "school_id" in every else False)
        table = every[named]
        if len(table) >= _FEW and not _knows(pupils, table).any():
            problems.append(
                f"none of the {len(table)} rows of {name} names a pupil of this night's; ask for that list again, and "
                "check that its ids are written as the pupils' are"
            )
            continue
        if "school_id" not in table or "school_id" not in pupils:
            continue
        known = pupils[["pupil_id", "school_id"]].dropna()
        both = table[["pupil_id", "school_id"]].dropna().merge(known, on="pupil_id", suffixes=("", "_known"))
        wrong = int((both["school_id"] != both["school_id_known"]).sum())
        if wrong >= _FEW and wrong > _MOST * len(both):
            problems.append(
                f"{wrong} of {len(both)} rows of {name} name pupils of another school; check the key's secret and url"
            )
    return problems


def other_staff(staff: pd.DataFrame, mentions: Mapping[str, Column]) -> list[str]:
    """Tables that mention staff by code, but hardly any of those of `staff`: one of the two is another school's."""
    known = {code(text) for text in staff["user_code"].dropna()}
    problems: list[str] = []
    for name, codes in mentions.items():
        said = {code(text) for text in codes.dropna()}
        if known and len(said) >= _FEW and len(said & known) < _SOME * len(said):
            problems.append(
                f"of the {len(said)} members of staff that {name} name, {len(said & known)} are in this night's staff; "
                "one of the two is another school's answer: check the keys' secrets and urls"
            )
    return problems


def _knows(pupils: pd.DataFrame, table: pd.DataFrame) -> pd.Series[bool]:
    """Which rows name a pupil by number or by school code."""
    known = table["pupil_id"].isin(pupils["pupil_id"].dropna())
    if "school_id" in table and "school_id" in pupils:
        known |= table["school_id"].isin(pupils["school_id"].dropna())
    return known


def of_pupils(frame: pd.DataFrame, pupils: pd.DataFrame) -> Split:
    """Keep the rows that mean a pupil on the roll, and give them that pupil's number as `pupil_id`.

    A row may name its pupil by number, by school code, or by both. The school code counts where the number is missing
    or is nobody's on the roll (who comes back has a new number, and old lists still name the old one), if just one
    pupil has the code. A number and a code of two different pupils on the roll mean nobody.
    """
    on_roll = set(pupils["pupil_id"])
    if "school_id" not in frame:
        keep = frame["pupil_id"].isin(on_roll)
        named = frame.assign(pupil=frame["pupil_id"].astype("str"))
        return Split.by(named, keep, rule="reference", reason="the student is not on the current roll")
    by_code = Lookup.of(pupils, "school_id", "pupil_id", fold=code)
    ids: list[int | None] = []
    reasons: dict[int, str] = {}
    matches = {text: by_code.find(text) for text in frame["school_id"].dropna().unique()}
    nothing = by_code.find(None)
    for at, (number, text) in enumerate(zip(frame["pupil_id"].tolist(), frame["school_id"].tolist(), strict=True)):
        match = matches.get(text, nothing) if isinstance(text, str) else nothing
        here = number in on_roll
        if here and match.candidates and number not in match.candidates:
            ids.append(None)
            reasons[at] = "its pupil number and its school code are those of two different students"
        elif here:
            ids.append(number)
        elif match.is_ambiguous:
            ids.append(None)
            reasons[at] = "several students have its school code"
        else:
            ids.append(match.value)
    found = frame.assign(named_id=frame["pupil_id"], pupil_id=pd.Series(ids, index=frame.index, dtype="Int64"))
    keep = found["pupil_id"].notna()
    excluded = found[~keep].copy()
    excluded["rule"], excluded["pupil_id"] = "reference", excluded["named_id"]
    texts = [reasons.get(at, "the student is not on the current roll") for at, kept in enumerate(keep) if not kept]
    excluded["reason"] = pd.Series(texts, index=excluded.index, dtype="str")
    # Who is named by school code only is named by it in the exclusions, too.
    excluded["pupil"] = excluded["pupil_id"].astype("str").fillna(excluded["school_id"])
    return Split(found[keep], excluded)


def shared_codes(pupils: pd.DataFrame) -> Exclusions:
    """Warnings of pupils of one school code: one person who is on the roll under two numbers, most likely."""
    out = Exclusions()
    for ids in Lookup.of(pupils, "school_id", "pupil_id", fold=code).shared.values():
        for one in ids:
            others = " and ".join(f"student {other}" for other in ids if other != one)
            reason = f"it has the same school code as {others}: they may be one person, entered twice"
            out.warn("student", one, "shared_code", reason)
    return out
