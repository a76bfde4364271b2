"""The ledger: the door that each line came by, and a chain of hashes; no line can be put in another's place."""

import sqlalchemy as sa
from alembic import op

revision = "0005"
down_revision = "0004"
branch_labels = None
depends_on = None

SCHEMA = "isams_pipeline"
WRITTEN_ONCE = "the ledger of change requests is written once"


def _named_schema() -> str | None:
    # SQLAlchemy leaves the schema out for SQLite by itself, but not where Alembic writes the statement.
    return SCHEMA if op.get_bind().dialect.name == "postgresql" else None


def upgrade() -> None:
    for column in (sa.Column("door", sa.JSON), sa.Column("previous", sa.String), sa.Column("hash", sa.String)):
        op.add_column("change_ledger", column, schema=_named_schema())
    if op.get_bind().dialect.name == "sqlite":
        # INSERT OR REPLACE takes the old line away without any trigger of DELETE.
        op.execute(
            "CREATE TRIGGER change_ledger_no_replace BEFORE INSERT ON change_ledger "
            "WHEN EXISTS (SELECT 1 FROM change_ledger WHERE id = NEW.id) "
            f"BEGIN SELECT RAISE(ABORT, '{WRITTEN_ONCE}'); END"
        )


def downgrade() -> None:
    if op.get_bind().dialect.name == "sqlite":
        op.execute("DROP TRIGGER change_ledger_no_replace")
    for name in ("hash", "previous", "door"):
        op.drop_column("change_ledger", name, schema=_named_schema())
