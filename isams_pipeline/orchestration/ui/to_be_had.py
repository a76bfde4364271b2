"""Which nights a launch in the UI can have: today's, and those of which something is kept.

A source only knows now. The UI's *all missing* would queue every night since history began, at every school; of most of
them nothing was ever kept, so their runs could only fail. So a backfill leaves them out, and says how many in a tag; a
launch of nothing else is refused.
"""

from __future__ import annotations

import functools
from collections.abc import Callable, Collection, Iterable
from datetime import date
from typing import Any

import dagster as dg
from dagster._core.definitions.assets.graph.asset_graph_subset import AssetGraphSubset
from dagster._core.definitions.partitions.subset import PartitionsSubset
from dagster._core.definitions.partitions.subset.default import DefaultPartitionsSubset
from dagster._core.execution.backfill import PartitionBackfill

from isams_pipeline.clock import today_at
from isams_pipeline.errors import ConfigurationError, WrongUse
from isams_pipeline.orchestration.environment import Environment
from isams_pipeline.orchestration.partitions import Night, night_of_tag
from isams_pipeline.sources.registry import SOURCES, WITHIN_THE_DAY

LEFT_OUT = "isams/left_out"
"""The tag of a backfill: how many of the chosen nights cannot be had."""
_SOURCES = {*SOURCES, *WITHIN_THE_DAY}
_READING = ("_nightly", "_datasets", "_am", "_pm")
"""How the jobs' names end that read datasets."""


class ToBeHad:
    """Judges nights by what is on disk now; made anew for each launch."""

    def __init__(self, environment: Environment) -> None:
        self._environment = environment
        self._of_school = functools.cache(functools.partial(nights_kept, environment))

    def __call__(self, partition: str) -> bool:
        """Whether a partition is no night, or one that can be had."""
        try:
            night = night_of_tag(partition)
            settings = self._environment.settings.school(night.school)
        except (ValueError, ConfigurationError):
            return True
        if night.date < self._environment.settings.first_night_of(night.school):
            return False
        if night.date == today_at(settings.timezone, self._environment.clock):
            return True
        return night.date in self._of_school(night.school)


def nights_kept(environment: Environment, school: str) -> set[date]:
    """The dates of which answers, lists or registers of a school are kept."""
    kept = set(environment.archive.nights(school))
    for source in SOURCES:
        kept |= set(environment.lists.nights(source, school))
    for key, source in WITHIN_THE_DAY.items():  # of what these say, only tables are kept
        for dataset in source.datasets:
            kept |= set(environment.tables.nights(key, dataset, school))
    return kept


def reads(job: str | None, assets: Collection[dg.AssetKey] | None) -> bool:
    """Whether a launch reads datasets of a source, so that its nights must be such as can be had."""
    if assets:
        return any(key.path[0] in _SOURCES for key in assets)
    return job is not None and job.endswith(_READING)


def without_lost(backfill: PartitionBackfill, to_be_had: Callable[[str], bool]) -> PartitionBackfill:
    """A backfill without the nights that cannot be had; raises WrongUse where no other was chosen."""
    if not reads(backfill.job_name, backfill.asset_selection):
        return backfill
    lost: set[str] = set()
    if backfill.asset_backfill_data is not None:
        target = backfill.asset_backfill_data.target_subset
        left = AssetGraphSubset(
            partitions_subsets_by_asset_key={
                key: _left(subset, to_be_had, lost) for key, subset in target.partitions_subsets_by_asset_key.items()
            },
            non_partitioned_asset_keys=target.non_partitioned_asset_keys,
        )
        made = backfill._replace(asset_backfill_data=backfill.asset_backfill_data._replace(target_subset=left))
        nothing = left.is_empty
    else:
        names = _had(backfill.partition_names or (), to_be_had, lost)
        made, nothing = backfill._replace(partition_names=names), not names
    if not lost:
        return backfill
    if nothing:
        raise _refused(lost)
    return made._replace(tags={**backfill.tags, LEFT_OUT: f"{len(lost)} nights that cannot be had"})


def refuse_lost(
    job: str | None, assets: Collection[dg.AssetKey] | None, partition: str, to_be_had: Callable[[str], bool]
) -> None:
    """Raise WrongUse for a run that reads datasets of a night that cannot be had."""
    if reads(job, assets) and not to_be_had(partition):
        raise _refused({partition})


def _left(subset: PartitionsSubset[Any], to_be_had: Callable[[str], bool], lost: set[str]) -> PartitionsSubset[Any]:
    if not isinstance(subset, DefaultPartitionsSubset):  # dates, of all schools
        return subset
    return DefaultPartitionsSubset(set(_had(subset.subset, to_be_had, lost)))


def _had(partitions: Iterable[str], to_be_had: Callable[[str], bool], lost: set[str]) -> list[str]:
    had: list[str] = []
    for partition in partitions:
        if partition in lost or not to_be_had(partition):
            lost.add(partition)
        else:
            had.append(partition)
    return had


def _refused(lost: set[str]) -> WrongUse:
    nights = sorted({night_of_tag(partition) for partition in lost}, key=lambda night: (night.date, night.school))
    one: Night = nights[0]
    which = f"{one.date} of {one.school}"
    if len(nights) > 1:
        which = f"{len(nights)} nights, {which} the first"
    return WrongUse(
        f"Nothing was kept of {which}, and the sources only know today",
        remedy="Choose nights that were run, or today's; the others can no longer be read.",
    )
