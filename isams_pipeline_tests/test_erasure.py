"""Who is erased is in no byte that is kept, and does not come back; everybody else stays as they are."""

from __future__ import annotations

import hashlib
import io
import itertools
import json
import os
import random
import zipfile
from collections.abc import Iterator
from datetime import timedelta
from pathlib import Path
from typing import Any

import pandas as pd
import pytest
import zstandard
from lxml import etree
from sqlalchemy import select

from isams_pipeline.datasets.people import Person
from isams_pipeline.delivery.receipts import Receipts
from isams_pipeline.errors import StorageError, WrongUse
from isams_pipeline.orchestration.rights.erasure import Outcome, erase, lift, meant
from isams_pipeline.orchestration.rights.identity import identify
from isams_pipeline.partners.registry import PARTNERS
from isams_pipeline.sources.isams.document import BatchDocument
from isams_pipeline.sources.isams.people_out import without
from isams_pipeline.storage.erased import ErasedState
from isams_pipeline.storage.folder import Folder
from isams_pipeline.storage.moving import move
from isams_pipeline.storage.photos import KeptPhoto
from isams_pipeline.storage.state.rights import PersonRequest
from isams_pipeline_tests.test_backups import Vault, lose
from isams_pipeline_tests.test_commands import call_here
from isams_pipeline_tests.test_retention import files
from isams_pipeline_tests.world import FIRST, SCHOOL, World

WHY = {"who": "the office", "reason": "erasure request 3"}


def table(world: World, dataset: str, day: int = 2) -> pd.DataFrame:
    tables = world.environment.tables
    return tables.load(tables.need("isams", dataset, SCHOOL, FIRST + timedelta(days=day)))


def gone_from(world: World, who: str, **options: Any) -> Outcome:
    people, _ = meant(world.environment, SCHOOL, who)
    return erase(world.environment, SCHOOL, people, PARTNERS.values(), **WHY, **options)


def as_bytes(path: Path) -> bytes:
    """What a file holds, as somebody would read it who knows nothing of this project; a database as it lies there."""
    data = path.read_bytes()
    if path.suffix == ".zst":
        return zstandard.ZstdDecompressor().stream_reader(io.BytesIO(data)).read()
    if path.suffix == ".parquet":
        return pd.read_parquet(path).to_csv().encode()
    if path.suffix == ".xlsx":
        with zipfile.ZipFile(path) as book:
            return b"".join(book.read(name) for name in book.namelist())
    return data


def holding(world: World, *needles: str) -> Iterator[tuple[str, str]]:
    """Every file, Dagster's and the databases' included, that holds one of some texts, and which."""
    for top in (world.data, world.folder / "exports"):
        for path in top.rglob("*"):
            if path.is_file():
                data = as_bytes(path).lower()
                for needle in needles:
                    if needle.lower().encode() in data:
                        yield path.relative_to(world.folder).as_posix(), needle


def own_values(frame: pd.DataFrame, key: str, number: int, *columns: str) -> list[str]:
    """What only this person's row says in some columns."""
    mine, others = frame[frame[key] == number], frame[frame[key] != number]
    values = [str(mine[name].iloc[0]) for name in columns if not pd.isna(mine[name].iloc[0])]
    taken = {str(value) for name in columns for value in others[name].dropna()}
    return [value for value in values if value not in taken and len(value) > 3]


@pytest.fixture
def nights(world: World) -> World:
    """Three nights of a school that also sends attendance and has the office's report; photos; a request about a person."""
    world.configure(lambda said: said["schools"][SCHOOL].update(reports={"names": True}))
    for day in range(3):
        world.night(day)
    world.rooms(2)
    return world


