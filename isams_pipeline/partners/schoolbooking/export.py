"""The datasets of any source → SchoolBooking's files. Pure."""

from __future__ import annotations

from collections.abc import Collection, Mapping
from datetime import date
from typing import Any

import pandas as pd

from isams_pipeline.delivery.built import ACCOUNTED_FOR, Built, by_table
from isams_pipeline.delivery.export import CheckResult, Export, check_files, check_references, few, to_csv
from isams_pipeline.partners.schoolbooking.files import BY_NAME, ENTITIES, FILES, REFERENCES
from isams_pipeline.partners.schoolbooking.settings import SchoolBookingSettings
from isams_pipeline.partners.schoolbooking.timetable import timetable_of
from isams_pipeline.rules.account import ROW, numbered
from isams_pipeline.rules.dated import NEEDED as NEEDED_FOR_DATES
from isams_pipeline.rules.dates import is_nothing, sensible_births, year_of
from isams_pipeline.rules.email import sensible_emails, with_first_valid
from isams_pipeline.rules.identity import of_pupils, other_pupils, other_staff, shared_codes
from isams_pipeline.rules.notes import Lacking, Note, noted_fields
from isams_pipeline.rules.people import Contacts, by_person, emptied
from isams_pipeline.rules.references import Lookup, blank_dangling, once, resolving, shared_keys, values_of
from isams_pipeline.rules.split import Exclusions, Split
from isams_pipeline.rules.timetable import rival_timetables

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
    out = Exclusions.of(tables, *NEEDED["isams" if "lessons" in tables else "assembly"])
    account = out.account
    out.join(noted_fields(notes, tables))
    pupils = out.take("student", _with_email(tables["pupils"]), "pupil_id")
    pupils = out.take("student", sensible_births(pupils, night), "pupil_id")
    out.join(shared_codes(pupils))
    staff = out.take("staff", _with_email(tables["staff"]), "staff_id")
    contacts = Contacts.chosen(tables, settings)
    contacts = contacts.by(sensible_emails(contacts.people, is_left_empty=True))
    links = out.follow(contacts.settled(set(pupils["pupil_id"])))
    forms, years = tables["forms"], tables["years"]
    for column, known, what in (
        ("year_id", values_of(years, "year_id"), "the year group"),
        ("form_id", values_of(forms, "form_id"), "the registration group"),
    ):
        pupils = out.take("student", blank_dangling(pupils, column, known, what=what), "pupil_id")
    tutors = blank_dangling(forms, "tutor_staff_id", values_of(staff, "staff_id"), what="the tutor")
    forms = out.take("registration_group", tutors, "form_id")
    sets = out.follow(_sets(tables))
    members = out.follow(_members(tables["set_members"], sets, pupils))
    teachers = out.follow(_teachers(tables["set_teachers"], sets, staff))
    students = pupils.rename(
        columns={"pupil_id": "student_id", "year_id": "year_group_id", "form_id": "registration_group_id"}
    )
    in_forms = students[students["registration_group_id"].notna()]
    terms = out.take("term", _terms(tables["terms"]), "term_id")
    timetable = out.follow(timetable_of({**tables, "sets": sets, "staff": staff}, night, settings))
    frames: dict[str, pd.DataFrame] = {
        "students.csv": students,
        "staff.csv": staff,
        "contacts.csv": contacts.people.rename(columns={"person_id": "contact_id"}),
        "student_contacts.csv": links.rename(
            columns={"pupil_id": "student_id", "person_id": "contact_id", "first_person": "first_contact"}
        ),
        "year_groups.csv": years.rename(columns={"year_id": "year_group_id"}),
        "registration_groups.csv": forms.rename(columns={"form_id": "registration_group_id"}),
        "registration_group_members.csv": in_forms,
        "teaching_groups.csv": sets.rename(columns={"set_id": "teaching_group_id"}),
        "teaching_group_members.csv": members.rename(columns={"pupil_id": "student_id"}),
        "teaching_group_staff.csv": teachers,
        "rooms.csv": tables["rooms"],
        "timetable.csv": timetable,
        "terms.csv": terms.rename(columns={"start_date": "start", "finish_date": "end"}),
    }
    for dataset, file in (("pupils", "students.csv"), ("staff", "staff.csv"), ("years", "year_groups.csv")):
        account.deliver(dataset, frames[file][ROW], file)
    for dataset, file in (("forms", "registration_groups.csv"), ("rooms", "rooms.csv"), ("terms", "terms.csv")):
        account.deliver(dataset, frames[file][ROW], file)
    files = {name: to_csv(frame, BY_NAME[name]) for name, frame in frames.items()}
    exclusions = by_person(out.frame(), set(contacts.people["person_id"]))
    return Built(Export(files), exclusions, ENTITIES, account, by_table(frames, eligible_contacts=contacts.entries))


