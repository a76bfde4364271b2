"""The datasets of any road → SchoolBooking's files. Pure."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from datetime import date
from typing import Any

import pandas as pd

from isams_pipeline.delivery.export import CheckResult, Export, check_files, check_references, few, to_csv
from isams_pipeline.partners.schoolbooking.files import BY_NAME, ENTITIES, FILES, REFERENCES
from isams_pipeline.rules import Exclusions
from isams_pipeline.rules.contacts import linked_to_pupils, one_link_per_pupil, one_per_person, with_a_link
from isams_pipeline.rules.dated import NEEDED as NEEDED_FOR_DATES
from isams_pipeline.rules.dated import lessons_on_dates, periods_of
from isams_pipeline.rules.dates import school_years
from isams_pipeline.rules.email import with_first_valid
from isams_pipeline.rules.references import blank_dangling, lookup, mapped, resolving, values_of
from isams_pipeline.rules.split import EXCLUDED, WARNING, Split
from isams_pipeline.rules.timetable import dated_timetable

_COMMON = (
    *("pupils", "contacts", "contact_pupils", "staff", "years", "forms", "subjects", "sets", "set_teachers"),
    *("set_members", "rooms", "terms"),
)
NEEDED: Mapping[str, tuple[str, ...]] = {
    "isams": tuple(dict.fromkeys((*_COMMON, *NEEDED_FOR_DATES))),
    "assembly": (*_COMMON, "periods", "dated_lessons"),
    "xporter": (*_COMMON, "periods", "dated_lessons"),
}
"""Source → the datasets that the export is made from."""

CHECKS: dict[str, str] = {
    "schema": "Every file is there with its columns.",
    "unique_keys": "No two rows of a file have the same key.",
    "not_empty": "There are students, staff, contacts and year groups.",
    "references": "Every id in a file stands in the file that it refers to.",
    "one_timetable": "By iSAMS's own road: no two published timetables are for the same dates.",
}


@dataclass(frozen=True)
class Built:
    """The files, and what is not in them or not as the source has it."""

    export: Export
    exclusions: pd.DataFrame

    def excluded_per_file(self) -> dict[str, int]:
        """How many things are missing from each file."""
        out = self.exclusions[self.exclusions["severity"] == EXCLUDED].drop_duplicates(["entity", "id"])
        counts = out["entity"].map(ENTITIES).value_counts()
        return {str(name): int(count) for name, count in counts.items()}


def build(tables: Mapping[str, pd.DataFrame], night: date) -> Built:
    """Shape the files of a night. Tables of iSAMS's own road have the timetable's weeks: they are put on dates."""
    out = Exclusions()
    pupils = _with_email(tables["pupils"], "student", "pupil_id", out)
    staff = _with_email(tables["staff"], "staff", "staff_id", out)
    contacts, links = _contacts(tables, pupils, out)
    forms, years = tables["forms"], tables["years"]
    for column, known, what in (
        ("year_id", values_of(years, "year_id"), "the year group"),
        ("form_id", values_of(forms, "form_id"), "the registration group"),
    ):
        pupils, dangling = blank_dangling(pupils, column, known, what=what)
        out.take("student", Split(pupils, dangling), "pupil_id", severity=WARNING)
    forms, dangling = blank_dangling(forms, "tutor_staff_id", values_of(staff, "staff_id"), what="the tutor")
    out.take("registration_group", Split(forms, dangling), "form_id", severity=WARNING)
    sets = tables["sets"].assign(
        subject=mapped(tables["sets"]["subject_id"], lookup(tables["subjects"], "subject_id", "name"))
    )
    members = _links_of(tables["set_members"], sets, ("pupil_id", pupils), "teaching_group_member", out)
    teachers = _links_of(tables["set_teachers"], sets, ("staff_id", staff), "teaching_group_staff", out)
    students = pupils.rename(
        columns={"pupil_id": "student_id", "year_id": "year_group_id", "form_id": "registration_group_id"}
    )
    in_forms = students[students["registration_group_id"].notna()]
    frames: dict[str, pd.DataFrame] = {
        "students.csv": students,
        "staff.csv": staff,
        "contacts.csv": contacts.rename(columns={"person_id": "contact_id"}),
        "student_contacts.csv": links.rename(columns={"pupil_id": "student_id", "person_id": "contact_id"}),
        "year_groups.csv": years.rename(columns={"year_id": "year_group_id"}),
        "registration_groups.csv": forms.rename(columns={"form_id": "registration_group_id"}),
        "registration_group_members.csv": in_forms,
        "teaching_groups.csv": sets.rename(columns={"set_id": "teaching_group_id"}),
        "teaching_group_members.csv": members.rename(columns={"pupil_id": "student_id"}),
        "teaching_group_staff.csv": teachers,
        "rooms.csv": tables["rooms"],
        "timetable.csv": _timetable(tables, staff, night, out),
        "terms.csv": tables["terms"].rename(columns={"start_date": "start", "finish_date": "end"}),
    }
    files = {name: to_csv(frame, BY_NAME[name]) for name, frame in frames.items()}
    return Built(Export(files), out.frame())


def _with_email(people: pd.DataFrame, entity: str, key: str, out: Exclusions) -> pd.DataFrame:
    """With one valid address each; who has none stays, and is noted."""
    people = with_first_valid(people)
    for identifier in people.loc[people["email"].isna(), key]:
        out.add(entity, identifier, "email", "no valid e-mail address; left empty", severity=WARNING)
    return people


def _contacts(
    tables: Mapping[str, pd.DataFrame], pupils: pd.DataFrame, out: Exclusions
) -> tuple[pd.DataFrame, pd.DataFrame]:
    """Contacts with a student here, one per person, and their links."""
    pair = ("pupil_id", "person_id")
    links = out.take("student_contact", linked_to_pupils(tables["contact_pupils"], pupils), pair)
    entries = tables["contacts"]
    of_entries = entries[["entry_id", "person_id", "relationship", "parental_responsibility", "first_person"]]
    links = links.merge(of_entries, on=["entry_id", "person_id"], how="left", indicator=True)
    known = Split.by(links, links["_merge"] == "both", rule="reference", reason="the contact is not among the contacts")
    links = out.take("student_contact", known, pair)
    split = with_a_link(entries, links)
    # A person is out only where none of their entries is in.
    gone = ~split.excluded["person_id"].isin(values_of(split.kept, "person_id"))
    out.take("contact", Split(split.kept, split.excluded[gone].drop_duplicates("person_id")), "person_id")
    contacts = one_per_person(split.kept)
    for identifier in contacts.loc[contacts["email"].isna(), "person_id"]:
        out.add("contact", identifier, "email", "no valid e-mail address; left empty", severity=WARNING)
    links = links.assign(first_person=links["first_person"].fillna(False).astype(bool))  # noqa: FBT003
    return contacts, one_link_per_pupil(links).kept


def _links_of(
    links: pd.DataFrame, sets: pd.DataFrame, whom: tuple[str, pd.DataFrame], entity: str, out: Exclusions
) -> pd.DataFrame:
    """Who is in which teaching group, each once, both of whom are in the export."""
    key, people = whom
    links = out.take(entity, resolving(links, "set_id", sets["set_id"], what="the teaching group"), ("set_id", key))
    what = "the student" if key == "pupil_id" else "the teacher"
    links = out.take(entity, resolving(links, key, people[key], what=what), ("set_id", key))
    return links.drop_duplicates(["set_id", key]).rename(columns={"set_id": "teaching_group_id"})


def _timetable(tables: Mapping[str, pd.DataFrame], staff: pd.DataFrame, night: date, out: Exclusions) -> pd.DataFrame:
    """The school year's lessons: one row per lesson, date and room."""
    if "dated_lessons" in tables:
        lessons, periods = tables["dated_lessons"], tables["periods"]
    else:
        lessons, timetable = lessons_on_dates(tables, *school_years(night))
        periods = periods_of(tables)
        out.rows += timetable.exclusions.rows
    known_rooms = {str(room) for room in values_of(tables["rooms"], "room_id")}
    for column, known, what in (
        ("set_id", values_of(tables["sets"], "set_id"), "the teaching group"),
        ("form_id", values_of(tables["forms"], "form_id"), "the registration group"),
    ):
        lessons, dangling = blank_dangling(lessons, column, known, what=what)
        _note_once(Split(lessons, dangling), out)
    lessons = _with_known_staff(lessons, {str(one) for one in values_of(staff, "staff_id")}, out)
    rooms = lessons["room_ids"].fillna("").str.split()
    rows = lessons.assign(room_id=rooms, period=mapped(lessons["period_id"], lookup(periods, "period_id", "name")))
    rows = rows.explode("room_id", ignore_index=True)
    rows["room_id"] = rows["room_id"].astype("str")
    unknown = rows["room_id"].notna() & ~rows["room_id"].isin(known_rooms)
    noted = rows[unknown].assign(rule="reference", reason="the room is not in the export; left empty")
    _note_once(Split(rows, noted), out)
    rows["room_id"] = rows["room_id"].mask(unknown)
    rows = rows.drop_duplicates(["date", "lesson_id", "room_id"])
    return rows.rename(columns={"set_id": "teaching_group_id", "form_id": "registration_group_id"})


