"""The gate and the promotion: nothing reaches a partner unless every blocking rule holds for these very bytes."""

from __future__ import annotations

import contextlib
import hashlib
import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from datetime import date, timedelta
from fractions import Fraction
from typing import Any, Protocol

from isams_pipeline.clock import Clock
from isams_pipeline.datasets.shapes import Json, JsonObject
from isams_pipeline.delivery.changes import Change, Explained, compare, list_name, listed
from isams_pipeline.delivery.export import MANIFEST, REDACTING, CheckResult, Export, ExportFile, few
from isams_pipeline.delivery.receipts import (
    LEASE_SECONDS,
    Address,
    HeldLease,
    Outcome,
    Receipts,
    abandoned,
    holding_lease,
)
from isams_pipeline.delivery.staging import Staged, StagedExports
from isams_pipeline.errors import PipelineError, StorageError
from isams_pipeline.storage.folder import Folder
from isams_pipeline.storage.state import Delivery, StateDatabase

GUARD_ROWS = 10
"""The removal guard never trips for fewer rows than this."""
_OTHER_PEOPLE = Fraction(1, 2)
"""Where more than this share of known people are gone unexplained, however many others came, they are other people."""
HELD = (
    "the school's first export waits for a person; look at it with `isams-pipeline release {school} --partner "
    "{partner}`, which delivers it once you say so, or materialise the delivery with release: true in the launch pad"
)
Pins = JsonObject
"""The tables behind an export, as its manifest names them."""


class Explaining(Protocol):
    """Says of people who are gone why that is right, as far as the source says so."""

    def __call__(
        self, files: Mapping[str, ExportFile], before: Export, now: Export, pins: tuple[Pins, Pins]
    ) -> Explained: ...


@dataclass(frozen=True)
class Delivered:
    """How a delivery ended."""

    outcome: Outcome
    target: str
    content_hash: str
    changes: dict[str, dict[str, int]]
    """File → added, changed, removed (of which explained, replaced, unexplained), excluded."""
    reason: str | None = None
    checks: tuple[CheckResult, ...] = ()
    baseline: str | None = None
    """The date of the export that it was compared with."""
    window: str | None = None
    """The window that let more rows be gone than usual, where there is one."""


def _sources(datasets: JsonObject) -> frozenset[str]:
    """The sources by which the tables behind an export came."""
    return frozenset(str(pin["source"]) for pin in datasets.values() if "source" in pin)


MOVING_ON = {"lesson_suspensions", "room_closures", "calendar_events"}
"""Datasets of what is over one day: a few rows that are gone are no wonder."""
ON_DATES = {"lessons", "staff_meetings", "year_schedules", "tutorials", "dated_lessons"}
"""Datasets whose rows stand while their dates are over: a new school year has none of last year's. Their feed is there
as long as it has rows."""


def emptied(before: JsonObject, now: JsonObject, night: str) -> list[str]:
    """Datasets of which rows had arrived with an earlier delivery, and none does now, in words.

    So ends a feed that is gone, empty, in another shape, or another school's. What the settings do not ask for any more
    says nothing.
    """
    problems: list[str] = []
    for name, facts in before.items():
        had, has = facts.get("delivered", facts.get("rows", 0)), now.get(name)
        if has is None or has.get("delivered", has.get("rows")) != 0 or (name in ON_DATES and has.get("rows")):
            continue
        if had >= (GUARD_ROWS if name in MOVING_ON else 1):
            rows = has.get("rows", 0)
            what = "has no rows" if not rows else f"has {rows} rows, none of which could be delivered"
            problems.append(f"{name} now {what}; of the {name} of {night}, {had} rows were delivered")
    return problems


def accounted_for(staged: Staged) -> CheckResult:
    """The verdict of the rule that every row is somewhere, as it was found for these very bytes and tables."""
    if staged.unaccounted is None:
        return CheckResult("accounted_for", ("nobody has counted the rows; materialise the export again",))
    return CheckResult("accounted_for", few(staged.unaccounted))


def _sha256(data: bytes) -> str:
    return hashlib.sha256(data).hexdigest()


@dataclass(frozen=True)
class _Baseline:
    """What an export is compared with."""

    export: Export | None = None
    night: str | None = None
    lost: str | None = None
    """The date of an export that was delivered but can no longer be read."""
    sources: frozenset[str] = frozenset()
    """By which sources its data came."""
    datasets: JsonObject = field(default_factory=Json)
    """What it was made from: dataset → rows, and delivered: how many of them arrived."""


