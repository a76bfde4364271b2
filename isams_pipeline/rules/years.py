"""Year groups: their names on a partner's side, where schools with several campuses have one name twice."""

from __future__ import annotations

from collections.abc import Collection, Mapping

import pandas as pd

from isams_pipeline.rules.contacts import YearSet


def named_with_campus(years: pd.DataFrame, campuses: Mapping[str, YearSet]) -> pd.DataFrame:
    """Year groups with `name` and `campus`: "05" of Campus 1 becomes "05 Campus 1", once.

    A year without a name goes by its code, else its number. Without campuses the names stay.
    SchoolsBuddy syncs a year's display name, so two years of one name would become one.
    """
    names: list[str] = []
    campus_of: list[str | None] = []
    for year, name, code in zip(years["year_id"], years["name"], years["code"], strict=True):
        label = next((str(text) for text in (name, code) if not pd.isna(text)), str(year))
        campus = next((c for c, range_ in campuses.items() if int(year) in range_), None)
        if campus is not None and not _has(label, campus):
            label = f"{label} {campus}"
        names.append(label)
        campus_of.append(campus)
    return years.assign(
        name=pd.Series(names, index=years.index, dtype="str"),
        campus=pd.Series(campus_of, index=years.index, dtype="str"),
    )


def _has(label: str, campus: str) -> bool:
    """Whether a name begins or ends with its campus, as a word of its own."""
    name, word = label.strip().casefold(), campus.strip().casefold()
    return name.startswith(f"{word} ") or name.endswith(f" {word}")


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
        by_name.setdefault(name.strip().casefold(), []).append(identifier)
        if has_campuses and not campus:
            problems.append(f"year {identifier} has students but no campus; add it to a range under `campuses`")
    if has_campuses:
        known = {identifier for identifier, _, _ in year_groups}
        problems += [
            f"year {identifier} has students, but is no year group and in no campus; add it in iSAMS"
            for identifier in sorted(wanted - known)
        ]
    for identifiers in by_name.values():
        if len(identifiers) > 1:
            shared = " and ".join(identifiers)
            problems.append(
                f"years {shared} have the same name and would become one; give each a campus under `campuses`"
                if not has_campuses
                else f"years {shared} of one campus have the same name; rename one in iSAMS"
            )
    return problems
