"""Takes people out of everything that is kept of a school, store by store.

Each object is written anew without them, then stands for the old one, which goes last (`storage.redacted`); each of
these steps can be done again. So whoever is broken off loses nothing, and the next call goes on from the notes of who
is erased, without anybody naming them again. Only for who holds the school's lock.
"""

from __future__ import annotations

import contextlib
import copy
import csv
import hashlib
from collections import Counter
from collections.abc import Callable, Generator, Iterable, Mapping, Sequence
from datetime import date
from functools import partial

from isams_pipeline.datasets import SOURCE
from isams_pipeline.datasets.people import PUPIL, Person
from isams_pipeline.datasets.people_rows import frame_without
from isams_pipeline.datasets.shapes import Json
from isams_pipeline.delivery.export import MANIFEST, REDACTING, ExportFile, content_hash_of, read_csv
from isams_pipeline.errors import NotMaterialised, PipelineError, StorageError
from isams_pipeline.orchestration.coming import row_without
from isams_pipeline.orchestration.environment import Environment
from isams_pipeline.orchestration.office import report as office
from isams_pipeline.orchestration.partitions import Night
from isams_pipeline.orchestration.partner import AnyPartner
from isams_pipeline.orchestration.retention import unnamed_of
from isams_pipeline.orchestration.rights.finding import Kept, nights_at, several
from isams_pipeline.orchestration.rights.rows import excluded, file_without
from isams_pipeline.sources.isams.people_out import without
from isams_pipeline.sources.registry import LISTED
from isams_pipeline.storage.archive import Snapshot, SnapshotArchive
from isams_pipeline.storage.earlier import dates_of
from isams_pipeline.storage.folder import Folder


