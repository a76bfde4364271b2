"""Which nights need a person now, by their receipts, their runs and the hour."""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import date, datetime, time, timedelta

import dagster as dg

from isams_pipeline.clock import today_at
from isams_pipeline.config.alerts import AlertKind
from isams_pipeline.delivery.receipts import Outcome, Receipts
from isams_pipeline.orchestration.environment import Environment
from isams_pipeline.orchestration.failures import together, what_failed
from isams_pipeline.orchestration.tonight import DUE, MISSING, UNDER_WAY, Standing, standings

_OF_OUTCOME = {
    Outcome.FAILED.value: AlertKind.FAILED,
    Outcome.REFUSED.value: AlertKind.REFUSED,
    Outcome.HELD.value: AlertKind.HELD,
}
_LATE = {DUE, UNDER_WAY, MISSING}
_UNSAID = "The run failed, and no step of it says why; its page in the UI may."


@dataclass(frozen=True)
class Finding:
    """How a school's night for a partner stands, for who may have to be told."""

    school: str
    partner: str
    night: date
    kind: AlertKind | None
    """None: nobody has to do anything."""
    outcome: str
    """As `tonight` has it."""
    reason: str
    run_id: str | None
    counts: Mapping[str, int] = field(default_factory=dict[str, int])
    ended: datetime | None = None
    """When the run that left it so had ended; None where it is not known, or has not."""

    @property
    def whose(self) -> tuple[str, str]:
        """School and partner."""
        return self.school, self.partner

    @property
    def settled(self) -> bool:
        """Whether the night is as it should be; else it may still become so by itself."""
        return self.outcome not in _OF_OUTCOME and self.outcome not in _LATE


class Warnings:
    """What checks of delivered runs warn of; each run is read once in a process."""

    def __init__(self, instance: dg.DagsterInstance, *, wanted: bool) -> None:
        self._instance, self._wanted = instance, wanted

    def of(self, run_id: str) -> str:
        """In words; empty where nothing is wrong, or nobody wants to know."""
        if not self._wanted or not run_id:
            return ""
        run = self._instance.get_run_by_id(run_id) if ("warnings", run_id) not in _KNOWN else None
        if run is not None and not run.is_finished:
            return ""  # it has delivered, and checks may follow
        return _once(("warnings", run_id), lambda: "; ".join(_warnings(self._instance, run_id)))


_KNOWN: OrderedDict[tuple[str, str], str] = OrderedDict()
"""What runs that are over said, by what was asked of which run: a round comes every minute."""
_KEPT = 5000


def _once(key: tuple[str, str], read: Callable[[], str]) -> str:
    if key not in _KNOWN:
        _KNOWN[key] = read()
        while len(_KNOWN) > _KEPT:
            _KNOWN.popitem(last=False)
    return _KNOWN[key]


@dataclass
class Expected:
    """What should be delivered, and when."""

    nights: Mapping[str, int]
    """Partner → at which hour its night begins."""
    sessions: Sequence[Callable[[Environment, str, date], Mapping[str, int]]] = ()
    """Each: school and date → what is delivered within that day, and the minute after midnight at which it begins."""
    _known: OrderedDict[tuple[object, ...], Mapping[str, int]] = field(
        default_factory=OrderedDict[tuple[object, ...], Mapping[str, int]], repr=False
    )

    def sessions_of(self, environment: Environment, school: str, day: date) -> Mapping[str, int]:
        """What a school gets within a day besides its nights. Asked anew each hour: terms may have been entered."""
        key = (environment.where, school, day, environment.clock().replace(minute=0, second=0, microsecond=0))
        if key not in self._known:
            self._known[key] = {name: at for of in self.sessions for name, at in of(environment, school, day).items()}
            while len(self._known) > _KEPT:
                self._known.popitem(last=False)
        return self._known[key]


def _warnings(instance: dg.DagsterInstance, run_id: str) -> Iterator[str]:
    for entry in instance.all_logs(run_id, of_type=dg.DagsterEventType.ASSET_CHECK_EVALUATION):
        check = entry.dagster_event.event_specific_data if entry.dagster_event is not None else None
        if isinstance(check, dg.AssetCheckEvaluation) and not check.passed and check.severity is _WARN:
            yield f"{check.asset_key.to_user_string()}, {check.check_name}: {check.description or 'it warns'}"


