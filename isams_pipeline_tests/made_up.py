"""Schools out of a random generator: small, and odd in every way that iSAMS lets a school be. For tests of properties."""

from __future__ import annotations

from datetime import date, timedelta
from functools import cache
from random import Random
from typing import Any

import pandas as pd

from isams_pipeline.datasets import DATASETS, LISTED_DATASETS, DatasetDeclaration

NIGHT = date(2026, 2, 10)
PUBLISHED = "PublishedTimetables"
EMAILS = (
    *("a@example.org", "A@example.org", "b@example.org", "jos\u00e9@example.org", "jose\u0301@example.org"),
    *("mae quill@example.org", "home: c@example.org", "n/a", "d@example.org; e@example.org", "f@example.co,uk"),
    *("\u200bg@example.org", "h@stra\u00dfe.example", "h@xn--strae-oqa.example", None, "", "i@example.org (work)"),
)
CODES = ("8Ma1", "8ma1", "8Ar1", "nan", None, "8Fr/x", "\uff18Ma1")
TEXTS = ("Oak", "oak ", "Elm", "O\u2019Meara", None, "nan")
Rows = list[dict[str, Any]]


@cache
def _empty(declaration: DatasetDeclaration) -> pd.DataFrame:
    return declaration.empty()


def frame(declaration: DatasetDeclaration, rows: Rows) -> pd.DataFrame:
    """Rows of a dataset, with its columns and types."""
    empty = _empty(declaration)
    if not rows:
        return empty
    columns: dict[str, pd.Series] = {}
    for name in empty.columns:
        dtype = empty[name].dtype
        values = pd.Series([row.get(name) for row in rows], dtype="object")
        columns[name] = pd.to_datetime(values).astype(dtype) if "datetime" in str(dtype) else values.astype(dtype)
    return pd.DataFrame(columns, copy=False)


