"""The sources that are read list by list, as sources: how a night is read, and what is said of its datasets."""

from __future__ import annotations

from isams_pipeline.datasets import LISTED_DATASETS, DatasetDeclaration
from isams_pipeline.errors import MissingRows
from isams_pipeline.sources.shared.listed import ListedSource
from isams_pipeline.sources.shared.mapping import Absent
from isams_pipeline.sources.shared.night import ListReader, ReaderContext
from isams_pipeline.sources.shared.source import NightNeeds, Source, SourceReader, SourceTable

_REMEDY = "Check at the source that the school's data is complete, and which people may be extracted."


def source_of(listed: ListedSource) -> Source:
    """A source out of what is known of its lists."""

    def read(needs: NightNeeds) -> SourceReader:
        context = ReaderContext(
            source=listed,
            school=needs.access.school,
            settings=needs.access.settings,
            lists=needs.lists,
            connections=needs.connections(),
            client=lambda: listed.connect(needs.access),
            clock=needs.access.clock,
            run_id=needs.run_id,
            is_intact=needs.tables.is_intact,
        )
        return ListReader(
            context,
            needs.night,
            fresh=needs.fresh,
            allow_removals=needs.allow_removals,
            ask_again_after=needs.ask_again_after,
            ahead=needs.ahead,
            tell=needs.tell,
        )

    def check_rows(declaration: DatasetDeclaration, table: SourceTable) -> None:
        if declaration.must_have_rows and table.frame is not None and table.frame.empty:
            why = f": {table.absent}" if table.absent else ""
            raise MissingRows(f"{declaration.name} has no rows by {listed.label}{why}", remedy=_REMEDY)

    def about(declaration: DatasetDeclaration) -> str:
        mapped = listed.mapping.datasets[declaration.name]
        absent = f" Always empty by this source: {mapped.reason}." if isinstance(mapped, Absent) else ""
        return f"{declaration.summary} By {listed.label}.{absent}"

    return Source(
        key=listed.key,
        label=listed.label,
        datasets=LISTED_DATASETS,
        kinds=frozenset({"json", "parquet"}),
        read=read,
        check_rows=check_rows,
        about=about,
        listed=listed,
    )
