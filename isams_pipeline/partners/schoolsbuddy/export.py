"""iSAMS's tables → SchoolsBuddy's files: the rules in their order, then the shapes. Pure."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

import pandas as pd

from isams_pipeline.config import SchoolsBuddySettings, YearRange
from isams_pipeline.delivery.export import Export, to_csv
from isams_pipeline.partners.schoolsbuddy.files import BY_NAME, ENTITIES
from isams_pipeline.rules import Exclusions
from isams_pipeline.rules.contacts import (
    linked_to_pupils,
    linked_to_years,
    mail_merged,
    one_link_per_pupil,
    one_per_person,
    wanted_contact_types,
    with_a_link,
)
from isams_pipeline.rules.email import having_email, shared_across, unique_emails, with_first_valid
from isams_pipeline.rules.references import blank_dangling, lookup, mapped, resolving, values_of
from isams_pipeline.rules.split import EXCLUDED, WARNING, Split
from isams_pipeline.rules.years import named_with_campus

NEEDED = (
    "pupils",
    "contacts",
    "contact_pupils",
    "staff",
    "years",
    "forms",
    "academic_houses",
    "boarding_houses",
    "subjects",
    "sets",
    "set_teachers",
    "set_members",
    "health",
)
"""The datasets that the export is made from."""


@dataclass(frozen=True)
class Built:
    """An export, and what is not in it."""

    export: Export
    exclusions: pd.DataFrame
    """entity, id, rule, severity, reason."""

    def excluded_per_file(self) -> dict[str, int]:
        """How many things are missing from each file."""
        out = self.exclusions[self.exclusions["severity"] == EXCLUDED].drop_duplicates(["entity", "id"])
        counts = out["entity"].value_counts()
        return {file: int(counts.get(entity, 0)) for entity, file in ENTITIES.items() if file in self.export.files}


def build(
    tables: Mapping[str, pd.DataFrame],
    settings: SchoolsBuddySettings,
    campuses: Mapping[str, YearRange],
    *,
    has_medical: bool,
) -> Built:
    """Apply the rules in their order and shape the files."""
    out = Exclusions()
    pupils, staff = tables["pupils"], tables["staff"]

    contacts, links = _contacts(tables, settings, out)
    contacts = out.take("contact", having_email(contacts), "person_id")
    staff = out.take("staff", having_email(with_first_valid(staff)), "staff_id")
    pupils = _pupils_with_email(pupils, out)

    # Uniqueness comes last, among those whom every other rule kept.
    contacts = out.take(
        "contact",
        unique_emails(contacts, "person_id", entity="contact", first_if="first_person"),
        "person_id",
    )
    staff = out.take("staff", unique_emails(staff, "staff_id", entity="staff"), "staff_id")
    pupils = _without_shared_emails(pupils, out)
    for entity, identifier, reason in shared_across(
        {"student": pupils, "contact": contacts, "staff": staff},
        {"student": "pupil_id", "contact": "person_id", "staff": "staff_id"},
    ):
        out.add(entity, identifier, "email_shared_across", reason, severity=WARNING)

    years = named_with_campus(tables["years"], campuses)
    houses = _houses(tables, staff, out)
    students = _students(pupils, forms=tables["forms"], years=years, houses=houses, staff=staff, out=out)
    classes = _classes(tables, years, out)
    frames: dict[str, pd.DataFrame] = {
        "students.csv": students,
        "contacts.csv": contacts.rename(columns={"person_id": "contact_id"}),
        "student_contacts.csv": _links(links, contacts),
        "staff.csv": staff,
        "year_groups.csv": years,
        "classes.csv": classes,
        "class_students.csv": _class_students(tables["set_members"], classes, pupils, out),
        "class_staff.csv": _class_staff(tables["set_teachers"], classes, staff, out),
        "houses.csv": houses,
    }
    if has_medical and settings.medical_fields:
        frames["medical.csv"] = _medical(tables["health"], pupils, settings.medical_fields, out)
    files = {name: to_csv(frame, BY_NAME[name]) for name, frame in frames.items()}
    return Built(Export(files), _by_person(out.frame(), set(contacts["person_id"])))


# --- contacts ---------------------------------------------------------------------------------------------


def _contacts(
    tables: Mapping[str, pd.DataFrame], settings: SchoolsBuddySettings, out: Exclusions
) -> tuple[pd.DataFrame, pd.DataFrame]:
    """Contacts, one per person, and their links to students."""
    entries, links, pupils = tables["contacts"], tables["contact_pupils"], tables["pupils"]
    pair = ("pupil_id", "person_id")
    links = out.take("student_contact", linked_to_pupils(links, pupils), pair)
    of_entry = ("person_id", "entry_id")
    entries = out.take(_ENTRY, wanted_contact_types(entries, settings.contact_types), of_entry)
    entries = out.take(_ENTRY, mail_merged(entries, settings.mail_merge), of_entry)
    of_entries = entries[["entry_id", "person_id", "relationship", "parental_responsibility", "first_person"]]
    # Links of entries that are out go with them: the exclusions name the entry.
    links = links.merge(of_entries, on=["entry_id", "person_id"])
    years = linked_to_years(links, pupils, settings.contact_years)
    links = out.take("student_contact", years, pair)
    entries = out.take(_ENTRY, _no_student(with_a_link(entries, links), years), of_entry)
    links = links.assign(first_person=links["first_person"].fillna(False).astype(bool))  # noqa: FBT003
    links = one_link_per_pupil(links).kept
    return one_per_person(entries), links


_ENTRY = "contact entry"
"""An entity that only exists until it is known whether the person is in by another entry."""


def _no_student(split: Split, years: Split) -> Split:
    """The reason of an entry whose students are all in other years is those years."""
    pairs = set(zip(years.excluded["entry_id"], years.excluded["person_id"], strict=True))
    excluded = split.excluded.copy()
    for_years = [pair in pairs for pair in zip(excluded["entry_id"], excluded["person_id"], strict=True)]
    excluded.loc[for_years, "rule"] = "contact_years"
    excluded.loc[for_years, "reason"] = "none of its students is in a year group of contact_years"
    return Split(split.kept, excluded)


def _by_person(exclusions: pd.DataFrame, kept: set[int]) -> pd.DataFrame:
    """Excluded entries as excluded contacts, or as entries where the person is in by another one."""
    rows: list[tuple[str, str, str, str, str]] = []
    for entity, identifier, rule, severity, reason in exclusions.itertuples(index=False, name=None):
        if entity == _ENTRY:
            person, _, entry = str(identifier).partition(":")
            if int(person) in kept:
                rows.append(("contact_entry", entry, rule, severity, f"{reason}; contact {person} is in by another"))
            else:
                rows.append(("contact", person, rule, severity, f"entry {entry}: {reason}"))
        else:
            rows.append((entity, identifier, rule, severity, reason))
    return Exclusions(rows).frame()


def _links(links: pd.DataFrame, contacts: pd.DataFrame) -> pd.DataFrame:
    # A link whose contact is out needs no exclusion of its own: the contact has one.
    kept = links[links["person_id"].isin(contacts["person_id"])]
    return kept.rename(columns={"pupil_id": "student_id", "person_id": "contact_id", "first_person": "first_contact"})


# --- students ---------------------------------------------------------------------------------------------


def _pupils_with_email(pupils: pd.DataFrame, out: Exclusions) -> pd.DataFrame:
    pupils = with_first_valid(pupils)
    for identifier in pupils.loc[pupils["email"].isna(), "pupil_id"]:
        out.add("student", identifier, "email", "no valid e-mail address; left empty", severity=WARNING)
    return pupils


def _without_shared_emails(pupils: pd.DataFrame, out: Exclusions) -> pd.DataFrame:
    split = unique_emails(pupils, "pupil_id", entity="student")
    out.take("student", split, "pupil_id", severity=WARNING)
    blanked = split.excluded.drop(columns=["rule", "reason"]).assign(email=None)
    blanked["email"] = blanked["email"].astype("str")
    return pd.concat([split.kept, blanked]).sort_values("pupil_id") if len(blanked) else split.kept


def _students(
    pupils: pd.DataFrame,
    *,
    forms: pd.DataFrame,
    years: pd.DataFrame,
    houses: pd.DataFrame,
    staff: pd.DataFrame,
    out: Exclusions,
) -> pd.DataFrame:
    def noted(result: tuple[pd.DataFrame, pd.DataFrame]) -> pd.DataFrame:
        frame, dangling = result
        out.take("student", Split(frame, dangling), "pupil_id", severity=WARNING)
        return frame

    students = noted(blank_dangling(pupils, "year_id", values_of(years, "year_id"), what="the year group"))
    students["year_group"] = mapped(students["year_id"], lookup(years, "year_id", "name"))
    # Forms have no file of their own, so a form that is not in the source's list keeps the pupil's word for it.
    students["form"] = mapped(students["form_id"], lookup(forms, "form_id", "name")).fillna(students["form_id"])
    for kind in ("academic", "boarding"):
        of_kind = houses[houses["type"] == kind]
        by_name = {name.casefold(): name for name in of_kind["name"].dropna()}
        column = f"{kind}_house"
        by_id = mapped(students[f"{column}_id"], lookup(of_kind, "house_id", "name"))
        by_spelling = mapped(students[column].str.casefold(), by_name)
        given = students[column].fillna(students[f"{column}_id"].astype("str"))
        students[column] = by_id.fillna(by_spelling).fillna(given)
        students = noted(blank_dangling(students, column, values_of(of_kind, "name"), what=f"the {kind} house"))
    codes = lookup(staff, "user_code", "staff_id")
    unknown = students["tutor_user_code"].notna() & ~students["tutor_user_code"].isin(list(codes))
    reason = "the tutor is not in the export; left empty"
    out.take("student", Split.by(students, ~unknown, rule="reference", reason=reason), "pupil_id", severity=WARNING)
    students["tutor_staff_id"] = students["tutor_user_code"].map(codes).astype("Int64")
    return students.rename(columns={"pupil_id": "student_id"})


# --- houses, classes, medical -----------------------------------------------------------------------------


def _houses(tables: Mapping[str, pd.DataFrame], staff: pd.DataFrame, out: Exclusions) -> pd.DataFrame:
    houses = pd.concat(
        [
            tables["academic_houses"].assign(type="academic"),
            tables["boarding_houses"].assign(type="boarding"),
        ],
        ignore_index=True,
    )
    houses["type"] = houses["type"].astype("str")
    split = Split.by(houses, houses["name"].notna(), rule="name", reason="it has no name")
    houses = out.take("house", split, "house_id")
    houses, dangling = blank_dangling(
        houses, "house_master_staff_id", values_of(staff, "staff_id"), what="the house master"
    )
    return out.take("house", Split(houses, dangling), "house_id", severity=WARNING)


def _classes(tables: Mapping[str, pd.DataFrame], years: pd.DataFrame, out: Exclusions) -> pd.DataFrame:
    sets = tables["sets"]
    subjects = tables["subjects"].drop_duplicates("subject_id")
    for column, targets, what in (
        ("subject_id", values_of(subjects, "subject_id"), "the subject"),
        ("year_id", values_of(years, "year_id"), "the year group"),
    ):
        sets, dangling = blank_dangling(sets, column, targets, what=what)
        out.take("class", Split(sets, dangling), "set_id", severity=WARNING)
    return sets.assign(
        subject=mapped(sets["subject_id"], lookup(subjects, "subject_id", "name")),
        year_group=mapped(sets["year_id"], lookup(years, "year_id", "name")),
    ).rename(columns={"set_id": "class_id"})


def _class_students(
    members: pd.DataFrame, classes: pd.DataFrame, pupils: pd.DataFrame, out: Exclusions
) -> pd.DataFrame:
    pair = ("set_id", "pupil_id")
    members = out.take("class_student", resolving(members, "set_id", classes["class_id"], what="the class"), pair)
    members = out.take("class_student", resolving(members, "pupil_id", pupils["pupil_id"], what="the student"), pair)
    return members.drop_duplicates(list(pair)).rename(columns={"set_id": "class_id", "pupil_id": "student_id"})


def _class_staff(teachers: pd.DataFrame, classes: pd.DataFrame, staff: pd.DataFrame, out: Exclusions) -> pd.DataFrame:
    pair = ("set_id", "staff_id")
    teachers = out.take("class_staff", resolving(teachers, "set_id", classes["class_id"], what="the class"), pair)
    teachers = out.take("class_staff", resolving(teachers, "staff_id", staff["staff_id"], what="the teacher"), pair)
    teachers = teachers.assign(primary=teachers["primary"].fillna(False).astype(bool))  # noqa: FBT003
    # Someone who is linked to a set twice is its main teacher if one of the links says so.
    teachers = teachers.sort_values("primary", ascending=False, kind="stable").drop_duplicates(list(pair))
    return teachers.rename(columns={"set_id": "class_id"})


def _medical(health: pd.DataFrame, pupils: pd.DataFrame, fields: tuple[str, ...], out: Exclusions) -> pd.DataFrame:
    wanted = {name.strip().casefold() for name in fields}
    chosen = health[health["field"].str.casefold().isin(wanted) & health["value"].notna()]
    by_school_id = lookup(pupils, "school_id", "pupil_id")
    chosen = chosen.assign(student_id=chosen["pupil_id"].fillna(chosen["school_id"].map(by_school_id).astype("Int64")))
    split = resolving(chosen, "student_id", pupils["pupil_id"], what="the student")
    out.take("medical", split, ["record", "position"])
    return split.kept.drop_duplicates(["student_id", "field", "value"])
