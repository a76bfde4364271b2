"""Year groups: their names on a partner's side, where schools with several campuses have one name twice."""

from __future__ import annotations

import re
from collections.abc import Collection, Iterable, Mapping

import pandas as pd

from isams_pipeline.rules.compare import label
from isams_pipeline.rules.contacts import YearSet
from isams_pipeline.rules.split import Split


def named_with_campus(years: pd.DataFrame, campuses: Mapping[str, YearSet]) -> pd.DataFrame:
    """Year groups with `name` and `campus`: "05" of Campus 1 becomes "05 Campus 1", once.

    A year without a name goes by its code, else its number. Without campuses the names stay. A name that carries
    another campus than the year's own stays, too, and `other_campus` says which. SchoolsBuddy syncs a year's display
    name, so two years of one name would become one.
    """
    names: list[str] = []
    campus_of: list[str | None] = []
    others: list[str | None] = []
    for year, name, code in zip(years["year_id"], years["name"], years["code"], strict=True):
        text = next((str(text) for text in (name, code) if not pd.isna(text)), str(year))
        campus = next((c for c, range_ in campuses.items() if int(year) in range_), None)
        carried = _carried(text, campuses) if campus is not None else None
        names.append(text if campus is None or carried is not None else f"{text} {campus}")
        campus_of.append(campus)
        others.append(carried if carried != campus else None)
    return years.assign(
        name=pd.Series(names, index=years.index, dtype="str"),
        campus=pd.Series(campus_of, index=years.index, dtype="str"),
        other_campus=pd.Series(others, index=years.index, dtype="str"),
    )


_WORDS_FOR_A_YEAR = {"year", "years", "yr", "y", "form", "class", "grade", "group", "stage"}


def _words(text: str) -> list[str]:
    return re.findall(r"\w+", label(text))


def _carried(text: str, campuses: Iterable[str]) -> str | None:
    """The campus that a name begins or ends with, punctuation aside: the longest, if several would fit.

    What is left of the name must still say which year it is: "Year 1" is no year of a campus "1".
    """
    name = _words(text)
    for campus in sorted(campuses, key=lambda campus: -len(_words(campus))):
        word = _words(campus)
        for rest in (
            name[len(word) :] if word and name[: len(word)] == word else [],
            name[: -len(word)] if word and name[-len(word) :] == word else [],
        ):
            if set(rest) - _WORDS_FOR_A_YEAR:
                return campus
    return None


def of_other_campuses(years: pd.DataFrame) -> Split:
    """Keep all year groups, and warn of those whose names carry another campus than their own."""
    odd = years[years["other_campus"].notna()]
    reasons = [
        f"it is in {campus} by `campuses`, but its name carries {other}; correct one of the two"
        for campus, other in zip(odd["campus"], odd["other_campus"], strict=True)
    ]
    return Split(years, noted=odd.assign(rule="other_campus", reason=pd.Series(reasons, index=odd.index, dtype="str")))


def year_problems(
    year_groups: Collection[tuple[str, str, str]], used: Collection[str], *, has_campuses: bool
) -> list[str]:
    """What is wrong with year groups (id, name, campus) that have students (`used`, ids), in words with a remedy.

    With campuses, every year with students needs one; and no two years with students may have one name.
    """
    problems: list[str] = []
    by_name: dict[str, list[str]] = {}
    wanted = set(used)
    for identifier, name, campus in year_groups:
        if identifier not in wanted:
            continue
        by_name.setdefault(label(name), []).append(identifier)
        if has_campuses and not campus:
            problems.append(f"year {identifier} has students but no campus; add it to a range under `campuses`")
    if has_campuses:
        known = {identifier for identifier, _, _ in year_groups}
        problems += [
            f"year {identifier} has students, but is no year group and in no campus; add it in iSAMS"
            for identifier in sorted(wanted - known)
        ]
    campus_of = {identifier: campus for identifier, _, campus in year_groups}
    for identifiers in by_name.values():
        if len(identifiers) > 1:
            shared = f"years {' and '.join(identifiers)}"
            if not has_campuses:
                problems.append(f"{shared} have the same name and would become one; give each a campus in `campuses`")
            elif len({campus_of[identifier] for identifier in identifiers}) == 1:
                problems.append(f"{shared} of one campus have the same name; rename one in iSAMS")
            else:
                problems.append(f"{shared} of several campuses have the same name; rename one in iSAMS")
    return problems
