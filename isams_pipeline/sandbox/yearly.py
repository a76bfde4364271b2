"""A made-up school that has school years: years move up, leavers go, others join, sets and timetables are made anew."""

from __future__ import annotations

from dataclasses import replace
from datetime import date
from functools import cached_property

from isams_pipeline.sandbox.calendars import SchoolCalendar, latest
from isams_pipeline.sandbox.edits import Edits
from isams_pipeline.sandbox.people import Pupil, StaffMember, TeachingSet
from isams_pipeline.sandbox.school import SchoolDay, SchoolPlan

_FIRST_COHORT = 1990
_AFTER_GCSE = 12
"""The year group before which some leave for another school, and others come."""
_STAYS = 8
"""Years that a member of staff stays."""


def school_on(plan: SchoolPlan, day: date, edits: Edits | None = None) -> SchoolDay:
    """A made-up school as it is on one date."""
    return SchoolDay(plan, day, edits) if plan.calendar is None else YearlySchool(plan, plan.calendar, day, edits)


class YearlySchool(SchoolDay):
    """The school as it is on one date, in the course of its years."""

    def __init__(self, plan: SchoolPlan, calendar: SchoolCalendar, day: date, edits: Edits | None = None) -> None:
        super().__init__(plan, day, edits)
        self._calendar = calendar
        self.roll_year = latest(day, [calendar.years_move_up]).year
        """The school year that the roll is of."""
        self._size = plan.pupils // len(plan.years)
        self._slots = plan.pupils
        self._published: SchoolDay | None = None

    def _as_of(self, day: date) -> YearlySchool:
        return self if day == self.date else YearlySchool(self.plan, self._calendar, day, self.edits)

    @property
    def term_years(self) -> list[int]:
        return self._calendar.term_years(self.date)

    @property
    def emptied(self) -> list[str]:
        return self._calendar.emptied(self.date)

    @cached_property
    def everyone(self) -> list[Pupil]:
        """Everybody on the roll: a cohort a year group."""
        many = len(self.plan.years)
        found: list[Pupil] = []
        for at, (year, _) in enumerate(self.plan.years):
            cohort = self.roll_year - at
            for nth in range(self._size):
                came_later = nth % 5 == 0 and year >= _AFTER_GCSE and self.plan.years[0][0] < _AFTER_GCSE
                number = ((cohort - _FIRST_COHORT) * 2 + came_later) * self._size + nth
                # Those of a family are in neighbouring cohorts; who came later has no brother or sister here.
                shares = nth % 4 < 2 and not came_later  # noqa: PLR2004
                of = cohort // 2 * 2 if shares else cohort
                family = (nth if shares else self._slots + nth + came_later * self._size, of - _FIRST_COHORT)
                found.append(self.edits.of_pupil(self._pupil(at + many * nth, number, nth, family, current=True)))
        return found

    @cached_property
    def staff(self) -> list[StaffMember]:
        """Current staff. Every year some leave, on a date that is known before, and others come."""
        members: list[StaffMember] = []
        count = self.staff_size
        for position in range(count):
            generation, stayed = divmod(self.roll_year - _FIRST_COHORT + position, _STAYS)
            member = self._member(position, generation * count + position, members)
            leaving = date(self.roll_year + 1, 8, 31) if stayed == _STAYS - 1 else None
            members.append(replace(member, leaving=leaving))
        return members

    @cached_property
    def sets(self) -> list[TeachingSet]:
        """The sets as they were made last, whoever has left since."""
        since, edition = self._calendar.edition(self.date, self._calendar.sets_anew)
        made = self._as_of(since).made_sets()
        return [replace(group, id=group.id + 1000 * edition) for group in made]

    @property
    def timetabled(self) -> SchoolDay:
        """The school on the day on which its timetable was published."""
        if self._published is None:
            self._published = self._as_of(self._calendar.edition(self.date, self._calendar.timetables_anew)[0])
        return self._published

    @property
    def rooms_moved(self) -> int:
        return 3 * self._calendar.edition(self.date, self._calendar.timetables_anew)[1]
