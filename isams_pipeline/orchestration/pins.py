"""The tables behind an export: which they are, what was noted of them, and where what is told of them lies."""

from collections.abc import Iterable, Mapping

import pandas as pd

from isams_pipeline.datasets import SOURCE
from isams_pipeline.datasets import rules as dataset_rules
from isams_pipeline.datasets.shapes import Json
from isams_pipeline.delivery.built import ACCOUNTING, Built
from isams_pipeline.delivery.export import CheckResult, ExportFile, few
from isams_pipeline.delivery.staging import Staged
from isams_pipeline.errors import DatasetError
from isams_pipeline.orchestration.environment import Environment
from isams_pipeline.orchestration.partitions import Night
from isams_pipeline.rules.notes import Lacking, Note, from_json
from isams_pipeline.rules.split import EXCLUSION_COLUMNS
from isams_pipeline.sources.registry import SOURCES
from isams_pipeline.storage.tables import StoredTable

EXCLUSIONS = ExportFile("exclusions.csv", tuple(EXCLUSION_COLUMNS), key=("entity", "id", "rule"))


def pinned(
    environment: Environment, night: Night, names: Iterable[str], source: str = SOURCE
) -> dict[str, StoredTable]:
    """The night's tables by name; raises NotMaterialised."""
    return {name: environment.tables.need(source, name, night.school, night.date) for name in names}


def as_pins(tables: Mapping[str, StoredTable], built: Built) -> dict[str, Json]:
    """What an export was made from, as its manifest says it; `delivered`: how many of the rows arrive."""
    delivered = built.account.delivered()
    return {
        name: {"source": table.source, "sha256": table.sha256, "rows": table.rows}
        | ({"delivered": delivered[name]} if name in delivered else {})
        for name, table in tables.items()
    }


def brought_by(tables: Mapping[str, StoredTable]) -> set[str]:
    """The datasets that the school's source gives at all."""
    return {name for name, table in tables.items() if table.provenance}


def notes_of(tables: Mapping[str, StoredTable]) -> list[Note | Lacking]:
    """What was done to single fields of the tables when they were read, and what the source was not allowed to give."""
    notes: list[Note | Lacking] = []
    for name, table in tables.items():
        notes += from_json(name, table.provenance.get("notes"))
        notes += [Lacking(name, str(scope), str(what)) for scope, what in table.provenance.get("lacking") or ()]
    return notes


def snapshots_of(tables: Mapping[str, StoredTable]) -> list[Json]:
    """The snapshots behind the tables, each once."""
    found = {
        (table.provenance["key"], table.provenance["sha256"]): dict(table.provenance)
        for table in tables.values()
        if table.provenance.get("sha256")
    }
    return sorted(found.values(), key=lambda facts: (str(facts["key"]), str(facts["sha256"])))


def accounting_path(partner: str, night: Night) -> str:
    """Where the account of an export's rows lies, below `reports/`."""
    return f"{partner}/{night.school}/{night.date}/{ACCOUNTING.name}"


def exclusions_path(partner: str, night: Night) -> str:
    """Where the school finds what is not in an export, below `reports/`."""
    return f"{partner}/{night.school}/{night.date}/{EXCLUSIONS.name}"


def load_pinned(environment: Environment, night: Night, staged: Staged) -> tuple[dict[str, pd.DataFrame], CheckResult]:
    """The very tables that a staged export was made from, and whether they keep their own blocking rules."""
    problems: list[str] = []
    tables: dict[str, pd.DataFrame] = {}
    for name, pin in staged.datasets.items():
        source = str(pin["source"])
        declaration = SOURCES[source].datasets[name]
        table = StoredTable(source, name, night.school, night.date.isoformat(), pin["sha256"], pin["rows"], {})
        frame = environment.tables.load(table)
        frame.index = pd.RangeIndex(1, len(frame) + 1)
        tables[name] = frame
        try:
            dataset_rules.check_rows(declaration, frame, container_found=True)
            dataset_rules.check_schema(declaration, frame)
            dataset_rules.check_keys(declaration, frame)
        except DatasetError as error:
            problems.append(str(error))
    return tables, CheckResult("datasets", few(problems))
