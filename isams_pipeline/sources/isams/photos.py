"""Pupils' photos by iSAMS's REST API: `latestPhotoId` says which one it is, so that only what changed is fetched."""

from __future__ import annotations

from collections.abc import Callable, Collection, Mapping
from typing import TypeVar

import pandas as pd

from isams_pipeline.errors import NotFound
from isams_pipeline.rules.compare import code
from isams_pipeline.rules.references import Lookup
from isams_pipeline.sources.isams.rest import RestClient, address

T = TypeVar("T")


class RestPhotos:
    """The photos of a school's pupils. REST knows them by school id, the tables by number too."""

    def __init__(self, client: RestClient, pupils: pd.DataFrame) -> None:
        self._client = client
        self._numbers = Lookup.of(pupils, "school_id", "pupil_id", fold=code)
        self._school_ids: dict[str, str] = {}

    def versions(self) -> Mapping[str, str]:
        """Pupil → the number of the newest photo; who has none, or whose school id is not one pupil's, is not in it."""
        found: dict[str, str] = {}
        for row in self._client.pages(address("students"), "students"):
            school_id, photo = row.get("schoolId"), row.get("latestPhotoId")
            pupil = self._numbers.find(school_id).value if isinstance(school_id, str) else None
            if photo is not None and pupil is not None:
                found[str(pupil)] = str(photo)
                self._school_ids[str(pupil)] = str(school_id)
        return found

    def fetch(self, pupil: str) -> bytes | None:
        """A photo's bytes; None where there is none after all."""
        try:
            return self._client.image(address("students", self._school_ids[pupil], "photos", "current"))
        except NotFound:
            return None

    def each(self, fetch: Callable[[str], T], pupils: Collection[str]) -> list[T]:
        """Several, some at a time."""
        return self._client.each(fetch, pupils)
