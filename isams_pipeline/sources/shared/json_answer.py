"""JSON from outside: a value, or ValueError. Every name once in an object, no NaN, no half characters, not too deep."""

from __future__ import annotations

import json
import math
import re
from typing import Any

HALF = "\uffff"
"""Stands where half a character was: an escape of one of two surrogates, as of a text that was cut in the middle.
It is no character either, so whoever makes tables takes it out and says so."""
_MAY_BE_HALF = re.compile(rb"\\u[dD][89a-fA-F]|\xed[\xa0-\xbf]|\x00")
_HALF = re.compile("[\ud800-\udfff]")


def read_json(data: bytes) -> Any:
    """The value that the bytes hold. Raises ValueError where they are no JSON, or JSON that says two things at once."""
    try:
        found: Any = json.loads(data, object_pairs_hook=each_once, parse_constant=no_number, parse_float=finite)
        return _whole(found) if _MAY_BE_HALF.search(data) else found
    except RecursionError:
        raise ValueError("nested too deep") from None


def each_once(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    """An object, for json's `object_pairs_hook`. Raises ValueError where a name stands twice."""
    found = dict(pairs)
    if len(found) != len(pairs):
        raise ValueError("a name stands twice in an object")
    return found


def no_number(_: str) -> Any:
    """For json's `parse_constant`: NaN and infinity are no JSON."""
    raise ValueError("not a number")


def finite(text: str) -> float:
    """For json's `parse_float`: 1e999 is JSON, but no number that anything here could hold."""
    value = float(text)
    if math.isinf(value):
        raise ValueError("a number too large")
    return value


def _whole(value: Any) -> Any:
    match value:
        case str():
            return _HALF.sub(HALF, value)
        case list():
            return [_whole(one) for one in value]  # pyright: ignore[reportUnknownVariableType]
        case dict():
            return {_whole(name): _whole(one) for name, one in value.items()}  # pyright: ignore[reportUnknownVariableType]
        case _:
            return value
