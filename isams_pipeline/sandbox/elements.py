"""Elements and attributes as iSAMS prints them: what is null is left out, what is empty is an empty element."""

from __future__ import annotations

from datetime import date
from xml.sax.saxutils import escape, quoteattr


def element(name: str, value: object) -> str:
    """An element; none at all for None, as iSAMS leaves out nulls."""
    if value is None:
        return ""
    text = escape(str(value))
    if not text:
        return f"<{name}/>"
    if text.isspace():
        text = "&#x20;" * len(text)
    return f"<{name}>{text}</{name}>"


def legacy(name: str, value: object) -> str:
    """The twin of an attribute, with the key that it had before."""
    return f'<{name} Legacy="True"/>' if value is None else f'<{name} Legacy="True">{escape(str(value))}</{name}>'


def attributes(**values: object) -> str:
    """Attributes; a null one is left out."""
    return "".join(f" {name}={quoteattr(str(value))}" for name, value in values.items() if value is not None)


def moment(day: date) -> str:
    """A date as iSAMS prints it."""
    return f"{day.isoformat()}T00:00:00"
