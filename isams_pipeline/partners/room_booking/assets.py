"""Room Booking's assets: the timetable on dates, the booking store, the export, its delivery, and the mail."""

import base64
from collections.abc import Sequence

import dagster as dg

from isams_pipeline.config import Settings
from isams_pipeline.datasets.shapes import JsonObject
from isams_pipeline.delivery.built import Built, Made
from isams_pipeline.delivery.receipts import Address, Outcome, Receipts
from isams_pipeline.errors import with_where_to_report
from isams_pipeline.orchestration import checks
from isams_pipeline.orchestration.deliveries import gate_of
from isams_pipeline.orchestration.environment import Environment
from isams_pipeline.orchestration.exports import SHOWN, staged_results
from isams_pipeline.orchestration.graph import asset_key
from isams_pipeline.orchestration.mail import MailState
from isams_pipeline.orchestration.metadata import Metadata
from isams_pipeline.orchestration.partitions import Night, nights_of
from isams_pipeline.orchestration.partner import Partner
from isams_pipeline.orchestration.pins import as_pins, pinned
from isams_pipeline.orchestration.rule_assets import check_behind, check_selection, rule_keys, rule_results, rule_specs
from isams_pipeline.orchestration.runs import NightRun, Results, of_a_night
from isams_pipeline.orchestration.showing import markdown_table, refusal_metadata
from isams_pipeline.orchestration.source_assets import OWNER
from isams_pipeline.partners.room_booking.calendars import publish_changed
from isams_pipeline.partners.room_booking.export import CHECKS, NEEDED, check_export, check_source, licence_of
from isams_pipeline.partners.room_booking.files import TIMETABLE
from isams_pipeline.partners.room_booking.night import (
    BookingNight,
    dated_night,
    is_today,
    night_from,
    no_timetable,
    post,
)
from isams_pipeline.partners.room_booking.pictures import draw
from isams_pipeline.partners.room_booking.settings import KEY, RoomBookingSettings
from isams_pipeline.partners.room_booking.store import BookingStore
from isams_pipeline.partners.room_booking.sync import Synced
from isams_pipeline.partners.room_booking.tables import DATED

BOOKINGS, EXPORT, EXCLUSIONS, MAIL, CALENDARS, OCCUPANCY = (
    [KEY, name] for name in ("bookings", "export", "exclusions", "mail", "calendars", "occupancy")
)
OUTBOX = {"all_sent": "No message is in doubt or was refused for good."}
_SHOWN_BYTES = 300_000


def more(settings: Settings) -> dg.Definitions:
    """Mail, calendars and pictures."""
    return dg.Definitions(assets=[_mail(settings), _calendars(settings), _occupancy(settings)])


def booking_export_asset(settings: Settings, partner: Partner[RoomBookingSettings]) -> dg.AssetsDefinition:
    """The night in the order in which it happens: timetable, booking store, export and what is not in it."""
    partitions = nights_of(settings)
    common: Metadata = {"partitions_def": partitions, "group_name": KEY, "owners": [OWNER]}
    rules, behind = rule_specs(settings, partner, common), rule_keys(partner)
    events, own = asset_key("calendar_events"), [dg.AssetKey(key) for key in (BOOKINGS, EXCLUSIONS, EXPORT)]

    @dg.multi_asset(
        name="room_booking_export",
        specs=[
            *rules,
            dg.AssetSpec(
                BOOKINGS,
                description="The booking store: entries like the timetable, bookings that clash cancelled, their "
                "owners' mail in the outbox. Written by today's partition only.",
                kinds={"sqlalchemy"},
                deps=[dg.AssetKey([KEY, name]) for name in ("lessons", "matches", "timeslots", "timetable")],
                **common,
            ),
            dg.AssetSpec(
                EXCLUSIONS,
                description="What is not in the export, or not as iSAMS has it, and why: ids and reasons.",
                kinds={"csv"},
                deps=[*behind, events],
                **common,
            ),
            dg.AssetSpec(
                EXPORT,
                description="Room Booking's files of a night, staged for the gate.",
                kinds={"csv"},
                deps=[*behind, dg.AssetKey(BOOKINGS)],
                **common,
            ),
        ],
        check_specs=[
            *checks.check_specs(EXPORT, partitions, CHECKS, blocking=True),
            *checks.check_specs(EXPORT, partitions, SHOWN),
        ],
        can_subset=True,
    )
    @of_a_night
    def room_booking_export(run: NightRun) -> Results:
        check_selection(run, partner)
        environment, night = run.environment, run.night
        pins = pinned(environment, night, NEEDED)
        booked = night_from(environment, night.school, night.date, pins)
        waiting = no_timetable(booked.tables["terms"], night.date)
        if waiting is not None:
            run.log.warning("%s", waiting)
            yield from _waits([key for key in (*behind, *own) if key in run.chosen], waiting)
            return
        settings = environment.settings.partner(night.school, RoomBookingSettings)

        source_checks = check_source(booked.tables, night.date, settings.timeslots)

        def made_of(built: Built) -> Made:
            return Made(built, check_export, lambda: source_checks)

        writes = dg.AssetKey(BOOKINGS) in run.chosen
        with environment.state.transaction() as database:
            shaped = booked.shaped(BookingStore(database, night.school))
        built = shaped.built
        synced: Synced | None = None
        if writes:
            # Nothing may be cancelled for a timetable that the gate is going to refuse.
            gate = gate_of(environment, partner, night, run.id, allow_removals=run.session.allow_removals)
            before = made_of(built)
            refused = gate.refusal(built.export, before.verdicts, built.excluded_per_file(), as_pins(pins, built))
            if refused is not None:
                run.ends(KEY, refused.outcome)
                yield from _tables(run, partner, booked, built)
                for check in refused.checks:
                    if check.name in CHECKS and dg.AssetKey(EXPORT) in run.chosen:
                        yield checks.verdict(check, EXPORT)
                said = refusal_metadata(refused)
                raise dg.Failure(f"{refused.outcome}: {refused.reason}", metadata=said, allow_retries=False)
        with environment.state.transaction() as database:
            store = BookingStore(database, night.school)
            if writes and booked.is_today:
                timetable = built.export.hashes[TIMETABLE.name]
                synced = booked.sync(store, timetable, allow_cancellations=run.session.allow_cancellations)
            built = booked.files(store, shaped)
        yield from _tables(run, partner, booked, built)
        if writes:
            yield dg.MaterializeResult(asset_key=BOOKINGS, metadata=_bookings_metadata(synced))
        about = {"licence": licence_of(built.export, settings.licence)}
        if (problem := _over_licence(about["licence"])) is not None:
            run.log.warning("%s", problem)
        yield from staged_results(run, partner, pins, made_of(built), about=about)

    return room_booking_export


