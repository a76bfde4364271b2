"""Where modules are that were elsewhere before: scripts and notebooks that import the old names go on, and are warned.

Gone with version 1.0.
"""

from __future__ import annotations

import importlib
import sys
import warnings
from collections.abc import Mapping, Sequence
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
    "partners.schoolsbuddy_attendance": "partners.schoolsbuddy.attendance",
    "partners.trials": "orchestration.trials",
    "removal_windows": "orchestration.removal_windows",
    "roads": "sources.shared",
    "roads.advice": "sources.advice",
    "roads.connector": "orchestration.connector",
    "roads.reconciling": "orchestration.reconciliation.reconciling",
    "roads.registry": "sources.registry",
    "roads.road": "sources.shared.listed",
    "runs": "orchestration.runs",
    "selections": "orchestration.selections",
    "wire_facts": "commands.wire_facts",
    "xporter": "sources.xporter",
}
"""Old name → new one, below the package; what is inside a moved package has moved with it."""
RENAMED: Mapping[str, Mapping[str, str]] = {
    "config.sources": {"RoadSettings": "SourceSettings"},
    "datasets": {"ROAD_DATASETS": "LISTED_DATASETS"},
    "sources.registry": {"ROADS": "LISTED"},
}
"""New module → names of before in it, and what they are called now."""


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
        names = {old: getattr(found, name) for old, name in RENAMED.get(new.removeprefix(f"{PACKAGE}."), {}).items()}
        vars(alias).update({name: value for name, value in vars(found).items() if not name.startswith("__")} | names)
        return alias

    def exec_module(self, module: ModuleType) -> None:
        """Nothing: the module at the new name has run already."""


def forward() -> None:
    """Let the old names be imported."""
    if not any(isinstance(finder, _Forwarding) for finder in sys.meta_path):
        sys.meta_path.append(_Forwarding())
