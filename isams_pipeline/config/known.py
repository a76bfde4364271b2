"""Settings that are known by a key: of partners, and of sources. Each has a model of its own, in its own folder."""

from __future__ import annotations

from collections.abc import Mapping
from importlib import import_module
from typing import Any, TypeVar, cast

from pydantic import BaseModel, ValidationError
from pydantic_core import InitErrorDetails, PydanticCustomError

import isams_pipeline

M = TypeVar("M", bound=BaseModel)


def ask_for_all() -> None:
    """Let all sources and partners make themselves known."""
    for registry in isams_pipeline.REGISTRIES:
        import_module(registry)


def model_of(known: Mapping[str, type[M]], key: str) -> type[M] | None:
    """The model of a key. Where nobody has made it known yet, all sources and partners are asked for first."""
    if key not in known:
        ask_for_all()
    return known.get(key)


def register(known: dict[str, type[M]], key: str, model: type[M]) -> None:
    """Make a model known by its key; raises TypeError where another one has the key already."""
    there = known.setdefault(key, model)
    if there.__module__ != model.__module__:
        raise TypeError(f"two are called {key}: {there.__module__} and {model.__module__}")


def each_by_its_own(given: object, known: Mapping[str, type[BaseModel]], title: str) -> object:
    """Each entry of a mapping by the model of its key; raises ValidationError with the place of each problem."""
    if not isinstance(given, Mapping):
        return given
    made: dict[str, object] = {}
    problems: list[InitErrorDetails] = []
    for key, settings in cast("Mapping[str, object]", given).items():
        model = model_of(known, key)
        if model is None:
            unknown = PydanticCustomError("extra_forbidden", "unknown key")
            problems.append(InitErrorDetails(type=unknown, loc=(key,), input=None))
        elif settings is not None:
            try:
                made[key] = model.model_validate(settings)
            except ValidationError as error:
                found = error.errors(include_url=False, include_input=False)
                problems += [_within(key, problem) for problem in found]
    if problems:
        raise ValidationError.from_exception_data(title, problems)
    return made


def _within(key: str, problem: Any) -> InitErrorDetails:
    """A problem of an entry as one of the whole. Keeps the words, and no value."""
    said = problem["ctx"]["error"] if problem["type"] == "value_error" and "ctx" in problem else problem["msg"]
    facts = {**problem.get("ctx", {}), "said": str(said), "error": str(said)}
    kind = PydanticCustomError(problem["type"], "{said}", facts)
    return InitErrorDetails(type=kind, loc=(key, *problem["loc"]), input=None)
