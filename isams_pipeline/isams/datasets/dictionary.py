"""The data dictionary: every dataset and column, written from the declarations.

python -m isams_pipeline.isams.datasets.dictionary [--check] docs/data-dictionary.md
"""

from __future__ import annotations

import argparse
import sys
from collections.abc import Iterator
from pathlib import Path

from isams_pipeline.isams.datasets import ATTENDANCE, DATASETS, REST_SOURCE, SOURCE, DatasetDeclaration
from isams_pipeline.isams.feeds import FEEDS


def dictionary() -> str:
    """The page, in Markdown."""
    return "\n".join(_lines()) + "\n"


def _lines() -> Iterator[str]:
    yield "# Data dictionary"
    yield ""
    yield "Written by `make docs` from the declarations in `isams_pipeline/isams/datasets/`; CI checks it."
    yield ""
    yield (
        "Types: int (64 bits), str, bool, date, datetime. What iSAMS omits, leaves empty or fills with spaces is null. "
        "**Key** columns tell rows apart. **Personal** columns tell something about a person."
    )
    for dataset in DATASETS.values():
        feed = FEEDS[dataset.feed]
        must = "must have rows" if dataset.must_have_rows else "may be empty or absent"
        where = "any container of `PupilManager`" if dataset.free_form else f"`{dataset.rows}`"
        origin = f"Feed `{dataset.feed}` (`{feed.method}`), {where}; {must}."
        yield from _dataset(f"{SOURCE}/{dataset.name}", dataset, origin, "in the row's element")
    for session in ("am", "pm"):
        origin = "REST `/api/registration/register/…`, with `/absencecodes` and `/presentcodes`."
        yield from _dataset(f"{REST_SOURCE}/{ATTENDANCE.name}_{session}", ATTENDANCE, origin, "in the record")


def _dataset(name: str, dataset: DatasetDeclaration, origin: str, place: str) -> Iterator[str]:
    yield ""
    yield f"## {name}"
    yield ""
    yield dataset.summary
    yield ""
    yield origin
    yield ""
    yield f"| column | type | | {place} | what it is |"
    yield "|---|---|---|---|---|"
    for c in dataset.columns:
        kind = c.kind if not c.nullable else f"{c.kind}, null"
        marks = ", ".join(word for word, is_so in (("key", c.key), ("personal", c.personal)) if is_so)
        path = f"`{c.path}`" if c.path else ""
        yield f"| `{c.name}` | {kind} | {marks} | {path} | {c.description} |"


def main() -> int:
    """Write the page, or say whether it is up to date."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--check", action="store_true", help="only say whether the page is up to date")
    parser.add_argument("page", type=Path)
    given = parser.parse_args()
    if not given.check:
        given.page.write_text(dictionary(), encoding="utf-8")
        return 0
    if given.page.exists() and given.page.read_text(encoding="utf-8") == dictionary():
        return 0
    sys.stderr.write(f"{given.page} is not up to date; run: make docs\n")
    return 1


if __name__ == "__main__":
    sys.exit(main())
