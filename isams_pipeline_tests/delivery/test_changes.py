"""What is gone from a file: explained, replaced, or lost."""

from __future__ import annotations

from collections.abc import Iterable
from datetime import date

import pytest
from hypothesis import given
from hypothesis import strategies as st

from isams_pipeline.delivery.changes import Change, compare, listed
from isams_pipeline.delivery.export import Export, ExportFile
from isams_pipeline.partners.room_booking.files import FILES as ROOM_BOOKING
from isams_pipeline.partners.schoolbooking.files import FILES as SCHOOLBOOKING
from isams_pipeline.partners.schoolsbuddy.files import FILES as SCHOOLSBUDDY

PEOPLE = ExportFile("students.csv", ("student_id", "name"), key=("student_id",), people="student")
IN_YEARS = ExportFile("students.csv", ("student_id", "year"), key=("student_id",), people="student", year="year")
CONTACTS = ExportFile("contacts.csv", ("contact_id",), key=("contact_id",), people="contact")
THINGS = ExportFile("classes.csv", ("class_id",), key=("class_id",))
LINKS = ExportFile(
    "class_students.csv",
    ("class_id", "student_id"),
    key=("class_id", "student_id"),
    ends=(("class_id", "classes.csv"), ("student_id", "students.csv")),
)
LESSONS = ExportFile(
    "timetable.csv",
    ("date", "room_id", "code"),
    key=("date", "room_id", "code"),
    dated_by="date",
    ends=(("room_id", "rooms.csv"), ("date", None)),
)
NIGHT = date(2026, 9, 1)


def csv(header: str, rows: Iterable[object]) -> bytes:
    return (header + "\n" + "".join(f"{row}\n" for row in rows)).encode()


def school(students: Iterable[int], classes: Iterable[str], members: Iterable[tuple[str, int]]) -> Export:
    return Export(
        {
            "students.csv": csv("student_id,name", (f"{n},x" for n in students)),
            "classes.csv": csv("class_id", classes),
            "class_students.csv": csv("class_id,student_id", (f"{c},{s}" for c, s in members)),
        }
    )


def told(change: Change) -> tuple[int, int, int, int]:
    return change.removed, sum(change.explained.values()), change.replaced, change.unexplained


def test_people_are_explained_then_replaced_and_only_the_rest_is_lost():
    before, now = school(range(100), "a", []), school([*range(30, 100), *range(200, 210)], "a", [])
    why = {"student": {str(n): "of the last year group" for n in range(15)}}
    change = compare(PEOPLE, now, before, NIGHT, why)
    assert told(change) == (30, 15, 10, 5) and (change.before, change.stayers, change.strangers) == (100, 85, 15)
    assert change.in_words == "15 explained (15 of the last year group), 10 replaced, 5 unexplained"


def test_whoever_is_still_there_needs_no_explanation():
    both = school(range(10), "a", [])
    assert told(compare(PEOPLE, both, both, NIGHT, {"student": {"3": "gone"}})) == (0, 0, 0, 0)


def in_years(students: dict[int, str]) -> Export:
    return Export({"students.csv": csv("student_id,year", (f"{n},{year}" for n, year in students.items()))})


