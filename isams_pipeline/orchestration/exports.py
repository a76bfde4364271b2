"""What every partner's Dagster side has in common: its job, its schedules, its delivery, and how things are shown."""

import getpass
import re
from collections.abc import Callable, Collection, Generator, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Protocol, cast
from zoneinfo import ZoneInfo

import dagster as dg
import pandas as pd

from isams_pipeline.clock import today_at
from isams_pipeline.config.partners import Delivering, PartnerSettings
from isams_pipeline.datasets import SOURCE, declaration_of
from isams_pipeline.datasets import rules as dataset_rules
from isams_pipeline.delivery.built import ACCOUNTING, Built
from isams_pipeline.delivery.changes import COUNTS
from isams_pipeline.delivery.deliver import Delivered, Deliverer
from isams_pipeline.delivery.export import CheckResult, Export, ExportFile, few, formulas, to_csv_for_people
from isams_pipeline.delivery.first_look import FirstLook, first_look
from isams_pipeline.delivery.receipts import Address, Outcome, Receipts
from isams_pipeline.delivery.staging import Staged
from isams_pipeline.errors import DatasetError
from isams_pipeline.orchestration import checks
from isams_pipeline.orchestration.dataset_assets import OWNER, asset_key
from isams_pipeline.orchestration.environment import Environment
from isams_pipeline.orchestration.leaving import Leaving
from isams_pipeline.orchestration.partitions import LAUNCHED_BY, Night, key_of, night_at, night_of, nights_of
from isams_pipeline.orchestration.runs import NIGHT, NightSession, told_to_dagster, told_to_ticks
from isams_pipeline.orchestration.selections import selection_of
from isams_pipeline.rules.account import PLACES
from isams_pipeline.rules.notes import Lacking, Note, from_json
from isams_pipeline.rules.split import EXCLUSION_COLUMNS
from isams_pipeline.rules.texts import in_markdown
from isams_pipeline.storage.state.windows import RemovalWindows
from isams_pipeline.storage.tables import StoredTable

EXCLUSIONS = ExportFile("exclusions.csv", tuple(EXCLUSION_COLUMNS), key=("entity", "id", "rule"))
GUARD = {"removal_guard": "No file loses too many rows against the last delivered export."}


# --- job and schedules --------------------------------------------------------------------------------------


def job_name(partner: str) -> str:
    """The name of a partner's nightly job."""
    return f"{partner}_nightly"


Datasets = Mapping[str, Collection[str]]
"""Source → the datasets that a partner needs of it."""


def keys_of(datasets: Datasets) -> list[dg.AssetKey]:
    """The datasets' assets."""
    return [asset_key(name, source) for source, names in datasets.items() for name in names]


def nightly_job(partner: str, datasets: Datasets, description: str) -> "dg.UnresolvedAssetJobDefinition":
    """The datasets that a partner needs, and its own assets, in one process.

    A run takes those of the one source that the school's partner uses (see `selection_of`). Launched whole by hand,
    it shows those of the other sources too, which store nothing and say so.
    """
    own = dg.AssetSelection.groups(partner)  # pyright: ignore[reportUnknownMemberType]
    return dg.define_asset_job(  # pyright: ignore[reportUnknownMemberType]
        job_name(partner),
        selection=dg.AssetSelection.assets(*keys_of(datasets)) | own,  # pyright: ignore[reportUnknownMemberType]
        description=description,
        # One process: the steps are short, a snapshot is fetched and parsed once for all of them, and iSAMS gets
        # one request at a time. Schools run beside each other, as runs.
        executor_def=dg.in_process_executor,
    )


def nightly_schedules(
    environment: Environment, partner: str, hour: int, job: "dg.UnresolvedAssetJobDefinition"
) -> list[dg.ScheduleDefinition]:
    """One schedule for each time zone in use, on from the start, one run for each school."""
    settings = environment.settings
    by_zone: dict[str, list[str]] = {}
    for name, school in settings.schools.items():
        if getattr(school.partners, partner) is not None:
            by_zone.setdefault(school.timezone.key, []).append(name)
    return [_schedule(environment, (partner, hour, zone), schools, job) for zone, schools in sorted(by_zone.items())]


