"""A made-up school's sides of Assembly and of Xporter on Demand: what is remembered there, and what a person moves."""

from __future__ import annotations

import base64
import hmac
import json
import secrets
import uuid
from collections.abc import Sequence
from dataclasses import dataclass, field
from datetime import datetime
from typing import Any, ClassVar

CONNECTOR_STATES = ("awaiting_invitation", "not_authorised", "not_installed", "onboarding", "paused", "connected")
"""Of a school's connector at Assembly."""


def _refuse_unknown(step: str, known: Sequence[str]) -> None:
    if step not in known:
        raise ValueError(f"there is no step {step!r}; known are {', '.join(known)}")


@dataclass
class SandboxAssembly:
    """A school's side of Assembly."""

    steps: ClassVar[tuple[str, ...]] = (*CONNECTOR_STATES, "revoke")
    """What the school can be told to do: states of its connector, and to take the authorisation back."""

    urn: str
    client_id: str
    secret: str = field(repr=False)
    school: str = ""
    connector: str = "awaiting_invitation"
    """awaiting_invitation, one of the reasons why it is not connected, or connected."""
    is_registered: bool = True
    allowed: set[str] | None = None
    """The scopes that the school will authorise when asked; None: all that are asked for."""
    granted: dict[str, set[str]] = field(default_factory=dict[str, set[str]], repr=False)
    """Refresh token → scopes, of those seen since the sandbox was started."""
    is_revoked: bool = False
    """No refresh token of before is good any more."""
    tokens: dict[str, tuple[set[str], datetime]] = field(
        default_factory=dict[str, tuple[set[str], datetime]], repr=False
    )
    codes: dict[str, set[str]] = field(default_factory=dict[str, set[str]], repr=False)
    spent: list[datetime] = field(default_factory=list[datetime], repr=False)
    requests: list[tuple[str, str]] = field(default_factory=list[tuple[str, str]])
    """Path and query of every request for the school's data, and of those that were refused."""
    last_sync: datetime | None = None
    last_changes: datetime | None = None
    fingerprint: str = ""
    sync_state: str | None = None
    """202 is the answer to a sync; "disabled" or "pending" say otherwise."""
    seconds: float = 0
    """How long each answer takes."""
    differs: bool = False
    variants: set[str] = field(default_factory=set[str])
    """See ASSEMBLY_VARIANTS."""
    versions: dict[str, tuple[datetime, dict[Any, str]]] = field(
        default_factory=dict[str, tuple[datetime, dict[Any, str]]], repr=False
    )
    """Tag of a list's content → when it was first seen, and each row's digest."""
    limit: int = 600
    period: int = 300

    def move(self, step: str) -> None:
        """What the school does on the Connector page; raises ValueError for no step."""
        _refuse_unknown(step, self.steps)
        if step == "revoke":
            self.revoke()
        else:
            self.connector = step

    @property
    def told(self) -> dict[str, object]:
        """For the person at the sandbox."""
        return {"connector": self.connector, "requests": len(self.requests), "steps": self.steps}

    def revoke(self) -> None:
        """The school takes the app's authorisation back."""
        self.is_revoked = True
        self.granted.clear()
        self.tokens.clear()

    def refresh_token(self, scopes: set[str]) -> str:
        """A refresh token that says itself what it is for, so that a sandbox started anew still takes it."""
        self.is_revoked = False
        said = base64.urlsafe_b64encode(json.dumps([self.school, sorted(scopes), secrets.token_hex(4)]).encode())
        token = f"{said.decode()}.{self._signed(said)}"
        self.granted[token] = scopes
        return token

    def _signed(self, said: bytes) -> str:
        return hmac.new(self.secret.encode(), said, "sha256").hexdigest()

    def scopes_by(self, refresh_token: str) -> set[str] | None:
        """The scopes that a refresh token is for; None where it is not this school's, or not any more."""
        said, _, signature = refresh_token.rpartition(".")
        if self.is_revoked or not hmac.compare_digest(signature, self._signed(said.encode())):
            return None
        school, scopes, _ = json.loads(base64.urlsafe_b64decode(said))
        return self.granted.setdefault(refresh_token, set(scopes)) if school == self.school else None

    def shrink(self, *scopes: str) -> None:
        """The school takes scopes back."""
        for held in [*self.granted.values(), *(entry[0] for entry in self.tokens.values())]:
            held.difference_update(scopes)


