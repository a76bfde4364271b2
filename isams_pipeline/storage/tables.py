"""Datasets at rest: Parquet under the hash of its bytes, and a small JSON file per night that points to it.

    tables/<source>/<dataset>/<school>/<date>.json
    tables/<source>/<dataset>/<school>/objects/<sha256>.parquet

The pointer is written last, so a night has its old table or its new one. An unchanged night costs a pointer.
"""

from __future__ import annotations

import contextlib
import hashlib
import io
from collections.abc import Callable, Collection, Iterator, Mapping
from dataclasses import dataclass
from datetime import date
from itertools import islice
from typing import Any

import pandas as pd

from isams_pipeline.datasets.arrow import pa, pq
from isams_pipeline.datasets.shapes import Json, JsonObject
from isams_pipeline.errors import NotMaterialised, StorageError
from isams_pipeline.storage.earlier import GAP, dates_of, earlier
from isams_pipeline.storage.ending import Ending, files_ending, unnamed
from isams_pipeline.storage.folder import Folder, Incoming
from isams_pipeline.storage.redacted import END, opened, stand_in, with_stand_ins

MADE_FROM = "made_from"
"""In the provenance of a table of rules: the sources of the datasets behind it."""
_ROWS = 16_384
"""Of a table, in a row group."""


@dataclass(frozen=True)
class StoredTable:
    """Where a table is, and what it came from."""

    source: str
    dataset: str
    school: str
    date: str
    sha256: str
    rows: int
    provenance: JsonObject
    """Facts about the snapshot: key, sha256, fetched_at, cache_hours … Empty where no key brings the feed."""

    @property
    def night(self) -> date:
        """The date that it is of."""
        return date.fromisoformat(self.date)

    @property
    def path(self) -> str:
        """The Parquet file, relative to the tables' folder."""
        return f"{self.source}/{self.dataset}/{self.school}/objects/{self.sha256}.parquet"


class _Hashed(io.RawIOBase):
    """A file on its way in, and the hash of what was written so far."""

    def __init__(self, incoming: Incoming) -> None:
        super().__init__()
        self._incoming, self._hash, self._length = incoming, hashlib.sha256(), 0

    @property
    def digest(self) -> str:
        """SHA-256 of all that was written."""
        return self._hash.hexdigest()

    def writable(self) -> bool:
        return True

    def tell(self) -> int:
        return self._length

    def write(self, data: Any, /) -> int:
        self._hash.update(data)
        self._length += len(data)
        return self._incoming.write(data)


def _write(frame: pd.DataFrame, file: _Hashed) -> None:
    """The rows as Parquet, some thousand at a time: whole, a table would be held twice more while it is written."""
    schema = pa.Schema.from_pandas(frame, preserve_index=False)
    with pq.ParquetWriter(file, schema, compression="zstd") as writer:
        for at in range(0, len(frame), _ROWS):
            writer.write_table(pa.Table.from_pandas(frame.iloc[at : at + _ROWS], schema, preserve_index=False))


