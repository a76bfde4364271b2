"""`person` and `disclosures`: what is kept of a person, who got it, and its erasure."""

from __future__ import annotations

import getpass
from typing import Annotated

import typer

from isams_pipeline.commands.common import DATA_DIR, Config, DataDir, School, console, print_table, say
from isams_pipeline.datasets.people import Person
from isams_pipeline.definitions import environment_from
from isams_pipeline.errors import WrongUse
from isams_pipeline.orchestration.environment import Environment
from isams_pipeline.orchestration.rights.disclosures import Disclosures
from isams_pipeline.orchestration.rights.disclosures import disclosures as disclosures_of
from isams_pipeline.orchestration.rights.erasure import Outcome, lift, meant
from isams_pipeline.orchestration.rights.erasure import erase as erase_everywhere
from isams_pipeline.orchestration.rights.finding import Search
from isams_pipeline.orchestration.rights.identity import identify
from isams_pipeline.orchestration.rights.requests import find as find_all
from isams_pipeline.orchestration.rights.requests import needs_a_reason
from isams_pipeline.partners.registry import PARTNERS
from isams_pipeline.rules.dates import nights_in_words
from isams_pipeline.storage.erased import ErasedState

Whom = Annotated[
    str,
    typer.Argument(
        help="A number of the source, a school code, a user code or an e-mail address; or pupil:501, contact:7001, "
        "staff:12, where a number alone means several.",
        show_default=False,
    ),
]
Reason = Annotated[
    str | None, typer.Option("--reason", help="Why it is asked; recorded with it. Name nobody.", show_default=False)
]
By = Annotated[str | None, typer.Option("--by", help="Who asks. [default: this machine's user]", show_default=False)]


def find(
    school: School,
    who: Whom,
    reason: Reason = None,
    by: By = None,
    config: Config = None,
    data_dir: DataDir = DATA_DIR,
) -> int:
    """Gather everything that is kept of a person into a page and a JSON file, with file, night and field.

    Looks through archive, lists, tables, staged exports, exports at partners, reports, photos, bookings, mails, inbox
    and ledger. The bundle is private, and removed by itself. That it was asked is recorded. Exit code 1 where something
    could not be looked through.
    """
    environment = environment_from(config, data_dir)
    environment.settings.school(school)
    why = needs_a_reason(reason)
    people = identify(environment, school, who)
    with console.status(f"looking through all that is kept of {school}"):
        held, given, bundle = find_all(
            environment, school, people, PARTNERS.values(), who=by or getpass.getuser(), reason=why
        )
    for person in people:
        say((person.name, "bold"), f" by {person.source}")
    counts = [(store, how, number) for (store, how), number in sorted(held.counts().items())]
    print_table(("kept in", "how", "rows"), counts)
    _print(given)
    for trouble in held.troubles:
        say(("could not be looked through", "red"), f": {trouble.store}: {trouble.what}")
    console.print(f"{environment.data.location(bundle)}/bundle.html and bundle.json: personal data", soft_wrap=True)
    return 1 if held.troubles else 0


