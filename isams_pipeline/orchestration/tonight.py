"""One place over all schools: how every partner's night of a date stands, as an asset with numbers that plot."""

import json
from collections import Counter
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import astuple, dataclass, fields
from datetime import date, datetime, timedelta
from zoneinfo import ZoneInfo

import dagster as dg
import pandas as pd
from dagster._core.storage.dagster_run import RunsFilter

from isams_pipeline.clock import today_at
from isams_pipeline.config import Settings
from isams_pipeline.datasets.shapes import Json
from isams_pipeline.delivery.export import ExportFile, to_csv_for_people
from isams_pipeline.delivery.receipts import Outcome, Receipts
from isams_pipeline.orchestration.environment import Environment
from isams_pipeline.orchestration.metadata import Metadata
from isams_pipeline.orchestration.nightly import job_name
from isams_pipeline.orchestration.partitions import DATE, SCHOOL_TAG, dates_of
from isams_pipeline.orchestration.runs import PART_TAG, PARTNER_TAG, Results, told_to_dagster, told_to_ticks
from isams_pipeline.orchestration.showing import markdown_table
from isams_pipeline.orchestration.source_assets import OWNER
from isams_pipeline.storage.state import Delivery

TONIGHT, SENSOR, JOB = "tonight", "tonight_current", "look_at_tonight"
_DATE_TAG = f"dagster/partition/{DATE}"
_ENDED = [dg.DagsterRunStatus.SUCCESS, dg.DagsterRunStatus.FAILURE, dg.DagsterRunStatus.CANCELED]
_SHORT = 160
"""Characters of a reason in the table; the run has it whole."""
DUE, UNDER_WAY, MISSING = "due", "under way", "missing"
"""What there is beside the outcomes of receipts: nothing yet and it is early; a run that goes on; nothing, and late."""
COUNTED = (*(outcome.value for outcome in Outcome if outcome is not Outcome.RELEASED), DUE, UNDER_WAY, MISSING)


@dataclass(frozen=True)
class Standing:
    """How one partner's night of one school stands."""

    school: str
    partner: str
    outcome: str
    rows: int
    """In the delivered files."""
    left_out: int
    seconds: int
    """That the run took; 0 where it is not known."""
    waits_for: str
    """What is to happen next, and by whom; empty where nothing is."""
    reason: str = ""
    """Why it was refused or failed, whole; empty where only the run has it."""
    run_id: str = ""
    """The run that left it so; empty where there is none."""
    ended: datetime | None = None
    """When that was; None where it is not known, or has not ended."""

    @property
    def shown(self) -> tuple[str | int, ...]:
        """As a row of the table."""
        return astuple(self)[:_COLUMNS]


_COLUMNS = 7


def standings(environment: Environment, instance: dg.DagsterInstance, day: date) -> list[Standing]:
    """Every school and partner that gets files, in the order of schools.yaml; then what was delivered besides."""
    receipts = Receipts(environment.state).newest_of(day, list(environment.settings.schools))
    runs, sessions = _newest_runs(instance, day)
    found: list[Standing] = []
    for school, settings in environment.settings.schools.items():
        expected = list(settings.partners.exporting) if day >= environment.settings.first_night_of(school) else []
        others = {(partner, part) for partner, of, part in receipts if of == school and partner not in expected}
        others |= {(partner, part) for of, partner, part in sessions if of == school}
        for partner, part in [*((key, "") for key in expected), *sorted(others)]:
            receipt = receipts.get((partner, school, part))
            run = sessions.get((school, partner, part)) if part else runs.get((school, partner))
            today = today_at(settings.timezone, environment.clock)
            name = f"{partner} {part}" if part else partner
            own = runs.get(receipt.run_id) if receipt is not None else None
            found.append(_standing((school, name), receipt, (run, own), is_over=day < today))
    return found


