"""iSAMS's tables → SchoolsBuddy's files: the rules in their order, then the shapes. Pure."""

from __future__ import annotations

from collections.abc import Collection, Mapping
from dataclasses import dataclass, replace
from datetime import date
from typing import Any

import pandas as pd

from isams_pipeline.config import YearRange
from isams_pipeline.delivery.built import Built, by_table
from isams_pipeline.delivery.export import Export, to_csv
from isams_pipeline.partners.schoolsbuddy.files import BY_NAME, ENTITIES
from isams_pipeline.partners.schoolsbuddy.settings import SchoolsBuddySettings
from isams_pipeline.rules.account import ROW, numbered
from isams_pipeline.rules.compare import code, is_text, label
from isams_pipeline.rules.dates import sensible_births
from isams_pipeline.rules.email import having_email, sensible_emails, shared_across, unique_emails, with_first_valid
from isams_pipeline.rules.identity import of_pupils, shared_codes
from isams_pipeline.rules.notes import Lacking, Note, noted_fields
from isams_pipeline.rules.people import Contacts, by_person, emptied
from isams_pipeline.rules.references import Lookup, blank_dangling, once, resolving, shared_keys, values_of
from isams_pipeline.rules.split import Exclusions, Split, surely
from isams_pipeline.rules.years import named_with_campus, of_other_campuses

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
NO_FILE = "no file of its own"
"""What SchoolsBuddy takes the names of only, as far as something refers to them."""


def build(
    tables: Mapping[str, pd.DataFrame],
    settings: SchoolsBuddySettings,
    campuses: Mapping[str, YearRange],
    *,
    night: date,
    has_medical: bool,
    notes: Collection[Note | Lacking] = (),
) -> Built:
    """Apply the rules in their order and shape the files."""
    return settled(unsettled(tables, campuses, night=night, notes=notes), settings, has_medical)


@dataclass(frozen=True)
class Unsettled:
    """What of an export no setting of the partner changes; several settings can go on from it."""

    tables: Mapping[str, pd.DataFrame]
    """The source's, each row with its number."""
    pupils: pd.DataFrame
    staff: pd.DataFrame
    frames: Mapping[str, pd.DataFrame]
    files: Mapping[str, bytes]
    out: Exclusions


def unsettled(
    tables: Mapping[str, pd.DataFrame],
    campuses: Mapping[str, YearRange],
    *,
    night: date,
    notes: Collection[Note | Lacking] = (),
) -> Unsettled:
    """Students, staff and classes: the rules that know no setting, and their files."""
    tables = numbered(tables)
    out = Exclusions.of(tables, *NEEDED)
    account = out.account
    out.join(noted_fields(notes, tables))
    pupils = out.take("student", sensible_births(tables["pupils"], night), "pupil_id")
    out.join(shared_codes(pupils))
    staff = with_first_valid(tables["staff"])
    staff = out.take("staff", having_email(staff), "staff_id", of="staff")
    staff = out.take("staff", sensible_emails(staff, is_left_empty=False), "staff_id")
    pupils = out.take("student", sensible_emails(with_first_valid(pupils), is_left_empty=True), "pupil_id")

    # Uniqueness comes last, among those whom every other rule kept.
    staff = out.take("staff", unique_emails(staff, "staff_id", entity="staff"), "staff_id", of="staff")
    pupils = out.take("student", _without_shared_emails(pupils), "pupil_id")
    years = out.take("year_group", of_other_campuses(named_with_campus(tables["years"], campuses)), "year_id")
    houses = out.follow(_houses(tables, staff))
    students = out.follow(
        _students(pupils, forms=tables["forms"], years=years, houses=houses, staff=(staff, tables["staff"]))
    )
    classes = out.follow(_classes(tables, years))
    account.deliver("pupils", students[ROW], "students.csv")
    account.deliver("staff", staff[ROW], "staff.csv")
    account.deliver("years", years[ROW], "year_groups.csv")
    frames: dict[str, pd.DataFrame] = {
        "students.csv": students,
        "staff.csv": staff,
        "year_groups.csv": years,
        "classes.csv": classes,
        "class_students.csv": out.follow(_class_students(tables["set_members"], classes, pupils)),
        "class_staff.csv": out.follow(_class_staff(tables["set_teachers"], classes, staff)),
        "houses.csv": houses,
    }
    return Unsettled(tables, pupils, staff, frames, _as_csv(frames), out)