def test_a_pupil_is_in_no_byte_any_more(nights: World):
    frame = table(nights, "pupils")
    number = int(frame["pupil_id"].iloc[3])
    needles = own_values(frame, "pupil_id", number, "school_id", "email", "person_guid", "mobile")
    assert len(needles) >= 2 and set(holding(nights, *needles))
    store = nights.environment.photos(SCHOOL)
    digest = store.put(b"a picture")
    store.save_now({str(number): KeptPhoto("isams:1", digest), "1": KeptPhoto("isams:2", store.put(b"another"))})
    done = gone_from(nights, f"pupil:{number}", at_partners=True)
    assert not done.failed and not done.still
    assert not list(holding(nights, *needles))
    assert store.now().keys() == {"1"} and not (nights.data / "photos" / SCHOOL / "objects" / digest).exists()
    assert {"archive", "tables", "staged", "exports", "photos"} <= set(done.counts)
    assert {one["partner"] for one in done.disclosed} >= {"schoolsbuddy"}


@pytest.mark.parametrize(
    ("entity", "dataset", "key", "columns"),
    [
        ("contact", "contacts", "person_id", ("email", "mobile", "home_phone")),
        ("staff", "staff", "staff_id", ("email", "school_email", "mobile")),
    ],
)
def test_contacts_and_staff_are_in_no_byte_any_more(
    nights: World, entity: str, dataset: str, key: str, columns: tuple[str, ...]
):
    frame = table(nights, dataset)
    number = int(frame[key].iloc[2])
    needles = own_values(frame, key, number, *(name for name in columns if name in frame))
    assert needles and set(holding(nights, *needles))
    done = gone_from(nights, f"{entity}:{number}", at_partners=True)
    assert not done.failed and not done.still
    assert not list(holding(nights, *needles))


def test_nobody_else_is_touched(nights: World):
    before = {name: table(nights, name) for name in ("pupils", "contacts", "contact_pupils", "set_members", "lessons")}
    number = int(before["pupils"]["pupil_id"].iloc[3])
    gone_from(nights, f"pupil:{number}")
    for name, frame in before.items():
        column = next((c for c in ("pupil_id",) if c in frame), None)
        expected = frame if column is None else frame[frame[column] != number].reset_index(drop=True)
        pd.testing.assert_frame_equal(table(nights, name), expected)


def test_they_do_not_come_back_by_night_backfill_or_fresh_answers(nights: World):
    frame = table(nights, "pupils")
    number = int(frame["pupil_id"].iloc[3])
    needles = own_values(frame, "pupil_id", number, "school_id", "email", "person_guid")
    gone_from(nights, f"pupil:{number}", at_partners=True)
    assert nights.night(3).outcome == "delivered"
    assert nights.run(1).outcome in {"delivered", "unchanged"}
    assert not list(holding(nights, *needles))
    snapshot = next(
        one
        for one in nights.environment.archive.of_night(SCHOOL, FIRST + timedelta(days=3))
        if one.covers(["Pupil_GetCurrentPupils"])
    )
    assert snapshot.erased > 0


def test_the_next_night_takes_nothing_for_a_loss(nights: World):
    number = int(table(nights, "pupils")["pupil_id"].iloc[3])
    gone_from(nights, f"pupil:{number}")
    done = nights.night(3)
    assert done.outcome == "delivered"
    receipt = Receipts(nights.environment.state).all_delivered(SCHOOL)[-1]
    assert receipt.changes["students.csv"]["removed"] == len(
        set(table(nights, "pupils", 2)["pupil_id"]) - set(table(nights, "pupils", 3)["pupil_id"])
    )


def test_once_lifted_they_come_again(nights: World):
    number = int(table(nights, "pupils")["pupil_id"].iloc[3])
    gone_from(nights, f"pupil:{number}")
    _, notes = meant(nights.environment, SCHOOL, f"pupil:{number}")
    assert lift(nights.environment, SCHOOL, notes, **WHY) == 1
    nights.night(3)
    assert number in set(table(nights, "pupils", 3)["pupil_id"])


def test_the_staged_export_is_as_if_made_without_them(nights: World):
    """Taken out of the file, and left out by the rules: the same bytes."""
    number = int(table(nights, "pupils")["pupil_id"].iloc[3])
    gone_from(nights, f"pupil:{number}")
    night = FIRST + timedelta(days=2)
    staged = nights.environment.staged("schoolsbuddy", SCHOOL)
    taken_out = {name: staged.read(digest) for name, digest in staged.find(night).files.items()}
    assert nights.run(2).outcome in {"delivered", "unchanged"}
    made_without = {name: staged.read(digest) for name, digest in staged.find(night).files.items()}
    assert taken_out["students.csv"] == made_without["students.csv"]
    assert taken_out["student_contacts.csv"] == made_without["student_contacts.csv"]


