"""The day's registers by REST: which there are, which a school has chosen, and what they hold. Knows no Dagster.

The API only knows today's: a range of dates is documented nowhere.
"""

from __future__ import annotations

from collections.abc import Callable, Collection, Iterable, Iterator
from dataclasses import dataclass
from datetime import datetime
from typing import TypeVar
from zoneinfo import ZoneInfo

import pandas as pd

from isams_pipeline.config import RegisterChoice
from isams_pipeline.datasets import ATTENDANCE
from isams_pipeline.datasets.json_rows import frame_of
from isams_pipeline.datasets.shapes import Json, JsonValue
from isams_pipeline.errors import ConfigurationError, NotRestData
from isams_pipeline.rules.compare import label
from isams_pipeline.sources.isams.rest import RestClient, address

T = TypeVar("T")


@dataclass(frozen=True)
class Division:
    """A part of the school, as registers know it."""

    id: int
    code: str
    name: str

    def is_called(self, name: str) -> bool:
        """Whether a person means this one."""
        return label(name) in {label(self.name), label(self.code)}


@dataclass(frozen=True)
class Register:
    """A register of one division today. Times are aware."""

    id: int
    division_id: int
    division: str
    name: str
    kind: str
    start: datetime
    late_after: datetime
    """From then on a mark is late."""
    finish: datetime
    students: int

    def is_called(self, name: str) -> bool:
        """Whether a person means this one, by its type or its friendly name."""
        return label(name) in {label(self.name), label(self.kind)}

    def is_open(self, now: datetime) -> bool:
        """Whether it may still be filled in."""
        return now < self.finish


def divisions(client: RestClient) -> list[Division]:
    """All divisions, by way of the year groups: no other list of them is known for a client."""
    years = client.listed(address("school", "yeargroups"), "yearGroups")
    # A year group's own id is its ncYear, as far as is known.
    numbers = sorted({int(year["ncYear"]) for year in years if isinstance(year.get("ncYear"), int)})
    found: dict[int, Division] = {}
    paths = [address("school", "yeargroups", number, "divisions") for number in numbers]
    for rows in client.each(lambda path: client.listed(path, "divisions"), paths):
        for row in rows:
            division = _read(_division, row, "division")
            found[division.id] = division
    return sorted(found.values(), key=lambda division: division.id)


def registers_today(client: RestClient, of: Iterable[Division]) -> list[Register]:
    """Today's registers of some divisions, in the order of their times. Empty on a day without school."""

    def ask(division: Division) -> list[Register]:
        rows = client.listed(address("registration", "periods"), "registrationPeriods", divisionId=division.id)

        def read(row: Json) -> Register:
            return _register(row, division)

        return [_read(read, row, "register") for row in rows]

    found = [register for registers in client.each(ask, of) for register in registers]
    return sorted(found, key=lambda register: (register.start, register.division, register.id))


@dataclass(frozen=True)
class Chosen:
    """The registers of today that a school has chosen, and what of its choice is not there today."""

    registers: list[Register]
    absent: list[str]
    """In words: which choice, and which registers there are instead."""
    any_today: bool
    """Some division that was asked about has a register of some kind today."""


def choose(client: RestClient, choices: Collection[RegisterChoice]) -> Chosen:
    """Today's registers that are among the choices. Raises ConfigurationError for a division that does not exist."""
    known = divisions(client)
    wanted: dict[int, Division] = {}
    for choice in choices:
        fitting = [division for division in known if division.is_called(choice.division)]
        if not fitting:
            names = ", ".join(division.name for division in known) or "none"
            raise ConfigurationError(
                f"There is no division {choice.division!r}; there are: {names}",
                remedy="Correct schoolsbuddy.attendance in schools.yaml; `isams-pipeline registers SCHOOL` lists them.",
            )
        wanted |= {division.id: division for division in fitting}
    today = registers_today(client, wanted.values())
    chosen: dict[int, Register] = {}
    absent: list[str] = []
    for choice in choices:
        meant = {division.id for division in known if division.is_called(choice.division)}
        of_division = [register for register in today if register.division_id in meant]
        fitting_registers = [register for register in of_division if register.is_called(choice.called)]
        chosen |= {register.id: register for register in fitting_registers}
        if not fitting_registers:
            there = ", ".join(dict.fromkeys(register.name for register in of_division)) or "none at all"
            absent.append(f"{choice.division} has no register {choice.called!r} today; there are: {there}")
    return Chosen(list(chosen.values()), absent if today else [], any_today=bool(today))


def marks_of(client: RestClient, registers: Collection[Register], zone: ZoneInfo) -> pd.DataFrame:
    """What the registers hold: the dataset `attendance`. Raises IsamsError, NotRestData or WrongType."""

    def ask(path: str) -> list[Json]:
        # The name of a register's own list stands in no source, so it is the only one there is.
        return client.listed(path, None)

    codes = [address("registration", name) for name in ("absencecodes", "presentcodes")]
    held = [address("registration", "register", register.id) for register in registers]
    absence_codes, present_codes, *records = client.each(ask, [*codes, *held])

    def rows() -> Iterator[Json]:
        absences = {row.get("id"): row for row in absence_codes}
        presences = {row.get("id"): row for row in present_codes}
        for register, found in zip(registers, records, strict=True):
            for position, record in enumerate(found, start=1):
                absence = absences.get(record.get("absenceCodeId"), {})
                present = presences.get(record.get("presentCodeId"), {})
                yield record | {
                    "isRegistered": _is_registered(record.get("isRegistered")),
                    "registrationPeriodId": register.id,
                    "position": position,
                    "presentCode": present.get("code"),
                    "absenceCode": absence.get("code"),
                    "absenceName": absence.get("name"),
                    "governmentCode": absence.get("governmentCode"),
                }

    return frame_of(ATTENDANCE, rows(), zone)


def _is_registered(value: JsonValue) -> JsonValue:
    """Whether somebody has taken the register: a number, of which a client in use asks whether it is above nought."""
    return value > 0 if isinstance(value, int) and not isinstance(value, bool) else value


def _read(read: Callable[[Json], T], row: Json, what: str) -> T:
    try:
        return read(row)
    except (KeyError, TypeError, ValueError, OverflowError):
        raise NotRestData(
            f"A {what} in iSAMS's answer lacks a field, or one is of another kind",
            fields=", ".join(sorted(row)),
            remedy="Report this as a bug, with the fields' names.",
        ) from None


def _division(row: Json) -> Division:
    return Division(int(row["id"]), str(row.get("code") or ""), str(row["name"]))


def _register(row: Json, division: Division) -> Register:
    start, finish = (datetime.fromisoformat(row[name]) for name in ("start", "finish"))
    late = datetime.fromisoformat(row["time"]) if row.get("time") else start
    if None in {start.tzinfo, finish.tzinfo, late.tzinfo}:
        raise ValueError("a time without its offset")
    kind = str(row.get("registrationType") or "")
    name = str(row.get("friendlyName") or kind)
    students = int(row.get("numberOfStudents") or 0)
    return Register(int(row["id"]), division.id, division.name, name, kind, start, late, finish, students)
