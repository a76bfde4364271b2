"""Asset checks that know their partition. Still marked preview in Dagster, hence behind this one module."""

from __future__ import annotations

import warnings
from collections.abc import Iterable, Mapping, Sequence
from typing import Any

import dagster as dg

from isams_pipeline.delivery.export import CheckResult


def check_specs(
    asset: Sequence[str],
    partitions: dg.PartitionsDefinition[str],
    checks: Mapping[str, str],
    *,
    blocking: bool = False,
) -> list[dg.AssetCheckSpec]:
    """The checks of an asset: name → what it means. Without partitions, one school's verdict would be all schools'.

    `blocking`: the asset's step fails where one does not hold, so that nothing goes on from it.
    """
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", dg.PreviewWarning)
        return [
            dg.AssetCheckSpec(
                name, asset=dg.AssetKey(asset), description=description, partitions_def=partitions, blocking=blocking
            )
            for name, description in checks.items()
        ]


def passed(names: Iterable[str], asset: Sequence[str]) -> list[dg.AssetCheckResult]:
    """Results of checks that hold."""
    return [dg.AssetCheckResult(passed=True, check_name=name, asset_key=dg.AssetKey(asset)) for name in names]


def failed(
    name: str, asset: Sequence[str], problem: str, *, warn: bool = False, counts: Mapping[str, int] | None = None
) -> dg.AssetCheckResult:
    """The result of a check that does not hold, with what is wrong, and how often where that was counted."""
    severity = dg.AssetCheckSeverity.WARN if warn else dg.AssetCheckSeverity.ERROR
    return dg.AssetCheckResult(
        passed=False,
        check_name=name,
        asset_key=dg.AssetKey(asset),
        severity=severity,
        description=problem,
        metadata={"problem": problem, **(counts or {})},
    )


def verdict(result: CheckResult, asset: Sequence[str]) -> dg.AssetCheckResult:
    """A rule's verdict as Dagster shows it."""
    if result.passed:
        return passed([result.name], asset)[0]
    return failed(result.name, asset, "; ".join(result.problems))


def not_in_use(names: Iterable[str], asset: Sequence[str]) -> dg.MaterializeResult[Any]:
    """What a dataset of a source that the school has not comes to: nothing is stored, and that is said."""
    said = f"the school has no source {asset[0]}, or this job's partner uses another; nothing was stored"
    return dg.MaterializeResult(metadata={"not in use": said}, check_results=passed(names, asset))
