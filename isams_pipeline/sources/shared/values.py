"""Looking into JSON that may be anything: what is not as expected is nothing, not an exception."""

from __future__ import annotations

from typing import Any, cast

from isams_pipeline.datasets.shapes import Json, JsonValue


def as_object(value: JsonValue) -> Json:
    """The value if it is an object, else an empty one."""
    return cast("Json", value) if isinstance(value, dict) else {}


def as_list(value: JsonValue) -> list[Any]:
    """The value if it is a list, else an empty one."""
    return cast("list[Any]", value) if isinstance(value, list) else []


def objects_in(value: JsonValue) -> list[Json]:
    """The objects in a list."""
    return [cast("Json", one) for one in as_list(value) if isinstance(one, dict)]


def first_object(value: JsonValue) -> Json:
    """The first object in a list, else an empty one."""
    return next(iter(objects_in(value)), Json())


def whole_number(value: JsonValue) -> int | None:
    """A whole number, which may come as a text; None where it is none."""
    return int(value) if isinstance(value, int | str) and str(value).isdigit() else None
