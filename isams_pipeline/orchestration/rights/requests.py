"""What is asked about a person: gathered into a bundle for them, and recorded."""

from __future__ import annotations

import secrets
from collections.abc import Iterable, Sequence
from datetime import datetime
from typing import Any

import jinja2

from isams_pipeline.clock import moment_in_words
from isams_pipeline.datasets.people import Person
from isams_pipeline.errors import WrongUse
from isams_pipeline.orchestration.environment import Environment
from isams_pipeline.orchestration.partner import AnyPartner
from isams_pipeline.orchestration.rights.disclosures import Disclosures, disclosures
from isams_pipeline.orchestration.rights.finding import Found, Holdings, Search
from isams_pipeline.rules.dates import nights_in_words
from isams_pipeline.sources.isams.people_in import NAMED, OWN, PERHAPS
from isams_pipeline.storage.keyed import keyed_hash
from isams_pipeline.storage.state.rights import PersonRequest

BUNDLES = "bundles"
_TITLES = {OWN: "Rows about the person, and links", NAMED: "Named in rows about something else"} | {
    PERHAPS: "May be about the person: an address that others may share, or a row of unknown shape"
}
_TEMPLATES = jinja2.Environment(
    loader=jinja2.PackageLoader("isams_pipeline.orchestration.rights", ""),
    autoescape=True,
    undefined=jinja2.StrictUndefined,
)


def whom(environment: Environment, school: str, people: Sequence[Person]) -> str:
    """A person as the record of requests names them: a hash that only this data folder's key makes."""
    of = keyed_hash(environment.data)
    first = min(people, key=lambda person: (person.source != "isams", person.source))
    return of(school, first.source, first.entity, first.id)


def find(
    environment: Environment,
    school: str,
    people: Sequence[Person],
    partners: Iterable[AnyPartner],
    *,
    who: str,
    reason: str,
) -> tuple[Holdings, Disclosures, str]:
    """Gather what is kept of a person into a private bundle, and record that it was asked.

    Gives what was found, what was disclosed, and the bundle's path below the data folder.
    """
    known = list(partners)
    now = environment.clock()
    bundle = f"{BUNDLES}/{school}/{now:%Y%m%dT%H%M%S}-{secrets.token_hex(4)}"
    held = Search(environment, school, known, people).everything()
    given = disclosures(environment, school, known, people)
    folder = environment.data.child(bundle)
    folder.write_json("bundle.json", _as_json(school, held, given, now))
    folder.write("bundle.html", _as_page(environment, school, held, given).encode())
    record(environment, school, "find", people, who=who, reason=reason, counts=by_store(held), bundle=bundle)
    return held, given, bundle


def by_store(held: Holdings) -> dict[str, int]:
    """Store → how many rows."""
    found: dict[str, int] = {}
    for one in held.found:
        found[one.store] = found.get(one.store, 0) + 1
    return found


def record(
    environment: Environment,
    school: str,
    kind: str,
    about: Sequence[Person] | str,
    *,
    who: str,
    reason: str,
    counts: dict[str, int],
    bundle: str | None = None,
) -> int:
    """Note that something was asked about a person, or about who has such a hash; gives the note's number."""
    note = PersonRequest(
        school=school,
        kind=kind,
        whom=about if isinstance(about, str) else whom(environment, school, about),
        at=environment.clock(),
        who=who,
        reason=reason,
        state="done",
        counts=counts,
        bundle=bundle,
    )
    with environment.state.transaction() as session:
        session.add(note)
    return note.id


def _as_json(school: str, held: Holdings, given: Disclosures, made: datetime) -> dict[str, Any]:
    return {
        "version": 1,
        "school": school,
        "made": made.isoformat(),
        "person": [
            {"by": one.source, "is": one.entity, "id": one.id, "numbers": {k: sorted(v) for k, v in one.ids.items()}}
            for one in held.person
        ],
        "looked_through": held.looked_through,
        "could_not_be_looked_through": [{"store": one.store, "what": one.what} for one in held.troubles],
        "found": [
            {
                "store": one.store,
                "place": one.place,
                "how": one.how,
                "nights": sorted(map(str, one.nights)),
                "where": list(one.where),
                "fields": dict(one.fields),
            }
            for one in held.found
        ],
        "disclosures": [
            {"partner": one.partner, "target": one.target, "file": one.file, "columns": one.columns}
            | {"nights": sorted(map(str, one.dates))}
            for one in given.made
        ],
        "disclosures_not_known_any_more": {p: sorted(map(str, nights)) for p, nights in given.unknown.items()},
    }


def _as_page(environment: Environment, school: str, held: Holdings, given: Disclosures) -> str:
    settings = environment.settings.school(school)
    days = environment.settings.retention_of(school).bundles
    sections = [
        (f"{title}: {store}", [_shown(one) for one in held.found if (one.store, one.how) == (store, how)])
        for how, title in _TITLES.items()
        for store in dict.fromkeys(one.store for one in held.found if one.how == how)
    ]
    looked = ", ".join(f"{count} in {store}" for store, count in held.looked_through.items())
    return _TEMPLATES.get_template("bundle.html.j2").render(
        name=", ".join(f"{person.name} (by {person.source})" for person in held.person),
        school=settings.name,
        made=moment_in_words(environment.clock(), settings.timezone),
        days="no time at all" if days is None else f"{days} days",
        looked=looked or "nothing",
        troubles=held.troubles,
        disclosures=given.made,
        sections=sections,
    )


def _shown(one: Found) -> dict[str, Any]:
    first, more = next(iter(one.where), ""), len(one.where) - 1
    where = f"{first}, and {more} more files (bundle.json names them)" if more > 0 else first
    return {"place": one.place, "nights": nights_in_words(one.nights), "where": where, "fields": one.fields}


def needs_a_reason(reason: str | None) -> str:
    """The reason; raises WrongUse where there is none."""
    if reason is None or not reason.strip():
        raise WrongUse(
            "A reason is needed; it is recorded", remedy='Give --reason, such as "subject access request 12".'
        )
    return reason.strip()
