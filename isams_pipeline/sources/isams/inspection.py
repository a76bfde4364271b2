"""An offline look into a saved Batch response. Pure but for reading the stream."""

from __future__ import annotations

import json
from collections.abc import Iterator
from dataclasses import dataclass, field
from typing import IO, Any, cast
from xml.etree.ElementTree import Element  # a type; document.py does the parsing

import pandas as pd
from lxml import etree

from isams_pipeline.datasets import DATASETS
from isams_pipeline.datasets.shapes import Json
from isams_pipeline.errors import DocumentError, IsamsError, WrongUse
from isams_pipeline.sources.isams import document, messages
from isams_pipeline.sources.isams.parse import parse


@dataclass
class Inspection:
    """What a saved response holds."""

    datasets: dict[str, pd.DataFrame] = field(default_factory=dict[str, pd.DataFrame])
    unknown: list[str] = field(default_factory=list[str])
    """Paths of containers, elements and attributes that no dataset is declared to read."""
    message: document.Message | None = None
    error: IsamsError | None = None

    def as_json(self) -> Json:
        """Plain data, records included."""
        problem = None
        if self.message is not None and self.error is not None:
            problem = {
                "id": self.message.id,
                "title": self.message.title,
                "description": self.message.description,
                "retryable": self.error.retryable,
            }
        return {
            "datasets": {
                name: {"rows": len(frame), "records": records(frame)} for name, frame in self.datasets.items()
            },
            "unknown": self.unknown,
            "error": problem,
        }


def records(frame: pd.DataFrame) -> list[Json]:
    """Rows as plain data: numbers, texts, booleans, ISO dates, null."""
    return json.loads(frame.to_json(orient="records", date_format="iso", date_unit="s", force_ascii=False))


def inspect(stream: IO[bytes]) -> Inspection:
    """Look into a response; raises DocumentError, TruncatedAnswer or WrongType where it cannot be read."""
    head = stream.read(document.MAX_MESSAGE + 1)
    message = document.read_message(head)
    if message is not None:
        return Inspection(message=message, error=messages.error_for(None, message))
    stream.seek(0)
    batch = document.BatchDocument(stream)
    known = _known_paths()
    declared = {path for d in DATASETS.values() if not d.free_form for path in d.containers}
    unknown: set[str] = set()
    for container, row in batch.rows():
        if container in declared:
            unknown.update(_unknown_in(row, f"{container}/{row.tag}", known))
    stream.seek(0)
    tables = parse(stream, [d for d in DATASETS.values() if not d.free_form])
    found = {name: table.frame for name, table in tables.items() if table.containers}
    medical = {path for path in batch.containers if _is_medical(path)}
    if medical:
        stream.seek(0)
        found["health"] = parse(stream, [DATASETS["health"]])["health"].frame
    unknown |= set(batch.containers) - declared - medical
    return Inspection(found, sorted(unknown))


def matches(stream: IO[bytes], expression: str) -> list[tuple[str, str]]:
    """What an XPath expression finds in a response: the path of each element, and it as XML; or a value, and its text.

    Reads the whole document into memory. Raises WrongUse where the expression is none, DocumentError where the response
    is not XML.
    """
    try:
        ask = etree.XPath(expression)
    except etree.XPathSyntaxError as error:
        raise WrongUse(f"--xpath: {error}", remedy="Write an XPath 1.0 expression, such as //Pupil/@Id.") from None
    # As strict as the reader of nights: no entity is resolved, no network asked.
    parser = etree.XMLParser(resolve_entities=False, no_network=True, load_dtd=False, huge_tree=False)
    try:
        tree = etree.parse(stream, parser)
        if tree.docinfo.internalDTD is not None:
            raise DocumentError("The document declares a document type", remedy="iSAMS sends none; where is it from?")
        found: Any = ask(tree)
    except etree.XPathEvalError as error:
        raise WrongUse(f"--xpath: {error}", remedy="Use functions and names of XPath 1.0.") from None
    except etree.XMLSyntaxError as error:
        line, column = error.position
        raise DocumentError(
            "The document is not well-formed XML", line=line, column=column, remedy="Save the answer again, whole."
        ) from None
    if not isinstance(found, list):
        return [("", str(found))]
    return [_match(tree, one) for one in cast("list[Any]", found)]


def _match(tree: Any, one: Any) -> tuple[str, str]:
    if isinstance(one, str):  # an attribute or text, which knows its element
        parent: Any = getattr(one, "getparent", lambda: None)()
        return (tree.getpath(parent) if parent is not None else "", str(one))
    return tree.getpath(one), etree.tostring(one, encoding="unicode", with_tail=False)


def _is_medical(container: str) -> bool:
    name = container.partition("/")[2].casefold()
    return container.startswith("PupilManager/") and ("health" in name or "medical" in name)


def _known_paths() -> set[str]:
    known: set[str] = set()
    for declaration in DATASETS.values():
        if declaration.free_form:
            continue
        paths = [declaration.rows, *declaration.also_rows]
        for row in [path.split("/") for path in paths]:
            for col in declaration.columns:
                parts, *others = (option.split("/") for option in col.path.split("|"))
                up = parts.count("..")
                paths += ["/".join([*row[: len(row) - up], *option]) for option in (parts[up:], *others)]
        for path in paths:
            steps = path.split("/")
            known.update("/".join(steps[:n]) for n in range(1, len(steps) + 1))
    return known


def _unknown_in(element: Element, path: str, known: set[str], depth: int = 0) -> Iterator[str]:
    """The topmost unknown paths at and below an element; `Legacy` twins say again what is known."""
    if path not in known:
        if element.get("Legacy") is None:
            yield path
        return
    if depth > document.MAX_DEPTH:
        return
    for name in element.attrib:
        if name != "Legacy" and f"{path}/@{name}" not in known:
            yield f"{path}/@{name}"
    for child in element:
        yield from _unknown_in(child, f"{path}/{child.tag}", known, depth + 1)