class MadeUp:
    """One school. Everything that it is follows from its seed."""

    def __init__(self, seed: object) -> None:
        self.random = Random(f"school {seed}")
        self.pupils = [self._pupil(n) for n in range(1, self.random.randint(2, 7))]
        self.staff = [self._member(n) for n in range(11, 11 + self.random.randint(1, 4))]
        self.sets = [self._set(n) for n in range(201, 201 + self.random.randint(1, 4))]

    def some(self, *of: Any) -> Any:
        return self.random.choice(of)

    def often(self, share: float = 0.8) -> bool:
        return self.random.random() < share

    def _pupil(self, n: int) -> dict[str, Any]:
        births = (date(2013, 4, 1), date(1, 1, 1), date(2040, 1, 1), None)
        return {
            "pupil_id": 100 + n,
            "school_id": self.some(f"10000000{n}", "100000001", None),
            "forename": self.some("Ada", "Ben"),
            "surname": "Quill",
            "date_of_birth": self.some(*births),
            "email": self.some(*EMAILS),
            "year_id": self.some(7, 8, 99, None),
            "form_id": self.some("7X", "8X", "gone", None),
            "academic_house_id": self.some(1, 2, None),
            "academic_house": self.some("North", "north", "West", None),
            "tutor_user_code": self.some("U11", "u11", "U99", None),
        }

    def _member(self, n: int) -> dict[str, Any]:
        return {"staff_id": n, "user_code": self.some(f"U{n}", f"u{n}", "U11", None), "email": self.some(*EMAILS)}

    def _set(self, n: int) -> dict[str, Any]:
        return {
            "set_id": n,
            "code": self.some(*CODES),
            "name": f"Set {n}",
            "subject_id": self.some(1, 2, 9, None),
            "year_id": self.some(7, 8, 99, None),
            "teacher_user_code": self.some("U11", "U12", None),
        }

    def people(self) -> dict[str, Rows]:
        """Contacts, their links, sets' members and teachers, health records."""
        entries: Rows = []
        links: Rows = []
        for n in range(self.random.randint(1, 8)):
            entry = {"entry_id": self.some(n + 1, 1), "person_id": 3000 + self.random.randint(1, 5)}
            if any((e["entry_id"], e["person_id"]) == tuple(entry.values()) for e in entries):
                continue
            details = {
                "forename": self.some("Mae", "Mae", "Rob"),
                "surname": self.some("Quill", "Quill", "O'Meara"),
                "email": self.some(*EMAILS),
                "relationship": self.some("Mother", " father", "Driver", None),
                "address_1": self.some("1 High St", "1 High St", None),
                "postcode": "ZZ1 1ZZ",
                "mail_merge_all": self.some(True, True, False, None),
                "contact_only": self.some(None, None, False, True),
                "just_contact": self.some(None, None, None, True),
                "deceased": self.some(None, None, None, True),
                "parental_responsibility": self.some("Yes", "No", "Default", None),
                "first_person": self.some(True, False, None),
            }
            entries.append(entry | details)
            for pupil in self.random.sample(self.pupils, self.random.randint(0, min(3, len(self.pupils)))):
                links.append(entry | self._named(pupil))
        links = [link for link in links if link["pupil_id"] is not None]
        unique = {(link["entry_id"], link["person_id"], link["pupil_id"]): link for link in links}
        members = [
            {"member_id": n, "set_id": self.some(201, 202, 299), **self._named(self.some(*self.pupils))}
            for n in range(self.random.randint(0, 9))
        ]
        teachers = [
            {"set_id": self.some(201, 202, 299), "link_id": n, "staff_id": self.some(11, 12, 99, None), "primary": None}
            for n in range(self.random.randint(0, 5))
        ]
        health = [
            {
                "record": n,
                "position": 1,
                "field": self.some("Allergies", "allergies", "Diet"),
                "value": self.some("x", "y", None),
                **self._named(self.some(*self.pupils)),
            }
            for n in range(self.random.randint(0, 5))
        ]
        return {
            "contacts": entries,
            "contact_pupils": list(unique.values()),
            "set_members": members,
            "set_teachers": teachers,
            "health": health,
        }

    def _named(self, pupil: dict[str, Any]) -> dict[str, Any]:
        """A pupil by number, by school code, by both, or wrongly."""
        number = self.some(pupil["pupil_id"], pupil["pupil_id"], 901, None)
        return {"pupil_id": number, "school_id": self.some(pupil["school_id"], None, "100000001", "999")}

    def school(self) -> dict[str, Rows]:
        """How the school is divided, taught and housed."""
        start = date(2025, 9, 1)
        return {
            "pupils": self.pupils,
            "staff": self.staff,
            "sets": self.sets,
            "years": [{"year_id": 7, "name": "Year 7"}, {"year_id": 8, "name": self.some("Year 8", None, "08")}],
            "forms": [{"form_id": "7X", "name": "7X", "year_id": 7, "tutor_staff_id": self.some(11, 99, None)}],
            "subjects": [
                {"department_id": 1, "subject_id": 1, "name": "Maths"},
                {"department_id": self.some(1, 2), "subject_id": 2, "name": self.some("Art", "Maths")},
                {"department_id": 3, "subject_id": 2, "name": "Art"},
            ],
            "academic_houses": [{"house_id": 1, "name": "North"}, {"house_id": 2, "name": self.some("West", None)}],
            "boarding_houses": [{"house_id": 1, "name": self.some("Lodge", None), "house_master_staff_id": 11}],
            "buildings": [{"building_id": 4, "name": "Main"}, {"building_id": 5, "name": "Annexe"}],
            "rooms": [
                {"room_id": n, "building_id": self.some(4, 5), "name": self.some("Room 1", f"Room {n}"), "code": None}
                for n in (31, 32, 33)
            ],
            "terms": [
                {
                    "term_id": n,
                    "school_year": self.some(2025, 2025, None),
                    "start_date": self.some(start + timedelta(days=100 * n), date(1, 1, 1), None)
                    if not self.often(0.9)
                    else start + timedelta(days=100 * n),
                    "finish_date": start + timedelta(days=100 * n + self.some(80, 110, -1)),
                }
                for n in range(3)
            ],
        }

    def timetable(self) -> dict[str, Rows]:
        """Weeks, days, periods, allocations, timetables, and what stands in them."""
        weeks = [{"week_id": w, "active": self.some(True, True, None, False)} for w in (1, 2)]
        days = [
            {"day_id": w * 10 + d, "week_id": w, "weekday": d, "active": self.some(True, True, None)}
            for w in (1, 2)
            for d in (1, 2, 6)
        ]
        periods = [
            {
                "period_id": day["day_id"] * 10 + nth,
                "day_id": day["day_id"],
                "week_id": day["week_id"],
                "name": f"P{nth}",
                "start": self.some(f"{8 + nth:02d}:00", f"{8 + nth:02d}:00:00", None)
                if not self.often(0.9)
                else f"{8 + nth:02d}:00",
                "end": f"{8 + nth:02d}:{self.some('55', '50')}",
            }
            for day in days
            for nth in (1, 2)
        ]
        allocated = self.some((1,), (1, 2), (1, 2), (), (1, 9))
        allocations = [
            {"allocation_id": year * 100 + week, "year": year, "week": week, "week_id": self.some(*allocated)}
            for year in (2025, 2026)
            for week in range(1, 54)
            if allocated and self.often(0.9)
        ]
        timetables = [
            {
                "status": PUBLISHED,
                "timetable_id": 20,
                "start_year": self.some(None, 2025),
                "end_year": self.some(None, 2026),
            }
        ]
        if self.often(0.3):
            development = {"status": "DevelopmentTimetables", "timetable_id": 20, "start_date": date(2026, 4, 1)}
            timetables.append(development)
        suspensions = [
            {
                "suspension_id": n,
                "start": pd.Timestamp(2025, 9, 1) + pd.Timedelta(days=self.random.randint(0, 250)),
                "end": self.some(None, pd.Timestamp(2026, 3, 1)),
                "code": self.some(None, *CODES),
                "year_id": self.some(None, 7),
            }
            for n in range(self.random.randint(0, 2))
        ]
        return {
            "timetable_weeks": weeks,
            "timetable_days": days,
            "timetable_periods": periods,
            "week_allocations": allocations,
            "timetables": timetables,
            "lesson_suspensions": suspensions,
            "teaching_forms": [
                {"teaching_form_id": n, "form_id": "7X", "timetable_code": self.some("8Fr/x", None), "subject_id": 1}
                for n in (1, 2)
            ],
            **self._entries([p["period_id"] for p in periods]),
        }

    def _entries(self, periods: list[int]) -> dict[str, Rows]:
        def where(timetable: str = PUBLISHED) -> dict[str, Any]:
            return {
                "status": self.some(timetable, timetable, "DevelopmentTimetables"),
                "timetable_id": 20,
                "period_id": self.some(*periods, 9999, None),
                "room_id": self.some(31, 32, 99, None),
                "teacher_user_code": self.some("U11", "u12", "U99", None),
            }

        lessons = [
            {"lesson_id": n, "code": self.some(*CODES), "set_flag": self.some(1, 0, None), **where()}
            for n in range(self.random.randint(0, 14))
        ]
        meetings = [
            {"meeting_id": n, "name": self.some(None, "Staff"), "group_id": self.some(None, 7), **where()}
            for n in range(self.random.randint(0, 3))
        ]
        schedules = [
            {"year_schedule_id": n, "name": self.some(None, "Assembly"), "year_id": self.some(7, None), **where()}
            for n in range(self.random.randint(0, 3))
        ]
        tutorials = [
            {
                "tutorial_id": n,
                "code": self.some(None, "T"),
                "period_ids": "; ".join(str(self.some(*periods, 9999)) for _ in range(self.random.randint(0, 3)))
                or None,
                "teacher_user_codes": self.some("U11; U12", None),
                **{k: v for k, v in where().items() if k not in {"period_id", "teacher_user_code"}},
            }
            for n in range(self.random.randint(0, 2))
        ]
        return {"lessons": lessons, "staff_meetings": meetings, "year_schedules": schedules, "tutorials": tutorials}

    def around(self) -> dict[str, Rows]:
        """Closures and events."""
        closures = [
            {
                "closure_id": n,
                "room_id": self.some(31, 99, None),
                "reason_id": self.some(1, 9, None),
                "start": self.some(pd.Timestamp(2026, 2, 1), None),
                "end": self.some(pd.Timestamp(2026, 2, 3), pd.Timestamp(2026, 1, 3), None),
            }
            for n in range(self.random.randint(0, 4))
        ]
        event = {"event_id": 5, "start_date": date(2026, 2, 3), "location": self.some("Room 1", "Annexe Room 1", None)}
        return {
            "room_closures": closures,
            "room_closure_reasons": [{"reason_id": 1, "name": "Exam"}],
            "calendar_events": [event],
        }

    def tables(self) -> dict[str, pd.DataFrame]:
        """All datasets of iSAMS's Batch API."""
        rows = self.school() | self.people() | self.timetable() | self.around()
        return {name: frame(declaration, rows.get(name, [])) for name, declaration in DATASETS.items()}

    def dated_tables(self) -> dict[str, pd.DataFrame]:
        """The datasets as another source brings them: lessons on their dates, with covers beside them."""
        rows = self.school() | self.people()
        kinds = ("Scheduled", "Scheduled", "RoomCover", "StaffCover", "InvigilationCover", None)
        rows["periods"] = [{"period_id": n, "name": f"P{n}"} for n in (1, 2, 3)]
        rows["dated_lessons"] = [
            {
                "date": date(2026, 2, self.random.randint(1, 3)),
                "lesson_id": n,
                "start": "09:00",
                "end": "09:55",
                "period_id": self.some(1, 2),
                "set_id": self.some(201, 202, 299, None),
                "form_id": self.some(None, None, "7X"),
                "kind": self.some(*kinds),
                "room_ids": self.some("31", "31 32", "99", None),
                "staff_ids": self.some("11", "11 12", "99", None),
            }
            for n in range(self.random.randint(0, 12))
        ]
        return {name: frame(declaration, rows.get(name, [])) for name, declaration in LISTED_DATASETS.items()}

    def registers(self) -> Rows:
        """The records of a session's registers."""
        return [
            {
                "register_id": self.some(1, 2),
                "position": n,
                "school_id": self.some(*(pupil["school_id"] or "999" for pupil in self.pupils)),
                "registered": self.some(True, False, None),
                "present": self.some(True, False, None),
                "late": self.some(True, False),
                "absence_code": self.some(None, "u", "ILL"),
                "government_code": self.some(None, "U", "c1", "I"),
            }
            for n in range(self.random.randint(0, 10))
        ]