XPORTER_SCOPES = (
    *("School", "Student", "Staff", "Contact", "Attendance"),
    *("Address", "StudentExtended", "StaffExtended", "StaffEmployment"),
)
XPORTER_VARIANTS = {
    "prefixed_members": "ids in StudentMembers carry a prefix (GC-8811, PL-9660), as in the vendor's example",
    "student_contact": "the array of links is StudentContact, without the s",
    "no_periods": "TTPeriods is empty, as in primary schools",
    "changes_in_one": "an answer to changedRows has no __pagination__",
    "flags_as_texts": "flags are texts, not numbers",
}
ASSEMBLY_VARIANTS = {
    "ended_groups": "a list of groups holds some that have ended, whatever date was asked for",
    "covers_beside": "a cover stands beside the lesson that it replaces",
    "covers_instead": "a cover stands in the place of the lesson",
    "legal_empty": "legal_first_name is empty where it is the first name",
}


@dataclass
class SandboxXporter:
    """A school's side of Xporter."""

    steps: ClassVar[tuple[str, ...]] = (
        *("authorise", "withdraw", "pause", "resume"),
        *("NotInstalled", "Onboarding", "OK"),
    )
    """What the school can be told to do, and the states of its database."""

    estab: str
    relying_party: str
    secret: str = field(repr=False)
    management_secret: str = field(repr=False)
    is_authorised: bool = False
    is_paused: bool = False
    status: str = "Onboarding"
    """OK, or why there is no data yet."""
    scopes: set[str] = field(default_factory=lambda: set(XPORTER_SCOPES))
    variants: set[str] = field(default_factory=set[str])
    """Of two readings that documents and recordings leave, the one that is not usual here: see XPORTER_VARIANTS."""
    invitations: int = 0
    opted_out: dict[str, list[str]] = field(default_factory=dict[str, list[str]])
    """StudentIds, StaffIds, ContactIds."""
    is_opt_in: bool = False
    tokens: dict[str, datetime] = field(default_factory=dict[str, datetime], repr=False)
    requests: list[tuple[str, str]] = field(default_factory=list[tuple[str, str]])
    """Path and query of every request that came."""
    snapshots: dict[str, dict[tuple[str, str], str]] = field(
        default_factory=dict[str, dict[tuple[str, str], str]], repr=False
    )
    """Token of changed rows → each row's hash."""
    seconds: float = 0
    differs: bool = False

    def move(self, step: str) -> None:
        """What the school or Groupcall does; raises ValueError for no step."""
        _refuse_unknown(step, self.steps)
        match step:
            case "authorise" | "withdraw":
                self.is_authorised = step == "authorise"
            case "pause" | "resume":
                self.is_paused = step == "pause"
            case _:
                self.status = step

    @property
    def told(self) -> dict[str, object]:
        """For the person at the sandbox."""
        authorised = "paused" if self.is_paused else "yes" if self.is_authorised else "no"
        told = {"authorised": authorised, "status": self.status, "invitations": self.invitations}
        return {**told, "requests": len(self.requests), "steps": self.steps}


@dataclass
class SandboxKey:
    """A Batch key (or OAuth client) of a sandbox school."""

    name: str
    methods: tuple[str, ...]
    guid: str = field(default_factory=lambda: str(uuid.uuid4()).upper(), repr=False)
    client_secret: str | None = field(default=None, repr=False)
    """With it, `guid` is an OAuth client's id, and the key wants a token."""
    cache_hours: float = 0
    cache_ignores_filters: bool = False
    """The cache answers whatever was asked first, whatever is asked now. Whether iSAMS does is unknown."""
    active: bool = True


@dataclass
class SandboxClient:
    """A REST client of a sandbox school."""

    name: str
    permissions: dict[str, str]
    """Module → Read or Full."""
    client_id: str = field(default_factory=lambda: str(uuid.uuid4()).upper(), repr=False)
    secret: str = field(default_factory=secrets.token_urlsafe, repr=False)
    requests_per_hour: int | None = None
    spent: list[datetime] = field(default_factory=list[datetime], repr=False)
