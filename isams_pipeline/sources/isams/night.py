"""A school's night → its tables: each snapshot fetched once and parsed once, however many datasets it holds."""

from __future__ import annotations

from dataclasses import dataclass

from isams_pipeline.config.feeds import FEEDS
from isams_pipeline.datasets import DATASETS
from isams_pipeline.errors import PipelineError
from isams_pipeline.sources.isams.fetch import NightFetcher
from isams_pipeline.sources.isams.parse import ParsedTable, parse
from isams_pipeline.storage.archive import Snapshot, SnapshotArchive


@dataclass(frozen=True)
class NightTable:
    """A dataset of the night, and the snapshot it is from; neither where no key brings the feed."""

    parsed: ParsedTable
    snapshot: Snapshot | None


class NightReader:
    """All datasets of one school and night."""

    def __init__(self, fetcher: NightFetcher, archive: SnapshotArchive) -> None:
        self._fetcher = fetcher
        self._archive = archive
        self._parsed: dict[str, dict[str, ParsedTable]] = {}
        self._failed: dict[str, PipelineError] = {}

    def table(self, dataset: str) -> NightTable:
        """A dataset, unchecked. Raises IsamsError, DocumentError, WrongType, NoSnapshot or FutureDate."""
        declaration = DATASETS[dataset]
        snapshot = self._fetcher.snapshot(declaration.feed)
        if snapshot is None:
            return NightTable(ParsedTable(declaration, declaration.empty(), containers=0), None)
        if dataset not in self._parsed.get(snapshot.sha256, {}):
            self._parse(snapshot, dataset)
        return NightTable(self._parsed[snapshot.sha256].pop(dataset), snapshot)

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
