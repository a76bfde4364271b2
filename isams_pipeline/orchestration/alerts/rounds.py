"""A round: look which nights need a person, write to whom it concerns, and send what is in line."""

from __future__ import annotations

import uuid
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta
from zoneinfo import ZoneInfo

import dagster as dg
from sqlalchemy import func, select
from sqlalchemy.orm import Session

from isams_pipeline.clock import today_at
from isams_pipeline.config import Settings
from isams_pipeline.config.alerts import AlertChannel, AlertKind
from isams_pipeline.datasets.shapes import JsonObject
from isams_pipeline.orchestration.alerts.looking import RECOVERED, Finding, Warnings, deadline, forget, keep, look
from isams_pipeline.orchestration.alerts.messages import Message, OneNight, by_cause, message
from isams_pipeline.orchestration.alerts.posting import MAIL, WEBHOOK, Posted, post, send
from isams_pipeline.orchestration.environment import Environment
from isams_pipeline.orchestration.mail import MailState
from isams_pipeline.storage.state.alerts import AlertMessage, Problem

LOCK = "alerts"
_WAIT = 30.0
_LONGEST_GATHERING = 6
"""Times `gather_minutes`, after which a message goes although further nights with its cause keep coming."""


@dataclass(frozen=True)
class Told:
    """A channel as schools.yaml has it, and about which school it is told; None: all."""

    channel: AlertChannel
    zone: ZoneInfo
    school: str | None

    def wants(self, one: OneNight) -> bool:
        """Whether it is told of a night."""
        return one.kind in self.channel.wants and self.school in {None, one.school}


def channels(settings: Settings) -> dict[str, list[Told]]:
    """Whom a message goes to (`mail ADDRESS`, `webhook VARIABLE FORMAT`) → what is wanted there. Each once."""
    found: dict[str, list[Told]] = {}
    own = [(one, settings.alerts.timezone, None) for one in settings.alerts.to]
    theirs = [(one, school.timezone, name) for name, school in settings.schools.items() for one in school.alerts]
    for channel, zone, school in [*own, *theirs]:
        names = [f"{MAIL} {address}" for address in channel.email]
        if channel.webhook is not None:
            names.append(f"{WEBHOOK} {channel.webhook} {channel.format}")
        for name in names:
            found.setdefault(name, []).append(Told(channel, zone, school))
    return found


def is_told_anybody(settings: Settings) -> bool:
    """Whether schools.yaml says that anybody is told."""
    return bool(channels(settings))


@dataclass(frozen=True)
class Round:
    """What a round found and did."""

    findings: Sequence[Finding]
    waiting: int
    """Nights that need a person."""
    written: int
    """Messages put in line."""
    posted: Posted


def go_round(environment: Environment, instance: dg.DagsterInstance, hours: Mapping[str, int]) -> Round:
    """One round; one process at a time. Raises SchoolBusy where another one takes long, StorageError."""
    wanted = any(
        AlertKind.WARNED in told.channel.wants for all_ in channels(environment.settings).values() for told in all_
    )
    with environment.locks.hold(LOCK, wait=_WAIT):
        findings = look(environment, instance, hours, Warnings(instance, wanted=wanted))
        now = environment.clock()
        due = {
            (one.school, one.partner, one.night): by
            for one in findings
            if (by := deadline(environment, hours, one.school, one.partner, one.night)) is not None
        }
        with environment.state.transaction() as session:
            keep(session, findings, now, due)
            forget(session, environment.settings, now)
            written = write(session, environment, now)
            waiting = session.scalar(select(func.count()).where(Problem.closed_at.is_(None))) or 0
        return Round(findings, waiting, written, post(environment, channels(environment.settings)))


def try_out(environment: Environment) -> dict[str, str]:
    """Send a test message to each channel; gives those that it did not reach, each with what is wrong."""
    now = environment.clock()
    text = "This is a test: isams-pipeline can reach you here. Nothing is wrong with any night because of it.\n"
    facts: JsonObject = {"version": 1, "kind": "test", "nights": []}
    what = Message("a test message", text, facts)
    with environment.locks.hold(LOCK, wait=_WAIT):
        with environment.state.transaction() as session:
            made = {name: _in_line(name, what, now, now) for name in channels(environment.settings)}
            session.add_all(made.values())
            session.flush()
            ids = {name: one.id for name, one in made.items()}
        done = send(environment, list(ids.values()))
    late = "there was no time for it; it is sent by the next round"
    return {name: problem for name, id_ in ids.items() if (problem := done.get(id_, late)) is not None}