def _standing(
    whose: tuple[str, str],
    receipt: Delivery | None,
    runs: tuple[dg.RunRecord | None, dg.RunRecord | None],
    *,
    is_over: bool,
) -> Standing:
    """How a school's delivery to a partner stands, by the newest receipt of the date and the runs.

    `runs`: the newest run of the partner's night, and the run that left the receipt.
    """
    run, own = runs
    # A receipt says more than a run from before the one that left it: a delivery by itself may have followed a refusal.
    is_newer = run is not None and own is not None and run.create_timestamp > own.create_timestamp
    if run is not None and (receipt is None or is_newer):
        took, run_id = _seconds(run), run.dagster_run.run_id
        if not run.dagster_run.is_finished:
            return Standing(*whose, UNDER_WAY, 0, 0, took, "", run_id=run_id)
        if receipt is None or run.dagster_run.status is dg.DagsterRunStatus.FAILURE:
            failed = Outcome.FAILED.value
            ended = run.update_timestamp
            return Standing(*whose, failed, 0, 0, took, "look at the run, then run it again", "", run_id, ended)
    if receipt is None:
        late = "a backfill, in the UI or by `isams-pipeline backfill`, if its answers are in the archive"
        return Standing(*whose, *((MISSING, 0, 0, 0, late) if is_over else (DUE, 0, 0, 0, "its schedule")))
    files: Json = receipt.manifest.get("files") or {}
    rows = sum(int(facts["rows"]) for facts in files.values())
    left_out = sum(counts.get("excluded", 0) for counts in receipt.changes.values())
    took = _seconds(own) if own is not None else 0
    why, run_id = receipt.reason or "", receipt.run_id
    return Standing(*whose, receipt.outcome, rows, left_out, took, _short(receipt), why, run_id, receipt.at)


def _short(receipt: Delivery) -> str:
    """What a receipt's outcome waits for: the reason, as far as there is room."""
    if receipt.outcome in {Outcome.DELIVERED.value, Outcome.UNCHANGED.value} or not receipt.reason:
        return ""
    return receipt.reason if len(receipt.reason) <= _SHORT else f"{receipt.reason[: _SHORT - 1]}\N{HORIZONTAL ELLIPSIS}"


def _newest_runs(
    instance: dg.DagsterInstance, day: date
) -> tuple[dict[tuple[str, str] | str, dg.RunRecord], dict[tuple[str, str, str], dg.RunRecord]]:
    """School and partner → the newest run of its night of a date, and a run's id → that run; then those of sessions.

    A session's run, such as attendance's, says by its job what it delivers: school, partner and part → the newest.
    """
    found: dict[tuple[str, str] | str, dg.RunRecord] = {}
    sessions: dict[tuple[str, str, str], dg.RunRecord] = {}
    for record in instance.get_run_records(RunsFilter(tags={_DATE_TAG: day.isoformat()})):
        run = record.dagster_run
        found[run.run_id] = record
        school = run.tags.get(SCHOOL_TAG, "")
        if PART_TAG in run.tags:
            partner, _, part = run.tags[PART_TAG].partition(" ")
            sessions.setdefault((school, partner, part), record)
            continue
        partner = run.tags.get(PARTNER_TAG) or run.job_name.removesuffix(job_name(""))
        found.setdefault((school, partner), record)
    return found, sessions


def _seconds(record: dg.RunRecord) -> int:
    if record.start_time is None:
        return 0
    ended = record.end_time or record.update_timestamp.timestamp()
    return round(ended - record.start_time)


FILE = ExportFile(
    f"{TONIGHT}.csv",
    tuple(field.name for field in fields(Standing)[:_COLUMNS]),
    key=("school", "partner"),
    guarded=False,
)
"""The table as a file for people: one row per school and partner."""


def shown(found: list[Standing]) -> Metadata:
    """What Dagster shows: the table, and numbers that it draws over nights."""
    counts = Counter(one.outcome for one in found)
    header = ("school", "partner", "outcome", "rows", "left out", "seconds", "waits for")
    return {
        **{outcome: counts[outcome] for outcome in COUNTED},
        "rows": sum(one.rows for one in found),
        "left out": sum(one.left_out for one in found),
        "seconds": sum(one.seconds for one in found),
        "nights": dg.MetadataValue.md(markdown_table(header, [one.shown for one in found])),
    }