_WARN = dg.AssetCheckSeverity.WARN


def look(
    environment: Environment,
    instance: dg.DagsterInstance,
    hours: Expected,
    warnings: Warnings,
    *,
    days: int = 1,
) -> list[Finding]:
    """Every school and partner, today and so many `days` before by the school's own calendar.

    A session that should have begun and of which there is nothing is among them.
    """
    todays = {name: today_at(one.timezone, environment.clock) for name, one in environment.settings.schools.items()}
    back = [timedelta(days=number) for number in range(days + 1)]
    found: list[Finding] = []
    for day in sorted({today - days_ago for today in todays.values() for days_ago in back}):
        stand = [
            one for one in standings(environment, instance, day) if timedelta(0) <= todays[one.school] - day <= back[-1]
        ]
        known = {(one.school, one.partner) for one in stand}
        near = [name for name, today in todays.items() if timedelta(0) <= today - day <= back[-1]]
        for school, partner in ((name, one) for name in near for one in hours.sessions_of(environment, name, day)):
            if (school, partner) not in known:
                outcome = DUE if day == todays[school] else MISSING
                stand.append(Standing(school, partner, outcome, 0, 0, 0, ""))
        found += [_finding(environment, instance, hours, warnings, (one, day)) for one in stand]
    return found


def _finding(
    environment: Environment,
    instance: dg.DagsterInstance,
    hours: Expected,
    warnings: Warnings,
    night: tuple[Standing, date],
) -> Finding:
    one, day = night
    whose, run_id = (one.school, one.partner, day), one.run_id or None
    counts = {"rows": one.rows, "left out": one.left_out} if one.rows else {}
    kind = _OF_OUTCOME.get(one.outcome)
    if kind is not None:
        reason = one.reason
        if not reason and one.run_id:
            reason = _once(("failures", one.run_id), lambda: _said(instance, one.run_id))
        if Receipts(environment.state).has(one.partner, one.school, day):
            reason = f"{reason or _UNSAID}\nThe night had been delivered before; what the partner has of it stays."
        return Finding(*whose, kind, one.outcome, reason or _UNSAID, run_id, counts, one.ended)
    if one.outcome not in _LATE:
        warned = warnings.of(one.run_id)
        kind = AlertKind.WARNED if warned else None
        return Finding(*whose, kind, one.outcome, warned, run_id, counts)
    due = deadline(environment, hours, one.school, one.partner, day)
    if due is None or environment.clock() <= due:
        return Finding(*whose, None, one.outcome, "", run_id)
    if one.outcome == UNDER_WAY and Receipts(environment.state).has(one.partner, one.school, day):
        return Finding(*whose, None, one.outcome, "", run_id)  # it was delivered, and is made again
    by = due.astimezone(environment.settings.school(one.school).timezone).strftime("%H:%M")
    reason = {
        DUE: f"No run has begun, and it should have been delivered by {by}. Does the daemon run?",
        UNDER_WAY: f"Its run still goes on, and it should have been delivered by {by}.",
        MISSING: "The date is over at the school, and nothing was delivered of it. iSAMS only knows now: what no run "
        "has fetched that day cannot be had any more.",
    }
    return Finding(*whose, AlertKind.LATE, one.outcome, reason[one.outcome], run_id)


def deadline(environment: Environment, hours: Expected, school: str, partner: str, night: date) -> datetime | None:
    """By when a night or a session should have been delivered; None for what has no hour on that date."""
    hour = hours.nights.get(partner)
    minute = hour * 60 if hour is not None else hours.sessions_of(environment, school, night).get(partner)
    if minute is None:
        return None
    begins = datetime.combine(night, time(minute // 60, minute % 60), environment.settings.school(school).timezone)
    return begins + timedelta(minutes=environment.settings.alerts.late_after_minutes)


def _said(instance: dg.DagsterInstance, run_id: str) -> str:
    logs = instance.all_logs(run_id, of_type=dg.DagsterEventType.STEP_FAILURE)
    return "\n".join(together(what_failed(entry.dagster_event for entry in logs if entry.dagster_event is not None)))
