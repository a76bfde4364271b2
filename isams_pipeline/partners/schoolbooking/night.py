"""A school's night for SchoolBooking, without Dagster: tables → by the settings, files and verdicts."""

from __future__ import annotations

from collections.abc import Callable

from isams_pipeline.delivery.built import Made
from isams_pipeline.delivery.export import CheckResult, Export
from isams_pipeline.orchestration.partner import Behind
from isams_pipeline.partners.schoolbooking.export import build, check_export, check_source
from isams_pipeline.partners.schoolbooking.settings import SchoolBookingSettings


def make(behind: Behind) -> Callable[[SchoolBookingSettings], Made]:
    """The export of a night and the verdicts on it, for whichever settings."""

    def of(settings: SchoolBookingSettings) -> Made:
        built = build(behind.tables, behind.night.date, settings, behind.notes)
        return Made(built, check_export, lambda: check_source(behind.tables, behind.night.date))

    return of


def verdicts(export: Export, behind: Behind, _settings: SchoolBookingSettings) -> list[CheckResult]:
    """The blocking rules, on the very bytes and the tables behind them."""
    return [*check_export(export), *check_source(behind.tables, behind.night.date)]
