"""The rows of a timetable as entries: one for what is one thing, with its teachers, its group and its subject. Pure.

A row is an entry of its own unless it says the same code in the same period and room as another: so iSAMS writes
down a lesson that several teach. A row without a code is never part of another.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import pandas as pd

from isams_pipeline.rules.account import ROW
from isams_pipeline.rules.columns import Column
from isams_pipeline.rules.compare import code as folded_code
from isams_pipeline.rules.compare import is_text
from isams_pipeline.rules.references import Lookup, Together
from isams_pipeline.rules.split import Exclusions, Split, rows_of

LESSON, MEETING, YEAR_SCHEDULE, TUTORIAL = "lesson", "meeting", "year_schedule", "tutorial"
DATASET_OF = {
    LESSON: "lessons",
    MEETING: "staff_meetings",
    YEAR_SCHEDULE: "year_schedules",
    TUTORIAL: "tutorials",
}
"""Kind of an entry → the dataset that its rows stand in."""
GROUP_COLUMNS = ["code", "subject", "year_id", "set_id", "form_id"]
"""What is known of whom an entry is for."""


def entries_of(tables: Mapping[str, pd.DataFrame], slots: pd.DataFrame) -> tuple[Split, pd.DataFrame]:
    """The entries of all timetables; and their rows: kind, row, and `entry`, the row number of the entry's first row.

    An entry has status and timetable_id, kind, id, period_id, room_id, GROUP_COLUMNS, staff_ids and row.
    """
    out = Exclusions()
    rows = out.follow(_with_known_periods(_rows(tables), slots))
    rows = out.follow(_with_known_rooms(rows, set(tables["rooms"]["room_id"])))
    rows = out.follow(_Groups(tables).of(rows))
    rows = out.follow(_Teachers(tables).of(rows))
    entries, joined = _joined(rows)
    out.join(_lost(entries))
    return Split(entries.drop(columns=["lost_room", "teachers"]), said=out), joined


def _rows(tables: Mapping[str, pd.DataFrame]) -> pd.DataFrame:
    """All rows, those of tutorials once for each of their periods; `join` is what iSAMS joins several rows by."""
    lessons = tables["lessons"]
    is_set = lessons["set_flag"].fillna(lessons["set_flag_earlier"]).fillna(1).ne(0)
    meetings, schedules = tables["staff_meetings"], tables["year_schedules"]
    parts = [
        lessons.rename(columns={"lesson_id": "id", "teacher_user_code": "teachers"}).assign(
            kind=LESSON, is_set=is_set, year_id=None, join=lessons["code"].map(folded_code)
        ),
        meetings.rename(columns={"meeting_id": "id", "teacher_user_code": "teachers", "name": "code"}).assign(
            kind=MEETING,
            is_set=False,
            year_id=None,
            join=_joins(meetings["name"], meetings["group_id"]),
        ),
        schedules.rename(columns={"year_schedule_id": "id", "teacher_user_code": "teachers", "name": "code"}).assign(
            kind=YEAR_SCHEDULE, is_set=False, join=_joins(schedules["name"], schedules["year_id"])
        ),
        _per_period(tables["tutorials"]).assign(kind=TUTORIAL, is_set=False, year_id=None, join=""),
    ]
    numbers = {"year_id": "Int64", "room_id": "Int64", "period_id": "Int64", ROW: "int64"}
    columns = ["status", "timetable_id", "kind", "id", "code", "period_id", "room_id", "teachers", "year_id"]
    columns += ["is_set", "join", ROW]
    rows = pd.concat([part[columns].astype(numbers) for part in parts], ignore_index=True)
    return rows.assign(join=rows["join"].fillna("").astype("str"), is_set=rows["is_set"].astype(bool))


def _joins(names: pd.Series[str], groups: Column) -> list[str]:
    """What several rows are one by: a name, a group's number, or both; nothing where a row has neither."""
    found: list[str] = []
    for name, group in zip(names.tolist(), groups.tolist(), strict=True):
        folded, number = folded_code(name), "" if pd.isna(group) else str(group)
        found.append(f"{number}:{folded}" if folded or number else "")
    return found


