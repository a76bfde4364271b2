"""Times of day as minutes after midnight. Pure."""

from __future__ import annotations

import re
from typing import TYPE_CHECKING, Any

import pandas as pd

from isams_pipeline.moved import found_elsewhere

_DAY = 24 * 60
_TIME = re.compile(r"^(?:\d{4}-\d{2}-\d{2}[T ])?(\d{1,2}):(\d{2})(?::\d{2}(?:\.\d+)?)?$")


def minutes(text: str | None) -> int | None:
    """Minutes after midnight of `HH:MM`, with or without seconds and a date before it; None if it is no such time."""
    match = _TIME.match(text.strip()) if isinstance(text, str) else None
    if match is None:
        return None
    hours, rest = int(match[1]), int(match[2])
    return hours * 60 + rest if hours < 24 and rest < 60 else None  # noqa: PLR2004


def minutes_of(texts: pd.Series[str]) -> pd.Series[int]:
    """The same for a column; <NA> where it is no time."""
    known = {text: minutes(text) for text in texts.dropna().unique()}
    return texts.map(known).astype("Int64") if known else pd.Series(pd.NA, index=texts.index, dtype="Int64")


def after_midnight(of: pd.Series[Any]) -> Any:
    """Minutes as time to add to a date, by position."""
    added: Any = pd.to_timedelta(pd.Index(of.astype("int64")), unit="m")
    return added


def time_in_words(at: int) -> str:
    """`HH:MM` of minutes after midnight; the time of the next day beyond 24:00."""
    at = at if at <= _DAY else at - _DAY
    return f"{at // 60:02d}:{at % 60:02d}"


if not TYPE_CHECKING:  # who checks types sees what is there

    def __getattr__(name: str) -> object:
        """Names of before, with a warning."""
        return found_elsewhere(__name__, name)
