"""The timetable on real dates. Pure.

Terms x week allocations x days x periods x what stands in the timetable, less suspensions. iSAMS's weeks run from
Sunday to Saturday, and week 1 holds 1 January; a week that spans the new year has two numbers, one in each year.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from datetime import date
from typing import Any, cast

import pandas as pd

from isams_pipeline.rules.clock_times import after_midnight, minutes_of
from isams_pipeline.rules.split import WARNING, Exclusions, rows_of

LESSON, MEETING, YEAR_SCHEDULE, TUTORIAL = "lesson", "meeting", "year_schedule", "tutorial"
PUBLISHED, DEVELOPMENT = "PublishedTimetables", "DevelopmentTimetables"
DATED_COLUMNS = ["date", "start", "end", "period_id", "room_id", "code", "subject", "staff_ids", "kind", "year_id"]


@dataclass
class Timetable:
    """A school's timetable on real dates, and what was odd about it."""

    dated: pd.DataFrame
    """One row per date, period, room and group, with DATED_COLUMNS: date (datetime64), start and end (minutes after
    midnight), ids (Int64), code, subject, staff_ids (separated by spaces) and kind (text). Sorted."""
    exclusions: Exclusions
    """What was left out, or is not as iSAMS has it."""
    problems: list[str] = field(default_factory=list[str])
    """What must be put right before anything is delivered."""
    unallocated: list[date] = field(default_factory=list[date])
    """School days in term that no timetable week is allocated to."""


def week_numbers(dates: pd.Series[Any]) -> pd.Series[int]:
    """The week of the year of each date, as iSAMS counts."""
    sunday_first = (dates.dt.day_of_week + 1) % 7
    return (dates.dt.day_of_year - sunday_first + 12) // 7


def dated_timetable(tables: Mapping[str, pd.DataFrame], *, first: date, last: date) -> Timetable:
    """The timetable of all term dates from `first` to `last`.

    `tables` are iSAMS's, by the names of the datasets. A row whose period is unknown cannot have a date: it is
    excluded. One whose room, teacher or group is unknown stays, without what is unknown, and with a warning.
    """
    out = Exclusions()
    made = Timetable(pd.DataFrame(), out)
    days = _term_days(tables["terms"], first, last, out)
    slots = _slots(tables, out)
    calendar = _calendar(days, tables, slots, made)
    entries = _entries(tables, slots, out)
    spans = _reigns(tables, entries, made, first=first, last=last)
    calendar = _with_timetable(calendar, spans)
    slot_columns = slots[["period_id", "day_id", "start", "end"]]
    template = entries.merge(slot_columns, on="period_id").reset_index(drop=True)
    template["entry"] = template.index
    dated = calendar.merge(
        template[["status", "timetable_id", "day_id", "entry"]], on=["status", "timetable_id", "day_id"]
    )
    dated = _less_suspended(dated, template, tables["lesson_suspensions"], out)
    # By position: a merge of all columns would copy texts a hundred thousand times.
    columns = template[["start", "end", "period_id", "room_id", "code", "subject", "staff_ids", "kind", "year_id"]]
    rank = _rank(template)
    dated = dated.assign(rank=rank[dated["entry"].to_numpy()]).sort_values(["date", "rank"], kind="stable")
    rows = columns.take(dated["entry"].to_numpy()).reset_index(drop=True)
    rows.insert(0, "date", dated["date"].to_numpy())
    _report_double_bookings(rows, out)
    made.dated = rows
    return made


def _rank(template: pd.DataFrame) -> Any:
    """The place of each entry within a day."""
    ordered = template.sort_values(["start", "end", "room_id", "kind", "code", "period_id"], na_position="last")
    rank = pd.Series(range(len(ordered)), index=ordered.index)
    return rank.sort_index().to_numpy()


# --- dates --------------------------------------------------------------------------------------------------


