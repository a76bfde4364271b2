"""Reading a school by another source, and what may go wrong: odd answers, and every fault that was thought of."""

from __future__ import annotations

import logging
from typing import Any

import pytest

from isams_pipeline.errors import (
    InvalidKey,
    NotAuthorised,
    NotRestData,
    PipelineError,
    RequestRefused,
    RowsMoved,
    ScopesShrunk,
    StaleSource,
    SyncPending,
    Throttled,
    TokensUnreadable,
    Unavailable,
    WrongToken,
)
from isams_pipeline.sandbox.render_xporter import STUDENT as XPORTER_STUDENT
from isams_pipeline.sources import assembly
from isams_pipeline.sources.registry import LISTED
from isams_pipeline.sources.shared.connections import State
from isams_pipeline_tests.sources.crossing import PERSONAL, STUDENTS, Crossing
from isams_pipeline_tests.world import FIRST, SCHOOL

# --- answers that are not quite as the documents say ------------------------------------------------------


@pytest.mark.parametrize(
    "answer",
    [
        {},
        {"GDPR": []},
        {"GDPR": {"IsOptIn": False}},
        {"GDPR": [{"IsOptIn": False, "Estab": "9999999", "StudentIds": [], "StaffIds": [], "ContactIds": []}]},
        {"GDPR": [{"IsOptIn": False, "Estab": "3281199"}]},
        {"GDPR": [{"IsOptIn": None, "Estab": "3281199", "StudentIds": [], "StaffIds": [], "ContactIds": []}]},
        {"GDPR": [{"IsOptIn": False, "Estab": "3281199", "StudentIds": "1,2", "StaffIds": [], "ContactIds": []}]},
    ],
)
def test_nobody_is_read_of_where_it_is_not_clear_who_has_opted_out(crossing: Crossing, distort: Any, answer: Any):
    crossing.connect("xporter")
    distort("GDPRIDs", lambda _: answer)
    with pytest.raises(NotRestData, match="opted out"):
        crossing.read("xporter", 0, "pupils")
    assert not set(crossing.asked("xporter")) & PERSONAL["xporter"]


def test_an_estab_may_be_written_with_a_slash(crossing: Crossing, distort: Any):
    crossing.connect("xporter")
    distort("GDPRIDs", lambda found: {"GDPR": [found["GDPR"][0] | {"Estab": "328/1199"}]})
    assert len(crossing.frame("xporter", "pupils")) == 24


def test_numbers_of_pages_may_be_texts(crossing: Crossing, distort: Any, small_pages: None):
    crossing.connect("xporter")
    as_text = lambda page: {**page, "__pagination__": [{k: str(v) for k, v in page["__pagination__"][0].items()}]}
    distort("Students", as_text)
    assert len(crossing.frame("xporter", "pupils")) == 24


@pytest.mark.parametrize(
    ("end", "how"),
    [
        ("Students", lambda page: page | {"__pagination__": [{"PageCount": "many"}]}),
        ("Students", lambda page: {"Pupils": page["Students"], **{k: v for k, v in page.items() if k != "Students"}}),
        ("Students", lambda page: page | {"Students": {"Id": "1"}}),
        ("Students", lambda page: page | {"Students": [None, *page["Students"]]}),
        ("Groups", lambda page: page | {"StudentMembers": [{"GroupId": "1", "StudentId": "2"}]}),
    ],
)
def test_an_answer_of_xporter_that_cannot_be_taken_at_its_word(crossing: Crossing, distort: Any, end: str, how: Any):
    crossing.connect("xporter")
    distort(end, how)
    with pytest.raises(NotRestData):
        crossing.read("xporter", 0, "pupils", "set_members")


@pytest.mark.parametrize("how", [lambda _: {}, lambda rows: [{**row, "id": None} for row in rows], lambda _: [1]])
def test_an_answer_of_assembly_that_cannot_be_taken_at_its_word(crossing: Crossing, distort: Any, how: Any):
    crossing.connect("assembly")
    distort("students", how)
    with pytest.raises(NotRestData):
        crossing.read("assembly", 0, "pupils")


