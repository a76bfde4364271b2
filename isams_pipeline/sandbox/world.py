"""The sandbox's world: its schools as they are now, by iSAMS and by the other sources. Knows no HTTP."""

from __future__ import annotations

from dataclasses import dataclass, field
from datetime import date, datetime
from zoneinfo import ZoneInfo

from isams_pipeline.clock import Clock, today_at
from isams_pipeline.datasets.shapes import Json
from isams_pipeline.sandbox.edits import Edits
from isams_pipeline.sandbox.school import SchoolDay, SchoolPlan
from isams_pipeline.sandbox.sides import SandboxAssembly, SandboxClient, SandboxKey, SandboxXporter
from isams_pipeline.sandbox.source_day import SourceDay
from isams_pipeline.sandbox.yearly import school_on


@dataclass
class SandboxSchool:
    """A school that the sandbox serves."""

    plan: SchoolPlan
    timezone: ZoneInfo
    keys: list[SandboxKey]
    faults: list[tuple[str, str | None]] = field(default_factory=list[tuple[str, str | None]])
    """Kinds of fault still to come, each with the key that it is for (None: any)."""
    requests: list[tuple[str, tuple[str, ...]]] = field(default_factory=list[tuple[str, tuple[str, ...]]])
    """Key and methods of every request that came."""
    at_once: int = 0
    most_at_once: int = 0
    clients: list[SandboxClient] = field(default_factory=list[SandboxClient])
    rest_requests: list[tuple[str, str, str]] = field(default_factory=list[tuple[str, str, str]])
    """Client, method and path of every REST request that was let in."""
    rest_seconds: float = 0
    """How long the REST API takes for each answer."""
    edits: Edits = field(default_factory=Edits)
    """What has been written, by REST."""
    assembly: SandboxAssembly | None = None
    xporter: SandboxXporter | None = None
    frozen: date | None = None
    """The school stays as it was on that date."""

    @property
    def at_assembly(self) -> SandboxAssembly:
        """The school's side of Assembly; raises LookupError where it has none."""
        if self.assembly is None:
            raise LookupError("The sandbox's school is not at Assembly")
        return self.assembly

    @property
    def at_xporter(self) -> SandboxXporter:
        """The school's side of Xporter; raises LookupError where it has none."""
        if self.xporter is None:
            raise LookupError("The sandbox's school is not at Xporter")
        return self.xporter

    @property
    def sources(self) -> dict[str, SandboxAssembly | SandboxXporter]:
        """The school's sides of the other sources, by their names."""
        found = {"assembly": self.assembly, "xporter": self.xporter}
        return {source: side for source, side in found.items() if side is not None}

    def now(self, clock: Clock) -> datetime:
        """The moment that it is at the school: one at night where it is frozen."""
        if self.frozen is None:
            return clock()
        return datetime.combine(self.frozen, datetime.min.time(), self.timezone)


class SandboxWorld:
    """Several schools and one clock."""

    def __init__(self, schools: dict[str, SandboxSchool], clock: Clock) -> None:
        self.schools = schools
        self.clock = clock
        self._days: dict[tuple[str, SchoolPlan, date], SchoolDay] = {}
        self.source_days = SourceDays(self)

    def day_of(self, name: str, plan: SchoolPlan | None = None) -> SchoolDay:
        """A school as it is now; with a plan, another one in its place."""
        school = self.schools[name]
        plan = plan or school.plan
        wanted = (name, plan, school.frozen or today_at(school.timezone, self.clock))
        if wanted not in self._days:
            if len(self._days) > 4:  # noqa: PLR2004  # a day of a large school is large
                self._days.clear()
            self._days[wanted] = school_on(plan, wanted[2], school.edits)
        return self._days[wanted]

    def edit_pupil(self, name: str, school_id: str, values: Json) -> None:
        """Write into a pupil, for now and for all days to come."""
        edits, day = self.schools[name].edits, self.day_of(name)
        edits.pupils[school_id] = edits.pupils.get(school_id, {}) | values
        edits.of_pupil(day.by_school_id[school_id])

    def edit_contact(self, name: str, entry: int, values: Json) -> None:
        """Write into a contact entry, for now and for all days to come."""
        edits, day = self.schools[name].edits, self.day_of(name)
        edits.contacts[entry] = edits.contacts.get(entry, {}) | values
        for person in day.by_entry[entry]:
            edits.of_contact(person)


class SourceDays:
    """The days of a sandbox's schools, made once for each source."""

    def __init__(self, world: SandboxWorld) -> None:
        self._world = world
        self._days: dict[tuple[str, str, bool], SourceDay] = {}

    def of(self, name: str, source: str, *, differs: bool) -> SourceDay:
        """A school as a source has it now."""
        day, zone = self._world.day_of(name), self._world.schools[name].timezone
        made = self._days.get((name, source, differs))
        edits = repr(day.edits)
        if made is None or made.day is not day or made.once("edits", lambda: edits) != edits:
            made = SourceDay(day, source, zone, differs=differs)
            made.once("edits", lambda: edits)
            self._days[name, source, differs] = made
        return made
