"""The one Definitions that Dagster loads. Reads schools.yaml if there is one; no secret, no network, no disk else.

Only with `history_years` it asks Dagster's own storage for backfills under way, and does without where that is silent.
"""

from __future__ import annotations

import os
from collections.abc import Iterable
from dataclasses import replace
from pathlib import Path

import dagster as dg

from isams_pipeline.config import Settings, load_settings
from isams_pipeline.orchestration.alerts.sensor import alert_definitions
from isams_pipeline.orchestration.broken_off import again_sensor
from isams_pipeline.orchestration.connection_assets import connection_definitions
from isams_pipeline.orchestration.environment import Environment
from isams_pipeline.orchestration.graph import partners_in_use
from isams_pipeline.orchestration.history import with_history
from isams_pipeline.orchestration.office.asset import office_definitions
from isams_pipeline.orchestration.partner import AnyPartner
from isams_pipeline.orchestration.partner_definitions import partner_definitions
from isams_pipeline.orchestration.reconciliation.assets import reconciliation_definitions
from isams_pipeline.orchestration.removal_windows import allow_removals
from isams_pipeline.orchestration.retention_asset import retention_definitions
from isams_pipeline.orchestration.runs import ENVIRONMENT, NIGHT, NightResource
from isams_pipeline.orchestration.source_assets import source_definitions
from isams_pipeline.orchestration.status_asset import status_definitions
from isams_pipeline.orchestration.tonight import tonight_definitions
from isams_pipeline.partners.registry import PARTNERS


def build_definitions(environment: Environment, partners: Iterable[AnyPartner] | None = None) -> dg.Definitions:
    """All assets, jobs and schedules over an environment: Dagster's, the command line's, or a test's.

    They are made of what schools.yaml says; whatever a run or a tick opens comes to it as a resource. `partners`: only
    theirs, for who runs one partner's night and needs no more; else those that some school has.
    """
    settings = environment.settings
    chosen = list(partners_in_use(settings, PARTNERS.values()) if partners is None else partners)
    parts = dg.Definitions.merge(
        source_definitions(settings),
        connection_definitions(settings),
        reconciliation_definitions(settings),
        tonight_definitions(settings),
        status_definitions(settings, chosen),
        alert_definitions(settings, chosen),
        office_definitions(settings),
        # Of whatever partner: what a school has agreed no more ends, too.
        retention_definitions(settings, PARTNERS.values()),
        *(partner_definitions(settings, partner) for partner in chosen),
    )
    return dg.Definitions.merge(
        parts,
        dg.Definitions(
            jobs=[allow_removals],
            sensors=again_sensor(settings, list(parts.jobs or ())),
            resources={NIGHT: NightResource(environment=environment), ENVIRONMENT: environment},
            executor=dg.in_process_executor,
        ),
    )


def environment_from(
    config: str | os.PathLike[str] | None = None, data_dir: str | os.PathLike[str] | None = None
) -> Environment:
    """The environment of a command or of Dagster: schools.yaml and data/, as told or as found."""
    settings: Settings = load_settings(config)
    found = Environment(settings, data_dir=Path(data_dir)) if data_dir else Environment(settings)
    return replace(found, settings=with_history(settings, found.data_dir))


@dg.definitions
def defs() -> dg.Definitions:
    """What Dagster loads, when it loads it: importing this module reads nothing."""
    return build_definitions(environment_from())
