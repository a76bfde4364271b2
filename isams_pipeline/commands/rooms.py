"""`rooms`: the partner's side of Room Booking, and what a sync would do with it."""

from __future__ import annotations

import json
from collections import Counter
from pathlib import Path
from typing import Annotated

import typer
from rich import box
from rich.prompt import Prompt
from rich.table import Table

from isams_pipeline.clock import today_at
from isams_pipeline.commands.common import DATA_DIR, Config, DataDir, School, console, say
from isams_pipeline.commands.made_up import keep_apart
from isams_pipeline.datasets.shapes import Json
from isams_pipeline.definitions import environment_from
from isams_pipeline.errors import ImportRefused, PipelineError, WrongUse
from isams_pipeline.orchestration.environment import Environment
from isams_pipeline.orchestration.mail import MailState
from isams_pipeline.partners.room_booking import imports
from isams_pipeline.partners.room_booking.export import PartnerSide
from isams_pipeline.partners.room_booking.imports import take
from isams_pipeline.partners.room_booking.matching import CONFIRMED, timings
from isams_pipeline.partners.room_booking.night import BookingNight, latest_night, outbox_of, post
from isams_pipeline.partners.room_booking.settings import RoomBookingSettings
from isams_pipeline.partners.room_booking.store import BookingStore
from isams_pipeline.rules.clock_times import time_in_words


def import_(
    school: School,
    kind: Annotated[str, typer.Argument(help="resources, timeslots or bookings.", show_default=False)],
    file: Annotated[Path, typer.Argument(help="A CSV file with a header.", show_default=False)],
    replace: Annotated[
        bool,
        typer.Option("--replace", help="The file has all bookings from today on; withdraw those that are not in it."),
    ] = False,
    strict: Annotated[
        bool, typer.Option("--strict", help="Take all of the file or nothing of it. [default: refuse single rows]")
    ] = False,
    config: Config = None,
    data_dir: DataDir = DATA_DIR,
) -> int:
    """Bring the partner's side in: resources, then timeslots, then bookings. Ids already known are brought up to date.

    A row that means nothing is refused with its number; the others come in. A booking may last until 24:00 or
    overnight; without start and end it is for the whole day; one without an e-mail address is taken.

    resources: resource_id, name [, code, category]. timeslots: timeslot_id, name, start, end. bookings: booking_id,
    resource_id, date, email, start and end or timeslot_id [, title].
    """
    environment = _environment(config, data_dir)
    environment.settings.partner(school, RoomBookingSettings)
    today = today_at(environment.settings.school(school).timezone, environment.clock)
    if replace and kind != "bookings":
        raise typer.BadParameter("--replace is only for bookings; leave it out")
    if kind not in imports.KINDS:
        raise typer.BadParameter(f"there is no {kind!r}; known are {', '.join(imports.KINDS)}")
    try:
        data = file.read_bytes()
    except OSError as error:
        raise WrongUse(
            f"The file cannot be read: {type(error).__name__}", file=file, remedy="Check its path."
        ) from None
    try:
        with environment.state.transaction() as session:
            store = BookingStore(session, school)
            store.lock()
            taken = take(store, kind, data, all_since=today if replace else None, strict=strict)
    except ImportRefused as error:
        raise error.at(file=file) from None
    for note in taken.notes:
        say((file.name, "yellow"), f" {note}")
    for refused in taken.refused:
        say(("Refused", "red"), f": {refused}")
    console.print(f"{len(taken.rows)} {kind} of {school} are in the store; {len(taken.refused)} rows were refused.")
    return 0


