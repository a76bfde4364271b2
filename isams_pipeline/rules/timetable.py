"""The timetable on real dates. Pure.

Terms x week allocations x days x periods x what stands in the timetable, less suspensions. iSAMS's weeks run from
Sunday to Saturday, and week 1 holds 1 January; a week that spans the new year has two numbers, one in each year.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping
from dataclasses import dataclass, field
from datetime import date
from typing import Any, Literal, cast

import numpy as np
import pandas as pd

from isams_pipeline.rules.account import ROW, Account, numbered
from isams_pipeline.rules.clock_times import after_midnight, minutes_of
from isams_pipeline.rules.columns import Column
from isams_pipeline.rules.compare import code as folded_code
from isams_pipeline.rules.dates import is_nothing
from isams_pipeline.rules.lessons import DATASET_OF, GROUP_COLUMNS, LESSON, entries_of
from isams_pipeline.rules.split import Exclusions, Split, rows_of, surely

PUBLISHED, DEVELOPMENT = "PublishedTimetables", "DevelopmentTimetables"
UnallocatedWeeks = Literal["ignore", "teach"]
"""What becomes of timetable weeks that no week of the year is allocated to: their lessons take place never, or in
every week that has no allocation of its own."""
_FEW_DAYS = 10


@dataclass
class OnDates:
    """The rows of one of the timetable's datasets x the dates of their weekday: where those have gone so far."""

    total: int = 0
    left_out: Counter[str] = field(default_factory=Counter[str])
    """Rule → how many."""
    merged: int = 0
    """Those of rows that differ from another in the teacher only."""
    on_dates: int = 0
    """Those that are in `dated`."""
    astray: list[int] = field(default_factory=list[int])
    """Rows that are not on as many dates as the calendar says."""


@dataclass(frozen=True)
class Timetable:
    """A school's timetable on real dates, and what was odd about it."""

    dated: pd.DataFrame
    """One row per date and entry, sorted: date (datetime64), start and end (minutes after midnight), period_id,
    room_id, year_id, set_id and row (Int64), code, subject, staff_ids (separated by spaces), form_id, kind (text)."""
    exclusions: Exclusions
    """What was left out, or is not as iSAMS has it, and where the rows of the timetable's datasets ended."""
    problems: list[str] = field(default_factory=list[str])
    """What must be put right before anything is delivered."""
    unallocated: list[date] = field(default_factory=list[date])
    """School days in term that no timetable week is allocated to."""
    teaches_unallocated: bool = False
    """Timetable weeks that no week is allocated to are taught on such days."""
    counts: dict[str, OnDates] = field(default_factory=dict[str, OnDates])
    """Kind → where its rows x dates are."""
    calendar: pd.DataFrame = field(default_factory=pd.DataFrame)
    """One row per date and timetable day that is taught then."""


def week_numbers(dates: Column) -> pd.Series[int]:
    """The week of the year of each date, as iSAMS counts."""
    sunday_first = (dates.dt.day_of_week + 1) % 7
    return (dates.dt.day_of_year - sunday_first + 12) // 7


