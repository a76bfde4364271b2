"""Two thousand broken JSON answers a day, through client, store and mapping: data, or a typed error.

Seeded by the day, so that every day has others; a failure names the seed and the number, by which it comes again.
"""

from __future__ import annotations

import json
import random
import re
from collections.abc import Callable, Iterator
from datetime import date
from typing import Any
from zoneinfo import ZoneInfo

import httpx
import pytest

from isams_pipeline.datasets import LISTED_DATASETS
from isams_pipeline.errors import PipelineError
from isams_pipeline.sources.isams.connect import rest_client
from isams_pipeline.sources.isams.registers import divisions, marks_of, registers_today
from isams_pipeline.sources.registry import LISTED
from isams_pipeline.sources.shared.http import Patience
from isams_pipeline.sources.shared.json_answer import read_json
from isams_pipeline.sources.shared.mapping import Lists, Mapped
from isams_pipeline.sources.shared.transport import BoundedTransport
from isams_pipeline_tests.sources.crossing import Crossing
from isams_pipeline_tests.world import FIRST, SCHOOL

SEED = date.today().toordinal()  # any day will do
CANARY = "canary-of-a-child"
ODD = ["null", "[]", "{}", '""', "0", "-1", "1e999", "NaN", "true", '"\\ud83d"', '"\\u0000"', "1" * 40, "[[]]", '"x"']
ODD += ["9" * 19, "0.5", '{"a": [1]}', f'"{CANARY}"', '"2026-13-45"', '"2026-11-20T08:40:00+25:00"', '"\\uFFFE"']
VALUE = re.compile(r'(?<=[:\[,])\s*("(?:[^"\\]|\\.)*"|-?\d+(?:\.\d+)?|true|false|null|\[\]|\{\})(?=\s*[,\]}])')

pytestmark = pytest.mark.campaign


def one_value(rng: random.Random, text: str) -> str:
    found = list(VALUE.finditer(text))
    if not found:
        return rng.choice(ODD)
    start, end = rng.choice(found).span(1)
    return text[:start] + rng.choice(ODD) + text[end:]


def one_name(rng: random.Random, text: str) -> str:
    names = list(re.finditer(r'"(\w+)"\s*:', text))
    if not names:
        return text
    start, end = rng.choice(names).span(1)
    other = rng.choice(names)
    return text[:start] + rng.choice([other[1], "id", "x"]) + text[end:]


def deep(rng: random.Random, text: str) -> str:
    depth = rng.choice([10, 300, 2_000, 200_000])
    return re.sub(r":\s*(\[|\{)", lambda m: f': {"[" * depth}{"]" * depth}, "more": {m[1]}', text, count=1)


def cut(rng: random.Random, text: str) -> str:
    return text[: rng.randrange(len(text) + 1)]


def flip(rng: random.Random, text: str) -> bytes:
    data = bytearray(text.encode())
    for _ in range(rng.randint(1, 4)):
        data[rng.randrange(len(data))] = rng.randrange(256)
    return bytes(data)


def whole(rng: random.Random, _: str) -> str:
    return rng.choice([*ODD, "", " ", "[1, 2]", '[{"id": 1}]', '{"data": {}}', "<html></html>", "[null]"])


def encoded(rng: random.Random, text: str) -> bytes:
    return text.encode(rng.choice(["utf-16", "utf-32", "utf-8-sig", "cp1252"]), "replace")


CHANGES: list[Callable[[random.Random, str], str | bytes]] = [one_value, one_value, one_value, one_name, deep]
CHANGES += [cut, flip, whole, encoded]


def broken(rng: random.Random, data: bytes) -> bytes:
    text = data.decode()
    made = rng.choice(CHANGES)(rng, text)
    return made if isinstance(made, bytes) else made.encode()


class Breaking:
    """Stands at the wire, and breaks what is answered as long as it has a number."""

    def __init__(self, monkeypatch: pytest.MonkeyPatch) -> None:
        self.number: int | None = None
        plain = BoundedTransport.handle_request

        def handle(transport: BoundedTransport, request: httpx.Request) -> httpx.Response:
            response = plain(transport, request)
            if self.number is None:
                return response
            data = broken(random.Random(f"{SEED}/{self.number}"), response.read())
            response.close()
            headers = [(k, v) for k, v in response.headers.multi_items() if k != "content-length"]
            return httpx.Response(response.status_code, headers=headers, content=data)

        monkeypatch.setattr(BoundedTransport, "handle_request", handle)


