"""Which assets of a partner's job a school's run takes: those of the source that the partner uses, and its own."""

from __future__ import annotations

import dagster as dg

from isams_pipeline.config import SchoolSettings
from isams_pipeline.sources.registry import SOURCES


def selection_of(settings: SchoolSettings, partner: str, job: dg.JobDefinition) -> list[dg.AssetKey] | None:
    """The assets without those of the sources that the school's partner does not use.

    None where the job has one source only, so that there is nothing to choose.
    """
    mine = settings.partners.sources.get(partner)
    keys = job.asset_layer.executable_asset_keys
    sources = {key.path[0] for key in keys} & set(SOURCES)
    if mine is None or len(sources) < 2:  # noqa: PLR2004
        return None
    return sorted(key for key in keys if key.path[0] not in sources or key.path[0] == mine)


def is_wanted(settings: SchoolSettings, source: str, job: str) -> bool:
    """Whether a school's run of a job takes a source: it has it, and the job's partner uses no other.

    A job that is launched whole by hand has the datasets of all sources.
    """
    mine = settings.partners.sources.get(job.removesuffix("_nightly"))
    return source in settings.sources and mine in {None, source}