class Erasing:
    """Takes people out of all stores of a school."""

    def __init__(
        self,
        environment: Environment,
        school: str,
        partners: Iterable[AnyPartner],
        people: Sequence[Person],
        *,
        why: Mapping[str, str],
        at_partners: bool,
    ) -> None:
        """`why` stands in every note: when, by whom, what for. `at_partners`: also in places that are not here."""
        self._environment, self._school, self._why = environment, school, why
        self._partners = list(partners)
        self._kept = Kept(environment, school, self._partners, people)
        self._at_partners = at_partners
        self.failed: list[PipelineError] = []
        """What could not be rewritten: the erasure has not ended."""
        self.rewritten: set[str] = set()
        """The partners whose past exports may be rewritten: what their paths begin with."""
        self.left: list[str] = []
        """Where deliveries lie that this pipeline may not rewrite."""
        self.open: list[str] = []
        """What a person is to do before the erasure can end."""

    def everything(self) -> Counter[str]:
        """All of it; gives store → how many rows, links and files went. What fails is in `failed`, the rest is done."""
        self._environment.sweep(self._school)
        found: Counter[str] = Counter()
        stores: dict[str, Callable[[], int]] = {
            "archive": self._archive,
            "lists": self._lists,
            "tables": self._tables,
            "staged": self._staged,
            "exports": self._exports,
            "reports": self._reports,
            "photos": self._photos,
            "bundles": self._bundles,
        }
        for store, erase in stores.items():
            with self._unless_it_fails():
                found[store] += erase()
        for partner in self._partners:
            for person in self._kept.of(self._kept.source_for(partner.key) or SOURCE):
                with self._unless_it_fails():
                    done = partner.erases(self._environment, self._school, person, self._why)
                    found.update(done.counts)
                    self.open += [one for one in done.left if one not in self.open]
        with self._unless_it_fails():  # what a note named before, such as pictures
            for ending in unnamed_of(self._environment, self._school, self._partners):
                ending.go()
        with self._unless_it_fails():
            self._environment.state.scrub()
        return +found

    @contextlib.contextmanager
    def _unless_it_fails(self) -> Generator[None, None, None]:
        try:
            yield
        except PipelineError as error:
            self.failed.append(error)

    # --- what came from the sources ---------------------------------------------------------------------------

    def _archive(self) -> int:
        people = self._kept.of(SOURCE)
        objects = [one for one, _ in self._environment.archive.objects_of(self._school)] if people else []
        took = partial(_out_of_answer, f"{self._environment.where}/archive", people=people, why=dict(self._why))
        rows = 0
        with several(len(objects)) as each:
            for said in each(took, objects):
                if isinstance(said, str):
                    self.failed.append(StorageError(said))
                else:
                    rows += said
        return rows

    def _lists(self) -> int:
        store, rows = self._environment.lists, 0
        for source in LISTED:
            people = self._kept.of(source)
            for name, sha256, _ in store.objects_of(source, self._school) if people else ():
                with self._unless_it_fails():
                    rows += store.redact((source, self._school), name, sha256, row_without(source, people), self._why)
        return rows

    def _tables(self) -> int:
        tables, rows = self._environment.tables, 0
        for source, dataset in tables.of_school(self._school):
            own = self._kept.own_columns(source, dataset)
            for table, _ in tables.objects_of(source, dataset, self._school):
                people = self._kept.of_table(table)
                if people:
                    with self._unless_it_fails():
                        frame = tables.load(table)
                        left = frame_without(frame, people, own)
                        tables.redact(table, left, self._why)
                        rows += 0 if left is None else max(len(frame) - len(left), 1)
        return rows

    # --- what went to partners ------------------------------------------------------------------------------

    def _staged(self) -> int:
        rows = 0
        for staged in self._environment.staged_of(self._school):
            files = self._kept.files(staged.partner)
            for name, digest, _, sources in staged.objects_of():
                people = self._kept.of(*(sources or {self._kept.source_for(staged.partner)}))
                if people:
                    with self._unless_it_fails():
                        data = staged.read(digest)
                        left, gone = _left_of(files.get(name), data, people, name)
                        staged.redact(digest, left if left != data else None, self._why)
                        rows += max(len(gone), left != data)
        return rows

    def _exports(self) -> int:
        rows = 0
        for partner in self._environment.settings.school(self._school).partners.exporting:
            with self._unless_it_fails():
                for key, target in self._environment.targets_of(self._school, partner):
                    for folder, night in nights_at(target, f"{key}/{self._school}"):
                        with self._unless_it_fails():
                            rows += self._at_target(target, key, folder, night)
        return rows

    def _at_target(self, target: Folder, partner: str, folder: str, night: date) -> int:
        people, manifest = self._kept.of_export(target, partner, folder)
        if not people:
            return 0
        files, made, rows = self._kept.files(partner), dict[str, bytes](), 0
        there = target.names(folder)
        for name in there:
            if name.endswith(".csv"):
                data = target.read(f"{folder}/{name}")
                left, gone = _left_of(files.get(name), data, people, f"{folder}/{name}")
                if left != data:
                    made[name] = left
                    rows += max(len(gone), 1)
        pictures = _unnamed_pictures(target, folder, files, made)
        if not made and not pictures and REDACTING not in there:
            return 0
        if not self._may_rewrite(target):
            self.left.append(f"{partner}, {night}: {target.location(folder)} (delivered; theirs to delete)")
            return 0
        self.rewritten.add(partner)
        # While it is there the manifest may speak of files as they were: the next call goes through them again.
        target.write_json(f"{folder}/{REDACTING}", dict(self._why))
        for name in pictures:
            target.remove(f"{folder}/{name}")
        for name, data in made.items():
            target.write(f"{folder}/{name}", data)
        if manifest is not None:
            target.write_json(f"{folder}/{MANIFEST}", _manifest_of(manifest, target, folder, files, self._why))
        target.remove(f"{folder}/{REDACTING}")
        return rows + len(pictures)

    def _may_rewrite(self, target: Folder) -> bool:
        """Whether what was delivered may be changed: where it lies here, may be deleted, or a person says so."""
        may_delete = self._environment.settings.retention_of(self._school).exports is not None
        return self._at_partners or may_delete or target.is_below(self._environment.data)

    # --- the rest --------------------------------------------------------------------------------------------

    def _reports(self) -> int:
        reports, rows = self._environment.reports, 0
        for of in reports.names():
            for night in dates_of(reports.names(f"{of}/{self._school}")):
                people = self._kept.of(*self._kept.sources_on(of, night))
                folder = f"{of}/{self._school}/{night}"
                for name in reports.names(folder) if people else ():
                    if name.endswith(".csv"):
                        with self._unless_it_fails():
                            rows += _out_of_report(reports, f"{folder}/{name}", people)
        return rows + self._of_the_office()

    def _of_the_office(self) -> int:
        """The office's reports are made again of what is left; where that cannot be, they go."""
        reports, people, rows = self._environment.reports, self._kept.of(SOURCE), 0
        for night in dates_of(reports.names(self._school)) if people else ():
            at = f"{self._school}/{night}"
            try:
                tasks: dict[str, list[str]] = reports.read_json(f"{at}/{office.FACTS}")["tasks"]
            except (FileNotFoundError, StorageError):
                # Of whom it speaks nobody knows: it is made again, too.
                rows += self._made_again(night) if reports.names(at) else 0
                continue
            named = sum(
                any(excluded({"entity": key.partition("/")[0], "id": one}, person) for person in people)
                for key, records in tasks.items()
                for one in records
            )
            if named:
                self._made_again(night)
                rows += named
        return rows

    def _made_again(self, night: date) -> int:
        try:
            office.made(self._environment, Night(self._school, night))
        except NotMaterialised:
            self._environment.reports.remove_tree(f"{self._school}/{night}")
        return 1

    def _photos(self) -> int:
        by = self._environment.settings.school(self._school).partners.photos
        people = self._kept.of(by if by is not None and by in LISTED else SOURCE)
        photos = self._environment.photos(self._school)
        return photos.take_out(lambda pupil: any(person.is_meant(PUPIL, pupil) for person in people)) if people else 0

    def _bundles(self) -> int:
        """All bundles of the school: others' may name them, and each can be made again."""
        return self._environment.data.remove_tree(f"bundles/{self._school}")


