"""A school with three sources of it, for tests: connected, and read without Dagster where that is enough."""

from __future__ import annotations

import contextlib
from collections.abc import Generator
from dataclasses import dataclass, field
from datetime import timedelta
from typing import Any

import pandas as pd

from isams_pipeline.datasets import LISTED_DATASETS
from isams_pipeline.orchestration.connector import Connector
from isams_pipeline.sandbox.assembly import AssemblyApi
from isams_pipeline.sandbox.render_assembly import STUDENT as ASSEMBLY_STUDENT
from isams_pipeline.sandbox.render_xporter import STUDENT as XPORTER_STUDENT
from isams_pipeline.sandbox.sides import SandboxAssembly, SandboxXporter
from isams_pipeline.sources.registry import LISTED
from isams_pipeline.sources.shared.night import ListReader, ReaderContext, SourceTable
from isams_pipeline_tests.world import FIRST, SCHOOL, World

PERSONAL = {
    "assembly": {"students", "staff_members", "contacts", "attendances"},
    "xporter": {"Students", "Staff", "Contacts", "StudentContacts", "Groups", "AttendanceForDateRange"},
}
STUDENTS = {"assembly": "students", "xporter": "Students"}
OFFSET = {"assembly": ASSEMBLY_STUDENT, "xporter": XPORTER_STUDENT}


@dataclass
class Crossing:
    """A world whose school has other sources."""

    world: World
    told: list[str] = field(default_factory=list)

    @property
    def assembly(self) -> SandboxAssembly:
        side = self.world.sandbox.schools[SCHOOL].assembly
        assert side is not None
        return side

    @property
    def xporter(self) -> SandboxXporter:
        side = self.world.sandbox.schools[SCHOOL].xporter
        assert side is not None
        return side

    def side(self, source: str) -> SandboxAssembly | SandboxXporter:
        return self.assembly if source == "assembly" else self.xporter

    def connector(self, source: str, school: str = SCHOOL) -> Connector:
        return Connector(self.world.environment, school, source, who="a test")

    def code(self, *without: str, school: str = SCHOOL) -> str:
        """The code that the redirect carries after a person of the school has said yes."""
        return self.world.sandbox.of(AssemblyApi).codes(school, set(LISTED["assembly"].scopes) - set(without))

    def connect(self, source: str) -> None:
        """All the way to an authorised app."""
        if source == "assembly":
            self.assembly.connector = "connected"
            self.connector(source).take_code(self.code())
        else:
            self.xporter.is_authorised, self.xporter.status = True, "OK"
            self.connector(source).choose(None)
        self.side(source).requests.clear()

    @contextlib.contextmanager
    def reader(self, source: str, day: int = 0, **options: Any) -> Generator[ListReader, None, None]:
        """The reader of a night; the clock stays where it is."""
        environment = self.world.environment
        look = ReaderContext(
            source=LISTED[source],
            school=SCHOOL,
            settings=environment.settings.school(SCHOOL),
            lists=environment.lists,
            connections=environment.connections,
            client=lambda: LISTED[source].connect(environment.access(SCHOOL)),
            clock=environment.clock,
            is_intact=environment.tables.is_intact,
        )
        reader = ListReader(look, FIRST + timedelta(days=day), tell=self.told.append, **options)
        try:
            yield reader
        finally:
            reader.close()

    def read(self, source: str, day: int = 0, *names: str, **options: bool) -> dict[str, SourceTable]:
        """Datasets of a night, read at its own time."""
        self.world.at_night(day)
        with self.reader(source, day, **options) as reader:
            return {name: reader.table(name, None) for name in names or LISTED_DATASETS}

    def frame(self, source: str, name: str, day: int = 0, **options: bool) -> pd.DataFrame:
        frame = self.read(source, day, name, **options)[name].frame
        assert frame is not None
        return frame

    def asked(self, source: str) -> list[str]:
        """The paths that were asked for since the last time, without their common beginning."""
        side = self.side(source)
        found = [
            path.removeprefix(f"School/{self.xporter.estab}/").rstrip("/")
            + (" status" if "onlygetDBStatus" in query else "")
            for path, query in side.requests
        ]
        side.requests.clear()
        return found
