"""A round: look which nights need a person, write to whom it concerns, and send what is in line."""

from __future__ import annotations

import uuid
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from datetime import date, datetime, timedelta

import dagster as dg
from sqlalchemy import func, select
from sqlalchemy.orm import Session

from isams_pipeline.config.alerts import AlertKind
from isams_pipeline.datasets.shapes import JsonObject
from isams_pipeline.orchestration.alerts.channels import Channels, Told, channels, quiet_until, wanted_at_all
from isams_pipeline.orchestration.alerts.looking import Expected, Warnings, deadline, look
from isams_pipeline.orchestration.alerts.messages import Message, OneNight, by_cause, message
from isams_pipeline.orchestration.alerts.posting import AlertState, Posted, post, put_away, send
from isams_pipeline.orchestration.alerts.problems import RECOVERED, forget, is_had, keep, last_round
from isams_pipeline.orchestration.environment import Environment
from isams_pipeline.storage.state.alerts import AlertMessage, Problem

LOCK = "alerts"
_WAIT = 30.0
_LONGEST_GATHERING = 6
"""Times `gather_minutes`, after which a message goes although further nights with its cause keep coming."""
_FURTHEST = 14
"""Days that a round looks back at most, after a time in which there was none."""


@dataclass(frozen=True)
class Round:
    """What a round found and did."""

    waiting: int
    """Nights that need a person."""
    written: int
    """Messages put in line."""
    posted: Posted


def go_round(environment: Environment, instance: dg.DagsterInstance, hours: Expected) -> Round:
    """One round; one process at a time. Raises SchoolBusy where another one takes long, StorageError."""
    to = channels(environment.settings)
    warnings = Warnings(instance, wanted=wanted_at_all(to, AlertKind.WARNED))
    with environment.locks.hold(LOCK, wait=_WAIT):
        now = environment.clock()
        with environment.state.transaction() as session:
            before = last_round(session)
        # Yesterday, and whatever ended since the last round.
        days = 1 if before is None else min(_FURTHEST, max(1, (now - before).days + 1))
        found = look(environment, instance, hours, warnings, days=days)
        # What was delivered to a partner whom the school has no more is nobody's concern.
        findings = [one for one in found if is_had(environment.settings, *one.whose)]
        due = {
            (one.school, one.partner, one.night): by
            for one in findings
            if (by := deadline(environment, hours, one.school, one.partner, one.night)) is not None
        }
        with environment.state.transaction() as session:
            forget(session, environment.settings)
            keep(session, findings, now, due)
            session.flush()
            written = write(session, environment, to, now)
            waiting = session.scalar(select(func.count()).where(Problem.closed_at.is_(None))) or 0
        return Round(waiting, written, post(environment, to))


def try_out(environment: Environment) -> dict[str, str]:
    """Send a test message to each channel; gives those that it did not reach, each with what is wrong."""
    now, to = environment.clock(), channels(environment.settings)
    text = "This is a test: isams-pipeline can reach you here. Nothing is wrong with any night because of it.\n"
    facts: JsonObject = {"version": 1, "kind": "test", "nights": []}
    what = Message("a test message", text, facts)
    with environment.locks.hold(LOCK, wait=_WAIT):
        with environment.state.transaction() as session:
            made = {name: _in_line(name, what, now, now) for name in to}
            session.add_all(made.values())
            session.flush()
            ids = {name: one.id for name, one in made.items()}
        done = send(environment, to, list(ids.values()), again=False)
        put_away(environment, list(ids.values()))  # one that did not go is tried by the next test, not by a round
    late = "there was no time for it"
    problems = {name: done.get(id_, late) for name, id_ in ids.items()}
    return {name: problem.removeprefix(f"{name}: ") for name, problem in problems.items() if problem is not None}


