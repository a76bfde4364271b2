"""Where modules are that were elsewhere before: scripts and notebooks that import the old names go on, and are warned.

Gone with version 1.0.
"""

from __future__ import annotations

import importlib
import sys
import warnings
from collections.abc import Mapping, Sequence
from functools import partial
from importlib.abc import Loader, MetaPathFinder
from importlib.machinery import ModuleSpec
from types import ModuleType

PACKAGE = "isams_pipeline"
MOVED: Mapping[str, str] = {
    "arrow": "datasets.arrow",
    "assembly": "sources.assembly",
    "broken_off": "orchestration.broken_off",
    "checks": "orchestration.checks",
    "config.roads": "config.sources",
    "dataset_assets": "orchestration.source_assets",
    "dictionary": "commands.dictionary",
    "environment": "orchestration.environment",
    "headless": "commands.headless",
    "history": "orchestration.history",
    "instance": "commands.instance",
    "isams": "sources.isams",
    "isams.assets": "orchestration.source_assets",
    "isams.changes": "datasets.changes",
    "isams.datasets": "datasets",
    "isams.feeds": "config.feeds",
    "isams.http": "sources.shared.http",
    "isams.json_answer": "sources.shared.json_answer",
    "isams.transport": "sources.shared.transport",
    "partitions": "orchestration.partitions",
    "partners.built": "delivery.built",
    "partners.differences": "delivery.differences",
    "partners.explaining": "delivery.explaining",
    "partners.first_look": "delivery.first_look",
    "partners.leaving": "orchestration.leaving",
    "partners.looking_back": "orchestration.looking_back",
    "partners.schoolsbuddy_attendance": "partners.schoolsbuddy.attendance",
    "partners.trials": "orchestration.trials",
    "removal_windows": "orchestration.removal_windows",
    "roads": "sources.shared",
    "roads.advice": "sources.advice",
    "roads.assets": "orchestration.source_assets",
    "roads.connection_assets": "orchestration.connection_assets",
    "roads.connector": "orchestration.connector",
    "roads.pictures": "orchestration.reconciliation.pictures",
    "roads.reconciliation_assets": "orchestration.reconciliation.assets",
    "roads.reconciling": "orchestration.reconciliation.reconciling",
    "roads.registry": "sources.registry",
    "roads.road": "sources.shared.listed",
    "rules.numbers": "rules.references",
    "runs": "orchestration.runs",
    "sandbox.roads": "sandbox.source_day",
    "selections": "orchestration.selections",
    "orchestration.ui.__main__": "commands.ui_server",
    "ui": "orchestration.ui",
    "ui.__main__": "commands.ui_server",
    "wire_facts": "commands.wire_facts",
    "xporter": "sources.xporter",
}
"""Old name → new one, below the package; what is inside a moved package has moved with it."""
NAMES: Mapping[str, Mapping[str, str]] = {
    "config": {
        "AssemblySettings": "sources.assembly.settings:AssemblySettings",
        "AttendanceSettings": "partners.schoolsbuddy.settings:AttendanceSettings",
        "MySchoolPortalSettings": "partners.my_school_portal.settings:MySchoolPortalSettings",
        "RoadSettings": "config.sources:SourceSettings",
        "RoomBookingSettings": "partners.room_booking.settings:RoomBookingSettings",
        "SchoolBookingSettings": "partners.schoolbooking.settings:SchoolBookingSettings",
        "SchoolsBuddySettings": "partners.schoolsbuddy.settings:SchoolsBuddySettings",
        "XporterSettings": "sources.xporter.settings:XporterSettings",
    },
    "config.partners": {
        "AttendanceSettings": "partners.schoolsbuddy.settings:AttendanceSettings",
        "MySchoolPortalSettings": "partners.my_school_portal.settings:MySchoolPortalSettings",
        "RegisterChoice": "config.isams:RegisterChoice",
        "RoomBookingSettings": "partners.room_booking.settings:RoomBookingSettings",
        "SchoolBookingSettings": "partners.schoolbooking.settings:SchoolBookingSettings",
        "SchoolsBuddySettings": "partners.schoolsbuddy.settings:SchoolsBuddySettings",
    },
    "config.sources": {
        "AssemblySettings": "sources.assembly.settings:AssemblySettings",
        "RoadSettings": "config.sources:SourceSettings",
        "XporterSettings": "sources.xporter.settings:XporterSettings",
    },
    "datasets": {"ROAD_DATASETS": "datasets:LISTED_DATASETS"},
    "orchestration.nightly": {"keys_of": "orchestration.graph:keys_of"},
    "orchestration.source_assets": {
        "asset_key": "orchestration.graph:asset_key",
        "column_schema": "orchestration.showing:column_schema",
    },
    "commands.headless": {"together": "orchestration.failures:together"},
    "partners.room_booking.mail": {
        "MailFolder": "orchestration.mail:MailFolder",
        "SmtpServer": "orchestration.mail:SmtpServer",
    },
    "partners.room_booking.states": {
        "MAIL_MOVES": "orchestration.mail:MAIL_MOVES",
        "MailState": "orchestration.mail:MailState",
    },
    "rules": {"Exclusions": "rules.split:Exclusions", "Split": "rules.split:Split"},
    "rules.clock_times": {"in_words": "rules.clock_times:time_in_words"},
    "sources.registry": {"ROADS": "sources.registry:LISTED"},
    "sources.shared.client": {"RoadClient": "sources.shared.client:ListClient"},
    "sources.shared.connections": {"in_words": "sources.shared.connections:state_in_words"},
    "sources.shared.grants": {"RoadList": "sources.shared.grants:SourceList"},
    "sources.shared.http": {"ClientToken": "sources.isams.token:ClientToken"},
    "sources.shared.listed": {"Road": "sources.shared.listed:ListedSource"},
    "sources.shared.night": {
        "RoadReader": "sources.shared.night:ListReader",
        "RoadTable": "sources.shared.source:SourceTable",
    },
}
"""Module as it is called now → names that were in it, and where they are."""


