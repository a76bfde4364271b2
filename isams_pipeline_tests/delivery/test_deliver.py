"""Delivery: atomic, idempotent, guarded, with a receipt for everything."""

from __future__ import annotations

import errno
import json
import shutil
from dataclasses import replace
from datetime import UTC, date, datetime, timedelta
from pathlib import Path
from typing import Any

import pytest

from isams_pipeline.delivery.changes import compare
from isams_pipeline.delivery.deliver import Delivered, Deliverer
from isams_pipeline.delivery.export import CheckResult, Export, ExportFile
from isams_pipeline.delivery.receipts import Address, HeldLease, Outcome, Receipts
from isams_pipeline.delivery.staging import StagedExports
from isams_pipeline.errors import LeaseLost, StorageError
from isams_pipeline.storage.folder import Folder
from isams_pipeline.storage.state import Lease, StateDatabase

FILES = (
    ExportFile("people.csv", ("id", "name"), key=("id",)),
    ExportFile("extra.csv", ("id",), key=("id",), optional=True),
)
NIGHT = date(2026, 11, 18)


def people(numbers: range, name: str = "x") -> Export:
    return Export({"people.csv": ("id,name\n" + "".join(f"{n},{name}\n" for n in numbers)).encode()})


class Desk:
    """A deliverer's surroundings."""

    def __init__(self, folder: Path, state_url: str | None = None, target: str | None = None) -> None:
        self.folder = folder
        self.state = StateDatabase.open(folder, state_url)
        self.target = Folder(target or folder / "exports")
        self.staged = StagedExports(Folder(folder / "staged"), "partner", "school")

    def deliverer(self, day: int = 0, **options: Any) -> Deliverer:
        made = Deliverer(
            address=Address("partner", "school", NIGHT + timedelta(days=day)),
            files=FILES,
            schema_version=1,
            target=self.target,
            staged=self.staged,
            state=self.state,
            clock=lambda: datetime(2026, 11, 18, 2, tzinfo=UTC),
            run_id=f"run {day}",
            max_removed=0.2,
            lease_seconds=0.4,
        )
        return replace(made, **options)

    def deliver(
        self,
        export: Export,
        day: int = 0,
        checks: list[CheckResult] | None = None,
        datasets: dict[str, Any] | None = None,
        unaccounted: list[str] | None = [],  # noqa: B006
        **options: Any,
    ) -> Delivered:
        deliverer = self.deliverer(day, **options)
        staged = self.staged.stage(
            deliverer.address.date,
            export,
            datasets=datasets or {},
            snapshots=[],
            excluded={"people.csv": 3},
            unaccounted=unaccounted,
        )
        return deliverer.deliver(staged, export, checks or [])

    def names(self, day: int = 0) -> list[str]:
        folder = self.folder / "exports/partner/school" / str(NIGHT + timedelta(days=day))
        return sorted(path.name for path in folder.iterdir()) if folder.exists() else []

    def manifest(self, day: int = 0) -> dict[str, Any]:
        path = self.folder / "exports/partner/school" / str(NIGHT + timedelta(days=day)) / "manifest.json"
        return json.loads(path.read_text())


@pytest.fixture
def desk(tmp_path: Path) -> Desk:
    return Desk(tmp_path)


def test_first_delivery_on_both_engines(tmp_path: Path, state_url: str | None):
    desk = Desk(tmp_path, state_url)
    export = people(range(3))
    result = desk.deliver(export)
    assert result.outcome is Outcome.DELIVERED
    assert result.changes == {
        "people.csv": dict.fromkeys(("changed", "removed", "explained", "replaced", "unexplained"), 0)
        | {"added": 3, "excluded": 3}
    }
    assert desk.names() == ["manifest.json", "people.csv"]
    manifest = desk.manifest()
    assert manifest["content_hash"] == export.content_hash
    assert manifest["files"] == {"people.csv": {"rows": 3, "sha256": export.hashes["people.csv"]}}
    assert desk.deliver(export).outcome is Outcome.UNCHANGED
    assert desk.deliver(people(range(3)), day=1).outcome is Outcome.DELIVERED, "a new date is always delivered"
    receipt = Receipts(desk.state).baseline(Address("partner", "school", NIGHT + timedelta(days=9)))
    assert receipt is not None and receipt.date == NIGHT + timedelta(days=1)
    desk.state.close()