def settled(given: Unsettled, settings: SchoolsBuddySettings, has_medical: bool) -> Built:  # noqa: FBT001
    """Contacts and medical fields as the settings ask for them, and with them the whole export."""
    out, pupils = given.out.copy(), given.pupils
    chosen = Contacts.chosen(given.tables, settings)
    contacts = chosen.by(having_email(chosen.people))
    contacts = contacts.by(sensible_emails(contacts.people, is_left_empty=False)).as_users()
    contacts = contacts.by(unique_emails(contacts.people, "person_id", entity="contact", first_if="first_person"))
    out.join(
        shared_across(
            {"student": pupils, "contact": contacts.people, "staff": given.staff},
            {"student": "pupil_id", "contact": "person_id", "staff": "staff_id"},
        )
    )
    links = out.follow(contacts.settled(set(pupils["pupil_id"])))
    frames = {
        "contacts.csv": contacts.people.rename(columns={"person_id": "contact_id"}),
        "student_contacts.csv": links.rename(
            columns={"pupil_id": "student_id", "person_id": "contact_id", "first_person": "first_contact"}
        ),
    }
    if has_medical and settings.medical_fields:
        frames["medical.csv"] = out.follow(_medical(given.tables["health"], pupils, settings.medical_fields))
    else:
        out.account.rest_not_asked("health", "medical_fields")
    files = {**given.files, **_as_csv(frames)}
    exclusions = by_person(out.frame(), set(contacts.people["person_id"]))
    return Built(
        Export({name: files[name] for name in BY_NAME if name in files}),
        exclusions,
        ENTITIES,
        out.account,
        by_table({**given.frames, **frames}, eligible_contacts=chosen.entries),
    )


def _as_csv(frames: Mapping[str, pd.DataFrame]) -> dict[str, bytes]:
    return {name: to_csv(frame, BY_NAME[name]) for name, frame in frames.items()}


# --- students ---------------------------------------------------------------------------------------------


def _without_shared_emails(pupils: pd.DataFrame) -> Split:
    """Keep all pupils, without an address that is another's."""
    split = unique_emails(pupils, "pupil_id", entity="student")
    blanked = split.excluded.drop(columns=["rule", "reason"]).assign(email=None)
    blanked["email"] = blanked["email"].astype("str")
    kept = pd.concat([split.kept, blanked]).sort_values("pupil_id") if len(blanked) else split.kept
    return replace(split.as_warnings(), kept=kept)


def _students(
    pupils: pd.DataFrame,
    *,
    forms: pd.DataFrame,
    years: pd.DataFrame,
    houses: pd.DataFrame,
    staff: tuple[pd.DataFrame, pd.DataFrame],
) -> Split:
    """The students with names for numbers; `staff` are those of the export, and all of them."""
    out = Exclusions.of({"forms": forms})
    split = blank_dangling(pupils, "year_id", values_of(years, "year_id"), what="the year group")
    students = out.take("student", split, "pupil_id")
    students["year_group"] = Lookup.of(years, "year_id", "name").texts(students["year_id"])
    # Forms have no file of their own, so a form that is not in the source's list keeps the pupil's word for it.
    students["form"] = Lookup.of(forms, "form_id", "name").texts(students["form_id"]).fillna(students["form_id"])
    used = forms.loc[forms["form_id"].isin(students["form_id"]), ROW]
    out.account.look_up("forms", used, "students.csv", "form", unused=NO_FILE)
    for kind in ("academic", "boarding"):
        of_kind = houses[houses["type"] == kind]
        column = f"{kind}_house"
        by_id = Lookup.of(of_kind, "house_id", "name").texts(students[f"{column}_id"])
        by_spelling = Lookup.of(of_kind, "name", "name", fold=label).texts(students[column])
        given = students[column].fillna(students[f"{column}_id"].astype("str"))
        students[column] = by_id.fillna(by_spelling).fillna(given)
        split = blank_dangling(students, column, values_of(of_kind, "name"), what=f"the {kind} house")
        students = out.take("student", split, "pupil_id")
    students = out.take("student", _tutors(students, forms, *staff), "pupil_id")
    return Split(students.rename(columns={"pupil_id": "student_id"}), said=out)


def _tutors(students: pd.DataFrame, forms: pd.DataFrame, staff: pd.DataFrame, everybody: pd.DataFrame) -> Split:
    """Students with `tutor_staff_id`. Where several members of staff have a code, the form's tutor is meant."""
    # Among all staff: one of two with a code may not be in the export, and the other is not meant for that.
    codes = Lookup.of(
        everybody, "user_code", "staff_id", fold=code, known={"staff": [{one} for one in everybody["staff_id"]]}
    )
    here = values_of(staff, "staff_id")
    of_form = Lookup.of(forms, "form_id", "tutor_staff_id")
    found: list[Any] = []
    reasons: dict[int, str] = {}
    columns = (students[name].tolist() for name in ("tutor_user_code", "form_id"))
    for at, (wanted, form) in enumerate(zip(*columns, strict=True)):
        match = codes.find(wanted, staff=of_form.get(form))
        tutor = match.value if match.value in here else None
        found.append(tutor)
        if tutor is None and is_text(wanted):
            reasons[at] = "the tutor is not in the export; left empty"
            if match.is_ambiguous:
                whose = " and ".join(f"staff {one}" for one in match.candidates)
                reasons[at] = f"its tutor's code is that of {whose}, and nothing tells who is meant; left empty"
    noted = students.iloc[list(reasons)].assign(rule="reference", reason=list(reasons.values()))
    return Split(students.assign(tutor_staff_id=pd.Series(found, index=students.index, dtype="Int64")), noted=noted)