def write(session: Session, environment: Environment, now: datetime) -> int:
    """Write the messages that are due, to whom each concerns; gives how many."""
    open_ones = session.scalars(
        select(Problem).where(Problem.told_at.is_(None), Problem.closed_at.is_(None)).order_by(Problem.id)
    ).all()
    over = session.scalars(
        select(Problem)
        .where(Problem.told_at.is_not(None), Problem.closed_by == RECOVERED, Problem.over_told_at.is_(None))
        .where(Problem.kind != AlertKind.WARNED.value)
        .order_by(Problem.id)
    ).all()
    known = environment.settings.schools
    news = [
        *_groups(environment, [one for one in open_ones if one.school in known], now, since=lambda one: one.opened_at),
        *_groups(environment, [one for one in over if one.school in known], now, since=_closed, is_over=True),
    ]
    written = 0
    to = channels(environment.settings)
    for problems, nights in news:
        sent = list(_messages(to, nights, now))
        session.add_all(sent)
        written += len(sent)
        for problem, one in zip(problems, nights, strict=True):
            is_told = any(told.wants(one) for all_ in to.values() for told in all_)
            if one.kind is AlertKind.RECOVERED:
                problem.over_told_at = now
            elif is_told:
                problem.told_at = now
    return written


def _closed(problem: Problem) -> datetime:
    return problem.closed_at or problem.opened_at


def _groups(
    environment: Environment,
    problems: Sequence[Problem],
    now: datetime,
    *,
    since: Callable[[Problem], datetime],
    is_over: bool = False,
) -> Iterator[tuple[list[Problem], list[OneNight]]]:
    """Nights with one cause, once no further one has come for a while."""
    of = {problem.id: problem for problem in problems}
    gather = timedelta(minutes=environment.settings.alerts.gather_minutes)
    for group in by_cause(_night(environment, problem, is_over=is_over) for problem in problems):
        here = [of[night.problem] for night in group]
        times = [since(problem) for problem in here]
        if now - max(times) >= gather or now - min(times) >= _LONGEST_GATHERING * gather:
            yield here, group


def _messages(to: Mapping[str, list[Told]], nights: Sequence[OneNight], now: datetime) -> Iterator[AlertMessage]:
    for name, all_ in to.items():
        wanted = [one for one in nights if any(told.wants(one) for told in all_)]
        if not wanted:
            continue
        first = next(told for told in all_ if told.wants(wanted[0]))
        yield _in_line(name, message(wanted), now, quiet_until(first, now))


def _in_line(channel: str, what: Message, now: datetime, not_before: datetime) -> AlertMessage:
    return AlertMessage(
        channel=channel,
        message_id=uuid.uuid4().hex,
        subject=what.subject,
        body=what.body,
        facts=dict(what.facts),
        created_at=now,
        not_before=not_before,
        state=MailState.QUEUED.value,
        attempts=0,
        changed_at=now,
    )


def quiet_until(told: Told, now: datetime) -> datetime:
    """When a message may be sent: now, or at the end of the channel's quiet hours."""
    quiet, local = told.channel.quiet, now.astimezone(told.zone)
    if quiet is None or not quiet.has(local.hour * 60 + local.minute):
        return now
    end = local.replace(hour=quiet.end // 60, minute=quiet.end % 60, second=0, microsecond=0)
    # The same wall clock a day on, whatever the clocks do in between.
    return end if end > local else end + timedelta(days=1)


def _night(environment: Environment, problem: Problem, *, is_over: bool) -> OneNight:
    settings = environment.settings
    school, ui = settings.school(problem.school), settings.alerts.ui
    return OneNight(
        problem=problem.id,
        school=problem.school,
        name=school.name,
        partner=problem.partner,
        night=problem.night,
        kind=AlertKind.RECOVERED if is_over else AlertKind(problem.kind),
        reason="" if is_over else problem.reason,
        counts=dict(problem.counts),
        run=f"{ui.rstrip('/')}/runs/{problem.run_id}" if ui and problem.run_id else None,
        command=command_for(environment, problem.school, problem.partner, problem.night, problem.kind),
    )


def command_for(environment: Environment, school: str, partner: str, night: object, kind: str) -> str:
    """What a person types to have a night made again, or released."""
    whose, _, part = partner.partition(" ")
    if part:
        return f"isams-pipeline attendance {school} {part} --date {night}"
    if kind == AlertKind.HELD.value:
        return f"isams-pipeline release {school} --partner {whose}"
    if night == today_at(environment.settings.school(school).timezone, environment.clock):
        return f"isams-pipeline sync {school} --partner {whose}"
    return f"isams-pipeline backfill {school} --from {night} --to {night} --partner {whose}"
