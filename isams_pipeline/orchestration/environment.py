"""Everything a run needs besides the code: settings, the clock, the folders, the state database, the secrets."""

from __future__ import annotations

import os
from collections.abc import Mapping
from dataclasses import dataclass, field
from datetime import date
from functools import cached_property
from pathlib import Path

from isams_pipeline.clock import Clock, system_clock
from isams_pipeline.config import Settings, secret_from
from isams_pipeline.config.partners import Delivering
from isams_pipeline.config.places import folder_here, url_of
from isams_pipeline.config.secrets import is_set
from isams_pipeline.delivery.staging import StagedExports
from isams_pipeline.errors import ConfigurationError
from isams_pipeline.orchestration.coming import Coming
from isams_pipeline.sources.shared.access import Access
from isams_pipeline.sources.shared.connections import Connections
from isams_pipeline.sources.shared.http import Patience
from isams_pipeline.sources.shared.source import NightNeeds
from isams_pipeline.storage.archive import SnapshotArchive
from isams_pipeline.storage.erased import Erased
from isams_pipeline.storage.folder import Folder
from isams_pipeline.storage.lists import ListStore
from isams_pipeline.storage.locks import Locks
from isams_pipeline.storage.photos import PhotoStore
from isams_pipeline.storage.state import StateDatabase
from isams_pipeline.storage.state.database import POSTGRES_VARIABLE
from isams_pipeline.storage.tables import TableStore

DATA_DIR_VARIABLE = "ISAMS_DATA_DIR"
_BEGUN, _ENDED = b"begun", b"ended"


