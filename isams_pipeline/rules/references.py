"""References: what points at something that is not there is left out, and said."""

from __future__ import annotations

from collections.abc import Collection, Mapping
from typing import Any

import pandas as pd

from isams_pipeline.rules.split import Split


def resolving(frame: pd.DataFrame, column: str, targets: Collection[Any] | pd.Series[Any], *, what: str) -> Split:
    """Keep rows whose `column` names something that is there."""
    keep = frame[column].isin(list(targets))
    return Split.by(frame, keep, rule="reference", reason=f"{what} is not in the export")


def blank_dangling(
    frame: pd.DataFrame, column: str, targets: Collection[Any], *, what: str
) -> tuple[pd.DataFrame, pd.DataFrame]:
    """Empty the cells of `column` that name something that is not there.

    Gives the frame, and the rows whose cell was emptied with `rule` and `reason`.
    """
    dangling = frame[column].notna() & ~frame[column].isin(list(targets))
    blanked = frame.assign(**{column: frame[column].mask(dangling)})
    noted = frame[dangling].assign(rule="reference", reason=f"{what} is not in the export; left empty")
    return blanked, noted


def lookup(frame: pd.DataFrame, key: str, value: str) -> dict[Any, Any]:
    """Key → value, the first where a key occurs twice; rows without a key are left out."""
    known = frame.dropna(subset=[key]).drop_duplicates(key)
    return dict(zip(known[key], known[value], strict=True))


def values_of(frame: pd.DataFrame, column: str) -> set[Any]:
    """What stands in a column."""
    return set(frame[column].dropna())


def mapped(series: pd.Series[Any], by: Mapping[Any, Any]) -> pd.Series[Any]:
    """Texts by a lookup. An empty lookup would make pandas think of numbers."""
    return series.map(by).astype("str")
