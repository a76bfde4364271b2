"""The Assembly Platform: a school's data out of iSAMS, by Xporter on Demand, by Assembly."""

from isams_pipeline.sources.assembly.authorising import AUTHORISING
from isams_pipeline.sources.assembly.connect import connect
from isams_pipeline.sources.assembly.lists import GIVES, LISTS, PEOPLE, SCOPES
from isams_pipeline.sources.assembly.mapping import MAPPING
from isams_pipeline.sources.shared import ASSEMBLY
from isams_pipeline.sources.shared.listed import ListedSource
from isams_pipeline.sources.shared.reading import source_of

# Assembly tells when anything of the school last changed.
SOURCE = source_of(
    ListedSource(
        key=ASSEMBLY,
        label="Assembly",
        lists=LISTS,
        mapping=MAPPING,
        connect=connect,
        authorising=AUTHORISING,
        scopes=SCOPES,
        gives=GIVES,
        people=PEOPLE,
        freshness_is_sure=True,
    )
)
