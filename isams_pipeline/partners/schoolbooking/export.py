"""The datasets of any source → SchoolBooking's files. Pure."""

from __future__ import annotations

from collections.abc import Collection, Mapping
from datetime import date
from typing import Any

import pandas as pd

from isams_pipeline.delivery.built import ACCOUNTED_FOR, Built
from isams_pipeline.delivery.export import CheckResult, Export, check_files, check_references, few, to_csv
from isams_pipeline.partners.schoolbooking.files import BY_NAME, ENTITIES, FILES, REFERENCES
from isams_pipeline.partners.schoolbooking.settings import SchoolBookingSettings
from isams_pipeline.partners.schoolbooking.timetable import timetable_of
from isams_pipeline.rules.account import ROW, Account, numbered
from isams_pipeline.rules.dated import NEEDED as NEEDED_FOR_DATES
from isams_pipeline.rules.dates import is_nothing, sensible_births, year_of
from isams_pipeline.rules.email import note_emails, with_first_valid
from isams_pipeline.rules.identity import note_shared_codes, of_pupils, other_pupils, other_staff
from isams_pipeline.rules.notes import Lacking, Note, note_fields
from isams_pipeline.rules.people import Contacts, by_person, note_lost
from isams_pipeline.rules.references import Lookup, blank_dangling, note_shared, once, resolving, values_of
from isams_pipeline.rules.split import WARNING, Exclusions, Split
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
    "same_school": "Contacts and teaching groups speak of this school's pupils.",
    **ACCOUNTED_FOR,
    "one_timetable": "By iSAMS's own source: no two published timetables are for the same dates.",
}


NO_FILE = "no file of its own"
"""What SchoolBooking takes the names of only, as far as something refers to them."""


def build(
    tables: Mapping[str, pd.DataFrame],
    night: date,
    settings: SchoolBookingSettings | None = None,
    notes: Collection[Note | Lacking] = (),
) -> Built:
    """Shape the files of a night. Tables of iSAMS's own source have the timetable's weeks: they are put on dates."""
    settings = settings or SchoolBookingSettings()
    tables = numbered(tables)
    needed = NEEDED["isams" if "lessons" in tables else "assembly"]
    out = Exclusions(account=Account.of({name: tables[name] for name in needed}))
    account = out.account
    note_fields(notes, tables, out)
    pupils = _with_email(tables["pupils"], "student", "pupil_id", out)
    pupils = sensible_births(pupils, night, "student", "pupil_id", out)
    note_shared_codes(pupils, out)
    staff = _with_email(tables["staff"], "staff", "staff_id", out)
    contacts = Contacts.chosen(tables, settings, out)
    note_emails(contacts.people, "contact", "person_id", out, is_left_empty=True)
    links = contacts.settle(set(pupils["pupil_id"]))
    forms, years = tables["forms"], tables["years"]
    for column, known, what in (
        ("year_id", values_of(years, "year_id"), "the year group"),
        ("form_id", values_of(forms, "form_id"), "the registration group"),
    ):
        pupils, dangling = blank_dangling(pupils, column, known, what=what)
        out.take("student", Split(pupils, dangling), "pupil_id", severity=WARNING)
    forms, dangling = blank_dangling(forms, "tutor_staff_id", values_of(staff, "staff_id"), what="the tutor")
    out.take("registration_group", Split(forms, dangling), "form_id", severity=WARNING)
    sets = _sets(tables, out)
    members = _members(tables["set_members"], sets, pupils, out)
    teachers = _teachers(tables["set_teachers"], sets, staff, out)
    students = pupils.rename(
        columns={"pupil_id": "student_id", "year_id": "year_group_id", "form_id": "registration_group_id"}
    )
    in_forms = students[students["registration_group_id"].notna()]
    terms = _terms(tables["terms"], out)
    frames: dict[str, pd.DataFrame] = {
        "students.csv": students,
        "staff.csv": staff,
        "contacts.csv": contacts.people.rename(columns={"person_id": "contact_id"}),
        "student_contacts.csv": links.rename(columns={"pupil_id": "student_id", "person_id": "contact_id"}),
        "year_groups.csv": years.rename(columns={"year_id": "year_group_id"}),
        "registration_groups.csv": forms.rename(columns={"form_id": "registration_group_id"}),
        "registration_group_members.csv": in_forms,
        "teaching_groups.csv": sets.rename(columns={"set_id": "teaching_group_id"}),
        "teaching_group_members.csv": members.rename(columns={"pupil_id": "student_id"}),
        "teaching_group_staff.csv": teachers,
        "rooms.csv": tables["rooms"],
        "timetable.csv": timetable_of({**tables, "sets": sets, "staff": staff}, night, settings, out),
        "terms.csv": terms.rename(columns={"start_date": "start", "finish_date": "end"}),
    }
    for dataset, file in (("pupils", "students.csv"), ("staff", "staff.csv"), ("years", "year_groups.csv")):
        account.deliver(dataset, frames[file][ROW], file)
    for dataset, file in (("forms", "registration_groups.csv"), ("rooms", "rooms.csv"), ("terms", "terms.csv")):
        account.deliver(dataset, frames[file][ROW], file)
    files = {name: to_csv(frame, BY_NAME[name]) for name, frame in frames.items()}
    exclusions = by_person(out.frame(), set(contacts.people["person_id"]))
    return Built(Export(files), exclusions, ENTITIES, account)