def _term_days(terms: pd.DataFrame, first: date, last: date, out: Exclusions) -> pd.DataFrame:
    """One row per date in term: date, term_id, school_year. A date in two terms counts for the one that began first."""
    found: list[pd.DataFrame] = []
    latest: tuple[Any, Any] | None = None
    ordered = terms.sort_values(["start_date", "term_id"])
    for term in rows_of(ordered):
        if pd.isna(term.start_date) or pd.isna(term.finish_date):
            out.add("term", term.term_id, "term_dates", "it has no first or no last day")
            continue
        if term.finish_date < term.start_date:
            out.add("term", term.term_id, "term_dates", "it ends before it starts")
            continue
        start, end = max(term.start_date, pd.Timestamp(first)), min(term.finish_date, pd.Timestamp(last))
        if latest is not None and term.start_date <= latest[0] and end >= pd.Timestamp(first):
            reason = f"it begins before term {latest[1]} ends; the days in both count once"
            out.add("term", term.term_id, "terms_overlap", reason, severity=WARNING)
        if latest is None or term.finish_date > latest[0]:
            latest = (term.finish_date, term.term_id)
        if start <= end:
            dates = pd.date_range(start, end, unit="ms")
            found.append(pd.DataFrame({"date": dates, "term_id": term.term_id, "school_year": term.school_year}))
    if not found:
        return pd.DataFrame({"date": pd.DatetimeIndex([], dtype="datetime64[ms]"), "term_id": [], "school_year": []})
    return pd.concat(found).drop_duplicates("date").sort_values("date", ignore_index=True)


def _slots(tables: Mapping[str, pd.DataFrame], out: Exclusions) -> pd.DataFrame:
    """One row per period that can hold a lesson: period_id, day_id, week_id, weekday, start, end, name."""
    weeks, days, periods = tables["timetable_weeks"], tables["timetable_days"], tables["timetable_periods"]
    unused_weeks = set(weeks.loc[weeks["active"].eq(False).fillna(False), "week_id"])  # noqa: FBT003
    unused_days = set(days.loc[days["active"].eq(False).fillna(False), "day_id"])  # noqa: FBT003
    slots = periods.merge(days[["day_id", "weekday"]], on="day_id", how="left")
    slots = slots.assign(start=minutes_of(slots["start"]), end=minutes_of(slots["end"]))
    for reason, wrong in (
        ("its week is not in use", slots["week_id"].isin(unused_weeks)),
        ("its day is not in use", slots["day_id"].isin(unused_days)),
        ("it has no time of day", slots["start"].isna() | slots["end"].isna()),
        ("it ends before it starts", (slots["end"] <= slots["start"]).fillna(False)),  # noqa: FBT003
        ("its day is no day of the week", ~slots["weekday"].between(1, 7).fillna(False)),  # noqa: FBT003
    ):
        here = wrong[slots.index].astype(bool)
        for identifier in slots.loc[here, "period_id"]:
            out.add("period", identifier, "period", reason)
        slots = slots[~here]
    return slots


def _calendar(
    days: pd.DataFrame, tables: Mapping[str, pd.DataFrame], slots: pd.DataFrame, made: Timetable
) -> pd.DataFrame:
    """One row per date in term and day of a timetable week that applies to it: date, school_year, day_id."""
    allocations = tables["week_allocations"]
    known = set(tables["timetable_weeks"]["week_id"])
    gone = ~allocations["week_id"].isin(known)
    for row in rows_of(allocations[gone]):
        made.exclusions.add("week_allocation", row.allocation_id, "reference", "its timetable week is gone")
    allocations = allocations[~gone][["year", "week", "week_id"]].drop_duplicates()
    keyed = days.assign(
        year=days["date"].dt.year.astype("Int64"),
        week=week_numbers(days["date"]).astype("Int64"),
        weekday=((days["date"].dt.day_of_week + 1) % 7 + 1).astype("Int64"),
    )
    with_week = keyed.merge(allocations, on=["year", "week"])
    taught = set(slots["weekday"])
    missing = keyed[keyed["weekday"].isin(taught) & ~keyed["date"].isin(with_week["date"])]
    made.unallocated = [day.date() for day in missing["date"]]
    timetable_days = slots[["day_id", "week_id", "weekday"]].drop_duplicates()
    found = with_week.merge(timetable_days, on=["week_id", "weekday"])
    return found[["date", "school_year", "day_id"]]


# --- what stands in the timetable ---------------------------------------------------------------------------