def match(
    school: School,
    accept: Annotated[
        list[str] | None, typer.Option("--accept", help="ROOM=RESOURCE, by their ids; may be given several times.")
    ] = None,
    as_json: Annotated[bool, typer.Option("--json", help="Print matches and suggestions, ask nothing.")] = False,
    config: Config = None,
    data_dir: DataDir = DATA_DIR,
) -> int:
    """Say which room is which resource, and confirm the periods' timings.

    Asks about each room that matches no resource by name or code; --accept answers beforehand. Reads the rooms of the
    last night that was run.
    """
    environment = _environment(config, data_dir)
    night = _latest(environment, school)
    with environment.state.transaction() as session:
        side = night.side(BookingStore(session, school))
    if as_json:
        console.out(json.dumps(_side_as_json(side), indent=2, ensure_ascii=False), highlight=False)
        return 0
    answers = dict(_pair(text) for text in accept or [])
    if accept is None:
        _print_side(side)
        answers = _asked(side)
    with environment.state.transaction() as session:
        store = BookingStore(session, school)
        row = store.lock()
        side = night.side(store)  # as it is now that nobody else can write
        known_rooms, known = {room.id for room in side.rooms}, {r.id for r in store.resources() if not r.made}
        taken = {resource: room_id for room_id, (resource, _) in side.matches.matched.items() if room_id not in answers}
        for room_id, resource_id in answers.items():
            if room_id not in known_rooms or resource_id not in known:
                what = f"room {room_id}" if room_id not in known_rooms else f"resource {resource_id}"
                raise WrongUse(
                    f"There is no {what}",
                    school=school,
                    remedy="List rooms and resources with `isams-pipeline rooms match SCHOOL --json`.",
                )
            if resource_id in taken:
                raise WrongUse(
                    f"Resource {resource_id} is room {taken[resource_id]} already",
                    school=school,
                    remedy="First match that room to another resource (--accept ROOM=RESOURCE).",
                )
            taken[resource_id] = room_id
            store.match(room_id, resource_id, CONFIRMED, environment.clock())
        row.timings = timings(night.tables["timetable_periods"])
        row.timetable = None  # what stands in the way of whom has to be looked at anew
        side = night.side(store)
        store.remember(side.rooms, side.matches, side.slots, environment.clock())
    console.print(
        f"{len(answers)} confirmed; {len(side.matches.suggestions)} rooms without a resource of the partner's."
    )
    return 0


def categorise(
    school: School,
    room: Annotated[int, typer.Argument(help="The room's id.", show_default=False)],
    category: Annotated[str, typer.Argument(help="The category that it should be in.", show_default=False)],
    config: Config = None,
    data_dir: DataDir = DATA_DIR,
) -> int:
    """Move a room to a category. Rooms in Unassigned are hidden; moved out, they can be booked."""
    environment = _environment(config, data_dir)
    environment.settings.partner(school, RoomBookingSettings)
    with environment.state.transaction() as session:
        store = BookingStore(session, school)
        store.lock()
        resource_id, _ = store.remembered().get(room, (None, ""))
        if resource_id is None or not store.categorise(resource_id, category):
            raise WrongUse(
                f"Room {room} has no resource yet",
                school=school,
                remedy="Run `isams-pipeline sync SCHOOL --partner room_booking` first: it makes a resource for each "
                "room.",
            )
    console.print(f"Room {room} (resource {resource_id}) is in {category}.")
    return 0


def preview(school: School, config: Config = None, data_dir: DataDir = DATA_DIR) -> int:
    """Show what a sync of the last night's timetable would do now. Changes nothing."""
    environment = _environment(config, data_dir)
    night = _latest(environment, school)
    synced = night.preview()
    console.print(
        f"{school}, timetable of {night.date}: {synced.inserted} entries to insert, {synced.updated} to update, "
        f"{synced.deleted} to delete; {len(synced.clashes)} bookings clash.",
        soft_wrap=True,
    )
    if synced.clashes:
        table = Table(box=box.SIMPLE_HEAD, pad_edge=False)
        for column in ("booking", "resource", "date", "time", "because of"):
            table.add_column(column)
        for clash in synced.clashes:
            times = f"{time_in_words(clash.start)}-{time_in_words(clash.end)}"
            table.add_row(clash.booking_id, clash.resource_id, str(clash.date), times, f"{clash.kind} {clash.code}")
        console.print(table)
    if synced.held_back:
        say(("Would be held back", "yellow"), f": {synced.held_back}")
    return 0


