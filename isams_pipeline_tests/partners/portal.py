"""A portal for tests: puts requests into a school's inbox, runs the job, looks at iSAMS and at the ledger."""

from __future__ import annotations

import json
from dataclasses import dataclass
from datetime import datetime, timedelta
from pathlib import Path
from typing import Any

import dagster as dg

from isams_pipeline.commands.headless import JobRun, run_job
from isams_pipeline.orchestration.partitions import Night
from isams_pipeline.partners.my_school_portal.desk import ChangeDesk
from isams_pipeline.partners.my_school_portal.intake import Taken, take_in
from isams_pipeline.sandbox.change_requests import approval, guardian
from isams_pipeline.sandbox.people import Contact, Pupil
from isams_pipeline.sandbox.school import SchoolDay
from isams_pipeline_tests.world import FIRST, SCHOOL, World


@dataclass
class Portal:
    """My School Portal beside a world's school."""

    world: World
    day: int = 0

    @property
    def now(self) -> datetime:
        return self.world.moment[0]

    @property
    def school(self) -> SchoolDay:
        return self.world.sandbox.day_of(SCHOOL)

    @property
    def desk(self) -> ChangeDesk:
        return ChangeDesk(self.world.environment, SCHOOL)

    @property
    def inbox(self) -> Path:
        folder = self.world.data / "inbox" / SCHOOL
        folder.mkdir(parents=True, exist_ok=True)
        return folder

    def settings(self, **changes: Any) -> None:
        self.world.configure(lambda c: c["schools"][SCHOOL]["partners"]["my_school_portal"].update(changes))

    # --- people -------------------------------------------------------------------------------------------

    @property
    def pupil(self) -> Pupil:
        return self.school.pupils[len(self.school.pupils) // 2]

    def contact(self, nth: int = 0) -> Contact:
        """A contact of one person."""
        return [people[0] for people in self.school.by_entry.values() if len(people) == 1][nth]

    def joint(self) -> list[Contact]:
        """A contact of two people, the first one first."""
        return next(people for people in self.school.by_entry.values() if len(people) == 2)

    # --- requests -----------------------------------------------------------------------------------------

    def about_guardian(self, changes: dict[str, Any], *, to: Contact | None = None, id: str = "R1", **more: Any) -> Any:
        return guardian(id, to or self.contact(), changes, self.now) | more

    def about_student(self, changes: dict[str, Any], *, id: str = "R1", **more: Any) -> Any:
        held = {
            "preferredName": self.pupil.preferred,
            "middleNames": self.pupil.middle,
            "forename": self.pupil.forename,
        }
        return {
            "id": id,
            "kind": "student",
            "student": self.pupil.school_id,
            "changes": changes,
            "seen": {name: held.get(name, self.pupil.mobile) for name in changes},
            "approval": approval(self.now),
        } | more

    def send(self, *requests: Any, name: str = "file.json") -> list[Taken]:
        """Lay a file with requests into the inbox and take it in."""
        content = requests[0] if len(requests) == 1 else list(requests)
        (self.inbox / name).write_text(json.dumps(content))
        return take_in(self.world.environment, SCHOOL)

    def run(self, *ids: str) -> JobRun:
        """Run the job that writes."""
        ops = {"my_school_portal__changes": {"config": {"requests": list(ids)}}}
        night = Night(SCHOOL, FIRST + timedelta(days=self.day))
        return run_job(self.world.environment, self.world.instance, "my_school_portal_changes", night, ops)

    def confirm(self) -> JobRun:
        """Run the job that confirms, at 04:00 of the night after."""
        self.day += 1
        self.world.at_night(self.day, hour=4)
        night = Night(SCHOOL, FIRST + timedelta(days=self.day))
        return run_job(self.world.environment, self.world.instance, "my_school_portal_nightly", night, {})

    # --- what came of it ----------------------------------------------------------------------------------

    def state(self, id: str = "R1") -> str:
        return self.desk.store.find(id).state

    def reason(self, id: str = "R1") -> str:
        return self.desk.store.find(id).reason or ""

    def steps(self, id: str = "R1") -> list[str]:
        return [step.step for step in self.desk.store.ledger(id)]

    def settled(self) -> str | None:
        """What the check of the last run warned of."""
        key = dg.AssetCheckKey(dg.AssetKey(["my_school_portal", "changes"]), "settled")
        storage = self.world.instance.event_log_storage
        record = storage.get_asset_check_execution_history(key, limit=1)[0]
        evaluation = record.event.dagster_event.asset_check_evaluation_data
        return None if evaluation.passed else evaluation.description

    @property
    def puts(self) -> list[str]:
        return [path for _, method, path in self.world.sandbox.schools[SCHOOL].rest_requests if method == "PUT"]