@pytest.mark.parametrize("harm", [lambda file: file.write_text("junk"), lambda file: file.unlink()])
def test_a_file_that_was_changed_or_removed_at_the_target_is_delivered_again(desk: Desk, harm: Any):
    desk.deliver(people(range(3)))
    file = desk.folder / f"exports/partner/school/{NIGHT}/people.csv"
    whole = file.read_bytes()
    harm(file)
    assert desk.deliver(people(range(3))).outcome is Outcome.DELIVERED
    assert file.read_bytes() == whole


def test_rows_of_days_that_are_over_do_not_trip_the_guard(desk: Desk):
    dated = ExportFile("people.csv", ("id", "day"), key=("id", "day"), dated_by="day")

    def days(*given: str) -> Export:
        lines = "".join(f"{number},{day}\n" for day in given for number in range(20))
        return Export({"people.csv": b"id,day\n" + lines.encode()})

    yesterday, tomorrow = "2026-11-17", "2026-11-30"
    desk.deliver(days(yesterday, tomorrow), files=(dated,))
    done = desk.deliver(days(tomorrow), day=1, files=(dated,))
    assert done.outcome is Outcome.DELIVERED and done.changes["people.csv"]["removed"] == 0
    done = desk.deliver(days(yesterday), day=2, files=(dated,))
    assert done.outcome is Outcome.REFUSED and "would lose 20 of 20 rows" in (done.reason or "")


def test_unchanged_writes_nothing(desk: Desk):
    desk.deliver(people(range(3)))
    file = desk.folder / f"exports/partner/school/{NIGHT}/people.csv"
    before = file.stat().st_mtime_ns
    assert desk.deliver(people(range(3))).outcome is Outcome.UNCHANGED
    assert file.stat().st_mtime_ns == before


def test_what_was_delivered_in_between_does_not_count_as_unchanged(desk: Desk):
    for numbers, outcome in ((3, "delivered"), (4, "delivered"), (3, "delivered")):
        assert desk.deliver(people(range(numbers))).outcome == outcome


def test_a_target_without_its_manifest_is_delivered_again(desk: Desk):
    desk.deliver(people(range(3)))
    (desk.folder / f"exports/partner/school/{NIGHT}/manifest.json").unlink()
    assert desk.deliver(people(range(3))).outcome is Outcome.DELIVERED
    assert desk.manifest()["files"]["people.csv"]["rows"] == 3


@pytest.mark.parametrize("named", ["content_hash", "term"])
def test_a_manifest_that_says_something_else_is_no_proof_of_a_delivery(desk: Desk, named: str):
    """Of the content, or of what stands in it besides the files."""

    def deliver() -> Delivered:
        export = people(range(3))
        deliverer = desk.deliverer()
        about = {"term": "Autumn"}
        staged = desk.staged.stage(NIGHT, export, datasets={}, snapshots=[], excluded={}, unaccounted=[], about=about)
        return deliverer.deliver(staged, export, [])

    assert [deliver().outcome for _ in range(2)] == [Outcome.DELIVERED, Outcome.UNCHANGED]
    file = desk.folder / f"exports/partner/school/{NIGHT}/manifest.json"
    file.write_text(json.dumps(desk.manifest() | {named: "other"}))
    assert deliver().outcome is Outcome.DELIVERED and desk.manifest()[named] != "other"


def test_a_manifest_says_what_it_was_compared_with_and_is_for_people_to_read(desk: Desk):
    desk.deliver(people(range(3)))
    assert desk.manifest()["changes"]["baseline"] is None and "lists" not in desk.manifest()["changes"]
    assert not {"removal_window", "pictures"} & desk.manifest().keys(), "what there is none of is not there"
    desk.deliver(people(range(4), "Zoë"), day=1)
    baseline = {"date": str(NIGHT), "content_hash": people(range(3)).content_hash}
    assert desk.manifest(1)["changes"]["baseline"] == baseline
    text = (desk.folder / f"exports/partner/school/{NIGHT}/manifest.json").read_text()
    assert text.startswith('{\n  "') and text.endswith("}\n")


