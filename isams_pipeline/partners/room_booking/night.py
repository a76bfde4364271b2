"""A school's night for Room Booking, without Dagster: tables → timetable → matches → store → files."""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from datetime import date, timedelta
from zoneinfo import ZoneInfo

import pandas as pd

from isams_pipeline.clock import today_at
from isams_pipeline.datasets import SOURCE
from isams_pipeline.delivery.built import Built, Made
from isams_pipeline.delivery.export import CheckResult, Export
from isams_pipeline.errors import NotMaterialised
from isams_pipeline.orchestration.environment import Environment
from isams_pipeline.orchestration.mail import MailFolder, MailState, mail_server
from isams_pipeline.orchestration.partitions import Night
from isams_pipeline.orchestration.partner import Behind, Waiting
from isams_pipeline.orchestration.pins import pinned
from isams_pipeline.partners.room_booking.calendars import CalendarFile, calendar_files
from isams_pipeline.partners.room_booking.export import (
    NEEDED,
    PartnerSide,
    Read,
    build,
    cancelled_rows,
    check_export,
    check_source,
    read,
    with_cancelled,
)
from isams_pipeline.partners.room_booking.files import TIMETABLE
from isams_pipeline.partners.room_booking.mail import Outbox, Posted, counts_by_school
from isams_pipeline.partners.room_booking.matching import match_periods, match_rooms, rooms_of, timings
from isams_pipeline.partners.room_booking.pictures import (
    DRAWN_AS,
    Picture,
    busiest_room,
    occupancy,
    teaching_week,
    term_of,
    week_of_room,
)
from isams_pipeline.partners.room_booking.settings import KEY, RoomBookingSettings
from isams_pipeline.partners.room_booking.store import BookingStore
from isams_pipeline.partners.room_booking.sync import Circumstances, Synced, Wanted, as_entries, sync
from isams_pipeline.partners.room_booking.tables import DATED
from isams_pipeline.rules.dates import LONGEST_HOLIDAY, terms_are_over
from isams_pipeline.rules.notes import from_json
from isams_pipeline.storage.tables import StoredTable


def is_today(environment: Environment, school: str, day: date) -> bool:
    """Whether it is that date at the school."""
    return day == today_at(environment.settings.school(school).timezone, environment.clock)


def no_timetable(terms: pd.DataFrame, night: date) -> str | None:
    """Why there is no timetable to deliver yet, and what to do; None where there is one."""
    ended = terms_are_over(terms, night)
    if ended is None:
        return None
    return (
        f"the last term in iSAMS ended on {ended}, and no term of the new school year is entered yet, so there are no "
        "dates to put a timetable on. What was delivered last stays. Enter the terms in iSAMS (School Manager, School "
        f"Terms); from {ended + LONGEST_HOLIDAY + timedelta(days=1)} on this counts as a fault"
    )


def outbox_of(environment: Environment, school: str) -> Outbox:
    """A school's outbox."""
    return Outbox(environment.state, school, environment.clock)


def latest_night(environment: Environment, school: str) -> BookingNight:
    """The newest night whose tables are stored; raises NotMaterialised where there is none."""
    today = today_at(environment.settings.school(school).timezone, environment.clock)
    newest = environment.tables.before(SOURCE, "lessons", school, today + timedelta(days=1))
    if newest is None:
        raise NotMaterialised(
            "No night of Room Booking was run yet",
            school=school,
            remedy=f"Run `isams-pipeline sync {school} --partner {KEY}`.",
        )
    night = date.fromisoformat(newest.date)
    return night_from(
        environment, school, night, {name: environment.tables.need(SOURCE, name, school, night) for name in NEEDED}
    )


def night_from(environment: Environment, school: str, night: date, pins: Mapping[str, StoredTable]) -> BookingNight:
    """A night from its stored tables."""
    tables = {name: environment.tables.load(pin) for name, pin in pins.items()}
    settings = environment.settings.partner(school, RoomBookingSettings)
    notes = [note for name, pin in pins.items() for note in from_json(name, pin.provenance.get("notes"))]
    found = read(tables, night, unallocated_weeks=settings.unallocated_weeks, notes=notes)
    return BookingNight(environment, school, night, tables, found)


def post(environment: Environment, school: str) -> Posted:
    """Send what is in a school's outbox: over SMTP if the school has a server, else into `outbox/`."""
    settings = environment.settings.partner(school, RoomBookingSettings)
    outbox = outbox_of(environment, school)
    server = mail_server(settings, environment.variables, school=school)
    if server is None:
        return outbox.post(MailFolder(environment.data.child(f"outbox/{school}")), settings.mail_from)
    with server:
        return outbox.post(server, settings.mail_from)


def waits_for(environment: Environment) -> dict[str, list[Waiting]]:
    """School → mails to the owners of cancelled bookings that a person has to look at."""
    found: dict[str, list[Waiting]] = {}
    for school, counts in counts_by_school(environment.state).items():
        stuck = {state: counts[state] for state in (MailState.IN_DOUBT, MailState.FAILED) if counts.get(state)}
        said = ", ".join(f"{count} {state.replace('_', ' ')}" for state, count in stuck.items())
        if stuck:
            found[school] = [Waiting(f"mail to owners of bookings: {said}", f"isams-pipeline rooms mail {school}")]
    return found


@dataclass(frozen=True)
class Shaped:
    """A night's files, and the partner's side by which they were shaped."""

    side: PartnerSide
    built: Built