def mail(
    school: School,
    send_again: Annotated[
        list[int] | None,
        typer.Option("--send-again", help="A message in doubt, by its number; may be given several times."),
    ] = None,
    config: Config = None,
    data_dir: DataDir = DATA_DIR,
) -> int:
    """Send the outbox, and list messages in doubt: these may have arrived, so are sent again only with --send-again."""
    environment = _environment(config, data_dir)
    environment.settings.partner(school, RoomBookingSettings)
    outbox = outbox_of(environment, school)
    with environment.locks.hold(f"school {school}", wait=environment.lock_wait):
        for number in send_again or []:
            outbox.send_again(number)
        problem: PipelineError | None = None
        try:
            post(environment, school)
        except PipelineError as error:
            problem = error
    counts = outbox.counts()
    console.print(
        ", ".join(f"{count} {state.replace('_', ' ')}" for state, count in sorted(counts.items())) or "Empty."
    )
    for note in outbox.waiting():
        error = f", {note.error}" if note.error else ""
        console.print(f"  message {note.id}, booking {note.booking_id}: {note.state.replace('_', ' ')}{error}")
    if problem is not None:
        raise problem
    return 1 if counts.keys() & {MailState.IN_DOUBT, MailState.FAILED} else 0


# --- shared -------------------------------------------------------------------------------------------------


def _environment(config: Path | None, data_dir: Path) -> Environment:
    environment = environment_from(config, data_dir)
    keep_apart(data_dir, environment.settings)
    return environment


def _latest(environment: Environment, school: str) -> BookingNight:
    environment.settings.partner(school, RoomBookingSettings)
    return latest_night(environment, school)


def _pair(text: str) -> tuple[int, str]:
    room, _, resource = text.partition("=")
    if not room.isdigit() or not resource:
        raise typer.BadParameter("write --accept ROOM=RESOURCE, such as 31=R12")
    return int(room), resource


def _side_as_json(side: PartnerSide) -> Json:
    return {
        "matched": [
            {"room_id": room_id, "resource_id": resource, "how": how}
            for room_id, (resource, how) in sorted(side.matches.matched.items())
        ],
        "unmatched": [
            {
                "room_id": room.id,
                "name": room.name,
                "code": room.code,
                "suggestions": [vars(suggestion) for suggestion in side.matches.suggestions[room.id]],
            }
            for room in side.rooms
            if room.id in side.matches.suggestions
        ],
        "timeslots": [
            {"timeslot_id": slot.id, "name": slot.name, "periods": side.slots.periods[slot.id]}
            for slot in side.slots.slots
        ],
        "unmatched_periods": [
            {
                "start": time_in_words(start),
                "end": time_in_words(end),
                "periods": periods,
                "nearest": [slot.id for slot in nearest],
            }
            for (start, end), (periods, nearest) in side.slots.unmatched.items()
        ],
    }


def _print_side(side: PartnerSide) -> None:
    how = Counter(how for _, how in side.matches.matched.values())
    said = ", ".join(f"{count} by {name}" if name != CONFIRMED else f"{count} confirmed" for name, count in how.items())
    console.print(f"{len(side.matches.matched)} of {len(side.rooms)} rooms match{f' ({said})' if said else ''}.")
    for (start, end), (periods, nearest) in side.slots.unmatched.items():
        near = (
            f"; nearest is {nearest[0].name}, {time_in_words(nearest[0].start)} to {time_in_words(nearest[0].end)}"
            if nearest
            else ""
        )
        console.print(
            f"  no timeslot from {time_in_words(start)} to {time_in_words(end)} ({len(periods)} periods){near}"
        )


def _asked(side: PartnerSide) -> dict[int, str]:
    """Ask about each room that has suggestions; an empty answer leaves it as it is."""
    answers: dict[int, str] = {}
    taken: set[str] = set()
    for room in side.rooms:
        likely = [s for s in side.matches.suggestions.get(room.id, []) if s.resource_id not in taken]
        if not likely:
            continue
        table = Table(title=f"Room {room.id}: {room.name}", title_justify="left", box=box.SIMPLE_HEAD, pad_edge=False)
        for column in ("", "resource", "name", "score"):
            table.add_column(column)
        for at, suggestion in enumerate(likely, start=1):
            table.add_row(str(at), suggestion.resource_id, suggestion.name, str(suggestion.score))
        console.print(table)
        choices = [str(at) for at in range(1, len(likely) + 1)]
        chosen = Prompt.ask(
            "Which resource is this room? (Enter: none of them)", choices=[*choices, ""], default="", console=console
        )
        if chosen:
            answers[room.id] = likely[int(chosen) - 1].resource_id
            taken.add(answers[room.id])
    return answers