def test_newcomers_of_another_year_do_not_hide_that_a_year_is_lost():
    before = in_years({n: str(7 + n // 10) for n in range(50)})
    up = {n: str(8 + n // 10) for n in range(40)}
    joined = dict.fromkeys(range(100, 110), "7")
    why = {"student": {str(n): "of the last year group" for n in range(40, 50)}}
    assert told(compare(IN_YEARS, in_years(up | joined), before, NIGHT, why)) == (10, 10, 0, 0)
    without_year_8 = {n: year for n, year in (up | joined).items() if year != "8"}
    assert told(compare(IN_YEARS, in_years(without_year_8), before, NIGHT, why)) == (20, 10, 0, 10)


def test_who_joins_a_year_replaces_who_left_it_before_it_moved_up():
    before = in_years(dict.fromkeys(range(20), "11"))
    now = in_years(dict.fromkeys(range(14), "12") | dict.fromkeys(range(100, 104), "12"))
    assert told(compare(IN_YEARS, now, before, NIGHT)) == (6, 0, 4, 2)


@pytest.mark.parametrize(("stay", "replaced"), [(10, 4), (9, 0)])
def test_where_a_year_went_is_said_by_half_of_it(stay: int, replaced: int):
    """Where fewer are still there, it is not known which newcomers are in their place."""
    before = in_years(dict.fromkeys(range(20), "11"))
    now = in_years(dict.fromkeys(range(stay), "12") | dict.fromkeys(range(100, 104), "12"))
    change = compare(IN_YEARS, now, before, NIGHT)
    assert (change.removed, change.replaced) == (20 - stay, replaced)


def test_one_new_contact_replaces_one_of_two_who_are_gone():
    def contacts(*pairs: tuple[int, int]) -> Export:
        return Export(
            {
                "contacts.csv": csv("contact_id", sorted({contact for _, contact in pairs})),
                "student_contacts.csv": csv("student_id,contact_id", (f"{s},{c}" for s, c in pairs)),
            }
        )

    before = contacts((1, 11), (1, 12), (2, 21), (3, 31))
    assert told(compare(CONTACTS, contacts((1, 13), (2, 21), (3, 31)), before, NIGHT)) == (2, 0, 1, 1)
    assert told(compare(CONTACTS, contacts((1, 13), (1, 14), (2, 21), (3, 31)), before, NIGHT)) == (2, 0, 2, 0)
    assert told(compare(CONTACTS, contacts((1, 13), (1, 14), (1, 15), (3, 31)), before, NIGHT)) == (3, 0, 2, 1)


def test_one_place_in_a_list_that_is_gone_from_both_its_ends_is_lost():
    """The class and the student are there, and neither has another place instead."""
    classes, students = ["a", "b"], range(6)
    old = school(students, classes, [("a", 1), ("a", 2), ("b", 1), ("b", 3)])
    assert told(compare(LINKS, school(students, classes, [("a", 2), ("b", 1), ("b", 3)]), old, NIGHT)) == (1, 0, 0, 1)
    gone = school(students, ["b"], [("b", 1), ("b", 3)])
    assert told(compare(LINKS, gone, old, NIGHT))[3] == 2, "a class that is no more: its students are"
    moved = school(students, classes, [("a", 1), ("b", 2), ("b", 1), ("a", 3)])
    assert told(compare(LINKS, moved, old, NIGHT)) == (2, 0, 2, 0), "who changed places has as many as before"


def test_a_contact_is_replaced_by_another_of_the_same_student():
    def contacts(pairs: Iterable[tuple[int, int]]) -> Export:
        pairs = list(pairs)
        return Export(
            {
                "contacts.csv": csv("contact_id", sorted({contact for _, contact in pairs})),
                "student_contacts.csv": csv("student_id,contact_id", (f"{s},{c}" for s, c in pairs)),
            }
        )

    before = contacts((student, 1000 + student) for student in range(30))
    merged = contacts((student, 2000 + student if student < 10 else 1000 + student) for student in range(30))
    assert told(compare(CONTACTS, merged, before, NIGHT)) == (10, 0, 10, 0), "entered anew, with another number"
    elsewhere = contacts([*((s, 1000 + s) for s in range(10, 30)), *((s, 2000 + s) for s in range(40, 50))])
    assert told(compare(CONTACTS, elsewhere, before, NIGHT)) == (10, 0, 0, 10), "of students who have just joined"


def test_sets_made_anew_are_no_loss():
    old = school(range(40), ["a1", "a2"], [(f"a{1 + n % 2}", n) for n in range(40)])
    new = school(range(40), ["b1", "b2"], [(f"b{1 + n % 2}", n) for n in range(40)])
    assert told(compare(LINKS, new, old, NIGHT)) == (40, 0, 40, 0)
    assert told(compare(THINGS, new, old, NIGHT)) == (2, 0, 2, 0)


def test_students_who_change_between_sets_that_stay_are_no_loss():
    old = school(range(40), ["a", "b"], [("ab"[n % 2], n) for n in range(40)])
    new = school(range(40), ["a", "b"], [("ba"[n % 2], n) for n in range(40)])
    assert told(compare(LINKS, new, old, NIGHT)) == (40, 0, 40, 0)


def test_sets_that_keep_their_numbers_over_the_summer_are_no_loss():
    """Each has other students in September; those of year 12 are in fewer sets than they were."""
    old = school(range(60), ["a", "b", "c"], [(c, n) for c in "abc" for n in range(40)])
    fewer = [("a", n) for n in range(20, 40)]
    new = school(range(20, 80), ["a", "b", "c"], [*fewer, *((c, n) for c in "abc" for n in range(40, 80))])
    assert compare(LINKS, new, old, NIGHT).unexplained == 0


def test_a_year_whose_lists_did_not_come_with_the_new_sets_is_lost():
    """All numbers are others, and the first year's new lists are as many: only who has none now tells."""
    old = school(range(50), "abcde", [("abcde"[n // 10], n) for n in range(50)])
    new = school(range(60), "vwxyz", [("vwxyz"[n // 12], n) for n in range(60) if not 20 <= n < 30])
    assert told(compare(LINKS, new, old, NIGHT)) == (50, 0, 40, 10)


def test_one_who_repeats_a_year_does_not_say_where_the_others_went():
    before = in_years({n: "0" if n < 30 else "1" for n in range(60)})
    now = in_years({0: "0"} | dict.fromkeys(range(30, 60), "2") | dict.fromkeys(range(100, 130), "0"))
    assert told(compare(IN_YEARS, now, before, NIGHT)) == (29, 0, 0, 29)


def test_rows_that_the_source_explains_by_themselves_are_no_loss():
    days = [f"2026-09-{d:02d}" for d in range(1, 11)]
    old = lessons((day, 1, "a") for day in days)
    gone = {(day, "1", "a"): "of a suspended lesson" for day in days[:4]}
    change = compare(LESSONS, lessons((day, 1, "a") for day in days[6:]), old, NIGHT, {"timetable.csv": gone})
    assert told(change) == (6, 4, 0, 2) and dict(change.explained) == {"of a suspended lesson": 4}


def test_a_list_that_is_lost_is_not_hidden_by_one_that_came():
    old = school(range(100), ["a", "b"], [("a", n) for n in range(50)])
    new = school(range(100), ["a", "b"], [("b", n) for n in range(50, 100)])
    assert told(compare(LINKS, new, old, NIGHT)) == (50, 0, 0, 50), "classes and students are still there"


def test_rows_of_those_who_left_are_explained_with_them():
    old = school(range(40), ["a"], [("a", n) for n in range(40)])
    new = school(range(10, 40), ["a"], [("a", n) for n in range(10, 38)])
    why = {"student": {str(n): "of the last year group" for n in range(10)}}
    change = compare(LINKS, new, old, NIGHT, why)
    assert told(change) == (12, 10, 0, 2) and dict(change.explained) == {"of a student who left": 10}


def test_a_half_empty_list_is_lost():
    old = school(range(40), ["a", "b"], [(c, n) for c in "ab" for n in range(40)])
    new = school(range(40), ["a", "b"], [("a", n) for n in range(40)])
    assert compare(LINKS, new, old, NIGHT).unexplained == 40


def lessons(rows: Iterable[tuple[str, int, str]]) -> Export:
    found = list(rows)
    return Export(
        {
            "timetable.csv": csv("date,room_id,code", (f"{d},{r},{c}" for d, r, c in found)),
            "rooms.csv": csv("room_id", range(1, 9)),
        }
    )


def test_a_timetable_published_anew_is_no_loss_and_half_of_one_is():
    days = [f"2026-09-{d:02d}" for d in range(1, 21)]
    old = lessons((day, 1 + n, f"a{n}") for day in days for n in range(4))
    new = lessons((day, 5 + n, f"b{n}") for day in days for n in range(4))
    half = lessons((day, 5 + n, f"b{n}") for day in days[:10] for n in range(4))
    assert told(compare(LESSONS, new, old, NIGHT)) == (80, 0, 80, 0)
    assert compare(LESSONS, half, old, NIGHT).unexplained == 40
    assert compare(LESSONS, half, old, date(2026, 9, 11)).unexplained == 40


@given(st.sets(st.integers(0, 30)), st.sets(st.integers(0, 30)), st.sets(st.integers(0, 30)))
def test_what_is_gone_is_told_apart_without_remainder(before: set[int], now: set[int], left: set[int]):
    old, new = school(before, "a", []), school(now, "a", [])
    change = compare(PEOPLE, new, old, NIGHT, {"student": {str(n): "left" for n in left}})
    assert change.removed == len(before - now) == sum(told(change)[1:])
    assert change.unexplained <= max(0, len(before) - len(now)), "never more than there are fewer"
    assert change.added - change.removed == len(now) - len(before)


@given(
    st.sets(st.tuples(st.sampled_from("abc"), st.integers(0, 8))),
    st.sets(st.tuples(st.sampled_from("abc"), st.integers(0, 8))),
)
def test_links_are_told_apart_without_remainder(before: set[tuple[str, int]], now: set[tuple[str, int]]):
    change = compare(LINKS, school(range(9), "abc", now), school(range(9), "abc", before), NIGHT)
    assert change.removed == sum(told(change)[1:]) and change.replaced >= 0
    assert change.unexplained >= max(0, len(before) - len(now))


@pytest.mark.parametrize("file", [PEOPLE, THINGS, LINKS])
def test_a_first_export_has_lost_nothing(file: ExportFile):
    change = compare(file, school(range(3), "ab", [("a", 1)]), None, NIGHT)
    assert told(change) == (0, 0, 0, 0) and change.added == {"students.csv": 3, "classes.csv": 2}.get(file.name, 1)


# --- lists ------------------------------------------------------------------------------------------------------

ALL = [*SCHOOLSBUDDY, *ROOM_BOOKING, *SCHOOLBOOKING]


def test_a_list_names_a_record_without_what_it_says():
    medical = next(file for file in SCHOOLSBUDDY if file.name == "medical.csv")
    before = csv(
        "student_id,field,value", ["501,Allergies,Zqxold", "501,Diet,Zqxdiet", "502,Diet,Zqxa", "503,Diet,Zqxb"]
    )
    now = csv("student_id,field,value", ["501,Allergies,Zqxnew", "501,Diet,Zqxdiet", "502,Diet,Zqxa", "502,Diet,Zqxc"])
    told = listed(medical, Export({medical.name: now}), Export({medical.name: before})).decode()
    assert told.splitlines() == [
        "change,student_id,field,fields",
        "changed,501,Allergies,value",
        "changed,502,Diet,value",
        "removed,503,Diet,",
    ]


@pytest.mark.parametrize("file", ALL, ids=lambda file: file.name)
def test_no_list_has_what_a_person_wrote(file: ExportFile):
    by = file.listed_by or file.key
    named = {"date", "start", "end", "code", "kind", "type", "field"}
    assert all(name in named or name.endswith("_id") for name in by), by
    cells = {name: f"Zqx{name}" for name in file.columns}
    rows = ["1,".join(cells.values()), "2,".join(cells.values())]
    found = listed(file, Export({file.name: csv(",".join(cells), rows)}), None).decode()
    assert all(f"Zqx{name}" not in found for name in file.columns if name not in by)
