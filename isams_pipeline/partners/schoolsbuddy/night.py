"""A school's night for SchoolsBuddy, without Dagster: tables → files and verdicts."""

from __future__ import annotations

from collections.abc import Collection, Mapping

import pandas as pd

from isams_pipeline.config import SchoolsBuddySettings, SchoolSettings
from isams_pipeline.partitions import Night
from isams_pipeline.partners.built import Made
from isams_pipeline.partners.schoolsbuddy.export import build
from isams_pipeline.partners.schoolsbuddy.rules import check_export, check_tables
from isams_pipeline.rules.notes import Lacking, Note


def make(
    school: SchoolSettings,
    settings: SchoolsBuddySettings,
    night: Night,
    tables: Mapping[str, pd.DataFrame],
    *,
    brought: Collection[str],
    notes: Collection[Note | Lacking],
) -> Made:
    """The export of a night and the verdicts on it; `brought`: the datasets that the source gives at all."""
    campuses = school.campuses
    has_medical = "health" in brought
    built = build(tables, settings, campuses, night=night.date, has_medical=has_medical, notes=notes)
    return Made(built, check_export, lambda: check_tables(built.export, tables, has_campuses=bool(campuses)))
