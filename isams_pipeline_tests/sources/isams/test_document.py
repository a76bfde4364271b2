"""What comes from outside is read with every bound in place."""

import io
import re
import time

import pytest
from hypothesis import given
from hypothesis import strategies as st

from isams_pipeline.datasets import DATASETS
from isams_pipeline.errors import DocumentError, NotBatchData, PipelineError, TruncatedAnswer, UnsafeDocument, WrongType
from isams_pipeline.sandbox.batch import error_document
from isams_pipeline.sources.isams import document
from isams_pipeline.sources.isams.document import HEAD
from isams_pipeline.sources.isams.parse import ParsedTable, parse

TABLES = [d for d in DATASETS.values() if not d.free_form]


def read(data: bytes) -> None:
    parse(io.BytesIO(data), TABLES)


def pupil(inner: str) -> bytes:
    row = f'<Pupil Id="1">{inner}</Pupil><Pupil Id="2"/>'
    return f"<iSAMS><PupilManager><CurrentPupils>{row}</CurrentPupils></PupilManager></iSAMS>".encode()


def test_empty_document():
    with pytest.raises(NotBatchData, match="empty"):
        read(b"  \n")


def test_not_xml():
    with pytest.raises(NotBatchData, match="not XML"):
        read(b"Log in, please")


def test_html_log_in_page():
    with pytest.raises(DocumentError):
        read(b"<!doctype html><html><body>Log in</body></html>")


def test_wrong_root():
    with pytest.raises(NotBatchData, match="another root element"):
        read(b"<Report><Row/></Report>")


def test_message_in_the_place_of_data():
    with pytest.raises(NotBatchData, match="error message"):
        read(error_document("InvalidApiKey", "Invalid API Key", "The API key is invalid."))


@pytest.mark.parametrize("share", [0.1, 0.5, 0.9, 0.999])
def test_truncated(share: float):
    whole = pupil("<Forename>Ada</Forename>" * 50)
    with pytest.raises(TruncatedAnswer, match="breaks off"):
        read(whole[: int(len(whole) * share)])


def test_billion_laughs_is_refused_before_anything_expands():
    lols = "".join(f'<!ENTITY l{n} "{f"&l{n - 1};" * 10}">' for n in range(1, 10))
    bomb = f'<!DOCTYPE iSAMS [<!ENTITY l0 "lol">{lols}]><iSAMS><A><B><C>&l9;</C></B></A></iSAMS>'
    with pytest.raises(UnsafeDocument, match="DTD"):
        read(bomb.encode())


def test_external_entity_is_not_fetched(tmp_path):
    secret = tmp_path / "secret"
    secret.write_text("do not read me")
    for dtd in (f'[<!ENTITY x SYSTEM "file://{secret}">]', f'SYSTEM "file://{secret}"'):
        with pytest.raises(UnsafeDocument, match="DTD") as caught:
            read(f"<!DOCTYPE iSAMS {dtd}><iSAMS><A><B><C>&x;</C></B></A></iSAMS>".encode())
        assert "do not read me" not in str(caught.value)


def test_two_megabytes_in_one_text_node():
    with pytest.raises(UnsafeDocument, match="longer than 65536") as caught:
        read(pupil(f"<Forename>{'x' * (2 << 20)}</Forename>"))
    assert caught.value.where["element"] == "PupilManager/CurrentPupils/Pupil/Forename"
    assert caught.value.where["row"] == 1


def test_a_row_without_end():
    with pytest.raises(UnsafeDocument, match="One row"):
        read(pupil(f"<Unknown>{'<a>xxxxxxx</a>' * (20 << 16)}</Unknown>"))


def test_ten_thousand_deep():
    with pytest.raises(UnsafeDocument, match="nested deeper"):
        read(pupil("<a>" * 10_000 + "</a>" * 10_000))


def test_error_document_declares_utf16_over_utf8_bytes():
    data = error_document("InvalidApiKey", "Invalid API Key", "The API key is invalid.")
    assert b"utf-16" in data and b"\x00" not in data
    assert document.read_message(data) == document.Message(
        "InvalidApiKey", "Invalid API Key", "The API key is invalid."
    )


def test_error_document_in_real_utf16():
    text = '<?xml version="1.0" encoding="utf-16"?><Message><MessageId>X</MessageId><Title>T</Title></Message>'
    assert document.read_message(text.encode("utf-16")) == document.Message("X", "T", "")


