"""Two thousand broken documents a day: data as lxml reads it, or a typed error.

Seeded by the day, so that every day has others; a failure names the seed and the number, by which it comes again.
"""

from __future__ import annotations

import io
import random
import re
from collections.abc import Callable
from datetime import date
from typing import Any

import pandas as pd
import pytest
from lxml import etree

from isams_pipeline.datasets import DATASETS
from isams_pipeline.errors import PipelineError, TruncatedAnswer
from isams_pipeline.sources.isams.document import read_message, root_of
from isams_pipeline.sources.isams.parse import parse

SEED = date.today().toordinal()  # any day will do
TABLES = [DATASETS[name] for name in ("pupils", "contacts", "contact_pupils", "years", "staff")]
CHUNKS = 20

BASE = """<?xml version="1.0" encoding="utf-8"?>
<iSAMS>
 <SchoolManager><Years><Year Id="1" NCYear="7"><Name>Year 7</Name><Code>Y7</Code></Year></Years></SchoolManager>
 <PupilManager>
  <CurrentPupils>
   <Pupil Id="11"><SchoolId>100200300401</SchoolId><SchoolCode>Q1</SchoolCode><Forename>\u00c1da</Forename>
    <Surname>Quill &amp; Sons</Surname><DOB>2014-02-03T00:00:00</DOB><NCYear>7</NCYear><Form>7A</Form></Pupil>
   <Pupil Id="12"><SchoolId>100200300402</SchoolId><SchoolCode>Q2</SchoolCode><Forename>B\u00f6</Forename>
    <Surname>Tarn</Surname><EmailAddress>b@x.org</EmailAddress><NCYear>7</NCYear></Pupil>
  </CurrentPupils>
  <Contacts>
   <Contact Id="31" PersonId="41"><RelationshipRaw>Mother</RelationshipRaw><Surname><![CDATA[Quill <i>]]></Surname>
    <EmailAddress>m@x.org</EmailAddress><Address><AddressLines><Address1>1 Mill</Address1></AddressLines>
    <Town>Wick</Town><County/></Address><Pupils><Pupil Id="11"/><Pupil Id="12"/></Pupils></Contact>
  </Contacts>
 </PupilManager>
 <HRManager><CurrentStaff><StaffMember Id="51"><Initials>QT</Initials><Forename>Cy</Forename>
  <Roles><Role><Name>Tutor</Name></Role><Role><Name>Head</Name></Role></Roles></StaffMember></CurrentStaff></HRManager>
</iSAMS>"""
Change = Callable[[random.Random, str], "str | bytes"]

pytestmark = pytest.mark.campaign


def _spans(text: str) -> list[tuple[int, int]]:
    """Where elements without elements inside are; the end, where there is none."""
    return [match.span() for match in re.finditer(r"<(\w+)[^<>]*>[^<>]*</\1>|<\w+[^<>]*/>", text)] or [
        (len(text), len(text))
    ]


def repeat(rng: random.Random, text: str) -> str:
    start, end = rng.choice(_spans(text))
    return text[:end] + text[start:end] + text[end:]


def repeat_otherwise(rng: random.Random, text: str) -> str:
    start, end = rng.choice(_spans(text))
    return text[:end] + re.sub(r">[^<]*<", ">other<", text[start:end]) + text[end:]


def remove(rng: random.Random, text: str) -> str:
    start, end = rng.choice(_spans(text))
    return text[:start] + text[end:]


def wrap(rng: random.Random, text: str) -> str:
    start, end = rng.choice(_spans(text))
    return text[:start] + re.sub(r">([^<]*)<", r"><b>\1</b><", text[start:end]) + text[end:]


def insert(rng: random.Random, text: str) -> str:
    at = rng.choice([m.start() for m in re.finditer("[<>]", text)] or [0]) + rng.choice([0, 1])
    what = ["<!-- a > b -->", "<?x y?>", "&#x1F;", "&#0;", "&amp;", "\x00", "\ufdd1", "<![CDATA[<]]>", "]]>", "\x1f"]
    more = ["&nbsp;", "<a>", "</a>", "<a/>", " ", "\ufffe", "&#xD800;", "\u202e", "\ud800", "<" * 9, "é" * 70_000]
    return text[:at] + rng.choice(what + more) + text[at:]


def cut(rng: random.Random, text: str) -> str:
    return text[: rng.randrange(len(text) + 1)]


def drop(rng: random.Random, text: str) -> str:
    at = rng.randrange(len(text) + 1)
    return text[:at] + text[at + rng.randint(1, 30) :]


def swap(rng: random.Random, text: str) -> str:
    old, new = (
        rng.choice(["Id=", "Pupil", "Contact", '"11"', "7", ">", "<", "2014", "/"]),
        rng.choice(["Pupil", "", "9"]),
    )
    return text.replace(old, new, rng.choice([1, -1]))