def test_what_somebody_else_put_beside_the_files_is_left_alone(desk: Desk):
    desk.deliver(people(range(3)))
    (desk.folder / f"exports/partner/school/{NIGHT}/notes.txt").write_text("theirs")
    desk.deliver(people(range(4)))
    assert desk.names() == ["manifest.json", "notes.txt", "people.csv"]


def test_a_refusal_is_kept_with_what_would_have_changed(desk: Desk):
    desk.deliver(people(range(20)))
    done = desk.deliver(people(range(5)), day=1)
    assert done.outcome is Outcome.REFUSED
    receipt = Receipts(desk.state).of_night(Address("partner", "school", NIGHT + timedelta(days=1)))
    assert receipt is not None and receipt.changes["people.csv"]["removed"] == 15 and receipt.manifest == {}


def test_a_file_that_the_export_no_longer_has_is_taken_away(desk: Desk):
    desk.deliver(Export({**people(range(3)).files, "extra.csv": b"id\n1\n"}))
    assert "extra.csv" in desk.names()
    desk.deliver(people(range(3)))
    assert desk.names() == ["manifest.json", "people.csv"]


def test_a_failed_check_refuses_and_leaves_the_last_good_export(desk: Desk):
    desk.deliver(people(range(3)))
    result = desk.deliver(people(range(2)), checks=[CheckResult("references", ("people.csv row 1: nobody",))])
    assert result.outcome is Outcome.REFUSED and "references: people.csv row 1" in (result.reason or "")
    assert desk.manifest()["files"]["people.csv"]["rows"] == 3
    receipt = Receipts(desk.state).of_run("run 0")
    assert receipt is not None and receipt.outcome == "refused"


@pytest.mark.parametrize(
    ("before", "after", "refused"),
    [(100, 80, True), (100, 81, False), (49, 40, False), (50, 40, True), (9, 0, False), (10, 0, True)],
)
def test_removal_guard_trips_at_ten_rows_and_the_share(desk: Desk, before: int, after: int, refused: bool):
    desk.deliver(people(range(before)))
    result = desk.deliver(people(range(after)), day=1)
    assert (result.outcome is Outcome.REFUSED) == refused
    assert bool(desk.names(1)) != refused


def test_removal_guard_is_lifted_for_one_content_only(desk: Desk):
    desk.deliver(people(range(100)))
    assert desk.deliver(people(range(50)), day=1).outcome is Outcome.REFUSED
    assert desk.deliver(people(range(50)), day=1, allow_removals=True).outcome is Outcome.DELIVERED
    (desk.folder / f"exports/partner/school/{NIGHT + timedelta(days=1)}/manifest.json").unlink()
    assert desk.deliver(people(range(50)), day=1).outcome is Outcome.DELIVERED, "the same content again"
    assert desk.deliver(people(range(20)), day=2).outcome is Outcome.REFUSED, "another content"


@pytest.mark.parametrize("spoilt", [[CheckResult("schema", ("people.csv has not its columns",))], None])
def test_an_attempt_that_delivered_nothing_allows_no_removals(
    desk: Desk, spoilt: list[CheckResult] | None, monkeypatch: pytest.MonkeyPatch
):
    """A person looked at a content, and it did not arrive: nobody has yet seen what would be lost."""
    desk.deliver(people(range(100)))
    with monkeypatch.context() as patched:
        if spoilt is None:
            full = lambda *_: (_ for _ in ()).throw(StorageError("The disk is full"))
            patched.setattr(Deliverer, "_promote", full)
        tried = desk.deliver(people(range(50)), day=1, checks=spoilt, allow_removals=True)
    assert tried.outcome in {Outcome.REFUSED, Outcome.FAILED}
    assert desk.deliver(people(range(50)), day=1).outcome is Outcome.REFUSED


def test_a_night_that_is_delivered_again_is_compared_with_its_own_first_delivery(desk: Desk):
    """The guard's baseline; the lists beside the files are since the night before."""
    desk.deliver(people(range(100)))
    desk.deliver(people(range(120)), day=1)
    again = desk.deliver(people(range(121)), day=1)
    assert (again.baseline, again.changes["people.csv"]["added"]) == (str(NIGHT + timedelta(days=1)), 1)


