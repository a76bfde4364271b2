"""What a person should look at before a school's first export goes out: counts only. Pure."""

from __future__ import annotations

from dataclasses import dataclass

from isams_pipeline.delivery.differences import reach
from isams_pipeline.delivery.export import Export

_YEARS = "year_groups.csv"


@dataclass(frozen=True)
class FileLook:
    """A file's rows, and how many have an e-mail address."""

    name: str
    rows: int
    with_email: int | None
    """None for files without such a column."""

    @property
    def in_words(self) -> str:
        """How many have an address, and which share that is."""
        if self.with_email is None or not self.rows:
            return "-"
        return f"{self.with_email} ({self.with_email / self.rows:.0%})"


@dataclass(frozen=True)
class YearLook:
    """A year group as the partner will see it."""

    year: str
    campus: str
    students: int
    contacts: int
    without: int
    """Students without any contact."""

    @property
    def contacts_a_student(self) -> str:
        """On average."""
        return f"{self.contacts / self.students:.1f}" if self.students else "-"


@dataclass(frozen=True)
class FirstLook:
    """A first export in numbers."""

    files: tuple[FileLook, ...]
    years: tuple[YearLook, ...]

    @property
    def tables(self) -> list[tuple[tuple[str, ...], list[tuple[str | int, ...]]]]:
        """As it is shown: headers and rows of a table of files, and of one of year groups where there are any."""
        files = (("file", "rows", "with an e-mail address"), [(f.name, f.rows, f.in_words) for f in self.files])
        header = ("year group", "campus", "students", "contacts a student", "students without any")
        years = [(y.year, y.campus, y.students, y.contacts_a_student, y.without) for y in self.years]
        return [files, (header, years)] if years else [files]


def first_look(export: Export) -> FirstLook:
    """An export in numbers: rows, e-mail coverage, and by year group contacts a student and campus names."""
    files = tuple(_file(export, name) for name in export.files if name.endswith(".csv"))
    campuses: dict[str, str] = {}
    for row in export.rows(_YEARS) if _YEARS in export.files else ():
        for name in (row.get("name"), row.get("year_group_id")):
            if name:
                campuses[name] = row.get("campus", "")
    years = tuple(
        YearLook(year or "none", campuses.get(year, ""), found.students, found.contacts, found.without)
        for year, found in reach(export).items()
    )
    return FirstLook(files, years)


def _file(export: Export, name: str) -> FileLook:
    rows = export.rows(name)
    with_email = sum(bool(row["email"]) for row in rows) if rows and "email" in rows[0] else None
    return FileLook(name, len(rows), with_email)