def _over_licence(count: JsonObject) -> str | None:
    """What is to be said where more rooms are bookable than the licence is for."""
    bookable, licence = count["bookable_rooms"], count["licence"]
    if licence is None or bookable <= licence:
        return None
    return (
        f"licence: {bookable} rooms are bookable, but the licence is for {licence}; move some into a hidden "
        "category (`isams-pipeline rooms categorise`)"
    )


def _waits(chosen: Sequence[dg.AssetKey], reason: str) -> Results:
    """The night's assets where the new school year has no terms yet: nothing is changed, and a check warns."""
    said = {"outcome": Outcome.NO_TIMETABLE.value, "reason": reason}
    for key in chosen:
        if key != dg.AssetKey(EXPORT):
            yield dg.MaterializeResult(asset_key=key, metadata=said)
    if dg.AssetKey(EXPORT) not in chosen:
        return
    fine = checks.passed([name for name in (*CHECKS, *SHOWN) if name != "not_empty"], EXPORT)
    verdicts = [*fine, checks.failed("not_empty", EXPORT, reason, warn=True)]
    yield dg.MaterializeResult(asset_key=EXPORT, metadata=said, check_results=verdicts)


def _tables(run: NightRun, partner: Partner[RoomBookingSettings], booked: BookingNight, built: Built) -> Results:
    """The tables of the rules; beside the dated lessons, from when to when they are, and how many of each kind."""
    read = booked.read
    kinds = read.timetable.dated["kind"].value_counts()
    shown: Metadata = {
        "from": read.first.isoformat(),
        "to": read.last.isoformat(),
        "school days without a timetable week": len(read.timetable.unallocated),
        **{f"of kind {kind}": int(count) for kind, count in kinds.items()},
    }
    yield from rule_results(run, partner, built, {DATED.name: shown})


def _bookings_metadata(synced: Synced | None) -> Metadata:
    if synced is None:
        return {"store": "not written: only today's partition does that"}
    metadata: Metadata = {
        "entries inserted": synced.inserted,
        "entries updated": synced.updated,
        "entries deleted": synced.deleted,
        "bookings that clash": len(synced.clashes),
        "bookings cancelled": synced.cancelled,
    }
    if synced.unwritten:
        metadata["cancelled without an owner's address"] = ", ".join(synced.unwritten)
    if synced.held_back:
        metadata["held_back"] = synced.held_back
    if synced.clashes:
        rows = [(c.booking_id, c.resource_id, c.date, c.kind, c.code) for c in synced.clashes[:50]]
        metadata["clashes"] = dg.MetadataValue.md(markdown_table(("booking", "resource", "date", "kind", "code"), rows))
    return metadata


def held_back(environment: Environment, night: Night, run_id: str) -> str | None:
    """Why today's sync waits for a person although the export was delivered; leaves a receipt that says so."""
    if not is_today(environment, night.school, night.date):
        return None
    with environment.state.transaction() as database:
        reason = BookingStore(database, night.school).held_back()
    receipts = Receipts(environment.state)
    delivered = receipts.of_run(run_id)
    if reason is None or delivered is None:
        return None
    receipts.record(
        Address(KEY, night.school, night.date),
        Outcome.REFUSED,
        content_hash=delivered.content_hash,
        target=delivered.target,
        run_id=run_id,
        at=environment.clock(),
        removals_allowed=False,
        reason=reason,
        changes=delivered.changes,
        manifest={},
    )
    return reason


