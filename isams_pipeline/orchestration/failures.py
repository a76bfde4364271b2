"""What the failed steps of a run said."""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator

import dagster as dg

_KEY = re.compile(r"(?:(?<=^)|(?<=\()|(?<=, ))key ([\w-]+)(?=[:,)])")


def together(sentences: Iterable[str]) -> list[str]:
    """Sentences that differ only in the key they speak of, as one that names all the keys."""
    keys: dict[str, list[str]] = {}
    for sentence in sentences:
        found = _KEY.search(sentence)
        plain = _KEY.sub("key *", sentence)
        names = keys.setdefault(plain, [])
        if found and found[1] not in names:
            names.append(found[1])
    return [
        plain.replace("key *", f"key{'s' if len(names) > 1 else ''} {', '.join(names)}") if names else plain
        for plain, names in keys.items()
    ]


def what_failed(events: Iterable[dg.DagsterEvent]) -> Iterator[str]:
    """What each failed step said, once."""
    seen: set[str] = set()
    for event in events:
        if not event.is_step_failure:
            continue
        data = event.step_failure_data
        if data.user_failure_data is not None and data.user_failure_data.description:
            text = data.user_failure_data.description
        else:
            error = data.error
            while error is not None and error.cause is not None:
                error = error.cause
            text = error.message.strip().partition(": ")[2] if error is not None else ""
        if text and text not in seen:
            seen.add(text)
            yield text
