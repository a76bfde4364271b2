"""What is kept of a person is found wherever it lies, and so is who got it."""

from __future__ import annotations

import csv
import io
import json
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
from isams_pipeline.errors import WrongUse
from isams_pipeline.orchestration.rights.disclosures import disclosures
from isams_pipeline.orchestration.rights.finding import Holdings, Search
from isams_pipeline.orchestration.rights.identity import identify
from isams_pipeline.orchestration.rights.requests import find
from isams_pipeline.partners.registry import PARTNERS
from isams_pipeline.storage.photos import KeptPhoto
from isams_pipeline.storage.state.rights import PersonRequest
from isams_pipeline_tests.test_commands import call_here
from isams_pipeline_tests.world import FIRST, SCHOOL, World


def pupils(world: World, day: int = 0) -> pd.DataFrame:
    tables = world.environment.tables
    return tables.load(tables.need("isams", "pupils", SCHOOL, FIRST + timedelta(days=day)))


def held(world: World, who: str) -> Holdings:
    people = identify(world.environment, SCHOOL, who)
    return Search(world.environment, SCHOOL, PARTNERS.values(), people).everything()


def opened(path: Path) -> str:
    """What a file says, as somebody would read it who knows nothing of this project."""
    data = path.read_bytes()
    if path.suffix == ".zst":
        data = zstandard.ZstdDecompressor().stream_reader(io.BytesIO(data)).read()
    if path.suffix == ".parquet":
        return pd.read_parquet(path).to_csv()
    return data.decode("utf-8", "replace")


def saying(world: World, needle: str) -> Iterator[Path]:
    """Every file outside the databases that holds a text."""
    for top in (world.data, world.folder / "exports"):
        for path in top.rglob("*"):
            is_ours = path.is_file() and "dagster" not in path.parts and path.suffix not in {".sqlite", ".db"}
            if is_ours and needle in opened(path):
                yield path


@pytest.fixture
def nights(world: World) -> World:
    """Three nights of a school and what Room Booking and attendance make of one."""
    for day in range(3):
        world.night(day)
    world.rooms(2)
    return world


def test_every_file_that_names_a_pupil_is_found(nights: World):
    pupil = pupils(nights).iloc[3]
    found = held(nights, f"pupil:{pupil['pupil_id']}")
    assert not found.troubles
    places = " ".join(where for one in found.found for where in one.where)
    for path in saying(nights, str(pupil["school_id"])):
        known = path.name.partition(".")[0][:12] if "objects" in path.parts else path.name
        assert known in places, path


def test_what_nothing_reads_of_the_answer_is_found_as_well(nights: World):
    pupil = pupils(nights).iloc[3]
    found = held(nights, str(pupil["school_id"]))
    (row,) = [one for one in found.found if one.place == "PupilManager/CurrentPupils/Pupil"][:1]
    archive = nights.environment.archive
    snapshot = next(s for s in archive.of_night(SCHOOL, FIRST) if s.covers(["Pupil_GetCurrentPupils"]))
    with archive.open(snapshot) as stream:
        document: Any = etree.parse(stream)
    (element,) = document.xpath(f"//CurrentPupils/Pupil[@Id='{pupil['pupil_id']}']")
    said = {text.strip() for text in element.itertext() if text.strip()} | set(element.attrib.values())
    assert said == {value.strip() for value in row.fields.values()}


def test_a_row_of_several_nights_is_told_once_with_its_nights(nights: World):
    pupil = pupils(nights).iloc[3]
    rows = [one for one in held(nights, str(pupil["school_id"])).found if one.place == "isams/pupils"]
    assert sum(len(one.nights) for one in rows) == 3 and len(rows) <= 3
    assert {night for one in rows for night in one.nights} == {FIRST + timedelta(days=n) for n in range(3)}


def test_nobody_else_is_in_what_is_found(nights: World):
    everybody = pupils(nights)
    pupil = everybody.iloc[3]
    found = held(nights, str(pupil["school_id"]))
    others = set(everybody["school_id"].astype(str)) - {str(pupil["school_id"])}
    siblings = {v for one in found.found for k, v in one.fields.items() if "ibling" in k or k == "pupil_school_id"}
    said = {value for one in found.found for value in one.fields.values()}
    assert (
        not (said & others)
        - siblings
        - {v for one in found.found if "Siblings" in one.place for v in one.fields.values()}
    )
    contacts = nights.environment.tables
    table = contacts.load(contacts.need("isams", "contacts", SCHOOL, FIRST))
    assert not said & set(table["mobile"].dropna())


@pytest.mark.parametrize("entity", ["contact", "staff"])
def test_contacts_and_staff_are_found(nights: World, entity: str):
    tables = nights.environment.tables
    dataset, key = {"contact": ("contacts", "person_id"), "staff": ("staff", "staff_id")}[entity]
    row = tables.load(tables.need("isams", dataset, SCHOOL, FIRST)).iloc[2]
    found = held(nights, f"{entity}:{row[key]}")
    assert {"archive", "tables"} <= {one.store for one in found.found}
    assert any(one.place == f"isams/{dataset}" and one.how == "own" for one in found.found)


