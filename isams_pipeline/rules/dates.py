"""Dates: spans of a school's calendar that do not depend on the school, and dates that stand for nothing. Pure."""

from __future__ import annotations

from collections.abc import Collection
from datetime import date, timedelta
from typing import Any

import pandas as pd

from isams_pipeline.rules.split import Split

_AUGUST = 8
NOTHING = pd.Timestamp(1900, 1, 1)
"""Up to here a date is none: .NET's empty date is 0001-01-01, an empty text in SQL Server becomes 1900-01-01."""


def is_nothing(moment: Any) -> bool:
    """Whether there is no date, or one that stands for none."""
    return moment is None or moment is pd.NaT or moment is pd.NA or moment <= NOTHING


def sensible_births(people: pd.DataFrame, night: date) -> Split:
    """Keep all people, `date_of_birth` emptied where nobody was born then: a date of nothing, or one still to come."""
    births = people["date_of_birth"]
    odd = (births.notna() & ((births <= NOTHING) | (births > pd.Timestamp(night)))).astype(bool)
    if not bool(odd.any()):
        return Split(people)
    reason = "nobody was born on the date of birth that it has; left empty"
    noted = people[odd].assign(rule="date_of_birth", reason=reason)
    return Split(people.assign(date_of_birth=births.mask(odd)), noted=noted)


def school_years(night: date, *, count: int = 1) -> tuple[date, date]:
    """First and last day of the school year that a night is in, from 1 August; with a count, to the end of more."""
    start = night.year if night.month >= _AUGUST else night.year - 1
    return date(start, _AUGUST, 1), date(start + count, _AUGUST, 1) - timedelta(days=1)


def year_of(terms: pd.DataFrame, night: date, *, count: int = 1) -> tuple[date, date]:
    """First and last day of the school year that a night is in; with a count, to the end of more.

    From 1 August, unless the terms say that the school year that the night is in spans the first of August, as it does
    south of the equator: then it is what its terms are.
    """
    first, last = school_years(night, count=count)
    sound = terms[
        ~terms["start_date"].map(is_nothing).astype(bool) & ~terms["finish_date"].map(is_nothing).astype(bool)
    ]
    spans = sound.dropna(subset=["school_year"]).groupby("school_year").agg({"start_date": "min", "finish_date": "max"})
    now, (northern, until) = pd.Timestamp(night), school_years(night)
    for start, finish in spans.itertuples(index=False, name=None):
        if start <= now <= finish and (start < pd.Timestamp(northern) or finish > pd.Timestamp(until)):
            later = [f for s, f in spans.itertuples(index=False, name=None) if s > start][: count - 1]
            return start.date(), max([finish, *later]).date()
    return first, last


LONGEST_HOLIDAY = timedelta(days=92)
"""No school is without a term for longer; until then the next year's terms may still be entered."""


def terms_are_over(terms: pd.DataFrame, night: date) -> date | None:
    """The last day of the last term, where a new school year has begun of which no term is entered yet.

    None where there is one, where there never was any, or where the last was over for longer than any holiday lasts:
    then something is wrong.
    """
    first, last = year_of(terms, night, count=2)
    starts, finishes = terms["start_date"], terms["finish_date"]
    sound = ~starts.map(is_nothing).astype(bool) & ~finishes.map(is_nothing).astype(bool) & (finishes >= starts)
    here = sound & (finishes >= pd.Timestamp(first)) & (starts <= pd.Timestamp(last))
    if bool(here.any()) or not bool(sound.any()):
        return None
    ended: date = finishes[sound].max().date()
    return ended if ended < night <= ended + LONGEST_HOLIDAY else None


def week_of(night: date) -> tuple[date, date]:
    """Monday and Sunday of a night's week."""
    monday = night - timedelta(days=night.weekday())
    return monday, monday + timedelta(days=6)


def nights_in_words(nights: Collection[date]) -> str:
    """Nights as spans: 2026-02-10 to 2026-02-14, 2026-02-20."""
    spans: list[list[date]] = []
    for night in sorted(nights):
        if spans and (night - spans[-1][1]).days == 1:
            spans[-1][1] = night
        else:
            spans.append([night, night])
    return ", ".join(str(first) if first == last else f"{first} to {last}" for first, last in spans)
