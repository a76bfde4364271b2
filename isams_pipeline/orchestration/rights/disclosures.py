"""Who got what of a school, and when: from receipts, the bytes that were delivered, and the columns of the files."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from datetime import date
from typing import NamedTuple

from isams_pipeline.datasets.people import Person
from isams_pipeline.datasets.shapes import Json
from isams_pipeline.delivery.export import ExportFile, read_csv
from isams_pipeline.delivery.receipts import Receipts
from isams_pipeline.errors import StorageError
from isams_pipeline.orchestration.environment import Environment
from isams_pipeline.orchestration.partner import AnyPartner
from isams_pipeline.orchestration.rights.rows import rows_in
from isams_pipeline.rules.dates import nights_in_words
from isams_pipeline.storage.state import Delivery


class Disclosure(NamedTuple):
    """A file that a partner got, with rows of a school or of a person in it."""

    partner: str
    target: str
    file: str
    columns: tuple[str, ...]
    """Of a person: those in which something stood."""
    rows: int
    """On the last of the nights."""
    dates: frozenset[date]

    @property
    def nights(self) -> str:
        """The nights, as spans."""
        return nights_in_words(self.dates)


@dataclass(frozen=True)
class Disclosures:
    """What was disclosed, and what is not known any more."""

    made: Sequence[Disclosure]
    unknown: Mapping[str, frozenset[date]]
    """Partner → nights that it got, whose bytes are not kept any more: who was in them nobody can say."""


def disclosures(
    environment: Environment, school: str, partners: Iterable[AnyPartner], people: Sequence[Person] | None
) -> Disclosures:
    """What each partner got of a school, or with `people` of those who are one person by different sources."""
    return _Reading(environment, school, partners, people).all()


class _Reading:
    def __init__(
        self,
        environment: Environment,
        school: str,
        partners: Iterable[AnyPartner],
        people: Sequence[Person] | None,
    ) -> None:
        self._environment, self._school, self._people = environment, school, people
        self._files: dict[str, Mapping[str, ExportFile]] = {
            partner.key: {file.name: file for file in partner.gets.files} if partner.gets else {}
            for partner in partners
        }
        self._read: dict[tuple[str, str], tuple[tuple[str, ...], int] | None] = {}

    def all(self) -> Disclosures:
        """All disclosures, by partner and file."""
        found: dict[tuple[str, str, str], tuple[set[str], int, set[date]]] = {}
        unknown: dict[str, set[date]] = {}
        for receipt in Receipts(self._environment.state).all_delivered(self._school):
            files: Json = receipt.manifest.get("files") or {}
            for name, facts in files.items():
                said = self._of_file(receipt, name, str(facts["sha256"]), int(facts["rows"]))
                if said is None:
                    unknown.setdefault(receipt.partner, set()).add(receipt.date)
                elif said[1]:
                    target = receipt.target.rpartition(f"/{receipt.date}")[0]
                    columns, _, dates = found.setdefault((receipt.partner, target, name), (set(), 0, set()))
                    found[receipt.partner, target, name] = (columns | set(said[0]), said[1], dates | {receipt.date})
        made = [
            Disclosure(*where, self._in_order(where[0], where[2], columns), rows, frozenset(dates))
            for where, (columns, rows, dates) in sorted(found.items())
        ]
        return Disclosures(made, {partner: frozenset(nights) for partner, nights in unknown.items()})

    def _in_order(self, partner: str, name: str, columns: set[str]) -> tuple[str, ...]:
        file = self._files.get(partner, {}).get(name)
        return tuple(c for c in file.columns if c in columns) if file is not None else tuple(sorted(columns))

    def _of_file(self, receipt: Delivery, name: str, digest: str, rows: int) -> tuple[tuple[str, ...], int] | None:
        """The columns and the number of rows; None where its bytes are gone and a person is asked about."""
        file = self._files.get(receipt.partner, {}).get(name)
        if self._people is None and file is not None:
            return file.columns, rows
        pins: Json = receipt.manifest.get("datasets") or {}
        people = self._people
        if people is not None:  # another source's numbers may be another person's
            sources = {str(pin["source"]) for pin in pins.values() if "source" in pin}
            people = [one for one in people if one.source in {source.removesuffix("_rest") for source in sources}]
            if not people:
                return (), 0
        key = (name, digest)
        if key not in self._read:
            try:
                data = self._environment.staged(receipt.partner, self._school).read(digest)
            except StorageError:
                self._read[key] = None
            else:
                self._read[key] = _columns_in(file, data, people)
        return self._read[key]


def _columns_in(file: ExportFile | None, data: bytes, people: Sequence[Person] | None) -> tuple[tuple[str, ...], int]:
    """The columns in which something stands, and the number of rows: of all, or of those about a person."""
    rows = list(read_csv(data)) if people is None else [fields for _, fields, _ in rows_in(file, data, people)]
    return tuple(dict.fromkeys(name for row in rows for name, value in row.items() if value)), len(rows)