def _per_period(tutorials: pd.DataFrame) -> pd.DataFrame:
    """Tutorials with a row for each of their periods."""
    rows = tutorials.assign(
        id=tutorials["tutorial_id"],
        code=tutorials["code"].fillna(tutorials["name"]),
        teachers=tutorials["teacher_user_codes"],
        period_id=tutorials["period_ids"].fillna("").str.split("; "),
    ).explode("period_id")
    return rows.assign(period_id=pd.to_numeric(rows["period_id"], errors="coerce").astype("Int64"))


def _with_known_periods(rows: pd.DataFrame, slots: pd.DataFrame) -> Split:
    out = Exclusions()
    known = rows["period_id"].isin(set(slots["period_id"]))
    for row in rows_of(rows[~known]):
        reason = "it has no period" if pd.isna(row.period_id) else f"its period {row.period_id} cannot hold it"
        out.add(str(row.kind), row.id, "period", reason)
    kept = rows[known]
    standing = set(zip(kept["kind"], kept[ROW], strict=True))
    for kind, of_kind in rows[~known].groupby("kind"):
        # A tutorial with another period that can hold it has its place there.
        numbers = of_kind[ROW].unique()
        out.account.leave_out(DATASET_OF[str(kind)], [n for n in numbers if (kind, n) not in standing], "period")
    return Split(kept.reset_index(drop=True), said=out)


def _with_known_rooms(rows: pd.DataFrame, rooms: set[Any]) -> Split:
    out = Exclusions()
    unknown = rows["room_id"].notna() & ~rows["room_id"].isin(rooms)
    for row in rows_of(rows[unknown]):
        out.warn(str(row.kind), row.id, "room", f"its room {row.room_id} does not exist; left empty")
    return Split(rows.assign(room_id=rows["room_id"].mask(unknown), lost_room=unknown), said=out)


# --- whom it is for -----------------------------------------------------------------------------------------


_BESIDE = ("status", "timetable_id", "join", "period_id", "room_id")
"""What two rows of one lesson have in common."""


@dataclass(frozen=True)
class _Unsure:
    """Several sets, or forms, that a code may mean."""

    what: str
    candidates: tuple[Any, ...]


