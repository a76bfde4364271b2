"""The sources that are read list by list, by their keys."""

from __future__ import annotations

from isams_pipeline.sources.assembly.lists import GIVES as ASSEMBLY_GIVES
from isams_pipeline.sources.assembly.lists import LISTS as ASSEMBLY_LISTS
from isams_pipeline.sources.assembly.lists import SCOPES as ASSEMBLY_SCOPES
from isams_pipeline.sources.assembly.mapping import MAPPING as ASSEMBLY_MAPPING
from isams_pipeline.sources.shared import ASSEMBLY, LABELS, XPORTER
from isams_pipeline.sources.shared.listed import ListedSource
from isams_pipeline.sources.xporter.lists import GIVES as XPORTER_GIVES
from isams_pipeline.sources.xporter.lists import LISTS as XPORTER_LISTS
from isams_pipeline.sources.xporter.lists import SCOPES as XPORTER_SCOPES
from isams_pipeline.sources.xporter.mapping import MAPPING as XPORTER_MAPPING

# Assembly tells when anything of the school last changed. Each of Xporter's lists has a clock of its own.
LISTED: dict[str, ListedSource] = {
    ASSEMBLY: ListedSource(
        ASSEMBLY,
        LABELS[ASSEMBLY],
        ASSEMBLY_LISTS,
        ASSEMBLY_MAPPING,
        ASSEMBLY_SCOPES,
        ASSEMBLY_GIVES,
        freshness_is_sure=True,
    ),
    XPORTER: ListedSource(
        XPORTER,
        LABELS[XPORTER],
        XPORTER_LISTS,
        XPORTER_MAPPING,
        XPORTER_SCOPES,
        XPORTER_GIVES,
        freshness_is_sure=False,
    ),
}