def in_a_name(zone: str) -> str:
    """A time zone as part of a schedule's name."""
    return re.sub(r"[^a-z0-9]+", "_", zone.lower()).strip("_")


def _schedule(
    environment: Environment, what: tuple[str, int, str], schools: list[str], job: "dg.UnresolvedAssetJobDefinition"
) -> dg.ScheduleDefinition:
    partner, hour, zone = what

    @dg.schedule(  # pyright: ignore[reportUnknownMemberType]
        name=f"{job_name(partner)}_{in_a_name(zone)}",
        job=job,
        cron_schedule=f"0 {hour} * * *",
        execution_timezone=zone,
        default_status=dg.DefaultScheduleStatus.RUNNING,
        description=f"Every night at {hour:02d}:00 in {zone}, for {', '.join(schools)}.",
    )
    @told_to_ticks
    def nightly(context: dg.ScheduleEvaluationContext) -> Iterator[dg.RunRequest]:
        resolved = context.repository_def.get_job(job.name) if context.repository_def else None
        for school in schools:
            settings = environment.settings.school(school)
            night = night_at(school, ZoneInfo(zone), context.scheduled_execution_time)
            yield dg.RunRequest(
                # A key is used up for ever, so it names the night: a tick that is tried again starts no second run.
                run_key=f"{partner}:{school}:{night.date}",
                partition_key=key_of(night),
                asset_selection=selection_of(settings, partner, resolved) if resolved else None,
            )

    return nightly


# --- the tables behind an export ----------------------------------------------------------------------------


def pinned(
    environment: Environment, night: Night, names: Iterable[str], source: str = SOURCE
) -> dict[str, StoredTable]:
    """The night's tables by name; raises NotMaterialised."""
    return {name: environment.tables.need(source, name, night.school, night.date) for name in names}


def as_pins(tables: Mapping[str, StoredTable], built: Built) -> dict[str, dict[str, Any]]:
    """What an export was made from, as its manifest says it; `delivered`: how many of the rows arrive."""
    delivered = built.account.delivered()
    return {
        name: {"source": table.source, "sha256": table.sha256, "rows": table.rows}
        | ({"delivered": delivered[name]} if name in delivered else {})
        for name, table in tables.items()
    }


def brought_by(tables: Mapping[str, StoredTable]) -> set[str]:
    """The datasets that the school's source gives at all."""
    return {name for name, table in tables.items() if table.provenance}


def notes_of(tables: Mapping[str, StoredTable]) -> list[Note | Lacking]:
    """What was done to single fields of the tables when they were read, and what the source was not allowed to give."""
    notes: list[Note | Lacking] = []
    for name, table in tables.items():
        notes += from_json(name, table.provenance.get("notes"))
        notes += [Lacking(name, str(scope), str(what)) for scope, what in table.provenance.get("lacking") or ()]
    return notes


def snapshots_of(tables: Mapping[str, StoredTable]) -> list[dict[str, Any]]:
    """The snapshots behind the tables, each once."""
    found = {
        (table.provenance["key"], table.provenance["sha256"]): dict(table.provenance)
        for table in tables.values()
        if table.provenance.get("sha256")
    }
    return sorted(found.values(), key=lambda facts: (str(facts["key"]), str(facts["sha256"])))


def accounting_path(partner: str, night: Night) -> str:
    """Where the account of an export's rows lies, below `reports/`."""
    return f"{partner}/{night.school}/{night.date}/{ACCOUNTING.name}"


def exclusions_path(partner: str, night: Night) -> str:
    """Where the school finds what is not in an export, below `reports/`."""
    return f"{partner}/{night.school}/{night.date}/{EXCLUSIONS.name}"


@dataclass(frozen=True)
class Prepared:
    """A night's export before it is staged, the tables that it was made from, and the verdicts on both."""

    pins: Mapping[str, StoredTable]
    built: Built
    verdicts: Sequence[CheckResult]


