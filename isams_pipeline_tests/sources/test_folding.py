"""What is kept of a list, whatever its rows: written and read back, folded, rows that come twice."""

from __future__ import annotations

import tempfile
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from isams_pipeline.config import SourceSettings
from isams_pipeline.errors import StorageError
from isams_pipeline.sources.registry import LISTED
from isams_pipeline.sources.shared.client import Reading
from isams_pipeline.sources.shared.grants import Grant
from isams_pipeline.sources.shared.keeping import ListKeeper, _folded  # pyright: ignore[reportPrivateUsage]
from isams_pipeline.sources.shared.wire import Seen
from isams_pipeline.sources.xporter.mapping import _PerLesson  # pyright: ignore[reportPrivateUsage]
from isams_pipeline.storage.folder import Folder
from isams_pipeline.storage.lists import ListNight, ListStore, StoredList
from isams_pipeline_tests.world import FIRST, SCHOOL

ROOMS = Grant(SCHOOL, "assembly", frozenset(LISTED["assembly"].scopes)).request(
    LISTED["assembly"].lists["rooms"], FIRST
)
NOW = datetime(2026, 2, 11, 2, tzinfo=UTC)
VALUES = st.none() | st.booleans() | st.integers(-(2**53), 2**53) | st.text(max_size=8)
ROWS = st.lists(st.dictionaries(st.text(max_size=4), VALUES, max_size=4), max_size=30)
TABLE = st.dictionaries(st.integers(0, 9), st.integers(0, 3), max_size=10)


@given(ROWS)
def test_rows_come_back_as_they_were_written(rows: list[dict[str, Any]]):
    with tempfile.TemporaryDirectory() as folder:
        store = ListStore(Folder(Path(folder)))
        sha256, count = store.write("xporter", SCHOOL, "list", rows)
        assert count == len(rows) and list(store.rows("xporter", SCHOOL, sha256)) == rows
        assert store.write("xporter", SCHOOL, "list", rows)[0] == sha256 and store.is_intact("xporter", SCHOOL, sha256)


def test_only_lines_that_begin_so_are_looked_into(tmp_path: Path):
    store = ListStore(Folder(tmp_path))
    rows = [{"_array": "Group" if n % 3 else "Other", "Id": str(n)} for n in range(1200)]
    sha256, _ = store.write("xporter", SCHOOL, "list", rows)
    found = list(store.rows("xporter", SCHOOL, sha256, b'{"_array":"Other"'))
    assert [row["Id"] for row in found] == [str(n) for n in range(0, 1200, 3)]


def test_a_list_that_fails_midway_leaves_nothing(tmp_path: Path):
    store = ListStore(Folder(tmp_path))

    def broken() -> Any:
        yield {"id": 1}
        raise ValueError("broken off")

    with pytest.raises(ValueError, match="broken off"):
        store.write("xporter", SCHOOL, "list", broken())
    assert not [path for path in tmp_path.rglob("*") if path.is_file()]


def test_a_list_that_was_changed_on_disk_is_not_believed(tmp_path: Path):
    store = ListStore(Folder(tmp_path))
    sha256, _ = store.write("xporter", SCHOOL, "list", [{"id": 1}])
    other, _ = store.write("xporter", SCHOOL, "list", [{"id": 2}])
    objects = tmp_path / "xporter" / SCHOOL / "objects"
    (objects / f"{sha256}.jsonl.zst").write_bytes((objects / f"{other}.jsonl.zst").read_bytes())
    assert not store.is_intact("xporter", SCHOOL, sha256)
    with pytest.raises(StorageError, match="--fresh"):
        list(store.rows("xporter", SCHOOL, sha256))


@given(TABLE, TABLE, st.sets(st.integers(0, 9)))
def test_folding_changes_in_is_what_a_whole_read_would_have_given(
    before: dict[int, int], changed: dict[int, int], gone: set[int]
):
    gone -= changed.keys()
    rows = [{"id": key, "value": value} for key, value in before.items()]
    new = {(str(key),): {"id": key, "value": value} for key, value in changed.items()}
    found = list(_folded(ROOMS, iter(rows), new, {(str(key),) for key in gone}))
    assert {row["id"]: row["value"] for row in found} == {
        key: value for key, value in {**before, **changed}.items() if key not in gone
    }
    assert len({row["id"] for row in found}) == len(found)


@given(st.lists(st.lists(st.tuples(st.integers(0, 20), st.integers(0, 2)), max_size=12), max_size=6))
def test_rows_that_come_twice_are_seen_on_whatever_page(pages: list[list[tuple[int, int]]]):
    seen, known = Seen(), dict[int, int]()
    for page in pages:
        expected: list[bool | None] = []
        for key, content in page:
            expected.append(known[key] == content if key in known else None)
            known.setdefault(key, content)
        assert seen.take(page) == expected


@given(st.lists(st.tuples(st.integers(0, 6), st.sampled_from("abc")), max_size=20))
def test_who_teaches_a_lesson_is_found_in_the_order_in_which_it_was_told(links: list[tuple[int, str]]):
    found = _PerLesson(({"LessonId": lesson, "StaffId": one} for lesson, one in links), "StaffId")
    for lesson in range(8):
        assert found.of(str(lesson)) == (" ".join(one for at, one in links if at == lesson) or None)


@pytest.mark.parametrize(("changed", "whole"), [(4, False), (5, False), (6, True), (10, True)])
def test_where_more_than_half_has_changed_the_list_is_read_whole(tmp_path: Path, changed: int, whole: bool):
    """As after a full sync at the source, when everything counts as changed: half of ten may still be folded in."""
    store = ListStore(Folder(tmp_path))
    ten = [{"id": n, "name": "before"} for n in range(10)]
    now = [{**row, "name": "after"} if row["id"] < changed else row for row in ten]
    sha256, rows = store.write("assembly", SCHOOL, "list", ten)
    kept = StoredList(sha256, rows, NOW.isoformat(), str(FIRST), ROOMS.asked, {"etag": "1"})
    before = ListNight(str(FIRST), (), None, None, {"rooms": kept})
    asked: list[bool] = []

    class Client:
        """Says which rows have changed, or gives all of them."""

        def clock_of(self, _: object) -> None:
            return None

        def freshness(self) -> None:
            return None

        def count(self, _: object) -> int:
            return 10

        def read(self, _: object, since: object) -> Reading:
            asked.append(since is None)
            if since is None:
                return Reading(iter(now), only_changes=False, token={"etag": "2"})
            return Reading(iter(now[:changed]), only_changes=True, expected=changed, token={"etag": "2"})

    client: Any = Client()
    keeper = ListKeeper(
        LISTED["assembly"],
        client,
        Grant(SCHOOL, "assembly", frozenset(LISTED["assembly"].scopes)),
        store,
        night=ListNight(str(FIRST + timedelta(days=1)), (), None, None, {}),
        before=before,
        settings=SourceSettings(),
        clock=lambda: NOW,
        fresh=False,
        say=lambda _: None,
    )
    found = keeper.now(ROOMS)
    assert asked == ([False, True] if whole else [False])
    names = [row["name"] for row in store.rows("assembly", SCHOOL, found.sha256)]
    assert names.count("after") == changed and len(names) == 10