def erase(
    school: School,
    who: Annotated[
        str | None, typer.Argument(help="As for `person find`; without it, who was erased so far.", show_default=False)
    ] = None,
    reason: Reason = None,
    by: By = None,
    apply: Annotated[bool, typer.Option("--apply", help="Do it. Without it only what is kept is shown.")] = False,
    at_partners: Annotated[
        bool,
        typer.Option("--at-partners", help="Rewrite also past exports in places that are not below the data folder."),
    ] = False,
    lift_it: Annotated[
        bool, typer.Option("--lift", help="Let the person come back: with no WHO, everybody who was erased.")
    ] = False,
    config: Config = None,
    data_dir: DataDir = DATA_DIR,
) -> int:
    """Take a person out of everything that is kept, and keep them from coming back.

    Rewrites archive, lists, tables, staged exports and reports without their rows and links, past nights included;
    removes photos, bundles, bookings and mails; takes values out of the ledger. Nights, backfills and restored backups
    leave them out from then on, until --lift. Broken off, the same call goes on, also without WHO. Then looks again:
    exit code 1 where anything is left.
    """
    environment = environment_from(config, data_dir)
    environment.settings.school(school)
    by = by or getpass.getuser()
    if who is None and not apply and not lift_it:
        return _print_erased(environment, school)
    people, notes = meant(environment, school, who) if who is not None else (list[Person](), set[str]())
    if lift_it:
        if who is None:
            notes = {one.whom for one in environment.erased.of(school, ErasedState.BEGUN, ErasedState.DONE)}
        elif len(notes) != 1:
            told = f"{len(notes)} of the erased have" if notes else "Nobody who was erased has"
            raise WrongUse(
                f"{told} that number or code", school=school, remedy="Name the kind and number, such as pupil:501."
            )
        number = lift(environment, school, notes, who=by, reason=needs_a_reason(reason))
        console.print(f"{number} may come back: with the next night that has them")
        return 0
    if not apply:
        held = Search(environment, school, PARTNERS.values(), people).everything()
        print_table(("kept in", "how", "rows"), [(store, how, n) for (store, how), n in sorted(held.counts().items())])
        console.print("Nothing was changed. --apply takes it out; what is only perhaps theirs stays, and is listed.")
        return 0
    why = needs_a_reason(reason if people or reason else "going on with what was begun")
    with console.status(f"erasing at {school}"):
        done = erase_everywhere(
            environment, school, people, PARTNERS.values(), who=by, reason=why, at_partners=at_partners
        )
    return _print_outcome(done)


def _print_erased(environment: Environment, school: str) -> int:
    rows = [
        (one.entity, one.source, f"{one.at:%Y-%m-%d}", one.who, one.reason, one.state)
        for one in environment.erased.of(school)
    ]
    print_table(("who", "by", "since", "asked by", "reason", "state"), rows)
    if not rows:
        console.print("Nobody was erased at this school.")
    return 0


def _print_outcome(done: Outcome) -> int:
    print_table(("taken out of", "rows and files"), sorted(done.counts.items()))
    print_table(
        ("partner to tell", "file", "nights"),
        [(one["partner"], one["file"], str(one["nights"])) for one in done.disclosed],
    )
    for one in done.perhaps:
        say(("look yourself", "yellow"), f": {one.store} {one.place}: {', '.join(one.where[:3]) or 'in the database'}")
    for text in done.left:
        say(("left", "yellow"), f": {text}")
    for text in done.open:
        say(("to decide", "yellow"), f": {text}")
    for text in done.failed:
        say(("failed", "red"), f": {text}")
    for one in done.still:
        say(("still there", "red"), f": {one.store} {one.place}: {', '.join(one.where[:3])}")
    if done.failed or done.still or done.open:
        console.print("It has not ended: mend what is named, and call it again.")
        return 1
    say(("erased", "green"), "; nights, backfills and restored backups leave the person out until --lift")
    console.print("  Backups of before still hold them, until those end: make one now, so that it knows of it.")
    return 0


def disclosures(
    school: School,
    who: Annotated[
        str | None,
        typer.Argument(help="Only what was of this person; see `person find`.", show_default=False),
    ] = None,
    config: Config = None,
    data_dir: DataDir = DATA_DIR,
) -> int:
    """Say which partner got what of a school, or of a person, and when: files, columns and nights; no values."""
    environment = environment_from(config, data_dir)
    environment.settings.school(school)
    people = None if who is None else identify(environment, school, who)
    given = disclosures_of(environment, school, PARTNERS.values(), people)
    _print(given)
    if not given.made and not given.unknown:
        console.print("No partner got anything" + ("" if people is None else " of this person") + ".")
    return 0


def _print(given: Disclosures) -> None:
    rows = [(one.partner, one.file, one.nights, ", ".join(one.columns)) for one in given.made]
    print_table(("partner", "file", "nights", "columns"), rows)
    for partner, nights in given.unknown.items():
        say((partner, "yellow"), f": {nights_in_words(nights)}: what it got is not kept any more")
