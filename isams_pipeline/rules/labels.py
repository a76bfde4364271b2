"""Names and codes that people typed. Pure."""

from __future__ import annotations


def plain(text: str | None) -> str:
    """A label to compare by: without case, outer spaces and doubled inner ones; empty for none."""
    return " ".join((text or "").split()).casefold()
