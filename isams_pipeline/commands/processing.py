"""The record of processing: which partner gets which personal data of whom, written from the declarations.

python -m isams_pipeline.commands.processing [--check] docs/record-of-processing.md
"""

from __future__ import annotations

import sys
from collections.abc import Iterator

from isams_pipeline.commands.dictionary import keep_page
from isams_pipeline.config.retention import FOREVER, AllRetention
from isams_pipeline.datasets import DATASETS
from isams_pipeline.datasets.people import COLUMNS
from isams_pipeline.delivery.export import ExportFile
from isams_pipeline.orchestration.partner import AnyPartner
from isams_pipeline.partners.registry import PARTNERS
from isams_pipeline.sources.registry import label_of


def processing() -> str:
    """The page, in Markdown."""
    return "\n".join(_lines()) + "\n"


def _lines() -> Iterator[str]:
    yield "# Record of processing"
    yield ""
    yield (
        "Written by `make docs` from the declarations; CI checks it. What a controller's record needs (UK GDPR Article "
        "30) and this project knows: recipients, categories of people and of data, and how long they are kept here. "
        "What only the school knows it has to add: its lawful basis, its contract with each partner, and how long the "
        "partner keeps what it got. [Data protection](data-protection.md) says how it all hangs together."
    )
    for partner in PARTNERS.values():
        yield from _partner(partner)
    yield from ("", "## Kept here", "")
    yield "| what | days, unless schools.yaml says otherwise | what it is |"
    yield "|---|---|---|"
    for name, about in kept().items():
        days = getattr(AllRetention(), name)
        yield f"| {name} | {FOREVER if days is None else days} | {about} |"


def kept() -> dict[str, str]:
    """Each kind of what is kept, by its name in `retention` → what it is."""
    import ast  # noqa: PLC0415  # only where pages are written
    import inspect  # noqa: PLC0415

    found: dict[str, str] = {}
    for model in reversed(AllRetention.__mro__[:2]):
        (body,) = [node for node in ast.parse(inspect.getsource(model)).body if isinstance(node, ast.ClassDef)]
        for node, after in zip(body.body, body.body[1:], strict=False):
            if isinstance(node, ast.AnnAssign) and isinstance(node.target, ast.Name) and isinstance(after, ast.Expr):
                found[node.target.id] = " ".join(str(ast.literal_eval(after.value)).split())
    return {"alerts": "Problems that are over, and the messages about them; no personal data."} | found


def _partner(partner: AnyPartner) -> Iterator[str]:
    yield from ("", f"## {partner.label}", "", f"Purpose: {partner.purpose}")
    sources = dict.fromkeys((*partner.takes, *(partner.gets.needs if partner.gets else ())))
    yield from ("", f"From: {', '.join(label_of(source) for source in sources)}.")
    read = dict.fromkeys(name for names in partner.takes.values() for name in names)
    personal = [name for name in read if name in DATASETS and any(c.personal for c in DATASETS[name].columns)]
    yield from ("", f"Read for it, with personal data: {', '.join(f'`{name}`' for name in personal) or 'nothing'}.")
    if partner.gets is None:
        yield from ("", "It gets no files; values that a guardian asked to be changed go to iSAMS, once approved.")
        return
    yield from ("", "| file | about | personal data | numbers that tell people apart |", "|---|---|---|---|")
    tables = {table.name: table for table in partner.gets.tables}
    for file in partner.gets.files:
        table = tables.get(file.name.removesuffix(".csv"))
        columns = {c.name for c in table.declaration.columns if c.personal} if table is not None else set[str]()
        told = [name for name in file.columns if name in columns]
        if file.pictures is not None:
            told.append("the photo itself")
        numbers = [name for name in file.columns if name in COLUMNS]
        if told or numbers:
            yield f"| {file.name} | {_about(file)} | {', '.join(told) or ''} | {', '.join(numbers)} |"


def _about(file: ExportFile) -> str:
    if file.people is not None:
        return {"student": "pupils", "contact": "contacts", "staff": "staff"}[file.people]
    kinds = {COLUMNS[name] for name in file.columns if name in COLUMNS}
    named = {"pupil": "pupils", "person": "contacts", "staff": "staff", "school code": "pupils", "user code": "staff"}
    return " and ".join(dict.fromkeys(named[kind] for kind in sorted(kinds) if kind in named))


if __name__ == "__main__":
    sys.exit(keep_page(processing(), __doc__))