def _entries(tables: Mapping[str, pd.DataFrame], slots: pd.DataFrame, out: Exclusions) -> pd.DataFrame:
    """One row per timetable, period, room, group and kind; rows that differ only in the teacher are one."""
    lessons = tables["lessons"].assign(kind=LESSON, year_id=None)
    lessons["is_set"] = lessons["set_flag"].fillna(lessons["set_flag_earlier"]).fillna(1).ne(0)
    tutorials = _per_period(tables["tutorials"])
    parts = [
        lessons.rename(columns={"lesson_id": "id", "teacher_user_code": "teachers"}),
        tables["staff_meetings"]
        .assign(kind=MEETING, year_id=None)
        .rename(columns={"meeting_id": "id", "teacher_user_code": "teachers", "name": "code"}),
        tables["year_schedules"]
        .assign(kind=YEAR_SCHEDULE)
        .rename(columns={"year_schedule_id": "id", "teacher_user_code": "teachers", "name": "code"}),
        tutorials.assign(kind=TUTORIAL, year_id=None),
    ]
    columns = ["status", "timetable_id", "kind", "id", "code", "period_id", "room_id", "teachers", "year_id"]
    rows = pd.concat(
        [part[columns].astype({"year_id": "Int64", "room_id": "Int64", "period_id": "Int64"}) for part in parts],
        ignore_index=True,
    )
    is_set = dict(zip(lessons["lesson_id"], lessons["is_set"], strict=True))
    rows = _with_known_periods(rows, slots, out)
    rows = _with_known_rooms(rows, set(tables["rooms"]["room_id"]), out)
    rows["staff_ids"] = _staff_ids(rows, tables["staff"], out)
    rows = _with_groups(rows, is_set, tables, out)
    keys = ["status", "timetable_id", "kind", "code", "period_id", "room_id"]
    merged = rows.groupby(keys, dropna=False, sort=False).agg(
        staff_ids=("staff_ids", _joined),
        subject=("subject", "first"),
        year_id=("year_id", "first"),
        id=("id", "min"),
    )
    return merged.reset_index().astype({"staff_ids": "str", "subject": "str", "code": "str", "kind": "str"})


def _joined(texts: pd.Series[str]) -> str:
    if len(texts) == 1:
        return str(texts.iloc[0])
    ids = {part for text in texts for part in text.split()}
    return " ".join(sorted(ids, key=int))


def _per_period(tutorials: pd.DataFrame) -> pd.DataFrame:
    """Tutorials with a row for each of their periods."""
    rows = tutorials.assign(
        id=tutorials["tutorial_id"],
        code=tutorials["code"].fillna(tutorials["name"]),
        teachers=tutorials["teacher_user_codes"],
        period_id=tutorials["period_ids"].fillna("").str.split("; "),
    ).explode("period_id")
    return rows.assign(period_id=pd.to_numeric(rows["period_id"], errors="coerce").astype("Int64"))


def _with_known_periods(rows: pd.DataFrame, slots: pd.DataFrame, out: Exclusions) -> pd.DataFrame:
    known = rows["period_id"].isin(set(slots["period_id"]))
    for row in rows_of(rows[~known]):
        reason = "it has no period" if pd.isna(row.period_id) else f"its period {row.period_id} cannot hold it"
        out.add(str(row.kind), row.id, "period", reason)
    return rows[known].reset_index(drop=True)


def _with_known_rooms(rows: pd.DataFrame, rooms: set[Any], out: Exclusions) -> pd.DataFrame:
    unknown = rows["room_id"].notna() & ~rows["room_id"].isin(rooms)
    for row in rows_of(rows[unknown]):
        out.add(str(row.kind), row.id, "room", f"its room {row.room_id} does not exist; left empty", severity=WARNING)
    return rows.assign(room_id=rows["room_id"].mask(unknown))


def _staff_ids(rows: pd.DataFrame, staff: pd.DataFrame, out: Exclusions) -> list[str]:
    """Each row's teachers by their numbers; codes of no member of staff are reported and left out."""
    known = dict(zip(staff["user_code"].fillna("").str.casefold(), staff["staff_id"], strict=True))
    found: list[str] = []
    for kind, identifier, codes in zip(rows["kind"], rows["id"], rows["teachers"], strict=True):
        wanted = codes.split("; ") if isinstance(codes, str) else []
        ids = sorted({int(known[code.casefold()]) for code in wanted if code.casefold() in known})
        if len(ids) < len({code.casefold() for code in wanted}):
            out.add(str(kind), identifier, "teacher", "a teacher of it is not among the staff", severity=WARNING)
        found.append(" ".join(map(str, ids)))
    return found


