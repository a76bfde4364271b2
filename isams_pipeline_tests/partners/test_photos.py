"""Students' photos: fetched once and then only what changed, stripped, bounded, behind the same gate, in no log."""

from __future__ import annotations

import hashlib
import io
import struct
from collections.abc import Callable, Collection
from datetime import timedelta
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st
from PIL import Image

from isams_pipeline.errors import NotRestData, StorageError, Unavailable
from isams_pipeline.partners.schoolsbuddy.photos import refresh
from isams_pipeline.rules.photos import MOST_BYTES, UnreadablePhoto, reencoded
from isams_pipeline.sandbox import photos as sandbox_photos
from isams_pipeline.sandbox import rest as sandbox_rest
from isams_pipeline.sandbox.photos import MADE_BY, photo, photo_id
from isams_pipeline.sandbox.school import SchoolDay
from isams_pipeline.sources import assembly, xporter
from isams_pipeline.storage.folder import Folder
from isams_pipeline.storage.photos import KeptPhoto, PhotoStore
from isams_pipeline_tests.sources.crossing import Crossing
from isams_pipeline_tests.world import FIRST, SCHOOL, World, rows, small_school


def with_photos(world: World, **settings: Any) -> World:
    wanted = {"photos": "rest", "photos_client": "portal"} | settings
    world.configure(lambda config: config["schools"][SCHOOL]["partners"]["schoolsbuddy"].update(wanted))
    return world


@pytest.fixture
def school(make: Callable[..., World]) -> World:
    return with_photos(make())


def delivered(world: World, day: int = 0) -> dict[str, bytes]:
    """Student → photo, as they lie at the target; each is the one that photos.csv names."""
    folder = world.exports / SCHOOL / str(FIRST + timedelta(days=day))
    listed = {row["student_id"]: row["sha256"] for row in rows((folder / "photos.csv").read_bytes())}
    found = {path.stem: path.read_bytes() for path in (folder / "photos").glob("*.jpg")}
    assert {student: hashlib.sha256(data).hexdigest() for student, data in found.items()} == listed
    return found


def on(world: World, day: int) -> SchoolDay:
    return SchoolDay(world.schools[SCHOOL].plan, FIRST + timedelta(days=day))


def having(day: SchoolDay) -> dict[str, int]:
    return {str(p.id): number for p in day.pupils if (number := photo_id(day, p)) is not None}


def asked(world: World) -> list[str]:
    requests = world.sandbox.schools[SCHOOL].rest_requests
    found = [path for _, _, path in requests if path.startswith("students")]
    requests.clear()
    return found


def test_photos_are_fetched_once_and_then_only_what_changed(school: World):
    assert school.night(0).outcome == "delivered"
    first = having(on(school, 0))
    assert delivered(school).keys() == first.keys() and 15 < len(first) < 24
    requests = asked(school)
    assert sorted(requests) == sorted(["students", *(path for path in requests if path.endswith("photos/current"))])
    assert len(requests) == 1 + len(first)
    for day in range(1, 6):
        before, now = having(on(school, day - 1)), having(on(school, day))
        assert school.night(day).outcome == "delivered"
        changed = [student for student, number in now.items() if before.get(student) != number]
        assert len(asked(school)) == 1 + len(changed), "the list, and each photo that is another"
        assert delivered(school, day).keys() == now.keys(), "who has left has none"


def test_a_photo_holds_nothing_but_the_picture(school: World):
    raw = photo(having(on(school, 0)).popitem()[1])
    assert MADE_BY.encode() in raw and b"a comment" in raw
    assert school.night(0).outcome == "delivered"
    for data in delivered(school).values():
        with Image.open(io.BytesIO(data)) as picture:
            assert picture.format == "JPEG" and max(picture.size) == 640 and not picture.getexif()
        assert MADE_BY.encode() not in data and b"a comment" not in data and len(data) < len(raw)


def test_no_picture_is_in_dagster_s_history(school: World):
    run = school.night(0)
    history = b"".join(path.read_bytes() for path in (school.data / "dagster").rglob("*") if path.is_file())
    for data in delivered(school).values():
        assert data[200:260] not in history
    assert run.receipt is not None and run.receipt.manifest["pictures"] == len(delivered(school))
    assert set(run.receipt.manifest["files"]) & {"photos/1000.jpg"} == set(), "the manifest stays small"