def export_asset(
    environment: Environment,
    partner: type[PartnerSettings],
    deps: Sequence[dg.AssetKey],
    rules: Mapping[str, str],
    prepare: Callable[[Environment, Night], Prepared],
) -> dg.AssetsDefinition:
    """The assets of a partner's staged export and of what is not in it; `rules` are those that block."""
    partitions = nights_of(environment.settings)
    key = [partner.key, "export"]
    common: dict[str, Any] = {
        "partitions_def": partitions,
        "group_name": partner.key,
        "owners": [OWNER],
        "deps": deps,
        "kinds": {"csv"},
    }

    @dg.multi_asset(
        name=f"{partner.key}_export",
        specs=[
            dg.AssetSpec(key, description=f"{partner.label}'s files of a night, staged for the gate.", **common),
            dg.AssetSpec(
                [partner.key, "exclusions"],
                description="Who and what is not in the export, or not as the source has it, and why: ids and reasons.",
                **common,
            ),
        ],
        check_specs=checks.check_specs(key, partitions, {**rules, **SHOWN}),
        required_resource_keys={NIGHT},
    )
    def export(context: dg.AssetExecutionContext) -> Generator[Any, None, None]:
        night = night_of(context.partition_key)
        session: NightSession = getattr(context.resources, NIGHT)
        with told_to_dagster(environment):
            session.hold(night.school)
            made = prepare(environment, night)
            yield from staged_results(environment, partner.key, night, made.pins, made.built, verdicts=made.verdicts)

    return export


SHOWN = {
    "spreadsheet": "No cell that a spreadsheet would run as a formula. The partner gets such cells as they are; nobody "
    "should open the files in one."
}
"""Not blocking."""


def shown(export: Export, asset: Sequence[str]) -> dg.AssetCheckResult:
    """Whether the files can be opened in a spreadsheet."""
    told = run_by(export)
    return checks.failed("spreadsheet", asset, told, warn=True) if told else checks.passed(SHOWN, asset)[0]


def run_by(export: Export) -> str:
    """How many cells of which file a spreadsheet would run, in words; empty where it would run none."""
    told = ", ".join(f"{name}: {count}" for name, count in formulas(export).items())
    return f"cells that a spreadsheet would run: {told}" if told else ""


def staged_results(
    environment: Environment,
    partner: str,
    night: Night,
    pins: Mapping[str, StoredTable],
    built: Built,
    *,
    verdicts: Iterable[CheckResult],
    about: Mapping[str, Any] | None = None,
) -> Iterator[dg.MaterializeResult[Any]]:
    """Stage an export for the gate and report its exclusions; what Dagster shows of both."""
    staged = environment.staged(partner, night.school).stage(
        night.date,
        built.export,
        datasets=as_pins(pins, built),
        snapshots=snapshots_of(pins),
        excluded=built.excluded_per_file(),
        unaccounted=built.unaccounted,
        places=built.places,
        about=about,
    )
    path, account = exclusions_path(partner, night), accounting_path(partner, night)
    places = built.account.frame()
    environment.reports.write(path, to_csv_for_people(built.exclusions, EXCLUSIONS))
    environment.reports.write(account, to_csv_for_people(places, ACCOUNTING))
    key = [partner, "export"]
    yield dg.MaterializeResult(
        asset_key=key,
        metadata=export_metadata(built.export, staged)
        | {
            "account": dg.MetadataValue.md(account_table(places)),
            "account file": environment.reports.location(account),
            **{name: dg.MetadataValue.json(facts) for name, facts in (about or {}).items()},
        },
        check_results=[*(checks.verdict(result, key) for result in verdicts), shown(built.export, key)],
    )
    yield dg.MaterializeResult(
        asset_key=[partner, "exclusions"],
        metadata={
            "dagster/row_count": len(built.exclusions),
            "file": environment.reports.location(path),
            "by_rule": dg.MetadataValue.md(by_rule(built.exclusions)),
        },
    )


