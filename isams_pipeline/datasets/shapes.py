"""What JSON is in Python, by its names."""

from typing import Any

Json = dict[str, Any]
"""A JSON object: a row of a list, an answer, a document."""
