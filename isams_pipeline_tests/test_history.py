"""Since when nights exist: a first of September that moves by itself, but not under a backfill that is under way."""

from __future__ import annotations

from datetime import UTC, date, datetime
from pathlib import Path

import dagster as dg
import pytest
from dagster._core.execution.backfill import BulkActionStatus, PartitionBackfill
from hypothesis import given
from hypothesis import strategies as st

from isams_pipeline.commands.instance import open_instance
from isams_pipeline.config import Settings, load_settings
from isams_pipeline.definitions import build_definitions, environment_from
from isams_pipeline.errors import ConfigurationError
from isams_pipeline.orchestration.environment import Environment
from isams_pipeline.orchestration.history import first_night, oldest_backfill, with_history
from isams_pipeline.orchestration.partitions import nights_of

AUGUST, SEPTEMBER = date(2026, 8, 31), date(2026, 9, 1)
TWO_YEARS = Settings(history_years=2)


def start_backfill(instance: dg.DagsterInstance, day: date, status: BulkActionStatus) -> None:
    moment = datetime(day.year, day.month, day.day, 12, tzinfo=UTC).timestamp()
    instance.add_backfill(
        PartitionBackfill(
            backfill_id=status.value.lower(),
            status=status,
            from_failure=False,
            tags={},
            backfill_timestamp=moment,
            asset_selection=[dg.AssetKey(["isams", "pupils"])],
            partition_names=["2024-09-01|riverside"],
        )
    )


@given(st.dates(date(2020, 1, 1), date(2060, 1, 1)), st.integers(1, 30))
def test_it_is_the_first_of_september_that_many_school_years_begin_with(day: date, years: int):
    first = first_night(years, day)
    assert (first.month, first.day) == (9, 1) and first <= day
    assert first.replace(year=first.year + years) > day, "the last of them has not ended"


def test_it_moves_on_the_first_of_september_by_itself(tmp_path: Path):
    assert with_history(TWO_YEARS, tmp_path, AUGUST).history_from == date(2024, 9, 1)
    assert with_history(TWO_YEARS, tmp_path, SEPTEMBER).history_from == date(2025, 9, 1)
    assert with_history(Settings(), tmp_path, SEPTEMBER).history_from == date(2025, 9, 1), "the fixed one stays"


def test_it_waits_for_a_backfill_that_is_under_way(tmp_path: Path):
    with open_instance(tmp_path) as instance:
        start_backfill(instance, date(2026, 8, 30), BulkActionStatus.REQUESTED)
        start_backfill(instance, date(2020, 1, 1), BulkActionStatus.COMPLETED_SUCCESS)
        moved = with_history(TWO_YEARS, tmp_path, date(2026, 9, 3))
        assert moved.history_from == date(2024, 9, 1)
        assert "2024-09-01" in nights_of(moved).get_partitions_def_for_dimension("date").get_partition_keys()
        (found,) = [one for one in instance.get_backfills() if one.status is BulkActionStatus.REQUESTED]
        instance.update_backfill(found.with_status(BulkActionStatus.COMPLETED_SUCCESS))
    assert with_history(TWO_YEARS, tmp_path, date(2026, 9, 3)).history_from == date(2025, 9, 1)


def test_a_storage_that_does_not_answer_makes_it_longer_not_shorter(tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    monkeypatch.delenv("DAGSTER_HOME", raising=False)
    assert oldest_backfill(tmp_path) is None, "there was never an instance"
    (tmp_path / "dagster").mkdir()
    (tmp_path / "dagster/dagster.yaml").write_text("storage: {postgres: {postgres_url: {env: NOT_SET_ANYWHERE}}}\n")
    today = datetime.now(UTC).date()
    assert first_night(2, oldest_backfill(tmp_path) or today) < first_night(2, today)


def test_the_definitions_load_with_it(tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    monkeypatch.delenv("DAGSTER_HOME", raising=False)
    config = tmp_path / "schools.yaml"
    config.write_text("history_years: 2\nschools: {}\n")
    environment = environment_from(config, tmp_path / "data")
    assert isinstance(environment, Environment)
    assert environment.settings.history_from == first_night(2, datetime.now(UTC).date())
    assert build_definitions(environment).resolve_all_job_defs()


def test_two_beginnings_are_refused(tmp_path: Path):
    config = tmp_path / "schools.yaml"
    config.write_text("history_years: 2\nhistory_from: 2024-09-01\nschools: {}\n")
    with pytest.raises(ConfigurationError, match="remove one of them"):
        load_settings(config)
