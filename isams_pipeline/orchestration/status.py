"""How every school stands with every partner: what was delivered last, how tonight goes, what waits for a person."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from datetime import UTC, date, datetime, time, timedelta
from typing import Any, TypeGuard

import dagster as dg

from isams_pipeline.clock import today_at
from isams_pipeline.delivery.receipts import Address, Receipts
from isams_pipeline.orchestration.alerts.looking import Expected, Finding, Warnings, deadline, look
from isams_pipeline.orchestration.alerts.posting import undelivered
from isams_pipeline.orchestration.alerts.rounds import command_for
from isams_pipeline.orchestration.alerts.sensor import hours_of
from isams_pipeline.orchestration.environment import Environment
from isams_pipeline.orchestration.metadata import Metadata
from isams_pipeline.orchestration.partner import AnyPartner, Waiting
from isams_pipeline.orchestration.showing import markdown_table
from isams_pipeline.orchestration.tonight import DUE, MISSING
from isams_pipeline.orchestration.ui.to_be_had import nights_kept
from isams_pipeline.rules.dates import nights_in_words
from isams_pipeline.sources.registry import LISTED
from isams_pipeline.sources.shared.connections import State
from isams_pipeline.storage.backup import RESTORED

_SHORT = 120
_RECENT = timedelta(days=14)
"""The last night delivered is nearly always one of these: all nights there ever were are not looked through."""


@dataclass(frozen=True)
class Row:
    """How a school stands with a partner. No person's data."""

    school: str
    partner: str
    last_delivered: date | None
    """The newest night that the partner has; None where there is none, or the partner gets no files."""
    night: date
    """Today, by the school's calendar."""
    outcome: str
    """Tonight's; empty for a partner that gets no files."""
    due: datetime | None
    """By when tonight should be there, where it is not yet."""
    late: bool
    """Tonight should be there by now."""
    overdue: bool
    """Tonight should be there by now, or the night before has not come and tonight neither."""
    waits: tuple[Waiting, ...]
    """What a person has to do, and by which command."""

    @property
    def tonight(self) -> str:
        """How tonight stands, in a few words."""
        if self.outcome == DUE and self.due is not None:
            return f"{'overdue since' if self.late else 'due by'} {self.due:%H:%M %Z}"
        return self.outcome

    def as_json(self) -> dict[str, Any]:
        """For a program."""
        return {
            "school": self.school,
            "partner": self.partner,
            "last_delivered": self.last_delivered.isoformat() if self.last_delivered else None,
            "night": self.night.isoformat(),
            "outcome": self.outcome,
            "due": self.due.isoformat() if self.due else None,
            "overdue": self.overdue,
            "waits": [one._asdict() for one in self.waits],
        }


@dataclass(frozen=True)
class Status:
    """How all schools stand."""

    at: datetime
    rows: Sequence[Row]
    alerts_stuck: int
    """Alerts that have reached nobody although they were tried: in doubt, refused, or not to be handed over."""

    @property
    def overdue(self) -> int:
        """How many nights should be there and are not."""
        return sum(row.overdue for row in self.rows)

    @property
    def waits(self) -> int:
        """How many things wait for a person."""
        return sum(len(row.waits) for row in self.rows) + bool(self.alerts_stuck)

    def as_json(self) -> dict[str, Any]:
        """For a program."""
        return {
            "version": 1,
            "at": self.at.isoformat(),
            "overdue": self.overdue,
            "waits": self.waits,
            "alerts_stuck": self.alerts_stuck,
            "schools": [row.as_json() for row in self.rows],
        }

    def as_metrics(self) -> str:
        """As Prometheus reads it: counts and dates only."""
        from prometheus_client import CollectorRegistry, Gauge, generate_latest  # noqa: PLC0415  # for this alone

        registry = CollectorRegistry()

        def gauge(name: str, about: str, labels: Sequence[str] = ()) -> Gauge:
            return Gauge(f"isams_pipeline_{name}", about, labels, registry=registry)

        gauge("overdue", "Nights that should be there and are not.").set(self.overdue)
        gauge("waits", "Things that wait for a person.").set(self.waits)
        gauge("alerts_stuck", "Alerts that have reached nobody for sure.").set(self.alerts_stuck)
        whose = ("school", "partner")
        late = gauge("night_overdue", "Whether tonight should be there and is not.", whose)
        last = gauge("last_delivered_night_seconds", "The newest night delivered, as midnight UTC.", whose)
        for row in self.rows:
            late.labels(row.school, row.partner).set(row.overdue)
            if row.last_delivered is not None:
                midnight = datetime.combine(row.last_delivered, time(), UTC)
                last.labels(row.school, row.partner).set(midnight.timestamp())
        return generate_latest(registry).decode()


