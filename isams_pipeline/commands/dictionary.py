"""The data dictionary: every dataset and column, by every source, written from the declarations and mappings.

python -m isams_pipeline.commands.dictionary [--check] docs/data-dictionary.md
"""

from __future__ import annotations

import argparse
import sys
from collections.abc import Iterator
from pathlib import Path

from isams_pipeline.config.feeds import FEEDS
from isams_pipeline.datasets import ATTENDANCE, DATASETS, LISTED_DATASETS, REST_SOURCE, SOURCE, DatasetDeclaration
from isams_pipeline.datasets.declare import Column
from isams_pipeline.delivery.rule_tables import Origin, RuleTable
from isams_pipeline.partners.registry import PARTNERS
from isams_pipeline.sources.registry import LISTED
from isams_pipeline.sources.shared.mapping import Absent


def dictionary() -> str:
    """The page, in Markdown."""
    return "\n".join(_lines()) + "\n"


def _lines() -> Iterator[str]:
    yield "# Data dictionary"
    yield ""
    yield (
        "Written by `make docs` from the declarations in `isams_pipeline/datasets/` and of the partners' tables; CI "
        "checks it. Each is an asset, and a pandera schema: `isams-pipeline schema NAME`."
    )
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
        if dataset.name in LISTED_DATASETS:
            yield from _other_sources(dataset)
    for name, dataset in LISTED_DATASETS.items():
        if name not in DATASETS:
            yield from _dataset(name, dataset, "By the other sources only.", "")
            yield from _other_sources(dataset)
    for session in ("am", "pm"):
        origin = "REST `/api/registration/register/…`, with `/absencecodes` and `/presentcodes`."
        yield from _dataset(f"{REST_SOURCE}/attendance_{session}", ATTENDANCE, origin, "in the record")
    for partner in PARTNERS.values():
        for table in partner.gets.tables if partner.gets else ():
            yield from _table(partner.key, table)


def _table(partner: str, table: RuleTable) -> Iterator[str]:
    """A table that a partner's rules make: what each column is made from."""
    yield from _heading(f"{partner}/{table.name}", table.about)
    yield "| column | type | | made from | what it is |"
    yield "|---|---|---|---|---|"
    for c in table.declaration.columns:
        yield _row(c, ", ".join(f"`{_from(partner, one)}`" for one in table.origins[c.name]))
    for dataset, rules in table.left_out.items():
        if rules:
            yield ""
            yield f"Rules that leave rows of {dataset} out here: {', '.join(f'`{rule}`' for rule in rules)}."


def _from(partner: str, origin: Origin) -> str:
    return f"{origin.table}.{origin.column}" if origin.is_of_source else f"{partner}/{origin.table}.{origin.column}"


def _heading(name: str, *about: str) -> Iterator[str]:
    yield from ("", f"## {name}")
    for text in about:
        yield from ("", text)
    yield ""


def _row(c: Column, place: str) -> str:
    kind = c.kind if not c.nullable else f"{c.kind}, null"
    marks = ", ".join(word for word, is_so in (("key", c.key), ("personal", c.personal)) if is_so)
    return f"| `{c.name}` | {kind} | {marks} | {place} | {c.description} |"


def _dataset(name: str, dataset: DatasetDeclaration, origin: str, place: str) -> Iterator[str]:
    yield from _heading(name, dataset.summary, origin)
    yield f"| column | type | | {place} | what it is |"
    yield "|---|---|---|---|---|"
    for c in dataset.columns:
        yield _row(c, f"`{c.path}`" if c.path else "")


def _other_sources(dataset: DatasetDeclaration) -> Iterator[str]:
    """From which lists and fields the other sources fill it. What is not named there is null by that source."""
    for source in LISTED.values():
        mapped = source.mapping.datasets[dataset.name]
        yield ""
        if isinstance(mapped, Absent):
            yield f"**{source.key}/{dataset.name}**: always empty, as {mapped.reason}."
            continue
        lists = ", ".join(f"`{name}`" for name in mapped.lists)
        fields = "; ".join(f"`{name}` ← `{place}`" for name, place in mapped.columns.items())
        yield f"**{source.key}/{dataset.name}**, from {lists}: {fields}."


def keep_page(text: str, about: str | None) -> int:
    """Write a generated page, or with --check say whether it is up to date."""
    parser = argparse.ArgumentParser(description=about)
    parser.add_argument("--check", action="store_true", help="only say whether the page is up to date")
    parser.add_argument("page", type=Path)
    given = parser.parse_args()
    if not given.check:
        given.page.write_text(text, encoding="utf-8")
        return 0
    if given.page.exists() and given.page.read_text(encoding="utf-8") == text:
        return 0
    sys.stderr.write(f"{given.page} is not up to date; run: make docs\n")
    return 1


if __name__ == "__main__":
    sys.exit(keep_page(dictionary(), __doc__))