class _Groups:
    """What a lesson's code names: a set, or a form that is taught as a class."""

    def __init__(self, tables: Mapping[str, pd.DataFrame]) -> None:
        sets, forms, staff = tables["sets"], tables["teaching_forms"], tables["staff"]
        codes = Lookup.of(staff, "staff_id", "user_code")
        links = tables.get("set_teachers")
        teachers = Together.of(links, "set_id", "staff_id") if links is not None else Together()
        known = [
            ({folded_code(main)} | {folded_code(codes.get(one)) for one in teachers.get(identifier)}) - {""}
            for identifier, main in zip(sets["set_id"].tolist(), sets["teacher_user_code"].tolist(), strict=True)
        ]
        self._set = {
            name: Lookup.of(sets, "code", name, fold=folded_code, known={"teacher": known})
            for name in ("set_id", "subject_id", "year_id")
        }
        self._form = {
            name: Lookup.of(forms, "timetable_code", name, fold=folded_code) for name in ("form_id", "subject_id")
        }
        self._subjects = Lookup.of(tables["subjects"], "subject_id", "name")
        self._subject_of_set = Lookup.of(sets, "set_id", "subject_id")
        self._year_of_set = Lookup.of(sets, "set_id", "year_id")
        self._year_of_form = Lookup.of(tables["forms"], "form_id", "year_id")

    def of(self, rows: pd.DataFrame) -> Split:
        """Rows with GROUP_COLUMNS; codes that name nothing, or several things that nothing tells apart, are noted."""
        out = Exclusions()
        columns = ("kind", "id", "code", "year_id", "teachers", "is_set", *_BESIDE)
        found: list[tuple[Any, Any, Any, Any]] = []
        unsure: dict[int, _Unsure] = {}
        beside: dict[tuple[Any, ...], set[Any]] = {}
        for at, (kind, identifier, code, year, teachers, is_set, *where) in enumerate(
            zip(*(rows[name].tolist() for name in columns), strict=True)
        ):
            if kind != LESSON:
                found.append((None, year, None, None))
                continue
            group = self._group(code, teachers, is_set=is_set)
            if isinstance(group, _Unsure):
                unsure[at] = group
                found.append((*self._in_common(code, group), None, None))
                continue
            if group is None:
                reason = "its code names no set and no teaching form"
                out.warn(LESSON, identifier, "group", reason)
            found.append(group or (None, year, None, None))
            if group and group[2] is not None and not pd.isna(where[-1]):
                beside.setdefault(tuple(where), set()).add(group[2])
        for at, group in unsure.items():
            row = rows.iloc[at]
            # Without a room, what is in the same period may be beside anything.
            here: set[Any] = (
                set() if pd.isna(row["room_id"]) else beside.get(tuple(row[name] for name in _BESIDE), set())
            )
            if group.what == "set" and len(here) == 1:  # the lesson's other teacher has told which set it is
                found[at] = self._of_set(next(iter(here)))
                continue
            those = " and ".join(f"{group.what} {one}" for one in group.candidates)
            reason = f"its code is that of {those}, and nothing tells which is meant; it is without a group"
            out.warn(LESSON, row["id"], "shared_code", reason)
        # Of several sets with one code, in rooms that are not known, nothing tells what is one lesson.
        alone = [at for at in unsure if found[at][2] is None and pd.isna(rows["room_id"].iloc[at])]
        joins = rows["join"].tolist()
        for at in alone:
            joins[at] = ""
        rows = rows.assign(join=pd.Series(joins, index=rows.index, dtype="str"))
        subjects, years, sets_, forms = zip(*found, strict=True) if found else ((), (), (), ())
        named = rows.assign(
            subject=pd.Series([self._subjects.get(one) for one in subjects], index=rows.index, dtype="str"),
            year_id=pd.Series(years, index=rows.index, dtype="Int64"),
            set_id=pd.Series(sets_, index=rows.index, dtype="Int64"),
            form_id=pd.Series(forms, index=rows.index, dtype="str"),
            code=rows["code"].fillna(""),
        )
        return Split(named, said=out)

    def _in_common(self, code: Any, group: _Unsure) -> tuple[Any, Any]:
        """Subject and year, where all that the code may mean have the same."""
        if group.what == "set":
            return self._set["subject_id"].get(code), self._set["year_id"].get(code)
        years = {self._year_of_form.get(one) for one in group.candidates}
        return self._form["subject_id"].get(code), next(iter(years)) if len(years) == 1 else None

    def _of_set(self, one: Any) -> tuple[Any, Any, Any, Any]:
        return self._subject_of_set.get(one), self._year_of_set.get(one), one, None

    def _group(self, code: Any, teachers: Any, *, is_set: bool) -> tuple[Any, Any, Any, Any] | _Unsure | None:
        """Subject, year, set and form; what may be meant where that is several, None where nothing is."""
        if not is_text(code):
            return None
        of_set = self._set["set_id"].find(code, teacher=folded_code(teachers) or None)
        form = self._form["form_id"].find(code)
        for is_first in (is_set, not is_set):
            if is_first and of_set.candidates:
                return _Unsure("set", of_set.candidates) if of_set.is_ambiguous else self._of_set(of_set.value)
            if not is_first and form.candidates:
                if form.is_ambiguous:
                    return _Unsure("teaching form", form.candidates)
                return self._form["subject_id"].get(code), self._year_of_form.get(form.value), None, form.value
        return None