def load_pinned(environment: Environment, night: Night, staged: Staged) -> tuple[dict[str, pd.DataFrame], CheckResult]:
    """The very tables that a staged export was made from, and whether they keep their own blocking rules."""
    problems: list[str] = []
    tables: dict[str, pd.DataFrame] = {}
    for name, pin in staged.datasets.items():
        source = str(pin["source"])
        declaration = declaration_of(source, name)
        table = StoredTable(source, name, night.school, night.date.isoformat(), pin["sha256"], pin["rows"], {})
        frame = environment.tables.load(table)
        frame.index = pd.RangeIndex(1, len(frame) + 1)
        tables[name] = frame
        try:
            dataset_rules.check_rows(declaration, frame, container_found=True)
            dataset_rules.check_schema(declaration, frame)
            dataset_rules.check_keys(declaration, frame)
        except DatasetError as error:
            problems.append(str(error))
    return tables, CheckResult("datasets", few(problems))


# --- delivery -----------------------------------------------------------------------------------------------


def deliverer(
    environment: Environment,
    address: Address,
    files: Sequence[ExportFile],
    schema_version: int,
    settings: Delivering,
    *,
    run_id: str,
    allow_removals: bool,
    build: Callable[[Mapping[str, pd.DataFrame]], Export] | None = None,
) -> Deliverer:
    """Who delivers a partner's export of a school and night, in this run.

    `build` makes the export again from other tables: without the suspensions, to tell which lessons they took away.
    """
    today = today_at(environment.settings.school(address.school).timezone, environment.clock)
    window = RemovalWindows(environment.state).on(address.school, address.partner, address.date, today)
    return Deliverer(
        address=address,
        files=files,
        schema_version=schema_version,
        target=environment.target(settings, address.school),
        staged=environment.staged(address.partner, address.school, address.part),
        state=environment.state,
        clock=environment.clock,
        run_id=run_id,
        max_removed=settings.max_removed,
        allow_removals=allow_removals,
        window=window.in_words if window else None,
        explain=Leaving(environment, address.school, address.date, build=build),
        hold_first=settings.first_delivery == "hold",
        list_changes=settings.list_changes,
    )


class Deliver(Protocol):
    """Puts a night's staged export through the gate."""

    def __call__(self, environment: Environment, night: Night, run_id: str, *, allow_removals: bool) -> Delivered: ...


def delivery_asset(
    environment: Environment,
    partner: str,
    description: str,
    deliver: Deliver,
    held_back: Callable[[Environment, Night, str], str | None] | None = None,
) -> dg.AssetsDefinition:
    """The asset that puts a partner's staged export through the gate.

    `held_back` says what else was refused although the export was delivered: the run then ends refused.
    """
    key = [partner, "delivery"]
    partitions = nights_of(environment.settings)

    @dg.asset(
        key=key,
        description=description,
        partitions_def=partitions,
        group_name=partner,
        owners=[OWNER],
        kinds={"csv"},
        deps=[dg.AssetKey([partner, "export"])],
        required_resource_keys={NIGHT},
        check_specs=checks.check_specs(key, partitions, GUARD),
    )
    def delivery(context: dg.AssetExecutionContext) -> Generator[Any, None, None]:
        night = night_of(context.partition_key)
        session: NightSession = getattr(context.resources, NIGHT)
        with told_to_dagster(environment):
            session.hold(night.school)
            if session.release:
                who = context.run.tags.get(LAUNCHED_BY) or getpass.getuser()
                address = Address(partner, night.school, night.date)
                content = environment.staged(partner, night.school).find(night.date).content_hash
                receipts, now = Receipts(environment.state), environment.clock()
                receipts.release(address, content, who=who, run_id=context.run.run_id, at=now)
            result = deliver(environment, night, context.run.run_id, allow_removals=session.allow_removals)
            guard = next((check for check in result.checks if check.name in GUARD), None)
            if result.outcome in (Outcome.REFUSED, Outcome.FAILED, Outcome.HELD):
                if guard is not None:
                    yield checks.verdict(guard, key)
                metadata = refusal_metadata(result)
                if result.outcome is Outcome.HELD:
                    stage = environment.staged(partner, night.school)
                    look = first_look(stage.load(stage.find(night.date).files))
                    metadata["first look"] = dg.MetadataValue.md(first_look_table(look))
                raise dg.Failure(f"{result.outcome}: {result.reason}", metadata=metadata, allow_retries=False)
            if result.outcome is Outcome.NO_TIMETABLE:
                context.log.warning("%s: %s", result.outcome.value, result.reason)
                metadata = {"outcome": result.outcome.value, "reason": result.reason or ""}
                yield dg.MaterializeResult(metadata=metadata, check_results=checks.passed(GUARD, key))
                return
            context.log.info("%s: %s", result.outcome.value, result.target)
            yield dg.MaterializeResult(
                metadata=delivery_metadata(result),
                check_results=[checks.verdict(guard, key)] if guard else [],
            )
            reason = held_back(environment, night, context.run.run_id) if held_back else None
            if reason is not None:
                raise dg.Failure(f"{Outcome.REFUSED}: {reason}", allow_retries=False)

    return delivery


