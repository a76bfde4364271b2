"""Who has left, as far as the source itself says so: the season, leaving dates, former students. Pure.

The removal guard counts only those who are gone without such an explanation. A lost feed must not look like one, so
each rule here needs evidence of its own, not just that somebody is gone.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Collection, Iterable, Mapping
from dataclasses import dataclass
from datetime import date, timedelta
from typing import Protocol

import pandas as pd

from isams_pipeline.rules.compare import label
from isams_pipeline.rules.dates import is_nothing

_JUNE, _JULY = 6, 7
_FEW = 0.2
"""A year group with less than this share of a usual one is a handful who stay on, not the last year itself."""
_WHOLE_YEAR = timedelta(days=280)
"""Shorter than a school year, and longer than all of its terms but one, however many there are: a year whose last term
nobody has entered yet has not ended with the one before."""
_INTO_THE_NEXT = timedelta(days=28)
"""So far into the new school year its roll-over may still come."""
_LONGEST_SUMMER = timedelta(days=91)
"""The same, counted from the last term, where nobody has entered the new year's terms yet."""
BEFORE_IT_ENDS = timedelta(days=45)
"""Some schools move years up before the last term is over: who was in the last year so long before was leaving."""
_MOST = 0.5
_SEPTEMBER = 9


class Years(Protocol):
    """A campus's year groups."""

    def __contains__(self, year: int, /) -> bool: ...


@dataclass(frozen=True)
class YearEnd:
    """A school year that is over, while its leavers may still be taken off the roll."""

    first: date
    last: date


def year_end(terms: Iterable[pd.DataFrame], night: date) -> YearEnd | None:
    """The school year that ended before a night, while the season for leavers lasts; None at any other time.

    `terms` may come from several nights, since the old year's may be removed before its leavers are. Where a term does
    not say of which school year it is, no year's end can be told from a holiday: then there is no season.
    """
    given = list(terms)
    if any(bool(frame["school_year"].isna().any()) for frame in given):
        return None
    spans = school_years_of(given)
    over = [span for span in spans if span.last < night and span.last - span.first >= _WHOLE_YEAR]
    if not over:
        return None
    ended = max(over, key=lambda span: span.last)
    following = min((span.first for span in spans if span.first > ended.last), default=None)
    until = ended.last + _LONGEST_SUMMER if following is None else following + _INTO_THE_NEXT
    return ended if night <= until else None


def british_year_end(night: date) -> YearEnd | None:
    """The same for a source without terms that has British schools only: the end of June, for July to September."""
    first = date(night.year - 1, _SEPTEMBER, 1)
    return YearEnd(first, date(night.year, _JUNE, 30)) if _JULY <= night.month <= _SEPTEMBER else None


def school_years_of(terms: Iterable[pd.DataFrame]) -> list[YearEnd]:
    """The school years that some tables of terms speak of, from the first day of term to the last."""
    spans: dict[int, tuple[date, date]] = {}
    for frame in terms:
        for year, start, finish in frame[["school_year", "start_date", "finish_date"]].itertuples(
            index=False, name=None
        ):
            if is_nothing(start) or is_nothing(finish) or finish < start:
                continue
            first, last = start.date(), finish.date()
            of = int(year) if not pd.isna(year) else first.year - (first.month < _JULY)
            before = spans.get(of, (first, last))
            spans[of] = (min(before[0], first), max(before[1], last))
    return [YearEnd(*span) for span in spans.values()]


def parts_of(years: Iterable[int], campuses: Collection[Years]) -> list[list[int]]:
    """The year groups of each campus, and those of none, each from the lowest on."""
    known = sorted(set(years))
    parts = [[year for year in known if year in campus] for campus in campuses]
    alone = [year for year in known if not any(year in part for part in parts)]
    return [part for part in (*parts, alone) if part]


def last_year_groups(sizes: Mapping[int, int], campuses: Collection[Years]) -> set[int]:
    """The year groups after which pupils leave: the highest, of each campus where there are several.

    `sizes`: year group → how many pupils. Not that of a campus whose pupils move on to another one here, nor the only
    one that there is: all would be leavers. Above it may be a handful who stay on; they are about to leave, too.
    """
    found: set[int] = set()
    usual = sorted(sizes.values())[len(sizes) // 2] if sizes else 0
    for part in parts_of(sizes, campuses):
        while part and part[-1] + 1 not in sizes:
            top = part.pop()
            if not part and top - 1 not in sizes:
                break
            found.add(top)
            if sizes[top] >= _FEW * usual:
                break
            sizes = {year: size for year, size in sizes.items() if year != top}
    return found


def in_last_year(pupils: pd.DataFrame, campuses: Collection[Years]) -> set[str]:
    """The pupils of the last year group, by number."""
    years = pupils["year_id"].dropna().astype(int)
    last = last_year_groups(Counter(years.tolist()), campuses)
    return set(pupils.loc[pupils["year_id"].isin(last), "pupil_id"].astype("str"))


def moved_up(before: pd.DataFrame, now: pd.DataFrame) -> bool:
    """Whether the years have moved up between two nights: most of those on both are in a higher year group.

    Then who was in the last year group has left, whatever the terms say. Later it tells nothing: the last year group is
    then the one that came up.
    """
    both = before[["pupil_id", "year_id"]].merge(now[["pupil_id", "year_id"]], on="pupil_id", suffixes=("", "_now"))
    both = both.dropna()
    return len(both) > 0 and int((both["year_id_now"] > both["year_id"]).sum()) > _MOST * len(both)


def called_former(contact_pupils: pd.DataFrame) -> set[str]:
    """Pupils whom the source itself still names, and calls former."""
    former = contact_pupils["status"].map(label).eq("former")
    return set(contact_pupils.loc[former, "pupil_id"].dropna().astype("str"))


def staff_who_left(staff: pd.DataFrame, night: date) -> set[str]:
    """Staff whose leaving date has come, by number."""
    dates = staff["leaving_date"]
    left = dates.notna() & ~dates.map(is_nothing).astype(bool) & (dates <= pd.Timestamp(night))
    return set(staff.loc[left, "staff_id"].astype("str"))


def without_students(links: Iterable[tuple[str, str]], here: Collection[str]) -> set[str]:
    """Contacts none of whose students is here any more; `links` are pairs of student and contact."""
    students: dict[str, set[str]] = {}
    for student, contact in links:
        students.setdefault(contact, set()).add(student)
    return {contact for contact, of in students.items() if of.isdisjoint(here)}


def reasons(found: Iterable[tuple[Collection[str], str]], gone: Collection[str]) -> Mapping[str, str]:
    """Each who is gone → the first reason that is given."""
    told: dict[str, str] = {}
    for ids, why in found:
        told |= {one: why for one in gone if one in ids and one not in told}
    return told
