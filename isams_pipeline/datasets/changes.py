"""What changed in a dataset since the night before, and what looks unusual. Pure."""

from __future__ import annotations

from dataclasses import dataclass
from statistics import median

import pandas as pd

from isams_pipeline.datasets.declare import DatasetDeclaration

FULL_DAY_CACHE = 24
_FEWER = 0.7
_FEWER_ROWS = 10


@dataclass(frozen=True)
class RowChanges:
    """Rows by key, compared with an earlier night."""

    added: int
    changed: int
    removed: int


def row_changes(declaration: DatasetDeclaration, now: pd.DataFrame, before: pd.DataFrame) -> RowChanges:
    """Count rows that are new, differ, or are gone."""
    new, old = _hashed(declaration, now), _hashed(declaration, before)
    both = new.merge(old, on=declaration.key, suffixes=("_new", "_old"))
    changed = int((both["row_hash_new"] != both["row_hash_old"]).sum())
    return RowChanges(added=len(new) - len(both), changed=changed, removed=len(old) - len(both))


def _hashed(declaration: DatasetDeclaration, frame: pd.DataFrame) -> pd.DataFrame:
    return frame[declaration.key].assign(row_hash=pd.util.hash_pandas_object(frame[declaration.names], index=False))


def unusual(rows: int, earlier: list[int], *, identical: bool, cache_hours: float) -> str | None:
    """What a person should look at, or None: far fewer rows than of late, or an answer that may be yesterday's."""
    found: list[str] = []
    usual = median(earlier) if earlier else 0
    if rows < _FEWER * usual and usual - rows >= _FEWER_ROWS:
        found.append(f"{rows} rows, while {usual:.0f} were usual over the last {len(earlier)} nights")
    if identical and cache_hours >= FULL_DAY_CACHE:
        found.append(
            f"the answer is identical to the night before, and the key's cache lasts {cache_hours:g} hours: it may "
            "be the old one. Set the key's cache expiry to 2 or 3 hours in iSAMS"
        )
    return "; ".join(found) or None
