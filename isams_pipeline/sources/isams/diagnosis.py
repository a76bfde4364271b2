"""What is wrong with a school's keys: asked in a way that runs no method and reads nobody's data."""

from __future__ import annotations

import re
from collections.abc import Callable
from dataclasses import dataclass, field
from datetime import datetime
from email.utils import parsedate_to_datetime
from urllib.parse import urlsplit

from isams_pipeline.clock import Clock
from isams_pipeline.config import IsamsSettings, KeySettings, SchoolSettings, advised_cache_hours
from isams_pipeline.config.feeds import FEEDS, KNOWN_METHODS
from isams_pipeline.config.partners import RestUse
from isams_pipeline.errors import ConfigurationError, MethodsNotAllocated, NotPermitted, PipelineError
from isams_pipeline.sources.isams.batch import BatchClient
from isams_pipeline.sources.isams.rest import RestClient, address

MADE_UP_METHOD = "IsamsPipeline_GetNothing"
"""No key can have it, so a request that names it is always refused, and nothing runs."""
_MAX_SKEW = 300


@dataclass
class KeyDiagnosis:
    """What one key can do, and what a school's administrator should change."""

    key: str
    asked: bool = False
    """A request could be made at all: its secret was there."""
    reachable: bool = False
    authorised: bool = False
    missing: list[str] = field(default_factory=list[str])
    """Methods that its feeds need and it may not run."""
    extra: list[str] = field(default_factory=list[str])
    """Methods that it may run and no feed needs; some partners fail on them."""
    allowed: int | None = None
    cache_hours: float = 0
    encrypted: bool = False
    skew_seconds: float | None = None
    shared: bool = False
    """Its variable holds another key."""
    advice: list[str] = field(default_factory=list[str])

    @property
    def healthy(self) -> bool:
        """Whether the nightly run can use the key."""
        return not self.shared and self.reachable and self.authorised and not self.missing and not self.extra


def diagnose(
    isams: IsamsSettings,
    client_for: Callable[[str], BatchClient],
    clock: Clock,
    secret_of: Callable[[str], str | None] = lambda _: None,
) -> list[KeyDiagnosis]:
    """Look at every key of a school. `secret_of` gives what a key's variable holds, None where it is not set."""
    secrets = {name: secret for name in isams.keys if (secret := secret_of(name)) is not None}
    found: list[KeyDiagnosis] = []
    for name, key in isams.keys.items():
        mine = None if key.client_id else secrets.get(name)
        same = [other for other in secrets if other != name and mine is not None and secrets[other] == mine]
        found.append(_diagnose(isams.url, name, key, client_for, clock, shared=bool(same)))
        if same:
            named = " and ".join(f"{isams.keys[other].secret} ({other})" for other in same)
            said = f"{key.secret} holds the same key as {named}; put each key's own GUID into its variable."
            found[-1].advice.append(said)
        elif mine is not None and not found[-1].authorised and _GUID.fullmatch(mine.strip()) is None:
            count = len(mine.strip().strip("{}"))
            found[-1].advice.append(
                f"{key.secret} holds no whole GUID: {count} characters without braces, not {_GUID_LENGTH}; "
                "copy the key from iSAMS again."
            )
    return found


_GUID = re.compile(r"\{?[0-9a-f]{8}(-[0-9a-f]{4}){3}-[0-9a-f]{12}\}?", re.IGNORECASE)
_GUID_LENGTH = 36


def _diagnose(
    url: str, name: str, key: KeySettings, client_for: Callable[[str], BatchClient], clock: Clock, *, shared: bool
) -> KeyDiagnosis:
    """Look at one key. `shared`: its variable holds another key, so what may be run by it says nothing of this one."""
    encrypted = urlsplit(url).scheme == "https"
    found = KeyDiagnosis(name, cache_hours=key.cache_hours, encrypted=encrypted, shared=shared)
    low, high = advised_cache_hours(key.feeds)
    try:
        with client_for(name) as client:
            error, headers = client.probe([*KNOWN_METHODS, MADE_UP_METHOD])
    except PipelineError as problem:
        found.asked = not isinstance(problem, ConfigurationError)
        found.advice.append(str(problem))
        return found
    found.asked = True
    found.reachable = bool(headers)
    found.skew_seconds = _skew(headers.get("date"), clock())
    if found.skew_seconds is not None and abs(found.skew_seconds) > _MAX_SKEW:
        found.advice.append(
            f"This machine's clock and iSAMS's differ by {abs(found.skew_seconds) / 60:.0f} minutes; set it by NTP."
        )
    if isinstance(error, MethodsNotAllocated):
        found.authorised = True
        if not shared:
            _methods(found, key, error.methods)
    elif error is None:
        found.authorised = True
        found.advice.append("iSAMS did not say which methods the key may run; compare them in iSAMS by eye.")
    else:
        found.advice.append(str(error))
    if not low <= key.cache_hours <= high:
        found.advice.append(
            f"cache_hours is {key.cache_hours:g}; set the key's cache expiry in iSAMS to {_hours(low, high)}, and "
            "cache_hours here to the same."
        )
    return found


