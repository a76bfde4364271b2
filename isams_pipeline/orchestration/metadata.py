"""What Dagster shows beside an asset."""

from typing import Any

Metadata = dict[str, Any]
"""Name → text, number, moment, or one of Dagster's own values."""
