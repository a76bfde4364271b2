"""My School Portal's assets: the changes that are written, and their confirmation by the next night's datasets."""

import dagster as dg
from pydantic import Field

from isams_pipeline.config import Settings
from isams_pipeline.orchestration import checks
from isams_pipeline.orchestration.graph import asset_key
from isams_pipeline.orchestration.metadata import Metadata
from isams_pipeline.orchestration.partitions import nights_of
from isams_pipeline.orchestration.runs import NightRun, Results, of_a_night, of_a_night_with
from isams_pipeline.orchestration.showing import markdown_table
from isams_pipeline.orchestration.source_assets import OWNER
from isams_pipeline.partners.my_school_portal.apply import Applied
from isams_pipeline.partners.my_school_portal.desk import ChangeDesk, Confirmed
from isams_pipeline.partners.my_school_portal.intake import take_in
from isams_pipeline.partners.my_school_portal.ledger import UI, Door
from isams_pipeline.partners.my_school_portal.settings import KEY
from isams_pipeline.partners.my_school_portal.states import OPEN

CHANGES, CONFIRMATION = [KEY, "changes"], [KEY, "confirmation"]
SETTLED = {"settled": "Every approved request was applied and changed nothing else; none conflicts, failed or waits."}
STUCK = {"stuck": "What was written to iSAMS is what iSAMS serves a night later."}
_SHOWN = 200


class ChangesOptions(dg.Config):
    """What the launch pad asks before changes are written."""

    requests: list[str] = Field(default=[], description="Only these, by id. Empty: all that are approved.")


def my_school_portal_assets(settings: Settings) -> list[dg.AssetsDefinition]:
    """What is written, and whether it stuck."""
    return [_changes(settings), _confirmation(settings)]


def _changes(settings: Settings) -> dg.AssetsDefinition:
    partitions = nights_of(settings)

    @dg.asset(
        key=CHANGES,
        description="Approved change requests, written to iSAMS: read, compared, written, read back, in the ledger. "
        "A dry run where the school has not enabled writing. Only today's partition does anything.",
        partitions_def=partitions,
        group_name=KEY,
        owners=[OWNER],
        kinds={"json"},
        check_specs=checks.check_specs(CHANGES, partitions, SETTLED),
    )
    @of_a_night_with(ChangesOptions)
    def changes(run: NightRun, options: ChangesOptions) -> Results:
        environment, night = run.environment, run.night
        desk = ChangeDesk(environment, night.school, _door(run))
        if not run.is_today:
            metadata = {"changes": "not touched: only today's partition writes"}
            yield dg.MaterializeResult(metadata=metadata, check_results=checks.passed(SETTLED, CHANGES))
            return
        refused = sum(len(taken.problems) for taken in take_in(environment, night.school))
        result = desk.apply(f"run {run.id}", options.requests)
        verdict = _settled(result, refused)
        metadata = _changes_metadata(result, desk.store.counts()) | {"refused at intake": refused}
        metadata["ledger head"] = desk.store.verify().head
        if not desk.writes:
            waiting = len(desk.store.listed(OPEN))
            metadata["dry run"] = f"{waiting} approved requests would be written (writeback is not enabled)"
        if result.problem is not None:
            run.log.warning("%s", verdict.description)
            yield verdict
            raise result.problem
        yield dg.MaterializeResult(metadata=metadata, check_results=[verdict])

    return changes


def _door(run: NightRun) -> Door:
    """The run's own; that of the UI where somebody who was logged in has launched it."""
    return Door(UI, run.launched_by) if run.launched_by else Door.here()


def _settled(result: Applied, refused: int) -> dg.AssetCheckResult:
    counts = result.counts()
    told = [f"{count} {outcome}" for outcome, count in sorted(counts.items()) if outcome != "applied"]
    damaged = [one for one in result.done if one.damaged]
    told += [f"{one.request} applied, but {', '.join(one.damaged)} changed too" for one in damaged[:10]]
    told += [f"{refused} refused when they came"] if refused else []
    if not told:
        return checks.passed(SETTLED, CHANGES)[0]
    return checks.failed("settled", CHANGES, f"{'; '.join(told)}. `isams-pipeline changes list` shows which", warn=True)


def _changes_metadata(result: Applied, counts: dict[str, int]) -> Metadata:
    rows = [(one.request, one.outcome, one.reason or "") for one in result.done[:_SHOWN]]
    return {
        "written in this run": result.counts().get("applied", 0),
        **{f"now {state}": count for state, count in sorted(counts.items())},
        "requests": dg.MetadataValue.md(markdown_table(("request", "outcome", "reason"), rows)) if rows else "none",
    }


def _confirmation(settings: Settings) -> dg.AssetsDefinition:
    partitions = nights_of(settings)

    @dg.asset(
        key=CONFIRMATION,
        description="Whether the night's datasets hold what was written to iSAMS before; warns of what did not stick.",
        partitions_def=partitions,
        group_name=KEY,
        owners=[OWNER],
        kinds={"pandas"},
        deps=[asset_key("pupils"), asset_key("contacts")],
        check_specs=checks.check_specs(CONFIRMATION, partitions, STUCK),
    )
    @of_a_night
    def confirmation(run: NightRun) -> Results:
        environment, night = run.environment, run.night
        desk = ChangeDesk(environment, night.school, _door(run))
        found = desk.confirm(night.date, f"run {run.id}")
        metadata = _confirmation_metadata(found) | {"ledger head": desk.store.verify().head}
        yield dg.MaterializeResult(metadata=metadata, check_results=[_stuck(found)])

    return confirmation


def _stuck(found: Confirmed) -> dg.AssetCheckResult:
    if not found.lost:
        return checks.passed(STUCK, CONFIRMATION)[0]
    said = "; ".join(f"{request}: {', '.join(fields)}" for request, fields in list(found.lost.items())[:20])
    problem = f"iSAMS does not have what {len(found.lost)} requests wrote ({said}); see `isams-pipeline changes show`"
    return checks.failed("stuck", CONFIRMATION, problem, warn=True)


def _confirmation_metadata(found: Confirmed) -> Metadata:
    return {
        "confirmed": len(found.confirmed),
        "did not stick": len(found.lost),
        "person gone": len(found.unseen),
        "not due yet": found.not_due,
    }