def _hours(low: int, high: int) -> str:
    return f"{low} hour{'s' if low > 1 else ''}" if low == high else f"{low} or {high} hours"


def feeds_missing(settings: SchoolSettings) -> dict[str, list[str]]:
    """Partner → feeds that its guide asks for and no key of the school brings."""
    has = settings.need_isams.key_for
    found = {
        partner: [feed for feed in mine.guide_feeds if has(feed) is None]
        for partner, mine in settings.partners.exporting.items()
    }
    return {partner: feeds for partner, feeds in found.items() if feeds}


def _methods(found: KeyDiagnosis, key: KeySettings, refused: frozenset[str]) -> None:
    allowed = [m for m in KNOWN_METHODS if m.casefold() not in refused]
    found.allowed = len(allowed)
    wanted: set[str] = set()
    for feed in key.feeds:
        methods = FEEDS[feed].methods
        if not any(method in allowed for method in methods):
            found.missing.append(methods[0])
        wanted.update(methods, FEEDS[feed].also)
    found.extra = [method for method in allowed if method not in wanted]
    if found.missing:
        found.advice.append(f"In iSAMS, tick under this key's Batch Methods: {', '.join(found.missing)}.")
    if found.extra:
        found.advice.append(f"In iSAMS, untick under this key's Batch Methods: {', '.join(found.extra)}.")


def _skew(header: str | None, now: datetime) -> float | None:
    """Seconds that this machine is ahead of the server."""
    try:
        return (now - parsedate_to_datetime(header)).total_seconds() if header else None
    except (ValueError, TypeError):
        return None


@dataclass
class ClientDiagnosis:
    """What one REST client may do, asked by lists that hold nobody."""

    client: str
    serves: tuple[str, ...]
    """Who uses it."""
    authorised: bool = False
    missing: list[str] = field(default_factory=list[str])
    """Modules that it needs and may not read."""
    advice: list[str] = field(default_factory=list[str])

    @property
    def healthy(self) -> bool:
        """Whether it can be used."""
        return self.authorised and not self.missing


_NOBODY = {
    "Attendance (SCHOOLREGISTRATION)": address("registration", "absencecodes"),
    "School Manager (SCHOOLMANAGEMENT)": address("school", "yeargroups"),
    "Pupil Manager (STUDENTMANAGEMENT)": address("students", "systemstatuses"),
}
"""Module of iSAMS that a client needs permission for → a list of it without people."""


def diagnose_rest(settings: SchoolSettings, client_for: Callable[[str], RestClient]) -> list[ClientDiagnosis]:
    """Look at every REST client of a school. That it may write cannot be seen without writing."""
    uses: dict[str, list[RestUse]] = {name: [] for name in settings.need_isams.rest}
    for use in settings.partners.rest_uses:
        uses[settings.need_isams.client_named(use.client)].append(use)
    return [_diagnose_client(name, theirs, client_for) for name, theirs in uses.items()]


def _diagnose_client(name: str, uses: list[RestUse], client_for: Callable[[str], RestClient]) -> ClientDiagnosis:
    found = ClientDiagnosis(name, tuple(use.user for use in uses))
    if not uses:
        found.authorised = True
        found.advice.append("no partner uses it; remove it, or name it as a partner's client")
        return found
    try:
        with client_for(name) as client:
            for module in dict.fromkeys(module for use in uses for module in use.modules):
                try:
                    client.get(_NOBODY[module])
                except NotPermitted:
                    found.missing.append(module)
                found.authorised = True
    except PipelineError as problem:
        found.authorised = False
        found.advice.append(str(problem))
    if found.missing:
        found.advice.append(f"in iSAMS, let the client read {', '.join(found.missing)}")
    if any(use.writes for use in uses):
        found.advice.append("to write it needs Pupil Manager at level Full, which shows only when it writes")
    return found