def _with_groups(
    rows: pd.DataFrame, is_set: Mapping[Any, bool], tables: Mapping[str, pd.DataFrame], out: Exclusions
) -> pd.DataFrame:
    """Rows with the subject and the year of the set or teaching form that their code names."""
    names = tables["subjects"].drop_duplicates("subject_id").set_index("subject_id")["name"].to_dict()
    sets = tables["sets"].dropna(subset=["code"]).drop_duplicates("code")
    forms = tables["teaching_forms"].dropna(subset=["timetable_code"]).drop_duplicates("timetable_code")
    of_form = tables["forms"].set_index("form_id")["year_id"].to_dict()
    groups: dict[tuple[bool, str], tuple[Any, Any]] = {
        (True, str(code)): (names.get(subject), year)
        for code, subject, year in zip(sets["code"], sets["subject_id"], sets["year_id"], strict=True)
    } | {
        (False, str(code)): (names.get(subject), of_form.get(form))
        for code, subject, form in zip(forms["timetable_code"], forms["subject_id"], forms["form_id"], strict=True)
    }
    subjects: list[Any] = []
    years: list[Any] = []
    for kind, identifier, code, year in zip(rows["kind"], rows["id"], rows["code"], rows["year_id"], strict=True):
        subject: Any = None
        if kind == LESSON:
            group = groups.get((is_set[identifier], str(code))) or groups.get((not is_set[identifier], str(code)))
            if group is None:
                reason = "its code names no set and no teaching form"
                out.add(LESSON, identifier, "group", reason, severity=WARNING)
            subject, year = group or (None, year)  # noqa: PLW2901
        subjects.append(subject)
        years.append(pd.NA if year is None else year)
    return rows.assign(
        subject=pd.Series(subjects, index=rows.index, dtype="str"),
        year_id=pd.Series(years, index=rows.index, dtype="Int64"),
        code=rows["code"].fillna(""),
    )


# --- which timetable applies when ---------------------------------------------------------------------------


def _reigns(
    tables: Mapping[str, pd.DataFrame], entries: pd.DataFrame, made: Timetable, *, first: date, last: date
) -> list[tuple[Any, Any, str, int]]:
    """From, to (dates), status and number of each timetable that applies, later ones taking over from earlier."""
    timetables, terms = tables["timetables"], tables["terms"]
    starts = terms.dropna(subset=["start_date"]).groupby("school_year")["start_date"].min()
    found: list[tuple[Any, Any, str, int]] = []
    for row in rows_of(timetables[timetables["status"] == PUBLISHED]):
        since, until = _years(row, first, last)
        for other in found:
            if since <= other[1] and other[0] <= until:
                made.problems.append(
                    f"the published timetables {other[3]} and {row.timetable_id} are for the same dates; withdraw one "
                    "in iSAMS, as it is unknown which one counts"
                )
        found.append((since, until, PUBLISHED, int(row.timetable_id)))
    for row in rows_of(timetables[timetables["status"] == DEVELOPMENT]):
        since = row.start_date
        if pd.isna(since) and not pd.isna(row.start_year):
            since = starts.get(row.start_year, pd.NaT)
        stands = bool((entries["status"].eq(DEVELOPMENT) & entries["timetable_id"].eq(row.timetable_id)).any())
        if pd.isna(since) or not stands:
            why = "it has no start date and no start year" if pd.isna(since) else "nothing stands in it"
            reason = f"{why}, so it does not take over"
            made.exclusions.add("development_timetable", row.timetable_id, "timetable", reason, severity=WARNING)
            continue
        found.append((since, pd.Timestamp(last), DEVELOPMENT, int(row.timetable_id)))
    return found


def _years(row: Any, first: date, last: date) -> tuple[Any, Any]:
    """The dates of a published timetable, by its school years where it says them."""
    since, until = pd.Timestamp(first), pd.Timestamp(last)
    if not pd.isna(row.start_date):
        since = max(since, row.start_date)
    elif not pd.isna(row.start_year):
        since = max(since, pd.Timestamp(int(row.start_year), 8, 1))
    if not pd.isna(row.end_year):
        end = int(row.end_year)
        # Some write the year in which the school year starts into both.
        if not pd.isna(row.start_year) and end == int(row.start_year):
            end += 1
        until = min(until, pd.Timestamp(end, 7, 31))
    return since, until


