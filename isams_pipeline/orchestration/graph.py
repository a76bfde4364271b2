"""What stands in the graph: the sources and partners that schools.yaml names; all, where it names no school."""

from __future__ import annotations

from collections.abc import Iterable, Mapping

import dagster as dg

from isams_pipeline.config import SchoolSettings, Settings
from isams_pipeline.datasets import SOURCE
from isams_pipeline.orchestration.partner import AnyPartner, Datasets
from isams_pipeline.sources.registry import SOURCES


def partners_in_use(settings: Settings, partners: Iterable[AnyPartner]) -> list[AnyPartner]:
    """The partners that some school has."""
    named = {key for school in settings.schools.values() for key in school.partners.sources}
    return [partner for partner in partners if partner.key in named or not settings.schools]


def sources_in_use(settings: Settings, sources: Iterable[str] = SOURCES) -> list[str]:
    """The sources that some school has, in the order of the registry."""
    named = {source for school in settings.schools.values() for source in school.sources}
    return [source for source in sources if source in named or not settings.schools]


def compares_sources(settings: Settings) -> bool:
    """Whether some school has several sources, which can be compared."""
    return not settings.schools or any(_has_several(school) for school in settings.schools.values())


def used_for(settings: Settings, partner: str, datasets: Datasets) -> Datasets:
    """Of datasets by source, those of the sources by which a partner's data comes at some school.

    Where no school has the partner, those of all sources that are in use.
    """
    used = {school.partners.sources[partner] for school in settings.schools.values() if partner in school.partners}
    found = [source for source in sources_in_use(settings, datasets) if source in used or not used]
    return {source: datasets[source] for source in found}


def asset_key(dataset: str, source: str = SOURCE) -> dg.AssetKey:
    """The key of a dataset's asset."""
    return dg.AssetKey([source, dataset])


def keys_of(datasets: Mapping[str, Iterable[str]]) -> list[dg.AssetKey]:
    """The datasets' assets."""
    return [asset_key(name, source) for source, names in datasets.items() for name in names]


def _has_several(school: SchoolSettings) -> bool:
    return len(set(school.sources) & set(SOURCES)) > 1
