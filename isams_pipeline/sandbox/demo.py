"""The two demo schools: their plans, their keys, and the schools.yaml that fits them."""

from __future__ import annotations

import uuid
from dataclasses import dataclass
from datetime import date, timedelta
from pathlib import Path
from zoneinfo import ZoneInfo

import yaml

from isams_pipeline.clock import Clock
from isams_pipeline.config import feeds
from isams_pipeline.datasets.shapes import Json
from isams_pipeline.sandbox.registers import DIVISIONS, is_school_day
from isams_pipeline.sandbox.school import SchoolPlan, simple_school, two_campus_school
from isams_pipeline.sandbox.server import Sandbox
from isams_pipeline.sandbox.sides import SandboxAssembly, SandboxClient, SandboxKey, SandboxXporter
from isams_pipeline.sandbox.world import SandboxSchool

KEYS: dict[str, list[str]] = {
    "students": ["pupils", "siblings"],
    "contacts": ["contacts"],
    "staff": ["staff"],
    "school": ["school"],
    "classes": ["departments", "sets", "teaching_forms"],
    "members": ["set_lists"],
    "medical": ["medical"],
    "bookings": ["estates", "timetable", "cover", "events"],
}
"""SchoolsBuddy's seven keys, and Room Booking's with what those do not bring; and the feeds of each."""

CLIENTS: dict[str, dict[str, str]] = {
    "registers": {"SCHOOLREGISTRATION": "Read", "SCHOOLMANAGEMENT": "Read"},
    "portal": {"STUDENTMANAGEMENT": "Full"},
}
"""SchoolsBuddy's REST client and My School Portal's, each with no more than it needs."""


DEMO_PREFIX = "DEMO_"
"""With it begin the variables that hold the secrets of made-up schools."""
ASSEMBLY_ID, ASSEMBLY_SECRET = f"{DEMO_PREFIX}ASSEMBLY_ID", f"{DEMO_PREFIX}ASSEMBLY_SECRET"
"""The environment variables of the demo's app at Assembly."""
MANAGEMENT = f"{DEMO_PREFIX}XPORTER_MANAGEMENT_SECRET"


@dataclass(frozen=True)
class DemoSchool:
    """A school of the demo."""

    title: str
    plan: SchoolPlan
    timezone: str
    campuses: dict[str, str]
    medical_fields: tuple[str, ...] = ()
    sources: bool = False
    """The other sources have it too, and differ from iSAMS in some places; SchoolBooking is served by one."""


def demo_schools(scale: float = 1, mark: str = "") -> dict[str, DemoSchool]:
    """The simple school and the one with two campuses, made larger by a factor if wanted."""
    return {
        "riverside": DemoSchool(
            "Riverside School",
            simple_school(round(60 * scale), mark),
            "Europe/London",
            {},
            ("Allergies",),
            sources=True,
        ),
        "harbour": DemoSchool(
            "Harbour International School",
            two_campus_school(round(90 * scale), mark),
            "Asia/Dubai",
            {"Campus 1": "6-10", "Campus 2": "20-24"},
        ),
    }


def demo_nights(today: date) -> list[date]:
    """Three nights that are over, the one in the middle that of a school day: the latest there are."""
    day = today - timedelta(days=2)
    while not is_school_day(day):
        day -= timedelta(days=1)
    return [day - timedelta(days=1), day, day + timedelta(days=1)]


def _methods(key_feeds: list[str]) -> tuple[str, ...]:
    return tuple(feeds.methods_of(feeds.expand(key_feeds)))


def make_sandbox(
    schools: dict[str, DemoSchool], clock: Clock, *, cache_hours: float = 2, connected: bool = False
) -> Sandbox:
    """A sandbox that serves the demo schools. Keys are the same every time, as they guard nothing.

    The other sources wait for somebody to connect them, step by step, unless they are `connected`.
    """

    def key(school: str, name: str) -> SandboxKey:
        guid = str(uuid.uuid5(uuid.NAMESPACE_OID, f"sandbox:{school}:{name}")).upper()
        return SandboxKey(
            name,
            _methods(KEYS[name]),
            guid=guid,
            cache_hours=min(cache_hours, 1) if name == "bookings" else cache_hours,
        )

    def client(school: str, name: str) -> SandboxClient:
        made = (str(uuid.uuid5(uuid.NAMESPACE_OID, f"sandbox:{school}:{name}:{part}")) for part in ("id", "secret"))
        client_id, secret = made
        return SandboxClient(name, dict(CLIENTS[name]), client_id=client_id.upper(), secret=secret)

    return Sandbox(
        {
            name: SandboxSchool(
                plan=school.plan,
                timezone=ZoneInfo(school.timezone),
                keys=[key(name, key_name) for key_name in KEYS if key_name != "medical" or school.medical_fields],
                clients=[client(name, client_name) for client_name in CLIENTS],
                assembly=_assembly(name, at, connected=connected) if school.sources else None,
                xporter=_xporter(name, at, connected=connected) if school.sources else None,
            )
            for at, (name, school) in enumerate(schools.items())
        },
        clock,
    )


def _fixed(*of: str) -> str:
    return str(uuid.uuid5(uuid.NAMESPACE_OID, f"sandbox:{':'.join(of)}"))


