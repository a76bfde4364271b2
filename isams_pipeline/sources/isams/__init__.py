"""iSAMS's own APIs: the Batch API, which serves a night's tables in one document, and REST."""

from isams_pipeline.datasets import DATASETS
from isams_pipeline.datasets import SOURCE as KEY
from isams_pipeline.sources.isams.night import check_rows, read
from isams_pipeline.sources.shared.source import Source

SOURCE = Source(
    key=KEY,
    label="iSAMS",
    datasets=DATASETS,
    kinds=frozenset({"xml", "parquet"}),
    read=read,
    check_rows=check_rows,
    tags=lambda declaration: {"isams/feed": declaration.feed},
)