def _with_email(people: pd.DataFrame) -> Split:
    """Keep all, with one valid address each; who has none is warned of."""
    return sensible_emails(with_first_valid(people), is_left_empty=True)


def _terms(terms: pd.DataFrame) -> Split:
    """Keep all terms, without dates that stand for nothing."""
    noted: list[pd.DataFrame] = []
    for column in ("start_date", "finish_date"):
        nothing = terms[column].notna() & terms[column].map(is_nothing).astype(bool)
        reason = f"its {column} stands for no date; left empty"
        noted.append(terms[nothing].assign(rule="term_dates", reason=reason))
        terms = terms.assign(**{column: terms[column].mask(nothing)})
    return Split(terms, noted=pd.concat(noted))


def _sets(tables: Mapping[str, pd.DataFrame]) -> Split:
    """Teaching groups with the names of their subjects."""
    out = Exclusions.of(tables, "sets", "subjects")
    sets, subjects = tables["sets"], tables["subjects"]
    names = Lookup.of(subjects, "subject_id", "name")
    out.join(shared_keys(names, "subject", "name"))
    used = subjects.loc[subjects["subject_id"].isin(sets["subject_id"]), ROW]
    out.account.look_up("subjects", used, "teaching_groups.csv", "subject", unused=NO_FILE)
    out.account.deliver("sets", sets[ROW], "teaching_groups.csv")
    return Split(sets.assign(subject=names.texts(sets["subject_id"])), said=out)


def _members(links: pd.DataFrame, sets: pd.DataFrame, pupils: pd.DataFrame) -> Split:
    """Who is in which teaching group, each once, both of whom are in the export."""
    entity, dataset, out = "teaching_group_member", "set_members", Exclusions()
    known = resolving(links, "set_id", sets["set_id"], what="the teaching group")
    kept = out.take(entity, known, ("set_id", "pupil_id"), of=dataset)
    kept = out.take(entity, of_pupils(kept, pupils), ("set_id", "pupil"), of=dataset)
    found = out.follow(_once(kept, "pupil_id", dataset, "teaching_group_members.csv"))
    out.join(emptied(known.kept, found, "teaching_group", rule="no_students", what="students"))
    return Split(found.rename(columns={"set_id": "teaching_group_id"}), said=out)


def _teachers(links: pd.DataFrame, sets: pd.DataFrame, staff: pd.DataFrame) -> Split:
    """Who teaches which teaching group, each once."""
    entity, dataset, pair, out = "teaching_group_staff", "set_teachers", ("set_id", "staff_id"), Exclusions()
    known = resolving(links, "set_id", sets["set_id"], what="the teaching group")
    kept = out.take(entity, known, pair, of=dataset)
    kept = out.take(entity, resolving(kept, "staff_id", staff["staff_id"], what="the teacher"), pair, of=dataset)
    found = out.follow(_once(kept, "staff_id", dataset, "teaching_group_staff.csv"))
    out.join(emptied(known.kept, found, "teaching_group", rule="no_teachers", what="teachers"))
    return Split(found.rename(columns={"set_id": "teaching_group_id"}), said=out)


def _once(links: pd.DataFrame, key: str, dataset: str, file: str) -> Split:
    split, out = once(links, ("set_id", key)), Exclusions()
    out.account.merge(dataset, split.excluded[ROW], split.excluded["into"])
    out.account.deliver(dataset, split.kept[ROW], file)
    return Split(split.kept, said=out)


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
    rivals = rival_timetables(tables, first=first, last=last)
    return [same_school, CheckResult("one_timetable", few(rivals))]


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
