"""Assembly and Xporter as documents and recordings have them, and both readings where they leave two."""

from __future__ import annotations

from datetime import timedelta
from types import SimpleNamespace
from typing import Any
from zoneinfo import ZoneInfo

import httpx
import pytest

from isams_pipeline.config import SourceSettings
from isams_pipeline.datasets import LISTED_DATASETS
from isams_pipeline.errors import (
    ConfigurationError,
    MembersMissing,
    NotRestData,
    RequestRefused,
    ScopesShrunk,
    StaleSource,
    WrongType,
)
from isams_pipeline.partners.schoolbooking.export import build, check_export
from isams_pipeline.rules.notes import WITHOUT_MEMBERS, Lacking
from isams_pipeline.sandbox import render_xporter
from isams_pipeline.sandbox.sides import ASSEMBLY_VARIANTS, XPORTER_VARIANTS
from isams_pipeline.sources.assembly.mapping import MAPPING as ASSEMBLY
from isams_pipeline.sources.shared.mapping import Lists, Mapped
from isams_pipeline.sources.xporter.answers import error_for
from isams_pipeline_tests.sources.crossing import Crossing
from isams_pipeline_tests.test_commands import at
from isams_pipeline_tests.world import FIRST, SCHOOL


def queries(crossing: Crossing, source: str, end: str) -> list[str]:
    return [query for path, query in crossing.side(source).requests if path.rstrip("/").endswith(end)]


def built(crossing: Crossing, source: str, day: int = 0) -> Any:
    tables = {name: table.frame for name, table in crossing.read(source, day, fresh=True).items()}
    made = build({name: frame for name, frame in tables.items() if frame is not None}, FIRST + timedelta(days=day))
    assert made.unaccounted == [] and [c for c in check_export(made.export) if not c.passed] == []
    return made


# --- members and counts -------------------------------------------------------------------------------------


def test_members_are_asked_for(crossing: Crossing):
    crossing.connect("xporter")
    assert len(crossing.frame("xporter", "set_members")) > 0
    (query,) = queries(crossing, "xporter", "Groups")
    assert "includeStudentMembers%2CincludeStaffMembers" in query


def test_groups_that_come_without_the_members_they_count_are_refused(crossing: Crossing, distort: Any):
    crossing.connect("xporter")
    distort("Groups", lambda page: page | {"StudentMembers": []})
    with pytest.raises(MembersMissing, match="came without any"):
        crossing.read("xporter", 0, "set_members")


def test_the_rows_of_the_first_array_are_counted_whichever_it_is(crossing: Crossing, small_pages: None):
    crossing.connect("xporter")
    rooms = crossing.world.sandbox.source_days.of(SCHOOL, "xporter", differs=True).rooms
    assert len(crossing.frame("xporter", "rooms")) == len(rooms)
    assert len(queries(crossing, "xporter", "TimetableStructure")) > 1, "days are paged, rooms come along"


def test_an_answer_without_pagination_is_the_only_page_unless_it_is_full(
    crossing: Crossing, distort: Any, monkeypatch: pytest.MonkeyPatch
):
    from isams_pipeline.sources.xporter import client

    crossing.connect("xporter")
    distort("Students", lambda page: {k: v for k, v in page.items() if k != "__pagination__"})
    assert len(crossing.frame("xporter", "pupils")) == 24
    monkeypatch.setattr(client, "PAGE_SIZE", 10)
    with pytest.raises(NotRestData, match="how many rows"):
        crossing.read("xporter", 0, "pupils", fresh=True)


# --- lessons, clocks, status --------------------------------------------------------------------------------


def test_a_lesson_of_the_cycle_comes_again_on_every_date(crossing: Crossing):
    crossing.connect("xporter")
    lessons = crossing.frame("xporter", "dated_lessons")
    assert lessons["lesson_id"].nunique() < len(lessons)
    assert not lessons.duplicated(["date", "lesson_id", "period_id"]).any()
    assert (lessons["staff_ids"].notna() & lessons["room_ids"].notna()).mean() > 0.8
    days = crossing.world.sandbox.source_days.of(SCHOOL, "xporter", differs=True)
    dates = {day for of in days.dates.values() for day in of}
    assert {day.date() for day in lessons["date"]} <= dates


