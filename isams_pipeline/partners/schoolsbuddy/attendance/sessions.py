"""The sessions of a school day."""

from typing import Literal

Session = Literal["AM", "PM"]
SESSIONS: tuple[Session, ...] = ("AM", "PM")
KEY = "schoolsbuddy_attendance"
"""Whose receipts and assets these are."""
NIGHTLY = "schoolsbuddy"
"""Whose nightly export says which students the partner knows: the same partner's, so only its receipts are read."""
STORED_AS = "attendance"
"""The beginning of the names under which the registers' records are stored, one for each session."""