def namespace(rng: random.Random, text: str) -> str:
    name = rng.choice(["iSAMS", "PupilManager", "CurrentPupils", "Pupil", "Surname", "Contact"])
    return text.replace(f"<{name}", f'<{name} xmlns="urn:x"', 1)


def attributes(rng: random.Random, text: str) -> str:
    more = rng.choice(['Id="9"', 'Legacy="True"', 'xsi:nil="true"', 'a="' + "1" * 70_000 + '"', 'PersonId="x"'])
    return re.sub(r"<(Pupil|Contact|Year)\b", rf"<\1 {more}", text, count=rng.choice([1, 0]))


def encode(rng: random.Random, text: str) -> bytes:
    names = "utf-8 utf-16 utf-16-le utf-32 utf-7 cp1252 iso-8859-1 gb2312 gbk shift_jis euc-jp big5 idna nosuch rot13 x"
    said, real = rng.choice(names.split()), rng.choice(["utf-8", "utf-16", "cp1252", "utf-8-sig", "utf-7", "utf-32"])
    return text.replace('encoding="utf-8"', f'encoding="{said}"').encode(real, "replace")


def flip(rng: random.Random, text: str) -> bytes:
    data = bytearray(text.encode("utf-8", "surrogatepass"))
    for _ in range(rng.randint(1, 3)):
        data[rng.randrange(len(data))] = rng.randrange(256)
    return bytes(data)


def deepen(rng: random.Random, text: str) -> str:
    depth = rng.choice([3, 255, 300, 20_000])
    return text.replace("<County/>", "<County>" + "<d>" * depth + "</d>" * depth + "</County>")


def move_root(rng: random.Random, text: str) -> str:
    new = rng.choice(["<Message>", "<html>", "<!DOCTYPE iSAMS><iSAMS>", "<!DOCTYPE x [<!ENTITY a 'b'>]><iSAMS>", ""])
    return text.replace("<iSAMS>", new)


CHANGES: list[Change] = [repeat, repeat_otherwise, remove, wrap, insert, cut, drop, swap, namespace, attributes]
CHANGES += [encode, flip, deepen, move_root]


def broken(rng: random.Random) -> bytes:
    """A document with one or two things wrong."""
    made: str | bytes = BASE
    for change in rng.choices(CHANGES, k=rng.choice([1, 1, 2])):
        if isinstance(made, bytes):
            break
        made = change(rng, made)
    return made if isinstance(made, bytes) else made.encode("utf-8", "surrogatepass")


@pytest.mark.parametrize("chunk", range(CHUNKS))
def test_a_broken_document_is_data_as_lxml_reads_it_or_a_typed_error(chunk: int):
    read = 0
    for number in range(chunk, 2_000, CHUNKS):
        data = broken(random.Random(f"{SEED}/{number}"))
        try:
            read += _holds(data)
        except Exception as error:
            raise AssertionError(f"seed {SEED}/{number}") from error
    assert read > 10, "some of them can be read"


def _holds(data: bytes) -> bool:
    """Whether a document is read; what is read is what lxml reads. Raises for all that is neither."""
    read_message(data)
    try:
        root_of(data)
        found = parse(io.BytesIO(data), TABLES)
    except PipelineError as error:
        assert "Quill" not in str(error) and "x.org" not in str(error)
        return False
    try:
        root = etree.fromstring(data, etree.XMLParser(resolve_entities=False, no_network=True, huge_tree=True))
    except etree.XMLSyntaxError:
        # Read all the same: what XML forbids is taken out, and some encodings libxml2 does not know.
        return True
    for declaration in TABLES:
        parsed = found[declaration.name]
        noted = {(row, column) for row, column, _ in parsed.notes}
        elements = [e for path in (declaration.rows, *declaration.also_rows) for e in root.iterfind(path)]
        if parsed.repeated_rows or len(declaration.also_rows):
            continue
        assert len(parsed.frame) == len(elements)
        for at, element in enumerate(elements, start=1):
            for column in declaration.columns:
                if column.kind != "str" or column.many or column.path.startswith("..") or "|" in column.path:
                    continue
                value = parsed.frame[column.name].iloc[at - 1]
                ours = None if pd.isna(value) else value
                assert (ours, (at, column.name) in noted) == _by_lxml(element, column.path), column.name
    return True


def _by_lxml(element: Any, path: str) -> tuple[str | None, bool]:
    """A field's text, and whether that had to be said of it."""
    if path.startswith("@"):
        return (element.get(path[1:]) or "").strip() or None, False
    leaves = list(element.iterfind(path))
    if any(isinstance(child.tag, str) for leaf in leaves for child in leaf):
        return None, True
    texts = {t for leaf in leaves if (t := "".join(leaf.xpath("text()")).strip())}
    return (None, True) if len(texts) > 1 else (next(iter(texts), None), False)


def test_a_document_that_ends_within_its_last_reference_breaks_off():
    with pytest.raises(TruncatedAnswer):
        parse(io.BytesIO(b"<iSAMS><A><B><C>x&#x1"), TABLES)
