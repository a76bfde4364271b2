"""Every row is somewhere: over a thousand made-up schools x partners, and every way of losing one."""

from __future__ import annotations

from datetime import datetime
from typing import Any

import pandas as pd
import pytest

from isams_pipeline.config import YearRange
from isams_pipeline.datasets import ATTENDANCE
from isams_pipeline.delivery.built import Built
from isams_pipeline.partners.room_booking.export import NEEDED, PartnerSide, read
from isams_pipeline.partners.room_booking.export import build as build_rooms
from isams_pipeline.partners.room_booking.matching import match_periods, match_rooms, rooms_of
from isams_pipeline.partners.schoolbooking.export import build as build_schoolbooking
from isams_pipeline.partners.schoolbooking.export import check_export as check_schoolbooking
from isams_pipeline.partners.schoolbooking.settings import SchoolBookingSettings
from isams_pipeline.partners.schoolsbuddy.attendance.export import build as build_attendance
from isams_pipeline.partners.schoolsbuddy.export import build as build_schoolsbuddy
from isams_pipeline.partners.schoolsbuddy.rules import check_export as check_schoolsbuddy
from isams_pipeline.partners.schoolsbuddy.settings import SchoolsBuddySettings
from isams_pipeline.rules.account import DELIVERED, Account
from isams_pipeline_tests.delivery.test_rule_tables import BY_PARTNER, assert_arrows
from isams_pipeline_tests.made_up import NIGHT, MadeUp, frame

CHUNKS, SCHOOLS = 20, 10
PARTNERS = 5

pytestmark = pytest.mark.campaign


def schoolsbuddy(school: MadeUp, tables: dict[str, pd.DataFrame]) -> Built:
    settings = SchoolsBuddySettings(
        contact_types=school.some("all", ["Mother", "Father"]),
        mail_merge=school.some([], ["all"]),
        contact_years=school.some("all", "7"),
        parental_responsibility=school.some("any", "not_denied", "confirmed"),
        contact_only=school.some("leave_out", "send"),
        medical_fields=school.some([], ["Allergies"]),
    )
    campuses = school.some({}, {"North": YearRange.parse("1-7"), "8": YearRange.parse("8-9")})
    made = build_schoolsbuddy(tables, settings, campuses, night=NIGHT, has_medical=True)
    marked = tables["contacts"][tables["contacts"][["contact_only", "just_contact"]].eq(True).any(axis=1).fillna(False)]
    if settings.contact_only == "leave_out":
        free = set(tables["contacts"]["person_id"]) - set(marked["person_id"])
        assert {row["contact_id"] for row in made.export.rows("contacts.csv")} <= {str(one) for one in free} | {
            str(one) for one in set(tables["contacts"].drop(marked.index)["person_id"])
        }
    assert [c for c in check_schoolsbuddy(made.export) if not c.passed and c.name != "not_empty"] == []
    return made


def schoolbooking(school: MadeUp, tables: dict[str, pd.DataFrame]) -> Built:
    settings = SchoolBookingSettings(
        source="isams",
        contact_types=school.some("all", ["mother"]),
        mail_merge=school.some([], ["all"]),
        unallocated_weeks=school.some("ignore", "teach"),
    )
    made = build_schoolbooking(tables, NIGHT, settings)
    assert [c for c in check_schoolbooking(made.export) if not c.passed and c.name != "not_empty"] == []
    return made


def rooms(school: MadeUp, tables: dict[str, pd.DataFrame]) -> Built:
    found = read(tables, NIGHT, unallocated_weeks=school.some("ignore", "teach"))
    of = rooms_of(tables["rooms"])
    side = PartnerSide(of, match_rooms(of, [], {}), match_periods(tables["timetable_periods"], []), {})
    return build_rooms({name: tables[name] for name in NEEDED}, found, side, cancelled=None)


def attendance(school: MadeUp, students: list[dict[str, str]]) -> Built:
    records = frame(ATTENDANCE, school.registers())
    return build_attendance(records, students, session="AM", day=NIGHT, now=datetime(2026, 2, 10, 11))


def assert_adds_up(made: Built) -> None:
    assert made.unaccounted == []
    account = made.account.frame()
    for dataset, size in made.account.sizes.items():
        assert account.loc[account["dataset"] == dataset, "rows"].sum() == size, dataset
    for file in made.export.files:
        mine = account[(account["place"] == DELIVERED) & (account["by"] == file)]
        # A row may stand in several lines of a file, never in none.
        assert mine["rows"].sum() <= len(made.export.rows(file)) or "x dates" in " ".join(mine["dataset"])


@pytest.mark.parametrize("chunk", range(CHUNKS))
def test_accounts_add_up(chunk: int):
    for n in range(SCHOOLS):
        school = MadeUp(f"{chunk}:{n}")
        tables = school.tables()
        first = schoolsbuddy(school, tables)
        assert_adds_up(first)
        assert_adds_up(schoolbooking(school, tables))
        assert_adds_up(rooms(school, tables))
        assert_adds_up(build_schoolbooking(school.dated_tables(), NIGHT, SchoolBookingSettings(source="assembly")))
        assert_adds_up(attendance(school, first.export.rows("students.csv")))


@pytest.mark.parametrize("partner", BY_PARTNER)
def test_tables_of_rules_change_with_what_their_arrows_say(partner: str):
    assert_arrows(partner, range(1, 5))


def test_that_is_a_thousand_schools_and_partners():
    assert CHUNKS * SCHOOLS * PARTNERS >= 1_000


def account(**places: Any) -> Account:
    made = Account({"pupils": 3})
    made.deliver("pupils", places.get("delivered", []), "students.csv")
    made.leave_out("pupils", places.get("left", []), "a_rule")
    return made


def test_a_row_that_is_nowhere_is_named():
    assert account(delivered=[1, 3]).problems({"students.csv": 2}) == ["pupils: row 2 is in no place"]


def test_a_row_that_is_in_two_places_is_named():
    problems = account(delivered=[1, 2, 3], left=[2, 3]).problems({"students.csv": 3})
    assert problems == ["pupils: rows 2, 3 are in several places"]


def test_a_file_with_more_rows_than_were_accounted_for_is_named():
    problems = account(delivered=[1, 2], left=[3]).problems({"students.csv": 3})
    assert problems == ["students.csv has 3 rows; 2 were accounted for"]


def test_lessons_that_are_on_too_few_dates_are_named():
    made = account(delivered=[1, 2, 3])
    made.tally("lessons x dates", 10, {(DELIVERED, "timetable.csv"): 9}, [4])
    assert made.problems({}) == [
        "lessons x dates: row 4 is not on as many dates as the calendar says",
        "lessons x dates: 9 of 10 have a place",
    ]


def test_where_a_row_went_is_told_by_row():
    made = Account({"contacts": 2})
    made.deliver("contacts", [1], "contacts.csv")
    made.merge("contacts", [2], [1])
    rows = made.rows()
    assert rows[["row", "place", "into"]].to_numpy().tolist() == [[1, "delivered", 0], [2, "merged", 1]]
    assert made.delivered() == {"contacts": 2}


def test_what_is_not_asked_for_says_nothing_of_a_feed():
    made = Account({"health": 4, "rooms": 0})
    made.rest_not_asked("health", "medical_fields")
    assert made.delivered() == {"rooms": 0}
