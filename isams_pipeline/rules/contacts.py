"""Which contacts a partner gets, and how the entries of one person become one contact."""

from __future__ import annotations

from collections.abc import Collection
from typing import Protocol

import pandas as pd

from isams_pipeline.rules.email import first_valid
from isams_pipeline.rules.split import Split


class YearSet(Protocol):
    """Year groups, by National Curriculum year."""

    def __contains__(self, year: object) -> bool: ...


def wanted_contact_types(contacts: pd.DataFrame, types: Collection[str]) -> Split:
    """Keep contacts whose relationship is one of `types`, compared without case or outer spaces.

    SchoolsBuddy imports "Mother" and "Father" unless a school asks for more.
    """
    wanted = {t.strip().casefold() for t in types}
    keep = contacts["relationship"].str.strip().str.casefold().isin(wanted)
    return Split.by(contacts, keep, rule="contact_type", reason="its relationship is not one of the wanted types")


def mail_merged(contacts: pd.DataFrame, kinds: Collection[str]) -> Split:
    """Keep contacts that are ticked for one of the mail merges (`all`, `correspondence`); all if there are none.

    SchoolsBuddy imports contacts with "All Merges" or "Correspondence".
    """
    keep = pd.Series(not kinds, index=contacts.index)
    for kind in kinds:
        keep |= contacts[f"mail_merge_{kind}"].fillna(False).astype(bool)  # noqa: FBT003
    return Split.by(contacts, keep, rule="mail_merge", reason="it is not ticked for a wanted mail merge")


def linked_to_years(links: pd.DataFrame, pupils: pd.DataFrame, years: YearSet | None) -> Split:
    """Keep links to pupils of those year groups; all where `years` is None. The pupils themselves stay."""
    if years is None:
        return Split.by(links, pd.Series(True, index=links.index), rule="contact_years", reason="")  # noqa: FBT003
    wanted = {
        int(p) for p, y in zip(pupils["pupil_id"], pupils["year_id"], strict=True) if not pd.isna(y) and int(y) in years
    }
    keep = links["pupil_id"].isin(wanted)
    return Split.by(links, keep, rule="contact_years", reason="the student's year group is not among contact_years")


def linked_to_pupils(links: pd.DataFrame, pupils: pd.DataFrame) -> Split:
    """Keep links to pupils who are there."""
    keep = links["pupil_id"].isin(pupils["pupil_id"])
    return Split.by(links, keep, rule="reference", reason="the student is not on the current roll")


def with_a_link(contacts: pd.DataFrame, links: pd.DataFrame) -> Split:
    """Keep contact entries with at least one link left."""
    left = pd.MultiIndex.from_frame(links[["entry_id", "person_id"]])
    keep = pd.Series(pd.MultiIndex.from_frame(contacts[["entry_id", "person_id"]]).isin(left), index=contacts.index)
    return Split.by(contacts, keep, rule="no_student", reason="none of its students is in the export")


def one_per_person(contacts: pd.DataFrame) -> pd.DataFrame:
    """One row per person, made from all their entries.

    The first-person entry, then the lowest entry id, gives title, name, address and telephone numbers; the first
    valid e-mail address in that order counts. `first_person` says whether any entry is the first person's.
    """
    ordered = contacts.assign(first_person=contacts["first_person"].fillna(False).astype(bool)).sort_values(  # noqa: FBT003
        ["person_id", "first_person", "entry_id"], ascending=[True, False, True], kind="stable"
    )
    ordered["email"] = pd.Series([first_valid(value) for value in ordered["email"]], index=ordered.index, dtype="str")
    people = ordered.drop_duplicates("person_id").copy()
    # groupby.first skips nulls: the first entry that has a valid address.
    emails = ordered.groupby("person_id")["email"].first()
    people["email"] = people["person_id"].map(emails).astype("str")
    return people


def one_link_per_pupil(links: pd.DataFrame) -> Split:
    """Of several links between one person and one pupil, keep the first-person entry's, then the lowest entry id's."""
    ordered = links.sort_values(
        ["pupil_id", "person_id", "first_person", "entry_id"],
        ascending=[True, True, False, True],
        kind="stable",
    )
    keep = ~ordered.duplicated(["pupil_id", "person_id"])
    return Split.by(ordered, keep, rule="duplicate_link", reason="the same person is linked by another entry too")
