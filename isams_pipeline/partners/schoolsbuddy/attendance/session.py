"""A morning or an afternoon of a school: its registers by REST, what was stored of them, and its delivery."""

from __future__ import annotations

from dataclasses import dataclass, replace
from datetime import date, timedelta

import pandas as pd

from isams_pipeline.clock import moment_in_words, today_at
from isams_pipeline.datasets import ATTENDANCE as RECORDS
from isams_pipeline.datasets import REST_SOURCE
from isams_pipeline.datasets import rules as dataset_rules
from isams_pipeline.datasets.shapes import Json
from isams_pipeline.delivery.built import ACCOUNTING
from isams_pipeline.delivery.changes import Explained
from isams_pipeline.delivery.deliver import Delivered
from isams_pipeline.delivery.export import Export, to_csv_for_people
from isams_pipeline.delivery.receipts import Address, Outcome, Receipts
from isams_pipeline.errors import ConfigurationError, FutureDate, IsamsError, NoSnapshot, NotMaterialised
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
from isams_pipeline.rules.split import surely
from isams_pipeline.sources.isams.connect import rest_client
from isams_pipeline.sources.isams.registers import Register, choose, marks_of
from isams_pipeline.storage.tables import StoredTable

_LATELY = 7
"""Days."""


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
        environment, zone = self.environment, self.environment.settings.school(self.school).timezone
        today = today_at(zone, environment.clock)
        stored = environment.tables.find(REST_SOURCE, self.dataset, self.school, self.date)
        if self.date > today:
            raise FutureDate("The date has not come yet at the school", school=self.school, date=self.date)
        if self.date < today:
            if stored is None:
                raise NoSnapshot(
                    "Nothing was read from the registers on that date, and the REST API only knows today's",
                    school=self.school,
                    date=self.date,
                    remedy="It cannot be had any more; the school's own reports in iSAMS still have it.",
                )
            return stored
        choices = self.settings.am if self.session == "AM" else self.settings.pm
        asked = environment.clock()
        with rest_client(environment.access(self.school), self.settings.client) as client:
            chosen = choose(client, choices)
            other_day = [r.id for r in chosen.registers if r.start.astimezone(zone).date() != self.date]
            if other_day:
                raise IsamsError(
                    "iSAMS's registers are of another day than today at the school",
                    school=self.school,
                    date=self.date,
                    registers=", ".join(map(str, other_day)),
                    remedy="Check this machine's clock, iSAMS's, and the school's timezone in schools.yaml.",
                )
            if not chosen.registers and chosen.any_today and not self._is_another_kind_of_day():
                raise ConfigurationError(
                    "; ".join(chosen.absent),
                    school=self.school,
                    remedy=f"Choose others: `isams-pipeline registers {self.school}` lists today's.",
                )
            if not chosen.registers and stored is not None and stored.rows:
                return stored  # there were some earlier today; what they held is not overwritten with nothing
            records = marks_of(client, chosen.registers, zone)
        dataset_rules.check_schema(RECORDS, records)
        dataset_rules.check_keys(RECORDS, records)
        return environment.tables.save(
            records,
            source=REST_SOURCE,
            dataset=self.dataset,
            school=self.school,
            night=self.date,
            provenance={
                "fetched_at": asked.isoformat(),
                "registers": [_as_json(register, records, register.is_open(asked)) for register in chosen.registers],
                "absent": chosen.absent,
            },
        )

    def _is_another_kind_of_day(self) -> bool:
        """Whether the chosen registers were there within a week, but never on this day of the week.

        A Saturday of boarders only has registers of its own. A choice that no register ever was is a mistake; so is one
        that fits no more.
        """
        days = [self.date - timedelta(days=n) for n in range(1, 29)]
        read = {day for day in days if self._had_registers(day)}
        lately = any((self.date - day).days <= _LATELY for day in read)
        return lately and not any(day.weekday() == self.date.weekday() for day in read)

    def _had_registers(self, day: date) -> bool:
        table = self.environment.tables.find(REST_SOURCE, self.dataset, self.school, day)
        return table is not None and bool(table.provenance.get("registers"))

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

    def build(self, table: StoredTable) -> tuple[BuiltAttendance, pd.DataFrame, date]:
        """The export of what was read, the records behind it, and the night whose students it goes by."""
        students, night = self._students()
        records = self.environment.tables.load(table)
        zone = self.environment.settings.school(self.school).timezone
        moment = pd.Timestamp(table.provenance["fetched_at"]).tz_convert(zone).tz_localize(None)
        built = build(records, students, session=self.session, day=self.date, now=moment.to_pydatetime())
        return built, records, night

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

    def deliver(self, table: StoredTable, run_id: str, *, allow_removals: bool) -> tuple[Delivered, BuiltAttendance]:
        """Stage the export, report who is not in it, and put it through the gate."""
        built, records, night = self.build(table)
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
                "students_of": night.isoformat(),
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
        return own.deliver(staged, built.export, check_export(built.export, records)), built

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


def _as_json(register: Register, records: pd.DataFrame, open_still: bool) -> Json:  # noqa: FBT001
    of_it = records[records["register_id"] == register.id]
    return {
        "id": register.id,
        "division": register.division,
        "name": register.name,
        "type": register.kind,
        "start": register.start.isoformat(),
        "late_after": register.late_after.isoformat(),
        "finish": register.finish.isoformat(),
        "state": "open" if open_still else "closed",
        "expected": register.students,
        "students": int(of_it["school_id"].nunique()),
        "registered": int(of_it.loc[surely(of_it["registered"]), "school_id"].nunique()),
    }
