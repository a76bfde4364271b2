"""`what-if`, `contact-types` and `medical-fields`: what other settings would do, and what there is to choose from."""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping
from typing import Annotated, Any

import pandas as pd
import typer
import yaml

from isams_pipeline.commands.common import (
    DATA_DIR,
    Config,
    DataDir,
    School,
    a_date,
    console,
    print_table,
    say,
)
from isams_pipeline.commands.partner_option import Partner
from isams_pipeline.config import load_settings
from isams_pipeline.config.partners import ContactSettings
from isams_pipeline.config.partners import Delivering as Exporting
from isams_pipeline.definitions import environment_from
from isams_pipeline.delivery.differences import Difference, difference
from isams_pipeline.errors import ConfigurationError, NotMaterialised, WrongUse
from isams_pipeline.orchestration.trials import behind, judged, makes
from isams_pipeline.partners import schoolsbuddy
from isams_pipeline.partners.registry import PARTNERS
from isams_pipeline.partners.schoolsbuddy.settings import SchoolsBuddySettings
from isams_pipeline.rules.compare import label

Night = Annotated[
    str | None, typer.Option("--date", help="The night. [default: the latest there is]", show_default=False)
]


def what_if(
    school: School,
    settings: Annotated[
        list[str] | None,
        typer.Option(
            "--set",
            help="A setting of the partner as schools.yaml has it, such as contact_types=[Mother,Father,Guardian]; may "
            "be given several times.",
            metavar="NAME=VALUE",
        ),
    ] = None,
    partner: Partner = "schoolsbuddy",
    date: Night = None,
    config: Config = None,
    data_dir: DataDir = DATA_DIR,
) -> int:
    """Show what other settings would change, over a night's tables: by file, by rule, by year group.

    Tries the settings that the rules read, and says what the gate would say. Nothing is stored or delivered. Exit code
    0 if the night would be delivered so, 1 if it would be refused.
    """
    if not settings:
        raise WrongUse("Which setting?", remedy="Give --set, such as --set contact_types=[Mother,Father,Guardian].")
    environment = environment_from(config, data_dir)
    place = ("schools", school, "partners", partner)
    if partner not in environment.settings.school(school).partners.exporting:
        raise ConfigurationError(
            f"The school sends nothing to {partner}",
            school=school,
            remedy=f"Add schools.{school}.partners.{partner} to schools.yaml first.",
        )
    wanted = dict(map(_pair, settings))
    own = environment.settings.school(school).partners.exporting[partner]
    tried = type(own).read_by_rules()
    if others := [name for name in wanted if name in type(own).model_fields and name not in tried]:
        raise WrongUse(
            f"{', '.join(others)}: what-if cannot try this setting",
            remedy=f"what-if tries {', '.join(sorted(tried))}. For others change "
            "schools.yaml, and look with `isams-pipeline rehearse`.",
        )
    try:
        changed = load_settings(environment.settings.file, {(*place, name): value for name, value in wanted.items()})
    except ConfigurationError as error:
        raise WrongUse(f"With --set, schools.yaml would not be valid:\n{str(error).partition(chr(10))[2]}") from None
    which = PARTNERS[partner]
    given = behind(environment, school, which, a_date(date) if date else None)
    with console.status("trying"):
        other = changed.school(school).partners.exporting[partner]
        made = makes(which, given)
        now, then = made(), made(other)
        verdict = judged(which, given, then, other, given.night.date)
        found = difference(now.built, then.built, which.exporting.files)
    say((partner, "bold"), f", the tables of {given.night.date}, with {', '.join(settings)}")
    _print_difference(found)
    for name in _not_there(other, given.tables):
        say(
            "  ",
            ("no such field", "yellow"),
            f": {name}; `isams-pipeline medical-fields {school}` lists those there are",
        )
    for problem in verdict.problems:
        say("  ", ("would be refused", "yellow"), f": {problem}")
    return 1 if verdict.problems else 0


def _not_there(settings: Exporting, tables: Mapping[str, pd.DataFrame]) -> list[str]:
    """Medical fields that are asked for and that no record has."""
    if not isinstance(settings, SchoolsBuddySettings) or "health" not in tables:
        return []
    there = {label(field) for field in tables["health"]["field"].unique()}
    return [name for name in settings.medical_fields if label(name) not in there]