@dataclass
class Environment:
    """Opened piece by piece when a run needs it: making one reads no secret, no disk and no network."""

    settings: Settings
    data_dir: Path = field(default_factory=lambda: folder_here(os.environ.get(DATA_DIR_VARIABLE)))
    """On this machine: the data, or where they lie elsewhere, what this machine may lose."""
    store: str | None = field(default_factory=lambda: url_of(os.environ.get(DATA_DIR_VARIABLE)))
    """Where the data lie, by a URL such as s3://bucket/prefix; None: in `data_dir`."""
    clock: Clock = system_clock
    variables: Mapping[str, str] = field(default_factory=lambda: os.environ, repr=False)
    patience: Patience = field(default_factory=Patience)
    lock_wait: float = 900
    """Seconds that a run waits for another run of the same school."""
    retries: int = 2
    """How often a step is tried again after a transient fault that outlasted the client's patience."""
    retry_wait: float = 300

    def __post_init__(self) -> None:
        self.data_dir = self.data_dir.resolve()
        if self.store is not None and self.postgres is None:
            raise ConfigurationError(
                "The data lie on an object store, where no database can, and no locks",
                folder=self.store.partition("?")[0],
                remedy=f"Set {POSTGRES_VARIABLE} to a Postgres that all machines use (docs/operations.md).",
            )

    @property
    def where(self) -> str:
        """Where the data lie: a folder's path, or a URL."""
        return self.store or str(self.data_dir)

    @cached_property
    def data(self) -> Folder:
        """The data, wherever they lie."""
        return Folder(self.where)

    @property
    def postgres(self) -> str | None:
        """The URL of the Postgres that holds state and history, where there is one."""
        return secret_from(self.variables, POSTGRES_VARIABLE) if is_set(self.variables, POSTGRES_VARIABLE) else None

    @cached_property
    def state(self) -> StateDatabase:
        """The state database, its tables up to date."""
        return StateDatabase.open(self.data_dir, self.postgres)

    @cached_property
    def locks(self) -> Locks:
        """Locks across processes (and, with Postgres, machines)."""
        return Locks(self.data_dir / "locks", self.state.engine if self.postgres else None)

    @property
    def erased(self) -> Erased:
        """Who is not to come back."""
        return Erased(self.state, self.data)

    @property
    def _coming(self) -> Coming:
        return Coming(lambda: self.erased)

    @property
    def archive(self) -> SnapshotArchive:
        """The snapshots, which nobody comes into who was erased."""
        return SnapshotArchive(self.data.child("archive"), self._coming.answers)

    @property
    def tables(self) -> TableStore:
        """The datasets, likewise."""
        return TableStore(self.data.child("tables"), self._coming.table)

    @property
    def lists(self) -> ListStore:
        """What the other sources gave, likewise."""
        return ListStore(self.data.child("lists"), self._coming.rows)

    def photos(self, school: str) -> PhotoStore:
        """A school's photos."""
        return PhotoStore(self.data.child("photos").child(school))

    @property
    def connections(self) -> Connections:
        """The schools' connections by the other sources."""
        return Connections(self.state, self.clock)

    @property
    def reports(self) -> Folder:
        """What the school, not the partner, is told."""
        return self.data.child("reports")

    def target(self, partner: Delivering, school: str) -> Folder:
        """Where a partner's files go. Raises MissingSecret, and StorageError where the place cannot be reached."""
        named = partner.deliver_secret
        password = secret_from(self.variables, named, school=school, partner=partner.key) if named else None
        return Folder(self.settings.resolve(partner.deliver_to), password=password)

    def staged(self, partner: str, school: str, part: str = "") -> StagedExports:
        """A partner's exports of a school before delivery."""
        return StagedExports(self.data.child("staged"), partner, school, part)

    def targets_of(self, school: str, partner: str) -> list[tuple[str, Folder]]:
        """Where a partner's files go: what their paths begin with, such as schoolsbuddy_attendance, and the place.

        Raises MissingSecret, and StorageError where the place cannot be reached.
        """
        partners = self.settings.school(school).partners
        target = self.target(partners.exporting[partner], school)
        staged = [name for name in self.data.child("staged").names() if partners.whose(name) == partner]
        return [(name, target) for name in dict.fromkeys((partner, *staged))]

    def begin(self, school: str) -> None:
        """Note that a run of a school begins, and sweep up first where the last one has not noted its end.

        Only for who holds the school's lock. To look through all nights that there ever were takes longer each year.
        """
        noted = self.data.child("under_way")
        if not noted.exists(school) or noted.read(school) != _ENDED:
            self.sweep(school)
        noted.write(school, _BEGUN)

    def end(self, school: str) -> None:
        """Note that a run of a school has ended, in whichever way, and left nothing half written."""
        self.data.child("under_way").write(school, _ENDED)

    def sweep(self, school: str) -> int:
        """Remove what killed runs of a school left half written; only for who holds the school's lock.

        Gives the number of files.
        """
        data = self.data
        if data.is_object_store:  # where a file is whole or not there
            return 0
        places = [f"archive/{school}", f"outbox/{school}", f"photos/{school}", f"reports/{school}"]
        places += [f"{kept}/{other}/{school}" for kept in ("lists", "staged", "reports") for other in data.names(kept)]
        for source in data.names("tables"):
            places += [f"tables/{source}/{dataset}/{school}" for dataset in data.names(f"tables/{source}")]
        return sum(data.sweep(place, deep=True) for place in places)

    def keeps(self, school: str, source: str) -> bool:
        """Whether anything of a school from another source is on disk or in the database."""
        data = self.data
        tables = [f"tables/{source}/{dataset}/{school}" for dataset in data.names(f"tables/{source}")]
        on_disk = any(data.names(place) for place in (f"lists/{source}/{school}", *tables))
        return on_disk or self.connections.current(school, source) is not None

    def staged_of(self, school: str) -> list[StagedExports]:
        """A school's staged exports of all partners that there are on disk, whoever is in schools.yaml today."""
        folder = self.data.child("staged")
        return [StagedExports(folder, name, school) for name in folder.names() if folder.exists(f"{name}/{school}")]

    def needs_of(self, school: str, night: date) -> NightNeeds:
        """What a source's reader of a school's night needs of the world; raises ConfigurationError."""
        return NightNeeds(
            self.access(school),
            night,
            archive=self.archive,
            lists=self.lists,
            tables=self.tables,
            connections=lambda: self.connections,
        )

    def access(self, school: str) -> Access:
        """A school's way to its sources; raises ConfigurationError."""
        return Access(
            school,
            self.settings.school(school),
            self.variables,
            state=lambda: self.state,
            hold=lambda name: self.locks.hold(name, wait=self.lock_wait),
            clock=self.clock,
            patience=self.patience,
        )
