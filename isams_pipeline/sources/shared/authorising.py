"""How a school lets its data be read by a source: what differs from source to source."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass

from isams_pipeline.sources.shared.access import Access
from isams_pipeline.sources.shared.connections import Finding

SCHOOL, YOU, NOBODY = "the school", "you", "nobody"
"""By whom something is to be done."""


@dataclass(frozen=True)
class Advice:
    """For a person: what a state means, what is to be done next, and by whom."""

    means: str
    next: str
    by: str


@dataclass(frozen=True)
class Authorising:
    """The school's yes to a source's app, and what can be done about it."""

    uninvited: Callable[[str], Advice]
    """School → what to do where it has not been invited."""
    invite: Callable[[Access], str | None]
    """Send the invitation; raises WrongUse where it cannot be sent. Gives the environment variable of the secret that
    comes with the school's yes, if one does."""
    forget: Callable[[Access], None]
    """Take the authorisation back, as far as that can be done from here."""
    remains: str = ""
    """What taking it back here does not end, in words."""
    take_code: Callable[[Access, str], Finding] | None = None
    """Exchange the code that the school's yes in a browser gives. None: the school authorises elsewhere, and which of
    its scopes are used is chosen here."""
    offered: Callable[[Access], Mapping[str, str]] | None = None
    """The scopes that the school has authorised, each with what it is in words, where they are chosen here."""
    fetch: Callable[[Access], None] | None = None
    """Have the source fetch the school's data now; None where it cannot be asked to."""

    @property
    def in_a_browser(self) -> bool:
        """Whether somebody of the school says yes in a browser, and a code comes of it."""
        return self.take_code is not None