def _assembly(school: str, at: int, *, connected: bool) -> SandboxAssembly:
    """A school's side of Assembly; all schools have the same app."""
    client_id, secret = _fixed("assembly", "app", "id"), _fixed("assembly", "app", "secret")
    connector = "connected" if connected else "awaiting_invitation"
    urn = f"{140_001 + at}"
    return SandboxAssembly(urn, client_id, secret, school=school, connector=connector, differs=True)


def _xporter(school: str, at: int, *, connected: bool) -> SandboxXporter:
    """A school's side of Xporter."""
    return SandboxXporter(
        estab=f"{3_281_199 + at}",
        relying_party="app.example.org",
        secret=_fixed("xporter", school, "secret"),
        management_secret=_fixed("xporter", "management"),
        is_authorised=connected,
        status="OK" if connected else "Onboarding",
        differs=True,
    )


def xporter_variable(school: str) -> str:
    """The environment variable of a demo school's secret at Xporter."""
    return f"{DEMO_PREFIX}{school}_XPORTER_SECRET".upper()


def variable(school: str, key: str) -> str:
    """The environment variable of a demo key's secret."""
    return f"{DEMO_PREFIX}{school}_{key}_KEY".upper()


def client_variables(school: str, client: str) -> tuple[str, str]:
    """The environment variables of a demo client's id and secret."""
    return f"{DEMO_PREFIX}{school}_{client}_ID".upper(), f"{DEMO_PREFIX}{school}_{client}_SECRET".upper()


def secrets_of(sandbox: Sandbox) -> dict[str, str]:
    """The environment variables that the demo's schools.yaml names, with their values."""
    found: dict[str, str] = {}
    for name, school in sandbox.schools.items():
        found |= {variable(name, key.name): key.guid for key in school.keys}
        for client in school.clients:
            found |= dict(zip(client_variables(name, client.name), (client.client_id, client.secret), strict=True))
        if school.assembly is not None:
            found |= {ASSEMBLY_ID: school.assembly.client_id, ASSEMBLY_SECRET: school.assembly.secret}
        if school.xporter is not None:
            found |= {xporter_variable(name): school.xporter.secret, MANAGEMENT: school.xporter.management_secret}
    return found


class _NoAliases(yaml.SafeDumper):
    """Writes a list anew wherever it occurs: a person reads this file."""

    def ignore_aliases(self, data: object) -> bool:  # noqa: ARG002
        return True


MADE_UP = "# Written by the sandbox for its made-up schools; written anew each time it starts.\n"


def write_config(
    path: Path,
    schools: dict[str, DemoSchool],
    sandbox: Sandbox,
    *,
    url: str,
    deliver_to: str,
    history_from: str,
    cache_hours: float = 2,
) -> None:
    """Write the schools.yaml that fits a running sandbox."""
    config: Json = {"history_from": history_from, "schools": {}}
    for name, school in schools.items():
        divisions = [{"division": division, "register": ""} for division in DIVISIONS.values()]
        partner: Json = {
            "deliver_to": deliver_to,
            "attendance": {
                "client": "registers",
                **{
                    session.lower(): [choice | {"register": session} for choice in divisions]
                    for session in ("AM", "PM")
                },
            },
        }
        if school.medical_fields:
            partner["medical_fields"] = list(school.medical_fields)
        config["schools"][name] = {
            "name": school.title,
            "timezone": school.timezone,
            "isams": {
                "url": f"{url}/{name}",
                "keys": {
                    key.name: {
                        "secret": variable(name, key.name),
                        "feeds": KEYS[key.name],
                        "cache_hours": min(cache_hours, 1) if key.name == "bookings" else cache_hours,
                    }
                    for key in sandbox.schools[name].keys
                },
                "rest": {
                    client.name: dict(zip(("client_id", "secret"), client_variables(name, client.name), strict=True))
                    for client in sandbox.schools[name].clients
                },
            },
            "partners": {
                "schoolsbuddy": partner,
                "room_booking": {"deliver_to": deliver_to},
                "my_school_portal": {
                    "client": "portal",
                    "writeback": "enabled",
                    "guardian_route": "tempcontacts",
                    "trust_portal_approval": True,
                },
            },
        }
        config["schools"][name] |= _other_sources(name, sandbox.schools[name], url)
        if school.sources:
            config["schools"][name]["partners"]["schoolbooking"] = {"source": "assembly", "deliver_to": deliver_to}
        if school.campuses:
            config["schools"][name]["campuses"] = school.campuses
    path.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
    path.write_text(MADE_UP + yaml.dump(config, Dumper=_NoAliases, sort_keys=False), encoding="utf-8")


def _other_sources(name: str, school: SandboxSchool, url: str) -> Json:
    """The settings of the other sources that a made-up school has."""
    found: Json = {}
    if school.assembly is not None:
        found["assembly"] = {
            "url": f"{url}/assembly",
            "platform": f"{url}/assembly",
            "client_id": ASSEMBLY_ID,
            "secret": ASSEMBLY_SECRET,
            "urn": school.assembly.urn,
            "redirect_uri": "http://127.0.0.1:8766/authorised",
        }
    if school.xporter is not None:
        found["xporter"] = {
            "url": f"{url}/xporter",
            "estab": school.xporter.estab,
            "relying_party": school.xporter.relying_party,
            "secret": xporter_variable(name),
            "management_secret": MANAGEMENT,
            "invite_to": f"office@{name}.example.org",
            "invite_first_name": "Office",
            "invite_last_name": "Manager",
            "invite_phone": "01632 960100",
            "partner_name": "Example Partner",
            "partner_email": "partner@example.org",
        }
    return found