def dated_timetable(
    tables: Mapping[str, pd.DataFrame], *, first: date, last: date, unallocated_weeks: UnallocatedWeeks = "ignore"
) -> Timetable:
    """The timetable of all term dates from `first` to `last`.

    `tables` are iSAMS's, by the names of the datasets. A row whose period is unknown cannot have a date: it is
    excluded. One whose room, teacher or group is unknown stays, without what is unknown, and with a warning.
    """
    tables = numbered(tables)
    out, teach = Exclusions.of(tables, *DATASET_OF.values()), unallocated_weeks == "teach"
    days = out.follow(_term_days(tables["terms"], first, last))
    slots = out.follow(_slots(tables))
    found, joined = entries_of(tables, slots)
    entries = out.follow(found)
    spans, problems, said = _reigns(tables, entries, days, last=last)
    out.join(said)
    dates = pd.date_range(first, last, unit="ms")
    dates_and_days, unallocated = _grid(dates, days, tables, slots, teach=teach)
    grid = _with_timetable(out.take("week_allocation", dates_and_days, "allocation_id"), spans)
    calendar = grid[grid["place"].isna()]
    slot_columns = slots[["period_id", "day_id", "start", "end"]]
    template = entries.merge(slot_columns, on="period_id").reset_index(drop=True)
    template["entry"] = template.index
    dated = calendar[["date", "school_year", "day_id", "status", "timetable_id"]].merge(
        template[["status", "timetable_id", "day_id", "entry"]], on=["status", "timetable_id", "day_id"]
    )
    taught = np.bincount(dated["entry"], minlength=len(template))
    dated = out.follow(_less_suspended(dated, template, tables["lesson_suspensions"]))
    out.join(_weeks_without_dates(tables, template, grid, unallocated_weeks))
    left = np.bincount(dated["entry"], minlength=len(template))
    counts, account = _placed(template, joined, grid, taught=taught, dated=left)
    out.account.join(account)
    # By position: a merge of all columns would copy texts a hundred thousand times.
    columns = template[["start", "end", "period_id", "room_id", *GROUP_COLUMNS, "staff_ids", "kind", ROW]]
    rank = _rank(template)
    dated = dated.assign(rank=rank[dated["entry"].to_numpy()]).sort_values(["date", "rank"], kind="stable")
    rows = columns.take(dated["entry"].to_numpy()).reset_index(drop=True)
    rows.insert(0, "date", dated["date"].to_numpy())
    out.join(_double_bookings(rows))
    return Timetable(rows, out, problems, unallocated, teach, counts, calendar)


def _rank(template: pd.DataFrame) -> Any:
    """The place of each entry within a day."""
    by = ["start", "end", "room_id", "kind", "code", "period_id", "staff_ids", ROW]
    ordered = template.sort_values(by, na_position="last")
    rank = pd.Series(range(len(ordered)), index=ordered.index)
    return rank.sort_index().to_numpy()


def _placed(
    template: pd.DataFrame, joined: pd.DataFrame, grid: pd.DataFrame, *, taught: Any, dated: Any
) -> tuple[dict[str, OnDates], Account]:
    """Where each of the dates of the rows of the timetable's datasets is, by kind; and where the rows are.

    `joined` are the rows that went into an entry of the template, the entry's own first: kind, row, entry (the entry's
    row). `taught` and `dated` say, entry by entry, on how many dates it is without and with the suspensions.
    """
    account, on_dates = Account({}), dict[str, OnDates]()
    by_day = grid.assign(place=grid["place"].fillna("")).groupby(["day_id", "place"]).size()
    places: dict[Any, Counter[str]] = {}
    for key, count in by_day.items():
        day, place = cast("tuple[Any, str]", key)
        places.setdefault(day, Counter())[place] = int(count)
    reigning = grid[grid["place"].isna()].groupby(["day_id", "status", "timetable_id"]).size().to_dict()
    times = joined.groupby(["kind", "entry"]).size().to_dict()
    keys = zip(*(template[name].tolist() for name in ("kind", ROW, "day_id", "status", "timetable_id")), strict=True)
    for at, (kind, row, day, status, timetable) in enumerate(keys):
        rows = times[kind, row]
        counts = on_dates.setdefault(kind, OnDates())
        of_day = places.get(day, Counter[str]())
        now = int(reigning.get((day, status, timetable), 0))
        counts.total += rows * of_day.total()
        for place, count in of_day.items():
            if place:
                counts.left_out[place] += rows * count
        counts.left_out["timetable"] += rows * (of_day[""] - now)
        counts.left_out["suspended"] += rows * int(taught[at] - dated[at])
        counts.merged += (rows - 1) * int(dated[at])
        counts.on_dates += int(dated[at])
        if now != taught[at]:
            counts.astray.append(int(row))
    # A tutorial may have several periods, so that one row has several entries.
    of_row = pd.DataFrame({"never": dated == 0, "taught": taught > 0}).groupby([template["kind"], template[ROW]])
    never: Any = of_row["never"].all()
    lost: Any = of_row["taught"].any()
    for kind, of_kind in joined.groupby("kind"):
        dataset = DATASET_OF[str(kind)]
        main = of_kind["entry"] == of_kind[ROW]
        account.merge(dataset, of_kind.loc[~main, ROW], of_kind.loc[~main, "entry"])
        rows = of_kind.loc[main, ROW].to_numpy()
        on_none = never.loc[kind].reindex(rows).to_numpy(dtype=bool)
        suspended = lost.loc[kind].reindex(rows).to_numpy(dtype=bool) & on_none
        account.leave_out(dataset, rows[on_none & ~suspended], "no_date")
        account.leave_out(dataset, rows[suspended], "suspended")
    return on_dates, account


