"""A school by its sources, compared; and the report of it, as JSON and back, and as rows of a table."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass

from isams_pipeline.datasets.shapes import Json, JsonObject
from isams_pipeline.errors import ConfigurationError, NotMaterialised, StorageError
from isams_pipeline.orchestration.environment import Environment
from isams_pipeline.orchestration.partitions import Night
from isams_pipeline.rules.reconciliation import NEEDED, ONLY_FIRST, ONLY_SECOND, Compared, Difference, reconcile
from isams_pipeline.sources.registry import label_of
from isams_pipeline.sources.shared import REPORTS


@dataclass(frozen=True)
class Reconciliation:
    """A school's night by its sources: each source beside the first → what it has otherwise."""

    night: Night
    first: str
    sources: Mapping[str, Sequence[Compared]]

    @property
    def differences(self) -> int:
        """How many there are."""
        return sum(len(one.differences) for entities in self.sources.values() for one in entities)

    @property
    def said(self) -> str:
        """That in words."""
        return f"{self.differences or 'no'} difference{'' if self.differences == 1 else 's'}"

    def as_json(self) -> Json:
        """The whole of it: every difference by its ids."""
        return {
            "school": self.night.school,
            "night": self.night.date.isoformat(),
            "compared_with": self.first,
            "sources": {
                source: {one.entity: _entity_as_json(one, self.first, source) for one in entities}
                for source, entities in self.sources.items()
            },
        }

    @classmethod
    def of_json(cls, night: Night, report: JsonObject) -> Reconciliation:
        """What `as_json` gave of this night."""
        first = str(report["compared_with"])
        sources = {
            source: [_entity_of_json(entity, found, first, source) for entity, found in entities.items()]
            for source, entities in report["sources"].items()
        }
        return cls(night, first, sources)


def _entity_as_json(one: Compared, first: str, source: str) -> Json:
    return {
        "counts": {first: one.first, source: one.second},
        "not_compared": one.untold,
        "differences": [{"what": d.kind, first: d.first_id, source: d.second_id} for d in one.differences],
    }


def _entity_of_json(entity: str, found: JsonObject, first: str, source: str) -> Compared:
    differences = [Difference(entity, one["what"], one[first], one[source]) for one in found["differences"]]
    return Compared(entity, found["counts"][first], found["counts"][source], differences, list(found["not_compared"]))


def reconciled(environment: Environment, night: Night, sources: Sequence[str]) -> Reconciliation:
    """The sources' tables of a night, compared. Raises NotMaterialised where one is missing."""
    tables = {
        source: {
            name: environment.tables.load(environment.tables.need(source, name, night.school, night.date))
            for name in NEEDED
        }
        for source in sources
    }
    first, *others = sources
    return Reconciliation(night, first, {source: reconcile(tables[first], tables[source]) for source in others})


def report_path(night: Night, end: str) -> str:
    """Where the report lies, below `reports/`."""
    return f"{REPORTS}/{night.school}/{night.date}/reconciliation.{end}"


def kept_report(environment: Environment, night: Night) -> Reconciliation:
    """The night's reconciliation as it was reported. Raises NotMaterialised where there is none, and StorageError."""
    path = report_path(night, "json")
    remedy = f"Run `isams-pipeline reconcile {night.school} --date {night.date}`."
    try:
        return Reconciliation.of_json(night, environment.reports.read_json(path))
    except (KeyError, TypeError, AttributeError):
        where = environment.reports.location(path)
        raise StorageError("The report of the sources is damaged", file=where, remedy=remedy) from None
    except FileNotFoundError:
        raise NotMaterialised(
            "The sources were not compared on that night",
            school=night.school,
            date=night.date,
            remedy=remedy,
        ) from None


def sources_meant(environment: Environment, school: str, wanted: Sequence[str] | None) -> list[str]:
    """The sources that are compared, the first with the others; raises ConfigurationError where there are none."""
    has: list[str] = [*environment.settings.school(school).sources]
    sources = list(dict.fromkeys(wanted)) if wanted else has
    unknown = [source for source in sources if source not in has]
    if unknown or len(sources) < 2:  # noqa: PLR2004
        what = (
            f"The school has no source {unknown[0]}"
            if unknown
            else ("The school has only one source, so there is nothing to compare")
        )
        raise ConfigurationError(what, school=school, remedy=f"Its sources in schools.yaml are: {', '.join(has)}.")
    return sources


def header(first: str, source: str) -> tuple[str, ...]:
    """The head of a source's table."""
    here, there = label_of(first).partition(" ")[0], label_of(source).partition(" ")[0]
    return ("", here, there, f"only {here}", f"only {there}", "differing in", "not compared")


def as_rows(entities: Sequence[Compared]) -> Iterator[tuple[str, ...]]:
    """What a source has otherwise than the first: a row for each kind of thing."""
    for one in entities:
        fields = ", ".join(f"{name} {count}" for name, count in one.fields.items())
        only = (str(one.count(kind) or "·") for kind in (ONLY_FIRST, ONLY_SECOND))
        yield (one.entity, str(one.first), str(one.second), *only, fields or "·", ", ".join(one.untold) or "·")
