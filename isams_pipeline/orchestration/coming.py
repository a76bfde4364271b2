"""What comes without who was erased: answers, lists and tables, before anything of them is kept."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from functools import partial

import pandas as pd

from isams_pipeline.datasets import DATASETS, LISTED_DATASETS, SOURCE
from isams_pipeline.datasets.people import COLUMNS, Person, subjects
from isams_pipeline.datasets.people_rows import frame_without
from isams_pipeline.datasets.shapes import Json
from isams_pipeline.sources.isams.people_out import without
from isams_pipeline.sources.registry import LISTED, SOURCES, WITHIN_THE_DAY
from isams_pipeline.storage.archive import Without
from isams_pipeline.storage.erased import Erased
from isams_pipeline.storage.lists import WithoutRow


class Coming:
    """What is left out of what comes of the schools."""

    def __init__(self, erased: Callable[[], Erased]) -> None:
        self._erased = erased

    def answers(self, school: str) -> Without | None:
        """What takes erased people out of an answer of iSAMS; None where nobody is."""
        people = self._erased().who_may_not_come(school, SOURCE)
        return partial(without, people=people) if people else None

    def rows(self, source: str, school: str) -> WithoutRow | None:
        """What takes erased people out of a row of a list; None where nobody is."""
        people = self._erased().who_may_not_come(school, source)
        return row_without(source, people) if people and source in LISTED else None

    def table(self, source: str, dataset: str, school: str, frame: pd.DataFrame) -> pd.DataFrame:
        """A source's table without erased people; a partner's is made of such."""
        if source not in SOURCES and source not in WITHIN_THE_DAY:
            return frame
        people = self._erased().who_may_not_come(school, numbers_of(source))
        left = frame_without(frame, people, own_columns(dataset)) if people else None
        return frame if left is None else left


def numbers_of(source: str) -> str:
    """Whose numbers a source has: what iSAMS says within the day has those that it has at night."""
    return SOURCE if source in WITHIN_THE_DAY else source


def own_columns(dataset: str) -> Mapping[str, str]:
    """The columns by which a row of a source's table is somebody's; of one that nobody declares any more, all."""
    declared = DATASETS.get(dataset) or LISTED_DATASETS.get(dataset)
    return COLUMNS if declared is None else subjects(declared)


def row_without(source: str, people: Sequence[Person]) -> WithoutRow:
    """What takes people out of a row of a source's list."""
    of = LISTED[source].people

    def left(name: str, row: Json) -> Json | None:
        rest: Json | None = row
        for person in people:
            rest = None if rest is None else of.without(name, rest, person)
        return rest

    return left
