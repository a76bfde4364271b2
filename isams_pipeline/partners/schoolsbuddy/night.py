"""A school's night for SchoolsBuddy, without Dagster: tables → by the settings, files and verdicts."""

from __future__ import annotations

from collections.abc import Callable

from isams_pipeline.delivery.built import Made
from isams_pipeline.delivery.export import CheckResult, Export
from isams_pipeline.orchestration.partner import Behind
from isams_pipeline.partners.schoolsbuddy.export import settled, unsettled
from isams_pipeline.partners.schoolsbuddy.rules import check_export, check_tables
from isams_pipeline.partners.schoolsbuddy.settings import SchoolsBuddySettings


def make(behind: Behind) -> Callable[[SchoolsBuddySettings], Made]:
    """The export of a night and the verdicts on it, for whichever settings."""
    campuses = behind.school.campuses
    given = unsettled(behind.tables, campuses, night=behind.night.date, notes=behind.notes)

    def of(settings: SchoolsBuddySettings) -> Made:
        built = settled(given, settings, has_medical="health" in behind.brought)
        return Made(built, check_export, lambda: check_tables(built.export, behind.tables, has_campuses=bool(campuses)))

    return of


def verdicts(export: Export, behind: Behind, _settings: SchoolsBuddySettings) -> list[CheckResult]:
    """The blocking rules, on the very bytes and the tables behind them."""
    tables = check_tables(export, behind.tables, has_campuses=bool(behind.school.campuses))
    return [*check_export(export), *tables]
