"""Xporter on Demand: a school's data out of iSAMS by Groupcall's extractor, in the shapes of the school census."""

from isams_pipeline.sources.shared import XPORTER
from isams_pipeline.sources.shared.listed import ListedSource
from isams_pipeline.sources.shared.reading import source_of
from isams_pipeline.sources.xporter.authorising import AUTHORISING
from isams_pipeline.sources.xporter.connect import connect
from isams_pipeline.sources.xporter.lists import GIVES, LIST_PEOPLE, LISTS, SCOPES
from isams_pipeline.sources.xporter.mapping import MAPPING

# Each of Xporter's lists has a clock of its own.
SOURCE = source_of(
    ListedSource(
        key=XPORTER,
        label="Xporter on Demand",
        lists=LISTS,
        mapping=MAPPING,
        connect=connect,
        authorising=AUTHORISING,
        scopes=SCOPES,
        gives=GIVES,
        people=LIST_PEOPLE,
        freshness_is_sure=False,
    )
)
