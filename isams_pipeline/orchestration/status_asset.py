"""The asset `status`: one place in the UI for what waits for a person, made anew when that changes."""

import hashlib
import json
from collections.abc import Iterable, Iterator, Sequence

import dagster as dg

from isams_pipeline.config import Settings
from isams_pipeline.orchestration.environment import Environment
from isams_pipeline.orchestration.partner import AnyPartner
from isams_pipeline.orchestration.runs import Results, told_to_dagster, told_to_ticks
from isams_pipeline.orchestration.source_assets import OWNER
from isams_pipeline.orchestration.status import Status, shown, status

STATUS, JOB, SENSOR = "status", "look_at_status", "status_current"


def status_definitions(settings: Settings, partners: Iterable[AnyPartner]) -> dg.Definitions:
    """The asset, its job, and the sensor that keeps it current; none where there is no school."""
    if not settings.schools:
        return dg.Definitions()
    known = list(partners)
    job = dg.define_asset_job(  # pyright: ignore[reportUnknownMemberType]
        JOB,
        selection=dg.AssetSelection.assets(dg.AssetKey(STATUS)),  # pyright: ignore[reportUnknownMemberType]
        description="Looks at how every school stands and what waits for a person. Reads no personal data.",
        executor_def=dg.in_process_executor,
    )
    return dg.Definitions(assets=[_asset(known)], jobs=[job], sensors=[_sensor(known, job)])


def _asset(partners: Sequence[AnyPartner]) -> dg.AssetsDefinition:
    @dg.asset(
        key=[STATUS],
        description="How every school stands with every partner now: the last night delivered, tonight, what waits for "
        "a person and the command for it. `isams-pipeline status` shows the same. Made anew when it has changed.",
        owners=[OWNER],
        kinds={"table"},
        group_name=STATUS,
    )
    def status_(context: dg.AssetExecutionContext, environment: dg.ResourceParam[Environment]) -> Results:
        with told_to_dagster(environment):
            yield dg.MaterializeResult(metadata=shown(status(environment, context.instance, partners)))

    return status_


def _sensor(partners: Sequence[AnyPartner], job: "dg.UnresolvedAssetJobDefinition") -> dg.SensorDefinition:
    @dg.sensor(  # pyright: ignore[reportUnknownMemberType]
        name=SENSOR,
        job=job,
        minimum_interval_seconds=120,
        default_status=dg.DefaultSensorStatus.RUNNING,
        description="Makes `status` anew when a night was delivered, is late, or something waits for a person.",
    )
    @told_to_ticks
    def status_current(
        context: dg.SensorEvaluationContext, environment: dg.ResourceParam[Environment]
    ) -> Iterator[dg.RunRequest | dg.SkipReason]:
        now = state_of(status(environment, context.instance, partners))
        if now == context.cursor:
            yield dg.SkipReason("Nothing has changed since")
            return
        context.update_cursor(now)
        yield dg.RunRequest(run_key=f"{STATUS}:{environment.clock().isoformat()}")

    return status_current


def state_of(found: Status) -> str:
    """What the asset would show, as a hash: a night that begins or ends does not count, what comes of it does."""
    rows = [{**row.as_json(), "outcome": None, "due": None} for row in found.rows]
    return hashlib.sha256(json.dumps([rows, found.alerts_stuck], sort_keys=True).encode()).hexdigest()
