"""The report of a school and night: made of what partners did not get, held against the last one, and written."""

from __future__ import annotations

import base64
import io
from collections.abc import Mapping
from dataclasses import dataclass
from datetime import date
from typing import Any

import pandas as pd

from isams_pipeline.datasets import SOURCE
from isams_pipeline.delivery.explaining import SOURCES
from isams_pipeline.delivery.export import read_csv
from isams_pipeline.errors import NotMaterialised, StorageError
from isams_pipeline.orchestration.environment import Environment
from isams_pipeline.orchestration.partitions import Night
from isams_pipeline.orchestration.pins import exclusions_path
from isams_pipeline.rules.mending import ToMend, to_mend
from isams_pipeline.rules.texts import shown
from isams_pipeline.storage.earlier import dates_of

PAGE, WORKBOOK, FACTS = "office.html", "office.xlsx", "office.json"
_WEEKS = 84
"""Days of the picture."""
_INK, _LINE = "#20303c", "#2a5d8f"


@dataclass(frozen=True)
class OfficeReport:
    """What a school's office is to mend."""

    night: Night
    found: ToMend
    before: date | None
    """The night of the report that it is held against."""
    folder: str
    """Where it lies, below the reports."""


def made(environment: Environment, night: Night) -> OfficeReport:
    """Make a night's report, and write it as a page, a workbook and facts for the next one.

    Raises NotMaterialised where no partner's export of that night was made.
    """
    school = environment.settings.school(night.school)
    rows, partners = _left_out(environment, night)
    if not partners:
        raise NotMaterialised(
            "No export of that night was made, so nobody knows what is to be mended",
            school=night.school,
            date=night.date,
            remedy="Run the night first: isams-pipeline sync.",
        )
    folder = f"{night.school}/{night.date}"
    before = _last(environment, night)
    found = to_mend(rows, None if before is None else before[1])
    report = OfficeReport(night, found, None if before is None else before[0], folder)
    wants_names = school.reports is not None and school.reports.names
    names = _names(environment, night, found) if wants_names else {}
    picture = _picture(_course(environment, night, found.records))
    page = _page(
        school=school.name,
        night=night.date,
        found=found,
        before=report.before,
        names=names,
        picture=base64.b64encode(picture).decode() if picture else None,
    )
    facts = {
        "version": 1,
        "night": str(night.date),
        "records": found.records,
        "tasks": {task.key: list(task.records) for task in found.tasks},
    }
    environment.reports.write(f"{folder}/{PAGE}", page.encode())
    environment.reports.write(f"{folder}/{WORKBOOK}", _workbook(school.name, report, names, picture))
    environment.reports.write_json(f"{folder}/{FACTS}", facts)
    return report


def _page(**facts: Any) -> str:
    import jinja2  # noqa: PLC0415  # like the workbook's: nearly no command needs it

    templates = jinja2.Environment(
        loader=jinja2.PackageLoader("isams_pipeline.orchestration.office", ""),
        autoescape=True,
        undefined=jinja2.StrictUndefined,
    )
    return templates.get_template("office.html.j2").render(**facts)


def _left_out(environment: Environment, night: Night) -> tuple[list[dict[str, str]], list[str]]:
    """What partners whose data is iSAMS's own did not get on a night, and those of whom that is known.

    Numbers of other sources are others, and no office could look them up in iSAMS.
    """
    rows: list[dict[str, str]] = []
    known: list[str] = []
    school = environment.settings.school(night.school)
    for partner in (key for key in school.partners.exporting if school.partners.sources[key] == SOURCE):
        try:
            rows += read_csv(environment.reports.read(exclusions_path(partner, night)))
        except FileNotFoundError:
            continue
        known.append(partner)
    return rows, known


def _facts(environment: Environment, school: str, night: date) -> dict[str, Any] | None:
    try:
        return environment.reports.read_json(f"{school}/{night}/{FACTS}")
    except (FileNotFoundError, StorageError):
        return None


def _earlier(environment: Environment, night: Night) -> list[date]:
    return [day for day in dates_of(environment.reports.names(night.school)) if day < night.date]


def _last(environment: Environment, night: Night) -> tuple[date, Mapping[str, list[str]]] | None:
    for day in reversed(_earlier(environment, night)):
        facts = _facts(environment, night.school, day)
        if facts is not None:
            return day, facts["tasks"]
    return None


def _course(environment: Environment, night: Night, records: int) -> list[tuple[date, int]]:
    """How many records there were to mend on the nights of the last weeks."""
    days = [day for day in _earlier(environment, night) if (night.date - day).days <= _WEEKS]
    read = ((day, _facts(environment, night.school, day)) for day in days)
    return [*((day, int(facts["records"])) for day, facts in read if facts is not None), (night.date, records)]


