"""The contacts that a partner gets, with their links to students: the rules in their order. Pure."""

from __future__ import annotations

from collections.abc import Callable, Collection, Mapping
from dataclasses import dataclass, field, replace
from typing import Protocol

import pandas as pd

from isams_pipeline.rules.account import ROW, Account
from isams_pipeline.rules.contacts import (
    ParentalResponsibility,
    YearSet,
    linked_to_years,
    living,
    mail_merged,
    not_contact_only,
    not_contact_only_for,
    one_link_per_pupil,
    one_per_person,
    responsible,
    same_people,
    wanted_contact_types,
    with_a_link,
)
from isams_pipeline.rules.identity import of_pupils
from isams_pipeline.rules.split import EXCLUDED, Exclusions, Split, surely

ENTRY = "contact entry"
"""An entity that only exists until it is known whether the person is in by another entry."""
_SHOWN = 5


class ContactChoice(Protocol):
    """Which contacts a school sends to a partner."""

    @property
    def contact_types(self) -> Collection[str] | None: ...
    @property
    def mail_merge(self) -> Collection[str]: ...
    @property
    def contact_years(self) -> YearSet | None: ...
    @property
    def parental_responsibility(self) -> ParentalResponsibility: ...
    @property
    def sends_contact_only(self) -> bool: ...


@dataclass(frozen=True)
class Contacts:
    """Contacts on their way to a partner. Rules that leave people out come between `chosen` and `settled`."""

    people: pd.DataFrame
    """One row per person, with the columns of contacts; see `one_per_person`."""
    entries: pd.DataFrame
    """The entries behind them."""
    links: pd.DataFrame
    """contact_pupils of those entries, with relationship, parental_responsibility and first_person."""
    all_links: pd.DataFrame
    """contact_pupils of all entries and the students who are there."""
    said: Exclusions
    """What was left out so far, with the places of the entries and links."""
    stays: dict[int, int] = field(default_factory=dict[int, int])
    """Person → who they are with the partner."""
    left: dict[int, str] = field(default_factory=dict[int, str])
    """Person → the rule that left them out."""

    @classmethod
    def chosen(cls, tables: Mapping[str, pd.DataFrame], choice: ContactChoice) -> Contacts:
        """The contacts whom a school sends: by what their entries say, and by their students."""
        out = Exclusions.of(tables, "contacts", "contact_pupils")
        entries, pupils = tables["contacts"], tables["pupils"]
        pair = ("pupil_id", "person_id")
        # A student who is named by school code only goes by that in the exclusions.
        split = of_pupils(tables["contact_pupils"], pupils)
        links = out.take("student_contact", split, ("pupil", "person_id"), of="contact_pupils")
        of_entry = ("person_id", "entry_id")
        all_links, all_entries = links, entries
        rules: tuple[Callable[[pd.DataFrame], Split], ...] = (
            living,
            lambda rows: not_contact_only(rows, send=choice.sends_contact_only),
            lambda rows: wanted_contact_types(rows, choice.contact_types),
            lambda rows: mail_merged(rows, choice.mail_merge),
            lambda rows: responsible(rows, choice.parental_responsibility),
        )
        gone: list[pd.DataFrame] = []
        for rule in rules:
            split = rule(entries)
            entries = out.take(ENTRY, split, of_entry, of="contacts")
            gone.append(split.excluded[[*of_entry, "rule"]])
        links = out.take("student_contact", _of_entries(links, all_entries), pair, of="contact_pupils")
        out.account.leave_out_by("contact_pupils", links.merge(pd.concat(gone), on=["entry_id", "person_id"]))
        links = _with_their_words(links, entries)
        only = _of_rule(all_links, pd.concat(gone), "contact_only")
        links = out.take("student_contact", not_contact_only_for(links, only), pair, of="contact_pupils")
        years = linked_to_years(links, pupils, choice.contact_years)
        links = out.take("student_contact", years, pair, of="contact_pupils")
        entries = out.take(ENTRY, _no_student(with_a_link(entries, links), years), of_entry, of="contacts")
        links = links.assign(first_person=surely(links["first_person"].eq(True)))  # noqa: FBT003
        return cls(one_per_person(entries), entries, links, all_links, out)

    def by(self, split: Split) -> Contacts:
        """The contacts whom a rule on `people` keeps."""
        out = self.said.copy()
        people = out.take("contact", split, "person_id")
        gone = split.excluded
        left = dict(zip(gone["person_id"].astype(int), gone["rule"], strict=True)) if len(gone) else {}
        return replace(self, people=people, said=out, left={**self.left, **left})

    def as_users(self) -> Contacts:
        """One user of entries of one name, address and mailbox, whose number is another for each child."""
        same, out = same_people(self.people), self.said.copy()
        for person, stays in same.items():
            reason = f"name, address and e-mail are those of contact {stays}, to whom its students are linked"
            out.add("contact", person, "same_person", reason)
        return replace(self, people=self.people[~self.people["person_id"].isin(list(same))], said=out, stays=same)

    def settled(self, students: Collection[int]) -> Split:
        """The links that are left, one for each student and person; all entries and links have their places.

        Students without any contact are warned of, with what became of those that the source has.
        """
        said, account = self.said.copy(), self._of_entries()
        links = self.links
        if self.stays:
            links = links.assign(person_id=links["person_id"].replace(self.stays))
        out = links["person_id"].isin(list(self.left))
        account.leave_out_by("contact_pupils", links[out].assign(rule=links.loc[out, "person_id"].map(self.left)))
        split = one_link_per_pupil(links[~out])
        account.merge("contact_pupils", split.excluded[ROW], split.excluded["into"])
        account.deliver("contact_pupils", split.kept[ROW], "student_contacts.csv")
        said.account.join(account)
        said.join(self._students_without(students, split.kept))
        return Split(split.kept, said=said)

    def _of_entries(self) -> Account:
        """Where each entry is: in its person's row, merged into it, or left out with its person."""
        account = Account({})
        main = dict(zip(self.people["person_id"].astype(int), self.people[ROW].astype(int), strict=True))
        left: dict[str, list[int]] = {}
        merged: dict[int, int] = {}
        for person, row in zip(self.entries["person_id"].tolist(), self.entries[ROW].tolist(), strict=True):
            stays = self.stays.get(person, person)
            if (rule := self.left.get(person)) is not None:
                left.setdefault(rule, []).append(row)
            elif stays not in main:
                left.setdefault("same_person", []).append(row)
            elif row != main[stays]:
                merged[row] = main[stays]
        for rule, rows in left.items():
            account.leave_out("contacts", rows, rule)
        account.merge("contacts", merged, merged.values())
        account.deliver("contacts", main.values(), "contacts.csv")
        return account

    def _students_without(self, students: Collection[int], kept: pd.DataFrame) -> Exclusions:
        without, out = sorted(set(map(int, students)) - set(kept["pupil_id"].astype(int))), Exclusions()
        if not without:
            return out
        rules = self._rules_by_person()
        theirs = self.all_links[self.all_links["pupil_id"].isin(without)]
        contacts: dict[int, list[int]] = {}
        for student, person in zip(theirs["pupil_id"].tolist(), theirs["person_id"].tolist(), strict=True):
            contacts.setdefault(int(student), []).append(int(person))
        for student in without:
            people = list(dict.fromkeys(contacts.get(student, [])))
            told = ", ".join(
                f"contact {one} ({', '.join(rules.get(one, ['contact_years']))})" for one in people[:_SHOWN]
            )
            more = f" and {len(people) - _SHOWN} more" if len(people) > _SHOWN else ""
            reason = (
                f"none of its contacts is in the export: {told}{more}" if people else "the source has no contact of it"
            )
            out.warn("student", student, "no_contact", reason)
        return out

    def _rules_by_person(self) -> dict[int, list[str]]:
        """Person → the rules that left out the person or entries of theirs."""
        found: dict[int, list[str]] = {}
        for entity, identifier, rule, severity, _ in self.said.rows:
            if severity == EXCLUDED and entity in {ENTRY, "contact"}:
                of_person = found.setdefault(int(identifier.partition(":")[0]), [])
                if rule not in of_person:
                    of_person.append(rule)
        return found


