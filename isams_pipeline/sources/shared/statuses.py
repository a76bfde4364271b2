"""What an HTTP status means, whichever source answers with it: said once, but for what a source means by it alone."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field

from isams_pipeline.errors import (
    AccessRefused,
    IsamsError,
    NotFound,
    RequestRefused,
    ServerTimeout,
    Throttled,
    TransientIsamsError,
    Unavailable,
)

RETRIED = "Such a request is repeated automatically where that is safe; if the run still fails, run it again later."
REPORT = "Report this as a bug."
Meaning = tuple[type[IsamsError], str, str]
"""An error, what happened, and what to do."""


@dataclass(frozen=True)
class Statuses:
    """The statuses of one source's answers."""

    server: str
    """As a person calls it."""
    setting: str
    """Where its address stands in schools.yaml."""
    support: str
    """Whom to ask where nothing else is known."""
    own: Mapping[int, Meaning] = field(default_factory=dict[int, Meaning])
    """What a status means at this source, where that is not what it means elsewhere."""

    def error(self, status: int | None, *, wait: float | None = None, **where: object) -> IsamsError:
        """The typed error for an answer that is no success; `wait` are the seconds that it asks for."""
        kind, what, remedy = (self.own.get(status) if status else None) or self._meaning(status)
        if issubclass(kind, TransientIsamsError):
            return kind(what, remedy=remedy, retry_after=wait, status=status, **where)
        return kind(what, remedy=remedy, status=status, **where)

    def _meaning(self, status: int | None) -> Meaning:
        match status:
            case 400 | 422:
                return RequestRefused, f"{self.server} found the request invalid", REPORT
            case 404:
                return NotFound, f"{self.server} has no such record", f"Check the id, and {self.setting}."
            case 429:
                remedy = "Run it again later; raise the client's limit if this is usual."
                return Throttled, f"{self.server} throttles this client", remedy
            case 408 | 504:
                return ServerTimeout, f"{self.server} ran out of time", RETRIED
            case 500 | 502 | 503:
                return Unavailable, f"{self.server} is not available", RETRIED
            case int() if 300 <= status < 400:  # noqa: PLR2004
                what = f"{self.setting} redirects elsewhere, and no redirect is followed with a secret"
                return AccessRefused, what, f"Write the final address as {self.setting}."
            case _:
                return IsamsError, f"{self.server} failed", f"Ask {self.support} with the time of this run."
