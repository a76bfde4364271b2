"""A school's night → its tables: each snapshot fetched once and parsed once, however many datasets it holds."""

from __future__ import annotations

from datetime import date

from isams_pipeline.config.feeds import FEEDS
from isams_pipeline.datasets import DATASETS, SOURCE, DatasetDeclaration
from isams_pipeline.datasets import rules as dataset_rules
from isams_pipeline.datasets.shapes import Json
from isams_pipeline.errors import NoSnapshot, PipelineError
from isams_pipeline.rules.notes import as_json
from isams_pipeline.sources.isams.connect import batch_client
from isams_pipeline.sources.isams.fetch import NightFetcher
from isams_pipeline.sources.isams.parse import ParsedTable, parse
from isams_pipeline.sources.shared.source import NightNeeds, SourceReader, SourceTable
from isams_pipeline.storage.archive import Snapshot
from isams_pipeline.storage.tables import StoredTable, TableStore


def read(needs: NightNeeds) -> SourceReader:
    """The reader of a school's night by the Batch API."""

    def passed(feed: str) -> str | None:
        """The hash of the night's answer whose tables were last found good."""
        names = [declaration.name for declaration in DATASETS.values() if declaration.feed == feed]
        stored = [needs.tables.find(SOURCE, name, needs.access.school, needs.night) for name in names]
        hashes = {table.provenance.get("sha256") for table in stored if table is not None}
        return hashes.pop() if len(hashes) == 1 else None

    fetcher = NightFetcher(
        needs.access.school,
        needs.access.settings,
        needs.night,
        archive=needs.archive,
        client_for=lambda key: batch_client(needs.access, key),
        clock=needs.access.clock,
        fresh=needs.fresh,
        ask_again_after=needs.ask_again_after,
        passed=passed,
        tell=needs.tell,
    )
    return NightReader(fetcher, needs)


def check_rows(declaration: DatasetDeclaration, table: SourceTable) -> None:
    """Raise MissingRows where a dataset that must have rows has none."""
    if table.frame is not None and (table.provenance or declaration.must_have_rows):
        dataset_rules.check_rows(declaration, table.frame, container_found=table.in_answer)


class NightReader:
    """All datasets of one school and night."""

    def __init__(self, fetcher: NightFetcher, needs: NightNeeds) -> None:
        self._fetcher = fetcher
        self._archive, self._tables = needs.archive, needs.tables
        self._isams = needs.access.settings.need_isams
        self._school, self._night = needs.access.school, needs.night
        self._parsed: dict[str, dict[str, ParsedTable]] = {}
        self._failed: dict[str, PipelineError] = {}

    def table(self, dataset: str, before: StoredTable | None = None) -> SourceTable:  # noqa: ARG002  # as any reader
        """A dataset, unchecked. Raises IsamsError, DocumentError, WrongType, NoSnapshot or FutureDate."""
        declaration = DATASETS[dataset]
        snapshot = self._fetcher.snapshot(declaration.feed)
        if snapshot is None:
            no_key = {"feed": f"no key of this school brings {declaration.feed}"}
            return SourceTable(declaration.empty(), in_answer=False, facts=no_key)
        if not snapshot.kept:
            return self._kept_table(snapshot, dataset)
        if dataset not in self._parsed.get(snapshot.sha256, {}):
            self._parse(snapshot, dataset)
        parsed = self._parsed[snapshot.sha256].pop(dataset)
        return SourceTable(
            parsed.frame,
            in_answer=parsed.containers > 0,
            provenance=_provenance(snapshot, parsed),
            facts=_facts(declaration, snapshot, parsed),
        )

    def _kept_table(self, snapshot: Snapshot, dataset: str) -> SourceTable:
        """The night's table as it was made of an answer whose bytes are gone."""
        stored = self._tables.find(SOURCE, dataset, self._school, self._night)
        if stored is None or stored.provenance.get("sha256") != snapshot.sha256:
            raise NoSnapshot(
                "Of that night only tables were kept, and this one is not among them",
                school=self._school,
                date=self._night,
                key=snapshot.key,
                remedy=f"isams.keys.{snapshot.key}.archive: whole keeps the answers of nights to come.",
            )
        facts = {"snapshot": snapshot.sha256, "key": snapshot.key, "answer": "not kept (archive: tables_only)"}
        return SourceTable(None, stored, provenance=stored.provenance, facts=facts)

    def close(self) -> None:
        """Let go of what was parsed and not asked for, and of answers that are not to be kept if their tables are."""
        self._parsed.clear()
        for snapshot in self._fetcher.snapshots():
            key = self._isams.keys.get(snapshot.key)
            if (
                key is not None
                and not key.keeps_answers
                and snapshot.kept
                and tables_are_stored(self._tables, snapshot)
            ):
                self._archive.let_go(snapshot)

    def _parse(self, snapshot: Snapshot, dataset: str) -> None:
        wanted = [d for d in DATASETS.values() if snapshot.covers(FEEDS[d.feed].methods)]
        try:
            with self._archive.open(snapshot) as stream:
                tables = parse(stream, wanted)
        except PipelineError as error:
            if len(wanted) == 1 or error.where.get("dataset") is None:
                raise error.at(school=snapshot.school, key=snapshot.key) from None
            # One dataset's wrong field is not the other datasets' fault.
            with self._archive.open(snapshot) as stream:
                tables = parse(stream, [DATASETS[dataset]])
        self._parsed.setdefault(snapshot.sha256, {}).update(tables)


def tables_are_stored(tables: TableStore, snapshot: Snapshot) -> bool:
    """Whether all tables of an answer are those that its night has."""
    night = date.fromisoformat(snapshot.date)
    names = [name for name, d in DATASETS.items() if snapshot.covers(FEEDS[d.feed].methods)]
    stored = [tables.find(SOURCE, name, snapshot.school, night) for name in names]
    return all(one is not None and one.provenance.get("sha256") == snapshot.sha256 for one in stored)


def _provenance(snapshot: Snapshot, parsed: ParsedTable) -> Json:
    return {
        "key": snapshot.key,
        "sha256": snapshot.sha256,
        "fetched_at": snapshot.fetched_at,
        "cache_hours": snapshot.cache_hours,
        "identical_to_night_before": snapshot.identical_to_night_before,
    } | ({"notes": as_json(parsed.notes)} if parsed.notes else {})


def _facts(declaration: DatasetDeclaration, snapshot: Snapshot, parsed: ParsedTable) -> dict[str, object]:
    facts: dict[str, object] = {}
    if parsed.containers == 0:
        facts["container"] = f"the answer has no {declaration.container}"
    if parsed.repeated_rows:
        facts["merged_rows"] = parsed.repeated_rows
    if parsed.notes:
        facts["fields mended"] = len(parsed.notes)
    return facts | {
        "snapshot": snapshot.sha256,
        "key": snapshot.key,
        "fetched_at": snapshot.fetched,
        "cache_hours": snapshot.cache_hours,
    }
