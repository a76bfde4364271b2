"""Whether the tables of a night speak of the same school's pupils."""

from __future__ import annotations

from collections.abc import Mapping

import pandas as pd

_FEW = 5
_MOST = 0.5


def other_pupils(pupils: pd.DataFrame, mentions: Mapping[str, pd.DataFrame]) -> list[str]:
    """Tables that mention pupils by number and school code, where most pairs are not those of `pupils`.

    Numbers are small and the same in every school, so another school's answer would fit without a sound; the
    school codes tell. A few mismatches are a school's own mistakes.
    """
    known = pupils[["pupil_id", "school_id"]].dropna()
    problems: list[str] = []
    for name, table in mentions.items():
        both = table[["pupil_id", "school_id"]].dropna().merge(known, on="pupil_id", suffixes=("", "_known"))
        wrong = int((both["school_id"] != both["school_id_known"]).sum())
        if wrong >= _FEW and wrong > _MOST * len(both):
            problems.append(
                f"{wrong} of {len(both)} rows of {name} name pupils of another school; check the key's secret and url"
            )
    return problems
