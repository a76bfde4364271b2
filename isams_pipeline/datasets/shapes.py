"""What JSON is in Python, by its names."""

from collections.abc import Mapping
from typing import Any

JsonValue = Any
"""What an answer may hold anywhere: text, number, truth, null, list or object. What it is has to be looked at."""
Json = dict[str, JsonValue]
"""A JSON object: a row of a list, an answer, a document."""
JsonObject = Mapping[str, JsonValue]
"""The same, to be read only."""