def test_a_past_night_is_compared_with_what_was_before_it(desk: Desk):
    desk.deliver(people(range(100)), day=0)
    desk.deliver(people(range(100, 200)), day=5, allow_removals=True)
    result = desk.deliver(people(range(101)), day=2)
    assert (result.baseline, result.changes["people.csv"]["added"]) == (str(NIGHT), 1)


def test_lost_state_database_takes_the_newest_manifest_at_the_target(desk: Desk):
    desk.deliver(people(range(100)))
    (desk.folder / "state.sqlite").unlink()
    again = Desk(desk.folder)
    assert again.deliver(people(range(50)), day=1).outcome is Outcome.REFUSED
    result = again.deliver(people(range(101)), day=1)
    assert (result.outcome, result.changes["people.csv"]["added"]) == (Outcome.DELIVERED, 1)


def test_lost_state_and_staged_files_are_read_from_the_target(desk: Desk):
    import shutil

    desk.deliver(people(range(100)))
    (desk.folder / "state.sqlite").unlink()
    shutil.rmtree(desk.folder / "staged")
    assert Desk(desk.folder).deliver(people(range(99)), day=1).changes["people.csv"]["removed"] == 1


def test_a_baseline_that_nobody_can_read_any_more_is_refused(desk: Desk):
    import shutil

    desk.deliver(people(range(100)))
    shutil.rmtree(desk.folder / "staged")
    shutil.rmtree(desk.folder / "exports")
    result = desk.deliver(people(range(101)), day=1)
    assert result.outcome is Outcome.REFUSED and "can no longer be read" in (result.reason or "")
    assert desk.deliver(people(range(101)), day=1, allow_removals=True).outcome is Outcome.DELIVERED


def test_any_fsspec_url(tmp_path: Path):
    desk = Desk(tmp_path, target="memory://partner-bucket/in")
    assert desk.deliver(people(range(3))).outcome is Outcome.DELIVERED
    assert desk.target.read(f"partner/school/{NIGHT}/people.csv") == people(range(3)).files["people.csv"]
    assert desk.target.names(f"partner/school/{NIGHT}") == ["manifest.json", "people.csv"]
    assert desk.deliver(people(range(3))).outcome is Outcome.UNCHANGED


def test_full_disk_leaves_the_last_good_export_whole(desk: Desk, monkeypatch: pytest.MonkeyPatch):
    desk.deliver(people(range(3)))
    good = desk.manifest()
    import isams_pipeline.storage.folder as folder_module

    def full(self: Any, data: bytes) -> int:
        with self._folder._guarded("write", self.temporary):
            raise OSError(errno.ENOSPC, "No space left on device")

    deliverer = desk.deliverer()
    export = people(range(5))
    staged = desk.staged.stage(NIGHT, export, datasets={}, snapshots=[], excluded={}, unaccounted=[])
    monkeypatch.setattr(folder_module.Incoming, "write", full)
    result = deliverer.deliver(staged, export, [])
    assert result.outcome is Outcome.FAILED and "The disk is full" in (result.reason or "")
    assert desk.manifest() == good and desk.names() == ["manifest.json", "people.csv"]


def test_destination_that_cannot_be_written(tmp_path: Path):
    (tmp_path / "blocked").write_text("a file where a folder should be")
    desk = Desk(tmp_path, target=str(tmp_path / "blocked"))
    result = desk.deliver(people(range(3)))
    assert result.outcome is Outcome.FAILED and "blocked" in (result.reason or "")
    receipt = Receipts(desk.state).of_run("run 0")
    assert receipt is not None and receipt.outcome == "failed"


# --- leases -----------------------------------------------------------------------------------------------


def lease_of(desk: Desk, holder: str, seconds: float = 60) -> HeldLease:
    return HeldLease(desk.state, Address("partner", "school", NIGHT), holder, seconds)


def test_one_holder_at_a_time(tmp_path: Path, state_url: str | None):
    desk = Desk(tmp_path, state_url)
    one, other = lease_of(desk, "one"), lease_of(desk, "other")
    assert one.take() and one.take()
    assert not other.take()
    one.release()
    assert other.take()
    with pytest.raises(LeaseLost):
        one.renew()
    desk.state.close()


