"""The tables that a partner's rules make, as Dagster assets: checked at their border, stored, counted by rule."""

from __future__ import annotations

from collections.abc import Callable, Collection, Iterable, Iterator, Mapping, Sequence
from typing import Any

import dagster as dg
import pandas as pd

from isams_pipeline.config import Settings
from isams_pipeline.datasets import rules as dataset_rules
from isams_pipeline.delivery.built import Built
from isams_pipeline.delivery.rule_tables import Origin, RuleTable
from isams_pipeline.errors import DatasetError
from isams_pipeline.orchestration.graph import asset_key, keys_of, used_for
from isams_pipeline.orchestration.metadata import Metadata
from isams_pipeline.orchestration.partner import AnyPartner
from isams_pipeline.orchestration.runs import NightRun
from isams_pipeline.orchestration.showing import column_schema
from isams_pipeline.rules.account import LEFT_OUT, MERGED
from isams_pipeline.storage.tables import MADE_FROM


def rule_keys(partner: AnyPartner) -> list[dg.AssetKey]:
    """The assets of the tables of a partner's rules."""
    return [dg.AssetKey([partner.key, table.name]) for table in partner.exporting.tables]


def rule_specs(settings: Settings, partner: AnyPartner, common: Mapping[str, Any]) -> list[dg.AssetSpec]:
    """One asset a table: what it is in words, its columns and what they are made from, and what it is made of."""
    exporting = partner.exporting
    sources = list(used_for(settings, partner.key, exporting.needs))

    def keys(origin: Origin) -> list[dg.AssetKey]:
        if origin.is_of_source:
            return [asset_key(origin.table, source) for source in sources if origin.table in exporting.needs[source]]
        return [dg.AssetKey([partner.key, origin.table])]

    return [
        dg.AssetSpec(
            [partner.key, table.name],
            description=table.about,
            deps=parents_of(partner.key, table, sources, exporting.needs),
            kinds={"pandas", "parquet"},
            metadata=table_metadata(table, keys),
            **common,
        )
        for table in exporting.tables
    ]


def parents_of(
    partner: str, table: RuleTable, sources: Sequence[str], needs: Mapping[str, Collection[str]]
) -> list[dg.AssetKey]:
    """The assets that a table is made from: datasets of each source in use that has them, and the partner's tables."""
    datasets = [asset_key(name, source) for source in sources for name in table.reads if name in needs[source]]
    return [*datasets, *(dg.AssetKey([partner, name]) for name in table.follows)]


def table_metadata(table: RuleTable, keys: Callable[[Origin], list[dg.AssetKey]]) -> Metadata:
    """What Dagster shows of a table's definition: its columns, and each column's parents, whose assets `keys` gives."""
    lineage = dg.TableColumnLineage(
        {
            column: [dg.TableColumnDep(key, origin.column) for origin in origins for key in keys(origin)]
            for column, origins in table.origins.items()
        }
    )
    return {"dagster/column_schema": column_schema(table.declaration), "dagster/column_lineage": lineage}


def check_selection(run: NightRun, partner: AnyPartner) -> None:
    """Raise DatasetError where a run reads datasets, but leaves out tables between them and what it is to make.

    What is behind a table that is left out is not waited for, so a dataset that fails would not hold anything back.
    """
    exporting = partner.exporting
    read = keys_of(exporting.needs)
    if not any(run.is_to_make(key) for key in read):
        return
    tables = {table.name: table for table in exporting.tables}
    needed: set[str] = set()
    for key in run.chosen:
        # Whatever is no table itself is made from all of them.
        table = tables.get(key.path[-1])
        needed.update(tables if table is None else table.follows)
    missing = [name for name in tables if name in needed and dg.AssetKey([partner.key, name]) not in run.chosen]
    if missing:
        raise DatasetError(
            f"The run reads datasets, but leaves out what is between them and what it is to make: "
            f"{', '.join(f'{partner.key}/{name}' for name in missing)}",
            school=run.night.school,
            date=run.night.date,
            remedy="Select those too, or select no datasets.",
        )


def check_behind(run: NightRun, datasets: Iterable[str], table: dg.AssetKey) -> None:
    """Raise DatasetError where a run reads datasets, but not the table of rules that is to go with them."""
    if not run.is_to_make(table) and any(run.is_to_make(asset_key(name)) for name in datasets):
        raise DatasetError(
            f"The run reads datasets, but leaves out {table.to_user_string()}, which was made from earlier ones",
            school=run.night.school,
            date=run.night.date,
            remedy="Select that too, or select no datasets.",
        )


def rule_results(
    run: NightRun, partner: AnyPartner, built: Built, beside: Mapping[str, Metadata] | None = None
) -> Iterator[dg.MaterializeResult[Any]]:
    """Store the chosen tables of what was built; what Dagster shows of each. Raises WrongType, DuplicateKeys.

    `beside`: table → what is to be shown of it, too.
    """
    source = run.environment.settings.partner(run.night.school, partner.settings).uses
    places = built.account.frame()
    for table in partner.exporting.tables:
        key = dg.AssetKey([partner.key, table.name])
        if key in run.chosen:
            shown = numbers_of(table, places) | (beside or {}).get(table.name, {})
            yield stored_result(run, key, table, built, sources=[source], shown=shown)


def stored_result(
    run: NightRun, key: dg.AssetKey, table: RuleTable, built: Built, *, sources: Sequence[str], shown: Metadata
) -> dg.MaterializeResult[Any]:
    """Store a table of what was built from sources; what Dagster shows of it. Raises WrongType, DuplicateKeys.

    Raises LookupError where a table that is not optional was not built.
    """
    night = run.night
    given = built.tables.get(table.name)
    if given is None:
        if not table.optional:
            raise LookupError(f"the rules made no {table.name}")
        # What the school does not ask for any more is not kept of the night, either.
        run.environment.tables.remove(key.path[0], table.name, night.school, night.date)
        return dg.MaterializeResult(asset_key=key, metadata={"not asked for": _NOT_ASKED})
    frame = table.of(given)
    dataset_rules.check_made(table.declaration, frame)
    stored = run.environment.tables.save(
        frame,
        source=key.path[0],
        dataset=table.name,
        school=night.school,
        night=night.date,
        provenance={MADE_FROM: list(sources)},
    )
    stored_as = {"dagster/row_count": stored.rows, "table": stored.path}
    return dg.MaterializeResult(asset_key=key, metadata=stored_as | shown)


_NOT_ASKED = "the school's settings do not ask for it, or its source does not give it; nothing was stored"


def numbers_of(table: RuleTable, places: pd.DataFrame) -> Metadata:
    """How many rows each rule of a table left out, the rules that left out none among them, and how many were merged.

    `places` is the export's account: dataset, place, by, rows. Numbers, so that the UI draws them over nights.
    """
    numbers: Metadata = {}
    for dataset, rules in table.left_out.items():
        of = places[places["dataset"] == dataset]
        for rule in rules:
            name = f"left out by {rule}"
            numbers[name] = numbers.get(name, 0) + _sum(of[(of["place"] == LEFT_OUT) & (of["by"] == rule)])
    for dataset in table.merges:
        of = places[places["dataset"] == dataset]
        numbers["merged"] = numbers.get("merged", 0) + _sum(of[of["place"] == MERGED])
    return numbers


def _sum(places: pd.DataFrame) -> int:
    return int(places["rows"].sum())
