"""Which contacts a partner gets, and how the entries of one person become one contact."""

from __future__ import annotations

from collections.abc import Collection
from typing import Any, Literal, Protocol

import pandas as pd

from isams_pipeline.rules.compare import label
from isams_pipeline.rules.email import mailboxes, with_first_valid
from isams_pipeline.rules.split import Split, surely

ParentalResponsibility = Literal["any", "not_denied", "confirmed"]
"""Which contacts by their parental responsibility: any; those whose entry does not say No; those that say Yes."""
_ADDRESS = ("address_1", "address_2", "address_3", "town", "county", "postcode", "country")


class YearSet(Protocol):
    """Year groups, by National Curriculum year."""

    def __contains__(self, year: object) -> bool: ...


def wanted_contact_types(contacts: pd.DataFrame, types: Collection[str] | None) -> Split:
    """Keep contacts whose relationship is one of `types`, compared as labels; all where `types` is None.

    SchoolsBuddy imports "Mother" and "Father" unless a school asks for more.
    """
    wanted = {label(one) for one in types or ()}
    keep = [types is None or label(relationship) in wanted for relationship in contacts["relationship"]]
    reason = "its relationship is not one of the wanted types"
    return Split.by(contacts, pd.Series(keep, index=contacts.index), rule="contact_type", reason=reason)


def mail_merged(contacts: pd.DataFrame, kinds: Collection[str]) -> Split:
    """Keep contacts that are ticked for one of the mail merges (`all`, `correspondence`); all if there are none.

    SchoolsBuddy imports contacts with "All Merges" or "Correspondence".
    """
    keep = pd.Series(not kinds, index=contacts.index)
    for kind in kinds:
        keep |= _ticked(contacts, f"mail_merge_{kind}")
    return Split.by(contacts, keep, rule="mail_merge", reason="it is not ticked for a wanted mail merge")


def _ticked(contacts: pd.DataFrame, column: str) -> pd.Series[bool]:
    return surely(contacts[column])


def not_contact_only(contacts: pd.DataFrame, *, send: bool) -> Split:
    """Keep contacts that are not marked Contact Only; all where a school has written down to `send` them.

    Contact Only is how a school keeps a parent, whom a court may have said to keep away, out of all communication
    (a school's staff guide; two products that sync from iSAMS leave such contacts out). Ticks for mail merges may stay
    set beside it.
    """
    marked = _ticked(contacts, "contact_only") | _ticked(contacts, "just_contact")
    reason = "it is marked Contact Only: not for any communication"
    return Split.by(contacts, ~marked | send, rule="contact_only", reason=reason)


def living(contacts: pd.DataFrame) -> Split:
    """Keep contacts whom the source does not mark as deceased, in whichever entry of theirs."""
    dead = contacts["person_id"].isin(contacts.loc[_ticked(contacts, "deceased"), "person_id"].dropna())
    dead |= _ticked(contacts, "deceased")
    reason = "it, or another entry of the person, is marked as deceased"
    return Split.by(contacts, ~dead, rule="deceased", reason=reason)


def responsible(contacts: pd.DataFrame, which: ParentalResponsibility) -> Split:
    """Keep contacts by the parental responsibility that their entry says: Yes, No, Default, or nothing."""
    said = contacts["parental_responsibility"].map(label).fillna("").astype("str")
    keep = {"any": said.notna(), "not_denied": said != "no", "confirmed": said == "yes"}[which]
    reason = "its parental responsibility is not as parental_responsibility asks"
    return Split.by(contacts, keep, rule="parental_responsibility", reason=reason)


def not_contact_only_for(links: pd.DataFrame, only: pd.DataFrame) -> Split:
    """Keep links but those of a student and a person who are linked as Contact Only by another entry too."""
    marked = set(zip(only["pupil_id"], only["person_id"], strict=True))
    keep = [pair not in marked for pair in zip(links["pupil_id"], links["person_id"], strict=True)]
    reason = "another entry of the person for this student is marked Contact Only: not for any communication"
    return Split.by(links, pd.Series(keep, index=links.index, dtype="bool"), rule="contact_only", reason=reason)


