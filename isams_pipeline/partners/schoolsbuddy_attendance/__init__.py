"""SchoolsBuddy's attendance: the morning's and the afternoon's registers, from iSAMS as they are at that moment."""

from typing import Literal

Session = Literal["AM", "PM"]
PARTNER = "schoolsbuddy_attendance"
NIGHTLY = "schoolsbuddy"
"""Whose nightly export says which students the partner knows: the same partner's, so only its receipts are read."""
SESSIONS: tuple[Session, ...] = ("AM", "PM")
