"""Reconciliation and connections as Dagster assets, their jobs, and the sensor that keeps connections current."""

import base64
from collections.abc import Generator, Iterator, Mapping, Sequence
from typing import Any

import dagster as dg

from isams_pipeline import checks
from isams_pipeline.clock import in_words, today_at
from isams_pipeline.config import SOURCES
from isams_pipeline.dataset_assets import OWNER, asset_key
from isams_pipeline.environment import Environment
from isams_pipeline.errors import ConfigurationError, PipelineError
from isams_pipeline.partitions import Night, key_of, night_of, nights_of
from isams_pipeline.roads import LABELS, REPORTS
from isams_pipeline.roads.advice import advice
from isams_pipeline.roads.connections import Moved
from isams_pipeline.roads.connector import Connector
from isams_pipeline.roads.pictures import reconciliation_picture
from isams_pipeline.roads.registry import ROADS
from isams_pipeline.rules.reconciliation import NEEDED, ONLY_FIRST, ONLY_SECOND, Compared, reconcile
from isams_pipeline.runs import NIGHT, NightSession, told_to_dagster

GROUP = REPORTS
RECONCILIATION = [GROUP, "reconciliation"]
RECONCILE_JOB, CONNECTIONS_JOB = "reconciliation", "connections"
SENSOR = "connections_current"
EVERY = 900
"""Seconds between two looks of the sensor."""
AGREE = {"roads_agree": "Warns: the roads differ in who and what is at the school. Ids and fields are in the report."}
NOT_WORSE = {"not_worse": "Warns: the connection has gone back a step, or scopes were taken back."}


def reconciliation_of(environment: Environment, night: Night, roads: Sequence[str]) -> dict[str, list[Compared]]:
    """Each road beside the first → what it has otherwise. Raises NotMaterialised where a road's table is missing."""
    tables = {
        road: {
            name: environment.tables.load(environment.tables.need(road, name, night.school, night.date))
            for name in NEEDED
        }
        for road in roads
    }
    first, *others = roads
    return {road: reconcile(tables[first], tables[road]) for road in others}


def report_path(night: Night, end: str) -> str:
    """Where the report lies, below `reports/`."""
    return f"{REPORTS}/{night.school}/{night.date}/reconciliation.{end}"


def connection_assets(environment: Environment) -> list[dg.AssetsDefinition]:
    """A road's connection each, and the reconciliation of all."""
    return [*(_connection(environment, source) for source in ROADS), _reconciliation(environment)]


# --- connections ------------------------------------------------------------------------------------------


def _connection(environment: Environment, source: str) -> dg.AssetsDefinition:
    partitions = nights_of(environment.settings)
    key = [source, "connection"]

    @dg.asset(
        key=key,
        description=f"How far a school's connection by {LABELS[source]} is, as a call has just shown: state, since "
        "when, what is to be done next, and by whom.",
        partitions_def=partitions,
        group_name=source,
        owners=[OWNER],
        kinds={"json"},
        check_specs=checks.check_specs(key, partitions, NOT_WORSE),
    )
    def connection(context: dg.AssetExecutionContext) -> Generator[Any, None, None]:
        night = night_of(context.partition_key)
        with told_to_dagster(environment):
            if source not in environment.settings.school(night.school).sources:
                yield checks.not_in_use(NOT_WORSE, key)
                return
            moved = Connector(environment, night.school, source, who=f"run {context.run.run_id}").look()
            last = environment.connections.last_worsening(night.school, source, night.date)
            problem = moved.worse or last
            verdict = (
                checks.failed("not_worse", key, problem, warn=True) if problem else checks.passed(NOT_WORSE, key)[0]
            )
            yield dg.MaterializeResult(metadata=_connection_metadata(environment, moved), check_results=[verdict])

    return connection