def test_the_same_night_again_writes_nothing_and_a_lost_photo_is_brought_back(school: World):
    school.night(0)
    assert school.run(0).outcome == "unchanged"
    lost = next((school.exports / SCHOOL / str(FIRST) / "photos").glob("*.jpg"))
    lost.unlink()
    assert school.run(0).outcome == "delivered" and lost.exists()


def test_a_source_that_is_down_leaves_the_photos_of_before_and_says_so(school: World):
    school.night(0)
    before = delivered(school)
    school.sandbox.fail(SCHOOL, "rest_403", key="portal")
    run = school.night(1)
    assert run.outcome == "delivered", "a new child is picked up all the same"
    assert any(note.startswith("photos: the earlier photos") for note in run.notes)
    roll = {str(pupil.id) for pupil in on(school, 1).pupils}
    assert delivered(school, 1) == {student: data for student, data in before.items() if student in roll}


def test_an_answer_that_is_no_picture_holds_nobody_back(school: World, monkeypatch: pytest.MonkeyPatch):
    from isams_pipeline.sources.isams.rest import RestClient

    first = having(on(school, 0))
    odd = min(first)

    def image(self: RestClient, path: str, whole: Callable[..., bytes] = RestClient.image) -> bytes:
        if not path.endswith("photos/current") or odd_path not in path:
            return whole(self, path)
        raise NotRestData("The answer is no picture", school=SCHOOL)

    odd_path = next(str(p.school_id) for p in on(school, 0).pupils if str(p.id) == odd)
    monkeypatch.setattr(RestClient, "image", image)
    run = school.night(0)
    assert run.outcome == "delivered" and delivered(school).keys() == first.keys() - {odd}
    assert any("1 could not be fetched" in note for note in run.notes)
    monkeypatch.undo()
    asked(school)
    assert school.run(0).outcome == "delivered" and delivered(school).keys() == first.keys()
    assert len(asked(school)) == 2, "only the one that failed is asked for again"


class Album:
    """A source of one-coloured photos, of which some cannot be had."""

    def __init__(self, pupils: Collection[str], *failing: str) -> None:
        self.pupils, self.failing, self.asked = pupils, set(failing), list[str]()

    def versions(self) -> dict[str, str]:
        return dict.fromkeys(self.pupils, "1")

    def fetch(self, pupil: str) -> bytes:
        self.asked.append(pupil)
        if pupil in self.failing:
            raise Unavailable("It is down", school="riverside")
        return picture("PNG")

    def each(self, fetch: Callable[[str], Any], pupils: Collection[str]) -> list[Any]:
        return [fetch(pupil) for pupil in pupils]


def test_one_photo_that_never_comes_starves_no_other(tmp_path: Path):
    album, store = Album([str(n) for n in range(200)], "3", "70"), PhotoStore(Folder(tmp_path))
    done = refresh("rest", album, store, album.pupils, FIRST)
    assert (done.photos, done.fetched, done.failed) == (198, 198, 2)
    album.asked.clear()
    assert refresh("rest", album, store, album.pupils, FIRST).failed == 2 and album.asked == ["3", "70"]


def test_a_source_that_is_down_is_not_asked_for_every_photo(tmp_path: Path):
    pupils = [str(n) for n in range(200)]
    album, store = Album(pupils, *pupils[70:]), PhotoStore(Folder(tmp_path))
    with pytest.raises(Unavailable):
        refresh("rest", album, store, pupils, FIRST)
    assert len(album.asked) == 78 and len(store.now()) == 70, "what came before is kept"


def test_another_source_s_photo_is_another_photo(tmp_path: Path):
    store, one, other = PhotoStore(Folder(tmp_path)), Album(["1"]), Album(["1"])
    refresh("rest", one, store, ["1"], FIRST)
    refresh("assembly", other, store, ["1"], FIRST)
    assert other.asked == ["1"]
    assert store.forget("rest") == 0 and store.now(), "they came by another source"
    assert store.forget("assembly") > 0 and not store.now() and list(tmp_path.rglob("*.json")) == []


