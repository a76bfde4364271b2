"""A night's tables moved up a school year: what they will look like on its first day, as far as anybody knows. Pure.

Years move up, the last one leaves, sets and timetable get new numbers, terms and weeks are next year's. Nobody knows
who will join, so the first year group is empty. Dates move by 52 weeks, which keeps the day of the week.
"""

from __future__ import annotations

from collections.abc import Collection, Iterable, Mapping
from dataclasses import dataclass
from datetime import date, timedelta
from typing import Any

import pandas as pd

from isams_pipeline.rules.columns import Column
from isams_pipeline.rules.dates import is_nothing
from isams_pipeline.rules.leaving import YearEnd, Years, in_last_year, parts_of, school_years_of, staff_who_left
from isams_pipeline.rules.timetable import week_numbers

_YEAR = timedelta(weeks=52)
_CALENDAR = (1900, 2200)
"""Years that a calendar year can be; a source may hold others."""
_NEW_NUMBERS = 1_000_000
"""What is made anew gets a number so much higher."""


@dataclass(frozen=True)
class Turned:
    """Tables of the next school year's first day."""

    day: date
    tables: dict[str, pd.DataFrame]
    leavers: int
    knows_terms: bool
    """The next year's terms were there already."""


def turned(tables: Mapping[str, pd.DataFrame], night: date, campuses: Collection[Years] = ()) -> Turned | None:
    """A night's tables as they may be on the next school year's first day; None where no term says when that is."""
    spans = sorted(school_years_of([tables["terms"]]) if "terms" in tables else [], key=lambda span: span.first)
    now = next((span for span in reversed(spans) if span.first <= night), None)
    if now is None:
        return None
    following = next((span for span in spans if span.first > now.last), None)
    made = dict(tables)
    if following is None:
        made["terms"] = _with_next_terms(tables["terms"], now)
    day = following.first if following else now.first + _YEAR
    leavers = _people(made, tables, day, campuses) if "pupils" in tables else set[str]()
    _sets(made, tables, campuses, leavers)
    _timetable(made, tables)
    # Adding a year to a date makes its unit finer; the tables stay as they are declared.
    kept = {name: frame.astype(tables[name].dtypes.to_dict()) for name, frame in made.items()}
    return Turned(day, kept, len(leavers), following is not None)


def _with_next_terms(terms: pd.DataFrame, now: YearEnd) -> pd.DataFrame:
    """With a copy of this year's terms, a year later."""
    first, last = pd.Timestamp(now.first), pd.Timestamp(now.last)
    sound = ~terms["start_date"].map(is_nothing).astype(bool) & ~terms["finish_date"].map(is_nothing).astype(bool)
    mine = terms[sound & (terms["start_date"] >= first) & (terms["finish_date"] <= last)]
    later = mine.assign(
        term_id=mine["term_id"] + _NEW_NUMBERS,
        school_year=mine["school_year"] + 1,
        start_date=mine["start_date"] + _YEAR,
        finish_date=mine["finish_date"] + _YEAR,
    )
    return pd.concat([terms, later], ignore_index=True)


def next_years(years: Iterable[int], campuses: Collection[Years]) -> dict[int, int]:
    """Year group → the one after it, at its campus or at the next; after the last comes its campus's first."""
    known = set(years)
    found: dict[int, int] = {}
    for part in parts_of(known, campuses):
        found |= {year: part[(at + 1) % len(part)] for at, year in enumerate(part)}
        if part[-1] + 1 in known:  # on to another campus here
            found[part[-1]] = part[-1] + 1
    return found


def _up(years: Column, following: Mapping[int, int]) -> Column:
    up = [None if pd.isna(year) else following.get(int(year), int(year)) for year in years.tolist()]
    return pd.Series(up, index=years.index, dtype="Int64")


def _people(
    made: dict[str, pd.DataFrame], tables: Mapping[str, pd.DataFrame], day: date, campuses: Collection[Years]
) -> set[str]:
    """Move the pupils up, and take those who leave out of all that names them; gives the leavers."""
    pupils = tables["pupils"]
    leavers = in_last_year(pupils, campuses)
    following = next_years(tables["years"]["year_id"].astype(int).tolist(), campuses)
    stay = pupils[~pupils["pupil_id"].astype("str").isin(leavers)]
    forms = set(tables["forms"]["form_id"]) if "forms" in tables else set[str]()
    up = _up(stay["year_id"], following)
    moved = [_form(*one, forms) for one in zip(stay["form_id"], stay["year_id"], up, strict=True)]
    made["pupils"] = _fresh(stay.assign(year_id=up, form_id=pd.Series(moved, index=stay.index, dtype="str")))
    for name in ("contact_pupils", "health", "siblings"):
        if name in tables:
            frame = tables[name]
            made[name] = _fresh(frame[~frame["pupil_id"].astype("str").isin(leavers)])
    if "contacts" in tables:
        contacts, links = tables["contacts"], made["contact_pupils"]
        mine = contacts.set_index(["entry_id", "person_id"]).index
        of = links.set_index(["entry_id", "person_id"]).index
        # An entry that named nobody before names nobody now: it did not leave.
        named = tables["contact_pupils"].set_index(["entry_id", "person_id"]).index
        made["contacts"] = _fresh(contacts[mine.isin(of) | ~mine.isin(named)])
    if "staff" in tables:
        staff = tables["staff"]
        made["staff"] = _fresh(staff[~staff["staff_id"].astype("str").isin(staff_who_left(staff, day))])
    return leavers