def _connection_metadata(environment: Environment, moved: Moved) -> dict[str, Any]:
    now = moved.now
    told = advice(now.school, now.source, now)
    zone = environment.settings.school(now.school).timezone
    return {
        "state": now.words,
        "since": in_words(now.since, zone),
        "means": told.means,
        "next": told.next,
        "by": told.by,
        "goes by": now.said,
        "scopes": ", ".join(sorted(now.scopes)) or "none",
    }


def road_jobs() -> tuple["dg.UnresolvedAssetJobDefinition", "dg.UnresolvedAssetJobDefinition"]:
    """The job that looks at connections, and the one that reconciles the roads."""
    connections = dg.define_asset_job(  # pyright: ignore[reportUnknownMemberType]
        CONNECTIONS_JOB,
        selection=dg.AssetSelection.assets(*(dg.AssetKey([source, "connection"]) for source in ROADS)),  # pyright: ignore[reportUnknownMemberType]
        description="Looks how far a school's connections by the other roads are. Reads nobody's data.",
        executor_def=dg.in_process_executor,
    )
    keys = [asset_key(name, source) for source in SOURCES for name in NEEDED]
    reconciliation = dg.define_asset_job(  # pyright: ignore[reportUnknownMemberType]
        RECONCILE_JOB,
        selection=dg.AssetSelection.assets(*keys, dg.AssetKey(RECONCILIATION)),  # pyright: ignore[reportUnknownMemberType]
        description="Reads a school by all its roads, and compares them.",
        executor_def=dg.in_process_executor,
    )
    return connections, reconciliation


def road_sensors(environment: Environment, job: "dg.UnresolvedAssetJobDefinition") -> list[dg.SensorDefinition]:
    """The sensor that looks at every connection; none where no school has another road."""
    wanted = [
        (name, source)
        for name, school in environment.settings.schools.items()
        for source in school.sources
        if source in ROADS
    ]
    if not wanted:
        return []

    @dg.sensor(  # pyright: ignore[reportUnknownMemberType]
        name=SENSOR,
        job=job,
        minimum_interval_seconds=EVERY,
        default_status=dg.DefaultSensorStatus.RUNNING,
        description=f"Looks at the connections of {', '.join(dict.fromkeys(name for name, _ in wanted))}; starts a run "
        "where one has moved.",
    )
    def connections_current(context: dg.SensorEvaluationContext) -> Iterator[dg.RunRequest | dg.SkipReason]:
        moves = 0
        problems: list[str] = []
        for school, source in wanted:
            try:
                moved = Connector(environment, school, source, who="sensor").look()
            except PipelineError as error:
                context.log.warning("%s by %s: %s", school, LABELS[source], error)
                problems.append(f"{school} by {LABELS[source]}: {error}")  # the others are looked at all the same
                continue
            if moved.worse:
                context.log.warning("%s by %s: %s", school, LABELS[source], moved.worse)
            if moved.changed:
                moves += 1
                today = today_at(environment.settings.school(school).timezone, environment.clock)
                yield dg.RunRequest(
                    run_key=f"connection:{school}:{source}:{environment.connections.history(school, source)[-1].id}",
                    partition_key=key_of(Night(school, today)),
                    asset_selection=[dg.AssetKey([source, "connection"])],
                )
        if problems and not moves:
            raise dg.Failure("; ".join(problems))
        if not moves:
            yield dg.SkipReason("No connection has moved")

    return [connections_current]


# --- reconciliation ---------------------------------------------------------------------------------------