def test_a_member_of_staff_is_named_in_timetables_and_sets_without_the_rest_of_their_rows(nights: World):
    tables = nights.environment.tables
    lessons = tables.load(tables.need("isams", "lessons", SCHOOL, FIRST + timedelta(days=2)))
    code = str(lessons["teacher_user_code"].dropna().iloc[0])
    found = held(nights, code)
    named = [one for one in found.found if one.place == "isams/lessons"]
    assert named and all(one.how == "named" and one.fields["teacher_user_code"] == code for one in named)
    assert all("room_id" not in one.fields or len(one.fields) <= 4 for one in named)


def test_who_has_left_is_found(nights: World):
    first, last = pupils(nights), pupils(nights, 2)
    gone = set(first["pupil_id"]) - set(last["pupil_id"])
    someone = gone or set(last["pupil_id"]) - set(first["pupil_id"])
    assert someone
    found = held(nights, f"pupil:{next(iter(someone))}")
    assert any(one.store == "archive" for one in found.found)


def test_several_people_are_not_mixed_up(nights: World):
    frame = pupils(nights)
    with pytest.raises(WrongUse, match="Nobody is kept"):
        identify(nights.environment, SCHOOL, "999999999")
    contacts = nights.environment.tables
    table = contacts.load(contacts.need("isams", "contacts", SCHOOL, FIRST))
    shared = table.dropna(subset=["email"]).groupby("email")["person_id"].nunique()
    both = shared[shared > 1]
    if len(both):
        with pytest.raises(WrongUse, match="people are meant"):
            identify(nights.environment, SCHOOL, str(both.index[0]))
    assert len(identify(nights.environment, SCHOOL, f"pupil:{frame['pupil_id'].iloc[0]}")) == 1


def test_numbers_of_one_source_are_nobody_s_of_another(nights: World):
    """A pupil by two sources: the second's number is another child's by the first."""
    frame = pupils(nights)
    mine, other = frame.iloc[3], frame.iloc[5]
    people = [
        *identify(nights.environment, SCHOOL, f"pupil:{mine['pupil_id']}"),
        Person("pupil", "assembly", str(other["pupil_id"]), {"pupil": frozenset({str(other["pupil_id"])})}),
    ]
    found = Search(nights.environment, SCHOOL, PARTNERS.values(), people).everything()
    assert str(other["school_id"]) not in {value for one in found.found for value in one.fields.values()}
    given = disclosures(nights.environment, SCHOOL, PARTNERS.values(), people)
    alone = disclosures(nights.environment, SCHOOL, PARTNERS.values(), people[:1])
    assert given.made == alone.made


def test_a_file_that_somebody_saved_anew_stops_nothing(nights: World):
    pupil = pupils(nights).iloc[3]
    (nights.exports / SCHOOL / str(FIRST) / "students.csv").write_bytes(
        f"student_id,name\n{pupil['pupil_id']},Zo".encode() + b"\xeb\n"
    )
    (nights.exports / SCHOOL / str(FIRST) / "manifest.json").unlink()
    found = held(nights, f"pupil:{pupil['pupil_id']}")
    (trouble,) = found.troubles
    assert trouble.store == "exports" and "no CSV file in UTF-8" in trouble.what
    assert any(one.store == "exports" for one in found.found)


def test_all_that_any_night_said_counts_by_whatever_is_asked(nights: World):
    """Who is asked about by today's address had another one before."""
    tables = nights.environment.tables
    table = tables.need("isams", "pupils", SCHOOL, FIRST)
    frame = tables.load(table)
    before = frame.assign(email=frame["email"].where(frame["pupil_id"] != frame["pupil_id"].iloc[3], "was@example.org"))
    tables.save(before, source="isams", dataset="pupils", school=SCHOOL, night=FIRST, provenance=table.provenance)
    (person,) = identify(nights.environment, SCHOOL, str(frame["email"].iloc[3]).split(";")[0])
    assert "was@example.org" in person.ids["e-mail"]


def test_photos_by_isams_s_rest_api_are_the_pupil_s(nights: World):
    pupil = pupils(nights).iloc[3]
    nights.configure(
        lambda c: c["schools"][SCHOOL]["partners"]["schoolsbuddy"].update(photos="rest", photos_client="portal")
    )
    photos = nights.environment.photos(SCHOOL)
    digest = photos.put(b"a picture")
    photos.save_night(FIRST, {str(pupil["pupil_id"]): KeptPhoto("isams_rest:1", digest)})
    (photo,) = [one for one in held(nights, f"pupil:{pupil['pupil_id']}").found if one.store == "photos"]
    assert photo.fields["sha256"] == digest and photo.nights == {FIRST}


def test_lists_of_changes_are_known_by_their_file(nights: World):
    nights.configure(lambda c: c["schools"][SCHOOL]["partners"]["schoolsbuddy"].update(list_changes=True))
    nights.night(3)
    changes = list(csv.DictReader(io.StringIO(nights.export(3)["students.changes.csv"].decode())))
    assert changes
    found = held(nights, f"pupil:{changes[0]['student_id']}")
    assert any(one.place == "schoolsbuddy/students.changes.csv" and one.how == "own" for one in found.found)