def test_rows_that_are_missing_from_an_answer_are_missed(connected: Crossing, source: str, distort: Any):
    connected.frame(source, "staff")
    if source == "assembly":
        distort("staff_members", lambda rows: rows[1:])
    else:
        distort("Staff", lambda page: page | {"Staff": page["Staff"][1:]})
    with pytest.raises(RowsMoved):
        connected.frame(source, "staff", fresh=True)


def test_old_data_is_not_taken_for_todays(connected: Crossing, source: str):
    connected.frame(source, "rooms")
    if source == "assembly":
        connected.assembly.connector = "onboarding"
        with pytest.raises(NotAuthorised, match="no connection to the school's data"):
            connected.frame(source, "rooms", 1)
        now = connected.connector(source).current
        assert now is not None and now.words == "awaiting connection: onboarding"
        return
    connected.world.sandbox.schools[SCHOOL].frozen = FIRST
    with pytest.raises(StaleSource, match="74 hours old"):
        connected.frame(source, "rooms", 3)


# --- faults -----------------------------------------------------------------------------------------------


def test_wrong_secret(crossing: Crossing, source: str):
    name = crossing.world.environment.settings.schools[SCHOOL].settings_of(source).secret  # type: ignore[attr-defined]
    crossing.world.variables[name] = "not the secret"
    crossing.world.configure(lambda _: None)
    if source == "assembly":
        with pytest.raises(InvalidKey, match="does not accept the app"):
            crossing.connector(source).look()
    else:
        crossing.xporter.is_authorised = True
        assert crossing.connector(source).look().now.state is State.AWAITING_INVITATION


def test_a_token_that_expires_mid_page_is_renewed(connected: Crossing, source: str, small_pages: None):
    connected.world.sandbox.fail(SCHOOL, f"{source}_expired", key=f"{STUDENTS[source]}:2")
    day = connected.world.sandbox.source_days.of(SCHOOL, source, differs=True)
    assert len(connected.frame(source, "pupils")) == len(day.pupils)


def test_a_token_is_renewed_by_the_clock(crossing: Crossing):
    crossing.connect("assembly")
    before = len(crossing.assembly.tokens)
    crossing.frame("assembly", "rooms")
    assert len(crossing.assembly.tokens) == before
    crossing.frame("assembly", "rooms", 3)
    assert len(crossing.assembly.tokens) == before + 1


def test_a_token_revoked_mid_page_stores_nothing(crossing: Crossing, small_pages: None):
    crossing.connect("assembly")
    crossing.world.sandbox.fail(SCHOOL, "assembly_revoked", key="students:2")
    with pytest.raises(NotAuthorised, match="taken the app's authorisation back"):
        crossing.read("assembly", 0, "pupils")
    night = crossing.world.environment.lists.find("assembly", SCHOOL, FIRST)
    assert night is None or "students" not in night.lists
    assert crossing.connector("assembly").current.state is State.CONNECTED  # type: ignore[union-attr]


def test_paused_mid_run(crossing: Crossing, small_pages: None):
    crossing.connect("xporter")
    crossing.world.sandbox.fail(SCHOOL, "xporter_paused", key="Students:2")
    with pytest.raises(NotAuthorised, match="paused"):
        crossing.read("xporter", 0, "pupils")
    now = crossing.connector("xporter").current
    assert now is not None and now.words == "awaiting connection: paused"
    night = crossing.world.environment.lists.find("xporter", SCHOOL, FIRST)
    assert night is None or "students" not in night.lists