def test_no_lists_clock_speaks_for_another(crossing: Crossing, distort: Any):
    crossing.connect("xporter")
    old = [{"Id": 1, "MIS": "isams", "DateTime": str(FIRST - timedelta(days=9)) + "T02:00:00"}]
    distort("Timetable", lambda page: page | {"meta": old})
    assert len(crossing.frame("xporter", "pupils")) == 24
    with pytest.raises(StaleSource, match="hours old") as refused:
        crossing.read("xporter", 0, "dated_lessons")
    assert refused.value.where["list"] == "timetable"


def test_the_status_of_the_database_is_asked_of_an_endpoint_that_has_it(crossing: Crossing):
    crossing.connect("xporter")
    crossing.read("xporter", 0, "rooms")
    asked = [path for path, query in crossing.xporter.requests if "onlygetDBStatus" in query]
    assert asked == [f"School/{crossing.xporter.estab}/Students/"]


def test_attendance_is_asked_for_from_monday_to_friday(crossing: Crossing):
    crossing.connect("xporter")
    crossing.read("xporter", 0, "attendance")
    (query,) = queries(crossing, "xporter", "AttendanceForDateRange")
    assert "DateFrom=2026-02-09" in query and "DateTo=2026-02-13" in query


# --- both readings ------------------------------------------------------------------------------------------


@pytest.mark.parametrize("variant", XPORTER_VARIANTS)
def test_xporter_in_either_reading_gives_the_same_tables(crossing: Crossing, variant: str):
    crossing.connect("xporter")
    usual = crossing.read("xporter", 0)
    crossing.xporter.variants.add(variant)
    other = crossing.read("xporter", 0, fresh=True)
    for name, table in usual.items():
        frame = other[name].frame
        if variant == "no_periods" and name == "periods":
            assert frame is not None and frame.empty
            continue
        assert (table.frame is None) == (frame is None)
        assert frame is None or table.frame is None or frame.equals(table.frame), name
    built(crossing, "xporter")


@pytest.mark.parametrize("variant", ASSEMBLY_VARIANTS)
def test_assembly_in_either_reading_delivers(crossing: Crossing, variant: str):
    crossing.connect("assembly")
    usual = built(crossing, "assembly").export
    crossing.assembly.variants.add(variant)
    other = built(crossing, "assembly").export
    if variant in {"ended_groups", "legal_empty"}:
        assert other.files == usual.files


def test_a_cover_replaces_its_lesson_on_that_date_in_either_reading(crossing: Crossing):
    crossing.connect("assembly")
    found: dict[str, list[dict[str, str]]] = {}
    for variant in ("covers_beside", "covers_instead"):
        crossing.assembly.variants = {variant}
        found[variant] = built(crossing, "assembly").export.rows("timetable.csv")
    same = [
        sorted((row["date"], row["period"], row["teaching_group_id"], row["room_id"], row["kind"]) for row in rows)
        for rows in found.values()
    ]
    assert same[0] == same[1]
    (cover,) = [row for row in found["covers_beside"] if row["kind"] == "room_cover"]
    there = [
        row
        for row in found["covers_beside"]
        if (row["date"], row["start"]) == (cover["date"], cover["start"])
        and row["teaching_group_id"] == cover["teaching_group_id"]
    ]
    assert there == [cover]


def test_groups_are_asked_for_as_of_the_night(crossing: Crossing):
    crossing.connect("assembly")
    crossing.read("assembly", 0, "sets", "forms", "years", "academic_houses")
    for name in ("teaching_groups", "registration_groups", "year_groups", "groups"):
        assert any("date=2026-02-10" in query for query in queries(crossing, "assembly", name)), name


# --- scopes -------------------------------------------------------------------------------------------------


