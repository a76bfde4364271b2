"""A morning or an afternoon of a school: its registers by REST, what was stored of them, and its delivery."""

from __future__ import annotations

from dataclasses import dataclass, replace
from datetime import date

import pandas as pd

from isams_pipeline.clock import moment_in_words
from isams_pipeline.datasets import REST_SOURCE
from isams_pipeline.delivery.built import ACCOUNTING
from isams_pipeline.delivery.changes import Explained
from isams_pipeline.delivery.deliver import Delivered
from isams_pipeline.delivery.export import Export, to_csv_for_people
from isams_pipeline.delivery.receipts import Address, Outcome, Receipts
from isams_pipeline.errors import ConfigurationError, NotMaterialised
from isams_pipeline.orchestration.deliveries import deliverer
from isams_pipeline.orchestration.environment import Environment
from isams_pipeline.orchestration.pins import EXCLUSIONS, as_pins
from isams_pipeline.partners.schoolsbuddy.attendance.export import (
    ATTENDANCE,
    FILES,
    SCHEMA_VERSION,
    BuiltAttendance,
    build,
    check_export,
)
from isams_pipeline.partners.schoolsbuddy.attendance.sessions import KEY, NIGHTLY, STORED_AS, Session
from isams_pipeline.partners.schoolsbuddy.settings import AttendanceSettings, SchoolsBuddySettings
from isams_pipeline.sources.registry import WITHIN_THE_DAY
from isams_pipeline.sources.shared.source import Asked
from isams_pipeline.storage.tables import StoredTable


@dataclass(frozen=True)
class MadeAttendance:
    """An export of a session, and what is behind it."""

    built: BuiltAttendance
    records: pd.DataFrame
    night: date
    """The night whose students it goes by."""