class Killed(BaseException):
    """What a process does not survive."""


def test_killed_anywhere_the_next_call_ends_it(nights: World, monkeypatch: pytest.MonkeyPatch):
    """At every writing, moving and removing of a file in turn; the next call is not told who it is about."""
    frame = table(nights, "pupils")
    needles: list[str] = []
    real = {name: getattr(os, name) for name in ("replace",)}
    rng = random.Random("erasure")
    for number in (int(one) for one in frame["pupil_id"].iloc[3:7]):
        needles += own_values(frame, "pupil_id", number, "school_id", "email", "person_guid")
        people = identify(nights.environment, SCHOOL, f"pupil:{number}")
        for at in itertools.chain([1], (rng.randrange(2, 60) for _ in range(2))):
            left = [at]

            def replace(*args: Any, left: list[int] = left) -> None:
                left[0] -= 1
                if left[0] == 0:
                    raise Killed
                real["replace"](*args)

            with monkeypatch.context() as patched, pytest.raises(Killed):
                patched.setattr(os, "replace", replace)
                erase(nights.environment, SCHOOL, people, PARTNERS.values(), **WHY, at_partners=True)
                raise Killed  # it had fewer steps
            if nights.environment.erased.of(SCHOOL, ErasedState.BEGUN):
                people = []
        done = erase(nights.environment, SCHOOL, people, PARTNERS.values(), **WHY, at_partners=True)
        assert not done.failed and not done.still
    assert not list(holding(nights, *needles))
    assert not nights.environment.erased.of(SCHOOL, ErasedState.BEGUN)


def test_without_its_key_nobody_is_let_in_again_by_mistake(nights: World):
    number = int(table(nights, "pupils")["pupil_id"].iloc[3])
    gone_from(nights, f"pupil:{number}")
    (nights.data / "rights" / "key").unlink()
    assert nights.night(3).outcome == "failed"
    with pytest.raises(StorageError, match="key by which erased people"):
        nights.environment.erased.people(SCHOOL)


def test_what_may_not_be_rewritten_at_a_partner_is_listed(nights: World):
    number = int(table(nights, "pupils")["pupil_id"].iloc[3])
    before = {p: p.read_bytes() for p in (nights.folder / "exports").rglob("*.csv")}
    done = gone_from(nights, f"pupil:{number}")
    assert {p: p.read_bytes() for p in before} == before
    assert sum("schoolsbuddy" in one for one in done.left) == 3


def test_a_rewritten_export_holds_with_its_manifest(nights: World):
    number = int(table(nights, "pupils")["pupil_id"].iloc[3])
    gone_from(nights, f"pupil:{number}", at_partners=True)
    target = dict(nights.environment.targets_of(SCHOOL, "schoolsbuddy"))["schoolsbuddy"]
    folder = f"schoolsbuddy/{SCHOOL}/{FIRST}"
    manifest = json.loads(target.read(f"{folder}/manifest.json"))
    assert manifest["redacted"]["reason"] == WHY["reason"]
    for name, facts in manifest["files"].items():
        data = target.read(f"{folder}/{name}")
        assert hashlib.sha256(data).hexdigest() == facts["sha256"]
        assert len(pd.read_csv(io.BytesIO(data), dtype=str)) == facts["rows"]
    assert not target.exists(f"{folder}/redacting.json")


def test_who_asked_is_recorded_without_whom(nights: World):
    number = int(table(nights, "pupils")["pupil_id"].iloc[3])
    gone_from(nights, f"pupil:{number}")
    with nights.environment.state.transaction() as session:
        (note,) = session.scalars(select(PersonRequest).where(PersonRequest.kind == "erase"))
    assert (note.who, note.reason, note.state) == (*WHY.values(), "done") and note.counts["tables"] > 0
    with pytest.raises(WrongUse, match="No erasure at this school is under way"):
        erase(nights.environment, SCHOOL, [], PARTNERS.values(), **WHY)