def test_a_note_that_is_damaged_has_all_photos_fetched_anew(tmp_path: Path):
    store, album = PhotoStore(Folder(tmp_path)), Album(["1"])
    refresh("rest", album, store, ["1"], FIRST)
    (tmp_path / "now.json").write_text("{")
    assert refresh("rest", album, store, ["1"], FIRST).photos == 1 and album.asked == ["1", "1"]


def test_photos_that_nobody_asks_for_any_more_are_not_kept(school: World):
    school.night(0)
    assert (school.data / "photos" / SCHOOL / "now.json").exists()

    def without(config: Any) -> None:
        for name in ("photos", "photos_client"):
            del config["schools"][SCHOOL]["partners"]["schoolsbuddy"][name]

    school.configure(without)
    school.night(1, allow_removals=True)
    assert not (school.data / "photos" / SCHOOL).exists()


def test_a_run_that_is_broken_off_fetches_nothing_twice(school: World, monkeypatch: pytest.MonkeyPatch):
    from isams_pipeline.partners.schoolsbuddy import photos

    monkeypatch.setattr(photos, "_AT_ONCE", 5)
    fetched: list[int] = []
    whole = sandbox_photos.photo

    def some(number: int) -> bytes:
        fetched.append(number)
        return whole(number) if len(fetched) != 12 else b""

    monkeypatch.setattr(sandbox_rest, "photo", some)
    monkeypatch.setattr(photos, "reencoded", lambda data: data or 1 / 0)  # a fault of our own, amid it
    assert school.night(0).outcome == "failed"
    monkeypatch.undo()
    asked(school)
    assert school.run(0).outcome == "delivered"
    assert len(asked(school)) == 1 + len(having(on(school, 0))) - 10, "two parts of five had come"


