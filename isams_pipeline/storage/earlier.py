"""What an earlier night has, found without listing all nights there ever were.

A folder of a school's nights grows by a night each day, for years, and a listing costs an object store a request for
each thousand names. The night before is nearly always there, so it is asked for by its name; all are listed only after
a gap.
"""

from __future__ import annotations

import contextlib
from collections.abc import Callable, Iterable, Iterator, Sequence
from datetime import date
from typing import TypeVar

T = TypeVar("T")
GAP = 7
"""Days that are asked for by name before all are listed."""


def dates_of(names: Iterable[str], suffix: str = "") -> list[date]:
    """The dates among the names in a folder, in their order; what somebody else has put there is no night."""
    found: list[date] = []
    for name in names:
        if name.endswith(suffix):
            with contextlib.suppress(ValueError):
                found.append(date.fromisoformat(name.removesuffix(suffix)))
    return found


def earlier(
    night: date, look: Callable[[date], T | None], all_nights: Callable[[], Sequence[date]], *, gap: int = GAP
) -> Iterator[T]:
    """What earlier nights have, the newest first. `look` gives what one has, None where that is nothing.

    `all_nights` lists the nights that may have something; only where the last `gap` days have not sufficed.
    """
    first = max(night.toordinal() - gap, date.min.toordinal())
    for day in range(night.toordinal() - 1, first - 1, -1):
        found = look(date.fromordinal(day))
        if found is not None:
            yield found
    for other in sorted(all_nights(), reverse=True):
        if other.toordinal() < first:
            found = look(other)
            if found is not None:
                yield found
