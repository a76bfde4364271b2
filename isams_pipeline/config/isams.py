"""A school's iSAMS: where it is, and what its keys bring."""

from __future__ import annotations

import difflib
import re
from collections.abc import Collection

from pydantic import Field, field_validator, model_validator

from isams_pipeline.config.values import ServerUrl, StrictSettings, Variable
from isams_pipeline.isams import feeds

ADVISED_CACHE_HOURS = (2, 3)
"""SchoolsBuddy's guide: 2 or 3 hours, not iSAMS's default of 24, so that a second sync sees new data."""
HOURLY_FEEDS = frozenset({"estates", "timetable_structure", "week_allocations", "timetables", "room_closures"})
"""Room Booking's guide: a key that brings these refreshes every hour."""


def advised_cache_hours(feeds: Collection[str]) -> tuple[int, int]:
    """The least and the most hours that a key with these feeds should answer from its cache."""
    return (1, 1) if HOURLY_FEEDS & set(feeds) else ADVISED_CACHE_HOURS


class KeySettings(StrictSettings):
    """One Batch API key (or OAuth client) of a school."""

    secret: Variable
    client_id: Variable | None = None
    """With it, `secret` is an OAuth client's secret, and the key is asked for by a token."""
    feeds: tuple[str, ...] = Field(min_length=1)
    cache_hours: float = Field(default=24, gt=0, le=168)

    @field_validator("feeds", mode="after")
    @classmethod
    def _known_feeds(cls, names: tuple[str, ...]) -> tuple[str, ...]:
        try:
            return tuple(feeds.expand(names))
        except KeyError as error:
            known = [*feeds.FEEDS, *feeds.SHORTHANDS]
            near = difflib.get_close_matches(str(error.args[0]), known, n=1)
            hint = f"did you mean {near[0]}?" if near else f"known are {', '.join(known)}"
            raise ValueError(f"there is no feed {error.args[0]!r}; {hint}") from None

    @model_validator(mode="after")
    def _medical_alone(self) -> KeySettings:
        if "medical" in self.feeds and len(self.feeds) > 1:
            raise ValueError(
                "medical shares the key with other feeds; its shape is unknown, so give it a key of its own"
            )
        return self


class IsamsSettings(StrictSettings):
    """A school's iSAMS: where it is, and which key brings which feeds."""

    url: ServerUrl
    keys: dict[str, KeySettings] = Field(min_length=1)

    @field_validator("keys", mode="after")
    @classmethod
    def _one_key_a_feed(cls, keys: dict[str, KeySettings]) -> dict[str, KeySettings]:
        brought_by: dict[str, str] = {}
        for name, key in keys.items():
            if re.fullmatch(r"[a-z][a-z0-9_-]*", name) is None:
                raise ValueError(f"key {name!r}: a key's name is lower-case letters, digits, - and _")
            for feed in key.feeds:
                if feed in brought_by:
                    raise ValueError(
                        f"feed {feed} comes by the keys {brought_by[feed]} and {name}; leave it to one of them"
                    )
                brought_by[feed] = name
        return keys

    def key_for(self, feed: str) -> str | None:
        """The name of the key that brings a feed, or None where the school has none for it."""
        return next((name for name, key in self.keys.items() if feed in key.feeds), None)