def test_what_is_no_picture_is_left_out_and_named_by_number(school: World, monkeypatch: pytest.MonkeyPatch):
    odd = next(iter(having(on(school, 0)).values()))
    whole = sandbox_photos.photo
    monkeypatch.setattr(sandbox_rest, "photo", lambda number: b"no picture" if number == odd else whole(number))
    run = school.night(0)
    student = str(odd // 100)
    assert run.outcome == "delivered" and student not in delivered(school)
    assert any(f"students {student} cannot be read" in note for note in run.notes)
    asked(school)
    school.run(0)
    assert len(asked(school)) == 1, "it is not asked for again until there is another"


def test_photos_that_are_lost_are_refused_by_the_same_gate(school: World, monkeypatch: pytest.MonkeyPatch):
    school.night(0)
    from isams_pipeline.sandbox import render_rest

    monkeypatch.setattr(render_rest, "photo_id", lambda _day, _pupil: None)
    run = school.night(1)
    assert run.outcome == "refused" and "photos.csv would lose" in (run.reason or "")


def test_a_picture_that_was_changed_since_it_was_staged_is_not_delivered(school: World):
    school.night(0)
    student, data = delivered(school).popitem()
    digest = hashlib.sha256(data).hexdigest()
    (school.data / "staged/schoolsbuddy" / SCHOOL / "objects" / digest).write_bytes(b"another")
    from isams_pipeline.orchestration.deliveries import deliver
    from isams_pipeline.orchestration.partitions import Night
    from isams_pipeline.partners import schoolsbuddy

    with pytest.raises(StorageError, match="lost or damaged"):
        deliver(school.environment, schoolsbuddy.PARTNER, Night(SCHOOL, FIRST), "a test", allow_removals=False)
    assert student


def test_without_the_setting_there_is_nothing_of_photos(world: World):
    world.night(0)
    assert not (world.data / "photos").exists() and not any("photo" in name for name in world.export())


def test_the_store_forgets_what_no_night_needs(tmp_path: Path):
    store = PhotoStore(Folder(tmp_path))
    digests: dict[str, str] = {}
    for pupil, (name, days) in enumerate((("old", 0), ("left", 20), ("here", 40))):
        digests[name] = store.put(name.encode())
        kept = {str(pupil): KeptPhoto("v", digests[name])}
        store.save_now(kept)
        store.save_night(FIRST + timedelta(days=days), kept)
    assert store.of(FIRST) is None and store.of(FIRST + timedelta(days=20)) == {"1": digests["left"]}
    assert sorted(path.name for path in (tmp_path / "objects").iterdir()) == sorted([digests["left"], digests["here"]])


# --- pictures -------------------------------------------------------------------------------------------------


def picture(kind: str, mode: str = "RGB", size: tuple[int, int] = (40, 30), **options: Any) -> bytes:
    buffer = io.BytesIO()
    Image.new(mode, size, 1).save(buffer, kind, **options)
    return buffer.getvalue()


@pytest.mark.parametrize(
    ("kind", "mode"), [("PNG", "RGBA"), ("PNG", "P"), ("GIF", "P"), ("BMP", "RGB"), ("JPEG", "L"), ("JPEG", "CMYK")]
)
def test_whatever_it_comes_as_it_becomes_a_plain_jpeg(kind: str, mode: str):
    with Image.open(io.BytesIO(reencoded(picture(kind, mode)))) as found:
        assert (found.format, found.mode, found.size) == ("JPEG", "RGB", (40, 30))


def test_a_picture_is_turned_as_its_metadata_says():
    exif = Image.Exif()
    exif[0x0112] = 6  # a quarter turn
    with Image.open(io.BytesIO(reencoded(picture("JPEG", exif=exif)))) as found:
        assert found.size == (30, 40)


@pytest.mark.parametrize("tag", [0x0100, 0x011A, 0x013B, 0x8769], ids=["width", "resolution", "artist", "exif"])
def test_metadata_of_odd_types_keeps_no_picture_from_being_read(tag: int):
    entries = struct.pack("<HHIHH", 0x0112, 3, 1, 6, 0) + struct.pack("<HHI4s", tag, 2, 4, b"odd\0")
    exif = b"Exif\0\0II*\0" + struct.pack("<IH", 8, 2) + entries + bytes(4)
    with Image.open(io.BytesIO(reencoded(picture("JPEG", exif=exif)))) as found:
        assert found.size == (30, 40) and not found.getexif()


@pytest.mark.parametrize("turn", range(1, 9))
def test_a_picture_is_turned_as_pillow_turns_it(turn: int):
    from PIL import ImageOps

    exif, made = Image.Exif(), Image.new("L", (48, 32), 255)
    made.paste(0, (0, 0, 16, 16))
    exif[0x0112], buffer = turn, io.BytesIO()
    made.save(buffer, "PNG", exif=exif)
    with Image.open(buffer) as whole, Image.open(io.BytesIO(reencoded(buffer.getvalue()))) as found:
        corners = [(4, 4), (-5, 4), (4, -5), (-5, -5)]
        oracle = ImageOps.exif_transpose(whole).convert("L")
        assert found.size == oracle.size
        for x, y in corners:
            at = (x % found.width, y % found.height)
            assert (found.convert("L").getpixel(at) > 128) == (oracle.getpixel(at) > 128)  # type: ignore[operator]


def test_what_is_transparent_is_white_and_16_bits_are_scaled():
    for made, colour in (
        (Image.new("RGBA", (20, 20), (0, 0, 0, 0)), 255),
        (Image.new("LA", (20, 20), (0, 0)), 255),
        (Image.new("I;16", (20, 20), 30_000), 117),
    ):
        buffer = io.BytesIO()
        made.save(buffer, "PNG")
        with Image.open(io.BytesIO(reencoded(buffer.getvalue()))) as found:
            assert abs(found.convert("L").getpixel((9, 9)) - colour) <= 2, made.mode  # type: ignore[operator]


def test_the_same_picture_gives_the_same_bytes():
    assert reencoded(picture("PNG")) == reencoded(picture("PNG"))


@pytest.mark.parametrize(
    ("data", "why"),
    [
        (b"", "no JPEG"),
        (picture("PNG")[:40], "no JPEG"),
        (picture("TIFF"), "no JPEG"),
        (b"x" * (MOST_BYTES + 1), "more than 12 MB"),
        (picture("PNG", "1", (9000, 9000)), "too many pixels"),
    ],
)
def test_what_cannot_be_read_says_why(data: bytes, why: str):
    with pytest.raises(UnreadablePhoto, match=why):
        reencoded(data)


@given(st.binary(max_size=200), st.integers(0, 200))
def test_bytes_that_are_broken_give_one_kind_of_error(data: bytes, at: int):
    exif = Image.Exif()
    exif[0x0112], exif[0x011A], exif[0x010F] = 6, 72.0, "a maker"
    whole = picture("JPEG", exif=exif)
    for broken in (data, whole[:at], whole[:at] + data + whole[at:]):
        try:
            reencoded(broken)
        except UnreadablePhoto:
            continue


# --- by the other sources ---------------------------------------------------------------------------------------


@pytest.fixture
def crossing(make: Callable[..., World]) -> Crossing:
    from dataclasses import replace

    return Crossing(make({SCHOOL: replace(small_school(), sources=True)}))


@pytest.mark.parametrize("source", ["assembly", "xporter"])
def test_photos_by_another_source_where_its_scope_is_granted(crossing: Crossing, source: str):
    world = crossing.world

    def by_it(config: Any) -> None:
        config["schools"][SCHOOL]["partners"]["schoolsbuddy"] = {
            "source": source,
            "mail_merge": [],
            "deliver_to": "exports",
            "photos": source,
        }

    world.configure(by_it)
    if source == "xporter":
        crossing.xporter.scopes.add("Photos")
    crossing.connect(source)
    assert world.night(0).outcome == "delivered"
    found = delivered(world)
    students = {row["student_id"] for row in rows(world.export()["students.csv"])}
    assert len(found) > 12 and found.keys() <= students
    crossing.side(source).requests.clear()
    assert world.run(0, fresh=True).outcome == "unchanged"
    if source == "assembly":
        url = assembly.connect(crossing.world.environment.access(SCHOOL)).tokens.authorise_url("state")
        assert "students.photo%3Aoptional" in url, "the school is asked for it"


def test_a_number_that_two_people_have_is_nobody_s_photo(crossing: Crossing, monkeypatch: pytest.MonkeyPatch):
    client: Any = xporter.connect(crossing.world.environment.access(SCHOOL))
    two = [{"Id": "9-501", "Photo": "QQ=="}, {"Id": "8-501", "Photo": "Qg=="}, {"Id": "9-502", "Photo": "Qw=="}]
    reading = SimpleNamespace(rows=two)
    monkeypatch.setattr(client, "read", lambda *_: reading)
    assert client.photos(SimpleNamespace(request=lambda *_: None)).keys() == {"502"}


def test_without_the_scope_nothing_is_asked_for_and_that_is_said(crossing: Crossing):
    world = crossing.world
    world.configure(
        lambda config: config["schools"][SCHOOL]["partners"].update(
            schoolsbuddy={"source": "assembly", "mail_merge": [], "deliver_to": "exports", "photos": "assembly"}
        )
    )
    crossing.assembly.connector = "connected"
    crossing.connector("assembly").take_code(crossing.code("students.photo"))
    run = world.night(0)
    assert run.outcome == "delivered" and delivered(world) == {}
    assert any("not authorised students.photo" in note for note in run.notes)


def test_a_school_that_wants_no_photos_is_not_asked_for_them(crossing: Crossing):
    url = assembly.connect(crossing.world.environment.access(SCHOOL)).tokens.authorise_url("state")
    assert "photo" not in url


@pytest.mark.parametrize(
    ("settings", "says"),
    [
        ({"photos": "assembly"}, "photos come by rest only"),
        ({"photos_client": "portal"}, "photos_client is for photos: rest"),
        ({"photos": "rest", "photos_client": "nobody"}, "nobody"),
        ({"photos": "always"}, "photos"),
    ],
)
def test_settings_of_photos_that_cannot_be(world: World, settings: dict[str, str], says: str):
    from isams_pipeline.errors import ConfigurationError

    world.configure(lambda config: config["schools"][SCHOOL]["partners"]["schoolsbuddy"].update(settings))
    with pytest.raises(ConfigurationError, match=says):
        assert world.environment
