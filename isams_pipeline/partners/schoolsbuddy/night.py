"""A school's night for SchoolsBuddy, without Dagster: tables → by the settings, files and verdicts."""

from __future__ import annotations

from collections.abc import Callable, Collection, Mapping

import pandas as pd

from isams_pipeline.config import SchoolsBuddySettings, SchoolSettings
from isams_pipeline.delivery.built import Made
from isams_pipeline.orchestration.partitions import Night
from isams_pipeline.partners.schoolsbuddy.export import settled, unsettled
from isams_pipeline.partners.schoolsbuddy.rules import check_export, check_tables
from isams_pipeline.rules.notes import Lacking, Note


def make(
    school: SchoolSettings,
    night: Night,
    tables: Mapping[str, pd.DataFrame],
    *,
    brought: Collection[str],
    notes: Collection[Note | Lacking],
) -> Callable[[SchoolsBuddySettings], Made]:
    """The export of a night and the verdicts on it, for whichever settings.

    `brought`: the datasets that the source gives at all.
    """
    campuses = school.campuses
    given = unsettled(tables, campuses, night=night.date, notes=notes)

    def of(settings: SchoolsBuddySettings) -> Made:
        built = settled(given, settings, has_medical="health" in brought)
        return Made(built, check_export, lambda: check_tables(built.export, tables, has_campuses=bool(campuses)))

    return of
