"""When a made-up school changes in the course of a year: each day as its month and day."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from datetime import date

MonthDay = tuple[int, int]


def latest(day: date, of: Iterable[MonthDay]) -> date:
    """The last of some days of the year that has come by a day."""
    days = list(of)
    return max(found for year in (day.year - 1, day.year) for m, d in days if (found := date(year, m, d)) <= day)


@dataclass(frozen=True)
class SchoolCalendar:
    """A school's year. Without one, a made-up school has no years: a few join and leave on every night."""

    years_move_up: MonthDay = (9, 1)
    """The last year group leaves the roll, another joins it, and everybody else is a year further."""
    terms_entered: MonthDay = (8, 20)
    """The coming school year's terms, and which timetable week each week is."""
    sets_anew: tuple[MonthDay, ...] = ((9, 1), (1, 12))
    """All sets get new numbers and new lists, by who is on the roll then."""
    timetables_anew: tuple[MonthDay, ...] = ((9, 1), (1, 19))
    """Another timetable is published: by the sets of then, in other rooms."""
    empty: tuple[tuple[MonthDay, str], ...] = ()
    """Days on which a container of the Batch API has no rows."""

    def term_years(self, day: date) -> list[int]:
        """The school years whose terms are in iSAMS on a day: this one, and the next as soon as it is entered."""
        newest = latest(day, [self.terms_entered]).year
        return [newest - 1, newest]

    def edition(self, day: date, of: tuple[MonthDay, ...]) -> tuple[date, int]:
        """Since when the sets, or the timetable, are what they are on a day; and the how many that is."""
        since = latest(day, of)
        return since, (since.year - 2000) * len(of) + sorted(of).index((since.month, since.day))

    def emptied(self, day: date) -> list[str]:
        """The containers that have no rows on a day."""
        return [container for (month, of), container in self.empty if (month, of) == (day.month, day.day)]
