"""All sources. A new one is a folder here, with its SOURCE, and a line below."""

from __future__ import annotations

from collections.abc import Mapping

from isams_pipeline.sources import assembly, isams, xporter
from isams_pipeline.sources.shared.listed import ListedSource
from isams_pipeline.sources.shared.source import Source

SOURCES: Mapping[str, Source] = {
    source.key: source
    for source in (
        isams.SOURCE,
        assembly.SOURCE,
        xporter.SOURCE,
    )
}
"""Key → source that is read every night, in the order in which they are shown."""
WITHIN_THE_DAY: Mapping[str, Source] = {isams.REST.key: isams.REST}
"""Key → source that is read when a partner asks for it: it knows the moment only, and what is asked of it differs."""


def label_of(key: str) -> str:
    """What a person calls a source."""
    return SOURCES[key].label


LISTED: Mapping[str, ListedSource] = {
    source.key: source.listed for source in SOURCES.values() if source.listed is not None
}
"""Those that are read list by list, by an authorisation of the school's."""