def _pair(text: str) -> tuple[str, Any]:
    name, separator, value = text.partition("=")
    if not separator or not name.strip():
        raise typer.BadParameter(f"{text!r} is no setting; write NAME=VALUE")
    try:
        return name.strip(), yaml.safe_load(value)
    except yaml.YAMLError:
        raise typer.BadParameter(f"what {name} is set to is no YAML; write it as in schools.yaml") from None


def _print_difference(found: Difference) -> None:
    if not found.files and not found.rules:
        console.print("  Nothing in the files would change.")
        return
    print_table(
        ("file", "rows now", "then", "added", "changed", "removed"),
        [(f.name, f.rows, f.rows_then, f.added, f.changed, f.removed) for f in found.files],
    )
    print_table(
        ("left out or warned of", "rule", "now", "then"),
        [(f"{entity} ({severity})", rule, now, then) for entity, rule, severity, now, then in found.rules],
    )
    print_table(
        ("year group", "students", "contacts now", "then", "students without now", "then"),
        [
            (then.year or "none", then.students, now.contacts, then.contacts, now.without, then.without)
            for now, then in found.years
        ],
    )


# --- what there is to choose from -----------------------------------------------------------------------------


def contact_types(school: School, date: Night = None, config: Config = None, data_dir: DataDir = DATA_DIR) -> int:
    """List the contact types that a school's contacts have, how often, and which partner gets them."""
    environment = environment_from(config, data_dir)
    mine = environment.settings.school(school).partners.exporting
    asking = {name: found for name, found in mine.items() if isinstance(found, ContactSettings)}
    if not asking:
        raise ConfigurationError(
            "No partner of the school gets contacts", school=school, remedy="Look at its partners in schools.yaml."
        )
    for source in dict.fromkeys(found.source for found in asking.values()):
        first = next(name for name, found in asking.items() if found.source == source)
        given = behind(environment, school, PARTNERS[first], a_date(date) if date else None)
        contacts = given.tables["contacts"]
        using = {name: found for name, found in asking.items() if found.source == source}
        console.print(f"{school} on {given.night.date}, by {source}")
        header = ("contact type", "entries", "people", *using)
        print_table(header, list(_types(contacts, using)))
    return 0


def _types(contacts: pd.DataFrame, using: Mapping[str, ContactSettings]) -> list[tuple[Any, ...]]:
    said = contacts["relationship"].fillna("")
    folded = said.map(label)
    rows: list[tuple[Any, ...]] = []
    for of, group in sorted(contacts.groupby(folded), key=lambda pair: -len(pair[1])):
        spelt = Counter(said[group.index]).most_common(1)[0][0]
        sent = [_sent(str(of), settings) for settings in using.values()]
        rows.append((spelt.strip() or "(none)", len(group), int(group["person_id"].nunique()), *sent))
    return rows


def _sent(folded: str, settings: ContactSettings) -> str:
    wanted = settings.contact_types
    return "sent" if wanted is None or folded in {label(name) for name in wanted} else "-"


def medical_fields(school: School, date: Night = None, config: Config = None, data_dir: DataDir = DATA_DIR) -> int:
    """List the fields of a school's medical records, how often they are filled, and whether SchoolsBuddy gets them.

    Names of fields and counts only; never what a field holds.
    """
    environment = environment_from(config, data_dir)
    settings = environment.settings.school(school).partners.get(SchoolsBuddySettings)
    if settings is None or settings.source != "isams":
        raise ConfigurationError(
            "SchoolsBuddy gets no medical fields of the school",
            school=school,
            remedy="Medical fields come only from iSAMS itself: set partners.schoolsbuddy.source to isams.",
        )
    given = behind(environment, school, schoolsbuddy.PARTNER, a_date(date) if date else None)
    health = given.tables["health"]
    if health.empty:
        raise NotMaterialised(
            "There are no medical records",
            school=school,
            date=given.night.date,
            remedy="Name a key that brings the feed medical in schools.yaml, and run a night.",
        )
    wanted = {label(name) for name in settings.medical_fields}
    console.print(f"{school} on {given.night.date}")
    rows = [
        (
            str(field),
            len(group),
            int(group["value"].notna().sum()),
            int(group["record"].nunique()),
            "sent" if label(field) in wanted else "-",
        )
        for field, group in health.groupby("field")
    ]
    print_table(("field", "times", "filled", "records", "schoolsbuddy"), rows)
    return 0
