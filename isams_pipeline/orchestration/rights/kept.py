"""What of what is kept of a school is about whom: whose numbers each store has, and by what its rows name people."""

from __future__ import annotations

import contextlib
from collections.abc import Callable, Generator, Iterable, Iterator, Mapping, Sequence
from concurrent.futures import ProcessPoolExecutor
from datetime import date
from functools import partial
from multiprocessing import get_context
from typing import Any

from isams_pipeline.datasets.people import COLUMNS, Person, subjects
from isams_pipeline.datasets.shapes import Json
from isams_pipeline.delivery.changes import list_name
from isams_pipeline.delivery.export import MANIFEST, ExportFile
from isams_pipeline.errors import NotMaterialised, StorageError
from isams_pipeline.orchestration.coming import numbers_of, own_columns
from isams_pipeline.orchestration.environment import Environment
from isams_pipeline.orchestration.partner import AnyPartner
from isams_pipeline.sources.registry import SOURCES, WITHIN_THE_DAY
from isams_pipeline.storage.earlier import dates_of
from isams_pipeline.storage.folder import Folder
from isams_pipeline.storage.tables import MADE_FROM, StoredTable

_WORTH_A_PROCESS = 60
"""Answers from which on more processes than one read them: each costs a second to start."""


class Kept:
    """What is kept of a school, by whose numbers it is."""

    def __init__(
        self, environment: Environment, school: str, partners: Iterable[AnyPartner], people: Sequence[Person]
    ) -> None:
        self._environment, self._school, self._people = environment, school, people
        self.partners = {partner.key: partner for partner in partners}

    def of(self, *sources: str) -> list[Person]:
        """The people as some sources have them: numbers of others may be another's."""
        return [person for person in self._people if person.source in sources]

    def source_for(self, partner: str) -> str:
        """The source by which a partner's data comes today; empty where the school has agreed nothing with it."""
        partners = self._environment.settings.school(self._school).partners
        return partners.sources.get(partners.whose(partner) or "", "")

    def own_columns(self, source: str, dataset: str) -> Mapping[str, str]:
        """The columns by which a row of a table is somebody's; of one that nobody declares any more, all."""
        if source in SOURCES or source in WITHIN_THE_DAY:
            return own_columns(dataset)
        partner = self.partners.get(source)
        if partner is not None and partner.gets is not None:
            found = next((one for one in partner.gets.tables if one.name == dataset), None)
            if found is not None:
                return subjects(found.declaration)
        return COLUMNS

    def of_table(self, table: StoredTable) -> list[Person]:
        """The people by whose numbers a table is: a source's, or those of the sources that rules made it from."""
        if table.source in SOURCES or table.source in WITHIN_THE_DAY:
            return self.of(numbers_of(table.source))
        made_from: list[str] = table.provenance.get(MADE_FROM) or [self.source_for(table.source)]
        return self.of(*made_from)

    def files(self, partner: str) -> Mapping[str, ExportFile]:
        """A partner's files and lists of changes, by name."""
        known = self.partners.get(partner)
        files = known.gets.files if known is not None and known.gets is not None else ()
        return {file.name: file for file in files} | {list_name(file.name): file for file in files}

    def sources_on(self, partner: str, night: date) -> set[str]:
        """The sources by which a partner's data came on a night."""
        try:
            staged = self._environment.staged(partner, self._school).find(night)
        except (NotMaterialised, StorageError):
            return {self.source_for(partner)}
        return {str(pin["source"]) for pin in staged.datasets.values()} or {self.source_for(partner)}

    def of_export(self, target: Folder, partner: str, folder: str) -> tuple[list[Person], Json | None]:
        """The people by whose numbers an export at a partner is, and its manifest where that can be read."""
        try:
            manifest: Json = target.read_json(f"{folder}/{MANIFEST}")
            people = self.of(*{str(pin["source"]) for pin in manifest["datasets"].values()})
        except (FileNotFoundError, StorageError, KeyError):
            return self.of(self.source_for(partner)), None
        return people or self.of(self.source_for(partner)), manifest


def nights_at(target: Folder, place: str) -> Iterator[tuple[str, date]]:
    """The folders of exports in a place, each with its night; those of parts of a day, too."""
    for night in dates_of(target.names(place)):
        at = f"{place}/{night}"
        yield at, night
        for name in target.names(at):
            if target.exists(f"{at}/{name}/{MANIFEST}"):
                yield f"{at}/{name}", night


@contextlib.contextmanager
def several(count: int) -> Generator[Callable[..., Iterable[Any]], None, None]:
    """A `map` that uses all processors where there is enough to do; in the order of what it is given."""
    if count < _WORTH_A_PROCESS:
        yield map
        return
    with ProcessPoolExecutor(mp_context=get_context("spawn")) as pool:
        yield partial(pool.map, chunksize=8)