# --- dates --------------------------------------------------------------------------------------------------


def _term_days(terms: pd.DataFrame, first: date, last: date) -> Split:
    """One row per date in term: date, term_id, school_year. A date in two terms counts for the one that began first."""
    out = Exclusions()
    found: list[pd.DataFrame] = []
    latest: tuple[Any, Any] | None = None
    ordered = terms.sort_values(["start_date", "term_id"])
    for term in rows_of(ordered):
        if is_nothing(term.start_date) or is_nothing(term.finish_date):
            out.add("term", term.term_id, "term_dates", "it has no first or no last day")
            continue
        if term.finish_date < term.start_date:
            out.add("term", term.term_id, "term_dates", "it ends before it starts")
            continue
        start, end = max(term.start_date, pd.Timestamp(first)), min(term.finish_date, pd.Timestamp(last))
        if latest is not None and term.start_date <= latest[0] and end >= pd.Timestamp(first):
            reason = f"it begins before term {latest[1]} ends; the days in both count once"
            out.warn("term", term.term_id, "terms_overlap", reason)
        if latest is None or term.finish_date > latest[0]:
            latest = (term.finish_date, term.term_id)
        if start <= end:
            dates = pd.date_range(start, end, unit="ms")
            found.append(pd.DataFrame({"date": dates, "term_id": term.term_id, "school_year": term.school_year}))
    if not found:
        none = pd.DataFrame({"date": pd.DatetimeIndex([], dtype="datetime64[ms]"), "term_id": [], "school_year": []})
        return Split(none, said=out)
    days = pd.concat(found)
    return Split(days[~days.duplicated("date")].sort_values("date", ignore_index=True), said=out)


def _slots(tables: Mapping[str, pd.DataFrame]) -> Split:
    """One row per period that can hold a lesson: period_id, day_id, week_id, weekday, start, end, name."""
    out = Exclusions()
    weeks, days, periods = tables["timetable_weeks"], tables["timetable_days"], tables["timetable_periods"]
    unused_weeks = set(weeks.loc[surely(weeks["active"].eq(False)), "week_id"])  # noqa: FBT003
    unused_days = set(days.loc[surely(days["active"].eq(False)), "day_id"])  # noqa: FBT003
    slots = periods.merge(days[["day_id", "weekday"]], on="day_id", how="left")
    slots = slots.assign(start=minutes_of(slots["start"]), end=minutes_of(slots["end"]))
    for reason, wrong in (
        ("its week is not in use", slots["week_id"].isin(unused_weeks)),
        ("its day is not in use", slots["day_id"].isin(unused_days)),
        ("it has no time of day", slots["start"].isna() | slots["end"].isna()),
        ("it ends before it starts", surely(slots["end"] <= slots["start"])),
        ("its day is no day of the week", ~surely(slots["weekday"].between(1, 7))),
    ):
        here = wrong[slots.index].astype(bool)
        for identifier in slots.loc[here, "period_id"]:
            out.add("period", identifier, "period", reason)
        slots = slots[~here]
    return Split(slots, said=out)


NOT_IN_TERM, OTHER_WEEK, NO_ALLOCATION, NO_TIMETABLE = "not_in_term", "other_week", "no_allocation", "no_timetable"
"""Why a day of a timetable week is not taught on a date of its weekday."""


