"""Connections, their history and their tokens are called by sources, as everything else is."""

from alembic import op

revision = "0007"
down_revision = "0006"
branch_labels = None
depends_on = None

SCHEMA = "isams_pipeline"
TABLES = {
    "road_connection": "source_connection",
    "road_connection_step": "source_connection_step",
    "road_token": "source_token",
}
COLUMNS = ["school", "source"]


def _rename(tables: dict[str, str], step: tuple[str, str]) -> None:
    # Alembic's renaming knows no schema_translate_map; SQLite has no schema.
    schema = None if op.get_bind().dialect.name == "sqlite" else SCHEMA
    old, new = step
    op.drop_index(f"ix_{old}_school_source", old, schema=SCHEMA)
    for before, after in tables.items():
        op.rename_table(before, after, schema=schema)
    op.create_index(f"ix_{new}_school_source", new, COLUMNS, schema=SCHEMA)


def upgrade() -> None:
    _rename(TABLES, ("road_connection_step", "source_connection_step"))


def downgrade() -> None:
    _rename({new: old for old, new in TABLES.items()}, ("source_connection_step", "road_connection_step"))
