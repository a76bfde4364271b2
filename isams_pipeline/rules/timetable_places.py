"""Where the rows end from which a timetable gets its dates, and the lessons x dates themselves. Pure."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import pandas as pd

from isams_pipeline.rules.account import INTO_ROW, LEFT_OUT, MERGED, ROW, Account
from isams_pipeline.rules.split import surely
from isams_pipeline.rules.timetable import OnDates, Timetable


def tally_dates(dataset: str, counts: OnDates, placed: Mapping[tuple[str, str], int]) -> Account:
    """The account of a dataset's rows x the dates of their weekday, over terms, weeks, timetables and suspensions.

    `placed` is what a partner made of those that were left.
    """
    places = {(LEFT_OUT, rule): n for rule, n in counts.left_out.items()}
    places[MERGED, INTO_ROW] = counts.merged
    for place, n in placed.items():
        places[place] = places.get(place, 0) + n
    account = Account({})
    account.tally(f"{dataset} x dates", counts.total, places, counts.astray)
    return account


def place_timetable_parts(
    tables: Mapping[str, pd.DataFrame], made: Timetable, rows: pd.DataFrame, *, file: str, unused: str
) -> Account:
    """Where the weeks, days, periods, allocations and timetables are by which lessons get their dates."""
    suspensions = tables["lesson_suspensions"]
    days = set(made.calendar["day_id"])
    weeks = set(made.calendar["week_id"])
    reigning = set(zip(made.calendar["status"], made.calendar["timetable_id"], strict=True))
    timetables, forms = tables["timetables"], tables["teaching_forms"]
    pairs = zip(timetables["status"], timetables["timetable_id"], strict=True)
    used: dict[str, Any] = {
        "timetable_weeks": tables["timetable_weeks"]["week_id"].isin(weeks),
        "timetable_days": tables["timetable_days"]["day_id"].isin(days),
        "timetable_periods": tables["timetable_periods"]["period_id"].isin(rows["period_id"]),
        "week_allocations": tables["week_allocations"]["week_id"].isin(weeks),
        "timetables": pd.Series([pair in reigning for pair in pairs], index=timetables.index),
        "teaching_forms": forms["form_id"].isin(set(rows["form_id"].dropna())),
    }
    account = Account.of({name: tables[name] for name in (*used, "lesson_suspensions")})
    for dataset, mask in used.items():
        numbers = tables[dataset].loc[surely(mask).to_numpy(), ROW]
        account.look_up(dataset, numbers, file, "date", unused=unused)
    account.deliver("lesson_suspensions", suspensions[ROW], f"{file} (date)", file_rows=0)
    return account