def test_what_cannot_be_read_is_named_and_the_rest_is_found(nights: World):
    pupil = pupils(nights).iloc[3]
    for path in (nights.data / "archive" / SCHOOL / "objects").iterdir():
        path.write_bytes(b"broken")
    found = held(nights, f"pupil:{pupil['pupil_id']}")
    assert {one.store for one in found.troubles} == {"archive"} and "damaged" in found.troubles[0].what
    assert any(one.store == "tables" for one in found.found)


def test_the_bundle_is_private_whole_and_recorded(nights: World):
    pupil = pupils(nights).iloc[3]
    people = identify(nights.environment, SCHOOL, str(pupil["school_id"]))
    found, _, bundle = find(nights.environment, SCHOOL, people, PARTNERS.values(), who="me", reason="request 12")
    folder = nights.data / bundle
    assert folder.stat().st_mode & 0o777 == 0o700
    assert {path.stat().st_mode & 0o777 for path in folder.iterdir()} == {0o600}
    told = json.loads((folder / "bundle.json").read_text())
    assert len(told["found"]) == len(found.found) and told["disclosures"]
    page = (folder / "bundle.html").read_text()
    assert str(pupil["surname"]) in page and "removed by itself after 30 days" in page
    with nights.environment.state.transaction() as session:
        (note,) = session.scalars(select(PersonRequest)).all()
    assert (note.kind, note.who, note.reason, note.state, note.bundle) == ("find", "me", "request 12", "done", bundle)
    assert note.counts["archive"] > 0
    written = str([note.whom, note.counts, note.reason])
    assert not any(str(pupil[name]) in written for name in ("pupil_id", "school_id", "surname", "email"))
    again = find(nights.environment, SCHOOL, people, PARTNERS.values(), who="me", reason="again")[2]
    with nights.environment.state.transaction() as session:
        assert len({one.whom for one in session.scalars(select(PersonRequest))}) == 1 and again != bundle


def test_what_a_page_shows_is_text_and_nothing_else(nights: World):
    people = identify(nights.environment, SCHOOL, str(pupils(nights).iloc[3]["school_id"]))
    made = find(nights.environment, SCHOOL, people, PARTNERS.values(), who="me", reason="x")
    found, given, _ = made
    found.found[0] = found.found[0]._replace(fields={"note": "<script>alert(1)</script>"})
    from isams_pipeline.orchestration.rights import requests

    page = requests._as_page(nights.environment, SCHOOL, found, given)
    assert "<script>" not in page and "&lt;script&gt;" in page


def test_who_got_it_by_night_file_and_column(nights: World):
    pupil = pupils(nights).iloc[3]
    people = identify(nights.environment, SCHOOL, str(pupil["school_id"]))
    given = disclosures(nights.environment, SCHOOL, PARTNERS.values(), people)
    by_file = {(one.partner, one.file): one for one in given.made}
    students = by_file["schoolsbuddy", "students.csv"]
    delivered = list(csv.DictReader(io.StringIO(nights.export(0)["students.csv"].decode())))
    (row,) = [row for row in delivered if row["student_id"] == str(pupil["pupil_id"])]
    assert set(students.columns) >= {name for name, value in row.items() if value}
    assert students.nights == f"{FIRST} to {FIRST + timedelta(days=2)}" and students.rows == 1
    everything = disclosures(nights.environment, SCHOOL, PARTNERS.values(), None)
    assert {one.file for one in everything.made} >= {"students.csv", "staff.csv", "timetable.csv"}


def test_what_is_not_kept_any_more_is_said_to_be_unknown(nights: World):
    people = identify(nights.environment, SCHOOL, str(pupils(nights).iloc[3]["school_id"]))
    for path in (nights.data / "staged" / "schoolsbuddy" / SCHOOL / "objects").iterdir():
        path.unlink()
    given = disclosures(nights.environment, SCHOOL, PARTNERS.values(), people)
    assert given.unknown == {"schoolsbuddy": frozenset(FIRST + timedelta(days=n) for n in range(3))}


def test_the_commands(nights: World):
    given = ("--config", str(nights.config), "--data-dir", str(nights.data))
    pupil = pupils(nights).iloc[3]
    code, said = call_here("person", "find", SCHOOL, str(pupil["school_id"]), *given)
    assert code == 2 and "A reason is needed" in said
    code, said = call_here("person", "find", SCHOOL, str(pupil["school_id"]), "--reason", "r", *given)
    assert code == 0 and "bundle.html" in said and str(pupil["surname"]) not in said
    code, said = call_here("disclosures", SCHOOL, str(pupil["school_id"]), *given)
    assert code == 0 and "students.csv" in said and str(pupil["surname"]) not in said
    code, said = call_here("disclosures", SCHOOL, *given)
    assert code == 0 and "staff.csv" in said