def test_scopes_shrunk_since_yesterday(connected: Crossing, source: str):
    connected.frame(source, "pupils")
    if source == "assembly":
        connected.assembly.shrink("students.emails")
    else:
        connected.xporter.scopes.discard("Attendance")
    connected.asked(source)
    with pytest.raises(ScopesShrunk, match="--allow-removals"):
        connected.frame(source, "pupils", 1)
    assert not set(connected.asked(source)) & PERSONAL[source]
    assert len(connected.frame(source, "pupils", 1, allow_removals=True)) > 20
    assert len(connected.frame(source, "pupils", 2)) > 20, "it was said once"


def test_a_scope_that_is_refused_in_the_middle_is_seen(crossing: Crossing):
    crossing.connect("assembly")
    crossing.assembly.shrink("students.basic", *[s for s in LISTED["assembly"].scopes if s.startswith("students.")])
    with pytest.raises(NotAuthorised):
        crossing.read("assembly", 0, "pupils")
    now = crossing.connector("assembly").current
    assert now is not None and not [scope for scope in now.scopes if scope.startswith("students.")]


def test_a_page_that_repeats(connected: Crossing, source: str, small_pages: None):
    sandbox, page = connected.world.sandbox, f"{STUDENTS[source]}:2"
    sandbox.fail(SCHOOL, f"{source}_repeat", key=page)
    day = sandbox.source_days.of(SCHOOL, source, differs=True)
    assert len(connected.frame(source, "pupils")) == len(day.pupils), "read anew"
    sandbox.fail(SCHOOL, f"{source}_repeat", times=9, key=page)
    with pytest.raises(RowsMoved):
        connected.frame(source, "pupils", fresh=True)


def test_rows_deleted_twice(crossing: Crossing):
    crossing.connect("xporter")
    crossing.frame("xporter", "pupils")
    crossing.world.sandbox.fail(SCHOOL, "xporter_deleted_twice", key="Students")
    after = crossing.frame("xporter", "pupils", 1)
    now = crossing.world.sandbox.source_days.of(SCHOOL, "xporter", differs=True)
    assert set(after["pupil_id"]) == {XPORTER_STUDENT + p.id for p in now.pupils}


def test_changed_rows_that_the_server_has_forgotten_are_read_anew_and_that_is_said(crossing: Crossing):
    crossing.connect("xporter")
    crossing.frame("xporter", "pupils")
    crossing.world.sandbox.fail(SCHOOL, "xporter_forgotten", key="Students")
    after = crossing.frame("xporter", "pupils", 1)
    now = crossing.world.sandbox.source_days.of(SCHOOL, "xporter", differs=True)
    assert set(after["pupil_id"]) == {XPORTER_STUDENT + p.id for p in now.pupils}
    assert [said for said in crossing.told if "students" in said and "read anew" in said]


def test_304_without_a_kept_copy(crossing: Crossing):
    crossing.connect("assembly")
    crossing.world.sandbox.fail(SCHOOL, "assembly_304", key="students")
    with pytest.raises(NotRestData, match="304"):
        crossing.frame("assembly", "pupils")


def test_a_kept_copy_that_is_damaged_is_read_anew(connected: Crossing, source: str):
    first = connected.frame(source, "staff")
    for path in (connected.world.data / "lists").rglob("*.zst"):
        path.write_bytes(b"damaged")
    assert len(connected.frame(source, "staff", 1)) == len(first)
    assert [said for said in connected.told if "damaged" in said]


def test_429_is_waited_for_as_long_as_it_says(connected: Crossing, source: str):
    connected.world.sandbox.fail(SCHOOL, f"{source}_429", key=STUDENTS[source])
    assert len(connected.frame(source, "pupils")) > 20
    connected.world.sandbox.fail(SCHOOL, f"{source}_429", times=9, key=STUDENTS[source])
    with pytest.raises(Throttled):
        connected.frame(source, "pupils", fresh=True)


def test_the_limit_of_600_requests_in_five_minutes(crossing: Crossing):
    crossing.connect("assembly")
    crossing.assembly.limit = 3
    with pytest.raises(Throttled) as caught:
        crossing.read("assembly")
    assert caught.value.retry_after == 300