def _with_known_staff(lessons: pd.DataFrame, known: set[str], out: Exclusions) -> pd.DataFrame:
    """Lessons without the teachers who are not in the export."""
    kept = {ids: " ".join(one for one in ids.split() if one in known) for ids in lessons["staff_ids"].dropna().unique()}
    unknown = lessons["staff_ids"].map({ids: ids != left for ids, left in kept.items()}).fillna(False).astype(bool)  # noqa: FBT003
    noted = lessons[unknown].assign(rule="reference", reason="a teacher is not in the export; left out")
    _note_once(Split(lessons, noted), out)
    return lessons.assign(staff_ids=lessons["staff_ids"].map(kept).astype("str"))


def check_source(tables: Mapping[str, pd.DataFrame], night: date) -> CheckResult:
    """The verdict of the blocking rule on what iSAMS's own road has; the other roads bring the dates themselves."""
    if "dated_lessons" in tables:
        return CheckResult("one_timetable")
    first, last = school_years(night)
    return CheckResult("one_timetable", few(dated_timetable(tables, first=first, last=last).problems))


def _note_once(split: Split, out: Exclusions) -> None:
    """A lesson once, however many its dates."""
    once = split.excluded.drop_duplicates("lesson_id")
    out.take("lesson", Split(split.kept, once), "lesson_id", severity=WARNING)


def check_export(export: Export) -> list[CheckResult]:
    """The verdicts of the blocking rules on the bytes."""
    results = check_files(export, FILES)
    if not results[0].passed:
        unread: Any = ("the files cannot be compared before their columns are right",)
        return [*results, CheckResult("references", unread)]
    return [*results, _references(export)]


def _references(export: Export) -> CheckResult:
    """References, the teachers of lessons among them, of whom a cell may name several."""
    known = {row["staff_id"] for row in export.rows("staff.csv")}
    problems = [
        f"timetable.csv row {number}: staff_ids is not in staff.csv"
        for number, row in enumerate(export.rows("timetable.csv"), start=1)
        if not known.issuperset(row["staff_ids"].split())
    ]
    return CheckResult("references", few([*check_references(export, REFERENCES).problems, *problems]))