def test_the_command_shows_before_it_does(nights: World):
    number = int(table(nights, "pupils")["pupil_id"].iloc[3])
    given = ("--config", str(nights.config), "--data-dir", str(nights.data))
    code, said = call_here("person", "erase", SCHOOL, f"pupil:{number}", *given)
    assert code == 0 and "Nothing was changed" in said and "archive" in said
    assert number in set(table(nights, "pupils")["pupil_id"])
    code, said = call_here("person", "erase", SCHOOL, f"pupil:{number}", "--apply", *given)
    assert code == 2 and "--reason" in said
    code, said = call_here("person", "erase", SCHOOL, f"pupil:{number}", "--apply", "--reason", "request 3", *given)
    assert code == 0 and "erased" in said and "partner to tell" in said
    assert number not in set(table(nights, "pupils")["pupil_id"])
    code, said = call_here("person", "erase", SCHOOL, *given)
    assert code == 0 and "request 3" in said and "done" in said
    code, said = call_here("person", "erase", SCHOOL, "--lift", "--reason", "they are back", *given)
    assert code == 0 and "1 may come back" in said


def test_a_restored_backup_of_before_brings_nobody_back(nights: World, tmp_path: Path):
    vault = Vault(nights, tmp_path / "elsewhere")
    before = vault.back_up()
    frame = table(nights, "pupils")
    number = int(frame["pupil_id"].iloc[3])
    needles = own_values(frame, "pupil_id", number, "school_id", "email", "person_guid")
    gone_from(nights, f"pupil:{number}", at_partners=True)
    nights.moment[0] += timedelta(hours=1)
    vault.back_up()
    lose(nights, "folder", "database")
    done = vault.bring_back(before.name)
    assert done.erased == {SCHOOL} and list(holding(nights, *needles))
    assert nights.night(3).outcome == "delivered"
    assert number not in set(table(nights, "pupils", 3)["pupil_id"])
    assert nights.run(1).outcome in {"delivered", "unchanged"}
    assert number not in set(table(nights, "pupils", 1)["pupil_id"])
    again = erase(nights.environment, SCHOOL, [], PARTNERS.values(), **WHY)
    assert not again.failed and not again.still
    assert not list(holding(nights, *needles))


def test_what_the_newest_backup_knows_is_not_to_be_done_again(nights: World, tmp_path: Path):
    vault = Vault(nights, tmp_path / "elsewhere")
    gone_from(nights, f"pupil:{table(nights, 'pupils')['pupil_id'].iloc[3]}")
    vault.back_up()
    lose(nights, "folder", "database")
    assert vault.bring_back().erased == frozenset()
    assert not nights.environment.erased.of(SCHOOL, ErasedState.BEGUN)
    assert any("archive/" in name for name in files(nights))


def test_a_later_backup_has_what_stands_for_what_went(nights: World, tmp_path: Path):
    vault = Vault(nights, tmp_path / "elsewhere")
    vault.back_up()
    gone_from(nights, f"pupil:{table(nights, 'pupils')['pupil_id'].iloc[3]}")
    nights.moment[0] += timedelta(hours=1)
    vault.back_up()
    expected = table(nights, "pupils", 1)
    lose(nights, "folder", "database")
    vault.bring_back()
    pd.testing.assert_frame_equal(table(nights, "pupils", 1), expected)


def test_lifting_somebody_who_was_not_erased_lifts_nobody(nights: World):
    frame = table(nights, "pupils")
    gone_from(nights, f"pupil:{frame['pupil_id'].iloc[3]}")
    given = ("--lift", "--reason", "r", "--config", str(nights.config), "--data-dir", str(nights.data))
    code, said = call_here("person", "erase", SCHOOL, f"pupil:{frame['pupil_id'].iloc[5]}", *given)
    assert code == 2 and "Nobody who was erased" in said
    assert [one.state for one in nights.environment.erased.of(SCHOOL)] == ["done"]


