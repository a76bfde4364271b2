"""What a misspelt key of schools.yaml may have been meant to be."""

from __future__ import annotations

import difflib
import typing
from collections.abc import Collection, Mapping, Sequence

from pydantic import BaseModel, RootModel

Part = str | int
Known = Mapping[str, type[BaseModel]]


def meant(path: Sequence[Part], root: type[BaseModel], registries: Mapping[type[BaseModel], Known]) -> str | None:
    """The key at the end of a path as it would be right; None where none is near.

    `registries` has, for models whose keys others make known, those keys with the models below them.
    """
    here: object = root
    for part in path[:-1]:
        here = _below(here, part, registries)
    near = difflib.get_close_matches(str(path[-1]), _keys(here, registries), n=1)
    return near[0] if near else None


def _is_model(kind: object) -> typing.TypeGuard[type[BaseModel]]:
    return isinstance(kind, type) and issubclass(kind, BaseModel)


def _keys(kind: object, registries: Mapping[type[BaseModel], Known]) -> Collection[str]:
    if not _is_model(kind):
        return ()
    root = RootModel in kind.__mro__  # whose one field has no name in the file
    own = [] if root else [field.alias or name for name, field in kind.model_fields.items()]
    return [*own, *registries.get(kind, {})]


def _below(kind: object, part: Part, registries: Mapping[type[BaseModel], Known]) -> object:
    """What stands at a part of a path: a model, the type of a mapping's or a list's entries, or None."""
    if _is_model(kind):
        if part in registries.get(kind, {}):
            return registries[kind][str(part)]
        fields = {field.alias or name: field for name, field in kind.model_fields.items()}
        return _entry(fields[str(part)].annotation) if part in fields else None
    if typing.get_origin(kind) is dict:
        return _entry(typing.get_args(kind)[1])
    return kind  # a list's number


def _entry(annotation: object) -> object:
    """A model, or a mapping of them, out of what is annotated, optional or a list."""
    if _is_model(annotation) or typing.get_origin(annotation) is dict:
        return annotation
    return next(filter(None, map(_entry, typing.get_args(annotation))), None)