def tonight_definitions(settings: Settings) -> dg.Definitions:
    """The asset over all schools, its job, and the sensor that keeps it current; none where there is no school."""
    if not settings.schools:
        return dg.Definitions()
    job = dg.define_asset_job(  # pyright: ignore[reportUnknownMemberType]
        JOB,
        selection=dg.AssetSelection.assets(dg.AssetKey(TONIGHT)),  # pyright: ignore[reportUnknownMemberType]
        description="Looks at how every school's night stands. Reads no personal data.",
        executor_def=dg.in_process_executor,
    )
    return dg.Definitions(assets=[_asset(settings)], jobs=[job], sensors=[_sensor(settings, job)])


def _asset(settings: Settings) -> dg.AssetsDefinition:
    @dg.asset(
        key=[TONIGHT],
        description="How every school's night of a date stands: school, partner, outcome, rows, left out, seconds, and "
        "what it waits for; attendance once a session has begun. Made anew when a night has begun or ended.",
        partitions_def=dates_of(settings),
        owners=[OWNER],
        kinds={"csv"},
        group_name=TONIGHT,
    )
    def tonight(context: dg.AssetExecutionContext, environment: dg.ResourceParam[Environment]) -> Results:
        with told_to_dagster(environment):
            day = date.fromisoformat(context.partition_key)
            found = standings(environment, context.instance, day)
            path = f"{TONIGHT}/{day}.csv"
            table = pd.DataFrame([one.shown for one in found], columns=list(FILE.columns))
            environment.reports.write(path, to_csv_for_people(table, FILE))
            yield dg.MaterializeResult(metadata=shown(found) | {"file": environment.reports.location(path)})

    return tonight


def _sensor(settings: Settings, job: "dg.UnresolvedAssetJobDefinition") -> dg.SensorDefinition:
    zones = {school.timezone for school in settings.schools.values()}

    @dg.sensor(  # pyright: ignore[reportUnknownMemberType]
        name=SENSOR,
        job=job,
        minimum_interval_seconds=60,
        default_status=dg.DefaultSensorStatus.RUNNING,
        description="Makes `tonight` anew when a night of today or yesterday has begun or ended, or a day is over.",
    )
    @told_to_ticks
    def tonight_current(
        context: dg.SensorEvaluationContext, environment: dg.ResourceParam[Environment]
    ) -> Iterator[dg.RunRequest | dg.SkipReason]:
        now = _state_of(environment, context.instance, zones)
        before: Json = json.loads(context.cursor) if context.cursor else {}
        moved = [day for day, state in now.items() if before.get(day) != state]
        if not moved:
            yield dg.SkipReason("No night of today or yesterday has begun or ended since")
            return
        context.update_cursor(json.dumps(now))
        for day in moved:
            yield dg.RunRequest(run_key=f"{TONIGHT}:{day}:{now[day]}", partition_key=day)

    return tonight_current


def _state_of(environment: Environment, instance: dg.DagsterInstance, zones: Iterable[ZoneInfo]) -> Mapping[str, str]:
    """Date that is today somewhere, or was yesterday → how many runs it has, how many ended, and where it is over.

    A receipt comes of a run, which ends after it.
    """
    found: dict[str, str] = {}
    todays = [today_at(zone, environment.clock) for zone in zones]
    days = {day - timedelta(days=back) for day in todays for back in (0, 1)}
    for day in sorted(one for one in days if one >= environment.settings.first_date):  # earlier ones are no partition
        tags = {_DATE_TAG: day.isoformat()}
        begun = instance.get_runs_count(RunsFilter(tags=tags))
        ended = instance.get_runs_count(RunsFilter(tags=tags, statuses=_ENDED))
        over = sum(day < today for today in todays)
        found[day.isoformat()] = f"{begun}-{ended}-{over}"
    return found