class _Teachers:
    """Who a user code is. Where several members of staff have one, the set's own teacher is meant."""

    def __init__(self, tables: Mapping[str, pd.DataFrame]) -> None:
        staff = tables["staff"]
        self._staff = Lookup.of(
            staff, "user_code", "staff_id", fold=folded_code, known={"staff": [{one} for one in staff["staff_id"]]}
        )
        links = tables.get("set_teachers")
        self._of_set = Together.of(links, "set_id", "staff_id") if links is not None else Together()

    def of(self, rows: pd.DataFrame) -> Split:
        """Rows with `staff_ids`, their teachers by number; codes of nobody, or of several, are noted and left out."""
        out = Exclusions()
        found: list[str] = []
        columns = (rows[name].tolist() for name in ("kind", "id", "teachers", "set_id"))
        for kind, identifier, codes, set_id in zip(*columns, strict=True):
            ids: set[int] = set()
            for one in dict.fromkeys(codes.split("; ") if isinstance(codes, str) else ()):
                match = self._staff.find(one, staff=frozenset(self._of_set.get(set_id)))
                if match.value is not None:
                    ids.add(int(match.value))
                    continue
                reason = "a teacher of it is not among the staff"
                if match.is_ambiguous:
                    whose = " and ".join(f"staff {other}" for other in match.candidates)
                    reason = f"a teacher's code is that of {whose}, and nothing tells who is meant"
                out.warn(str(kind), identifier, "teacher", reason)
            found.append(" ".join(map(str, sorted(ids))))
        return Split(rows.assign(staff_ids=pd.Series(found, index=rows.index, dtype="str")), said=out)


# --- rows → entries -----------------------------------------------------------------------------------------


def _joined(rows: pd.DataFrame) -> tuple[pd.DataFrame, pd.DataFrame]:
    keys = ["status", "timetable_id", "kind", "join", "set_id", "form_id", "period_id", "room_id"]
    alone = rows["join"] == ""
    own = pd.Series(range(len(rows)), index=rows.index)
    # Rows that are of their own get a number that no group has.
    number = rows.groupby(keys, dropna=False, sort=False).ngroup().astype("int64").mask(alone, len(rows) + own)
    main = ~number.duplicated()
    first = rows[ROW].groupby(number).transform("first")
    joined = pd.DataFrame({"kind": rows["kind"], ROW: rows[ROW], "entry": first})
    entries = rows[main].copy()
    several = number.duplicated(keep=False)
    if bool(several.any()):
        of = rows[several].groupby(number[several])
        staff = of["staff_ids"].agg(_together)
        again = number[main].isin(staff.index)
        entries.loc[again, "staff_ids"] = number[main][again].map(staff)
        subjects, years = of["subject"].first(), of["year_id"].first()
        entries.loc[again, "subject"] = number[main][again].map(subjects).astype("str")
        entries.loc[again, "year_id"] = number[main][again].map(years)
    kept = [*keys, "id", "code", "subject", "year_id", "staff_ids", ROW, "lost_room", "teachers"]
    texts = {"staff_ids": "str", "subject": "str", "code": "str", "kind": "str", "form_id": "str"}
    # A tutorial has a row for each of its periods, and one number: it is one row of its dataset.
    joined = joined[~joined.duplicated(["kind", ROW]) | (joined["kind"] != TUTORIAL)]
    return entries[kept].drop(columns="join").astype(texts).reset_index(drop=True), joined.reset_index(drop=True)


def _lost(entries: pd.DataFrame) -> Exclusions:
    """Warnings of entries that have no room or no teacher for what was lost on the way."""
    out = Exclusions()
    unroomed = entries[entries["lost_room"] & entries["room_id"].isna()]
    untaught = entries[(entries["staff_ids"] == "") & entries["teachers"].notna()]
    for rule, odd, reason in (
        ("no_room", unroomed, "it has no room, as the one that it names does not exist"),
        ("no_teacher", untaught, "it has no teacher, as none of those that it names is known among the staff"),
    ):
        for kind, identifier in zip(odd["kind"].tolist(), odd["id"].tolist(), strict=True):
            out.warn(str(kind), identifier, rule, reason)
    return out


def _together(texts: pd.Series[str]) -> str:
    ids = {part for text in texts for part in text.split()}
    return " ".join(sorted(ids, key=int))