# --- houses, classes, medical -----------------------------------------------------------------------------


def _houses(tables: Mapping[str, pd.DataFrame], staff: pd.DataFrame) -> Split:
    out = Exclusions.of(tables, "academic_houses", "boarding_houses")
    kinds = ("academic", "boarding")
    houses = pd.concat([tables[f"{kind}_houses"].assign(type=kind) for kind in kinds], ignore_index=True)
    houses["type"] = houses["type"].astype("str")
    split = Split.by(houses, houses["name"].notna(), rule="name", reason="it has no name")
    houses = out.take("house", split, "house_id")
    for kind in kinds:
        nameless = split.excluded[split.excluded["type"] == kind]
        out.account.leave_out_by(f"{kind}_houses", nameless)
        out.account.deliver(f"{kind}_houses", houses.loc[houses["type"] == kind, ROW], "houses.csv")
    split = blank_dangling(houses, "house_master_staff_id", values_of(staff, "staff_id"), what="the house master")
    return Split(out.take("house", split, "house_id"), said=out)


def _classes(tables: Mapping[str, pd.DataFrame], years: pd.DataFrame) -> Split:
    out = Exclusions.of(tables, "sets", "subjects")
    sets, subjects = tables["sets"], tables["subjects"]
    for column, targets, what in (
        ("subject_id", values_of(subjects, "subject_id"), "the subject"),
        ("year_id", values_of(years, "year_id"), "the year group"),
    ):
        sets = out.take("class", blank_dangling(sets, column, targets, what=what), "set_id")
    names = Lookup.of(subjects, "subject_id", "name")
    out.join(shared_keys(names, "subject", "name"))
    used = subjects.loc[subjects["subject_id"].isin(sets["subject_id"]), ROW]
    out.account.look_up("subjects", used, "classes.csv", "subject", unused=NO_FILE)
    out.account.deliver("sets", sets[ROW], "classes.csv")
    classes = sets.assign(
        subject=names.texts(sets["subject_id"]),
        year_group=Lookup.of(years, "year_id", "name").texts(sets["year_id"]),
    )
    return Split(classes.rename(columns={"set_id": "class_id"}), said=out)


def _class_students(members: pd.DataFrame, classes: pd.DataFrame, pupils: pd.DataFrame) -> Split:
    dataset, all_members, out = "set_members", members, Exclusions()
    split = resolving(members, "set_id", classes["class_id"], what="the class")
    members = out.take("class_student", split, ("set_id", "pupil_id"), of=dataset)
    members = out.take("class_student", of_pupils(members, pupils), ("set_id", "pupil"), of=dataset)
    split = once(members, ("set_id", "pupil_id"))
    out.account.merge(dataset, split.excluded[ROW], split.excluded["into"])
    out.account.deliver(dataset, split.kept[ROW], "class_students.csv")
    known = all_members[all_members["set_id"].isin(classes["class_id"])]
    out.join(emptied(known, split.kept, "class", rule="no_students", what="students"))
    return Split(split.kept.rename(columns={"set_id": "class_id", "pupil_id": "student_id"}), said=out)


def _class_staff(teachers: pd.DataFrame, classes: pd.DataFrame, staff: pd.DataFrame) -> Split:
    pair, dataset, all_teachers, out = ("set_id", "staff_id"), "set_teachers", teachers, Exclusions()
    split = resolving(teachers, "set_id", classes["class_id"], what="the class")
    teachers = out.take("class_staff", split, pair, of=dataset)
    split = resolving(teachers, "staff_id", staff["staff_id"], what="the teacher")
    teachers = out.take("class_staff", split, pair, of=dataset)
    teachers = teachers.assign(primary=surely(teachers["primary"]))
    # Someone who is linked to a set twice is its main teacher if one of the links says so.
    split = once(teachers.sort_values("primary", ascending=False, kind="stable"), pair)
    out.account.merge(dataset, split.excluded[ROW], split.excluded["into"])
    out.account.deliver(dataset, split.kept[ROW], "class_staff.csv")
    out.join(emptied(all_teachers, split.kept, "class", rule="no_teachers", what="teachers"))
    return Split(split.kept.rename(columns={"set_id": "class_id"}), said=out)


def _medical(health: pd.DataFrame, pupils: pd.DataFrame, fields: tuple[str, ...]) -> Split:
    out = Exclusions()
    wanted = {label(name) for name in fields}
    asked = health["field"].map(label).isin(wanted)
    out.account.not_asked("health", health.loc[~asked, ROW], "medical_fields")
    record = ["record", "position"]
    filled = Split.by(health[asked], health.loc[asked, "value"].notna(), rule="empty", reason="the field is empty")
    chosen = out.take("medical", filled, record, of="health")
    chosen = out.take("medical", of_pupils(chosen, pupils), record, of="health")
    split = once(chosen.rename(columns={"pupil_id": "student_id"}), ["student_id", "field", "value"])
    out.account.merge("health", split.excluded[ROW], split.excluded["into"])
    out.account.deliver("health", split.kept[ROW], "medical.csv")
    return Split(split.kept, said=out)