def test_a_lease_that_ran_out_may_be_taken(desk: Desk):
    gone, next_one = lease_of(desk, "gone", seconds=-1), lease_of(desk, "next")
    assert gone.take() and next_one.take()


def test_delivery_waits_out_a_holder_that_died(desk: Desk):
    lease_of(desk, "died", seconds=0.8).take()
    assert desk.deliver(people(range(3))).outcome is Outcome.DELIVERED


def test_what_a_killed_delivery_left_at_the_target_is_swept_by_the_next_of_another_night(desk: Desk):
    killed = replace(desk.deliverer().address, date=NIGHT - timedelta(days=1))
    HeldLease(desk.state, killed, "died", seconds=-1).take()
    living = replace(killed, date=NIGHT - timedelta(days=2))
    HeldLease(desk.state, living, "another", seconds=60).take()
    for address in (killed, living):
        with desk.target.child(address.path).incoming("people.csv") as incoming:
            incoming.write(b"half")
            incoming.keep()
    assert desk.deliver(people(range(5))).outcome is Outcome.DELIVERED
    left = {address: len(list((desk.folder / "exports" / address.path).iterdir())) for address in (killed, living)}
    assert left == {killed: 0, living: 1}, "who still holds a lease may be writing"


def test_a_run_that_lost_its_lease_fails_and_leaves_nothing(desk: Desk, monkeypatch: pytest.MonkeyPatch):
    renewed = HeldLease.renew

    def taken_over(self: HeldLease) -> None:
        with desk.state.transaction() as session:
            lease = session.get(Lease, ("partner", "school", NIGHT, ""))
            assert lease is not None
            lease.holder = "another run"
        renewed(self)

    monkeypatch.setattr(HeldLease, "renew", taken_over)
    result = desk.deliver(people(range(3)))
    assert result.outcome is Outcome.FAILED and "taken over" in (result.reason or "")
    assert desk.names() == []


def test_compare_counts_by_key():
    change = compare(
        FILES[0],
        Export({"people.csv": b"id,name\n1,a\n2,b\n4,d\n"}),
        Export({"people.csv": b"id,name\n1,a\n2,x\n3,c\n"}),
    )
    assert (change.added, change.changed, change.removed, change.before) == (1, 1, 1, 3)


def made_of(**delivered: int | None) -> dict[str, Any]:
    return {
        name: {"source": "isams", "sha256": "x", "rows": 9} | ({} if count is None else {"delivered": count})
        for name, count in delivered.items()
    }


@pytest.mark.parametrize(
    ("before", "now", "refused"),
    [
        ({"set_members": 3}, {"set_members": 0}, True),
        ({"set_members": 3}, {"set_members": 1}, False),
        ({"set_members": 0}, {"set_members": 0}, False),
        ({"health": 3}, {"health": None}, False),  # the settings do not ask for it any more
        ({"sets": None}, {"sets": 0}, True),  # delivered by a version that did not count: it had rows
        ({"room_closures": 2}, {"room_closures": 0}, False),  # over one day
        ({"room_closures": 12}, {"room_closures": 0}, True),
        ({"lessons": 3}, {"lessons": 0}, False),  # they stand there, and their dates are over: a new school year
    ],
)
def test_a_feed_that_arrived_last_time_and_is_empty_now_is_refused(
    desk: Desk, before: dict[str, Any], now: dict[str, Any], refused: bool
):
    desk.deliver(people(range(3)), datasets=made_of(**before))
    result = desk.deliver(people(range(3)), day=1, datasets=made_of(**now))
    assert (result.outcome is Outcome.REFUSED) is refused, result.reason
    if refused:
        assert next(iter(before)) in (result.reason or "") and "--allow-removals" in (result.reason or "")
        again = desk.deliver(people(range(3)), day=1, datasets=made_of(**now), allow_removals=True)
        assert again.outcome is Outcome.DELIVERED


def test_rows_that_do_not_add_up_are_refused_whoever_allows_what(desk: Desk):
    said = ["pupils: row 2 is in no place"]
    result = desk.deliver(people(range(3)), unaccounted=said, allow_removals=True)
    assert result.outcome is Outcome.REFUSED and "accounted_for: pupils: row 2" in (result.reason or "")
    assert "nobody has counted" in (desk.deliver(people(range(3)), unaccounted=None).reason or "")