def _out_of_answer(archive: str, snapshot: Snapshot, *, people: Sequence[Person], why: dict[str, str]) -> int | str:
    """Take people out of an answer; a text where it cannot be read or written."""
    try:
        return SnapshotArchive(Folder(archive)).redact(snapshot, partial(without, people=people), why)
    except PipelineError as error:
        return str(error)


def _left_of(
    file: ExportFile | None,
    data: bytes,
    people: Sequence[Person],
    name: str,
    also: Callable[[Mapping[str, str]], bool] = lambda _row: False,
) -> tuple[bytes, list[dict[str, str]]]:
    try:
        return file_without(file, data, people, also)
    except (ValueError, csv.Error):  # its own text may quote the file
        raise StorageError(f"{name} is no CSV file in UTF-8", remedy="Look at it yourself, or remove it.") from None


def _unnamed_pictures(
    target: Folder, folder: str, files: Mapping[str, ExportFile], made: Mapping[str, bytes]
) -> list[str]:
    """The pictures of an export that no row names, or none once some files are rewritten."""
    found: list[str] = []
    for file in {id(one): one for one in files.values()}.values():
        if file.pictures is None:
            continue
        inside = file.pictures.partition("/")[0]
        there = [f"{inside}/{name}" for name in target.names(f"{folder}/{inside}")]
        if there and target.exists(f"{folder}/{file.name}"):
            data = made[file.name] if file.name in made else target.read(f"{folder}/{file.name}")
            named = {file.pictures.format(row.get(file.key[0], "")) for row in read_csv(data)}
            found += [name for name in there if name not in named]
    return found


def _manifest_of(
    manifest: Json, target: Folder, folder: str, files: Mapping[str, ExportFile], why: Mapping[str, str]
) -> Json:
    """A manifest with hashes and numbers of rows as the files are now."""
    found = copy.deepcopy(manifest)
    lists: Json = found.get("changes", {}).get("lists") or {}
    for of in (found["files"], lists):
        for name, facts in of.items():
            data = target.read(f"{folder}/{name}")
            facts["sha256"] = hashlib.sha256(data).hexdigest()
            if "rows" in facts:
                facts["rows"] = sum(1 for _ in read_csv(data))
            file = files.get(name)
            if of is found["files"] and file is not None and file.pictures is not None and "pictures" in found:
                found["pictures"] = facts["rows"]
    hashes = {name: str(facts["sha256"]) for name, facts in found["files"].items()}
    return found | {"content_hash": content_hash_of(hashes), "redacted": dict(why)}


def _out_of_report(reports: Folder, path: str, people: Sequence[Person]) -> int:
    try:
        data = reports.read(path)
    except FileNotFoundError:  # its night has ended
        return 0

    def is_theirs(row: Mapping[str, str]) -> bool:
        return any(excluded(row, person) for person in people)

    left, gone = _left_of(None, data, people, path, is_theirs)
    if left != data:
        reports.write(path, left)
    return max(len(gone), left != data)
