"""`person` and `disclosures`: what is kept of a person, who got it, and its erasure."""

from __future__ import annotations

import getpass
from typing import Annotated

import typer

from isams_pipeline.commands.common import DATA_DIR, Config, DataDir, School, console, print_table, say
from isams_pipeline.definitions import environment_from
from isams_pipeline.orchestration.rights.disclosures import Disclosures
from isams_pipeline.orchestration.rights.disclosures import disclosures as disclosures_of
from isams_pipeline.orchestration.rights.identity import identify
from isams_pipeline.orchestration.rights.requests import find as find_all
from isams_pipeline.orchestration.rights.requests import needs_a_reason
from isams_pipeline.partners.registry import PARTNERS
from isams_pipeline.rules.dates import nights_in_words

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
    console.print(f"{environment.data_dir / bundle}/bundle.html and bundle.json: personal data", soft_wrap=True)
    return 1 if held.troubles else 0


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