def test_what_is_missing_for_want_of_a_scope_is_said(crossing: Crossing):
    crossing.xporter.scopes -= {"StudentExtended", "Address"}
    crossing.connect("xporter")
    tables = crossing.read("xporter", 0)
    pupils = tables["pupils"].frame
    assert pupils is not None and pupils["date_of_birth"].isna().all() and pupils["forename"].notna().all()
    lacking = [
        Lacking(name, scope, what)
        for name, table in tables.items()
        for scope, what in table.provenance.get("lacking", ())
    ]
    frames = {name: table.frame for name, table in tables.items() if table.frame is not None}
    made = build(frames, FIRST, None, lacking)
    said = made.exclusions[made.exclusions["rule"] == "scope"]
    assert set(said["id"]) == {"pupils:StudentExtended", "contacts:Address"}
    assert said["reason"].str.contains("the forename is the preferred one").any()
    account = made.account.frame()
    assert account["by"].str.contains("scope StudentExtended").any()
    crossing.connector("xporter").look()
    code, out = at(crossing.world, "connector", "status", SCHOOL, "--source", "xporter")
    assert code == 0 and "StudentExtended" in out and "preferred" in " ".join(out.split())


# --- messages -----------------------------------------------------------------------------------------------


def test_an_invitation_says_what_it_lacks_and_why_it_was_refused(crossing: Crossing, distort: Any):
    world = crossing.world
    world.configure(lambda c: c["schools"][SCHOOL]["xporter"].pop("invite_phone"))
    with pytest.raises(ConfigurationError, match=r"xporter\.invite_phone"):
        crossing.connector("xporter").invite()
    world.configure(lambda c: c["schools"][SCHOOL]["xporter"].update(invite_phone="01632 960100"))

    distort("SchoolRegister", lambda _: {"Message": "The school has been\ninvited already"})
    with pytest.raises(RequestRefused, match="The school has been invited already"):
        crossing.connector("xporter").invite()


@pytest.mark.parametrize("status", [200, 400])
@pytest.mark.parametrize("field", ["ExceptionMessage", "Message"])
def test_a_refused_invitation_says_why_and_other_calls_do_not(status: int, field: str):
    for path, is_said in (("/api/Manage/SchoolRegister", True), ("/api/v1/School/1/Students/", False)):
        request = httpx.Request("POST", f"https://xporter.test{path}")
        found = error_for(httpx.Response(status, json={field: "No such school"}, request=request))
        if status == 200 and field == "Message":
            assert found is None  # seen where the answer is read
        else:
            assert found is not None and ("No such school" in str(found)) is is_said


def mapped_of(dataset: str, rows: dict[str, list[Any]], **settings: Any) -> Any:
    mapped = ASSEMBLY.datasets[dataset]
    assert isinstance(mapped, Mapped)
    lists = Lists(lambda name, _: iter(rows.get(name, [])), SourceSettings(**settings))
    school: Any = SimpleNamespace(timezone=ZoneInfo("Europe/London"))
    return mapped.frame(LISTED_DATASETS[dataset], lists, school)


@pytest.mark.parametrize("lesson", [{"start_date": "01/09/2025"}, {"supervisors": [{"staff_member_id": "A1"}]}, 5])
def test_a_lesson_of_another_shape_is_a_typed_error_with_its_row(lesson: Any):
    period = {"id": 1, "day": {"occurs_on": ["2026-02-10"]}}
    fine = {"id": 9, "group": {"id": 3, "type": "TeachingGroup"}}
    wrong = {**fine, "id": 10, **lesson} if isinstance(lesson, dict) else lesson
    with pytest.raises(WrongType) as caught:
        mapped_of("dated_lessons", {"timetables": [{**period, "lessons": [fine, wrong]}]})
    assert caught.value.where["row"] == 2


def test_every_unknown_year_code_is_named_with_the_setting_that_helps():
    students = [
        {"id": n, "first_name": "A", "year_code": code} for n, code in enumerate(["7", "FD", "fd", None, "PRE"])
    ]

    def frame(**settings: Any) -> Any:
        return mapped_of("pupils", {"students": students}, **settings)

    with pytest.raises(WrongType, match=r"FD \(1 rows\), PRE \(1 rows\), fd \(1 rows\).*year_codes"):
        frame()
    assert frame(year_codes={"FD": -1, "pre": -2})["year_id"].tolist()[:3] == [7, -1, -1]


# --- what would else go by without a sound -------------------------------------------------------------------