def found_elsewhere(module: str, name: str) -> object:
    """What a module had by a name before; raises AttributeError. For a module's own `__getattr__`."""
    inside = module.removeprefix(f"{PACKAGE}.")
    place = NAMES.get(inside, {}).get(name)
    if place is None:
        raise AttributeError(f"module {module!r} has no attribute {name!r}")
    now, _, called = place.partition(":")
    warnings.warn(
        f"{module}.{name} is {PACKAGE}.{now}.{called} now; import it from there", DeprecationWarning, stacklevel=3
    )
    return getattr(importlib.import_module(f"{PACKAGE}.{now}"), called)


def now_at(name: str) -> str | None:
    """Where a module of before is now; None where nothing has moved from there."""
    inside = name.removeprefix(f"{PACKAGE}.")
    for old in sorted(MOVED, key=len, reverse=True):
        if inside == old or inside.startswith(f"{old}."):
            return f"{PACKAGE}.{MOVED[old]}{inside[len(old) :]}"
    return None


class _Forwarding(MetaPathFinder, Loader):
    """Gives an old name the module that stands at the new one."""

    def find_spec(
        self,
        fullname: str,
        path: Sequence[str] | None = None,  # noqa: ARG002  # importlib's own signature
        target: ModuleType | None = None,  # noqa: ARG002
    ) -> ModuleSpec | None:
        if not fullname.startswith(f"{PACKAGE}.") or now_at(fullname) is None:
            return None
        return ModuleSpec(fullname, self, is_package=True)

    def create_module(self, spec: ModuleSpec) -> ModuleType:
        new = now_at(spec.name) or spec.name
        found = importlib.import_module(new)
        warnings.warn(f"{spec.name} has moved to {new}; import it from there", DeprecationWarning, stacklevel=2)
        alias = ModuleType(spec.name, found.__doc__)
        vars(alias).update({name: value for name, value in vars(found).items() if not name.startswith("__")})
        vars(alias)["__getattr__"] = partial(found_elsewhere, new)
        return alias

    def exec_module(self, module: ModuleType) -> None:
        """Nothing: the module at the new name has run already."""


def forward() -> None:
    """Let the old names be imported."""
    if not any(isinstance(finder, _Forwarding) for finder in sys.meta_path):
        sys.meta_path.append(_Forwarding())
