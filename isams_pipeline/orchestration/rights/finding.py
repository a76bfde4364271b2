"""Everything that is kept of a person: store by store, file by file, each row with the nights that have it."""

from __future__ import annotations

import csv
import json
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import date
from functools import partial
from typing import Any, NamedTuple

from isams_pipeline.datasets import SOURCE
from isams_pipeline.datasets.people import PUPIL, Person
from isams_pipeline.delivery.export import ExportFile, read_csv
from isams_pipeline.errors import PipelineError, StorageError
from isams_pipeline.orchestration.environment import Environment
from isams_pipeline.orchestration.office.report import FACTS
from isams_pipeline.orchestration.partner import AnyPartner
from isams_pipeline.orchestration.pins import EXCLUSIONS
from isams_pipeline.orchestration.rights.kept import Kept, nights_at, several
from isams_pipeline.orchestration.rights.rows import excluded, flat, rows_about, rows_in
from isams_pipeline.sources.isams.people_in import OWN, PERHAPS, Mention, mentions
from isams_pipeline.sources.registry import LISTED
from isams_pipeline.storage.archive import Snapshot, SnapshotArchive
from isams_pipeline.storage.earlier import dates_of
from isams_pipeline.storage.folder import Folder


class Found(NamedTuple):
    """Something that is kept of a person."""

    store: str
    """By its name in `retention`."""
    place: str
    """Which dataset, list, file or table of the database."""
    how: str
    """own: a row of theirs, or a link. named: a field of another row that names them. perhaps: it may be about them."""
    fields: Mapping[str, str]
    nights: frozenset[date] = frozenset()
    """The nights that have it, where it belongs to nights."""
    where: tuple[str, ...] = ()
    """The files that have it, each with the row in it."""


@dataclass(frozen=True)
class Trouble:
    """Something that could not be looked through."""

    store: str
    what: str


@dataclass
class Holdings:
    """All that is kept of a person."""

    person: Sequence[Person]
    found: list[Found] = field(default_factory=list[Found])
    troubles: list[Trouble] = field(default_factory=list[Trouble])
    looked_through: dict[str, int] = field(default_factory=dict[str, int])
    """Store → how many files or rows were looked through."""

    def counts(self) -> dict[tuple[str, str], int]:
        """Store and how → how many rows."""
        made: dict[tuple[str, str], int] = {}
        for one in self.found:
            made[one.store, one.how] = made.get((one.store, one.how), 0) + 1
        return made