# --- how things are shown -----------------------------------------------------------------------------------


def markdown_table(header: Sequence[str], rows: Iterable[Sequence[Any]]) -> str:
    """A table in Markdown, whose cells are nothing but texts."""
    cells = [[in_markdown(cell) for cell in line] for line in (header, *rows)]
    lines = [cells[0], ["---"] * len(header), *cells[1:]]
    return "\n".join("| " + " | ".join(line) + " |" for line in lines)


def changes_table(result: Delivered) -> str:
    """File by file what is new, other and gone; of what is gone, how much is explained, replaced and unexplained."""
    rows = [(name, *(change.get(what, 0) for what in (*COUNTS, "excluded"))) for name, change in result.changes.items()]
    return markdown_table(("file", *COUNTS, "excluded"), rows)


def refusal_metadata(result: Delivered) -> dict[str, Any]:
    """What Dagster shows of a delivery that was refused: the difference that it would have made, too."""
    metadata: dict[str, Any] = {"outcome": result.outcome.value}
    if result.changes:
        metadata["compared_with"] = result.baseline or "nothing: this would be the first delivery"
        metadata["changes"] = dg.MetadataValue.md(changes_table(result))
    return metadata


def delivery_metadata(result: Delivered) -> dict[str, Any]:
    """What Dagster shows of a delivery."""
    return {
        "outcome": result.outcome.value,
        "target": result.target,
        "content_hash": result.content_hash,
        "compared_with": result.baseline or "nothing: this is the first delivery",
        "changes": dg.MetadataValue.md(changes_table(result)),
    } | ({"removal window": result.window} if result.window else {})


def export_metadata(export: Export, staged: Staged) -> dict[str, Any]:
    """What Dagster shows of a staged export."""
    rows = {name: export.row_count(name) for name in export.files}
    counts = [(name, count, staged.excluded.get(name, 0)) for name, count in rows.items()]
    return {
        "content_hash": staged.content_hash,
        "files": dg.MetadataValue.md(markdown_table(("file", "rows", "excluded"), counts)),
        **{f"rows {name}": count for name, count in rows.items()},
    }


def account_table(places: pd.DataFrame) -> str:
    """An account: dataset x delivered, left out by rule, merged, not asked for."""
    rows: list[tuple[Any, ...]] = []
    for dataset, of in places.groupby("dataset", sort=False):
        cells = [dataset, int(of["rows"].sum())]
        for place in PLACES:
            here = of[of["place"] == place]
            by = zip(here["by"], here["rows"], strict=True)
            cells.append(", ".join(f"{n} {what}" for what, n in by))
        rows.append(tuple(cells))
    return markdown_table(("dataset", "rows", *PLACES), rows)


def first_look_table(look: FirstLook) -> str:
    """What a person looks at before a school's first export is released."""
    return "\n\n".join(markdown_table(header, rows) for header, rows in look.tables)


def by_rule(exclusions: pd.DataFrame) -> str:
    """Exclusions, counted."""
    counts = exclusions.groupby(["entity", "rule", "severity"]).size()
    return markdown_table(
        ("entity", "rule", "severity", "count"),
        [(*cast("tuple[str, ...]", index), count) for index, count in counts.items()],
    )