class TableStore:
    """Tables under a folder."""

    def __init__(
        self, folder: Folder, without: Callable[[str, str, str, pd.DataFrame], pd.DataFrame] | None = None
    ) -> None:
        """`without` gives a table, by its source, dataset and school, without who was erased."""
        self._folder = folder
        self._without = without

    def save(
        self,
        frame: pd.DataFrame,
        *,
        source: str,
        dataset: str,
        school: str,
        night: date,
        provenance: JsonObject,
    ) -> StoredTable:
        """Store a night's table, without who was erased. The same rows give the same hash."""
        if self._without is not None:
            frame = self._without(source, dataset, school, frame)
        table = StoredTable(
            source=source,
            dataset=dataset,
            school=school,
            date=night.isoformat(),
            # Written anew even if it is there: that is how a damaged one is repaired.
            sha256=self._put(frame, f"{source}/{dataset}/{school}"),
            rows=len(frame),
            provenance=dict(provenance),
        )
        pointer = {"sha256": table.sha256, "rows": table.rows, "provenance": table.provenance}
        self._folder.write_json(f"{source}/{dataset}/{school}/{night}.json", pointer)
        return table

    def _put(self, frame: pd.DataFrame, place: str) -> str:
        with self._folder.incoming(f"{place}/objects/incoming") as incoming:
            hashed = _Hashed(incoming)
            _write(frame, hashed)
            incoming.publish(f"{place}/objects/{hashed.digest}.parquet")
            return hashed.digest

    def redact(self, table: StoredTable, frame: pd.DataFrame | None, why: Mapping[str, str]) -> None:
        """Let a table without some people stand for a kept one; None where there is nobody to take out of it."""
        place, new = f"{table.source}/{table.dataset}/{table.school}", None
        if frame is not None:
            new = f"{place}/objects/{self._put(frame, place)}.parquet"
        stand_in(self._folder, table.path, new, why)

    def save_as_before(self, before: StoredTable, *, night: date, provenance: JsonObject) -> StoredTable:
        """Let a night have the rows of an earlier one; only where what they are made from is the same."""
        pointer: Json = {"sha256": before.sha256, "rows": before.rows, "provenance": dict(provenance)}
        self._folder.write_json(f"{before.source}/{before.dataset}/{before.school}/{night}.json", pointer)
        return StoredTable(before.source, before.dataset, before.school, night.isoformat(), **pointer)

    def forget(self, source: str, school: str) -> int:
        """Remove all tables of a school from a source; gives the number of files."""
        datasets = self._folder.names(source)
        return sum(self._folder.remove_tree(f"{source}/{name}/{school}") for name in datasets)

    def forget_made_from(self, source: str, school: str) -> int:
        """Remove the tables of a school that rules made from a source's; gives the number of files.

        With them goes what no night names any more: of a night that was made anew from another source, or what an
        earlier removal that was broken off has left.
        """
        gone = 0
        places = (f"{of}/{name}/{school}" for of in self._folder.names() for name in self._folder.names(of))
        for place in places:
            pointers = [f"{place}/{name}" for name in self._folder.names(place) if name.endswith(".json")]
            facts = {pointer: self._folder.read_json(pointer) for pointer in pointers}
            made_from: dict[str, list[str]] = {
                pointer: said["provenance"].get(MADE_FROM) or [] for pointer, said in facts.items()
            }
            if facts and not any(made_from.values()):
                continue  # a source's own
            made = [pointer for pointer, sources in made_from.items() if source in sources]
            kept = {f"{said['sha256']}.parquet" for pointer, said in facts.items() if pointer not in made}
            names = self._folder.names(f"{place}/objects")
            stay = with_stand_ins(self._folder, f"{place}/objects", set(names), kept)
            objects = [name for name in names if name not in stay]
            # The pointers last: while one is there, the next attempt finds what is left.
            for path in (*(f"{place}/objects/{name}" for name in objects), *made):
                self._folder.remove(path)
                gone += 1
        return gone

    def remove(self, source: str, dataset: str, school: str, night: date) -> None:
        """Remove the table of a night, and its rows where no other night has them; nothing where there is none."""
        place = f"{source}/{dataset}/{school}"
        table = self.find(source, dataset, school, night)
        if table is None:
            return
        others = (self.find(source, dataset, school, other) for other in self.nights(*place.split("/")))
        if not any(other is not None and other.date != table.date and other.sha256 == table.sha256 for other in others):
            self._folder.remove(table.path)
        self._folder.remove(f"{place}/{night}.json")

    def of_school(self, school: str) -> list[tuple[str, str]]:
        """Every source and dataset of which a school has tables, or has had."""
        return [
            (source, dataset)
            for source in self._folder.names()
            for dataset in self._folder.names(source)
            if self._folder.exists(f"{source}/{dataset}/{school}")
        ]

    def sources_of(self, school: str) -> list[str]:
        """The sources, and the partners, of which a school has tables."""
        return list(dict.fromkeys(source for source, _ in self.of_school(school)))

    def objects_of(self, source: str, dataset: str, school: str) -> list[tuple[StoredTable, frozenset[date]]]:
        """A dataset's tables, each once, with the nights that name it."""
        found: dict[str, tuple[StoredTable, set[date]]] = {}
        for night in self.nights(source, dataset, school):
            table = self.find(source, dataset, school, night)
            if table is not None:
                found.setdefault(table.sha256, (table, set()))[1].add(night)
        return [(table, frozenset(nights)) for table, nights in found.values()]

    def ending(
        self, source: str, dataset: str, school: str, before: date, *, nights: Collection[date], hashes: Collection[str]
    ) -> Ending:
        """The nights before a date, and the tables that no other night names.

        `nights` and `hashes` stay however old they are: exports that later ones are compared with were made of them.
        """
        place = f"{source}/{dataset}/{school}"
        there = self.nights(source, dataset, school)
        gone = [night for night in there[:-1] if night < before and night not in nights]
        named = {f"{sha256}.parquet" for sha256 in hashes}
        for night in there:
            if night not in gone and (table := self.find(source, dataset, school, night)) is not None:
                named.add(f"{table.sha256}.parquet")
        notes = [f"{place}/{night}.json" for night in gone]
        return files_ending(
            "tables", self._folder, notes=notes, objects=unnamed(self._folder, f"{place}/objects", named)
        )

    def find(self, source: str, dataset: str, school: str, night: date) -> StoredTable | None:
        """The table of a night, or None where it was never made."""
        try:
            value = self._folder.read_json(f"{source}/{dataset}/{school}/{night}.json")
        except FileNotFoundError:
            return None
        return StoredTable(source, dataset, school, night.isoformat(), **value)

    def need(self, source: str, dataset: str, school: str, night: date) -> StoredTable:
        """The table of a night; raises NotMaterialised where it was never made."""
        table = self.find(source, dataset, school, night)
        if table is None:
            nights = self.nights(source, dataset, school)
            known = f", or ask for a night that has it, from {nights[0]} to {nights[-1]}" if nights else ""
            raise NotMaterialised(
                f"There is no table {source}/{dataset}",
                school=school,
                date=night,
                remedy=f"Materialise it for that night first{known}.",
            )
        return table

    def nights(self, source: str, dataset: str, school: str) -> list[date]:
        """The nights that have a table, the oldest first."""
        return dates_of(self._folder.names(f"{source}/{dataset}/{school}"), ".json")

    def before(self, source: str, dataset: str, school: str, night: date) -> StoredTable | None:
        """The newest table of an earlier night."""
        return next(self._before(source, dataset, school, night), None)

    def _before(self, source: str, dataset: str, school: str, night: date, gap: int = GAP) -> Iterator[StoredTable]:
        """The tables of earlier nights, the newest first."""
        return earlier(
            night,
            lambda day: self.find(source, dataset, school, day),
            lambda: self.nights(source, dataset, school),
            gap=gap,
        )

    def rows_of_nights_before(self, source: str, dataset: str, school: str, night: date, *, nights: int) -> list[int]:
        """Row counts of up to so many earlier nights, the newest first."""
        return [table.rows for table in islice(self._before(source, dataset, school, night, nights + GAP), nights)]

    def is_redacted(self, pin: Json, dataset: str, school: str) -> bool:
        """Whether a person was taken out of a table, as a manifest names it, since it was made."""
        return self._folder.exists(f"{pin.get('source')}/{dataset}/{school}/objects/{pin.get('sha256')}.parquet{END}")

    def is_intact(self, table: StoredTable) -> bool:
        """Whether a table is there, and is what it was."""
        try:
            file, promised = opened(self._folder, table.path)
        except FileNotFoundError:
            return False
        with file:
            return hashlib.sha256(file.read()).hexdigest() == promised

    def load(self, table: StoredTable) -> pd.DataFrame:
        """The rows, proven against the hash; raises StorageError where they are lost or damaged."""
        where = self._folder.location(table.path)
        data, promised = b"", table.sha256
        with contextlib.suppress(FileNotFoundError):
            file, promised = opened(self._folder, table.path)
            with file:
                data = file.read()
        if hashlib.sha256(data).hexdigest() != promised:
            raise StorageError(
                "A stored table is lost or damaged",
                file=where,
                remedy="Materialise it again; the archive still has what it was made from.",
            )
        return pd.read_parquet(io.BytesIO(data), engine="pyarrow")