@pytest.mark.parametrize("answer", [{"Message": "Not for you"}, {}, {"meta": [{"Id": 1}]}])
def test_an_answer_that_says_nothing_of_rows_is_no_empty_list(crossing: Crossing, distort: Any, answer: Any):
    crossing.connect("xporter")
    crossing.read("xporter", 0, "contact_pupils", "attendance")
    for end in ("StudentContacts", "AttendanceForDateRange"):
        distort(end, lambda _: dict(answer))
    for name in ("contact_pupils", "attendance"):
        with pytest.raises(RequestRefused, match="neither rows nor a word"):
            crossing.read("xporter", 1, name)


def test_who_has_opted_out_is_left_out_by_whichever_spelling_of_the_id(crossing: Crossing, distort: Any):
    crossing.connect("xporter")
    pupil = int(crossing.frame("xporter", "pupils")["pupil_id"].iloc[0])
    crossing.xporter.opted_out["StudentIds"] = [f"PL-{pupil}"]
    distort("Students", lambda p: p | {"Students": [row | {"Id": f"PL-{row['Id']}"} for row in p.get("Students", ())]})
    pupils = crossing.frame("xporter", "pupils", fresh=True)
    assert len(pupils) == 23 and pupil not in set(pupils["pupil_id"])
    lists = crossing.world.environment.lists
    night = lists.find("xporter", SCHOOL, FIRST)
    assert night is not None
    kept = [row["Id"] for row in lists.rows("xporter", SCHOOL, night.lists["students"].sha256)]
    assert len(kept) >= 23 and not [one for one in kept if str(pupil) in one]


def test_ids_with_a_prefix_on_either_side_meet(crossing: Crossing, distort: Any):
    crossing.connect("xporter")
    usual = crossing.read("xporter", 0, "contacts", "contact_pupils")
    distort("/Contacts", lambda p: p | {"Contacts": [r | {"Id": f"PC-{r['Id']}"} for r in p.get("Contacts", ())]})
    found = crossing.read("xporter", 0, "contacts", "contact_pupils", fresh=True)
    for name, table in usual.items():
        assert table.frame is not None and table.frame.equals(found[name].frame), name


def test_links_that_are_gone_are_gone_under_either_name(crossing: Crossing, monkeypatch: pytest.MonkeyPatch):
    crossing.connect("xporter")
    crossing.xporter.variants.add("student_contact")
    before = crossing.frame("xporter", "contact_pupils")
    scope, renderer = render_xporter.LISTS["StudentContacts"]

    def fewer(day: Any, params: Any) -> Any:
        return {"StudentContacts": renderer(day, params)["StudentContacts"][5:]}

    monkeypatch.setitem(render_xporter.LISTS, "StudentContacts", (scope, fewer))
    folded, whole = (crossing.frame("xporter", "contact_pupils", 1, fresh=fresh) for fresh in (False, True))
    assert len(folded) < len(before) and folded.equals(whole)


def test_a_list_whose_clock_stands_still_grows_too_old(crossing: Crossing, distort: Any):
    crossing.connect("xporter")
    stood = [{"Id": 1, "MIS": "isams", "DateTime": f"{FIRST}T00:28:52"}]
    distort("Timetable", lambda page: page | {"meta": stood})
    assert len(crossing.frame("xporter", "dated_lessons")) == len(crossing.frame("xporter", "dated_lessons", 1))
    with pytest.raises(StaleSource, match="hours old") as refused:
        crossing.read("xporter", 3, "dated_lessons")
    assert refused.value.where["list"] == "timetable"


def test_a_list_that_is_made_anew_between_its_pages_is_read_again(
    crossing: Crossing, distort: Any, monkeypatch: pytest.MonkeyPatch
):
    from isams_pipeline.sources.xporter import client

    crossing.connect("xporter")
    monkeypatch.setattr(client, "PAGE_SIZE", 10)
    asked: list[int] = []

    def renewed(page: Any) -> Any:
        asked.append(1)
        return page if len(asked) == 1 else page | {"meta": [{"Id": 1, "DateTime": f"{FIRST}T01:00:00"}]}

    distort("Students", renewed)
    assert len(crossing.frame("xporter", "pupils")) == 24 and len(asked) == 5, "the second page was of another list"


def test_those_who_opted_out_are_no_missing_members(crossing: Crossing):
    crossing.connect("xporter")
    pupils = crossing.frame("xporter", "pupils")["pupil_id"]
    crossing.xporter.opted_out["StudentIds"] = [str(one) for one in pupils[3:]]
    assert set(crossing.frame("xporter", "set_members", fresh=True)["pupil_id"]) <= set(pupils[:3])


