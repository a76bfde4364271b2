"""What it costs to find a person in a school year, and to end what is kept too long over a thousand nights."""

from __future__ import annotations

import hashlib
import io
import json
import tempfile
import time
from collections.abc import Callable
from contextlib import ExitStack
from datetime import date, timedelta
from pathlib import Path
from typing import Any

NIGHTS = 190
"""School nights of a year, on each of which every answer, table and file differs; on the others nothing does."""


def more_nights(world: Any, nights: int) -> None:
    """A night's archive, tables and staged files as those of many more, each night with bytes of its own."""
    import pyarrow.parquet as pq
    import zstandard

    from isams_pipeline_tests.world import FIRST, SCHOOL

    def put(path: Path, data: bytes) -> str:
        digest = hashlib.sha256(data).hexdigest()
        path.mkdir(parents=True, exist_ok=True)
        return digest

    archive = world.data / "archive" / SCHOOL
    snapshots = [json.loads(note.read_text()) for note in (archive / "nights" / str(FIRST)).rglob("*.json")]
    answers = {}
    for one in snapshots:
        path = archive / "objects" / f"{one['sha256']}.xml.zst"
        if path.exists():
            answers[one["key"]] = zstandard.ZstdDecompressor().stream_reader(io.BytesIO(path.read_bytes())).read()
    tables = [
        (place, pq.read_table(place.parent / "objects" / f"{json.loads(place.read_text())['sha256']}.parquet"))
        for place in (world.data / "tables").rglob(f"{FIRST}.json")
    ]
    staged = world.data / "staged" / "schoolsbuddy" / SCHOOL
    note = json.loads((staged / f"{FIRST}.json").read_text())
    for number in range(1, nights):
        night = FIRST + timedelta(days=number)
        for one in snapshots:
            if one["key"] not in answers:
                continue
            data = answers[one["key"]] + b"<!-- %d -->" % number
            digest = put(archive / "objects", data)
            (archive / "objects" / f"{digest}.xml.zst").write_bytes(zstandard.compress(data))
            place = archive / "nights" / str(night) / one["key"]
            place.mkdir(parents=True)
            said = one | {"sha256": digest, "date": str(night), "size": len(data)}
            (place / f"20260101T000000000000-{digest[:12]}.json").write_text(json.dumps(said))
        for place, table in tables:
            buffer = io.BytesIO()
            pq.write_table(table.replace_schema_metadata({**table.schema.metadata, b"n": b"%d" % number}), buffer)
            digest = put(place.parent / "objects", buffer.getvalue())
            (place.parent / "objects" / f"{digest}.parquet").write_bytes(buffer.getvalue())
            pointer = json.loads(place.read_text()) | {"sha256": digest}
            (place.parent / f"{night}.json").write_text(json.dumps(pointer))
        files = {}
        for name, digest in note["files"].items():
            data = (staged / "objects" / digest).read_bytes() + b"\n" * number
            files[name] = put(staged / "objects", data)
            (staged / "objects" / files[name]).write_bytes(data)
        (staged / f"{night}.json").write_text(json.dumps(note | {"files": files}))


def found(pupils: str) -> dict[str, float]:
    """Seconds to find one pupil in a school year in which every night differs."""
    from isams_pipeline.orchestration.rights.finding import Search
    from isams_pipeline.orchestration.rights.identity import identify
    from isams_pipeline.partners.registry import PARTNERS
    from isams_pipeline.sandbox.server import serving
    from isams_pipeline_tests.world import FIRST, SCHOOL, make_world, small_school

    with ExitStack() as stack, tempfile.TemporaryDirectory() as folder:
        school = small_school(pupils=int(pupils), subjects=8)
        world = make_world(Path(folder), {SCHOOL: school}, lambda app: stack.enter_context(serving(app)))
        run = world.night(0)
        assert run.outcome == "delivered", run.reason
        more_nights(world, NIGHTS)
        tables = world.environment.tables
        pupil = tables.load(tables.need("isams", "pupils", SCHOOL, FIRST)).iloc[7]
        size = sum(path.stat().st_size for path in (world.data / "archive").rglob("*.zst"))
        started = time.perf_counter()
        people = identify(world.environment, SCHOOL, str(pupil["school_id"]))
        held = Search(world.environment, SCHOOL, PARTNERS.values(), people).everything()
        took = time.perf_counter() - started
        assert not held.troubles, held.troubles[0]
        nights: set[date] = {night for one in held.found for night in one.nights}
        assert len(nights) == NIGHTS
        world.close()
        return {"seconds": took, "megabytes": size / 1e6, "files": sum(held.looked_through.values())}


def report(add: Callable[..., None], measure: Callable[..., tuple[Any, float]], pupils: int) -> None:
    """The rows of the page."""
    said, _ = measure(__name__, "found", str(pupils))
    detail = f"{said['files']:.0f} files, {said['megabytes']:.0f} MB of answers, compressed; every school night differs"
    took = said["seconds"]
    add(f"`person find`: {pupils} pupils, a school year, in seconds / 60", took / 60, "below 1", took < 60, detail)