def _form(form: Any, year: Any, up: Any, forms: Collection[str]) -> Any:
    """The form of the year after, where it is named like this one; else the same."""
    if pd.isna(form) or pd.isna(year) or pd.isna(up):
        return form
    name = str(form).replace(str(int(year)), str(int(up)), 1)
    return name if name in forms else form


def _sets(
    made: dict[str, pd.DataFrame],
    tables: Mapping[str, pd.DataFrame],
    campuses: Collection[Years],
    leavers: Collection[str],
) -> None:
    """All sets anew, of the same pupils a year further; the leavers' are the first year's, and still empty."""
    if "sets" not in tables:
        return
    sets = tables["sets"]
    following = next_years(tables["years"]["year_id"].astype(int).tolist(), campuses) if "years" in tables else {}
    made["sets"] = sets.assign(set_id=sets["set_id"] + _NEW_NUMBERS, year_id=_up(sets["year_id"], following))
    if "set_teachers" in tables:
        teachers = tables["set_teachers"]
        made["set_teachers"] = teachers.assign(set_id=teachers["set_id"] + _NEW_NUMBERS)
    if "set_members" in tables:
        members = tables["set_members"]
        stay = members[~members["pupil_id"].astype("str").isin(leavers)]
        made["set_members"] = _fresh(stay.assign(set_id=stay["set_id"] + _NEW_NUMBERS))


def _timetable(made: dict[str, pd.DataFrame], tables: Mapping[str, pd.DataFrame]) -> None:
    """The timetable published anew for the next year, in the same weeks; lessons on dates a year later."""
    if "timetables" in tables:
        timetables = tables["timetables"]
        made["timetables"] = timetables.assign(
            start_year=timetables["start_year"] + 1,
            end_year=timetables["end_year"] + 1,
            start_date=timetables["start_date"] + _YEAR,
        )
    if "lessons" in tables:
        made["lessons"] = tables["lessons"].assign(lesson_id=tables["lessons"]["lesson_id"] + _NEW_NUMBERS)
    if "week_allocations" in tables:
        made["week_allocations"] = _with_next_weeks(tables["week_allocations"])
    if "dated_lessons" in tables:
        dated = tables["dated_lessons"]
        made["dated_lessons"] = dated.assign(date=dated["date"] + _YEAR, set_id=dated["set_id"] + _NEW_NUMBERS)
    for name in ("lesson_suspensions", "room_closures", "calendar_events"):
        if name in tables:
            made[name] = tables[name].iloc[:0]  # nobody has planned them yet


def _with_next_weeks(allocations: pd.DataFrame) -> pd.DataFrame:
    """The allocations, and the same ones 52 weeks later where those weeks have none."""
    known = allocations.dropna(subset=["week", "year"])
    known = known[known["year"].between(*_CALENDAR)]
    taken = set(zip(known["year"].astype(int), known["week"].astype(int), strict=True))
    later: dict[tuple[int, int, Any], None] = {}
    for year, week, of in known[["year", "week", "week_id"]].itertuples(index=False, name=None):
        days = pd.Series(pd.date_range(date(int(year), 1, 1), date(int(year), 12, 31), unit="ms"))
        then: Any = days[week_numbers(days) == int(week)] + _YEAR
        for key in zip(then.dt.year.tolist(), week_numbers(then).tolist(), strict=True):
            if key not in taken:
                later[*key, of] = None
    rows = pd.DataFrame(list(later), columns=["year", "week", "week_id"])
    rows.insert(0, "allocation_id", range(_NEW_NUMBERS, _NEW_NUMBERS + len(rows)))
    rows = rows.astype(allocations.dtypes.to_dict())[list(allocations.columns)]
    return pd.concat([allocations, rows], ignore_index=True)


def _fresh(frame: pd.DataFrame) -> pd.DataFrame:
    return frame.reset_index(drop=True)