def test_some_groups_that_come_without_the_members_they_count_are_noted(crossing: Crossing, distort: Any):
    crossing.connect("xporter")
    members = crossing.frame("xporter", "set_members")
    some = {str(one) for one in list(members["set_id"].unique())[:3]}

    def without(page: Any) -> Any:
        return page | {"StudentMembers": [r for r in page.get("StudentMembers", ()) if r["GroupId"] not in some]}

    distort("Groups", without)
    table = crossing.read("xporter", 0, "sets", fresh=True)["sets"]
    assert table.frame is not None
    noted = {
        str(table.frame["set_id"].iloc[row - 1])
        for row, _, what in table.provenance["notes"]
        if what == WITHOUT_MEMBERS
    }
    assert noted == some


def test_a_group_leaves_the_tables_the_day_after_its_last(crossing: Crossing, distort: Any):
    crossing.connect("assembly")
    tables = crossing.world.environment.tables

    def ending(groups: Any) -> Any:
        return [row | ({"end_date": f"{FIRST}T23:59:00.000Z"} if at == 0 else {}) for at, row in enumerate(groups)]

    distort("teaching_groups", ending)
    counts: list[int] = []
    for day in range(3):
        night = FIRST + timedelta(days=day)
        crossing.world.at_night(day)
        with crossing.reader("assembly", day) as reader:
            made = reader.table("sets", tables.before("assembly", "sets", SCHOOL, night))
            if made.frame is None:
                assert made.same_as is not None
                stored = tables.save_as_before(made.same_as, night=night, provenance=made.provenance)
            else:
                stored = tables.save(
                    made.frame,
                    source="assembly",
                    dataset="sets",
                    school=SCHOOL,
                    night=night,
                    provenance=made.provenance,
                )
        counts.append(len(tables.load(stored)))
    assert counts == [counts[0], counts[0] - 1, counts[0] - 1]


def test_scopes_that_are_authorised_and_not_in_use_are_said_so(crossing: Crossing):
    crossing.connect("xporter")
    crossing.connector("xporter").choose(["School", "Student", "Staff", "Contact"])
    moved = crossing.connector("xporter").look()
    assert "authorised by the school but not used yet (`isams-pipeline connector authorise`): Address" in moved.now.said


def test_fields_that_came_before_are_not_lost_for_a_scope_that_nobody_took_into_use(
    crossing: Crossing, monkeypatch: pytest.MonkeyPatch
):
    from isams_pipeline.sources.shared import grants, night

    crossing.connect("xporter")
    crossing.connector("xporter").choose(["School", "Student", "Staff", "Contact"])
    monkeypatch.setattr(grants, "READING", "")  # as it was read before these scopes were known
    assert len(crossing.frame("xporter", "pupils")) == 24
    monkeypatch.setattr(grants, "READING", night.READING)
    with pytest.raises(ScopesShrunk, match="StudentExtended"):
        crossing.read("xporter", 1, "pupils")
    crossing.connector("xporter").choose(None)
    assert crossing.frame("xporter", "pupils", 1)["date_of_birth"].notna().any()


@pytest.mark.parametrize(
    ("source", "end", "how", "dataset"),
    [
        ("assembly", "academic_years", {"terms": 5}, "terms"),
        ("assembly", "registration_groups", {"student_ids": [{}]}, "pupils"),
        ("assembly", "contacts", {"students": [1]}, "contacts"),
        ("xporter", "Students", {"StudentStatus": []}, "pupils"),
        ("xporter", "Students", {"Id": {}}, "pupils"),
    ],
)
def test_what_has_another_shape_is_a_typed_error(
    crossing: Crossing, distort: Any, source: str, end: str, how: Any, dataset: str
):
    crossing.connect(source)
    if source == "assembly":
        distort(end, lambda rows: [rows[0] | how, *rows[1:]] if isinstance(rows, list) else rows | how)
    else:
        distort(end, lambda p: p | {end: [row | how for row in p.get(end, ())]})
    with pytest.raises((WrongType, NotRestData)) as caught:
        crossing.read(source, 0, dataset, fresh=True)
    assert dataset in str(caught.value) or end in str(caught.value)
