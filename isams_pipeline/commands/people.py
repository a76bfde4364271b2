"""`explain` and `history`: why a person is with a partner or is not, today and on all nights before."""

from __future__ import annotations

from typing import Annotated

import typer

from isams_pipeline.clock import today_at
from isams_pipeline.commands.common import (
    DATA_DIR,
    Config,
    DataDir,
    School,
    a_date,
    console,
    say,
)
from isams_pipeline.commands.partner_option import Partner
from isams_pipeline.definitions import environment_from
from isams_pipeline.delivery.built import no_places, places_from
from isams_pipeline.delivery.explaining import explain as explanation
from isams_pipeline.delivery.export import read_csv
from isams_pipeline.delivery.receipts import Address, Outcome, Receipts
from isams_pipeline.errors import NotMaterialised, WrongUse
from isams_pipeline.orchestration.environment import Environment
from isams_pipeline.orchestration.looking_back import Course, Past
from isams_pipeline.orchestration.partitions import Night
from isams_pipeline.orchestration.pins import exclusions_path
from isams_pipeline.partners.registry import with_people
from isams_pipeline.sources.registry import label_of
from isams_pipeline.storage.tables import StoredTable

Who = Annotated[
    str,
    typer.Argument(help="An id of the partner's source, a school id, user code or e-mail address.", show_default=False),
]


def explain(
    school: School,
    who: Who,
    partner: Partner = "schoolsbuddy",
    date: Annotated[
        str | None,
        typer.Option("--date", help="The night. [default: the latest there is]", show_default=False),
    ] = None,
    config: Config = None,
    data_dir: DataDir = DATA_DIR,
) -> int:
    """Say whether a person is in the export, through which links, or by which rule they are not, and since when."""
    environment = environment_from(config, data_dir)
    zone = environment.settings.school(school).timezone
    _has_people(environment, school, partner)
    staged_exports = environment.staged(partner, school)
    if date is not None:
        day = a_date(date)
    else:
        latest = staged_exports.latest(today_at(zone, environment.clock))
        if latest is None:
            raise NotMaterialised(
                "No export was made yet",
                school=school,
                remedy="Run `isams-pipeline sync SCHOOL --partner PARTNER` first.",
            )
        day = latest
    night = Night(school, day)
    staged = staged_exports.find(day)
    tables = {
        name: environment.tables.load(
            StoredTable(
                staged.datasets[name]["source"],
                name,
                school,
                str(day),
                staged.datasets[name]["sha256"],
                staged.datasets[name]["rows"],
                {},
            )
        )
        for name in ("pupils", "contacts", "staff")
    }
    try:
        exclusions = list(read_csv(environment.reports.read(exclusions_path(partner, night))))
    except FileNotFoundError:
        exclusions = []
    export, places = staged_exports.load(staged.files), no_places()
    # Places are by rows' numbers: of a table that a person was taken out of since, they are others'.
    as_made = not any(environment.tables.is_redacted(pin, name, school) for name, pin in staged.datasets.items())
    if staged.places is not None and as_made:
        places = places_from(staged_exports.read(staged.places))
    answers = explanation(who, tables, export, exclusions, places)
    courses = _courses(environment, school, partner, who)
    if not answers and courses:
        for course in courses:
            say(f"{course.entity} {course.id} {course.in_words}")
        return 0
    if not answers:
        source = label_of(staged.datasets["pupils"]["source"])
        console.print(
            f"The data of {school} on {day} by {source} has nobody with that id, code or address: no current "
            "pupil, contact or member of staff. Who has left is not in it any more, even where lists of sets still "
            "name them; and each source has ids of its own.",
            soft_wrap=True,
        )
        return 1
    receipt = Receipts(environment.state).of_night(Address(partner, school, day))
    is_there = receipt is not None and receipt.outcome in {Outcome.DELIVERED, Outcome.UNCHANGED}
    if not is_there:
        outcome = receipt.outcome if receipt else "not delivered"
        say((f"{partner} has not got the export of {day}", "yellow"), f": it was {outcome}.")
    for answer in answers:
        verdict = ("is in the export", "green") if answer.included else ("is not in the export", "yellow")
        say(f"{answer.entity} {answer.id} ", verdict, f" of {day}")
        for line in answer.lines:
            console.print(f"  {line}", soft_wrap=True)
        for course in courses:
            if not (answer.included and is_there) and (course.entity, course.id) == (answer.entity, answer.id):
                console.print(f"  {course.in_words}", soft_wrap=True)
    return 0


def history(
    school: School, who: Who, partner: Partner = "schoolsbuddy", config: Config = None, data_dir: DataDir = DATA_DIR
) -> int:
    """Tell a person's way through all exports: joined, changed (which fields), left, by which rule on which night."""
    environment = environment_from(config, data_dir)
    _has_people(environment, school, partner)
    found = _courses(environment, school, partner, who)
    if not found:
        console.print(
            f"{partner} was never given anybody of {school} with that id, code or address. `isams-pipeline explain` "
            "says why somebody who is in the source is not in the export.",
            soft_wrap=True,
        )
        return 1
    for course in found:
        say((f"{course.entity} {course.id}", "bold"), f" with {partner}")
        for event in course.events:
            about = f": {event.about}" if event.about else ""
            say(f"  {event.night}  ", (event.what, _COLOURS.get(event.what, "")), about)
    return 0


_COLOURS = {"joined": "green", "came back": "green", "left": "yellow"}


def _has_people(environment: Environment, school: str, partner: str) -> None:
    if partner not in with_people():
        raise WrongUse(f"{partner} has no people to explain", remedy=f"Its exclusions lie in reports/{partner}/.")
    mine = environment.settings.school(school).partners.exporting
    if partner not in mine:
        raise WrongUse(f"{school} sends nothing to {partner}", remedy=f"It sends to: {', '.join(mine) or 'nobody'}.")


def _courses(environment: Environment, school: str, partner: str, who: str) -> list[Course]:
    """The way of those who are meant through the exports that were delivered."""
    past = Past(environment, partner, school)
    return [course for one in sorted(past.meant(who)) if (course := past.course(*one)) is not None]