# --- what is gone and why -----------------------------------------------------------------------------------


def students(numbers: Any) -> Export:
    return Export({"students.csv": b"student_id\n" + "".join(f"{n}\n" for n in numbers).encode()})


STUDENTS = (ExportFile("students.csv", ("student_id",), key=("student_id",), people="student"),)


def left(*numbers: int) -> Any:
    return lambda files, before, now, pins: {"student": {str(n): "of the last year group" for n in numbers}}


def test_who_is_explained_does_not_count_and_the_refusal_tells_all_apart(desk: Desk):
    desk.deliver(students(range(100)), files=STUDENTS)
    done = desk.deliver(students(range(40, 110)), 1, files=STUDENTS, explain=left(*range(40)))
    assert done.outcome is Outcome.DELIVERED
    counts = done.changes["students.csv"]
    assert (counts["removed"], counts["explained"], counts["replaced"], counts["unexplained"]) == (40, 40, 0, 0)
    done = desk.deliver(students(range(60, 112)), 2, files=STUDENTS, explain=left(*range(40, 44)))
    assert done.outcome is Outcome.REFUSED
    said = "students.csv would lose 20 of 70 rows: 4 explained (4 of the last year group), 2 replaced, 14 unexplained"
    assert said in (done.reason or "") and "launch pad" in (done.reason or "")


@pytest.mark.parametrize(("share", "refused"), [(0.07, True), (0.29, True), (0.071, False), (0.58, True)])
def test_a_share_just_at_the_limit_is_refused_whatever_its_binary_fraction(desk: Desk, share: float, refused: bool):
    """7% of 100 are 7.000000000000001 to a computer."""
    desk.deliver(students(range(1000)), files=STUDENTS)
    gone = {0.07: 70, 0.29: 290, 0.071: 70, 0.58: 580}[share]
    done = desk.deliver(students(range(1000 - gone)), 1, files=STUDENTS, max_removed=share)
    assert (done.outcome is Outcome.REFUSED) is refused


def test_people_replaced_by_others_altogether_are_refused_even_within_a_window(desk: Desk):
    desk.deliver(students(range(100)), files=STUDENTS)
    done = desk.deliver(students(range(60, 160)), 1, files=STUDENTS, window="until 2026-11-30, by me: new year")
    assert done.outcome is Outcome.REFUSED and "students.csv lacks most people" in (done.reason or "")


def test_a_window_lets_rows_go_and_says_so_but_no_feed(desk: Desk):
    window = "until 2026-11-30, by me: new year"
    desk.deliver(people(range(100)), datasets=made_of(set_members=3))
    done = desk.deliver(people(range(50)), day=1, datasets=made_of(set_members=0), window=window)
    assert done.outcome is Outcome.REFUSED and "set_members now has 9 rows, none of which" in (done.reason or "")
    done = desk.deliver(people(range(50)), day=1, datasets=made_of(set_members=2), window=window)
    assert done.outcome is Outcome.DELIVERED and desk.manifest(1)["removal_window"] == window == done.window
    assert desk.deliver(people(range(20)), day=2, datasets=made_of(set_members=2)).outcome is Outcome.REFUSED


# --- the first one, and lists of changes ----------------------------------------------------------------------


def test_a_first_export_is_held_until_a_person_releases_it(desk: Desk):
    for day in (0, 1):
        done = desk.deliver(people(range(3)), day=day, hold_first=True)
        assert done.outcome is Outcome.HELD and "isams-pipeline release school" in (done.reason or "")
        assert desk.names(day) == []
    refused = desk.deliver(people(range(3)), hold_first=True, checks=[CheckResult("schema", ("wrong",))])
    assert refused.outcome is Outcome.REFUSED, "what is wrong is said first"
    held = Receipts(desk.state).last_held("partner", "school")
    assert held is not None and held.date == NIGHT + timedelta(days=1)
    address = Address("partner", "school", NIGHT)
    release(desk, address, people(range(3)))
    other = desk.deliver(people(range(4)), hold_first=True)
    assert other.outcome is Outcome.HELD, "nobody has looked at this content"
    assert desk.deliver(people(range(3)), day=1, hold_first=True).outcome is Outcome.DELIVERED
    assert desk.deliver(people(range(4)), day=2, hold_first=True).outcome is Outcome.DELIVERED
    assert desk.deliver(people(range(4)), hold_first=True).outcome is Outcome.DELIVERED, (
        "an older night is not the first"
    )
    assert Receipts(desk.state).last_held("partner", "school") is None