def _reconciliation(environment: Environment) -> dg.AssetsDefinition:
    partitions = nights_of(environment.settings)

    @dg.asset(
        key=RECONCILIATION,
        description="Where the roads to a school differ: counts, who and what only one of them has, and which fields "
        "differ. Ids and names of fields; no values.",
        partitions_def=partitions,
        group_name=GROUP,
        owners=[OWNER],
        kinds={"json", "matplotlib"},
        deps=[asset_key(name, source) for source in SOURCES for name in NEEDED],
        required_resource_keys={NIGHT},
        config_schema={
            "roads": dg.Field(
                [str],
                is_required=False,
                description="Which; the first is what the others are compared with. Left out: all that the school has.",
            )
        },
        check_specs=checks.check_specs(RECONCILIATION, partitions, AGREE),
    )
    def reconciliation(context: dg.AssetExecutionContext) -> Generator[Any, None, None]:
        night = night_of(context.partition_key)
        session: NightSession = getattr(context.resources, NIGHT)
        with told_to_dagster(environment):
            session.hold(night.school)
            config: Mapping[str, Any] = context.op_execution_context.op_config or {}
            roads = roads_meant(environment, night.school, config.get("roads"))
            compared = reconciliation_of(environment, night, roads)
            picture = reconciliation_picture(roads[0], compared)
            environment.reports.write_json(report_path(night, "json"), as_report(roads[0], compared))
            environment.reports.write(report_path(night, "png"), picture)
            found = sum(len(one.differences) for road in compared.values() for one in road)
            problem = f"{found} differences; see {environment.reports.location(report_path(night, 'json'))}"
            verdict = (
                checks.failed("roads_agree", RECONCILIATION, problem, warn=True)
                if found
                else checks.passed(AGREE, RECONCILIATION)[0]
            )
            yield dg.MaterializeResult(
                metadata={
                    "differences": found,
                    "report": environment.reports.location(report_path(night, "json")),
                    "table": dg.MetadataValue.md(as_markdown(roads[0], compared)),
                    "picture": dg.MetadataValue.md(
                        f"![reconciliation](data:image/png;base64,{base64.b64encode(picture).decode()})"
                    ),
                },
                check_results=[verdict],
            )

    return reconciliation


def roads_meant(environment: Environment, school: str, wanted: Sequence[str] | None) -> list[str]:
    """The roads that are compared, the first with the others; raises ConfigurationError where there are none."""
    has: list[str] = [*environment.settings.school(school).sources]
    roads = list(dict.fromkeys(wanted)) if wanted else has
    unknown = [road for road in roads if road not in has]
    if unknown or len(roads) < 2:  # noqa: PLR2004
        what = f"It has no source {unknown[0]}" if unknown else "There is nothing to compare it with"
        raise ConfigurationError(what, school=school, remedy=f"Its sources in schools.yaml are: {', '.join(has)}.")
    return roads


def header(first: str, road: str) -> tuple[str, ...]:
    """The head of a road's table."""
    here, there = LABELS[first].partition(" ")[0], LABELS[road].partition(" ")[0]
    return ("", here, there, f"only {here}", f"only {there}", "differing in", "not compared")


def as_rows(entities: Sequence[Compared]) -> Iterator[tuple[str, ...]]:
    """What a road has otherwise than the first: a row for each kind of thing."""
    for one in entities:
        fields = ", ".join(f"{name} {count}" for name, count in one.fields.items())
        only = (str(one.count(kind) or "·") for kind in (ONLY_FIRST, ONLY_SECOND))
        yield (one.entity, str(one.first), str(one.second), *only, fields or "·", ", ".join(one.untold) or "·")


def as_markdown(first: str, compared: Mapping[str, Sequence[Compared]]) -> str:
    """A table for each road."""
    tables: list[str] = []
    for road, entities in compared.items():
        head = header(first, road)
        lines = [head, tuple("---" for _ in head), *as_rows(entities)]
        tables.append("\n".join("| " + " | ".join(line) + " |" for line in lines))
    return "\n\n".join(tables)


def as_report(first: str, compared: Mapping[str, Sequence[Compared]]) -> dict[str, Any]:
    """The whole reconciliation: every difference by its ids."""
    return {
        "compared_with": first,
        "roads": {
            road: {
                one.entity: {
                    "counts": {first: one.first, road: one.second},
                    "not_compared": one.untold,
                    "differences": [{"what": d.kind, first: d.first_id, road: d.second_id} for d in one.differences],
                }
                for one in entities
            }
            for road, entities in compared.items()
        },
    }
