"""What is known of nights that need a person: which are new, which have become others, and which are over."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from datetime import date, datetime

from sqlalchemy import func, select
from sqlalchemy.orm import Session

from isams_pipeline.config import Settings
from isams_pipeline.config.alerts import AlertKind
from isams_pipeline.orchestration.alerts.looking import Finding
from isams_pipeline.orchestration.alerts.messages import cause_of
from isams_pipeline.storage.state.alerts import Problem, Watched

RECOVERED, SUPERSEDED = "recovered", "superseded"
Whose = tuple[str, str]
"""A school and a partner, with its part."""


def last_round(session: Session) -> datetime | None:
    """When the last round was; None where there was none."""
    return session.scalar(select(func.max(Watched.seen)))


def keep(
    session: Session, findings: Sequence[Finding], now: datetime, due: Mapping[tuple[str, str, date], datetime]
) -> None:
    """Bring the problems up to date: open those that are new, close those that are over or have become others.

    `due`: by when a night should have been there. What was due before anybody watched is nobody's fault.
    """
    since = _watch(session, findings, now)
    by = {(one.whose, one.night): one for one in findings}
    settled: dict[Whose, date] = {}
    for one in findings:
        if one.settled:
            settled[one.whose] = max(one.night, settled.get(one.whose, one.night))
    open_ones: dict[Whose, list[Problem]] = {}
    for problem in session.scalars(select(Problem).where(Problem.closed_at.is_(None)).order_by(Problem.id)):
        open_ones.setdefault((problem.school, problem.partner), []).append(problem)
    for whose, night in settled.items():
        for problem in open_ones.get(whose, []):
            if problem.night < night or (problem.night == night and problem.kind != by[whose, night].kind):
                _recovered(session, problem, now, by[whose, night].run_id)
    for one in findings:
        if one.kind is None or one.night < settled.get(one.whose, one.night):
            continue  # a later night is there: whatever was wrong is over
        began = since[one.whose]
        if due.get((*one.whose, one.night), now) < began and (one.ended is None or one.ended < began):
            continue
        _found(session, open_ones.setdefault(one.whose, []), one, now)


def _watch(session: Session, findings: Iterable[Finding], now: datetime) -> dict[Whose, datetime]:
    """Since when each is watched; a new one is from now on."""
    known = {(one.school, one.partner): one for one in session.scalars(select(Watched))}
    for whose in {one.whose for one in findings}:
        if whose not in known:
            known[whose] = Watched(school=whose[0], partner=whose[1], since=now, seen=now)
            session.add(known[whose])
        known[whose].seen = now
    return {whose: one.since for whose, one in known.items()}


def _recovered(session: Session, problem: Problem, now: datetime, run_id: str | None) -> None:
    """Close a problem, with what was told of the same night before it became this one."""
    told_before = select(Problem).where(
        Problem.school == problem.school,
        Problem.partner == problem.partner,
        Problem.night == problem.night,
        Problem.closed_by == SUPERSEDED,
        Problem.told_at.is_not(None),
    )
    for one in (problem, *session.scalars(told_before)):
        one.closed_at, one.closed_by, one.over_by = now, RECOVERED, run_id


def _found(session: Session, here: list[Problem], one: Finding, now: datetime) -> None:
    of_night = [problem for problem in here if problem.night == one.night and problem.closed_at is None]
    if one.kind is AlertKind.LATE and of_night:
        return  # a night that needs a person anyway, and may be under way again
    same = next((problem for problem in of_night if problem.kind == one.kind), None)
    if same is not None and (same.told_at is None or cause_of(same.reason) == cause_of(one.reason)):
        if same.told_at is None:  # whoever is told is told the latest
            same.reason, same.run_id, same.counts = one.reason, one.run_id, dict(one.counts)
        return
    for problem in of_night:
        problem.closed_at, problem.closed_by = now, SUPERSEDED
    if one.kind is None:
        return
    again = _told(session, one)
    if again is not None:  # of which somebody knows already: no news, but it is so again
        again.closed_at = again.closed_by = None
        here.append(again)
        return
    problem = Problem(
        school=one.school,
        partner=one.partner,
        night=one.night,
        kind=one.kind.value,
        reason=one.reason,
        counts=dict(one.counts),
        run_id=one.run_id,
        opened_at=now,
    )
    session.add(problem)
    here.append(problem)


def _told(session: Session, one: Finding) -> Problem | None:
    """The problem by which just this was told of the night, before it was taken for another."""
    query = select(Problem).where(
        Problem.school == one.school,
        Problem.partner == one.partner,
        Problem.night == one.night,
        Problem.kind == one.kind,
        Problem.told_at.is_not(None),
        Problem.closed_by == SUPERSEDED,
    )
    told = session.scalars(query.order_by(Problem.id.desc()))
    return next((problem for problem in told if cause_of(problem.reason) == cause_of(one.reason)), None)


def forget(session: Session, settings: Settings) -> None:
    """Let go of the schools and partners that schools.yaml does not have any more; back again they are new."""
    for watched in session.scalars(select(Watched)):
        if not is_had(settings, watched.school, watched.partner):
            session.delete(watched)
    for problem in session.scalars(select(Problem).where(Problem.closed_at.is_(None))):
        if not is_had(settings, problem.school, problem.partner):
            problem.closed_at, problem.closed_by = problem.opened_at, SUPERSEDED


def is_had(settings: Settings, school: str, partner: str) -> bool:
    """Whether schools.yaml has a school, and that a partner. `partner` with its part: `schoolsbuddy_attendance am`."""
    return school in settings.schools and settings.schools[school].partners.whose(partner) is not None