def test_the_next_teacher_with_the_same_initials_is_not_the_one_who_was_erased(nights: World):
    frame = table(nights, "staff")
    gone_from(nights, f"staff:{frame['staff_id'].iloc[1]}")
    code = frame["user_code"].iloc[1]
    (note,) = nights.environment.erased.of(SCHOOL)
    assert "user code" not in note.hashes and "staff" in note.hashes
    other = frame.iloc[[2]].assign(user_code=code)
    stored = nights.environment.tables.save(
        other, source="isams", dataset="staff", school=SCHOOL, night=FIRST + timedelta(days=5), provenance={}
    )
    gone_from(nights, f"staff:{frame['staff_id'].iloc[3]}")
    assert len(nights.environment.tables.load(stored)) == 1


def test_a_number_of_another_source_is_another_person_s(nights: World):
    number = str(table(nights, "staff")["staff_id"].iloc[1])
    gone_from(nights, f"staff:{number}")
    other = Person("staff", "xporter", number, {"staff": frozenset({number})})
    erase(nights.environment, SCHOOL, [other], PARTNERS.values(), **WHY)
    assert {one.source for one in nights.environment.erased.of(SCHOOL)} == {"isams", "xporter"}


def test_who_is_lifted_and_there_again_stays_when_somebody_else_is_erased(nights: World):
    frame = table(nights, "pupils")
    first, second = (int(frame["pupil_id"].iloc[at]) for at in (3, 5))
    gone_from(nights, f"pupil:{first}")
    lift(nights.environment, SCHOOL, [one.whom for one in nights.environment.erased.of(SCHOOL)], **WHY)
    nights.at_night(2)
    nights.run(2)  # made again of what is kept, and tables of other nights are written anew
    nights.environment.tables.save(
        frame, source="isams", dataset="pupils", school=SCHOOL, night=FIRST + timedelta(days=2), provenance={}
    )
    gone_from(nights, f"pupil:{second}")
    left = set(table(nights, "pupils")["pupil_id"])
    assert first in left and second not in left


def test_a_kill_between_two_files_at_a_partner_leaves_no_manifest_that_is_wrong(
    nights: World, monkeypatch: pytest.MonkeyPatch
):
    number = int(table(nights, "pupils")["pupil_id"].iloc[3])
    plain = Folder.write
    seen: list[str] = []

    def write(self: Folder, path: str, data: bytes) -> None:
        if "exports" in self.url and path.endswith(".csv"):
            seen.append(path)
            if len(seen) == 2:
                raise Killed
        plain(self, path, data)

    with monkeypatch.context() as patched, pytest.raises(Killed):
        patched.setattr(Folder, "write", write)
        gone_from(nights, f"pupil:{number}", at_partners=True)
    done = erase(nights.environment, SCHOOL, [], PARTNERS.values(), **WHY, at_partners=True)
    assert not done.failed and not done.still
    for manifest in (nights.folder / "exports").rglob("manifest.json"):
        for name, facts in json.loads(manifest.read_text())["files"].items():
            assert hashlib.sha256((manifest.parent / name).read_bytes()).hexdigest() == facts["sha256"], manifest
    assert not list((nights.folder / "exports").rglob("redacting.json"))


def test_an_older_backup_is_restored_although_a_later_one_is_damaged(nights: World, tmp_path: Path):
    vault = Vault(nights, tmp_path / "elsewhere")
    before = vault.back_up()
    nights.moment[0] += timedelta(hours=1)
    later = vault.back_up()
    path = next((vault.path / "backups").glob(f"{later.name}*.age"))
    path.write_bytes(path.read_bytes()[:200])
    lose(nights, "folder", "database")
    done = vault.bring_back(before.name)
    assert done.unread == (later.name,) and done.erased == frozenset()


def test_data_brought_elsewhere_again_hold_nobody_who_was_erased_meanwhile(nights: World, tmp_path: Path):
    there = Folder(tmp_path / "there")
    move(Folder(nights.data), there)
    frame = table(nights, "pupils")
    number = int(frame["pupil_id"].iloc[3])
    needles = own_values(frame, "pupil_id", number, "school_id", "email", "person_guid")
    gone_from(nights, f"pupil:{number}")
    move(Folder(nights.data), there)
    found = [path for path in (tmp_path / "there").rglob("*") if path.is_file()]
    assert not [p for p in found for needle in needles if needle.lower().encode() in as_bytes(p).lower()]