# --- calendars and pictures ---------------------------------------------------------------------------------


def _calendars(settings: Settings) -> dg.AssetsDefinition:
    @dg.asset(
        key=CALENDARS,
        description="An iCalendar file for each room and each teacher, to subscribe to. Only those whose lessons have "
        "changed are rewritten, by today's partition only.",
        partitions_def=nights_of(settings),
        group_name=KEY,
        owners=[OWNER],
        kinds={"icalendar"},
        deps=[dg.AssetKey(EXPORT), dg.AssetKey([KEY, DATED.name]), asset_key("rooms"), asset_key("terms")],
    )
    @of_a_night
    def calendars(run: NightRun) -> Results:
        environment, night = run.environment, run.night
        if not run.is_today:
            yield dg.MaterializeResult(metadata={"calendars": "not touched: only today's partition writes them"})
            return
        check_behind(run, ("rooms", "terms"), dg.AssetKey([KEY, DATED.name]))
        dated = dated_night(environment, night)
        if dated is None:
            yield dg.MaterializeResult(metadata={"calendars": "not touched: the new year has no terms yet"})
            return
        settings = environment.settings.partner(night.school, RoomBookingSettings)
        address, receipts = Address(KEY, night.school, night.date), Receipts(environment.state)
        if settings.first_delivery == "hold" and not receipts.ever_delivered(address):
            yield dg.MaterializeResult(metadata={"calendars": "not written: the first export still waits"})
            return
        folder = environment.target(settings, night.school).child(f"{KEY}/{night.school}/calendars")
        notes = environment.reports.child(f"{KEY}/{night.school}")
        done = publish_changed(folder, notes, dated.calendars(), f"{night.school} {dated.made_of}")
        yield dg.MaterializeResult(
            metadata={
                "target": folder.location(""),
                "written": done.written,
                "unchanged": done.kept,
                "removed": done.removed,
            }
        )
        if done.failed:
            some = ", ".join(done.failed[:5])
            raise dg.Failure(
                f"{len(done.failed)} calendars could not be written, such as {some}; their earlier versions stay, "
                "and all " + with_where_to_report("others are up to date. Report it as a bug, with the file's name."),
                allow_retries=False,
            )

    return calendars


def _occupancy(settings: Settings) -> dg.AssetsDefinition:
    @dg.asset(
        key=OCCUPANCY,
        description="Pictures: the term's occupancy of all rooms, and the week of the room that is used most.",
        partitions_def=nights_of(settings),
        group_name=KEY,
        owners=[OWNER],
        kinds={"matplotlib"},
        deps=[dg.AssetKey([KEY, DATED.name]), asset_key("rooms"), asset_key("terms")],
    )
    @of_a_night
    def occupancy(run: NightRun) -> Results:
        environment, night = run.environment, run.night
        metadata: Metadata = {}
        check_behind(run, ("rooms", "terms"), dg.AssetKey([KEY, DATED.name]))
        dated = dated_night(environment, night)
        drawn = draw(environment.reports.child(f"{KEY}/{night.school}"), night.date, dated.pictures()) if dated else {}
        for name, picture in drawn.items():
            path = f"{KEY}/{night.school}/{night.date}/{name}.png"
            metadata[f"{name} file"] = environment.reports.location(path)
            if len(picture) <= _SHOWN_BYTES:  # the event log keeps it for ever
                data = base64.b64encode(picture).decode()
                metadata[name] = dg.MetadataValue.md(f"![{name}](data:image/png;base64,{data})")
        yield dg.MaterializeResult(metadata=metadata or {"pictures": "none: there is nothing in the timetable"})

    return occupancy


# --- mail -----------------------------------------------------------------------------------------------


def _mail(settings: Settings) -> dg.AssetsDefinition:
    @dg.asset(
        key=MAIL,
        description="Messages to the owners of cancelled bookings, from the outbox. None is sent twice without "
        "--send-again.",
        partitions_def=nights_of(settings),
        group_name=KEY,
        owners=[OWNER],
        kinds={"email"},
        check_specs=checks.check_specs(MAIL, nights_of(settings), OUTBOX),
        deps=[dg.AssetKey(BOOKINGS)],
    )
    @of_a_night
    def mail(run: NightRun) -> Results:
        environment, night = run.environment, run.night
        if run.is_today:
            posted = post(environment, night.school)
            stuck = {
                state: count
                for state, count in posted.counts.items()
                if state in {MailState.IN_DOUBT, MailState.FAILED}
            }
            problem = (
                f"{', '.join((f'{n} {state}' for state, n in stuck.items()))}; see `isams-pipeline rooms mail "
                f"{night.school}`"
            )
            verdict = checks.failed("all_sent", MAIL, problem, warn=True) if stuck else checks.passed(OUTBOX, MAIL)[0]
            yield dg.MaterializeResult(metadata=posted.counts, check_results=[verdict])
        else:
            yield dg.MaterializeResult(metadata={"outbox": "not touched: only today's partition sends"})

    return mail