@dataclass(frozen=True)
class SchoolSession:
    """A school's morning or afternoon on a date."""

    environment: Environment
    school: str
    date: date
    session: Session

    # --- what it goes by ----------------------------------------------------------------------------------

    @property
    def part(self) -> str:
        """The session as folders and assets have it."""
        return self.session.lower()

    @property
    def dataset(self) -> str:
        """The stored table's name."""
        return f"{STORED_AS}_{self.part}"

    @property
    def address(self) -> Address:
        """Whose delivery it is."""
        return Address(KEY, self.school, self.date, self.part)

    @property
    def _partner(self) -> SchoolsBuddySettings:
        return self.environment.settings.partner(self.school, SchoolsBuddySettings)

    @property
    def settings(self) -> AttendanceSettings:
        """The school's choice of registers; raises ConfigurationError."""
        found = self._partner.attendance
        if found is None:
            raise ConfigurationError(
                "The school sends no attendance to SchoolsBuddy",
                school=self.school,
                remedy=f"Add schools.{self.school}.partners.schoolsbuddy.attendance to schools.yaml.",
            )
        return found

    # --- reading ------------------------------------------------------------------------------------------

    def read(self) -> StoredTable:
        """Ask for today's registers and store what they hold; of another date, what was stored then.

        Raises FutureDate, NoSnapshot (the API only knows today), ConfigurationError, IsamsError or DatasetError.
        """

        def asked(_dataset: str) -> Asked:
            choices = self.settings.am if self.session == "AM" else self.settings.pm
            return Asked(tuple(choices), self.settings.client)

        rest = WITHIN_THE_DAY[REST_SOURCE]
        needs = replace(self.environment.needs_of(self.school, self.date), asked=asked)
        table = rest.read(needs).table(self.dataset, None)
        if table.frame is None:
            return self.stored()
        rest.check_rows(rest.datasets[self.dataset], table)
        return self.environment.tables.save(
            table.frame,
            source=REST_SOURCE,
            dataset=self.dataset,
            school=self.school,
            night=self.date,
            provenance=dict(table.provenance),
        )

    # --- delivering ---------------------------------------------------------------------------------------

    def stored(self) -> StoredTable:
        """What was read; raises NotMaterialised."""
        return self.environment.tables.need(REST_SOURCE, self.dataset, self.school, self.date)

    def no_session(self, table: StoredTable, run_id: str) -> str:
        """Leave a receipt for a day without registers; gives its reason."""
        reason = "; ".join(table.provenance.get("absent") or ["there are no registers today"])
        Receipts(self.environment.state).record(
            self.address,
            Outcome.NO_SESSION,
            content_hash="",
            target="",
            run_id=run_id,
            at=self.environment.clock(),
            removals_allowed=False,
            reason=reason,
            changes={},
            manifest={},
        )
        return reason

    def build(self, table: StoredTable) -> MadeAttendance:
        """The export of what was read; raises NotMaterialised."""
        students, night = self._students()
        records = self.environment.tables.load(table)
        zone = self.environment.settings.school(self.school).timezone
        moment = pd.Timestamp(table.provenance["fetched_at"]).tz_convert(zone).tz_localize(None)
        built = build(records, students, session=self.session, day=self.date, now=moment.to_pydatetime())
        return MadeAttendance(built, records, night)

    def _students(self) -> tuple[list[dict[str, str]], date]:
        """The students of the last nightly export that was delivered up to this date; raises NotMaterialised."""
        receipt = Receipts(self.environment.state).baseline(Address(NIGHTLY, self.school, self.date))
        if receipt is None:
            raise NotMaterialised(
                "SchoolsBuddy has no export of this school yet, so it knows none of its students",
                school=self.school,
                date=self.date,
                remedy=f"Run `isams-pipeline sync {self.school}` first.",
            )
        digest = str(receipt.manifest["files"]["students.csv"]["sha256"])
        export = self.environment.staged(NIGHTLY, self.school).load({"students.csv": digest})
        return export.rows("students.csv"), receipt.date

    def deliver(self, table: StoredTable, made: MadeAttendance, run_id: str, *, allow_removals: bool) -> Delivered:
        """Stage the export, report who is not in it, and put it through the gate."""
        built = made.built
        stage = self.environment.staged(KEY, self.school, self.part)
        staged = stage.stage(
            self.date,
            built.export,
            datasets=as_pins({self.dataset: table}, built),
            # Not among what is compared: the same marks, read again later, are unchanged.
            snapshots=[{"source": REST_SOURCE, "taken_at": self.taken_at(table)}],
            excluded=built.excluded_per_file(),
            unaccounted=built.unaccounted,
            places=built.places,
            about={
                "session": self.session,
                "registers": table.provenance["registers"],
                "students_of": made.night.isoformat(),
            },
        )
        self.environment.reports.write(self.exclusions_path, to_csv_for_people(built.exclusions, EXCLUSIONS))
        self.environment.reports.write(self.accounting_path, to_csv_for_people(built.account.frame(), ACCOUNTING))
        usual = deliverer(
            self.environment,
            self.address,
            FILES,
            SCHEMA_VERSION,
            self._partner,
            run_id=run_id,
            allow_removals=allow_removals,
        )
        own = replace(usual, max_removed=self.settings.max_removed, explain=self._who_left)
        return own.deliver(staged, built.export, check_export(built.export, made.records))

    def _who_left(self, files: object, before: Export, now: Export, pins: object) -> Explained:  # noqa: ARG002
        """Students of the last session who are not in the nightly export any more."""
        known = {row["student_id"] for row in self._students()[0]}
        gone = {row["student_id"] for row in before.rows(ATTENDANCE.name)} - known
        return {"student": dict.fromkeys(gone, "not in the nightly export any more")}

    @property
    def exclusions_path(self) -> str:
        """Where the school finds who is not in it, below `reports/`."""
        return f"{self.address.path}/exclusions.csv"

    @property
    def accounting_path(self) -> str:
        """Where the account of its records lies, below `reports/`."""
        return f"{self.address.path}/{ACCOUNTING.name}"

    def taken_at(self, table: StoredTable) -> str:
        """When the registers were read, as the school's wall clock says."""
        zone = self.environment.settings.school(self.school).timezone
        return moment_in_words(pd.Timestamp(table.provenance["fetched_at"]).to_pydatetime(), zone)
