"""Which cells of a table speak of a person, and a table without people. Pure."""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
import pandas as pd

from isams_pipeline.datasets.people import COLUMNS, Person


def cells_of(column: pd.Series[Any], person: Person, kind: str) -> Any:
    """Which cells may hold one of the person's numbers or codes: quickly, and rather too many than too few."""
    mine = person.ids.get(kind, frozenset[str]())
    if not mine:
        return np.zeros(len(column), dtype=bool)
    if person.is_known_by_hash:
        return column.isin([value for value in column.dropna().unique() if _is_meant(person, kind, value)]).to_numpy()
    texts = column.astype("str")
    if pd.api.types.is_numeric_dtype(column):
        return texts.isin(mine).to_numpy()
    pattern = "|".join(re.escape(one) for one in sorted(mine))
    return texts.str.contains(pattern, case=False, regex=True, na=False).to_numpy()


def _is_meant(person: Person, kind: str, value: object) -> bool:
    """Whether a cell of a table holds one of a person's numbers, which may be no Python's own number."""
    return person.is_meant(kind, value if isinstance(value, str) else str(value))


def frame_without(frame: pd.DataFrame, people: Sequence[Person], own: Mapping[str, str]) -> pd.DataFrame | None:
    """A table without the rows of people, and with what names them taken out of other rows; None where nothing is."""
    columns = {str(name): COLUMNS[str(name)] for name in frame.columns if name in COLUMNS}
    theirs = np.zeros(len(frame), dtype=bool)
    left = frame
    for person in people:
        for name, kind in columns.items():
            meant = cells_of(frame[name], person, kind)
            if name in own:
                theirs |= meant
            elif meant.any():
                left = left.assign(**{name: _emptied(left[name], meant, person, kind)})
    if left is frame and not theirs.any():
        return None
    return left[~theirs].reset_index(drop=True)


def _emptied(column: pd.Series[Any], meant: Any, person: Person, kind: str) -> pd.Series[Any]:
    if pd.api.types.is_numeric_dtype(column):
        return column.mask(meant)
    return column.mask(meant, column.map(lambda value: person.left_of(kind, value) or None, na_action="ignore"))