@given(st.binary(max_size=400))
def test_any_bytes_end_in_a_typed_error_or_in_tables(data: bytes):
    try:
        read(data)
    except PipelineError as error:
        assert str(error)


@given(st.integers(min_value=0, max_value=10_000))
def test_a_cut_never_passes_as_whole(at: int):
    whole = pupil("<Forename>Ada</Forename><Surname>Lo</Surname>")
    cut = whole[: at % len(whole)]
    with pytest.raises(PipelineError):
        read(cut)


# --- characters that XML forbids --------------------------------------------------------------------------


@pytest.mark.parametrize(
    "bad",
    [
        b"&#x1F;",
        b"&#31;",
        b"&#x0;",
        b"&#xFFFF;",
        b"&#xD800;",
        b"&#x110000;",
        b"\x1f",
        b"\x00",
        b"\xef\xbf\xbf",
        b"\xed\xa0\x80",
    ],
)
def test_a_forbidden_character_is_taken_out_and_its_record_noted(bad: bytes):
    data = pupil("<Forename>A@da</Forename>").replace(b"@", bad)
    found = parse(io.BytesIO(data), TABLES)["pupils"]
    assert found.frame["forename"].tolist()[0] == "Ada"
    assert found.notes == [(1, "forename", "control")]


@given(
    st.integers(-12, 12),
    st.sampled_from([b"&#x1F;", b"&#0000031;", b"\x1f", b"\xef\xbf\xbe", b"\xed\xa0\x80"]),
    st.integers(1, 7),
)
def test_a_forbidden_character_is_found_wherever_the_document_is_cut(place: int, bad: bytes, at_once: int):
    text = "a&amp;\u00e9&#x20;&#233;".encode()
    before, after = pupil("<Forename>@</Forename>").split(b"@")
    # Around the end of the first read, with characters beside it that must stay.
    filling = b"<!--" + b"x" * (HEAD + place - len(before) - len(text) - 7) + b"-->"
    head, root, rest = before.partition(b"<iSAMS>")

    class Slowly(io.BytesIO):
        def read(self, size: int | None = -1) -> bytes:
            return super().read(at_once if self.tell() > HEAD - 100 else min(size or 0, HEAD - 50))

    def of(middle: bytes) -> ParsedTable:
        data = head + root + filling + rest + text + middle + text + after
        return parse(Slowly(data), [DATASETS["pupils"]])["pupils"]

    found, clean = of(bad), of(b"")
    assert found.frame.equals(clean.frame) and found.notes == [(1, "forename", "control")] and clean.notes == []


def test_allowed_references_and_wide_documents_stay_as_they_are():
    text = pupil("<Forename>&#x41;&#10;&#x1F600;&lt;&amp;#x1F;</Forename>")
    assert parse(io.BytesIO(text), TABLES)["pupils"].frame["forename"].tolist()[0] == "A\n\U0001f600<&#x1F;"
    wide = '<?xml version="1.0" encoding="utf-16"?>' + pupil("<Forename>\u0100da</Forename>").decode()
    assert parse(io.BytesIO(wide.encode("utf-16")), TABLES)["pupils"].frame["forename"].tolist()[0] == "\u0100da"


def test_what_was_taken_out_of_a_row_that_was_merged_is_noted_of_the_row_it_is_in():
    one = b'<CurrentPupils><Pupil Id="1"><Surname>Quill</Surname></Pupil></CurrentPupils>'
    again = b'<CurrentPupils><Pupil Id="1"><Forename>A&#x1F;da</Forename></Pupil></CurrentPupils>'
    data = b"<iSAMS><PupilManager>" + one + again + b"</PupilManager></iSAMS>"
    found = parse(io.BytesIO(data), TABLES)["pupils"]
    assert found.frame["forename"].tolist() == ["Ada"] and found.notes == [(1, "forename", "control")]


