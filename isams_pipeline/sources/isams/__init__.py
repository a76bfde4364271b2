"""iSAMS's own APIs: the Batch API, which serves a night's tables in one document, and REST."""

from isams_pipeline.datasets import ATTENDANCE, DATASETS, REST_SOURCE
from isams_pipeline.datasets import SOURCE as KEY
from isams_pipeline.sources.isams import sessions
from isams_pipeline.sources.isams.night import check_rows, read
from isams_pipeline.sources.isams.sessions import SessionReader
from isams_pipeline.sources.shared.source import Source

REST = Source(
    key=REST_SOURCE,
    label="iSAMS's REST API",
    datasets={f"attendance_{session}": ATTENDANCE for session in ("am", "pm")},
    kinds=frozenset({"json", "parquet"}),
    read=SessionReader,
    check_rows=sessions.check_rows,
)
SOURCE = Source(
    key=KEY,
    label="iSAMS",
    datasets=DATASETS,
    kinds=frozenset({"xml", "parquet"}),
    read=read,
    check_rows=check_rows,
    tags=lambda declaration: {"isams/feed": declaration.feed},
)
