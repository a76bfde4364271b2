"""What is wrong with a value of schools.yaml, in the words of who writes it, without the value."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any

_Facts = Mapping[str, Any]
_WORDS: Mapping[str, Callable[[_Facts], str]] = {
    "bool_parsing": lambda _: "write true or false",
    "bool_type": lambda _: "write true or false",
    "date_from_datetime_inexact": lambda _: "not a date; write 2026-09-01",
    "date_from_datetime_parsing": lambda _: "not a date; write 2026-09-01",
    "date_parsing": lambda _: "not a date; write 2026-09-01",
    "date_type": lambda _: "not a date; write 2026-09-01",
    "dict_type": lambda _: "write names and what belongs to each below it, not a single value or a list",
    "enum": lambda facts: f"write {_one_of(facts)}",
    "finite_number": lambda _: "write a number",
    "float_parsing": lambda _: "write a number",
    "float_type": lambda _: "write a number",
    "greater_than": lambda facts: f"write a number above {facts['gt']}",
    "greater_than_equal": lambda facts: f"write {facts['ge']} or more",
    "int_from_float": lambda _: "write a whole number",
    "int_parsing": lambda _: "write a whole number",
    "int_parsing_size": lambda _: "write a smaller whole number",
    "int_type": lambda _: "write a whole number",
    "is_instance_of": lambda _: "not as schools.example.yaml has it",
    "less_than": lambda facts: f"write a number below {facts['lt']}",
    "less_than_equal": lambda facts: f"write {facts['le']} or less",
    "list_type": lambda _: "write a list: [one, another]",
    "literal_error": lambda facts: f"write {_one_of(facts)}",
    "model_attributes_type": lambda _: "write keys and values below it, as in schools.example.yaml",
    "model_type": lambda _: "write keys and values below it, as in schools.example.yaml",
    "set_type": lambda _: "write a list: [one, another]",
    "string_pattern_mismatch": lambda facts: (
        f"not written as schools.example.yaml shows (it has to match {facts['pattern']})"
    ),
    "string_too_long": lambda facts: f"longer than {facts['max_length']} characters",
    "string_too_short": lambda facts: "empty" if facts["min_length"] == 1 else f"shorter than {facts['min_length']}",
    "string_type": lambda _: "write a text; put it in quotes where it looks like a number, a date, or yes and no",
    "too_long": lambda facts: f"more than {facts['max_length']} of them",
    "too_short": lambda facts: (
        "empty; write at least one" if facts["min_length"] == 1 else f"write at least {facts['min_length']}"
    ),
    "tuple_type": lambda _: "write a list: [one, another]",
    "url_parsing": lambda _: "not an address; it begins with https://",
    "value_error": lambda facts: str(facts["error"]),
}
"""What pydantic calls a problem → what to write instead."""


def _one_of(facts: _Facts) -> str:
    return str(facts["expected"]).replace("'", "")


def in_words(kind: str, message: str, facts: _Facts) -> str:
    """A problem in words. Of a kind that nobody has foreseen, what pydantic says of it, which has no value in it."""
    words = _WORDS.get(kind)
    if words is None:
        return f"{message[:1].lower()}{message[1:]}; see schools.example.yaml"
    return words(facts)
