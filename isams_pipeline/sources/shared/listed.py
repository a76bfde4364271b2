"""A source that is read list by list: its lists, its mapping, and the scopes that its app asks for."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from contextlib import AbstractContextManager
from dataclasses import dataclass

from isams_pipeline.sources.shared.access import Access
from isams_pipeline.sources.shared.authorising import Authorising
from isams_pipeline.sources.shared.client import ListClient
from isams_pipeline.sources.shared.grants import Given, SourceList
from isams_pipeline.sources.shared.mapping import MappingTable
from isams_pipeline.sources.shared.people_in import ListPeople


@dataclass(frozen=True)
class ListedSource:
    """What is known of a source before any school is looked at."""

    key: str
    label: str
    lists: Mapping[str, SourceList]
    mapping: MappingTable
    connect: Callable[[Access], AbstractContextManager[ListClient]]
    """A school's client of it; raises ConfigurationError or MissingSecret."""
    authorising: Authorising
    scopes: Mapping[str, bool]
    """What is asked of a school; whether it cannot do without."""
    gives: Mapping[str, tuple[Given, ...]]
    """Scope → what is missing without it."""
    people: ListPeople
    """By which fields of its lists' rows it speaks of people."""
    freshness_is_sure: bool
    """The freshness is of all lists, so that none has changed where it has not. Else that is asked for list by list."""