def status(
    environment: Environment,
    instance: dg.DagsterInstance,
    partners: Iterable[AnyPartner],
    schools: Iterable[str] | None = None,
) -> Status:
    """How schools stand now; all that there are, where none is named.

    Raises ConfigurationError for a school that there is not.
    """
    known = {partner.key: partner for partner in partners}
    hours = hours_of(known.values())
    names = list(environment.settings.schools if schools is None else schools)
    for name in names:
        environment.settings.school(name)
    findings: dict[tuple[str, str], dict[date, Finding]] = {}
    for one in look(environment, instance, hours, Warnings(instance, wanted=False)):
        findings.setdefault((one.school, one.partner), {})[one.night] = one
    receipts = Receipts(environment.state)
    since = environment.clock().date() - _RECENT
    waits = {key: partner.waits_for(environment) for key, partner in known.items()}
    rows = _Rows(environment, waits, hours, receipts, dict(receipts.last_delivered(since)), _restored(environment))
    begun = environment.erased.begun()
    made: list[Row] = []
    for name in names:
        theirs = [partner for school, partner in findings if school == name]
        others = [key for key in environment.settings.school(name).partners.root if key not in theirs]
        rows_of = [rows.row(name, partner, findings.get((name, partner), {})) for partner in [*theirs, *others]]
        if name in begun and rows_of:
            rows_of[0] = replace(rows_of[0], waits=(*rows_of[0].waits, _erasing(name)))
        made += rows_of
    return Status(environment.clock(), made, undelivered(environment))


def _erasing(school: str) -> Waiting:
    said = "an erasure was begun and has not ended: what it was to take out is still kept"
    return Waiting(said, f"isams-pipeline person erase {school} --apply")


def _restored(environment: Environment) -> datetime | None:
    try:
        return datetime.fromisoformat(str(environment.data.read_json(RESTORED)["made"]))
    except FileNotFoundError:
        return None


