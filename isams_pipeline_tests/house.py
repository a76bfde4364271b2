"""Draws the house in docs/architecture.md, out of the floors in pyproject.toml and the imports that there are.

python -m isams_pipeline_tests.house [--check] docs/architecture.md
"""

from __future__ import annotations

import sys
import tomllib
from pathlib import Path

import grimp

ROOT = Path(__file__).parent.parent
PACKAGE = "isams_pipeline"
BEGIN, END = "<!-- drawn by `make docs` from pyproject.toml -->", "<!-- drawn until here -->"


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


def drawn(page: str) -> str:
    """The page with the picture as it is now; raises ValueError where the page has no place for it."""
    before, begin, rest = page.partition(BEGIN)
    _, end, after = rest.partition(END)
    if not (begin and end):
        raise ValueError(f"the page has no lines {BEGIN} and {END}")
    return f"{before}{BEGIN}\n{picture()}\n{END}{after}"


if __name__ == "__main__":
    path = Path(sys.argv[-1])
    text = path.read_text()
    if "--check" in sys.argv:
        sys.exit(0 if drawn(text) == text else f"{path} is not up to date; run `make docs`")
    path.write_text(drawn(text))