def _grid(
    dates: pd.DatetimeIndex,
    days: pd.DataFrame,
    tables: Mapping[str, pd.DataFrame],
    slots: pd.DataFrame,
    *,
    teach: bool,
) -> tuple[Split, list[date]]:
    """One row per date and day of a timetable week of that weekday: date, school_year, day_id, week_id, place.

    `place` says why the day is not taught on the date; it is null where it is. What is left out are allocations of
    weeks that are gone. With it come the school days that no week is allocated to.
    """
    known = tables["week_allocations"]["week_id"].isin(set(tables["timetable_weeks"]["week_id"]))
    of_weeks = Split.by(tables["week_allocations"], known, rule="reference", reason="its timetable week is gone")
    allocations = of_weeks.kept[["year", "week", "week_id"]].dropna()
    keyed = pd.DataFrame({"date": dates}).merge(days, on="date", how="left")
    keyed = keyed.assign(
        year=keyed["date"].dt.year.astype("Int64"),
        week=week_numbers(keyed["date"]).astype("Int64"),
        weekday=((keyed["date"].dt.day_of_week + 1) % 7 + 1).astype("Int64"),
    )
    allocated = set(zip(*(allocations[name].tolist() for name in ("year", "week", "week_id")), strict=True))
    some = {(year, week) for year, week, _ in allocated}
    own = {week_id for _, _, week_id in allocated}
    in_some = pd.Series([pair in some for pair in zip(keyed["year"].tolist(), keyed["week"].tolist(), strict=True)])
    in_term = keyed["term_id"].notna()
    taught = set(slots["weekday"])
    missing = keyed[in_term & keyed["weekday"].isin(taught) & ~in_some.to_numpy()]
    timetable_days = slots.loc[~slots.duplicated("day_id"), ["day_id", "week_id", "weekday"]]
    grid = keyed.assign(some=in_some.to_numpy()).merge(timetable_days, on="weekday")
    triples = zip(*(grid[name].tolist() for name in ("year", "week", "week_id")), strict=True)
    is_own = np.fromiter((one in allocated for one in triples), dtype=bool, count=len(grid))
    instead = ~grid["week_id"].isin(own) & ~grid["some"] if teach else pd.Series(data=False, index=grid.index)
    place = pd.Series(None, index=grid.index, dtype="object")
    place[~is_own & ~instead] = np.where(grid.loc[~is_own & ~instead, "some"], OTHER_WEEK, NO_ALLOCATION)
    place[grid["term_id"].isna()] = NOT_IN_TERM
    grid = grid.assign(place=place)[["date", "school_year", "day_id", "week_id", "place"]]
    return Split(grid, of_weeks.excluded), [day.date() for day in missing["date"]]


def _weeks_without_dates(
    tables: Mapping[str, pd.DataFrame], template: pd.DataFrame, grid: pd.DataFrame, unallocated_weeks: UnallocatedWeeks
) -> Exclusions:
    """Warnings of timetable weeks that no week of the year is allocated to, as far as something stands in them."""
    out = Exclusions()
    week_of = grid[~grid.duplicated("day_id")].set_index("day_id")["week_id"]
    standing = template["day_id"].map(week_of).value_counts()
    own = set(tables["week_allocations"]["week_id"].dropna())
    for week in tables["timetable_weeks"]["week_id"]:
        if week in own or not (count := int(standing.get(week, 0))):
            continue
        reason = (
            f"no week of the year is allocated to it: what stands in it ({count} entries) is on no date; allocate it "
            "in iSAMS, or write unallocated_weeks: teach where it is taught in every week without an allocation"
            if unallocated_weeks == "ignore"
            else f"no week of the year is allocated to it: what stands in it ({count} entries) is taught in every week "
            "that has no allocation of its own, as unallocated_weeks says"
        )
        out.warn("timetable_week", week, NO_ALLOCATION, reason)
    return out


def unallocated_days(made: Timetable) -> Exclusions:
    """A warning of the school days that no timetable week is allocated to."""
    days, out = made.unallocated, Exclusions()
    if not days:
        return out
    shown = ", ".join(day.isoformat() for day in days[:_FEW_DAYS])
    more = f" and {len(days) - _FEW_DAYS} more" if len(days) > _FEW_DAYS else ""
    reason = f"no timetable week is allocated to {shown}{more}; there are no lessons on those days"
    if made.teaches_unallocated:
        reason = f"no timetable week is allocated to {shown}{more}; weeks without an allocation of their own are taught"
    out.warn("term", "-", NO_ALLOCATION, reason)
    return out


# --- which timetable applies when ---------------------------------------------------------------------------