def test_503_and_500_are_tried_again(connected: Crossing, source: str):
    for kind in ("500", "503"):
        connected.world.sandbox.fail(SCHOOL, f"{source}_{kind}", key=STUDENTS[source])
    assert len(connected.frame(source, "pupils")) > 20
    connected.world.sandbox.fail(SCHOOL, f"{source}_503", times=9, key=STUDENTS[source])
    with pytest.raises(Unavailable):
        connected.frame(source, "pupils", fresh=True)


def test_a_step_that_is_tried_again_asks_again(connected: Crossing, source: str):
    connected.world.sandbox.fail(SCHOOL, f"{source}_503", times=3, key=STUDENTS[source])
    with connected.reader(source, 0, ahead=("pupils", "rooms")) as reader:
        with pytest.raises(Unavailable):
            reader.table("pupils", None)
        assert len(reader.table("rooms", None).frame) > 5, "the others are not held up"
        assert len(reader.table("pupils", None).frame) > 20
    assert connected.asked(source).count("rooms" if source == "assembly" else "TimetableStructure") == 1


def test_a_sync_is_asked_for_once_and_then_is_pending(crossing: Crossing):
    crossing.connect("assembly")
    with assembly.connect(crossing.world.environment.access(SCHOOL)) as client:
        client.sync()
        with pytest.raises(SyncPending):
            client.sync()
        crossing.assembly.sync_state = "disabled"
        with pytest.raises(PipelineError, match="does not allow"):
            client.sync()


def test_a_message_under_200_is_no_data(crossing: Crossing):
    crossing.connect("xporter")
    crossing.world.sandbox.fail(SCHOOL, "xporter_exception", key="Staff")
    with pytest.raises(RequestRefused, match="message of its own"):
        crossing.frame("xporter", "staff")


def test_what_is_not_json_is_no_data(connected: Crossing, source: str):
    connected.world.sandbox.fail(SCHOOL, f"{source}_not_json", key=STUDENTS[source])
    with pytest.raises(NotRestData):
        connected.frame(source, "pupils")


def test_a_token_of_another_school_is_refused_before_anything_is_stored(connected: Crossing, source: str):
    if source == "assembly":
        connected.world.sandbox.fail(SCHOOL, "assembly_expired", key="school")
    connected.world.sandbox.fail(SCHOOL, f"{source}_other_school")
    with pytest.raises(WrongToken):
        connected.read(source, 0, "pupils")
    assert not set(connected.asked(source)) & PERSONAL[source]
    assert not (connected.world.data / "lists").exists()


def test_no_secret_and_no_person_stands_in_the_log(connected: Crossing, source: str, caplog: pytest.LogCaptureFixture):
    caplog.set_level(logging.DEBUG)
    connected.world.sandbox.fail(SCHOOL, f"{source}_expired", key=STUDENTS[source])
    frame = connected.frame(source, "pupils")
    said = caplog.text + " ".join(connected.told)
    vault = connected.world.environment
    secrets = [vault.variables[name] for name in vault.settings.schools[SCHOOL].variables]
    held = [*connected.assembly.tokens, *connected.assembly.granted, *connected.xporter.tokens]
    assert said and not [one for one in [*secrets, *held] if one in said]
    assert not [name for name in frame["surname"] if name in said]


def test_tokens_at_rest_are_sealed(crossing: Crossing):
    crossing.connect("assembly")
    stored = (crossing.world.data / "state.sqlite").read_bytes()
    held = [*crossing.assembly.tokens, *crossing.assembly.granted]
    assert held and not [token for token in held if token.encode() in stored]
    crossing.world.variables["DEMO_ASSEMBLY_SECRET"] = "another"
    crossing.world.configure(lambda _: None)
    with assembly.connect(crossing.world.environment.access(SCHOOL)) as client, pytest.raises(TokensUnreadable):
        client.grant(None)
