"""What a person reads of nights that need one: one message for one cause and date. Pure."""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from datetime import date
from typing import Any

from isams_pipeline.config.alerts import AlertKind
from isams_pipeline.datasets.shapes import JsonObject

_SHOWN = 40
"""Nights that a message lists; the rest is counted."""
_LONGEST = 600
"""Characters of a reason."""
_SUBJECT = 110
_HAPPENED = {
    AlertKind.FAILED: "failed",
    AlertKind.REFUSED: "was refused",
    AlertKind.HELD: "waits for a look before its first delivery",
    AlertKind.LATE: "is late",
    AlertKind.WARNED: "was delivered with a warning",
    AlertKind.RECOVERED: "is well again",
}
_HAD = {
    AlertKind.FAILED: "failed",
    AlertKind.REFUSED: "been refused",
    AlertKind.HELD: "waited for a look",
    AlertKind.LATE: "been late",
    AlertKind.WARNED: "a warning",
}
_TO_DO = {
    AlertKind.FAILED: "Put right what the reason names (`isams-pipeline doctor SCHOOL` looks at keys and servers); "
    "then run the night again where the pipeline runs: by the command (of a service: sudo deploy/as-service "
    "in place of isams-pipeline), or by Re-execute on the run's page.",
    AlertKind.REFUSED: "Nothing was delivered; what the partner had stays. Look at the run's page for the account and "
    "the difference, then put it right in the source, or run it again with what it was refused for allowed.",
    AlertKind.HELD: "Look at the export, and release it.",
    AlertKind.LATE: "See whether the daemon runs and the source answers (`isams-pipeline doctor`), then run the night.",
    AlertKind.WARNED: "Look at the check in the UI; the partner has the night's data.",
    AlertKind.RECOVERED: "Nothing.",
}


@dataclass(frozen=True)
class OneNight:
    """A school's night for a partner, as a message tells of it."""

    problem: int
    """Its number in the state database."""
    school: str
    name: str
    """The school's, as people write it."""
    partner: str
    night: date
    kind: AlertKind
    was: AlertKind | None
    """Of one that is well again: what was wrong."""
    reason: str
    counts: Mapping[str, int]
    run: str | None
    """The address of the run's page; None where there is no run, or nobody said where the UI is."""
    command: str
    """What runs it again."""

    @property
    def cause(self) -> str:
        """Why, without which school's it is: what ten schools of one dead host have in common."""
        return cause_of(self.reason, self.school, self.name)


def cause_of(reason: str, *own: str) -> str:
    """A reason without what is one school's: its `own` names, its keys, hours of the day."""
    text = reason.partition("\n")[0]
    for name in sorted(set(own), key=len, reverse=True):
        text = re.sub(rf"(?<![\w-]){re.escape(name)}(?![\w-])", "*", text)
    text = re.sub(r"\b\d\d:\d\d\b", "*", text)
    # Keys are a school's own, and the first of them that meets a dead host is named.
    return re.sub(r"\b(key|feed|dataset|client|asset)s? [\w-]+(, [\w-]+)*", r"\1 *", text)


@dataclass(frozen=True)
class Message:
    """A message about one cause on one date, and the same for a program."""

    subject: str
    body: str
    facts: JsonObject


def by_cause(nights: Iterable[OneNight]) -> list[list[OneNight]]:
    """Nights of one date, kind and cause together, the oldest first."""
    found: dict[tuple[date, AlertKind, str], list[OneNight]] = {}
    for one in nights:
        # That several are well again is one piece of news.
        cause = "" if one.kind is AlertKind.RECOVERED else one.cause
        found.setdefault((one.night, one.kind, cause), []).append(one)
    return [found[key] for key in sorted(found)]


def message(nights: Sequence[OneNight]) -> Message:
    """The message about nights with one cause."""
    first = nights[0]
    schools = list(dict.fromkeys(one.school for one in nights))
    who = schools[0] if len(schools) == 1 else f"{len(schools)} schools"
    partners = list(dict.fromkeys(one.partner for one in nights))
    what = partners[0] if len(partners) == 1 else f"{len(partners)} deliveries"
    subject = f"{who}, {what}, {first.night}: {_HAPPENED[first.kind]}"
    if first.kind not in {AlertKind.RECOVERED, AlertKind.HELD, AlertKind.LATE}:
        subject = f"{subject}: {first.reason}"
    lines = [f"{_plural(nights)} of {first.night} {_HAPPENED[first.kind]}.", ""]
    if first.reason and first.kind is not AlertKind.RECOVERED:
        lines += ["Why:", *(f"  {line}" for line in _short(first.reason).splitlines()), ""]
    if first.kind is not AlertKind.RECOVERED:
        lines += ["What to do:", f"  {_TO_DO[first.kind]}", ""]
    for one in nights[:_SHOWN]:
        counts = "".join(f", {count} {what}" for what, count in one.counts.items())
        lines.append(f"{one.school} ({one.name}), {one.partner}, {one.night}{counts}")
        if one.run:
            lines.append(f"  run: {one.run}")
        if one.kind is AlertKind.RECOVERED:
            lines.append(f"  it had {_HAD[one.was or AlertKind.FAILED]}: {_cut(one.cause, 200)}")
        else:
            lines.append(f"  command: {one.command}")
    if len(nights) > _SHOWN:
        lines.append(f"and {len(nights) - _SHOWN} more: `isams-pipeline status` lists all")
    return Message(_cut(subject.splitlines()[0], _SUBJECT), "\n".join(lines) + "\n", _facts(nights))


def _facts(nights: Sequence[OneNight]) -> JsonObject:
    first = nights[0]
    return {
        "version": 1,
        "kind": first.kind.value,
        "night": first.night.isoformat(),
        "reason": _short(first.reason),
        "what_to_do": _TO_DO[first.kind],
        "nights": [
            {
                "school": one.school,
                "partner": one.partner,
                "night": one.night.isoformat(),
                "counts": dict(one.counts),
                "run": one.run,
                "command": one.command if one.kind is not AlertKind.RECOVERED else None,
                "was": one.was.value if one.was else None,
            }
            for one in nights
        ],
    }


def _plural(nights: Sequence[OneNight]) -> str:
    return "A delivery" if len(nights) == 1 else f"{len(nights)} deliveries"


def _short(reason: str) -> str:
    return _cut(reason, _LONGEST)


def _cut(text: str, longest: int) -> str:
    return text if len(text) <= longest else f"{text[: longest - 1]}\N{HORIZONTAL ELLIPSIS}"


def for_webhook(subject: str, body: str, facts: JsonObject, *, as_whose: str, message_id: str) -> dict[str, Any]:
    """The message as a webhook takes it: Slack's, a Teams workflow's, or plain JSON."""
    if as_whose == "slack":
        # What people write is no markup: these three are all that Slack reads as such.
        plain = f"{subject}\n{body}".replace("&", "&amp;").replace("<", "&lt;").replace(">", "&gt;")
        return {"text": plain}
    if as_whose == "teams":
        blocks = [
            {"type": "TextBlock", "text": subject, "weight": "Bolder", "wrap": True},
            {"type": "TextBlock", "text": body.replace("\n", "\n\n"), "wrap": True},
        ]
        card = {
            "$schema": "http://adaptivecards.io/schemas/adaptive-card.json",
            "type": "AdaptiveCard",
            "version": "1.4",
            "body": blocks,
        }
        content = {"contentType": "application/vnd.microsoft.card.adaptive", "contentUrl": None, "content": card}
        return {"type": "message", "attachments": [content]}
    return {**facts, "id": message_id, "subject": subject, "text": body}
