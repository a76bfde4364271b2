"""A school's connection by each source as a Dagster asset, its job, and the sensor that keeps connections current."""

from collections.abc import Iterator

import dagster as dg

from isams_pipeline.clock import moment_in_words, start_of, today_at
from isams_pipeline.config import Settings
from isams_pipeline.errors import MissingSecret, PipelineError
from isams_pipeline.orchestration import checks
from isams_pipeline.orchestration.connector import Connector
from isams_pipeline.orchestration.environment import Environment
from isams_pipeline.orchestration.graph import sources_in_use
from isams_pipeline.orchestration.metadata import Metadata
from isams_pipeline.orchestration.partitions import Night, key_of, night_of, nights_of
from isams_pipeline.orchestration.runs import Results, told_to_dagster, told_to_ticks
from isams_pipeline.orchestration.source_assets import OWNER
from isams_pipeline.sources.advice import advice
from isams_pipeline.sources.registry import LISTED, label_of
from isams_pipeline.sources.shared.connections import Moved, State

CONNECTIONS_JOB = "connections"
SENSOR = "connections_current"
EVERY = 900
"""Seconds between two looks of the sensor."""
NOT_WORSE = {"not_worse": "Warns: the connection has gone back a step, or scopes were taken back."}


def connection_assets(settings: Settings) -> list[dg.AssetsDefinition]:
    """Each source's connection."""
    return [_connection(settings, source) for source in _looked_at(settings)]


def _connection(settings: Settings, source: str) -> dg.AssetsDefinition:
    partitions = nights_of(settings)
    key = [source, "connection"]

    @dg.asset(
        key=key,
        description=f"How far a school's connection by {label_of(source)} is, as a call has just shown: state, since "
        "when, what is to be done next, and by whom.",
        partitions_def=partitions,
        group_name=source,
        owners=[OWNER],
        kinds={"json"},
        check_specs=checks.check_specs(key, partitions, NOT_WORSE),
    )
    def connection(context: dg.AssetExecutionContext, environment: dg.ResourceParam[Environment]) -> Results:
        night = night_of(context.partition_key)
        with told_to_dagster(environment):
            if source not in environment.settings.school(night.school).sources:
                yield checks.not_in_use(NOT_WORSE, key)
                return
            moved = Connector(environment, night.school, source, who=f"run {context.run.run_id}").look()
            # Not by this look alone: the sensor's, which started this run, has seen it first.
            midnight = start_of(night.date, environment.settings.school(night.school).timezone)
            problem = environment.connections.worse_than_since(night.school, source, midnight)
            verdict = (
                checks.failed("not_worse", key, problem, warn=True) if problem else checks.passed(NOT_WORSE, key)[0]
            )
            yield dg.MaterializeResult(metadata=_connection_metadata(environment, moved), check_results=[verdict])

    return connection


def _connection_metadata(environment: Environment, moved: Moved) -> Metadata:
    now = moved.now
    school = environment.settings.school(now.school)
    told, zone = advice(now.school, now.source, now, school.partners.using(now.source)), school.timezone
    return {
        "state": now.words,
        "since": moment_in_words(now.since, zone),
        "means": told.means,
        "next": told.next,
        "by": told.by,
        "goes by": now.said,
        "scopes": ", ".join(sorted(now.scopes)) or "none",
    }


def connection_definitions(settings: Settings) -> dg.Definitions:
    """The connections' assets, their job, and the sensor that keeps them current; none where no school has any."""
    if not _looked_at(settings):
        return dg.Definitions()
    job = connections_job(settings)
    return dg.Definitions(assets=connection_assets(settings), jobs=[job], sensors=connection_sensors(settings, job))


def _looked_at(settings: Settings) -> list[str]:
    return [source for source in sources_in_use(settings) if source in LISTED]


def connections_job(settings: Settings) -> "dg.UnresolvedAssetJobDefinition":
    """The job that looks at connections."""
    return dg.define_asset_job(  # pyright: ignore[reportUnknownMemberType]
        CONNECTIONS_JOB,
        selection=dg.AssetSelection.assets(*(dg.AssetKey([source, "connection"]) for source in _looked_at(settings))),  # pyright: ignore[reportUnknownMemberType]
        description="Checks a school's connections to its other sources. Reads no personal data.",
        executor_def=dg.in_process_executor,
    )


def connection_sensors(settings: Settings, job: "dg.UnresolvedAssetJobDefinition") -> list[dg.SensorDefinition]:
    """The sensor that looks at every connection; none where no school has another source."""
    wanted = [
        (name, source) for name, school in settings.schools.items() for source in school.sources if source in LISTED
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
    @told_to_ticks
    def connections_current(
        context: dg.SensorEvaluationContext, environment: dg.ResourceParam[Environment]
    ) -> Iterator[dg.RunRequest | dg.SkipReason]:
        moves = 0
        problems: list[str] = []
        for school, source in wanted:
            try:
                moved = Connector(environment, school, source, who="sensor").look()
            except PipelineError as error:
                if isinstance(error, MissingSecret) and not _was_connected(environment, school, source):
                    context.log.info("%s by %s: %s", school, label_of(source), error)
                    continue  # the school's secret comes with its authorisation
                context.log.warning("%s by %s: %s", school, label_of(source), error)
                problems.append(f"{school} by {label_of(source)}: {error}")  # the others are looked at all the same
                continue
            if moved.worse:
                context.log.warning("%s by %s: %s", school, label_of(source), moved.worse)
            if moved.changed:
                moves += 1
                today = today_at(environment.settings.school(school).timezone, environment.clock)
                if today < environment.settings.first_date:
                    continue  # kept in the database; there is no partition yet to show it with
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


def _was_connected(environment: Environment, school: str, source: str) -> bool:
    now = environment.connections.current(school, source)
    return now is not None and now.state.rank >= State.CONNECTED.rank