def _picture(course: list[tuple[date, int]]) -> bytes | None:
    """The course as a line; None of a single night. PNG."""
    if len(course) == 1:
        return None
    from matplotlib.figure import Figure  # noqa: PLC0415  # takes most of a second to load

    figure: Any = Figure(figsize=(7.4, 2.2), dpi=110, layout="constrained")
    axes = figure.add_subplot(1, 1, 1)
    days, counts = [day for day, _ in course], [count for _, count in course]
    axes.plot(days, counts, color=_LINE, linewidth=1.8, marker="o" if len(course) < 15 else None, markersize=4)  # noqa: PLR2004
    axes.fill_between(days, counts, color=_LINE, alpha=0.12)
    axes.set_ylim(bottom=0)
    axes.set_ylabel("records to mend", fontsize=9, color=_INK)
    axes.yaxis.get_major_locator().set_params(integer=True)
    axes.tick_params(labelsize=8, colors=_INK)
    for side in ("top", "right"):
        axes.spines[side].set_visible(False)
    figure.autofmt_xdate(rotation=0, ha="center")
    buffer = io.BytesIO()
    figure.savefig(buffer, format="png", metadata={"Software": None})
    return buffer.getvalue()


def _workbook(school: str, report: OfficeReport, names: Mapping[tuple[str, str], str], picture: bytes | None) -> bytes:
    """The same as a workbook: a sheet with the tasks, and one with each record, to sort and to tick off."""
    from openpyxl import Workbook  # noqa: PLC0415
    from openpyxl.drawing.image import Image  # noqa: PLC0415
    from openpyxl.styles import Font  # noqa: PLC0415
    from openpyxl.utils import get_column_letter  # noqa: PLC0415

    book = Workbook()
    summary: Any = book.active
    summary.title = "To mend"
    summary.append([f"{school}: to mend in iSAMS, as it was on {report.night.date}"])
    summary["A1"].font = Font(bold=True, size=14)
    summary.append([])
    _table(
        summary,
        ("what to do", "records", "new", "where in iSAMS", "why"),
        [(task.what, len(task.records), len(task.new), task.where, task.matters) for task in report.found.tasks],
        (62, 10, 8, 40, 60),
    )
    if picture is not None:
        summary.add_image(Image(io.BytesIO(picture)), f"A{summary.max_row + 3}")
    records: Any = book.create_sheet("Records")
    header = ("what to do", "what it is", "number in iSAMS", *(("name",) if names else ()), "new", "done")
    rows = [
        (
            task.what,
            task.called,
            int(record) if record.isdecimal() else task.said(record),
            *((names.get((task.key, record), ""),) if names else ()),
            "new" if record in task.new else "",
            "",
        )
        for task in report.found.tasks
        for record in task.records
    ]
    _table(records, header, rows, (62, 22, 18, *((30,) if names else ()), 8, 8))
    records.auto_filter.ref = f"A1:{get_column_letter(len(header))}{records.max_row}"
    records.freeze_panes = "A2"
    buffer = io.BytesIO()
    book.save(buffer)
    return buffer.getvalue()


def _table(sheet: Any, header: tuple[str, ...], rows: list[tuple[Any, ...]], widths: tuple[int, ...]) -> None:
    from openpyxl.styles import Font, PatternFill  # noqa: PLC0415
    from openpyxl.utils import get_column_letter  # noqa: PLC0415

    sheet.append(header)
    for cell in sheet[sheet.max_row]:
        cell.font = Font(bold=True)
        cell.fill = PatternFill("solid", fgColor="DCE6F1")
    for row in rows:
        sheet.append([shown(cell) if isinstance(cell, str) else cell for cell in row])
    for at, width in enumerate(widths, start=1):
        sheet.column_dimensions[get_column_letter(at)].width = width


# --- names, where the school wants them --------------------------------------------------------------------------

_PEOPLE = {**SOURCES, "class_student": SOURCES["student"], "class_staff": SOURCES["staff"]}
"""What a record is of → the dataset that has the person, and its column with their number."""


def _names(environment: Environment, night: Night, found: ToMend) -> dict[tuple[str, str], str]:
    """Task and record → who that is. Whose table cannot be read has none."""
    made_: dict[tuple[str, str], str] = {}
    by_kind: dict[str, Mapping[str, str]] = {}
    for task in found.tasks:
        if task.kind not in _PEOPLE:
            continue
        if task.kind not in by_kind:
            by_kind[task.kind] = _people(environment, night, *_PEOPLE[task.kind])
        people = by_kind[task.kind]
        made_ |= {(task.key, one): people[task.person(one)] for one in task.records if task.person(one) in people}
    return made_


def _people(environment: Environment, night: Night, dataset: str, key: str) -> dict[str, str]:
    people: dict[str, str] = {}
    table = environment.tables.find(SOURCE, dataset, night.school, night.date)
    if table is not None:
        frame: pd.DataFrame = environment.tables.load(table)
        for row in frame[[key, "forename", "surname"]].itertuples(index=False, name=None):
            number, *parts = row
            people.setdefault(str(number), " ".join(str(part) for part in parts if isinstance(part, str)))
    return people