def release(desk: Desk, address: Address, export: Export) -> None:
    at = datetime(2026, 11, 18, 9, tzinfo=UTC)
    Receipts(desk.state).release(address, export.content_hash, who="me", run_id="r", at=at)


def test_a_school_whose_last_export_is_lost_is_not_taken_for_a_new_one(desk: Desk):
    assert desk.deliver(people(range(3))).outcome is Outcome.DELIVERED
    shutil.rmtree(desk.folder / "staged")
    (desk.folder / f"exports/partner/school/{NIGHT}/people.csv").unlink()
    done = desk.deliver(people(range(4)), day=1, hold_first=True, list_changes=True)
    assert done.outcome is Outcome.REFUSED and "can no longer be read" in (done.reason or "")
    done = desk.deliver(people(range(4)), day=1, hold_first=True, list_changes=True, allow_removals=True)
    assert done.outcome is Outcome.DELIVERED
    assert desk.names(1) == ["manifest.json", "people.csv"], "a list in which all look new would be wrong"


def test_another_school_s_release_releases_nothing_here(desk: Desk):
    release(desk, Address("partner", "another", NIGHT), people(range(3)))
    assert desk.deliver(people(range(3)), hold_first=True).outcome is Outcome.HELD


def lines(desk: Desk, day: int, name: str) -> list[str]:
    folder = desk.folder / "exports/partner/school" / str(NIGHT + timedelta(days=day))
    return (folder / name).read_text().splitlines()


def test_a_list_of_what_changed_lies_beside_each_file(desk: Desk):
    first = desk.deliver(people(range(2)), list_changes=True)
    assert lines(desk, 0, "people.changes.csv") == ["change,id,fields", "added,0,", "added,1,"]
    now = Export({"people.csv": b"id,name\n1,other\n2,x\n", "extra.csv": b"id\n7\n"})
    plain = desk.deliver(now, day=1, list_changes=True)
    assert lines(desk, 1, "people.changes.csv") == ["change,id,fields", "removed,0,", "changed,1,name", "added,2,"]
    assert lines(desk, 1, "extra.changes.csv") == ["change,id,fields", "added,7,"]
    told = desk.manifest(1)
    assert set(told["files"]) == {"people.csv", "extra.csv"}, "the lists are no part of the export"
    data = (desk.folder / f"exports/partner/school/{NIGHT + timedelta(days=1)}/people.changes.csv").read_bytes()
    import hashlib

    assert told["changes"]["lists"]["people.changes.csv"] == {"sha256": hashlib.sha256(data).hexdigest()}
    counts = plain.changes["people.csv"]
    assert (counts["added"], counts["changed"], counts["removed"]) == (1, 1, 1), "the list and the counts agree"
    assert first.outcome is plain.outcome is Outcome.DELIVERED


def test_a_file_that_is_gone_has_a_list_of_what_to_take_away(desk: Desk):
    desk.deliver(Export({"people.csv": b"id,name\n1,x\n", "extra.csv": b"id\n7\n"}), list_changes=True)
    gone = desk.deliver(Export({"people.csv": b"id,name\n1,x\n"}), day=1, list_changes=True)
    assert gone.outcome is Outcome.DELIVERED
    assert lines(desk, 1, "extra.changes.csv") == ["change,id,fields", "removed,7,"]


