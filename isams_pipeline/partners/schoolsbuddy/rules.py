"""The blocking rules of SchoolsBuddy's export, on the very bytes that would be delivered. Pure."""

from __future__ import annotations

from collections.abc import Mapping

import pandas as pd

from isams_pipeline.delivery.built import ACCOUNTED_FOR
from isams_pipeline.delivery.export import CheckResult, Export, check_files, check_references, few
from isams_pipeline.partners.schoolsbuddy.files import FILES, REFERENCES
from isams_pipeline.rules.compare import mailbox
from isams_pipeline.rules.identity import other_pupils, other_staff
from isams_pipeline.rules.years import year_problems

CHECKS: dict[str, str] = {
    "schema": "Every file is there with its columns.",
    "unique_keys": "No two rows of a file have the same key.",
    "not_empty": "There are students, contacts, staff and year groups.",
    "references": "Every id and name in a file stands in the file that it refers to.",
    "unique_emails": "Within students, contacts and staff no address occurs twice; contacts and staff have one.",
    "same_school": "Contacts, sets and medical records speak of this school's pupils, and all of its staff.",
    **ACCOUNTED_FOR,
    "year_names": "Every year group with students has a name of its own, with its campus where there are several.",
}


def check_tables(export: Export, tables: Mapping[str, pd.DataFrame], *, has_campuses: bool) -> list[CheckResult]:
    """The verdicts of the blocking rules that need the tables behind the export too."""
    mentions = {name: tables[name] for name in ("contact_pupils", "set_members", "health")}
    of_staff = {"pupils": tables["pupils"]["tutor_user_code"], "sets": tables["sets"]["teacher_user_code"]}
    years = [
        (row.get("year_id", ""), row.get("name", ""), row.get("campus", "")) for row in export.rows("year_groups.csv")
    ]
    # By number, from the pupils: in the export itself two years of one name can no longer be told apart.
    used = {str(year) for year in tables["pupils"]["year_id"].dropna()}
    return [
        CheckResult(
            "same_school", few([*other_pupils(tables["pupils"], mentions), *other_staff(tables["staff"], of_staff)])
        ),
        CheckResult("year_names", few(year_problems(years, used, has_campuses=has_campuses))),
    ]


def check_export(export: Export) -> list[CheckResult]:
    """The verdicts of the blocking rules on the bytes."""
    results = check_files(export, FILES)
    if not results[0].passed:
        unread = ("the files cannot be compared before their columns are right",)
        return [*results, *(CheckResult(name, unread) for name in ("references", "unique_emails"))]
    return [*results, check_references(export, REFERENCES), _emails(export)]


def _emails(export: Export) -> CheckResult:
    problems: list[str] = []
    for file, must in (("students.csv", False), ("contacts.csv", True), ("staff.csv", True)):
        seen: dict[str, int] = {}
        for number, row in enumerate(export.rows(file), start=1):
            email = mailbox(row["email"])
            if not email:
                if must:
                    problems.append(f"{file} row {number} has no e-mail address")
            elif email in seen:
                problems.append(f"{file} rows {seen[email]} and {number} have the same e-mail address")
            seen.setdefault(email, number)
    return CheckResult("unique_emails", few(problems))