Reign = tuple["pd.Series[bool]", str, int]
"""Term day → whether a timetable is for it; the timetable's status and number."""


def _reigns(
    tables: Mapping[str, pd.DataFrame], entries: pd.DataFrame, days: pd.DataFrame, *, last: date
) -> tuple[list[Reign], list[str], Exclusions]:
    """Which of the term's days each timetable applies to (by date), its status and number; later ones take over.

    With them come the problems that must be put right before anything is delivered, and the warnings.
    """
    out = Exclusions()
    timetables, terms = tables["timetables"], tables["terms"]
    starts = terms.dropna(subset=["start_date"]).groupby("school_year")["start_date"].min()
    dates = days.set_index("date")
    found = _published(timetables, dates)
    problems = _rivals(found)
    for here, _, timetable in found:
        standing = int((entries["status"].eq(PUBLISHED) & entries["timetable_id"].eq(timetable)).sum())
        if standing and not bool(here.any()):
            reason = (
                f"it is for no day of the terms that are looked at, so none of its {standing} entries is on a date; "
                "check its years, and the school years of the terms"
            )
            out.warn("timetable", timetable, "timetable", reason)
    for row in rows_of(timetables[timetables["status"] == DEVELOPMENT]):
        since = row.start_date
        if is_nothing(since):
            since = pd.NaT if pd.isna(row.start_year) else starts.get(row.start_year, pd.NaT)
        stands = bool((entries["status"].eq(DEVELOPMENT) & entries["timetable_id"].eq(row.timetable_id)).any())
        if pd.isna(since) or not stands:
            why = "it has no start date and no start year" if pd.isna(since) else "nothing stands in it"
            reason = f"{why}, so it does not take over"
            out.warn("development_timetable", row.timetable_id, "timetable", reason)
            continue
        here = pd.Series(dates.index.to_series().between(since, pd.Timestamp(last)), index=dates.index)
        found.append((here, DEVELOPMENT, int(row.timetable_id)))
    return sorted(found, key=lambda reign: (reign[1] == DEVELOPMENT, _begins(reign[0]))), problems, out


def rival_timetables(tables: Mapping[str, pd.DataFrame], *, first: date, last: date) -> list[str]:
    """The published timetables that are for the same dates from `first` to `last`, in words; nothing is dated for it.

    `tables` are iSAMS's, by the names of the datasets: `terms` and `timetables`.
    """
    days = _term_days(tables["terms"], first, last).kept
    return _rivals(_published(tables["timetables"], days.set_index("date")))


def _published(timetables: pd.DataFrame, days: pd.DataFrame) -> list[Reign]:
    published = rows_of(timetables[timetables["status"] == PUBLISHED])
    return [(_years(row, days), PUBLISHED, int(row.timetable_id)) for row in published]


def _rivals(reigns: list[Reign]) -> list[str]:
    return [
        f"the published timetables {other} and {number} are for the same dates; withdraw one in iSAMS, as it is "
        "unknown which one counts"
        for at, (here, _, number) in enumerate(reigns)
        for there, _, other in reigns[:at]
        if bool((here & there).any())
    ]


def _begins(here: pd.Series[bool]) -> Any:
    return here[here].index.min() if bool(here.any()) else pd.Timestamp.max


_AUGUST = 8


def _years(row: Any, days: pd.DataFrame) -> pd.Series[bool]:
    """Which days in term a published timetable is for: those of its school years, where it says some.

    A school year is what its terms say it is, wherever in the world; a term that names none goes by the northern
    year, from 1 August.
    """
    here = pd.Series(data=True, index=days.index)
    dates = days.index.to_series()
    northern = (dates.dt.year - (dates.dt.month < _AUGUST)).astype("Int64")
    year = days["school_year"].astype("Int64").fillna(northern)
    if not is_nothing(row.start_date):
        here &= dates >= row.start_date
    elif not pd.isna(row.start_year):
        here &= (year >= int(row.start_year)).astype(bool)
    if not pd.isna(row.end_year):
        # The year in which its last school year ends; some write the year in which it starts into both.
        last = int(row.end_year) - 1
        if not pd.isna(row.start_year):
            last = max(last, int(row.start_year))
        here &= (year <= last).astype(bool)
    return here