def _of_entries(links: pd.DataFrame, entries: pd.DataFrame) -> Split:
    """Keep links whose entry is there."""
    keys = ["entry_id", "person_id"]
    there = pd.MultiIndex.from_frame(links[keys]).isin(pd.MultiIndex.from_frame(entries[keys]))
    keep = pd.Series(there, index=links.index)
    return Split.by(links, keep, rule="reference", reason="the contact is not among the contacts")


def _with_their_words(links: pd.DataFrame, entries: pd.DataFrame) -> pd.DataFrame:
    """Links with what their entries say. Those of entries that are out go with them: the exclusions name the entry."""
    keys = ["entry_id", "person_id"]
    return links.merge(entries[[*keys, "relationship", "parental_responsibility", "first_person"]], on=keys)


def _of_rule(links: pd.DataFrame, gone: pd.DataFrame, rule: str) -> pd.DataFrame:
    """The links of the entries that a rule has left out."""
    keys = ["entry_id", "person_id"]
    return links.merge(gone.loc[gone["rule"] == rule, keys], on=keys)


def _no_student(split: Split, years: Split) -> Split:
    """The reason of an entry whose students are all in other years is those years."""
    pairs = set(zip(years.excluded["entry_id"], years.excluded["person_id"], strict=True))
    excluded = split.excluded.copy()
    for_years = [pair in pairs for pair in zip(excluded["entry_id"], excluded["person_id"], strict=True)]
    excluded.loc[for_years, "rule"] = "contact_years"
    excluded.loc[for_years, "reason"] = "none of its students is in a year group of contact_years"
    return Split(split.kept, excluded)


def by_person(exclusions: pd.DataFrame, kept: set[int]) -> pd.DataFrame:
    """Excluded entries as excluded contacts, or as entries where the person is in by another one."""
    rows: list[tuple[str, str, str, str, str]] = []
    for entity, identifier, rule, severity, reason in exclusions.itertuples(index=False, name=None):
        if entity == ENTRY:
            person, _, entry = str(identifier).partition(":")
            if int(person) in kept:
                rows.append(("contact_entry", entry, rule, severity, f"{reason}; contact {person} is in by another"))
            else:
                rows.append(("contact", person, rule, severity, f"entry {entry}: {reason}"))
        else:
            rows.append((entity, identifier, rule, severity, reason))
    return Exclusions(rows).frame()


def emptied(before: pd.DataFrame, after: pd.DataFrame, entity: str, *, rule: str, what: str) -> Exclusions:
    """Warnings of sets that had rows and have none any more: a class that has lost all of its students.

    `what` are the rows, in words.
    """
    out = Exclusions()
    counts = before["set_id"].value_counts()
    lost = counts[~counts.index.isin(after["set_id"])]
    for identifier, count in sorted(lost.items(), key=lambda item: str(item[0])):
        reason = f"none of its {count} {what} in the source is in the export; each is among the exclusions"
        out.warn(entity, identifier, rule, reason)
    return out
