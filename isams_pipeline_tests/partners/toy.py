"""A partner in a few lines, as CONTRIBUTING's recipe has it: a library that gets the pupils with a surname."""

from __future__ import annotations

from collections.abc import Callable
from typing import ClassVar

from isams_pipeline.config.partners import Delivering
from isams_pipeline.delivery.built import ACCOUNTED_FOR, Built, Made
from isams_pipeline.delivery.export import CheckResult, Export, ExportFile, check_files, to_csv
from isams_pipeline.orchestration.partner import Behind, Exporting, Partner
from isams_pipeline.rules.account import ROW, numbered
from isams_pipeline.rules.split import Exclusions, Split

KEY = "library"
READERS = ExportFile("readers.csv", ("reader_id", "name"), key=("reader_id",), people="student")
NEEDED = ("pupils",)


class LibrarySettings(Delivering):
    """What a school may agree with the library."""

    label: ClassVar[str] = "The Library"
    key: ClassVar[str] = KEY
    required_feeds: ClassVar[tuple[str, ...]] = ("pupils",)

    years: tuple[int, ...] = ()
    """Only pupils of these years; all if none is named."""


def make(behind: Behind) -> Callable[[LibrarySettings], Made]:
    """The library's file of a night, by the settings."""

    def of(settings: LibrarySettings) -> Made:
        tables = numbered(behind.tables)
        pupils, out = tables["pupils"], Exclusions.of(tables)
        wanted = pupils["year_id"].isin(settings.years) if settings.years else pupils["pupil_id"].notna()
        split = Split.by(pupils, wanted, rule="years", reason="not in a year that the library serves")
        readers = out.take("student", split, "pupil_id", of="pupils")
        out.account.deliver("pupils", readers[ROW], READERS.name)
        rows = readers.rename(columns={"pupil_id": "reader_id", "surname": "name"})
        export = Export({READERS.name: to_csv(rows, READERS)})
        return Made(Built(export, out.frame(), {"student": READERS.name}, out.account), check, list)

    return of


def check(export: Export) -> list[CheckResult]:
    """The blocking rules on the bytes."""
    return check_files(export, (READERS,))


PARTNER = Partner(
    LibrarySettings,
    hour=6,
    night="A school's readers, to the library.",
    purpose="pupils borrow books.",
    takes={"isams": NEEDED},
    gets=Exporting(
        files=(READERS,),
        schema_version=1,
        checks={"schema": "The columns.", "unique_keys": "One row a reader.", "not_empty": "Readers.", **ACCOUNTED_FOR},
        needs={"isams": NEEDED},
        make=make,
        verdicts=lambda export, _behind, _settings: check(export),
    ),
)