def _with_email(people: pd.DataFrame, entity: str, key: str, out: Exclusions) -> pd.DataFrame:
    """With one valid address each; who has none stays, and is noted."""
    people = with_first_valid(people)
    note_emails(people, entity, key, out, is_left_empty=True)
    return people


def _terms(terms: pd.DataFrame, out: Exclusions) -> pd.DataFrame:
    """Terms without dates that stand for nothing."""
    for column in ("start_date", "finish_date"):
        nothing = terms[column].notna() & terms[column].map(is_nothing).astype(bool)
        for term in terms.loc[nothing, "term_id"]:
            reason = f"its {column} stands for no date; left empty"
            out.add("term", term, "term_dates", reason, severity=WARNING)
        terms = terms.assign(**{column: terms[column].mask(nothing)})
    return terms


def _sets(tables: Mapping[str, pd.DataFrame], out: Exclusions) -> pd.DataFrame:
    """Teaching groups with the names of their subjects."""
    sets, subjects = tables["sets"], tables["subjects"]
    names = Lookup.of(subjects, "subject_id", "name")
    note_shared(names, "subject", "name", out)
    used = subjects.loc[subjects["subject_id"].isin(sets["subject_id"]), ROW]
    out.account.look_up("subjects", used, "teaching_groups.csv", "subject", unused=NO_FILE)
    out.account.deliver("sets", sets[ROW], "teaching_groups.csv")
    return sets.assign(subject=names.texts(sets["subject_id"]))


def _members(links: pd.DataFrame, sets: pd.DataFrame, pupils: pd.DataFrame, out: Exclusions) -> pd.DataFrame:
    """Who is in which teaching group, each once, both of whom are in the export."""
    entity, dataset = "teaching_group_member", "set_members"
    known = resolving(links, "set_id", sets["set_id"], what="the teaching group")
    kept = out.take(entity, known, ("set_id", "pupil_id"), of=dataset)
    kept = out.take(entity, of_pupils(kept, pupils), ("set_id", "pupil"), of=dataset)
    found = _once(kept, "pupil_id", dataset, "teaching_group_members.csv", out)
    note_lost(known.kept, found, "teaching_group", ("no_students", "students"), out)
    return found.rename(columns={"set_id": "teaching_group_id"})


def _teachers(links: pd.DataFrame, sets: pd.DataFrame, staff: pd.DataFrame, out: Exclusions) -> pd.DataFrame:
    """Who teaches which teaching group, each once."""
    entity, dataset, pair = "teaching_group_staff", "set_teachers", ("set_id", "staff_id")
    known = resolving(links, "set_id", sets["set_id"], what="the teaching group")
    kept = out.take(entity, known, pair, of=dataset)
    kept = out.take(entity, resolving(kept, "staff_id", staff["staff_id"], what="the teacher"), pair, of=dataset)
    found = _once(kept, "staff_id", dataset, "teaching_group_staff.csv", out)
    note_lost(known.kept, found, "teaching_group", ("no_teachers", "teachers"), out)
    return found.rename(columns={"set_id": "teaching_group_id"})


def _once(links: pd.DataFrame, key: str, dataset: str, file: str, out: Exclusions) -> pd.DataFrame:
    split = once(links, ("set_id", key))
    out.account.merge(dataset, split.excluded[ROW], split.excluded["into"])
    out.account.deliver(dataset, split.kept[ROW], file)
    return split.kept


def check_source(tables: Mapping[str, pd.DataFrame], night: date) -> list[CheckResult]:
    """The verdicts of the blocking rules on the tables behind the export.

    One timetable is a rule on what iSAMS's own source has; the other sources bring the dates themselves.
    """
    mentions = {name: tables[name] for name in ("contact_pupils", "set_members")}
    of_staff = {"pupils": tables["pupils"]["tutor_user_code"], "sets": tables["sets"]["teacher_user_code"]}
    others = [*other_pupils(tables["pupils"], mentions), *other_staff(tables["staff"], of_staff)]
    same_school = CheckResult("same_school", few(others))
    if "dated_lessons" in tables:
        return [same_school, CheckResult("one_timetable")]
    first, last = year_of(tables["terms"], night)
    made = dated_timetable(tables, first=first, last=last)
    return [same_school, CheckResult("one_timetable", few(made.problems))]


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