@dataclass(frozen=True)
class _Rows:
    """Makes rows."""

    environment: Environment
    waits: Mapping[str, Mapping[str, Sequence[Waiting]]]
    """Partner → school → what waits besides nights."""
    hours: Expected
    receipts: Receipts
    delivered: dict[tuple[str, str], date | None]
    """Partner and school → the newest night that is at the target; those that have been looked up."""
    restored: datetime | None
    """When the backup was made from which all was restored, if it was."""

    def row(self, school: str, partner: str, nights: Mapping[date, Finding]) -> Row:
        """How a school stands with a partner. `nights`: of today and yesterday, what was found."""
        settings = self.environment.settings.school(school)
        today = today_at(settings.timezone, self.environment.clock)
        now, before = nights.get(today), nights.get(today - timedelta(days=1))
        is_there = now is not None and now.settled
        due = None if now is None or is_there else deadline(self.environment, self.hours, school, partner, today)
        # One that was delivered and is made again is there, whatever becomes of that.
        is_past = due is not None and self.environment.clock() > due
        late = is_past and self._last(school, partner) != today
        # Yesterday's trouble is over where today's night is there.
        troubled = [one for one in (now, None if is_there else before) if self._matters(one)]
        return Row(
            school=school,
            partner=partner,
            last_delivered=self._last(school, partner) if nights else None,
            night=today,
            outcome=now.outcome if now is not None else "",
            due=due.astimezone(settings.timezone) if due is not None else None,
            late=late,
            overdue=late or any(one is before for one in troubled),
            waits=(*(self._of_night(one) for one in troubled), *self._besides(school, partner)),
        )

    def _last(self, school: str, partner: str) -> date | None:
        """The newest night that is at the target."""
        if (partner, school) not in self.delivered:
            self.delivered[partner, school] = self.receipts.last_night(partner, school)
        return self.delivered[partner, school]

    def _matters(self, one: Finding | None) -> TypeGuard[Finding]:
        """Whether a night needs a person. Of one that is over, where others came before it."""
        if one is None or one.kind is None:
            return False
        if one.outcome != MISSING:
            return True
        last = self._last(one.school, one.partner)
        return last is not None and last < one.night

    def _of_night(self, one: Finding) -> Waiting:
        if one.outcome == MISSING and one.night not in nights_kept(self.environment, one.school):
            missed = self._missed_until(one)
            said = (
                f"{nights_in_words(missed)} {'was' if len(missed) == 1 else 'were'} missed, and cannot be had any more"
            )
            said += "; over with the next delivery"
            return Waiting(said, command_for(one.school, one.partner, None))
        command = command_for(one.school, one.partner, one.night, one.kind or "")
        return Waiting(f"{one.night} {one.outcome}: {_short(one.reason)}", command)

    def _missed_until(self, one: Finding) -> list[date]:
        """The nights since the last delivery of which there is no receipt."""
        last = self._last(one.school, one.partner)
        partner, _, part = one.partner.partition(" ")
        days = 1 if last is None else min((one.night - last).days, _RECENT.days)
        nights = [one.night - timedelta(days=n) for n in range(days)]
        of_night = (self.receipts.of_night(Address(partner, one.school, night, part)) for night in nights)
        return sorted(night for night, receipt in zip(nights, of_night, strict=True) if receipt is None) or [one.night]

    def _lost(self, school: str, partner: str) -> Iterator[Waiting]:
        """What was lost: a database without the receipts of nights that were staged, or a folder without their data."""
        if partner not in self.environment.settings.school(school).partners.exporting:
            return
        last = self._last(school, partner)
        exports = self.environment.staged(partner, school)
        # All nights there ever were are listed only where nothing is known to have been delivered.
        staged = exports.latest(date.max) if last is None else last if exports.has(last) else None
        sync, restore = f"isams-pipeline sync {school} --partner {partner}", "isams-pipeline restore --help"
        if self.restored is not None and (last or staged) and (last is None or last <= self.restored.date()):
            made = f"{self.restored:%Y-%m-%d %H:%M} UTC"
            yield Waiting(f"restored from the backup of {made}: what was delivered since is not known here", sync)
        elif last is None and staged is not None and not self._was_tried(school, partner):
            said = f"the database has no receipt of {partner}, although the night of {staged} was staged: was it lost?"
            yield Waiting(said, restore)
        elif last is not None and staged is None:
            said = f"the data folder has nothing of {partner}, although the night of {last} was delivered: was it lost?"
            yield Waiting(said, restore)

    def _was_tried(self, school: str, partner: str) -> bool:
        return self.receipts.last_of_any(partner, school) is not None

    def _besides(self, school: str, partner: str) -> Iterator[Waiting]:
        """What waits besides the nights: the partner's own things, and the connection to its source."""
        yield from self._lost(school, partner)
        yield from self.waits.get(partner, {}).get(school, ())
        source = self.environment.settings.school(school).partners.sources.get(partner)
        found = (
            self.environment.connections.current(school, source) if source is not None and source in LISTED else None
        )
        if found is not None and found.state is not State.AUTHORISED:
            command = f"isams-pipeline connector status {school} --source {source}"
            yield Waiting(f"the connection by {source} is {found.words}", command)


def _short(reason: str) -> str:
    text = reason.partition("\n")[0]
    return text if len(text) <= _SHORT else f"{text[: _SHORT - 1]}\N{HORIZONTAL ELLIPSIS}"


HEADER = ("school", "partner", "last delivered", "tonight", "waits for")


def cells(row: Row) -> tuple[str, ...]:
    """A row as a table shows it."""
    last = row.last_delivered.isoformat() if row.last_delivered else ""
    return (row.school, row.partner, last, row.tonight, "; ".join(one.what for one in row.waits))


def shown(found: Status) -> Metadata:
    """What Dagster shows: the table, and numbers that it draws over time."""
    commands = [(row.school, one.what, one.command) for row in found.rows for one in row.waits]
    return {
        "overdue": found.overdue,
        "waits": found.waits,
        "alerts stuck": found.alerts_stuck,
        "schools": dg.MetadataValue.md(markdown_table(HEADER, [cells(row) for row in found.rows])),
        **(
            {"what to do": dg.MetadataValue.md(markdown_table(("school", "what waits", "command"), commands))}
            if commands
            else {}
        ),
    }
