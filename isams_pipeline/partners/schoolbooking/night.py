"""A school's night for SchoolBooking, without Dagster: tables → by the settings, files and verdicts."""

from __future__ import annotations

from collections.abc import Callable, Collection, Mapping

import pandas as pd

from isams_pipeline.config import SchoolBookingSettings, SchoolSettings
from isams_pipeline.delivery.built import Made
from isams_pipeline.orchestration.partitions import Night
from isams_pipeline.partners.schoolbooking.export import build, check_export, check_source
from isams_pipeline.rules.notes import Lacking, Note


def make(
    _school: SchoolSettings,
    night: Night,
    tables: Mapping[str, pd.DataFrame],
    *,
    brought: Collection[str],  # noqa: ARG001  # a trial's arguments, whoever's it is
    notes: Collection[Note | Lacking],
) -> Callable[[SchoolBookingSettings], Made]:
    """The export of a night and the verdicts on it, for whichever settings."""

    def of(settings: SchoolBookingSettings) -> Made:
        built = build(tables, night.date, settings, notes)
        return Made(built, check_export, lambda: check_source(tables, night.date))

    return of