@pytest.mark.parametrize("part", range(2))
def test_a_broken_answer_of_a_source_is_data_or_a_typed_error(
    connected: Crossing, source: str, part: int, monkeypatch: pytest.MonkeyPatch
):
    environment = connected.world.environment
    environment.patience = Patience(attempts=1, timeout_attempts=1)
    connected.world.at_night(0)
    known = LISTED[source]
    settings = environment.settings.school(SCHOOL)
    good: dict[str, list[dict[str, Any]]] = {}
    breaking = Breaking(monkeypatch)
    with LISTED[source].connect(environment.access(SCHOOL)) as client:
        grant = client.grant(environment.connections.current(SCHOOL, source))
        requests = [grant.request(wanted, FIRST) for wanted in known.lists.values()]
        for request in requests:
            reading = client.read(request, None)
            assert reading is not None
            good[request.wanted.name] = list(reading.rows)
        read = 0
        for number in range(part, 1_500, 2):
            rng = random.Random(f"{SEED}/{number}/choice")
            request = rng.choice(requests)
            name = request.wanted.name
            try:
                breaking.number = number
                reading = client.read(request, None)
                assert reading is not None
                sha256, _ = environment.lists.write(source, SCHOOL, request.wanted.name, reading.rows)
                breaking.number = None
                read += 1

                def rows(wanted: str, begin: bytes, broken_one: str = name, kept: str = sha256) -> Iterator[Any]:
                    if wanted == broken_one:
                        return environment.lists.rows(source, SCHOOL, kept, begin)
                    return (row for row in good[wanted] if json.dumps(row).encode().startswith(begin))

                options = settings.settings_of(source)
                assert options is not None
                for dataset, mapped in known.mapping.datasets.items():
                    if isinstance(mapped, Mapped) and name in mapped.lists:
                        try:
                            mapped.frame(LISTED_DATASETS[dataset], Lists(rows, options, FIRST), settings)
                        except PipelineError as error:
                            assert CANARY not in str(error)
            except PipelineError as error:
                assert CANARY not in str(error)
            except Exception as error:
                raise AssertionError(f"seed {SEED}/{number} of {name}") from error
            finally:
                breaking.number = None
    assert read > 50, "some of them can be read"


def test_a_broken_answer_of_rest_is_data_or_a_typed_error(crossing: Crossing, monkeypatch: pytest.MonkeyPatch):
    environment = crossing.world.environment
    environment.patience = Patience(attempts=1, timeout_attempts=1)
    crossing.world.at_night(0)
    breaking = Breaking(monkeypatch)
    with rest_client(environment.access(SCHOOL), "registers") as client:
        of = divisions(client)
        registers = registers_today(client, of)
        asked: list[Callable[[], object]] = [
            lambda: divisions(client),
            lambda: registers_today(client, of),
            lambda: marks_of(client, registers, ZoneInfo("Europe/London")),
        ]
        for number in range(500):
            breaking.number = number
            try:
                asked[number % len(asked)]()
            except PipelineError as error:
                assert CANARY not in str(error)
            except Exception as error:
                raise AssertionError(f"seed {SEED}/{number}") from error


@pytest.mark.parametrize(
    "data",
    [
        b'{"a": 1, "a": 1}',
        b'[{"b": {"a": 1, "a": 2}}]',
        b"NaN",
        b"[Infinity]",
        b'{"a": -1e999}',
        b"[" * 100_000,
        b"",
        b"{",
        b"\xff\xff\xff",
    ],
)
def test_json_that_says_two_things_or_none_is_no_json(data: bytes):
    with pytest.raises(ValueError):
        read_json(data)


def test_half_a_character_is_taken_for_none():
    assert read_json(b'{"a": ["x\\ud83d", "\\ud83d\\ude00", "\\\\ud83d"]}') == {
        "a": ["x\uffff", "\U0001f600", "\\ud83d"]
    }