def test_a_forbidden_character_within_a_number_makes_no_other_number():
    data = pupil("<YearId>1&#x1F;0</YearId><NCYear>1&#x1F;0</NCYear>")
    found = parse(io.BytesIO(data), TABLES)["pupils"]
    assert found.frame["year_id"].isna().all() and (1, "year_id", "control") in found.notes
    around = parse(io.BytesIO(pupil("<NCYear>&#x1F;10 &#x1F;</NCYear>")), TABLES)["pupils"]
    assert around.frame["year_id"].tolist()[0] == 10
    with pytest.raises(PipelineError) as caught:
        read(b'<iSAMS><PupilManager><CurrentPupils><Pupil Id="1&#x1F;0"/></CurrentPupils></PupilManager></iSAMS>')
    assert caught.value.where["row"] == 1


@pytest.mark.parametrize("encoding", ["utf-16", "utf-16-le", "utf-16-be", "iso-8859-1", "windows-1252"])
@pytest.mark.parametrize("bad", ["&#x1F;", "\x1f", "&#0;"])
def test_a_forbidden_character_is_taken_out_of_any_encoding(encoding: str, bad: str):
    declared = encoding if encoding.startswith(("iso", "win")) else "utf-16"
    text = f'<?xml version="1.0" encoding="{declared}"?>' + pupil("<Forename>Z\u00e9@e</Forename>").decode()
    found = parse(io.BytesIO(text.replace("@", bad).encode(encoding)), TABLES)["pupils"]
    assert found.frame["forename"].tolist()[0] == "Z\u00e9e" and found.notes == [(1, "forename", "control")]


def test_bytes_of_another_encoding_than_a_document_says_are_an_error():
    text = '<?xml version="1.0" encoding="shift_jis"?>' + pupil("<Forename>@</Forename>").decode()
    with pytest.raises(NotBatchData):
        read(text.encode().replace(b"@", b"\xfd\xfe\xff"))
    with pytest.raises(TruncatedAnswer):
        read(text.encode("utf-16")[:-1])


def test_a_document_that_breaks_names_the_container_and_the_rows_before():
    broken = pupil("<Forename>Ada</Forename>").replace(b'<Pupil Id="2"/>', b'<Pupil Id="2"/><Pupil Id="3"><<')
    with pytest.raises(DocumentError) as caught:
        read(broken)
    assert caught.value.where["container"] == "PupilManager/CurrentPupils" and caught.value.where["rows_so_far"] == 2


