"""Attendance as assets: the registers' records, and their delivery, for the morning and for the afternoon."""

import dagster as dg

from isams_pipeline.config import Settings
from isams_pipeline.datasets import ATTENDANCE, REST_SOURCE
from isams_pipeline.datasets.shapes import JsonObject
from isams_pipeline.delivery.receipts import Outcome
from isams_pipeline.orchestration import checks
from isams_pipeline.orchestration.exports import run_by
from isams_pipeline.orchestration.metadata import Metadata
from isams_pipeline.orchestration.partitions import nights_of
from isams_pipeline.orchestration.rule_assets import numbers_of, stored_result, table_metadata
from isams_pipeline.orchestration.runs import NightRun, Results, of_a_night
from isams_pipeline.orchestration.showing import column_schema, delivery_metadata, markdown_table
from isams_pipeline.orchestration.source_assets import OWNER
from isams_pipeline.partners.schoolsbuddy.attendance.session import SchoolSession
from isams_pipeline.partners.schoolsbuddy.attendance.sessions import KEY, NIGHTLY, SESSIONS, STORED_AS, Session
from isams_pipeline.partners.schoolsbuddy.attendance.tables import marks_table
from isams_pipeline.partners.schoolsbuddy.settings import SchoolsBuddySettings
from isams_pipeline.sources.registry import WITHIN_THE_DAY
from isams_pipeline.storage.tables import StoredTable

WORDS: dict[Session, str] = {"AM": "morning", "PM": "afternoon"}
# One check: each costs the engine some 40 ms, and a session has no more than half a second.
GATE = {
    "gate": "Blocks: the file's schema, keys and rows, the DfE's marks, this school's students, not half of them "
    "gone. Warns: a register is absent, open or empty, students are not yet marked, or a cell would run in "
    "a spreadsheet."
}


def records_key(session: Session) -> list[str]:
    """The asset of a session's records."""
    return [REST_SOURCE, f"{STORED_AS}_{session.lower()}"]


def marks_key(session: Session) -> list[str]:
    """The asset of a session's marks."""
    return [KEY, marks_table(session).name]


def delivery_key(session: Session) -> list[str]:
    """The asset of a session's delivery."""
    return [KEY, f"delivery_{session.lower()}"]


def attendance_assets(settings: Settings) -> list[dg.AssetsDefinition]:
    """Records and delivery of both sessions."""
    return [make(settings, session) for session in SESSIONS for make in (_records, _delivery)]


def _records(settings: Settings, session: Session) -> dg.AssetsDefinition:
    @dg.asset(
        key=records_key(session),
        description=f"The {WORDS[session]}'s registers as iSAMS has them now, record by record. Never from a cache. "
        "Of a past date, what was read then: the API only knows today.",
        partitions_def=nights_of(settings),
        group_name=REST_SOURCE,
        owners=[OWNER],
        kinds=set(WITHIN_THE_DAY[REST_SOURCE].kinds),
        metadata={"dagster/column_schema": column_schema(ATTENDANCE)},
    )
    @of_a_night
    def records(run: NightRun) -> Results:
        environment, night = run.environment, run.night
        here = SchoolSession(environment, night.school, night.date, session)
        table = here.read()
        yield dg.MaterializeResult(metadata=_records_metadata(here, table))

    return records


def _records_metadata(here: SchoolSession, table: StoredTable) -> Metadata:
    registers = table.provenance["registers"]
    rows = [(r["id"], r["division"], r["name"], r["state"], r["registered"], r["students"]) for r in registers]
    header = ("register", "division", "name", "state", "registered", "students")
    return {
        "dagster/row_count": table.rows,
        "table": table.path,
        "taken_at": here.taken_at(table),
        "registers": dg.MetadataValue.md(markdown_table(header, rows)) if rows else "there are none today",
    }