def _with_timetable(calendar: pd.DataFrame, reigns: list[tuple[Any, Any, str, int]]) -> pd.DataFrame:
    """Calendar rows with the timetable that applies; dates of none are left out."""
    status = pd.Series(pd.NA, index=calendar.index, dtype="object")
    number = pd.Series(pd.NA, index=calendar.index, dtype="Int64")
    for since, until, of, timetable in sorted(reigns, key=lambda reign: (reign[2] == DEVELOPMENT, reign[0])):
        here = calendar["date"].between(since, until)
        status[here], number[here] = of, timetable
    return calendar.assign(status=status.astype("str"), timetable_id=number)[number.notna()]


# --- what does not take place -------------------------------------------------------------------------------


def whole_days(start: pd.Series[Any], end: pd.Series[Any]) -> tuple[pd.Series[Any], pd.Series[Any]]:
    """Spans in which midnight to midnight means whole days, the last one included; no end is the start's day."""
    whole = end.isna() | ((start == start.dt.normalize()) & (end == end.dt.normalize()))
    last = end.fillna(start).dt.normalize()
    return start, end.mask(whole, last + pd.Timedelta(days=1))


def _less_suspended(
    dated: pd.DataFrame, template: pd.DataFrame, suspensions: pd.DataFrame, out: Exclusions
) -> pd.DataFrame:
    """Without the lessons that are suspended: those within a suspension's time, and its period, year and code."""
    keep: Any = pd.Series(data=True, index=dated.index)
    dates: Any = dated["date"]
    starts_at, ends_at = after_midnight(template["start"]), after_midnight(template["end"])
    entries = dated["entry"].to_numpy()
    is_lesson = template["kind"].eq(LESSON).to_numpy()[entries]
    starts, ends = whole_days(suspensions["start"], suspensions["end"])
    for row, start, end in zip(rows_of(suspensions), starts, ends, strict=True):
        if pd.isna(start) or end <= start:
            out.add("lesson_suspension", row.suspension_id, "dates", "it has no dates that make sense; passed over")
            continue
        hit: Any = (dates >= start.normalize()) & (dates < end) & is_lesson
        if not hit.any():
            continue
        hit &= (dates + starts_at[entries] < end) & (dates + ends_at[entries] > start)
        if not pd.isna(row.year_id) and (unsure := int((hit & template["year_id"].isna().to_numpy()[entries]).sum())):
            reason = f"{unsure} lessons whose year group is unknown take place, as far as is known"
            out.add("lesson_suspension", row.suspension_id, "year_unknown", reason, severity=WARNING)
        for name in ("period_id", "year_id", "code"):
            wanted = getattr(row, name)
            if not pd.isna(wanted):
                hit &= template[name].eq(wanted).fillna(False).to_numpy(dtype=bool)[entries]  # noqa: FBT003
        keep &= ~hit
        if count := int(hit.sum()):
            out.add(
                "lesson_suspension",
                row.suspension_id,
                "suspended",
                f"{count} lessons do not take place",
                severity=WARNING,
            )
    return cast("pd.DataFrame", dated[keep])


def _report_double_bookings(dated: pd.DataFrame, out: Exclusions) -> None:
    """Warn of rooms that hold two things at once: the source says so, and they stay."""
    rows = dated[dated["room_id"].notna()]
    rows = rows.sort_values(["room_id", "date", "start", "end"], kind="stable")
    same = rows["room_id"].eq(rows["room_id"].shift()) & rows["date"].eq(rows["date"].shift())
    # Against the latest end so far within the room's day, since a long one may cover several.
    latest = rows.groupby([rows["room_id"], rows["date"]], sort=False)["end"].cummax().shift()
    clash = (same & (rows["start"] < latest)).fillna(False)  # noqa: FBT003
    counts = rows[clash.astype(bool)].groupby("room_id").size()
    for room, count in counts.items():
        reason = f"it holds two things at once on {count} occasions, as iSAMS has it"
        out.add("room", room, "double_booked", reason, severity=WARNING)
