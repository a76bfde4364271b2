"""The other sources' measures: a large school against the HTTP calls alone, an unchanged night, memory by pages."""

from __future__ import annotations

import contextlib
import json
import multiprocessing
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from datetime import UTC, date, datetime, timedelta
from pathlib import Path
from typing import Any

from isams_pipeline.sources import assembly

ROOT = Path(__file__).parent.parent
DAY = date(2026, 2, 10)
ANSWER_SECONDS = 0.05
SCHOOL = "riverside"


def _plan(pupils: str) -> Any:
    """A school of so many pupils, in sets of about twenty in eight subjects, that stays as it is."""
    from dataclasses import replace

    from isams_pipeline_tests.world import small_school

    return replace(small_school(pupils=int(pupils), subjects=8, nightly_joiners=0), sources=True)


def serve_sources(pupils: str, connected: str = "yes") -> float:
    """Serve a school by all sources until the parent goes, in a process of its own; rendered before the clock runs."""
    from isams_pipeline.sandbox.server import serving
    from isams_pipeline_tests.world import make_world

    with contextlib.ExitStack() as stack, tempfile.TemporaryDirectory() as folder:
        world = make_world(Path(folder), {SCHOOL: _plan(pupils)}, lambda app: stack.enter_context(serving(app)))
        school = world.sandbox.schools[SCHOOL]
        assert school.assembly is not None and school.xporter is not None
        school.frozen = DAY
        school.assembly.connector = "connected" if connected else "paused"
        school.xporter.is_authorised, school.xporter.status = True, "OK"
        school.assembly.seconds = school.xporter.seconds = ANSWER_SECONDS
        school.assembly.limit = 10_000
        print(json.dumps({"url": world.url, "config": str(world.config)}), flush=True)
        sys.stdin.read()
    return 0


@contextlib.contextmanager
def _crossing(source: str, pupils: str) -> Iterator[Any]:
    """An environment whose source leads into another process, authorised."""
    from isams_pipeline.config import load_settings
    from isams_pipeline.orchestration.connector import Connector
    from isams_pipeline.orchestration.environment import Environment
    from isams_pipeline.sandbox.demo import make_sandbox, secrets_of

    command = [sys.executable, "-m", "isams_pipeline_tests.benchmarks", "--measure", "serve_sources", pupils]
    server = subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, cwd=ROOT, text=True)
    assert server.stdout is not None and server.stdin is not None
    try:
        told = json.loads(server.stdout.readline())
        now = [datetime(DAY.year, DAY.month, DAY.day, 2, tzinfo=UTC)]
        sandbox = make_sandbox({SCHOOL: _plan("24")}, lambda: now[0])
        with tempfile.TemporaryDirectory() as folder:
            environment = Environment(
                load_settings(told["config"]),
                data_dir=Path(folder),
                clock=lambda: now[0],
                variables=secrets_of(sandbox),
            )
            connector = Connector(environment, SCHOOL, source, who="benchmark")
            if source == "assembly":
                import httpx

                with assembly.connect(environment.access(SCHOOL)) as client:
                    answer = httpx.get(client.tokens.authorise_url("benchmark"))
                connector.take_code(str(httpx.URL(answer.headers["location"]).params["code"]))
            else:
                connector.choose(None)  # all that the school has authorised
            yield environment, now
    finally:
        server.stdin.close()
        server.wait(timeout=20)


def _night(environment: Any, source: str, day: date) -> float:
    """All datasets read, checked and stored, without Dagster; the seconds."""
    from isams_pipeline.datasets import LISTED_DATASETS
    from isams_pipeline.orchestration.source_assets import check_frame
    from isams_pipeline.sources.registry import LISTED
    from isams_pipeline.sources.shared.night import ListReader, ReaderContext

    started = time.perf_counter()
    look = ReaderContext(
        source=LISTED[source],
        school=SCHOOL,
        settings=environment.settings.school(SCHOOL),
        lists=environment.lists,
        connections=environment.connections,
        client=lambda: LISTED[source].connect(environment.access(SCHOOL)),
        clock=environment.clock,
    )
    reader, tables = ListReader(look, day, ahead=list(LISTED_DATASETS)), environment.tables
    for name, declaration in LISTED_DATASETS.items():
        before = tables.before(source, name, SCHOOL, day)
        table = reader.table(name, before)
        if table.frame is None:
            tables.save_as_before(table.same_as, night=day, provenance=table.provenance)
        else:
            check_frame(environment, declaration, table.frame, before)
            tables.save(table.frame, source=source, dataset=name, school=SCHOOL, night=day, provenance=table.provenance)
    reader.close()
    return time.perf_counter() - started


def source_ours(source: str, pupils: str, nights: str = "1", pages: str = "1") -> float:
    """The last of so many nights of a school that stays as it is; in so many times as many pages."""
    from isams_pipeline.sources.assembly import client as assembly
    from isams_pipeline.sources.xporter import client as xporter

    assembly.PER_PAGE //= int(pages)
    xporter.PAGE_SIZE //= int(pages)
    with _crossing(source, pupils) as (environment, now):
        _warm_up(environment, source)
        took = 0.0
        for at in range(int(nights)):
            day = DAY + timedelta(days=at)
            now[0] = datetime(day.year, day.month, day.day, 2, tzinfo=UTC)
            took = _night(environment, source, day)
        return took