def _delivery(settings: Settings, session: Session) -> dg.AssetsDefinition:
    key = delivery_key(session)
    partitions, table_of_marks = nights_of(settings), marks_table(session)
    marks, records = dg.AssetKey(marks_key(session)), records_key(session)
    common: Metadata = {"partitions_def": partitions, "group_name": KEY, "owners": [OWNER]}

    @dg.multi_asset(
        name=f"{KEY}_delivery_{session.lower()}",
        specs=[
            dg.AssetSpec(
                marks,
                description=table_of_marks.about,
                deps=[dg.AssetKey(records), dg.AssetKey([NIGHTLY, "delivery"])],
                kinds={"pandas", "parquet"},
                metadata=table_metadata(
                    table_of_marks,
                    lambda one: [dg.AssetKey(records if one.is_of_source else [NIGHTLY, one.table])],
                ),
                **common,
            ),
            dg.AssetSpec(
                key,
                description=f"The {WORDS[session]}'s attendance.csv where SchoolsBuddy reads it, of the students in "
                "its last nightly export. A day without registers ends no_session.",
                deps=[marks, dg.AssetKey(records)],
                kinds={"csv"},
                **common,
            ),
        ],
        check_specs=checks.check_specs(key, partitions, GATE, blocking=True),
        can_subset=True,
    )
    @of_a_night
    def delivery(run: NightRun) -> Results:
        environment, night = run.environment, run.night
        here = SchoolSession(environment, night.school, night.date, session)
        table = here.stored()
        if not table.provenance["registers"]:
            reason = here.no_session(table, run.id)
            run.ends(KEY, Outcome.NO_SESSION)
            metadata = {"outcome": Outcome.NO_SESSION.value, "reason": reason}
            for asset in (one for one in (marks, dg.AssetKey(key)) if one in run.chosen):
                verdicts = checks.passed(GATE, key) if asset != marks else []
                yield dg.MaterializeResult(asset_key=asset, metadata=metadata, check_results=verdicts)
            return
        made = here.build(table)
        if marks in run.chosen:
            # The students are the nightly export's, whichever source that is made from.
            sources = [REST_SOURCE, environment.settings.partner(night.school, SchoolsBuddySettings).uses]
            shown = numbers_of(table_of_marks, made.built.account.frame())
            yield stored_result(run, marks, table_of_marks, made.built, sources=sources, shown=shown)
        if dg.AssetKey(key) not in run.chosen:
            return
        built, result = made.built, here.deliver(table, made, run.id, allow_removals=run.session.allow_removals)
        run.ends(KEY, result.outcome)
        if result.outcome in (Outcome.REFUSED, Outcome.FAILED):
            problem = f"{result.outcome}: {result.reason}"
            yield checks.failed("gate", key, problem)
            raise dg.Failure(problem, metadata={"outcome": result.outcome.value}, allow_retries=False)
        told = "; ".join(filter(None, (_incomplete(table.provenance, built.without_a_mark), run_by(built.export))))
        verdict = checks.passed(GATE, key)[0]
        if told:
            run.log.info("register: %s", told)
            verdict = checks.failed("gate", key, told, warn=True)
        metadata = delivery_metadata(result) | {
            "taken_at": here.taken_at(table),
            "students not yet marked": built.without_a_mark,
            "exclusions": environment.reports.location(here.exclusions_path),
        }
        yield dg.MaterializeResult(asset_key=key, metadata=metadata, check_results=[verdict])

    return delivery


def _incomplete(provenance: JsonObject, without_a_mark: int) -> str:
    """What a delivery lacks, in words; empty if nothing."""
    registers = provenance["registers"]
    told = list(provenance["absent"])
    still_open = [register for register in registers if register["state"] == "open"]
    if still_open or without_a_mark:
        told.append(f"{len(still_open)} registers were still open, {without_a_mark} students not yet marked")
    told += [
        f"register {register['id']} ({register['division']} {register['name']}) should have {register['expected']} "
        "students and holds none"
        for register in registers
        if register["expected"] and not register["students"]
    ]
    return "; ".join(told)
