"""What My School Portal keeps of a school that has come to its end: files of the inbox, and values in the ledger."""

from __future__ import annotations

from collections.abc import Iterator
from datetime import UTC, datetime, time

from isams_pipeline.orchestration.environment import Environment
from isams_pipeline.orchestration.retention import old_files
from isams_pipeline.partners.my_school_portal.intake import DONE, REFUSED, store_of
from isams_pipeline.storage.ending import Cutoff, Ending

RETENTION = "retention"


def ends(environment: Environment, school: str, before: Cutoff) -> Iterator[Ending]:
    """Files that were taken in or refused, and the values of requests that were settled long ago."""
    if (inbox := before("inbox")) is not None:
        for place in (DONE, REFUSED):
            yield old_files("inbox", environment, f"inbox/{school}/{place}", inbox)
    if (ledger := before("ledger")) is not None:
        store, moment = store_of(environment, school), datetime.combine(ledger, time(), UTC)
        old = store.settled_before(moment)

        def go() -> None:
            store.take_out(store.settled_before(moment), why=RETENTION, who=RETENTION)

        yield Ending("ledger", {"rows": len(old)}, go)
