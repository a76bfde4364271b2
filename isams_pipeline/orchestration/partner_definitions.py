"""A partner's Dagster definitions, out of the partner as a value."""

import dagster as dg

from isams_pipeline.config import Settings
from isams_pipeline.orchestration.deliveries import delivery_asset
from isams_pipeline.orchestration.exports import export_asset
from isams_pipeline.orchestration.nightly import nightly_job, nightly_schedules
from isams_pipeline.orchestration.partner import AnyPartner


def partner_definitions(settings: Settings, partner: AnyPartner) -> dg.Definitions:
    """The assets of a partner's files, its nightly job and schedules, and whatever it has besides."""
    job = nightly_job(settings, partner)
    files = [export_asset(settings, partner), delivery_asset(settings, partner)] if partner.gets else []
    return dg.Definitions.merge(
        dg.Definitions(assets=files, jobs=[job], schedules=nightly_schedules(settings, partner, job)),
        partner.more(settings),
    )