def linked_to_years(links: pd.DataFrame, pupils: pd.DataFrame, years: YearSet | None) -> Split:
    """Keep links to pupils of those year groups; all where `years` is None. The pupils themselves stay."""
    if years is None:
        return Split.by(links, pd.Series(True, index=links.index), rule="contact_years", reason="")  # noqa: FBT003
    wanted = {
        int(p) for p, y in zip(pupils["pupil_id"], pupils["year_id"], strict=True) if not pd.isna(y) and int(y) in years
    }
    keep = links["pupil_id"].isin(wanted)
    return Split.by(links, keep, rule="contact_years", reason="the student's year group is not among contact_years")


def with_a_link(contacts: pd.DataFrame, links: pd.DataFrame) -> Split:
    """Keep contact entries with at least one link left."""
    left = pd.MultiIndex.from_frame(links[["entry_id", "person_id"]])
    keep = pd.Series(pd.MultiIndex.from_frame(contacts[["entry_id", "person_id"]]).isin(left), index=contacts.index)
    return Split.by(contacts, keep, rule="no_student", reason="none of its students is in the export")


def one_per_person(contacts: pd.DataFrame) -> pd.DataFrame:
    """One row per person, made from all their entries.

    The first-person entry, then the lowest entry id, gives title, name, address and telephone numbers; the first
    e-mail address in that order counts (see `with_first_valid`, whose columns come with it). `first_person` says
    whether any entry is the first person's.
    """
    ordered = contacts.assign(first_person=_ticked(contacts, "first_person")).sort_values(
        ["person_id", "first_person", "entry_id"], ascending=[True, False, True], kind="stable"
    )
    ordered = with_first_valid(ordered)
    people = ordered[~ordered.duplicated("person_id")].copy()
    # groupby.first skips nulls: the first entry that has a valid address.
    of_person = ordered.groupby("person_id")
    people["email"] = people["person_id"].map(of_person["email"].first()).astype("str")
    people["email_unseen"] = people["person_id"].map(of_person["email_unseen"].any())
    # Of several reasons, the one that says that something is there.
    people["email_problem"] = people["person_id"].map(of_person["email_problem"].min()).astype("str")
    return people


def one_link_per_pupil(links: pd.DataFrame) -> Split:
    """Of several links between one person and one pupil, keep the first-person entry's, then the lowest entry id's.

    The others have the number of the row that stays in `into`.
    """
    ordered = links.sort_values(
        ["pupil_id", "person_id", "first_person", "entry_id"],
        ascending=[True, True, False, True],
        kind="stable",
    )
    pair = ["pupil_id", "person_id"]
    ordered["into"] = ordered.groupby(pair, sort=False)["row"].transform("first") if len(ordered) else None
    keep = ~ordered.duplicated(pair)
    return Split.by(ordered, keep, rule="duplicate_link", reason="the same person is linked by another entry too")


def same_people(people: pd.DataFrame) -> dict[int, int]:
    """Person → the person whom they are with the partner: entries of one name, one home address and one mailbox.

    A parent may be entered anew for each child. Those who differ in any of the three are others: nobody is merged
    on a guess. The one who stays is the first person's, then the lowest number.
    """
    if people.empty:
        return {}
    boxes = mailboxes(people)
    people = people[boxes.notna() & boxes.duplicated(keep=False)]  # most share theirs with nobody
    keys = pd.DataFrame({"mailbox": boxes[people.index]}, index=people.index)
    for name in ("forename", "surname", *_ADDRESS):
        keys[name] = people[name].map(label).fillna("").astype("str")
    sound = (keys["surname"] != "") & (keys["forename"] != "")
    sound &= (keys["address_1"] != "") & ((keys["postcode"] != "") | (keys["town"] != ""))
    order = people.loc[sound, ["person_id", "first_person"]].sort_values(
        ["first_person", "person_id"], ascending=[False, True], kind="stable"
    )
    same = [keys.loc[order.index, str(name)] for name in keys]
    staying = order["person_id"].groupby(same, sort=False).transform("first")
    pairs: Any = zip(order["person_id"].tolist(), staying.tolist(), strict=True)
    return {int(person): int(stays) for person, stays in pairs if person != stays}