def _warm_up(environment: Any, source: str) -> None:
    """Let the server make what it makes once. By a process that ends, so that its answers are not in our memory."""
    calls = multiprocessing.get_context("fork").Process(target=_calls, args=(environment, source))
    calls.start()
    calls.join()
    assert calls.exitcode == 0


def source_calls(source: str, pupils: str) -> float:
    """The HTTP calls of a full night alone, one after the other, by httpx and nothing else."""
    with _crossing(source, pupils) as (environment, _):
        _calls(environment, source)
        return _calls(environment, source)


def _calls(environment: Any, source: str) -> float:
    import httpx

    from isams_pipeline.sources.assembly.client import ACCEPT
    from isams_pipeline.sources.assembly.client import PER_PAGE as ASSEMBLY_PAGE
    from isams_pipeline.sources.registry import LISTED
    from isams_pipeline.sources.shared.grants import Grant
    from isams_pipeline.sources.xporter.client import PAGE_SIZE

    known = LISTED[source]
    grant = Grant(SCHOOL, source, frozenset(known.scopes))
    requests = [grant.request(one, DAY) for one in known.lists.values()]
    settings = environment.settings.school(SCHOOL).settings_of(source)
    started = time.perf_counter()
    with (
        httpx.Client(base_url=settings.url, timeout=60) as client,
        LISTED[source].connect(environment.access(SCHOOL)) as connected,
    ):
        ours: Any = connected
        if source == "assembly":
            bearer = ours.tokens.access(None)
            client.headers.update({"Authorization": f"Bearer {bearer}", "Accept": ACCEPT})
            client.get("/school/status").raise_for_status()
        else:
            client.headers["Authorization"] = f"Idaas {ours._token(None)}"
            for path in ("TokenDetails", f"School/{settings.estab}/SchoolInfo/?onlygetDBStatus=true", "GDPRIDs"):
                client.get(f"/api/v1/{path}").raise_for_status()
        for request in requests:
            if source == "assembly":
                path = request.wanted.path
                if request.wanted.is_told_one_by_one:
                    client.get(path).raise_for_status()
                    client.get(f"{path}/20", params=dict(request.params)).raise_for_status()
                    continue
                number, pages = 1, 1
                while number <= pages:
                    params = {**request.params, "page": number, "per_page": ASSEMBLY_PAGE}
                    answer = client.get(path, params=params).raise_for_status()
                    pages, number = int(answer.headers["total-pages"]), number + 1
            else:
                path = f"/api/v1/School/{settings.estab}/{request.wanted.path}"
                more = {"changedRows": "*"} if request.wanted.tells_changes else {}
                number, pages = 1, 1
                while number <= pages:
                    params = {
                        **request.params,
                        **more,
                        "page": number,
                        "pageSize": min(PAGE_SIZE, request.wanted.page_size),
                    }
                    answer = client.get(path, params=params).raise_for_status()
                    if number == 1:
                        pages = answer.json()["__pagination__"][0]["PageCount"]
                    number += 1
    return time.perf_counter() - started


def tables_megabytes(source: str, pupils: str) -> float:
    """How large the tables of a night are in memory."""
    from isams_pipeline.datasets import LISTED_DATASETS

    with _crossing(source, pupils) as (environment, _):
        _night(environment, source, DAY)
        found = (environment.tables.need(source, name, SCHOOL, DAY) for name in LISTED_DATASETS)
        return sum(environment.tables.load(one).memory_usage(deep=True).sum() for one in found) / (1 << 20)


MEASURES = {
    "serve_sources": serve_sources,
    "source_ours": source_ours,
    "source_calls": source_calls,
    "tables_megabytes": tables_megabytes,
}


def report(add: Any, measure: Any, pairs: Any, count: int) -> None:
    """The lines of the report."""
    from statistics import median

    for source in ("assembly", "xporter"):
        ours, theirs, memory = pairs(count, ("source_ours", source, "2000"), ("source_calls", source, "2000"))
        ratio = median(a / b for a, b in zip(ours, theirs, strict=True))
        detail = f"2,000 students, each answer 50 ms; medians {median(ours):.2f} s and {median(theirs):.2f} s"
        add(f"a night by {source} / its HTTP calls alone", ratio, "at most 1.5", ratio <= 1.5, detail)
        unchanged = [measure("source_ours", source, "2000", "2")[0] for _ in range(count)]
        ratio = median(a / b for a, b in zip(unchanged, ours, strict=True))
        detail = f"medians {median(unchanged):.2f} s and {median(ours):.2f} s"
        add(f"an unchanged night by {source} / a full one", ratio, "at most 0.2", ratio <= 0.2, detail)
        more = measure("source_ours", source, "2000", "1", "10")[1]
        ratio = more / median(memory)
        detail = f"peaks {more:.0f} MB and {median(memory):.0f} MB"
        add(
            f"peak memory by {source} in ten times as many pages / in few", ratio, "at most 1.02", ratio <= 1.02, detail
        )
        large = median(measure("source_ours", source, "6000")[1] for _ in range(count))
        output = measure("tables_megabytes", source, "6000")[0] - measure("tables_megabytes", source, "2000")[0]
        ratio = (large - median(memory)) / output
        detail = (
            f"{large - median(memory):.0f} MB more for three times the school, whose tables are {output:.0f} MB larger"
        )
        bound = "at most 2: the tables, and what the allocator keeps"
        add(f"growth of peak memory by {source} / growth of the tables", ratio, bound, ratio <= 2, detail)