def test_lists_are_since_the_night_before_however_often_a_night_is_delivered(desk: Desk):
    desk.deliver(people(range(2)), list_changes=True)
    for count in (3, 4):
        assert desk.deliver(people(range(count)), day=1, list_changes=True).outcome is Outcome.DELIVERED
        added = [f"added,{n}," for n in range(2, count)]
        assert lines(desk, 1, "people.changes.csv") == ["change,id,fields", *added]
    since = desk.manifest(1)["changes"]["lists_since"]
    assert since == {"date": str(NIGHT), "content_hash": people(range(2)).content_hash}
    (desk.folder / f"exports/partner/school/{NIGHT + timedelta(days=1)}/people.changes.csv").unlink()
    assert desk.deliver(people(range(4)), day=1, list_changes=True).outcome is Outcome.DELIVERED
    assert len(lines(desk, 1, "people.changes.csv")) == 3, "a list that is lost is brought back"
    assert desk.deliver(people(range(4)), day=1, list_changes=True).outcome is Outcome.UNCHANGED


def test_lists_that_are_no_longer_wanted_are_taken_away(desk: Desk):
    desk.deliver(people(range(2)), list_changes=True)
    assert "people.changes.csv" in desk.names()
    desk.deliver(people(range(3)))
    assert desk.names() == ["manifest.json", "people.csv"]


def of_source(name: str) -> dict[str, Any]:
    return {"pupils": {"source": name, "sha256": "a", "rows": 3, "delivered": 3}}


def test_data_that_come_from_another_source_than_before_are_refused(desk: Desk):
    desk.deliver(people(range(3)), datasets=of_source("isams"))
    assert desk.deliver(people(range(4)), day=1, datasets=of_source("isams")).outcome is Outcome.DELIVERED
    result = desk.deliver(people(range(5)), day=2, datasets=of_source("xporter"))
    assert result.outcome is Outcome.REFUSED
    assert result.reason == (
        "removal_guard: the data came from isams before, and now from xporter: all ids may differ (with both in schools.yaml, "
        "`isams-pipeline reconcile school` shows the differences); if that is right, run once with --allow-removals, or "
        "with allow_removals: true in the launch pad"
    )
    assert {check.name for check in result.checks} >= {"removal_guard", "accounted_for"}


def test_the_source_is_remembered_where_only_the_target_still_has_the_export(desk: Desk):
    desk.deliver(people(range(3)), datasets=of_source("isams"))
    shutil.rmtree(desk.folder / "staged")
    result = desk.deliver(people(range(3)), day=1, datasets=of_source("xporter"))
    assert result.outcome is Outcome.REFUSED and "came from isams before" in str(result.reason)


def test_what_would_refuse_is_asked_beforehand_and_leaves_a_receipt(desk: Desk):
    export = people(range(3))
    assert desk.deliverer().refusal(export, [CheckResult("keys")], {}, {}) is None
    refused = desk.deliverer().refusal(export, [CheckResult("keys", ("two rows are one",))], {"people.csv": 2}, {})
    assert refused is not None and refused.outcome is Outcome.REFUSED and refused.reason == "keys: two rows are one"
    assert refused.changes["people.csv"]["excluded"] == 2
    receipt = Receipts(desk.state).of_run("run 0")
    assert receipt is not None and (receipt.outcome, receipt.content_hash) == ("refused", export.content_hash)
    assert desk.names() == []


def test_just_half_of_the_people_may_be_others_within_a_window_and_one_more_may_not(desk: Desk):
    desk.deliver(students(range(20)), files=STUDENTS)
    half = desk.deliver(students(range(10, 30)), day=1, files=STUDENTS, window="September")
    assert half.outcome is Outcome.DELIVERED, half.reason
    more = desk.deliver(students(range(21, 41)), day=2, files=STUDENTS, window="September")
    assert more.outcome is Outcome.REFUSED and "11 of 20 known people" in str(more.reason)


def test_without_a_database_the_newest_manifest_that_can_be_read_is_compared_with(desk: Desk):
    desk.deliver(people(range(30)))
    desk.deliver(people(range(40)), day=1)
    desk.state.close()
    (desk.folder / "state.sqlite").unlink()
    (desk.folder / f"exports/partner/school/{NIGHT + timedelta(days=1)}/manifest.json").write_text("{")
    (desk.folder / "exports/partner/school/notes").mkdir()
    again = Desk(desk.folder)
    result = again.deliver(people(range(30)), day=1)
    assert result.outcome is Outcome.DELIVERED
    assert again.manifest(1)["changes"]["baseline"]["date"] == str(NIGHT)
    again.state.close()
