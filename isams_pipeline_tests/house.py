"""Draws what is drawn in the docs: the house, out of its floors and imports, and the states of what has states.

python -m isams_pipeline_tests.house [--check]
"""

from __future__ import annotations

import sys
import tomllib
from collections.abc import Callable
from pathlib import Path

import grimp

from isams_pipeline.orchestration.alerts.posting import ALERT_MOVES
from isams_pipeline.orchestration.mail import MAIL_MOVES
from isams_pipeline.partners.my_school_portal.states import MOVES as REQUEST_MOVES
from isams_pipeline.partners.room_booking.states import BOOKING_MOVES

ROOT = Path(__file__).parent.parent
PACKAGE = "isams_pipeline"


def floors() -> list[list[str]]:
    """The rooms, floor by floor, from the top down."""
    contracts = tomllib.loads((ROOT / "pyproject.toml").read_text())["tool"]["importlinter"]["contracts"]
    layers = next(contract["layers"] for contract in contracts if contract["id"] == "floors")
    return [layer.replace(" ", "").split("|") for layer in layers]


def arrows() -> set[tuple[str, ...]]:
    """Room → room, where a module of one imports a module of the other."""
    graph = grimp.build_graph(PACKAGE, cache_dir=None)
    found: set[tuple[str, ...]] = set()
    for module in graph.modules:
        for other in graph.find_modules_directly_imported_by(module):
            rooms = tuple(name.split(".")[1] for name in (module, other) if "." in name)
            if len(rooms) == 2 and rooms[0] != rooms[1]:
                found.add(rooms)
    return found


def picture() -> str:
    """The house as a Mermaid diagram: a row for each floor, an arrow for each import between rooms.

    `errors`, `clock` and `config` are what everybody stands on; arrows to them are left out.
    """
    ground = {*floors()[-1], "config"}
    lines = ["```mermaid", "flowchart TD"]
    for number, rooms in enumerate(reversed(floors())):
        lines.append(f'  subgraph floor{number}[" "]')
        lines += ["    direction LR", *(f"    {room}" for room in rooms), "  end"]
    lines += [f"  {a} --> {b}" for a, b in sorted(arrows()) if b not in ground]
    return "\n".join([*lines, "```"])


PICTURES: dict[str, dict[str, Callable[[], str]]] = {
    "docs/architecture.md": {"the house": picture},
    "docs/alerts.md": {"states of an alert": ALERT_MOVES.drawn},
    "docs/my-school-portal.md": {"states of a change request": REQUEST_MOVES.drawn},
    "docs/room-booking.md": {"states of a booking": BOOKING_MOVES.drawn, "states of a message": MAIL_MOVES.drawn},
}
"""Page → the pictures in it, each between two comments that name it."""


def drawn(page: str) -> str:
    """A page with its pictures as they are now; raises ValueError where it has no place for one."""
    text = (ROOT / page).read_text()
    for name, draw in PICTURES[page].items():
        before, begin, rest = text.partition(f"<!-- drawn by `make docs`: {name} -->")
        _, end, after = rest.partition("<!-- drawn until here -->")
        if not (begin and end):
            raise ValueError(f"{page} has no place for {name}")
        text = f"{before}{begin}\n{draw()}\n{end}{after}"
    return text


if __name__ == "__main__":
    stale = [page for page in PICTURES if drawn(page) != (ROOT / page).read_text()]
    if "--check" in sys.argv:
        sys.exit(f"{', '.join(stale)}: not up to date; run `make docs`" if stale else 0)
    for page in stale:
        (ROOT / page).write_text(drawn(page))