def write(session: Session, environment: Environment, to: Channels, now: datetime) -> int:
    """Write the messages that are due, to whom each concerns; gives how many."""
    untold = select(Problem).where(Problem.told_at.is_(None), Problem.closed_at.is_(None))
    over = select(Problem).where(
        Problem.told_at.is_not(None), Problem.closed_by == RECOVERED, Problem.over_told_at.is_(None)
    )
    written = 0
    for problems, nights in _groups(environment, session.scalars(untold.order_by(Problem.id)).all(), now):
        sent = list(_messages(to, nights, now))
        session.add_all(sent)
        written += len(sent)
        for problem, one in zip(problems, nights, strict=True):
            if any(told.wants(one) for all_ in to.values() for told in all_):
                problem.told_at = now
    # What of a night was told may be of several kinds, one after the other; that it is over is one piece of news.
    last: dict[tuple[str, str, date], Problem] = {}
    for problem in session.scalars(over.order_by(Problem.id)):
        earlier = last.get((problem.school, problem.partner, problem.night))
        if earlier is not None:
            earlier.over_told_at = now
        if problem.kind == AlertKind.WARNED.value:
            problem.over_told_at = now  # the next night's checks say whether it still is so
            continue
        last[problem.school, problem.partner, problem.night] = problem
    for problems, nights in _groups(environment, list(last.values()), now, is_over=True):
        sent = list(_messages(to, nights, now))
        session.add_all(sent)
        written += len(sent)
        for problem in problems:
            problem.over_told_at = now
    return written


def _groups(
    environment: Environment, problems: Sequence[Problem], now: datetime, *, is_over: bool = False
) -> Iterator[tuple[list[Problem], list[OneNight]]]:
    """Nights with one cause, once no further one has come for a while."""
    of = {problem.id: problem for problem in problems}
    gather = timedelta(minutes=environment.settings.alerts.gather_minutes)
    since: Callable[[Problem], datetime] = _closed if is_over else lambda problem: problem.opened_at
    for group in by_cause(_night(environment, problem, is_over=is_over) for problem in problems):
        here = [of[night.problem] for night in group]
        times = [since(problem) for problem in here]
        if now - max(times) >= gather or now - min(times) >= _LONGEST_GATHERING * gather:
            yield here, group


def _closed(problem: Problem) -> datetime:
    return problem.closed_at or problem.opened_at


def _messages(to: Channels, nights: Sequence[OneNight], now: datetime) -> Iterator[AlertMessage]:
    for name, all_ in to.items():
        wanted = [one for one in nights if any(told.wants(one) for told in all_)]
        if wanted:
            first: Told = next(told for told in all_ if told.wants(wanted[0]))
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
        state=AlertState.QUEUED.value,
        attempts=0,
        changed_at=now,
    )


def _night(environment: Environment, problem: Problem, *, is_over: bool) -> OneNight:
    settings, kind = environment.settings, AlertKind(problem.kind)
    school, ui = settings.school(problem.school), settings.alerts.ui
    run_id = problem.over_by if is_over else problem.run_id
    return OneNight(
        problem=problem.id,
        school=problem.school,
        name=school.name,
        partner=problem.partner,
        night=problem.night,
        kind=AlertKind.RECOVERED if is_over else kind,
        was=kind if is_over else None,
        reason=problem.reason,
        counts=dict(problem.counts),
        run=f"{ui.rstrip('/')}/runs/{run_id}" if ui and run_id else None,
        command=command_for(problem.school, problem.partner, problem.night, problem.kind),
    )


def command_for(school: str, partner: str, night: date | None, kind: str = "") -> str:
    """What a person types to have a night made again, or released; on whichever day it is typed. None: today's."""
    whose, _, part = partner.partition(" ")
    on = f" --date {night}" if night is not None else ""
    if part:
        return f"isams-pipeline attendance {school} {part}{on}"
    if kind == AlertKind.HELD.value:
        return f"isams-pipeline release {school} --partner {whose}"
    return f"isams-pipeline sync {school} --partner {whose}{on}"
