"""Values of settled change requests may be taken out of the ledger, and nothing else of it changed."""

import sqlalchemy as sa
from alembic import op

revision = "0010"
down_revision = "0009"
branch_labels = None
depends_on = None

SCHEMA = "isams_pipeline"
WRITTEN_ONCE = "the ledger of change requests is written once"
TABLES = ("change_request", "change_ledger")
STAYS = ("id", "school", "request", "at", "who", "step", "reason", "fields", "door")
"""What an update must not touch, whatever it is for."""


def _named_schema() -> str | None:
    # SQLAlchemy leaves the schema out for SQLite by itself, but not where Alembic writes the statement.
    return SCHEMA if op.get_bind().dialect.name == "postgresql" else None


def _allowed(same: str, text: str) -> str:
    """A condition of SQL: values are taken out, or a line from before the chain is chained.

    `same` is how a dialect says that two may be compared although they are null, `text` how it makes JSON comparable.
    """

    def stays(*names: str) -> str:
        return " AND ".join(f"NEW.{name}{text} {same} OLD.{name}{text}" for name in names)

    out = " AND ".join(f"NEW.{name} IS NULL" for name in ("before", "after", "answer", "salt"))
    redacted = f"OLD.hash IS NOT NULL AND NEW.redacted_at IS NOT NULL AND NEW.redacted_why IS NOT NULL AND {out}"
    kept = stays("before", "after", "answer", "persons", "salt", "redacted_at", "redacted_why")
    chained = f"OLD.hash IS NULL AND NEW.hash IS NOT NULL AND {kept}"
    return f"{stays(*STAYS, 'values_hash')} AND (({redacted} AND {stays('hash', 'previous')}) OR ({chained}))"


def upgrade() -> None:
    for table in TABLES:
        op.add_column(table, sa.Column("redacted_at", sa.DateTime(timezone=True)), schema=_named_schema())
        op.add_column(table, sa.Column("redacted_why", sa.String), schema=_named_schema())
    for name in ("salt", "values_hash"):
        op.add_column("change_ledger", sa.Column(name, sa.String), schema=_named_schema())
    if op.get_bind().dialect.name == "postgresql":
        op.execute(
            f"CREATE FUNCTION {SCHEMA}.change_ledger_only_redacted() RETURNS trigger LANGUAGE plpgsql AS $$ BEGIN "
            f"IF {_allowed('IS NOT DISTINCT FROM', '::text')} THEN RETURN NEW; END IF; "
            f"RAISE EXCEPTION '{WRITTEN_ONCE}'; END $$"
        )
        op.execute(f"DROP TRIGGER change_ledger_written_once ON {SCHEMA}.change_ledger")
        op.execute(
            f"CREATE TRIGGER change_ledger_written_once BEFORE DELETE ON {SCHEMA}.change_ledger "
            f"FOR EACH ROW EXECUTE FUNCTION {SCHEMA}.change_ledger_is_written_once()"
        )
        op.execute(
            f"CREATE TRIGGER change_ledger_redacted BEFORE UPDATE ON {SCHEMA}.change_ledger "
            f"FOR EACH ROW EXECUTE FUNCTION {SCHEMA}.change_ledger_only_redacted()"
        )
    else:
        op.execute("DROP TRIGGER change_ledger_no_update")
        op.execute(
            f"CREATE TRIGGER change_ledger_no_update BEFORE UPDATE ON change_ledger WHEN NOT ({_allowed('IS', '')}) "
            f"BEGIN SELECT RAISE(ABORT, '{WRITTEN_ONCE}'); END"
        )


def downgrade() -> None:
    if op.get_bind().dialect.name == "postgresql":
        for trigger in ("redacted", "written_once"):
            op.execute(f"DROP TRIGGER change_ledger_{trigger} ON {SCHEMA}.change_ledger")
        op.execute(f"DROP FUNCTION {SCHEMA}.change_ledger_only_redacted()")
        op.execute(
            f"CREATE TRIGGER change_ledger_written_once BEFORE UPDATE OR DELETE ON {SCHEMA}.change_ledger "
            f"FOR EACH ROW EXECUTE FUNCTION {SCHEMA}.change_ledger_is_written_once()"
        )
    else:
        op.execute("DROP TRIGGER change_ledger_no_update")
        op.execute(
            f"CREATE TRIGGER change_ledger_no_update BEFORE UPDATE ON change_ledger "
            f"BEGIN SELECT RAISE(ABORT, '{WRITTEN_ONCE}'); END"
        )
    for name in ("values_hash", "salt"):
        op.drop_column("change_ledger", name, schema=_named_schema())
    for table in TABLES:
        op.drop_column(table, "redacted_why", schema=_named_schema())
        op.drop_column(table, "redacted_at", schema=_named_schema())
