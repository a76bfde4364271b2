"""A morning's or an afternoon's registers by iSAMS's REST API → the dataset attendance. Knows no partner.

The API only knows now: of a past date there is what was read then, and nothing else.
"""

from __future__ import annotations

from dataclasses import dataclass
from datetime import date, datetime, timedelta

import pandas as pd

from isams_pipeline.clock import today_at
from isams_pipeline.datasets import REST_SOURCE, DatasetDeclaration
from isams_pipeline.datasets import rules as dataset_rules
from isams_pipeline.datasets.shapes import Json
from isams_pipeline.errors import ConfigurationError, FutureDate, IsamsError, NoSnapshot
from isams_pipeline.rules.split import surely
from isams_pipeline.sources.isams.connect import rest_client
from isams_pipeline.sources.isams.registers import Chosen, Register, choose, marks_of
from isams_pipeline.sources.shared.source import NightNeeds, SourceTable
from isams_pipeline.storage.tables import StoredTable

_LATELY = 7
"""Days."""


def check_rows(declaration: DatasetDeclaration, table: SourceTable) -> None:
    """Raise where the records are not as the declaration says; a day without registers has none."""
    if table.frame is not None:
        dataset_rules.check_schema(declaration, table.frame)
        dataset_rules.check_keys(declaration, table.frame)


@dataclass(frozen=True)
class SessionReader:
    """The registers of a school's date that a partner asks for."""

    needs: NightNeeds

    def table(self, dataset: str, before: StoredTable | None = None) -> SourceTable:  # noqa: ARG002  # as any reader
        """What the registers hold now; of another date, or where today's are gone, what was stored then.

        Raises FutureDate, NoSnapshot (the API only knows today), ConfigurationError, IsamsError or DatasetError.
        """
        access, night = self.needs.access, self.needs.night
        today = today_at(access.settings.timezone, access.clock)
        stored = self.needs.tables.find(REST_SOURCE, dataset, access.school, night)
        if night > today:
            raise FutureDate("The date has not come yet at the school", school=access.school, date=night)
        if night < today:
            if stored is None:
                raise NoSnapshot(
                    "Nothing was read from the registers on that date, and the REST API only knows today's",
                    school=access.school,
                    date=night,
                    remedy="The records can no longer be read; the school's own reports in iSAMS still have them.",
                )
            return SourceTable(None, stored)
        return self._now(dataset, stored)

    def close(self) -> None:
        """Nothing is held."""

    def _now(self, dataset: str, stored: StoredTable | None) -> SourceTable:
        access, asked = self.needs.access, self.needs.asked(dataset)
        moment = access.clock()
        with rest_client(access, asked.client) as client:
            chosen = choose(client, asked.registers)
            self._check_day(chosen)
            if not chosen.registers and chosen.any_today and not self._is_another_kind_of_day(dataset):
                raise ConfigurationError(
                    "; ".join(chosen.absent),
                    school=access.school,
                    remedy="Choose others under partners.schoolsbuddy.attendance in schools.yaml; "
                    f"`isams-pipeline registers {access.school}` lists today's.",
                )
            if not chosen.registers and stored is not None and stored.rows:
                return SourceTable(None, stored)  # there were some earlier today: not overwritten with nothing
            records = marks_of(client, chosen.registers, access.settings.timezone)
        return SourceTable(records, provenance=_provenance(chosen, records, moment))

    def _check_day(self, chosen: Chosen) -> None:
        zone, night = self.needs.access.settings.timezone, self.needs.night
        other_day = [r.id for r in chosen.registers if r.start.astimezone(zone).date() != night]
        if other_day:
            raise IsamsError(
                "iSAMS's registers are of another day than today at the school",
                school=self.needs.access.school,
                date=night,
                registers=", ".join(map(str, other_day)),
                remedy="Check this machine's clock, iSAMS's, and the school's timezone in schools.yaml.",
            )

    def _is_another_kind_of_day(self, dataset: str) -> bool:
        """Whether the chosen registers were there within a week, but never on this day of the week.

        A Saturday of boarders only has registers of its own. A choice that no register ever was is a mistake; so is one
        that fits no more.
        """
        night = self.needs.night
        days = [night - timedelta(days=n) for n in range(1, 29)]
        read = {day for day in days if self._had_registers(dataset, day)}
        lately = any((night - day).days <= _LATELY for day in read)
        return lately and not any(day.weekday() == night.weekday() for day in read)

    def _had_registers(self, dataset: str, day: date) -> bool:
        table = self.needs.tables.find(REST_SOURCE, dataset, self.needs.access.school, day)
        return table is not None and bool(table.provenance.get("registers"))


def _provenance(chosen: Chosen, records: pd.DataFrame, moment: datetime) -> Json:
    return {
        "fetched_at": moment.isoformat(),
        "registers": [_as_json(register, records, register.is_open(moment)) for register in chosen.registers],
        "absent": chosen.absent,
    }


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