# --- documents -----------------------------------------------------------------------------------------------

PUPIL = Person("pupil", "isams", "5", {"pupil": frozenset({"5"}), "school code": frozenset({"0012"})})
BODY = """<iSAMS>
<PupilManager>
 <CurrentPupils><Pupil Id="5"><SchoolId>0012</SchoolId></Pupil><Pupil Id="55"><SchoolId>0055</SchoolId></Pupil>
 <Pupil Id="5"/><!-- é --></CurrentPupils>
 <Contacts><Contact Id="1" PersonId="7"><Pupils><Pupil Id="5"/><Pupil Id="6"/></Pupils></Contact></Contacts>
</PupilManager></iSAMS>
"""
LEFT = """<iSAMS>
<PupilManager>
 <CurrentPupils><Pupil Id="55"><SchoolId>0055</SchoolId></Pupil>
 <!-- é --></CurrentPupils>
 <Contacts><Contact Id="1" PersonId="7"><Pupils><Pupil Id="6" /></Pupils></Contact></Contacts>
</PupilManager></iSAMS>
"""


def written(document: bytes, *people: Person) -> bytes:
    made: list[bytes] = []
    without(lambda: io.BytesIO(document), made.append, people=people)
    return b"".join(made)


@pytest.mark.parametrize("before", ["", "\n ", '<?xml version="1.0"?>\n', '<?xml version="1.0" encoding="utf-16"?>\n'])
def test_a_document_is_the_same_to_the_byte_but_for_them(before: str):
    assert written((before + BODY).encode(), PUPIL) == (before.lstrip() + LEFT).encode()


@pytest.mark.parametrize("encoding", ["utf-16", "utf-8-sig", "windows-1252", "utf-32"])
def test_a_document_in_whatever_encoding_reads_the_same_but_for_them(encoding: str):
    name = encoding.removesuffix("-sig")
    document = f'<?xml version="1.0" encoding="{name}"?>{BODY}'.encode(encoding)
    left = written(document, PUPIL)
    assert [etree.tostring(row) for _, row in rows(left)] == [etree.tostring(row) for _, row in rows(LEFT.encode())]


def rows(document: bytes) -> list[tuple[str, Any]]:
    from xml.etree.ElementTree import tostring

    found = []
    for path, row in BatchDocument(io.BytesIO(document)).rows():
        row.tail = None
        found.append((path, etree.fromstring(tostring(row))))
    return found


def test_a_character_that_no_xml_may_hold_is_still_seen():
    document = BODY.replace("0055", "00&#x1F;55").encode()
    read = BatchDocument(io.BytesIO(written(document, PUPIL)))
    assert len(list(read.rows())) == 2 and read.has_marks


def test_a_line_s_end_that_was_written_as_a_reference_stays_one():
    document = BODY.replace('<Contact Id="1" PersonId="7">', '<Contact Id="1" PersonId="7"><Notes>a&#13;\n b</Notes>')
    assert b"<Notes>a&#13;\n b</Notes>" in written(document.encode(), PUPIL)


def test_a_document_of_many_chunks_loses_only_them():
    others = [
        f'<Pupil Id="{n}"><SchoolId>{n:05}</SchoolId><Note>{"x" * (n % 97)}</Note></Pupil>' for n in range(100, 9_000)
    ]
    rng = random.Random(7)
    whole = list(others)
    for _ in range(40):
        whole.insert(rng.randrange(len(whole)), f'<Pupil Id="5"><Note>{"y" * rng.randrange(90_000)}</Note></Pupil>')
    head, tail = "<iSAMS><PupilManager><CurrentPupils>", "</CurrentPupils></PupilManager></iSAMS>"
    left = written((head + "".join(whole) + tail).encode(), PUPIL)
    assert left == (head + "".join(others) + tail).encode()


def test_nothing_is_written_where_nobody_is_meant():
    assert written(BODY.encode(), Person("pupil", "isams", "9", {"pupil": frozenset({"9"})})) == b""