@dataclass(frozen=True)
class BookingNight:
    """One night of one school."""

    environment: Environment
    school: str
    date: date
    tables: Mapping[str, pd.DataFrame]
    read: Read

    @property
    def is_today(self) -> bool:
        """Only today's partition writes the store."""
        return is_today(self.environment, self.school, self.date)

    def side(self, store: BookingStore) -> PartnerSide:
        """How the partner knows this school's rooms and periods, going by what the store remembers."""
        rooms = rooms_of(self.tables["rooms"])
        matches = match_rooms(rooms, store.resources(), store.remembered())
        slots = match_periods(self.tables["timetable_periods"], store.slots())
        return PartnerSide(rooms, matches, slots, store.categories(), store.hidden_categories())

    def shaped(self, store: BookingStore, before: Shaped | None = None) -> Shaped:
        """The files as they would be now, without the cancelled bookings.

        `before`: as they were shaped earlier this night, which they still are where the partner's side is the same.
        """
        side = self.side(store)
        if before is not None and before.side == side:
            return before
        return Shaped(side, build(self.tables, self.read, side, cancelled=None))

    def files(self, store: BookingStore, before: Shaped) -> Built:
        """The files as they would be now, with the cancelled bookings."""
        return with_cancelled(self.shaped(store, before).built, cancelled_rows(store.cancelled(self.date)))

    def sync(self, store: BookingStore, content_hash: str, *, allow_cancellations: bool) -> Synced:
        """Bring the store up to date with this night's timetable."""
        store.lock()  # before anything is read: on Postgres another process may write in between
        side = self.side(store)
        wanted = Wanted(
            rooms=list(side.rooms),
            matches=side.matches,
            slots=side.slots,
            timings=timings(self.tables["timetable_periods"]),
            entries=as_entries(self.read.timetable.dated, side.resources, side.slots),
            content_hash=content_hash,
        )
        return sync(store, wanted, self.circumstances(allow_cancellations=allow_cancellations))

    def preview(self) -> Synced:
        """What a sync would do now, taken back at once."""
        with self.environment.state.transaction() as session:
            trial = session.begin_nested()
            store = BookingStore(session, self.school)
            timetable = self.shaped(store).built.export.hashes[TIMETABLE.name]
            synced = self.sync(store, timetable, allow_cancellations=False)
            trial.rollback()
        return synced

    def circumstances(self, *, allow_cancellations: bool) -> Circumstances:
        """When, and within which limits."""
        settings = self.environment.settings.partner(self.school, RoomBookingSettings)
        return Circumstances(
            night=self.date,
            now=self.environment.clock(),
            timezone=self.environment.settings.school(self.school).timezone,
            max_cancelled=settings.max_cancelled,
            allow_cancellations=allow_cancellations,
            mail_domain=settings.mail_from.rpartition("@")[2],
        )


@dataclass(frozen=True)
class DatedNight:
    """A night's lessons on their dates, as they were stored: what calendars and pictures are made of."""

    night: Night
    timezone: ZoneInfo
    lessons: pd.DataFrame
    rooms: pd.DataFrame
    terms: pd.DataFrame
    made_of: str
    """The hashes of the tables, and the time zone: what all is made of but for the date."""

    @property
    def room_names(self) -> dict[int, str]:
        """Room → its name."""
        return {room.id: room.name for room in rooms_of(self.rooms)}

    def calendars(self) -> Iterator[CalendarFile]:
        """The calendars of all rooms and teachers."""
        return calendar_files(self.lessons, self.room_names, self.timezone, self.night.school)

    def pictures(self) -> dict[str, Picture]:
        """Pictures by name: `occupancy` of the term, and the `week` of the busiest room; none of an empty timetable."""
        dated, names, night = self.lessons, self.room_names, self.night.date
        term = term_of(self.terms, night)
        room = busiest_room(dated)
        if term is None or room is None:
            return {}
        found = {"occupancy": self._picture(term, lambda: occupancy(dated, names, *term))}
        monday = teaching_week(dated, night)
        if monday is not None:
            name = names.get(room, f"Room {room}")
            found["week"] = self._picture(monday, lambda: week_of_room(dated, room, name, monday))
        return found

    def _picture(self, of: object, draw: Callable[[], bytes]) -> Picture:
        digest = hashlib.sha256(f"{DRAWN_AS}\n{self.made_of}\n{of}".encode()).hexdigest()
        return Picture(digest, draw)


def dated_night(environment: Environment, night: Night) -> DatedNight | None:
    """A night's dated lessons; None where there is rightly no timetable yet. Raises NotMaterialised."""
    pins = pinned(environment, night, ("rooms", "terms"))
    rooms, terms = (environment.tables.load(pin) for pin in pins.values())
    if no_timetable(terms, night.date) is not None:
        return None
    stored = environment.tables.need(KEY, DATED.name, night.school, night.date)
    timezone = environment.settings.school(night.school).timezone
    made_of = " ".join([timezone.key, stored.sha256, *(pin.sha256 for pin in pins.values())])
    return DatedNight(night, timezone, environment.tables.load(stored), rooms, terms, made_of)


def make(behind: Behind) -> Callable[[RoomBookingSettings], Made]:
    """The export of a night and the verdicts on it, for whichever settings; no booking is cancelled for it."""

    def of(settings: RoomBookingSettings) -> Made:
        tables = behind.tables
        found = read(tables, behind.night.date, unallocated_weeks=settings.unallocated_weeks, notes=behind.notes)
        booked = BookingNight(behind.environment, behind.night.school, behind.night.date, tables, found)
        with behind.environment.state.transaction() as session:
            built = booked.shaped(BookingStore(session, behind.night.school)).built
        return Made(built, check_export, lambda: check_source(tables, behind.night.date, settings.timeslots))

    return of


def verdicts(export: Export, behind: Behind, settings: RoomBookingSettings) -> list[CheckResult]:
    """The blocking rules, on the very bytes and the tables behind them."""
    return [*check_export(export), *check_source(behind.tables, behind.night.date, settings.timeslots)]