@dataclass(frozen=True)
class Judgement:
    """What the gate would say of an export, and how it differs from the one before."""

    changes: dict[str, dict[str, int]]
    verdicts: tuple[CheckResult, ...]
    baseline: Export | None
    baseline_date: str | None
    is_first: bool
    """There is none to compare it with, and none was lost."""

    @property
    def problems(self) -> list[str]:
        return [f"{check.name}: {problem}" for check in self.verdicts for problem in check.problems]

    @property
    def said(self) -> Json:
        return {"checks": self.verdicts, "baseline": self.baseline_date}


@dataclass(frozen=True)
class Deliverer:
    """Delivers one partner's exports of one school."""

    address: Address
    files: Sequence[ExportFile]
    schema_version: int
    target: Folder
    """`deliver_to` itself; the export's own folder is below it."""
    staged: StagedExports
    state: StateDatabase
    clock: Clock
    run_id: str
    max_removed: float
    allow_removals: bool = False
    window: str | None = None
    """Until when, and why, more rows than `max_removed` may be gone; a feed that is gone is still refused."""
    explain: Explaining | None = None
    hold_first: bool = False
    """A school's first export waits for a person."""
    list_changes: bool = False
    """A list of what was added, changed and removed goes beside each file."""
    lease_seconds: float = LEASE_SECONDS
    receipts: Receipts = field(init=False)

    def __post_init__(self) -> None:
        object.__setattr__(self, "receipts", Receipts(self.state))

    @property
    def path(self) -> str:
        """The export's folder, below `deliver_to`."""
        return self.address.path

    def deliver(self, staged: Staged, export: Export, checks: Sequence[CheckResult]) -> Delivered:
        """Promote the export if all `checks` and the removal guard allow it; leaves a receipt in any case."""
        try:
            with holding_lease(self.state, self.address, self.run_id, seconds=self.lease_seconds) as lease:
                return self._deliver(staged, export, checks, lease)
        except PipelineError as error:
            result = self._result(Outcome.FAILED, export, {}, reason=str(error), checks=tuple(checks))
            with contextlib.suppress(StorageError):
                self._record(result, {})
            return result

    def refusal(
        self,
        export: Export,
        checks: Sequence[CheckResult],
        excluded: Mapping[str, int],
        datasets: JsonObject,
    ) -> Delivered | None:
        """What would refuse this export, with a receipt; None if nothing would. For what must not happen before."""
        judged = self.judge(export, checks, excluded, datasets)
        return self._refused(export, judged) if judged.problems else None

    def nothing(self, outcome: Outcome, reason: str) -> Delivered:
        """There is nothing to deliver, for a reason that is no fault; leaves a receipt."""
        result = self._result(outcome, Export({}), {}, reason=reason)
        self._record(result, {})
        return result

    def _deliver(self, staged: Staged, export: Export, checks: Sequence[CheckResult], lease: HeldLease) -> Delivered:
        judged = self.judge(export, [*checks, accounted_for(staged)], staged.excluded, staged.datasets)
        if judged.problems:
            return self._refused(export, judged)
        if self.waits_for_a_person(export, judged):
            reason = HELD.format(school=self.address.school, partner=self.address.partner)
            result = self._result(Outcome.HELD, export, judged.changes, reason=reason, **judged.said)
            self._record(result, {})
            return result
        since, lists = self._lists(export) if self.list_changes else (None, {})
        manifest = self._manifest(staged, export, judged, lists, since)
        if self._is_there(export, lists, staged.about):
            result = self._result(Outcome.UNCHANGED, export, judged.changes, **judged.said)
        else:
            self._promote(export, lists, manifest, lease)
            result = self._result(Outcome.DELIVERED, export, judged.changes, **judged.said)
        self._record(result, manifest)
        return result

    def waits_for_a_person(self, export: Export, judged: Judgement) -> bool:
        """Whether this is a school's first export, and nobody has released it yet."""
        if not self.hold_first or not judged.is_first or self.receipts.ever_delivered(self.address):
            return False
        return not self.receipts.was_released(self.address, export.content_hash)

    def judge(
        self,
        export: Export,
        checks: Sequence[CheckResult],
        excluded: Mapping[str, int],
        datasets: JsonObject,
    ) -> Judgement:
        """The verdicts of `checks` and of the removal guard, with nothing written."""
        found = self._baseline()
        baseline = found.export
        explained: Explained = {}
        if baseline is not None and self.explain is not None:
            files = {file.name: file for file in self.files}
            explained = self.explain(files, baseline, export, (found.datasets, datasets))
        compared = {
            file.name: compare(file, export, baseline, self.address.date, explained)
            for file in self.files
            if file.name in export.files or (baseline and file.name in baseline.files)
        }
        changes = {name: {**change.counts, "excluded": excluded.get(name, 0)} for name, change in compared.items()}
        guarded = {file.name: compared[file.name] for file in self.files if file.guarded and file.name in compared}
        guard = self._removal_guard(guarded, export.content_hash, found, datasets)
        return Judgement(changes, (*checks, guard), baseline, found.night, baseline is None and found.lost is None)

    def _refused(self, export: Export, judged: Judgement) -> Delivered:
        result = self._result(Outcome.REFUSED, export, judged.changes, reason="; ".join(judged.problems), **judged.said)
        self._record(result, {})
        return result

    # --- what it is compared with -------------------------------------------------------------------------

    def _baseline(self) -> _Baseline:
        """The latest delivered export up to this date."""
        return self._before(self.receipts.baseline(self.address), self.address.date)

    def _before(self, receipt: Delivery | None, until: date) -> _Baseline:
        """What a receipt speaks of; without one, what lies at the target of a night until then."""
        if receipt is not None:
            return self._bytes_of(receipt.manifest, receipt.date)
        found = self._newest_manifest(until)
        if found is None:
            return _Baseline()
        night, manifest = found
        return self._bytes_of(manifest, night)

    def _bytes_of(self, manifest: JsonObject, night: date) -> _Baseline:
        hashes = {name: str(facts["sha256"]) for name, facts in manifest["files"].items()}
        datasets: JsonObject = manifest.get("datasets") or {}
        sources = _sources(datasets)
        with contextlib.suppress(StorageError):
            return _Baseline(self.staged.load(hashes), night.isoformat(), None, sources, datasets)
        folder = self.target.child(self.address.on(night))
        try:
            export = Export({name: folder.read(name) for name in hashes})
        except FileNotFoundError:
            export = Export({})
        if export.hashes == dict(sorted(hashes.items())):
            return _Baseline(export, night.isoformat(), None, sources, datasets)
        return _Baseline(lost=night.isoformat())

    def _newest_manifest(self, until: date) -> tuple[date, Json] | None:
        school = f"{self.address.partner}/{self.address.school}"
        for name in reversed(self.target.names(school)):
            with contextlib.suppress(ValueError, FileNotFoundError, KeyError, StorageError):
                night = date.fromisoformat(name)
                if night <= until:
                    manifest: Json = self.target.read_json(f"{self.address.on(night)}/{MANIFEST}")
                    if manifest["partner"] == self.address.partner and manifest["files"]:
                        return night, manifest
        return None

    def _removal_guard(
        self, changes: dict[str, Change], content_hash: str, baseline: _Baseline, datasets: JsonObject
    ) -> CheckResult:
        """Refuse an export that lacks too many rows of the one before, or a dataset of it, or has another source."""
        problems = emptied(baseline.datasets, datasets, str(baseline.night))
        sources = _sources(datasets)
        if sources and baseline.sources and sources != baseline.sources:
            before, now = (" and ".join(sorted(names)) for names in (baseline.sources, sources))
            problems.append(
                f"the data came from {before} before, and now from {now}: all ids may differ (with both in "
                f"schools.yaml, `isams-pipeline reconcile {self.address.school}` shows the differences)"
            )
        if baseline.lost:
            lost = baseline.lost
            problems.append(f"the export delivered for {lost} can no longer be read, so nothing can be compared")
        problems += self._other_people(changes)
        if self.window is None:
            problems += self._losses(changes)
        if not problems or self.allow_removals:
            return CheckResult("removal_guard")
        if self.receipts.removals_were_allowed(self.address, content_hash):
            return CheckResult("removal_guard")
        problems[-1] += (
            "; if that is right, run once with --allow-removals, or with allow_removals: true in the launch pad"
        )
        return CheckResult("removal_guard", tuple(problems))

    def _losses(self, changes: Mapping[str, Change]) -> list[str]:
        """Files that lose too much, in words. A share just at the limit is too much."""
        limit = Fraction(str(self.max_removed))
        return [
            f"{name} would lose {change.removed} of {change.before} rows: {change.in_words}; max_removed allows "
            f"fewer than {float(limit):.0%} of {change.stayers}"
            for name, change in changes.items()
            if change.unexplained >= GUARD_ROWS and change.unexplained >= limit * change.stayers
        ]

    def _other_people(self, changes: Mapping[str, Change]) -> list[str]:
        """Files in which most people are others than before, in words: no school changes like that."""
        return [
            f"{name} lacks most people: {change.strangers} of {change.stayers} known people are gone unexplained"
            for name, change in changes.items()
            if change.strangers >= GUARD_ROWS and change.strangers > _OTHER_PEOPLE * change.stayers
        ]

    # --- promotion ------------------------------------------------------------------------------------------

    def _is_there(self, export: Export, lists: Mapping[str, bytes], about: JsonObject) -> bool:
        """Whether the last receipt of this night, and the target itself, have just this content."""
        content_hash = export.content_hash
        receipt = self.receipts.last_promoted(self.address)
        if receipt is None or receipt.content_hash != content_hash:
            return False
        with contextlib.suppress(FileNotFoundError, StorageError):
            manifest = self.target.read_json(f"{self.path}/{MANIFEST}")
            if manifest.get("content_hash") != content_hash or any(manifest.get(k) != about[k] for k in about):
                return False
            # The manifest may still stand where somebody has changed or removed a file.
            whole = {**export.files, **export.pictures, **lists}
            return all(self.target.read(f"{self.path}/{name}") == data for name, data in whole.items())
        return False

    def _lists(self, export: Export) -> tuple[dict[str, str] | None, dict[str, bytes]]:
        """Since which export, and what was added, changed and removed since, file by file.

        Since the last night before this one, however often this one is delivered; none where that night's export
        cannot be read: all would look new. The day's export is the same with and without lists.
        """
        receipt = self.receipts.night_before(self.address)
        found = self._before(receipt, self.address.date - timedelta(days=1))
        if found.lost is not None:
            return None, {}
        before = found.export
        lists = {
            list_name(file.name): listed(file, export, before, self.address.date)
            for file in self.files
            if file.name in export.files or (before is not None and file.name in before.files)
        }
        return ({"date": str(found.night), "content_hash": before.content_hash} if before else None), lists

    def _promote(self, export: Export, lists: Mapping[str, bytes], manifest: Json, lease: HeldLease) -> None:
        """Temporary names first, then the names, the manifest last. A reader goes by the manifest."""
        folder = self.target.child(self.path)
        waiting: dict[str, str] = {}
        folder.sweep(deep=True)
        for other in abandoned(self.state, self.address):
            self.target.sweep(other.path)
        try:
            for name, data in {**export.pictures, **export.files, **lists}.items():
                with folder.incoming(name) as incoming:
                    incoming.write(data)
                    waiting[name] = incoming.keep()
                lease.keep()
            lease.renew()
            folder.remove(MANIFEST)
            for name in list(waiting):
                lease.keep()
                folder.move(waiting[name], name)
                del waiting[name]
            ours = {file.name for file in self.files} | {list_name(file.name) for file in self.files}
            wanted = {*export.files, *export.pictures, *lists}
            pictures = {file.pictures.partition("/")[0] for file in self.files if file.pictures is not None}
            there = [*folder.names(), *(f"{inside}/{name}" for inside in pictures for name in folder.names(inside))]
            for name in there:
                if (name in ours or "/" in name or name == REDACTING) and name not in wanted:
                    folder.remove(name)
            with folder.incoming(MANIFEST) as incoming:
                incoming.write((json.dumps(manifest, indent=2, ensure_ascii=False) + "\n").encode())
                lease.renew()
                incoming.publish(MANIFEST)
        finally:
            for temporary in waiting.values():
                with contextlib.suppress(StorageError):
                    folder.remove(temporary)

    def _manifest(
        self,
        staged: Staged,
        export: Export,
        judged: Judgement,
        lists: Mapping[str, bytes],
        since: Mapping[str, str] | None,
    ) -> Json:
        baseline, changes = judged.baseline, judged.changes
        compared = {"date": judged.baseline_date, "content_hash": baseline.content_hash} if baseline else None
        hashes = {name: {"sha256": _sha256(data)} for name, data in lists.items()}
        listing = {"lists": hashes, "lists_since": since} if lists else {}
        return {
            "partner": self.address.partner,
            "school": self.address.school,
            "date": self.address.date.isoformat(),
            "schema_version": self.schema_version,
            "content_hash": export.content_hash,
            "files": {
                name: {"rows": export.row_count(name), "sha256": digest} for name, digest in export.hashes.items()
            },
            **({"pictures": len(export.pictures)} if export.pictures else {}),
            **staged.about,
            "datasets": staged.datasets,
            "snapshots": staged.snapshots,
            "changes": {"baseline": compared, "files": changes, **listing},
        } | ({"removal_window": self.window} if self.window else {})

    # --- receipt --------------------------------------------------------------------------------------------

    def _result(self, outcome: Outcome, export: Export, changes: dict[str, dict[str, int]], **said: Any) -> Delivered:
        target = self.target.location(self.path)
        return Delivered(outcome, target, export.content_hash, changes, window=self.window, **said)

    def _record(self, result: Delivered, manifest: Json) -> None:
        self.receipts.record(
            self.address,
            result.outcome,
            content_hash=result.content_hash,
            target=result.target,
            run_id=self.run_id,
            at=self.clock(),
            removals_allowed=self.allow_removals and result.outcome is Outcome.DELIVERED,
            reason=result.reason,
            changes=result.changes,
            manifest=manifest,
        )
