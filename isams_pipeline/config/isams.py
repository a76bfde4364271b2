"""A school's iSAMS: where it is, and what its keys bring."""

from __future__ import annotations

import difflib
import re
from collections.abc import Collection
from typing import ClassVar, Literal

from pydantic import Field, field_validator, model_validator

from isams_pipeline.config import feeds
from isams_pipeline.config.sources import ConnectionSettings
from isams_pipeline.config.values import ServerUrl, StrictSettings, Variable

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
    archive: Literal["whole", "tables_only"] | None = None
    """Whether iSAMS's answers are kept, or only the tables that were made of them."""

    @property
    def keeps_answers(self) -> bool:
        """Whether answers are kept as they came; where nothing is said, but for those about health."""
        return self.archive == "whole" if self.archive is not None else "medical" not in self.feeds

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


class RestClientSettings(StrictSettings):
    """One REST API client of a school."""

    client_id: Variable
    secret: Variable
    parallel: int = Field(default=8, ge=1, le=32)
    """Requests at a time."""
    requests_per_hour: int | None = Field(default=None, ge=10)
    """The limit that the school has set on the client in iSAMS, if it has."""


class IsamsSettings(ConnectionSettings):
    """A school's iSAMS: where it is, which key brings which feeds, and its REST clients."""

    key: ClassVar[str] = "isams"

    url: ServerUrl
    keys: dict[str, KeySettings] = Field(min_length=1)
    rest: dict[str, RestClientSettings] = Field(default_factory=dict[str, RestClientSettings])

    @field_validator("keys", mode="after")
    @classmethod
    def _one_key_a_feed(cls, keys: dict[str, KeySettings]) -> dict[str, KeySettings]:
        brought_by: dict[str, str] = {}
        for name, key in keys.items():
            _named("key", name)
            for feed in key.feeds:
                if feed in brought_by:
                    raise ValueError(
                        f"feed {feed} comes by the keys {brought_by[feed]} and {name}; leave it to one of them"
                    )
                brought_by[feed] = name
        return keys

    @field_validator("rest", mode="after")
    @classmethod
    def _rest_names(cls, clients: dict[str, RestClientSettings]) -> dict[str, RestClientSettings]:
        for name in clients:
            _named("client", name)
        return clients

    def client_named(self, name: str | None) -> str:
        """The REST client of that name; without a name, the only one. Raises ValueError with what to write."""
        if name is None and len(self.rest) == 1:
            return next(iter(self.rest))
        if name in self.rest:
            return name
        known = ", ".join(self.rest) or "none yet"
        what = f"there is no REST client {name!r}" if name else "the REST client must be named"
        raise ValueError(f"{what}; under isams.rest are: {known}")

    @property
    def secrets(self) -> set[str | None]:
        """The names of the environment variables that hold its secrets."""
        return {name for key in (*self.keys.values(), *self.rest.values()) for name in (key.secret, key.client_id)}

    def key_for(self, feed: str) -> str | None:
        """The name of the key that brings a feed, or None where the school has none for it."""
        return next((name for name, key in self.keys.items() if feed in key.feeds), None)


def _named(what: str, name: str) -> None:
    if re.fullmatch(r"[a-z][a-z0-9_-]*", name) is None:
        raise ValueError(f"{what} {name!r}: a {what}'s name is lower-case letters, digits, - and _")


class RegisterChoice(StrictSettings):
    """A register that counts: of a division, by its type or its friendly name."""

    division: str = Field(min_length=1)
    """The division's name or code."""
    called: str = Field(alias="register", min_length=1)
    """The `registrationType` or the `friendlyName`."""