@pytest.mark.parametrize(
    "encoding", ["utf-7", "euc-jp", "gbk", "utf-32", "utf-8-sig", "cp1252", "iso-8859-1", "utf-16"]
)
def test_any_encoding_of_texts_that_is_declared_is_read(encoding: str):
    text = f'<?xml version="1.0" encoding="{encoding}"?>{pupil("<Forename>Ada</Forename>").decode()}'
    found = parse(io.BytesIO(text.encode(encoding)), TABLES)["pupils"]
    assert found.frame["forename"].tolist()[0] == "Ada"
    assert document.root_of(text.encode(encoding)[: HEAD // 2]) == "iSAMS"


@pytest.mark.parametrize(
    "encoding", ["nosuch", "rot13", "base64", "undefined", "idna", "unicode_escape", "ucs-4", "mbcs"]
)
def test_an_encoding_of_other_things_is_refused(encoding: str):
    data = f'<?xml version="1.0" encoding="{encoding}"?>'.encode() + pupil("")
    for reading in (read, document.root_of):
        with pytest.raises(NotBatchData, match="encoding that cannot be read"):
            reading(data)


def test_a_byte_order_mark_says_more_than_a_declaration():
    data = b'\xef\xbb\xbf<?xml version="1.0" encoding="utf-16"?>' + pupil("<Forename>Zo\u00eb</Forename>")
    assert parse(io.BytesIO(data), TABLES)["pupils"].frame["forename"].tolist()[0] == "Zo\u00eb"


def test_what_only_looks_like_a_reference_stays():
    for filling in ("", "x" * (HEAD - 90), "x" * (HEAD - 100)):
        data = pupil(f"<Forename><![CDATA[{filling[:60_000]}&#x1F;]]></Forename><Surname>&#x1F;Q</Surname>")
        found = parse(io.BytesIO(data.replace(b"<Pupil", b" " * max(0, len(filling) - 60_000) + b"<Pupil", 1)), TABLES)
        assert found["pupils"].frame["forename"].tolist()[0].endswith("&#x1F;")
        assert found["pupils"].notes == [(1, "surname", "control")]


def contact(inner: str) -> dict[str, ParsedTable]:
    row = f'<Contact Id="1" PersonId="2">{inner}</Contact>'
    data = f"<iSAMS><PupilManager><Contacts>{row}</Contacts></PupilManager></iSAMS>"
    return parse(io.BytesIO(data.encode()), TABLES)


@pytest.mark.parametrize(
    ("inner", "column", "value", "notes"),
    [
        ("<EmailAddress>a@x.org</EmailAddress><EmailAddress>b@x.org</EmailAddress>", "email", None, ["repeated"]),
        ("<EmailAddress>a@x.org</EmailAddress><EmailAddress> a@x.org</EmailAddress>", "email", "a@x.org", []),
        ("<EmailAddress>a@x.org</EmailAddress><EmailAddress/>", "email", "a@x.org", []),
        ("<EmailAddress/><EmailAddress>a@x.org</EmailAddress>", "email", "a@x.org", []),
        ("<EmailAddress>a@<b>x</b>.org</EmailAddress>", "email", None, ["mixed"]),
        ("<Address><Town>A</Town></Address><Address><Town>B</Town></Address>", "town", None, ["repeated"]),
        ("<Address><Town>A</Town></Address><Address><County>C</County></Address>", "town", "A", []),
        ("<Address><County><b>x</b></County></Address>", "county", None, ["mixed"]),
    ],
)
def test_a_field_that_says_two_things_or_holds_elements_is_none_and_said(
    inner: str, column: str, value: str | None, notes: list[str]
):
    found = contact(inner)["contacts"]
    assert found.frame[column].fillna("").tolist() == [value or ""]
    assert found.notes == [(1, column, note) for note in notes]


@pytest.mark.parametrize("name", ["iSAMS", "PupilManager", "Contacts", "Contact", "EmailAddress", "Address"])
def test_a_namespace_hides_nothing_in_silence(name: str):
    row = '<Contact Id="1" PersonId="2"><EmailAddress>a@x.org</EmailAddress><Address><Town>B</Town></Address></Contact>'
    data = f"<iSAMS><PupilManager><Contacts>{row}</Contacts></PupilManager></iSAMS>"
    with pytest.raises(NotBatchData, match="namespace"):
        read(re.sub(f"<{name}\\b", f'<{name} xmlns="urn:x"', data, count=1).encode())


@pytest.mark.parametrize("more", ["<StartDate>2026-11-21</StartDate>", "<StartDate><a/></StartDate>"])
def test_a_field_that_every_row_must_have_says_one_thing(more: str):
    event = f"<Event Id='1'><StartDate>2026-11-20</StartDate>{more}</Event>"
    with pytest.raises(WrongType, match="every row must have") as caught:
        read(f"<iSAMS><CalendarManager><Events>{event}</Events></CalendarManager></iSAMS>".encode())
    assert caught.value.where["element"] == "CalendarManager/Events/Event/StartDate" and caught.value.where["row"] == 1


@pytest.mark.parametrize(
    "many",
    [
        "<M>{}</M>".format("".join(f"<C{n}><r/></C{n}>" for n in range(9_000))),
        "".join(f"<C{n}><r><x/></r></C{n}>" for n in range(9_000)),
        "".join(f"<C{n}/>" for n in range(9_000)),
        "<PupilManager><Contacts>{}</Contacts></PupilManager>".format(
            "".join(f'<Contact Id="{n}" PersonId="1"><a{n}/></Contact>' for n in range(150_000))
        ),
        "<PupilManager><Contacts>{}</Contacts></PupilManager>".format(
            "".join(f'<Contact Id="{n}" PersonId="1" a{n}="1"/>' for n in range(150_000))
        ),
    ],
    ids=["containers", "modules", "empty modules", "elements", "attributes"],
)
def test_different_names_are_bounded(many: str):
    with pytest.raises(UnsafeDocument, match="different names"):
        read(f"<iSAMS>{many}</iSAMS>".encode())


@pytest.mark.parametrize("what", ['<r x="{}"/>', "<r>{}</r>", "<!--{}-->"])
def test_one_long_attribute_costs_no_time(what: str):
    data = f"<iSAMS><M><C>{what.format('1' * 15_000_000)}</C></M></iSAMS>".encode()
    began = time.process_time()
    with pytest.raises(UnsafeDocument, match="larger than 4 MB"):
        read(data)
    assert time.process_time() - began < 3
