"""The tables of every partner's rules: as declared, counted to the last row, made from what their arrows say."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from random import Random

import pandas as pd
import pytest

from isams_pipeline.config import YearRange
from isams_pipeline.datasets import DATASETS, LISTED_DATASETS
from isams_pipeline.datasets import rules as dataset_rules
from isams_pipeline.delivery.built import Built
from isams_pipeline.delivery.rule_tables import RuleTable
from isams_pipeline.errors import DuplicateKeys, WrongType
from isams_pipeline.orchestration.rule_assets import numbers_of
from isams_pipeline.partners.registry import PARTNERS
from isams_pipeline.partners.room_booking.export import NEEDED as ROOMS_NEEDED
from isams_pipeline.partners.room_booking.export import PartnerSide, read
from isams_pipeline.partners.room_booking.export import build as build_rooms
from isams_pipeline.partners.room_booking.matching import match_periods, match_rooms, rooms_of
from isams_pipeline.partners.schoolbooking.export import build as build_schoolbooking
from isams_pipeline.partners.schoolbooking.settings import SchoolBookingSettings
from isams_pipeline.partners.schoolsbuddy.export import build as build_schoolsbuddy
from isams_pipeline.partners.schoolsbuddy.settings import SchoolsBuddySettings
from isams_pipeline.partners.schoolsbuddy.tables import CONTACTS, ELIGIBLE_CONTACTS
from isams_pipeline.rules.account import LEFT_OUT
from isams_pipeline_tests.made_up import NIGHT, MadeUp

Tables = dict[str, pd.DataFrame]
CAMPUSES = {"North": YearRange.parse("1-7"), "South": YearRange.parse("8-9")}


def schoolsbuddy(tables: Tables) -> Built:
    settings = SchoolsBuddySettings(medical_fields=["Allergies"])  # pyright: ignore[reportArgumentType]
    return build_schoolsbuddy(tables, settings, CAMPUSES, night=NIGHT, has_medical=True)


def schoolbooking(tables: Tables) -> Built:
    return build_schoolbooking(tables, NIGHT, SchoolBookingSettings())


def rooms(tables: Tables) -> Built:
    of = rooms_of(tables["rooms"])
    side = PartnerSide(of, match_rooms(of, [], {}), match_periods(tables["timetable_periods"], []), {})
    return build_rooms({name: tables[name] for name in ROOMS_NEEDED}, read(tables, NIGHT), side, cancelled=None)


BY_PARTNER: Mapping[str, Callable[[Tables], Built]] = {
    "schoolsbuddy": schoolsbuddy,
    "schoolbooking": schoolbooking,
    "room_booking": rooms,
}
EACH = pytest.mark.parametrize("partner", BY_PARTNER)


def tables_of(partner: str) -> tuple[RuleTable, ...]:
    return PARTNERS[partner].exporting.tables


@EACH
def test_tables_are_as_declared(partner: str):
    for seed in range(4):
        school = MadeUp(f"rule tables {seed}")
        given = [school.tables(), school.dated_tables()] if partner == "schoolbooking" else [school.tables()]
        for tables in given:
            made = BY_PARTNER[partner](tables)
            for table in tables_of(partner):
                frame = table.of(made.tables[table.name])
                dataset_rules.check_made(table.declaration, frame)


@EACH
def test_every_row_that_is_left_out_is_counted_by_some_table(partner: str):
    for seed in range(4):
        made = BY_PARTNER[partner](MadeUp(f"counted {seed}").tables())
        places = made.account.frame()
        for table in tables_of(partner):
            assert all(count >= 0 for count in numbers_of(table, places).values())
        counted = {
            (dataset, rule)
            for table in tables_of(partner)
            for dataset, rules in table.left_out.items()
            for rule in rules
        }
        of = places[(places["place"] == LEFT_OUT) & ~places["dataset"].str.contains(" x ")]
        left = set(zip(of["dataset"], of["by"], strict=True))
        # Where the timetable's rows end is told date by date, beside the table of dated lessons.
        assert {(dataset, rule) for dataset, rule in left if dataset not in ON_DATES} <= counted


ON_DATES = {"lessons", "staff_meetings", "year_schedules", "tutorials", "timetable_periods", "week_allocations"}


@EACH
def test_a_table_changes_with_what_its_arrows_say_and_with_nothing_else(partner: str):
    assert_arrows(partner, range(1))


def assert_arrows(partner: str, seeds: range) -> None:
    tables = tables_of(partner)
    needed = PARTNERS[partner].exporting.needs["isams"]
    behind = {table.name: upstream(table, {one.name: one for one in tables}) for table in tables}
    moved: set[tuple[str, str]] = set()
    for seed in seeds:
        given = MadeUp(f"arrows {seed}").tables()
        before = BY_PARTNER[partner](given)
        for dataset in needed:
            after = BY_PARTNER[partner]({**given, dataset: fewer(given[dataset], seed)})
            for table in tables:
                if not table.of(before.tables[table.name]).equals(table.of(after.tables[table.name])):
                    moved.add((table.name, dataset))
    undeclared = {(name, dataset) for name, dataset in moved if dataset not in behind[name]}
    assert undeclared == set()
    assert moved, "nothing has moved: the test shows nothing"


def fewer(frame: pd.DataFrame, seed: int) -> pd.DataFrame:
    """About half of the rows."""
    random = Random(seed)
    return frame.iloc[[at for at in range(len(frame)) if random.random() < 0.5]].reset_index(drop=True)


def upstream(table: RuleTable, tables: Mapping[str, RuleTable]) -> set[str]:
    """The datasets that a table is made from, by whichever tables between."""
    return set(table.reads).union(*(upstream(tables[name], tables) for name in table.follows))


@EACH
def test_tables_come_after_what_they_are_made_from(partner: str):
    seen: set[str] = set()
    for table in tables_of(partner):
        assert set(table.follows) <= seen, table.name
        seen.add(table.name)


@EACH
def test_every_column_says_what_it_is_made_from(partner: str):
    for table in tables_of(partner):
        for column in table.declaration.names:
            said = {"type", "how", "kind"}  # which of several tables a row is from, or how it was found
            assert table.origins[column] or column in said, f"{table.name}.{column}"
        for origins in table.origins.values():
            for origin in origins:
                if origin.is_of_source:
                    known = DATASETS.get(origin.table) or LISTED_DATASETS[origin.table]
                    assert origin.column in known.names


def test_a_contacts_email_is_followed_to_isamss_element():
    (step,) = CONTACTS.origins["email"]
    assert (step.table, step.is_of_source) == (ELIGIBLE_CONTACTS.name, False)
    (source,) = ELIGIBLE_CONTACTS.origins[step.column]
    assert source.is_of_source
    column = next(one for one in DATASETS[source.table].columns if one.name == source.column)
    assert f"{DATASETS[source.table].rows}/{column.path}" == "PupilManager/Contacts/Contact/EmailAddress"


def test_what_is_not_as_declared_is_refused_without_a_value():
    frame = CONTACTS.declaration.empty()
    rows = pd.DataFrame({name: [None, None] for name in frame.columns}).astype(frame.dtypes)
    rows["contact_id"] = pd.Series([1, 2], dtype="Int64")
    rows["email"] = pd.Series(["secret@example.org", None], dtype=frame["email"].dtype)
    with pytest.raises(WrongType, match="email") as told:
        dataset_rules.check_made(CONTACTS.declaration, rows)
    assert "rows 1" in str(told.value)
    assert "secret" not in str(told.value)
    rows["email"] = pd.Series(["a@example.org", "b@example.org"], dtype=frame["email"].dtype)
    rows["contact_id"] = pd.Series([1, 1], dtype="Int64")
    with pytest.raises(DuplicateKeys, match="contact_id"):
        dataset_rules.check_made(CONTACTS.declaration, rows)