class Search:
    """Looks through all that is kept of a school."""

    def __init__(
        self, environment: Environment, school: str, partners: Iterable[AnyPartner], people: Sequence[Person]
    ) -> None:
        self._environment, self._school, self._people = environment, school, people
        self._kept = Kept(environment, school, partners, people)
        self._holdings = Holdings(people)
        self._rows: dict[tuple[str, str, str, str], Found] = {}
        self._of_file: dict[tuple[str, str], list[tuple[str, dict[str, str], int]]] = {}

    def everything(self) -> Holdings:
        """All of it; what cannot be read is named, and the rest is looked through all the same."""
        looks: dict[str, Callable[[], Iterator[Found]]] = {
            "lists": self._lists,
            "tables": self._tables,
            "staged": self._staged,
            "exports": self._exports,
            "reports": self._reports,
            "photos": self._photos,
        }
        people = self._kept.of(SOURCE)
        objects = self._answers() if people else []
        with several(len(objects)) as each:  # most of the work; the rest is done meanwhile
            in_answer = partial(_in_answer, f"{self._environment.where}/archive", people=people)
            told = each(in_answer, [one for one, _ in objects])
            for store, look in looks.items():
                self._take(store, look)
            self._take("archive", lambda: self._archive(objects, told))
        for partner in self._kept.partners.values():
            for person in self._people:
                self._take(partner.key, lambda p=partner, who=person: self._of_partner(p, who))
        self._holdings.found += sorted(self._rows.values(), key=lambda one: (one.store, one.place, one.how, one.where))
        return self._holdings

    def _take(self, store: str, look: Callable[[], Iterator[Found]]) -> None:
        try:
            for found in look():
                key = (found.store, found.place, found.how, json.dumps(dict(found.fields), sort_keys=True))
                known = self._rows.get(key)
                self._rows[key] = found if known is None else _both(known, found)
        except PipelineError as error:
            self._trouble(store, error)

    def _trouble(self, store: str, error: PipelineError) -> None:
        self._holdings.troubles.append(Trouble(store, str(error)))

    def _unreadable(self, store: str, file: str, error: Exception) -> None:
        """Note a file that is none of ours any more; another error's own text may quote it."""
        said = str(error) if isinstance(error, PipelineError) else f"{file} is no CSV file in UTF-8"
        self._holdings.troubles.append(Trouble(store, said))

    def _looked(self, store: str) -> None:
        self._holdings.looked_through[store] = self._holdings.looked_through.get(store, 0) + 1

    # --- what came from the sources ---------------------------------------------------------------------------

    def _answers(self) -> list[tuple[Snapshot, frozenset[date]]]:
        try:
            return self._environment.archive.objects_of(self._school)
        except PipelineError as error:
            self._trouble("archive", error)
            return []

    def _archive(
        self, objects: Sequence[tuple[Snapshot, frozenset[date]]], told: Iterable[list[Mention] | str]
    ) -> Iterator[Found]:
        for (snapshot, nights), said in zip(objects, told, strict=True):
            self._looked("archive")
            if isinstance(said, str):
                self._holdings.troubles.append(Trouble("archive", said))
                continue
            for one in said:
                where = f"archive/{self._school}/objects/{snapshot.sha256}.xml.zst, row {one.row}"
                yield Found("archive", one.path, one.how, one.fields, nights, (where,))

    def _lists(self) -> Iterator[Found]:
        store = self._environment.lists
        for source, listed in LISTED.items():
            people = self._kept.of(source)
            for name, sha256, nights in store.objects_of(source, self._school) if people else ():
                self._looked("lists")
                try:
                    for number, row in enumerate(store.rows(source, self._school, sha256), start=1):
                        for person in people:
                            how = listed.people.how(name, row, person)
                            if how is not None:
                                shown = row if how == OWN else _key_of(row)
                                where = f"lists/{source}/{self._school}/objects/{sha256}.jsonl.zst, row {number}"
                                yield Found("lists", f"{source}/{name}", how, flat(shown), nights, (where,))
                except StorageError as error:
                    self._trouble("lists", error)

    def _tables(self) -> Iterator[Found]:
        tables = self._environment.tables
        for source, dataset in tables.of_school(self._school):
            own = self._kept.own_columns(source, dataset)
            for table, nights in tables.objects_of(source, dataset, self._school):
                people = self._kept.of_table(table)
                if not people:
                    continue
                self._looked("tables")
                try:
                    frame = tables.load(table)
                except StorageError as error:
                    self._trouble("tables", error)
                    continue
                for person in people:
                    for number, how, fields in rows_about(frame, person, own):
                        where = f"tables/{table.path}, row {number}"
                        yield Found("tables", f"{source}/{dataset}", how, fields, nights, (where,))

    # --- what went to partners ------------------------------------------------------------------------------

    def _staged(self) -> Iterator[Found]:
        for staged in self._environment.staged_of(self._school):
            files = self._kept.files(staged.partner)
            for name, digest, nights, sources in staged.objects_of():
                people = self._kept.of(*(sources or {self._kept.source_for(staged.partner)}))
                if not people:
                    continue
                self._looked("staged")
                try:
                    at = partial(staged.read, digest)
                    yield from self._in_file(
                        ("staged", staged.partner), files.get(name), (name, digest), (nights, people), at
                    )
                except _UNREADABLE as error:
                    self._unreadable("staged", name, error)

    def _exports(self) -> Iterator[Found]:
        for partner in self._environment.settings.school(self._school).partners.exporting:
            try:
                for key, target in self._environment.targets_of(self._school, partner):
                    files = self._kept.files(key)
                    for folder, night in nights_at(target, f"{key}/{self._school}"):
                        yield from self._at_target(target, key, files, folder, night)
            except PipelineError as error:
                self._trouble("exports", error)

    def _at_target(
        self, target: Folder, partner: str, files: Mapping[str, ExportFile], folder: str, night: date
    ) -> Iterator[Found]:
        people, manifest = self._kept.of_export(target, partner, folder)
        hashes = {name: str(facts["sha256"]) for name, facts in (manifest or {}).get("files", {}).items()}
        for name in target.names(folder):
            if name.endswith(".csv"):
                self._looked("exports")
                file = files.get(name)
                key = (name, hashes.get(name, f"{folder}/{name}"))
                at = partial(target.read, f"{folder}/{name}")
                try:
                    yield from self._in_file(("exports", partner), file, key, (frozenset({night}), people), at)
                except _UNREADABLE as error:
                    self._unreadable("exports", f"{folder}/{name}", error)
        for file in {id(one): one for one in files.values()}.values():
            if file.pictures is not None:
                before, _, after = file.pictures.partition("{}")
                inside = before.rpartition("/")[0]
                for name in target.names(f"{folder}/{inside}"):
                    picture = f"{inside}/{name}"
                    number = picture.removeprefix(before).removesuffix(after)
                    if any(person.entity == "pupil" and person.is_meant(PUPIL, number) for person in people):
                        said = {"picture": target.location(f"{folder}/{picture}")}
                        yield Found(
                            "exports", f"{partner}/{picture}", OWN, said, frozenset({night}), (said["picture"],)
                        )

    def _in_file(
        self,
        where: tuple[str, str],
        file: ExportFile | None,
        which: tuple[str, str],
        whose: tuple[frozenset[date], Sequence[Person]],
        read: Callable[[], bytes],
    ) -> Iterator[Found]:
        """The rows of a delivered file; most nights have most files of the night before, and each is read once."""
        if which not in self._of_file:
            self._of_file[which] = list(rows_in(file, read(), whose[1]))
        (store, partner), (name, digest), (nights, _) = where, which, whose
        for how, fields, number in self._of_file[which]:
            yield Found(store, f"{partner}/{name}", how, fields, nights, (f"{name} ({digest[:12]}), row {number}",))

    # --- the rest --------------------------------------------------------------------------------------------

    def _reports(self) -> Iterator[Found]:
        reports = self._environment.reports
        for of in reports.names():
            for night in dates_of(reports.names(f"{of}/{self._school}")):
                at = f"{of}/{self._school}/{night}/{EXCLUSIONS.name}"
                people = self._kept.of(*self._kept.sources_on(of, night))
                if not people or not reports.exists(at):
                    continue
                self._looked("reports")
                try:
                    rows = list(read_csv(reports.read(at)))
                except _UNREADABLE as error:
                    self._unreadable("reports", at, error)
                    continue
                place, nights = f"{of}/{EXCLUSIONS.name}", frozenset({night})
                for number, row in enumerate(rows, start=1):
                    if any(excluded(row, person) for person in people):
                        yield Found("reports", place, OWN, row, nights, (f"{at}, row {number}",))
        yield from self._of_the_office()

    def _of_the_office(self) -> Iterator[Found]:
        """The reports for the school's office, which are about iSAMS; page and workbook hold the same records."""
        reports, people = self._environment.reports, self._kept.of(SOURCE)
        for night in dates_of(reports.names(self._school)) if people else ():
            at = f"{self._school}/{night}/{FACTS}"
            try:
                tasks: dict[str, list[str]] = reports.read_json(at)["tasks"]
            except FileNotFoundError:
                continue
            except StorageError as error:
                self._unreadable("reports", at, error)
                continue
            self._looked("reports")
            for key, records in tasks.items():
                entity = key.partition("/")[0]
                for one in records:
                    if any(excluded({"entity": entity, "id": one}, person) for person in people):
                        yield Found("reports", key, OWN, {"id": one}, frozenset({night}), (at,))

    def _photos(self) -> Iterator[Found]:
        photos = self._environment.photos(self._school)
        by = self._environment.settings.school(self._school).partners.photos
        for person in self._kept.of(by if by is not None and by in LISTED else SOURCE):
            theirs = (one for one in photos.pupils() if person.is_meant(PUPIL, one))
            for pupil in theirs if person.entity == "pupil" else ():
                for digest, nights in photos.of_pupil(pupil):
                    self._looked("photos")
                    where = f"photos/{self._school}/objects/{digest}"
                    yield Found("photos", "photo", OWN, {"sha256": digest, "file": where}, frozenset(nights), (where,))

    def _of_partner(self, partner: AnyPartner, person: Person) -> Iterator[Found]:
        if person.source != (self._kept.source_for(partner.key) or SOURCE):
            return
        for store, place, fields, is_sure in partner.holds(self._environment, self._school, person):
            self._looked(store)
            yield Found(store, place, OWN if is_sure else PERHAPS, fields)


_UNREADABLE = (StorageError, FileNotFoundError, ValueError, csv.Error)
"""What a file gives that somebody has changed or removed: the others are looked through all the same."""


def _in_answer(archive: str, snapshot: Snapshot, *, people: Sequence[Person]) -> list[Mention] | str:
    """Where an answer speaks of people; a text where it cannot be read."""
    try:
        found: list[Mention] = []
        for person in people:
            with SnapshotArchive(Folder(archive)).open(snapshot) as stream:
                found += mentions(stream, person)
    except PipelineError as error:
        return str(error)
    return found


def _both(one: Found, other: Found) -> Found:
    where = tuple(dict.fromkeys((*one.where, *other.where)))
    return one._replace(nights=one.nights | other.nights, where=where)


def _key_of(row: Mapping[str, Any]) -> dict[str, Any]:
    return {name: row[name] for name in ("id", "Id", "name", "Name", "key", "_array") if name in row}
