"""A school's night for SchoolBooking, without Dagster: tables → files and verdicts."""

from __future__ import annotations

from collections.abc import Collection, Mapping

import pandas as pd

from isams_pipeline.config import SchoolBookingSettings, SchoolSettings
from isams_pipeline.partitions import Night
from isams_pipeline.partners.built import Made
from isams_pipeline.partners.schoolbooking.export import build, check_export, check_source
from isams_pipeline.rules.notes import Lacking, Note


def make(
    _school: SchoolSettings,
    settings: SchoolBookingSettings,
    night: Night,
    tables: Mapping[str, pd.DataFrame],
    *,
    brought: Collection[str],  # noqa: ARG001  # a trial's arguments, whoever's it is
    notes: Collection[Note | Lacking],
) -> Made:
    """The export of a night and the verdicts on it."""
    built = build(tables, night.date, settings, notes)
    return Made(built, check_export, lambda: check_source(tables, night.date))