def _with_timetable(grid: pd.DataFrame, reigns: list[Reign]) -> pd.DataFrame:
    """The grid with the timetable that applies; a date of none is taught nothing."""
    status = pd.Series(None, index=grid.index, dtype="object")
    number = pd.Series(pd.NA, index=grid.index, dtype="Int64")
    for dates, of, timetable in reigns:
        here = grid["date"].isin(dates.index[dates.to_numpy()])
        status[here], number[here] = of, timetable
    place = grid["place"].mask(grid["place"].isna() & number.isna(), NO_TIMETABLE)
    return grid.assign(status=status.astype("str"), timetable_id=number, place=place)


# --- what does not take place -------------------------------------------------------------------------------


def whole_days(start: Column, end: Column) -> tuple[Column, Column]:
    """Spans in which midnight to midnight means whole days, the last one included; no end is the start's day."""
    # A year further and a moment is none any more.
    latest = pd.Timestamp(9999, 1, 1)
    start, end = start.mask(start > latest, latest), end.mask(end > latest, latest)
    whole = end.isna() | ((start == start.dt.normalize()) & (end == end.dt.normalize()))
    last = end.fillna(start).dt.normalize()
    return start, end.mask(whole, last + pd.Timedelta(days=1))


def _less_suspended(dated: pd.DataFrame, template: pd.DataFrame, suspensions: pd.DataFrame) -> Split:
    """Without the lessons that are suspended: those within a suspension's time, and its period, year and code."""
    out = Exclusions()
    keep: Any = pd.Series(data=True, index=dated.index)
    dates: Any = dated["date"]
    starts_at, ends_at = after_midnight(template["start"]), after_midnight(template["end"])
    entries = dated["entry"].to_numpy()
    is_lesson = template["kind"].eq(LESSON).to_numpy()[entries]
    codes = template["code"].map(folded_code)
    starts, ends = whole_days(suspensions["start"], suspensions["end"])
    for row, start, end in zip(rows_of(suspensions), starts, ends, strict=True):
        if is_nothing(start) or end <= start:
            out.add("lesson_suspension", row.suspension_id, "dates", "it has no dates that make sense; passed over")
            continue
        hit: Any = (dates >= start.normalize()) & (dates < end) & is_lesson
        if not hit.any():
            continue
        hit &= (dates + starts_at[entries] < end) & (dates + ends_at[entries] > start)
        if not pd.isna(row.year_id) and (unsure := int((hit & template["year_id"].isna().to_numpy()[entries]).sum())):
            reason = f"{unsure} lessons whose year group is unknown take place, as far as is known"
            out.warn("lesson_suspension", row.suspension_id, "year_unknown", reason)
        for name in ("period_id", "year_id", "code"):
            wanted = getattr(row, name)
            if not pd.isna(wanted):
                column = codes if name == "code" else template[name]
                wanted = folded_code(wanted) if name == "code" else wanted
                hit &= surely(column.eq(wanted)).to_numpy()[entries]
        keep &= ~hit
        if count := int(hit.sum()):
            out.warn("lesson_suspension", row.suspension_id, "suspended", f"{count} lessons do not take place")
    return Split(cast("pd.DataFrame", dated[keep]), said=out)


def _double_bookings(dated: pd.DataFrame) -> Exclusions:
    """Warnings of rooms that hold two things at once: the source says so, and they stay."""
    out = Exclusions()
    rows = dated[dated["room_id"].notna()]
    rows = rows.sort_values(["room_id", "date", "start", "end"], kind="stable")
    same = rows["room_id"].eq(rows["room_id"].shift()) & rows["date"].eq(rows["date"].shift())
    # Against the latest end so far within the room's day, since a long one may cover several.
    latest = rows.groupby([rows["room_id"], rows["date"]], sort=False)["end"].cummax().shift()
    clash = surely(same & (rows["start"] < latest))
    counts = rows[clash.astype(bool)].groupby("room_id").size()
    for room, count in counts.items():
        reason = f"it holds two things at once on {count} occasions, as iSAMS has it"
        out.warn("room", room, "double_booked", reason)
    return out
