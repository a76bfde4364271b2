"""What has come to its end in a store: notes of old nights first, then objects that no note names any more.

A note names objects, never the other way round. So whoever is broken off between the two has left objects that nobody
looks for, and the next pass finds them.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Collection, Iterable, Mapping
from dataclasses import dataclass
from datetime import date

from isams_pipeline.storage.folder import Folder
from isams_pipeline.storage.redacted import with_stand_ins

Cutoff = Callable[[str], "date | None"]
"""What is kept, by its name in `retention` → the first date that stays; None where all of it stays."""


@dataclass(frozen=True)
class Ending:
    """What of one store ends now."""

    kind: str
    """By its name in `retention`."""
    counts: Mapping[str, int]
    """What it is → how many: nights, files, rows, runs."""
    go: Callable[[], None]
    """Ends it."""


def nothing_ends(counts: Mapping[str, int]) -> bool:
    """Whether there is nothing."""
    return not any(counts.values())


def files_ending(
    kind: str,
    folder: Folder,
    *,
    notes: Collection[str] = (),
    trees: Collection[str] = (),
    objects: Collection[str] = (),
) -> Ending:
    """Files that end: notes, whole folders of nights, and then objects."""

    def go() -> None:
        for path in notes:
            folder.remove(path)
        for path in trees:
            folder.remove_tree(path)
        for path in objects:
            folder.remove(path)

    return Ending(kind, {"nights": len(notes) + len(trees), "files": len(objects)}, go)


def unnamed(folder: Folder, place: str, named: Collection[str]) -> list[str]:
    """The paths of the objects in a place that have none of the names that stay, and stand for none of them."""
    names = folder.names(place)
    stay = with_stand_ins(folder, place, set(names), set(named))
    return [f"{place}/{name}" for name in names if name not in stay]


def together(endings: Iterable[Ending]) -> dict[str, Counter[str]]:
    """Kind → what → how many, of those of which there are any."""
    found: dict[str, Counter[str]] = {}
    for one in endings:
        if not nothing_ends(one.counts):
            found.setdefault(one.kind, Counter()).update(one.counts)
    return found
